//! The threat model of a run: from flags, or from a TOML file that flags change.

pub use weightproof_run::threat::*;

use crate::args::ThreatArgs;
use crate::error::Failure;
use crate::number::{self, Range};
use std::path::{Path, PathBuf};
use weightproof::threat::{Kind, ThreatModel};

/// Reads flags and the file.
pub fn config(args: &ThreatArgs) -> Result<ThreatConfig, Failure> {
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
    Ok(ThreatConfig::new(model, radii, file).scale_radius(args.scale_radius))
}

/// Kinds have no dots and no slashes.
fn is_file_name(text: &str) -> bool {
    text.ends_with(".toml") || text.contains('/') || Path::new(text).is_file()
}
