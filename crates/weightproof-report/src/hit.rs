//! Hits on stored words, as reports name them.

use crate::csv;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::io::{self, Write};
use weightproof::faults::{CountedHit, FaultCounts, Hit, Memory, Tally};
use weightproof_figure::number::exact;

/// A hit, for people and programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HitReport {
    /// Name of the layer.
    pub layer: String,
    /// Row of the weight, or number of the bias.
    pub row: usize,
    /// Column of the weight; `null` for a bias.
    pub column: Option<usize>,
    /// Highest bit that changes, 0 the lowest.
    pub bit: u32,
    /// `0→1` or `1→0`: how that bit changes.
    pub direction: Cow<'static, str>,
    /// The parameter before the hit.
    pub before: f64,
    /// The parameter after it; `null` where that is no number.
    #[serde(deserialize_with = "number")]
    pub after: f64,
}

/// Reads a number; `null` is none.
fn number<'de, D: Deserializer<'de>>(source: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or(f64::NAN))
}

impl HitReport {
    pub(crate) fn new(memory: &Memory, layer: usize, word: usize, hit: &Hit) -> Self {
        let stored = &memory.layers()[layer];
        HitReport::at(&stored.name, stored.place(word), hit)
    }

    pub(crate) fn counted(counts: &FaultCounts, counted: &CountedHit) -> Self {
        HitReport::at(counts.layer(counted.layer), (counted.row, counted.column), &counted.hit)
    }

    fn at(layer: &str, (row, column): (usize, Option<usize>), hit: &Hit) -> Self {
        let direction = if hit.up { "0→1" } else { "1→0" }.into();
        let Hit { bit, before, after, .. } = *hit;
        HitReport { layer: layer.into(), row, column, bit, direction, before, after }
    }

    /// The word and what happens to it: `fc1[3, 17] bit 7 0→1`.
    pub(crate) fn named(&self) -> String {
        format!("{} bit {} {}", self.place(), self.bit, self.direction)
    }

    /// Where the word is: `fc1[3, 17]`, `fc1 bias 3`.
    pub(crate) fn place(&self) -> String {
        match self.column {
            Some(column) => format!("{}[{}, {column}]", self.layer, self.row),
            None => format!("{} bias {}", self.layer, self.row),
        }
    }
}

/// Writes every hit that breaks, repairs or leaves undecided a sample as CSV, and those that leave no finite number.
///
/// # Errors
/// Those of `out`.
pub fn write_hits(memory: &Memory, tally: &Tally, out: impl Write) -> io::Result<()> {
    let counts = tally.hits(memory).filter(|c| c.broken + c.repaired + c.undecided > 0 || !c.hit.is_finite());
    let rows = counts.map(|c| {
        let hit = HitReport::new(memory, c.layer, c.word, &c.hit);
        critical(hit, [c.broken, c.repaired, c.undecided])
    });
    csv::table(out, CRITICAL, rows)
}

/// The same from counts, which have no hits that leave no finite number.
///
/// # Errors
/// Those of `out`.
pub fn write_counted_hits(counts: &FaultCounts, out: impl Write) -> io::Result<()> {
    let row = |c: &CountedHit| critical(HitReport::counted(counts, c), [c.broken, c.repaired, c.undecided]);
    csv::table(out, CRITICAL, counts.hits.iter().map(row))
}

/// Columns of the table of hits.
const CRITICAL: [&str; 10] =
    ["layer", "row", "column", "bit", "direction", "before", "after", "broken", "repaired", "undecided"];

/// A hit, and how many samples it breaks, repairs and leaves undecided.
fn critical(hit: HitReport, samples: [u32; 3]) -> Vec<String> {
    let mut row = vec![
        hit.layer,
        hit.row.to_string(),
        hit.column.map_or_else(String::new, |c| c.to_string()),
        hit.bit.to_string(),
        hit.direction.to_string(),
        exact(hit.before),
        exact(hit.after),
    ];
    row.extend(samples.map(|n| n.to_string()));
    row
}
