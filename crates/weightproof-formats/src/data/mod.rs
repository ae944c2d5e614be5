//! Data sets, streamed: IDX, CIFAR (binary, and pickled as for Python), NPY, NPZ, CSV, Parquet (a feature) and folders of pictures.
//!
//! ```text
//! file → Source (plain, gzip, member of an archive) → SampleReader (one per format) → DataSet → Batch
//! ```
//! Memory is flat: a reader holds at most the rows that it was asked for, and grows only as bytes arrive, so neither a
//! header that lies nor a compressed bomb costs memory. Readers name the place of an error, [`DataSet`] the file.

mod array;
mod cifar;
mod csv;
mod element;
mod idx;
mod images;
mod labels;
mod layout;
mod memory;
mod npy;
mod npz;
mod open;
#[cfg(feature = "parquet")]
mod parquet;
mod pickle;
mod samples;
mod scale;
mod source;

pub use array::ArrayReader;
pub use cifar::{CifarKind, CifarReader};
pub use csv::{CsvHeader, CsvLabel, CsvOptions, CsvReader};
pub use element::Element;
pub use labels::LabelReader;
pub use layout::{ChannelOrder, reorder};
pub use npz::{Member, MemberSource, members};
pub use open::{NamedArray, read_arrays};
#[cfg(feature = "parquet")]
pub use parquet::{ParquetLabel, ParquetReader};
pub use samples::{Rows, SampleReader};
pub use scale::Scale;
pub use source::Source;

use crate::error::{DataError, FormatError};
use crate::fingerprint::{Fingerprint, sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};

/// The most values that one sample may have; a header that claims more is an error.
pub const MAX_SAMPLE_VALUES: usize = 1 << 24;

/// The most values that one batch holds (512 MiB); a batch of larger samples holds one.
pub const MAX_BATCH_VALUES: usize = 1 << 26;

/// Values that are read and multiplied at once, while a core's cache holds them.
const PIECE: usize = 1 << 15;

/// The array of an NPY file: shape and numbers, row major.
///
/// # Errors
/// Damaged bytes, or an array that is not of numbers.
pub fn read_npy(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f64>), DataError> {
    let mut reader = ArrayReader::npy(bytes, Some(bytes.len() as u64))?;
    let count = reader.count().unwrap_or(0);
    let rows = reader.read_rows(count)?;
    let mut shape = vec![count];
    shape.extend(reader.shape().iter().filter(|_| reader.shape() != [1]));
    Ok((shape, rows.map_or_else(Vec::new, |rows| rows.values)))
}

/// The samples of a batch of CIFAR as Python pickles it. Nothing of it is run.
///
/// # Errors
/// Damaged bytes, objects that are no arrays or lists of labels.
pub fn read_cifar_pickle(bytes: &[u8]) -> Result<impl SampleReader + use<>, DataError> {
    pickle::cifar(bytes).map(|(reader, _)| reader)
}

/// A PNG or JPEG file: channels, height and width, and the numbers from 0 to 255, one channel after the other.
///
/// # Errors
/// Damaged bytes, transparent pictures, more than [`MAX_SAMPLE_VALUES`] numbers.
pub fn decode_picture(bytes: &[u8]) -> Result<([usize; 3], Vec<f64>), DataError> {
    images::decode(bytes)
}

/// Which part of a data set a folder or an archive with both is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// `t10k-*`, `test_batch.bin`, `x_test`.
    #[default]
    Test,
    /// `train-*`, `data_batch_*.bin`, `x_train`.
    Train,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct DataOptions {
    /// A file, or a folder with IDX or CIFAR files, or with one folder of pictures for each class.
    pub path: PathBuf,
    /// The labels, one per sample: `.npy`, IDX, or text with one per line. They take precedence over labels in the
    /// data; a `.csv` has no label column then.
    pub labels: Option<PathBuf>,
    /// Which part, where there are two.
    pub split: Split,
    /// How many samples are skipped.
    pub offset: usize,
    /// How many samples are read at most.
    pub samples: Option<usize>,
    /// Whether the first column of a `.csv` is the label.
    pub csv_labels: bool,
    /// Whether the first line of a `.csv` names the columns.
    pub csv_header: CsvHeader,
    /// What separates the fields of a `.csv`; by default a comma, in a `.tsv` a tab.
    pub csv_delimiter: Option<u8>,
    /// The name of the column with the labels of a `.csv`, where by default the first column is that, or of Parquet.
    pub csv_label_column: Option<String>,
}

