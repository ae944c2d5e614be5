//! The class of networks that a bound is about, and its Rademacher complexity.
//!
//! A class is given by the graph and two numbers for each layer with parameters: the largest ℓ1 norm of a row of the weights, and
//! the largest magnitude of a bias. With `r(node)` for the empirical Rademacher complexity of all functions that one element of a
//! node may be,
//!
//! ```text
//! r = E_σ sup_g | (1/n) Σ_i σ_i g(x_i) |
//!
//! input              max_j √(Σ_i x_ij² / n) · √(2 ln(2d) / n)       finite class (Massart), d inputs
//! W z + b            s · r(z) + β/√n                                rows of ℓ1 norm ≤ s, |b| ≤ β
//! ρ(p)               2 Lip(ρ) · r(p) + |ρ(0)|/√n                    contraction
//! Σ of nodes         Σ r                                            residual addition
//! a z + t            max|a| · r(z) + max|t|/√n                      constants of the program
//! mean of c elements max over positions of (c · factor) · r(z)
//! max of c elements  3^⌈log₂ c⌉ · r(z)                              max(a, b) = (a + b + |a − b|)/2
//! ```
//! A chain of dense layers with 1-Lipschitz activations, `ρ(0) = 0`, without biases has
//! `r = 2^{L−1} Π_k s_k · max_j √(Σ_i x_ij²/n) · √(2 ln(2d)/n)`, which is theory.md §8 with a root mean square of the samples in
//! place of `max ‖x‖_∞`. A convolution is in the class of the unrolled matrix, whose rows have at most the ℓ1 norm of the kernel;
//! that its rows share weights only makes the class smaller. A bias is the weight of a constant input 1, whose complexity is
//! `E|(1/n) Σ σ_i| ≤ 1/√n`.
//!
//! # Guarantee
//! Upper bounds of the complexity, rounded up, for the samples whose inputs are given.
//!
//! # Source
//! Bartlett and Mendelson, JMLR 2002; Ledoux and Talagrand 1991, theorem 4.12 (contraction with absolute values: the factor 2);
//! theory.md §8. Difference: biases, graphs, and layers other than dense ones are covered.

use crate::rounding::{above, sum_above};
use weightproof::network::{Affine, Layer, Network, Window};
use weightproof::threat::{LayerSet, PerturbationSet, WeightSet};

/// Norms of one layer with parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorms {
    /// Index of the node.
    pub node: usize,
    /// Largest ℓ1 norm of a row of the weights, `s`.
    pub row: f64,
    /// The same for the worst weights of the perturbation set: `max_i Σ_j (|W_ij| + E_ij)`.
    pub row_reached: f64,
    /// Largest magnitude of a bias.
    pub bias: f64,
    /// The same over the perturbation set.
    pub bias_reached: f64,
}

impl LayerNorms {
    /// Norms of all layers with parameters of `network`, as they are and over `set`.
    pub fn all(network: &Network, set: &PerturbationSet) -> Vec<LayerNorms> {
        let layers = network.affine_layers();
        layers.map(|(node, _, affine)| LayerNorms::new(node, affine, set.layer(node))).collect()
    }

    fn new(node: usize, affine: &Affine, set: Option<&LayerSet>) -> LayerNorms {
        let row = |i: usize| sum_above(affine.weight.row(i).iter().map(|w| w.abs()));
        let moved = |i: usize| set.map_or(0.0, |set| row_radius(&set.weight, i, affine.weight.cols()));
        let reached = |i: usize| sum_above([row(i), moved(i)].into_iter());
        let bias_reached =
            |i: usize| sum_above([affine.bias[i].abs(), set.map_or(0.0, |set| set.bias[i])].into_iter());
        let rows = || 0..affine.weight.rows();
        LayerNorms {
            node,
            row: largest(rows().map(row)),
            row_reached: largest(rows().map(reached)),
            bias: largest(affine.bias.iter().map(|b| b.abs())),
            bias_reached: largest(rows().map(bias_reached)),
        }
    }
}

/// The largest ℓ1 norm of what row `i` of the weights may change by.
fn row_radius(set: &WeightSet, i: usize, cols: usize) -> f64 {
    match set {
        WeightSet::Fixed => 0.0,
        // ‖δ‖₁ ≤ √n ‖δ‖₂, and one row may have the whole ball.
        WeightSet::Ball(r) => above(r * (cols as f64).sqrt(), 2),
        WeightSet::RowBalls(rows) => above(rows[i] * (cols as f64).sqrt(), 2),
        WeightSet::Rows(_) | WeightSet::Entries(_) => sum_above((0..cols).map(|j| set.box_radius(i, j))),
    }
}

