//! Random weights: what a network still does with a probability (theory.md §14).
//!
//! ```text
//! NoiseModel + Network → NoiseSet → NoiseCertifier → for each sample the smallest failure probability that is proved
//!                                 → NoiseRadius    → for each sample the largest noise at one probability
//!                                 → Devices        → accuracy over drawn devices, which is measured
//! ```
//! Weights of analog cells, stochastic rounding and variation of devices move at random and independently of each other. A set that
//! holds all draws proves nothing: its radius is many deviations for every weight at once. A backward pass adds the noise of all
//! weights in variance instead.
//!
//! # Guarantee
//! A sample is certified at δ when, for every input and every perturbation of the deterministic set that is chosen before the draw, the
//! property holds with a probability of at least 1 − δ over one draw of all weights. Rigorous in floating point as all bounds are.

mod budget;
mod certify;
mod devices;
mod drift;
mod error;
mod layer;
mod model;
mod normal;
mod pcm;
mod radius;
mod set;
mod tail;

pub use certify::{NoiseCertificate, NoiseCertifier, NoiseOptions};
pub use devices::{DeviceOptions, Devices, Draws, SampleDraws, clopper_pearson, mean_interval};
pub use drift::{Compensation, Drift, DriftModel};
pub use error::NoiseError;
pub use layer::{Added, LayerNoise, Source};
pub use model::{Grid, Law, LayerNoiseModel, NoiseKind, NoiseModel, Reference};
pub use pcm::{OfConductance, Pairs, PcmModel};
pub use radius::NoiseRadius;
pub use set::{Amounts, NoiseSet};
pub use tail::Tail;
