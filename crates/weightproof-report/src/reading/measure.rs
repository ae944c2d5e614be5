//! Results of `measure`.

mod check;

use super::run::{Data, Threat};
use super::{Model, ReadError, parse};
use serde::{Deserialize, Deserializer};
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
    pub model: Model,
    /// What was measured; held out when there are training samples.
    pub data: Data,
    /// The training samples.
    pub train_data: Option<Data>,
    /// The perturbation sets.
    pub threat: Option<Threat>,
    /// The bound method.
    pub method: String,
    /// Probability with which each bound may fail.
    pub delta: f64,
    /// Settings, as they were written.
    #[serde(default)]
    pub config: Value,
    /// Errors of the unperturbed network.
    pub errors: Errors,
    /// Measures that have to do with no set.
    pub measures: Vec<MeasureOf>,
    /// One for each set, the unperturbed network first.
    pub results: Vec<MeasuredAt>,
    /// What each layer contributes.
    pub utilization: Option<UtilizationOf>,
    /// Bias and variance of several networks.
    pub ensemble: Option<Ensemble>,
    /// Compression by tensor methods.
    pub compression: Option<Compressed>,
    /// Why there is none.
    pub compression_refusal: Option<String>,
    /// Time, memory and host, as they were written.
    #[serde(default)]
    pub environment: Map<String, Value>,
}

/// Shares of the samples that the unperturbed network is wrong about.
#[derive(Clone, Debug, Deserialize)]
pub struct Errors {
    /// Of the training samples.
    #[serde(deserialize_with = "nullable")]
    pub training: Option<f64>,
    /// Of the held-out samples.
    #[serde(deserialize_with = "nullable")]
    pub held_out: Option<f64>,
    /// Held out minus training.
    #[serde(deserialize_with = "nullable")]
    pub gap: Option<f64>,
}

/// One number about a network, or why there is none.
#[derive(Clone, Debug, Deserialize)]
pub struct MeasureOf {
    /// Its name.
    pub name: String,
    /// The number.
    #[serde(deserialize_with = "nullable")]
    pub value: Option<f64>,
    /// What it is worth.
    pub guarantee: String,
    /// Which way it is meant to go.
    pub direction: String,
    /// What it is, as a formula.
    pub quantity: String,
    /// Where it comes from.
    pub source: String,
    /// Why there is none.
    pub refusal: Option<String>,
}

/// Numbers over one perturbation set.
#[derive(Clone, Debug, Deserialize)]
pub struct MeasuredAt {
    /// Its radius; `None` when every layer has its own.
    #[serde(deserialize_with = "nullable")]
    pub radius: Option<f64>,
    /// Measures of the set.
    pub measures: Vec<MeasureOf>,
    /// The Rademacher bound.
    pub rademacher: Option<Rademacher>,
    /// Why there is none.
    pub refusal: Option<String>,
}

impl MeasuredAt {
    /// A measure of the set.
    pub fn measure(&self, name: &str) -> Option<&MeasureOf> {
        self.measures.iter().find(|m| m.name == name)
    }
}

/// The Rademacher bound, term by term.
#[derive(Clone, Debug, Deserialize)]
pub struct Rademacher {
    /// Margin γ.
    #[serde(deserialize_with = "nullable")]
    pub gamma: Option<f64>,
    /// Share of samples with a certified margin of at most γ.
    pub empirical: f64,
    /// What the size of the class costs.
    #[serde(deserialize_with = "nullable")]
    pub capacity: Option<f64>,
    /// What the probability of failure and the choices cost.
    #[serde(deserialize_with = "nullable")]
    pub confidence: Option<f64>,
    /// The sum.
    #[serde(deserialize_with = "nullable")]
    pub bound: Option<f64>,
    /// Whether it says nothing.
    pub vacuous: bool,
    /// Rademacher complexity of the class.
    #[serde(deserialize_with = "nullable")]
    pub complexity: Option<f64>,
    /// Number of samples.
    pub samples: usize,
    /// Layer after layer.
    pub layers: Vec<LayerCapacity>,
}

/// What one layer adds to the capacity.
#[derive(Clone, Debug, Deserialize)]
pub struct LayerCapacity {
    /// Its name.
    pub name: String,
    /// Largest ℓ1 norm of a row of the weights.
    pub row_norm: f64,
    /// The same for the worst weights of the set.
    pub row_norm_reached: f64,
    /// Largest magnitude of a bias.
    pub bias: f64,
    /// The same over the set.
    pub bias_reached: f64,
    /// Row norm of the class.
    pub class_row_norm: f64,
    /// Bias of the class.
    pub class_bias: f64,
    /// Rademacher complexity of what the layer may compute.
    #[serde(deserialize_with = "nullable")]
    pub complexity: Option<f64>,
}

