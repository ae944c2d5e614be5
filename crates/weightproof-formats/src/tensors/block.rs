//! How numbers are stored: floating point, or blocks of integers with a step of their own.
//!
//! ```text
//! Q8_0, Q4_0, Q5_0:  w = d (q − z)              Q4_1, Q5_1:  w = d q + m
//! Q4_K, Q5_K:        w = (d s) q − (e m), with 6 bits of s and m for 32 numbers        Q6_K:  w = (d s) (q − 32), with 8 bits of s for 16
//! ```
//! The layout is that of the reference implementation of GGUF (ggml): the lower halves of bytes before the upper ones.

use half::{bf16, f16};

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// 64-bit floating point.
    F64,
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// 16-bit floating point with the exponents of F32.
    Bf16,
    /// 32 integers of 4 bits with a step.
    Q4_0,
    /// 32 integers of 4 bits with a step and a least number.
    Q4_1,
    /// 32 integers of 5 bits with a step.
    Q5_0,
    /// 32 integers of 5 bits with a step and a least number.
    Q5_1,
    /// 32 integers of 8 bits with a step.
    Q8_0,
    /// 256 integers of 4 bits, with steps and least numbers for 32 of them.
    Q4K,
    /// 256 integers of 5 bits, with steps and least numbers for 32 of them.
    Q5K,
    /// 256 integers of 6 bits, with steps for 16 of them.
    Q6K,
}

