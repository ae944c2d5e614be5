//! Results of `attack --noise`: what drawn devices do, measured beside what `certify --noise` proves (theory.md §14).

use crate::attack::AttackRecord;
use crate::certify::{CleanParts, clean_fields, fraction, verdict as verdict_name};
use crate::count::{Counter, Mean, Predicted, counted};
use crate::field::{Field, Total};
use crate::report::Record;
use crate::table::{Side, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weightproof::noise::{SampleDraws, clopper_pearson, mean_interval};
use weightproof::property::Property;
use weightproof::verdict::{Reason, Verdict};
use weightproof_figure::number::{percent, percent_or_dash, upper, value};

/// The probability that an interval is wrong, at each end.
const ALPHA: f64 = 0.025;

/// What drawn devices do to one sample.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrawsRecord {
    /// Index in the data set.
    pub index: usize,
    /// The given label.
    pub label: Option<u32>,
    /// Class with the largest output of the unperturbed network.
    pub predicted: u32,
    /// Margin of the unperturbed network; for deviations the tolerance.
    pub margin: f64,
    /// The smallest margin of all devices.
    pub worst_margin: f64,
    /// The mean margin.
    pub mean_margin: f64,
    /// `falsified` when the property does not hold on a device, else `unknown`.
    pub verdict: Verdict,
    /// `attacked`, `misclassified` or `not-broken`.
    pub reason: Option<Reason>,
    /// Devices on which the property does not hold.
    pub failures: usize,
    /// `failures / draws`.
    pub failure_rate: f64,
    /// The interval of Clopper and Pearson for the failure probability, 95%.
    #[serde(flatten)]
    pub failure_interval: FailureInterval,
}

/// Lower and upper end of an interval: a list in JSON, two columns in tables.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenInterval")]
pub struct FailureInterval {
    failure_interval: [f64; 2],
}

/// The same as any of the two forms has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenInterval {
    List { failure_interval: [f64; 2] },
    Columns { failure_lower: f64, failure_upper: f64 },
}

impl From<WrittenInterval> for FailureInterval {
    fn from(written: WrittenInterval) -> Self {
        match written {
            WrittenInterval::List { failure_interval } => FailureInterval { failure_interval },
            WrittenInterval::Columns { failure_lower, failure_upper } => {
                FailureInterval { failure_interval: [failure_lower, failure_upper] }
            }
        }
    }
}

impl FailureInterval {
    /// Lower and upper end.
    pub fn ends(self) -> [f64; 2] {
        self.failure_interval
    }
}

impl DrawsRecord {
    /// The record of `found` on `draws` devices.
    pub fn new(found: &SampleDraws, draws: usize, property: Property) -> Self {
        let CleanParts { index, label, predicted, margin } = CleanParts::from(&found.clean);
        let misclassified = property == Property::Label && !(found.clean.margin > 0.0);
        let (lower, upper) = clopper_pearson(found.failures, draws, ALPHA);
        let (verdict, reason) = match found.failures {
            0 => (Verdict::Unknown, Reason::NotBroken),
            _ if misclassified => (Verdict::Falsified, Reason::Misclassified),
            _ => (Verdict::Falsified, Reason::Attacked),
        };
        DrawsRecord {
            index,
            label,
            predicted,
            margin,
            worst_margin: found.worst_margin,
            mean_margin: found.mean_margin,
            verdict,
            reason: Some(reason),
            failures: found.failures,
            failure_rate: fraction(found.failures, draws),
            failure_interval: FailureInterval { failure_interval: [lower, upper] },
        }
    }
}

/// The share of samples for which the property holds, over drawn devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DevicesReport {
    /// Number of devices.
    pub draws: usize,
    /// Mean share.
    pub mean: f64,
    /// Interval for the mean over all devices, 95%: Chernoff's bound for numbers in `[0, 1]`.
    pub mean_interval: [f64; 2],
    /// Standard deviation between devices.
    pub deviation: f64,
    /// The worst device.
    pub worst: f64,
    /// Quantiles between devices: 5%, 50%, 95%.
    pub quantiles: [f64; 3],
    /// The best device.
    pub best: f64,
}

impl DevicesReport {
    fn new(holds: &[usize], samples: usize) -> Self {
        let mut shares: Vec<f64> = holds.iter().map(|&n| fraction(n, samples)).collect();
        shares.sort_unstable_by(f64::total_cmp);
        let draws = shares.len();
        let count = draws.max(1) as f64;
        let mean = (shares.iter().sum::<f64>() / count).min(1.0);
        let square: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
        let at = |q: f64| shares.get(((count - 1.0) * q).round() as usize).copied().unwrap_or(0.0);
        let (low, high) = mean_interval(mean, draws, ALPHA);
        DevicesReport {
            draws,
            mean,
            mean_interval: [low, high],
            deviation: (square / (count - 1.0).max(1.0)).sqrt(),
            worst: at(0.0),
            quantiles: [at(0.05), at(0.5), at(0.95)],
            best: at(1.0),
        }
    }
}

