//! Readers of networks: ONNX, and safetensors with an architecture in TOML.

use thiserror::Error;

/// Placeholder while the reader is being written.
#[derive(Debug, Error)]
#[error("not implemented")]
pub struct OnnxError;

/// Placeholder while the reader is being written.
#[derive(Debug, Error)]
#[error("not implemented")]
pub struct SafetensorsError;

impl OnnxError {
    /// How to fix it.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

impl SafetensorsError {
    /// How to fix it.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
