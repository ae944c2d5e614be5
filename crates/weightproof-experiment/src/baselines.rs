//! All objectives and adversaries at matched clean accuracy.
//!
//! Every method has a small grid of strengths; the one whose accuracy on held-out training images is closest to the target is
//! kept and trained with more seeds. Test images play no role in that choice.

use crate::measure::{Bench, Effort, largest_weight};
use crate::recipe::{plain, with_adversary, with_term, with_weight_decay, with_worst_case};
use crate::table::{Cell, Column, Table, Unit};
use crate::{Experiment, ExperimentError, Lab, Model, Needs, Options, Presentation, Record, Subject};
use serde_json::{Value, json};
use weightproof::threat::Kind;
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart, Scale};
use weightproof_train::TrainConfig;
use weightproof_train::adversary::Adversary;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "baselines",
    summary: "All objectives and adversaries at matched clean accuracy, several seeds.",
    needs: Needs::Images,
    settings,
    train,
    present,
};

/// Radius of proofs and attacks.
const RADIUS: f64 = 0.001;
/// Radius of training of the paper's loss; its bound is so loose that a large radius with a small weight does best.
const LOOSE: f64 = 0.05;
/// Learning rate of all models.
const RATE: f64 = 0.005;
/// Radius of the universal and random attacks, which plain training does not withstand.
const ATTACKED: f64 = 0.005;
/// Relative radius of the proofs that do not depend on the scale of the weights.
const RELATIVE: f64 = 0.01;
/// Accuracy on held-out images that all methods are matched at.
const TARGET: f64 = 0.955;

/// How a method trains, for one of its strengths.
type Train = fn(TrainConfig, f64) -> TrainConfig;

/// A method: name, what its strength is, and the strengths that are tried.
struct Method {
    name: &'static str,
    knob: &'static str,
    strengths: &'static [f64],
    train: Train,
}

const METHODS: [Method; 12] = [
    Method { name: "plain", knob: "none", strengths: &[0.0], train: |c, _| c },
    Method { name: "weight-decay", knob: "decay", strengths: &[0.1, 0.3], train: with_weight_decay },
    Method {
        name: "noise",
        knob: "deviation",
        strengths: &[0.01, 0.03],
        train: |c, deviation| with_adversary(c, Adversary::Noise { deviation, relative: false }),
    },
    Method {
        name: "sam",
        knob: "rho",
        strengths: &[0.05, 0.2],
        train: |c, rho| with_adversary(c, Adversary::Sam { rho }),
    },
    Method {
        name: "awp",
        knob: "gamma",
        strengths: &[0.01, 0.03],
        train: |c, gamma| with_adversary(c, Adversary::Awp { gamma }),
    },
    Method {
        name: "weight-pgd",
        knob: "radius",
        strengths: &[0.002, 0.005],
        train: |c, radius| with_adversary(c, Adversary::Pgd { radius, input_radius: 0.0, steps: 3 }),
    },
    Method {
        name: "robust-hinge",
        knob: "lambda",
        strengths: &[0.0003, 0.001],
        train: |c, w| with_term(c, "robust-hinge", w, LOOSE),
    },
    Method {
        name: "robust-softplus",
        knob: "lambda",
        strengths: &[0.0003, 0.001],
        train: |c, w| with_term(c, "robust-softplus", w, LOOSE),
    },
    Method {
        name: "norms",
        knob: "mu",
        strengths: &[0.0003, 0.001],
        train: |c, w| with_term(c, "norms", w, 0.0),
    },
    Method {
        name: "interval",
        knob: "radius",
        strengths: &[0.003, 0.01],
        train: |c, r| with_worst_case(c, "interval", 0.5, r),
    },
    Method {
        name: "linear",
        knob: "radius",
        strengths: &[0.003, 0.01],
        train: |c, r| with_worst_case(c, "linear", 0.5, r),
    },
    Method {
        name: "spectral-decoupling",
        knob: "weight",
        strengths: &[0.003, 0.03],
        train: |c, w| with_term(c, "spectral-decoupling", w, 0.0),
    },
];