/// Numbers over all samples of `attack --noise`.
#[derive(Clone, Debug, Serialize)]
pub struct DrawsSummary {
    /// Number of samples.
    pub samples: usize,
    /// Samples whose prediction is their label; `null` without labels.
    pub correct: Option<usize>,
    /// `correct / samples`.
    pub accuracy: Option<f64>,
    /// Samples for which the property holds on all devices that were drawn.
    pub robust: usize,
    /// `robust / samples`.
    pub accuracy_under_attack: f64,
    /// Mean of the worst margins.
    pub mean_worst_margin: f64,
    /// Shares of samples, device by device.
    pub devices: DevicesReport,
    /// For how many samples the property holds on each device: what parts are merged by.
    #[serde(skip)]
    holds: Vec<usize>,
}

/// What a part of `attack --noise` counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceCounts {
    /// For how many of its samples the property holds on each device.
    pub holds: Vec<usize>,
}

/// Counts records.
#[derive(Clone, Debug)]
pub struct DrawsCounter {
    predicted: Predicted,
    worst: Mean,
    robust: usize,
    /// For how many samples the property holds on each device.
    holds: Vec<usize>,
}

impl DrawsCounter {
    /// One that has counted no sample yet; `holds` says for how many the property holds on each device.
    pub fn new(holds: Vec<usize>) -> Self {
        DrawsCounter { predicted: Predicted::default(), worst: Mean::default(), robust: 0, holds }
    }
}

impl Counter<DrawsRecord> for DrawsCounter {
    fn add(&mut self, record: &DrawsRecord) {
        self.predicted.add(record.label, record.predicted);
        self.worst.add(record.worst_margin);
        self.robust += usize::from(record.holds());
    }

    fn finish(self) -> DrawsSummary {
        let DrawsCounter { predicted, worst, robust, holds } = self;
        let samples = predicted.samples;
        DrawsSummary {
            samples,
            correct: predicted.correct,
            accuracy: predicted.accuracy(),
            robust,
            accuracy_under_attack: fraction(robust, samples),
            mean_worst_margin: worst.value(),
            devices: DevicesReport::new(&holds, samples),
            holds,
        }
    }
}

impl DrawsSummary {
    /// Counts `records`; `holds` says for how many samples the property holds on each device.
    pub fn new(records: &[DrawsRecord], holds: Vec<usize>) -> Self {
        counted(DrawsCounter::new(holds), records)
    }
}

impl Record for DrawsRecord {
    type Summary = DrawsSummary;
    const COMMAND: &'static str = AttackRecord::COMMAND;
    const FAILING: &'static str = "broken by a drawn device";

    fn holds(&self) -> bool {
        self.verdict != Verdict::Falsified
    }

    fn fields(_: Option<&DrawsSummary>) -> Vec<Field<Self>> {
        let mut fields = clean_fields!(Self);
        fields.extend([
            Field::number("worst_margin", |r: &Self| Some(r.worst_margin)).listed("worst margin found"),
            Field::number("mean_margin", |r: &Self| Some(r.mean_margin)),
            Field::text("verdict", |r: &Self| Some(verdict_name(r.verdict))),
            Field::text("reason", |r: &Self| r.reason.map(Reason::name)).listed("reason"),
            Field::integer("failures", |r: &Self| Some(r.failures as u64)).listed("failures"),
            Field::number("failure_rate", |r: &Self| Some(r.failure_rate)),
            Field::number("failure_lower", |r: &Self| Some(r.failure_interval.ends()[0]))
                .listed("95% interval")
                .shown(|r| {
                    let [low, high] = r.failure_interval.ends();
                    format!("{} to {}", value(low), upper(high))
                }),
            Field::number("failure_upper", |r: &Self| Some(r.failure_interval.ends()[1])),
        ]);
        fields
    }

    fn totals() -> Vec<Total<DrawsSummary>> {
        vec![
            Total::new("samples", "", |s: &DrawsSummary| s.samples.to_string()),
            Total::new("accuracy", "measured", |s: &DrawsSummary| percent_or_dash(s.accuracy)),
            Total::by_method("mean over devices", |s: &DrawsSummary| percent(s.devices.mean)),
            Total::by_method("hold on all devices drawn", |s: &DrawsSummary| {
                percent(s.accuracy_under_attack)
            }),
            Total::by_method("mean worst margin found", |s: &DrawsSummary| value(s.mean_worst_margin)),
        ]
    }

    fn part_fields(s: &DrawsSummary) -> Option<Value> {
        Some(json!(DeviceCounts { holds: s.holds.clone() }))
    }

    fn curves(s: &DrawsSummary, guarantee: &'static str) -> Vec<(String, String)> {
        let d = &s.devices;
        let mut table = Table::new([Side::Right; 7]);
        table.push(["worst", "5%", "median", "95%", "best", "deviation", "mean, 95% interval"]);
        let [low, high] = d.mean_interval;
        let [few, half, most] = d.quantiles;
        let shares = [d.worst, few, half, most, d.best, d.deviation].map(percent);
        table.push(shares.into_iter().chain([format!("{} to {}", percent(low), percent(high))]));
        vec![(format!("share of samples that hold, {} devices, {guarantee}", d.draws), table.to_string())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_devices_are_ordered() {
        let report = DevicesReport::new(&[8, 10, 9, 10, 7], 10);
        assert!((report.mean - 0.88).abs() < 1e-12);
        assert_eq!((report.worst, report.quantiles[1], report.best), (0.7, 0.9, 1.0));
        let [low, high] = report.mean_interval;
        assert!(low < 0.88 && high > 0.88 && low > 0.0 && high <= 1.0);
    }
}
