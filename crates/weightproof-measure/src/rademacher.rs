//! The generalization bound of a whole perturbation set, theory.md §8, with everything that depends on the samples paid for.
//!
//! ```text
//! P[Ŵ errs]  ≤  (1/n) Σ_i 1[certified margin of x_i ≤ γ]  +  (4K/γ) ℜ  +  3 √(ln(2/(δ·π)) / 2n)        for every Ŵ of the set at once
//! ```
//! with probability 1 − δ over n independent samples, K classes, ℜ the complexity of [`crate::capacity`]. Why it is a proof:
//!
//! - *Any Ŵ.* A certified margin is below the margin of every Ŵ of the set, and the class of functions contains them all: their rows
//!   have ℓ1 norms of at most `max_i Σ_j (|W_ij| + E_ij)`. "There is a Ŵ that errs" *inside* of the probability does not follow and
//!   is not claimed; [`crate::held_out`] claims it, from samples that training has not seen.
//! - *Norms depend on the samples*, through training. So norms are rounded up to `2^{j/32}`, j an integer, and a class is fixed for
//!   each choice of all j; γ is taken from `2^{i/2}` likewise. The bound holds for all of these classes and γ at once, class c
//!   failing with probability at most `δ·π_c`, where `π_c` is the product of `1/(2(|j|+1)(|j|+2))` over its integers and `1/4` for
//!   each norm that is zero; these sum to one: `2·½·Σ_{j≥0} 1/((j+1)(j+2)) − ½·½ + ¼ = 1`.
//! - *Inputs.* ℜ is the empirical complexity, which depends on the inputs of the samples alone, so no bound of all possible inputs
//!   is assumed; the price is the factor 3 and the 2 in the last term.
//! - All radii share the classes, so the bounds of several radii hold together.
//!
//! Assumed: the samples are independent draws from the distribution that P is about; graph, constants that are not perturbed (an
//! input normalization), δ and the threat model were chosen without them. Perturbations that differ from sample to sample (inputs,
//! activations, rounding in a number format) are not in the class, and refused.
//!
//! # Guarantee
//! Rigorous: every term is computed from numbers ≥ 0 and rounded up. Above 1 it says nothing (`vacuous`), which is the rule for trained networks; it is useful as a ranking.
//!
//! # Source
//! theory.md §8; Bartlett and Mendelson 2002; Mohri, Rostamizadeh and Talwalkar 2018, theorems 3.3 (empirical form) and 9.2
//! (margins of K classes); Tsai et al., arXiv 2103.02200. Difference: the union over norms and γ, biases, graphs.

use crate::capacity::{Inputs, LayerNorms, complexities};
use crate::context::{Context, share_up_to};
use crate::error::{Refusal, continuous};
use crate::rounding::above;
use weightproof::network::Network;
use weightproof::threat::PerturbationSet;

/// Steps of the norms' grid for a factor of two.
const NORM_STEPS: f64 = 32.0;
/// Steps of the grid of γ for a factor of two.
const GAMMA_STEPS: f64 = 2.0;
/// Largest exponent of γ that is tried, both ways: 2^±40.
const GAMMA_MOST: i32 = 80;

/// Roundings of a term besides those of sums over the layers, with room.
const FEW: usize = 16;

/// A number rounded up to a grid that was there before the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The point of the grid.
    pub value: f64,
    /// `−ln` of its share of δ.
    pub price: f64,
}

impl Grid {
    /// `2^{j/steps}`.
    fn point(j: i32, steps: f64) -> Grid {
        let away = f64::from(j.unsigned_abs());
        Grid { value: (f64::from(j) / steps).exp2(), price: (2.0 * (away + 1.0) * (away + 2.0)).ln() }
    }

    /// The least point of the grid of norms that is not below `norm`; infinite when there is none.
    pub fn above(norm: f64) -> Grid {
        if norm == 0.0 {
            return Grid { value: 0.0, price: 4f64.ln() };
        }
        let first = (NORM_STEPS * norm.log2()).ceil();
        if !(norm > 0.0 && first.abs() < 32.0 * 1000.0) {
            return Grid { value: f64::INFINITY, price: f64::INFINITY };
        }
        let mut j = first as i32;
        while Grid::point(j, NORM_STEPS).value < norm {
            j += 1;
        }
        Grid::point(j, NORM_STEPS)
    }
}

/// What one layer adds to the capacity.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCapacity {
    /// Norms, as they are and over the set.
    pub norms: LayerNorms,
    /// Norms of the class: rows, biases.
    pub class: [f64; 2],
    /// Complexity of the elements of this layer, ℜ for the last one.
    pub complexity: f64,
}

/// The bound, term by term.
#[derive(Clone, Debug, PartialEq)]
pub struct RademacherBound {
    /// Margin.
    pub gamma: f64,
    /// Share of the samples whose certified margin is at most γ.
    pub empirical: f64,
    /// `(4K/γ) ℜ`.
    pub capacity: f64,
    /// `3 √(ln(2/(δ·π)) / 2n)`.
    pub confidence: f64,
    /// ℜ.
    pub complexity: f64,
    /// Layer after layer.
    pub layers: Vec<LayerCapacity>,
    /// Number of samples.
    pub samples: usize,
    /// Largest root mean square of an input.
    pub root_mean_square: f64,
}

