//! Results of `certify --noise`: records of `certify` with the probability that a proof leaves (theory.md §14).

use crate::certify::{CertifyCounter, CertifyRecord, CertifySummary};
use crate::count::{Counter, counted};
use crate::field::{Field, Total};
use crate::report::Record;
use crate::table::{Side, Table};
use serde::{Deserialize, Serialize};
use weightproof::noise::NoiseCertificate;
use weightproof::verdict::Guarantee;
use weightproof_figure::number::upper;

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

/// Counts records.
#[derive(Clone, Debug)]
pub struct NoiseCounter {
    certify: CertifyCounter,
    /// The probability that verdicts are meant at.
    asked: f64,
    samples: usize,
    /// How many are certified.
    certified: usize,
    /// Sums of failure probabilities, to the nearest number: of all samples, and of those that are certified.
    lost: f64,
    joint: f64,
}

impl NoiseCounter {
    /// One that has counted nothing yet, for this failure probability.
    pub fn new(failure_probability: f64) -> Self {
        let certify = CertifyCounter::default();
        NoiseCounter { certify, asked: failure_probability, samples: 0, certified: 0, lost: 0.0, joint: 0.0 }
    }
}

impl Counter<NoiseRecord> for NoiseCounter {
    fn add(&mut self, record: &NoiseRecord) {
        self.certify.add(&record.certify);
        self.samples += 1;
        self.lost += record.failure_probability;
        if record.holds() {
            self.certified += 1;
            self.joint += record.failure_probability;
        }
    }

    fn finish(self) -> NoiseSummary {
        let NoiseCounter { certify, asked, samples, certified, lost, joint } = self;
        // Sums of at most so many numbers ≥ 0, rounded up.
        let up = |sum: f64| sum * (1.0 + (samples + 2) as f64 * f64::EPSILON);
        let mean = up(lost) / samples.max(1) as f64;
        NoiseSummary {
            certify: certify.finish(),
            failure_probability: asked,
            expected_accuracy_at_least: if samples == 0 { 0.0 } else { (1.0 - up(mean)).max(0.0) },
            jointly: JointReport { samples: certified, failure_probability: up(joint).min(1.0) },
        }
    }
}

impl NoiseSummary {
    /// Counts `records`, for this failure probability.
    pub fn new(records: &[NoiseRecord], failure_probability: f64) -> Self {
        counted(NoiseCounter::new(failure_probability), records)
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

    fn holds(&self) -> bool {
        self.certify.holds()
    }

    fn fields(_: Option<&NoiseSummary>) -> Vec<Field<Self>> {
        let certify = CertifyRecord::fields(None).into_iter().map(|field| field.of(|r: &Self| &r.certify));
        let fails = Field::number("failure_probability", |r: &Self| Some(r.failure_probability))
            .listed("fails at most with")
            .shown(|r| upper(r.failure_probability));
        certify.chain([fails]).collect()
    }

    fn totals() -> Vec<Total<NoiseSummary>> {
        CertifyRecord::totals().into_iter().map(|total| total.of(|s: &NoiseSummary| &s.certify)).collect()
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