/// Layers against the network before training.
#[derive(Clone, Debug, Deserialize)]
pub struct UtilizationOf {
    /// Layer after layer.
    pub layers: Vec<LayerUse>,
    /// Share of the way from the start, and the error there.
    pub rewind: Vec<(f64, f64)>,
}

/// What one layer contributes.
#[derive(Clone, Debug, Deserialize)]
pub struct LayerUse {
    /// Its name.
    pub name: String,
    /// Distance from its start.
    pub distance: f64,
    /// The same in units of the norm at the start.
    #[serde(deserialize_with = "nullable")]
    pub relative_distance: Option<f64>,
    /// Accuracy of a linear probe on training samples.
    pub probe_training: f64,
    /// Accuracy of the probe on held-out samples.
    #[serde(deserialize_with = "nullable")]
    pub probe_held_out: Option<f64>,
    /// Error with this and all later layers set back.
    pub reset_error: f64,
}

/// Bias and variance of several networks.
#[derive(Clone, Debug, Deserialize)]
pub struct Ensemble {
    /// Number of networks.
    pub members: usize,
    /// Number of samples.
    pub samples: usize,
    /// One for each set.
    pub results: Vec<EnsembleOver>,
}

/// Bias and variance over one set.
#[derive(Clone, Debug, Deserialize)]
pub struct EnsembleOver {
    /// Its radius.
    #[serde(deserialize_with = "nullable")]
    pub radius: Option<f64>,
    /// Of the cross-entropy.
    pub cross_entropy: Parts,
    /// Of the squared loss.
    pub squared: Parts,
}

/// A loss in two parts.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Parts {
    /// The sum.
    #[serde(deserialize_with = "nullable")]
    pub loss: Option<f64>,
    /// What all networks get wrong.
    #[serde(deserialize_with = "nullable")]
    pub bias: Option<f64>,
    /// How much they differ.
    #[serde(deserialize_with = "nullable")]
    pub variance: Option<f64>,
}

/// Compression by tensor methods.
#[derive(Clone, Debug, Deserialize)]
pub struct Compressed {
    /// How far margins may move; `None` when ranks are a share of the components.
    #[serde(deserialize_with = "nullable")]
    pub gamma: Option<f64>,
    /// Capacity of the compressed network.
    #[serde(deserialize_with = "nullable")]
    pub capacity: Option<f64>,
    /// Layer after layer.
    pub layers: Vec<CompressedLayer>,
    /// Errors with fewer components.
    pub shares: Vec<ErrorAtShare>,
    /// The network that was written.
    pub truncation: Option<Truncation>,
}

/// One layer as a sum of components.
#[derive(Clone, Debug, Deserialize)]
pub struct CompressedLayer {
    /// Its name.
    pub name: String,
    /// Number of components.
    pub components: usize,
    /// Components that are kept; `None` for a layer that stays as it is.
    pub rank: Option<usize>,
    /// Bound of the norm of the layer.
    #[serde(deserialize_with = "nullable")]
    pub tensorization_factor: Option<f64>,
    /// Bound of the norm of what is cut off.
    #[serde(deserialize_with = "nullable")]
    pub noise_bound: Option<f64>,
    /// Least ratio of the norms of a sample behind and before the layer.
    #[serde(deserialize_with = "nullable")]
    pub cushion: Option<f64>,
}

/// The network with a share of the components.
#[derive(Clone, Debug, Deserialize)]
pub struct ErrorAtShare {
    /// The share.
    pub share: f64,
    /// Its error on the samples.
    #[serde(deserialize_with = "nullable")]
    pub error: Option<f64>,
}

/// A truncated network that was written.
#[derive(Clone, Debug, Deserialize)]
pub struct Truncation {
    /// The file.
    pub path: String,
    /// Error on the samples.
    #[serde(deserialize_with = "nullable")]
    pub error: Option<f64>,
    /// No margin of the samples moves by more.
    #[serde(deserialize_with = "nullable")]
    pub moved_most: Option<f64>,
    /// How far a margin was seen to move.
    #[serde(deserialize_with = "nullable")]
    pub moved_seen: Option<f64>,
    /// No output of any sample moves by more, over the whole set.
    #[serde(deserialize_with = "nullable")]
    pub certified_deviation: Option<f64>,
    /// The same for the median sample.
    #[serde(deserialize_with = "nullable")]
    pub certified_deviation_median: Option<f64>,
    /// What these two are worth; files of former versions do not say it.
    #[serde(default = "uncharged")]
    pub certified_guarantee: String,
}

fn uncharged() -> String {
    "real-arithmetic".into()
}

/// A number or `null`; that it is missing is an error.
fn nullable<'de, D: Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    Option::deserialize(source)
}

pub(super) fn read(file: &str, bytes: &[u8]) -> Result<MeasureFile, ReadError> {
    let mut measured: MeasureFile = parse(file, bytes)?;
    measured.file = file.into();
    check::measure(&measured)?;
    Ok(measured)
}

#[cfg(test)]
mod tests;
