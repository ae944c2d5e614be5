//! Where the samples of a run come from.

use crate::RunError;
use std::ops::Range;
use weightproof::verdict::Samples;
use weightproof_report::DataReport;

/// What is known about the samples before they are read.
#[derive(Clone, Debug)]
pub struct FeedInfo {
    /// Where they come from.
    pub description: String,
    /// Number of values of a sample.
    pub width: usize,
    /// How many there are, whatever part of them is read; `None` where only their end would tell.
    pub count: Option<usize>,
    /// The range that inputs stay within when they move: that of bytes, times their scale.
    pub range: Option<(f64, f64)>,
    /// Whether they have labels.
    pub labelled: bool,
}

/// Samples of a run, in the order that the network reads them.
pub trait Feed: Send {
    /// What is known about the samples.
    fn info(&self) -> FeedInfo;

    /// The next samples, at most `most`; `None` after the last. Labels are checked against `classes`, or left out when that is
    /// `None`.
    ///
    /// # Errors
    /// Damaged data, values that are not finite, labels beyond the classes.
    fn advance(&mut self, most: usize, classes: Option<usize>) -> Result<Option<Samples<'_>>, RunError>;

    /// Number of samples that are asked for; reads to their end where nothing else tells.
    ///
    /// # Errors
    /// Data that can no longer be read.
    fn samples(&self) -> Result<usize, RunError>;

    /// Leaves out all samples but those at these places among the ones that are asked for, and starts at the first of them.
    ///
    /// # Errors
    /// Data that can no longer be read.
    fn select(&mut self, part: Range<usize>) -> Result<(), RunError>;

    /// Starts again at the first sample.
    ///
    /// # Errors
    /// Data that can no longer be read.
    fn rewind(&mut self) -> Result<(), RunError>;

    /// SHA-256 of the samples: of their file, or of the numbers of an array.
    ///
    /// # Errors
    /// Data that can no longer be read.
    fn sha256(&self) -> Result<String, RunError>;

    /// The data's block of a report about `samples` of them from `offset` on.
    ///
    /// # Errors
    /// Data that can no longer be read.
    fn report(&self, samples: usize, offset: usize) -> Result<DataReport, RunError>;
}
