//! What theory and measurement say about how a network generalizes, as it is and when its weights move.
//!
//! ```text
//! Network, samples, perturbation set → Context → MEASURES: one number each, or why there is none
//! ```
//! One file for each measure, with its formula and source; [`MEASURES`] lists them with what they need and what they are worth.
//! Proofs (`rigorous`): [`rademacher`], the bound over a whole perturbation set; [`held_out`], the bound that samples give
//! which training has not seen; the certified side of [`sharpness`]. Everything else is measured (`estimate`) and is meant for
//! comparing networks.
//!
//! ```
//! use weightproof::kernels::Matrix;
//! use weightproof::network::{Activation, NetworkBuilder};
//! use weightproof::threat::{Kind, ThreatModel};
//! use weightproof::verdict::Samples;
//! use weightproof_measure::{Context, MEASURES, take};
//!
//! let mut builder = NetworkBuilder::new(vec![1]);
//! let p = builder.dense("first", 0, Matrix::from_vec(1, 1, vec![3.0]), Vec::new())?;
//! let z = builder.activation("relu", p, Activation::Relu)?;
//! builder.dense("second", z, Matrix::from_vec(2, 1, vec![2.0, 0.0]), Vec::new())?;
//! let network = builder.finish()?;
//! let set = ThreatModel::new(Kind::Absolute, 0.1).resolve(&network)?;
//! let samples = Samples { first: 0, inputs: &[1.0, 0.5], labels: Some(&[0, 0]) };
//! let context = Context::new(&network, samples, &set, "linear")?;
//! let path_norm = MEASURES.iter().find(|m| m.name == "path-norm-l1").unwrap();
//! assert_eq!(take(path_norm, &context), Ok(6.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod capacity;
pub mod compression;
pub mod context;
pub mod cross_entropy;
pub mod distance;
pub mod ensemble;
pub mod error;
pub mod fisher_rao;
pub mod frobenius;
pub mod held_out;
pub mod margins;
pub mod measures;
pub mod norms;
pub mod pac_bayes;
pub mod parameters;
pub mod path_norm;
pub mod rademacher;
pub mod rademacher_measures;
pub mod rounding;
pub mod sharpness;
pub mod spectral;
pub mod spectral_margin;
pub mod utilization;

pub use context::{Context, Effort};
pub use error::Refusal;
pub use measures::{Direction, MEASURES, Measure, Needs, Parts, take};
pub use rademacher::RademacherBound;
