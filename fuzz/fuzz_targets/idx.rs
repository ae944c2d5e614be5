//! Bytes of an IDX file, with and without a known length.
#![no_main]

mod drain;

use drain::drain;
use libfuzzer_sys::fuzz_target;
use weightproof_formats::data::ArrayReader;

fuzz_target!(|bytes: &[u8]| {
    let _ = drain(ArrayReader::idx(bytes, Some(bytes.len() as u64)));
    let _ = drain(ArrayReader::idx(bytes, None));
});
