//! Model-based networks: unrolled iterative soft thresholding against a ReLU network of the same size.
//!
//! ```text
//! y = A x + noise      A: (20, 40) Gaussian / √20      x: three Gaussian numbers among zeros
//! x_1 = S_λ(V y)       x_{l+1} = S_λ(W_l x_l + V y)    S_λ: soft threshold; V y enters every layer
//! ```
//! Both learn to tell x from y. The unrolled network starts from the iteration that it unrolls, V = Aᵀ/‖A‖² and W_l = 1 − AᵀA/‖A‖², as in
//! LISTA; ReLU networks have nothing to start from: a chain of as many layers, and one with the unrolled network's connections, in which V y
//! enters every layer, too. What is trained is the residual x̂ − x, a network of y and x whose mean squared output is the loss.
//! `row-limit` keeps ‖W_l‖_∞ and ‖V‖_∞ at or below a number: the design rule for networks of this kind.
//!
//! # Source
//! Gregor and LeCun, ICML 2010 (LISTA); the question is that of arXiv 2304.09802.

use crate::lab::{Lab, Model, Presentation, Record, mean, replicas, spread};
use crate::measure::{deviation, largest_weight};
use crate::recipe::unbuilt;
use crate::table::{Cell, Column, Table, Unit};
use crate::{Experiment, ExperimentError, Needs, Options};
use serde_json::{Value, json};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Gather, Network, NetworkBuilder, NetworkError, Scale};
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart};
use weightproof_train::config::Term;
use weightproof_train::parameters::{Initialization, Parameters};
use weightproof_train::random::{Purpose, generator, normal, permutation};
use weightproof_train::schedule::{Decay, LearningRate, Ramp};
use weightproof_train::{Labelled, TrainConfig};

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "unrolled",
    summary: "Unrolled soft thresholding against a ReLU network of the same size: error, generalization gap, and certified deviation when weights move.",
    needs: Needs::Nothing,
    settings,
    train,
    present,
};

/// Numbers of y and of x.
const OBSERVED: usize = 20;
const SIGNAL: usize = 40;
/// Numbers of x that are not zero.
const SPARSE: usize = 3;
const NOISE: f64 = 0.02;
/// λ.
const THRESHOLD: f64 = 0.1;
/// Layers with weights.
const LAYERS: usize = 6;
const BATCH: usize = 50;
/// Learning rate of all networks at the start.
const RATE: f64 = 3e-3;
/// Samples that both are tested on.
const TEST: usize = 2000;
/// Absolute radius of all weights of the deviations.
const RADIUS: f64 = 0.001;

/// What the layers are.
#[derive(Clone, Copy, PartialEq)]
enum Design {
    Unrolled,
    /// A chain of ReLU layers.
    Chain,
    /// ReLU layers connected as those of the unrolled network.
    Injected,
}

/// Networks: name, design, row limit.
const NETWORKS: [(&str, Design, Option<f64>); 5] = [
    ("unrolled", Design::Unrolled, None),
    ("unrolled, B = 4", Design::Unrolled, Some(4.0)),
    ("unrolled, B = 2", Design::Unrolled, Some(2.0)),
    ("relu", Design::Chain, None),
    ("relu, y in every layer", Design::Injected, None),
];

/// Training samples.
fn samples(options: &Options) -> &'static [usize] {
    options.pick(&[100], &[200, 500, 1000, 2000, 4000])
}

fn steps(options: &Options) -> usize {
    options.pick(300, 8000)
}

fn settings(options: &Options) -> Value {
    json!({
        "samples": samples(options), "steps": steps(options), "observed": OBSERVED, "signal": SIGNAL, "sparse": SPARSE, "noise": NOISE,
        "threshold": THRESHOLD, "layers": LAYERS, "radius": RADIUS,
    })
}

/// A, (20, 40).
fn sensing(seed: u64) -> Matrix<f64> {
    let numbers = normal(&mut generator(seed, Purpose::Data, 0, 0), OBSERVED * SIGNAL);
    let size = 1.0 / (OBSERVED as f64).sqrt();
    Matrix::from_vec(OBSERVED, SIGNAL, numbers.iter().map(|&z| size * f64::from(z)).collect())
}

