//! The fault model as users write it, on the command line or in a TOML file.

use super::{Fault, Storage};
use crate::threat::ThreatError;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use thiserror::Error;

/// The most words that are hit at once.
pub(super) const MOST_WORDS: u32 = 64;

/// How bits are protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Stored three times: the bits do not change.
    #[default]
    Triple,
    /// A parity bit for each word: a word in which an odd number of bits changed reads as zero.
    ParityZero,
    /// Single error correction, double error detection for each word: one changed bit is corrected, a word with two reads as zero.
    Secded,
}

/// Bits that are protected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Protection {
    /// Names of the layers; when absent, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// Positions of the bits, 0 the lowest; when absent, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<Vec<u32>>,
    /// How. Only the encoding `triple` protects single positions.
    #[serde(default)]
    pub by: Encoding,
}

impl FromStr for Protection {
    type Err = FaultError;

    /// Reads `6,7`, `LAYER:7`, `LAYER:all`, `all`, `LAYER:secded`, `parity-zero`.
    fn from_str(text: &str) -> Result<Protection, FaultError> {
        let wrong = || FaultError::Protection { found: text.chars().take(60).collect() };
        let (layer, what) = match text.rsplit_once(':') {
            Some(("", _)) => return Err(wrong()),
            Some((layer, what)) => (Some(vec![layer.to_owned()]), what),
            None => (None, text),
        };
        let (bits, by) = match what {
            "all" => (None, Encoding::Triple),
            "secded" => (None, Encoding::Secded),
            "parity-zero" => (None, Encoding::ParityZero),
            list => {
                let bits = list.split(',').map(|b| b.parse::<u32>().ok().filter(|b| *b < 32));
                (Some(bits.collect::<Option<Vec<u32>>>().ok_or_else(wrong)?), Encoding::Triple)
            }
        };
        Ok(Protection { layers: layer, bits, by })
    }
}

/// A fault model as written by a user; the TOML form has these fields in kebab-case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct FaultModel {
    /// How parameters are stored.
    pub storage: Storage,
    /// The most words of the whole network that are hit.
    pub words: u32,
    /// The most bits of a word that change.
    pub bits: u32,
    /// What happens to them.
    pub fault: Fault,
    /// Positions that may change, 0 the lowest; when absent, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<u32>>,
    /// Names of the layers whose words are hit; when absent, all with parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// Whether words of biases are hit, too.
    pub biases: bool,
    /// What is protected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<Protection>,
}

impl Default for FaultModel {
    fn default() -> Self {
        FaultModel {
            storage: Storage::File,
            words: 1,
            bits: 1,
            fault: Fault::Flip,
            at: None,
            layers: None,
            biases: true,
            protect: Vec::new(),
        }
    }
}

impl FaultModel {
    /// An error for what no network has an answer to.
    ///
    /// # Errors
    /// No word, too many, no bit, encodings that do not say what becomes of so many changed bits.
    pub fn check(&self) -> Result<(), FaultError> {
        if !(1..=MOST_WORDS).contains(&self.words) {
            return Err(FaultError::Words { found: self.words });
        }
        if !(1..=32).contains(&self.bits) {
            return Err(FaultError::Bits { found: self.bits });
        }
        for protection in &self.protect {
            if protection.by == Encoding::Triple {
                continue;
            }
            if protection.bits.is_some() {
                return Err(FaultError::EncodedBits);
            }
            if protection.by == Encoding::Secded && self.bits > 2 || self.fault == Fault::Replace {
                return Err(FaultError::Undetected);
            }
        }
        Ok(())
    }
}

