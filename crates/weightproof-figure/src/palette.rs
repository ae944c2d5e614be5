//! Colours, dashes and markers of series.

use maud::{Markup, html};
use serde::{Deserialize, Serialize};

/// Okabe and Ito's palette (2008), which colour-blind people tell apart, without yellow, which is hard to see on white.
const COLORS: [&str; 7] = ["#0072b2", "#d55e00", "#3d3d3d", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const DASHES: [&str; 7] = ["none", "8 4", "2 3", "10 3 2 3", "5 2", "14 4", "1 3"];

/// Size of a marker, from its middle.
const MARKER: f64 = 3.6;

/// The look of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ink {
    /// What was proved: the accent colour.
    #[default]
    Proved,
    /// What was found by an attack.
    Attacked,
    /// What was measured without perturbation.
    Clean,
    /// Further series, by number.
    Other(usize),
    /// What an attack found about line `k` of several that are alike: its colour, dotted.
    Under(usize),
}

/// Dots of what an attack found about one of several lines.
const DOTS: &str = "2 4";

impl Ink {
    /// The look of line `k` of several that are alike.
    pub fn of(k: usize) -> Self {
        [Ink::Proved, Ink::Attacked, Ink::Clean].get(k).copied().unwrap_or(Ink::Other(k.saturating_sub(3)))
    }

    /// Number of the look; more series than looks repeat colours with other markers.
    fn number(self) -> usize {
        match self {
            Ink::Proved => 0,
            Ink::Attacked => 1,
            Ink::Clean => 2,
            Ink::Other(k) => 3 + k,
            Ink::Under(k) => Ink::of(k).number(),
        }
    }

    /// The class by which a page restyles it.
    pub(super) fn class(self) -> String {
        format!("ink-{}", self.number() % COLORS.len())
    }

    /// As `#rrggbb`.
    pub fn color(self) -> &'static str {
        COLORS[self.number() % COLORS.len()]
    }

    /// Lengths of dashes and gaps, or `none`.
    pub fn dash(self) -> &'static str {
        if matches!(self, Ink::Under(_)) {
            return DOTS;
        }
        DASHES[self.number() % DASHES.len()]
    }

    /// The marker around a point.
    pub(super) fn marker(self, x: f64, y: f64) -> Markup {
        let class = format!("mark {}", self.class());
        let corners = |list: &[(f64, f64)]| {
            let place = |(a, b): &(f64, f64)| format!("{:.1},{:.1}", x + MARKER * a, y + MARKER * b);
            list.iter().map(place).collect::<Vec<_>>().join(" ")
        };
        let shape: &[(f64, f64)] = match self.number() % 6 {
            0 => {
                return html! { circle class=(class) cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r=(MARKER) fill=(self.color()) {} };
            }
            1 => &[(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
            2 => &[(0.0, -1.3), (1.2, 0.9), (-1.2, 0.9)],
            3 => &[(0.0, -1.4), (1.4, 0.0), (0.0, 1.4), (-1.4, 0.0)],
            4 => &[(0.0, 1.3), (1.2, -0.9), (-1.2, -0.9)],
            _ => &[(-1.2, -0.4), (0.0, -1.2), (1.2, -0.4), (0.8, 1.0), (-0.8, 1.0)],
        };
        html! { polygon class=(class) points=(corners(shape)) fill=(self.color()) {} }
    }
}
