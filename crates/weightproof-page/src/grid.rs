//! Tables of a page.

use maud::{Markup, html};

/// Tables with more columns have smaller letters on paper.
const WIDE: usize = 10;

/// A table whose columns can be sorted.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// What it shows, for screen readers.
    pub caption: String,
    /// Columns.
    pub columns: Vec<GridColumn>,
    /// Rows.
    pub rows: Vec<Vec<GridCell>>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct GridColumn {
    /// Its name.
    pub name: String,
    /// What its numbers are worth; empty for words.
    pub guarantee: String,
    /// Whether it has numbers.
    pub numeric: bool,
    /// Field of the result that it shows, for those who look for it.
    pub field: &'static str,
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct GridCell {
    /// What is written.
    pub text: String,
    /// The number as it is in the file.
    pub value: Option<f64>,
}

impl GridColumn {
    /// A column of words.
    pub(super) fn words(name: &str) -> Self {
        GridColumn { name: name.into(), guarantee: String::new(), numeric: false, field: "" }
    }

    /// A column of numbers.
    pub(super) fn number(name: &str, guarantee: &str, field: &'static str) -> Self {
        GridColumn { name: name.into(), guarantee: guarantee.into(), numeric: true, field }
    }
}

impl GridCell {
    /// Words.
    pub(super) fn words(text: impl Into<String>) -> Self {
        GridCell { text: text.into(), value: None }
    }

    /// A number, written by `text`.
    pub(super) fn number(value: Option<f64>, text: impl Fn(f64) -> String) -> Self {
        let value = value.filter(|v| !v.is_nan());
        GridCell { text: value.map_or_else(|| "–".into(), text), value }
    }

    /// A count.
    pub(super) fn count(n: usize) -> Self {
        GridCell { text: weightproof_figure::number::grouped(n), value: Some(n as f64) }
    }

    /// A fraction, in percent.
    pub(super) fn percent(fraction: Option<f64>) -> Self {
        GridCell::number(fraction, weightproof_figure::number::percent)
    }

    /// A measured or proved number.
    pub(super) fn value(value: Option<f64>) -> Self {
        GridCell::number(value, weightproof_figure::number::value)
    }

    /// A number as its user wrote it.
    pub(super) fn exact(value: Option<f64>) -> Self {
        GridCell::number(value, weightproof_figure::number::exact)
    }
}

impl Grid {
    /// Leaves out columns of numbers that no row has.
    pub(super) fn drop_empty(&mut self) {
        let empty = |grid: &Grid, k: usize| {
            grid.columns[k].numeric && grid.rows.iter().all(|row| row[k].value.is_none())
        };
        for k in (0..self.columns.len()).rev() {
            if empty(self, k) {
                self.columns.remove(k);
                self.rows.iter_mut().for_each(|row| drop(row.remove(k)));
            }
        }
    }

    /// The table.
    pub(super) fn html(&self) -> Markup {
        // A row with what the columns are worth, where that says something.
        let worth = self.columns.iter().any(|c| !c.guarantee.is_empty());
        html! {
            div class="scroll" tabindex="0" role="group" aria-label=(self.caption) {
                table class=(if self.columns.len() > WIDE { "sortable wide" } else { "sortable" }) {
                    caption class="visually-hidden" { (self.caption) }
                    thead {
                        tr {
                            @for column in &self.columns {
                                th scope="col" class=[column.numeric.then_some("number")] {
                                    span class="name" { (column.name) }
                                    @if worth && !column.guarantee.is_empty() { (super::section::badge(&column.guarantee)) }
                                }
                            }
                        }
                    }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (cell, column) in row.iter().zip(&self.columns) {
                                    td class=[column.numeric.then_some("number")] data-value=[cell.value.map(full)]
                                        data-field=[(!column.field.is_empty()).then_some(column.field)] { (cell.text) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// All digits of a number.
pub(super) fn full(v: f64) -> String {
    if v.is_infinite() {
        if v > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        weightproof_figure::number::exact(v)
    }
}
