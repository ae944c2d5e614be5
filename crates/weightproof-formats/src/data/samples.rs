//! What every format's reader offers: rows of numbers, some with labels.

use crate::error::DataError;

/// Consecutive samples as they are in the file, not yet multiplied by their scale.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// How many samples.
    pub count: usize,
    /// The samples, row-major: (count, width).
    pub values: Vec<f64>,
    /// One label per sample, where the format has them.
    pub labels: Option<Vec<u32>>,
}

impl Rows {
    /// Keeps the first `count` samples of `width` values, and returns the others if there are any.
    pub(crate) fn split_off(&mut self, count: usize, width: usize) -> Option<Rows> {
        if count >= self.count {
            return None;
        }
        let rest = Rows {
            count: self.count - count,
            values: self.values.split_off(count * width),
            labels: self.labels.as_mut().map(|labels| labels.split_off(count)),
        };
        self.count = count;
        Some(rest)
    }

    /// Appends what was read next from the same reader.
    pub(crate) fn append(&mut self, more: Rows) {
        if self.values.capacity() == 0 {
            self.values = more.values;
        } else {
            self.values.extend_from_slice(&more.values);
        }
        match (&mut self.labels, more.labels) {
            (Some(labels), Some(more)) => labels.extend(more),
            (labels, more) if self.count == 0 => *labels = more,
            _ => {}
        }
        self.count += more.count;
    }
}

/// A stream of samples of one shape. After an error its position is undefined and it must not be read further.
pub trait SampleReader {
    /// Shape of one sample.
    fn shape(&self) -> &[usize];

    /// Number of samples in the file, where it is known.
    fn count(&self) -> Option<usize>;

    /// Whether the values are unsigned bytes.
    fn pixels(&self) -> bool;

    /// Whether [`Rows::labels`] are there.
    fn labelled(&self) -> bool {
        false
    }

    /// Skips samples without decoding them, and tells how many; fewer than `samples` only at the end.
    ///
    /// # Errors
    /// Data that end within a sample.
    fn skip(&mut self, samples: usize) -> Result<usize, DataError>;

    /// Reads the next samples, at least one and at most `max` (which is at least 1); `None` after the last.
    ///
    /// # Errors
    /// Names the sample or the row and what is wrong with it.
    fn read_rows(&mut self, max: usize) -> Result<Option<Rows>, DataError>;

    /// Appends the next samples to `rows`, as [`SampleReader::read_rows`] gives them but for each byte what `table` has for it, and says
    /// whether there were any; `None`, and nothing is read, where samples are no bytes that follow each other.
    fn read_bytes(
        &mut self,
        _max: usize,
        _table: &[f64; 256],
        _rows: &mut Rows,
    ) -> Option<Result<bool, DataError>> {
        None
    }
}

/// Readers of several files, one after the other, as one data set.
pub(crate) struct Chained {
    /// Name of the file, reader.
    readers: Vec<(String, Box<dyn SampleReader + Send>)>,
    current: usize,
}

impl Chained {
    /// `readers` have the same shape and there is at least one.
    pub(crate) fn new(readers: Vec<(String, Box<dyn SampleReader + Send>)>) -> Self {
        assert!(!readers.is_empty());
        Chained { readers, current: 0 }
    }

    fn named(name: &str, mut error: DataError) -> DataError {
        error.place = format!("{name}: {}", error.place);
        error
    }
}

impl SampleReader for Chained {
    fn shape(&self) -> &[usize] {
        self.readers[0].1.shape()
    }

    fn count(&self) -> Option<usize> {
        self.readers.iter().map(|(_, reader)| reader.count()).sum()
    }

    fn pixels(&self) -> bool {
        self.readers[0].1.pixels()
    }

    fn labelled(&self) -> bool {
        self.readers[0].1.labelled()
    }

    fn skip(&mut self, samples: usize) -> Result<usize, DataError> {
        let mut skipped = 0;
        while let Some((name, reader)) = self.readers.get_mut(self.current) {
            skipped += reader.skip(samples - skipped).map_err(|e| Self::named(name, e))?;
            if skipped == samples {
                break;
            }
            self.current += 1;
        }
        Ok(skipped)
    }

    fn read_rows(&mut self, max: usize) -> Result<Option<Rows>, DataError> {
        while let Some((name, reader)) = self.readers.get_mut(self.current) {
            if let Some(rows) = reader.read_rows(max).map_err(|e| Self::named(name, e))? {
                return Ok(Some(rows));
            }
            self.current += 1;
        }
        Ok(None)
    }

    fn read_bytes(
        &mut self,
        max: usize,
        table: &[f64; 256],
        rows: &mut Rows,
    ) -> Option<Result<bool, DataError>> {
        while let Some((name, reader)) = self.readers.get_mut(self.current) {
            let found = reader.read_bytes(max, table, rows)?.map_err(|e| Self::named(name, e));
            if found != Ok(false) {
                return Some(found);
            }
            self.current += 1;
        }
        Some(Ok(false))
    }
}
