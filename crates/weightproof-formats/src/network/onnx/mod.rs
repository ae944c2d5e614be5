//! ONNX models as networks.
//!
//! ```text
//! bytes → messages (proto, counted by limits) → nodes in order (order) → values (reader) → layers (sketch)
//! ```
//!
//! Every value is followed for one sample: a batch dimension that is 1, dynamic or missing counts as 1, and the shapes
//! of the network leave it out. A value is either a constant, which is folded, or the output of a layer.
//!
//! What the deployed program stores as weights stays what the network calls weights: normalization in front of a layer
//! becomes a scale layer and is **not** multiplied into the weights, and neither is `alpha` of a Gemm, because a radius
//! is about the numbers that are deployed.

mod attention;
mod conv;
mod dense;
#[cfg(test)]
mod documentation;
mod elements;
mod elementwise;
mod error;
mod external;
mod fold;
mod fused;
mod heads;
mod input;
mod integer;
mod jumps;
mod limits;
mod lookup;
mod normalize;
mod op;
mod operators;
mod order;
mod pool;
mod product;
mod proto;
mod qonnx;
mod quantize;
mod reader;
mod rearrange;
mod reshape;
mod shape;
mod tensor;
#[cfg(test)]
mod tests;
mod window;
mod write;
mod written_out;

pub use error::OnnxError;
pub use operators::{SUPPORTED_OPERATORS, SupportedOperator};
pub use write::encode_onnx;

use super::recognise::recognise;
use super::sketch::BatchNorm;
use crate::error::FormatError;
use crate::fingerprint::Fingerprint;
use external::ExternalData;
use prost::Message;
use std::collections::BTreeSet;
use std::path::Path;
use weightproof::network::Network;

/// The oldest operator set that is read.
pub const MIN_OPSET: i64 = 5;
/// The newest operator set that is read.
pub const MAX_OPSET: i64 = 26;

/// Reads an ONNX model: the network, and notes on what was left out or taken in a certain way. Batch normalization is
/// folded into the layers beside it.
///
/// # Errors
/// As [`parse_onnx_with`].
pub fn parse_onnx(bytes: &[u8]) -> Result<(Network, Vec<String>), OnnxError> {
    parse_onnx_with(bytes, BatchNorm::default())
}

/// As [`parse_onnx`], with a choice of what becomes of batch normalization.
///
/// # Errors
/// As [`read_onnx`].
pub fn parse_onnx_with(bytes: &[u8], batch_norm: BatchNorm) -> Result<(Network, Vec<String>), OnnxError> {
    read_onnx(bytes, batch_norm).map(|OnnxNetwork { network, notes, .. }| (network, notes))
}

/// How to read an ONNX model.
#[derive(Clone, Debug, Default)]
pub struct OnnxOptions {
    /// What becomes of batch normalization.
    pub batch_norm: BatchNorm,
    /// Names of the values that are the output, laid end to end when there are several; by default the first output of the graph that a
    /// node computes.
    pub outputs: Vec<String>,
    /// Inputs of the graph that are constants.
    pub inputs: Vec<ConstantInput>,
    /// Values of dimensions that have a name.
    pub dims: Vec<(String, usize)>,
}

/// An input of a graph that is the same for every sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ConstantInput {
    /// Its name in the graph.
    pub name: String,
    /// Its shape, with a batch dimension of 1 where the graph has one.
    pub shape: Vec<usize>,
    /// Its numbers, row major.
    pub numbers: Vec<f64>,
}

/// An ONNX model as a network.
#[derive(Clone, Debug)]
pub struct OnnxNetwork {
    /// The network.
    pub network: Network,
    /// What was left out or taken in a certain way.
    pub notes: Vec<String>,
    /// The last operator, when it was left out: a Softmax, a LogSoftmax, an ArgMax or a TopK. Outputs are then those before it.
    pub dropped_head: Option<String>,
}

