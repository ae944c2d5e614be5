//! Parts of a page.

use super::figure::Figure;
use maud::{Markup, html};

/// What one study, training run or experiment has to say.
pub(super) struct Chapter {
    /// Title.
    pub(super) title: String,
    /// What it is about, in a sentence or two.
    pub(super) lead: Markup,
    /// Its parts.
    pub(super) sections: Vec<Section>,
}

/// A part under a heading.
pub(super) struct Section {
    /// Part of its address.
    pub(super) id: &'static str,
    /// Heading.
    pub(super) title: &'static str,
    /// Words, tables and figures.
    pub(super) blocks: Vec<Block>,
}

/// Something in a section.
pub(super) enum Block {
    /// A figure with its table.
    Figure(Box<Figure>),
    /// A figure that is folded up at first.
    Folded(Box<Figure>),
    /// Anything else.
    Html(Markup),
}

impl From<Figure> for Block {
    fn from(figure: Figure) -> Self {
        Block::Figure(Box::new(figure))
    }
}

impl From<Markup> for Block {
    fn from(markup: Markup) -> Self {
        Block::Html(markup)
    }
}

/// All figures; names that repeat get a number.
pub(super) fn figures(chapters: Vec<Chapter>) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    for block in chapters.into_iter().flat_map(|c| c.sections).flat_map(|s| s.blocks) {
        let (Block::Figure(mut figure) | Block::Folded(mut figure)) = block else { continue };
        let taken = |name: &str, figures: &[Figure]| figures.iter().any(|f| f.name == name);
        let (stem, mut number) = (figure.name.clone(), 2);
        while taken(&figure.name, &figures) {
            figure.name = format!("{stem}-{number}");
            number += 1;
        }
        figures.push(*figure);
    }
    figures
}

/// What a number is worth, as a small label.
pub(super) fn badge(guarantee: &str) -> Markup {
    let (class, text, title) = match guarantee {
        "rigorous" => ("proved", "proved, rigorous", "a proof that covers rounding"),
        "real-arithmetic" => {
            ("proved", "proved", "a proof in real arithmetic: rounding of the bound is not covered")
        }
        "estimate" => {
            ("estimate", "found by search", "an estimate: a search that finds nothing proves nothing")
        }
        "measured" => ("measured", "measured", "measured on the samples, without perturbation"),
        "witness" => ("estimate", "witness", "a perturbation that was checked"),
        _ => ("measured", "", ""),
    };
    html! {
        @if text.is_empty() { span class={ "badge " (class) } { (guarantee) } }
        @else { span class={ "badge " (class) } title=(title) data-guarantee=(guarantee) { (text) } }
    }
}

/// What the labels mean, for the foot of a page.
pub(super) fn words() -> Markup {
    html! {
        dl class="legend-words" {
            dt { (badge("rigorous")) } dd { "A mathematical proof that also covers the rounding of the program that computed it." }
            dt { (badge("real-arithmetic")) }
            dd { "A mathematical proof for exact numbers (" code { "real-arithmetic" } "). It was computed in floating point, whose rounding it does not cover." }
            dt { (badge("estimate")) }
            dd { "What a search found. A sample that a search did not break may still be breakable: this is an upper bound of what holds, not a proof." }
            dt { (badge("measured")) } dd { "Counted on the samples with the network as it is." }
        }
    }
}
