//! What theory and measurement say about how a network generalizes: bounds, measures, and what they are made of.

mod parts;

use super::grid::{Grid, GridCell, GridColumn, full};
use super::section::{Block, Chapter, Section, badge};
use super::settings::{facts, hash, json, layers, rows, threat};
use maud::{Markup, html};
use weightproof_figure::number::{exact, grouped, percent, value};
use weightproof_report::reading::MeasureFile;
use weightproof_report::{DataReport, MeasureRecord, MeasuresAt, RademacherReport};

/// The chapter of a file.
pub(super) fn chapter(m: &MeasureFile) -> Chapter {
    let lead = html! {
        "What theory and measurement say about how " strong { (m.model.name) } " generalizes, "
        @match &m.train_data {
            Some(train) => {
                "trained on " strong { (grouped(train.samples)) } " samples of " strong { (train.description) }
                " and held against " strong { (grouped(m.data.samples)) } " samples of " strong { (m.data.description) }
            }
            None => {
                "measured on " strong { (grouped(m.data.samples)) } " samples of " strong { (m.data.description) }
                ", which stand for training samples"
            }
        }
        @if let Some(threat) = &m.threat { ", as it is and under " strong { (threat.kind) } " perturbations of its weights" }
        "."
        @if m.partial { p class="warning" { strong { "Interrupted: " } "measures are missing in " (m.file) "." } }
    };
    let mut sections = vec![
        Section {
            id: "summary",
            title: "In brief",
            blocks: vec![html! { div class="cards" { @for card in cards(m) { (card) } } }.into()],
        },
        Section { id: "measures", title: "Measures", blocks: vec![measures(m)] },
    ];
    let bounds: Vec<(&MeasuresAt, &RademacherReport)> =
        m.results.iter().filter_map(|at| Some((at, at.rademacher.as_ref()?))).collect();
    if !bounds.is_empty() {
        sections.push(Section {
            id: "rademacher",
            title: "The Rademacher bound, term by term",
            blocks: vec![parts::terms(&bounds, m.delta), parts::capacities(&bounds)],
        });
    }
    let compression = m.compression.as_ref().map(parts::compression).or_else(|| {
        let why = m.compression_refusal.as_ref()?;
        Some(vec![html! { p class="note" { "None: " (why) } }.into()])
    });
    let more = [
        ("compression", "Compression", compression),
        (
            "utilization",
            "Layers against the network before training",
            m.utilization.as_ref().map(parts::utilization),
        ),
        ("ensemble", "Bias and variance", m.ensemble.as_ref().map(parts::ensemble)),
    ];
    let known =
        more.into_iter().filter_map(|(id, title, blocks)| Some(Section { id, title, blocks: blocks? }));
    sections.extend(known);
    sections.push(settings(m));
    Chapter { title: format!("Generalization of {}", m.model.name), lead, sections }
}

/// A number in large type.
struct Card<'a> {
    name: String,
    field: &'a str,
    value: f64,
    guarantee: &'a str,
    vacuous: bool,
    detail: String,
}

impl Card<'_> {
    fn html(&self) -> Markup {
        // A bound far above 1 is no share.
        let text = if self.value.abs() <= 1.0 { percent(self.value) } else { value(self.value) };
        html! {
            div class="card" {
                div class="card-name" { (self.name) }
                div class="card-number" data-field=(self.field) data-value=(full(self.value)) { (text) }
                div class="card-detail" {
                    (badge(self.guarantee))
                    @if self.vacuous { " " span class="badge warning" title="an error is never above 1: the bound says nothing" { "vacuous" } }
                    span { (self.detail) }
                }
            }
        }
    }
}

fn cards(m: &MeasureFile) -> Vec<Markup> {
    let error = |name: &str, field, v: Option<f64>, detail: String| {
        let measured =
            |value| Card { name: name.into(), field, value, guarantee: "measured", vacuous: false, detail };
        v.map(measured)
    };
    let of = |data: &DataReport| format!("{} samples", grouped(data.samples));
    let training = m.train_data.as_ref().map_or_else(|| format!("{}, not held out", of(&m.data)), of);
    let errors = [
        error("training error", "errors.training", m.errors.training, training),
        error("held-out error", "errors.held_out", m.errors.held_out, of(&m.data)),
        error("gap", "errors.gap", m.errors.gap, "held out minus training".into()),
    ];
    let bound = |at: &MeasuresAt, name: &'static str, title: &str| {
        let measure = at.measure(name)?;
        let value = measure.value?;
        let detail = format!("{}, with probability {}", radius(at.radius), percent(1.0 - m.delta));
        let html = Card {
            name: title.into(),
            field: name,
            value,
            guarantee: &measure.guarantee,
            vacuous: !(value <= 1.0),
            detail,
        };
        Some(html.html())
    };
    // The unperturbed network and the largest set.
    let ends = [m.results.first(), m.results.last().filter(|_| m.results.len() > 1)];
    let bounds = [
        ("held-out-bound", "held-out bound of the error"),
        ("rademacher-bound", "Rademacher bound of the error"),
    ];
    let bounds = bounds
        .into_iter()
        .flat_map(|(name, title)| ends.into_iter().flatten().filter_map(move |at| bound(at, name, title)));
    errors.into_iter().flatten().map(|card| card.html()).chain(bounds).collect()
}