/// Pairs (y, x) side by side, of a stream of random numbers; all labels are 0.
fn pairs(sensing: &Matrix<f64>, count: usize, (seed, stream): (u64, usize)) -> Labelled {
    let mut random = generator(seed, Purpose::Data, stream, 0);
    let mut all = Labelled { width: OBSERVED + SIGNAL, ..Labelled::default() };
    for _ in 0..count {
        let mut signal = vec![0.0_f64; SIGNAL];
        let places = permutation(&mut random, SIGNAL);
        let values = normal(&mut random, SPARSE);
        places.iter().zip(values).for_each(|(&at, value)| signal[at] = f64::from(value));
        let noise = normal(&mut random, OBSERVED);
        for (i, noise) in noise.iter().enumerate() {
            let clean: f64 = sensing.row(i).iter().zip(&signal).map(|(a, x)| a * x).sum();
            all.inputs.push((clean + NOISE * f64::from(*noise)) as f32);
        }
        all.inputs.extend(signal.iter().map(|&x| x as f32));
        all.labels.push(0);
    }
    all
}

/// ‖A‖², the largest eigenvalue of AᵀA, by power iteration.
fn largest_eigenvalue(sensing: &Matrix<f64>) -> f64 {
    let mut v = vec![1.0; SIGNAL];
    let mut length = 0.0_f64;
    for _ in 0..500 {
        let observed: Vec<f64> =
            (0..OBSERVED).map(|i| sensing.row(i).iter().zip(&v).map(|(a, v)| a * v).sum()).collect();
        let mut next = vec![0.0; SIGNAL];
        for (i, y) in observed.iter().enumerate() {
            next.iter_mut().zip(sensing.row(i)).for_each(|(n, a)| *n += a * y);
        }
        length = next.iter().map(|n| n * n).sum::<f64>().sqrt();
        v = next.into_iter().map(|n| n / length).collect();
    }
    length
}

/// Adds the layers of the unrolled iteration behind node `input`, which is y.
fn unrolled(builder: &mut NetworkBuilder, input: usize, sensing: &Matrix<f64>) -> Result<(), NetworkError> {
    let size = largest_eigenvalue(sensing);
    let inject = Matrix::from_fn(SIGNAL, OBSERVED, |i, j| sensing[(j, i)] / size);
    let step = Matrix::from_fn(SIGNAL, SIGNAL, |i, j| {
        let product: f64 = (0..OBSERVED).map(|k| sensing[(k, i)] * sensing[(k, j)]).sum();
        f64::from(u8::from(i == j)) - product / size
    });
    let inject = builder.dense("inject", input, inject, Vec::new())?;
    let soft = Activation::SoftThreshold { lambda: THRESHOLD };
    let mut last = builder.activation("soft1", inject, soft)?;
    for layer in 2..=LAYERS {
        let moved = builder.dense(&format!("layer{layer}"), last, step.clone(), Vec::new())?;
        let sum = builder.add(&format!("sum{layer}"), vec![moved, inject])?;
        last = builder.activation(&format!("soft{layer}"), sum, soft)?;
    }
    Ok(())
}

/// Adds the layers of a ReLU network of as many layers and neurons, parameters zero.
fn rectified(builder: &mut NetworkBuilder, input: usize, injected: bool) -> Result<(), NetworkError> {
    let inject = builder.dense("layer1", input, Matrix::zeros(SIGNAL, OBSERVED), vec![0.0; SIGNAL])?;
    let mut last = inject;
    for layer in 2..=LAYERS {
        let active = builder.activation(&format!("relu{}", layer - 1), last, Activation::Relu)?;
        let weight = Matrix::zeros(SIGNAL, SIGNAL);
        last = builder.dense(&format!("layer{layer}"), active, weight, vec![0.0; SIGNAL])?;
        if injected {
            last = builder.add(&format!("sum{layer}"), vec![last, inject])?;
        }
    }
    Ok(())
}

fn layers(
    builder: &mut NetworkBuilder,
    input: usize,
    design: Design,
    sensing: &Matrix<f64>,
) -> Result<(), NetworkError> {
    match design {
        Design::Unrolled => unrolled(builder, input, sensing),
        Design::Chain => rectified(builder, input, false),
        Design::Injected => rectified(builder, input, true),
    }
}

/// The network from y to x̂.
fn network(design: Design, sensing: &Matrix<f64>) -> Result<Network, NetworkError> {
    let mut builder = NetworkBuilder::new(vec![OBSERVED]);
    layers(&mut builder, 0, design, sensing)?;
    builder.finish()
}

/// The network from (y, x) to x̂ − x, with the same layers in the same order.
fn residual(design: Design, sensing: &Matrix<f64>) -> Result<Network, NetworkError> {
    let mut builder = NetworkBuilder::new(vec![OBSERVED + SIGNAL]);
    let part = |from: usize, count: usize| Gather {
        source: (from..from + count).map(Some).collect(),
        constant: 0.0,
    };
    let observed = builder.gather("y", vec![0], part(0, OBSERVED), vec![OBSERVED])?;
    layers(&mut builder, observed, design, sensing)?;
    let estimate = builder.last();
    let signal = builder.gather("x", vec![0], part(OBSERVED, SIGNAL), vec![SIGNAL])?;
    let minus = builder.scale("minus", signal, Scale::new(vec![-1.0; SIGNAL], vec![0.0; SIGNAL]))?;
    builder.add("residual", vec![estimate, minus])?;
    builder.finish()
}

