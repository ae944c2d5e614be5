//! A figure on a page: heading, drawing, what it shows, and its numbers as a table.

use super::grid::Grid;
use maud::{Markup, html};
use weightproof_figure::{Chart, Drawing};

/// A figure with its words.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Name of its file.
    pub name: String,
    /// Title.
    pub title: String,
    /// What is proved in it, and what is measured.
    pub caption: String,
    /// The drawing.
    pub drawing: Drawing,
    /// Its numbers.
    pub table: Grid,
}

impl Figure {
    /// A chart, under its own name and title.
    pub(super) fn of_chart(chart: Chart, caption: String, table: Grid) -> Self {
        let drawing = chart.draw();
        Figure { name: chart.name, title: chart.title, caption, drawing, table }
    }

    /// As a file of its own.
    pub fn svg(&self) -> String {
        self.drawing.file(&self.title, &self.caption)
    }

    /// As part of a page; `id` is its own.
    pub(super) fn html(&self, id: &str) -> Markup {
        html! {
            figure id=(id) class="figure" aria-labelledby={ (id) "-title" } {
                h3 id={ (id) "-title" } { (self.title) }
                (self.drawing.inline(&format!("{id}-drawing"), &format!("{}. The numbers are in the table below.", self.title)))
                figcaption { (self.caption) }
                @if !self.table.rows.is_empty() {
                    details class="numbers" {
                        summary { "Numbers of this figure" }
                        (self.table.html())
                    }
                }
            }
        }
    }
}
