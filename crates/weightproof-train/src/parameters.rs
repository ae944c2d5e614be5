//! Parameters as plain numbers: what optimisers move, checkpoints hold and adversaries perturb.

use crate::random::{self, Purpose};
use crate::tape::vectorized;
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use weightproof::kernels::{Matrix, rows};
use weightproof::network::Network;
use weightproof::threat::LayerPerturbation;

/// Numbers that a thread works on together.
const BLOCK: usize = 1 << 14;

/// One number for each parameter of a network, or for each of their gradients, radii or moments.
///
/// Arrays come in the order of the layers: the weights of a layer, row-major (n_out, n_in), then its biases, empty when the
/// layer has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The arrays.
    pub arrays: Vec<Vec<f32>>,
}

/// How weights start; biases start at zero, but for `uniform`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initialization {
    /// Normal with variance 2 / n_in (He et al. 2015).
    #[default]
    HeNormal,
    /// Uniform in ±1/√n_in, biases too: what PyTorch's layers do.
    Uniform,
    /// Normal with variance 1 / n_in, for sigmoids.
    LecunNormal,
    /// The parameters of the network that is trained, for callers of the library that have some.
    Given,
}

impl Parameters {
    /// The parameters of `network`, rounded to f32.
    pub fn of(network: &Network) -> Self {
        let arrays = network.affine_layers().flat_map(|(_, _, affine)| {
            let weight = affine.weight.as_slice().iter().map(|&w| w as f32).collect();
            let bias: &[f64] = if affine.has_bias { &affine.bias } else { &[] };
            [weight, bias.iter().map(|&b| b as f32).collect()]
        });
        Parameters { arrays: arrays.collect() }
    }

    /// Random parameters for the layers of `network`, all multiplied by `gain`.
    pub fn random(network: &Network, how: Initialization, gain: f64, seed: u64) -> Self {
        if how == Initialization::Given {
            let own = Parameters::of(network);
            return own.zip(&own, |w, _| gain as f32 * w);
        }
        let mut rng = random::generator(seed, Purpose::Initialization, 0, 0);
        let arrays = network.affine_layers().flat_map(|(_, _, affine)| {
            let inputs = affine.weight.cols() as f64;
            let weights = affine.weight.as_slice().len();
            let biases = if affine.has_bias { affine.bias.len() } else { 0 };
            let deviation = gain
                * match how {
                    Initialization::HeNormal => (2.0 / inputs).sqrt(),
                    Initialization::LecunNormal | Initialization::Uniform | Initialization::Given => {
                        inputs.sqrt().recip()
                    }
                };
            match how {
                Initialization::Uniform => [weights, biases].map(|count| {
                    (0..count).map(|_| rng.random_range(-deviation..=deviation) as f32).collect::<Vec<_>>()
                }),
                Initialization::HeNormal | Initialization::LecunNormal | Initialization::Given => {
                    let normal = random::normal(&mut rng, weights);
                    [normal.iter().map(|&n| (deviation * f64::from(n)) as f32).collect(), vec![0.0; biases]]
                }
            }
        });
        Parameters { arrays: arrays.collect() }
    }

    /// `network` with these parameters.
    pub fn install(&self, network: &Network) -> Network {
        let wide = |numbers: &[f32]| numbers.iter().map(|&n| f64::from(n)).collect::<Vec<f64>>();
        let layers = network.affine_layers().zip(self.arrays.chunks(2)).map(|((node, _, affine), arrays)| {
            let weight = Matrix::from_vec(affine.weight.rows(), affine.weight.cols(), wide(&arrays[0]));
            let bias = if affine.has_bias { wide(&arrays[1]) } else { affine.bias.clone() };
            LayerPerturbation { node, weight, bias }
        });
        network.with_parameters(&layers.collect::<Vec<_>>())
    }

