//! Bytes of a CSV file.
#![no_main]

mod drain;

use drain::drain;
use libfuzzer_sys::fuzz_target;
use weightproof_formats::data::{CsvHeader, CsvReader};

fuzz_target!(|bytes: &[u8]| {
    let _ = drain(CsvReader::new(bytes, true, CsvHeader::Auto));
    let _ = drain(CsvReader::new(bytes, false, CsvHeader::No));
});
