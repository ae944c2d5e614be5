//! Random weights: `certify --noise`, what holds but for a probability, and `attack --noise`, what drawn devices do,
//! `radius --noise`, how much noise samples withstand.

mod certify;
mod draws;
mod radius;

pub use certify::run;
pub use draws::{DRAWS, DRAWS_BATCH, DrawsConfig, draw};
pub use radius::{NoiseRadiusConfig, radius};

use crate::RunError;
use crate::file;
use crate::session::Session;
use crate::threat::{self, SetAt};
use serde::Serialize;
use std::path::Path;
use weightproof::network::Network;
use weightproof::noise::{NoiseError, NoiseKind, NoiseModel, NoiseSet};
use weightproof::threat::{Kind, PerturbationSet};

/// The largest file with a noise model that is read.
const MOST_BYTES: u64 = 1 << 20;
/// The failure probability when the user does not say.
pub const FAILURE_PROBABILITY: f64 = 1e-9;

/// What is asked of `certify --noise`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoiseConfig {
    /// What is random.
    #[serde(rename = "noise")]
    pub model: NoiseModel,
    /// The probability that verdicts are meant at.
    pub failure_probability: f64,
    /// Times that they are meant at, in seconds after the first reading, where weights change with time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<f64>,
}

/// Whether a set leaves everything but the input as it is.
fn is_still(set: &PerturbationSet) -> bool {
    set.layers.iter().all(|layer| layer.is_zero()) && set.activation_radius == 0.0
}

/// The noise of a network at each time, or that which has none.
fn at_times(
    model: &NoiseModel,
    network: &Network,
    times: &[f64],
) -> Result<Vec<(Option<f64>, NoiseSet)>, NoiseError> {
    let at = |time: Option<f64>| Ok((time, model.resolve_at(network, time)?));
    match times {
        [] => Ok(vec![at(None)?]),
        times => times.iter().map(|&time| at(Some(time))).collect(),
    }
}

/// Refuses several radii beside several times.
fn require_one_set(sets: &[SetAt], times: &[f64]) -> Result<(), RunError> {
    if sets.len() > 1 && !times.is_empty() {
        return Err(RunError::setting("radius", "at most one beside times", sets.len().to_string()));
    }
    Ok(())
}

/// Refuses what noise has no answer to: names of settings, and whether each was given.
///
/// # Errors
/// The first one that was.
pub fn refuse(settings: &[(&'static str, bool)]) -> Result<(), RunError> {
    match settings.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(RunError::setting(name, "none with noise", "one")),
        None => Ok(()),
    }
}

/// The noise model beside the set of a session: a set without a radius leaves the weights as they are, and its layers are the random
/// ones where the model names none.
pub fn beside<F>(session: &mut Session<F>, model: NoiseModel) -> NoiseModel {
    let threat = &mut session.config.threat;
    if threat.radii.is_empty() && threat.model.kind == Kind::Absolute {
        threat.model.radius = threat.model.radius.or(Some(0.0));
    }
    NoiseModel { layers: model.layers.or_else(|| threat.model.layers.clone()), ..model }
}

/// The noise model that a word of the command line names: `gaussian:0.01`, `stochastic:int8`, or a TOML file.
///
/// # Errors
/// An unknown kind; a file that cannot be read, is too large, or is no noise model.
pub fn read(text: &str) -> Result<NoiseModel, RunError> {
    let path = Path::new(text);
    if !(text.ends_with(".toml") || text.contains('/') || path.is_file()) {
        return Ok(text.parse()?);
    }
    file::read_text(path, MOST_BYTES, parse)
}

/// The noise that `radius` searches multiples of: as [`read`], with or without a number, of which it is the unit.
///
/// # Errors
/// As [`read`]; stochastic rounding, which has no size.
pub fn read_unit(text: &str) -> Result<NoiseModel, RunError> {
    match text.parse::<NoiseKind>() {
        Ok(kind) => Ok(NoiseModel::new(kind, Some(1.0)).unit()?),
        Err(_) => Ok(read(text)?.unit()?),
    }
}

/// The noise model that a TOML text says.
///
/// # Errors
/// Where and why it is none.
pub fn parse(text: &str) -> Result<NoiseModel, RunError> {
    let model: NoiseModel = threat::from_toml(text)?;
    model.check()?;
    Ok(model)
}

impl From<NoiseError> for RunError {
    fn from(source: NoiseError) -> Self {
        RunError::Noise { source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof_testkit::damage::damaged;

    /// Everything that a file may say.
    const FILE: &str = r#"kind = "gaussian-of-max"
sigma = 0.01
biases = false
layers = ["fc1", "fc2"]
[layer.fc1]
sigma = 0.02
"#;

    #[test]
    fn files_say_what_they_say() {
        let model = parse(FILE).unwrap();
        assert_eq!((model.kind.to_string(), model.sigma), ("gaussian-of-max".into(), Some(0.01)));
        assert_eq!((model.biases, model.layer["fc1"].sigma), (false, 0.02));
        assert_eq!(parse("kind = \"gaussian\"\nsigma = 0.5").unwrap(), read("gaussian:0.5").unwrap());
        assert_eq!(parse("kind = \"stochastic:int8\"").unwrap(), read("stochastic:int8").unwrap());
        for wrong in
            ["", "kind = \"gaussian\"", "kind = \"gaussian\"\nsigma = -1.0", "kind = \"int8\"", "sigma = 1.0"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mutated_files_never_panic() {
        let mut errors = 0;
        for text in damaged(FILE, 2000) {
            errors += usize::from(std::str::from_utf8(&text).is_ok_and(|text| parse(text).is_err()));
        }
        assert!(errors > 500, "{errors}");
    }
}
