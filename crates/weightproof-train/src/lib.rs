//! Training of networks whose weights may change, and that can be proved.
//!
//! ```text
//! minimise over W    mean over (x, y) of  Σ_t weight_t · term_t (Ŵ, x̂, y)        (Ŵ, x̂): where adversaries move (W, x)
//! ```
//! Terms are [objectives](objective::OBJECTIVES), some of them built on the [bounds](bound) that the core proves with; theory.md
//! §11. Gradients come from a [tape] on the core's products, parameters and optimisers are plain numbers. What a trained network withstands is for the core
//! to say: nothing in this crate is a proof.

pub mod adversary;
pub mod architecture;
pub mod bound;
pub mod chance;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod error;
pub mod graph;
pub mod history;
pub mod objective;
pub mod optimizer;
pub mod parameters;
pub mod random;
pub mod schedule;
mod shard;
pub mod tape;
pub mod threat;
pub mod trainer;

pub use config::TrainConfig;
pub use data::Labelled;
pub use error::TrainError;
pub use history::EpochRecord;
pub use shard::CrossEntropy;
pub use trainer::{Observer, Outcome, Silent, Trainer};
