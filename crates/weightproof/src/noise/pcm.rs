//! Weights as pairs of phase-change devices, with the parameters that analog simulators publish (theory.md §14).
//!
//! ```text
//! targets      g⁺ = r max(w, 0) + g_min,  g⁻ = r max(−w, 0) + g_min,   r = (g_max − g_min) / largest |w|
//! programmed   G  = max(0, g + σ N₁)                       σ = scale g_max / reference Σ_k c_k (g/g_max)^k
//! drifted      F  = (1 + t/t₀)^(−ν),  ν = |μ + s N₂|       μ, s linear in ln(g/g_max), clipped
//! read         R  = max(0, G F (1 + q N₃))                 q = scale min(q_most, q₁ (G/g_max)^(−e)) √ln((t + t₀ + t_read) / (2 t_read))
//! weight       α (R⁺ − R⁻) / r
//! ```
//! Means are known but for an error, which is a radius beside the noise; the rest is sub-Gaussian where no programming error is above
//! [`REACH`] deviations, and how rarely one is belongs to the failure probability.
//!
//! # Units
//! Conductances in microsiemens, times in seconds after the first reading.
//! # Source
//! Nandakumar et al., ICECS 2019, as `PCMLikeNoiseModel` of aihwkit with one pair of devices has it.

mod model;

pub use model::{OfConductance, PcmModel};

use super::drift::{Compensation, Exponent, LOST};
use super::error::NoiseError;
use super::normal::{above, below, density};
use crate::kernels::Matrix;
use crate::network::Affine;
use crate::threat::standard_normal;
use rand::Rng;

/// Deviations that programming errors stay within; cells beyond count as failures.
const REACH: f64 = 8.5;
/// Parts of the programming error over which the mean of a reading is enclosed.
const CELLS: usize = 64;
/// The smallest relative conductance whose logarithm is taken, and the largest weight of a layer without weights.
const LEAST: f64 = 1e-7;

/// Devices at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Pcm {
    model: PcmModel,
    /// `L`, times the multiple of ν.
    log: f64,
    /// What relative errors of readings are multiplied by.
    reading: f64,
}

/// What is known about the conductance of a device with one target.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Device {
    /// Mean, but for `error`.
    mean: f64,
    error: f64,
    /// Square of the sub-Gaussian proxy of the rest.
    square: f64,
}

/// What is known about all weights of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    /// Means.
    pub mean: Matrix<f64>,
    /// What they are wrong by at most.
    pub error: Matrix<f64>,
    /// Squares of proxies.
    pub squares: Matrix<f64>,
}

/// The devices of one layer at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    pcm: Pcm,
    /// Microsiemens of a weight of 1, for each output channel.
    ratios: Vec<f64>,
    /// `α`: what sums are multiplied by.
    scale: f64,
}

/// `E max(0, g + σ N) − g`.
fn raised(g: f64, sigma: f64) -> f64 {
    if sigma == 0.0 {
        return 0.0;
    }
    (sigma * density(g / sigma) - g * below(-g / sigma)).max(0.0)
}

impl Pcm {
    /// The deviation of programming at a target.
    fn programming(&self, g: f64) -> f64 {
        let m = &self.model;
        let polynomial = m.programming.iter().rev().fold(0.0, |sum, c| sum * (g / m.g_max) + c);
        (m.programming_scale * m.g_max / m.programming_reference * polynomial).abs()
    }

    /// The relative deviation of a reading of a device that has the conductance `g`: falls with `g`.
    fn relative(&self, g: f64) -> f64 {
        let m = &self.model;
        let of = if g > 0.0 { m.read * (g / m.g_max).powf(-m.read_exponent) } else { f64::INFINITY };
        self.reading * m.read_most.min(of)
    }

    /// The law of ν at a target.
    fn exponent(&self, g: f64) -> Exponent {
        let (m, relative) = (&self.model, g / self.model.g_max);
        let (mean, spread) = (m.drift_mean.at(relative), m.drift_spread.at(relative));
        Exponent { mean, spread, low: 0.0, high: f64::INFINITY, folded: true }
    }

