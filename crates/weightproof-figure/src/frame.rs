//! What charts, bars and ranges share: the axes around the marks, and the legend above them.

use super::axis::Span;
use super::drawing::{Drawing, cut, rule, text_width, words};
use super::palette::Ink;
use maud::{Markup, html};

/// Width of all figures.
pub(super) const WIDTH: f64 = 760.0;
/// Space around the marks: left, right, below.
pub(super) const LEFT: f64 = 70.0;
pub(super) const RIGHT: f64 = 24.0;
pub(super) const BELOW: f64 = 54.0;
/// Height of a row of the legend.
const ROW: f64 = 24.0;
/// Sizes of text.
const TICK: f64 = 12.0;
const NAME: f64 = 13.0;

/// An entry of the legend.
pub(super) struct Entry<'a> {
    pub(super) ink: Ink,
    pub(super) name: &'a str,
    /// A line with a marker, or a box.
    pub(super) line: bool,
}

/// The legend, and its height.
pub(super) fn legend(entries: &[Entry<'_>]) -> (Markup, f64) {
    const MOST: usize = 60;
    let (mut x, mut y) = (LEFT, 6.0);
    let mut places = Vec::new();
    for entry in entries {
        let name = cut(entry.name, MOST);
        let width = 36.0 + text_width(&name, NAME) + 18.0;
        if x > LEFT && x + width > WIDTH - 4.0 {
            (x, y) = (LEFT, y + ROW);
        }
        places.push((x, y, name, width));
        x += width;
    }
    let height = if entries.is_empty() { 12.0 } else { y + ROW + 8.0 };
    let drawn = html! {
        @for (k, (entry, (x, y, name, width))) in entries.iter().zip(&places).enumerate() {
            g class="key" data-series=(k) data-name=(entry.name) {
                rect class="hit" x=(format!("{:.1}", x - 4.0)) y=(format!("{y:.1}")) width=(format!("{:.1}", width - 10.0)) height="20" rx="4" fill="none" {}
                @if entry.line {
                    path class={ "line " (entry.ink.class()) } d=(format!("M{:.1} {:.1}h26", x, y + 10.0)) stroke=(entry.ink.color())
                        stroke-width="2" stroke-dasharray=(entry.ink.dash()) fill="none" {}
                    (entry.ink.marker(x + 13.0, y + 10.0))
                } @else {
                    rect class={ "area " (entry.ink.class()) } x=(format!("{:.1}", x + 6.0)) y=(format!("{:.1}", y + 4.0)) width="14" height="12"
                        fill=(entry.ink.color()) fill-opacity="0.75" {}
                }
                (words("label", (x + 33.0, y + 14.5), "start", NAME, name))
            }
        }
    };
    (drawn, height)
}

/// Grid, ticks and names of both axes; the marks lie above `bottom`.
pub(super) fn axes(x: &Span, y: Option<&Span>, vertical: (f64, f64), left: f64) -> Markup {
    axes_with(x, x.ticks(8), y, vertical, left)
}

/// The same with ticks of one's own on the horizontal axis.
pub(super) fn axes_with(
    x: &Span,
    ticks: Vec<(f64, String)>,
    y: Option<&Span>,
    (top, bottom): (f64, f64),
    left: f64,
) -> Markup {
    let right = WIDTH - RIGHT;
    html! {
        g class="axes" aria-hidden="true" {
            @for (at, text) in ticks {
                (rule("grid", (at, top), (at, bottom)))
                (words("tick", (at, bottom + 19.0), "middle", TICK, &text))
            }
            @if let Some(y) = y {
                @for (at, text) in y.ticks(5) {
                    (rule("grid", (left, at), (right, at)))
                    (words("tick", (left - 8.0, at + 4.0), "end", TICK, &text))
                }
                text class="label" transform=(format!("translate(16 {:.1}) rotate(-90)", (top + bottom) / 2.0)) text-anchor="middle"
                    font-size=(NAME) fill=(super::drawing::TEXT) { (y.axis.label) }
            }
            (rule("axis", (left, bottom), (right, bottom)))
            (words("label", ((left + right) / 2.0, bottom + 42.0), "middle", NAME, &x.axis.label))
        }
    }
}

/// The whole figure.
pub(super) fn finish(body: Markup, height: f64, data: Vec<(&'static str, String)>) -> Drawing {
    Drawing { width: WIDTH, height, body, data }
}
