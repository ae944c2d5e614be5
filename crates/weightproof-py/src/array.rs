//! NumPy arrays as samples of a run, without copies where their type is f64.

use crate::report::fingerprint;
use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use rayon::prelude::*;
use std::ops::Range;
use std::path::Path;
use weightproof::network::Network;
use weightproof::verdict::Samples;
use weightproof_formats::DataError;
use weightproof_formats::data::{Batch, Scale};
use weightproof_report::DataReport;
use weightproof_run::RunError;
use weightproof_run::config::DataConfig;
use weightproof_run::feed::{Feed, FeedInfo};
use weightproof_run::scale::{ChosenScale, choose};
use weightproof_run::source::Fit;

/// Numbers that a thread takes at once: passes over memory, which several threads do faster.
const PART: usize = 1 << 16;

/// Samples that NumPy holds, C-contiguous; held as long as they are read.
#[derive(FromPyObject)]
pub enum Array<'py> {
    /// Read without copies.
    #[pyo3(transparent)]
    F64(PyReadonlyArrayDyn<'py, f64>),
    /// Widened batch by batch.
    #[pyo3(transparent)]
    F32(PyReadonlyArrayDyn<'py, f32>),
    /// Scaled batch by batch.
    #[pyo3(transparent)]
    U8(PyReadonlyArrayDyn<'py, u8>),
}

impl Array<'_> {
    /// The numbers, row after row.
    pub fn values(&self) -> PyResult<Values<'_>> {
        Ok(match self {
            Array::F64(array) => Values::F64(array.as_slice()?),
            Array::F32(array) => Values::F32(array.as_slice()?),
            Array::U8(array) => Values::U8(array.as_slice()?),
        })
    }

    /// Number of samples, and the shape of one.
    pub fn shape(&self) -> (usize, Vec<usize>) {
        let shape = match self {
            Array::F64(array) => array.shape(),
            Array::F32(array) => array.shape(),
            Array::U8(array) => array.shape(),
        };
        shape.split_first().map_or((0, Vec::new()), |(count, shape)| (*count, shape.to_vec()))
    }
}

/// Labels that NumPy holds.
pub type Labels<'py> = PyReadonlyArray1<'py, u32>;

/// Numbers of samples, row after row.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
    U8(&'a [u8]),
}

impl<'a> Values<'a> {
    /// The numbers of samples of this width times `scale`, in `buffer` where they are not f64 as they are.
    fn rows<'b>(
        self,
        samples: Range<usize>,
        (width, scale): (usize, Scale),
        buffer: &'b mut Vec<f64>,
    ) -> &'b [f64]
    where
        'a: 'b,
    {
        let range = samples.start * width..samples.end * width;
        match self {
            Values::F64(all) if scale == Scale::ONE => return &all[range],
            Values::F64(all) => widen(&all[range], buffer, |v| scale.of(v)),
            Values::F32(all) => widen(&all[range], buffer, |v| scale.of(f64::from(v))),
            Values::U8(all) => widen(&all[range], buffer, |v| scale.of(f64::from(v))),
        }
        buffer
    }

    /// The largest number, of bytes.
    fn largest(self) -> Option<f64> {
        match self {
            Values::F64(_) | Values::F32(_) => None,
            Values::U8(all) => all.iter().max().map(|&v| f64::from(v)),
        }
    }
}

impl Values<'_> {
    /// A sum that tells whether the numbers were changed or moved: much faster than a fingerprint, and no proof of anything.
    pub fn checksum(self) -> u64 {
        const LINE: usize = 512;
        fn sum<T: Copy + Sync>(all: &[T], bits: impl Fn(T) -> u64 + Sync) -> u64 {
            let line = |line: &[T]| line.iter().fold(0, |sum: u64, &v| sum.wrapping_add(bits(v)));
            let lines = all.par_chunks(LINE).enumerate().with_min_len(PART / LINE);
            let weighted = lines.map(|(k, values)| line(values).wrapping_mul(2 * k as u64 + 1));
            weighted.reduce(|| 0, u64::wrapping_add)
        }
        match self {
            Values::F64(all) => sum(all, f64::to_bits),
            Values::F32(all) => sum(all, |v| u64::from(v.to_bits())),
            Values::U8(all) => sum(all, u64::from),
        }
    }
}

