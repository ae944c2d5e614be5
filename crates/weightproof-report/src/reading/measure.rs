//! Results of `measure`.

mod check;

use super::{ReadError, parse};
use crate::measure::{
    CompressionReport, EnsembleReport, ErrorReport, MeasureRecord, MeasuresAt, UtilizationReport,
};
use crate::{DataReport, ModelReport, ShardReport, ThreatReport};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What is known about how a network generalizes. Numbers that are not finite are `None`.
#[derive(Clone, Debug, Deserialize)]
pub struct MeasureFile {
    /// Name of the file.
    #[serde(skip)]
    pub file: String,
    /// Whether measures are missing because of an interrupt.
    pub partial: bool,
    /// The network.
    pub model: ModelReport,
    /// What was measured; held out when there are training samples.
    pub data: DataReport,
    /// Which part of the samples it is about, where it is not all of them.
    #[serde(default)]
    pub shard: Option<ShardReport>,
    /// The training samples.
    pub train_data: Option<DataReport>,
    /// The perturbation sets.
    pub threat: Option<ThreatReport>,
    /// The bound method.
    pub method: String,
    /// Probability with which each bound may fail.
    pub delta: f64,
    /// Settings, as they were written.
    #[serde(default)]
    pub config: Value,
    /// Errors of the unperturbed network.
    pub errors: ErrorReport,
    /// Measures that have to do with no set.
    pub measures: Vec<MeasureRecord>,
    /// One for each set, the unperturbed network first.
    pub results: Vec<MeasuresAt>,
    /// What each layer contributes.
    pub utilization: Option<UtilizationReport>,
    /// Bias and variance of several networks.
    pub ensemble: Option<EnsembleReport>,
    /// Compression by tensor methods.
    pub compression: Option<CompressionReport>,
    /// Why there is none.
    pub compression_refusal: Option<String>,
    /// Time, memory and host, as they were written.
    #[serde(default)]
    pub environment: Map<String, Value>,
}

pub(super) fn read(file: &str, bytes: &[u8]) -> Result<MeasureFile, ReadError> {
    let mut measured: MeasureFile = parse(file, bytes)?;
    measured.file = file.into();
    check::measure(&measured)?;
    Ok(measured)
}

#[cfg(test)]
mod tests;
