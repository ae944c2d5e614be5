//! Devices that are drawn: how often the property holds, measured beside what is proved.
//!
//! # Guarantee
//! Counts of draws, from forward passes in f32: estimates. What they say about all devices is an interval with a confidence: for a sample by
//! Clopper and Pearson, for the mean share by Chernoff's bound for numbers in `[0, 1]`.

use super::NoiseSet;
use crate::certify::{CertifyOptions, proved};
use crate::kernels::{Matrix, Scalar};
use crate::memory::Estimate;
use crate::model::{ForwardPass, Model};
use crate::network::Network;
use crate::property::Property;
use crate::stop::Stop;
use crate::verdict::{Clean, Samples, nan_min};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Devices of one network, each the same whenever it is drawn.
pub struct Devices<'n> {
    network: &'n Network,
    noise: NoiseSet,
    options: DeviceOptions,
}

/// How devices are drawn and judged.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// Number of devices.
    pub draws: usize,
    /// Seed of all draws.
    pub seed: u64,
    /// What must hold.
    pub property: Property,
    /// Largest allowed deviation, for [`Property::Deviation`].
    pub tolerance: f64,
    /// Ends the work: devices that were not begun are left out.
    pub stop: Stop,
}

/// What drawn devices do to one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleDraws {
    /// The unperturbed network.
    pub clean: Clean,
    /// Devices for which the property does not hold.
    pub failures: usize,
    /// The smallest margin of all devices.
    pub worst_margin: f64,
    /// The mean margin.
    pub mean_margin: f64,
}

/// What drawn devices do to a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    /// One for each sample.
    pub samples: Vec<SampleDraws>,
    /// For each device for how many of the samples the property holds.
    pub holds: Vec<usize>,
}

impl<'n> Devices<'n> {
    /// Devices with this noise.
    pub fn new(network: &'n Network, noise: NoiseSet, options: DeviceOptions) -> Self {
        Devices { network, noise, options }
    }

    /// The network of device `index`.
    pub fn device(&self, index: usize) -> Network {
        let mut rng = ChaCha8Rng::seed_from_u64(self.options.seed);
        rng.set_stream(index as u64);
        self.noise.draw(self.network, &mut rng)
    }

    /// Runs every device on a batch. Parallel over devices on the current rayon pool; the result does not depend on the number of threads.
    ///
    /// # Panics
    /// When the inputs are not whole samples, or [`Property::Label`] comes without labels: callers check their data.
    pub fn draw(&self, samples: Samples<'_>) -> Draws {
        let DeviceOptions { draws, property, tolerance, .. } = self.options;
        let width = self.network.input_width();
        let count = samples.count(width);
        let clean = Model::<f64>::new(self.network).values_in_f64(samples.inputs);
        let outputs = clean.last().expect("a network has nodes");
        let clean: Vec<Clean> = (0..count)
            .map(|s| {
                let label = samples.labels.map(|labels| labels[s]);
                Clean::of(outputs.row(s), samples.first + s, label, property, tolerance)
            })
            .collect();
        let inputs: Vec<f32> = samples.inputs.iter().map(|&x| x as f32).collect();
        let block = Estimate::new::<f32>(self.network).block(CertifyOptions::BLOCK * 4);
        // A group of devices at a time, so that margins of all devices are never kept.
        let group = rayon::current_num_threads().max(1);
        let mut draw = Draws {
            samples: clean
                .iter()
                .map(|&clean| SampleDraws {
                    clean,
                    failures: 0,
                    worst_margin: f64::INFINITY,
                    mean_margin: 0.0,
                })
                .collect(),
            holds: Vec::with_capacity(draws),
        };
        for first in (0..draws).step_by(group) {
            if self.options.stop.is_set() {
                break;
            }
            let found: Vec<Vec<f64>> = (first..draws.min(first + group))
                .into_par_iter()
                .map(|index| {
                    let device = self.device(index);
                    let pass = ForwardPass::<f32>::new(&device);
                    let margins = |(b, x): (usize, &[f32])| {
                        let values = pass.run(Matrix::from_vec(x.len() / width, width, x.to_vec()));
                        let found = values.last().expect("a network has nodes");
                        let of = |s: usize| {
                            self.margin(&clean[b * block + s], outputs.row(b * block + s), found.row(s))
                        };
                        (0..found.rows()).map(of).collect::<Vec<f64>>()
                    };
                    inputs.chunks(width * block).enumerate().flat_map(margins).collect()
                })
                .collect();
            for margins in found {
                let mut holds = 0;
                for (sample, margin) in draw.samples.iter_mut().zip(margins) {
                    let held = proved(margin, property);
                    holds += usize::from(held);
                    sample.failures += usize::from(!held);
                    sample.worst_margin = nan_min(sample.worst_margin, margin);
                    sample.mean_margin += margin / draws as f64;
                }
                draw.holds.push(holds);
            }
        }
        draw
    }