fn effort(options: &Options) -> Effort {
    options.pick(Effort { passes: 8, steps: 10, draws: 2 }, Effort { passes: 6, steps: 20, draws: 2 })
}

fn settings(options: &Options) -> Value {
    json!({
        "radius": RADIUS, "attacked-radius": ATTACKED, "relative-radius": RELATIVE, "target": TARGET,
        "training-samples": samples(options), "effort": effort(options),
    })
}

fn samples(options: &Options) -> usize {
    options.pick(usize::MAX, 10_000)
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    let train = lab.training_samples(samples(&options));
    for method in &METHODS {
        let strengths = &method.strengths[..options.pick(1, method.strengths.len())];
        let mut tried = Vec::new();
        for &strength in strengths {
            tried.push(lab.model_on(model(&options, method, strength, 0), &train, None, |s, r| {
                measure(&options, s, r)
            })?);
        }
        let far = |r: &Record| (r.value("held-out-accuracy") - TARGET).abs();
        let Some(kept) = tried.iter().filter(|r| far(r).is_finite()).min_by(|a, b| far(a).total_cmp(&far(b)))
        else {
            continue;
        };
        lab.revise(&kept.model, |r| r.set("kept", 1.0));
        for seed in 1..options.seeds {
            let model = model(&options, method, kept.knob(method.knob), seed as u64);
            let name = model.name.clone();
            lab.model_on(model, &train, None, |s, r| measure(&options, s, r))?;
            lab.revise(&name, |r| r.set("kept", 1.0));
        }
    }
    Ok(())
}

fn model(options: &Options, method: &Method, strength: f64, seed: u64) -> Model {
    let held_out = options.pick(100, 1000);
    let mut base = plain(options.pick(10, 5), options.pick(32, 64), options.seed + seed, held_out);
    base.learning_rate.rate = RATE;
    Model {
        name: format!("{} {}={strength} seed={}", method.name, method.knob, options.seed + seed),
        group: method.name,
        knobs: vec![(method.knob, strength)],
        config: (method.train)(base, strength),
    }
}

fn measure(options: &Options, subject: &Subject<'_>, record: &mut Record) -> Result<(), ExperimentError> {
    let bench = Bench::new(&subject.network, subject.test, subject.wide, subject.seed, effort(options));
    record.set("clean", bench.clean());
    record.set("certified", bench.certified("linear", Kind::Absolute, &[RADIUS])[0]);
    record.set("relative-certified", bench.certified("linear", Kind::Relative, &[RELATIVE])[0]);
    record.set("universal", bench.universal(RADIUS));
    record.set("universal-far", bench.universal(ATTACKED));
    record.set("random", bench.random(ATTACKED));
    let (radius, weight) =
        (bench.median_certified_radius(options.pick(100, 300)), largest_weight(&subject.network));
    record.set("median-certified-radius", radius);
    record.set("largest-weight", weight);
    record.set("radius-by-weight", (radius / weight).next_down());
    Ok(())
}

fn columns() -> Vec<Column> {
    let weight = |name: &str, head: &str, guarantee| Column::new(name, head, Unit::Weight, guarantee);
    vec![
        Column::measured("clean", "clean"),
        Column::proved("certified", format!("certified at {RADIUS}")),
        Column::found("universal", format!("universal PGD at {RADIUS}")),
        Column::found("universal-far", format!("universal PGD at {ATTACKED}")),
        Column::found("random", format!("random at {ATTACKED}")),
        weight("median-certified-radius", "median certified radius", Worth::RIGOROUS),
        weight("largest-weight", "largest weight", Worth::Measured),
        weight("radius-by-weight", "radius / largest weight", Worth::RIGOROUS),
        Column::proved("relative-certified", format!("certified, relative {RELATIVE}")),
    ]
}

/// The models that count of a method: those that were kept, or, until one was, all.
fn kept<'a>(records: &'a [Record], method: &str) -> Vec<&'a Record> {
    let all: Vec<&Record> = records.iter().filter(|r| r.group == method && r.failure.is_none()).collect();
    let kept: Vec<&Record> = all.iter().copied().filter(|r| r.value("kept") == 1.0).collect();
    if kept.is_empty() { all } else { kept }
}

