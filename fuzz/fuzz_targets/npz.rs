//! Bytes of an NPZ archive; every member is read.
#![no_main]

mod drain;

use drain::drain;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use weightproof_formats::data::{ArrayReader, members};

fuzz_target!(|bytes: &[u8]| {
    for member in members(Cursor::new(bytes)).unwrap_or_default() {
        if let Ok(source) = member.open(Cursor::new(bytes)) {
            let _ = drain(ArrayReader::npy(source, Some(member.size)));
        }
    }
});
