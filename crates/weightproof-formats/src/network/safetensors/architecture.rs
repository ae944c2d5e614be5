//! The architecture file.
//!
//! ```toml
//! input = [1, 28, 28]
//!
//! [[layer]]
//! type = "scale"          # scale · x + shift; numbers, or one per channel (first dimension), or one per element
//! scale = 3.25
//! shift = -0.42
//!
//! [[layer]]
//! type = "flatten"
//!
//! [[layer]]
//! type = "dense"
//! name = "fc1"            # any layer may have a name
//! weight = "fc1.weight"   # (outputs, inputs)
//! bias = "fc1.bias"       # optional
//! transposed = false      # true: the weight is stored as (inputs, outputs)
//!
//! [[layer]]
//! type = "relu"           # or leaky-relu (slope), sigmoid, tanh, softplus, gelu, gelu-tanh
//!
//! [[layer]]
//! type = "reshape"
//! shape = [2, 5]
//! ```

use super::SafetensorsError;
use serde::Deserialize;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Shape of one sample.
    pub input: Vec<usize>,
    pub layer: Vec<LayerSpec>,
}

/// One layer; variants have braces so that unknown keys are refused in all of them.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum LayerSpec {
    Dense {
        name: Option<String>,
        weight: String,
        bias: Option<String>,
        #[serde(default)]
        transposed: bool,
    },
    Scale {
        name: Option<String>,
        scale: Option<Numbers>,
        shift: Option<Numbers>,
    },
    Flatten {
        name: Option<String>,
    },
    Reshape {
        name: Option<String>,
        shape: Vec<usize>,
    },
    Relu {
        name: Option<String>,
    },
    LeakyRelu {
        name: Option<String>,
        slope: f64,
    },
    Sigmoid {
        name: Option<String>,
    },
    Tanh {
        name: Option<String>,
    },
    Softplus {
        name: Option<String>,
    },
    Gelu {
        name: Option<String>,
    },
    GeluTanh {
        name: Option<String>,
    },
}

/// One number for all elements, or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Numbers {
    One(f64),
    Many(Vec<f64>),
}

impl Architecture {
    /// Reads the TOML text.
    ///
    /// # Errors
    /// With the line of what is wrong.
    pub fn parse(text: &str) -> Result<Self, SafetensorsError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text.as_bytes()[..span.start.min(text.len())].iter());
            let line = line.map(|before| 1 + before.filter(|&&b| b == b'\n').count());
            let place = line.map_or(String::new(), |line| format!("line {line}: "));
            let message: String =
                error.message().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            SafetensorsError::Architecture { detail: format!("{place}{message}") }
        })
    }
}

impl LayerSpec {
    /// The value of `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            LayerSpec::Dense { .. } => "dense",
            LayerSpec::Scale { .. } => "scale",
            LayerSpec::Flatten { .. } => "flatten",
            LayerSpec::Reshape { .. } => "reshape",
            LayerSpec::Relu { .. } => "relu",
            LayerSpec::LeakyRelu { .. } => "leaky-relu",
            LayerSpec::Sigmoid { .. } => "sigmoid",
            LayerSpec::Tanh { .. } => "tanh",
            LayerSpec::Softplus { .. } => "softplus",
            LayerSpec::Gelu { .. } => "gelu",
            LayerSpec::GeluTanh { .. } => "gelu-tanh",
        }
    }

    /// The given name.
    pub fn name(&self) -> Option<&str> {
        let name = match self {
            LayerSpec::Dense { name, .. }
            | LayerSpec::Scale { name, .. }
            | LayerSpec::Flatten { name }
            | LayerSpec::Reshape { name, .. }
            | LayerSpec::Relu { name }
            | LayerSpec::LeakyRelu { name, .. }
            | LayerSpec::Sigmoid { name }
            | LayerSpec::Tanh { name }
            | LayerSpec::Softplus { name }
            | LayerSpec::Gelu { name }
            | LayerSpec::GeluTanh { name } => name,
        };
        name.as_deref()
    }
}
