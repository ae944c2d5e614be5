//! Readers of networks and data sets: ONNX, safetensors, IDX, CIFAR, NPY, NPZ, CSV; networks are written too.
//!
//! Every byte that is read here comes from outside and is treated as hostile: a reader returns an error that names
//! the file and the node, tensor or row; it never panics and never allocates more than the file can justify.

pub mod archive;
pub mod data;
pub mod error;
pub mod fingerprint;
pub mod network;
pub mod tensors;

pub use error::{DataError, FormatError};

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
