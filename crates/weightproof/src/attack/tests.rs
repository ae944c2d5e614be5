//! Attacks on networks with every kind of layer: what they report lies in the set and is reached.

use super::examples::{inputs, residual, sets, wave};
use super::*;
use crate::kernels::{Matrix, Window};
use crate::network::{Activation, NetworkBuilder};
use crate::threat::{LayerSet, WeightSet};
use rand::RngExt;

/// A witness gives the reported margin up to the rounding of f64.
const REPRODUCED: f64 = 1e-9;
/// Two ways to compute one minimum.
const EXACT: f64 = 1e-6;

const KINDS: [AttackKind; 8] = [
    AttackKind::NeuronSpace,
    AttackKind::WeightSpace,
    AttackKind::OneGradient,
    AttackKind::Fgsm,
    AttackKind::Pgd,
    AttackKind::Universal,
    AttackKind::Random(Distribution::Uniform),
    AttackKind::Random(Distribution::Vertex),
];

fn predicted(f: &[f64]) -> u32 {
    (0..f.len()).fold(0, |best, j| if f[j] > f[best] { j } else { best }) as u32
}

fn labels(network: &Network, x: &Matrix<f64>) -> Vec<u32> {
    (0..x.rows()).map(|s| predicted(&network.forward(x.row(s)))).collect()
}

fn margin(f: &[f64], target: usize) -> f64 {
    (0..f.len()).filter(|&j| j != target).map(|j| f[target] - f[j]).fold(f64::INFINITY, f64::min)
}

fn attack(
    network: &Network,
    set: &PerturbationSet,
    x: &Matrix<f64>,
    options: AttackOptions,
) -> Vec<SampleAttack> {
    let labels = labels(network, x);
    let samples = Samples { first: 0, inputs: x.as_slice(), labels: Some(&labels) };
    Attacker::new(network, set, options).attack(samples)
}

fn mean(found: &[SampleAttack]) -> f64 {
    found.iter().map(|s| s.worst_margin).sum::<f64>() / found.len() as f64
}

#[test]
fn witnesses_lie_in_the_set_and_reproduce_what_is_reported() {
    let network = residual();
    let x = inputs(&network, 2);
    let labels = labels(&network, &x);
    let samples = Samples { first: 0, inputs: x.as_slice(), labels: Some(&labels) };
    let mut witnesses = 0;
    for (name, set) in sets(&network) {
        for (kind, property) in
            KINDS.into_iter().flat_map(|kind| [(kind, Property::Label), (kind, Property::Deviation)])
        {
            let options = AttackOptions {
                steps: 8,
                restarts: 2,
                tolerance: 0.01,
                ..AttackOptions::new(kind, property)
            };
            let attacker = Attacker::new(&network, &set, options.clone());
            let universal = (kind == AttackKind::Universal).then(|| {
                let mut universal = UniversalAttack::new(&network, &set, options.clone());
                universal.observe(samples);
                universal.finish_epoch();
                universal
            });
            let found = match &universal {
                Some(universal) => universal.evaluate(samples),
                None => attacker.attack(samples),
            };
            for (s, found) in found.iter().enumerate() {
                assert!(found.worst_margin <= found.clean.margin, "{name} {}", kind.name());
                let Some(witness) = &found.witness else { continue };
                let witness = match &universal {
                    Some(universal) => universal.witness(x.row(s), witness),
                    None => attacker.witness(x.row(s), witness),
                };
                set.contains(&network, x.row(s), &witness).unwrap();
                let (f, clean) = (network.forward_perturbed(x.row(s), &witness), network.forward(x.row(s)));
                let value = match property {
                    Property::Label | Property::Prediction => margin(&f, found.clean.target),
                    Property::Deviation => {
                        let deviations = f.iter().zip(&clean).map(|(f, c)| (f - c).abs());
                        0.01 - deviations.fold(0.0, f64::max)
                    }
                };
                let size = f.iter().fold(1.0, |size: f64, f| size.max(f.abs()));
                let error = (value - found.worst_margin).abs();
                assert!(
                    error <= REPRODUCED * size,
                    "{name} {}: {value}, {}",
                    kind.name(),
                    found.worst_margin
                );
                witnesses += 1;
            }
        }
    }
    assert!(witnesses > 200, "{witnesses}");
}