/// `to` of all numbers.
fn widen<T: Copy + Sync>(all: &[T], buffer: &mut Vec<f64>, to: impl Fn(T) -> f64 + Sync) {
    buffer.resize(all.len(), 0.0);
    let parts = buffer.par_chunks_mut(PART).zip(all.par_chunks(PART));
    parts.for_each(|(wide, all)| wide.iter_mut().zip(all).for_each(|(wide, &v)| *wide = to(v)));
}

/// The block of a report about an array, without its fingerprint.
pub fn describe(samples: usize, shape: Vec<usize>, labelled: bool) -> DataReport {
    DataReport {
        description: "array".into(),
        format: "numpy".into(),
        samples,
        offset: 0,
        shape,
        labelled,
        classes: Vec::new(),
        scale: None,
        sha256: String::new(),
        labels_sha256: None,
        requested: None,
        range: None,
        remarks: Vec::new(),
    }
}

/// Samples of an array as a run reads them.
pub struct ArrayFeed<'a> {
    values: Values<'a>,
    labels: Option<&'a [u32]>,
    fit: Fit,
    report: DataReport,
    scale: ChosenScale,
    /// The factor of the numbers that are held.
    factor: Scale,
    width: usize,
    buffer: Vec<f64>,
    /// Place of the first sample that is held, and their number; others are elsewhere.
    before: usize,
    held: usize,
    /// Places of the samples that are read.
    part: Range<usize>,
    next: usize,
}

impl<'a> ArrayFeed<'a> {
    /// Samples of `report.shape`, `report.samples` of them, for `network`; `read` is the factor that the reader multiplied them by.
    ///
    /// # Errors
    /// When they do not fit the network; bytes of which nothing tells the unit, or that were read in another one than the network's.
    pub fn new(
        values: Values<'a>,
        labels: Option<&'a [u32]>,
        report: DataReport,
        read: Option<&ChosenScale>,
        (network, config): (&Network, &DataConfig),
    ) -> Result<Self, RunError> {
        let name = if report.format == "numpy" { "x" } else { report.description.as_str() };
        let fit = Fit::new(name, &report.shape, network, config.layout)?;
        let width = network.input_width();
        let bytes = read.map_or(matches!(values, Values::U8(_)), |read| read.bytes);
        // Bytes of a file were looked at when they were read.
        let largest = || Ok(if read.is_some() { None } else { values.largest() });
        let chosen = choose(config, bytes, Some(network), largest)?;
        let (scale, factor) = match read {
            None => (chosen.clone(), chosen.scale),
            Some(read) if read.scale == chosen.scale => (read.clone(), Scale::ONE),
            Some(read) => {
                let expected = format!("data times {} ({})", chosen.scale, chosen.reason);
                return Err(RunError::Misfit {
                    message: format!("{name}: expected {expected}, found data times {}", read.scale),
                    hint: Some("Data.load(…, scale=1) takes bytes as they are"),
                });
            }
        };
        let report = DataReport { scale: scale.report(), ..report };
        let (buffer, part, next) = (Vec::new(), 0..report.samples, 0);
        let (before, held) = (0, report.samples);
        Ok(ArrayFeed { values, labels, fit, report, scale, factor, width, buffer, before, held, part, next })
    }

    /// The same samples as those from place `first` on among `total`: others are not here, and are not read.
    ///
    /// # Errors
    /// Fewer samples in all.
    pub fn among(mut self, (first, total): (usize, usize)) -> Result<Self, RunError> {
        let held = self.held;
        if first.checked_add(held).is_none_or(|end| end > total) {
            let expected = format!("{held} samples from place {first} on among more than {total}");
            return Err(RunError::misfit(format!("x: expected {expected}, found fewer")));
        }
        self.report.samples = total;
        (self.before, self.part, self.next) = (first, 0..total, 0);
        Ok(self)
    }