impl RademacherBound {
    /// The bound of a network and certified margins of samples with these inputs over `set`, at the γ of the grid where it is least
    /// among those that some certified margin exceeds. Without one the bound is infinite: nothing is certified. Where it is vacuous
    /// at every γ, the largest γ is taken that half of the positive certified margins exceed: numbers to compare networks by.
    ///
    /// # Errors
    /// When the set has perturbations that differ from sample to sample, or there are no samples.
    pub fn new(
        network: &Network,
        set: &PerturbationSet,
        margins: &[f64],
        inputs: Inputs,
        delta: f64,
    ) -> Result<RademacherBound, Refusal> {
        check(set)?;
        continuous(network)?;
        if inputs.samples == 0 || margins.len() != inputs.samples {
            return Err(Refusal::Missing("samples"));
        }
        let norms = LayerNorms::all(network, set);
        let class: Vec<[Grid; 2]> =
            norms.iter().map(|n| [Grid::above(n.row_reached), Grid::above(n.bias_reached)]).collect();
        let values: Vec<(f64, f64)> = class.iter().map(|[row, bias]| (row.value, bias.value)).collect();
        let nodes = complexities(network, &values, inputs);
        let complexity = nodes[network.output()];
        let price: f64 = class.iter().flatten().map(|grid| grid.price).sum();
        let (samples, classes) = (inputs.samples as f64, network.output_width() as f64);
        let layer = |(norms, [row, bias]): (LayerNorms, &[Grid; 2])| LayerCapacity {
            complexity: nodes[norms.node],
            class: [row.value, bias.value],
            norms,
        };
        let at = |gamma: Grid| RademacherBound {
            gamma: gamma.value,
            empirical: share_up_to(margins, gamma.value),
            capacity: above(4.0 * classes / gamma.value * complexity, FEW),
            confidence: above(
                3.0 * (((2.0 / delta).ln() + price + gamma.price) / (2.0 * samples)).sqrt(),
                FEW + 2 * class.len(),
            ),
            complexity,
            layers: Vec::new(),
            samples: inputs.samples,
            root_mean_square: inputs.root_mean_square,
        };
        let all = (-GAMMA_MOST..=GAMMA_MOST).map(|i| at(Grid::point(i, GAMMA_STEPS)));
        let all: Vec<RademacherBound> = all.filter(|b| b.empirical < 1.0).collect();
        let least = all.iter().min_by(|a, b| a.total().total_cmp(&b.total()));
        let half = 0.5 * (1.0 + share_up_to(margins, 0.0));
        let half = all.iter().rfind(|b| b.empirical <= half).filter(|_| least.is_some_and(Self::is_vacuous));
        let best = half.or(least).cloned();
        let none = RademacherBound { capacity: f64::INFINITY, ..at(Grid { value: f64::NAN, price: 0.0 }) };
        let layers = norms.into_iter().zip(&class).map(layer).collect();
        Ok(RademacherBound { layers, ..best.unwrap_or(none) })
    }

    /// The bound for what `context` holds.
    ///
    /// # Errors
    /// As [`RademacherBound::new`], and without labels.
    pub fn of(context: &Context<'_>) -> Result<RademacherBound, Refusal> {
        check(context.set)?;
        let inputs = Inputs::new(context.train.inputs, context.network.input_width());
        RademacherBound::new(context.network, context.set, context.certified()?, inputs, context.delta)
    }

    /// The sum of the terms: the bound.
    pub fn total(&self) -> f64 {
        above(self.empirical + self.capacity + self.confidence, FEW)
    }

    /// Whether it says nothing.
    pub fn is_vacuous(&self) -> bool {
        !(self.total() <= 1.0)
    }
}

