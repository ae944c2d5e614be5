//! What a reader of hostile bytes may spend: messages are counted before they are decoded, numbers before they are stored.

pub use crate::network::sketch::{MAX_TOTAL_WIDTH, MAX_WIDTH};

use super::OnnxError;

/// The most nodes of a graph.
pub const MAX_NODES: usize = 10_000;
/// The most submessages and strings of a file. Each may cost a few hundred bytes once decoded, but only two in the file.
pub const MAX_MESSAGES: usize = 1 << 20;
/// The most dimensions of a tensor.
pub const MAX_RANK: usize = 16;
/// Numbers that any bytes may ask for, whatever their size.
pub const FREE_NUMBERS: usize = 1 << 26;
/// Numbers that a file may ask for, whatever its size, where the machine has the memory: what a network of 500 million parameters takes.
const MOST_FREE_NUMBERS: usize = 1 << 30;
/// Bytes of a number.
const NUMBER: usize = size_of::<f64>();
/// Numbers that one byte of the file may ask for: decoded, arranged as a matrix, and some folding of constants.
const NUMBERS_PER_BYTE: usize = 4;

/// How many numbers may still be stored.
#[derive(Clone, Debug)]
pub struct Budget {
    total: usize,
    left: usize,
    /// Elements of computed values so far.
    width: usize,
}

impl Budget {
    /// The budget of a file of so many bytes, which may ask for `free` numbers besides.
    pub fn for_file(bytes: usize, free: usize) -> Self {
        let total = bytes.saturating_mul(NUMBERS_PER_BYTE).saturating_add(free);
        Budget { total, left: total, width: 0 }
    }

    /// Accounts for a computed value of shape `dims`, which costs memory in every forward pass.
    pub fn value(&mut self, owner: &str, dims: &[usize]) -> Result<(), OnnxError> {
        let width = dims.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
        let width =
            width.filter(|width| (1..=MAX_WIDTH).contains(width)).ok_or_else(|| OnnxError::Limit {
                what: format!("{owner}: elements of a value of shape {}", shape_text(dims)),
                limit: MAX_WIDTH,
                found: if dims.contains(&0) { "none".into() } else { "more".into() },
            })?;
        self.width = self.width.saturating_add(width);
        if self.width > MAX_TOTAL_WIDTH {
            let what = format!("{owner}: elements of all values up to here");
            return Err(OnnxError::Limit { what, limit: MAX_TOTAL_WIDTH, found: "more".into() });
        }
        Ok(())
    }

    /// Pays for a tensor of shape `dims` and returns its number of elements; `owner` is named in the error.
    pub fn tensor(&mut self, owner: &str, dims: &[usize]) -> Result<usize, OnnxError> {
        // Zeros count as ones here, so that no product of some dimensions can overflow later on.
        let bound = dims.iter().try_fold(1_usize, |product, &d| product.checked_mul(d.max(1)));
        if dims.len() > MAX_RANK {
            return Err(OnnxError::Limit {
                what: format!("{owner}: number of dimensions"),
                limit: MAX_RANK,
                found: dims.len().to_string(),
            });
        }
        if bound.is_none_or(|b| b > self.left) {
            return Err(OnnxError::Limit {
                what: format!(
                    "{owner}: numbers stored up to and including a tensor of shape {} (at {NUMBER} bytes each, {:.1} GB)",
                    shape_text(dims),
                    (self.total * NUMBER) as f64 / 1e9
                ),
                limit: self.total,
                found: "more".into(),
            });
        }
        let count = dims.iter().product();
        self.left -= count;
        Ok(count)
    }
}

/// Numbers that a file which someone names may ask for: half of the memory that the machine has left, where it says so.
pub fn free_numbers() -> usize {
    let available = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<usize>().ok()
    };
    let numbers = available().map_or(FREE_NUMBERS, |kilobytes| kilobytes / 2 * (1024 / NUMBER));
    numbers.clamp(FREE_NUMBERS, MOST_FREE_NUMBERS)
}