impl DataOptions {
    /// All test samples of `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        DataOptions {
            path: path.into(),
            labels: None,
            split: Split::Test,
            offset: 0,
            samples: None,
            csv_labels: true,
            csv_header: CsvHeader::Auto,
            csv_delimiter: None,
            csv_label_column: None,
        }
    }
}

/// What a data set is.
#[derive(Clone, Debug, PartialEq)]
pub struct DataInfo {
    /// The last folder and the file: `mnist/t10k-images-idx3-ubyte.gz`.
    pub description: String,
    /// `idx`, `cifar-10`, `cifar-100`, `npy`, `npz`, `csv`, `parquet` or `pictures`.
    pub format: &'static str,
    /// Shape of one sample: `[28, 28]`, `[3, 32, 32]`, `[5]`.
    pub shape: Vec<usize>,
    /// Samples in the data set, whatever part of it is read; `None` where only the end of the file would tell.
    pub count: Option<usize>,
    /// Whether the data are bytes; they are multiplied by 1/255 unless [`DataSet::set_scale`] says otherwise.
    pub pixels: bool,
    /// Whether the samples have labels.
    pub labelled: bool,
    /// Names of the classes, label by label, where the data have names instead of numbers.
    pub classes: Vec<String>,
}

/// Consecutive samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Index of the first sample in the data set.
    pub first: usize,
    /// How many samples.
    pub count: usize,
    /// The samples, row-major: (count, width).
    pub inputs: Vec<f64>,
    /// One label per sample.
    pub labels: Option<Vec<u32>>,
}

impl Batch {
    /// Checks that every label is one of `classes` classes.
    ///
    /// # Errors
    /// Names `file`, the sample and the label that is too large.
    pub fn check_labels(&self, classes: usize, file: &Path) -> Result<(), FormatError> {
        let labels = self.labels.as_deref().unwrap_or_default();
        match labels.iter().position(|&label| label as usize >= classes) {
            None => Ok(()),
            Some(at) => Err(DataError::new(
                format!("sample {}", self.first + at),
                format!("a label from 0 to {}", classes.saturating_sub(1)),
                labels[at].to_string(),
            )
            .with_hint(format!("the network has {classes} outputs; are these the right data?"))
            .in_file(file)),
        }
    }
}

/// Where the bytes of a data set are, for its fingerprint.
enum Origin {
    Files(Vec<PathBuf>),
    Sha256(String),
}

/// A data set, read batch by batch.
pub struct DataSet {
    info: DataInfo,
    path: PathBuf,
    origin: Origin,
    reader: Box<dyn SampleReader + Send>,
    scale: Scale,
    /// Rows that were read to look at them, and are given out first.
    ahead: Option<Rows>,
    /// Memory for the next batch, see [`DataSet::reuse`].
    spare: Vec<f64>,
    labels: Option<LabelReader>,
    first: usize,
    next: usize,
    end: Option<usize>,
}

impl std::fmt::Debug for DataSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataSet").field("info", &self.info).field("next", &self.next).finish_non_exhaustive()
    }
}

impl DataSet {
    /// Opens a file or folder and skips to the first sample wanted.
    ///
    /// # Errors
    /// A path that is not there, an unknown or damaged format, an empty data set, labels that do not match, an offset
    /// beyond the last sample. More `samples` than there are is not an error.
    pub fn open(options: &DataOptions) -> Result<DataSet, FormatError> {
        open::open(options)?.select(options.offset, options.samples)
    }

    /// A data set of IDX bytes, plain or gzip, as they are embedded into a program.
    ///
    /// # Errors
    /// As [`DataSet::open`]; `description` takes the place of the file name.
    pub fn from_idx_bytes(
        images: impl Into<Cow<'static, [u8]>>,
        labels: Option<Cow<'static, [u8]>>,
        description: &str,
    ) -> Result<DataSet, FormatError> {
        let path = Path::new(description);
        let images = images.into();
        let origin = Origin::Sha256(sha256(&images));
        let opened = source::from_reader(Cursor::new(images), None).map_err(FormatError::io(path))?;
        let reader = ArrayReader::idx(opened.source, opened.len).map_err(|e| e.in_file(path))?;
        let labels = match labels {
            None => None,
            Some(bytes) => {
                let opened = source::from_reader(Cursor::new(bytes), None).map_err(FormatError::io(path))?;
                Some(LabelReader::new(opened, path.to_path_buf())?)
            }
        };
        DataSet::new(Box::new(reader), labels, "idx", path.to_path_buf(), origin)
    }

