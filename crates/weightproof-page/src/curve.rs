//! Certified accuracy and accuracy under attack over the radius, with what is undecided between them.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn};
use super::section::Section;
use super::study::{Study, ends, scale_of};
use weightproof::verdict::Verdict;
use weightproof_figure::{Axis, Band, Chart, Ink, Scale, Series};
use weightproof_report::CurvePoint;
use weightproof_report::reading::{Command, ResultAt, RunFile, Sample};

/// Points of a curve that is read off the radii of samples.
const POINTS: usize = 160;

/// A line, and whether it bounds from below or above.
pub(super) struct Line {
    name: String,
    pub(super) proved: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// The section, when there are at least two radii.
pub(super) fn section(study: &Study<'_>) -> Option<Section> {
    let lines = lines(study);
    let radii = || lines.iter().flat_map(|l| &l.points).map(|p| p.0);
    let scale = scale_of(radii())?;
    let (least, most) = ends(radii());
    let clean = 1.0 - share(study, |s| s.is_wrong());
    let mut others = 0;
    let mut ink = |first: Ink, taken: &mut bool| {
        if std::mem::replace(taken, true) {
            others += 1;
            Ink::Other(others - 1)
        } else {
            first
        }
    };
    let (mut proved, mut attacked) = (false, false);
    let mut series: Vec<Series> = Vec::new();
    for line in &lines {
        let ink = if line.proved { ink(Ink::Proved, &mut proved) } else { ink(Ink::Attacked, &mut attacked) };
        series.push(Series { name: line.name.clone(), ink, points: line.points.clone() });
    }
    let unperturbed = vec![(least, clean), (most, clean)];
    series.push(Series { name: "without perturbation".into(), ink: Ink::Clean, points: unperturbed });
    let chart = Chart {
        name: "curve".into(),
        title: "Accuracy over the radius".into(),
        x: Axis::new(study.radius_label(), scale),
        y: Axis::new("share of samples", Scale::Percent),
        series,
        joined: true,
        bands: vec![band(&lines, clean)],
    };
    let figure = Figure {
        name: chart.name.clone(),
        title: chart.title.clone(),
        caption: caption(study, attacked),
        drawing: chart.draw(),
        table: table(study),
    };
    Some(Section { id: "curve", title: "How far the weights may move", blocks: vec![figure.into()] })
}

fn caption(study: &Study<'_>, attacked: bool) -> String {
    let mut text = format!(
        "Proved ({}): for this share of the samples no perturbation within the radius breaks the property.",
        study.guarantee()
    );
    if attacked {
        text += " Estimate: the share for which a search found no perturbation that breaks it. The grey band between them is undecided.";
    } else {
        text += " No attack is among these results, so everything above the proof is undecided.";
    }
    text + " Lines between markers only guide the eye; the band uses that a proof covers smaller radii and a witness larger ones."
}

/// Share of the samples of the first result for which `what` holds.
fn share(study: &Study<'_>, what: impl Fn(&Sample) -> bool) -> f64 {
    let samples = &study.first().results[0].samples;
    samples.iter().filter(|s| what(s)).count() as f64 / samples.len().max(1) as f64
}

/// The lines of all results, proofs first.
pub(super) fn lines(study: &Study<'_>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for &run in &study.runs {
        match run.command {
            Command::Radius => lines.extend(of_radii(run)),
            Command::Certify => {
                let certified = |r: &ResultAt| Some((r.radius?, r.summary.certified_accuracy?));
                let name = format!("proved by {}", run.method_name());
                add(&mut lines, name, true, run.results.iter().filter_map(certified));
                let unbroken = |r: &ResultAt| {
                    let falsified = r.summary.falsified? as f64;
                    Some((r.radius?, 1.0 - falsified / r.summary.samples.max(1) as f64))
                };
                add(&mut lines, "not broken by exact".into(), false, run.results.iter().filter_map(unbroken));
            }
            Command::Attack => {
                let unbroken = |r: &ResultAt| Some((r.radius?, r.summary.accuracy_under_attack?));
                let name = format!("under attack, {}", run.method_name());
                add(&mut lines, name, false, run.results.iter().filter_map(unbroken));
            }
        }
    }
    lines.retain(|line| !line.points.is_empty());
    // Proofs first, so that they have the first colour.
    lines.sort_by_key(|line| !line.proved);
    lines
}

/// Adds points to the line of this name.
fn add(lines: &mut Vec<Line>, name: String, proved: bool, points: impl Iterator<Item = (f64, f64)>) {
    let at = lines.iter().position(|l| l.name == name && l.proved == proved);
    let at = at.unwrap_or_else(|| {
        lines.push(Line { name, proved, points: Vec::new() });
        lines.len() - 1
    });
    lines[at].points.extend(points);
    lines[at].points.sort_by(|a, b| a.0.total_cmp(&b.0));
}

