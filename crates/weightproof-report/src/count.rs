//! Numbers over samples, counted one sample after the other: those of a run, or of its parts in their order.

use crate::certify::fraction;
use crate::report::Record;

/// Counts records.
pub trait Counter<R: Record> {
    /// One more sample, the next in the order of the data: sums of numbers depend on it.
    fn add(&mut self, record: &R);

    /// The numbers over all of them.
    fn finish(self) -> R::Summary;
}

/// The numbers over `records`, which `counter` has not met yet.
pub(crate) fn counted<'r, R: Record + 'r>(
    mut counter: impl Counter<R>,
    records: impl IntoIterator<Item = &'r R>,
) -> R::Summary {
    records.into_iter().for_each(|record| counter.add(record));
    counter.finish()
}

/// Samples, and how many of them are predicted as they are labelled.
#[derive(Clone, Debug)]
pub(crate) struct Predicted {
    pub(crate) samples: usize,
    /// `None` when a sample has no label.
    pub(crate) correct: Option<usize>,
}

impl Default for Predicted {
    fn default() -> Self {
        Predicted { samples: 0, correct: Some(0) }
    }
}

impl Predicted {
    pub(crate) fn add(&mut self, label: Option<u32>, predicted: u32) {
        self.samples += 1;
        let right = label.map(|label| usize::from(label == predicted));
        self.correct = self.correct.zip(right).map(|(all, right)| all + right);
    }

    /// `correct / samples`.
    pub(crate) fn accuracy(&self) -> Option<f64> {
        self.correct.map(|correct| fraction(correct, self.samples))
    }
}

/// The mean of numbers in their order; NaN of none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    sum: f64,
    count: usize,
}

impl Default for Mean {
    fn default() -> Self {
        // What a sum of numbers begins with.
        Mean { sum: -0.0, count: 0 }
    }
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    pub(crate) fn value(self) -> f64 {
        self.sum / self.count as f64
    }

    /// `None` of no numbers.
    pub(crate) fn of_some(self) -> Option<f64> {
        (self.count > 0).then(|| self.value())
    }
}
