//! Bytes of a file of tensors, GGUF or safetensors; the first numbers of every tensor are read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use weightproof_formats::tensors::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = TensorFile::new(Cursor::new(bytes)) else { return };
    let (mut numbers, mut steps) = (Vec::new(), Vec::new());
    for tensor in file.tensors.clone() {
        let _ = file.read(&tensor, 0, 1 << 12, &mut numbers, &mut steps);
    }
});
