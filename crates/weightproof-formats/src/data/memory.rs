//! Samples of bytes that are in memory, for formats that are read at once.

use super::samples::{Rows, SampleReader};
use crate::error::DataError;

/// Samples of one shape, with labels.
pub(crate) struct MemoryReader {
    shape: Vec<usize>,
    bytes: Vec<u8>,
    labels: Option<Vec<u32>>,
    next: usize,
}

impl MemoryReader {
    /// Samples laid end to end, as many as there are labels.
    ///
    /// # Errors
    /// When there are no samples, or another number of bytes.
    pub fn new(shape: Vec<usize>, bytes: Vec<u8>, labels: Option<Vec<u32>>) -> Result<Self, DataError> {
        let width: usize = shape.iter().product();
        let count = bytes.len() / width.max(1);
        if count == 0
            || !bytes.len().is_multiple_of(width)
            || labels.as_ref().is_some_and(|l| l.len() != count)
        {
            let expected = format!("samples of {width} bytes, one for each label");
            let found = format!("{} bytes and {} labels", bytes.len(), labels.map_or(0, |l| l.len()));
            return Err(DataError::new("samples", expected, found));
        }
        Ok(MemoryReader { shape, bytes, labels, next: 0 })
    }

    fn total(&self) -> usize {
        self.bytes.len() / self.shape.iter().product::<usize>()
    }
}

impl SampleReader for MemoryReader {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn count(&self) -> Option<usize> {
        Some(self.total())
    }

    fn pixels(&self) -> bool {
        true
    }

    fn labelled(&self) -> bool {
        self.labels.is_some()
    }

    fn skip(&mut self, samples: usize) -> Result<usize, DataError> {
        let skipped = samples.min(self.total() - self.next);
        self.next += skipped;
        Ok(skipped)
    }

    fn read_rows(&mut self, max: usize) -> Result<Option<Rows>, DataError> {
        let range = self.next..self.next + max.min(self.total() - self.next);
        if range.is_empty() {
            return Ok(None);
        }
        let width: usize = self.shape.iter().product();
        let bytes = &self.bytes[range.start * width..range.end * width];
        let values = bytes.iter().copied().map(f64::from).collect();
        let labels = self.labels.as_ref().map(|labels| labels[range.clone()].to_vec());
        self.next = range.end;
        Ok(Some(Rows { count: range.len(), values, labels }))
    }
}
