//! Tensors as a safetensors file, byte for byte the same for the same numbers.

use super::SafetensorsError;
use crate::error::FormatError;
use crate::network::write::Draft;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Name, shape and numbers of a tensor.
pub type NamedTensor = (String, Vec<usize>, Vec<f64>);

/// The type that numbers are stored in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored {
    F32,
    F64,
}

/// Writes `(name, shape, numbers)` as F64 tensors, with `metadata` as text by key. The file appears whole or not at all.
///
/// # Errors
/// When a name is used twice (or is `__metadata__`), numbers do not fill their shape, or the file cannot be written.
pub fn write_safetensors(
    path: &Path,
    tensors: &[NamedTensor],
    metadata: &[(String, String)],
) -> Result<(), FormatError> {
    let header = header(tensors, metadata, Stored::F64)
        .map_err(|source| FormatError::Safetensors { path: path.into(), source })?;
    let write = |file: &mut File| write_tensors(BufWriter::new(file), &header, tensors, Stored::F64);
    Draft::fill(path, write)?.keep()
}

/// The header, then the numbers of all tensors.
pub fn write_tensors(
    mut out: impl Write,
    header: &str,
    tensors: &[NamedTensor],
    stored: Stored,
) -> io::Result<()> {
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for &number in tensors.iter().flat_map(|(_, _, numbers)| numbers) {
        match stored {
            Stored::F32 => out.write_all(&(number as f32).to_le_bytes())?,
            Stored::F64 => out.write_all(&number.to_le_bytes())?,
        }
    }
    out.flush()
}

/// The JSON header, padded so that the data start at a multiple of eight bytes.
pub fn header(
    tensors: &[NamedTensor],
    metadata: &[(String, String)],
    stored: Stored,
) -> Result<String, SafetensorsError> {
    let mut names = BTreeSet::from(["__metadata__"]);
    let mut entries = Vec::new();
    if !metadata.is_empty() {
        let sorted: BTreeMap<&str, &str> = metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let pairs: Vec<String> =
            sorted.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
        entries.push(format!("\"__metadata__\":{{{}}}", pairs.join(",")));
    }
    let mut start = 0_usize;
    for (name, shape, numbers) in tensors {
        let fail = |expected: String, found: String| SafetensorsError::Tensor {
            tensor: name.clone(),
            expected,
            found,
        };
        if !names.insert(name) {
            return Err(fail("a name of its own".into(), "one that is taken".into()));
        }
        let size = shape.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
        if size != Some(numbers.len()) {
            return Err(fail(format!("numbers for the shape {shape:?}"), numbers.len().to_string()));
        }
        let bytes = match stored {
            Stored::F32 => 4,
            Stored::F64 => 8,
        };
        let end = start + bytes * numbers.len();
        let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let (name, shape) = (quoted(name), shape.join(","));
        entries.push(format!(
            "{name}:{{\"dtype\":\"{stored:?}\",\"shape\":[{shape}],\"data_offsets\":[{start},{end}]}}"
        ));
        start = end;
    }
    let mut header = format!("{{{}}}", entries.join(","));
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    Ok(header)
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}
