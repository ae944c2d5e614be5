//! What single hits do over all samples, apart from the memory that they hit: counts of parts of the samples add up to those of all.

use super::{Hit, Memory, Tally};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A layer, by its number, and a position of a bit.
pub(super) type Cell = (usize, u32);

/// Counts over samples; a part of the samples has them too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultCounts {
    /// Words that may be hit.
    pub words: usize,
    /// Samples.
    pub samples: usize,
    /// Samples for which the property holds without faults.
    pub holding: usize,
    /// Positions that are hit, in the order of layers and bits.
    pub positions: Vec<Position>,
    /// Hits that break, repair or leave open a sample, in the order of their numbers.
    pub hits: Vec<CountedHit>,
    /// Samples that hold without faults, by the positions of the hits that break them: (number of the layer, bit).
    pub broken_by: Vec<(Vec<Cell>, usize)>,
}

/// A position of the words of a layer: what is the same for all samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the layer in [`Memory::layers`].
    pub layer: usize,
    /// Its name.
    pub name: String,
    /// Highest bit that changes, 0 the lowest.
    pub bit: u32,
    /// Hits on this position.
    pub hits: u64,
    /// Hits that leave no finite number.
    pub not_finite: u64,
    /// Bits that its protection protects.
    pub protects: u64,
}

/// A hit, with where it is and what it does. In JSON an array, because there are many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct CountedHit {
    /// Its number among all hits.
    pub number: usize,
    /// Number of the layer in [`Memory::layers`].
    pub layer: usize,
    /// Row of the weight, or number of the bias.
    pub row: usize,
    /// Column of the weight; `None` for a bias.
    pub column: Option<usize>,
    /// The hit.
    pub hit: Hit,
    /// Samples that it breaks.
    pub broken: u32,
    /// Samples that it repairs.
    pub repaired: u32,
    /// Samples that are too close to call.
    pub undecided: u32,
}

/// Number, layer, row, column, bit, up, before, after, broken, repaired, undecided.
type Row = (usize, usize, usize, Option<usize>, u32, bool, f64, f64, u32, u32, u32);

impl From<Row> for CountedHit {
    fn from(row: Row) -> Self {
        let (number, layer, row, column, bit, up, before, after, broken, repaired, undecided) = row;
        CountedHit {
            number,
            layer,
            row,
            column,
            hit: Hit { bit, up, before, after },
            broken,
            repaired,
            undecided,
        }
    }
}

impl From<CountedHit> for Row {
    fn from(c: CountedHit) -> Self {
        let Hit { bit, up, before, after } = c.hit;
        (c.number, c.layer, c.row, c.column, bit, up, before, after, c.broken, c.repaired, c.undecided)
    }
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
    /// The hit that breaks most samples, with what it does.
    pub worst: CountedHit,
    /// Pairs of hit and sample in which a hit on the word breaks the sample.
    pub breaking: u64,
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

impl FaultCounts {
    /// What `tally` has counted in `memory`.
    pub fn new(tally: &Tally, memory: &Memory) -> Self {
        let mut positions: BTreeMap<Cell, Position> = BTreeMap::new();
        let mut hits = Vec::new();
        for (number, count) in tally.hits(memory).enumerate() {
            let (layer, bit, stored) = (count.layer, count.hit.bit, &memory.layers()[count.layer]);
            let new = || Position {
                layer,
                name: stored.name.clone(),
                bit,
                hits: 0,
                not_finite: 0,
                protects: stored.words_with_bit(bit),
            };
            let position = positions.entry((layer, bit)).or_insert_with(new);
            position.hits += 1;
            position.not_finite += u64::from(!count.hit.is_finite());
            if count.broken + count.repaired + count.undecided > 0 {
                let (row, column) = stored.place(count.word);
                let (broken, repaired, undecided) = (count.broken, count.repaired, count.undecided);
                hits.push(CountedHit {
                    number,
                    layer,
                    row,
                    column,
                    hit: count.hit,
                    broken,
                    repaired,
                    undecided,
                });
            }
        }
        let (samples, holding, broken_by) = tally.samples();
        FaultCounts {
            words: memory.words(),
            samples,
            holding,
            positions: positions.into_values().collect(),
            hits,
            broken_by,
        }
    }

