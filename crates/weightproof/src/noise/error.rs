//! Why random weights are refused.

use super::model::NoiseKind;
use thiserror::Error;

/// Why a noise model does not apply.
#[derive(Debug, Error, PartialEq)]
pub enum NoiseError {
    /// The kind is not one we know.
    #[error("noise: expected one of {}, found {found}", NoiseKind::FORMS)]
    UnknownKind {
        /// What was written.
        found: String,
    },
    /// The kind needs a number and there is none.
    #[error("noise {kind}: expected a number ({}), as in {kind}:0.01, found none", kind.unit())]
    MissingSigma {
        /// The kind.
        kind: NoiseKind,
    },
    /// The kind has no number.
    #[error("noise {kind}: expected no number, found {found}")]
    UnwantedSigma {
        /// The kind.
        kind: NoiseKind,
        /// What was written.
        found: f64,
    },
    /// A number is no number ≥ 0.
    #[error("noise: expected a finite number of at least 0, found {found}")]
    BadSigma {
        /// What was written.
        found: String,
    },
    /// A number of a table is out of its range.
    #[error("noise: {key} ({unit}): expected {expected}, found {found}")]
    Key {
        /// The key, with its table.
        key: &'static str,
        /// The unit of the number.
        unit: &'static str,
        /// What it must be.
        expected: String,
        /// What was written.
        found: String,
    },
    /// A table does not belong to the kind.
    #[error("noise {kind}: expected {expected}")]
    Table {
        /// The kind.
        kind: NoiseKind,
        /// What belongs to it.
        expected: &'static str,
    },
    /// Weights change in time, and no time was given.
    #[error("noise {kind}: expected a time, for weights change with it, found none")]
    MissingTime {
        /// The kind.
        kind: NoiseKind,
    },
    /// A time was given, and weights do not change with it.
    #[error("time: expected noise with [drift], or of the kind pcm, found {kind} alone")]
    UnwantedTime {
        /// The kind.
        kind: NoiseKind,
    },
    /// No time.
    #[error("time: expected a finite number of seconds of at least 0, found {found}")]
    BadTime {
        /// What was asked for.
        found: f64,
    },
    /// Weights move beside drift.
    #[error(
        "noise: expected no other change of weights beside drift, found one: it is not said whether it drifts"
    )]
    SetBesideDrift,
    /// Variances or means are larger than any number.
    #[error("noise: layer {layer}: expected noise within the range of numbers, found more")]
    NotFinite {
        /// Name of the layer.
        layer: String,
    },
    /// The network is not the one that the noise is about.
    #[error("noise: expected the network whose weights are the means of the random ones, found another one")]
    NotAtMean,
    /// A property of the network as it was programmed.
    #[error("property: expected label where the means of weights change with time, found another one")]
    PropertyOfMeans,
    /// A layer name does not exist.
    #[error("noise: layer {found}: expected one of {}", known.join(", "))]
    UnknownLayer {
        /// What was written.
        found: String,
        /// The layers with parameters.
        known: Vec<String>,
    },
    /// Two layers have the same weights.
    #[error(
        "noise: the layers {first} and {second} have the same weights: cells that two layers share are not independent, which the \
         proof needs"
    )]
    Shared {
        /// One of them.
        first: String,
        /// The other one.
        second: String,
    },
    /// A parameter does not fit into the format.
    #[error("noise: layer {layer}: a parameter of {found} exceeds the largest number of {format}, {limit}")]
    OutOfRange {
        /// Name of the layer.
        layer: String,
        /// Name of the format.
        format: &'static str,
        /// Its largest number.
        limit: f64,
        /// The parameter.
        found: f64,
    },
    /// The noise has no size.
    #[error(
        "noise: stochastic rounding has a fixed step, and drift and devices have their errors: there is no largest deviation to search"
    )]
    FixedStep,
    /// The input moves, too.
    #[error(
        "noise: expected an input that does not move, found an input radius of {found}: the guarantee is for inputs that are chosen \
         before the draw"
    )]
    InputRadius {
        /// The radius.
        found: f64,
    },
    /// A method has no form for random weights.
    #[error("noise: expected the method interval, linear or optimized, found {found}")]
    Method {
        /// The method.
        found: String,
    },
    /// No probability.
    #[error("failure probability: expected a number from 1e-280 to below 1, found {found}")]
    Probability {
        /// What was asked for.
        found: f64,
    },
}
