//! Checkpoints: everything that a run needs to go on, in one safetensors file.
//!
//! Arrays `parameter.N`, `first.N` and `second.N` hold the parameters and the optimiser's moments in the order of
//! [`Parameters`]; the metadata hold the position, the history and the settings. A file is written beside the old one and then
//! renamed, so a crash or a full disk leaves the old one.

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::history::{EpochRecord, Sums};
use crate::parameters::Parameters;
use crate::trainer::Trainer;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use weightproof_formats::network::write_safetensors;

/// The part of a checkpoint that is text.
#[derive(Serialize, Deserialize)]
struct Position {
    epoch: usize,
    batch: usize,
    steps: u64,
    sums: Sums,
    history: Vec<EpochRecord>,
    data: Option<String>,
}

const POSITION: &str = "weightproof.position";
const CONFIG: &str = "weightproof.config";

/// Writes the state of `trainer`.
///
/// # Errors
/// When the file cannot be written; an old file of that name is then as it was.
pub fn save(trainer: &Trainer, path: &Path) -> Result<(), TrainError> {
    let state = &trainer.state;
    let named = |kind: &'static str, of: &Parameters| {
        let arrays = of.arrays.clone().into_iter().enumerate();
        arrays
            .map(|(k, array)| {
                let numbers: Vec<f64> = array.iter().map(|&n| f64::from(n)).collect();
                (format!("{kind}.{k}"), vec![numbers.len()], numbers)
            })
            .collect::<Vec<_>>()
    };
    let tensors = [
        named("parameter", &state.parameters),
        named("first", &state.optimizer.first),
        named("second", &state.optimizer.second),
    ]
    .concat();
    let position = Position {
        epoch: state.epoch,
        batch: state.batch,
        steps: state.optimizer.steps,
        sums: state.sums.clone(),
        history: state.history.clone(),
        data: state.data.clone(),
    };
    let position = serde_json::to_string(&position).map_err(|e| damaged(path, e.to_string()))?;
    let config = toml::to_string(trainer.config()).map_err(|e| damaged(path, e.to_string()))?;
    let metadata = [(POSITION.into(), position), (CONFIG.into(), config)];
    let beside = path.with_extension("safetensors.part");
    let written = write_safetensors(&beside, &tensors, &metadata)
        .map_err(|error| std::io::Error::other(error.to_string()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // What was written of it is of no use; that it cannot be removed either is no news.
        let _ = fs::remove_file(&beside);
        TrainError::Io { path: path.into(), source }
    })
}

/// Puts `trainer` where the checkpoint was written.
///
/// # Errors
/// When the file is damaged, or belongs to a run with other settings.
pub fn load(trainer: &mut Trainer, path: &Path) -> Result<(), TrainError> {
    let bytes = fs::read(path).map_err(|source| TrainError::Io { path: path.into(), source })?;
    let bad = |detail: String| damaged(path, detail);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    let text =
        |key: &str| metadata.get(key).ok_or_else(|| bad(format!("expected metadata {key}, found none")));
    let config = TrainConfig::parse(text(CONFIG)?).map_err(|e| bad(e.to_string()))?;
    let comparable = TrainConfig { epochs: trainer.config().epochs, ..config };
    if let Some(key) = difference(&comparable, trainer.config()) {
        return Err(bad(format!("expected a checkpoint of these settings, found another {key}")));
    }
    let position: Position = serde_json::from_str(text(POSITION)?).map_err(|e| bad(e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
    let read = |kind: &str, shape: &Parameters| -> Result<Parameters, TrainError> {
        let arrays = shape.arrays.iter().enumerate().map(|(k, array)| {
            let name = format!("{kind}.{k}");
            let tensor = tensors.tensor(&name).map_err(|e| bad(format!("{name}: {e}")))?;
            if tensor.dtype() != safetensors::Dtype::F64 || tensor.shape() != [array.len()] {
                let (dtype, shape) = (tensor.dtype(), tensor.shape());
                return Err(bad(format!(
                    "{name}: expected F64 [{}], found {dtype:?} {shape:?}",
                    array.len()
                )));
            }
            let numbers = tensor.data().chunks_exact(8).map(|b| {
                let b: [u8; 8] = b.try_into().expect("chunks of eight");
                f64::from_le_bytes(b) as f32
            });
            Ok(numbers.collect())
        });
        Ok(Parameters { arrays: arrays.collect::<Result<_, _>>()? })
    };
    let state = &mut trainer.state;
    let parameters = read("parameter", &state.parameters)?;
    let (first, second) = (read("first", &parameters)?, read("second", &parameters)?);
    state.parameters = parameters;
    (state.optimizer.first, state.optimizer.second) = (first, second);
    state.optimizer.steps = position.steps;
    (state.epoch, state.batch) = (position.epoch, position.batch);
    (state.sums, state.history, state.data) = (position.sums, position.history, position.data);
    Ok(())
}

/// The first key in which two settings differ.
fn difference(a: &TrainConfig, b: &TrainConfig) -> Option<String> {
    let table = |config| toml::Value::try_from(config).ok()?.as_table().cloned();
    let (a, b): (toml::Table, toml::Table) = (table(a)?, table(b)?);
    let keys = a.keys().chain(b.keys());
    keys.into_iter().find(|key| a.get(*key) != b.get(*key)).cloned()
}

fn damaged(path: &Path, detail: String) -> TrainError {
    TrainError::Checkpoint { path: path.into(), detail }
}
