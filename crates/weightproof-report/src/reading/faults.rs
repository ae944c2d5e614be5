//! Results of `faults`.

use super::run::Data;
use super::{Model, ReadError, parse};
use crate::faults::WordsReport;
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
    pub model: Model,
    /// The data.
    pub data: Data,
    /// The fault model, as it was written.
    pub faults: Map<String, Value>,
    /// What the numbers are worth.
    pub guarantee: String,
    /// Settings, as they were written.
    pub config: Value,
    /// Numbers over all samples.
    pub summary: FaultsSummary,
    /// What up to so many hits do, from one on.
    pub by_words: Vec<WordsReport>,
    /// Counts for each layer and bit.
    pub by_bit: Vec<BitCounts>,
    /// What to protect, one position after the other.
    pub protection: Vec<Protected>,
    /// The words whose hits break most.
    pub critical_words: Vec<CriticalWord>,
    /// Time, memory and host, as they were written.
    pub environment: Map<String, Value>,
}

/// Numbers over all samples.
#[derive(Clone, Debug, Deserialize)]
pub struct FaultsSummary {
    /// Number of samples.
    pub samples: usize,
    /// Accuracy without faults.
    pub accuracy: Option<f64>,
    /// Samples that no single hit breaks.
    pub certified: usize,
    /// Their share.
    pub certified_accuracy: f64,
    /// Hits on the network.
    pub hits_per_sample: u64,
    /// Pairs of hit and sample.
    pub hits: u64,
    /// Pairs in which the hit breaks the sample.
    pub breaking: u64,
    /// Pairs that are too close to call.
    pub undecided: u64,
    /// Hits that leave no finite number.
    pub not_finite: u64,
    /// Hits that break a sample.
    pub critical: u64,
    /// Accuracy after the worst hit.
    pub least_accuracy: Option<f64>,
    /// Mean over all hits.
    pub mean_accuracy: Option<f64>,
}

/// Hits on one position of the words of a layer.
#[derive(Clone, Debug, Deserialize)]
pub struct BitCounts {
    /// Name of the layer.
    pub layer: String,
    /// The position.
    pub bit: u32,
    /// Hits on it.
    pub hits: u64,
    /// Those that break a sample.
    pub critical: u64,
    /// Pairs in which the hit breaks the sample.
    pub breaking: u64,
    /// Hits that leave no finite number.
    pub not_finite: u64,
    /// Samples that one of the hits breaks.
    pub samples: usize,
}

/// A position to protect.
#[derive(Clone, Debug, Deserialize)]
pub struct Protected {
    /// Name of the layer.
    pub layer: String,
    /// The position.
    pub bit: u32,
    /// Bits that this protects.
    pub bits: u64,
    /// Samples certified with it and those before it.
    pub certified: usize,
}

/// A word whose hits break samples.
#[derive(Clone, Debug, Deserialize)]
pub struct CriticalWord {
    /// Name of the layer.
    pub layer: String,
    /// Row of the weight, or number of the bias.
    pub row: usize,
    /// Column of the weight; none for a bias.
    pub column: Option<usize>,
    /// The bit of its worst hit.
    pub bit: u32,
    /// The parameter before that hit.
    pub before: f64,
    /// The parameter after it.
    pub after: Option<f64>,
    /// Samples that it breaks.
    pub samples: usize,
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
        model: Model,
        data: Data,
        threat: Threat,
        guarantee: String,
        #[serde(default)]
        config: Value,
        summary: FaultsSummary,
        by_words: Vec<WordsReport>,
        by_bit: Vec<BitCounts>,
        protection: Vec<Protected>,
        critical_words: Vec<CriticalWord>,
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
