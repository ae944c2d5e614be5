//! How far may weights move, for models that are trained with the paper's loss and its neighbours?
//!
//! Models, for a dense and for a convolutional network: plain, a grid of (λ, μ) of `cross-entropy + λ · robust-hinge + μ · norms` (theory.md
//! §11), and mixes of cross-entropy with the worst case by `interval` and `linear` bounds. Each is measured along a grid of radii by
//! proofs and attacks. Methods are compared at equal accuracy, each with the strength that held-out images choose ([`crate::matching`]).

mod present;

use crate::lab::evenly;
use crate::measure::{Bench, Effort, largest_weight};
use crate::recipe::{Shape, plain, with_term, with_worst_case};
use crate::{Experiment, ExperimentError, Lab, Model, Needs, Options, Record, Subject};
use serde_json::{Value, json};
use weightproof::threat::Kind;
use weightproof_train::TrainConfig;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "weight-robustness",
    summary: "Accuracy and certified accuracy against the radius of the weights, for models of the paper's loss, plain training and \
              training on worst cases by bounds.",
    needs: Needs::Images,
    settings,
    train,
    present: present::present,
};

/// Radii of the curves.
const RADII: [f64; 9] = [0.0005, 0.001, 0.002, 0.004, 0.007, 0.01, 0.015, 0.02, 0.03];
/// Radii of the curves of a quick run.
const FEW_RADII: [f64; 3] = [0.001, 0.005, 0.02];
/// Accuracy that must withstand the universal attack.
const LEVEL: f64 = 0.9;
/// Radius of the attack on held-out images that chooses strengths.
const CHOOSING: f64 = 0.01;
/// Test images of a quick run.
const FEW: usize = 30;

/// The paper's network learns its large first weights in few epochs only at a large rate, which all models have.
const RATE: f64 = 0.005;

/// What is trained of one shape of network.
struct Plan {
    shape: Shape,
    epochs: usize,
    /// (λ, μ, radius of training) of the paper's loss.
    paper: &'static [(f64, f64, f64)],
    /// λ and radius of the paper's loss beside which μ is varied.
    beside: (f64, f64),
    /// Mixes with worst cases: objective, κ, radius of training.
    mixes: &'static [(&'static str, f64, f64)],
    /// Accuracies on held-out images at which methods are compared.
    targets: &'static [f64],
    /// Test images that are measured, and the first of them that have the median certified radius.
    tested: [usize; 2],
}

impl Plan {
    fn tested(&self, options: &Options) -> [usize; 2] {
        options.pick([FEW; 2], self.tested)
    }
}

static PLANS: [Plan; 2] = [
    Plan {
        shape: Shape::Dense,
        epochs: 5,
        paper: &[
            (0.003, 0.0, 0.05),
            (0.0003, 0.0, 0.05),
            (0.001, 0.0, 0.05),
            (0.01, 0.0, 0.05),
            (0.03, 0.0, 0.005),
            (0.1, 0.0, 0.005),
            (0.003, 0.0003, 0.05),
            (0.003, 0.001, 0.05),
            (0.003, 0.003, 0.05),
        ],
        beside: (0.003, 0.05),
        mixes: &[
            ("interval", 0.5, 0.01),
            ("linear", 0.5, 0.01),
            ("interval", 0.5, 0.02),
            ("interval", 0.5, 0.03),
            ("linear", 0.5, 0.02),
        ],
        targets: &[0.978, 0.967],
        tested: [2500, 300],
    },
    Plan {
        shape: Shape::Convolutional,
        epochs: 3,
        paper: &[
            (0.001, 0.0, 0.05),
            (0.0003, 0.0, 0.05),
            (0.003, 0.0, 0.05),
            (0.001, 0.0003, 0.05),
            (0.001, 0.001, 0.05),
            (0.001, 0.003, 0.05),
        ],
        beside: (0.001, 0.05),
        mixes: &[
            ("interval", 0.5, 0.01),
            ("linear", 0.5, 0.01),
            ("interval", 0.5, 0.02),
            ("linear", 0.5, 0.02),
        ],
        targets: &[0.98, 0.97],
        // Linear bounds of convolutions cost about twenty times as much.
        tested: [500, 100],
    },
];

fn radii(options: &Options) -> &'static [f64] {
    if options.quick { &FEW_RADII } else { &RADII }
}

