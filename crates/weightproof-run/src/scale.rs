//! The factor that data are multiplied by: as the settings say, else what fits data, normalization and network.
//!
//! Bytes are multiplied by 1/255, unless something says that the network reads bytes as they are. A result by the wrong unit is a
//! false one, so every report says the factor and why, and what may be either is an error.

use crate::RunError;
use crate::config::DataConfig;
use weightproof::network::{Layer, Network};
use weightproof_formats::data::Scale;
use weightproof_report::ScaleReport;

/// Numbers above this belong to data in the unit of bytes, or factors below one over it; up to 1 they belong to data from 0 to 1.
const BYTE_UNIT: f64 = 16.0;

/// The factor of a run, and why it is that one.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenScale {
    /// The factor.
    pub scale: Scale,
    /// Why.
    pub reason: String,
    /// Whether the data are bytes.
    pub bytes: bool,
}

impl ChosenScale {
    /// The block of a report; none when nothing is done to data that are no bytes.
    pub fn report(&self) -> Option<ScaleReport> {
        let ChosenScale { scale, reason, bytes } = self;
        (*bytes || *scale != Scale::ONE).then(|| ScaleReport {
            factor: scale.to_string(),
            bytes: *bytes,
            reason: reason.clone(),
        })
    }

    /// The range of bytes after scaling.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.bytes.then(|| (0.0, self.scale.of(255.0)))
    }
}

/// The factor for data of these settings; `bytes`: their numbers are unsigned bytes. `largest` tells the largest of the first samples,
/// and is asked for bytes only. Without a network, the data decide alone.
///
/// # Errors
/// Bytes of which nothing tells the unit: all of them 0 or 1, or a mean or standard deviation of neither unit.
pub fn choose(
    config: &DataConfig,
    bytes: bool,
    network: Option<&Network>,
    largest: impl FnOnce() -> Result<Option<f64>, RunError>,
) -> Result<ChosenScale, RunError> {
    let chosen = |scale, reason: &str| Ok(ChosenScale { scale, reason: reason.into(), bytes });
    if let Some(scale) = config.scale {
        return chosen(scale, "--scale");
    }
    if !bytes {
        return chosen(Scale::ONE, "no bytes");
    }
    if let Some((node, factor)) = network.and_then(reads_bytes) {
        let reason =
            format!("the network rescales bytes itself: {node} multiplies by {factor:.6}; --scale overrides");
        return chosen(Scale::ONE, &reason);
    }
    let numbers = config.mean.iter().chain(&config.std).flatten();
    let most = numbers.fold(0.0, |most: f64, v| most.max(v.abs()));
    if most > BYTE_UNIT {
        return chosen(Scale::ONE, "mean and std are in the unit of bytes; --scale overrides");
    }
    if most > 1.0 {
        let expected = "a number, because mean or std fit neither data from 0 to 1 nor bytes";
        return Err(RunError::setting("scale", expected, "none"));
    }
    if largest()?.is_some_and(|largest| largest <= 1.0) {
        let expected = "a number, because no byte of the first samples is larger than 1";
        return Err(RunError::setting("scale", expected, "none"));
    }
    chosen(Scale::BYTES, "default; --scale changes it")
}

/// An affine map of the input: the largest factor of an element, and the largest number that is subtracted from it before.
#[derive(Clone, Copy)]
struct InputMap {
    factor: f64,
    mean: f64,
}

/// Whether `network` normalizes its input as if it were bytes: the node that does, and its factor.
pub fn reads_bytes(network: &Network) -> Option<(String, f64)> {
    let mut maps: Vec<Option<InputMap>> = Vec::new();
    for node in network.nodes() {
        let before = node.inputs.first().and_then(|&input| maps[input]);
        let map = match &node.layer {
            Layer::Input => Some(InputMap { factor: 1.0, mean: 0.0 }),
            Layer::Reshape | Layer::Gather(_) if node.inputs.len() == 1 => before,
            Layer::Scale(scale) => before.map(|before| {
                let most = |all: &[f64]| all.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
                let factor = before.factor * most(&scale.scale);
                let mean = if factor > 0.0 { most(&scale.shift) / factor } else { 0.0 };
                InputMap { factor, mean: before.mean.max(mean) }
            }),
            Layer::Reshape
            | Layer::Gather(_)
            | Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply => None,
        };
        if let Some(map) = map
            && map.factor > 0.0
            && (map.factor < 1.0 / BYTE_UNIT || map.mean > BYTE_UNIT)
        {
            return Some((node.name.clone(), map.factor));
        }
        maps.push(map);
    }
    None
}