#[test]
fn gradients_are_stronger_than_chance_in_both_precisions() {
    let network = residual();
    let x = inputs(&network, 8);
    for (name, set) in sets(&network) {
        let run = |kind, precision| {
            let options =
                AttackOptions { steps: 30, precision, ..AttackOptions::new(kind, Property::Prediction) };
            attack(&network, &set, &x, options)
        };
        let neurons = run(AttackKind::NeuronSpace, Precision::F32);
        let same = run(AttackKind::NeuronSpace, Precision::F64);
        let random = run(AttackKind::Random(Distribution::Vertex), Precision::F32);
        let weights = run(AttackKind::WeightSpace, Precision::F32);
        assert!(mean(&neurons) < mean(&random), "{name}: {} {}", mean(&neurons), mean(&random));
        assert!(mean(&weights) < mean(&random), "{name}: {} {}", mean(&weights), mean(&random));
        assert!(mean(&neurons) < mean(&weights) + EXACT, "{name}: {} {}", mean(&neurons), mean(&weights));
        let difference = (mean(&neurons) - mean(&same)).abs();
        assert!(difference < 0.02 * (1.0 + mean(&same).abs()), "{name}: {} {}", mean(&neurons), mean(&same));
    }
}

/// Bit by bit: of any number of threads, of blocks of any size, alone or among others, with and without an early end.
#[test]
fn results_depend_on_nothing_but_the_sample() {
    let network = residual();
    let x = inputs(&network, 5);
    let labels = labels(&network, &x);
    let mut broken = 0;
    for (name, set) in sets(&network) {
        for (kind, stop) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            // A universal perturbation is of all samples.
            let counts = if kind == AttackKind::Universal { 0..0 } else { 0..x.rows() };
            let run = |threads: usize, block: usize, samples: std::ops::Range<usize>| {
                let (steps, restarts, stop_when_broken) = (12, 3, stop);
                let options = AttackOptions::new(kind, Property::Label);
                let options = AttackOptions { steps, restarts, stop_when_broken, block, ..options };
                let (inputs, labels) =
                    (x.row_range(samples.start, samples.end), &labels[samples.start..samples.end]);
                let samples = Samples { first: samples.start, inputs, labels: Some(labels) };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| Attacker::new(&network, &set, options).attack(samples))
            };
            let all = run(1, 32, 0..x.rows());
            broken += all.iter().filter(|found| found.verdict == Verdict::Falsified).count();
            let case = |what: &str| format!("{name} {}, {stop}: {what}", kind.name());
            for (threads, block) in [(1, 1), (1, 2), (2, 32), (3, 2), (8, 32)] {
                assert_eq!(run(threads, block, 0..x.rows()), all, "{}", case(&format!("{threads}, {block}")));
            }
            for s in counts {
                let threads = [1, 2, 3, 8, 16][s];
                assert_eq!(run(threads, 32, s..s + 1), all[s..s + 1], "{}", case(&format!("sample {s}")));
            }
        }
    }
    assert!(broken > 100, "{broken}");
}

/// What one part of a search broke, no other part goes on with: a sample whose rows are in several parts has the margin of one part.
#[test]
fn parts_of_a_search_hear_what_the_others_broke() {
    let network = residual();
    let x = inputs(&network, 24);
    let labels = labels(&network, &x);
    let samples = Samples { first: 0, inputs: x.as_slice(), labels: Some(&labels) };
    for (name, set) in sets(&network) {
        for scale in [0.3, 0.5, 0.7] {
            let set = set.scaled(scale);
            let run = |threads: usize| {
                let options = AttackOptions::new(AttackKind::NeuronSpace, Property::Label);
                let options = AttackOptions { steps: 21, restarts: 5, stop_when_broken: true, ..options };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| Attacker::new(&network, &set, options).attack(samples))
            };
            assert_eq!(run(7), run(1), "{name} {scale}");
        }
    }
}

/// A convolution and a head that stays, on a 4×4 image.
fn one_convolution(seed: u64) -> (Network, PerturbationSet, Matrix<f64>) {
    let mut rng = search::generator(seed, 1, 2);
    let mut random = |rows, cols| Matrix::from_fn(rows, cols, |_, _| rng.random_range(-1.0..=1.0));
    let window = Window::new([1, 4, 4], 2, [2, 2]);
    let mut builder = NetworkBuilder::new(vec![1, 4, 4]);
    let bias = random(1, 2).as_slice().to_vec();
    let conv = builder.conv("conv", 0, random(2, 4), bias, window).unwrap();
    let relu = builder.activation("relu", conv, Activation::Relu).unwrap();
    let head = builder.dense("head", relu, random(3, 18), vec![0.0; 3]).unwrap();
    let x = random(1, 16);
    let network = builder.finish().unwrap();
    let layer =
        LayerSet { weight: WeightSet::uniform(0.2, 2), bias: vec![0.1; 2], ..LayerSet::unperturbed(conv, 2) };
    let set = PerturbationSet {
        layers: vec![layer, LayerSet::unperturbed(head, 3)],
        roundings: Vec::new(),
        input_radius: 0.0,
        input_range: None,
        activation_radius: 0.0,
        value_limit: None,
    };
    (network, set, x)
}

