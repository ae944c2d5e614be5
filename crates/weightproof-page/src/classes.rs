//! Margins by class, and which classes are confused first.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn};
use super::section::{Block, Section};
use super::study::Study;
use maud::html;
use std::collections::{BTreeMap, BTreeSet};
use weightproof_figure::number::{exact, grouped, value};
use weightproof_figure::{Axis, Ink, Matrix, MatrixCell, Quantiles, RangeRow, Ranges, Scale};
use weightproof_report::reading::{Command, ResultAt, RunFile, Sample};

/// Most classes with a row of their own.
const MOST: usize = 26;
/// Most pairs in a table.
const PAIRS: usize = 100;
/// Most radii of a run that are shown.
const RADII: usize = 3;

/// The section, unless the property is about outputs and not about classes.
pub(super) fn section(study: &Study<'_>) -> Option<Section> {
    let mut blocks: Vec<Block> = Vec::new();
    if study.first().property() != "deviation" {
        for &run in &study.runs {
            match run.command {
                Command::Radius => blocks.extend(radii(study, run)),
                Command::Certify | Command::Attack => blocks.extend(margins(study, run)),
            }
        }
    }
    (!blocks.is_empty()).then_some(Section { id: "classes", title: "Classes", blocks })
}

/// Samples by the class that the property protects; the first classes only where there are many.
fn by_class(samples: &[Sample]) -> BTreeMap<u32, Vec<&Sample>> {
    let mut classes: BTreeMap<u32, Vec<&Sample>> = BTreeMap::new();
    samples.iter().for_each(|s| classes.entry(s.class()).or_default().push(s));
    while classes.len() > MOST {
        classes.pop_last();
    }
    classes
}

fn left_out(samples: &[Sample]) -> String {
    let all: BTreeSet<u32> = samples.iter().map(Sample::class).collect();
    if all.len() > MOST { format!(" The first {MOST} of {} classes.", all.len()) } else { String::new() }
}

/// Margins and pairs at some radii of a run: all when there are few, else the middle ones.
fn margins(study: &Study<'_>, run: &RunFile) -> Vec<Block> {
    let results: Vec<&ResultAt> = run.results.iter().filter(|r| !r.samples.is_empty()).collect();
    let share =
        |r: &ResultAt| r.summary.certified_accuracy.or(r.summary.accuracy_under_attack).unwrap_or(0.0);
    let mut order: Vec<usize> = (0..results.len()).collect();
    order.sort_by(|&a, &b| (share(results[a]) - 0.5).abs().total_cmp(&(share(results[b]) - 0.5).abs()));
    let open = order.first().copied();
    let mut shown: Vec<usize> = order.into_iter().take(RADII).collect();
    shown.sort_unstable();
    // The radius that tells most comes first; the others are folded up.
    shown.sort_by_key(|k| Some(*k) != open);
    let mut blocks = Vec::new();
    for k in shown {
        for figure in [ranges(study, run, results[k]), pairs(run, results[k])].into_iter().flatten() {
            let figure = Box::new(figure);
            blocks.push(if Some(k) == open { Block::Figure(figure) } else { Block::Folded(figure) });
        }
    }
    if results.len() > RADII {
        blocks.push(html! { p class="note" { "The " (RADII) " radii of " (run.file) " at which about half of the samples hold; the others are in the file." } }.into());
    }
    blocks
}

/// What a run says about the margin of a sample under perturbation, and what that is worth.
fn bound(run: &RunFile, sample: &Sample) -> Option<f64> {
    if run.command == Command::Attack { sample.worst_margin } else { sample.margin_lower }
}

fn at(run: &RunFile, result: &ResultAt) -> String {
    let radius = result.radius.map_or_else(String::new, |r| format!(" at radius {}", exact(r)));
    format!("{}{radius}", run.method_name())
}

