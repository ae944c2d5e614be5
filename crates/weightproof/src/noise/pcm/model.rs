//! Settings of phase-change devices as users write them; names and defaults are those of aihwkit where it has them.
//!
//! # Units
//! Conductances in microsiemens, times in seconds.

use super::super::drift::{Compensation, LOST};
use super::super::error::NoiseError;
use super::{LEAST, Pcm};
use serde::{Deserialize, Serialize};

/// A number that is linear in the logarithm of the relative conductance, and clipped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OfConductance {
    /// What the logarithm is multiplied by.
    pub slope: f64,
    /// What is added.
    pub offset: f64,
    /// The number is at least this.
    pub low: f64,
    /// The number is at most this.
    pub high: f64,
}

impl OfConductance {
    /// The number at a relative conductance.
    pub(super) fn at(&self, relative: f64) -> f64 {
        (self.slope * relative.max(LEAST).ln() + self.offset).clamp(self.low, self.high)
    }
}

/// Devices as users describe them; defaults are those of the simulator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PcmModel {
    /// Conductance of the largest weight.
    pub g_max: f64,
    /// Conductance of a weight of zero.
    pub g_min: f64,
    /// Whether the largest weight is that of the output channel instead of the layer.
    pub per_channel: bool,
    /// Coefficients of the programming error, lowest first, in microsiemens.
    pub programming: Vec<f64>,
    /// The largest conductance that the coefficients were fitted at.
    pub programming_reference: f64,
    /// Multiple of the programming error.
    pub programming_scale: f64,
    /// Mean of ν.
    pub drift_mean: OfConductance,
    /// Deviation of ν between devices.
    pub drift_spread: OfConductance,
    /// Multiple of ν.
    pub drift_scale: f64,
    /// `q₁`: relative error of a reading at the largest conductance.
    pub read: f64,
    /// `e`, from 0 to 1.
    pub read_exponent: f64,
    /// `q_most`.
    pub read_most: f64,
    /// Multiple of the error of a reading.
    pub read_scale: f64,
    /// Duration of a reading.
    pub read_time: f64,
    /// Time of the first reading after programming.
    pub reference_time: f64,
    /// Whether outputs are scaled back.
    pub compensation: Compensation,
}

impl Default for PcmModel {
    fn default() -> Self {
        PcmModel {
            g_max: 25.0,
            g_min: 0.0,
            per_channel: false,
            programming: vec![0.26348, 1.9650, -1.1731],
            programming_reference: 25.0,
            programming_scale: 1.0,
            drift_mean: OfConductance { slope: -0.0155, offset: 0.0244, low: 0.049, high: 0.1 },
            drift_spread: OfConductance { slope: -0.0125, offset: -0.0059, low: 0.008, high: 0.045 },
            drift_scale: 1.0,
            read: 0.0088,
            read_exponent: 0.65,
            read_most: 0.2,
            read_scale: 1.0,
            read_time: 250e-9,
            reference_time: 20.0,
            compensation: Compensation::Mean,
        }
    }
}

impl PcmModel {
    /// An error for numbers that mean nothing.
    ///
    /// # Errors
    /// The key, its unit, what was expected and what was found.
    pub fn check(&self) -> Result<(), NoiseError> {
        let positive = [
            ("pcm.g-max", "microsiemens", self.g_max),
            ("pcm.programming-reference", "microsiemens", self.programming_reference),
            ("pcm.read-time", "seconds", self.read_time),
            ("pcm.reference-time", "seconds", self.reference_time),
        ];
        let not_negative = [
            ("pcm.g-min", "microsiemens", self.g_min),
            ("pcm.programming-scale", "multiple", self.programming_scale),
            ("pcm.drift-scale", "multiple", self.drift_scale),
            ("pcm.drift-mean.low", "exponent of time", self.drift_mean.low),
            ("pcm.drift-spread.low", "exponent of time", self.drift_spread.low),
            ("pcm.read", "relative to the conductance", self.read),
            ("pcm.read-exponent", "exponent of the conductance", self.read_exponent),
            ("pcm.read-most", "relative to the conductance", self.read_most),
            ("pcm.read-scale", "multiple", self.read_scale),
        ];
        let error = |(key, unit, found): (&'static str, &'static str, f64), expected: String| {
            Err(NoiseError::Key { key, unit, expected, found: found.to_string() })
        };
        for given in positive {
            if !(given.2 > 0.0 && given.2.is_finite()) {
                return error(given, "a finite number above 0".into());
            }
        }
        for given in not_negative {
            if !(given.2 >= 0.0 && given.2.is_finite()) {
                return error(given, "a finite number of at least 0".into());
            }
        }
        if self.g_min >= self.g_max {
            return error(
                ("pcm.g-min", "microsiemens", self.g_min),
                format!("less than g-max, {}", self.g_max),
            );
        }
        if self.read_exponent > 1.0 {
            let given = ("pcm.read-exponent", "exponent of the conductance", self.read_exponent);
            return error(given, "at most 1".into());
        }
        for (key, law) in [("pcm.drift-mean", self.drift_mean), ("pcm.drift-spread", self.drift_spread)] {
            let unit = "exponent of time";
            for found in [law.slope, law.offset, law.high] {
                if !found.is_finite() {
                    return error((key, unit, found), "finite numbers".into());
                }
            }
            if law.high < law.low {
                return error((key, unit, law.high), format!("high of at least low, {}", law.low));
            }
        }
        match self.programming.iter().find(|c| !c.is_finite()) {
            Some(&found) => error(("pcm.programming", "microsiemens", found), "finite numbers".into()),
            None => Ok(()),
        }
    }

    /// The devices after `seconds`.
    pub(in super::super) fn at(&self, seconds: f64) -> Result<Pcm, NoiseError> {
        self.check()?;
        let age = seconds + self.reference_time;
        let periods = ((age + self.read_time) / (2.0 * self.read_time)).ln().max(0.0);
        let log = self.drift_scale * (seconds / self.reference_time).ln_1p();
        Ok(Pcm { model: self.clone(), log, reading: self.read_scale * periods.sqrt() * (1.0 + LOST) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_key_and_its_unit() {
        let told = |text: &str| toml::from_str::<PcmModel>(text).unwrap().check().unwrap_err().to_string();
        for (text, expected) in [
            ("g-max = 0.0", "noise: pcm.g-max (microsiemens): expected a finite number above 0, found 0"),
            ("g-min = 25.0", "pcm.g-min (microsiemens): expected less than g-max, 25, found 25"),
            ("read-time = -1.0", "pcm.read-time (seconds)"),
            ("read-exponent = 1.5", "expected at most 1, found 1.5"),
            ("drift-mean = { slope = 0.0, offset = 0.0, low = 1.0, high = 0.0 }", "high of at least low, 1"),
            ("programming = [nan]", "pcm.programming (microsiemens)"),
        ] {
            assert!(told(text).contains(expected), "{}", told(text));
        }
    }
}
