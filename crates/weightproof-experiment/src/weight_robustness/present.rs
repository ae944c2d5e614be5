//! Tables, plots and sentences of the experiment.

use super::{CHOOSING, LEVEL, PLANS, Plan, radii, title};
use crate::lab::{along, average, mean, paired, replicas, spread};
use crate::matching::{Candidate, NEAR, choose, near};
use crate::measure::images;
use crate::table::{Cell, Column, Table, Unit};
use crate::{Options, Presentation, Record};
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart, Scale};

/// Records that differ in their seeds only.
type Kind<'a> = Vec<&'a Record>;

/// How much farther than plain training the paper's loss was meant to withstand.
const GOAL: f64 = 3.0;

pub(super) fn present(options: &Options, records: &[Record]) -> Presentation {
    let mut all = Presentation::default();
    for plan in &PLANS {
        let kinds: Vec<Kind<'_>> =
            replicas(records).into_iter().filter(|kind| plan.shape.is_of(kind[0])).collect();
        if kinds.is_empty() {
            continue;
        }
        all.tables.extend([
            matched(options, plan, &kinds),
            models(options, plan, &kinds),
            curves(options, plan, &kinds),
        ]);
        all.plots.extend(plots(options, plan, &kinds));
        all.findings.extend(findings(options, plan, &kinds));
    }
    all.findings.push(
        "Absolute radii can be beaten by larger weights: f grows with them, a radius does not. The columns with the largest weight \
         tell how much of a gain that could be."
            .into(),
    );
    all
}

fn name(kind: &[&Record]) -> String {
    title(&kind[0].group, |knob| kind[0].knob(knob))
}

/// The kind that stands for a group at a target, by held-out images.
fn chosen<'k, 'a>(kinds: &'k [Kind<'a>], group: &str, target: f64) -> Option<&'k Kind<'a>> {
    // The norm term is for the generalization bound: methods are compared without.
    let of: Vec<&Kind<'_>> =
        kinds.iter().filter(|kind| kind[0].group == group && kind[0].knob("mu") == 0.0).collect();
    let candidate = |kind: &&Kind<'_>| Candidate {
        accuracy: mean(kind, "held-out-accuracy"),
        withstood: mean(kind, "held-out-withstood"),
    };
    let candidates: Vec<Candidate> = of.iter().map(candidate).collect();
    choose(&candidates, target).map(|place| of[place])
}

/// Columns that both tables have.
fn columns() -> Vec<Column> {
    let estimate = |name: &str, head: &str, unit| Column::new(name, head, unit, Worth::Estimate);
    vec![
        Column::setting("seeds", "seeds"),
        Column::measured("held-out-accuracy", "clean, held out"),
        Column::measured("clean", "clean"),
        estimate("withstood", "radius withstood", Unit::Weight),
        estimate("times-plain", "times plain", Unit::Number),
        Column::new("median-certified-radius", "median certified radius", Unit::Weight, Worth::RIGOROUS),
        Column::new("largest-weight", "largest weight", Unit::Weight, Worth::Measured),
        estimate("withstood-by-weight", "radius withstood / largest weight", Unit::Number),
    ]
}

fn cells(kind: &[&Record], plain: Option<&Kind<'_>>) -> Vec<Cell> {
    let times = plain.map_or(Vec::new(), |plain| paired(kind, plain, "withstood", |a, b| a / b));
    let mut row = vec![Cell::from(kind.len() as f64)];
    row.extend(["held-out-accuracy", "clean", "withstood"].map(|value| spread(kind, value)));
    row.push(Cell::spread(&times));
    let last = ["median-certified-radius", "largest-weight", "withstood-by-weight"];
    row.extend(last.map(|value| spread(kind, value)));
    row
}

