//! What single hits do over all samples: counts for each hit, and what follows from them.

use super::{Hit, Memory};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// A layer, by its number, and a position of a bit.
type Cell = (usize, u32);

/// Counts over all samples; many threads add to them.
#[derive(Debug)]
pub struct Tally {
    /// Samples that a hit breaks, repairs and leaves undecided; by number of the hit.
    broken: Vec<AtomicU32>,
    repaired: Vec<AtomicU32>,
    undecided: Vec<AtomicU32>,
    samples: Mutex<Samples>,
}

#[derive(Clone, Debug, Default)]
struct Samples {
    /// All of them.
    count: usize,
    /// Those for which the property holds without faults.
    holding: usize,
    /// Those for which that is too close to call: no hit is settled.
    unknown: usize,
    /// Samples that hold without faults, by the cells of the hits that break them.
    broken_by: BTreeMap<BTreeSet<Cell>, usize>,
}

/// Hits on one position of the words of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct BitCount {
    /// Number of the layer in [`Memory::layers`].
    pub layer: usize,
    /// Highest bit that changes, 0 the lowest.
    pub bit: u32,
    /// Hits on this position.
    pub hits: u64,
    /// Those that break at least one sample.
    pub critical: u64,
    /// Pairs of hit and sample in which the hit breaks the sample.
    pub breaking: u64,
    /// Of these, pairs in which the bit became 1.
    pub up: u64,
    /// Pairs that are too close to call.
    pub undecided: u64,
    /// Hits that leave no finite number; they are in none of the other counts but `hits`.
    pub not_finite: u64,
    /// Samples that at least one hit breaks, or may.
    pub samples: usize,
}

/// A word with hits that break samples.
#[derive(Clone, Debug, PartialEq)]
pub struct WordCount {
    /// Number of the layer in [`Memory::layers`].
    pub layer: usize,
    /// Number of the word.
    pub word: usize,
    /// Pairs of hit and sample in which a hit on the word breaks the sample.
    pub breaking: u64,
    /// The hit that breaks most samples.
    pub worst: Hit,
    /// Samples that it breaks.
    pub samples: u32,
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

/// Share of samples for which the property holds after a hit, over all hits that leave finite numbers. Samples that are too close to
/// call count as broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracies {
    /// Without faults.
    pub clean: f64,
    /// Smallest over all hits.
    pub least: f64,
    /// Mean over all hits.
    pub mean: f64,
    /// One hit in a thousand leaves at most this.
    pub thousandth: f64,
    /// One hit in a hundred leaves at most this.
    pub hundredth: f64,
    /// Half of all hits leave at most this.
    pub median: f64,
}

