//! Results of `faults`.

use super::{ReadError, parse};
use crate::{BitReport, DataReport, FaultSummary, ModelReport, ProtectionReport, WordReport, WordsReport};
use serde::Deserialize;
use serde_json::{Map, Value};
use weightproof::verdict::Verdict;

/// The most bits of a word.
const MOST_BITS: u32 = 32;

/// What single hits on stored words do.
#[derive(Clone, Debug)]
pub struct FaultsFile {
    /// Name of the file.
    pub file: String,
    /// Whether the run was interrupted.
    pub partial: bool,
    /// The network.
    pub model: ModelReport,
    /// The data.
    pub data: DataReport,
    /// The fault model, as it was written.
    pub faults: Map<String, Value>,
    /// What the numbers are worth.
    pub guarantee: String,
    /// Settings, as they were written.
    pub config: Value,
    /// Numbers over all samples.
    pub summary: FaultSummary,
    /// What up to so many hits do, from one on.
    pub by_words: Vec<WordsReport>,
    /// Counts for each layer and bit.
    pub by_bit: Vec<BitReport>,
    /// What to protect, one position after the other.
    pub protection: Vec<ProtectionReport>,
    /// The words whose hits break most.
    pub critical_words: Vec<WordReport>,
    /// Time, memory and host, as they were written.
    pub environment: Map<String, Value>,
}

pub(super) fn read(file: &str, bytes: &[u8]) -> Result<FaultsFile, ReadError> {
    #[derive(Deserialize)]
    struct Sample {
        verdict: Verdict,
        breaking: u64,
        certified_words: u32,
        broken_words: Option<u32>,
    }
    #[derive(Deserialize)]
    struct Threat {
        faults: Map<String, Value>,
    }
    #[derive(Deserialize)]
    struct Raw {
        partial: bool,
        model: ModelReport,
        data: DataReport,
        threat: Threat,
        guarantee: String,
        #[serde(default)]
        config: Value,
        summary: FaultSummary,
        by_words: Vec<WordsReport>,
        by_bit: Vec<BitReport>,
        protection: Vec<ProtectionReport>,
        critical_words: Vec<WordReport>,
        samples: Vec<Sample>,
        #[serde(default)]
        environment: Map<String, Value>,
    }
    let raw: Raw = parse(file, bytes)?;
    let expect = |place: &str, expected: usize, found: usize| match expected == found {
        true => Ok(()),
        false => Err(ReadError::Field {
            file: file.into(),
            place: place.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }),
    };
    let verified = raw.samples.iter().filter(|s| s.verdict == Verdict::Verified).count();
    expect("summary.samples", raw.samples.len(), raw.summary.samples)?;
    expect("summary.certified", verified, raw.summary.certified)?;
    for (at, words) in raw.by_words.iter().zip(1..) {
        expect("by_words.words", words as usize, at.words as usize)?;
        let certified = raw.samples.iter().filter(|s| s.certified_words >= words).count();
        expect("by_words.certified", certified, at.certified)?;
        let broken =
            raw.samples.iter().filter(|s| s.broken_words.is_some_and(|broken| broken <= words)).count();
        expect("by_words.broken", broken, at.broken)?;
    }
    let sum = |counts: &mut dyn Iterator<Item = u64>| counts.fold(0_u64, u64::saturating_add) as usize;
    let breaking = sum(&mut raw.samples.iter().map(|s| s.breaking));
    expect("summary.breaking", breaking, raw.summary.breaking as usize)?;
    expect("by_bit", breaking, sum(&mut raw.by_bit.iter().map(|c| c.breaking)))?;
    if let Some(count) = raw.by_bit.iter().find(|count| count.bit >= MOST_BITS) {
        let (expected, found) = (format!("less than {MOST_BITS}"), count.bit.to_string());
        return Err(ReadError::Field { file: file.into(), place: "bit".into(), expected, found });
    }
    Ok(FaultsFile {
        file: file.into(),
        partial: raw.partial,
        model: raw.model,
        data: raw.data,
        faults: raw.threat.faults,
        guarantee: raw.guarantee,
        config: raw.config,
        summary: raw.summary,
        by_words: raw.by_words,
        by_bit: raw.by_bit,
        protection: raw.protection,
        critical_words: raw.critical_words,
        environment: raw.environment,
    })
}