/// Reads an ONNX model.
///
/// # Errors
/// [`OnnxError`], naming the node or tensor, for damaged models and for everything that is not supported. No bytes make
/// this function panic or allocate more than a fixed multiple of their number (plus 512 MiB).
pub fn read_onnx(bytes: &[u8], batch_norm: BatchNorm) -> Result<OnnxNetwork, OnnxError> {
    read_onnx_with(bytes, &OnnxOptions { batch_norm, ..OnnxOptions::default() })
}

/// As [`read_onnx`], with options.
///
/// # Errors
/// As [`read_onnx`], and for options that do not fit the graph.
pub fn read_onnx_with(bytes: &[u8], options: &OnnxOptions) -> Result<OnnxNetwork, OnnxError> {
    let model = decode(bytes)?;
    read_model(model, limits::Budget::for_file(bytes.len(), limits::FREE_NUMBERS), options)
}

/// Reads an ONNX model of the file `path`, with numbers that are in files beside it. Also gives the SHA-256 of all bytes: those of
/// the model, then those of the files in the order in which it names them.
///
/// # Errors
/// As [`read_onnx`], but a file that someone names may ask for half of the free memory; files that are not in its folder, cannot be read or
/// are too small.
pub(super) fn read_onnx_file(
    path: &Path,
    bytes: &[u8],
    options: &OnnxOptions,
) -> Result<(OnnxNetwork, String), FormatError> {
    let at = |source| FormatError::Onnx { path: path.into(), source };
    let mut model = decode(bytes).map_err(at)?;
    let (mut size, mut fingerprint) = (bytes.len(), Fingerprint::default());
    fingerprint.update(bytes);
    if let Some(graph) = &mut model.graph {
        for file in ExternalData::load(graph, path)?.files() {
            size += file.len();
            fingerprint.update(file);
        }
    }
    let budget = limits::Budget::for_file(size, limits::free_numbers());
    Ok((read_model(model, budget, options).map_err(at)?, fingerprint.finish()))
}

fn decode(bytes: &[u8]) -> Result<proto::ModelProto, OnnxError> {
    if bytes.is_empty() {
        return Err(OnnxError::Decode { detail: "expected a model, found no bytes".into() });
    }
    if let Some(found) = recognise(bytes) {
        return Err(OnnxError::Format { found });
    }
    limits::check_message_count(bytes)?;
    proto::ModelProto::decode(bytes).map_err(|e| OnnxError::Decode { detail: e.to_string() })
}

/// The network of a model, for which so many numbers may be stored.
fn read_model(
    model: proto::ModelProto,
    budget: limits::Budget,
    options: &OnnxOptions,
) -> Result<OnnxNetwork, OnnxError> {
    let opset = operator_set(&model)?;
    let graph =
        model.graph.ok_or_else(|| OnnxError::Graph { expected: "one graph".into(), found: "none".into() })?;
    if graph.node.len() > limits::MAX_NODES {
        let (limit, found) = (limits::MAX_NODES, graph.node.len().to_string());
        return Err(OnnxError::Limit { what: "nodes of the graph".into(), limit, found });
    }
    reader::read(&graph, opset, budget, options)
}

/// The version of the default domain.
fn operator_set(model: &proto::ModelProto) -> Result<i64, OnnxError> {
    let versions: BTreeSet<i64> = model
        .opset_import
        .iter()
        .filter(|set| matches!(set.domain.as_str(), "" | "ai.onnx"))
        .map(|set| set.version)
        .collect();
    let text = |version: &i64| version.to_string();
    match *versions.iter().collect::<Vec<_>>() {
        [version] if (MIN_OPSET..=MAX_OPSET).contains(version) => Ok(*version),
        [] => Err(OnnxError::Opset { found: "none".into() }),
        ref several => {
            let found: Vec<String> = several.iter().take(5).copied().map(text).collect();
            Err(OnnxError::Opset { found: found.join(" and ") })
        }
    }
}
