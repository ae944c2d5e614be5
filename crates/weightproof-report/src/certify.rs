//! Results of `certify`: proved margins for every sample.

use crate::count::{Counter, Mean, Predicted, counted};
use crate::field::{Field, Total};
use crate::report::Record;
use serde::{Deserialize, Deserializer, Serialize};
use weightproof::verdict::{Clean, Reason, SampleCertificate, Verdict};
use weightproof_figure::number::{percent, percent_or_dash, upper, value_or_dash};

/// What was proved about one sample; small, because a run keeps one for each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CertifyRecord {
    /// Index in the data set.
    pub index: usize,
    /// The given label.
    pub label: Option<u32>,
    /// Class with the largest output of the unperturbed network.
    pub predicted: u32,
    /// Margin of the unperturbed network, the minimum over all other classes; for deviations the tolerance, or without one
    /// [`deviation_upper`](Self::deviation_upper), which is then the tolerance that is proved.
    pub margin: f64,
    /// Proved lower bound of the margin over the perturbation set; `null` when there is none.
    #[serde(deserialize_with = "bound")]
    pub margin_lower: f64,
    /// Class (deviation: output) for which the bound is smallest.
    pub runner_up: u32,
    /// `verified`, `falsified` or `unknown`.
    pub verdict: Verdict,
    /// Why it is not verified.
    pub reason: Option<Reason>,
    /// For the property `deviation`: proved upper bound of the largest change of an output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation_upper: Option<f64>,
}

const _: () = assert!(size_of::<CertifyRecord>() <= 64);

/// Reads a lower bound; `null` is none.
fn bound<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NEG_INFINITY))
}

impl From<&SampleCertificate> for CertifyRecord {
    fn from(c: &SampleCertificate) -> Self {
        CertifyRecord {
            index: c.clean.index,
            label: c.clean.label.map(|label| label as u32),
            predicted: c.clean.predicted as u32,
            margin: c.clean.margin,
            margin_lower: c.margin_lower,
            runner_up: c.runner_up as u32,
            verdict: c.verdict,
            reason: c.reason,
            deviation_upper: c.deviation_upper,
        }
    }
}

impl CertifyRecord {
    /// The same record where no tolerance was given: what is proved of the largest change is the tolerance that holds.
    pub fn of_largest_change(self) -> Self {
        match self.deviation_upper {
            Some(bound) if bound.is_finite() => CertifyRecord {
                margin: bound,
                margin_lower: 0.0,
                verdict: Verdict::Verified,
                reason: None,
                ..self
            },
            _ => CertifyRecord { verdict: Verdict::Unknown, ..self },
        }
    }
}

/// Numbers over all samples of `certify`.
#[derive(Clone, Debug, Serialize)]
pub struct CertifySummary {
    /// Number of samples.
    pub samples: usize,
    /// Samples whose prediction is their label; `null` without labels.
    pub correct: Option<usize>,
    /// `correct / samples`.
    pub accuracy: Option<f64>,
    /// Samples with the verdict `verified`; for margins these have `margin_lower > 0`.
    pub certified: usize,
    /// `certified / samples`.
    pub certified_accuracy: f64,
    /// Mean of `margin_lower`; `null` when a sample has no bound.
    pub mean_margin_lower: f64,
    /// For the property `deviation`: proved bound of how far any output moves in any sample; `null` when a sample has no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation_upper: Option<f64>,
}

/// Counts verdicts and bounds.
#[derive(Clone, Debug, Default)]
pub struct CertifyCounter {
    predicted: Predicted,
    certified: usize,
    margin_lower: Mean,
    deviation_upper: Option<f64>,
}

impl Counter<CertifyRecord> for CertifyCounter {
    fn add(&mut self, record: &CertifyRecord) {
        self.predicted.add(record.label, record.predicted);
        self.certified += usize::from(record.holds());
        self.margin_lower.add(record.margin_lower);
        let (largest, bound) = (self.deviation_upper, record.deviation_upper);
        self.deviation_upper = largest.zip(bound).map(|(a, b)| a.max(b)).or(largest).or(bound);
    }

