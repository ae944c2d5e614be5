//! The answer of all results together: a sentence, a figure, and where it comes from.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn, full};
use super::section::{Section, badge};
use super::settings::facts;
use super::study::{Standing, Study, samples};
use maud::{Markup, html};
use serde_json::Value;
use weightproof_figure::number::{exact, grouped, upper, value};
use weightproof_figure::{Ink, Shares};
use weightproof_report::reading::{Command, RunFile};

/// Most radii in the figure.
const MOST: usize = 9;

/// What the best proof and the best attack of all results say at a radius.
#[derive(Clone, Copy, Debug, PartialEq)]
struct At {
    radius: f64,
    proved: usize,
    open: usize,
    broken: usize,
}

impl At {
    fn new(standings: &[Standing], radius: f64) -> Self {
        let count = |what: &dyn Fn(&Standing) -> bool| standings.iter().filter(|s| what(s)).count();
        let proved = count(&|s| s.certified.is_some_and(|certified| certified >= radius));
        let broken = count(&|s| s.wrong || s.broken.is_some_and(|broken| broken <= radius));
        At { radius, proved, open: standings.len().saturating_sub(proved + broken), broken }
    }
}

/// The section.
pub(super) fn section(study: &Study<'_>) -> Section {
    let standings = study.standings();
    let all: Vec<At> = radii(study).into_iter().map(|radius| At::new(&standings, radius)).collect();
    let mut blocks = vec![html! { p class="answer-sentence" { (sentence(study, &standings, &all)) } }.into()];
    if !all.is_empty() {
        blocks.push(figure(study, &all).into());
    }
    blocks.push(html! { h3 { "Where it comes from" } @for run in &study.runs { (origin(run)) } }.into());
    Section { id: "answer", title: "The answer", blocks }
}

/// The radii that were asked for; those of the curve where radii were searched; a few of them where there are many.
fn radii(study: &Study<'_>) -> Vec<f64> {
    let at_one = |(run, result): (&RunFile, &weightproof_report::reading::ResultAt)| {
        (run.command != Command::Radius).then(|| result.radius.unwrap_or(1.0))
    };
    let mut radii: Vec<f64> = study.results().filter_map(at_one).collect();
    if radii.is_empty() {
        radii = study.results().flat_map(|(_, result)| &result.summary.curve).map(|at| at.radius).collect();
    }
    radii.sort_by(f64::total_cmp);
    radii.dedup();
    let last = radii.len().saturating_sub(1);
    match radii.len() > MOST {
        true => (0..MOST).map(|k| radii[k * last / (MOST - 1)]).collect(),
        false => radii,
    }
}

fn sentence(study: &Study<'_>, standings: &[Standing], all: &[At]) -> Markup {
    let wrong = standings.iter().filter(|s| s.wrong).count();
    // The radius that tells most: where a half is proved.
    let far = |at: &&At| at.proved.abs_diff(standings.len() / 2);
    let number = |field: &str, n: usize, what: &str| {
        html! { strong data-field={ "answer." (field) } data-value=(n) { (grouped(n)) " " (what) } }
    };
    let middle = all.iter().min_by_key(far);
    let searched = all.len() > 1 || study.of(Command::Radius).is_some();
    let half = |radii: Vec<f64>| radii.get(radii.len().div_ceil(2).saturating_sub(1)).copied();
    let mut certified: Vec<f64> = standings.iter().map(|s| s.certified.unwrap_or(0.0)).collect();
    let mut broken: Vec<f64> =
        standings.iter().map(|s| if s.wrong { 0.0 } else { s.broken.unwrap_or(f64::INFINITY) }).collect();
    certified.sort_by(|a, b| b.total_cmp(a));
    broken.sort_by(f64::total_cmp);
    let withstands = half(certified).filter(|radius| searched && *radius > 0.0);
    let breaks = half(broken).filter(|radius| searched && radius.is_finite() && *radius > 0.0);
    let named = |radius: f64| named(study, radius);
    let change = middle.and_then(|at| largest_change(study, at.radius));
    html! {
        @if let Some(at) = middle {
            "At " (named(at.radius)) ", of " (samples(standings.len())) " "
            (number("proved", at.proved, "proved")) ", " (number("broken", at.broken, "broken")) " and " (number("open", at.open, "open")) "."
            @if wrong > 0 { " Of those broken, " (grouped(wrong)) (if wrong == 1 { " is" } else { " are" }) " wrong without any perturbation." }
        }
        @if let Some(change) = change {
            " No output moves by more than " strong data-field="answer.change" data-value=(full(change)) { (upper(change)) } " in any of the samples."
        }
        @if let Some(radius) = withstands {
            " Half of the samples are proved up to " strong data-field="answer.half" data-value=(full(radius)) { (named(radius)) } "."
        }
        @if let Some(radius) = breaks { " Half of them are broken at " (named(radius)) "." }
    }
}

