//! The threat model of a run, and the radii that it is applied at.

use crate::RunError;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use weightproof::network::Network;
use weightproof::threat::{PerturbationSet, ThreatModel};
use weightproof_formats::FormatError;

/// The largest threat file that is read.
const MOST_BYTES: u64 = 1 << 24;

/// A threat model and the radii that it is applied at.
#[derive(Clone, Debug, Serialize)]
pub struct ThreatConfig {
    /// The model; the radius in it is that of the file.
    #[serde(flatten)]
    pub model: ThreatModel,
    /// Radii that were given besides the model.
    pub radii: Vec<f64>,
    /// The file that the model was read from.
    #[serde(skip)]
    file: Option<PathBuf>,
}

/// A perturbation set at a radius; `None` when every layer has a radius of its own.
pub struct SetAt {
    /// The radius.
    pub radius: Option<f64>,
    /// The set.
    pub set: PerturbationSet,
}

impl ThreatConfig {
    /// A model at these radii, read from this file if it was.
    pub fn new(model: ThreatModel, radii: Vec<f64>, file: Option<PathBuf>) -> Self {
        ThreatConfig { model, radii, file }
    }

    /// The sets of `network` at every radius, see [`ThreatModel::at`]; inputs stay within `input_range`.
    ///
    /// # Errors
    /// A radius that is missing or wrong, a layer that is not there.
    pub fn sets(&self, network: &Network, input_range: Option<(f64, f64)>) -> Result<Vec<SetAt>, RunError> {
        let own = self.model.kind.has_own_radius().then_some(1.0);
        let radii: Vec<Option<f64>> = match self.radii.as_slice() {
            [] => vec![self.model.radius.or(own)],
            radii => radii.iter().copied().map(Some).collect(),
        };
        let at = |radius: Option<f64>| {
            let model = radius.map_or_else(|| self.model.clone(), |radius| self.model.at(radius));
            Ok(SetAt { radius, set: self.resolve(&model, network, input_range)? })
        };
        radii.into_iter().map(at).collect()
    }

    /// The set at radius 1, which a search scales. Radii of single layers keep their ratio to the radius of the file.
    ///
    /// # Errors
    /// As [`ThreatConfig::sets`].
    pub fn unit_set(
        &self,
        network: &Network,
        input_range: Option<(f64, f64)>,
    ) -> Result<PerturbationSet, RunError> {
        self.resolve(&self.model.at(1.0), network, input_range)
    }

    fn resolve(
        &self,
        model: &ThreatModel,
        network: &Network,
        input_range: Option<(f64, f64)>,
    ) -> Result<PerturbationSet, RunError> {
        let fail = |source| RunError::Threat { file: self.file.clone(), source };
        let set = model.resolve(network).map_err(fail)?;
        Ok(PerturbationSet { input_range, ..set })
    }
}

/// One of the sets in which something moves, where there is one: it tells what the threat model perturbs.
pub fn moving(sets: &[SetAt]) -> &PerturbationSet {
    let moves = |at: &&SetAt| at.set.layers.iter().any(|layer| !layer.is_zero());
    &sets.iter().find(moves).unwrap_or(&sets[0]).set
}

/// Reads a threat model in TOML.
///
/// # Errors
/// The file cannot be read, is too large, or is no threat model.
pub fn read(path: &Path) -> Result<ThreatModel, RunError> {
    let bytes = fs::metadata(path).map_err(FormatError::io(path))?.len();
    if bytes > MOST_BYTES {
        let place = path.display();
        let message = format!("{place}: expected at most {MOST_BYTES} bytes, found {bytes}");
        return Err(RunError::ThreatText { message });
    }
    let text = fs::read_to_string(path).map_err(FormatError::io(path))?;
    parse(&text).map_err(|error| RunError::ThreatText { message: format!("{}: {error}", path.display()) })
}

/// The threat model that a TOML text says.
///
/// # Errors
/// Where and why it is none.
pub fn parse(text: &str) -> Result<ThreatModel, RunError> {
    toml::from_str(text).map_err(|error| {
        // The first line says where, the last what.
        let lines: Vec<String> = error.to_string().lines().map(|l| l.trim().to_owned()).collect();
        let first = lines.first().cloned().unwrap_or_default();
        let what = lines.last().filter(|_| lines.len() > 1).map_or_else(String::new, |l| format!(": {l}"));
        RunError::ThreatText { message: format!("{first}{what}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::network::Activation;
    use weightproof_testkit::damage::damaged;
    use weightproof_testkit::networks::{Blueprint, Design};

    /// Everything that a file may say.
    const FILE: &str = r#"kind = "absolute"
radius = 0.001
bias-radius = 0.0
input-radius = 0.01
activation-radius = 0.002
layers = ["dense0", "dense1"]
[layer.dense0]
radius = 0.0005
bias-radius = 0.001
[layer.dense1]
radius = [0.001, 0.002]
"#;

    /// A short fuzz: damaged files are read or refused with a message, and what is read makes sets or an error.
    #[test]
    fn mutated_threat_models_never_panic() {
        let network = Blueprint::new(&[2, 3, 2], Activation::Relu, 1).build();
        assert!(parse(FILE).is_ok(), "{:?}", parse(FILE));
        let (mut errors, mut models) = (0, 0);
        for bytes in damaged(FILE, 4000) {
            let Ok(text) = String::from_utf8(bytes) else { continue };
            match parse(&text) {
                Ok(model) => {
                    let config = ThreatConfig::new(model, vec![0.1], None);
                    let told = |error: RunError| assert!(!error.to_string().is_empty());
                    config.sets(&network, None).map_or_else(told, drop);
                    config.unit_set(&network, None).map_or_else(told, drop);
                    models += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    errors += 1;
                }
            }
        }
        assert!(errors > 1000 && models > 100, "both happen: {errors} {models}");
    }
}
