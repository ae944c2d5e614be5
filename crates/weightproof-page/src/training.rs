//! A training run: how loss and accuracies went.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn, full};
use super::section::{Block, Chapter, Section, badge};
use super::settings::{facts, hash, json, layers, rows};
use maud::{Markup, html};
use std::collections::BTreeSet;
use weightproof_figure::number::{exact, grouped, percent, value};
use weightproof_figure::{Axis, Chart, Ink, Scale, Series};
use weightproof_report::EpochReport;
use weightproof_report::reading::TrainFile;

/// The chapter of a file.
pub(super) fn chapter(train: &TrainFile) -> Chapter {
    let lead = html! {
        "A network trained on " strong { (grouped(train.data.samples)) } " samples of " strong { (train.data.description) }
        " in " (train.history.len()) " epochs. Certified accuracies are bounds by " (train.validation_method) " on held-out samples."
    };
    let sections = vec![
        Section {
            id: "summary",
            title: "In brief",
            blocks: vec![html! { div class="cards" { @for card in cards(train) { (card) } } }.into()],
        },
        Section { id: "training", title: "Training", blocks: figures(train) },
        settings(train),
    ];
    Chapter { title: format!("Training of {}", train.model.name), lead, sections }
}

fn cards(train: &TrainFile) -> Vec<Markup> {
    let Some(last) = train.history.last() else { return Vec::new() };
    let card = |name: &str, field: &str, text: String, v: f64, guarantee: &str, detail: String| {
        html! {
            div class="card" {
                div class="card-name" { (name) }
                div class="card-number" data-field=(field) data-value=(full(v)) { (text) }
                div class="card-detail" { (badge(guarantee)) span { (detail) } }
            }
        }
    };
    let mut cards = Vec::new();
    if let Some(v) = last.validation_accuracy {
        cards.push(card(
            "held-out accuracy",
            "validation_accuracy",
            percent(v),
            v,
            "measured",
            String::new(),
        ));
    }
    if let Some(v) = last.validation_certified {
        let detail = match &train.validation_noise {
            Some(noise) => format!("{noise}, {}", train.validation_method),
            None => format!("radius {}, {}", exact(last.radius), train.validation_method),
        };
        cards.push(card(
            "held-out certified",
            "validation_certified",
            percent(v),
            v,
            &train.guarantee,
            detail,
        ));
    }
    let v = last.train_accuracy;
    cards.push(card(
        "training accuracy",
        "train_accuracy",
        percent(v),
        v,
        "measured",
        "while training".into(),
    ));
    if let Some(v) = last.loss {
        cards.push(card("loss", "loss", value(v), v, "measured", format!("epoch {}", last.epoch)));
    }
    cards
}

/// Points over the epochs.
fn line(train: &TrainFile, name: &str, ink: Ink, of: impl Fn(&EpochReport) -> Option<f64>) -> Series {
    let points = train.history.iter().filter_map(|e| Some((e.epoch as f64, of(e)?)));
    Series { name: name.into(), ink, points: points.collect() }
}

fn figures(train: &TrainFile) -> Vec<Block> {
    let accuracy = Chart {
        name: "training-accuracy".into(),
        title: "Accuracy over the epochs".into(),
        x: Axis::new("epoch", Scale::Count),
        y: Axis::new("share of samples", Scale::Percent),
        series: vec![
            line(train, "held-out, certified", Ink::Proved, |e| e.validation_certified),
            line(train, "held-out, accuracy", Ink::Clean, |e| e.validation_accuracy),
            line(train, "training, accuracy", Ink::Other(0), |e| Some(e.train_accuracy)),
        ],
        joined: true,
        bands: Vec::new(),
    };
    let terms: BTreeSet<&String> = train.history.iter().flat_map(|e| e.terms.keys()).collect();
    let term = |(k, name): (usize, &&String)| {
        line(train, name, Ink::Other(k), |e| e.terms.get(*name).copied().flatten())
    };
    let loss = Chart {
        name: "training-loss".into(),
        title: "Loss over the epochs".into(),
        x: Axis::new("epoch", Scale::Count),
        y: Axis::new("mean over the epoch", Scale::Linear),
        series: std::iter::once(line(train, "loss", Ink::Clean, |e| e.loss))
            .chain(terms.iter().enumerate().map(term))
            .collect(),
        joined: true,
        bands: Vec::new(),
    };
    let columns = vec![
        GridColumn::number("epoch", "", "epoch"),
        GridColumn::number("learning rate", "", "learning_rate"),
        GridColumn::number("radius", "", "radius"),
        GridColumn::number("loss", "measured", "loss"),
        GridColumn::number("training accuracy", "measured", "train_accuracy"),
        GridColumn::number("held-out accuracy", "measured", "validation_accuracy"),
        GridColumn::number("held-out certified", &train.guarantee, "validation_certified"),
        GridColumn::number("largest weight", "measured", "largest_weight"),
    ];
    let row = |e: &EpochReport| {
        vec![
            GridCell::count(e.epoch),
            GridCell::value(Some(e.learning_rate)),
            GridCell::value(Some(e.radius)),
            GridCell::value(e.loss),
            GridCell::percent(Some(e.train_accuracy)),
            GridCell::percent(e.validation_accuracy),
            GridCell::percent(e.validation_certified),
            GridCell::value(e.largest_weight),
        ]
    };
    let history = Grid {
        caption: "History of the training".into(),
        columns,
        rows: train.history.iter().map(row).collect(),
    };
    let proved = format!(
        "Proved ({}): share of the held-out samples that are certified at the radius of the epoch. Measured: accuracies without perturbation.",
        train.guarantee
    );
    let measured = "Measured: the mean loss of each epoch and its terms, without their weights. Losses guide the training and prove nothing.";
    let accuracy = Figure::of_chart(accuracy, proved, history);
    vec![accuracy.into(), Figure::of_chart(loss, measured.into(), Grid::default()).into()]
}

fn settings(train: &TrainFile) -> Section {
    let blocks = vec![
        facts(&[
            ("network", html! { (train.model.name) ", " (grouped(train.model.parameters)) " parameters" }),
            ("network SHA-256", hash(&train.model.sha256)),
            ("layers", layers(&train.model)),
            ("data", html! { (train.data.description) " (" (train.data.format) "), " (grouped(train.data.samples)) " samples" }),
            ("data SHA-256", hash(&train.data.sha256)),
            ("result", html! { (train.file) }),
        ])
        .into(),
        html! { dl class="facts" { (rows(&train.environment)) } }.into(),
        json("Settings as JSON", &train.config).into(),
    ];
    Section { id: "settings", title: "Settings and origin", blocks }
}
