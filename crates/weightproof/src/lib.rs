//! Proofs of what a neural network still does when its weights change.

pub mod attack;
pub mod bounds;
pub mod certify;
pub mod kernels;
pub mod model;
pub mod network;
pub mod property;
pub mod threat;
pub mod verdict;
