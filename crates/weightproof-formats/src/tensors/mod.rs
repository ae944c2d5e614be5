//! Files of named tensors without a network, read tensor by tensor: GGUF and safetensors of any size.
//!
//! Headers say where each tensor lies; numbers are read in parts, so memory does not grow with the file.

mod block;
mod gguf;
mod safetensors;

pub use block::Storage;

use crate::error::{DataError, FormatError};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// The most tensors of a file.
const MAX_TENSORS: u64 = 1 << 20;
/// The most dimensions of a tensor.
const MAX_RANK: u64 = 8;
/// The most bytes of a name.
const MAX_NAME: u64 = 1 << 12;
/// Numbers that are well read together: whole blocks of every storage.
pub const PART: usize = 1 << 18;

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Its dimensions, the rows first; numbers of a row lie side by side.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub storage: Storage,
    /// Where its bytes begin in the file.
    start: u64,
    /// How many numbers it has.
    count: u64,
}

impl TensorEntry {
    /// A tensor of these dimensions whose bytes begin at `start` of a file of `size` bytes.
    ///
    /// # Errors
    /// When its numbers do not fill whole blocks, or lie beyond the end.
    fn new(
        name: String,
        shape: Vec<usize>,
        storage: Storage,
        start: u64,
        size: u64,
    ) -> Result<Self, DataError> {
        let fail =
            |expected: String, found: String| DataError::new(format!("tensor {name}"), expected, found);
        let count = shape.iter().try_fold(1_u64, |all, &d| all.checked_mul(d as u64));
        let count = count.filter(|count| *count < 1 << 48);
        let count = count.ok_or_else(|| fail("fewer than 2^48 numbers".into(), format!("{shape:?}")))?;
        let block = storage.block() as u64;
        let row = shape.last().map_or(1, |&d| d as u64);
        if !count.is_multiple_of(block) || !row.is_multiple_of(block) {
            return Err(fail(format!("rows of whole blocks of {block} numbers"), format!("{shape:?}")));
        }
        let end = (count / block * storage.bytes() as u64).checked_add(start);
        if end.is_none_or(|end| end > size) {
            return Err(fail(format!("its numbers within the {size} bytes of the file"), "fewer".into()));
        }
        Ok(TensorEntry { name, shape, storage, start, count })
    }

    /// Number of its numbers.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Numbers of one row.
    pub fn row(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }
}

/// A file of tensors.
#[derive(Debug)]
pub struct TensorFile<R> {
    source: R,
    /// `gguf` or `safetensors`.
    pub format: &'static str,
    /// Its tensors, in the order of the header.
    pub tensors: Vec<TensorEntry>,
}

impl TensorFile<BufReader<File>> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// A file that cannot be read, or is damaged.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let file = File::open(path).map_err(FormatError::io(path))?;
        TensorFile::new(BufReader::new(file)).map_err(|error| error.in_file(path))
    }
}

impl<R: Read + Seek> TensorFile<R> {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// A header that is damaged or says what the file does not have.
    pub fn new(mut source: R) -> Result<Self, DataError> {
        let size = source.seek(SeekFrom::End(0)).map_err(|e| unreadable(&e))?;
        source.seek(SeekFrom::Start(0)).map_err(|e| unreadable(&e))?;
        let mut magic = [0; 4];
        source.read_exact(&mut magic).map_err(|e| unreadable(&e))?;
        let (format, tensors) = if magic == *b"GGUF" {
            ("gguf", gguf::tensors(&mut source, size)?)
        } else {
            source.seek(SeekFrom::Start(0)).map_err(|e| unreadable(&e))?;
            ("safetensors", safetensors::tensors(&mut source, size)?)
        };
        Ok(TensorFile { source, format, tensors })
    }

    /// Reads `most` numbers of a tensor, or those that are left, from number `first` on, and the step of each: the distance of two
    /// numbers that can be stored there, 0 for floating-point storage. Both must be whole blocks.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn read(
        &mut self,
        tensor: &TensorEntry,
        first: u64,
        most: usize,
        numbers: &mut Vec<f64>,
        steps: &mut Vec<f64>,
    ) -> Result<(), DataError> {
        numbers.clear();
        steps.clear();
        let block = tensor.storage.block() as u64;
        let count = (tensor.count - first.min(tensor.count)).min(most as u64);
        let mut bytes = vec![0; (count / block) as usize * tensor.storage.bytes()];
        let start = tensor.start + first / block * tensor.storage.bytes() as u64;
        self.source.seek(SeekFrom::Start(start)).map_err(|e| unreadable(&e))?;
        self.source.read_exact(&mut bytes).map_err(|e| unreadable(&e))?;
        for block in bytes.chunks_exact(tensor.storage.bytes()) {
            tensor.storage.decode(block, numbers, steps);
        }
        Ok(())
    }
}