    /// What clipping of readings adds to the mean: from, to. In every part of the programming error both the conductance and what a
    /// reading is raised by, relative to it, lie between their values at its ends.
    fn lifted(&self, g: f64, sigma: f64) -> (f64, f64) {
        let at = |k: usize| REACH * (2.0 * k as f64 / CELLS as f64 - 1.0);
        let conductance = |n: f64| (g + sigma * n).max(0.0);
        // Below an eighth the mean is raised by less than 1e-16.
        if self.relative(conductance(-REACH)) < 0.125 {
            return (0.0, 0.0);
        }
        let lift = |g: f64| raised(1.0, self.relative(g));
        let (mut low, mut high) = (0.0, 0.0);
        let mut before = (below(at(0)), conductance(at(0)), lift(conductance(at(0))));
        for k in 1..=CELLS {
            let after = (below(at(k)), conductance(at(k)), lift(conductance(at(k))));
            let share = after.0 - before.0;
            low += share * before.1 * after.2;
            high += share * after.1 * before.2;
            before = after;
        }
        (low, high)
    }

    /// What is known about a device with this target.
    ///
    /// ```text
    /// E[F R'] = E F E R',  R' = max(0, G (1 + q N₃))          F depends on the target only
    /// proxy²  = (κ σ)² + (G q at g + REACH σ)² + (E R')² proxy(F)²          κ = 1 + what a reading is raised by, relative, at most
    /// ```
    fn device(&self, g: f64) -> Result<Device, NoiseError> {
        let sigma = self.programming(g);
        let (low, high) = self.lifted(g, sigma);
        let programmed = g + raised(g, sigma);
        let read = programmed + 0.5 * (low + high);
        // What is lost by rounding, and what conditioning on errors within reach changes.
        let read_error = 0.5 * (high - low) + 4.0 * LOST * (g + sigma);
        let factor = self.exponent(g).factor(self.log)?;
        let most = g + REACH * sigma;
        let reading = most * self.relative(most);
        let slope = sigma * (1.0 + raised(1.0, self.relative(0.0)));
        let drift = (read + read_error) * factor.proxy;
        Ok(Device {
            mean: factor.mean * read,
            error: factor.mean * read_error + factor.error * (read + read_error) + LOST * read,
            square: (slope * slope + reading * reading + drift * drift) * (1.0 + LOST),
        })
    }

    /// The mean conductance of an active device above that of one at rest, of the weights of a layer, in the unit of the weights.
    fn total(&self, affine: &Affine, ratios: &[f64]) -> Result<f64, NoiseError> {
        let zero = self.device(self.model.g_min)?.mean;
        let mut total = 0.0;
        for (i, ratio) in ratios.iter().enumerate() {
            for w in affine.weight.row(i) {
                total += (self.device(self.target(*w, *ratio))?.mean - zero).abs() / ratio;
            }
        }
        Ok(total)
    }

    /// The target of the active device of a weight.
    fn target(&self, w: f64, ratio: f64) -> f64 {
        w.abs() * ratio + self.model.g_min
    }

    /// The devices of a layer.
    ///
    /// # Errors
    /// A spread of ν that is too large for the time.
    pub(super) fn pairs(self, affine: &Affine) -> Result<Pairs, NoiseError> {
        let largest = |values: &[f64]| values.iter().fold(LEAST, |most, w| most.max(w.abs()));
        let span = self.model.g_max - self.model.g_min;
        let rows = affine.weight.rows();
        let ratios: Vec<f64> = match self.model.per_channel {
            true => (0..rows).map(|i| span / largest(affine.weight.row(i))).collect(),
            false => vec![span / largest(affine.weight.as_slice()); rows],
        };
        let scale = match self.model.compensation {
            Compensation::Mean if self.log > 0.0 => {
                let fresh = self.model.at(0.0)?.total(affine, &ratios)?;
                let now = self.total(affine, &ratios)?;
                if now > 0.0 { fresh / now } else { 1.0 }
            }
            Compensation::Mean | Compensation::None => 1.0,
        };
        Ok(Pairs { pcm: self, ratios, scale })
    }
}

