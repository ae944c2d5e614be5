//! Lines over an axis, with bands between them.

use super::axis::{Axis, Scale, Span};
use super::drawing::{Drawing, words};
use super::frame::{self, Entry};
use super::palette::Ink;
use crate::number::exact;
use maud::{Markup, html};
use serde::{Deserialize, Serialize, Serializer};

/// Height of the part with the lines.
const HEIGHT: f64 = 300.0;
/// Lines with more points have no markers.
const MARKED: usize = 40;

/// Lines over an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// Name of its file.
    pub name: String,
    /// Title.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis; large shares reach from 0 to 100%.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
    /// Whether the points of a line are joined; else there are only markers.
    #[serde(default = "joined")]
    pub joined: bool,
    /// Areas behind them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bands: Vec<Band>,
}

fn joined() -> bool {
    true
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its look.
    pub ink: Ink,
    /// Its points; those that are not finite are left out.
    #[serde(serialize_with = "finite")]
    pub points: Vec<(f64, f64)>,
}

/// An area between two lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// What it says, written where it is widest.
    pub name: String,
    /// Place, lower and upper end.
    pub points: Vec<(f64, f64, f64)>,
}

/// JSON has no numbers that are not finite.
fn finite<S: Serializer>(points: &[(f64, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()))
}

impl Chart {
    /// Lines with a name and points each, in looks that differ.
    pub fn of_lines(
        name: &str,
        title: String,
        (x, y): (Axis, Axis),
        lines: impl IntoIterator<Item = (String, Vec<(f64, f64)>)>,
    ) -> Self {
        let series = |(k, (name, points))| Series { name, ink: Ink::of(k), points };
        let series = lines.into_iter().enumerate().map(series).collect();
        Chart { name: name.into(), title, x, y, series, joined: true, bands: Vec::new() }
    }

    /// The drawing.
    pub fn draw(&self) -> Drawing {
        let entries: Vec<Entry<'_>> =
            self.series.iter().map(|s| Entry { ink: s.ink, name: &s.name, line: true }).collect();
        let (legend, top) = frame::legend(&entries);
        let bottom = top + HEIGHT;
        let (left, right) = (frame::LEFT, frame::WIDTH - frame::RIGHT);
        let points = || self.series.iter().flat_map(|s| &s.points);
        let x = Span::over(&self.x, points().map(|p| p.0), 0.02, (left, right));
        let y = match self.y.scale {
            Scale::Percent => Span::fixed(&self.y, percent(points().map(|p| p.1)), (bottom, top)),
            Scale::Linear | Scale::Logarithmic | Scale::Count => {
                Span::over(&self.y, points().map(|p| p.1), 0.05, (bottom, top))
            }
        };
        let body = html! {
            (legend)
            (frame::axes(&x, Some(&y), (top, bottom), left))
            @for band in &self.bands { (draw_band(band, &x, &y)) }
            @for (k, series) in self.series.iter().enumerate() { (draw_series((k, self.joined), series, &x, &y)) }
        };
        let data = vec![
            ("kind", "chart".to_owned()),
            ("left", format!("{left:.0}")),
            ("right", format!("{right:.0}")),
            ("top", format!("{top:.0}")),
            ("bottom", format!("{bottom:.0}")),
            ("percent", (self.y.scale == Scale::Percent).to_string()),
            ("x-label", self.x.label.clone()),
        ];
        frame::finish(body, bottom + frame::BELOW, data)
    }
}

/// From 0 to 100% where shares are large, else up to the largest.
fn percent(shares: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = shares.filter(|s| s.is_finite());
    let (least, most) = finite.fold((0.0, 0.0), |(a, b): (f64, f64), s| (a.min(s), b.max(s)));
    (least, if most > 0.4 || most == 0.0 { most.max(1.0) } else { 1.1 * most })
}

