//! The generalization bound of a whole perturbation set, theory.md §8.
//!
//! ```text
//! P[Ŵ errs]  ≤  (1/n) Σ 1[certified margin of x_i ≤ γ]  +  (4K/γ) ℜ  +  √(ln(1/δ) / 2n)      for every Ŵ in the set at once
//! ℜ          ≤  2^{L−1} Π_k (s_k + n_{k−1} ε) · max ‖x‖_∞ · √(2 ln(2d) / n)
//! ```
//! `s_k` is the largest ℓ1 norm of a row of the k-th matrix. Holds with probability 1 − δ over the training samples, for chains
//! of dense layers without biases, and for a γ that was chosen before the samples were seen. Above 1 it says nothing.
//!
//! # Source
//! theory.md §8; Bartlett and Mendelson 2002; Tsai et al., arXiv 2103.02200.

use weightproof::network::Network;

/// The bound, term by term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Share of the training samples whose certified margin is at most γ.
    pub empirical: f64,
    /// `(4K/γ) ℜ`.
    pub complexity: f64,
    /// `√(ln(1/δ) / 2n)`.
    pub confidence: f64,
    /// `log10 Π_k (s_k + n_{k−1} ε)`, what the norms contribute.
    pub log_norms: f64,
}

/// What the bound depends on besides the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Given {
    /// Radius of all weights.
    pub radius: f64,
    /// Margin.
    pub gamma: f64,
    /// Probability with which the bound may fail.
    pub delta: f64,
    /// Largest magnitude of an input.
    pub largest_input: f64,
}

impl Bound {
    /// The bound for a network and the certified margins of its training samples over the set with this radius; `None` for
    /// networks that have a bias, which the class of functions leaves out.
    pub fn new(network: &Network, margins: &[f64], given: Given) -> Option<Bound> {
        let Given { radius, gamma, delta, largest_input } = given;
        let samples = margins.len() as f64;
        let (mut layers, mut log_norms) = (0, 0.0);
        for (_, _, affine) in network.affine_layers() {
            if affine.has_bias {
                return None;
            }
            let row = |i: usize| affine.weight.row(i).iter().map(|w| w.abs()).sum::<f64>();
            let largest = (0..affine.weight.rows()).map(row).fold(0.0, f64::max);
            log_norms += (largest + affine.weight.cols() as f64 * radius).log10();
            layers += 1;
        }
        let (width, classes) = (network.input_width() as f64, network.output_width() as f64);
        let spread = (2.0 * (2.0 * width).ln() / samples).sqrt();
        let rademacher = 2f64.powi(layers - 1) * 10f64.powf(log_norms) * largest_input * spread;
        // A NaN is not above the margin.
        let above = margins.iter().filter(|&&m| m > gamma).count() as f64;
        Some(Bound {
            empirical: 1.0 - above / samples,
            complexity: 4.0 * classes / gamma * rademacher,
            confidence: ((1.0 / delta).ln() / (2.0 * samples)).sqrt(),
            log_norms,
        })
    }

    /// The sum of the terms.
    pub fn total(&self) -> f64 {
        self.empirical + self.complexity + self.confidence
    }

    /// Whether it says nothing.
    pub fn is_vacuous(&self) -> bool {
        !(self.total() <= 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::network::{Activation, NetworkBuilder};

    fn network(bias: Vec<f64>) -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let p = builder.dense("a", 0, Matrix::from_vec(2, 2, vec![0.5, -0.25, 0.1, 0.1]), bias).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        builder.dense("b", z, Matrix::from_vec(2, 2, vec![1.0, 0.0, 0.5, -1.0]), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    /// Rows: max(0.75, 0.2) and max(1, 1.5); radius 0.125 adds 2 · 0.125 to each.
    #[test]
    fn a_bound_by_hand() {
        let given = Given { radius: 0.125, gamma: 0.5, delta: 0.01, largest_input: 2.0 };
        let bound = Bound::new(&network(Vec::new()), &[0.4, 0.6, 0.5, f64::NAN], given).unwrap();
        assert_eq!(bound.empirical, 0.75);
        let norms = (0.75 + 0.25) * (1.5 + 0.25);
        assert!((bound.log_norms - f64::log10(norms)).abs() < 1e-12);
        let rademacher = 2.0 * norms * 2.0 * (2.0 * 4f64.ln() / 4.0).sqrt();
        assert!((bound.complexity - 4.0 * 2.0 / 0.5 * rademacher).abs() < 1e-9);
        assert!((bound.confidence - (100f64.ln() / 8.0).sqrt()).abs() < 1e-12);
        assert!(bound.is_vacuous());
    }

    #[test]
    fn biases_are_not_in_the_class() {
        let given = Given { radius: 0.0, gamma: 1.0, delta: 0.05, largest_input: 1.0 };
        assert_eq!(Bound::new(&network(vec![0.1, 0.0]), &[1.0], given), None);
    }
}
