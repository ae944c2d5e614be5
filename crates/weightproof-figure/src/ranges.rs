//! Where most numbers of a group lie: one row for each group.

use super::axis::{Axis, Span};
use super::drawing::{Drawing, cut, rule, words};
use super::frame::{self, Entry};
use super::palette::Ink;
use crate::number::value;
use maud::{Markup, html};

/// Space for the names of rows.
const NAMES: f64 = 130.0;
/// Height of one range.
const LANE: f64 = 14.0;

/// Ranges of groups over an axis.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// The axis of the numbers.
    pub x: Axis,
    /// Names of the ranges of each row, with their looks.
    pub kinds: Vec<(String, Ink)>,
    /// The rows.
    pub rows: Vec<RangeRow>,
    /// A place that is marked by a line: zero for margins.
    pub mark: Option<f64>,
}

/// One row.
#[derive(Clone, Debug)]
pub struct RangeRow {
    /// Its name.
    pub name: String,
    /// One for each kind.
    pub ranges: Vec<Range>,
}

/// Quantiles of a group, where there are numbers.
pub type Range = Option<Quantiles>;

/// Where the numbers of a group lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// How many numbers.
    pub count: usize,
    /// 5%, 25%, 50%, 75% and 95%, the lower one of two.
    pub at: [f64; 5],
}

impl Quantiles {
    /// Of some numbers; those that are not finite count as the smallest.
    pub fn new(values: impl Iterator<Item = f64>) -> Range {
        let known = |v: f64| if v.is_nan() { f64::NEG_INFINITY } else { v };
        let mut values: Vec<f64> = values.map(known).collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = [0.05, 0.25, 0.5, 0.75, 0.95].map(|p| values[(p * last as f64) as usize]);
        Some(Quantiles { count: values.len(), at })
    }

    fn tip(&self, name: &str) -> String {
        let [a, b, median, c, d] = self.at.map(value);
        format!(
            "{name}: median {median}, middle half {b} to {c}, 5% to 95% {a} to {d}, {} samples",
            self.count
        )
    }
}

impl Ranges {
    /// The drawing.
    pub fn draw(&self) -> Drawing {
        let entries: Vec<Entry<'_>> =
            self.kinds.iter().map(|(name, ink)| Entry { ink: *ink, name, line: false }).collect();
        let (legend, top) = frame::legend(&entries);
        let pitch = LANE * self.kinds.len().max(1) as f64 + 12.0;
        let bottom = top + pitch * self.rows.len().max(1) as f64 + 4.0;
        let (left, right) = (NAMES, frame::WIDTH - frame::RIGHT);
        let numbers = self.rows.iter().flat_map(|r| &r.ranges).flatten().flat_map(|q| q.at);
        let x = Span::over(&self.x, numbers.chain(self.mark), 0.03, (left, right));
        let body = html! {
            (legend)
            (frame::axes(&x, None, (top, bottom), left))
            @if let Some(at) = self.mark.and_then(|m| x.place(m)) { (rule("axis", (at, top), (at, bottom))) }
            @for (r, row) in self.rows.iter().enumerate() {
                @let middle = top + 4.0 + pitch * (r as f64 + 0.5);
                (words("label", (left - 12.0, middle + 4.0), "end", 12.5, &cut(&row.name, 17)))
                @for (k, range) in row.ranges.iter().enumerate() {
                    @let at = middle + LANE * (k as f64 + 0.5 - 0.5 * self.kinds.len() as f64);
                    @if let Some(q) = range { (draw(k, self.kinds[k].1, q, at, &row.name, &x)) }
                }
            }
        };
        frame::finish(body, bottom + frame::BELOW, vec![("kind", "ranges".into())])
    }
}

/// A line from 5% to 95%, a bar over the middle half, a marker at the median.
fn draw(k: usize, ink: Ink, q: &Quantiles, y: f64, name: &str, x: &Span) -> Markup {
    // What has no place, such as 0 on a logarithmic axis, ends at the left.
    let left = NAMES;
    let [a, b, median, c, d] = q.at.map(|v| x.place(v).unwrap_or(left));
    html! {
        g class="series item" data-series=(k) {
            title { (q.tip(name)) }
            rect class="hit" x=(format!("{:.1}", a - 4.0)) y=(format!("{:.1}", y - LANE / 2.0)) width=(format!("{:.1}", d - a + 8.0))
                height=(LANE) fill="none" {}
            line class={ "line " (ink.class()) } x1=(format!("{a:.1}")) x2=(format!("{d:.1}")) y1=(format!("{y:.1}")) y2=(format!("{y:.1}"))
                stroke=(ink.color()) stroke-width="1.5" {}
            rect class={ "area " (ink.class()) } x=(format!("{b:.1}")) y=(format!("{:.1}", y - 4.0)) width=(format!("{:.1}", (c - b).max(1.0)))
                height="8" rx="2" fill=(ink.color()) fill-opacity="0.45" {}
            (ink.marker(median, y))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numbers_of_the_group() {
        let q = Quantiles::new((0..=100).map(f64::from)).unwrap();
        assert_eq!(q.at, [5.0, 25.0, 50.0, 75.0, 95.0]);
        assert_eq!(Quantiles::new(std::iter::empty()), None);
        assert_eq!(Quantiles::new([f64::NAN, 1.0].into_iter()).unwrap().at[2], f64::NEG_INFINITY);
    }
}