    fn new(
        reader: Box<dyn SampleReader + Send>,
        labels: Option<LabelReader>,
        format: &'static str,
        path: PathBuf,
        origin: Origin,
    ) -> Result<DataSet, FormatError> {
        let info = DataInfo {
            description: open::description(&path),
            format,
            shape: reader.shape().to_vec(),
            count: reader.count(),
            pixels: reader.pixels(),
            labelled: labels.is_some() || reader.labelled(),
            classes: Vec::new(),
        };
        if let (Some(samples), Some(labels)) = (info.count, &labels)
            && let Some(found) = labels.count()
            && found != samples
        {
            return Err(labels::wrong_count(samples, found).in_file(labels.path()));
        }
        let scale = if info.pixels { Scale::BYTES } else { Scale::ONE };
        Ok(DataSet {
            info,
            path,
            origin,
            reader,
            scale,
            ahead: None,
            spare: Vec::new(),
            labels,
            first: 0,
            next: 0,
            end: None,
        })
    }

    /// The data set with names for its classes.
    fn with_classes(mut self, classes: Vec<String>) -> DataSet {
        self.info.classes = classes;
        self
    }

    /// What the data set is.
    pub fn info(&self) -> &DataInfo {
        &self.info
    }

    /// Multiplies all samples by another factor than 1/255 for bytes and 1 for other numbers.
    pub fn set_scale(&mut self, scale: Scale) {
        self.scale = scale;
    }

    /// The largest number among the next samples as the file has them: of at least `samples` of them where there are so many, or
    /// as many as have one above `enough`. They are still given out afterwards.
    ///
    /// # Errors
    /// As [`DataSet::next_batch`].
    pub fn largest_ahead(&mut self, samples: usize, enough: f64) -> Result<Option<f64>, FormatError> {
        let width: usize = self.info.shape.iter().product();
        let wanted = self.end.map_or(usize::MAX, |end| end.saturating_sub(self.next));
        let wanted = wanted.min(samples).min((MAX_BATCH_VALUES / width).max(1));
        let mut rows = self.ahead.take().unwrap_or_default();
        let largest = |rows: &Rows| rows.values.iter().copied().reduce(f64::max);
        while rows.count < wanted && !largest(&rows).is_some_and(|largest| largest > enough) {
            let more = self.reader.read_rows(wanted - rows.count).map_err(|e| e.in_file(&self.path))?;
            let Some(more) = more else { break };
            rows.append(more);
        }
        let found = largest(&rows);
        self.ahead = (rows.count > 0).then_some(rows);
        Ok(found)
    }

    /// The next rows, at least one and at most `most`; `None` after the last.
    fn next_rows(&mut self, most: usize, width: usize) -> Result<Option<Rows>, FormatError> {
        match self.ahead.take() {
            None => self.reader.read_rows(most).map_err(|e| e.in_file(&self.path)),
            Some(mut rows) => {
                self.ahead = rows.split_off(most, width);
                Ok(Some(rows))
            }
        }
    }

    /// The data set from sample `offset` of what is left, at most `samples` of them.
    ///
    /// # Errors
    /// No samples are left: `samples` is 0, or `offset` is not less than their number.
    ///
    /// # Panics
    /// After [`DataSet::largest_ahead`], which reads what would be skipped.
    pub fn select(mut self, offset: usize, samples: Option<usize>) -> Result<DataSet, FormatError> {
        assert!(self.ahead.is_none(), "samples are skipped before they are looked at");
        if samples == Some(0) {
            return Err(DataError::new("number of samples", "at least 1", "0").in_file(&self.path));
        }
        if self.info.count.is_some_and(|count| offset >= count - self.next) {
            return Err(self.no_samples(offset));
        }
        let skipped = self.reader.skip(offset).map_err(|e| e.in_file(&self.path))?;
        self.next += skipped;
        if skipped < offset {
            return Err(self.no_samples(offset));
        }
        if let Some(labels) = &mut self.labels {
            labels.skip(offset)?;
        }
        self.first = self.next;
        self.end = samples.map(|samples| self.next.saturating_add(samples));
        Ok(self)
    }

