//! What the results are about, and a table of them all.

use super::grid::{Grid, GridCell, GridColumn};
use super::section::Section;
use super::study::Study;
use maud::{Markup, html};
use weightproof_figure::number::{exact, grouped, shape};
use weightproof_report::reading::{Command, ResultAt, RunFile};

/// Title and lead of a study.
pub(super) fn title(study: &Study<'_>) -> (String, Markup) {
    let run = study.first();
    let threat = &run.threat;
    let kept = match run.property() {
        "label" => "keep the given label",
        "prediction" => "keep the prediction of the unperturbed network",
        _ if run.tolerance().is_none() => "have a proved bound of how far an output moves",
        _ => "keep every output within the tolerance",
    };
    let lead = html! {
        "Which of " strong { (grouped(run.data.samples)) } " samples of " strong { (run.data.description) } " " (kept)
        " when the weights of " strong { (run.model.name) } " change, by " strong { (threat.kind) } " perturbations of "
        @if threat.perturbed_layers.len() == run.model.layers.len() { "all " (threat.perturbed_layers.len()) " layers" }
        @else { "the layers " (threat.perturbed_layers.join(", ")) }
        @if threat.input_radius > 0.0 { " and of the input, by up to " (exact(threat.input_radius)) }
        @if threat.activation_radius > 0.0 { " and of every activation, by up to " (exact(threat.activation_radius)) }
        "."
        @for run in study.runs.iter().filter(|run| run.partial) {
            p class="warning" { strong { "Interrupted: " } (run.file) " has the first " (grouped(run.data.samples)) " samples only." }
        }
    };
    (format!("{} under perturbed weights", run.model.name), lead)
}

/// The table of all results.
pub(super) fn section(study: &Study<'_>) -> Section {
    Section { id: "results", title: "All results", blocks: vec![table(study).html().into()] }
}

fn table(study: &Study<'_>) -> Grid {
    let guarantee = study.guarantee();
    let radii = study.of(Command::Radius).is_some();
    let mut columns = vec![
        GridColumn::words("result"),
        GridColumn::words("command"),
        GridColumn::words("method"),
        GridColumn::number("radius", "", "radius"),
        GridColumn::number("samples", "", "samples"),
        GridColumn::number("accuracy", "measured", "accuracy"),
        GridColumn::number("certified accuracy", guarantee, "certified_accuracy"),
        GridColumn::number("accuracy under attack", "estimate", "accuracy_under_attack"),
        GridColumn::number("mean margin bound", guarantee, "mean_margin_lower"),
        GridColumn::number("mean worst margin", "estimate", "mean_worst_margin"),
        GridColumn::number("largest change of an output", guarantee, "deviation_upper"),
    ];
    if radii {
        columns.push(GridColumn::number("median certified radius", guarantee, "median_certified_radius"));
        columns.push(GridColumn::number("mean certified radius", guarantee, "mean_certified_radius"));
        columns.push(GridColumn::number("median attacked radius", "estimate", "median_attacked_radius"));
    }
    let exact_run = study.results().any(|(_, r)| r.summary.falsified.is_some());
    if exact_run {
        columns.push(GridColumn::number("falsified", "witness", "falsified"));
        columns.push(GridColumn::number("unknown", "", "unknown"));
    }
    let row = |(run, result): (&RunFile, &ResultAt)| {
        let s = &result.summary;
        let mut row = vec![
            GridCell::words(&*run.file),
            GridCell::words(run.command.name()),
            GridCell::words(run.method_name()),
            GridCell::exact(result.radius),
            GridCell::count(s.samples),
            GridCell::percent(s.accuracy),
            GridCell::percent(s.certified_accuracy),
            GridCell::percent(s.accuracy_under_attack),
            GridCell::value(s.mean_margin_lower),
            GridCell::value(s.mean_worst_margin),
            GridCell::value(s.deviation_upper),
        ];
        if radii {
            row.push(GridCell::value(s.median_certified_radius));
            row.push(GridCell::value(s.mean_certified_radius));
            row.push(GridCell::value(s.median_attacked_radius));
        }
        if exact_run {
            row.push(GridCell::number(s.falsified.map(|n| n as f64), |n| grouped(n as usize)));
            row.push(GridCell::number(s.unknown.map(|n| n as f64), |n| grouped(n as usize)));
        }
        row
    };
    let mut grid = Grid { caption: "All results".into(), columns, rows: study.results().map(row).collect() };
    grid.drop_empty();
    grid
}

/// The network in a line.
pub(super) fn network(run: &RunFile) -> String {
    let m = &run.model;
    let widths = m.layers.iter().filter_map(|l| l.shape.first()).map(usize::to_string);
    let widths: Vec<String> = std::iter::once(shape(&m.input_shape)).chain(widths).collect();
    format!("{}, {} parameters", widths.join("–"), grouped(m.parameters))
}