/// A position of a layer's words to protect, and what is certified once it and those before it are protected.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtectionStep {
    /// Number of the layer in [`Memory::layers`].
    pub layer: usize,
    /// The position.
    pub bit: u32,
    /// Bits that this protects.
    pub protects: u64,
    /// Samples that no single hit on the rest breaks.
    pub certified: usize,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(memory: &Memory) -> Self {
        let zeros = || (0..memory.hits()).map(|_| AtomicU32::new(0)).collect();
        Tally { broken: zeros(), repaired: zeros(), undecided: zeros(), samples: Mutex::default() }
    }

    /// One more sample for which the property is another one after the hit; `None` is too close to call.
    pub(super) fn hit(&self, number: usize, holds: Option<bool>) {
        let counts = match holds {
            Some(false) => &self.broken,
            Some(true) => &self.repaired,
            None => &self.undecided,
        };
        counts[number].fetch_add(1, Ordering::Relaxed);
    }

    /// One more sample, with the property without faults, and the layers and bits of hits that break it.
    pub(super) fn sample(&self, holds: Option<bool>, cells: Vec<Cell>) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.count += 1;
        match holds {
            Some(true) => {
                samples.holding += 1;
                *samples.broken_by.entry(cells.into_iter().collect()).or_insert(0) += 1;
            }
            Some(false) => {}
            None => samples.unknown += 1,
        }
    }

    fn samples(&self) -> Samples {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// Counts for each layer and bit, in order.
    pub fn by_bit(&self, memory: &Memory) -> Vec<BitCount> {
        let samples = self.samples();
        let mut found: BTreeMap<Cell, BitCount> = BTreeMap::new();
        for HitCount { layer, hit, broken, undecided, .. } in self.hits(memory) {
            let bit = hit.bit;
            let new = || BitCount {
                layer,
                bit,
                hits: 0,
                critical: 0,
                breaking: 0,
                up: 0,
                undecided: 0,
                not_finite: 0,
                samples: 0,
            };
            let count = found.entry((layer, bit)).or_insert_with(new);
            count.hits += 1;
            count.not_finite += u64::from(!hit.is_finite());
            count.critical += u64::from(broken > 0);
            count.breaking += u64::from(broken);
            count.up += if hit.up { u64::from(broken) } else { 0 };
            count.undecided += u64::from(undecided);
        }
        for (cells, n) in &samples.broken_by {
            for cell in cells {
                found.entry(*cell).and_modify(|count| count.samples += n);
            }
        }
        found.into_values().collect()
    }

    /// The words whose hits break most pairs of hit and sample, at most `most` of them, the worst first.
    pub fn critical_words(&self, memory: &Memory, most: usize) -> Vec<WordCount> {
        let mut words: Vec<WordCount> = Vec::new();
        for HitCount { layer, word, hit, broken, .. } in self.hits(memory).filter(|count| count.broken > 0) {
            match words.last_mut().filter(|last| (last.layer, last.word) == (layer, word)) {
                Some(last) => {
                    last.breaking += u64::from(broken);
                    if broken > last.samples {
                        (last.worst, last.samples) = (hit, broken);
                    }
                }
                None => words.push(WordCount {
                    layer,
                    word,
                    breaking: broken.into(),
                    worst: hit,
                    samples: broken,
                }),
            }
        }
        words.sort_by_key(|w| (std::cmp::Reverse(w.breaking), w.layer, w.word));
        words.truncate(most);
        words
    }

    /// Accuracy over all hits; `None` without samples or hits.
    pub fn accuracies(&self, memory: &Memory) -> Option<Accuracies> {
        let samples = self.samples();
        let after = |h: HitCount| {
            // Nothing is settled for samples that are unknown without faults: they count as broken.
            let right =
                samples.holding as i64 + i64::from(h.repaired) - i64::from(h.broken) - i64::from(h.undecided);
            right.max(0) as f64 / samples.count as f64
        };
        // The property may hold after an undecided hit on a sample for which it does not hold before: never counted.
        let mut all: Vec<f64> = self.hits(memory).filter(|h| h.hit.is_finite()).map(after).collect();
        if all.is_empty() || samples.count == 0 {
            return None;
        }
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        all.sort_by(f64::total_cmp);
        let quantile = |share: f64| all[((share * all.len() as f64) as usize).min(all.len() - 1)];
        Some(Accuracies {
            clean: samples.holding as f64 / samples.count as f64,
            least: all[0],
            mean,
            thousandth: quantile(0.001),
            hundredth: quantile(0.01),
            median: quantile(0.5),
        })
    }

    /// What to protect so that no single hit breaks a sample that holds without faults: one position after the other, that which
    /// breaks most samples first.
    ///
    /// # Guarantee
    /// With one changed bit and nothing undecided, no smaller set of positions of layers is enough for all of these samples: every position
    /// of the list has a hit that breaks one.
    pub fn protection(&self, memory: &Memory) -> Vec<ProtectionStep> {
        let samples = self.samples();
        let by_bit = self.by_bit(memory);
        // Hits that leave no number break every sample.
        let always: BTreeSet<Cell> = by_bit
            .iter()
            .filter(|count| count.not_finite > 0)
            .map(|count| (count.layer, count.bit))
            .collect();
        let holding = samples.holding;
        let mut needed: BTreeMap<Cell, usize> = always.iter().map(|cell| (*cell, holding)).collect();
        for (cells, n) in &samples.broken_by {
            for cell in cells.difference(&always) {
                *needed.entry(*cell).or_insert(0) += n;
            }
        }
        let mut order: Vec<(Cell, usize)> = needed.into_iter().collect();
        order.sort_by_key(|(cell, n)| (std::cmp::Reverse(*n), *cell));
        let mut protected = BTreeSet::new();
        let step = |((layer, bit), _): &(Cell, usize)| {
            protected.insert((*layer, *bit));
            let safe = always.is_subset(&protected);
            let certified = samples.broken_by.iter().filter(|(cells, _)| cells.is_subset(&protected));
            let certified = if safe { certified.map(|(_, n)| n).sum() } else { 0 };
            let protects = memory.layers()[*layer].words_with_bit(*bit);
            ProtectionStep { layer: *layer, bit: *bit, protects, certified }
        };
        order.iter().map(step).collect()
    }
}
