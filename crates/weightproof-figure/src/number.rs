//! How numbers are written for people.

/// A fraction as a percentage.
pub fn percent(fraction: f64) -> String {
    if fraction.is_finite() { format!("{:.2}%", 100.0 * fraction) } else { "-".into() }
}

/// A percentage that may be missing.
pub fn percent_or_dash(fraction: Option<f64>) -> String {
    fraction.map_or_else(|| "-".into(), percent)
}

/// A measured or proved number with four digits after the point, more where it is small, or in scientific form.
pub fn value(v: f64) -> String {
    match v {
        _ if v.is_nan() => "-".into(),
        _ if v == f64::NEG_INFINITY => "-inf".into(),
        _ if v == f64::INFINITY => "inf".into(),
        _ if v == 0.0 => "0".into(),
        _ if v.abs() >= 1e6 || v.abs() < 1e-3 => format!("{v:.3e}"),
        _ => {
            let zeros = (-v.abs().log10().floor() - 1.0).max(0.0) as usize;
            format!("{v:.0$}", 4 + zeros)
        }
    }
}

/// A proved upper bound, as [`value`], but rounded up: what is written is proved, too.
pub fn upper(v: f64) -> String {
    let is_below = |text: &String| text.parse().is_ok_and(|written: f64| written < v);
    let above = |step: i32| value(v + f64::from(step) * (1e-5 * v.abs()).min(f64::MAX));
    (0..).map(above).find(|text| !is_below(text)).expect("a step changes the last digit")
}

/// A number that may be missing.
pub fn value_or_dash(v: Option<f64>) -> String {
    v.map_or_else(|| "-".into(), value)
}

/// A number as its user wrote it: the shortest text that reads back as the same number.
pub fn exact(v: f64) -> String {
    if !v.is_finite() {
        String::new()
    } else if v == 0.0 || (1e-5..1e16).contains(&v.abs()) {
        v.to_string()
    } else {
        format!("{v:e}")
    }
}

/// Units of durations, in seconds: a year has 365 days.
pub const DURATIONS: [(&str, f64); 5] =
    [("y", 31_536_000.0), ("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)];

/// Seconds in the largest unit that they are a multiple of: `1h`, `90s`, `0.5s`.
pub fn duration(seconds: f64) -> String {
    let fits = |size: f64| seconds >= size && seconds % size == 0.0;
    let (unit, size) = DURATIONS.into_iter().find(|(_, size)| fits(*size)).unwrap_or(("s", 1.0));
    format!("{}{unit}", exact(seconds / size))
}

/// An integer with a comma before every third digit.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A shape: `1x28x28`.
pub fn shape(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(percent(0.825), "82.50%");
        assert_eq!(value(-3.23456), "-3.2346");
        assert_eq!(value(0.00184), "0.001840");
        assert_eq!(value(1.5e-7), "1.500e-7");
        assert_eq!(value(f64::NAN), "-");
        assert_eq!(grouped(111_146), "111,146");
        assert_eq!(grouped(46), "46");
        assert_eq!(shape(&[1, 28, 28]), "1x28x28");
    }

    #[test]
    fn upper_bounds_are_written_rounded_up() {
        assert_eq!(upper(4.496_636), "4.4967");
        assert_eq!(upper(0.25), "0.2500");
        for v in [1e-12, 1.000_04e-5, 0.001_840_04, 0.999_951, 12_345.678_91, 9.999_4e9, -3.234_56] {
            let written: f64 = upper(v).parse().unwrap();
            assert!(written >= v && (written - v).abs() <= 2e-3 * v.abs(), "{v} {written}");
        }
        assert_eq!((upper(f64::INFINITY), upper(f64::NAN)), ("inf".into(), "-".into()));
    }

    #[test]
    fn exact_numbers_read_back() {
        for v in [0.0005, 1e-7, 3.0, 1e300, 0.1 + 0.2, -2.5e-9] {
            assert_eq!(exact(v).parse::<f64>().unwrap(), v);
        }
        assert_eq!(exact(0.0005), "0.0005");
        assert_eq!(exact(f64::NEG_INFINITY), "");
    }
}
