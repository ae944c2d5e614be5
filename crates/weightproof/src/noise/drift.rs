//! Drift of conductances: a known factor on every parameter, and a rest with mean zero (theory.md §14).
//!
//! ```text
//! w(t) = c F w,   F = (1 + t/t₀)^(−ν) = exp(−L ν),   L = ln(1 + t/t₀)         ν = clip(μ + s N, low, high), N Gaussian
//! E F  = e^(−L low) Φ(x_low) + e^(−L μ + L² s² / 2) (Φ(x_high + L s) − Φ(x_low + L s)) + e^(−L high) Φ(−x_high)
//! F − E F has the proxy  min( (F_most − F_least) / 2,  s L F_most )            Hoeffding; F is a Lipschitz function of N
//! ```
//! `x_low = (low − μ)/s`, and so on; `c` is 1, or `1 / E F` where the outputs of a layer are scaled back.
//!
//! # Units
//! Times in seconds after the first reading at `t₀`.
//! # Source
//! A Lipschitz function of a Gaussian variable is sub-Gaussian with its constant: Tsirelson, Ibragimov and Sudakov, 1976.

use super::error::NoiseError;
use super::normal::{above, below};
use crate::threat::standard_normal;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Whether what drift does to the mean is scaled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compensation {
    /// Parameters are read as they are.
    None,
    /// The sums of a layer are multiplied by one known number, so that drift leaves the mean as it was programmed: global drift
    /// compensation, with a factor that is the same for all devices.
    #[default]
    Mean,
}

/// Drift as users write it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DriftModel {
    /// Mean of ν before it is clipped.
    pub mean: f64,
    /// Its standard deviation, between cells.
    #[serde(default)]
    pub spread: f64,
    /// ν is at least this.
    #[serde(default)]
    pub low: f64,
    /// ν is at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Time of the first reading after programming, from which drift is counted, in seconds.
    #[serde(default = "one_second")]
    pub reference_time: f64,
    /// Whether outputs are scaled back.
    #[serde(default)]
    pub compensation: Compensation,
}

fn one_second() -> f64 {
    1.0
}

/// The largest `s L` for which the mean of the factor is computed.
pub(super) const MOST_SPREAD: f64 = 20.0;
/// What the terms of a mean may be wrong by, relative to each: arguments of Φ have few roundings, and Φ loses as many digits as the square
/// of its argument has.
pub(super) const LOST: f64 = 1e-11;

impl DriftModel {
    /// An error for numbers that mean nothing.
    ///
    /// # Errors
    /// A number that is not finite, negative, or a range without numbers; named with its key and unit.
    pub fn check(&self) -> Result<(), NoiseError> {
        let key = |key, unit, expected: &str, found: f64| {
            Err(NoiseError::Key { key, unit, expected: expected.into(), found: found.to_string() })
        };
        let exponent = "exponent of time, without unit";
        for (name, found) in [("drift.mean", self.mean), ("drift.low", self.low)] {
            if !found.is_finite() {
                return key(name, exponent, "a finite number", found);
            }
        }
        if !(self.spread >= 0.0 && self.spread.is_finite()) {
            return key("drift.spread", exponent, "a finite number of at least 0", self.spread);
        }
        if let Some(high) = self.high.filter(|high| !(*high >= self.low && high.is_finite())) {
            return key("drift.high", exponent, &format!("a finite number of at least {}", self.low), high);
        }
        if !(self.reference_time > 0.0 && self.reference_time.is_finite()) {
            return key("drift.reference-time", "seconds", "a finite number above 0", self.reference_time);
        }
        Ok(())
    }

    /// The drift after `seconds`.
    ///
    /// # Errors
    /// As [`DriftModel::check`]; a spread that is too large for the time.
    pub(super) fn at(&self, seconds: f64) -> Result<Drift, NoiseError> {
        self.check()?;
        let log = (seconds / self.reference_time).ln_1p();
        let DriftModel { mean, spread, low, .. } = *self;
        let exponent =
            Exponent { mean, spread, low, high: self.high.unwrap_or(f64::INFINITY), folded: false };
        let factor = exponent.factor(log)?;
        // Cells whose ν has no spread drift alike: nothing is random about the factor.
        let scale = match self.compensation {
            Compensation::None => 1.0,
            Compensation::Mean => 1.0 / factor.mean,
        };
        let mean = match self.compensation {
            Compensation::None => factor.mean,
            Compensation::Mean => 1.0,
        };
        let up = |v: f64| scale * v * (1.0 + LOST);
        let drift = Drift {
            exponent,
            log,
            scale,
            mean,
            error: up(factor.error) + 4.0 * f64::EPSILON * mean,
            most: up(factor.most),
            proxy: up(factor.proxy),
        };
        let is_finite = [drift.mean, drift.error, drift.most, drift.proxy].iter().all(|v| v.is_finite());
        if is_finite && drift.mean > 0.0 { Ok(drift) } else { Err(exponent.too_wide(log)) }
    }
}