/// The largest of some numbers; NaN when one is NaN, so that NaN never proves anything.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |most, v| if v.is_nan() || v > most { v } else { most })
}

/// Roundings of an element of a node besides those of a sum over other nodes, with room.
const FEW: usize = 16;
/// More than what squares that underflow take from a root of their sum.
const UNDERFLOW: f64 = 1e-150;

/// What the complexity depends on besides the class: the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inputs {
    /// Number of samples.
    pub samples: usize,
    /// `max_j √(Σ_i x_ij² / n)`: the largest root mean square of an element of the input.
    pub root_mean_square: f64,
}

impl Inputs {
    /// Of samples with `width` elements each.
    pub fn new(inputs: &[f64], width: usize) -> Self {
        let samples = inputs.len() / width;
        let mut squares = vec![0.0; width];
        inputs.chunks_exact(width).for_each(|x| squares.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x));
        let root = |sum: f64| above((sum / samples as f64).sqrt(), samples + FEW) + UNDERFLOW;
        let root_mean_square = largest(squares.into_iter().map(root));
        Inputs { samples, root_mean_square }
    }
}

/// Complexities of the elements of every node, for the class with these norms: `(row, bias)` for each layer with parameters, in
/// their order.
///
/// # Panics
/// When there are fewer norms than layers with parameters.
pub fn complexities(network: &Network, norms: &[(f64, f64)], inputs: Inputs) -> Vec<f64> {
    let root = (inputs.samples as f64).sqrt();
    // Of a function that is a constant.
    let constant = |c: f64| c.abs() / root;
    let mut norms = norms.iter();
    let mut found: Vec<f64> = Vec::with_capacity(network.nodes().len());
    for node in network.nodes() {
        let mut of: Vec<usize> = node.inputs.clone();
        let first = of.first().map_or(f64::NAN, |&i| found[i]);
        let mut affine = || {
            let &(row, bias) = norms.next().expect("norms of every layer with parameters");
            row * first + constant(bias)
        };
        let roundings = FEW + of.len();
        let complexity = match &node.layer {
            Layer::Input => {
                let functions = 2.0 * node.width() as f64;
                inputs.root_mean_square * (2.0 * functions.ln()).sqrt() / root
            }
            Layer::Dense(_) | Layer::Conv(_) => affine(),
            Layer::Scale(scale) => {
                let most = |values: &[f64]| largest(values.iter().map(|v| v.abs()));
                most(&scale.scale) * first + constant(most(&scale.shift))
            }
            Layer::Activation(f) => 2.0 * f.lipschitz() * first + constant(f.apply(0.0)),
            // As every function that jumps, or that is steep without end.
            Layer::DynamicQuantize(_) | Layer::Multiply => f64::INFINITY,
            Layer::MaxPool(window) => 3f64.powi(window.taps().next_power_of_two().ilog2() as i32) * first,
            Layer::AveragePool(average) => {
                let weight = |p: usize| elements(&average.window, p) as f64 * average.factor[p].abs();
                largest((0..average.window.positions()).map(weight)) * first
            }
            Layer::Add => of.iter().map(|&i| found[i]).sum(),
            Layer::Gather(gather) => {
                // The supremum over a union is at most the sum of the suprema.
                of.sort_unstable();
                of.dedup();
                let missing = gather.source.iter().any(Option::is_none);
                let extra = if missing { constant(gather.constant) } else { 0.0 };
                of.iter().map(|&i| found[i]).sum::<f64>() + extra
            }
            Layer::Reshape => first,
        };
        found.push(above(complexity, roundings));
    }
    found
}

