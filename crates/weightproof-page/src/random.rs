//! Random weights: what is proved and what drawn devices do, over the size of the noise or over time.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn};
use super::section::Section;
use super::study::{Study, ends};
use weightproof_figure::number::duration;
use weightproof_figure::{Axis, Chart, Ink, Scale, Series};
use weightproof_report::reading::{Command, ResultAt, RunFile};

/// The unit of results that are about times.
const SECONDS: &str = "seconds after the first reading";

/// A line of the figure: what it is, its colour, and its value of one result.
struct Kind {
    name: &'static str,
    guarantee: &'static str,
    field: &'static str,
    ink: Ink,
    value: fn(&RunFile, &ResultAt) -> Option<f64>,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "certified accuracy",
        guarantee: "proved, with probability",
        field: "random.certified_accuracy",
        ink: Ink::Proved,
        value: |_, result| result.summary.certified_accuracy,
    },
    Kind {
        name: "accuracy in the mean over devices, at least",
        guarantee: "proved",
        field: "random.expected_accuracy_at_least",
        ink: Ink::Other(0),
        value: |_, result| result.summary.expected_accuracy_at_least,
    },
    Kind {
        name: "accuracy in the mean over drawn devices",
        guarantee: "estimate",
        field: "random.devices.mean",
        ink: Ink::Attacked,
        value: |run, result| {
            result
                .summary
                .devices
                .as_ref()
                .filter(|_| run.command == Command::Attack)
                .map(|devices| devices.mean)
        },
    },
];

impl Study<'_> {
    /// Whether nothing but noise changes the weights.
    pub(super) fn is_random(&self) -> bool {
        self.first().threat.kind.starts_with("noise:")
    }

    /// Whether results are about times: a proof at one time says nothing about another.
    pub(super) fn has_times(&self) -> bool {
        self.is_random() && self.first().threat.unit == SECONDS
    }

    /// Whether results are about drawn devices: what breaks a sample at some noise need not at more.
    pub(super) fn has_devices(&self) -> bool {
        self.results().any(|(_, result)| result.summary.devices.is_some())
    }
}

/// The section, where nothing but noise changes the weights and `certify` or `attack` ran.
pub(super) fn section(study: &Study<'_>) -> Option<Section> {
    let settled = || study.results().filter(|(run, _)| run.command != Command::Radius);
    if !study.is_random() || settled().next().is_none() {
        return None;
    }
    let series: Vec<Series> = KINDS
        .iter()
        .map(|kind| {
            let point =
                |(run, result): (&RunFile, &ResultAt)| Some((result.radius?, (kind.value)(run, result)?));
            let mut points: Vec<(f64, f64)> = settled().filter_map(point).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series { name: format!("{} ({})", kind.name, kind.guarantee), ink: kind.ink, points }
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    let times = study.has_times();
    let (least, most) = ends(series.iter().flat_map(|s| &s.points).map(|p| p.0));
    let scale = if least > 0.0 && most >= 4.0 * least { Scale::Logarithmic } else { Scale::Linear };
    let over = if times { "time" } else { "the size of the noise" };
    let unit = if times { "time [s]".to_owned() } else { format!("noise [{}]", study.first().threat.unit) };
    let chart = Chart {
        name: "random".into(),
        title: format!("Accuracy over {over}"),
        x: Axis::new(unit, scale),
        y: Axis::new("share of samples", Scale::Percent),
        series,
        joined: true,
        bands: Vec::new(),
    };
    let table = table(study, times);
    let figure = Figure {
        name: chart.name.clone(),
        title: chart.title.clone(),
        caption: caption(study, times),
        drawing: chart.draw(),
        table,
    };
    Some(Section { id: "random", title: "What random weights do", blocks: vec![figure.into()] })
}

fn caption(study: &Study<'_>, times: bool) -> String {
    let probability = study.runs.iter().find_map(|run| run.method.get("failure_probability")?.as_f64());
    let mut text = match probability {
        Some(p) => format!(
            "Proved ({}): this share of the samples keeps the property on a device but with a probability of at most {p:e} each, and in the \
             mean over all devices at least that share does. ",
            study.guarantee()
        ),
        None => String::new(),
    };
    if study.has_devices() {
        text += "Estimate: the share on devices that were drawn, which says nothing about rare ones. ";
    }
    if times {
        text += "Every time is a statement of its own; lines between markers only guide the eye.";
    }
    text
}

fn table(study: &Study<'_>, times: bool) -> Grid {
    let place = if times { "time" } else { "noise" };
    let mut columns = vec![
        GridColumn::words("result"),
        GridColumn::words("method"),
        GridColumn::number(place, "", "random.place"),
    ];
    columns.extend(KINDS.iter().map(|kind| GridColumn::number(kind.name, kind.guarantee, kind.field)));
    let row = |(run, result): (&RunFile, &ResultAt)| {
        let at = match times {
            true => GridCell::number(result.radius, duration),
            false => GridCell::exact(result.radius),
        };
        let mut row = vec![GridCell::words(&*run.file), GridCell::words(run.method_name()), at];
        row.extend(KINDS.iter().map(|kind| GridCell::percent((kind.value)(run, result))));
        row
    };
    let settled = study.results().filter(|(run, _)| run.command != Command::Radius);
    Grid {
        caption: "Accuracy of networks with random weights".into(),
        columns,
        rows: settled.map(row).collect(),
    }
}
