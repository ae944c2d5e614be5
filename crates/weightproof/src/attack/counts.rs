//! Witnesses that a file can hold: parameters moved by whole counts of the integers that it stores (theory.md §16).
//!
//! ```text
//! Ŵ_ij = s (q_ij + c_ij − z)      |c_ij| s ≤ E_ij,  q_ij + c_ij between the least and the largest integer
//! ```
//! Sets are boxes of real numbers, and so are the witnesses of a search. Each layer is moved so that what it gives is as near as counts allow to
//! what it gives under such a witness: elements that are multiplied by large values first, so that small ones make up for what is left.

use crate::kernels::Matrix;
use crate::network::{Affine, Layer, Network, StoredIntegers};
use crate::threat::{LayerPerturbation, LayerSet, Perturbation, PerturbationSet};

/// Rounding of a radius that is a whole number of steps, in steps.
const ROUNDING: f64 = 1e-6;

/// A witness that a file can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct CountedWitness {
    /// Every parameter that moved is one of the stored integers times its step.
    pub perturbation: Perturbation,
    /// The margin when the network is run in integers; at most zero.
    pub margin: f64,
}

/// A perturbation by whole counts near `found`, after which `target` is not the only class with the largest output.
///
/// # Guarantee
/// It lies in the set, every parameter that moved is one that the file can store, and it breaks the class when the network is run in integers
/// ([`Network::forward_in_integers`]).
/// `None` where none was found, and where it makes no sense: activations that move, layers that move without stored integers, networks that
/// are not run in integers.
pub fn in_counts(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    target: usize,
    found: &Perturbation,
) -> Option<CountedWitness> {
    if !found.activations.is_empty() {
        return None;
    }
    let mut counted = Perturbation { layers: Vec::new(), ..found.clone() };
    for layer in &found.layers {
        let affine = network.nodes()[layer.node].layer.affine()?;
        if layer.weight == affine.weight && layer.bias == affine.bias {
            continue;
        }
        let (stored, moved) = (affine.stored.as_ref()?, set.layer(layer.node)?);
        if moved.weight.is_ball() {
            return None;
        }
        let read = |perturbation: &Perturbation| {
            let values = network.values_perturbed(x, perturbation);
            values[network.nodes()[layer.node].inputs[0]].clone()
        };
        let counts = Counts { affine, stored, moved, layer };
        let is_dense = matches!(network.nodes()[layer.node].layer, Layer::Dense(_));
        counted.layers.push(if is_dense {
            counts.dense(&read(found), &read(&counted))
        } else {
            counts.nearest()
        });
    }
    set.contains(network, x, &counted).ok()?;
    let input = counted.input.as_deref().unwrap_or(x);
    let outputs = network.forward_in_integers(input, &counted.layers)?;
    let margins = (0..outputs.len()).filter(|&k| k != target).map(|k| outputs[target] - outputs[k]);
    let margin = margins.fold(f64::INFINITY, f64::min);
    (margin <= 0.0).then_some(CountedWitness { perturbation: counted, margin })
}

/// A layer and what a witness makes of it.
struct Counts<'a> {
    affine: &'a Affine,
    stored: &'a StoredIntegers,
    moved: &'a LayerSet<f64>,
    layer: &'a LayerPerturbation,
}

impl Counts<'_> {
    /// Least and largest count of weight `(i, j)`.
    fn range(&self, i: usize, j: usize) -> (f64, f64) {
        let k = i * self.affine.weight.cols() + j;
        let step = self.stored.step(k);
        let most = (self.moved.weight.box_radius(i, j) / step + ROUNDING).floor();
        let q = (self.affine.weight[(i, j)] / step).round() + self.stored.zeros[self.stored.group(k)] as f64;
        let (low, high) = self.stored.ends();
        ((-most).max(low as f64 - q), most.min(high as f64 - q))
    }

    /// Largest count of bias `i` to either side, and its step; none where biases are not stored as integers.
    fn bias(&self, i: usize) -> Option<(f64, f64)> {
        let step = *self.stored.bias_steps.get(i)?;
        Some(((self.moved.bias[i] / step + ROUNDING).floor(), step))
    }

    /// Bias `i` moved by so many counts, or by one fewer where the radius is exceeded by rounding.
    fn moved_bias(&self, i: usize, count: f64, step: f64) -> f64 {
        let bias = self.affine.bias[i];
        let moved = |count: f64| step * ((bias / step).round() + count);
        if (moved(count) - bias).abs() <= self.moved.bias[i] {
            moved(count)
        } else {
            moved(count - count.signum())
        }
    }

    /// Counts nearest to what the witness has.
    fn nearest(&self) -> LayerPerturbation {
        let (weight, cols) = (&self.affine.weight, self.affine.weight.cols());
        let moved = |i: usize, j: usize| {
            let (step, (low, high)) = (self.stored.step(i * cols + j), self.range(i, j));
            let count = ((self.layer.weight[(i, j)] - weight[(i, j)]) / step).round();
            weight[(i, j)] + step * count.clamp(low, high)
        };
        let bias = |i: usize| {
            let count = |(most, step): (f64, f64)| {
                let count = ((self.layer.bias[i] - self.affine.bias[i]) / step).round().clamp(-most, most);
                self.moved_bias(i, count, step)
            };
            self.bias(i).map_or(self.affine.bias[i], count)
        };
        LayerPerturbation {
            node: self.layer.node,
            weight: Matrix::from_fn(weight.rows(), cols, moved),
            bias: (0..self.affine.bias.len()).map(bias).collect(),
        }
    }

    /// Counts for which each output of a dense layer that reads `z` is nearest to what the witness gives, which reads `witnessed`.
    fn dense(&self, witnessed: &[f64], z: &[f64]) -> LayerPerturbation {
        let cols = self.affine.weight.cols();
        let mut order: Vec<usize> = (0..cols).collect();
        order.sort_by(|&a, &b| z[b].abs().total_cmp(&z[a].abs()));
        let (mut weight, mut bias) = (self.affine.weight.clone(), self.affine.bias.clone());
        let product = |weights: &[f64], z: &[f64]| weights.iter().zip(z).map(|(w, z)| w * z).sum::<f64>();
        for i in 0..weight.rows() {
            let goal = self.layer.bias[i] + product(self.layer.weight.row(i), witnessed);
            let mut left = goal - bias[i] - product(weight.row(i), z);
            let mut take = |(low, high): (f64, f64), unit: f64| {
                let count = (left / unit).round().clamp(low, high);
                left -= count * unit;
                count
            };
            if let Some((most, step)) = self.bias(i).filter(|(most, _)| *most > 0.0) {
                bias[i] = self.moved_bias(i, take((-most, most), step), step);
            }
            for &j in order.iter().take_while(|&&j| z[j] != 0.0) {
                let step = self.stored.step(i * cols + j);
                weight[(i, j)] += step * take(self.range(i, j), step * z[j]);
            }
        }
        LayerPerturbation { node: self.layer.node, weight, bias }
    }
}
