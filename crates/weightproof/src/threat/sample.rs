//! Points of a perturbation set: random ones, and vertices.

use super::contains::clamp_into;
use super::{ActivationOffsets, LayerPerturbation, Perturbation, PerturbationSet, WeightSet};
use crate::kernels::Matrix;
use crate::network::{Affine, Layer, Network};
use rand::{Rng, RngExt};

/// How a random perturbation is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Uniform in the box (in a ball: uniform direction and volume).
    Uniform,
    /// Gaussian with the standard deviation of the uniform distribution on the same interval, `r/√3`, clipped to the box.
    Gaussian,
    /// A vertex: every number at an end of its interval (for a ball: a point of the sphere).
    Vertex,
}

impl Distribution {
    /// A number in `[−1, 1]`.
    fn draw(self, rng: &mut impl Rng) -> f64 {
        match self {
            Distribution::Uniform => rng.random_range(-1.0..=1.0),
            Distribution::Gaussian => (standard_normal(rng) / 3.0_f64.sqrt()).clamp(-1.0, 1.0),
            Distribution::Vertex => {
                if rng.random() {
                    1.0
                } else {
                    -1.0
                }
            }
        }
    }
}

/// A standard normal number (Box and Muller).
pub(crate) fn standard_normal(rng: &mut impl Rng) -> f64 {
    let radius: f64 = 1.0 - rng.random::<f64>();
    let angle: f64 = rng.random::<f64>() * std::f64::consts::TAU;
    (-2.0 * radius.ln()).sqrt() * angle.cos()
}

impl WeightSet {
    /// A random `Δ` of the set, (rows, cols).
    fn sample(
        &self,
        rows: usize,
        cols: usize,
        distribution: Distribution,
        rng: &mut impl Rng,
    ) -> Matrix<f64> {
        match self {
            WeightSet::Ball(radius) => {
                let mut delta = Matrix::zeros(rows, cols);
                ball_point(delta.as_mut_slice(), *radius, distribution, rng);
                delta
            }
            WeightSet::RowBalls(radii) => {
                let mut delta = Matrix::zeros(rows, cols);
                for (i, &radius) in radii.iter().enumerate() {
                    ball_point(delta.row_mut(i), radius, distribution, rng);
                }
                delta
            }
            WeightSet::Fixed | WeightSet::Rows(_) | WeightSet::Entries(_) => {
                Matrix::from_fn(rows, cols, |i, j| distribution.draw(rng) * self.box_radius(i, j))
            }
        }
    }
}

impl PerturbationSet {
    /// A random point of the set for the input `x`; it passes [`PerturbationSet::contains`].
    pub fn sample(
        &self,
        network: &Network,
        x: &[f64],
        distribution: Distribution,
        rng: &mut impl Rng,
    ) -> Perturbation {
        let mut perturbation = self.sample_parameters(network, distribution, rng);
        if self.input_radius > 0.0 {
            let moved = |&x: &f64| {
                let (lower, upper) = self.input_interval(x);
                (x + distribution.draw(rng) * self.input_radius).clamp(lower, upper)
            };
            perturbation.input = Some(x.iter().map(moved).collect());
        }
        if self.activation_radius > 0.0 {
            for (node, n) in network.nodes().iter().enumerate() {
                if matches!(n.layer, Layer::Activation(_)) {
                    let offset =
                        (0..n.width()).map(|_| distribution.draw(rng) * self.activation_radius).collect();
                    perturbation.activations.push(ActivationOffsets { node, offset });
                }
            }
        }
        perturbation
    }

    /// A random point of the parameters' part of the set, the same for every input.
    pub fn sample_parameters(
        &self,
        network: &Network,
        distribution: Distribution,
        rng: &mut impl Rng,
    ) -> Perturbation {
        let mut perturbation = Perturbation::default();
        for (node, _, dense) in network.affine_layers() {
            let set = self.layer(node).expect("every dense layer has a set");
            let (rows, cols) = (dense.weight.rows(), dense.weight.cols());
            let delta = set.weight.sample(rows, cols, distribution, rng);
            let bias: Vec<f64> = set.bias.iter().map(|e| distribution.draw(rng) * e).collect();
            perturbation.layers.push(self.moved(node, dense, &delta, &bias));
        }
        perturbation
    }

    /// The layer's parameters plus `delta` and `bias`, pulled into the set where rounding left it.
    pub(crate) fn moved(
        &self,
        node: usize,
        dense: &Affine,
        delta: &Matrix<f64>,
        bias: &[f64],
    ) -> LayerPerturbation {
        let set = self.layer(node).expect("every dense layer has a set");
        let weight = Matrix::from_fn(delta.rows(), delta.cols(), |i, j| {
            let w = dense.weight[(i, j)];
            clamp_into(w + delta[(i, j)], w, set.weight.at(i, j))
        });
        let moved = |(i, d): (usize, &f64)| clamp_into(dense.bias[i] + d, dense.bias[i], set.bias[i]);
        LayerPerturbation { node, weight, bias: bias.iter().enumerate().map(moved).collect() }
    }
}

/// Fills `out` with a point of the Euclidean ball of `radius`; on the sphere for vertices.
fn ball_point(out: &mut [f64], radius: f64, distribution: Distribution, rng: &mut impl Rng) {
    out.iter_mut().for_each(|v| *v = standard_normal(rng));
    let norm = out.iter().map(|v| v * v).sum::<f64>().sqrt();
    let dimension = out.len() as f64;
    let length = match distribution {
        Distribution::Uniform => rng.random::<f64>().powf(1.0 / dimension),
        Distribution::Gaussian => (norm / (3.0 * dimension).sqrt()).min(1.0),
        Distribution::Vertex => 1.0,
    };
    // Slightly inside: the sum of the rounded squares must not exceed the radius.
    out.iter_mut().for_each(|v| *v = *v / norm * (radius * length * (1.0 - 1e-12)));
}
