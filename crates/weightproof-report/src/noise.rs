//! Results of `certify --noise`: records of `certify` with the probability that a proof leaves (theory.md §14).

use crate::certify::{CertifyCounter, CertifyRecord, CertifySummary, label, reason, verdict};
use crate::column::{Cell, Column};
use crate::count::counted;
use crate::report::{ListSide, Record};
use crate::table::{Side, Table};
use serde::{Deserialize, Serialize};
use weightproof::noise::NoiseCertificate;
use weightproof::verdict::Guarantee;
use weightproof_figure::number::{percent, percent_or_dash, upper, value, value_or_dash};

/// What was proved about one sample of a network with random weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoiseRecord {
    /// Verdict and bound of the margin, at the failure probability that was asked for.
    #[serde(flatten)]
    pub certify: CertifyRecord,
    /// The smallest probability found with which the property is proved to fail at most; 1 where nothing is proved.
    pub failure_probability: f64,
}

impl From<&NoiseCertificate> for NoiseRecord {
    fn from(c: &NoiseCertificate) -> Self {
        NoiseRecord {
            certify: CertifyRecord::from(&c.certificate),
            failure_probability: c.failure_probability,
        }
    }
}

impl NoiseRecord {
    /// The same record where no tolerance was given: what is proved of the largest change is the tolerance that holds, but for the
    /// failure probability `asked`.
    pub fn of_largest_change(self, asked: f64) -> Self {
        let certify = self.certify.of_largest_change();
        let failure_probability = if certify.holds() { asked } else { 1.0 };
        NoiseRecord { certify, failure_probability }
    }
}

/// Samples that hold together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct JointReport {
    /// How many: all that are certified.
    pub samples: usize,
    /// The probability that one of them fails on a device, at most: the sum of theirs.
    pub failure_probability: f64,
}

/// Numbers over all samples of `certify --noise`.
#[derive(Clone, Debug, Serialize)]
pub struct NoiseSummary {
    /// Those of every method.
    #[serde(flatten)]
    pub certify: CertifySummary,
    /// The probability that verdicts and margins are meant at.
    pub failure_probability: f64,
    /// Proved lower bound of the mean share of samples for which the property holds, over devices: the accuracy, for labels.
    pub expected_accuracy_at_least: f64,
    /// What holds on one device at once.
    pub jointly: JointReport,
}

impl NoiseSummary {
    /// Counts `records`, for this failure probability.
    pub fn new(records: &[NoiseRecord], failure_probability: f64) -> Self {
        let certify = counted(CertifyCounter::default(), records.iter().map(|r| &r.certify));
        let certified = || records.iter().filter(|r| r.holds());
        // Sums of at most so many numbers ≥ 0, rounded up.
        let up = |sum: f64| sum * (1.0 + (records.len() + 2) as f64 * f64::EPSILON);
        let lost =
            up(records.iter().map(|r| r.failure_probability).sum::<f64>()) / records.len().max(1) as f64;
        let joint = up(certified().map(|r| r.failure_probability).sum());
        NoiseSummary {
            certify,
            failure_probability,
            expected_accuracy_at_least: if records.is_empty() { 0.0 } else { (1.0 - up(lost)).max(0.0) },
            jointly: JointReport { samples: certified().count(), failure_probability: joint.min(1.0) },
        }
    }
}

/// The word for what is proved but for a probability.
pub fn with_probability(guarantee: Guarantee) -> &'static str {
    match guarantee {
        Guarantee::Rigorous => "rigorous, with probability",
        Guarantee::RealArithmetic => "real-arithmetic, with probability",
    }
}

