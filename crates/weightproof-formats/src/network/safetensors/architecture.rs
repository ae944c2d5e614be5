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
//! type = "relu"           # or leaky-relu (slope), clip (low, high), soft-threshold (lambda), sigmoid, tanh, softplus, gelu, gelu-tanh,
//!                         # elu (alpha, 1 by default), silu, mish, hard-swish, softsign, atan, abs
//!
//! [[layer]]
//! type = "reshape"
//! shape = [2, 5]
//! ```
//!
//! Images, of shape (channels, height, width) or (channels, length):
//!
//! ```toml
//! [[layer]]
//! type = "conv"
//! name = "conv1"
//! weight = "conv1.weight" # (outputs, inputs / groups, height, width); without height in one dimension
//! bias = "conv1.bias"     # optional
//! stride = [2, 2]         # one number, or one for each axis; 1 by default, as dilation
//! padding = 1             # one number, one for each axis, or [top, left, bottom, right]; 0 by default
//! dilation = 1
//! groups = 1
//!
//! [[layer]]
//! type = "batch-norm"     # folded into a neighbour, or kept, as `--batch-norm` says
//! weight = "bn1.weight"
//! bias = "bn1.bias"
//! mean = "bn1.running_mean"
//! variance = "bn1.running_var"
//! epsilon = 1e-5          # the default
//!
//! [[layer]]
//! type = "max-pool"       # or average-pool; without a kernel over the whole image
//! kernel = 2
//! stride = 2              # the kernel by default; padding and dilation as for conv
//! count-padding = true    # average-pool only: whether padding counts; true by default
//!
//! [[layer]]
//! type = "add"            # or concat, along the channels
//! inputs = ["relu_3", "conv1"]
//! ```
//!
//! A layer reads the one before it, or the one that `input = "conv1"` names; `input = "input"` is the sample. The last layer is
//! the output. A layer without a name is called after its type and its number, counted from 1: `relu_3`.

use super::SafetensorsError;
use serde::{Deserialize, Serialize};

/// The whole file, as it is read and written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Shape of one sample.
    pub input: Vec<usize>,
    pub layer: Vec<LayerSpec>,
}

/// One layer; variants have braces so that unknown keys are refused in all of them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum LayerSpec {
    Dense {
        name: Option<String>,
        input: Option<String>,
        weight: String,
        bias: Option<String>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        transposed: bool,
    },
    Conv {
        name: Option<String>,
        input: Option<String>,
        weight: String,
        bias: Option<String>,
        stride: Option<Sizes>,
        padding: Option<Sizes>,
        dilation: Option<Sizes>,
        groups: Option<usize>,
    },
    BatchNorm {
        name: Option<String>,
        input: Option<String>,
        weight: String,
        bias: String,
        mean: String,
        variance: String,
        epsilon: Option<f64>,
    },
    MaxPool {
        name: Option<String>,
        input: Option<String>,
        kernel: Option<Sizes>,
        stride: Option<Sizes>,
        padding: Option<Sizes>,
        dilation: Option<Sizes>,
    },
    AveragePool {
        name: Option<String>,
        input: Option<String>,
        kernel: Option<Sizes>,
        stride: Option<Sizes>,
        padding: Option<Sizes>,
        dilation: Option<Sizes>,
        count_padding: Option<bool>,
    },
    Add {
        name: Option<String>,
        inputs: Vec<String>,
    },
    Concat {
        name: Option<String>,
        inputs: Vec<String>,
    },
    Scale {
        name: Option<String>,
        input: Option<String>,
        scale: Option<Numbers>,
        shift: Option<Numbers>,
        /// In place of both: what elements are divided by.
        divisor: Option<Numbers>,
    },
    Flatten {
        name: Option<String>,
        input: Option<String>,
    },
    Reshape {
        name: Option<String>,
        input: Option<String>,
        shape: Vec<usize>,
    },
    Relu {
        name: Option<String>,
        input: Option<String>,
    },
    LeakyRelu {
        name: Option<String>,
        input: Option<String>,
        slope: f64,
    },
    Clip {
        name: Option<String>,
        input: Option<String>,
        low: Option<f64>,
        high: Option<f64>,
    },
    SoftThreshold {
        name: Option<String>,
        input: Option<String>,
        lambda: f64,
    },
    Sigmoid {
        name: Option<String>,
        input: Option<String>,
    },
    Tanh {
        name: Option<String>,
        input: Option<String>,
    },
    Softplus {
        name: Option<String>,
        input: Option<String>,
    },
    Gelu {
        name: Option<String>,
        input: Option<String>,
    },
    GeluTanh {
        name: Option<String>,
        input: Option<String>,
    },
    Abs {
        name: Option<String>,
        input: Option<String>,
    },
    Elu {
        name: Option<String>,
        input: Option<String>,
        alpha: Option<f64>,
    },
    Silu {
        name: Option<String>,
        input: Option<String>,
    },
    Mish {
        name: Option<String>,
        input: Option<String>,
    },
    HardSwish {
        name: Option<String>,
        input: Option<String>,
    },
    Softsign {
        name: Option<String>,
        input: Option<String>,
    },
    Atan {
        name: Option<String>,
        input: Option<String>,
    },
}

