//! What was asked, of what, and how: enough to run it again.

use super::headline::network;
use super::section::{Section, badge};
use super::study::Study;
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use weightproof_figure::number::{exact, grouped, shape};
use weightproof_report::reading::RunFile;
use weightproof_report::{ModelReport, ThreatReport, deviation};

/// The section.
pub(super) fn section(study: &Study<'_>) -> Section {
    let run = study.first();
    let blocks = vec![
        html! {
            h3 { "Question" }
            (facts(&[
                ("network", html! { (run.model.name) " (" (run.model.format) "), " (network(run)) }),
                ("network SHA-256", hash(&run.model.sha256)),
                ("layers", layers(&run.model)),
                ("data", html! { (run.data.description) " (" (run.data.format) "), " (grouped(run.data.samples)) " samples of " (shape(&run.data.shape)) " from number " (run.data.offset) @if !run.data.labelled { ", without labels" } }),
                ("data SHA-256", hash(&run.data.sha256)),
                ("labels SHA-256", html! { @if let Some(labels) = &run.data.labels_sha256 { (hash(labels)) } @else { "not in the result" } }),
                ("property", property(run)),
            ]))
            @for note in &run.model.notes { p class="note" { (note) } }
        }
        .into(),
        html! { h3 { "Threat model" } (threat(&run.threat)) }.into(),
        html! { h3 { "Results" } @for run in &study.runs { (answer(run)) } }.into(),
    ];
    Section { id: "settings", title: "Settings and origin", blocks }
}

/// Names and what they stand for.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! { dl class="facts" { @for (name, fact) in facts { dt { (name) } dd { (fact) } } } }
}

pub(super) fn hash(sha256: &str) -> Markup {
    html! { code class="hash" { (sha256) } }
}

pub(super) fn layers(model: &ModelReport) -> Markup {
    html! { @for (k, layer) in model.layers.iter().enumerate() { @if k > 0 { ", " } (layer.name) " " span class="faint" { (shape(&layer.shape)) } } }
}

fn property(run: &RunFile) -> Markup {
    let what = match run.property() {
        "label" => "the given label keeps the largest output".to_owned(),
        "prediction" => "the prediction of the unperturbed network does not change".into(),
        _ => deviation(run.tolerance()),
    };
    html! { (run.property()) ": " (what) }
}

pub(super) fn threat(t: &ThreatReport) -> Markup {
    let biases = match t.bias_radius {
        None => "move like the weights of their layer".to_owned(),
        Some(0.0) => "do not move".into(),
        Some(radius) => format!("radius {}", exact(radius)),
    };
    let mut list = vec![
        ("kind", html! { (t.kind) }),
        ("unit of the radius", html! { (t.unit) }),
        (
            "perturbed layers",
            html! { @if t.perturbed_layers.is_empty() { "none" } @else { (t.perturbed_layers.join(", ")) } },
        ),
        ("biases", html! { (biases) }),
    ];
    if t.input_radius > 0.0 {
        let range =
            t.input_range.map_or_else(String::new, |(a, b)| format!(" within {} to {}", exact(a), exact(b)));
        list.push(("input radius", html! { (exact(t.input_radius)) (range) }));
    }
    if t.activation_radius > 0.0 {
        list.push(("activation radius", html! { (exact(t.activation_radius)) }));
    }
    if !t.overrides.is_empty() {
        list.push((
            "radii of their own",
            html! { @for (name, value) in &t.overrides { div { (name) ": " code { (json!(value).to_string()) } } } },
        ));
    }
    if !t.assumptions.is_empty() {
        list.push(("assumed", html! { ul { @for assumption in &t.assumptions { li { (assumption) } } } }));
    }
    facts(&list)
}

fn answer(run: &RunFile) -> Markup {
    let radii: Vec<String> = run.results.iter().filter_map(|r| r.radius).map(exact).collect();
    html! {
        section class="answer" {
            h4 { (run.file) " " span class="faint" { (run.command.name()) } " " (badge(&run.guarantee)) @if run.partial { " " span class="badge warning" { "interrupted" } } }
            dl class="facts" {
                (rows(&run.method))
                @if !radii.is_empty() { dt { "radii" } dd { (radii.join(", ")) } }
                (rows(&run.environment))
            }
            (json("Settings as JSON", &run.config))
        }
    }
}

/// Fields of an object, whatever they are.
pub(super) fn rows(object: &Map<String, Value>) -> Markup {
    let named = |(name, value): (&String, &Value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            Value::Number(number) => match (name.ends_with("bytes"), number.as_u64(), number.as_f64()) {
                (true, Some(bytes), _) => format!("{} MB", grouped((bytes / 1_000_000) as usize)),
                (_, Some(n), _) => n.to_string(),
                (_, None, v) => v.map_or_else(|| number.to_string(), exact),
            },
            Value::Bool(yes) => {
                if *yes {
                    "yes".into()
                } else {
                    "no".into()
                }
            }
            Value::Array(_) | Value::Object(_) => return None,
        };
        Some((name.replace('_', " "), text))
    };
    html! { @for (name, text) in object.iter().filter_map(named) { dt { (name) } dd { (text) } } }
}

/// JSON that is folded up at first.
pub(super) fn json(summary: &str, value: &Value) -> Markup {
    html! {
        @if !value.is_null() {
            details class="numbers" { summary { (summary) } pre tabindex="0" { (serde_json::to_string_pretty(value).unwrap_or_default()) } }
        }
    }
}
