//! Batches in parts of a fixed size, which run on all threads.

use crate::data::right;
use crate::graph::Graph;
use crate::parameters::Parameters;
use rayon::prelude::*;

/// Least and most samples that are evaluated together.
const SHARD: (usize, usize) = (64, 128);

/// What `f(inputs, labels, share of the batch)` gives for each shard of a batch, in the order of the samples. The size of the
/// shards, and so every sum, does not depend on the number of threads.
pub(crate) fn shards<R: Send>(
    inputs: &[f32],
    labels: &[u32],
    f: impl Fn(&[f32], &[u32], f32) -> R + Sync,
) -> Vec<R> {
    let width = inputs.len() / labels.len();
    // Two at least for common batches.
    let shard = (labels.len() / 2).clamp(SHARD.0, SHARD.1);
    let shards = inputs.par_chunks(shard * width).zip(labels.par_chunks(shard));
    let share = |part: &[u32]| part.len() as f32 / labels.len() as f32;
    shards.map(|(inputs, part)| f(inputs, part, share(part))).collect()
}

/// The mean cross-entropy of a batch from inside.
pub struct CrossEntropy {
    /// Which samples have the largest output at their label.
    pub right: Vec<bool>,
    /// By the parameters.
    pub gradient: Parameters,
    /// By the inputs.
    pub input_gradient: Vec<f32>,
}

impl Graph {
    /// Correct predictions of a batch, and the gradients of its mean cross-entropy.
    pub fn cross_entropy(&self, at: &Parameters, inputs: &[f32], labels: &[u32]) -> CrossEntropy {
        let mut shards = shards(inputs, labels, |inputs, labels, share| {
            let tape = self.tape();
            let (weights, x) = (self.track(&tape, at), self.tracked_batch(&tape, inputs));
            let logits = self.forward(&weights, x);
            tape.backward(logits.cross_entropy(labels), share);
            let classes = logits.shape()[1];
            let right = logits.read(|logits| {
                let rows = logits.chunks_exact(classes).zip(labels);
                rows.map(|(row, &label)| right(row, label as usize)).collect()
            });
            CrossEntropy { right, gradient: self.gradient(&weights), input_gradient: x.gradient() }
        });
        let mut all = shards.remove(0);
        for shard in shards {
            all.right.extend(shard.right);
            all.gradient.add(&shard.gradient);
            all.input_gradient.extend(shard.input_gradient);
            self.recycle(shard.gradient);
        }
        all
    }
}
