//! Rows of a dense array of numbers: what IDX, NPY and CIFAR files are after their header.

use super::MAX_SAMPLE_VALUES;
use super::element::{self, Element};
use super::samples::{Rows, SampleReader};
use super::source::{Source, read_full};
use crate::error::DataError;

/// Bytes that are read and decoded at a time; a multiple of every element's size.
const CHUNK: usize = 1 << 16;

/// Values that are allocated before any of them was read.
const RESERVE: usize = 1 << 22;

/// What a header says about the numbers that follow it.
pub(crate) struct Header {
    pub(crate) element: Element,
    pub(crate) big_endian: bool,
    /// Number of samples, then the shape of one.
    pub(crate) shape: Vec<usize>,
    /// Bytes of the header itself.
    pub(crate) bytes: u64,
}

/// Appends the numbers of bytes to those that are there; an error says which number, and what it is.
type Decode<'d> = dyn Fn(&[u8], &mut Vec<f64>) -> Result<(), (usize, String)> + 'd;

/// A reader of the samples in an array whose first axis counts them.
///
/// Made by [`ArrayReader::idx`] and [`ArrayReader::npy`].
pub struct ArrayReader<R> {
    source: R,
    element: Element,
    big_endian: bool,
    shape: Vec<usize>,
    width: usize,
    count: Option<usize>,
    next: usize,
    header_bytes: u64,
    buffer: Vec<u8>,
}

impl<R: Source> ArrayReader<R> {
    /// `len` is the length of the stream with its header, where known.
    pub(crate) fn new(source: R, header: Header, len: Option<u64>) -> Result<Self, DataError> {
        let Header { element, big_endian, shape, bytes } = header;
        let (&count, sample) = shape.split_first().ok_or_else(|| {
            DataError::new("shape", "an array with one sample per entry of its first axis", "a single number")
        })?;
        if count == 0 {
            return Err(DataError::new("number of samples", "at least 1", "0"));
        }
        let shape = if sample.is_empty() { vec![1] } else { sample.to_vec() };
        let reader = Self::rows(source, element, big_endian, shape, Some(count), bytes)?;
        let Some(total) = reader.total() else {
            return Err(DataError::new(
                "shape",
                "a size below 2⁶⁴ bytes",
                format!("{count} × {:?}", reader.shape),
            ));
        };
        match len {
            Some(len) if len < total => {
                Err(reader.cut_off(((len.saturating_sub(bytes)) / reader.row_bytes()) as usize, len))
            }
            Some(len) if len > total => Err(reader.trailing(format!("{len} bytes"))),
            _ => Ok(reader),
        }
    }

    /// Rows up to the end of the stream where `count` is `None`.
    pub(crate) fn rows(
        source: R,
        element: Element,
        big_endian: bool,
        shape: Vec<usize>,
        count: Option<usize>,
        header_bytes: u64,
    ) -> Result<Self, DataError> {
        let width = shape.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
        let width = match width {
            Some(width) if (1..=MAX_SAMPLE_VALUES).contains(&width) => width,
            _ => {
                return Err(DataError::new(
                    "shape of a sample",
                    format!("1 to {MAX_SAMPLE_VALUES} values"),
                    format!("{shape:?}"),
                ));
            }
        };
        Ok(ArrayReader {
            source,
            element,
            big_endian,
            shape,
            width,
            count,
            next: 0,
            header_bytes,
            buffer: Vec::new(),
        })
    }

    /// Whether the numbers are integers.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(self.element, Element::F16 | Element::F32 | Element::F64)
    }

    fn row_bytes(&self) -> u64 {
        (self.width * self.element.size()) as u64
    }

    /// Bytes of the whole stream, where the number of samples is known.
    fn total(&self) -> Option<u64> {
        let count = u64::try_from(self.count?).ok()?;
        count.checked_mul(self.row_bytes())?.checked_add(self.header_bytes)
    }

    /// Offset of a sample in the stream.
    fn offset(&self, sample: usize) -> u64 {
        (sample as u64).saturating_mul(self.row_bytes()).saturating_add(self.header_bytes)
    }

    fn cut_off(&self, sample: usize, found: u64) -> DataError {
        let expected = self.total().unwrap_or_else(|| self.offset(sample.saturating_add(1)));
        DataError::new(
            format!("sample {sample}"),
            format!("{expected} bytes in all"),
            format!("the end after {found} bytes"),
        )
        .with_hint("the file is cut off; download or write it again")
    }

    fn trailing(&self, found: String) -> DataError {
        let total = self.total().unwrap_or_default();
        DataError::new("end of the data", format!("{total} bytes as the header says"), found)
    }

    fn io(&self, sample: usize, error: &std::io::Error) -> DataError {
        DataError::new(format!("sample {sample}"), "readable data", error.to_string())
    }

    /// Samples that may still come.
    fn left(&self) -> usize {
        self.count.map_or(usize::MAX, |count| count - self.next)
    }

    /// After the last sample nothing may follow; reading on also makes a compressed stream check its checksum.
    fn check_end(&mut self) -> Result<(), DataError> {
        if self.count != Some(self.next) {
            return Ok(());
        }
        let mut byte = [0];
        match self.source.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.trailing("more".into())),
            Err(e) => Err(DataError::new("end of the data", "a complete stream", e.to_string())),
        }
    }

    /// Appends what `decode` makes of up to `bytes` bytes of rows to `out`, and tells how many bytes there were.
    fn fill(&mut self, bytes: u64, out: &mut Vec<f64>, decode: &Decode<'_>) -> Result<u64, DataError> {
        let mut done = 0;
        while done < bytes {
            let want = (bytes - done).min(CHUNK as u64) as usize;
            self.buffer.resize(want, 0);
            let sample = |this: &Self, done: u64| this.next + (done / this.row_bytes()) as usize;
            let n = match read_full(&mut self.source, &mut self.buffer) {
                Ok(n) => n,
                Err(e) => return Err(self.io(sample(self, done), &e)),
            };
            let whole = n - n % self.element.size();
            if let Err((at, found)) = decode(&self.buffer[..whole], out) {
                let at = done + (at * self.element.size()) as u64;
                let position = (at % self.row_bytes()) as usize / self.element.size();
                let place = format!("sample {}, position {position}", sample(self, at));
                return Err(DataError::new(place, element::EXPECTED, found));
            }
            done += n as u64;
            if n < want {
                break;
            }
        }
        Ok(done)
    }

    /// Appends up to `max` rows to `out`, and tells how many there were.
    fn append_rows(
        &mut self,
        max: usize,
        out: &mut Vec<f64>,
        decode: &Decode<'_>,
    ) -> Result<usize, DataError> {
        let wanted = max.min(self.left());
        let row = self.row_bytes();
        let bytes = (wanted as u64).saturating_mul(row);
        out.reserve(wanted.saturating_mul(self.width).min(RESERVE));
        let found = self.fill(bytes, out, decode)?;
        let count = (found / row) as usize;
        if found < bytes && (self.count.is_some() || found % row != 0) {
            return Err(self.cut_off(self.next + count, self.offset(self.next).saturating_add(found)));
        }
        self.next += count;
        if count > 0 {
            self.check_end()?;
        }
        Ok(count)
    }
}

