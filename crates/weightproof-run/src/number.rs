//! Numbers that users write: every error names the setting, what was expected and what was found.

use crate::RunError;
use weightproof_figure::number::DURATIONS;
use weightproof_formats::data::Scale;

/// What a number must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// A finite number.
    Finite,
    /// A finite number of at least 0.
    NotNegative,
    /// A finite number above 0.
    Positive,
}

impl Range {
    fn expected(self) -> &'static str {
        match self {
            Range::Finite => "a finite number",
            Range::NotNegative => "a finite number of at least 0",
            Range::Positive => "a finite number above 0",
        }
    }

    fn contains(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Range::Finite => true,
                Range::NotNegative => value >= 0.0,
                Range::Positive => value > 0.0,
            }
    }
}

/// One number of the setting `name`.
///
/// # Errors
/// A text that is none, or one out of range.
pub fn one(name: &str, text: &str, range: Range) -> Result<f64, RunError> {
    let value = text.trim().parse().ok().filter(|v| range.contains(*v));
    // Minus zero is zero.
    value.map(|v| v + 0.0).ok_or_else(|| {
        let found = if text.trim().is_empty() { "nothing".into() } else { shortened(text) };
        RunError::value(format!("{name}: expected {}, found {found}", range.expected()))
    })
}

/// Numbers of the setting `name`, separated by commas.
///
/// # Errors
/// A text that is none, or one out of range.
pub fn list(name: &str, text: &str, range: Range) -> Result<Vec<f64>, RunError> {
    text.split(',').map(|part| one(name, part, range)).collect()
}

/// The factor of the setting `name`: a number above 0, or a ratio of two.
///
/// # Errors
/// A text that is none, or one out of range.
pub fn scale(name: &str, text: &str) -> Result<Scale, RunError> {
    text.parse().map_err(|()| {
        let found = if text.trim().is_empty() { "nothing".into() } else { shortened(text) };
        RunError::value(format!("{name}: expected a number above 0, or a ratio such as 1/255, found {found}"))
    })
}

/// The longest time that is not a mistake: a hundred years.
const MOST_SECONDS: f64 = 3_155_760_000.0;

/// Seconds of the setting `name`.
///
/// # Errors
/// A text that is none, or one out of range.
pub fn seconds(name: &str, text: &str) -> Result<f64, RunError> {
    let seconds = one(name, text, Range::Positive)?;
    if seconds > MOST_SECONDS {
        let message = format!("{name}: expected at most {MOST_SECONDS} seconds, found {}", shortened(text));
        return Err(RunError::value(message));
    }
    Ok(seconds)
}

/// Durations of the setting `name` in seconds, separated by commas: `1s,1h,1d,1y`.
///
/// # Errors
/// A text that is none, a negative one, or one without a unit.
pub fn durations(name: &str, text: &str) -> Result<Vec<f64>, RunError> {
    let one_of = |text: &str| {
        let text = text.trim();
        let unit = |(unit, size)| Some((text.strip_suffix(unit)?, size));
        let seconds = DURATIONS.into_iter().find_map(unit).and_then(|(number, size): (&str, f64)| {
            let number: f64 = number.trim().parse().ok()?;
            Some(number * size).filter(|seconds| (0.0..=MOST_SECONDS).contains(seconds))
        });
        seconds.map(|seconds| seconds + 0.0).ok_or_else(|| RunError::Value {
            message: format!(
                "{name}: expected durations of at most 100 years with units s, min, h, d or y, found {}",
                if text.is_empty() { "nothing".into() } else { shortened(text) }
            ),
            hint: Some(format!("--{name} 1s,1h,1d,1y")),
        })
    };
    text.split(',').map(one_of).collect()
}

/// A size in bytes of the setting `name`: an integer above 0, with `K`, `M` or `G` in units of 1024, its square and its cube.
///
/// # Errors
/// A text that is none, or one out of range.
pub fn bytes(name: &str, text: &str) -> Result<usize, RunError> {
    let text = text.trim();
    let unit = |suffix: &[char], shift| Some((text.strip_suffix(suffix)?, 1_usize << shift));
    let suffixed = unit(&['K', 'k'], 10).or_else(|| unit(&['M', 'm'], 20)).or_else(|| unit(&['G', 'g'], 30));
    let (digits, unit) = suffixed.unwrap_or((text, 1));
    let number = digits.parse::<usize>().ok().filter(|n| *n > 0 && !digits.starts_with('+'));
    number.and_then(|n| n.checked_mul(unit)).ok_or_else(|| {
        let found = if text.is_empty() { "nothing".into() } else { shortened(text) };
        RunError::Value {
            message: format!("{name}: expected a number of bytes above 0, found {found}"),
            hint: Some(format!("--{name} 4000000000, or 512K, 500M, 4G")),
        }
    })
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_no_radius() {
        for bad in ["nan", "-1", "inf", "1e400", "", " ", "0.1.2", "0,1", "-inf", "1e-3x"] {
            let error = one("radius", bad, Range::NotNegative).unwrap_err().to_string();
            let start = "radius: expected a finite number of at least 0, found ";
            assert!(error.starts_with(start), "{bad}: {error}");
        }
        assert_eq!(one("radius", "-0", Range::NotNegative).unwrap().to_bits(), 0);
        assert!(list("radius", "0.1,,0.2", Range::NotNegative).is_err());
        assert_eq!(list("radius", "0.1, 5e-4", Range::NotNegative).unwrap(), [0.1, 5e-4]);
        assert!(one("std", "0", Range::Positive).is_err());
    }

    #[test]
    fn durations_have_units() {
        let read = |text| durations("time", text).ok();
        assert_eq!(read("0s, 1min,1h,2d,1y"), Some(vec![0.0, 60.0, 3600.0, 172_800.0, 31_536_000.0]));
        assert_eq!(read("0.5s"), Some(vec![0.5]));
        assert!(
            ["", "1", "s", "-1s", "1s,,2s", "nan s", "101y", "1m"].iter().all(|text| read(text).is_none())
        );
        for text in ["1s", "90s", "2h", "1d", "1y", "0.5s"] {
            assert_eq!(weightproof_figure::number::duration(read(text).unwrap()[0]), text);
        }
    }

    #[test]
    fn seconds_and_bytes() {
        assert_eq!(seconds("time-limit", "0.5").unwrap(), 0.5);
        assert!(["0", "nan", "-1", "1e300", "inf", "5s"].iter().all(|t| seconds("time-limit", t).is_err()));
        let read = |text| bytes("max-memory", text).ok();
        assert_eq!([read("17"), read("3K"), read(" 2m")], [Some(17), Some(3 << 10), Some(2 << 20)]);
        assert_eq!(read("4G"), Some(4 << 30));
        let wrong = ["", "0", "0G", "-1", "+1", "1.5G", "nan", "K", "5T", "5KB", "99999999999G", "4 G"];
        assert!(wrong.iter().all(|text| read(text).is_none()));
        let error = bytes("max-memory", "lots").unwrap_err().to_string();
        assert!(error.starts_with("max-memory: expected a number of bytes above 0, found lots"), "{error}");
    }
}
