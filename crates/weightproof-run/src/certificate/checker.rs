//! What the checker says before anything is computed: whether it reads the network of the file, and understands the header. So there is
//! one place that says what certificates hold.

use super::header::unsupported;
use super::text::Header;
use crate::RunError;
use weightproof_check::network::Network;
use weightproof_check::{onnx, run};

/// The network of a file, as the checker reads it.
///
/// # Errors
/// Names the node and the operator that the checker does not read.
pub(super) fn read(model: &[u8]) -> Result<Network, RunError> {
    onnx::read(model).map_err(|what| unsupported(format!("the checker does not read this network: {what}")))
}

/// Whether the checker takes this header for the network that it read.
///
/// # Errors
/// Says where the header and the network differ for it, as they do when options changed the network.
pub(super) fn accept(header: &Header, own: Network) -> Result<(), RunError> {
    let line = serde_json::to_vec(header).map_err(|error| error.to_string());
    let read = line.and_then(|line| serde_json::from_slice(&line).map_err(|error| error.to_string()));
    let prepared = read.and_then(|header| run::prepared(&header, own).map(|_| ()));
    prepared.map_err(|what| unsupported(format!("the checker would reject it: {what}")))
}
