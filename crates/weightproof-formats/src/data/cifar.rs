//! The binary version of CIFAR: records of one or two label bytes and 3 × 32 × 32 pixels.
//!
//! Source: <https://www.cs.toronto.edu/~kriz/cifar.html>.

use super::array::ArrayReader;
use super::element::Element;
use super::samples::{Rows, SampleReader};
use super::source::Source;
use crate::error::DataError;

const PIXELS: usize = 3 * 32 * 32;

/// Which of the two data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CifarKind {
    /// Ten classes, one label byte.
    Cifar10,
    /// A hundred classes; the first label byte is the coarse one of twenty, the second is used.
    Cifar100,
}

impl CifarKind {
    /// Bytes of one record.
    pub fn record(self) -> usize {
        PIXELS + self.label_bytes()
    }

    /// Number of classes.
    pub fn classes(self) -> u32 {
        match self {
            CifarKind::Cifar10 => 10,
            CifarKind::Cifar100 => 100,
        }
    }

    /// `cifar-10` or `cifar-100`.
    pub fn name(self) -> &'static str {
        match self {
            CifarKind::Cifar10 => "cifar-10",
            CifarKind::Cifar100 => "cifar-100",
        }
    }

    fn label_bytes(self) -> usize {
        match self {
            CifarKind::Cifar10 => 1,
            CifarKind::Cifar100 => 2,
        }
    }
}

/// A reader of CIFAR records.
pub struct CifarReader<R> {
    records: ArrayReader<R>,
    kind: CifarKind,
    next: usize,
}

impl<R: Source> CifarReader<R> {
    /// Records of a stream, `len` bytes long where that is known.
    ///
    /// # Errors
    /// A length that is no multiple of a record's.
    pub fn new(source: R, kind: CifarKind, len: Option<u64>) -> Result<Self, DataError> {
        let record = kind.record() as u64;
        let count = match len {
            Some(len) if len == 0 || len % record != 0 => {
                return Err(DataError::new(
                    "size",
                    format!("a multiple of {record} bytes, the size of a {} record", kind.name()),
                    format!("{len} bytes"),
                ));
            }
            Some(len) => Some((len / record) as usize),
            None => None,
        };
        let records = ArrayReader::rows(source, Element::U8, false, vec![kind.record()], count, 0)?;
        Ok(CifarReader { records, kind, next: 0 })
    }
}

impl<R: Source> SampleReader for CifarReader<R> {
    fn shape(&self) -> &[usize] {
        &[3, 32, 32]
    }

    fn count(&self) -> Option<usize> {
        self.records.count()
    }

    fn pixels(&self) -> bool {
        true
    }

    fn labelled(&self) -> bool {
        true
    }

    fn skip(&mut self, samples: usize) -> Result<usize, DataError> {
        let skipped = self.records.skip(samples)?;
        self.next += skipped;
        Ok(skipped)
    }

    fn read_rows(&mut self, max: usize) -> Result<Option<Rows>, DataError> {
        let Some(mut rows) = self.records.read_rows(max)? else { return Ok(None) };
        let mut labels = Vec::with_capacity(rows.count);
        for row in 0..rows.count {
            let pixels = row * self.kind.record() + self.kind.label_bytes();
            let label = rows.values[pixels - 1] as u32;
            if label >= self.kind.classes() {
                return Err(DataError::new(
                    format!("sample {}", self.next + row),
                    format!("a label below {}", self.kind.classes()),
                    label.to_string(),
                )
                .with_hint(format!("the file does not hold {} records", self.kind.name())));
            }
            labels.push(label);
            rows.values.copy_within(pixels..pixels + PIXELS, row * PIXELS);
        }
        rows.values.truncate(rows.count * PIXELS);
        rows.labels = Some(labels);
        self.next += rows.count;
        Ok(Some(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], seed: u8) -> Vec<u8> {
        let mut bytes = labels.to_vec();
        bytes.extend((0..PIXELS).map(|i| (i as u8).wrapping_add(seed)));
        bytes
    }

    #[test]
    fn labels_are_taken_out_of_the_records() {
        let bytes = [record(&[3], 0), record(&[9], 7), record(&[0], 1)].concat();
        for len in [Some(bytes.len() as u64), None] {
            let mut reader = CifarReader::new(bytes.as_slice(), CifarKind::Cifar10, len).unwrap();
            assert_eq!(reader.count(), len.map(|_| 3));
            let rows = reader.read_rows(2).unwrap().unwrap();
            assert_eq!((rows.count, rows.values.len()), (2, 2 * PIXELS));
            assert_eq!(rows.labels.unwrap(), [3, 9]);
            assert_eq!(rows.values[PIXELS..PIXELS + 3], [7.0, 8.0, 9.0]);
            assert_eq!(reader.skip(5).unwrap(), 1);
            assert_eq!(reader.read_rows(2).unwrap(), None);
        }
    }

    #[test]
    fn the_fine_label_of_cifar_100() {
        let bytes = record(&[4, 99], 0);
        let mut reader = CifarReader::new(bytes.as_slice(), CifarKind::Cifar100, None).unwrap();
        let rows = reader.read_rows(1).unwrap().unwrap();
        assert_eq!((rows.labels.unwrap(), rows.values[0]), (vec![99], 0.0));
    }

    #[test]
    fn damaged_files() {
        let mut bytes = [record(&[3], 0), record(&[10], 0)].concat();
        let mut reader = CifarReader::new(bytes.as_slice(), CifarKind::Cifar10, None).unwrap();
        assert_eq!(reader.skip(1).unwrap(), 1);
        assert_eq!(
            reader.read_rows(1).unwrap_err().to_string(),
            "sample 1: expected a label below 10, found 10"
        );
        bytes.pop();
        assert!(CifarReader::new(bytes.as_slice(), CifarKind::Cifar10, Some(bytes.len() as u64)).is_err());
        assert!(CifarReader::new([].as_slice(), CifarKind::Cifar10, Some(0)).is_err());
        let mut reader = CifarReader::new(bytes.as_slice(), CifarKind::Cifar10, None).unwrap();
        assert!(reader.read_rows(9).unwrap_err().place.contains("sample 1"));
    }
}
