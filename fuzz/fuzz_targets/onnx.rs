//! Bytes of an ONNX model; a network that is accepted must also run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weightproof_formats::network::parse_onnx;

fuzz_target!(|bytes: &[u8]| {
    match parse_onnx(bytes) {
        Ok((network, _)) => {
            assert_eq!(network.forward(&vec![0.5; network.input_width()]).len(), network.output_width());
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let _ = error.hint();
        }
    }
});
