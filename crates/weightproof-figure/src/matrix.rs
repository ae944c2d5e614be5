//! Counts of pairs, as a grid of cells.

use super::drawing::{Drawing, cut, words};
use super::frame;
use super::palette::Ink;
use maud::{Markup, html};

/// Space for the names of rows, and above the cells.
const LEFT: f64 = 110.0;
const TOP: f64 = 46.0;

/// A grid of cells.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// What the rows are.
    pub row_label: String,
    /// What the columns are.
    pub column_label: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Row after row.
    pub cells: Vec<MatrixCell>,
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct MatrixCell {
    /// How dark it is; 0 stays empty.
    pub weight: f64,
    /// What stands in it, above.
    pub first: String,
    /// What stands in it, below.
    pub second: String,
    /// What is said under the pointer.
    pub tip: String,
}

impl Matrix {
    /// The drawing.
    pub fn draw(&self) -> Drawing {
        let count = self.columns.len().max(1) as f64;
        let width = ((frame::WIDTH - LEFT - 16.0) / count).min(96.0);
        let height = (width * 0.62).clamp(22.0, 44.0);
        let most = self.cells.iter().map(|c| c.weight).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let bottom = TOP + height * self.rows.len() as f64;
        let middle = LEFT + width * count / 2.0;
        let body = html! {
            (words("label", (middle, 16.0), "middle", 13.0, &self.column_label))
            text class="label" transform=(format!("translate(16 {:.1}) rotate(-90)", f64::midpoint(TOP, bottom))) text-anchor="middle"
                font-size="13" fill=(super::drawing::TEXT) { (self.row_label) }
            @for (k, name) in self.columns.iter().enumerate() {
                (words("tick", (LEFT + width * (k as f64 + 0.5), TOP - 9.0), "middle", 12.0, &cut(name, 10)))
            }
            @for (r, name) in self.rows.iter().enumerate() {
                (words("tick", (LEFT - 10.0, TOP + height * (r as f64 + 0.5) + 4.0), "end", 12.0, &cut(name, 12)))
            }
            @for (k, cell) in self.cells.iter().enumerate() {
                @let (r, c) = (k / self.columns.len().max(1), k % self.columns.len().max(1));
                (draw(cell, cell.weight / most, (LEFT + width * c as f64, TOP + height * r as f64), (width, height)))
            }
        };
        frame::finish(body, bottom + 14.0, vec![("kind", "matrix".into())])
    }
}

fn draw(cell: &MatrixCell, part: f64, (x, y): (f64, f64), (width, height): (f64, f64)) -> Markup {
    let small = if width < 44.0 { 9.5 } else { 11.5 };
    // Dark cells have white words, in a file; a page has its own rule.
    let dark = part > 0.75;
    let class = if dark { "cell dark" } else { "cell" };
    let fill = if dark { "#ffffff" } else { super::drawing::TEXT };
    let line = |dy: f64, size: f64, text: &str| {
        html! {
            text class=(class) x=(format!("{:.1}", x + width / 2.0)) y=(format!("{:.1}", y + height / 2.0 + dy)) text-anchor="middle"
                font-size=(size) fill=(fill) { (text) }
        }
    };
    let two = height > 30.0 && width > 44.0 && !cell.second.is_empty();
    html! {
        g class="item" {
            @if !cell.tip.is_empty() { title { (cell.tip) } }
            rect class="empty" x=(format!("{:.1}", x + 1.0)) y=(format!("{:.1}", y + 1.0)) width=(format!("{:.1}", width - 2.0))
                height=(format!("{:.1}", height - 2.0)) rx="3" fill="#f1f3f5" {}
            @if part > 0.0 {
                rect class={ "heat " (Ink::Proved.class()) } x=(format!("{:.1}", x + 1.0)) y=(format!("{:.1}", y + 1.0))
                    width=(format!("{:.1}", width - 2.0)) height=(format!("{:.1}", height - 2.0)) rx="3" fill=(Ink::Proved.color())
                    fill-opacity=(format!("{:.2}", 0.1 + 0.8 * part)) {}
                @if two {
                    (line(-2.5, small + 1.0, &cell.first))
                    (line(11.5, small - 1.5, &cell.second))
                } @else if width >= 20.0 { (line(4.0, small, &cell.first)) }
            }
        }
    }
}
