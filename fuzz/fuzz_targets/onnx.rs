//! Bytes of an ONNX model; a network that is accepted must also run, unless it is too large for that.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weightproof::network::Network;
use weightproof_formats::network::{BatchNorm, parse_onnx_with};

/// The most products that are computed for one input.
const MOST: usize = 1 << 24;

/// Elements of all values and products of all layers of a forward pass.
fn work(network: &Network) -> usize {
    let products = |width: usize, patch: usize| width.saturating_mul(patch);
    let nodes = network.nodes().iter();
    nodes
        .map(|n| products(n.width(), n.layer.affine().map_or(1, |a| a.weight.cols())))
        .fold(0, usize::saturating_add)
}

fuzz_target!(|bytes: &[u8]| {
    for batch_norm in [BatchNorm::Fold, BatchNorm::Separate] {
        match parse_onnx_with(bytes, batch_norm) {
            Ok((network, _)) if work(&network) <= MOST => {
                assert_eq!(network.forward(&vec![0.5; network.input_width()]).len(), network.output_width());
            }
            Ok(_) => {}
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let _ = error.hint();
            }
        }
    }
});
