//! How far may weights move, for models that are trained with the paper's loss and its neighbours?
//!
//! Models: plain, a grid of (λ, μ) of `cross-entropy + λ · robust-hinge + μ · norms` (theory.md §11), and mixes of cross-entropy
//! with the worst case by `interval` and `linear` bounds. Each is measured along a grid of radii by proofs and attacks.

use crate::measure::{Bench, Effort, largest_weight};
use crate::recipe::{plain, with_term, with_worst_case};
use crate::table::{Cell, Column, Table, Unit};
use crate::{Experiment, ExperimentError, Lab, Model, Needs, Options, Presentation, Record, Subject};
use serde_json::{Value, json};
use weightproof::threat::Kind;
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart, Scale};
use weightproof_train::TrainConfig;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "weight-robustness",
    summary: "Accuracy and certified accuracy against the radius of the weights, for models of the paper's loss, plain training and \
              training on worst cases by bounds.",
    needs: Needs::Images,
    settings,
    train,
    present,
};

/// Radii of the curves.
const RADII: [f64; 9] = [0.0005, 0.001, 0.002, 0.004, 0.007, 0.01, 0.015, 0.02, 0.03];
/// Radii of the curves of a quick run.
const FEW_RADII: [f64; 3] = [0.001, 0.005, 0.02];
/// Accuracy that must withstand the universal attack.
const LEVEL: f64 = 0.9;
/// Clean accuracy below which a model does not count.
const CLEAN: f64 = 0.94;
/// How much farther than plain training a model is to withstand.
const GOAL: f64 = 3.0;
/// Samples and domains of each that branch and bound gets.
const EXACT: (usize, usize) = (50, 60);
/// Radii for branch and bound.
const EXACT_RADII: [f64; 2] = [0.001, 0.002];

/// (λ, μ, radius of training) of the paper's loss.
const GRID: [(f64, f64, f64); 4] =
    [(0.003, 0.0, 0.05), (0.003, 0.001, 0.05), (0.001, 0.0, 0.05), (0.01, 0.0, 0.05)];
/// Mixes with worst cases: objective, κ, radius of training. A quick run takes the first two.
const MIXES: [(&str, f64, f64); 3] =
    [("interval", 0.5, 0.01), ("linear", 0.5, 0.01), ("interval", 0.5, 0.03)];
/// The paper's network learns its large first weights in few epochs only at a large rate, which all models have.
const RATE: f64 = 0.005;

fn radii(options: &Options) -> &'static [f64] {
    if options.quick { &FEW_RADII } else { &RADII }
}

fn effort(options: &Options) -> Effort {
    options.pick(Effort { passes: 12, steps: 10, draws: 1 }, Effort { passes: 8, steps: 20, draws: 1 })
}

fn settings(options: &Options) -> Value {
    json!({
        "radii": radii(options), "level": LEVEL, "clean-accuracy": CLEAN, "effort": effort(options),
        "exact-samples": EXACT.0, "exact-domains": EXACT.1, "exact-radii": EXACT_RADII,
    })
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    for model in models(lab.options) {
        let options = lab.options.clone();
        lab.model(model, |subject, record| {
            measure(&options, subject, record);
            Ok(())
        })?;
    }
    Ok(())
}

fn models(options: &Options) -> Vec<Model> {
    let base = || {
        let mut config =
            plain(options.pick(15, 5), options.pick(32, 64), options.seed, options.pick(100, 1000));
        config.learning_rate.rate = RATE;
        config
    };
    let mut models = vec![Model { name: "plain".into(), group: "plain", knobs: Vec::new(), config: base() }];
    for &(lambda, mu, radius) in &GRID[..options.pick(1, GRID.len())] {
        models.push(Model {
            name: format!("λ={lambda} μ={mu} r={radius}"),
            group: "paper",
            knobs: vec![("lambda", lambda), ("mu", mu), ("radius", radius)],
            config: paper(base(), (lambda, mu), radius),
        });
    }
    for &(group, kappa, radius) in &MIXES[..options.pick(2, MIXES.len())] {
        models.push(Model {
            name: format!("{group} κ={kappa} r={radius}"),
            group,
            knobs: vec![("kappa", kappa), ("radius", radius)],
            config: with_worst_case(base(), group, kappa, radius),
        });
    }
    models
}