    /// Number of samples from here on, to the last one that is wanted. Reads to the end where the data do not tell.
    ///
    /// # Errors
    /// Damaged data.
    pub fn left(mut self) -> Result<usize, FormatError> {
        let wanted = self.end.map_or(usize::MAX, |end| end.saturating_sub(self.next));
        match self.info.count {
            Some(count) => Ok(count.saturating_sub(self.next).min(wanted)),
            None => self.reader.skip(wanted).map_err(|e| e.in_file(&self.path)),
        }
    }

    fn no_samples(&self, offset: usize) -> FormatError {
        let count = self.info.count.unwrap_or(self.next);
        DataError::new("offset", format!("less than {count}, the number of samples"), offset.to_string())
            .in_file(&self.path)
    }

    /// The next samples, at least one and at most `max` (fewer also where [`MAX_BATCH_VALUES`] is reached); `None`
    /// after the last.
    ///
    /// # Errors
    /// Damaged data, values that are not finite, labels that are missing, left over or no integers ≥ 0.
    pub fn next_batch(&mut self, max: usize) -> Result<Option<Batch>, FormatError> {
        let width: usize = self.info.shape.iter().product();
        let wanted = self.end.map_or(usize::MAX, |end| end.saturating_sub(self.next));
        let wanted = wanted.min(max.max(1)).min((MAX_BATCH_VALUES / width).max(1));
        let mut rows = Rows { values: std::mem::take(&mut self.spare), ..Rows::default() };
        rows.values.clear();
        let piece = (PIECE / width).max(1);
        let table = self.scale.of_bytes().filter(|_| self.ahead.is_none());
        while rows.count < wanted {
            if let Some(table) = &table
                && let Some(found) = self.reader.read_bytes(wanted - rows.count, table, &mut rows)
            {
                if found.map_err(|e| e.in_file(&self.path))? {
                    continue;
                }
                break;
            }
            let Some(mut more) = self.next_rows(piece.min(wanted - rows.count), width)? else { break };
            self.multiply(&mut more.values, self.next + rows.count)?;
            rows.append(more);
        }
        if rows.count == 0 {
            return self.finish(wanted).map(|()| None);
        }
        let labels = match &mut self.labels {
            Some(labels) => Some(labels.read(self.next, rows.count)?),
            None => rows.labels,
        };
        let first = self.next;
        self.next += rows.count;
        Ok(Some(Batch { first, count: rows.count, inputs: rows.values, labels }))
    }

    /// Takes the memory of a batch's inputs for the next batch.
    pub fn reuse(&mut self, inputs: Vec<f64>) {
        self.spare = inputs;
    }

    /// Multiplies the values of samples from `first` on by the scale.
    fn multiply(&self, values: &mut [f64], first: usize) -> Result<(), FormatError> {
        if self.scale == Scale::ONE {
            return Ok(());
        }
        let mut finite = true;
        for value in values.iter_mut() {
            *value = self.scale.of(*value);
            finite &= value.is_finite();
        }
        if finite {
            return Ok(());
        }
        let width: usize = self.info.shape.iter().product();
        let at = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
        let expected = format!("numbers that are finite after they are multiplied by {}", self.scale);
        let place = format!("sample {}", first + at / width);
        Err(DataError::new(place, expected, "a larger one").in_file(&self.path))
    }

    /// What can only be checked at the end of the data: that there were samples, and no more labels than samples.
    fn finish(&mut self, wanted: usize) -> Result<(), FormatError> {
        if self.next == self.first {
            return Err(self.no_samples(self.first));
        }
        match &mut self.labels {
            Some(labels) if wanted > 0 => labels.expect_end(self.next),
            _ => Ok(()),
        }
    }

    /// SHA-256 of the bytes of the file with the samples (of several files, one after the other), in hexadecimal.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn sha256(&self) -> Result<String, FormatError> {
        match &self.origin {
            Origin::Sha256(digest) => Ok(digest.clone()),
            Origin::Files(files) => {
                let mut fingerprint = Fingerprint::default();
                for path in files {
                    hash_file(path, &mut fingerprint).map_err(FormatError::io(path))?;
                }
                Ok(fingerprint.finish())
            }
        }
    }
}

fn hash_file(path: &Path, fingerprint: &mut Fingerprint) -> io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        fingerprint.update(bytes);
        let n = bytes.len();
        file.consume(n);
    }
}