fn present(_: &Options, records: &[Record]) -> Presentation {
    let measured = columns();
    let mut heads =
        vec![Column::words("method"), Column::words("strength"), Column::setting("seeds", "seeds")];
    heads.extend(measured.iter().cloned());
    let caption = format!(
        "Mean over seeds; strengths are those of the grid that are closest to {}% on held-out training images.",
        100.0 * TARGET
    );
    let mut table = Table::new("methods", caption, heads);
    for method in &METHODS {
        let models = kept(records, method.name);
        let Some(first) = models.first() else { continue };
        let strength = format!("{} = {}", method.knob, first.knob(method.knob));
        let mut row =
            vec![Cell::from(method.name), Cell::from(strength.as_str()), Cell::from(models.len() as f64)];
        row.extend(
            measured
                .iter()
                .map(|c| Cell::spread(&models.iter().map(|r| r.value(&c.name)).collect::<Vec<_>>())),
        );
        table.push(row);
    }
    let mut heads = vec![Column::words("model"), Column::measured("held-out-accuracy", "held out")];
    heads.extend(measured.iter().cloned());
    let mut all =
        Table::new("all", "Every model that was trained, the strengths that were not kept included.", heads);
    all.data_only = true;
    for r in records {
        let mut row = vec![Cell::from(r.model.as_str()), r.value("held-out-accuracy").into()];
        row.extend(measured.iter().map(|c| Cell::from(r.value(&c.name))));
        all.push(row);
    }
    Presentation { tables: vec![table, all], plots: vec![plot(records)], findings: findings(records) }
}

/// Clean accuracy against what is certified: each method a line of its models.
fn plot(records: &[Record]) -> Chart {
    let shown = ["plain", "weight-decay", "weight-pgd", "robust-hinge", "norms", "interval", "linear"];
    let line = |name: &&str| {
        let models = records.iter().filter(|r| r.group == *name);
        ((*name).to_owned(), models.map(|r| (r.value("clean"), r.value("certified"))).collect())
    };
    let x = Axis::new("clean accuracy on test images", Scale::Percent);
    let y = Axis::new(format!("certified accuracy at {RADIUS} (proof)"), Scale::Percent);
    let title = format!("Clean and certified accuracy at {RADIUS}: all strengths and seeds");
    Chart::of_lines("certified", title, (x, y), shown.iter().map(line))
}

fn findings(records: &[Record]) -> Vec<String> {
    let mean = |models: &[&Record], value: &str| {
        models.iter().map(|r| r.value(value)).sum::<f64>() / models.len().max(1) as f64
    };
    let mut text = Vec::new();
    for (value, head) in columns().iter().map(|c| (c.name.clone(), c.head.clone())) {
        if value == "largest-weight" || value == "clean" {
            continue;
        }
        let best = METHODS
            .iter()
            .map(|m| (m.name, kept(records, m.name)))
            .filter(|(_, models)| !models.is_empty())
            .map(|(name, models)| (name, mean(&models, &value)))
            .filter(|(_, v)| v.is_finite())
            .max_by(|a, b| a.1.total_cmp(&b.1));
        text.extend(best.map(|(name, _)| format!("Best in \"{head}\": {name}.")));
    }
    let unmatched: Vec<&str> = METHODS
        .iter()
        .filter(|m| {
            let models = kept(records, m.name);
            !models.is_empty() && (mean(&models, "held-out-accuracy") - TARGET).abs() > 0.005
        })
        .map(|m| m.name)
        .collect();
    if !unmatched.is_empty() {
        text.push(format!("Not within half a point of the target: {}.", unmatched.join(", ")));
    }
    text.push(
        "An absolute radius can be beaten by making weights larger: f grows with them, the radius does not. The last three columns \
         are to be read with the others: largest weight, radius by largest weight, and a relative threat, which scaling leaves alone."
            .into(),
    );
    text
}