impl Record for NoiseRecord {
    type Summary = NoiseSummary;
    const COMMAND: &'static str = CertifyRecord::COMMAND;
    const FAILING: &'static str = CertifyRecord::FAILING;
    const COLUMNS: &'static [Column] = &[
        Column::integer("index"),
        Column::class("label"),
        Column::class("predicted"),
        Column::number("margin"),
        Column::number("margin_lower"),
        Column::class("runner_up"),
        Column::text("verdict"),
        Column::text("reason"),
        Column::number("deviation_upper"),
        Column::number("failure_probability"),
    ];
    const LIST: &'static [(&'static str, ListSide)] = &[
        ("index", ListSide::Right),
        ("label", ListSide::Right),
        ("predicted", ListSide::Right),
        ("margin", ListSide::Right),
        ("margin bound", ListSide::Right),
        ("fails at most with", ListSide::Right),
        ("verdict", ListSide::Left),
        ("reason", ListSide::Left),
    ];

    fn holds(&self) -> bool {
        self.certify.holds()
    }

    fn cells(&self) -> Vec<Cell> {
        let mut row = self.certify.cells();
        row.push(Cell::number(self.failure_probability));
        row
    }

    fn list_row(&self) -> Vec<String> {
        let c = &self.certify;
        vec![
            c.index.to_string(),
            label(c.label),
            c.predicted.to_string(),
            value(c.margin),
            value(c.margin_lower),
            upper(self.failure_probability),
            verdict(c.verdict).into(),
            reason(c.reason).into(),
        ]
    }

    fn summary_head(guarantee: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![
            ("samples", ""),
            ("accuracy", "measured"),
            ("certified accuracy", guarantee),
            ("mean margin bound", guarantee),
        ]
    }

    fn summary_row(s: &NoiseSummary) -> Vec<String> {
        vec![
            s.certify.samples.to_string(),
            percent_or_dash(s.certify.accuracy),
            percent(s.certify.certified_accuracy),
            value_or_dash(Some(s.certify.mean_margin_lower)),
        ]
    }

    fn curves(s: &NoiseSummary, guarantee: &'static str) -> Vec<(String, String)> {
        let title = format!("failure probability {}, {guarantee}", upper(s.failure_probability));
        let mut table = Table::new([Side::Left, Side::Right]);
        let mean = floored_percent(s.expected_accuracy_at_least);
        table.push(["share of samples that hold, in the mean over devices, at least".to_owned(), mean]);
        let all = format!("all {} certified samples hold on one device, but with at most", s.jointly.samples);
        table.push([all, upper(s.jointly.failure_probability)]);
        s.certify.largest_change(guarantee).into_iter().chain([(title, table.to_string())]).collect()
    }
}

/// A lower bound as a percentage, rounded down.
fn floored_percent(fraction: f64) -> String {
    format!("{:.2}%", (fraction * 1e4 * (1.0 - f64::EPSILON)).floor() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::verdict::{Clean, SampleCertificate, Verdict};

    #[test]
    fn the_mean_and_the_sum_of_probabilities_are_proved() {
        let record = |index: usize, verdict: Verdict, failure_probability: f64| {
            let clean = Clean { index, label: Some(0), predicted: 0, target: 0, margin: 1.0 };
            let (margin_lower, reason) = (0.1, None);
            let certificate = SampleCertificate {
                clean,
                margin_lower,
                runner_up: 1,
                deviation_upper: None,
                verdict,
                reason,
            };
            NoiseRecord::from(&NoiseCertificate { certificate, failure_probability })
        };
        let records = [
            record(0, Verdict::Verified, 0.125),
            record(1, Verdict::Verified, 0.0625),
            record(2, Verdict::Unknown, 0.5),
            record(3, Verdict::Falsified, 1.0),
        ];
        let summary = NoiseSummary::new(&records, 0.2);
        let expected = 1.0 - 1.6875 / 4.0;
        assert!(
            summary.expected_accuracy_at_least <= expected
                && summary.expected_accuracy_at_least > expected - 1e-12
        );
        assert_eq!(summary.jointly.samples, 2);
        assert!(
            summary.jointly.failure_probability >= 0.1875 && summary.jointly.failure_probability < 0.1876
        );
        assert_eq!(NoiseSummary::new(&[], 0.2).expected_accuracy_at_least, 0.0);
        assert_eq!(floored_percent(0.99999), "99.99%");
    }
}