    /// Scales rows of weights whose magnitudes add up to more than `limit` down to it; `inputs` are the lengths of the rows, layer
    /// after layer.
    pub(crate) fn limit_rows(&mut self, inputs: impl Iterator<Item = usize>, limit: f32) {
        for (weights, inputs) in self.arrays.iter_mut().step_by(2).zip(inputs) {
            for row in weights.chunks_exact_mut(inputs.max(1)) {
                let sum: f32 = row.iter().map(|w| w.abs()).sum();
                if sum > limit {
                    row.iter_mut().for_each(|w| *w *= limit / sum);
                }
            }
        }
    }

    /// As many zeros.
    pub fn zeros(&self) -> Self {
        Parameters { arrays: self.arrays.iter().map(|a| vec![0.0; a.len()]).collect() }
    }

    /// `f` of every number and its counterpart.
    pub fn zip(&self, other: &Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let pairs = self.arrays.iter().zip(&other.arrays);
        let arrays = pairs.map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect());
        Parameters { arrays: arrays.collect() }
    }

    /// Adds the counterpart to every number.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.arrays.iter_mut().zip(&other.arrays) {
            sum.par_chunks_mut(BLOCK).zip(more.par_chunks(BLOCK)).for_each(|(sum, more)| {
                vectorized!(|| rows::add(sum, more));
            });
        }
    }

    /// Euclidean norm over all numbers, summed in f64.
    pub fn norm(&self) -> f64 {
        self.arrays.iter().map(|a| squares(a)).sum::<f64>().sqrt()
    }

    /// Largest magnitude of a weight; NaN when a weight is.
    pub fn largest_weight(&self) -> f32 {
        let weights = self.arrays.iter().step_by(2).flatten();
        weights.fold(0.0, |most, &w| if w.abs() <= most { most } else { w.abs() })
    }

    /// Index of the first array with a number that is not finite.
    pub fn not_finite(&self) -> Option<usize> {
        // Without leaving the inner loop early, so that it is vectorized.
        let finite =
            |numbers: &[f32]| vectorized!(|| numbers.iter().fold(true, |finite, n| finite & n.is_finite()));
        self.arrays.iter().position(|array| !array.par_chunks(BLOCK).all(finite))
    }
}

/// Sum of squares in f64.
pub(crate) fn squares(numbers: &[f32]) -> f64 {
    numbers.iter().map(|&n| f64::from(n) * f64::from(n)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::dense;
    use weightproof::network::Activation;

    #[test]
    fn long_rows_are_scaled_down() {
        let mut parameters = Parameters { arrays: vec![vec![3.0, -1.0, 0.5, 0.5], vec![7.0, 7.0]] };
        parameters.limit_rows([2].into_iter(), 2.0);
        assert_eq!(parameters.arrays, [vec![1.5, -0.5, 0.5, 0.5], vec![7.0, 7.0]]);
    }

    #[test]
    fn a_network_may_be_gone_on_with() {
        let network = dense(&[3, 4, 2], Activation::Relu).unwrap();
        let network = Parameters::random(&network, Initialization::Uniform, 1.0, 3).install(&network);
        let own = Parameters::random(&network, Initialization::Given, 1.0, 8);
        assert_eq!(own, Parameters::of(&network));
    }

    #[test]
    fn what_is_installed_is_read_back() {
        let network = dense(&[3, 4, 2], Activation::Relu).unwrap();
        for how in [Initialization::HeNormal, Initialization::Uniform, Initialization::LecunNormal] {
            let parameters = Parameters::random(&network, how, 1.0, 7);
            assert_eq!(Parameters::of(&parameters.install(&network)), parameters);
            assert_ne!(Parameters::random(&network, how, 1.0, 8), parameters);
        }
    }

    #[test]
    fn he_weights_have_their_variance() {
        let network = dense(&[200, 300, 2], Activation::Relu).unwrap();
        let weights = &Parameters::random(&network, Initialization::HeNormal, 1.0, 1).arrays[0];
        let variance = squares(weights) / weights.len() as f64;
        assert!((variance * 100.0 - 1.0).abs() < 0.03, "{variance}");
    }
}