fn draw_band(band: &Band, x: &Span, y: &Span) -> Markup {
    let place = |&(at, low, high): &(f64, f64, f64)| Some((x.place(at)?, y.place(low)?, y.place(high)?));
    let points: Vec<(f64, f64, f64)> = band.points.iter().filter_map(place).collect();
    let upper = points.iter().map(|p| format!("{:.1} {:.1}", p.0, p.2));
    let lower = points.iter().rev().map(|p| format!("{:.1} {:.1}", p.0, p.1));
    let path = upper.chain(lower).collect::<Vec<_>>().join("L");
    // Between two points, so that the words do not stick out.
    let middle = |(a, b): (&(f64, f64, f64), &(f64, f64, f64))| {
        (f64::midpoint(a.0, b.0), f64::midpoint(a.1, b.1), f64::midpoint(a.2, b.2))
    };
    let middles = points.iter().zip(points.iter().skip(1)).map(middle);
    let widest = middles.max_by(|a, b| (a.1 - a.2).total_cmp(&(b.1 - b.2)));
    html! {
        @if points.len() > 1 {
            path class="band" d=(format!("M{path}Z")) fill="#8a939c" fill-opacity="0.2" {}
            @if let Some(p) = widest.filter(|p| p.1 - p.2 > 34.0) {
                (words("band-name", (p.0, f64::midpoint(p.1, p.2) + 4.0), "middle", 12.0, &band.name))
            }
        }
    }
}

fn draw_series((k, joined): (usize, bool), series: &Series, x: &Span, y: &Span) -> Markup {
    let place = |&(a, b): &(f64, f64)| Some(((x.place(a)?, y.place(b)?), (a, b)));
    let points: Vec<_> = series.points.iter().filter_map(place).collect();
    let path = points.iter().map(|((x, y), _)| format!("{x:.1} {y:.1}")).collect::<Vec<_>>().join("L");
    // Pixels and values, for the value under the pointer.
    let data = points.iter().map(|((px, py), (a, b))| format!("{px:.1},{py:.1},{},{}", exact(*a), short(*b)));
    html! {
        g class="series" data-series=(k) data-name=(series.name) data-points=(data.collect::<Vec<_>>().join(" ")) {
            @if joined && points.len() > 1 {
                path class={ "line " (series.ink.class()) } d=(format!("M{path}")) stroke=(series.ink.color()) stroke-width="2"
                    stroke-dasharray=(series.ink.dash()) stroke-linejoin="round" fill="none" {}
            }
            @if !joined || points.len() <= MARKED { @for ((x, y), _) in &points { (series.ink.marker(*x, *y)) } }
        }
    }
}

/// Six digits are enough under a pointer.
fn short(v: f64) -> String {
    format!("{v:.5e}").parse().map_or_else(|_| String::new(), exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            name: "p".into(),
            title: "Title".into(),
            x: Axis::new("radius [unit of the weights]", Scale::Logarithmic),
            y: Axis::new("accuracy", Scale::Percent),
            series: vec![Series { name: "a line".into(), ink: Ink::Proved, points }],
            joined: true,
            bands: vec![Band { name: "open".into(), points: vec![(0.001, 0.1, 0.9), (0.01, 0.2, 0.8)] }],
        }
    }

    #[test]
    fn text_stays_text() {
        let file = chart(vec![(0.001, 0.9), (0.01, 0.5)]).draw().file("Title", "caption");
        for text in ["Title", "radius [unit of the weights]", "a line", "caption", "open", "<path", "<text"] {
            assert!(file.contains(text), "{text}: {file}");
        }
    }

    #[test]
    fn points_that_have_no_place_are_left_out() {
        let chart = chart(vec![(0.0, 0.9), (0.01, f64::NAN), (0.1, 0.5)]);
        let file = chart.draw().file("", "");
        assert!(file.contains("0.1,0.5\"") && !file.contains("NaN"), "{file}");
        let back: Chart = serde_json::from_str(&serde_json::to_string(&chart).unwrap()).unwrap();
        assert_eq!(back.series[0].points, [(0.0, 0.9), (0.1, 0.5)]);
        assert!(self::chart(Vec::new()).draw().file("", "").contains("</svg>"));
    }
}
