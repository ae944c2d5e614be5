//! Bounds by their definitions: one sample, one row, one number at a time (theory.md §4.1 to §4.3), in f64 or in rational numbers.
//!
//! The engine stacks samples and rows, copies rows of weights instead of multiplying, carries rank-one losses along, and charges
//! rounding; none of that may change a bound by more than was charged, or raise it.

use crate::dyadic::Dyadic;
use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::{Signed, ToPrimitive};
use weightproof::network::{Affine, Network};
use weightproof::threat::{LayerSet, PerturbationSet};

/// Numbers that bounds are evaluated in.
pub trait Number: Signed + Clone + PartialOrd {
    /// A number of the network or the set, exactly.
    fn new(value: f64) -> Self;
}

impl Number for f64 {
    fn new(value: f64) -> f64 {
        value
    }
}

/// A fraction of integers of any size.
pub type Rational = Ratio<BigInt>;

impl Number for Rational {
    fn new(value: f64) -> Rational {
        Dyadic::new(value).fraction()
    }
}

/// A floating-point number near a fraction that is not huge.
pub fn near(value: &Rational) -> f64 {
    const BITS: i32 = 200;
    let scaled = (value.numer() << BITS) / value.denom();
    scaled.to_f64().expect("integers convert") * 2.0_f64.powi(-BITS)
}

/// A dense layer and its radii.
struct Layer<'a> {
    dense: &'a Affine,
    set: &'a LayerSet,
}

impl Layer<'_> {
    fn w<N: Number>(&self, i: usize, j: usize) -> N {
        N::new(self.dense.weight[(i, j)])
    }

    fn e<N: Number>(&self, i: usize, j: usize) -> N {
        N::new(self.set.weight.at(i, j))
    }

    fn rows(&self) -> usize {
        self.dense.weight.rows()
    }

    fn columns(&self) -> usize {
        self.dense.weight.cols()
    }
}

/// How the boxes of hidden neurons are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boxes {
    /// Layer by layer.
    Interval,
    /// By a backward pass for every unstable neuron, where that is better.
    Linear,
}

/// A ReLU network whose dense layers alternate with ReLU, with a fixed input; boxes `|Ŵ − W| ≤ E` of any structure.
pub struct Reference<'a, N> {
    layers: Vec<Layer<'a>>,
    /// Boxes of the pre-activations of every layer but the last.
    boxes: Vec<(Vec<N>, Vec<N>)>,
    clean: Vec<N>,
}

impl<'a, N: Number> Reference<'a, N> {
    /// Bounds all hidden layers.
    pub fn new(network: &'a Network, set: &'a PerturbationSet, x: &[f64], boxes: Boxes) -> Self {
        let layers: Vec<Layer<'_>> = network
            .affine_layers()
            .map(|(node, _, dense)| Layer { dense, set: set.layer(node).expect("every layer has a set") })
            .collect();
        let clean = x.iter().map(|&x| N::new(x)).collect();
        let mut reference = Reference { layers, boxes: Vec::new(), clean };
        let first = reference.first_box();
        reference.boxes.push(first);
        for k in 1..reference.layers.len() - 1 {
            let (mut lower, mut upper) = reference.interval(k);
            for i in 0..lower.len() {
                let unstable = lower[i].is_negative() && upper[i].is_positive();
                if boxes == Boxes::Linear && unstable {
                    let n = lower.len();
                    lower[i] = max(lower[i].clone(), reference.backward(k, &unit(n, i, N::one())));
                    upper[i] = min(upper[i].clone(), -reference.backward(k, &unit(n, i, -N::one())));
                }
            }
            reference.boxes.push((lower, upper));
        }
        reference
    }

    /// Lower bound of the margin of `target`: the better of the backward bound and the last layer on its input box.
    pub fn margin_lower(&self, target: usize) -> N {
        let bound = |row: &[N]| max(self.backward(self.last(), row), self.one_layer(self.last(), row));
        self.least_margin(target, bound)
    }

    /// Lower bound of the margin of `target` by the last layer on its input box.
    pub fn interval_margin(&self, target: usize) -> N {
        self.least_margin(target, |row| self.one_layer(self.last(), row))
    }

    /// Lower bound of the margin of `target` by induced norms; the boxes are those of intervals.
    pub fn norm_margin(&self, target: usize) -> N {
        let mut value = self.clean.clone();
        let mut magnitude: Vec<N> = value.iter().map(N::abs).collect();
        // ℓ∞ and ℓ1 norm of the deviation.
        let (mut largest, mut total) = (N::zero(), N::zero());
        for (k, layer) in self.layers.iter().enumerate() {
            let row_norm =
                |row: &dyn Fn(usize) -> N| (0..layer.columns()).fold(N::zero(), |s, j| s + row(j).abs());
            let e = |i: usize, j: usize| layer.e::<N>(i, j);
            let moved = |i: usize| {
                let by = |z: &[N]| (0..z.len()).fold(N::zero(), |s, j| s + e(i, j) * z[j].abs());
                let widest = (0..layer.columns()).fold(N::zero(), |m, j| max(m, e(i, j)));
                let spread = min(widest * total.clone(), row_norm(&|j| e(i, j)) * largest.clone());
                min(by(&magnitude), by(&value) + spread)
            };
            let own = |i: usize| moved(i) + N::new(layer.set.bias[i]);
            let next: Vec<N> = (0..layer.rows()).map(|i| self.clean_row(k, &value, i)).collect();
            if k == self.last() {
                return self.least_margin(target, |c| {
                    let difference =
                        |j: usize| (0..c.len()).fold(N::zero(), |s, i| s + c[i].clone() * layer.w(i, j));
                    let widest = (0..layer.columns()).fold(N::zero(), |m, j| max(m, difference(j).abs()));
                    let passed = min(row_norm(&difference) * largest.clone(), widest * total.clone());
                    (0..c.len())
                        .fold(-passed, |s, i| s + c[i].clone() * next[i].clone() - c[i].abs() * own(i))
                });
            }
            let width = (0..layer.rows()).fold(N::zero(), |n, _| n + N::one());
            let rows = (0..layer.rows()).fold(N::zero(), |m, i| max(m, row_norm(&|j| layer.w(i, j))));
            let column = |j: usize| (0..layer.rows()).fold(N::zero(), |s, i| s + layer.w::<N>(i, j).abs());
            let columns = (0..layer.columns()).fold(N::zero(), |m, j| max(m, column(j)));
            let farthest = (0..layer.rows()).fold(N::zero(), |m, i| max(m, own(i)));
            let all = (0..layer.rows()).fold(N::zero(), |s, i| s + own(i));
            largest = rows * largest + farthest;
            total = min(columns * total + all, width * largest.clone());
            value = next.into_iter().map(|p| max(p, N::zero())).collect();
            magnitude = self.boxes[k].1.iter().map(|u| max(u.clone(), N::zero())).collect();
        }
        unreachable!("a network has layers")
    }

