//! The linear bound by its definition: one sample, one row, one number at a time, in f64 (theory.md §4.3).
//!
//! The engine stacks samples and rows, copies rows of weights instead of multiplying, and carries rank-one losses along;
//! none of that may change a bound.

use weightproof::kernels::Matrix;
use weightproof::network::{Affine, Network};
use weightproof::threat::{LayerSet, PerturbationSet};

/// A dense layer and its radii.
struct Layer<'a> {
    dense: &'a Affine,
    set: &'a LayerSet,
}

impl Layer<'_> {
    fn e(&self, i: usize, j: usize) -> f64 {
        self.set.weight.at(i, j)
    }
}

/// A ReLU network whose dense layers alternate with ReLU, with a fixed input; boxes `|Ŵ − W| ≤ E` of any structure.
pub struct Reference<'a> {
    layers: Vec<Layer<'a>>,
    /// Boxes of the pre-activations of every layer but the last.
    boxes: Vec<(Vec<f64>, Vec<f64>)>,
    clean: Vec<f64>,
}

impl<'a> Reference<'a> {
    /// Bounds all hidden layers.
    pub fn new(network: &'a Network, set: &'a PerturbationSet, x: &[f64]) -> Self {
        let layers: Vec<Layer<'_>> = network
            .affine_layers()
            .map(|(node, _, dense)| Layer { dense, set: set.layer(node).expect("every layer has a set") })
            .collect();
        let mut reference = Reference { layers, boxes: Vec::new(), clean: x.to_vec() };
        let first = reference.first_box();
        reference.boxes.push(first);
        for k in 1..reference.layers.len() - 1 {
            let (mut lower, mut upper) = reference.interval(k);
            for i in 0..lower.len() {
                if lower[i] < 0.0 && upper[i] > 0.0 {
                    let n = lower.len();
                    let row = |sign: f64| (0..n).map(|j| if j == i { sign } else { 0.0 }).collect::<Vec<_>>();
                    lower[i] = lower[i].max(reference.backward(k, &row(1.0)));
                    upper[i] = upper[i].min(-reference.backward(k, &row(-1.0)));
                }
            }
            reference.boxes.push((lower, upper));
        }
        reference
    }

    /// Lower bound of the margin of `target`: the better of the backward bound and the last layer on its input box.
    pub fn margin_lower(&self, target: usize) -> f64 {
        let last = self.layers.len() - 1;
        let classes = self.layers[last].dense.bias.len();
        let bound = |rival: usize| {
            let mut row = vec![0.0; classes];
            row[target] = 1.0;
            row[rival] = -1.0;
            self.backward(last, &row).max(self.one_layer(last, &row))
        };
        (0..classes).filter(|&j| j != target).map(bound).fold(f64::INFINITY, f64::min)
    }

    fn first_box(&self) -> (Vec<f64>, Vec<f64>) {
        let layer = &self.layers[0];
        let p = layer.dense.apply(&self.clean);
        let radius = |i: usize| {
            layer.set.bias[i]
                + (0..self.clean.len()).map(|j| layer.e(i, j) * self.clean[j].abs()).sum::<f64>()
        };
        ((0..p.len()).map(|i| p[i] - radius(i)).collect(), (0..p.len()).map(|i| p[i] + radius(i)).collect())
    }

    /// Box of layer `k` from the box of the activations before it.
    fn interval(&self, k: usize) -> (Vec<f64>, Vec<f64>) {
        let n = self.layers[k].dense.bias.len();
        let unit = |i: usize, sign: f64| (0..n).map(|j| if j == i { sign } else { 0.0 }).collect::<Vec<_>>();
        let lower = (0..n).map(|i| self.one_layer(k, &unit(i, 1.0))).collect();
        let upper = (0..n).map(|i| -self.one_layer(k, &unit(i, -1.0))).collect();
        (lower, upper)
    }

    /// `min c·p` of layer `k` over the box of its inputs `z = relu(p)`.
    fn one_layer(&self, k: usize, c: &[f64]) -> f64 {
        let (a, mut bound) = self.through(k, c);
        for (j, a) in a.iter().enumerate() {
            let (l, u) = (self.boxes[k - 1].0[j].max(0.0), self.boxes[k - 1].1[j].max(0.0));
            bound += (a * l).min(a * u);
        }
        bound
    }

    /// Coefficients of the inputs of layer `k` and the constant: `c W − |c| E` and `c·b − |c|·e`.
    fn through(&self, k: usize, c: &[f64]) -> (Vec<f64>, f64) {
        let layer = &self.layers[k];
        let weight: &Matrix<f64> = &layer.dense.weight;
        let a = (0..weight.cols())
            .map(|j| (0..c.len()).map(|i| c[i] * weight[(i, j)] - c[i].abs() * layer.e(i, j)).sum())
            .collect();
        let constant =
            (0..c.len()).map(|i| c[i] * layer.dense.bias[i] - c[i].abs() * layer.set.bias[i]).sum();
        (a, constant)
    }

    /// `min c·p` of layer `k` by relaxing every ReLU down to the exact box of the first layer.
    fn backward(&self, k: usize, c: &[f64]) -> f64 {
        let (mut c, mut bound, mut k) = (c.to_vec(), 0.0, k);
        while k > 0 {
            let (mut a, constant) = self.through(k, &c);
            bound += constant;
            k -= 1;
            for (j, a) in a.iter_mut().enumerate() {
                let (l, u) = (self.boxes[k].0[j], self.boxes[k].1[j]);
                if l >= 0.0 {
                    continue;
                }
                if u <= 0.0 {
                    *a = 0.0;
                } else if *a >= 0.0 {
                    *a *= if u > -l { 1.0 } else { 0.0 };
                } else {
                    bound -= *a * u * l / (u - l);
                    *a *= u / (u - l);
                }
            }
            c = a;
        }
        let (lower, upper) = &self.boxes[0];
        bound + c.iter().enumerate().map(|(j, c)| (c * lower[j]).min(c * upper[j])).sum::<f64>()
    }
}
