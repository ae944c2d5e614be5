//! What `measure` found, as JSON has it in both directions. Numbers that are not finite are `None`.

use crate::reading::nullable;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Shares of the samples that the unperturbed network is wrong about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ErrorReport {
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeasureRecord {
    /// Name of the measure.
    pub name: Cow<'static, str>,
    /// The number; `null` without one.
    #[serde(deserialize_with = "nullable")]
    pub value: Option<f64>,
    /// What it is worth.
    pub guarantee: Cow<'static, str>,
    /// Which way it is meant to go.
    pub direction: Cow<'static, str>,
    /// What it is, as a formula.
    pub quantity: Cow<'static, str>,
    /// Where it comes from.
    pub source: Cow<'static, str>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// Numbers over one perturbation set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeasuresAt {
    /// Its radius; 0 for the unperturbed network, `null` when every layer has a radius of its own.
    #[serde(deserialize_with = "nullable")]
    pub radius: Option<f64>,
    /// Measures of the set.
    pub measures: Vec<MeasureRecord>,
    /// The Rademacher bound.
    pub rademacher: Option<RademacherReport>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

impl MeasuresAt {
    /// A measure of the set.
    pub fn measure(&self, name: &str) -> Option<&MeasureRecord> {
        self.measures.iter().find(|m| m.name == name)
    }
}

/// The Rademacher bound, term by term.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RademacherReport {
    /// Margin γ.
    #[serde(deserialize_with = "nullable")]
    pub gamma: Option<f64>,
    /// Share of samples with a certified margin of at most γ.
    pub empirical: f64,
    /// `4 K R / γ`.
    #[serde(deserialize_with = "nullable")]
    pub capacity: Option<f64>,
    /// What the probability of failure and the choice of γ and norms cost.
    #[serde(deserialize_with = "nullable")]
    pub confidence: Option<f64>,
    /// The sum; `null` when nothing is certified.
    #[serde(deserialize_with = "nullable")]
    pub bound: Option<f64>,
    /// Whether it says nothing.
    pub vacuous: bool,
    /// Rademacher complexity of the class.
    #[serde(deserialize_with = "nullable")]
    pub complexity: Option<f64>,
    /// Number of samples.
    pub samples: usize,
    /// Largest root mean square of an input over the samples.
    pub root_mean_square: Option<f64>,
    /// Layer after layer.
    pub layers: Vec<LayerCapacityReport>,
}

/// What one layer adds to the capacity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerCapacityReport {
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
    /// Row norm of the class: rounded up to the grid.
    pub class_row_norm: f64,
    /// Bias of the class.
    pub class_bias: f64,
    /// Rademacher complexity of what the layer may compute.
    #[serde(deserialize_with = "nullable")]
    pub complexity: Option<f64>,
}

/// Layers against the network before training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UtilizationReport {
    /// Layer after layer.
    pub layers: Vec<LayerUtilizationReport>,
    /// Share of the way from the start, and the error there.
    pub rewind: Vec<(f64, f64)>,
}

/// What one layer contributes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerUtilizationReport {
    /// Its name.
    pub name: String,
    /// Distance from its start.
    pub distance: f64,
    /// The same in units of the norm at the start; `null` when that is zero.
    #[serde(deserialize_with = "nullable")]
    pub relative_distance: Option<f64>,
    /// Accuracy of the nearest class mean behind the layer, training samples.
    pub probe_training: f64,
    /// The same on held-out samples.
    #[serde(deserialize_with = "nullable")]
    pub probe_held_out: Option<f64>,
    /// Error with this and all later layers set back.
    pub reset_error: f64,
}

/// Bias and variance of several networks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnsembleReport {
    /// Number of networks.
    pub members: usize,
    /// Number of samples.
    pub samples: usize,
    /// One for each set, the unperturbed networks first.
    pub results: Vec<EnsembleAt>,
}

/// Both losses over one set in two parts, at the worst parameters and inputs that were found for each network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnsembleAt {
    /// Its radius.
    #[serde(deserialize_with = "nullable")]
    pub radius: Option<f64>,
    /// Of the cross-entropy.
    pub cross_entropy: SplitReport,
    /// Of the squared distance to the unit vector of the label.
    pub squared: SplitReport,
}

/// A loss in two parts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SplitReport {
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