/// The best proof of how far any output moves at a radius.
fn largest_change(study: &Study<'_>, radius: f64) -> Option<f64> {
    let at = study.results().filter(|(_, result)| result.radius.is_none_or(|r| r == radius));
    at.filter_map(|(_, result)| result.summary.deviation_upper).reduce(f64::min)
}

/// A radius with what it is a radius of.
fn named(study: &Study<'_>, radius: f64) -> String {
    let threat = &study.first().threat;
    let number = if exact(radius).len() > 8 { value(radius) } else { exact(radius) };
    match threat.unit.strip_prefix("multiple of ") {
        Some(unit) => format!("{number} × {unit}"),
        None if study.has_radii() => format!("radius {number}"),
        None => format!("the radii of the threat model {}", threat.kind),
    }
}

fn figure(study: &Study<'_>, all: &[At]) -> Figure {
    let name = |at: &At| if study.has_radii() { exact(at.radius) } else { study.first().threat.kind.clone() };
    let parts = [("proved", Ink::Proved), ("open", Ink::Clean), ("broken", Ink::Attacked)];
    let shares = Shares {
        of: "samples".into(),
        parts: parts.map(|(name, ink)| (name.to_owned(), ink)).to_vec(),
        rows: all.iter().map(|at| (name(at), vec![at.proved, at.open, at.broken])).collect(),
    };
    let row = |at: &At| {
        vec![
            GridCell::exact(Some(at.radius)),
            GridCell::count(at.proved),
            GridCell::count(at.open),
            GridCell::count(at.broken),
        ]
    };
    let columns = vec![
        GridColumn::number("radius", "", "answer.radius"),
        GridColumn::number("proved", study.guarantee(), "answer.at.proved"),
        GridColumn::number("open", "", "answer.at.open"),
        GridColumn::number("broken", "witness", "answer.at.broken"),
    ];
    let title = match study.has_radii() {
        true => format!("Samples at each {}", study.radius_label()),
        false => "Samples".into(),
    };
    let caption = format!(
        "Proved ({}): the best proof of all results; one covers all smaller radii. Broken: the best attack, a checked witness that breaks all larger \
         radii, or wrong without perturbation. Open: neither.",
        study.guarantee()
    );
    let table = Grid { caption: title.clone(), columns, rows: all.iter().map(row).collect() };
    Figure { name: "answer".into(), title, caption, drawing: shares.draw(), table }
}

/// When and by which command a result was made, and what its numbers are worth.
fn origin(run: &RunFile) -> Markup {
    let text = |name: &str| run.environment.get(name).and_then(Value::as_str).map(str::to_owned);
    let words = run.environment.get("command").and_then(Value::as_array);
    let line = words.map(|words| command_line(words.iter().filter_map(Value::as_str)));
    let mut list = vec![("result", html! { (run.file) " " (badge(&run.guarantee)) })];
    if let Some(line) = line {
        list.push(("command", html! { code class="command" { (line) } }));
    }
    let by = text("version").map(|version| format!("weightproof {version}"));
    let made: Vec<String> = [text("date"), by, text("host")].into_iter().flatten().collect();
    if !made.is_empty() {
        list.push(("made", html! { (made.join(", ")) }));
    }
    facts(&list)
}

/// Words as a shell takes them; the program without its folder.
fn command_line<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,:=@%+".contains(c);
    let quoted = |(k, word): (usize, &str)| match word {
        program if k == 0 => program.rsplit(['/', '\\']).next().unwrap_or_default().to_owned(),
        word if !word.is_empty() && word.chars().all(plain) => word.to_owned(),
        word => format!("'{}'", word.replace('\'', "'\\''")),
    };
    words.enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(certified: Option<f64>, broken: Option<f64>, wrong: bool) -> Standing {
        let (index, label, predicted, margin, open, runner_up) = (0, None, 0, None, None, None);
        Standing { index, label, predicted, margin, wrong, certified, broken, open, runner_up }
    }

    #[test]
    fn a_proof_covers_smaller_radii_and_a_witness_larger_ones() {
        let all = [
            standing(Some(2.0), Some(3.0), false),
            standing(Some(1.0), None, false),
            standing(None, Some(1.0), false),
            standing(None, None, true),
        ];
        let at = |radius| At::new(&all, radius);
        assert_eq!(at(0.5), At { radius: 0.5, proved: 2, open: 1, broken: 1 });
        assert_eq!(at(1.0), At { radius: 1.0, proved: 2, open: 0, broken: 2 });
        assert_eq!(at(2.5), At { radius: 2.5, proved: 0, open: 2, broken: 2 });
        assert_eq!(at(3.0), At { radius: 3.0, proved: 0, open: 1, broken: 3 });
    }

    #[test]
    fn command_lines_can_be_run_again() {
        let words = ["/usr/bin/weightproof", "certify", "my model.onnx", "it's", "--radius", "0.1,0.2", ""];
        assert_eq!(
            command_line(words.into_iter()),
            r"weightproof certify 'my model.onnx' 'it'\''s' --radius 0.1,0.2 ''"
        );
    }
}