/// The law of ν: a Gaussian variable that is clipped, or whose magnitude is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exponent {
    pub mean: f64,
    pub spread: f64,
    pub low: f64,
    pub high: f64,
    /// `|μ + s N|` instead of a clipped one.
    pub folded: bool,
}

/// What is known about the factor `exp(−L ν)` of one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Factor {
    /// Its mean, but for `error`.
    pub mean: f64,
    pub error: f64,
    /// Its largest value.
    pub most: f64,
    /// Sub-Gaussian proxy of the factor less its mean.
    pub proxy: f64,
}

impl Exponent {
    /// The factor at `log = L`.
    pub(super) fn factor(&self, log: f64) -> Result<Factor, NoiseError> {
        let Exponent { mean, spread, low, high, folded } = *self;
        let wide = log * spread;
        if !(wide <= MOST_SPREAD) {
            return Err(self.too_wide(log));
        }
        let (least, most) = match folded {
            true => (0.0, 1.0),
            false => ((-log * high).exp(), (-log * low).exp()),
        };
        if wide == 0.0 {
            let nu = if folded { mean.abs() } else { mean.clamp(low, high) };
            let factor = (-log * nu).exp();
            return Ok(Factor {
                mean: factor,
                error: LOST * factor,
                most: factor * (1.0 + LOST),
                proxy: 0.0,
            });
        }
        // Terms that are added, and their magnitudes.
        let inner = |sign: f64| (-sign * log * mean + 0.5 * wide * wide).exp();
        let (sum, size) = match folded {
            true => {
                let x = mean / spread;
                let sum = inner(1.0) * below(x - wide) + inner(-1.0) * below(-x - wide);
                (sum, sum)
            }
            false => {
                let (a, b) = ((low - mean) / spread, (high - mean) / spread);
                let (between, size) = between(a + wide, b + wide);
                let ends = most * below(a) + if high.is_finite() { least * above(b) } else { 0.0 };
                (ends + inner(1.0) * between, ends + inner(1.0) * size)
            }
        };
        let hoeffding = 0.5 * (most - least);
        let proxy = hoeffding.min(wide * most) * (1.0 + LOST);
        Ok(Factor { mean: sum.clamp(least, most), error: LOST * size, most: most * (1.0 + LOST), proxy })
    }

    /// One cell.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> f64 {
        let nu = self.mean + self.spread * standard_normal(rng);
        if self.folded { nu.abs() } else { nu.clamp(self.low, self.high) }
    }

    fn too_wide(&self, log: f64) -> NoiseError {
        NoiseError::Key {
            key: "drift.spread",
            unit: "exponent of time, without unit",
            expected: format!("a spread with a factor within numbers, at most {}", MOST_SPREAD / log),
            found: self.spread.to_string(),
        }
    }
}

/// `Φ(b) − Φ(a)` for `a` ≤ `b` from the terms that cancel least, and the sum of their magnitudes.
fn between(a: f64, b: f64) -> (f64, f64) {
    if a > 0.0 {
        (above(a) - above(b), above(a) + above(b))
    } else if b < 0.0 {
        (below(b) - below(a), below(a) + below(b))
    } else {
        (1.0 - below(a) - above(b), 1.0 + below(a) + above(b))
    }
}

/// Drift at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    exponent: Exponent,
    log: f64,
    /// What the factor is multiplied by afterwards.
    scale: f64,
    /// Mean of the scaled factor, but for `error`.
    pub(super) mean: f64,
    pub(super) error: f64,
    /// The largest scaled factor.
    pub(super) most: f64,
    /// Sub-Gaussian proxy of the scaled factor less its mean.
    pub(super) proxy: f64,
}

impl Drift {
    /// The factor of one cell.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> f64 {
        self.scale * (-self.log * self.exponent.draw(rng)).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const DAY: f64 = 86400.0;

    fn model(mean: f64, spread: f64) -> DriftModel {
        DriftModel {
            mean,
            spread,
            low: 0.0,
            high: None,
            reference_time: 20.0,
            compensation: Compensation::None,
        }
    }

    /// Sums over many cells of N, by which the law and all moments of the factor are known to eight digits.
    fn expected(exponent: &Exponent, f: impl Fn(f64) -> f64) -> f64 {
        const CELLS: usize = 400_000;
        let cell = |k: usize| {
            let n = -10.0 + 20.0 * (k as f64 + 0.5) / CELLS as f64;
            let nu = exponent.mean + exponent.spread * n;
            let nu = if exponent.folded { nu.abs() } else { nu.clamp(exponent.low, exponent.high) };
            (-0.5 * n * n).exp() / (2.0 * std::f64::consts::PI).sqrt() * (20.0 / CELLS as f64) * f(nu)
        };
        (0..CELLS).map(cell).sum()
    }