impl<R: Source> SampleReader for ArrayReader<R> {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn count(&self) -> Option<usize> {
        self.count
    }

    fn pixels(&self) -> bool {
        self.element == Element::U8
    }

    fn skip(&mut self, samples: usize) -> Result<usize, DataError> {
        let samples = samples.min(self.left());
        let row = self.row_bytes();
        let bytes = (samples as u64).saturating_mul(row);
        let skipped = self.source.skip_bytes(bytes).map_err(|e| self.io(self.next, &e))?;
        let whole = (skipped / row) as usize;
        if skipped < bytes && (self.count.is_some() || skipped % row != 0) {
            return Err(self.cut_off(self.next + whole, self.offset(self.next).saturating_add(skipped)));
        }
        self.next += whole;
        Ok(whole)
    }

    fn read_rows(&mut self, max: usize) -> Result<Option<Rows>, DataError> {
        let (element, big_endian) = (self.element, self.big_endian);
        let mut values = Vec::new();
        let count =
            self.append_rows(max, &mut values, &|bytes, out| element.decode(big_endian, bytes, out))?;
        Ok((count > 0).then_some(Rows { count, values, labels: None }))
    }

    fn read_bytes(
        &mut self,
        max: usize,
        table: &[f64; 256],
        rows: &mut Rows,
    ) -> Option<Result<bool, DataError>> {
        if self.element != Element::U8 {
            return None;
        }
        let found = self.append_rows(max, &mut rows.values, &|bytes, out| {
            out.extend(bytes.iter().map(|&byte| table[usize::from(byte)]));
            Ok(())
        });
        Some(found.map(|count| {
            rows.count += count;
            count > 0
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(
        shape: &[usize],
        bytes: &'static [u8],
        len: Option<u64>,
    ) -> Result<ArrayReader<&'static [u8]>, DataError> {
        let header = Header { element: Element::I16, big_endian: true, shape: shape.to_vec(), bytes: 0 };
        ArrayReader::new(bytes, header, len)
    }

    #[test]
    fn rows_in_batches_and_after_a_skip() {
        let bytes = &[0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6];
        let mut reader = open(&[3, 2], bytes, Some(12)).unwrap();
        assert_eq!((reader.shape(), reader.count(), reader.pixels()), ([2].as_slice(), Some(3), false));
        assert_eq!(reader.read_rows(2).unwrap().unwrap().values, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(reader.read_rows(2).unwrap().unwrap().values, [5.0, 6.0]);
        assert_eq!(reader.read_rows(2).unwrap(), None);
        let mut reader = open(&[3, 2], bytes, None).unwrap();
        assert_eq!(reader.skip(2).unwrap(), 2);
        assert_eq!(reader.read_rows(9).unwrap().unwrap().values, [5.0, 6.0]);
        assert_eq!(reader.skip(9).unwrap(), 0);
    }

    #[test]
    fn an_end_that_comes_too_early_or_too_late() {
        let error = open(&[2, 2], &[0; 7], Some(7)).err().unwrap();
        assert_eq!(error.to_string(), "sample 1: expected 8 bytes in all, found the end after 7 bytes");
        let mut reader = open(&[2, 2], &[0; 7], None).unwrap();
        assert_eq!(reader.read_rows(1).unwrap().unwrap().count, 1);
        assert_eq!(reader.read_rows(1).unwrap_err(), error);
        assert_eq!(open(&[2, 2], &[0; 7], None).unwrap().skip(2).unwrap_err(), error);
        assert!(open(&[2, 2], &[0; 9], Some(9)).is_err());
        assert!(open(&[2, 2], &[0; 9], None).unwrap().read_rows(2).is_err());
    }

    #[test]
    fn shapes_that_no_file_can_have() {
        for shape in [
            vec![],
            vec![0, 2],
            vec![2, 0],
            vec![2, 1 << 20, 1 << 20],
            vec![usize::MAX, 2, 2],
            vec![1, usize::MAX, 2],
        ] {
            assert!(open(&shape, &[], None).is_err(), "{shape:?}");
        }
        // A claim without the bytes costs nothing.
        assert!(open(&[1 << 40, 1 << 20], &[0; 8], None).unwrap().read_rows(usize::MAX).is_err());
    }
}