/// The least margin over all vertices of the boxes of kernel and biases.
fn vertex_minimum(network: &Network, set: &PerturbationSet, x: &[f64], target: usize) -> f64 {
    let (layer, clean) = (&set.layers[0], network.affine_layers().next().unwrap().2);
    let (weights, biases) = (clean.weight.as_slice().len(), clean.bias.len());
    let mut least = f64::INFINITY;
    for vertex in 0..1_u32 << (weights + biases) {
        let sign = |k: usize| if vertex >> k & 1 == 1 { 1.0 } else { -1.0 };
        let (mut weight, mut bias) = (clean.weight.clone(), clean.bias.clone());
        let moved = weight.as_mut_slice().iter_mut().enumerate();
        moved.for_each(|(k, w)| *w += sign(k) * layer.weight.at(0, 0));
        let moved = bias.iter_mut().zip(&layer.bias).enumerate();
        moved.for_each(|(k, (b, e))| *b += sign(weights + k) * e);
        let point = crate::threat::LayerPerturbation { node: layer.node, weight, bias };
        let point = Perturbation { layers: vec![point], ..Perturbation::default() };
        least = least.min(margin(&network.forward_perturbed(x, &point), target));
    }
    least
}

#[test]
fn one_convolution_is_attacked_as_well_as_by_all_vertices() {
    let (mut missed, mut better) = (0, 0);
    const SEEDS: u64 = 40;
    for seed in 0..SEEDS {
        let (network, set, x) = one_convolution(seed);
        let options = AttackOptions::new(AttackKind::NeuronSpace, Property::Prediction);
        let found = &attack(&network, &set, &x, options)[0];
        let least = vertex_minimum(&network, &set, x.row(0), found.clean.target);
        missed += u64::from(found.worst_margin > least + EXACT);
        better += u64::from(found.worst_margin < least - EXACT);
    }
    assert!(missed * 20 <= SEEDS && better < SEEDS, "missed {missed}, between vertices {better}");
}

/// A box for each output element would reach more than one kernel gives: the attack must not.
#[test]
fn a_shared_kernel_moves_alike_at_all_positions() {
    let mut builder = NetworkBuilder::new(vec![1, 1, 2]);
    let kernel = Matrix::from_vec(1, 1, vec![1.0]);
    let conv = builder.conv("conv", 0, kernel, Vec::new(), Window::new([1, 1, 2], 1, [1, 1])).unwrap();
    let relu = builder.activation("relu", conv, Activation::Relu).unwrap();
    // f = (z_0, z_1): with one kernel w > 0 the margin is w (x_0 − x_1).
    let head =
        builder.dense("head", relu, Matrix::from_fn(2, 2, |i, j| f64::from(u8::from(i == j))), Vec::new());
    let head = head.unwrap();
    let network = builder.finish().unwrap();
    let weight = WeightSet::uniform(0.5, 1);
    let set = PerturbationSet {
        layers: vec![LayerSet { weight, ..LayerSet::unperturbed(conv, 1) }, LayerSet::unperturbed(head, 2)],
        roundings: Vec::new(),
        input_radius: 0.0,
        input_range: None,
        activation_radius: 0.0,
        value_limit: None,
    };
    let x = Matrix::from_vec(1, 2, vec![1.0, 0.75]);
    for kind in [AttackKind::NeuronSpace, AttackKind::WeightSpace] {
        let found = &attack(&network, &set, &x, AttackOptions::new(kind, Property::Prediction))[0];
        assert!((found.worst_margin - 0.5 * 0.25).abs() < EXACT, "{}", found.worst_margin);
        assert_eq!(found.verdict, Verdict::Unknown);
    }
}

#[test]
fn nan_breaks_nothing() {
    let network = residual();
    let mut x = wave(1, network.input_width(), 0.4);
    x.as_mut_slice()[3] = f64::NAN;
    for (name, set) in sets(&network) {
        for kind in KINDS {
            let options =
                AttackOptions { steps: 4, restarts: 2, ..AttackOptions::new(kind, Property::Deviation) };
            let found = &attack(&network, &set, &x, options)[0];
            assert!(found.witness.is_none() && found.verdict == Verdict::Unknown, "{name} {}", kind.name());
        }
    }
}