/// Mean of ‖x̂ − x‖² over pairs.
fn error(residual: &Network, pairs: &Labelled) -> f64 {
    let wide = pairs.wide();
    let squares =
        wide.chunks_exact(pairs.width).map(|z| residual.forward(z).iter().map(|r| r * r).sum::<f64>());
    squares.sum::<f64>() / pairs.len() as f64
}

fn config(
    options: &Options,
    samples: usize,
    (design, limit): (Design, Option<f64>),
    seed: u64,
) -> TrainConfig {
    let batches = samples.div_ceil(BATCH);
    let mut config = TrainConfig::plain(&[OBSERVED, SIGNAL], steps(options).div_ceil(batches));
    config.batch = BATCH;
    config.seed = seed;
    config.validation.samples = 0;
    config.row_limit = limit;
    let from_the_model = design == Design::Unrolled;
    config.network.initialization =
        if from_the_model { Initialization::Given } else { Initialization::HeNormal };
    config.learning_rate = LearningRate { rate: RATE, warm_up: 0.0, decay: Decay::Cosine { floor: 0.0 } };
    config.terms = vec![Term { objective: "spectral-decoupling".into(), weight: Ramp::Constant(1.0) }];
    config
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    for seed in (options.seed..).take(options.seeds) {
        let sensing = sensing(seed);
        let test = pairs(&sensing, options.pick(200, TEST), (seed, 2));
        for &samples in samples(&options) {
            let train = pairs(&sensing, samples, (seed, 1));
            for (name, design, limit) in NETWORKS {
                let model = Model {
                    name: format!("{name}, {samples} samples, seed {seed}"),
                    group: name,
                    knobs: vec![("samples", samples as f64)],
                    config: config(&options, samples, (design, limit), seed),
                };
                let start = residual(design, &sensing).map_err(unbuilt(name))?;
                let bare = network(design, &sensing).map_err(unbuilt(name))?;
                lab.model_on(model, &train, Some(&start), |subject, record| {
                    let (fitted, tested) = (error(&subject.network, &train), error(&subject.network, &test));
                    record.set("train-error", fitted);
                    record.set("test-error", tested);
                    record.set("gap", tested - fitted);
                    let network = Parameters::of(&subject.network).install(&bare);
                    record.set("largest-weight", largest_weight(&network));
                    record.set("largest-row", largest_row(&network));
                    let observed = observations(&test, options.pick(5, 50));
                    for (kind, radius, value) in
                        [(Kind::Absolute, RADIUS, ""), (Kind::Relative, RADIUS, "-relative")]
                    {
                        let set = ThreatModel::new(kind, radius).resolve(&network);
                        let set = set.expect("finite radii of all layers fit every network");
                        let moved = deviation(&network, &set, &observed, options.pick(10, 50), seed);
                        record.set(&format!("proved{value}"), moved.proved);
                        record.set(&format!("found{value}"), moved.found);
                    }
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

/// The y of the first pairs.
fn observations(pairs: &Labelled, most: usize) -> Vec<f64> {
    let rows = pairs.inputs.chunks_exact(pairs.width).take(most);
    rows.flat_map(|z| z[..OBSERVED].iter().map(|&y| f64::from(y))).collect()
}

/// Largest ‖W‖_∞ of a layer.
fn largest_row(network: &Network) -> f64 {
    let rows = network.affine_layers().flat_map(|(_, _, affine)| {
        (0..affine.weight.rows()).map(|i| affine.weight.row(i).iter().map(|w| w.abs()).sum::<f64>())
    });
    rows.fold(0.0, f64::max)
}

fn present(options: &Options, records: &[Record]) -> Presentation {
    let kinds = replicas(records);
    let number = |name: &str, head: &str| Column::new(name, head, Unit::Number, Worth::Measured);
    let proved = |name: &str, head: &str| Column::new(name, head, Unit::Number, Worth::RIGOROUS);
    let found = |name: &str, head: &str| Column::new(name, head, Unit::Number, Worth::Estimate);
    let columns = vec![
        Column::words("network"),
        Column::setting("samples", "samples"),
        Column::setting("seeds", "seeds"),
        number("train-error", "training error"),
        number("test-error", "test error"),
        number("gap", "gap"),
        number("largest-row", "largest ‖W‖_∞"),
        proved("proved", "deviation proved"),
        found("found", "deviation found"),
        proved("proved-relative", "proved, relative"),
        found("found-relative", "found, relative"),
    ];
    let caption = format!(
        "Mean of ‖x̂ − x‖², mean over seeds; x̂ = 0 has {SPARSE}. Deviation: largest change of an output, mean over test samples, \
         when every weight moves by {RADIUS}, absolute or as a part of itself."
    );
    let names: Vec<String> = columns[3..].iter().map(|c| c.name.clone()).collect();
    let mut table = Table::new("errors", caption, columns);
    for kind in &kinds {
        let mut row = vec![
            Cell::from(kind[0].group.as_str()),
            kind[0].knob("samples").into(),
            (kind.len() as f64).into(),
        ];
        row.extend(names.iter().map(|name| spread(kind, name)));
        table.push(row);
    }
    let plot = |name: &str, title: &str, y: &str, value: &str| {
        let line = |(group, ..): &(&str, Design, Option<f64>)| {
            let of = kinds.iter().filter(|kind| kind[0].group == *group);
            let points = of.map(|kind| (kind[0].knob("samples"), mean(kind, value))).collect::<Vec<_>>();
            ((*group).to_owned(), points)
        };
        let axes = (
            Axis::new("training samples", weightproof_figure::Scale::Logarithmic),
            Axis::new(y, weightproof_figure::Scale::Logarithmic),
        );
        Chart::of_lines(name, title.into(), axes, NETWORKS.iter().map(line))
    };
    let plots = vec![
        plot("test-error", "Error on test samples", "mean of ‖x̂ − x‖²", "test-error"),
        plot("gap", "Generalization gap", "test error minus training error", "gap"),
        plot(
            "deviation",
            "Every weight moves by 0.001: certified deviation",
            "proved deviation of an output",
            "proved",
        ),
    ];
    let most = samples(options).last().copied().unwrap_or(0) as f64;
    let few = samples(options).first().copied().unwrap_or(0) as f64;
    let find = |group: &str, samples: f64| {
        kinds.iter().find(|kind| kind[0].group == group && kind[0].knob("samples") == samples)
    };
    let mut findings = Vec::new();
    for samples in if few == most { vec![most] } else { vec![few, most] } {
        let of = |(group, ..): &(&str, Design, Option<f64>)| {
            let kind = find(group, samples)?;
            Some(format!(
                "{group} {:.3} (gap {:.3}; an output moves by at most {:.4}, found {:.4})",
                mean(kind, "test-error"),
                mean(kind, "gap"),
                mean(kind, "proved"),
                mean(kind, "found")
            ))
        };
        let networks = NETWORKS.iter().filter(|(_, _, limit)| limit.is_none());
        let networks: Vec<String> = networks.filter_map(of).collect();
        if !networks.is_empty() {
            findings.push(format!(
                "{samples} samples, error on test samples (every weight moves by {RADIUS}): {}.",
                networks.join("; ")
            ));
        }
    }
    Presentation { tables: vec![table], plots, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unrolled_network_takes_the_steps_of_the_iteration() {
        let sensing = sensing(3);
        let size = largest_eigenvalue(&sensing);
        let bare = network(Design::Unrolled, &sensing).unwrap();
        let pair = pairs(&sensing, 1, (3, 1)).wide();
        let (y, signal) = pair.split_at(OBSERVED);
        let mut x = vec![0.0_f64; SIGNAL];
        for _ in 0..LAYERS {
            let residual: Vec<f64> = (0..OBSERVED)
                .map(|i| y[i] - sensing.row(i).iter().zip(&x).map(|(a, x)| a * x).sum::<f64>())
                .collect();
            let moved =
                |j: usize| x[j] + (0..OBSERVED).map(|i| sensing[(i, j)] * residual[i]).sum::<f64>() / size;
            let soft = |p: f64| p.signum() * (p.abs() - THRESHOLD).max(0.0);
            x = (0..SIGNAL).map(|j| soft(moved(j))).collect();
        }
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(&bare.forward(y), &x));
        let expected: Vec<f64> = x.iter().zip(signal).map(|(a, b)| a - b).collect();
        let whole = residual(Design::Unrolled, &sensing).unwrap();
        assert!(near(&whole.forward(&pair), &expected));
        assert_eq!(Parameters::of(&whole), Parameters::of(&bare));
        for design in [Design::Chain, Design::Injected] {
            let count =
                |network: Network| Parameters::of(&network).arrays.iter().map(Vec::len).collect::<Vec<_>>();
            let [bare, whole] = [network(design, &sensing), residual(design, &sensing)];
            assert_eq!(count(whole.unwrap()), count(bare.unwrap()));
        }
    }
}
