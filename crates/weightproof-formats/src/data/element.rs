//! Number types of binary formats and their conversion to `f64`.

use half::f16;

/// Type of one number in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

/// What every value must be.
pub(crate) const EXPECTED: &str = "a finite number that a double represents exactly";

/// Largest magnitude up to which every integer is a double.
const EXACT: f64 = (1_u64 << 53) as f64;

impl Element {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Element::U8 | Element::I8 => 1,
            Element::U16 | Element::I16 | Element::F16 => 2,
            Element::U32 | Element::I32 | Element::F32 => 4,
            Element::U64 | Element::I64 | Element::F64 => 8,
        }
    }

    /// Appends the numbers in `bytes`, whose length is a multiple of the size.
    ///
    /// # Errors
    /// Position in `bytes` (counted in numbers) and text of the first that is not finite, or an integer beyond 2⁵³.
    pub(crate) fn decode(self, big: bool, bytes: &[u8], out: &mut Vec<f64>) -> Result<(), (usize, String)> {
        macro_rules! numbers {
            ($t:ty) => {{
                let from = if big { <$t>::from_be_bytes } else { <$t>::from_le_bytes };
                let (chunks, rest) = bytes.as_chunks::<{ size_of::<$t>() }>();
                assert!(rest.is_empty());
                chunks.iter().map(move |&chunk| from(chunk))
            }};
        }
        let start = out.len();
        match self {
            Element::U8 => out.extend(bytes.iter().map(|&b| f64::from(b))),
            Element::I8 => out.extend(numbers!(i8).map(f64::from)),
            Element::U16 => out.extend(numbers!(u16).map(f64::from)),
            Element::I16 => out.extend(numbers!(i16).map(f64::from)),
            Element::U32 => out.extend(numbers!(u32).map(f64::from)),
            Element::I32 => out.extend(numbers!(i32).map(f64::from)),
            Element::U64 => out.extend(numbers!(u64).map(|v| v as f64)),
            Element::I64 => out.extend(numbers!(i64).map(|v| v as f64)),
            Element::F16 => out.extend(numbers!(f16).map(f64::from)),
            Element::F32 => out.extend(numbers!(f32).map(f64::from)),
            Element::F64 => out.extend(numbers!(f64)),
        }
        let limit = match self {
            Element::U64 | Element::I64 => EXACT,
            Element::F16 | Element::F32 | Element::F64 => f64::MAX,
            Element::U8 | Element::I8 | Element::U16 | Element::I16 | Element::U32 | Element::I32 => {
                return Ok(());
            }
        };
        match out[start..].iter().position(|v| v.is_nan() || v.abs() > limit) {
            None => Ok(()),
            Some(at) => Err((at, out[start + at].to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(element: Element, big: bool, bytes: &[u8]) -> Result<Vec<f64>, (usize, String)> {
        let mut out = Vec::new();
        element.decode(big, bytes, &mut out).map(|()| out)
    }

    #[test]
    fn both_byte_orders() {
        for (element, big_endian, value) in [
            (Element::U8, vec![200], 200.0),
            (Element::I8, vec![0xff], -1.0),
            (Element::U16, vec![1, 2], 258.0),
            (Element::I16, vec![0xff, 0xfe], -2.0),
            (Element::U32, vec![0xff, 0, 0, 0], 4_278_190_080.0),
            (Element::I32, vec![0xff, 0xff, 0xff, 0xfd], -3.0),
            (Element::U64, vec![0, 0, 0, 0, 0, 0, 1, 0], 256.0),
            (Element::I64, vec![0xff; 8], -1.0),
            (Element::F16, vec![0x3e, 0], 1.5),
            (Element::F32, 0.1_f32.to_be_bytes().to_vec(), f64::from(0.1_f32)),
            (Element::F64, 0.1_f64.to_be_bytes().to_vec(), 0.1),
        ] {
            assert_eq!(big_endian.len(), element.size());
            assert_eq!(decode(element, true, &big_endian).unwrap(), [value], "{element:?}");
            let little: Vec<u8> = big_endian.into_iter().rev().collect();
            assert_eq!(decode(element, false, &little).unwrap(), [value], "{element:?}");
        }
    }

    #[test]
    fn values_that_are_no_exact_finite_doubles_are_found() {
        let bytes = [1.0_f32, f32::NAN].map(f32::to_le_bytes).concat();
        assert_eq!(decode(Element::F32, false, &bytes), Err((1, "NaN".into())));
        assert_eq!(decode(Element::F16, true, &[0xfc, 0]), Err((0, "-inf".into())));
        assert_eq!(decode(Element::F64, false, &f64::INFINITY.to_le_bytes()), Err((0, "inf".into())));
        assert!(decode(Element::I64, false, &i64::MIN.to_le_bytes()).is_err());
        assert!(decode(Element::U64, false, &((1_u64 << 53) + 2).to_le_bytes()).is_err());
        assert_eq!(decode(Element::U64, false, &(1_u64 << 53).to_le_bytes()), Ok(vec![EXACT]));
    }
}