    /// How samples become inputs.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }
}

impl Feed for ArrayFeed<'_> {
    fn info(&self) -> FeedInfo {
        FeedInfo {
            description: self.report.description.clone(),
            width: self.width,
            count: Some(self.report.offset + self.report.samples),
            range: self.scale.range(),
            labelled: self.labels.is_some(),
        }
    }

    fn advance(&mut self, most: usize, classes: Option<usize>) -> Result<Option<Samples<'_>>, RunError> {
        let range = self.next..self.part.end.min(self.next.saturating_add(most));
        if range.is_empty() {
            return Ok(None);
        }
        let (first, width) = (self.report.offset + range.start, self.width);
        let here = range.start.checked_sub(self.before).zip(range.end.checked_sub(self.before));
        let Some((begin, end)) = here.filter(|(_, end)| *end <= self.held) else {
            let message = format!("x: expected samples {} to {}, found others", range.start, range.end);
            return Err(RunError::misfit(message));
        };
        self.next = range.end;
        let range = begin..end;
        let labels = self.labels.filter(|_| classes.is_some()).map(|labels| &labels[range.clone()]);
        if let (Some(labels), Some(classes)) = (labels, classes) {
            check_labels(labels, first, classes)?;
        }
        let rows = self.values.rows(range.clone(), (width, self.factor), &mut self.buffer);
        check_finite(rows, first, width)?;
        if !self.fit.is_identity() {
            self.buffer = self.fit.reordered(rows.to_vec());
            return Ok(Some(Samples { first, inputs: &self.buffer, labels }));
        }
        // Borrowed again: the first borrow may have moved into the buffer.
        let inputs = match self.values {
            Values::F64(all) if self.factor == Scale::ONE => &all[range.start * width..range.end * width],
            Values::F64(_) | Values::F32(_) | Values::U8(_) => &self.buffer,
        };
        Ok(Some(Samples { first, inputs, labels }))
    }

    fn samples(&self) -> Result<usize, RunError> {
        Ok(self.part.len())
    }

    fn select(&mut self, part: Range<usize>) -> Result<(), RunError> {
        self.part = self.part.start + part.start..self.part.start + part.end;
        self.rewind()
    }

    fn rewind(&mut self) -> Result<(), RunError> {
        self.next = self.part.start;
        Ok(())
    }

    fn sha256(&self) -> Result<String, RunError> {
        Ok(match self.report.sha256.as_str() {
            "" => fingerprint(self.values),
            known => known.into(),
        })
    }

    fn report(&self, samples: usize, _offset: usize) -> Result<DataReport, RunError> {
        let offset = self.report.offset + self.part.start;
        Ok(DataReport { samples, offset, ..self.report.clone() })
    }
}

/// Labels beyond the classes are an error, as those of files are.
fn check_labels(labels: &[u32], first: usize, classes: usize) -> Result<(), RunError> {
    if labels.iter().all(|&label| (label as usize) < classes) {
        return Ok(());
    }
    let batch = Batch { first, count: labels.len(), inputs: Vec::new(), labels: Some(labels.to_vec()) };
    Ok(batch.check_labels(classes, Path::new("y"))?)
}

/// Numbers that are not finite are an error, as those of files are.
fn check_finite(rows: &[f64], first: usize, width: usize) -> Result<(), RunError> {
    const EXPONENT: u64 = 0x7ff << 52;
    // Without an early end, so that it is one pass of vector instructions.
    let is_bad = |part: &[f64]| part.iter().fold(false, |bad, v| bad | (v.to_bits() & EXPONENT == EXPONENT));
    if !rows.par_chunks(PART).any(is_bad) {
        return Ok(());
    }
    let at = rows.iter().position(|v| !v.is_finite()).unwrap_or(0);
    let place = format!("sample {}, value {}", first + at / width, at % width);
    Err(DataError::new(place, "a finite number", rows[at].to_string()).in_file(Path::new("x")).into())
}
