//! Bytes of a table in Parquet, in a file without a name: its reader jumps.
#![no_main]

mod drain;

use drain::drain;
use libfuzzer_sys::fuzz_target;
use std::fs::{File, OpenOptions};
use std::io::Write;
use weightproof_formats::data::{ParquetLabel, ParquetReader};

fn file(bytes: &[u8]) -> std::io::Result<File> {
    let path = std::env::temp_dir().join(format!("weightproof-fuzz-{}", std::process::id()));
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

fuzz_target!(|bytes: &[u8]| {
    for label in [ParquetLabel::None, ParquetLabel::Usual] {
        let Ok(table) = file(bytes) else { return };
        let names = ParquetReader::names_of(table, &label).unwrap_or_default();
        let Ok(table) = file(bytes) else { return };
        let _ = drain(ParquetReader::new(table, &label, names));
    }
});