/// The lines of `radius`, counted on its samples at radii with equal ratios.
fn of_radii(run: &RunFile) -> Vec<Line> {
    let samples = &run.results[0].samples;
    let mut radii: Vec<f64> = samples
        .iter()
        .flat_map(|s| [s.certified_radius, s.attacked_radius])
        .flatten()
        .filter(|r| *r > 0.0 && r.is_finite())
        .collect();
    radii.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) =
        (radii.get(radii.len() / 50), radii.get((radii.len() * 49 / 50).min(radii.len().saturating_sub(1))))
    else {
        return Vec::new();
    };
    let (from, to) = (first * 0.7, last * 1.3);
    let grid: Vec<f64> =
        (0..POINTS).map(|k| from * (to / from).powf(k as f64 / (POINTS - 1) as f64)).collect();
    let count = samples.len().max(1) as f64;
    let curve = |name: String, proved: bool, holds: &dyn Fn(&Sample, f64) -> bool| Line {
        name,
        proved,
        points: grid
            .iter()
            .map(|&r| (r, samples.iter().filter(|s| holds(s, r)).count() as f64 / count))
            .collect(),
    };
    let certified = |s: &Sample, r: f64| s.certified_radius.is_some_and(|c| c > 0.0 && c >= r);
    let unbroken = |s: &Sample, r: f64| !s.is_wrong() && s.attacked_radius.is_none_or(|broken| broken > r);
    let mut lines = vec![curve(format!("proved by {}, radii", run.method_name()), true, &certified)];
    if run.method.contains_key("attack") {
        let attack = run.method.get("attack").and_then(|a| a.as_str()).unwrap_or("search");
        lines.push(curve(format!("under attack, {attack}, radii"), false, &unbroken));
    }
    lines
}

/// Between the best proof and the strongest attack, at all radii of both. A proof covers smaller radii, a witness larger ones.
fn band(lines: &[Line], clean: f64) -> Band {
    let mut radii: Vec<f64> = lines.iter().flat_map(|l| &l.points).map(|p| p.0).collect();
    radii.sort_by(f64::total_cmp);
    radii.dedup();
    let of = |proved: bool| lines.iter().filter(move |l| l.proved == proved).flat_map(|l| &l.points);
    let ends = |radius: f64| {
        let low = of(true).filter(|p| p.0 >= radius).map(|p| p.1).fold(0.0, f64::max);
        let high = of(false).filter(|p| p.0 <= radius).map(|p| p.1).fold(clean, f64::min);
        (radius, low.min(high), high)
    };
    Band { name: "undecided".into(), points: radii.into_iter().map(ends).collect() }
}

/// The points as they are in the files.
fn table(study: &Study<'_>) -> Grid {
    let columns = vec![
        GridColumn::words("result"),
        GridColumn::words("method"),
        GridColumn::number("radius", "", "curve.radius"),
        GridColumn::number("certified accuracy", study.guarantee(), "curve.certified_accuracy"),
        GridColumn::number("accuracy under attack", "estimate", "curve.accuracy_under_attack"),
    ];
    let row = |(run, result): (&RunFile, &ResultAt)| {
        let name = [GridCell::words(&*run.file), GridCell::words(run.method_name())];
        rows(run, result).into_iter().map(|numbers| name.iter().cloned().chain(numbers).collect()).collect()
    };
    let rows = study.results().flat_map(|at| -> Vec<Vec<GridCell>> { row(at) }).collect();
    Grid { caption: "Accuracy over the radius".into(), columns, rows }
}

/// Radius, certified accuracy and accuracy under attack at each radius of a result.
pub(super) fn rows(run: &RunFile, result: &ResultAt) -> Vec<[GridCell; 3]> {
    let row = |radius, certified, attacked| {
        [GridCell::exact(radius), GridCell::percent(certified), GridCell::percent(attacked)]
    };
    let s = &result.summary;
    if run.command == Command::Radius {
        let point = |p: &CurvePoint| row(Some(p.radius), Some(p.certified_accuracy), p.accuracy_under_attack);
        return s.curve.iter().map(point).collect();
    }
    let exact = s.falsified.map(|_| share_unbroken(&result.samples));
    vec![row(result.radius, s.certified_accuracy, s.accuracy_under_attack.or(exact))]
}

/// Share of the samples without a witness.
fn share_unbroken(samples: &[Sample]) -> f64 {
    let broken = samples.iter().filter(|s| s.verdict == Some(Verdict::Falsified)).count();
    1.0 - broken as f64 / samples.len().max(1) as f64
}