/// `[2, 3]`, cut after [`MAX_RANK`] numbers.
pub fn shape_text(dims: &[usize]) -> String {
    let shown: Vec<String> = dims.iter().take(MAX_RANK).map(ToString::to_string).collect();
    let rest = if dims.len() > MAX_RANK { ", …" } else { "" };
    format!("[{}{rest}]", shown.join(", "))
}

/// The messages that [`proto`](super::proto) declares, as far as counting them needs to know.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Value,
    Type,
    TensorType,
    Shape,
    Leaf,
}

impl Kind {
    /// The kind of the message or string in field `tag`, `None` when the field is skipped or holds plain numbers.
    fn field(self, tag: u64) -> Option<Kind> {
        match (self, tag) {
            (Kind::Model, 7) => Some(Kind::Graph),
            (Kind::Graph, 1) => Some(Kind::Node),
            (Kind::Graph, 5) | (Kind::Attribute, 5) => Some(Kind::Tensor),
            (Kind::Graph, 11 | 12) => Some(Kind::Value),
            (Kind::Node, 5) => Some(Kind::Attribute),
            (Kind::Value, 2) => Some(Kind::Type),
            (Kind::Type, 1) => Some(Kind::TensorType),
            (Kind::TensorType, 2) => Some(Kind::Shape),
            (Kind::Model, 8)
            | (Kind::Graph, 15)
            | (Kind::Node, 1 | 2)
            | (Kind::Shape, 1)
            | (Kind::Tensor, 13) => Some(Kind::Leaf),
            _ => None,
        }
    }
}

/// Refuses a file whose messages would cost far more memory than the file itself.
///
/// # Errors
/// `Limit` for too many messages; `Decode` where the bytes are not protocol buffers.
pub fn check_message_count(bytes: &[u8]) -> Result<(), OnnxError> {
    let mut left = MAX_MESSAGES;
    walk(bytes, Kind::Model, &mut left)
}

/// Counts the messages in `bytes`; the recursion is as deep as [`Kind::field`] nests, at most seven.
fn walk(mut bytes: &[u8], kind: Kind, left: &mut usize) -> Result<(), OnnxError> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let skip = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?).unwrap_or(usize::MAX),
            5 => 4,
            other => return Err(damaged(&format!("wire type {other}"))),
        };
        let Some((field, rest)) = bytes.split_at_checked(skip) else {
            return Err(damaged(&format!("a field of {skip} bytes where {} are left", bytes.len())));
        };
        bytes = rest;
        if let (2, Some(inner)) = (key & 7, kind.field(key >> 3)) {
            *left = left.checked_sub(1).ok_or_else(|| OnnxError::Limit {
                what: "messages of the file".into(),
                limit: MAX_MESSAGES,
                found: "more".into(),
            })?;
            if !matches!(inner, Kind::Leaf) {
                walk(field, inner, left)?;
            }
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(|| damaged("the end of the data in a number"))?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged("a number of more than ten bytes"))
}

fn damaged(found: &str) -> OnnxError {
    OnnxError::Decode { detail: format!("expected protocol buffers, found {found}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_empty_nodes_is_refused_before_it_is_decoded() {
        let nodes = [0x0a, 0x00].repeat(MAX_MESSAGES + 1);
        let mut file = vec![0x3a];
        let mut length = nodes.len();
        while length >= 0x80 {
            file.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        file.push(length as u8);
        file.extend(nodes);
        assert!(matches!(check_message_count(&file), Err(OnnxError::Limit { .. })));
    }

    #[test]
    fn a_shape_whose_product_overflows_is_refused() {
        let error = Budget::for_file(10, 0).tensor("tensor w", &[usize::MAX, 2]).unwrap_err();
        assert!(error.to_string().contains("tensor w"), "{error}");
        assert!(Budget::for_file(10, 0).tensor("tensor w", &[usize::MAX, 0]).is_err());
        assert_eq!(Budget::for_file(10, 0).tensor("tensor w", &[7, 0]), Ok(0));
    }
}
