//! Feature contamination: a network learns features that say nothing about the label, and fails where these features change.
//!
//! ```text
//! x = Mᵀ (core, background)      core: 32 numbers y·U[0, 1]      background: 32 numbers U[0, 1]; −U[0, 1] out of distribution
//! f(x) = (1/H) Σ_h a_h ρ(w_h · x + b_h)      a_h = +1 for half of the neurons, −1 for the rest, never trained
//! ```
//! M has orthonormal rows, (64, 256). The background is independent of the label; still a ReLU network takes it in, because its neurons are
//! active for one class more than for the other. With the identity in place of ρ they are not, and the background stays near zero: that
//! network is the control. Weights of the second layer are constants of the network here, so that certified radii are about what is trained.
//!
//! # Source
//! Zhang et al., arXiv 2406.03345 (section 5: hinge loss, gradient descent, frozen output), and the code that goes with it.

use crate::lab::{Lab, Model, Presentation, Record, mean, replicas, spread};
use crate::measure::{Bench, Effort, largest_weight};
use crate::recipe::{descent, logits, unbuilt};
use crate::table::{Column, Table, Unit};
use crate::{Experiment, ExperimentError, Needs, Options};
use rand::RngExt;
use serde_json::{Value, json};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Network, NetworkBuilder, NetworkError, Scale};
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart};
use weightproof_train::data::right;
use weightproof_train::parameters::Initialization;
use weightproof_train::random::{Purpose, generator, normal};
use weightproof_train::{Labelled, TrainConfig};

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "feature-contamination",
    summary: "Features that say nothing about the label: how much of them a ReLU network and a linear one learn, and what it costs.",
    needs: Needs::Nothing,
    settings,
    train,
    present,
};

/// Numbers of a core or a background.
const PART: usize = 32;
/// Values of a sample.
const INPUT: usize = 256;
/// Learning rate and weight decay.
const RULE: (f64, f64) = (0.1, 0.001);
/// Nothing is attacked here.
const EFFORT: Effort = Effort { passes: 1, steps: 1, draws: 1 };
/// Networks: name, activation.
const NETWORKS: [(&str, Option<Activation>); 2] = [("relu", Some(Activation::Relu)), ("linear", None)];

/// How large the experiment is.
struct Size {
    samples: usize,
    /// Hidden neurons.
    hidden: usize,
    /// Of the models.
    steps: &'static [usize],
}

fn size(options: &Options) -> Size {
    options.pick(
        Size { samples: 200, hidden: 32, steps: &[50, 200] },
        Size { samples: 1000, hidden: 256, steps: &[50, 100, 200, 500, 1000, 2000] },
    )
}

fn settings(options: &Options) -> Value {
    let Size { samples, hidden, steps } = size(options);
    json!({ "samples": samples, "hidden": hidden, "steps": steps, "learning-rate": RULE.0, "weight-decay": RULE.1 })
}

/// What a seed draws.
struct World {
    /// M, (64, 256).
    transform: Matrix<f64>,
    /// Samples to train on.
    train: Labelled,
    /// The same cores with turned backgrounds.
    moved: Labelled,
}

/// Rows of Gaussian numbers made orthonormal (Gram and Schmidt).
fn orthonormal(rows: usize, cols: usize, numbers: &[f32]) -> Matrix<f64> {
    let mut made: Vec<Vec<f64>> = Vec::with_capacity(rows);
    for row in numbers.chunks_exact(cols).take(rows) {
        let mut row: Vec<f64> = row.iter().map(|&n| f64::from(n)).collect();
        // Twice is enough for rounding.
        for _ in 0..2 {
            for other in &made {
                let share: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= share * b);
            }
        }
        let length = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        made.push(row.into_iter().map(|a| a / length).collect());
    }
    Matrix::from_vec(rows, cols, made.concat())
}

