//! Labelled samples in memory.

use crate::error::TrainError;
use rayon::prelude::*;
use weightproof::verdict::Samples;
use weightproof_formats::FormatError;
use weightproof_formats::data::{Batch, DataSet};
use weightproof_formats::fingerprint::Fingerprint;

/// Samples decoded at once while a data set is read.
const DECODED: usize = 2048;

/// Samples that a thread copies at least.
const COPIED: usize = 32;

/// Samples and their labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labelled {
    /// Values of one sample.
    pub width: usize,
    /// The samples, row-major: (count, width).
    pub inputs: Vec<f32>,
    /// One label for each.
    pub labels: Vec<u32>,
}

impl Labelled {
    /// All samples that are left in `data`; none when it has no labels.
    ///
    /// # Errors
    /// As [`DataSet::next_batch`].
    pub fn read(data: &mut DataSet) -> Result<Labelled, FormatError> {
        let width = data.info().shape.iter().product();
        Labelled::collect(width, |most| data.next_batch(most))
    }

    /// All samples that `next` gives, at most as many at once as it is asked for; none when they have no labels.
    ///
    /// # Errors
    /// Those of `next`.
    pub fn collect<E>(
        width: usize,
        mut next: impl FnMut(usize) -> Result<Option<Batch>, E>,
    ) -> Result<Labelled, E> {
        let mut all = Labelled { width, ..Labelled::default() };
        while let Some(batch) = next(DECODED)? {
            let Some(labels) = batch.labels else { return Ok(Labelled { width, ..Labelled::default() }) };
            all.inputs.extend(batch.inputs.iter().map(|&x| x as f32));
            all.labels.extend(labels);
        }
        Ok(all)
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// SHA-256 of width, labels and inputs, in hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hash = Fingerprint::default();
        hash.update(&(self.width as u64).to_le_bytes());
        self.labels.iter().for_each(|label| hash.update(&label.to_le_bytes()));
        for sample in self.inputs.chunks(self.width.max(1)) {
            let bytes: Vec<u8> = sample.iter().flat_map(|x| x.to_le_bytes()).collect();
            hash.update(&bytes);
        }
        hash.finish()
    }

    /// The samples at these places.
    pub fn pick(&self, places: &[usize]) -> Labelled {
        let mut picked = Labelled::default();
        picked.copy(self, places);
        picked
    }

    /// Becomes the samples of `data` at these places and keeps its memory.
    pub fn copy(&mut self, data: &Labelled, places: &[usize]) {
        let width = data.width;
        self.width = width;
        self.inputs.resize(places.len() * width, 0.0);
        self.labels.clear();
        self.labels.extend(places.iter().map(|&s| data.labels[s]));
        let rows = self.inputs.par_chunks_exact_mut(width.max(1)).zip(places).with_min_len(COPIED);
        rows.for_each(|(row, &s)| row.copy_from_slice(&data.inputs[s * width..(s + 1) * width]));
    }

    /// The first samples, and the last `count` of them.
    pub fn split(mut self, count: usize) -> (Labelled, Labelled) {
        let first = self.len() - count.min(self.len());
        let inputs = self.inputs.split_off(first * self.width);
        let labels = self.labels.split_off(first);
        (Labelled { ..self }, Labelled { width: self.width, inputs, labels })
    }

    /// Inputs in the precision of the core.
    pub fn wide(&self) -> Vec<f64> {
        self.inputs.iter().map(|&x| f64::from(x)).collect()
    }

    /// The samples for the core; `inputs` are [`Labelled::wide`].
    pub fn samples<'a>(&'a self, inputs: &'a [f64]) -> Samples<'a> {
        Samples { first: 0, inputs, labels: Some(&self.labels) }
    }

    /// Checks that the samples fit a network.
    ///
    /// # Errors
    /// When there are none, their width differs, a value is not finite or a label too large.
    pub fn check(&self, width: usize, classes: usize) -> Result<(), TrainError> {
        let fail = |expected: String, found: String| Err(TrainError::Data { expected, found });
        if self.is_empty() {
            return fail("at least one sample to train on".into(), "none".into());
        }
        if self.width != width {
            return fail(format!("samples of {width} values"), self.width.to_string());
        }
        if let Some(at) = self.inputs.iter().position(|x| !x.is_finite()) {
            return fail(format!("finite values in sample {}", at / width), self.inputs[at].to_string());
        }
        match self.labels.iter().position(|&label| label as usize >= classes) {
            Some(at) => fail(format!("a label below {classes} for sample {at}"), self.labels[at].to_string()),
            None => Ok(()),
        }
    }
}

/// Whether the label has the largest output; NaN is never right.
pub fn right<T: PartialOrd>(outputs: &[T], label: usize) -> bool {
    outputs.iter().enumerate().all(|(j, v)| j == label || *v < outputs[label])
}
