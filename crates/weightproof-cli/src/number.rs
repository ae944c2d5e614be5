//! Numbers from the command line: every error names the flag, what was expected and what was found.

use crate::error::Failure;

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

/// One number of the flag `--name`.
pub fn one(name: &str, text: &str, range: Range) -> Result<f64, Failure> {
    let value = text.trim().parse().ok().filter(|v| range.contains(*v));
    // Minus zero is zero.
    value.map(|v| v + 0.0).ok_or_else(|| {
        let found = if text.trim().is_empty() { "nothing".into() } else { shortened(text) };
        Failure::new(format!("{name}: expected {}, found {found}", range.expected()))
    })
}

/// Numbers of the flag `--name`, separated by commas.
pub fn list(name: &str, text: &str, range: Range) -> Result<Vec<f64>, Failure> {
    text.split(',').map(|part| one(name, part, range)).collect()
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
            let start = "error: radius: expected a finite number of at least 0, found ";
            assert!(error.starts_with(start), "{bad}: {error}");
        }
        assert_eq!(one("radius", "-0", Range::NotNegative).unwrap().to_bits(), 0);
        assert!(list("radius", "0.1,,0.2", Range::NotNegative).is_err());
        assert_eq!(list("radius", "0.1, 5e-4", Range::NotNegative).unwrap(), [0.1, 5e-4]);
        assert!(one("std", "0", Range::Positive).is_err());
    }
}
