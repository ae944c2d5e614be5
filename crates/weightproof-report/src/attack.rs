//! Results of `attack`: the worst margins that were found.

use crate::certify::{CleanParts, clean_fields, fraction, verdict as verdict_name};
use crate::count::{Counter, Mean, Predicted, counted};
use crate::field::{Field, Total};
use crate::hit::HitReport;
use crate::report::Record;
use serde::{Deserialize, Serialize};
use weightproof::attack::SampleAttack;
use weightproof::faults::{HitAttack, Memory};
use weightproof::verdict::{Reason, Verdict};
use weightproof_figure::number::{percent, percent_or_dash, value};

/// What an attack found for one sample.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttackRecord {
    /// Index in the data set.
    pub index: usize,
    /// The given label.
    pub label: Option<u32>,
    /// Class with the largest output of the unperturbed network.
    pub predicted: u32,
    /// Margin of the unperturbed network; for deviations the tolerance.
    pub margin: f64,
    /// Smallest margin found in the perturbation set: an upper bound of the true minimum.
    pub worst_margin: f64,
    /// Class for which it was found.
    pub runner_up: u32,
    /// `falsified` when a perturbation breaks the property, else `unknown`.
    pub verdict: Verdict,
    /// `attacked`, `misclassified` or `not-broken`.
    pub reason: Option<Reason>,
    /// For the property `deviation`: the largest change of an output that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// The file that the perturbation was written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<Box<str>>,
    /// SHA-256 of that file, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_sha256: Option<Box<str>>,
    /// Of a quantized network, whether that file holds whole counts of its integers, which break the class in integer arithmetic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integers: Option<bool>,
    /// Gradients that were computed, by attacks that count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradients: Option<usize>,
    /// Where words are hit: the hits after which the margin is that, on different words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<HitReport>,
}

impl AttackRecord {
    /// What was found with hits on the words of `memory`.
    pub fn of_hits(found: &HitAttack, memory: &Memory) -> Self {
        let hits =
            found.hits.iter().map(|hit| HitReport::new(memory, hit.layer, hit.word, &hit.hit)).collect();
        AttackRecord { hits, ..AttackRecord::from(&found.attack) }
    }
}

impl From<&SampleAttack> for AttackRecord {
    fn from(a: &SampleAttack) -> Self {
        let CleanParts { index, label, predicted, margin } = CleanParts::from(&a.clean);
        AttackRecord {
            index,
            label,
            predicted,
            margin,
            worst_margin: a.worst_margin,
            runner_up: a.runner_up as u32,
            verdict: a.verdict,
            reason: a.reason,
            deviation: a.deviation,
            witness: None,
            witness_sha256: None,
            integers: None,
            gradients: a.gradients,
            hits: Vec::new(),
        }
    }
}

/// Numbers over all samples of `attack`.
#[derive(Clone, Debug, Serialize)]
pub struct AttackSummary {
    /// Number of samples.
    pub samples: usize,
    /// Samples whose prediction is their label; `null` without labels.
    pub correct: Option<usize>,
    /// `correct / samples`.
    pub accuracy: Option<f64>,
    /// Samples for which nothing in the set was found that breaks the property.
    pub robust: usize,
    /// `robust / samples`.
    pub accuracy_under_attack: f64,
    /// Mean of `worst_margin`.
    pub mean_worst_margin: f64,
    /// Mean of the gradients of a sample that the unperturbed network is right about, by attacks that count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_gradients: Option<f64>,
}

/// Counts what was found.
#[derive(Clone, Debug, Default)]
pub struct AttackCounter {
    predicted: Predicted,
    robust: usize,
    worst_margin: Mean,
    gradients: Mean,
}

impl Counter<AttackRecord> for AttackCounter {
    fn add(&mut self, record: &AttackRecord) {
        self.predicted.add(record.label, record.predicted);
        self.robust += usize::from(record.holds());
        self.worst_margin.add(record.worst_margin);
        record
            .gradients
            .filter(|&count| count > 0)
            .into_iter()
            .for_each(|count| self.gradients.add(count as f64));
    }

    fn finish(self) -> AttackSummary {
        let AttackCounter { predicted, robust, worst_margin, gradients } = self;
        AttackSummary {
            samples: predicted.samples,
            correct: predicted.correct,
            accuracy: predicted.accuracy(),
            robust,
            accuracy_under_attack: fraction(robust, predicted.samples),
            mean_worst_margin: worst_margin.value(),
            mean_gradients: gradients.of_some(),
        }
    }
}

impl AttackSummary {
    /// Counts `records`.
    pub fn new(records: &[AttackRecord]) -> Self {
        counted(AttackCounter::default(), records)
    }
}

impl Record for AttackRecord {
    type Summary = AttackSummary;
    const COMMAND: &'static str = "attack";
    const FAILING: &'static str = "broken";

    fn holds(&self) -> bool {
        self.verdict != Verdict::Falsified
    }

    fn fields(summary: Option<&AttackSummary>) -> Vec<Field<Self>> {
        let mut fields = clean_fields!(Self);
        fields.extend([
            Field::number("worst_margin", |r: &Self| Some(r.worst_margin)).listed("worst margin found"),
            Field::class("runner_up", |r: &Self| Some(r.runner_up)).listed("runner-up"),
            Field::text("verdict", |r: &Self| Some(verdict_name(r.verdict))),
            Field::text("reason", |r: &Self| r.reason.map(Reason::name)).listed("reason"),
            Field::number("deviation", |r: &Self| r.deviation),
            Field::text("witness", |r: &Self| r.witness.clone()),
        ]);
        if summary.is_none_or(|summary| summary.mean_gradients.is_some()) {
            fields.push(
                Field::integer("gradients", |r: &Self| r.gradients.map(|count| count as u64))
                    .listed("gradients"),
            );
        }
        fields
    }

    fn totals() -> Vec<Total<AttackSummary>> {
        vec![
            Total::new("samples", "", |s: &AttackSummary| s.samples.to_string()),
            Total::new("accuracy", "measured", |s: &AttackSummary| percent_or_dash(s.accuracy)),
            Total::by_method("accuracy under attack", |s: &AttackSummary| percent(s.accuracy_under_attack)),
            Total::by_method("mean worst margin found", |s: &AttackSummary| value(s.mean_worst_margin)),
        ]
    }

    fn curves(summary: &AttackSummary, _: &'static str) -> Vec<(String, String)> {
        let title = "gradients for a sample that the unperturbed network is right about, mean, measured";
        summary.mean_gradients.map(|mean| (title.into(), value(mean))).into_iter().collect()
    }
}