fn world(samples: usize, seed: u64) -> World {
    let mut random = generator(seed, Purpose::Data, 0, 0);
    let numbers = normal(&mut random, 2 * PART * INPUT);
    let transform = orthonormal(2 * PART, INPUT, &numbers);
    let mut world = World {
        transform,
        train: Labelled::default(),
        moved: Labelled { width: INPUT, ..Labelled::default() },
    };
    world.train.width = INPUT;
    for k in 0..samples {
        let label = u32::from(k % 2 == 1);
        let sign = if label == 1 { 1.0 } else { -1.0 };
        let mut uniform = || -> Vec<f64> { (0..PART).map(|_| random.random::<f64>()).collect() };
        let core: Vec<f64> = uniform().iter().map(|u| sign * u).collect();
        let background = uniform();
        for (set, turn) in [(&mut world.train, 1.0), (&mut world.moved, -1.0)] {
            let features = core.iter().copied().chain(background.iter().map(|b| turn * b));
            let mut sample = vec![0.0; INPUT];
            for (row, feature) in features.enumerate() {
                sample.iter_mut().zip(world.transform.row(row)).for_each(|(x, m)| *x += feature * m);
            }
            set.inputs.extend(sample.iter().map(|&x| x as f32));
            set.labels.push(label);
        }
    }
    world
}

/// The network with the frozen second layer: half of the neurons count as +1/H, the rest as −1/H.
fn network(hidden: usize, activation: Option<Activation>) -> Result<Network, NetworkError> {
    let mut builder = NetworkBuilder::new(vec![INPUT]);
    builder.dense("fc", 0, Matrix::zeros(hidden, INPUT), vec![0.0; hidden])?;
    if let Some(f) = activation {
        builder.activation(f.name(), builder.last(), f)?;
    }
    let signs = (0..hidden).map(|h| if h < hidden / 2 { 1.0 } else { -1.0 }).collect();
    builder.scale("signs", builder.last(), Scale::new(signs, vec![0.0; hidden]))?;
    builder.average_pool("mean", builder.last(), Window::pooling([1, 1, hidden], [1, hidden]), true)?;
    logits(&mut builder)?;
    builder.finish()
}

