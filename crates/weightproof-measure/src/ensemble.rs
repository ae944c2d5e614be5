//! Bias and variance of several networks for one task.
//!
//! ```text
//! mean_t −ln π_t,y        =  −ln π̄_y    +  mean_t KL(π̄ ‖ π_t)            π̄ ∝ exp(mean_t ln π_t),  π_t = softmax(f_t)
//! mean_t ‖f_t − e_y‖₂²    =  ‖f̄ − e_y‖₂²  +  mean_t ‖f_t − f̄‖₂²             f̄ = mean_t f_t
//!   loss                       bias           variance
//! ```
//! Both are identities, sample by sample: `ln π_t = ln π̄ + ln Z + (ln π_t − mean_t ln π_t)` with the normalization
//! `Z = Σ_j exp(mean_t ln π_t,j)`, so the mean over t of `ln π̄ − ln π_t` is `−ln Z` for every class. The numbers are means over samples.
//!
//! Under perturbation each network is replaced by what an attack makes of it ([`perturbed`]): one Ŵ_t for all samples, or its
//! own input for each sample.
//!
//! # Source
//! Domingos 2000; Heskes 1998 (cross-entropy). Under perturbation reconstructed: the idea is that of arXiv 2008.00138, whose text was
//! not at hand.

use crate::context::{Effort, log_sum_exp, outputs};
use crate::sharpness::attack;
use weightproof::attack::{AttackKind, AttackOptions, Attacker};
use weightproof::kernels::Matrix;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::PerturbationSet;
use weightproof::verdict::Samples;

/// Starts of the attack on an input.
const RESTARTS: usize = 1;

/// A loss in two parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Split {
    /// Mean loss of a network.
    pub loss: f64,
    /// Loss of the mean network.
    pub bias: f64,
    /// How far networks are from the mean.
    pub variance: f64,
}

/// Both losses, means over samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BiasVariance {
    /// Cross-entropy.
    pub cross_entropy: Split,
    /// Squared distance to the label's unit vector.
    pub squared: Split,
}

impl BiasVariance {
    /// Of the outputs of several networks, (samples, classes) each.
    ///
    /// # Panics
    /// When there is no network.
    pub fn new(outputs: &[Matrix<f64>], labels: &[u32]) -> BiasVariance {
        assert!(!outputs.is_empty(), "an ensemble has networks");
        let (mut entropy, mut squared) = (Split::default(), Split::default());
        for (s, &label) in labels.iter().enumerate() {
            let rows: Vec<&[f64]> = outputs.iter().map(|o| o.row(s)).collect();
            add(&mut entropy, split_cross_entropy(&rows, label as usize));
            add(&mut squared, split_squared(&rows, label as usize));
        }
        let mean = |s: Split| {
            let n = labels.len() as f64;
            Split { loss: s.loss / n, bias: s.bias / n, variance: s.variance / n }
        };
        BiasVariance { cross_entropy: mean(entropy), squared: mean(squared) }
    }
}

fn add(sum: &mut Split, split: Split) {
    sum.loss += split.loss;
    sum.bias += split.bias;
    sum.variance += split.variance;
}

/// The mean of each class over the networks.
fn means(rows: &[Vec<f64>]) -> Vec<f64> {
    (0..rows[0].len()).map(|j| rows.iter().map(|row| row[j]).sum::<f64>() / rows.len() as f64).collect()
}

fn split_cross_entropy(rows: &[&[f64]], label: usize) -> Split {
    let logs: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| {
            let total = log_sum_exp(row);
            row.iter().map(|f| f - total).collect()
        })
        .collect();
    let mean = means(&logs);
    let total = log_sum_exp(&mean);
    let centre: Vec<f64> = mean.iter().map(|m| m - total).collect();
    let divergence = |log: &Vec<f64>| -> f64 { centre.iter().zip(log).map(|(c, l)| c.exp() * (c - l)).sum() };
    let count = rows.len() as f64;
    Split {
        loss: logs.iter().map(|log| -log[label]).sum::<f64>() / count,
        bias: -centre[label],
        variance: logs.iter().map(divergence).sum::<f64>() / count,
    }
}