/// Elements of the image that a window sees at a position.
fn elements(window: &Window, position: usize) -> usize {
    let width = window.extent(1);
    window.taps_inside(0, position / width).len() * window.taps_inside(1, position % width).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::network::{Activation, NetworkBuilder};
    use weightproof::threat::{Kind, ThreatModel};

    fn network(bias: Vec<f64>, f: Activation) -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let p = builder.dense("a", 0, Matrix::from_vec(2, 2, vec![0.5, -0.25, 0.1, 0.1]), bias).unwrap();
        let z = builder.activation("r", p, f).unwrap();
        builder.dense("b", z, Matrix::from_vec(2, 2, vec![1.0, 0.0, 0.5, -1.0]), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    fn norms(network: &Network, kind: Kind, radius: f64) -> Vec<LayerNorms> {
        LayerNorms::all(network, &ThreatModel::new(kind, radius).resolve(network).unwrap())
    }

    /// Rows: max(0.75, 0.2) and max(1, 1.5); an absolute radius of 0.125 adds 2 · 0.125 to each.
    #[test]
    fn norms_by_hand() {
        let network = network(vec![0.0, -0.3], Activation::Relu);
        let found = norms(&network, Kind::Absolute, 0.125);
        assert_eq!((found[0].row, found[0].row_reached), (0.75, 1.0));
        assert_eq!((found[1].row, found[1].row_reached), (1.5, 1.75));
        assert_eq!((found[0].bias, found[0].bias_reached), (0.3, 0.425));
        // A layer without biases has none that moves.
        assert_eq!((found[1].bias, found[1].bias_reached), (0.0, 0.0));
        let relative = norms(&network, Kind::Relative, 0.5);
        assert_eq!((relative[0].row_reached, relative[1].row_reached), (1.125, 2.25));
        let ball = norms(&network, Kind::Frobenius, 0.1);
        assert!((ball[1].row_reached - 1.5 - 0.1 * 2f64.sqrt()).abs() < 1e-14);
    }

    /// theory.md §8 for a chain without biases.
    #[test]
    fn a_chain_is_a_product() {
        let network = network(Vec::new(), Activation::Relu);
        let inputs = Inputs::new(&[2.0, 1.0, 2.0, -1.0, -2.0, 0.0], 2);
        assert_eq!(inputs.samples, 3);
        assert!(inputs.root_mean_square >= 2.0 && inputs.root_mean_square < 2.0 + 1e-12);
        let r = complexities(&network, &[(0.75, 0.0), (1.5, 0.0)], inputs);
        let expected = 2.0 * 0.75 * 1.5 * 2.0 * (2.0 * 4f64.ln() / 3.0).sqrt();
        assert!((r[3] - expected).abs() < 1e-12, "{r:?}");
    }

    /// A bias and `ρ(0)` are weights of a constant input.
    #[test]
    fn constants_add_one_over_root_n() {
        let inputs = Inputs { samples: 4, root_mean_square: 0.0 };
        let r = complexities(&network(vec![0.1; 2], Activation::Relu), &[(1.0, 0.3), (2.0, 0.0)], inputs);
        // 0.3/√4, times two for the activation, times two for the row.
        assert!((r[3] - 0.6).abs() < 1e-13);
        let r = complexities(&network(vec![0.1; 2], Activation::Sigmoid), &[(1.0, 0.0), (2.0, 0.0)], inputs);
        assert!((r[3] - 2.0 * 0.5 / 2.0).abs() < 1e-13);
    }

    /// The definition, by all signs and by many members of the class: no member exceeds the bound.
    #[test]
    fn no_member_exceeds_the_complexity() {
        use weightproof_testkit::networks::{Blueprint, Design};
        let x: Vec<f64> = (0..8).map(|k| f64::from(k * 7 % 5) / 4.0 - 0.4).collect();
        let inputs = Inputs::new(&x, 2);
        for f in [Activation::Relu, Activation::Sigmoid, Activation::Gelu] {
            // sup over these members ≤ sup over the class, so its mean over signs is a lower bound of r.
            let members: Vec<Network> =
                (0..40).map(|seed| Blueprint::new(&[2, 3, 2], f, seed).build()).collect();
            let mut most = [(0.0_f64, 0.0_f64); 2];
            for member in &members {
                let norms = norms(member, Kind::Absolute, 0.0);
                for (most, n) in most.iter_mut().zip(&norms) {
                    *most = (most.0.max(n.row), most.1.max(n.bias));
                }
            }
            let bound = *complexities(&members[0], &most, inputs).last().unwrap();
            let outputs: Vec<Vec<Vec<f64>>> =
                members.iter().map(|m| x.chunks(2).map(|x| m.forward(x)).collect()).collect();
            let mut sum = 0.0;
            for signs in 0..16_u32 {
                let sign = |i: usize| if signs >> i & 1 == 1 { 1.0 } else { -1.0 };
                let value =
                    |o: &Vec<Vec<f64>>, j: usize| (0..4).map(|i| sign(i) * o[i][j]).sum::<f64>().abs() / 4.0;
                sum += outputs.iter().flat_map(|o| [value(o, 0), value(o, 1)]).fold(0.0, f64::max);
            }
            assert!(sum / 16.0 <= bound && sum > 0.0, "{} {bound}", sum / 16.0);
        }
    }
}
