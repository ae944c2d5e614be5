//! Networks in files: ONNX, and safetensors with an architecture in TOML, read and written.

mod onnx;
mod recognise;
mod safetensors;
mod sketch;
mod steps;
mod write;

pub use onnx::{
    ConstantInput, MAX_OPSET, MIN_OPSET, OnnxError, OnnxNetwork, OnnxOptions, SUPPORTED_OPERATORS,
    SupportedOperator, encode_onnx, parse_onnx, parse_onnx_with, read_onnx, read_onnx_with,
};
pub use recognise::Recognised;
pub use safetensors::{
    SafetensorsError, encode_safetensors, parse_safetensors, parse_safetensors_with, write_safetensors,
};
pub use sketch::BatchNorm;
pub use write::write_network;

pub(crate) use recognise::by_extension;

use crate::error::FormatError;
use crate::fingerprint::sha256;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use weightproof::network::Network;

/// The largest file of weights that is read; protocol buffers end there too.
const MAX_FILE: u64 = 1 << 31;
/// The largest architecture file that is read.
const MAX_ARCHITECTURE: u64 = 1 << 20;
/// The largest file with the value of an input that is read.
const MAX_CONSTANT: u64 = 1 << 28;
const EXTENSIONS: &str = ".onnx, .onnx.gz, .safetensors";

/// A network and where it came from.
#[derive(Clone, Debug)]
pub struct LoadedNetwork {
    /// The network.
    pub network: Network,
    /// What was left out or taken in a certain way, for the user to read.
    pub notes: Vec<String>,
    /// The last operator, when it was left out: a Softmax, a LogSoftmax, an ArgMax or a TopK. Outputs are then those before it.
    pub dropped_head: Option<String>,
    /// SHA-256 of the file with the weights, of an ONNX file with those that it keeps data in behind it, in hexadecimal.
    pub sha256: String,
    /// `onnx` or `safetensors`.
    pub format: &'static str,
}

/// How to read a network.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The architecture of a `.safetensors` file; by default the `.toml` beside it. Other formats do not look at it.
    pub architecture: Option<PathBuf>,
    /// What becomes of batch normalization.
    pub batch_norm: BatchNorm,
    /// Names of the outputs of an ONNX file that are wanted; by default the first.
    pub outputs: Vec<String>,
    /// Inputs of an ONNX file that are constants: names, and the `.npy` files of their values.
    pub inputs: Vec<(String, PathBuf)>,
    /// Values of dimensions of an ONNX file that have a name.
    pub dims: Vec<(String, usize)>,
}

/// Reads a network; the extension says how. The architecture of `NAME.safetensors` is in `NAME.toml` beside it.
///
/// # Errors
/// [`FormatError`], naming the file and the node or tensor.
pub fn read_network(path: &Path) -> Result<LoadedNetwork, FormatError> {
    read_network_with(path, &ReadOptions::default())
}

/// As [`read_network`], with options.
///
/// # Errors
/// [`FormatError`], naming the file and the node or tensor.
pub fn read_network_with(path: &Path, options: &ReadOptions) -> Result<LoadedNetwork, FormatError> {
    match extension(path).as_str() {
        "onnx" => read_onnx_bytes(path, &read_file(path, MAX_FILE)?, None, options),
        "gz" if path.file_stem().is_some_and(|stem| extension(Path::new(stem)) == "onnx") => {
            let packed = read_file(path, MAX_FILE)?;
            let mut bytes = Vec::new();
            let unpacked = GzDecoder::new(packed.as_slice()).take(MAX_FILE + 1).read_to_end(&mut bytes);
            unpacked.map_err(FormatError::io(path))?;
            if bytes.len() as u64 > MAX_FILE {
                let error = std::io::Error::other(format!("expected at most {MAX_FILE} bytes, found more"));
                return Err(FormatError::io(path)(error));
            }
            read_onnx_bytes(path, &bytes, Some(&packed), options)
        }
        "safetensors" => {
            let beside = path.with_extension("toml");
            let architecture = options.architecture.as_deref().unwrap_or(&beside);
            let text = read_file(architecture, MAX_ARCHITECTURE)?;
            let text = String::from_utf8_lossy(&text);
            let bytes = read_file(path, MAX_FILE)?;
            let parsed = parse_safetensors_with(&bytes, &text, options.batch_norm).map_err(|source| {
                let path = if source.is_about_architecture() { architecture } else { path };
                FormatError::Safetensors { path: path.into(), source }
            });
            let (network, notes) = parsed?;
            let (sha256, format) = (sha256(&bytes), "safetensors");
            let notes = with_precision(&network, notes);
            Ok(LoadedNetwork { network, notes, dropped_head: None, sha256, format })
        }
        found => Err(FormatError::Extension { path: path.into(), expected: EXTENSIONS, found: found.into() }),
    }
}

/// Reads the network in `bytes`, which are those of the file `path` unless `packed` are.
fn read_onnx_bytes(
    path: &Path,
    bytes: &[u8],
    packed: Option<&[u8]>,
    options: &ReadOptions,
) -> Result<LoadedNetwork, FormatError> {
    let inputs = options.inputs.iter().map(|(name, file)| constant_input(name, file));
    let options = OnnxOptions {
        batch_norm: options.batch_norm,
        outputs: options.outputs.clone(),
        inputs: inputs.collect::<Result<_, _>>()?,
        dims: options.dims.clone(),
    };
    let (parsed, hash) = onnx::read_onnx_file(path, bytes, &options)?;
    let OnnxNetwork { network, notes, dropped_head } = parsed;
    let notes = with_precision(&network, notes);
    let sha256 = packed.map_or(hash, sha256);
    Ok(LoadedNetwork { network, notes, dropped_head, sha256, format: "onnx" })
}

/// The value of an input, a NumPy array.
fn constant_input(name: &str, path: &Path) -> Result<ConstantInput, FormatError> {
    let bytes = read_file(path, MAX_CONSTANT)?;
    let (shape, numbers) = crate::data::read_npy(&bytes).map_err(|e| e.in_file(path))?;
    Ok(ConstantInput { name: name.into(), shape, numbers })
}

/// A note more where the proof is in double precision.
fn with_precision(network: &Network, mut notes: Vec<String>) -> Vec<String> {
    if network.is_quantized() {
        notes.push(
            "the network is quantized: the proof computes in float64, which has its numbers exactly".into(),
        );
    } else if network.is_float64() {
        notes.push("the file computes in float64: so does the proof".into());
    }
    notes
}

/// What follows the last dot of the file's name, in lower case; empty when there is none.
fn extension(path: &Path) -> String {
    path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase()
}

/// The bytes of a file of at most `limit` bytes.
fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, FormatError> {
    let file = File::open(path).map_err(FormatError::io(path))?;
    let size = file.metadata().map_or(0, |of| of.len().min(limit) + 1);
    let mut bytes = Vec::new();
    // No more than a hint: where memory is short, reading says so.
    let _ = bytes.try_reserve_exact(usize::try_from(size).unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(FormatError::io(path))?;
    if bytes.len() as u64 > limit {
        let error = std::io::Error::other(format!("expected at most {limit} bytes, found more"));
        return Err(FormatError::io(path)(error));
    }
    Ok(bytes)
}