fn split_squared(rows: &[&[f64]], label: usize) -> Split {
    let rows: Vec<Vec<f64>> = rows.iter().map(|row| row.to_vec()).collect();
    let mean = means(&rows);
    let target: Vec<f64> = (0..mean.len()).map(|j| f64::from(u8::from(j == label))).collect();
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let count = rows.len() as f64;
    Split {
        loss: rows.iter().map(|row| distance(row, &target)).sum::<f64>() / count,
        bias: distance(&mean, &target),
        variance: rows.iter().map(|row| distance(row, &mean)).sum::<f64>() / count,
    }
}

/// Outputs of `network` on `samples` under attack: with the parameters that the universal attack finds in `set`, and, where inputs
/// move, on the input that the attack finds for each sample of the unperturbed network.
pub fn perturbed(
    network: &Network,
    set: &PerturbationSet,
    samples: Samples<'_>,
    effort: Effort,
) -> Matrix<f64> {
    let width = network.input_width();
    let inputs = match set.input_radius > 0.0 {
        false => samples.inputs.to_vec(),
        true => {
            let still = PerturbationSet {
                layers: set.scaled(0.0).layers,
                roundings: Vec::new(),
                activation_radius: 0.0,
                ..set.clone()
            };
            let options = AttackOptions {
                restarts: RESTARTS,
                seed: effort.seed,
                ..AttackOptions::new(AttackKind::NeuronSpace, Property::Label)
            };
            let attacker = Attacker::new(network, &still, options);
            let found = attacker.attack(samples);
            let moved = found.iter().zip(samples.inputs.chunks_exact(width)).map(|(found, x)| {
                let witness = found.witness.as_ref().map(|witness| attacker.witness(x, witness));
                witness.and_then(|p| p.input).unwrap_or_else(|| x.to_vec())
            });
            moved.flatten().collect()
        }
    };
    let moved = attack(network, set, Samples { inputs: &inputs, ..samples }, effort);
    outputs(&moved, &inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use weightproof_testkit::networks::{Blueprint, Design, input, rng};

    #[test]
    fn loss_is_bias_plus_variance() {
        let mut random = rng(1);
        for count in [1, 2, 5] {
            let outputs: Vec<Matrix<f64>> =
                (0..count).map(|_| Matrix::from_fn(7, 4, |_, _| random.random_range(-9.0..9.0))).collect();
            let found = BiasVariance::new(&outputs, &[0, 1, 2, 3, 0, 1, 2]);
            for split in [found.cross_entropy, found.squared] {
                assert!((split.loss - split.bias - split.variance).abs() < 1e-12 * split.loss, "{split:?}");
                assert!(split.variance > -1e-12 && (count > 1) == (split.variance > 1e-9));
            }
        }
    }

    /// Two networks that are sure of different classes: π̄ is uniform.
    #[test]
    fn by_hand() {
        let [a, b] = [[0.0, 4.0], [4.0, 0.0]].map(|v| Matrix::from_vec(1, 2, v.to_vec()));
        let found = BiasVariance::new(&[a, b], &[0]);
        assert!((found.cross_entropy.bias - 2f64.ln()).abs() < 1e-12);
        assert_eq!(found.squared, Split { loss: 13.0, bias: 5.0, variance: 8.0 });
    }

    #[test]
    fn attacks_move_the_outputs_and_radius_zero_does_not() {
        use weightproof::network::Activation;
        use weightproof::threat::{Kind, ThreatModel};
        let network = Blueprint::new(&[3, 5, 2], Activation::Relu, 2).build();
        let x = input(30, true, &mut rng(3));
        let labels = vec![1; 10];
        let samples = Samples { first: 0, inputs: &x, labels: Some(&labels) };
        let loss = |radius: f64, input_radius: f64| {
            let threat = ThreatModel { input_radius, ..ThreatModel::new(Kind::Absolute, radius) };
            let set = threat.resolve(&network).unwrap();
            BiasVariance::new(&[perturbed(&network, &set, samples, Effort::default())], &labels)
                .cross_entropy
                .loss
        };
        let clean = BiasVariance::new(&[outputs(&network, &x)], &labels).cross_entropy.loss;
        assert_eq!(loss(0.0, 0.0), clean);
        assert!(loss(0.1, 0.0) > clean && loss(0.0, 0.1) > clean && loss(0.1, 0.1) > loss(0.1, 0.0));
    }
}