    /// Adds the counts of other samples; `None` when they are of hits on another memory.
    #[must_use]
    pub fn with(self, other: &FaultCounts) -> Option<Self> {
        if (self.words, &self.positions) != (other.words, &other.positions) {
            return None;
        }
        let mut hits: BTreeMap<usize, CountedHit> = self.hits.into_iter().map(|c| (c.number, c)).collect();
        for more in &other.hits {
            let add = |count: &mut CountedHit| {
                count.broken += more.broken;
                count.repaired += more.repaired;
                count.undecided += more.undecided;
            };
            hits.entry(more.number).and_modify(add).or_insert_with(|| more.clone());
        }
        let mut broken_by: BTreeMap<Vec<Cell>, usize> = BTreeMap::new();
        for (cells, n) in self.broken_by.iter().chain(&other.broken_by) {
            *broken_by.entry(cells.clone()).or_insert(0) += n;
        }
        Some(FaultCounts {
            samples: self.samples + other.samples,
            holding: self.holding + other.holding,
            hits: hits.into_values().collect(),
            broken_by: broken_by.into_iter().collect(),
            ..self
        })
    }

    /// Name of a layer.
    pub fn layer(&self, layer: usize) -> &str {
        self.positions.iter().find(|position| position.layer == layer).map_or("", |position| &position.name)
    }

    /// Counts for each layer and bit, in order.
    pub fn by_bit(&self) -> Vec<BitCount> {
        let of = |p: &Position| BitCount {
            layer: p.layer,
            bit: p.bit,
            hits: p.hits,
            critical: 0,
            breaking: 0,
            up: 0,
            undecided: 0,
            not_finite: p.not_finite,
            samples: 0,
        };
        let mut found: BTreeMap<Cell, BitCount> =
            self.positions.iter().map(|p| ((p.layer, p.bit), of(p))).collect();
        for CountedHit { layer, hit, broken, undecided, .. } in &self.hits {
            let broken = u64::from(*broken);
            found.entry((*layer, hit.bit)).and_modify(|count| {
                count.critical += u64::from(broken > 0);
                count.breaking += broken;
                count.up += if hit.up { broken } else { 0 };
                count.undecided += u64::from(*undecided);
            });
        }
        for (cells, n) in &self.broken_by {
            for cell in cells {
                found.entry(*cell).and_modify(|count| count.samples += n);
            }
        }
        found.into_values().collect()
    }

    /// The words whose hits break most pairs of hit and sample, at most `most` of them, the worst first.
    pub fn critical_words(&self, most: usize) -> Vec<WordCount> {
        let mut words: Vec<WordCount> = Vec::new();
        let place = |c: &CountedHit| (c.layer, c.row, c.column);
        for count in self.hits.iter().filter(|count| count.broken > 0) {
            let broken = u64::from(count.broken);
            match words.last_mut().filter(|last| place(&last.worst) == place(count)) {
                Some(last) => {
                    last.breaking += broken;
                    if count.broken > last.worst.broken {
                        last.worst = count.clone();
                    }
                }
                None => words.push(WordCount { worst: count.clone(), breaking: broken }),
            }
        }
        // The words are in the order of layers and words, which a stable sort keeps.
        words.sort_by_key(|word| Reverse(word.breaking));
        words.truncate(most);
        words
    }