fn matched(options: &Options, plan: &Plan, kinds: &[Kind<'_>]) -> Table {
    let caption = format!(
        "{}, methods at equal accuracy: of each the strength that is within {} points of the target on held-out training images and there withstands \
         the universal attack at {CHOOSING} best, else the nearest. Radius withstood: the largest absolute radius of all weights and biases at which \
         accuracy under the universal attack on test images stays at or above {}%. Mean over seeds. {}",
        plan.shape.name(),
        100.0 * NEAR,
        100.0 * LEVEL,
        images(plan.tested(options))
    );
    let mut heads = vec![Column::setting("target", "target"), Column::words("method")];
    heads.extend(columns());
    heads.push(Column::words("matched"));
    let mut table = Table::new(&format!("matched{}", plan.shape.suffix()), caption, heads);
    for &target in plan.targets {
        for group in ["plain", "paper", "interval", "linear"] {
            let Some(kind) = chosen(kinds, group, target) else { continue };
            let mut row = vec![Cell::Text(format!("{}%", 100.0 * target)), Cell::Text(name(kind))];
            row.extend(cells(kind, chosen(kinds, "plain", target)));
            row.push(if near(mean(kind, "held-out-accuracy"), target) { "yes" } else { "no" }.into());
            table.push(row);
        }
    }
    table
}

fn models(options: &Options, plan: &Plan, kinds: &[Kind<'_>]) -> Table {
    let images = images(plan.tested(options));
    let caption = format!("{}, all models: mean over seeds. {images}", plan.shape.name());
    let mut heads = vec![Column::words("model")];
    heads.extend(columns());
    let mut table = Table::new(&format!("models{}", plan.shape.suffix()), caption, heads);
    let plain = kinds.iter().find(|kind| kind[0].group == "plain");
    for kind in kinds {
        let mut row = vec![Cell::Text(name(kind))];
        row.extend(cells(kind, plain));
        table.push(row);
    }
    table
}

fn curves(options: &Options, plan: &Plan, kinds: &[Kind<'_>]) -> Table {
    let columns = vec![
        Column::words("model"),
        Column::setting("radius", "radius"),
        Column::measured("clean", "clean"),
        Column::found("universal", "one Ŵ for all samples"),
        Column::found("each", "one Ŵ for each sample"),
        Column::proved("certified", "certified (linear)"),
    ];
    let caption = "Accuracy against the radius.";
    let mut table = Table::new(&format!("curves{}", plan.shape.suffix()), caption, columns);
    table.data_only = !options.quick;
    for kind in kinds {
        for (k, &radius) in radii(options).iter().enumerate() {
            let mut row = vec![Cell::Text(name(kind)), radius.into(), spread(kind, "clean")];
            row.extend(["universal", "each", "certified"].map(|curve| Cell::spread(&along(kind, curve, k))));
            table.push(row);
        }
    }
    table
}

/// A line of a plot.
type Line<'k, 'a> = (String, &'k Kind<'a>);

/// Kinds in the order of a knob, which names them.
fn family<'k, 'a>(
    kinds: impl Iterator<Item = &'k Kind<'a>>,
    (symbol, knob): (&str, &str),
) -> Vec<Line<'k, 'a>> {
    let mut kinds: Vec<&Kind<'_>> = kinds.collect();
    kinds.sort_by(|a, b| a[0].knob(knob).total_cmp(&b[0].knob(knob)));
    kinds.into_iter().map(|kind| (format!("{symbol} = {}", kind[0].knob(knob)), kind)).collect()
}

/// The paper's figures, and the methods at the first target.
fn plots(options: &Options, plan: &Plan, kinds: &[Kind<'_>]) -> Vec<Chart> {
    let (lambda, radius) = plan.beside;
    let paper = |kind: &&Kind<'_>| kind[0].group == "paper" && kind[0].knob("radius") == radius;
    let plain = kinds.iter().filter(|kind| kind[0].group == "plain");
    let lambdas = kinds.iter().filter(|kind| paper(kind) && kind[0].knob("mu") == 0.0);
    let lambdas = family(plain.chain(lambdas), ("λ", "lambda"));
    let mus = kinds.iter().filter(|kind| paper(kind) && kind[0].knob("lambda") == lambda);
    let mus = family(mus, ("μ", "mu"));
    let target = plan.targets[0];
    let methods = ["plain", "paper", "interval", "linear"].iter();
    let methods = methods.filter_map(|group| chosen(kinds, group, target).map(|kind| (name(kind), kind)));
    let methods: Vec<Line<'_, '_>> = methods.collect();
    let chart = |name: &str, curve: &str, title: String, y: &str, lines: &[Line<'_, '_>]| {
        let x = Axis::new("radius of all weights and biases, absolute", Scale::Logarithmic);
        let line = |(label, kind): &Line<'_, '_>| {
            let at = radii(options).iter().enumerate();
            (label.clone(), at.map(|(k, &radius)| (radius, average(&along(kind, curve, k)))).collect())
        };
        let name = format!("{name}{}", plan.shape.suffix());
        let title = format!("{}: {title}", plan.shape.name());
        Chart::of_lines(&name, title, (x, Axis::new(y, Scale::Percent)), lines.iter().map(line))
    };
    let universal = |name: &str, title: String, lines: &[Line<'_, '_>]| {
        let title = format!("one perturbation for all samples, {title}");
        chart(name, "universal", title, "accuracy under attack (estimate)", lines)
    };
    let at = format!("methods at {}% held out", 100.0 * target);
    let one_each = format!("one perturbation for each sample, {at}");
    let bounds = format!("linear bounds, {at}");
    vec![
        universal("lambda", "μ = 0".into(), &lambdas),
        universal("mu", format!("λ = {lambda}"), &mus),
        universal("universal", at, &methods),
        chart("each", "each", one_each, "accuracy under attack (estimate)", &methods),
        chart("certified", "certified", bounds, "certified accuracy (proof)", &methods),
    ]
}

fn findings(options: &Options, plan: &Plan, kinds: &[Kind<'_>]) -> Vec<String> {
    let mut text = Vec::new();
    let most = radii(options).last().copied().unwrap_or(0.0);
    let withstood = |kind: &Kind<'_>| {
        let end = if kind.iter().any(|r| r.value("withstood") >= most) { "at least " } else { "" };
        format!("{end}{}", spread(kind, "withstood").text(Unit::Weight))
    };
    for &target in plan.targets {
        let Some(paper) = chosen(kinds, "paper", target) else { continue };
        let mut sentence = format!(
            "{} at {}% held out: {} withstands {}",
            plan.shape.name(),
            100.0 * target,
            name(paper),
            withstood(paper)
        );
        if let Some(plain) = chosen(kinds, "plain", target) {
            let times = Cell::spread(&paired(paper, plain, "withstood", |a, b| a / b));
            sentence += &format!(
                ", {} times as far as plain training ({} clean)",
                times.text(Unit::Number),
                spread(plain, "clean").text(Unit::Fraction)
            );
        }
        for group in ["interval", "linear"] {
            let Some(other) = chosen(kinds, group, target) else { continue };
            let more = Cell::spread(&paired(other, paper, "withstood", |a, b| a - b));
            sentence += &format!(
                "; {} withstands {}, {} more",
                name(other),
                withstood(other),
                more.text(Unit::Weight)
            );
        }
        text.push(sentence + ".");
    }
    let plain = kinds.iter().find(|kind| kind[0].group == "plain");
    let last = plan.targets.last().and_then(|target| chosen(kinds, "paper", *target));
    if let (Some(plain), Some(paper)) = (plain, last) {
        let times = average(&paired(paper, plain, "withstood", |a, b| a / b));
        let met = if times >= GOAL { "met" } else { "not met" };
        text.push(format!(
            "{}: {} withstands {times:.2} times the radius of plain training; the goal of {GOAL} times is {met}.",
            plan.shape.name(),
            name(paper)
        ));
    }
    let (lambda, radius) = plan.beside;
    let beside = |kind: &&Kind<'_>| {
        kind[0].group == "paper" && kind[0].knob("lambda") == lambda && kind[0].knob("radius") == radius
    };
    let by_mu = |a: &&Kind<'_>, b: &&Kind<'_>| a[0].knob("mu").total_cmp(&b[0].knob("mu"));
    let (least, largest) =
        (kinds.iter().filter(beside).min_by(by_mu), kinds.iter().filter(beside).max_by(by_mu));
    if let (Some(least), Some(largest)) = (least, largest)
        && least[0].knob("mu") < largest[0].knob("mu")
    {
        let change = Cell::spread(&paired(largest, least, "withstood", |a, b| a - b));
        text.push(format!(
            "{}: {} in place of {} changes the radius withstood by {}.",
            plan.shape.name(),
            name(largest),
            name(least),
            change.text(Unit::Weight)
        ));
    }
    text
}
