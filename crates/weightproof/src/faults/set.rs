//! What hits may do to the parameters of a network, as bounds see it: ranges of changes, of which at most so many happen at once.

use super::Memory;
use crate::kernels::Matrix;

/// Changes of stored parameters, of which at most [`HitSet::words`] happen at once in the whole network.
#[derive(Clone, Debug, PartialEq)]
pub struct HitSet {
    words: usize,
    /// By node, `None` where no word may be hit.
    layers: Vec<Option<LayerHits>>,
}

/// Ranges of the changes of one layer's parameters, rounded outward; zero is in all of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerHits {
    /// Least and largest change of each weight, (rows, cols).
    pub weight: [Matrix<f64>; 2],
    /// The same of each bias.
    pub bias: [Vec<f64>; 2],
}

impl HitSet {
    /// At most `words` hits on `memory`. The range of a word that may become no finite number is all numbers, so that nothing is proved.
    pub fn new(memory: &Memory, words: usize) -> Self {
        let mut layers: Vec<Option<LayerHits>> = memory.network().nodes().iter().map(|_| None).collect();
        for layer in memory.layers() {
            // A change is the difference of two numbers, rounded to the nearest.
            let outward = |d: f64, k: usize| match d {
                0.0 => 0.0,
                d if k == 0 => d.next_down(),
                d => d.next_up(),
            };
            let weight = [0, 1].map(|k| layer.weight_ends[k].map(|d| outward(d, k)));
            let bias = [0, 1].map(|k| {
                let mut ends: Vec<f64> = layer.bias_ends[k].iter().map(|&d| outward(d, k)).collect();
                ends.resize(layer.rows, 0.0);
                ends
            });
            // A hit that leaves no finite number may do anything.
            let (mut weight, mut bias) = (weight, bias);
            for word in
                (0..layer.words()).filter(|&word| layer.hits_on(word).any(|(_, hit)| !hit.is_finite()))
            {
                for (k, end) in [f64::NEG_INFINITY, f64::INFINITY].into_iter().enumerate() {
                    match layer.place(word) {
                        (i, Some(j)) => weight[k][(i, j)] = end,
                        (i, None) => bias[k][i] = end,
                    }
                }
            }
            let moves = weight.iter().any(|m| m.as_slice().iter().any(|d| *d != 0.0))
                || bias.iter().flatten().any(|d| *d != 0.0);
            layers[layer.node] = moves.then_some(LayerHits { weight, bias });
        }
        HitSet { words, layers }
    }

    /// The same changes, of which at most `words` happen at once.
    #[must_use]
    pub fn with_words(&self, words: usize) -> Self {
        HitSet { words, ..self.clone() }
    }

    /// The most words that are hit at once.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Changes of the parameters of node `index`, where some may happen.
    pub(crate) fn layer(&self, index: usize) -> Option<&LayerHits> {
        if self.words == 0 { None } else { self.layers.get(index)?.as_ref() }
    }
}