impl Storage {
    /// Name as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Storage::F64 => "f64",
            Storage::F32 => "f32",
            Storage::F16 => "f16",
            Storage::Bf16 => "bf16",
            Storage::Q4_0 => "q4_0",
            Storage::Q4_1 => "q4_1",
            Storage::Q5_0 => "q5_0",
            Storage::Q5_1 => "q5_1",
            Storage::Q8_0 => "q8_0",
            Storage::Q4K => "q4_k",
            Storage::Q5K => "q5_k",
            Storage::Q6K => "q6_k",
        }
    }

    /// Bits of the integers; none for floating point.
    pub fn bits(self) -> Option<u32> {
        match self {
            Storage::F64 | Storage::F32 | Storage::F16 | Storage::Bf16 => None,
            Storage::Q4_0 | Storage::Q4_1 | Storage::Q4K => Some(4),
            Storage::Q5_0 | Storage::Q5_1 | Storage::Q5K => Some(5),
            Storage::Q6K => Some(6),
            Storage::Q8_0 => Some(8),
        }
    }

    /// Numbers of a block.
    pub fn block(self) -> usize {
        match self {
            Storage::F64 | Storage::F32 | Storage::F16 | Storage::Bf16 => 1,
            Storage::Q4_0 | Storage::Q4_1 | Storage::Q5_0 | Storage::Q5_1 | Storage::Q8_0 => 32,
            Storage::Q4K | Storage::Q5K | Storage::Q6K => 256,
        }
    }

    /// Numbers that have a step together.
    pub fn group(self) -> usize {
        match self {
            Storage::Q6K => 16,
            Storage::Q4K | Storage::Q5K => 32,
            Storage::F64
            | Storage::F32
            | Storage::F16
            | Storage::Bf16
            | Storage::Q4_0
            | Storage::Q4_1
            | Storage::Q5_0
            | Storage::Q5_1
            | Storage::Q8_0 => self.block(),
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Storage::F64 => 8,
            Storage::F32 => 4,
            Storage::F16 | Storage::Bf16 => 2,
            Storage::Q4_0 => 2 + 16,
            Storage::Q4_1 => 4 + 16,
            Storage::Q5_0 => 2 + 4 + 16,
            Storage::Q5_1 => 4 + 4 + 16,
            Storage::Q8_0 => 2 + 32,
            Storage::Q4K => 4 + 12 + 128,
            Storage::Q5K => 4 + 12 + 32 + 128,
            Storage::Q6K => 128 + 64 + 16 + 2,
        }
    }

    /// Adds the numbers of one block, which has [`Storage::bytes`] bytes, and their steps.
    pub fn decode(self, bytes: &[u8], numbers: &mut Vec<f64>, steps: &mut Vec<f64>) {
        let half = |k: usize| f16::from_le_bytes([bytes[k], bytes[k + 1]]).to_f64();
        let mut all = |step: f64, least: f64, integers: &mut dyn Iterator<Item = i32>| {
            for q in integers {
                numbers.push(step * f64::from(q) + least);
                steps.push(step.abs());
            }
        };
        let lower = |bytes: &[u8]| bytes.iter().map(|b| i32::from(b & 15)).collect::<Vec<i32>>();
        let upper = |bytes: &[u8]| bytes.iter().map(|b| i32::from(b >> 4)).collect::<Vec<i32>>();
        match self {
            Storage::F64 => {
                let number = f64::from_le_bytes(std::array::from_fn(|k| bytes[k]));
                all(0.0, number, &mut [0].into_iter());
            }
            Storage::F32 => {
                let number = f32::from_le_bytes(std::array::from_fn(|k| bytes[k]));
                all(0.0, f64::from(number), &mut [0].into_iter());
            }
            Storage::F16 => all(0.0, half(0), &mut [0].into_iter()),
            Storage::Bf16 => {
                let number = bf16::from_le_bytes([bytes[0], bytes[1]]).to_f64();
                all(0.0, number, &mut [0].into_iter());
            }
            Storage::Q8_0 => {
                all(half(0), 0.0, &mut bytes[2..].iter().map(|&b| i32::from(b.cast_signed())));
            }
            Storage::Q4_0 => {
                let q = [lower(&bytes[2..]), upper(&bytes[2..])].concat();
                all(half(0), 0.0, &mut q.into_iter().map(|q| q - 8));
            }
            Storage::Q4_1 => {
                let q = [lower(&bytes[4..]), upper(&bytes[4..])].concat();
                all(half(0), half(2), &mut q.into_iter());
            }
            Storage::Q5_0 | Storage::Q5_1 => {
                let (from, least, zero) = if self == Storage::Q5_0 { (2, 0.0, 16) } else { (4, half(2), 0) };
                let fifth = u32::from_le_bytes(std::array::from_fn(|k| bytes[from + k]));
                let q = [lower(&bytes[from + 4..]), upper(&bytes[from + 4..])].concat();
                let with_fifth =
                    q.into_iter().enumerate().map(|(k, q)| (q | ((fifth >> k & 1) as i32) << 4) - zero);
                all(half(0), least, &mut with_fifth.collect::<Vec<i32>>().into_iter());
            }
            Storage::Q4K | Storage::Q5K => {
                let (d, e, scales) = (half(0), half(2), &bytes[4..16]);
                let (fifth, quarters) = if self == Storage::Q5K {
                    (Some(&bytes[16..48]), &bytes[48..])
                } else {
                    (None, &bytes[16..])
                };
                for (j, quarter) in quarters.chunks_exact(32).enumerate() {
                    for (part, q) in [lower(quarter), upper(quarter)].into_iter().enumerate() {
                        let place = 2 * j + part;
                        let (s, m) = scale_and_least(place, scales);
                        let bit = |l: usize| fifth.map_or(0, |bits| i32::from(bits[l] >> place & 1) << 4);
                        let q: Vec<i32> = q.iter().enumerate().map(|(l, q)| q | bit(l)).collect();
                        all(d * s, -e * m, &mut q.into_iter());
                    }
                }
            }
            Storage::Q6K => {
                let (low, high, scales, d) = (&bytes[..128], &bytes[128..192], &bytes[192..208], half(208));
                for n in 0..2 {
                    for quarter in 0..4 {
                        let four = &low[64 * n + 32 * (quarter % 2)..][..32];
                        let four = if quarter < 2 { lower(four) } else { upper(four) };
                        let two = |l: usize| i32::from(high[32 * n + l] >> (2 * quarter) & 3) << 4;
                        for part in 0..2 {
                            let s = f64::from(scales[8 * n + 2 * quarter + part].cast_signed());
                            let places = 16 * part..16 * part + 16;
                            all(d * s, 0.0, &mut places.map(|l| (four[l] | two(l)) - 32));
                        }
                    }
                }
            }
        }
    }
}