    /// The margin of a device: for deviations the tolerance less the largest change.
    fn margin(&self, clean: &Clean, unperturbed: &[f64], found: &[f32]) -> f64 {
        let found = |j: usize| Scalar::to_f64(found[j]);
        let outputs = 0..unperturbed.len();
        match self.options.property {
            Property::Label | Property::Prediction => {
                let rivals = outputs.filter(|&j| j != clean.target);
                rivals.fold(f64::INFINITY, |least, j| nan_min(least, found(clean.target) - found(j)))
            }
            Property::Deviation => {
                let change = |j: usize| self.options.tolerance - (found(j) - unperturbed[j]).abs();
                outputs.fold(f64::INFINITY, |least, j| nan_min(least, change(j)))
            }
        }
    }
}

/// The ends of the interval of Clopper and Pearson for a probability, of which `count` of `draws` were seen: each end is wrong with a
/// probability of at most `alpha`.
pub fn clopper_pearson(count: usize, draws: usize, alpha: f64) -> (f64, f64) {
    let at_most = |p: f64, k: usize| binomial_at_most(k, draws, p);
    let bisected = |is_low: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if is_low(middle) { low = middle } else { high = middle }
        }
        (low, high)
    };
    // The largest p at which so few, and the smallest at which so many, are not yet unlikely.
    let upper = if count >= draws { 1.0 } else { bisected(&|p| at_most(p, count) > alpha).1 };
    let lower = if count == 0 { 0.0 } else { bisected(&|p| 1.0 - at_most(p, count - 1) < alpha).0 };
    (lower, upper)
}

/// `P[X ≤ k]` of `n` trials with the probability `p`, by the sum of its terms.
fn binomial_at_most(k: usize, n: usize, p: f64) -> f64 {
    if p <= 0.0 || k >= n {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let ln_choose = |i: usize| {
        libm::lgamma(n as f64 + 1.0) - libm::lgamma(i as f64 + 1.0) - libm::lgamma((n - i) as f64 + 1.0)
    };
    let term = |i: usize| (ln_choose(i) + i as f64 * p.ln() + (n - i) as f64 * (-p).ln_1p()).exp();
    (0..=k).map(term).sum::<f64>().min(1.0)
}

/// Ends of an interval for the mean of numbers in `[0, 1]` of which `draws` have the mean `mean`: each is wrong with a probability of at
/// most `alpha` (Chernoff and Hoeffding: `n KL(mean ‖ p) ≤ ln 1/α`).
pub fn mean_interval(mean: f64, draws: usize, alpha: f64) -> (f64, f64) {
    let most = -alpha.ln() / draws.max(1) as f64;
    let term = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a * (a / b).ln() };
    let divergence = |p: f64| term(mean, p) + term(1.0 - mean, 1.0 - p);
    let end = |outside: f64| {
        let (mut inside, mut outside) = (mean, outside);
        for _ in 0..60 {
            let middle = 0.5 * (inside + outside);
            if divergence(middle) <= most { inside = middle } else { outside = middle }
        }
        outside
    };
    (end(0.0), end(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_tables() {
        // No failure in n draws: 1 − α^(1/n), the rule of three.
        let (lower, upper) = clopper_pearson(0, 100, 0.05);
        assert!(lower == 0.0 && (upper - (1.0 - 0.05_f64.powf(0.01))).abs() < 1e-9);
        // 95% for 4 of 20: Clopper and Pearson, 1934.
        let (lower, upper) = clopper_pearson(4, 20, 0.025);
        assert!((lower - 0.0573).abs() < 1e-4 && (upper - 0.4366).abs() < 1e-4, "{lower} {upper}");
        assert_eq!(clopper_pearson(20, 20, 0.025).1, 1.0);
        let (lower, upper) = mean_interval(0.0, 100, 0.05);
        assert!(lower == 0.0 && (upper - (1.0 - 0.05_f64.powf(0.01))).abs() < 1e-9, "{upper}");
        let (lower, upper) = mean_interval(0.9, 1000, 0.025);
        assert!(lower > 0.87 && lower < 0.9 && upper > 0.9 && upper < 0.93, "{lower} {upper}");
    }
}