    fn last(&self) -> usize {
        self.layers.len() - 1
    }

    /// The smallest of the bounds of all differences of `target` and another class.
    fn least_margin(&self, target: usize, bound: impl Fn(&[N]) -> N) -> N {
        let classes = self.layers[self.last()].rows();
        let rivals = (0..classes).filter(|&j| j != target);
        let bounds = rivals.map(|rival| {
            let mut row = unit(classes, target, N::one());
            row[rival] = -N::one();
            bound(&row)
        });
        bounds.reduce(min).expect("two classes")
    }

    fn clean_row(&self, k: usize, z: &[N], i: usize) -> N {
        let layer = &self.layers[k];
        (0..z.len()).fold(N::new(layer.dense.bias[i]), |s, j| s + layer.w::<N>(i, j) * z[j].clone())
    }

    fn first_box(&self) -> (Vec<N>, Vec<N>) {
        let layer = &self.layers[0];
        let radius = |i: usize| {
            let of = |s: N, j: usize| s + layer.e::<N>(i, j) * self.clean[j].abs();
            (0..self.clean.len()).fold(N::new(layer.set.bias[i]), of)
        };
        let p = |i: usize| self.clean_row(0, &self.clean, i);
        (0..layer.rows()).map(|i| (p(i) - radius(i), p(i) + radius(i))).unzip()
    }

    /// Box of layer `k` from the box of the activations before it.
    fn interval(&self, k: usize) -> (Vec<N>, Vec<N>) {
        let n = self.layers[k].rows();
        let ends = |i| (self.one_layer(k, &unit(n, i, N::one())), -self.one_layer(k, &unit(n, i, -N::one())));
        (0..n).map(ends).unzip()
    }

    /// `min c·p` of layer `k` over the box of its inputs `z = relu(p)`.
    fn one_layer(&self, k: usize, c: &[N]) -> N {
        let (a, bound) = self.through(k, c);
        let (lower, upper) = &self.boxes[k - 1];
        let relu = |p: &N| max(p.clone(), N::zero());
        a.iter()
            .enumerate()
            .fold(bound, |s, (j, a)| s + min(a.clone() * relu(&lower[j]), a.clone() * relu(&upper[j])))
    }

    /// Coefficients of the inputs of layer `k` and the constant: `c W − |c| E` and `c·b − |c|·e`.
    fn through(&self, k: usize, c: &[N]) -> (Vec<N>, N) {
        let layer = &self.layers[k];
        let rows = |of: &dyn Fn(usize) -> N| (0..c.len()).fold(N::zero(), |s, i| s + of(i));
        let a = |j: usize| rows(&|i| c[i].clone() * layer.w(i, j) - c[i].abs() * layer.e(i, j));
        let (bias, radius) = (&layer.dense.bias, &layer.set.bias);
        let constant = rows(&|i| c[i].clone() * N::new(bias[i]) - c[i].abs() * N::new(radius[i]));
        ((0..layer.columns()).map(a).collect(), constant)
    }

    /// `min c·p` of layer `k` by relaxing every ReLU down to the exact box of the first activations.
    fn backward(&self, k: usize, c: &[N]) -> N {
        let (mut c, mut bound, mut k) = (c.to_vec(), N::zero(), k);
        while k > 1 {
            let (mut a, constant) = self.through(k, &c);
            bound = bound + constant;
            k -= 1;
            for (j, a) in a.iter_mut().enumerate() {
                let (l, u) = (self.boxes[k].0[j].clone(), self.boxes[k].1[j].clone());
                if !l.is_negative() {
                    continue;
                }
                if !u.is_positive() {
                    *a = N::zero();
                } else if !a.is_negative() {
                    if u <= -l {
                        *a = N::zero();
                    }
                } else {
                    *a = a.clone() * u.clone() / (u - l.clone());
                    bound = bound - a.clone() * l;
                }
            }
            c = a;
        }
        bound + self.one_layer(1, &c)
    }
}

fn unit<N: Number>(n: usize, i: usize, value: N) -> Vec<N> {
    (0..n).map(|j| if j == i { value.clone() } else { N::zero() }).collect()
}

fn min<N: PartialOrd>(a: N, b: N) -> N {
    if b < a { b } else { a }
}

fn max<N: PartialOrd>(a: N, b: N) -> N {
    if b > a { b } else { a }
}
