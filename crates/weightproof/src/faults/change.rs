//! What may happen to the bits of a word.

use super::FaultError;
use serde::{Deserialize, Serialize};

/// What a hit does to a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Bits flip.
    #[default]
    Flip,
    /// Bits read as 0.
    #[serde(rename = "stuck-at-0")]
    StuckAt0,
    /// Bits read as 1.
    #[serde(rename = "stuck-at-1")]
    StuckAt1,
    /// The word is any other word.
    Replace,
}

impl Fault {
    /// All, as they are written.
    pub const NAMES: [(&'static str, Fault); 4] = [
        ("flip", Fault::Flip),
        ("stuck-at-0", Fault::StuckAt0),
        ("stuck-at-1", Fault::StuckAt1),
        ("replace", Fault::Replace),
    ];

    /// Name in files and reports.
    pub fn name(self) -> &'static str {
        Fault::NAMES.iter().find(|(_, fault)| *fault == self).map_or("", |(name, _)| name)
    }
}

/// The most changes of a word that are settled one by one.
const MOST_CHANGES: usize = 4096;
/// The most bits of a word that may be replaced as a whole.
const MOST_REPLACED: u32 = 12;

/// One change of a word: the bits `mask` flip or are stuck; for a replaced word `mask` is the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happens.
    pub fault: Fault,
    /// To which bits.
    pub mask: u32,
}

impl Change {
    /// The word after the change, `None` when it is no change: a bit that is stuck where it is, say. Every other word that a fault makes
    /// of `word` is made by one change only.
    pub fn of(self, word: u32) -> Option<u32> {
        match self.fault {
            Fault::Flip => Some(word ^ self.mask),
            Fault::StuckAt0 => (word & self.mask == self.mask).then_some(word & !self.mask),
            Fault::StuckAt1 => (word & self.mask == 0).then_some(word | self.mask),
            Fault::Replace => (word != self.mask).then_some(self.mask),
        }
    }

    /// All changes of at most `most` of the bits `open` in a word of `bits` bits.
    ///
    /// # Errors
    /// More changes than can be settled one by one.
    pub(super) fn all(fault: Fault, bits: u32, most: u32, open: u32) -> Result<Vec<Change>, FaultError> {
        let change = |mask| Change { fault, mask };
        if fault == Fault::Replace {
            if bits > MOST_REPLACED {
                return Err(FaultError::Wide { found: bits, most: MOST_REPLACED });
            }
            return Ok((0..1_u32 << bits).map(change).collect());
        }
        let positions: Vec<u32> = (0..bits).filter(|b| open >> b & 1 == 1).collect();
        let mut masks: Vec<u32> = Vec::new();
        let mut layer = vec![0_u32];
        for _ in 0..most.min(positions.len() as u32) {
            // Each mask grows by a bit above its highest one.
            let grown = |mask: u32| {
                let above = move |b: &&u32| mask == 0 || **b > mask.ilog2();
                positions.iter().filter(above).map(move |b| mask | 1 << b).collect::<Vec<_>>()
            };
            layer = layer.iter().flat_map(|&mask| grown(mask)).collect();
            masks.extend(&layer);
            if masks.len() > MOST_CHANGES {
                return Err(FaultError::Changes { bits, most, limit: MOST_CHANGES });
            }
        }
        Ok(masks.into_iter().map(change).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Against the definition: all words that differ in at most n open bits, in the direction of the fault.
    #[test]
    fn changes_make_every_word_within_reach_once() {
        for (fault, open, most) in [
            (Fault::Flip, 0xFF, 1),
            (Fault::Flip, 0xFF, 3),
            (Fault::Flip, 0b1100_0001, 2),
            (Fault::StuckAt0, 0xFF, 2),
            (Fault::StuckAt1, 0b0111_1111, 8),
            (Fault::Replace, 0xFF, 1),
        ] {
            let changes = Change::all(fault, 8, most, open).unwrap();
            for word in [0_u32, 1, 0x5A, 0x80, 0xFF] {
                let made: Vec<u32> = changes.iter().filter_map(|change| change.of(word)).collect();
                let reach = |after: &u32| {
                    let moved = word ^ after;
                    let direction = match fault {
                        Fault::Flip | Fault::Replace => true,
                        Fault::StuckAt0 => after & moved == 0,
                        Fault::StuckAt1 => word & moved == 0,
                    };
                    let few = moved & !open == 0 && moved.count_ones() <= most;
                    moved != 0 && direction && (few || fault == Fault::Replace)
                };
                let expected: BTreeSet<u32> = (0..=0xFF).filter(reach).collect();
                assert_eq!(made.len(), expected.len(), "{fault:?} {word}: each word once");
                assert_eq!(made.into_iter().collect::<BTreeSet<_>>(), expected, "{fault:?} {word}");
            }
        }
    }

    #[test]
    fn too_many_changes_are_refused() {
        assert!(Change::all(Fault::Flip, 32, 4, u32::MAX).is_err());
        assert!(Change::all(Fault::Replace, 16, 1, 0xFFFF).is_err());
        assert_eq!(Change::all(Fault::Flip, 32, 2, u32::MAX).unwrap().len(), 528);
    }
}
