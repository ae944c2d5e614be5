//! Axes: where numbers lie, and which ticks are written.

use crate::number::exact;
use serde::{Deserialize, Serialize};

/// How numbers lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Equal differences have equal length.
    Linear,
    /// Equal ratios have equal length; numbers that are not above zero are left out.
    Logarithmic,
    /// As linear, written in percent.
    Percent,
    /// As linear, for whole numbers.
    Count,
}

/// An axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// How numbers lie on it.
    pub scale: Scale,
}

impl Axis {
    /// An axis.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Axis { label: label.into(), scale }
    }

    /// A number as it is written at the axis.
    pub(super) fn text(&self, v: f64) -> String {
        // Ticks are multiples of a power of ten: what is beyond twelve digits is rounding.
        let short = |v: f64| exact(format!("{v:.11e}").parse().unwrap_or(v));
        match self.scale {
            Scale::Linear | Scale::Logarithmic | Scale::Count => short(v),
            Scale::Percent => format!("{}%", short(100.0 * v)),
        }
    }
}

/// An axis with a range, laid over pixels.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) axis: Axis,
    /// Range in values of [`Span::linear`].
    low: f64,
    high: f64,
    /// Pixels of the ends.
    from: f64,
    to: f64,
}

impl Span {
    /// Covers `values`; `room` is added at each end, as a fraction.
    pub(super) fn over(
        axis: &Axis,
        values: impl Iterator<Item = f64>,
        room: f64,
        (from, to): (f64, f64),
    ) -> Self {
        let mut span = Span { axis: axis.clone(), low: f64::INFINITY, high: f64::NEG_INFINITY, from, to };
        for v in values.filter_map(|v| span.linear(v)).collect::<Vec<_>>() {
            (span.low, span.high) = (span.low.min(v), span.high.max(v));
        }
        let width = span.high - span.low;
        (span.low, span.high) = match width {
            _ if !width.is_finite() => (0.0, 1.0),
            _ if width > 0.0 => (span.low - room * width, span.high + room * width),
            _ => {
                let half =
                    if axis.scale == Scale::Logarithmic { 0.5 } else { span.low.abs().max(1e-3) * 0.5 };
                (span.low - half, span.high + half)
            }
        };
        span
    }

    /// A range given in values.
    pub(super) fn fixed(axis: &Axis, (low, high): (f64, f64), pixels: (f64, f64)) -> Self {
        Span::over(axis, [low, high].into_iter(), 0.0, pixels)
    }

    /// The number on a scale where equal differences have equal length.
    fn linear(&self, v: f64) -> Option<f64> {
        match self.axis.scale {
            Scale::Linear | Scale::Percent | Scale::Count => Some(v),
            Scale::Logarithmic => (v > 0.0).then(|| v.log10()),
        }
        .filter(|v| v.is_finite())
    }

    /// Pixel of a number; `None` when it has no place.
    pub(super) fn place(&self, v: f64) -> Option<f64> {
        let part = (self.linear(v)? - self.low) / (self.high - self.low);
        Some(self.from + part * (self.to - self.from)).filter(|p| p.is_finite())
    }

    /// About `wanted` ticks, with their text.
    pub(super) fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let values = match self.axis.scale {
            Scale::Linear | Scale::Percent => self.even(wanted, 0.0),
            Scale::Count => self.even(wanted, 1.0),
            Scale::Logarithmic => self.decades(wanted),
        };
        values.into_iter().filter_map(|v| Some((self.place(v)?, self.axis.text(v)))).collect()
    }

    /// Multiples of 1, 2 or 5 times a power of ten, of at least `least`.
    fn even(&self, wanted: usize, least: f64) -> Vec<f64> {
        let rough = (self.high - self.low) / wanted.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|d| d * power)
            .into_iter()
            .find(|s| *s >= rough)
            .unwrap_or(rough)
            .max(least);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last.min(first.saturating_add(100))).map(|k| k as f64 * step).collect()
    }

    /// 1, 2 and 5 times powers of ten; fewer where they crowd.
    fn decades(&self, wanted: usize) -> Vec<f64> {
        let (first, last) = (self.low.floor() as i32, self.high.ceil() as i32);
        let decades = self.high - self.low;
        let digits: &[u32] = match decades {
            d if 3.0 * d <= 1.5 * wanted as f64 => &[1, 2, 5],
            d if 2.0 * d <= 1.5 * wanted as f64 => &[1, 3],
            _ => &[1],
        };
        let every = (decades / wanted.max(1) as f64).ceil().max(1.0) as i32;
        let mut values = Vec::new();
        for exponent in (first..=last).filter(|e| e.rem_euclid(every) == 0) {
            // Read from text: the nearest number, which powers of ten in binary miss.
            values.extend(digits.iter().filter_map(|d| format!("{d}e{exponent}").parse::<f64>().ok()));
        }
        let inside = |v: &f64| self.linear(*v).is_some_and(|v| v >= self.low - 1e-9 && v <= self.high + 1e-9);
        values.retain(inside);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let percent = Span::fixed(&Axis::new("", Scale::Percent), (0.0, 1.0), (100.0, 0.0));
        let texts: Vec<String> = percent.ticks(5).into_iter().map(|t| t.1).collect();
        assert_eq!(texts, ["0%", "20%", "40%", "60%", "80%", "100%"]);
        let log = Span::fixed(&Axis::new("", Scale::Logarithmic), (1e-4, 5e-3), (0.0, 1.0));
        let texts: Vec<String> = log.ticks(8).into_iter().map(|t| t.1).collect();
        assert_eq!(texts, ["0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005"]);
        assert_eq!(log.place(0.0), None);
        assert_eq!(log.place(f64::NAN), None);
    }

    #[test]
    fn no_numbers_and_one_number_have_an_axis() {
        for scale in [Scale::Linear, Scale::Logarithmic, Scale::Percent] {
            let axis = Axis::new("", scale);
            for values in [vec![], vec![0.5], vec![f64::INFINITY, f64::NAN]] {
                let span = Span::over(&axis, values.into_iter(), 0.1, (0.0, 10.0));
                assert!(span.place(0.5).is_some_and(f64::is_finite) && !span.ticks(5).is_empty());
            }
        }
    }
}