/// `cross-entropy + λ · robust-hinge + μ · norms`.
fn paper(config: TrainConfig, (lambda, mu): (f64, f64), radius: f64) -> TrainConfig {
    with_term(with_term(config, "robust-hinge", lambda, radius), "norms", mu, radius)
}

fn measure(options: &Options, subject: &Subject<'_>, record: &mut Record) {
    let bench = Bench::new(&subject.network, subject.test, subject.wide, subject.seed, effort(options));
    let radii = radii(options);
    record.set("clean", bench.clean());
    let universal: Vec<f64> = radii.iter().map(|&r| bench.universal(r)).collect();
    let curve: Vec<(f64, f64)> = std::iter::once((0.0, bench.clean()))
        .chain(radii.iter().copied().zip(universal.iter().copied()))
        .collect();
    record.set("withstood", bench.withstood(LEVEL, &curve));
    record.set("median-certified-radius", bench.median_certified_radius(1000));
    let weight = largest_weight(&subject.network);
    record.set("largest-weight", weight);
    record.curves.insert("universal".into(), universal);
    record.curves.insert("each".into(), radii.iter().map(|&r| bench.each(r)).collect());
    record.curves.insert("certified".into(), bench.certified("linear", Kind::Absolute, radii));
    if !options.quick {
        let (samples, nodes) = EXACT;
        let exact: Vec<(f64, f64)> = EXACT_RADII.iter().map(|&r| bench.exact(r, samples, nodes)).collect();
        record.curves.insert("exact-verified".into(), exact.iter().map(|e| e.0).collect());
        record.curves.insert("exact-falsified".into(), exact.iter().map(|e| e.1).collect());
    }
}

fn present(options: &Options, records: &[Record]) -> Presentation {
    let mut tables = vec![models_table(records), curves_table(options, records)];
    if !options.quick {
        tables.push(exact_table(records));
    }
    Presentation { tables, plots: plots(options, records), findings: findings(options, records) }
}

fn models_table(records: &[Record]) -> Table {
    let caption = format!(
        "Largest absolute radius of all weights and biases at which accuracy under the universal attack stays at or above {}%; at most the largest of the curves.",
        100.0 * LEVEL
    );
    let estimate = |name: &str, head: &str, unit| Column::new(name, head, unit, Worth::Estimate);
    let columns = vec![
        Column::words("model"),
        Column::measured("clean", "clean accuracy"),
        estimate("withstood", "radius withstood", Unit::Weight),
        estimate("times-plain", "times plain", Unit::Number),
        Column::new("median-certified-radius", "median certified radius", Unit::Weight, Worth::RIGOROUS),
        Column::new("largest-weight", "largest weight", Unit::Weight, Worth::Measured),
        estimate("relative", "radius withstood / largest weight", Unit::Number),
    ];
    let mut table = Table::new("models", caption, columns);
    let plain = records.iter().find(|r| r.group == "plain").map_or(f64::NAN, |r| r.value("withstood"));
    for r in records {
        let withstood = r.value("withstood");
        table.push(vec![
            r.model.as_str().into(),
            r.value("clean").into(),
            withstood.into(),
            (withstood / plain).into(),
            r.value("median-certified-radius").into(),
            r.value("largest-weight").into(),
            (withstood / r.value("largest-weight")).into(),
        ]);
    }
    table
}

fn curves_table(options: &Options, records: &[Record]) -> Table {
    let columns = vec![
        Column::words("model"),
        Column::setting("radius", "radius"),
        Column::measured("clean", "clean"),
        Column::found("universal", "one Ŵ for all samples"),
        Column::found("each", "one Ŵ for each sample"),
        Column::proved("certified", "certified (linear)"),
    ];
    let mut table = Table::new("curves", "Accuracy against the radius.", columns);
    table.data_only = !options.quick;
    for r in records {
        for (k, &radius) in radii(options).iter().enumerate() {
            let at = |curve: &str| Cell::from(r.curve(curve).get(k).copied());
            let clean = r.value("clean").into();
            table.push(vec![
                r.model.as_str().into(),
                radius.into(),
                clean,
                at("universal"),
                at("each"),
                at("certified"),
            ]);
        }
    }
    table
}

