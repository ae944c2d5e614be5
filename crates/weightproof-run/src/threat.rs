//! The threat model of a run, and the radii that it is applied at.

use crate::RunError;
use crate::file;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use weightproof::network::Network;
use weightproof::threat::{PerturbationSet, ThreatModel};

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
    /// Whether radii below 1 are meant where the radius is a multiple of what a format rounds by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scale_radius: bool,
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
        ThreatConfig { model, radii, scale_radius: false, file }
    }

    /// Radii below 1 are meant where they are multiples.
    pub fn scale_radius(self, scale_radius: bool) -> Self {
        ThreatConfig { scale_radius, ..self }
    }

    /// An error when a radius is a part of what a format rounds by itself, and nobody said that this is meant: it is mostly left
    /// over from another threat model, and would prove less than is asked.
    fn check_multiples(&self) -> Result<(), RunError> {
        let own = self.model.radius.filter(|_| self.radii.is_empty());
        let below = self.radii.iter().copied().chain(own).find(|radius| *radius < 1.0);
        match below {
            Some(radius) if self.model.kind.has_own_radius() && !self.scale_radius => {
                let (kind, unit) = (&self.model.kind, self.model.kind.unit());
                let expected = format!("a multiple of at least 1 for {kind} (unit: {unit})");
                Err(RunError::setting("radius", expected, radius.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The sets of `network` at every radius; inputs stay within `input_range`. Radii of single layers keep their ratio to the
    /// radius of the file, see [`ThreatModel::at`].
    ///
    /// # Errors
    /// A radius that is missing or wrong, one below 1 of a format unless [`scale_radius`](ThreatConfig::scale_radius) says that it
    /// is meant, a layer that is not there.
    pub fn sets(&self, network: &Network, input_range: Option<(f64, f64)>) -> Result<Vec<SetAt>, RunError> {
        self.check_multiples()?;
        let own = self.model.kind.has_own_radius().then_some(1.0);
        if self.radii.is_empty() {
            let radius = self.model.radius.or(own);
            return Ok(vec![SetAt { radius, set: self.resolve(&self.model, network, input_range)? }]);
        }
        let at = |&radius: &f64| {
            let set = self.resolve(&self.model.at(radius), network, input_range)?;
            Ok(SetAt { radius: Some(radius), set })
        };
        self.radii.iter().map(at).collect()
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
    file::read_text(path, MOST_BYTES, parse)
}

/// The threat model that a TOML text says.
///
/// # Errors
/// Where and why it is none.
pub fn parse(text: &str) -> Result<ThreatModel, RunError> {
    from_toml(text)
}

/// What a TOML text says.
///
/// # Errors
/// Where and why it says no such thing.
pub(crate) fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, RunError> {
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
    use weightproof::threat::WeightSet;
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

    /// `--radius` and the search for radii mean the same set: the file's, times one factor.
    #[test]
    fn a_radius_multiplies_all_radii_of_the_file() {
        let network = Blueprint::new(&[2, 3, 2], Activation::Relu, 1).build();
        let of = |text: &str, radii: &[f64]| ThreatConfig::new(parse(text).unwrap(), radii.to_vec(), None);
        let weights = |set: &PerturbationSet| set.layers.iter().map(|l| l.weight.clone()).collect::<Vec<_>>();
        let uniform = |radius| WeightSet::uniform(radius, 3);
        let rows = |radii: [f64; 2]| WeightSet::rows(radii.to_vec());
        // What the file says beside the radii of dense1, and the set at radius 1.
        for (head, at_one) in [
            ("radius = 0.25", [uniform(1.0), rows([2.0, 1.0])]),
            ("", [uniform(1.0), rows([0.5, 0.25])]),
            ("radius = 0.0", [WeightSet::Fixed, rows([0.5, 0.25])]),
        ] {
            let text = format!(
                "kind = \"absolute\"\n{head}\nbias-radius = 0.125\ninput-radius = 3.0\n[layer.dense1]\nradius = [0.5, 0.25]"
            );
            let unit = of(&text, &[]).unit_set(&network, None).unwrap();
            for t in [0.5, 2.0] {
                let set = of(&text, &[t]).sets(&network, None).unwrap().swap_remove(0).set;
                assert_eq!(weights(&set), at_one.clone().map(|radius| radius.scaled(t)), "{head} at {t}");
                assert_eq!(set, unit.scaled(t), "{head} at {t}");
                assert_eq!((set.layers[0].bias[0], set.input_radius), (0.125, 3.0));
            }
        }
    }

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