impl Pairs {
    /// What is known about the weights of the layer.
    ///
    /// # Errors
    /// A spread of ν that is too large for the time.
    pub(super) fn weights(&self, affine: &Affine) -> Result<Weights, NoiseError> {
        let Pairs { pcm, ratios, scale } = self;
        let (rows, cols) = (affine.weight.rows(), affine.weight.cols());
        let zeros = || Matrix::zeros(rows, cols);
        let mut found = Weights { mean: zeros(), error: zeros(), squares: zeros() };
        let at_rest = pcm.device(pcm.model.g_min)?;
        for (i, ratio) in ratios.iter().enumerate() {
            let unit = scale / ratio;
            for j in 0..cols {
                let w = affine.weight[(i, j)];
                let active = pcm.device(pcm.target(w, *ratio))?;
                found.mean[(i, j)] = unit * (active.mean - at_rest.mean) * w.signum();
                let error = unit * (active.error + at_rest.error) * (1.0 + LOST);
                found.error[(i, j)] = error + f64::MIN_POSITIVE;
                let square = unit * unit * (active.square + at_rest.square) * (1.0 + LOST);
                found.squares[(i, j)] = square + f64::MIN_POSITIVE;
            }
        }
        Ok(found)
    }

    /// How likely any programming error of the layer is beyond [`REACH`].
    pub(super) fn escape(&self, affine: &Affine) -> f64 {
        let devices = 2 * affine.weight.rows() * affine.weight.cols();
        devices as f64 * above(REACH) * (1.0 + LOST)
    }

    /// The weights of one drawn device of the layer.
    pub(super) fn draw(&self, affine: &Affine, rng: &mut impl Rng) -> Matrix<f64> {
        let mut weight = affine.weight.clone();
        for i in 0..weight.rows() {
            let ratio = self.ratios[i];
            for w in weight.row_mut(i) {
                let active = self.pcm.draw(self.pcm.target(*w, ratio), rng);
                let at_rest = self.pcm.draw(self.pcm.model.g_min, rng);
                let sign = if *w < 0.0 { -1.0 } else { 1.0 };
                *w = sign * self.scale * (active - at_rest) / ratio;
            }
        }
        weight
    }
}

