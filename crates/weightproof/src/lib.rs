//! Proofs of what a neural network still does when its **weights** change.
//!
//! ```text
//! f(x) = p^L,   pᵏ = Wᵏ zᵏ⁻¹ + bᵏ,   zᵏ = ρ(pᵏ),   z⁰ = x                     Wᵏ: (n_k, n_{k−1})
//! certified  ⇔  min over |Ŵ − W| ≤ E of f̂_y(x) − f̂_j(x) > 0 for every class j ≠ y
//! ```
//!
//! A [`Network`](network::Network) and a [`ThreatModel`](threat::ThreatModel) give a
//! [`PerturbationSet`](threat::PerturbationSet); a [bound method](bounds::METHODS) gives lower bounds of the margins over it,
//! [`Certifier`](certify::Certifier) turns them into verdicts, [`Attacker`](attack::Attacker) looks for perturbations that break
//! the property, and [`RadiusSearch`](radius::RadiusSearch) finds the largest radius of each kind.
//!
//! ```
//! use weightproof::certify::{Certifier, CertifyOptions};
//! use weightproof::kernels::Matrix;
//! use weightproof::network::{Activation, NetworkBuilder};
//! use weightproof::property::Property;
//! use weightproof::threat::{Kind, ThreatModel};
//! use weightproof::verdict::{Samples, Verdict};
//!
//! // f(x) = (relu(x), 0): class 0 wins for x = 1 until a weight moves by a half.
//! let mut builder = NetworkBuilder::new(vec![1]);
//! let p = builder.dense("first", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new())?;
//! let z = builder.activation("relu", p, Activation::Relu)?;
//! builder.dense("second", z, Matrix::from_vec(2, 1, vec![1.0, 0.0]), Vec::new())?;
//! let network = builder.finish()?;
//!
//! let unit = ThreatModel::new(Kind::Absolute, 1.0).resolve(&network)?;
//! let options = CertifyOptions::new("linear", Property::Label);
//! let certifier = Certifier::new(&network, &[unit.scaled(0.3), unit.scaled(0.6)], options)?;
//! let found = certifier.certify(Samples { first: 0, inputs: &[1.0], labels: Some(&[0]) });
//! // (1 − r)(1 − r) − (1 − r) r is the worst margin for r ≤ 1/2.
//! assert_eq!(found[0][0].verdict, Verdict::Verified);
//! assert!((found[0][0].margin_lower - 0.7 * 0.4).abs() < 1e-6);
//! assert_eq!(found[1][0].verdict, Verdict::Unknown);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod attack;
pub mod bounds;
pub mod certify;
pub mod exact;
mod gathered;
pub mod memory;
pub mod model;
pub mod network;
pub mod property;
pub mod radius;
pub mod stop;
pub mod threat;
pub mod verdict;

pub use weightproof_kernels as kernels;
