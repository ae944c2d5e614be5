//! Networks whose weights are in a safetensors file and whose layers are listed in TOML.

mod architecture;
mod images;
mod network;
mod read;
mod write;

pub use network::encode_safetensors;
pub use read::{parse_safetensors, parse_safetensors_with};
pub use write::write_safetensors;

use thiserror::Error;
use weightproof::network::NetworkError;

/// Why a network in safetensors form cannot be read or written.
#[derive(Debug, Error, PartialEq)]
pub enum SafetensorsError {
    /// The file of weights is damaged.
    #[error("not a valid safetensors file: {detail}")]
    Weights {
        /// What the decoder met.
        detail: String,
    },
    /// The architecture is not the TOML that is expected.
    #[error("not a valid architecture: {detail}")]
    Architecture {
        /// What the decoder met, with its line.
        detail: String,
    },
    /// A layer of the architecture does not fit.
    #[error("layer {layer}: expected {expected}, found {found}")]
    Layer {
        /// Name of the layer.
        layer: String,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A tensor is missing or has another type or shape.
    #[error("tensor {tensor}: expected {expected}, found {found}")]
    Tensor {
        /// Name of the tensor.
        tensor: String,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The layers do not form a network.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl SafetensorsError {
    /// Whether the problem lies in the architecture rather than in the weights.
    pub fn is_about_architecture(&self) -> bool {
        match self {
            SafetensorsError::Architecture { .. } | SafetensorsError::Layer { .. } => true,
            SafetensorsError::Network(error) => !matches!(error, NetworkError::NotFinite { .. }),
            SafetensorsError::Weights { .. } | SafetensorsError::Tensor { .. } => false,
        }
    }

    /// How to fix it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            SafetensorsError::Architecture { .. } => Some(
                "write input = [784], then one [[layer]] with a type per layer, for example type = \"dense\""
                    .into(),
            ),
            SafetensorsError::Layer { expected, .. } if expected.contains("flat") => {
                Some("put a layer of type \"flatten\" before it".into())
            }
            SafetensorsError::Tensor { expected, .. } if expected.starts_with("the shape") => Some(
                "a weight is stored as (outputs, inputs); for (inputs, outputs) write transposed = true"
                    .into(),
            ),
            SafetensorsError::Weights { .. }
            | SafetensorsError::Layer { .. }
            | SafetensorsError::Tensor { .. }
            | SafetensorsError::Network(_) => None,
        }
    }
}