/// Whether one network Ŵ is meant for all samples.
fn check(set: &PerturbationSet) -> Result<(), Refusal> {
    let expected = "the same perturbed network for all samples";
    let refuse = |found| Err(Refusal::Threat { expected, found });
    if set.input_radius != 0.0 {
        return refuse("inputs that move");
    }
    if set.activation_radius != 0.0 {
        return refuse("errors after activations");
    }
    if !set.roundings.is_empty() || set.layers.iter().any(|layer| layer.per_use) {
        return refuse("rounding that differs from sample to sample");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::network::{Activation, NetworkBuilder};
    use weightproof::threat::{Kind, ThreatModel};

    fn network() -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let weight = Matrix::from_vec(2, 2, vec![0.5, -0.25, 0.1, 0.1]);
        let p = builder.dense("a", 0, weight, Vec::new()).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        builder.dense("b", z, Matrix::from_vec(2, 2, vec![1.0, 0.0, 0.5, -1.0]), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    fn bound(kind: Kind, radius: f64, margins: &[f64], inputs: Inputs) -> RademacherBound {
        let network = network();
        let set = ThreatModel::new(kind, radius).resolve(&network).unwrap();
        RademacherBound::new(&network, &set, margins, inputs, 0.01).unwrap()
    }

    /// Norms 1 and 1.75 over the set; 1 is a point of the grid, 1.75 goes to 2^{26/32} = 1.756.
    #[test]
    fn a_bound_by_hand() {
        let inputs = Inputs { samples: 4, root_mean_square: 2.0 };
        let found = bound(Kind::Absolute, 0.125, &[0.4, 0.6, 0.7, f64::NAN], inputs);
        // Vacuous everywhere: at most 5/8 of the margins may lie below, and NaN and 0.4 lie below 2^{-1}, all below 2^{-1/2}.
        assert_eq!((found.gamma, found.empirical), (0.5, 0.5));
        let class = [[1.0, 0.0], [2f64.powf(0.8125), 0.0]];
        assert_eq!(found.layers.iter().map(|l| l.class).collect::<Vec<_>>(), class);
        let complexity = 2.0 * 2f64.powf(0.8125) * 2.0 * (2.0 * 4f64.ln() / 4.0).sqrt();
        assert!((found.complexity - complexity).abs() < 1e-12);
        assert!((found.capacity - 4.0 * 2.0 / 0.5 * complexity).abs() < 1e-9);
        // j = 0 and j = 26, two biases that are zero, γ at i = −2.
        let price = (4.0 * 1512.0 * 4.0 * 4.0 * 24.0_f64).ln();
        assert!((found.confidence - 3.0 * ((200f64.ln() + price) / 8.0).sqrt()).abs() < 1e-12);
        assert!(found.is_vacuous());
    }

    #[test]
    fn radius_zero_is_the_unperturbed_bound_for_every_kind() {
        let inputs = Inputs { samples: 50, root_mean_square: 0.7 };
        let margins: Vec<f64> = (0..50).map(|k| f64::from(k) / 10.0 - 1.0).collect();
        let network = network();
        let still = ThreatModel { layers: Some(Vec::new()), ..ThreatModel::new(Kind::Absolute, 1.0) };
        let still = still.resolve(&network).unwrap();
        let expected = RademacherBound::new(&network, &still, &margins, inputs, 0.01).unwrap();
        assert!(expected.layers.iter().all(|l| l.norms.row == l.norms.row_reached));
        for kind in [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Frobenius, Kind::RowBall] {
            assert_eq!(bound(kind, 0.0, &margins, inputs), expected);
            assert!(bound(kind, 0.1, &margins, inputs).capacity > expected.capacity);
        }
    }

    #[test]
    fn shares_of_delta_sum_to_one() {
        let sum: f64 = (-200_000..=200_000).map(|j| (-Grid::point(j, 1.0).price).exp()).sum();
        let sum = sum + (-Grid::above(0.0).price).exp();
        assert!((sum - 1.0).abs() < 1e-5 && sum < 1.0, "{sum}");
    }

    #[test]
    fn the_grid_is_never_below_the_norm() {
        for k in 1..20_000 {
            let norm = (f64::from(k) * 0.37 % 40.0 - 20.0).exp2() + f64::from(k) * 1e-12;
            let point = Grid::above(norm).value;
            assert!(point >= norm && point <= norm * 1.0220, "{norm} {point}");
        }
        assert_eq!(Grid::above(2.0).value, 2.0);
        assert_eq!(Grid::above(f64::NAN).value, f64::INFINITY);
        assert_eq!(Grid::above(f64::INFINITY).value, f64::INFINITY);
    }

    #[test]
    fn nothing_certified_and_nan_prove_nothing() {
        let inputs = Inputs { samples: 3, root_mean_square: 1.0 };
        let found = bound(Kind::Absolute, 0.0, &[f64::NAN, f64::NEG_INFINITY, 0.0], inputs);
        assert!(found.is_vacuous() && found.total() == f64::INFINITY || found.total().is_nan());
        let nan = Inputs { samples: 3, root_mean_square: f64::NAN };
        assert!(bound(Kind::Absolute, 0.0, &[1.0, 2.0, 3.0], nan).is_vacuous());
    }

    #[test]
    fn perturbations_of_single_samples_are_refused() {
        let network = network();
        let refuse = |threat: ThreatModel| {
            let set = threat.resolve(&network).unwrap();
            let inputs = Inputs { samples: 1, root_mean_square: 1.0 };
            RademacherBound::new(&network, &set, &[1.0], inputs, 0.05).unwrap_err().to_string()
        };
        let absolute = ThreatModel::new(Kind::Absolute, 0.1);
        assert!(refuse(ThreatModel { input_radius: 0.1, ..absolute.clone() }).ends_with("inputs that move"));
        assert!(refuse(ThreatModel { activation_radius: 0.1, ..absolute }).contains("activations"));
        let format = "format:bf16".parse().unwrap();
        assert!(refuse(ThreatModel::new(format, 1.0)).contains("rounding"));
    }
}