/// Why a fault model cannot be read or does not apply to a network.
#[derive(Debug, Error, PartialEq)]
pub enum FaultError {
    /// No such storage.
    #[error(
        "storage: expected file, int2 to int16 (also int8:per-channel), fp32, bf16, fp16, fp8e4m3 or fp8e5m2, found {found}"
    )]
    Storage {
        /// What was written.
        found: String,
    },
    /// Settings of a quantizer.
    #[error("storage: {0}")]
    Quantizer(#[from] ThreatError),
    /// No such protection.
    #[error(
        "protect: expected bits such as 6,7, or all, secded or parity-zero, for one layer behind its name and a colon, found {found}"
    )]
    Protection {
        /// What was written.
        found: String,
    },
    /// Number of hit words.
    #[error("words: expected 1 to {MOST_WORDS}, found {found}")]
    Words {
        /// What was written.
        found: u32,
    },
    /// A bound method without a rule for hits.
    #[error("method: expected interval, linear-interval or linear for faults, found {found}")]
    Method {
        /// What was written.
        found: String,
    },
    /// Number of changed bits.
    #[error("bits: expected 1 to 32, found {found}")]
    Bits {
        /// What was written.
        found: u32,
    },
    /// A word has no such position.
    #[error("bit {found}: expected positions of words of layers that are hit, 0 to {highest}")]
    Position {
        /// What was written.
        found: u32,
        /// The highest one.
        highest: u32,
    },
    /// An encoding works on whole words.
    #[error("protect: expected all bits of a word for secded and parity-zero, found single ones")]
    EncodedBits,
    /// An encoding says nothing of so many errors.
    #[error(
        "protect: expected at most 2 changed bits for secded, and no replaced words for it and for parity-zero"
    )]
    Undetected,
    /// Too many changes.
    #[error("bits: expected at most {limit} changes of a word, found more for {most} of {bits} bits")]
    Changes {
        /// Bits of a word.
        bits: u32,
        /// How many change.
        most: u32,
        /// Most changes.
        limit: usize,
    },
    /// A word that is too wide to be replaced.
    #[error("fault replace: expected words of at most {most} bits, found {found}")]
    Wide {
        /// Bits of a word.
        found: u32,
        /// Most of them.
        most: u32,
    },
    /// Too many hits.
    #[error("expected at most {limit} hits on one network, found {found}")]
    Hits {
        /// Number of hits.
        found: u64,
        /// Most of them.
        limit: u64,
    },
    /// A layer name does not exist.
    #[error("layer {found}: expected one of {}", known.join(", "))]
    UnknownLayer {
        /// What was written.
        found: String,
        /// The layers with parameters.
        known: Vec<String>,
    },
    /// Two layers have the same weights.
    #[error(
        "the layers {first} and {second} have the same weights: a hit on a tensor that both read changes both, and hits are followed in \
         one layer"
    )]
    Shared {
        /// One of them.
        first: String,
        /// The other one.
        second: String,
    },
    /// A parameter does not fit into the format.
    #[error("layer {layer}: a parameter of {found} exceeds the largest number of {format}, {limit}")]
    OutOfRange {
        /// Name of the layer.
        layer: String,
        /// Name of the format.
        format: &'static str,
        /// Largest number of the format.
        limit: f64,
        /// The parameter.
        found: f64,
    },
    /// A parameter is not one of the numbers that the file's integers stand for.
    #[error("layer {layer}: expected parameters that stored integers stand for, found {found}")]
    NotOfFile {
        /// Name of the layer.
        layer: String,
        /// The parameter.
        found: f64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protections_are_read() {
        let read = |text: &str| text.parse::<Protection>();
        assert_eq!(read("6,7").unwrap().bits, Some(vec![6, 7]));
        let of_layer = read("fc1:secded").unwrap();
        assert_eq!((of_layer.layers.unwrap()[0].as_str(), of_layer.by), ("fc1", Encoding::Secded));
        assert_eq!(read("all").unwrap(), Protection::default());
        for text in ["", "fc1:", ":7", "32", "7;6", "tmr"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_no_answer_is_refused() {
        let refused = |model: FaultModel| model.check().unwrap_err().to_string();
        assert!(refused(FaultModel { words: 0, ..FaultModel::default() }).starts_with("words"));
        assert!(refused(FaultModel { words: 65, ..FaultModel::default() }).starts_with("words"));
        assert!(refused(FaultModel { bits: 0, ..FaultModel::default() }).starts_with("bits"));
        let secded = vec!["secded".parse::<Protection>().unwrap()];
        assert!(
            refused(FaultModel { bits: 3, protect: secded, ..FaultModel::default() }).starts_with("protect")
        );
    }
}