fn exact_table(records: &[Record]) -> Table {
    let caption = format!(
        "Complete verification of the first {} test images, at most {} domains for each: proved, broken; the rest is open.",
        EXACT.0, EXACT.1
    );
    let mut columns = vec![Column::words("model")];
    for radius in EXACT_RADII {
        columns.push(Column::proved(format!("verified-at-{radius}"), format!("proved at {radius}")));
        columns.push(Column::found(format!("falsified-at-{radius}"), format!("broken at {radius}")));
    }
    let mut table = Table::new("exact", caption, columns);
    for r in records {
        let mut row = vec![Cell::from(r.model.as_str())];
        for k in 0..EXACT_RADII.len() {
            row.extend(
                ["exact-verified", "exact-falsified"].map(|curve| Cell::from(r.curve(curve).get(k).copied())),
            );
        }
        table.push(row);
    }
    table
}

/// The best model of a group: clean enough, and withstands the largest radius.
fn best<'a>(records: &'a [Record], group: &str) -> Option<&'a Record> {
    let fit = records.iter().filter(|r| r.group == group && r.value("clean") >= CLEAN);
    fit.max_by(|a, b| a.value("withstood").total_cmp(&b.value("withstood")))
}

fn plots(options: &Options, records: &[Record]) -> Vec<Chart> {
    let shown: Vec<&Record> =
        ["plain", "paper", "interval", "linear"].iter().filter_map(|group| best(records, group)).collect();
    let shown = if shown.is_empty() { records.iter().take(4).collect() } else { shown };
    let curve = |name: &str, title: &str, y: &str| {
        let title = format!("{title}, best models with at least {}% clean", 100.0 * CLEAN);
        let x = Axis::new("radius of all weights and biases, absolute", Scale::Logarithmic);
        let line = |r: &&Record| {
            let points = radii(options).iter().copied().zip(r.curve(name).iter().copied());
            (r.model.clone(), points.collect())
        };
        Chart::of_lines(name, title, (x, Axis::new(y, Scale::Percent)), shown.iter().map(line))
    };
    vec![
        curve("universal", "One perturbation for all samples", "accuracy under attack (estimate)"),
        curve("each", "One perturbation for each sample", "accuracy under attack (estimate)"),
        curve("certified", "Linear bounds", "certified accuracy (proof)"),
    ]
}

fn findings(options: &Options, records: &[Record]) -> Vec<String> {
    let Some(plain) = records.iter().find(|r| r.group == "plain") else { return Vec::new() };
    let mut text = Vec::new();
    let most = radii(options).last().copied().unwrap_or(0.0);
    let radius = |r: &Record| {
        let end = if r.value("withstood") >= most { "at least " } else { "" };
        format!("{end}{}", Unit::Weight.text(r.value("withstood")))
    };
    for group in ["paper", "interval", "linear"] {
        let Some(best) = best(records, group) else {
            text.push(format!("No model of the group {group} keeps {}% clean accuracy.", 100.0 * CLEAN));
            continue;
        };
        let times = best.value("withstood") / plain.value("withstood");
        let goal = match (group, times >= GOAL) {
            ("paper", true) => format!(" The goal of {GOAL} times is met."),
            ("paper", false) => format!(" The goal of {GOAL} times is not met."),
            _ => String::new(),
        };
        text.push(format!(
            "{}: {:.2}% clean, withstands {}, {times:.2} times as far as plain training ({:.2}% clean, {}).{goal}",
            best.model, 100.0 * best.value("clean"), radius(best), 100.0 * plain.value("clean"), radius(plain)
        ));
    }
    text.push(
        "Absolute radii can be beaten by larger weights: f grows with them, a radius does not. The column with the largest weight \
         tells how much of a gain that could be."
            .into(),
    );
    text
}
