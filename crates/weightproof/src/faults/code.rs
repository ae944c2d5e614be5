//! What the bits of a stored word stand for.

use crate::threat::NumberFormat;

/// How a word of at most 32 bits stands for a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Code {
    /// `step · (q − zero)`, with `q` in two's complement where it has a sign.
    Integer {
        /// Bits of the word.
        bits: u32,
        /// Whether the highest bit counts negatively.
        signed: bool,
        /// The step.
        step: f64,
        /// The zero point.
        zero: i64,
    },
    /// A floating-point number: sign, exponent, fraction, from the highest bit on.
    Float(NumberFormat),
}

impl Code {
    /// Bits of a word.
    pub fn bits(self) -> u32 {
        match self {
            Code::Integer { bits, .. } => bits,
            Code::Float(format) => {
                let (fraction, exponent) = format.fields();
                1 + exponent + fraction
            }
        }
    }

    /// The number that a word stands for; NaN or infinite where the format has such words.
    pub fn decode(self, word: u32) -> f64 {
        match self {
            Code::Integer { bits, signed, step, zero } => {
                let negative = signed && word >> (bits - 1) & 1 == 1;
                let q = i64::from(word) - if negative { 1_i64 << bits } else { 0 };
                step * (q - zero) as f64
            }
            Code::Float(format) => decode_float(format, word),
        }
    }

    /// The word of a number that the code has; `None` for others.
    pub fn encode(self, value: f64) -> Option<u32> {
        let word = match self {
            Code::Integer { bits, step, zero, .. } => {
                let q = if value == 0.0 { zero } else { (value / step).round() as i64 + zero };
                (q & ((1_i64 << bits) - 1)) as u32
            }
            Code::Float(format) => encode_float(format, value),
        };
        (self.decode(word) == value).then_some(word)
    }
}

fn decode_float(format: NumberFormat, word: u32) -> f64 {
    let (fraction_bits, exponent_bits) = format.fields();
    let fraction = word & ((1 << fraction_bits) - 1);
    let exponent = word >> fraction_bits & ((1 << exponent_bits) - 1);
    let sign = if word >> (fraction_bits + exponent_bits) & 1 == 1 { -1.0 } else { 1.0 };
    let last = exponent == (1 << exponent_bits) - 1;
    // E4M3 has no infinities, and one NaN of each sign.
    if format == NumberFormat::Fp8E4M3 {
        if last && fraction == (1 << fraction_bits) - 1 {
            return f64::NAN;
        }
    } else if last {
        return if fraction == 0 { sign * f64::INFINITY } else { f64::NAN };
    }
    let whole = if exponent == 0 { fraction } else { fraction | 1 << fraction_bits };
    sign * f64::from(whole) * format.lowest_bit(exponent)
}

fn encode_float(format: NumberFormat, value: f64) -> u32 {
    let (fraction_bits, exponent_bits) = format.fields();
    let sign = u32::from(value.is_sign_negative()) << (fraction_bits + exponent_bits);
    let quanta = value.abs() / format.smallest_subnormal();
    let hidden = f64::from(1_u32 << fraction_bits);
    if quanta < hidden {
        return sign | quanta as u32;
    }
    // Bits of an f64 that is normal: exponent, then fraction.
    let exponent = (quanta.to_bits() >> 52) as i32 - 1023 - fraction_bits as i32;
    let whole = (quanta * 2.0_f64.powi(-exponent)) as u32;
    sign | (exponent as u32 + 1) << fraction_bits | whole & (hidden as u32 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twos_complement_by_hand() {
        let code = Code::Integer { bits: 8, signed: true, step: 0.5, zero: 0 };
        for (word, value) in [(0_u32, 0.0), (1, 0.5), (0x7F, 63.5), (0x80, -64.0), (0xFF, -0.5)] {
            assert_eq!(code.decode(word), value);
            assert_eq!(code.encode(value), Some(word));
        }
        let unsigned = Code::Integer { bits: 4, signed: false, step: 2.0, zero: 3 };
        assert_eq!((unsigned.decode(0), unsigned.decode(15)), (-6.0, 24.0));
        assert_eq!(unsigned.encode(0.3), None);
    }

    /// Every bit of fp32 as the processor has it.
    #[test]
    fn single_precision_is_that_of_the_processor() {
        let code = Code::Float(NumberFormat::Fp32);
        for k in 0..4000_u32 {
            let word = k.wrapping_mul(2_654_435_761);
            let (ours, theirs) = (code.decode(word), f64::from(f32::from_bits(word)));
            assert!(ours == theirs || ours.is_nan() && theirs.is_nan(), "{word:#x}: {ours} {theirs}");
            if ours.is_finite() {
                assert_eq!(code.encode(theirs), Some(word), "{theirs}");
            }
        }
    }

    /// bf16 is the upper half of fp32.
    #[test]
    fn brain_floats_are_half_of_single_precision() {
        let code = Code::Float(NumberFormat::Bf16);
        for word in 0..=0xFFFF_u32 {
            let (ours, theirs) = (code.decode(word), f64::from(f32::from_bits(word << 16)));
            assert!(ours == theirs || ours.is_nan() && theirs.is_nan(), "{word:#x}");
        }
    }

    /// All words of the small formats: read back as they are, and never a number that rounding would change.
    #[test]
    fn words_of_small_formats_read_back() {
        // With how many words are infinite or NaN.
        for (format, not_finite) in
            [(NumberFormat::Fp16, 2048), (NumberFormat::Fp8E4M3, 2), (NumberFormat::Fp8E5M2, 8)]
        {
            let code = Code::Float(format);
            let words = 0..1_u32 << code.bits();
            let mut odd = 0;
            for word in words.clone() {
                let value = code.decode(word);
                if value.is_finite() {
                    assert_eq!(code.encode(value), Some(word), "{format:?} {word:#x}");
                    assert_eq!(format.round(value), value, "{format:?} {word:#x}");
                } else {
                    odd += 1;
                }
            }
            let largest = words.map(|word| code.decode(word)).filter(|v| v.is_finite()).fold(0.0, f64::max);
            assert_eq!(largest, format.largest());
            assert_eq!(odd, not_finite);
        }
        assert_eq!(Code::Float(NumberFormat::Fp16).decode(0x3C00), 1.0);
        assert_eq!(Code::Float(NumberFormat::Fp8E4M3).decode(0b0111_1110), 448.0);
    }
}