    const EXPONENTS: [Exponent; 6] = [
        Exponent { mean: 0.05, spread: 0.01, low: 0.0, high: f64::INFINITY, folded: false },
        Exponent { mean: 0.05, spread: 0.04, low: 0.02, high: 0.06, folded: false },
        Exponent { mean: 0.1, spread: 0.045, low: 0.0, high: f64::INFINITY, folded: true },
        Exponent { mean: 0.0, spread: 0.3, low: -0.1, high: 0.1, folded: false },
        Exponent { mean: 0.0, spread: 0.3, low: 0.5, high: 0.9, folded: false },
        Exponent { mean: 0.02, spread: 0.05, low: 0.0, high: f64::INFINITY, folded: true },
    ];

    #[test]
    fn means_are_those_of_the_integral() {
        for exponent in &EXPONENTS {
            for log in [0.1, 4.0, 14.0] {
                let factor = exponent.factor(log).unwrap();
                let exact = expected(exponent, |nu| (-log * nu).exp());
                assert!(
                    (factor.mean - exact).abs() < 1e-6 * exact,
                    "{exponent:?} {log}: {} {exact}",
                    factor.mean
                );
                assert!(factor.error < 1e-9 * factor.mean);
            }
        }
    }

    /// `ln E exp(λ (F − E F)) ≤ λ² K² / 2` at many λ of both signs, and not by much more than what it must be at some.
    #[test]
    fn factors_are_sub_gaussian() {
        for exponent in &EXPONENTS {
            for log in [0.1, 4.0, 14.0] {
                let factor = exponent.factor(log).unwrap();
                let mut tightest = 0.0_f64;
                for lambda in [-300.0, -30.0, -3.0, -0.3, 0.3, 3.0, 30.0, 300.0] {
                    let lambda = lambda / factor.most;
                    let moment =
                        expected(exponent, |nu| (lambda * ((-log * nu).exp() - factor.mean)).exp()).ln();
                    let bound = 0.5 * lambda * lambda * factor.proxy * factor.proxy;
                    assert!(
                        moment <= bound * (1.0 + 1e-6) + 1e-7,
                        "{exponent:?} {log} {lambda}: {moment} {bound}"
                    );
                    tightest = tightest.max(moment / bound);
                }
                assert!(tightest > 0.02, "{exponent:?} {log}: {tightest}");
            }
        }
    }

    #[test]
    fn compensation_leaves_the_mean() {
        let none = model(0.05, 0.01).at(DAY).unwrap();
        let back = DriftModel { compensation: Compensation::Mean, ..model(0.05, 0.01) }.at(DAY).unwrap();
        assert!(back.mean == 1.0 && none.mean < 0.7 && none.mean > 0.6, "{none:?}");
        assert!((back.proxy - none.proxy / none.mean).abs() < 1e-9 && back.error < 1e-10);
        // The formula itself, where nothing is random.
        let fixed = model(0.05, 0.0).at(180.0).unwrap();
        assert!((fixed.mean - 10.0_f64.powf(-0.05)).abs() < 1e-12 && fixed.proxy == 0.0);
        // Nothing has happened yet.
        let now = model(0.05, 0.01).at(0.0).unwrap();
        assert_eq!((now.mean, now.proxy), (1.0, 0.0));
    }

    #[test]
    fn cells_are_drawn_from_the_law() {
        let drift = DriftModel { high: Some(0.06), ..model(0.05, 0.02) }.at(DAY).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let draws: Vec<f64> = (0..20_000).map(|_| drift.draw(&mut rng)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - drift.mean).abs() < 6.0 * drift.proxy / (draws.len() as f64).sqrt(), "{mean}");
        assert!(draws.iter().all(|f| *f <= drift.most));
    }

    #[test]
    fn errors_name_the_key_and_its_unit() {
        let told = |model: DriftModel| model.at(DAY).unwrap_err().to_string();
        for (wrong, expected) in [
            (
                DriftModel { spread: -1.0, ..model(0.05, 0.0) },
                "noise: drift.spread (exponent of time, without unit): expected a finite number of at least 0, found -1",
            ),
            (DriftModel { high: Some(-0.1), ..model(0.05, 0.0) }, "drift.high"),
            (DriftModel { reference_time: 0.0, ..model(0.05, 0.0) }, "drift.reference-time (seconds)"),
            (model(f64::NAN, 0.0), "drift.mean"),
            (model(0.05, 100.0), "drift.spread"),
        ] {
            assert!(told(wrong).contains(expected), "{}", told(wrong));
        }
    }
}