/// One number for all axes, or a list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Sizes {
    One(usize),
    Many(Vec<usize>),
}

/// One number for all elements, or a list.
#[derive(Debug, Deserialize, Serialize)]
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
            LayerSpec::Conv { .. } => "conv",
            LayerSpec::BatchNorm { .. } => "batch-norm",
            LayerSpec::MaxPool { .. } => "max-pool",
            LayerSpec::AveragePool { .. } => "average-pool",
            LayerSpec::Add { .. } => "add",
            LayerSpec::Concat { .. } => "concat",
            LayerSpec::Scale { .. } => "scale",
            LayerSpec::Flatten { .. } => "flatten",
            LayerSpec::Reshape { .. } => "reshape",
            LayerSpec::Relu { .. } => "relu",
            LayerSpec::LeakyRelu { .. } => "leaky-relu",
            LayerSpec::Clip { .. } => "clip",
            LayerSpec::SoftThreshold { .. } => "soft-threshold",
            LayerSpec::Sigmoid { .. } => "sigmoid",
            LayerSpec::Tanh { .. } => "tanh",
            LayerSpec::Softplus { .. } => "softplus",
            LayerSpec::Gelu { .. } => "gelu",
            LayerSpec::GeluTanh { .. } => "gelu-tanh",
            LayerSpec::Abs { .. } => "abs",
            LayerSpec::Elu { .. } => "elu",
            LayerSpec::Silu { .. } => "silu",
            LayerSpec::Mish { .. } => "mish",
            LayerSpec::HardSwish { .. } => "hard-swish",
            LayerSpec::Softsign { .. } => "softsign",
            LayerSpec::Atan { .. } => "atan",
        }
    }

    /// The given name.
    pub fn name(&self) -> Option<&str> {
        let name = match self {
            LayerSpec::Dense { name, .. }
            | LayerSpec::Conv { name, .. }
            | LayerSpec::BatchNorm { name, .. }
            | LayerSpec::MaxPool { name, .. }
            | LayerSpec::AveragePool { name, .. }
            | LayerSpec::Add { name, .. }
            | LayerSpec::Concat { name, .. }
            | LayerSpec::Scale { name, .. }
            | LayerSpec::Flatten { name, .. }
            | LayerSpec::Reshape { name, .. }
            | LayerSpec::Relu { name, .. }
            | LayerSpec::LeakyRelu { name, .. }
            | LayerSpec::Clip { name, .. }
            | LayerSpec::SoftThreshold { name, .. }
            | LayerSpec::Sigmoid { name, .. }
            | LayerSpec::Tanh { name, .. }
            | LayerSpec::Softplus { name, .. }
            | LayerSpec::Gelu { name, .. }
            | LayerSpec::GeluTanh { name, .. }
            | LayerSpec::Abs { name, .. }
            | LayerSpec::Elu { name, .. }
            | LayerSpec::Silu { name, .. }
            | LayerSpec::Mish { name, .. }
            | LayerSpec::HardSwish { name, .. }
            | LayerSpec::Softsign { name, .. }
            | LayerSpec::Atan { name, .. } => name,
        };
        name.as_deref()
    }

    /// The names of the layers that it reads, if given.
    pub fn inputs(&self) -> Option<&[String]> {
        match self {
            LayerSpec::Add { inputs, .. } | LayerSpec::Concat { inputs, .. } => Some(inputs),
            LayerSpec::Dense { input, .. }
            | LayerSpec::Conv { input, .. }
            | LayerSpec::BatchNorm { input, .. }
            | LayerSpec::MaxPool { input, .. }
            | LayerSpec::AveragePool { input, .. }
            | LayerSpec::Scale { input, .. }
            | LayerSpec::Flatten { input, .. }
            | LayerSpec::Reshape { input, .. }
            | LayerSpec::Relu { input, .. }
            | LayerSpec::LeakyRelu { input, .. }
            | LayerSpec::Clip { input, .. }
            | LayerSpec::SoftThreshold { input, .. }
            | LayerSpec::Sigmoid { input, .. }
            | LayerSpec::Tanh { input, .. }
            | LayerSpec::Softplus { input, .. }
            | LayerSpec::Gelu { input, .. }
            | LayerSpec::GeluTanh { input, .. }
            | LayerSpec::Abs { input, .. }
            | LayerSpec::Elu { input, .. }
            | LayerSpec::Silu { input, .. }
            | LayerSpec::Mish { input, .. }
            | LayerSpec::HardSwish { input, .. }
            | LayerSpec::Softsign { input, .. }
            | LayerSpec::Atan { input, .. } => input.as_ref().map(std::slice::from_ref),
        }
    }
}
