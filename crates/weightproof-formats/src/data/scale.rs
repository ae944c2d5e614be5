//! The factor that samples are multiplied by when they are read.

use std::fmt;
use std::str::FromStr;

/// A factor as it was written, `times / over`: `1/255` divides by 255, with the rounding of a division.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    times: f64,
    over: f64,
}

impl Scale {
    /// Samples stay as they are.
    pub const ONE: Scale = Scale { times: 1.0, over: 1.0 };
    /// 1/255: bytes become numbers from 0 to 1.
    pub const BYTES: Scale = Scale { times: 1.0, over: 255.0 };

    /// The factor `times / over`; `None` unless both and their ratio are finite and above zero.
    pub fn new(times: f64, over: f64) -> Option<Scale> {
        let fine = |v: f64| v > 0.0 && v.is_finite();
        (fine(times) && fine(over) && fine(times / over)).then_some(Scale { times, over })
    }

    /// A number times the factor.
    pub fn of(self, value: f64) -> f64 {
        value * self.times / self.over
    }

    /// [`Scale::of`] of each byte; `None` where one of them is not finite.
    pub(crate) fn of_bytes(self) -> Option<[f64; 256]> {
        let table = std::array::from_fn(|byte| self.of(byte as f64));
        table.iter().all(|v| v.is_finite()).then_some(table)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scale { times, over } = self;
        if *over == 1.0 { write!(f, "{times}") } else { write!(f, "{times}/{over}") }
    }
}

impl FromStr for Scale {
    type Err = ();

    /// A number, or a ratio of two.
    fn from_str(text: &str) -> Result<Scale, ()> {
        let (times, over) = text.split_once('/').unwrap_or((text, "1"));
        let number = |text: &str| text.trim().parse().map_err(|_| ());
        Scale::new(number(times)?, number(over)?).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ratios_above_zero() {
        let of = |text: &str| text.parse::<Scale>().map(|scale| (scale.of(51.0), scale.to_string()));
        assert_eq!(of("1/255"), Ok((0.2, "1/255".into())));
        assert_eq!(of(" 2 / 4 "), Ok((25.5, "2/4".into())));
        assert_eq!(of("0.5"), Ok((25.5, "0.5".into())));
        assert_eq!("1/255".parse(), Ok(Scale::BYTES));
        for wrong in ["", "0", "-1", "nan", "inf", "1/0", "1/2/3", "1/", "/2", "1e-300/1e300", "x"] {
            assert_eq!(of(wrong), Err(()), "{wrong}");
        }
        assert!((0..=255).all(|byte| Scale::BYTES.of(f64::from(byte)) == f64::from(byte) / 255.0));
    }
}
