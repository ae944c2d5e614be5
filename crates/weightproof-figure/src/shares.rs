//! How wholes are divided: one bar for each of them, with its parts beside each other.

use super::axis::{Axis, Scale, Span};
use super::drawing::{Drawing, cut, text_width, words};
use super::frame::{self, Entry};
use super::palette::Ink;
use crate::number::{grouped, percent};
use maud::html;

/// Space for the names of rows.
const NAMES: f64 = 130.0;
/// Height of a bar, and of a row.
const BAR: f64 = 24.0;
const ROW: f64 = 34.0;

/// Wholes and their parts.
#[derive(Clone, Debug)]
pub struct Shares {
    /// What is counted, on the axis.
    pub of: String,
    /// Names of the parts, with their looks.
    pub parts: Vec<(String, Ink)>,
    /// The wholes: a name, and a number for each part.
    pub rows: Vec<(String, Vec<usize>)>,
}

impl Shares {
    /// The drawing.
    pub fn draw(&self) -> Drawing {
        let entries: Vec<Entry<'_>> =
            self.parts.iter().map(|(name, ink)| Entry { ink: *ink, name, line: false }).collect();
        let (legend, top) = frame::legend(&entries);
        let bottom = top + ROW * self.rows.len().max(1) as f64 + 4.0;
        let axis = Axis::new(format!("share of {}", self.of), Scale::Percent);
        let x = Span::fixed(&axis, (0.0, 1.0), (NAMES, frame::WIDTH - frame::RIGHT));
        let body = html! {
            (legend)
            (frame::axes(&x, None, (top, bottom), NAMES))
            @for (r, (name, counts)) in self.rows.iter().enumerate() {
                @let y = top + 4.0 + ROW * r as f64 + (ROW - BAR) / 2.0;
                @let whole = counts.iter().sum::<usize>().max(1) as f64;
                (words("label", (NAMES - 12.0, y + BAR / 2.0 + 4.0), "end", 12.5, &cut(name, 17)))
                @for (k, (&count, (part, ink))) in counts.iter().zip(&self.parts).enumerate() {
                    @let before = counts[..k].iter().sum::<usize>() as f64;
                    @let ends = [before, before + count as f64].map(|n| x.place(n / whole).unwrap_or(NAMES));
                    @let (width, label) = (ends[1] - ends[0], grouped(count));
                    @if count > 0 {
                        g class="series item" data-series=(k) {
                            title { (name) ": " (label) " " (part) " (" (percent(count as f64 / whole)) ")" }
                            rect class={ "area " (ink.class()) } x=(format!("{:.1}", ends[0])) y=(format!("{y:.1}")) width=(format!("{:.1}", width.max(1.0)))
                                height=(BAR) fill=(ink.color()) fill-opacity="0.35" {}
                            @if width > text_width(&label, 12.5) + 8.0 {
                                (words("label", (0.5 * (ends[0] + ends[1]), y + BAR / 2.0 + 4.5), "middle", 12.5, &label))
                            }
                        }
                    }
                }
            }
        };
        frame::finish(body, bottom + frame::BELOW, vec![("kind", "shares".into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_shares_of_their_whole() {
        let parts = vec![
            ("proved".into(), Ink::Proved),
            ("open".into(), Ink::Clean),
            ("broken".into(), Ink::Attacked),
        ];
        let shares = Shares { of: "samples".into(), parts, rows: vec![("0.1".into(), vec![30, 0, 10])] };
        let drawn = shares.draw().body.into_string();
        let widths: Vec<f64> = drawn
            .split("<g class=\"series item\"")
            .skip(1)
            .map(|part| part.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(widths.len(), 2, "nothing is drawn for a part without samples: {drawn}");
        assert!((widths[0] - 3.0 * widths[1]).abs() < 0.5, "{widths:?}");
        assert!(drawn.contains("0.1: 30 proved (75.00%)"), "{drawn}");
    }
}
