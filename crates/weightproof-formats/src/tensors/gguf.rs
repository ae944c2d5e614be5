//! The header of a GGUF file, versions 2 and 3: facts about the model, which are skipped, and where the tensors lie.

use super::{MAX_NAME, MAX_RANK, MAX_TENSORS, Storage, TensorEntry, unreadable};
use crate::error::DataError;
use std::io::{Read, Seek};

/// Where numbers begin is a multiple of this, unless the header says otherwise.
const ALIGNMENT: u64 = 32;
/// How deep arrays may nest.
const MAX_DEPTH: usize = 4;

/// The tensors of a file of `size` bytes, whose first four were read.
pub fn tensors(source: &mut (impl Read + Seek), size: u64) -> Result<Vec<TensorEntry>, DataError> {
    let mut header = Header { source, size };
    let version = header.u32()?;
    if !matches!(version, 2 | 3) {
        return Err(DataError::new("header", "GGUF of version 2 or 3", version.to_string()));
    }
    let (count, facts) = (header.u64()?, header.u64()?);
    if count > MAX_TENSORS || facts > MAX_TENSORS {
        let found = format!("{count} and {facts}");
        return Err(DataError::new("header", format!("at most {MAX_TENSORS} tensors and facts"), found));
    }
    let mut alignment = ALIGNMENT;
    for _ in 0..facts {
        let key = header.text()?;
        let kind = header.u32()?;
        if key == "general.alignment" && kind == 4 {
            alignment = u64::from(header.u32()?);
        } else {
            header.skip(kind, 0)?;
        }
    }
    if !alignment.is_power_of_two() {
        return Err(DataError::new("general.alignment", "a power of two", alignment.to_string()));
    }
    let mut found = Vec::new();
    for _ in 0..count {
        let name = header.text()?;
        let rank = u64::from(header.u32()?);
        if rank > MAX_RANK {
            let place = format!("tensor {name}");
            return Err(DataError::new(place, format!("at most {MAX_RANK} dimensions"), rank.to_string()));
        }
        // The length of a row comes first.
        let mut shape = Vec::new();
        for _ in 0..rank {
            let dim = header.u64()?;
            let dim = usize::try_from(dim).map_err(|_| {
                DataError::new(format!("tensor {name}"), "dimensions that fit memory", dim.to_string())
            })?;
            shape.insert(0, dim);
        }
        let (kind, offset) = (header.u32()?, header.u64()?);
        found.push((name, shape, kind, offset));
    }
    let at = header.source.stream_position().map_err(|e| unreadable(&e))?;
    let data = at.next_multiple_of(alignment);
    let entry = |(name, shape, kind, offset): (String, Vec<usize>, u32, u64)| {
        let storage = storage(kind).ok_or_else(|| {
            let expected = "f64, f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k or q6_k";
            DataError::new(format!("tensor {name}"), expected, format!("the type of number {kind}"))
        })?;
        TensorEntry::new(name, shape, storage, data.saturating_add(offset), size)
    };
    found.into_iter().map(entry).collect()
}

fn storage(kind: u32) -> Option<Storage> {
    Some(match kind {
        0 => Storage::F32,
        1 => Storage::F16,
        2 => Storage::Q4_0,
        3 => Storage::Q4_1,
        6 => Storage::Q5_0,
        7 => Storage::Q5_1,
        8 => Storage::Q8_0,
        12 => Storage::Q4K,
        13 => Storage::Q5K,
        14 => Storage::Q6K,
        28 => Storage::F64,
        30 => Storage::Bf16,
        _ => return None,
    })
}

struct Header<'s, S> {
    source: &'s mut S,
    size: u64,
}

impl<S: Read + Seek> Header<'_, S> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], DataError> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(|e| unreadable(&e))?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, DataError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, DataError> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A name, without control characters.
    fn text(&mut self) -> Result<String, DataError> {
        let length = self.u64()?;
        if length > MAX_NAME {
            let expected = format!("names of at most {MAX_NAME} bytes");
            return Err(DataError::new("header", expected, length.to_string()));
        }
        let mut bytes = vec![0; length as usize];
        self.source.read_exact(&mut bytes).map_err(|e| unreadable(&e))?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    }

    /// Passes over `count` bytes.
    fn pass(&mut self, count: u64) -> Result<(), DataError> {
        let count = i64::try_from(count).ok().filter(|count| *count as u64 <= self.size);
        let count = count.ok_or_else(|| DataError::new("header", "facts within the file", "more bytes"))?;
        self.source.seek_relative(count).map_err(|e| unreadable(&e))
    }

    /// Passes over a value.
    fn skip(&mut self, kind: u32, depth: usize) -> Result<(), DataError> {
        match (width(kind), kind) {
            (Some(width), _) => self.pass(width),
            (None, 8) => {
                let length = self.u64()?;
                self.pass(length)
            }
            (None, 9) if depth < MAX_DEPTH => {
                let (kind, count) = (self.u32()?, self.u64()?);
                if let Some(width) = width(kind) {
                    return self.pass(width.saturating_mul(count));
                }
                // Every text or array takes eight bytes at least.
                if count > self.size / 8 {
                    return Err(DataError::new("header", "facts within the file", format!("{count} texts")));
                }
                (0..count).try_for_each(|_| {
                    // Seeking does not notice the end.
                    let at = self.source.stream_position().map_err(|e| unreadable(&e))?;
                    if at > self.size {
                        return Err(DataError::new("header", "facts within the file", "its end"));
                    }
                    self.skip(kind, depth + 1)
                })
            }
            (None, other) => Err(DataError::new("header", "a fact of a known type", format!("type {other}"))),
        }
    }
}

/// Bytes of a value of a type of fixed size.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