/// A radius for people.
fn radius(radius: Option<f64>) -> String {
    match radius {
        None => "radii of the file".into(),
        Some(0.0) => "unperturbed".into(),
        Some(r) => format!("radius {}", exact(r)),
    }
}

/// All measures: a row for each, a column for each set.
fn measures(m: &MeasureFile) -> Block {
    let mut names: Vec<&MeasureRecord> = Vec::new();
    for one in m.measures.iter().chain(m.results.iter().flat_map(|at| &at.measures)) {
        if names.iter().all(|known| known.name != one.name) {
            names.push(one);
        }
    }
    let number = |one: Option<&MeasureRecord>| {
        // Counts have no digits after the point.
        let text = |v: f64| {
            if v.fract() == 0.0 && (1.0..1e15).contains(&v) { grouped(v as usize) } else { value(v) }
        };
        GridCell::number(one.and_then(|one| one.value), text)
    };
    let of_network = |name: &str| m.measures.iter().find(|one| one.name == name);
    let sets: Vec<&MeasuresAt> = m.results.iter().skip(1).collect();
    let refused = names.iter().any(|first| !refusals(m, &first.name).is_empty());
    let row = |first: &&MeasureRecord| {
        let name = &*first.name;
        let still = of_network(name).or_else(|| m.results.first()?.measure(name));
        let mut row = vec![GridCell::words(name), number(still)];
        row.extend(sets.iter().map(|at| number(at.measure(name))));
        row.extend(
            [worth(&first.guarantee), &first.direction, &first.quantity, &first.source].map(GridCell::words),
        );
        if refused {
            row.push(GridCell::words(refusals(m, name)));
        }
        row
    };
    let mut columns =
        vec![GridColumn::words("measure"), GridColumn::number("unperturbed", "", "measure.value")];
    columns.extend(sets.iter().map(|at| GridColumn::number(&radius(at.radius), "", "measure.value")));
    columns.extend(["worth", "meant", "what it is", "source"].map(GridColumn::words));
    if refused {
        columns.push(GridColumn::words("why there is none"));
    }
    let caption = "Measures of generalization".into();
    let grid = Grid { caption, columns, rows: names.iter().map(row).collect() };
    html! {
        p class="note" {
            "A proved number is rounded up where it is " code { "rigorous" } ", and would hold if floating point were exact where it is " code { "real-arithmetic" } ". An estimate is for comparing networks and proves nothing about one; "
            "what was searched may miss something worse."
        }
        (grid.html())
    }
    .into()
}

/// What a measure is worth, in a word.
fn worth(guarantee: &str) -> &str {
    match guarantee {
        "real-arithmetic" => "proved",
        "rigorous" => "proved, rigorous",
        _ => guarantee,
    }
}

/// Why a measure is missing: each reason once, with the radii where it is.
fn refusals(m: &MeasureFile, name: &str) -> String {
    let plain = m.measures.iter().filter(|one| one.name == name).map(|one| (None, one));
    let sets = m.results.iter().filter_map(|at| Some((Some(radius(at.radius)), at.measure(name)?)));
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (at, one) in plain.chain(sets) {
        let Some(why) = one.refusal.as_deref() else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, radii)) => radii.extend(at),
            None => reasons.push((why, at.into_iter().collect())),
        }
    }
    let text = |(why, radii): (&str, Vec<String>)| {
        if radii.is_empty() { why.to_owned() } else { format!("{}: {why}", radii.join(", ")) }
    };
    reasons.into_iter().map(text).collect::<Vec<_>>().join("; ")
}

fn settings(m: &MeasureFile) -> Section {
    let data = |d: &DataReport| html! { (d.description) " (" (d.format) "), " (grouped(d.samples)) " samples from number " (d.offset) @if !d.labelled { ", without labels" } };
    let mut list = vec![
        ("network", html! { (m.model.name) ", " (grouped(m.model.parameters)) " parameters" }),
        ("network SHA-256", hash(&m.model.sha256)),
        ("layers", layers(&m.model)),
    ];
    if let Some(train) = &m.train_data {
        list.extend([("training data", data(train)), ("training data SHA-256", hash(&train.sha256))]);
    }
    let name = if m.train_data.is_some() { "held-out data" } else { "data" };
    list.extend([
        (name, data(&m.data)),
        ("data SHA-256", hash(&m.data.sha256)),
        ("margins", html! { "bounded by " (m.method) }),
        ("each bound fails with probability", html! { "at most " (exact(m.delta)) }),
        ("result", html! { (m.file) }),
    ]);
    let mut blocks: Vec<Block> =
        vec![html! { (facts(&list)) @for note in &m.model.notes { p class="note" { (note) } } }.into()];
    if let Some(set) = &m.threat {
        blocks.push(html! { h3 { "Threat model" } (threat(set)) }.into());
    }
    blocks.push(html! { dl class="facts" { (rows(&m.environment)) } }.into());
    blocks.push(json("Settings as JSON", &m.config).into());
    Section { id: "settings", title: "Settings and origin", blocks }
}

#[cfg(test)]
mod tests;