fn ranges(study: &Study<'_>, run: &RunFile, result: &ResultAt) -> Option<Figure> {
    let attack = run.command == Command::Attack;
    let (name, ink, guarantee) = match attack {
        true => ("smallest margin found", Ink::Attacked, "estimate"),
        false => ("proved margin", Ink::Proved, run.guarantee.as_str()),
    };
    let classes = by_class(&result.samples);
    let numbers = |samples: &[&Sample]| {
        let clean = Quantiles::new(samples.iter().map(|s| s.margin.unwrap_or(f64::NAN)));
        let bound = Quantiles::new(samples.iter().map(|s| bound(run, s).unwrap_or(f64::NAN)));
        [bound, clean]
    };
    let row = |(class, samples): (&u32, &Vec<&Sample>)| RangeRow {
        name: format!("class {class} ({})", samples.len()),
        ranges: numbers(samples).map(finite).to_vec(),
    };
    let ranges = Ranges {
        x: Axis::new("margin [unit of the outputs]", Scale::Linear),
        kinds: vec![(name.into(), ink), ("margin without perturbation".into(), Ink::Clean)],
        rows: classes.iter().map(row).collect(),
        mark: Some(0.0),
    };
    let columns = vec![
        GridColumn::number("class", "", "class"),
        GridColumn::number("samples", "", "class.samples"),
        GridColumn::number("holds", guarantee, "class.holds"),
        GridColumn::number("least", guarantee, "class.least"),
        GridColumn::number("median", guarantee, "class.median"),
        GridColumn::number("median without perturbation", "measured", "class.clean"),
    ];
    let rows = classes.iter().map(|(class, samples)| {
        let holds = samples.iter().filter(|s| super::study::holds(s)).count();
        let least =
            samples.iter().map(|s| bound(run, s).unwrap_or(f64::NEG_INFINITY)).fold(f64::INFINITY, f64::min);
        let [median, clean] = numbers(samples).map(|q| q.map(|q| q.at[2]));
        vec![
            GridCell::number(Some(f64::from(*class)), exact),
            GridCell::count(samples.len()),
            GridCell::percent(Some(holds as f64 / samples.len().max(1) as f64)),
            GridCell::value(Some(least)),
            GridCell::value(median),
            GridCell::value(clean),
        ]
    });
    let table =
        Grid { caption: format!("Margins by class, {}", at(run, result)), columns, rows: rows.collect() };
    let what = match attack {
        true => "Estimate: the smallest margin that a search found; the true minimum may be smaller.".into(),
        false => format!("Proved ({guarantee}): no perturbation takes the margin below this number."),
    };
    let held = match (attack, study.first().property()) {
        (_, "prediction") => "The margin of the class that the unperturbed network predicts",
        _ => "The margin of the label",
    };
    let caption = format!(
        "{held} against the strongest other class. {what}{} Line: 5% to 95% of the samples, bar: the middle half, marker: the median.{}",
        stopped(run),
        left_out(&result.samples)
    );
    let title = format!("Margins by class, {}", at(run, result));
    Some(Figure { name: file_name("margins", run, result), title, caption, drawing: ranges.draw(), table })
}

/// What the bounds of a search are not.
fn stopped(run: &RunFile) -> &'static str {
    let whole = run.method.get("gap").is_some_and(|gap| !gap.is_null());
    match run.command == Command::Certify && run.method_name() == "exact" && !whole {
        true => " The search ends when the sign is known: a bound near zero is not the margin of its sample.",
        false => "",
    }
}

/// Bounds of −∞ have no place in a drawing.
fn finite(range: Option<Quantiles>) -> Option<Quantiles> {
    range.filter(|q| q.at.iter().all(|v| v.is_finite()))
}

fn file_name(stem: &str, run: &RunFile, result: &ResultAt) -> String {
    let radius = result.radius.map_or_else(String::new, |r| format!("-{}", exact(r)));
    format!("{stem}-{}{radius}", run.method_name())
}

fn pairs(run: &RunFile, result: &ResultAt) -> Option<Figure> {
    // Samples that break without perturbation say nothing about what perturbations confuse.
    let samples = || result.samples.iter().filter(|s| !s.is_wrong());
    let mut pairs: BTreeMap<(u32, u32), (usize, f64)> = BTreeMap::new();
    for sample in samples() {
        let Some(rival) = sample.runner_up else { continue };
        let pair = pairs.entry((sample.class(), rival)).or_insert((0, f64::INFINITY));
        *pair = (pair.0 + 1, pair.1.min(bound(run, sample).unwrap_or(f64::NEG_INFINITY)));
    }
    let classes: BTreeSet<u32> = pairs.keys().flat_map(|&(a, b)| [a, b]).collect();
    if pairs.is_empty() {
        return None;
    }
    let classes: Vec<u32> = classes.into_iter().take(MOST).collect();
    let cell = |a: u32, b: u32| match pairs.get(&(a, b)) {
        None => MatrixCell::default(),
        Some(&(count, least)) => MatrixCell {
            weight: count as f64,
            first: grouped(count),
            second: short(least),
            tip: format!(
                "class {a} against {b}: {} samples, smallest margin {}",
                grouped(count),
                value(least)
            ),
        },
    };
    let names: Vec<String> = classes.iter().map(u32::to_string).collect();
    let matrix = Matrix {
        row_label: "class".into(),
        column_label: "strongest other class under perturbation".into(),
        rows: names.clone(),
        columns: names,
        cells: classes
            .iter()
            .flat_map(|&a| classes.iter().map(move |&b| (a, b)))
            .map(|(a, b)| cell(a, b))
            .collect(),
    };
    let attack = run.command == Command::Attack;
    let guarantee = if attack { "estimate" } else { run.guarantee.as_str() };
    let columns = vec![
        GridColumn::number("class", "", "pair.class"),
        GridColumn::number("other class", "", "pair.rival"),
        GridColumn::number("samples", "", "pair.samples"),
        GridColumn::number("smallest margin", guarantee, "pair.least"),
    ];
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort_by(|a, b| a.1.1.total_cmp(&b.1.1));
    let row = |(&(a, b), &(count, least)): (&(u32, u32), &(usize, f64))| {
        vec![
            GridCell::number(Some(f64::from(a)), exact),
            GridCell::number(Some(f64::from(b)), exact),
            GridCell::count(count),
            GridCell::value(Some(least)),
        ]
    };
    let rows = sorted.into_iter().take(PAIRS).map(row).collect();
    let table = Grid { caption: format!("Pairs of classes, {}", at(run, result)), columns, rows };
    let what = if attack { "found (estimate)".into() } else { format!("proved ({guarantee})") };
    let negative = if attack { "broken" } else { "not certified" };
    let caption = format!(
        "For each sample that is right without perturbation, the other class with the smallest margin: number of samples above, \
         the smallest margin {what} below. A negative number in a cell: the pair is {negative}.{}",
        stopped(run)
    );
    let title = format!("Pairs of classes, {}", at(run, result));
    Some(Figure { name: file_name("pairs", run, result), title, caption, drawing: matrix.draw(), table })
}

