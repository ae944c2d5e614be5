//! Proofs of what a neural network still does when its weights change.

pub mod kernels;
pub mod network;
pub mod threat;
