//! All objectives and adversaries at matched clean accuracy.
//!
//! Every method has a small grid of strengths; the one that held-out training images choose ([`crate::matching`]) is kept and trained with
//! more seeds. Test images play no role in that choice. First for the dense network, then for a convolutional one.

use crate::lab::{evenly, mean, spread};
use crate::matching::{Candidate, NEAR, choose, near};
use crate::measure::{Bench, Effort, images, largest_weight};
use crate::recipe::{Shape, plain, with_adversary, with_term, with_weight_decay, with_worst_case};
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
/// Networks, one after the other.
const SHAPES: [Shape; 2] = [Shape::Dense, Shape::Convolutional];
/// Test images of a quick run.
const FEW: usize = 30;
/// Methods of a quick run with the convolutional network.
const QUICK: [&str; 3] = ["plain", "robust-hinge", "interval"];
/// Accuracy on held-out images that all methods are matched at.
const fn target(shape: Shape) -> f64 {
    match shape {
        Shape::Dense => 0.958,
        Shape::Convolutional => 0.965,
    }
}

/// Test images that are measured, and those of the median certified radius.
fn tested(options: &Options, shape: Shape) -> [usize; 2] {
    match shape {
        _ if options.quick => [FEW; 2],
        Shape::Dense => [2500, 300],
        // Linear bounds of convolutions cost about twenty times as much.
        Shape::Convolutional => [500, 100],
    }
}

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
        strengths: &[0.01, 0.005],
        train: |c, gamma| with_adversary(c, Adversary::Awp { gamma }),
    },
    Method {
        name: "weight-pgd",
        knob: "radius",
        strengths: &[0.001, 0.002],
        train: |c, radius| with_adversary(c, Adversary::Pgd { radius, input_radius: 0.0, steps: 3 }),
    },
    Method {
        name: "robust-hinge",
        knob: "lambda",
        strengths: &[0.0003, 0.0001, 0.00003],
        train: |c, w| with_term(c, "robust-hinge", w, LOOSE),
    },
    Method {
        name: "robust-softplus",
        knob: "lambda",
        strengths: &[0.0003, 0.0001, 0.00003],
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
        strengths: &[0.003, 0.001, 0.002],
        train: |c, r| with_worst_case(c, "interval", 0.5, r),
    },
    Method {
        name: "linear",
        knob: "radius",
        strengths: &[0.003, 0.001, 0.002],
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
        "radius": RADIUS, "attacked-radius": ATTACKED, "relative-radius": RELATIVE, "targets": SHAPES.map(target),
        "training-samples": samples(options), "effort": effort(options),
    })
}

fn samples(options: &Options) -> usize {
    options.pick(usize::MAX, 10_000)
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    for shape in SHAPES {
        for method in &METHODS {
            if shape == Shape::Dense || !options.quick || QUICK.contains(&method.name) {
                compare(lab, &options, shape, method)?;
            }
        }
    }
    Ok(())
}

/// Tries all strengths of a method with the first seed, and trains the one that is kept with the others, each on images of its own.
fn compare(
    lab: &mut Lab<'_>,
    options: &Options,
    shape: Shape,
    method: &Method,
) -> Result<(), ExperimentError> {
    let mut one = |strength: f64, seed: u64| {
        let train = lab.training_block(seed, samples(options));
        let model = model(options, shape, method, strength, seed);
        lab.model_on(model, &train, None, |subject, record| measure(options, shape, subject, record))
    };
    let strengths = &method.strengths[..options.pick(1, method.strengths.len())];
    let tried: Vec<Record> =
        strengths.iter().map(|&strength| one(strength, options.seed)).collect::<Result<_, _>>()?;
    let candidate = |r: &Record| Candidate {
        accuracy: r.value("held-out-accuracy"),
        withstood: r.value("held-out-withstood"),
    };
    let candidates: Vec<Candidate> = tried.iter().map(candidate).collect();
    let Some(kept) = choose(&candidates, target(shape)).map(|place| &tried[place]) else { return Ok(()) };
    let mut names = vec![kept.model.clone()];
    for seed in (options.seed..).take(options.seeds).skip(1) {
        names.push(one(kept.knob(method.knob), seed)?.model);
    }
    names.iter().for_each(|name| lab.revise(name, |r| r.set("kept", 1.0)));
    Ok(())
}

fn model(options: &Options, shape: Shape, method: &Method, strength: f64, seed: u64) -> Model {
    let held_out = options.pick(100, 1000);
    let mut base = plain(options.pick(10, 5), options.pick(32, 64), seed, held_out);
    base.learning_rate.rate = RATE;
    base.network = shape.network();
    Model {
        name: format!("{}{} {}={strength} seed={seed}", method.name, shape.suffix(), method.knob),
        group: method.name,
        knobs: vec![(method.knob, strength), shape.knob()],
        config: (method.train)(base, strength),
    }
}

