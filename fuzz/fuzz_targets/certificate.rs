//! Lines of a certificate that are not compressed, then as a model; and the bytes as a compressed file and as a model alone.
#![no_main]

use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use std::io::Write;
use weightproof_check::run::Opened;

/// Checks a file; every refusal has words.
fn check(file: &[u8], model: &[u8]) {
    match Opened::new(file, model) {
        Ok(mut opened) => {
            if let Err(problem) = opened.check(1, |finding| drop(finding.result)) {
                assert!(!problem.to_string().is_empty());
            }
        }
        Err(problem) => assert!(!problem.to_string().is_empty()),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = weightproof_check::onnx::read(bytes).map_err(|error| assert!(!error.is_empty()));
    check(bytes, bytes);
    let model = include_bytes!("certificate.onnx");
    let header = include_str!("certificate.json").trim_end();
    let mut file = GzEncoder::new(Vec::new(), Compression::fast());
    file.write_all(&[header.as_bytes(), b"\n", bytes].concat()).expect("memory is written");
    check(&file.finish().expect("memory is written"), model);
});
