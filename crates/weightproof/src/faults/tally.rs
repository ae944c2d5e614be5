//! Counts of what each hit does over all samples, to which many threads add; [`FaultCounts`](super::FaultCounts) is what follows from them.

use super::counts::Cell;
use super::{Hit, Memory};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts over all samples; many threads add to them.
#[derive(Debug)]
pub struct Tally {
    /// Samples that a hit breaks, repairs and leaves undecided; by number of the hit.
    broken: Vec<AtomicU32>,
    repaired: Vec<AtomicU32>,
    undecided: Vec<AtomicU32>,
    samples: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    /// All of them.
    count: usize,
    /// Those for which the property holds without faults.
    holding: usize,
    /// Samples that hold without faults, by the cells of the hits that break them.
    broken_by: BTreeMap<BTreeSet<Cell>, usize>,
}

/// What single hits do to one sample, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effects {
    /// Whether the property holds without faults; nothing is known of hits where that is too close to call.
    pub holds: Option<bool>,
    /// Layers, by their numbers, and bits of the hits that break the sample, or may.
    pub cells: Vec<Cell>,
    /// Hits that break it.
    pub broken: Vec<usize>,
    /// Hits that repair it.
    pub repaired: Vec<usize>,
    /// Hits that are too close to call.
    pub undecided: Vec<usize>,
}

/// A hit with what it does.
#[derive(Clone, Debug, PartialEq)]
pub struct HitCount {
    /// Number of the layer in [`Memory::layers`].
    pub layer: usize,
    /// Number of the word.
    pub word: usize,
    /// The hit.
    pub hit: Hit,
    /// Samples that it breaks.
    pub broken: u32,
    /// Samples that it repairs.
    pub repaired: u32,
    /// Samples that are too close to call.
    pub undecided: u32,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(memory: &Memory) -> Self {
        let zeros = || (0..memory.hits()).map(|_| AtomicU32::new(0)).collect();
        Tally { broken: zeros(), repaired: zeros(), undecided: zeros(), samples: Mutex::default() }
    }

    /// One more sample, and what hits do to it; hits that the memory does not have are left out.
    pub fn add(&self, effects: &Effects) {
        let Effects { holds, cells, broken, repaired, undecided } = effects;
        let all = [(&self.broken, broken), (&self.repaired, repaired), (&self.undecided, undecided)];
        for (counts, numbers) in all {
            for count in numbers.iter().filter_map(|&number| counts.get(number)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.count += 1;
        // Where that is too close to call, no hit is settled.
        if *holds == Some(true) {
            samples.holding += 1;
            *samples.broken_by.entry(cells.iter().copied().collect()).or_insert(0) += 1;
        }
    }

    /// Samples, those that hold without faults, and these by the positions of the hits that break them.
    pub(super) fn samples(&self) -> (usize, usize, Vec<(Vec<Cell>, usize)>) {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let broken_by = samples.broken_by.iter().map(|(cells, n)| (cells.iter().copied().collect(), *n));
        (samples.count, samples.holding, broken_by.collect())
    }

    /// What each hit does, in the order of layers and words. Hits that leave no finite number do nothing here.
    pub fn hits<'t>(&'t self, memory: &'t Memory) -> impl Iterator<Item = HitCount> + 't {
        let read = |counts: &[AtomicU32], n: usize| counts[n].load(Ordering::Relaxed);
        let of_word = move |layer: usize, word: usize| {
            memory.layers()[layer].hits_on(word).map(move |(n, hit)| HitCount {
                layer,
                word,
                hit,
                broken: read(&self.broken, n),
                repaired: read(&self.repaired, n),
                undecided: read(&self.undecided, n),
            })
        };
        let words = memory.layers().iter().enumerate();
        words
            .flat_map(|(k, layer)| (0..layer.words()).map(move |w| (k, w)))
            .flat_map(move |(k, w)| of_word(k, w))
    }
}
