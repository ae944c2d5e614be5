//! Results of `train`.

use super::{ReadError, parse};
use crate::{DataReport, EpochReport, ModelReport};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A training run.
#[derive(Clone, Debug)]
pub struct TrainFile {
    /// Name of the file.
    pub file: String,
    /// The trained network.
    pub model: ModelReport,
    /// What it was trained on.
    pub data: DataReport,
    /// The bound method of the certified accuracy.
    pub validation_method: String,
    /// The random weights that the certified accuracy is against, where it is not against a radius.
    pub validation_noise: Option<String>,
    /// What the certified accuracy is worth.
    pub guarantee: String,
    /// Settings, as they were written.
    pub config: Value,
    /// One for each epoch.
    pub history: Vec<EpochReport>,
    /// Time, memory and host, as they were written.
    pub environment: Map<String, Value>,
}

pub(super) fn read(file: &str, bytes: &[u8]) -> Result<TrainFile, ReadError> {
    #[derive(Deserialize)]
    struct Raw {
        model: ModelReport,
        data: DataReport,
        validation_method: String,
        #[serde(default)]
        validation_noise: Option<String>,
        guarantee: String,
        #[serde(default)]
        config: Value,
        history: Vec<EpochReport>,
        #[serde(default)]
        environment: Map<String, Value>,
    }
    let Raw { model, data, validation_method, validation_noise, guarantee, config, history, environment } =
        parse(file, bytes)?;
    Ok(TrainFile {
        file: file.into(),
        model,
        data,
        validation_method,
        validation_noise,
        guarantee,
        config,
        history,
        environment,
    })
}
