//! The threat model of a run: from flags, or from a TOML file that flags change.

use crate::args::ThreatArgs;
use crate::error::Failure;
use crate::number::{self, Range};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use weightproof::network::Network;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};

/// The largest threat file that is read.
const MOST_BYTES: u64 = 1 << 24;

/// A threat model and the radii that it is applied at.
#[derive(Clone, Debug, Serialize)]
pub struct ThreatConfig {
    /// The model; the radius in it is that of the file.
    #[serde(flatten)]
    pub model: ThreatModel,
    /// Radii from the command line.
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
    /// Reads flags and the file.
    pub fn new(args: &ThreatArgs) -> Result<Self, Failure> {
        let file = args.threat.as_ref().filter(|text| is_file_name(text)).map(PathBuf::from);
        let mut model = match (&file, &args.threat) {
            (Some(file), _) => read(file)?,
            (None, Some(kind)) => ThreatModel::new(kind.parse()?, None),
            (None, None) => ThreatModel::new(Kind::Absolute, None),
        };
        let radii = match &args.radius {
            None => Vec::new(),
            Some(text) => number::list("radius", text, Range::NotNegative)?,
        };
        let one = |name, text: &Option<String>| {
            text.as_ref().map(|text| number::one(name, text, Range::NotNegative)).transpose()
        };
        model.bias_radius = one("bias-radius", &args.bias_radius)?.or(model.bias_radius);
        model.input_radius = one("input-radius", &args.input_radius)?.unwrap_or(model.input_radius);
        let activation = one("activation-radius", &args.activation_radius)?;
        model.activation_radius = activation.unwrap_or(model.activation_radius);
        if let Some(layers) = &args.layers {
            model.layers = Some(layers.split(',').map(|name| name.trim().to_owned()).collect());
        }
        Ok(ThreatConfig { model, radii, file })
    }

    /// The sets of `network` at every radius; inputs stay within `input_range`.
    pub fn sets(&self, network: &Network, input_range: Option<(f64, f64)>) -> Result<Vec<SetAt>, Failure> {
        let own = self.model.kind.has_own_radius().then_some(1.0);
        let radii: Vec<Option<f64>> = match self.radii.as_slice() {
            [] => vec![self.model.radius.or(own)],
            radii => radii.iter().copied().map(Some).collect(),
        };
        let at = |radius: Option<f64>| Ok(SetAt { radius, set: self.resolve(radius, network, input_range)? });
        radii.into_iter().map(at).collect()
    }

    /// The set at radius 1, which a search scales. Radii of single layers keep their ratio to the radius of the file.
    pub fn unit_set(
        &self,
        network: &Network,
        input_range: Option<(f64, f64)>,
    ) -> Result<PerturbationSet, Failure> {
        let radius = self.model.radius.filter(|r| *r > 0.0).unwrap_or(1.0);
        let set = self.resolve(Some(radius), network, input_range)?;
        Ok(if radius == 1.0 { set } else { set.scaled(1.0 / radius) })
    }

    fn resolve(
        &self,
        radius: Option<f64>,
        network: &Network,
        input_range: Option<(f64, f64)>,
    ) -> Result<PerturbationSet, Failure> {
        let model = ThreatModel { radius, ..self.model.clone() };
        let set = model.resolve(network).map_err(|error| match &self.file {
            None => Failure::from(error),
            Some(file) => Failure::from(error).within(file),
        })?;
        Ok(PerturbationSet { input_range, ..set })
    }
}

/// Kinds have no dots and no slashes.
fn is_file_name(text: &str) -> bool {
    text.ends_with(".toml") || text.contains('/') || Path::new(text).is_file()
}

fn read(path: &Path) -> Result<ThreatModel, Failure> {
    let bytes = fs::metadata(path).map_err(Failure::io(path))?.len();
    if bytes > MOST_BYTES {
        let message = format!("{}: expected at most {MOST_BYTES} bytes, found {bytes}", path.display());
        return Err(Failure::new(message));
    }
    let text = fs::read_to_string(path).map_err(Failure::io(path))?;
    toml::from_str(&text).map_err(|error| {
        // The first line says where, the last what.
        let lines: Vec<String> = error.to_string().lines().map(|l| l.trim().to_owned()).collect();
        let first = lines.first().cloned().unwrap_or_default();
        let what = lines.last().filter(|_| lines.len() > 1).map_or_else(String::new, |l| format!(": {l}"));
        Failure::new(format!("{}: {first}{what}", path.display()))
    })
}
