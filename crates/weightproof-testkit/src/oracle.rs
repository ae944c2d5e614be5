//! What bounds are compared with: points of the set, and all vertices of tiny ones.

use crate::networks::input;
use rand::Rng;
use weightproof::kernels::Matrix;
use weightproof::network::{Affine, Network};
use weightproof::threat::{Distribution, LayerPerturbation, Perturbation, PerturbationSet};

/// Outputs of the network at `x` under `count` points of the set of each distribution, vertices included.
///
/// # Panics
/// When a sampled point is outside of its own set: that is a bug of the sampler.
pub fn sampled_outputs(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    count: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<f64>> {
    let mut outputs = Vec::new();
    for distribution in [Distribution::Uniform, Distribution::Gaussian, Distribution::Vertex] {
        for _ in 0..count {
            let point = set.sample(network, x, distribution, rng);
            set.contains(network, x, &point).expect("a sample lies in its set");
            outputs.push(network.forward_perturbed(x, &point));
        }
    }
    outputs
}

/// A steepest-descent search over vertices: starting from a random vertex, every weight of every layer in turn takes the
/// end of its interval that lowers `objective`, until nothing changes. Finds what random vertices do not.
pub fn coordinate_search(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    objective: impl Fn(&[f64]) -> f64,
    rng: &mut impl Rng,
) -> f64 {
    let mut point = set.sample(network, x, Distribution::Vertex, rng);
    let mut best = objective(&network.forward_perturbed(x, &point));
    for _ in 0..4 {
        let before = best;
        for layer in 0..point.layers.len() {
            let node = point.layers[layer].node;
            let (_, _, dense) =
                network.affine_layers().find(|(index, _, _)| *index == node).expect("a dense layer");
            for (i, j) in entries(dense) {
                for sign in [-1.0, 1.0] {
                    let old = read(&point.layers[layer], i, j);
                    write(&mut point.layers[layer], i, j, end(set, node, dense, (i, j), sign));
                    let value = objective(&network.forward_perturbed(x, &point));
                    if value < best && set.contains(network, x, &point).is_ok() {
                        best = value;
                    } else {
                        write(&mut point.layers[layer], i, j, old);
                    }
                }
            }
        }
        if best == before {
            break;
        }
    }
    best
}

/// The least `objective` over *all* vertices of the weight and bias boxes of a network with a fixed input.
///
/// # Panics
/// When there are more than 2²² of them, or when the input or the activations move.
pub fn vertex_minimum(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    objective: impl Fn(&[f64]) -> f64,
) -> f64 {
    assert!(set.input_radius == 0.0 && set.activation_radius == 0.0, "only parameters move");
    let mut moving = Vec::new();
    for (node, _, dense) in network.affine_layers() {
        for (i, j) in entries(dense) {
            if end(set, node, dense, (i, j), 1.0) > end(set, node, dense, (i, j), -1.0) {
                moving.push((node, i, j));
            }
        }
    }
    assert!(moving.len() <= 22, "{} numbers move, too many vertices", moving.len());
    let mut point = Perturbation::identity(network);
    let mut least = f64::INFINITY;
    for corner in 0_u32..(1 << moving.len()) {
        for (bit, &(node, i, j)) in moving.iter().enumerate() {
            let sign = if corner >> bit & 1 == 1 { 1.0 } else { -1.0 };
            let (_, _, dense) = network.affine_layers().find(|(index, _, _)| *index == node).expect("dense");
            let layer = point.layers.iter_mut().find(|l| l.node == node).expect("every layer is listed");
            write(layer, i, j, end(set, node, dense, (i, j), sign));
        }
        least = least.min(objective(&network.forward_perturbed(x, &point)));
    }
    least
}

/// All parameters of a layer: `(row, column)`, the bias as the column after the last.
fn entries(dense: &Affine) -> Vec<(usize, usize)> {
    let cols = dense.weight.cols() + 1;
    (0..dense.bias.len() * cols).map(|k| (k / cols, k % cols)).collect()
}

fn end(set: &PerturbationSet, node: usize, dense: &Affine, (i, j): (usize, usize), sign: f64) -> f64 {
    let layer = set.layer(node).expect("every dense layer has a set");
    if j == dense.weight.cols() {
        dense.bias[i] + sign * layer.bias[i]
    } else {
        dense.weight[(i, j)] + sign * layer.weight.at(i, j)
    }
}

fn read(layer: &LayerPerturbation, i: usize, j: usize) -> f64 {
    if j == layer.weight.cols() { layer.bias[i] } else { layer.weight[(i, j)] }
}

fn write(layer: &mut LayerPerturbation, i: usize, j: usize, value: f64) {
    if j == layer.weight.cols() {
        layer.bias[i] = value;
    } else {
        layer.weight[(i, j)] = value;
    }
}

/// The margin of `target`: `min over j ≠ target of f_target − f_j`.
pub fn margin(outputs: &[f64], target: usize) -> f64 {
    let rivals = outputs.iter().enumerate().filter(|(j, _)| *j != target);
    rivals.map(|(_, f)| outputs[target] - f).fold(f64::INFINITY, f64::min)
}

/// A random sample, and the worst that points of a set were found to do to its class.
pub struct Tried {
    /// The input, within the range of inputs where there is one.
    pub x: Vec<f64>,
    /// Outputs without perturbation.
    pub clean: Vec<f64>,
    /// The largest of them.
    pub label: usize,
    /// Outputs at points of the set.
    pub outputs: Vec<Vec<f64>>,
    /// The least margin of the label at these points and at those of a search.
    pub worst: f64,
    /// One more than the largest magnitude of an output, by which rounding is measured.
    pub size: f64,
}

impl Tried {
    /// With `points` points of each distribution.
    pub fn new(network: &Network, set: &PerturbationSet, points: usize, rng: &mut impl Rng) -> Tried {
        let x = input(network.input_width(), set.input_range.is_some(), rng);
        let clean = network.forward(&x);
        let label = (0..clean.len()).max_by(|&a, &b| clean[a].total_cmp(&clean[b])).expect("outputs");
        let outputs = sampled_outputs(network, set, &x, points, rng);
        let searched = coordinate_search(network, set, &x, |f| margin(f, label), rng);
        let worst = outputs.iter().map(|f| margin(f, label)).fold(searched, f64::min);
        let size = 1.0 + clean.iter().chain(outputs.iter().flatten()).fold(0.0, |m: f64, v| m.max(v.abs()));
        Tried { x, clean, label, outputs, worst, size }
    }
}

/// A matrix of samples as rows, for readers of the engine.
pub fn rows(samples: &[Vec<f64>]) -> Matrix<f64> {
    Matrix::from_vec(samples.len(), samples[0].len(), samples.concat())
}
