//! Counts over bins of an axis, groups beside each other.

use super::axis::{Axis, Scale, Span};
use super::drawing::Drawing;
use super::frame::{self, Entry};
use super::palette::Ink;
use maud::html;

/// Height of the part with the bars.
const HEIGHT: f64 = 220.0;

/// Counts over bins.
#[derive(Clone, Debug)]
pub struct Bars {
    /// The axis of the bins.
    pub x: Axis,
    /// Names of the bins, when they are around 0, 1, 2, … and not numbers.
    pub names: Vec<String>,
    /// What is counted.
    pub y: String,
    /// The groups.
    pub groups: Vec<BarGroup>,
}

/// Bars of one look; the bins of all groups are the same.
#[derive(Clone, Debug)]
pub struct BarGroup {
    /// Its name in the legend.
    pub name: String,
    /// Its look.
    pub ink: Ink,
    /// One for each bin.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Ends of the bin.
    pub bin: (f64, f64),
    /// Samples in it.
    pub count: usize,
    /// What is said under the pointer.
    pub tip: String,
}

impl Bars {
    /// The drawing.
    pub fn draw(&self) -> Drawing {
        let entries: Vec<Entry<'_>> =
            self.groups.iter().map(|g| Entry { ink: g.ink, name: &g.name, line: false }).collect();
        let (legend, top) = frame::legend(&entries);
        let bottom = top + HEIGHT;
        let bars = || self.groups.iter().flat_map(|g| &g.bars);
        let ends = bars().flat_map(|b| [b.bin.0, b.bin.1]);
        let x = Span::over(&self.x, ends, 0.01, (frame::LEFT, frame::WIDTH - frame::RIGHT));
        let most = bars().map(|b| b.count).max().unwrap_or(0).max(1) as f64;
        let y = Span::fixed(&Axis::new(&*self.y, Scale::Count), (0.0, 1.05 * most), (bottom, top));
        // Groups that never meet in a bin need no room beside each other.
        let bins = self.groups.iter().map(|g| g.bars.len()).max().unwrap_or(0);
        let taken =
            |bin: usize| self.groups.iter().filter(|g| g.bars.get(bin).is_some_and(|b| b.count > 0)).count();
        let lanes = (0..bins).map(taken).max().unwrap_or(1).max(1);
        let share = 1.0 / if lanes > 1 { self.groups.len() as f64 } else { 1.0 };
        let place = |k: usize, bar: &Bar| {
            let (from, to) = (x.place(bar.bin.0)?, x.place(bar.bin.1)?);
            let width = (to - from - 2.0).max(1.0) * share;
            let lane = if lanes > 1 { k as f64 } else { 0.0 };
            Some((from + 1.0 + lane * width, width, y.place(bar.count as f64)?))
        };
        let named = |(k, name): (usize, &String)| Some((x.place(k as f64)?, name.clone()));
        let ticks = match self.names.as_slice() {
            [] => x.ticks(8),
            names => names.iter().enumerate().filter_map(named).collect(),
        };
        let body = html! {
            (legend)
            (frame::axes_with(&x, ticks, Some(&y), (top, bottom), frame::LEFT))
            @for (k, group) in self.groups.iter().enumerate() {
                g class="series" data-series=(k) {
                    @for bar in group.bars.iter().filter(|b| b.count > 0) {
                        @if let Some((at, width, high)) = place(k, bar) {
                            rect class={ "area item " (group.ink.class()) } x=(format!("{at:.1}")) y=(format!("{high:.1}"))
                                width=(format!("{width:.1}")) height=(format!("{:.1}", bottom - high)) fill=(group.ink.color())
                                fill-opacity="0.75" { title { (bar.tip) } }
                        }
                    }
                }
            }
        };
        frame::finish(body, bottom + frame::BELOW, vec![("kind", "bars".into())])
    }
}