    fn finish(self) -> CertifySummary {
        let CertifyCounter { predicted, certified, margin_lower, deviation_upper } = self;
        CertifySummary {
            samples: predicted.samples,
            correct: predicted.correct,
            accuracy: predicted.accuracy(),
            certified,
            certified_accuracy: fraction(certified, predicted.samples),
            mean_margin_lower: margin_lower.value(),
            deviation_upper,
        }
    }
}

impl CertifySummary {
    /// Counts `records`.
    pub fn new(records: &[CertifyRecord]) -> Self {
        counted(CertifyCounter::default(), records)
    }

    /// The largest change of an output, as a table of its own.
    pub(crate) fn largest_change(&self, guarantee: &'static str) -> Option<(String, String)> {
        let title = format!("largest change of an output in any sample, {guarantee}");
        self.deviation_upper.map(|bound| (title, upper(bound)))
    }
}

/// `part / whole`; 0 of an interrupted run without samples.
pub(crate) fn fraction(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// What records keep of the unperturbed network.
pub(crate) struct CleanParts {
    pub index: usize,
    pub label: Option<u32>,
    pub predicted: u32,
    pub margin: f64,
}

impl From<&Clean> for CleanParts {
    fn from(clean: &Clean) -> Self {
        CleanParts {
            index: clean.index,
            label: clean.label.map(|label| label as u32),
            predicted: clean.predicted as u32,
            margin: clean.margin,
        }
    }
}

/// Name of a verdict, as JSON has it.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Verified => "verified",
        Verdict::Falsified => "falsified",
        Verdict::Unknown => "unknown",
    }
}

/// Fields of the unperturbed network: index, label, prediction and margin, of a record that has them under these names.
macro_rules! clean_fields {
    ($record:ty) => {
        vec![
            $crate::field::Field::integer("index", |r: &$record| Some(r.index as u64)).listed("index"),
            $crate::field::Field::class("label", |r: &$record| r.label).listed("label"),
            $crate::field::Field::class("predicted", |r: &$record| Some(r.predicted)).listed("predicted"),
            $crate::field::Field::number("margin", |r: &$record| Some(r.margin)).listed("margin"),
        ]
    };
}
pub(crate) use clean_fields;

impl Record for CertifyRecord {
    type Summary = CertifySummary;
    const COMMAND: &'static str = "certify";
    const FAILING: &'static str = "not certified";

    fn holds(&self) -> bool {
        self.verdict == Verdict::Verified
    }

    fn fields(_: Option<&CertifySummary>) -> Vec<Field<Self>> {
        let mut fields = clean_fields!(Self);
        fields.extend([
            Field::number("margin_lower", |r: &Self| Some(r.margin_lower)).listed("margin bound"),
            Field::class("runner_up", |r: &Self| Some(r.runner_up)).listed("runner-up"),
            Field::text("verdict", |r: &Self| Some(verdict(r.verdict))).listed("verdict"),
            Field::text("reason", |r: &Self| r.reason.map(Reason::name)).listed("reason"),
            Field::number("deviation_upper", |r: &Self| r.deviation_upper),
        ]);
        fields
    }

    fn totals() -> Vec<Total<CertifySummary>> {
        vec![
            Total::new("samples", "", |s: &CertifySummary| s.samples.to_string()),
            Total::new("accuracy", "measured", |s: &CertifySummary| percent_or_dash(s.accuracy)),
            Total::by_method("certified accuracy", |s: &CertifySummary| percent(s.certified_accuracy)),
            Total::by_method("mean margin bound", |s: &CertifySummary| {
                value_or_dash(Some(s.mean_margin_lower))
            }),
        ]
    }

    fn curves(s: &CertifySummary, guarantee: &'static str) -> Vec<(String, String)> {
        s.largest_change(guarantee).into_iter().collect()
    }
}