    /// Accuracy over all hits; `None` without samples or hits.
    pub fn accuracies(&self) -> Option<Accuracies> {
        let finite: u64 = self.positions.iter().map(|p| p.hits - p.not_finite.min(p.hits)).sum();
        if finite == 0 || self.samples == 0 {
            return None;
        }
        // How many hits leave so many samples right. The property may hold after an undecided hit on a sample for which it does not hold
        // before: never counted. Nothing is settled for samples that are unknown without faults: they count as broken.
        let mut right: BTreeMap<u64, u64> = BTreeMap::new();
        let listed = self.hits.iter().filter(|count| count.hit.is_finite());
        for count in listed.clone() {
            let kept = (self.holding as u64 + u64::from(count.repaired))
                .saturating_sub(u64::from(count.broken) + u64::from(count.undecided));
            *right.entry(kept).or_insert(0) += 1;
        }
        let harmless = finite.saturating_sub(listed.count() as u64);
        if harmless > 0 {
            *right.entry(self.holding as u64).or_insert(0) += harmless;
        }
        let share = |right: u64| right as f64 / self.samples as f64;
        let quantile = |part: f64| {
            let place = ((part * finite as f64) as u64).min(finite - 1);
            let mut below = 0;
            let found = right.iter().find(|(_, n)| {
                below += **n;
                below > place
            });
            found.map_or(0.0, |(right, _)| share(*right))
        };
        let sum: u128 = right.iter().map(|(right, n)| u128::from(*right) * u128::from(*n)).sum();
        Some(Accuracies {
            clean: share(self.holding as u64),
            least: quantile(0.0),
            mean: sum as f64 / (u128::from(finite) * self.samples as u128) as f64,
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
    pub fn protection(&self) -> Vec<ProtectionStep> {
        // Hits that leave no number break every sample.
        let always: BTreeSet<Cell> =
            self.positions.iter().filter(|p| p.not_finite > 0).map(|p| (p.layer, p.bit)).collect();
        let mut needed: BTreeMap<Cell, usize> = always.iter().map(|cell| (*cell, self.holding)).collect();
        for (cells, n) in &self.broken_by {
            for cell in cells.iter().filter(|cell| !always.contains(cell)) {
                *needed.entry(*cell).or_insert(0) += n;
            }
        }
        let mut order: Vec<(Cell, usize)> = needed.into_iter().collect();
        order.sort_by_key(|(cell, n)| (Reverse(*n), *cell));
        let protects: BTreeMap<Cell, u64> =
            self.positions.iter().map(|p| ((p.layer, p.bit), p.protects)).collect();
        let mut protected = BTreeSet::new();
        let step = |((layer, bit), _): &(Cell, usize)| {
            let cell = (*layer, *bit);
            protected.insert(cell);
            let safe = always.is_subset(&protected);
            let is_covered = |cells: &[Cell]| cells.iter().all(|cell| protected.contains(cell));
            let certified = self.broken_by.iter().filter(|(cells, _)| is_covered(cells));
            let certified = if safe { certified.map(|(_, n)| n).sum() } else { 0 };
            let protects = protects.get(&cell).copied().unwrap_or(0);
            ProtectionStep { layer: *layer, bit: *bit, protects, certified }
        };
        order.iter().map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(number: usize, bit: u32, broken: u32) -> CountedHit {
        let hit = Hit { bit, up: true, before: 0.5, after: -0.5 };
        CountedHit {
            number,
            layer: 0,
            row: number / 2,
            column: Some(0),
            hit,
            broken,
            repaired: 0,
            undecided: 0,
        }
    }

    fn counts(samples: usize, hits: Vec<CountedHit>, broken_by: Vec<(Vec<Cell>, usize)>) -> FaultCounts {
        let position =
            |bit| Position { layer: 0, name: "a".into(), bit, hits: 2, not_finite: 0, protects: 2 };
        FaultCounts {
            words: 2,
            samples,
            holding: samples,
            positions: vec![position(0), position(1)],
            hits,
            broken_by,
        }
    }

    #[test]
    fn parts_add_up() {
        let a = counts(3, vec![hit(1, 1, 2)], vec![(vec![], 1), (vec![(0, 1)], 2)]);
        let b = counts(1, vec![hit(0, 0, 1), hit(1, 1, 1)], vec![(vec![(0, 0), (0, 1)], 1)]);
        let whole = a.clone().with(&b).unwrap();
        assert_eq!(whole, b.clone().with(&a).unwrap());
        assert_eq!(whole.hits, [hit(0, 0, 1), hit(1, 1, 3)]);
        let found = whole.accuracies().unwrap();
        // Hits leave 3, 1, 4 and 4 of 4 samples.
        assert_eq!((found.clean, found.least, found.mean, found.median), (1.0, 0.25, 0.75, 1.0));
        let steps: Vec<(u32, usize)> = whole.protection().iter().map(|s| (s.bit, s.certified)).collect();
        assert_eq!(steps, [(1, 3), (0, 4)]);
        let worst = whole.critical_words(1);
        assert_eq!((worst[0].breaking, &worst[0].worst), (4, &hit(1, 1, 3)));
        let other = FaultCounts { words: 3, ..b };
        assert!(a.with(&other).is_none());
    }
}
