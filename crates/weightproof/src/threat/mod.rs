//! Threat models: what may happen to the parameters, the input and the activations (theory.md §2, §9).
//!
//! Users write a [`ThreatModel`]; [`ThreatModel::resolve`] turns it into the [`PerturbationSet`] of one network, which
//! is what bounds and attacks work with. One file per kind of set computes its radii.

mod absolute;
mod contains;
mod format;
mod frobenius;
mod integer;
mod kind;
mod lsb;
mod model;
pub(crate) mod outward;
mod per_channel;
mod perturbation;
mod relative;
mod row_ball;
mod sample;
mod set;
mod weights;

pub use contains::Violation;
pub use format::{Inference, NumberFormat, Rounding};
pub use integer::{BiasGrid, Clip, Divisor, Granularity, Quantizer, Rule};
pub(crate) use integer::{Integers, extremes};
pub use kind::Kind;
pub use model::{LayerOverride, RadiusValue, ThreatError, ThreatModel};
pub use perturbation::{ActivationOffsets, LayerPerturbation, Perturbation};
pub use sample::Distribution;
pub(crate) use sample::standard_normal;
pub use set::{LayerSet, PerturbationSet, SumRounding};
pub use weights::WeightSet;