fn unreadable(error: &std::io::Error) -> DataError {
    DataError::new("file", "bytes that can be read", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use std::io::Cursor;

    const MUTATIONS: usize = 20_000;

    fn gguf() -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let wide = |n: u64| n.to_le_bytes().to_vec();
        let number = |n: u32| n.to_le_bytes().to_vec();
        let alignment = [text("general.alignment"), number(4), number(64)].concat();
        let names = [text("names"), number(9), number(8), wide(2), text("a"), text("b")].concat();
        let mut file = [b"GGUF".to_vec(), number(3), wide(2), wide(2), names, alignment].concat();
        file.extend([text("w"), number(2), wide(32), wide(2), number(8), wide(0)].concat());
        file.extend([text("b"), number(1), wide(2), number(0), wide(128)].concat());
        file.resize(file.len().next_multiple_of(64), 0);
        file.extend(
            [0x00, 0x38].into_iter().chain(0..32).chain([0x00, 0x3c]).chain(32..64).collect::<Vec<u8>>(),
        );
        file.resize(file.len().next_multiple_of(64), 0);
        file.extend([1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
        file
    }

    fn safetensors() -> Vec<u8> {
        let header = br#"{"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"w":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]}}"#;
        let numbers =
            [vec![0x00, 0x3c, 0x00, 0xc0], 1.5_f32.to_le_bytes().to_vec(), 2.5_f32.to_le_bytes().to_vec()];
        [&(header.len() as u64).to_le_bytes()[..], header, &numbers.concat()].concat()
    }

    fn numbers(file: &mut TensorFile<Cursor<Vec<u8>>>, k: usize, first: u64, most: usize) -> Vec<f64> {
        let tensor = file.tensors[k].clone();
        let (mut numbers, mut steps) = (vec![], vec![]);
        file.read(&tensor, first, most, &mut numbers, &mut steps).unwrap();
        assert_eq!(numbers.len(), steps.len());
        numbers
    }

    #[test]
    fn tensors_by_hand() {
        let mut file = TensorFile::new(Cursor::new(gguf())).unwrap();
        let named: Vec<(&str, Vec<usize>)> =
            file.tensors.iter().map(|t| (t.name.as_str(), t.shape.clone())).collect();
        assert_eq!(named, [("w", vec![2, 32]), ("b", vec![2])]);
        assert_eq!(numbers(&mut file, 0, 0, 32)[31], 15.5);
        let second = numbers(&mut file, 0, 32, PART);
        assert_eq!((second.len(), second[0]), (32, 32.0));
        assert_eq!(numbers(&mut file, 1, 0, PART), [1.5, -2.0]);
        let mut file = TensorFile::new(Cursor::new(safetensors())).unwrap();
        assert_eq!((file.format, file.tensors[0].row()), ("safetensors", 2));
        assert_eq!(numbers(&mut file, 0, 0, PART), [1.0, -2.0]);
        assert_eq!(numbers(&mut file, 1, 1, PART), [2.5]);
    }

    #[test]
    fn damaged_files_are_read_or_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for seed in [gguf(), safetensors()] {
            let mut errors = 0;
            for _ in 0..MUTATIONS {
                let mut bytes = seed.clone();
                for _ in 0..rng.random_range(1..4) {
                    let at = rng.random_range(0..bytes.len());
                    match rng.random_range(0..3) {
                        0 => bytes[at] = rng.random(),
                        1 => bytes[at] = 0xFF,
                        _ => bytes.truncate(at.max(1)),
                    }
                }
                match TensorFile::new(Cursor::new(bytes)) {
                    Ok(mut file) => (0..file.tensors.len()).for_each(|k| {
                        numbers(&mut file, k, 0, 1 << 10);
                    }),
                    Err(error) => {
                        errors += 1;
                        assert!(!error.to_string().contains(char::is_control), "{error}");
                    }
                }
            }
            assert!(errors > MUTATIONS / 4);
        }
    }
}
