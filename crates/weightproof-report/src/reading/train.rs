//! Results of `train`.

use super::run::Data;
use super::{Model, ReadError, parse};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A training run.
#[derive(Clone, Debug)]
pub struct TrainFile {
    /// Name of the file.
    pub file: String,
    /// The trained network.
    pub model: Model,
    /// What it was trained on.
    pub data: Data,
    /// The bound method of the certified accuracy.
    pub validation_method: String,
    /// The random weights that the certified accuracy is against, where it is not against a radius.
    pub validation_noise: Option<String>,
    /// What the certified accuracy is worth.
    pub guarantee: String,
    /// Settings, as they were written.
    pub config: Value,
    /// One for each epoch.
    pub history: Vec<Epoch>,
    /// Time, memory and host, as they were written.
    pub environment: Map<String, Value>,
}

/// One epoch.
#[derive(Clone, Debug, Deserialize)]
pub struct Epoch {
    /// Number, from 1.
    pub epoch: usize,
    /// Learning rate at its end.
    pub learning_rate: f64,
    /// Radius of the weights at its end.
    pub radius: f64,
    /// Mean loss; `None` when it was not a number.
    pub loss: Option<f64>,
    /// Terms of the loss, without their weights.
    #[serde(default)]
    pub terms: BTreeMap<String, Option<f64>>,
    /// On its samples.
    pub train_accuracy: f64,
    /// On the held-out samples.
    pub validation_accuracy: Option<f64>,
    /// Proved on the held-out samples.
    pub validation_certified: Option<f64>,
    /// Largest magnitude of a weight.
    pub largest_weight: Option<f64>,
}

pub(super) fn read(file: &str, bytes: &[u8]) -> Result<TrainFile, ReadError> {
    #[derive(Deserialize)]
    struct Raw {
        model: Model,
        data: Data,
        validation_method: String,
        #[serde(default)]
        validation_noise: Option<String>,
        guarantee: String,
        #[serde(default)]
        config: Value,
        history: Vec<Epoch>,
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