fn measure(
    options: &Options,
    shape: Shape,
    subject: &Subject<'_>,
    record: &mut Record,
) -> Result<(), ExperimentError> {
    let [tested, median] = tested(options, shape);
    let test = evenly(subject.test, tested);
    let (wide, held_out) = (test.wide(), subject.held_out.wide());
    let bench = Bench::new(&subject.network, &test, &wide, subject.seed, effort(options));
    let choosing = Bench::new(&subject.network, subject.held_out, &held_out, subject.seed, effort(options));
    record.set("held-out-withstood", choosing.universal(ATTACKED));
    record.set("clean", bench.clean());
    record.set("certified", bench.certified("linear", Kind::Absolute, &[RADIUS])[0]);
    record.set("relative-certified", bench.certified("linear", Kind::Relative, &[RELATIVE])[0]);
    record.set("universal", bench.universal(RADIUS));
    record.set("universal-far", bench.universal(ATTACKED));
    record.set("random", bench.random(ATTACKED));
    let (radius, weight) = (bench.median_certified_radius(median), largest_weight(&subject.network));
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
fn kept<'a>(records: &'a [Record], shape: Shape, method: &str) -> Vec<&'a Record> {
    let of = |r: &&Record| r.group == method && shape.is_of(r) && r.failure.is_none();
    let all: Vec<&Record> = records.iter().filter(of).collect();
    let kept: Vec<&Record> = all.iter().copied().filter(|r| r.value("kept") == 1.0).collect();
    if kept.is_empty() { all } else { kept }
}

fn present(options: &Options, records: &[Record]) -> Presentation {
    let mut all = Presentation::default();
    for shape in SHAPES.into_iter().filter(|shape| records.iter().any(|r| shape.is_of(r))) {
        all.tables.push(methods_table(options, records, shape));
        all.plots.push(plot(records, shape));
        all.findings.extend(findings(records, shape));
    }
    all.tables.push(all_models(records));
    all.findings.push(
        "An absolute radius can be beaten by making weights larger: f grows with them, the radius does not. The last three columns \
         are to be read with the others: largest weight, radius by largest weight, and a relative threat, which scaling leaves alone."
            .into(),
    );
    all
}

fn methods_table(options: &Options, records: &[Record], shape: Shape) -> Table {
    let measured = columns();
    let mut heads =
        vec![Column::words("method"), Column::words("strength"), Column::setting("seeds", "seeds")];
    heads.push(Column::measured("held-out-accuracy", "clean, held out"));
    heads.extend(measured.iter().cloned());
    let caption = format!(
        "{}: mean over seeds, each with training images of its own. Of the strengths of the grid that are within {} points of {}% on held-out training \
         images of the first seed, the one that withstands universal PGD at {ATTACKED} there best; without any, the nearest. {}",
        shape.name(),
        100.0 * NEAR,
        100.0 * target(shape),
        images(tested(options, shape))
    );
    let mut table = Table::new(&format!("methods{}", shape.suffix()), caption, heads);
    for method in &METHODS {
        let models = kept(records, shape, method.name);
        let Some(first) = models.first() else { continue };
        let strength = format!("{} = {}", method.knob, first.knob(method.knob));
        let mut row = vec![Cell::from(method.name), Cell::Text(strength), Cell::from(models.len() as f64)];
        row.push(spread(&models, "held-out-accuracy"));
        row.extend(measured.iter().map(|c| spread(&models, &c.name)));
        table.push(row);
    }
    table
}

fn all_models(records: &[Record]) -> Table {
    let measured = columns();
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
    all
}

/// Clean accuracy against what is certified: each method a line of its models.
fn plot(records: &[Record], shape: Shape) -> Chart {
    let shown = ["plain", "weight-decay", "weight-pgd", "robust-hinge", "norms", "interval", "linear"];
    let line = |name: &&str| {
        let models = records.iter().filter(|r| r.group == *name && shape.is_of(r));
        ((*name).to_owned(), models.map(|r| (r.value("clean"), r.value("certified"))).collect())
    };
    let x = Axis::new("clean accuracy on test images", Scale::Percent);
    let y = Axis::new(format!("certified accuracy at {RADIUS} (proof)"), Scale::Percent);
    let title =
        format!("{}: clean and certified accuracy at {RADIUS}, all strengths and seeds", shape.name());
    let name = format!("certified{}", shape.suffix());
    Chart::of_lines(&name, title, (x, y), shown.iter().map(line))
}

fn findings(records: &[Record], shape: Shape) -> Vec<String> {
    let methods: Vec<(&str, Vec<&Record>)> = METHODS
        .iter()
        .map(|m| (m.name, kept(records, shape, m.name)))
        .filter(|(_, models)| !models.is_empty())
        .collect();
    let mut text = Vec::new();
    for column in columns() {
        if column.name == "largest-weight" || column.name == "clean" {
            continue;
        }
        let values = |models: &[&Record]| mean(models, &column.name);
        let best = methods.iter().filter(|(_, models)| values(models).is_finite());
        let best = best.max_by(|a, b| values(&a.1).total_cmp(&values(&b.1)));
        text.extend(best.map(|(name, models)| {
            let found = spread(models, &column.name).text(column.unit);
            format!("{}, best in \"{}\": {name}, {found}.", shape.name(), column.head)
        }));
    }
    let far = |models: &[&Record]| !near(models[0].value("held-out-accuracy"), target(shape));
    let unmatched: Vec<&str> =
        methods.iter().filter(|(_, models)| far(models)).map(|(name, _)| *name).collect();
    if !unmatched.is_empty() {
        text.push(format!(
            "{}, not within {} points of the target on held-out images of the first seed: {}.",
            shape.name(),
            100.0 * NEAR,
            unmatched.join(", ")
        ));
    }
    text
}