fn config(options: &Options, steps: usize, seed: u64) -> TrainConfig {
    let Size { samples, hidden, .. } = size(options);
    let mut config = descent(&[INPUT, hidden, 1], (steps, samples), seed, RULE);
    config.network.initialization = Initialization::Uniform;
    config.terms[0].objective = "hinge".into();
    config
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    let Size { samples, hidden, steps } = size(&options);
    for seed in (options.seed..).take(options.seeds) {
        let world = world(samples, seed);
        for (name, activation) in NETWORKS {
            let network = network(hidden, activation).map_err(unbuilt(name))?;
            for &steps in steps {
                let model = Model {
                    name: format!("{name}, {steps} steps, seed {seed}"),
                    group: name,
                    knobs: vec![("steps", steps as f64)],
                    config: config(&options, steps, seed),
                };
                lab.model_on(model, &world.train, Some(&network), |subject, record| {
                    measure(&subject.network, &world, options.pick(30, 300), record);
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

fn measure(network: &Network, world: &World, most: usize, record: &mut Record) {
    let [core, background] = norms(network, &world.transform);
    record.set("core", core);
    record.set("background", background);
    record.set("asymmetry", asymmetry(network, &world.train));
    for (set, at) in [(&world.train, ""), (&world.moved, "-moved")] {
        let wide = set.wide();
        let margins: Vec<f64> = wide
            .chunks_exact(INPUT)
            .zip(&set.labels)
            .map(|(x, &label)| {
                let logits = network.forward(x);
                logits[label as usize] - logits[1 - label as usize]
            })
            .collect();
        let count = margins.len() as f64;
        record.set(&format!("loss{at}"), margins.iter().map(|m| (1.0 - m).max(0.0)).sum::<f64>() / count);
        let right = wide.chunks_exact(INPUT).zip(&set.labels);
        let right = right.filter(|(x, label)| right_at(network, x, **label)).count() as f64 / count;
        record.set(&format!("accuracy{at}"), right);
        let bench = Bench::new(network, set, &wide, 0, EFFORT);
        record.set(&format!("radius{at}"), bench.median_certified_radius(most));
    }
    record.set("clean", record.value("accuracy"));
    record.set("largest-weight", largest_weight(network));
}

fn right_at(network: &Network, x: &[f64], label: u32) -> bool {
    right(&network.forward(x), label as usize)
}

/// Means over the neurons of the Euclidean norms of W Mᵀ on the core and on the background.
fn norms(network: &Network, transform: &Matrix<f64>) -> [f64; 2] {
    let (_, _, affine) = network.affine_layers().next().expect("a trained layer");
    let neurons = affine.weight.rows();
    let mut sums = [0.0; 2];
    for h in 0..neurons {
        let feature = |row: usize| -> f64 {
            affine.weight.row(h).iter().zip(transform.row(row)).map(|(w, m)| w * m).sum()
        };
        for (part, sum) in sums.iter_mut().enumerate() {
            *sum += (part * PART..(part + 1) * PART).map(|row| feature(row).powi(2)).sum::<f64>().sqrt();
        }
    }
    sums.map(|sum| sum / neurons as f64)
}

/// Mean over the neurons of |P(p > 0 | y = +1) − P(p > 0 | y = −1)|.
fn asymmetry(network: &Network, samples: &Labelled) -> f64 {
    let hidden = network.affine_layers().next().map_or(0, |(_, _, affine)| affine.weight.rows());
    let mut active = vec![[0.0; 2]; hidden];
    let mut counts = [0.0; 2];
    for (x, &label) in samples.wide().chunks_exact(INPUT).zip(&samples.labels) {
        counts[label as usize] += 1.0;
        for (neuron, p) in active.iter_mut().zip(&network.forward_all(x)[1]) {
            neuron[label as usize] += f64::from(u8::from(*p > 0.0));
        }
    }
    let gap = |neuron: &[f64; 2]| (neuron[1] / counts[1] - neuron[0] / counts[0]).abs();
    active.iter().map(gap).sum::<f64>() / hidden as f64
}

fn present(options: &Options, records: &[Record]) -> Presentation {
    let kinds = replicas(records);
    let number = |name: &str, head: &str| Column::new(name, head, Unit::Number, Worth::Measured);
    let radius = |name: &str, head: &str| Column::new(name, head, Unit::Weight, Worth::RIGOROUS);
    let columns = vec![
        Column::words("network"),
        Column::setting("steps", "steps"),
        Column::setting("seeds", "seeds"),
        number("core", "core"),
        number("background", "background"),
        number("asymmetry", "asymmetry"),
        number("loss", "hinge loss"),
        number("loss-moved", "hinge loss, out of distribution"),
        Column::measured("accuracy", "accuracy"),
        Column::measured("accuracy-moved", "accuracy, out of distribution"),
        radius("radius", "median certified radius"),
        radius("radius-moved", "median certified radius, out of distribution"),
    ];
    let caption = "Mean over seeds. Core and background: mean over the neurons of the norm of the weights on these features; \
                   asymmetry: mean over the neurons of how much more often they are active for one class than for the other.";
    let names: Vec<String> = columns[3..].iter().map(|c| c.name.clone()).collect();
    let mut table = Table::new("features", caption, columns);
    for kind in &kinds {
        let first = kind[0];
        let mut row =
            vec![first.group.as_str().into(), first.knob("steps").into(), (kind.len() as f64).into()];
        row.extend(names.iter().map(|name| spread(kind, name)));
        table.push(row);
    }
    let line = |group: &str, value: &str, name: String| {
        let of = kinds.iter().filter(|kind| kind[0].group == group);
        (name, of.map(|kind| (kind[0].knob("steps"), mean(kind, value))).collect::<Vec<_>>())
    };
    let plot = |file: &str, title: &str, y: &str, values: [(&str, &str); 2]| {
        let lines = NETWORKS.iter().flat_map(|(group, _)| {
            values.map(|(value, name)| line(group, value, format!("{group}: {name}")))
        });
        let axes = (
            Axis::new("steps", weightproof_figure::Scale::Logarithmic),
            Axis::new(y, weightproof_figure::Scale::Linear),
        );
        Chart::of_lines(file, title.into(), axes, lines)
    };
    let plots = vec![
        plot(
            "features",
            "What the neurons learn of core and background",
            "mean norm of the weights",
            [("core", "core"), ("background", "background")],
        ),
        plot(
            "radii",
            "Certified radii where the background is as in training, and where it is turned",
            "median certified radius of the weights",
            [("radius", "as in training"), ("radius-moved", "turned")],
        ),
    ];
    let steps = size(options).steps.last().copied().unwrap_or(0) as f64;
    let find =
        |group: &str| kinds.iter().find(|kind| kind[0].group == group && kind[0].knob("steps") == steps);
    let findings = match (find("relu"), find("linear")) {
        (Some(relu), Some(linear)) => vec![
            format!(
                "After {steps} steps the background is {:.3} of the weights of the ReLU network (core {:.3}) and {:.3} of those of the linear \
                 one (core {:.3}).",
                mean(relu, "background"),
                mean(relu, "core"),
                mean(linear, "background"),
                mean(linear, "core"),
            ),
            format!(
                "Where the background is turned, the hinge loss of the ReLU network goes from {:.3} to {:.3}, that of the linear one from \
                 {:.3} to {:.3}; their median certified radii go from {:.4} to {:.4} and from {:.4} to {:.4}.",
                mean(relu, "loss"),
                mean(relu, "loss-moved"),
                mean(linear, "loss"),
                mean(linear, "loss-moved"),
                mean(relu, "radius"),
                mean(relu, "radius-moved"),
                mean(linear, "radius"),
                mean(linear, "radius-moved"),
            ),
        ],
        _ => Vec::new(),
    };
    Presentation { tables: vec![table], plots, findings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Data;
    use std::path::Path;

    #[test]
    fn the_transform_keeps_lengths_and_backgrounds_turn() {
        let world = world(4, 1);
        for a in 0..2 * PART {
            for b in 0..=a {
                let product: f64 =
                    world.transform.row(a).iter().zip(world.transform.row(b)).map(|(x, y)| x * y).sum();
                assert!((product - f64::from(u8::from(a == b))).abs() < 1e-12);
            }
        }
        let features = |set: &Labelled, s: usize, row: usize| -> f64 {
            let x = &set.inputs[s * INPUT..(s + 1) * INPUT];
            x.iter().zip(world.transform.row(row)).map(|(&x, m)| f64::from(x) * m).sum()
        };
        for s in 0..4 {
            let sign = if world.train.labels[s] == 1 { 1.0 } else { -1.0 };
            for row in 0..PART {
                let [a, b] = [&world.train, &world.moved].map(|set| features(set, s, row));
                assert!((a - b).abs() < 1e-5 && sign * a > -1e-5);
                let [a, b] = [&world.train, &world.moved].map(|set| features(set, s, PART + row));
                assert!((a + b).abs() < 1e-5 && a > -1e-5);
            }
        }
    }

    /// The control: with a linear activation the background stays near zero, with ReLU it does not.
    #[test]
    fn the_background_needs_the_relu() {
        struct Silent;
        impl crate::Watch for Silent {
            fn remark(&mut self, _: &str) {}
            fn interrupted(&self) -> bool {
                false
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let options = Options { quick: true, seed: 0, seeds: 1 };
        let run =
            |folder: &Path| crate::run(&EXPERIMENT, &options, &Data::default(), folder, &mut Silent).unwrap();
        let report = run(folder.path());
        let find = |name: &str| report.models.iter().find(|r| r.model.starts_with(name)).unwrap();
        let (relu, linear) = (find("relu, 200 steps"), find("linear, 200 steps"));
        assert!(linear.value("background") < 0.5 * relu.value("background"), "{linear:?} {relu:?}");
        assert!(relu.value("loss-moved") > 3.0 * linear.value("loss-moved") + 0.05, "{linear:?} {relu:?}");
        assert!(relu.value("asymmetry") > 0.3 && relu.value("core") > relu.value("background"));
    }
}
