//! Numbers that change while a network is trained.

use serde::{Deserialize, Serialize};

/// A number, or one that moves linearly between two epochs and stays at its ends before and after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ramp {
    /// The same all the time.
    Constant(f64),
    /// From one number to another.
    Linear(Line),
}

/// The ends of a linear [`Ramp`]; epochs count from 0 and may be fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Value until `start`.
    pub from: f64,
    /// Value from `end` on.
    pub to: f64,
    /// Epoch at which it begins to move.
    #[serde(default)]
    pub start: f64,
    /// Epoch at which it has arrived.
    pub end: f64,
}

impl Ramp {
    /// From one number to another.
    pub fn linear(from: f64, to: f64, start: f64, end: f64) -> Self {
        Ramp::Linear(Line { from, to, start, end })
    }

    /// The value after `epoch` epochs.
    pub fn at(&self, epoch: f64) -> f64 {
        match *self {
            Ramp::Constant(value) => value,
            Ramp::Linear(Line { to, end, .. }) if epoch >= end => to,
            Ramp::Linear(Line { from, to, start, end }) => {
                from + (to - from) * ((epoch - start) / (end - start)).clamp(0.0, 1.0)
            }
        }
    }

    /// What is wrong with it, if anything: every value must be finite and at least zero.
    pub(crate) fn defect(&self) -> Option<String> {
        let fine = |v: f64| v.is_finite() && v >= 0.0;
        let (values, epochs) = match *self {
            Ramp::Constant(value) => ([value; 2], [0.0, 1.0]),
            Ramp::Linear(Line { from, to, start, end }) => ([from, to], [start, end]),
        };
        if let Some(bad) = values.into_iter().chain(epochs).find(|v| !fine(*v)) {
            return Some(format!("expected a finite number of at least 0, found {bad}"));
        }
        (epochs[0] > epochs[1])
            .then(|| format!("expected an end of at least the start {}, found {}", epochs[0], epochs[1]))
    }
}

/// Learning rate over the epochs: a linear warm-up, then the decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LearningRate {
    /// Largest rate.
    pub rate: f64,
    /// Epochs in which the rate rises from zero.
    #[serde(default)]
    pub warm_up: f64,
    /// How it falls afterwards.
    #[serde(default)]
    pub decay: Decay,
}

/// How a learning rate falls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// Half a cosine, to `floor` times the rate at the last epoch.
    Cosine {
        /// Fraction of the rate at the end.
        #[serde(default)]
        floor: f64,
    },
    /// Times `factor` at each of the epochs.
    Step {
        /// Epochs at which it falls.
        epochs: Vec<f64>,
        /// Factor of each fall.
        factor: f64,
    },
}

impl LearningRate {
    /// The rate after `epoch` of `epochs` epochs.
    pub fn at(&self, epoch: f64, epochs: f64) -> f64 {
        if epoch < self.warm_up {
            return self.rate * epoch / self.warm_up;
        }
        let factor = match &self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine { floor } => {
                let done = ((epoch - self.warm_up) / (epochs - self.warm_up).max(f64::MIN_POSITIVE)).min(1.0);
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Decay::Step { epochs, factor } => {
                factor.powi(epochs.iter().filter(|&&fall| epoch >= fall).count() as i32)
            }
        };
        self.rate * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_move_between_their_epochs() {
        let ramp = Ramp::linear(1.0, 3.0, 2.0, 6.0);
        let values = [0.0, 2.0, 3.0, 5.0, 6.0, 9.0].map(|epoch| ramp.at(epoch));
        assert_eq!(values, [1.0, 1.0, 1.5, 2.5, 3.0, 3.0]);
        assert_eq!(Ramp::linear(0.0, 1.0, 2.0, 2.0).at(2.0), 1.0);
        assert!(Ramp::linear(0.0, 1.0, 3.0, 2.0).defect().is_some());
        assert!(Ramp::Constant(f64::NAN).defect().is_some());
    }

    #[test]
    fn rates_rise_and_fall() {
        let rate = |decay| LearningRate { rate: 0.1, warm_up: 2.0, decay };
        let cosine = rate(Decay::Cosine { floor: 0.0 });
        assert_eq!([0.0, 1.0, 2.0].map(|e| cosine.at(e, 10.0)), [0.0, 0.05, 0.1]);
        assert!((cosine.at(6.0, 10.0) - 0.05).abs() < 1e-12);
        assert!(cosine.at(10.0, 10.0).abs() < 1e-12);
        let step = rate(Decay::Step { epochs: vec![4.0, 6.0], factor: 0.5 });
        assert_eq!([3.9, 4.0, 6.5].map(|e| step.at(e, 10.0)), [0.1, 0.05, 0.025]);
    }
}
