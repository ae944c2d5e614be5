//! Proofs of what a neural network still does when its **weights** change.
//!
//! ```text
//! f(x) = p^L,   pᵏ = Wᵏ zᵏ⁻¹ + bᵏ,   zᵏ = ρ(pᵏ),   z⁰ = x                     Wᵏ: (n_k, n_{k−1})
//! certified  ⇔  min over |Ŵ − W| ≤ E of f̂_y(x) − f̂_j(x) > 0 for every class j ≠ y
//! ```
//!
//! A [`Network`](network::Network) and a [`ThreatModel`](threat::ThreatModel) give a
//! [`PerturbationSet`](threat::PerturbationSet). Three functions answer the questions of the command line about it:
//! [`certify`](fn@certify) proves, [`attack`](fn@attack) breaks, [`radius`](fn@radius) finds how far a set may grow until either happens.
//!
//! ```
//! use weightproof::attack::{AttackKind, AttackOptions};
//! use weightproof::certify::CertifyOptions;
//! use weightproof::kernels::Matrix;
//! use weightproof::network::{Activation, NetworkBuilder};
//! use weightproof::property::Property;
//! use weightproof::radius::RadiusOptions;
//! use weightproof::threat::{Kind, ThreatModel};
//! use weightproof::verdict::{Samples, Verdict};
//!
//! // f(x) = (max(x, 0), 0): class 0 wins for x = 1 until a weight moves by a half.
//! let mut builder = NetworkBuilder::new(vec![1]);
//! let p = builder.dense("first", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new())?;
//! let z = builder.activation("relu", p, Activation::Relu)?;
//! builder.dense("second", z, Matrix::from_vec(2, 1, vec![1.0, 0.0]), Vec::new())?;
//! let network = builder.finish()?;
//! let samples = Samples { first: 0, inputs: &[1.0], labels: Some(&[0]) };
//! let set = ThreatModel::new(Kind::Absolute, 0.3).resolve(&network)?;
//!
//! let linear = CertifyOptions::new("linear", Property::Label);
//! let proved = weightproof::certify(&network, samples, &set, linear.clone())?;
//! // (1 − r)(1 − r) − (1 − r) r is the worst margin for r ≤ 1/2.
//! assert_eq!(proved[0].verdict, Verdict::Verified);
//! // The bound holds in floating point: it is never above that, and hardly below.
//! assert!(proved[0].margin_lower <= 0.7 * 0.4 && proved[0].margin_lower > 0.7 * 0.4 - 1e-4);
//!
//! let gradient = AttackOptions::new(AttackKind::NeuronSpace, Property::Label);
//! let broken = weightproof::attack(&network, samples, &set.scaled(2.0), gradient.clone())?;
//! assert_eq!(broken[0].verdict, Verdict::Falsified);
//!
//! let unit = set.scaled(1.0 / 0.3);
//! let radius = weightproof::radius(&network, samples, &unit, RadiusOptions::new(linear, Some(gradient)))?;
//! assert!(radius[0].certified_radius > 0.49 && radius[0].attacked_radius.unwrap() < 0.51);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Behind them stand engines that are built once and used for many batches: [`Certifier`](certify::Certifier) runs a
//! [bound method](bounds::METHODS), [`ExactCertifier`](exact::ExactCertifier) proves or breaks every sample within limits,
//! [`Attacker`](attack::Attacker) searches, and [`RadiusSearch`](radius::RadiusSearch) bisects. Networks and data come from files with
//! the crate `weightproof-formats`.

pub mod attack;
pub mod bounds;
pub mod certify;
pub mod evidence;
pub mod exact;
pub mod faults;
mod gathered;
pub mod memory;
pub mod model;
pub mod network;
pub mod noise;
pub mod progress;
pub mod property;
pub mod radius;
pub mod stop;
mod tasks;
pub mod threat;
pub mod verdict;

pub use tasks::{TaskError, attack, certify, radius};
pub use weightproof_kernels as kernels;
