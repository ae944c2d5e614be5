//! An architecture in TOML and bytes of a safetensors file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weightproof_formats::network::parse_safetensors;

fuzz_target!(|input: (&str, &[u8])| {
    let (architecture, weights) = input;
    match parse_safetensors(weights, architecture) {
        Ok((network, _)) => {
            assert_eq!(network.forward(&vec![0.5; network.input_width()]).len(), network.output_width());
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let _ = error.hint();
        }
    }
});
