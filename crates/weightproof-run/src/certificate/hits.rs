//! Hits that break a sample, as a certificate shows them.

use super::text::{HitWord, Place, Witness};
use crate::faults::{Beside, refuse_free_steps};
use weightproof::faults::{Code, Memory, SingleHits, WordHit};
use weightproof::property::Property;
use weightproof::verdict::Samples;

/// Looks for hits on words that break samples.
pub(super) struct BreakingHits<'n> {
    memory: &'n Memory,
    search: SingleHits<'n>,
    words: u32,
}

impl<'n> BreakingHits<'n> {
    /// The hits that `beside` allows; `None` for questions that the search has no answer to.
    pub fn new(beside: &'n Beside, property: Property) -> Option<Self> {
        let memory = beside.memory();
        let is_asked = property != Property::Deviation && refuse_free_steps(memory.network()).is_ok();
        let search = || SingleHits::new(memory, property);
        is_asked.then(|| BreakingHits { memory, search: search(), words: beside.model.words })
    }

    /// For each sample, whose class is to stay, what breaks it, if the search finds something. `node` gives the numbers of nodes in the file.
    pub fn witnesses(
        &self,
        samples: Samples<'_>,
        classes: &[usize],
        node: impl Fn(usize) -> usize,
    ) -> Vec<Option<Witness>> {
        let word = |WordHit { layer, word, hit }: &WordHit| {
            let layer = &self.memory.layers()[*layer];
            let word_of = match layer.place(*word) {
                (i, Some(j)) => Place::Weight(i * layer.cols + j),
                (i, None) => Place::Bias(i),
            };
            let (_, Code::Integer { step, zero, .. }) = layer.word(*word) else {
                unreachable!("certificates are of integers")
            };
            HitWord { node: node(layer.node), word: word_of, to: (hit.after / step).round() as i64 + zero }
        };
        let witness = |(hits, row): (Vec<WordHit>, usize)| {
            let mut hits: Vec<HitWord> = hits.iter().map(word).collect();
            hits.sort_by_key(|hit| (hit.node, hit.word));
            Witness { row, input: None, layers: Vec::new(), hits }
        };
        let found = self.search.breaking(samples, classes, self.words);
        found.into_iter().map(|found| found.map(witness)).collect()
    }
}
