//! The threat model of a run: from flags, or from a TOML file that flags change.

pub use weightproof_run::threat::*;

use crate::args::ThreatArgs;
use crate::error::Failure;
use std::path::{Path, PathBuf};
use weightproof::threat::{Kind, ThreatModel};
use weightproof_run::number::{self, Range};

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

/// The kind that was meant, where another way to write it is known: `bf16`, `int8-per-channel`, `Format:FP16`, `row_ball`.
pub fn suggestion(found: &str) -> Option<Kind> {
    let found = found.trim().to_lowercase();
    let words = found.replace('_', "-");
    // After the bits of an integer come settings.
    let settings = words.replacen('-', ":", 1);
    let float = words.replace("bfloat", "bf").replace("float", "fp");
    let forms = [format!("format:{words}"), format!("format:{float}"), settings, float, words];
    forms.into_iter().find_map(|form| form.parse().ok())
}

/// Kinds have no dots and no slashes.
fn is_file_name(text: &str) -> bool {
    text.ends_with(".toml") || text.contains('/') || Path::new(text).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_ways_to_write_a_kind_are_understood() {
        for (found, meant) in [
            ("bf16", "format:bf16"),
            ("FP16", "format:fp16"),
            ("bfloat16", "format:bf16"),
            ("float16", "format:fp16"),
            ("int8-per-channel", "int8:per-channel"),
            ("int4_per_channel", "int4:per-channel"),
            ("Relative", "relative"),
            ("row_ball", "row-ball"),
        ] {
            assert_eq!(suggestion(found).map(|kind| kind.to_string()).as_deref(), Some(meant), "{found}");
        }
        assert_eq!(suggestion("spherical"), None);
    }
}