fn effort(options: &Options) -> Effort {
    options.pick(Effort { passes: 12, steps: 10, draws: 1 }, Effort { passes: 8, steps: 20, draws: 1 })
}

fn settings(options: &Options) -> Value {
    json!({
        "radii": radii(options), "level": LEVEL, "choosing-radius": CHOOSING, "effort": effort(options),
        "targets": PLANS.each_ref().map(|plan| plan.targets),
        "tested": PLANS.each_ref().map(|plan| plan.tested(options)[0]),
    })
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    for plan in &PLANS {
        for seed in (options.seed..).take(options.seeds) {
            for model in models(&options, plan, seed) {
                lab.model(model, |subject, record| {
                    measure(&options, plan, subject, record);
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

fn models(options: &Options, plan: &Plan, seed: u64) -> Vec<Model> {
    let base = || {
        let (epochs, batch) = (options.pick(15, plan.epochs), options.pick(32, 64));
        let mut config = plain(epochs, batch, seed, options.pick(100, 1000));
        config.learning_rate.rate = RATE;
        config.network = plan.shape.network();
        config
    };
    let model = |group, mut knobs: Vec<(&'static str, f64)>, config| {
        knobs.push(plan.shape.knob());
        let name =
            title(group, |name| knobs.iter().find(|(n, _)| *n == name).map_or(0.0, |(_, value)| *value));
        Model { name: format!("{name}{}, seed {seed}", plan.shape.suffix()), group, knobs, config }
    };
    let mut models = vec![model("plain", Vec::new(), base())];
    for &(lambda, mu, radius) in &plan.paper[..options.pick(1, plan.paper.len())] {
        let knobs = vec![("lambda", lambda), ("mu", mu), ("radius", radius)];
        models.push(model("paper", knobs, paper(base(), (lambda, mu), radius)));
    }
    let few = if plan.shape == Shape::Dense { 2 } else { 1 };
    for &(group, kappa, radius) in &plan.mixes[..options.pick(few, plan.mixes.len())] {
        let knobs = vec![("kappa", kappa), ("radius", radius)];
        models.push(model(group, knobs, with_worst_case(base(), group, kappa, radius)));
    }
    models
}

/// What people read of a model, without shape and seed.
fn title(group: &str, knob: impl Fn(&str) -> f64) -> String {
    let radius = knob("radius");
    match group {
        "plain" => group.into(),
        "paper" => format!("λ={} μ={} r={radius}", knob("lambda"), knob("mu")),
        _ => format!("{group} κ={} r={radius}", knob("kappa")),
    }
}

/// `cross-entropy + λ · robust-hinge + μ · norms`.
fn paper(config: TrainConfig, (lambda, mu): (f64, f64), radius: f64) -> TrainConfig {
    with_term(with_term(config, "robust-hinge", lambda, radius), "norms", mu, radius)
}

fn measure(options: &Options, plan: &Plan, subject: &Subject<'_>, record: &mut Record) {
    let (network, seed, effort) = (&subject.network, subject.seed, effort(options));
    let [tested, median] = plan.tested(options);
    let test = evenly(subject.test, tested);
    let (wide, held_out) = (test.wide(), subject.held_out.wide());
    let bench = Bench::new(network, &test, &wide, seed, effort);
    let choosing = Bench::new(network, subject.held_out, &held_out, seed, effort);
    record.set("held-out-withstood", choosing.universal(CHOOSING));
    let radii = radii(options);
    record.set("clean", bench.clean());
    let universal: Vec<f64> = radii.iter().map(|&r| bench.universal(r)).collect();
    let curve: Vec<(f64, f64)> = std::iter::once((0.0, bench.clean()))
        .chain(radii.iter().copied().zip(universal.iter().copied()))
        .collect();
    let (withstood, weight) = (bench.withstood(LEVEL, &curve), largest_weight(network));
    record.set("withstood", withstood);
    record.set("median-certified-radius", bench.median_certified_radius(median));
    record.set("largest-weight", weight);
    record.set("withstood-by-weight", withstood / weight);
    record.curves.insert("universal".into(), universal);
    record.curves.insert("each".into(), radii.iter().map(|&r| bench.each(r)).collect());
    record.curves.insert("certified".into(), bench.certified("linear", Kind::Absolute, radii));
}