/// A number that fits into a cell.
fn short(v: f64) -> String {
    match v.abs() {
        a if !a.is_finite() => "−∞".into(),
        a if a >= 1000.0 => format!("{v:.0e}"),
        a if a >= 100.0 => format!("{v:.0}"),
        a if a >= 10.0 => format!("{v:.1}"),
        _ => format!("{v:.2}"),
    }
}

/// Radii by class, of `radius`.
fn radii(study: &Study<'_>, run: &RunFile) -> Option<Block> {
    let samples = &run.results[0].samples;
    let classes = by_class(samples);
    let of = |samples: &[&Sample], radius: fn(&Sample) -> Option<f64>| {
        let right = samples.iter().filter(|s| !s.is_wrong());
        Quantiles::new(right.filter_map(|s| radius(s)))
    };
    let certified = |samples: &[&Sample]| of(samples, |s| s.certified_radius);
    let attacked = |samples: &[&Sample]| of(samples, |s| s.attacked_radius).filter(|q| q.at[4] > 0.0);
    let searched = run.method.contains_key("attack");
    let mut kinds = vec![("certified radius".to_owned(), Ink::Proved)];
    if searched {
        kinds.push(("attacked radius".to_owned(), Ink::Attacked));
    }
    let row = |(class, samples): (&u32, &Vec<&Sample>)| RangeRow {
        name: format!("class {class} ({})", samples.len()),
        ranges: [certified(samples).filter(|q| q.at[4] > 0.0), attacked(samples)][..kinds.len()].to_vec(),
    };
    let rows: Vec<RangeRow> = classes.iter().map(row).collect();
    if rows.iter().all(|r| r.ranges.iter().all(Option::is_none)) {
        return None;
    }
    let ranges = Ranges {
        x: Axis::new(study.radius_label(), Scale::Logarithmic),
        kinds: kinds.clone(),
        rows,
        mark: None,
    };
    let mut columns = vec![
        GridColumn::number("class", "", "class"),
        GridColumn::number("samples", "", "class.samples"),
        GridColumn::number("wrong without perturbation", "measured", "class.wrong"),
        GridColumn::number("median certified radius", &run.guarantee, "class.certified_radius"),
    ];
    if searched {
        columns.push(GridColumn::number("median attacked radius", "estimate", "class.attacked_radius"));
    }
    let rows = classes.iter().map(|(class, samples)| {
        let mut row = vec![
            GridCell::number(Some(f64::from(*class)), exact),
            GridCell::count(samples.len()),
            GridCell::count(samples.iter().filter(|s| s.is_wrong()).count()),
            GridCell::value(certified(samples).map(|q| q.at[2])),
        ];
        if searched {
            row.push(GridCell::value(attacked(samples).map(|q| q.at[2])));
        }
        row
    });
    let table = Grid { caption: "Radii by class".into(), columns, rows: rows.collect() };
    let caption = format!(
        "Samples that are right without perturbation. Proved ({}): certified radii. Witnessed: attacked radii, of the samples that were \
         broken. Line: 5% to 95% of the samples, bar: the middle half, marker: the median.{}",
        run.guarantee,
        left_out(samples)
    );
    let title = format!("Radii by class, {}", run.method_name());
    Some(Figure { name: "radii-by-class".into(), title, caption, drawing: ranges.draw(), table }.into())
}
