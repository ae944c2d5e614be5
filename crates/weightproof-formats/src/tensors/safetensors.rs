//! The header of a safetensors file: a JSON object that says of every tensor its type, shape and place.

use super::{MAX_NAME, MAX_TENSORS, Storage, TensorEntry, unreadable};
use crate::error::DataError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;

/// The most bytes of the header, as the format has it.
const MAX_HEADER: u64 = 100_000_000;
/// Texts about the file, which is no tensor.
const METADATA: &str = "__metadata__";

/// What the header says of a tensor.
#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The tensors of a file of `size` bytes, from its beginning, in the order in which they lie in it.
pub fn tensors(source: &mut impl Read, size: u64) -> Result<Vec<TensorEntry>, DataError> {
    let mut length = [0; 8];
    source.read_exact(&mut length).map_err(|e| unreadable(&e))?;
    let count = u64::from_le_bytes(length);
    if count > MAX_HEADER.min(size.saturating_sub(8)) {
        return Err(DataError::new("header", "GGUF, or a safetensors header within the file", "neither"));
    }
    let mut header = vec![0; count as usize];
    source.read_exact(&mut header).map_err(|e| unreadable(&e))?;
    let damaged = |error: serde_json::Error| {
        DataError::new("header", "a safetensors header", clean(&error.to_string()))
    };
    let mut all: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header).map_err(damaged)?;
    all.remove(METADATA);
    if all.len() as u64 > MAX_TENSORS {
        return Err(DataError::new(
            "header",
            format!("at most {MAX_TENSORS} tensors"),
            all.len().to_string(),
        ));
    }
    let mut found = Vec::with_capacity(all.len());
    for (name, value) in all {
        let info: Info = serde_json::from_value(value).map_err(damaged)?;
        let name = clean(&name);
        let storage = match info.dtype.as_str() {
            "F64" => Storage::F64,
            "F32" => Storage::F32,
            "F16" => Storage::F16,
            "BF16" => Storage::Bf16,
            other => {
                let expected = "floating-point numbers of 16, 32 or 64 bits";
                return Err(DataError::new(format!("tensor {name}"), expected, clean(other)));
            }
        };
        // Eight bytes of the length stand before the header.
        let start = (8 + count).saturating_add(info.data_offsets.0);
        let entry = TensorEntry::new(name, info.shape, storage, start, size)?;
        let bytes = info.data_offsets.1.checked_sub(info.data_offsets.0);
        if bytes != Some(entry.len() * storage.bytes() as u64) {
            let place = format!("tensor {}", entry.name);
            return Err(DataError::new(
                place,
                "as many bytes as its shape takes",
                format!("{:?}", info.data_offsets),
            ));
        }
        found.push(entry);
    }
    found.sort_by_key(|tensor| tensor.start);
    Ok(found)
}

/// A text from outside without control characters.
fn clean(text: &str) -> String {
    text.chars().take(MAX_NAME as usize).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
