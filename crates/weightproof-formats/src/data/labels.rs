//! Labels in a file of their own: NPY, IDX, or text with one label per line.

use super::array::ArrayReader;
use super::csv::{CsvHeader, CsvReader};
use super::samples::SampleReader;
use super::source::{self, Opened};
use super::{idx, npy};
use crate::error::{DataError, FormatError};
use std::path::{Path, PathBuf};

/// A stream of labels.
pub struct LabelReader {
    reader: Box<dyn SampleReader + Send>,
    path: PathBuf,
}

impl std::fmt::Debug for LabelReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabelReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LabelReader {
    /// Opens a file of labels; its first bytes tell the format.
    ///
    /// # Errors
    /// A file that cannot be read, or has more than one number per label.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let opened = source::open_file(path).map_err(FormatError::io(path))?;
        LabelReader::new(opened, path.to_path_buf())
    }

    pub(crate) fn new(opened: Opened, path: PathBuf) -> Result<Self, FormatError> {
        let Opened { source, len, head } = opened;
        let reader: Result<Box<dyn SampleReader + Send>, DataError> = if head.starts_with(npy::MAGIC) {
            ArrayReader::npy(source, len).map(|reader| Box::new(reader) as _)
        } else if idx::is_idx(&head) {
            ArrayReader::idx(source, len).map(|reader| Box::new(reader) as _)
        } else if head.starts_with(b"PK") || head.contains(&0) {
            Err(DataError::new("first bytes", "an NPY or IDX file, or text", head.escape_ascii().to_string()))
        } else {
            CsvReader::new(source, false, CsvHeader::Words).map(|reader| Box::new(reader) as _)
        };
        let reader = reader.map_err(|e| e.in_file(&path))?;
        LabelReader::from_samples(reader, path)
    }

    /// Labels are the samples of `reader`, which have one value each.
    pub(crate) fn from_samples(
        reader: Box<dyn SampleReader + Send>,
        path: PathBuf,
    ) -> Result<Self, FormatError> {
        let width: usize = reader.shape().iter().product();
        if width != 1 {
            return Err(DataError::new("labels", "one per sample", format!("{width} values per sample"))
                .with_hint("one-hot labels become class numbers by y.argmax(axis=1)")
                .in_file(&path));
        }
        Ok(LabelReader { reader, path })
    }

    /// Number of labels, where it is known.
    pub(crate) fn count(&self) -> Option<usize> {
        self.reader.count()
    }

    /// Where the labels are.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Skips labels.
    pub(crate) fn skip(&mut self, labels: usize) -> Result<(), FormatError> {
        match self.reader.skip(labels) {
            Ok(skipped) if skipped == labels => Ok(()),
            Ok(skipped) => Err(too_few(skipped).in_file(&self.path)),
            Err(e) => Err(e.in_file(&self.path)),
        }
    }

    /// The labels of `count` samples, the first of which is sample `first`.
    pub(crate) fn read(&mut self, first: usize, count: usize) -> Result<Vec<u32>, FormatError> {
        let mut labels = Vec::with_capacity(count);
        while labels.len() < count {
            let rows = self.reader.read_rows(count - labels.len()).map_err(|e| e.in_file(&self.path))?;
            let Some(rows) = rows else {
                return Err(too_few(first + labels.len()).in_file(&self.path));
            };
            for value in rows.values {
                let sample = first + labels.len();
                labels.push(to_label(value).ok_or_else(|| {
                    DataError::new(format!("sample {sample}"), "a label, an integer ≥ 0", value.to_string())
                        .in_file(&self.path)
                })?);
            }
        }
        Ok(labels)
    }

    /// Checks that there are no more labels than the `samples` samples.
    pub(crate) fn expect_end(&mut self, samples: usize) -> Result<(), FormatError> {
        match self.reader.read_rows(1) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                Err(DataError::new("labels", format!("{samples}, one per sample"), "more")
                    .in_file(&self.path))
            }
            Err(e) => Err(e.in_file(&self.path)),
        }
    }
}

fn too_few(found: usize) -> DataError {
    DataError::new("labels", "one per sample", format!("{found}, but more samples"))
}

pub(crate) fn wrong_count(samples: usize, labels: usize) -> DataError {
    DataError::new("labels", format!("{samples}, one per sample"), labels.to_string())
}

/// The label that a number stands for, if it is an integer ≥ 0.
pub(crate) fn to_label(value: f64) -> Option<u32> {
    let label = value as u32;
    (f64::from(label) == value).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn labels(bytes: impl Into<Vec<u8>>) -> Result<LabelReader, FormatError> {
        LabelReader::new(source::from_reader(Cursor::new(bytes.into()), None).unwrap(), "labels".into())
    }

    #[test]
    fn text_and_idx() {
        let mut reader = labels("label\n1\n2.0\n30\n").unwrap();
        reader.skip(1).unwrap();
        assert_eq!(reader.read(1, 2).unwrap(), [2, 30]);
        reader.expect_end(3).unwrap();
        let mut reader = labels([0, 0, 8, 1, 0, 0, 0, 2, 5, 255]).unwrap();
        assert_eq!(reader.read(0, 2).unwrap(), [5, 255]);
    }

    #[test]
    fn what_is_no_label() {
        for text in ["-1", "0.5", "4294967296"] {
            let error = labels(text).unwrap().read(7, 1).unwrap_err().to_string();
            assert!(error.contains("sample 7: expected a label, an integer ≥ 0"), "{error}");
        }
        assert!(labels("0,1\n1,0\n").unwrap_err().hint().unwrap().contains("argmax"));
        assert!(labels("PK\x03\x04").is_err());
        assert!(labels("").is_err());
        assert_eq!((to_label(f64::NAN), to_label(-0.5), to_label(0.0)), (None, None, Some(0)));
    }

    #[test]
    fn too_few_and_too_many() {
        assert!(
            labels("1\n2\n")
                .unwrap()
                .read(0, 3)
                .unwrap_err()
                .to_string()
                .contains("found 2, but more samples")
        );
        assert!(labels("1\n2\n").unwrap().skip(3).is_err());
        assert!(labels("1\n2\n").unwrap().expect_end(0).is_err());
    }
}
