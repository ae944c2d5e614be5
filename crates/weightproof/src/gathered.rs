//! Chosen samples of a batch, side by side.

use crate::certify::{CertifyOptions, CleanBlock};
use crate::kernels::Scalar;
use crate::model::Model;
use crate::verdict::Samples;

/// Some of the samples of a batch.
pub(crate) struct Gathered<'c> {
    inputs: Vec<f64>,
    labels: Option<Vec<u32>>,
    /// Index of the batch's first sample, and places in the batch.
    first: usize,
    chosen: &'c [usize],
}

impl<'c> Gathered<'c> {
    /// Copies the samples at the places `chosen`; `width` is that of an input.
    pub fn new(samples: Samples<'_>, chosen: &'c [usize], width: usize) -> Self {
        let row = |&s: &usize| &samples.inputs[s * width..(s + 1) * width];
        Gathered {
            inputs: chosen.iter().flat_map(row).copied().collect(),
            labels: samples.labels.map(|l| chosen.iter().map(|&s| l[s]).collect()),
            first: samples.first,
            chosen,
        }
    }

    /// As a batch of its own, whose indices count from the batch's first sample.
    pub fn samples(&self) -> Samples<'_> {
        Samples { first: self.first, inputs: &self.inputs, labels: self.labels.as_deref() }
    }

    /// The unperturbed network on them, with their own indices.
    pub fn clean<T: Scalar>(&self, model: &Model<'_, T>, options: &CertifyOptions) -> CleanBlock<T> {
        let identity = |s: usize| (self.first + self.chosen[s], self.labels.as_ref().map(|l| l[s]));
        CleanBlock::new(model, &self.inputs, options, identity)
    }
}
