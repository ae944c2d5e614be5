//! IDX, the format of MNIST.
//!
//! ```text
//! 0 0 type rank | rank sizes, u32 big endian | numbers, big endian
//! ```
//! Source: <http://yann.lecun.com/exdb/mnist/>.

use super::array::{ArrayReader, Header};
use super::element::Element;
use super::source::{Source, read_full};
use crate::error::DataError;

/// The type that a byte of the magic number stands for.
fn element(code: u8) -> Option<Element> {
    match code {
        0x08 => Some(Element::U8),
        0x09 => Some(Element::I8),
        0x0b => Some(Element::I16),
        0x0c => Some(Element::I32),
        0x0d => Some(Element::F32),
        0x0e => Some(Element::F64),
        _ => None,
    }
}

/// Whether a file starts as an IDX file does.
pub(crate) fn is_idx(head: &[u8]) -> bool {
    matches!(*head, [0, 0, code, rank, ..] if element(code).is_some() && rank > 0)
}

impl<R: Source> ArrayReader<R> {
    /// Reads the header of an IDX stream, `len` bytes long where that is known.
    ///
    /// # Errors
    /// No IDX header, a size that does not fit the length, no samples.
    pub fn idx(mut source: R, len: Option<u64>) -> Result<Self, DataError> {
        let mut magic = [0; 4];
        let found = read(&mut source, &mut magic)?;
        let (element, rank) = match magic {
            [0, 0, code, rank] if found == 4 && rank > 0 => match element(code) {
                Some(element) => (element, usize::from(rank)),
                None => {
                    return Err(DataError::new(
                        "type in the IDX header",
                        "0x08, 0x09, 0x0b, 0x0c, 0x0d or 0x0e",
                        format!("{code:#04x}"),
                    ));
                }
            },
            _ => {
                return Err(DataError::new(
                    "first bytes",
                    "0 0, a type and a rank of at least 1, as an IDX file has",
                    format!("{:?}", &magic[..found]),
                ));
            }
        };
        let mut sizes = vec![0; 4 * rank];
        let found = read(&mut source, &mut sizes)?;
        if found < sizes.len() {
            return Err(DataError::new(
                "IDX header",
                format!("{} bytes", 4 + sizes.len()),
                format!("the end after {} bytes", 4 + found),
            ));
        }
        let (sizes, _) = sizes.as_chunks::<4>();
        let shape = sizes.iter().map(|&size| u32::from_be_bytes(size) as usize).collect();
        let header = Header { element, big_endian: true, shape, bytes: 4 + 4 * rank as u64 };
        ArrayReader::new(source, header, len)
    }
}

fn read(source: &mut impl Source, buffer: &mut [u8]) -> Result<usize, DataError> {
    read_full(source, buffer).map_err(|e| DataError::new("IDX header", "readable data", e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SampleReader;

    fn idx(code: u8, sizes: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, code, sizes.len() as u8];
        sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn open(bytes: &[u8]) -> Result<ArrayReader<&[u8]>, DataError> {
        ArrayReader::idx(bytes, Some(bytes.len() as u64))
    }

    #[test]
    fn every_rank_and_type() {
        let bytes = idx(8, &[2, 1, 2], &[1, 2, 3, 255]);
        let mut reader = open(&bytes).unwrap();
        assert_eq!((reader.shape(), reader.pixels()), ([1, 2].as_slice(), true));
        assert_eq!(reader.read_rows(5).unwrap().unwrap().values, [1.0, 2.0, 3.0, 255.0]);
        let bytes = idx(0x0d, &[2], &[0.5_f32, -1.0].map(f32::to_be_bytes).concat());
        let mut reader = open(&bytes).unwrap();
        assert_eq!((reader.shape(), reader.pixels()), ([1].as_slice(), false));
        assert_eq!(reader.read_rows(5).unwrap().unwrap().values, [0.5, -1.0]);
    }

    #[test]
    fn headers_that_lie() {
        for (bytes, message) in [
            (vec![], "first bytes"),
            (vec![0, 0, 8], "first bytes"),
            (vec![0, 0, 8, 0], "first bytes"),
            (idx(7, &[1], &[1]), "type in the IDX header: expected 0x08"),
            (idx(8, &[1], &[])[..6].to_vec(), "IDX header: expected 8 bytes, found the end after 6"),
            (idx(8, &[0, 2], &[]), "number of samples"),
            (idx(8, &[2, 2], &[1, 2, 3]), "sample 1: expected 16 bytes in all, found the end after 15"),
            (idx(8, &[1, 2], &[1, 2, 3]), "end of the data"),
            (idx(8, &[u32::MAX; 5], &[]), "shape of a sample"),
            (idx(8, &[1; 255], &[]), "sample 0"),
        ] {
            let error = open(&bytes).err().unwrap().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
