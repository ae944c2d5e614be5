//! What can be wrong with an ONNX model.

use super::operators::supported_names;
use super::{MAX_OPSET, MIN_OPSET};
use crate::network::recognise::Recognised;
use thiserror::Error;
use weightproof::network::NetworkError;

/// What to do about an operator that has no rule.
fn way_on(op: &str) -> &'static str {
    match op {
        "MeanVarianceNormalization" => {
            "LayerNormalization, InstanceNormalization and BatchNormalization are read and may take its place"
        }
        "LSTM" | "GRU" | "RNN" | "Scan" | "Loop" | "If" => {
            "recurrence and branches are not read; unroll a fixed number of steps before the export, or name a value before it with \
             --output-name"
        }
        "Attention" | "MultiHeadAttention" | "com.microsoft.MultiHeadAttention" => {
            "attention is read as MatMul and Softmax: export the model without fused operators (torch.onnx.export writes it out, \
             onnxruntime's optimizer fuses it)"
        }
        "com.microsoft.DynamicQuantizeLSTM" => {
            "recurrence is not read; dense layers and convolutions of dynamic quantization are (MatMulInteger, ConvInteger)"
        }
        "OneHot" => {
            "the numbers of classes jump; the scores before ArgMax can be certified: name their value with --output-name"
        }
        "Sin" | "Cos" => {
            "as a function of computed values it is not bounded yet; the part before it can be certified: name its value with \
             --output-name"
        }
        "Greater" | "Less" | "Equal" | "Where" | "Floor" | "Ceil" | "Round" => {
            "a function that jumps is not bounded yet; the part before it can be certified: name its value with --output-name"
        }
        _ => "not supported yet; the part before it can be certified: name its value with --output-name",
    }
}

/// Why an ONNX model cannot be read.
#[derive(Debug, Error, PartialEq)]
pub enum OnnxError {
    /// The bytes are not an ONNX model, or a damaged one.
    #[error("not a valid ONNX model: {detail}")]
    Decode {
        /// What the decoder met.
        detail: String,
    },
    /// The bytes are something else.
    #[error("expected an ONNX model, found {}", found.what)]
    Format {
        /// What they are.
        found: Recognised,
    },
    /// More of something than a reader of outside bytes accepts.
    #[error("{what}: expected at most {limit}, found {found}")]
    Limit {
        /// What there is too much of, with the node or tensor.
        what: String,
        /// The most that is accepted.
        limit: usize,
        /// What the model asks for.
        found: String,
    },
    /// The operator set is missing or outside the range the reader knows.
    #[error("operator set: expected a version from {MIN_OPSET} to {MAX_OPSET}, found {found}")]
    Opset {
        /// The version, or `none`.
        found: String,
    },
    /// An operator that has no rule.
    #[error("node {node}: {op} is not read; expected one of {}", supported_names())]
    Operator {
        /// Name of the node.
        node: String,
        /// The operator, with its domain unless that is the default one.
        op: String,
    },
    /// A supported operator used in a way that has no rule, or that is wrong.
    #[error("node {node}: expected {expected}, found {found}")]
    Node {
        /// Name of the node.
        node: String,
        /// What would have been read.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An operator that joins two values which both depend on the input.
    #[error("node {node}: expected at least one constant operand, found {op} of two computed values")]
    Branches {
        /// Name of the node.
        node: String,
        /// The operator.
        op: String,
    },
    /// A stored tensor contradicts itself or has a type that is not read.
    #[error("tensor {tensor}: expected {expected}, found {found}")]
    Tensor {
        /// Name of the tensor, or of the node that holds it.
        tensor: String,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The numbers of a tensor are in another file.
    #[error("tensor {tensor}: expected its data inside the model, found them in the file {location}")]
    ExternalData {
        /// Name of the tensor.
        tensor: String,
        /// The other file.
        location: String,
    },
    /// The graph depends on itself.
    #[error("node {node}: expected an acyclic graph, found a cycle through its output {output}")]
    Cycle {
        /// A node of the cycle.
        node: String,
        /// Its output.
        output: String,
    },
    /// A value is defined twice.
    #[error("node {node}: expected every value to be defined once, found a second {value}")]
    Duplicate {
        /// The node (or kind of entry) that defines it again.
        node: String,
        /// The value.
        value: String,
    },
    /// A value is read that nothing defines.
    #[error(
        "node {node}: expected a node, an input or an initializer that defines its input, found none for {value}"
    )]
    Undefined {
        /// The node that reads it.
        node: String,
        /// The value.
        value: String,
    },
    /// The input of the graph has a shape or type that cannot be read.
    #[error("graph input {input}: expected {expected}, found {found}")]
    Input {
        /// Name of the input.
        input: String,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Weights are stored as sparse tensors.
    #[error("graph: expected initializers with all of their numbers, found a sparse one")]
    Sparse,
    /// A dimension of the input has a name and no number.
    #[error("graph input {input}: expected dimension {at} to be a number, found {name}")]
    Dimension {
        /// Name of the input.
        input: String,
        /// Which dimension.
        at: usize,
        /// Its name.
        name: String,
    },
    /// The graph as a whole has another form than input → output.
    #[error("graph: expected {expected}, found {found}")]
    Graph {
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The layers do not form a network.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl OnnxError {
    /// How to fix it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            OnnxError::Decode { .. } => {
                "the file may be truncated; onnx.checker.check_model tells whether other tools can read it"
            }
            OnnxError::Format { found } => found.hint,
            OnnxError::Opset { .. } => {
                "convert the model with onnx.version_converter.convert_version(model, 17) or export it again"
            }
            OnnxError::Operator { op, .. } => way_on(op),
            OnnxError::Branches { .. } => {
                "products of two computed values are read as Mul, Div and MatMul; the part before this node can be certified: name its value \
                 with --output-name"
            }
            OnnxError::ExternalData { .. } => {
                "store the weights inside: onnx.save(onnx.load(path), path, save_as_external_data=False)"
            }
            OnnxError::Sparse => "save the model with dense weights: zeros are weights that may move, too",
            OnnxError::Input { expected, .. } if expected.starts_with("floating-point") => {
                "export the model with a floating-point input, behind the conversion of texts, bytes or indices"
            }
            OnnxError::Input { .. } => {
                "export the model with a dynamic or fixed batch dimension and fixed others"
            }
            OnnxError::Dimension { name, .. } => return Some(format!("give it a value: --dim {name}=16")),
            OnnxError::Network(NetworkError::NotFinite { .. }) => {
                "the model was damaged or training diverged; no bound exists for such parameters"
            }
            OnnxError::Limit { .. }
            | OnnxError::Node { .. }
            | OnnxError::Tensor { .. }
            | OnnxError::Cycle { .. }
            | OnnxError::Duplicate { .. }
            | OnnxError::Undefined { .. }
            | OnnxError::Graph { .. }
            | OnnxError::Network(
                NetworkError::Shape { .. }
                | NetworkError::DuplicateName { .. }
                | NetworkError::Dangling { .. }
                | NetworkError::NoWeights,
            ) => return None,
        };
        Some(text.into())
    }
}