impl Pcm {
    /// The conductance of one device, as it is read.
    fn draw(&self, g: f64, rng: &mut impl Rng) -> f64 {
        let programmed = (g + self.programming(g) * standard_normal(rng)).max(0.0);
        let factor = (-self.log * self.exponent(g).draw(rng)).exp();
        let reading = 1.0 + self.relative(programmed) * standard_normal(rng);
        (programmed * factor * reading).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::NetworkBuilder;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const TIMES: [f64; 3] = [0.0, 3600.0, 3.15e7];
    const TARGETS: [f64; 5] = [0.0, 0.05, 0.5, 5.0, 25.0];

    /// Numbers of the paper at the largest and the least conductance.
    #[test]
    fn formulas_are_those_of_the_source() {
        let pcm = PcmModel::default().at(0.0).unwrap();
        assert!(
            (pcm.programming(25.0) - 1.05538).abs() < 1e-9 && (pcm.programming(0.0) - 0.26348).abs() < 1e-9
        );
        assert!((pcm.programming(5.0) - (0.26348 + 0.2 * 1.9650 - 0.04 * 1.1731)).abs() < 1e-12);
        let nu = |g: f64| (pcm.exponent(g).mean, pcm.exponent(g).spread);
        assert_eq!((nu(25.0), nu(0.0)), ((0.049, 0.008), (0.1, 0.045)));
        let at = |relative: f64| (-0.0155 * relative.ln() + 0.0244, -0.0125 * relative.ln() - 0.0059);
        assert!((nu(1.0).0 - at(0.04).0).abs() < 1e-15 && (nu(1.0).1 - at(0.04).1).abs() < 1e-15);
        // ln((20 + 250e-9) / 500e-9) = 17.504
        let periods = (20.0_f64 / 500e-9).ln().sqrt();
        assert!((pcm.relative(25.0) - 0.0088 * periods).abs() < 1e-6);
        assert!((pcm.relative(2.5) - 0.0088 * 10.0_f64.powf(0.65) * periods).abs() < 1e-6);
        assert!((pcm.relative(0.001) - 0.2 * periods).abs() < 1e-6);
        // Another largest conductance: errors grow with it.
        let half = PcmModel { g_max: 12.5, ..PcmModel::default() }.at(0.0).unwrap();
        assert!((half.programming(12.5) - 0.5 * 1.05538).abs() < 1e-9);
    }

    /// Means of drawn devices are where they are said to be, and `ln E exp(λ (R − E R))` is below `λ² proxy² / 2`. Each of the 15 means of
    /// 40,000 draws may be off by 6 deviations: the test errs with a probability below 1e-7.
    #[test]
    fn drawn_devices_have_the_mean_and_are_sub_gaussian() {
        const DRAWS: usize = 40_000;
        for seconds in TIMES {
            let pcm = PcmModel::default().at(seconds).unwrap();
            for g in TARGETS {
                let device = pcm.device(g).unwrap();
                let mut rng = ChaCha8Rng::seed_from_u64(7);
                let draws: Vec<f64> = (0..DRAWS).map(|_| pcm.draw(g, &mut rng)).collect();
                let mean = draws.iter().sum::<f64>() / DRAWS as f64;
                let variance = draws.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / DRAWS as f64;
                let slack = device.error + 6.0 * (variance / DRAWS as f64).sqrt();
                assert!((mean - device.mean).abs() < slack, "{seconds} {g}: {mean} {device:?}");
                assert!(device.error < 8e-4 * 25.0 && variance < device.square, "{seconds} {g} {device:?}");
                // By far the most where the mean is smallest: a device at rest after a year.
                assert!(device.square < 100.0 * variance, "{seconds} {g}: {variance} {device:?}");
                for steps in [-2.0, -1.0, 1.0, 2.0] {
                    let lambda = steps / device.square.sqrt();
                    let moment =
                        draws.iter().map(|r| (lambda * (r - mean)).exp()).sum::<f64>() / DRAWS as f64;
                    assert!(moment.ln() < 0.5 * steps * steps + 0.02, "{seconds} {g} {steps}: {moment}");
                }
            }
        }
    }

    /// Weights 1 and 0: errors of both devices of a pair add, in the unit of the weights, and a weight of 0 has the mean 0.
    #[test]
    fn both_devices_of_a_weight_count() {
        let mut builder = NetworkBuilder::new(vec![2]);
        builder.dense("only", 0, Matrix::from_vec(1, 2, vec![1.0, 0.0]), Vec::new()).unwrap();
        let network = builder.finish().unwrap();
        let affine = network.nodes()[1].layer.affine().unwrap();
        let pcm = PcmModel { compensation: Compensation::None, ..PcmModel::default() }.at(3600.0).unwrap();
        let (active, at_rest) = (pcm.device(25.0).unwrap(), pcm.device(0.0).unwrap());
        let found = pcm.pairs(affine).unwrap().weights(affine).unwrap();
        for (j, device) in [active, at_rest].into_iter().enumerate() {
            let square = (device.square + at_rest.square) / 625.0;
            assert!(found.squares[(0, j)] >= square && found.squares[(0, j)] < square * (1.0 + 1e-9));
            let error = (device.error + at_rest.error) / 25.0;
            assert!(found.error[(0, j)] >= error && found.error[(0, j)] < error * (1.0 + 1e-9));
            assert!((found.mean[(0, j)] - (device.mean - at_rest.mean) / 25.0).abs() < 1e-12);
        }
        // What drift leaves on average is scaled back.
        let back = PcmModel::default().at(3600.0).unwrap().pairs(affine).unwrap().weights(affine).unwrap();
        let fresh = PcmModel::default().at(0.0).unwrap().pairs(affine).unwrap().weights(affine).unwrap();
        assert!((back.mean[(0, 0)] - fresh.mean[(0, 0)]).abs() < 1e-12);
    }

    /// Clipping of readings by a sum over fine parts.
    #[test]
    fn what_clipping_adds_is_enclosed() {
        for seconds in TIMES {
            let pcm = PcmModel::default().at(seconds).unwrap();
            for g in [0.0, 0.05, 0.3, 1.0] {
                let sigma = pcm.programming(g);
                let (low, high) = pcm.lifted(g, sigma);
                let fine = |k: usize| {
                    let n = -8.5 + 17.0 * (k as f64 + 0.5) / 20_000.0;
                    let conductance = (g + sigma * n).max(0.0);
                    density(n) * (17.0 / 20_000.0) * conductance * raised(1.0, pcm.relative(conductance))
                };
                let exact: f64 = (0..20_000).map(fine).sum();
                assert!(low <= exact * (1.0 + 1e-6) && exact <= high * (1.0 + 1e-6), "{low} {exact} {high}");
                assert!(high - low < 8e-4 * 25.0);
            }
        }
    }
}