/// Six bits of a step and six of a least number, number `j` of eight.
fn scale_and_least(j: usize, bytes: &[u8]) -> (f64, f64) {
    let (s, m) = if j < 4 {
        (bytes[j] & 63, bytes[j + 4] & 63)
    } else {
        (bytes[j + 4] & 15 | (bytes[j - 4] >> 6) << 4, bytes[j + 4] >> 4 | (bytes[j] >> 6) << 4)
    };
    (f64::from(s), f64::from(m))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(storage: Storage, bytes: &[u8]) -> (Vec<f64>, Vec<f64>) {
        assert_eq!(bytes.len(), storage.bytes());
        let (mut numbers, mut steps) = (vec![], vec![]);
        storage.decode(bytes, &mut numbers, &mut steps);
        assert_eq!((numbers.len(), steps.len()), (storage.block(), storage.block()));
        (numbers, steps)
    }

    fn halves(numbers: &[f64]) -> Vec<u8> {
        numbers.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes()).collect()
    }

    #[test]
    fn floating_point_is_taken_as_it_is() {
        for (storage, bytes) in [
            (Storage::F64, (-1.5_f64).to_le_bytes().to_vec()),
            (Storage::F32, (-1.5_f32).to_le_bytes().to_vec()),
            (Storage::F16, halves(&[-1.5])),
            (Storage::Bf16, bf16::from_f64(-1.5).to_le_bytes().to_vec()),
        ] {
            assert_eq!(decoded(storage, &bytes), (vec![-1.5], vec![0.0]));
        }
    }

    #[test]
    fn blocks_of_32_by_hand() {
        // Two numbers of the first byte, the 0th and the 16th: 0x3 and 0xA.
        let mut nibbles = [0x88_u8; 16];
        nibbles[0] = 0xA3;
        let (numbers, steps) = decoded(Storage::Q4_0, &[halves(&[-0.5]), nibbles.to_vec()].concat());
        assert_eq!((numbers[0], numbers[16], numbers[1], steps[0]), (2.5, -1.0, 0.0, 0.5));
        let (numbers, _) = decoded(Storage::Q4_1, &[halves(&[0.5, -4.0]), nibbles.to_vec()].concat());
        assert_eq!((numbers[0], numbers[16], numbers[1]), (-2.5, 1.0, 0.0));
        let fifth = (1_u32 | 1 << 16).to_le_bytes();
        let (numbers, _) =
            decoded(Storage::Q5_0, &[halves(&[0.5]), fifth.to_vec(), nibbles.to_vec()].concat());
        assert_eq!((numbers[0], numbers[16], numbers[1]), (1.5, 5.0, -4.0));
        let (numbers, _) =
            decoded(Storage::Q5_1, &[halves(&[0.5, 1.0]), fifth.to_vec(), nibbles.to_vec()].concat());
        assert_eq!((numbers[0], numbers[16], numbers[1]), (10.5, 14.0, 5.0));
        let mut bytes = vec![0; 32];
        bytes[31] = 0xFF;
        let (numbers, steps) = decoded(Storage::Q8_0, &[halves(&[0.25]), bytes].concat());
        assert_eq!((numbers[0], numbers[31], steps[31]), (0.0, -0.25, 0.25));
    }

    #[test]
    fn blocks_of_256_by_hand() {
        // Steps 1 and 2 of the first and fifth group, least numbers 3 and 20.
        let mut scales = [0_u8; 12];
        (scales[0], scales[4]) = (1, 3);
        (scales[8], scales[4]) = (2 | 4 << 4, 3 | 1 << 6);
        let mut nibbles = [0_u8; 128];
        (nibbles[0], nibbles[64]) = (0x07, 0x09);
        let head = [halves(&[0.5, 0.25]), scales.to_vec()].concat();
        let (numbers, steps) = decoded(Storage::Q4K, &[head.clone(), nibbles.to_vec()].concat());
        assert_eq!((numbers[0], steps[0]), (0.5 * 7.0 - 0.75, 0.5));
        assert_eq!((numbers[128], steps[128]), (9.0 - 0.25 * 20.0, 1.0));
        let mut fifth = [0_u8; 32];
        fifth[0] = 1 | 1 << 4;
        let (numbers, _) = decoded(Storage::Q5K, &[head, fifth.to_vec(), nibbles.to_vec()].concat());
        assert_eq!((numbers[0], numbers[128]), (0.5 * 23.0 - 0.75, 25.0 - 5.0));
        let (mut low, mut high, mut scales) = ([0_u8; 128], [0_u8; 64], [0_u8; 16]);
        // Number 0 is 5 | 3 << 4, number 96 is 0xA | 1 << 4.
        (low[0], low[32], high[0]) = (5, 0xA0, 3 | 1 << 6);
        (scales[0], scales[6]) = (2, 0xFF);
        let bytes = [low.to_vec(), high.to_vec(), scales.to_vec(), halves(&[0.5])].concat();
        let (numbers, steps) = decoded(Storage::Q6K, &bytes);
        assert_eq!((numbers[0], steps[0]), (53.0 - 32.0, 1.0));
        assert_eq!((numbers[96], steps[96]), (-0.5 * (26.0 - 32.0), 0.5));
    }
}
