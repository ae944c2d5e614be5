//! Results of `attack`: the worst margins that were found.

use crate::certify::{CleanParts, clean_cells, fraction, label, reason, verdict as verdict_name};
use crate::column::{Cell, Column};
use crate::count::{Counter, Mean, Predicted, counted};
use crate::hit::HitReport;
use crate::report::{ListSide, Record};
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
}

/// Counts what was found.
#[derive(Clone, Debug, Default)]
pub struct AttackCounter {
    predicted: Predicted,
    robust: usize,
    worst_margin: Mean,
}

impl Counter<AttackRecord> for AttackCounter {
    fn add(&mut self, record: &AttackRecord) {
        self.predicted.add(record.label, record.predicted);
        self.robust += usize::from(record.holds());
        self.worst_margin.add(record.worst_margin);
    }

    fn finish(self) -> AttackSummary {
        let AttackCounter { predicted, robust, worst_margin } = self;
        AttackSummary {
            samples: predicted.samples,
            correct: predicted.correct,
            accuracy: predicted.accuracy(),
            robust,
            accuracy_under_attack: fraction(robust, predicted.samples),
            mean_worst_margin: worst_margin.value(),
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
    const COLUMNS: &'static [Column] = &[
        Column::integer("index"),
        Column::class("label"),
        Column::class("predicted"),
        Column::number("margin"),
        Column::number("worst_margin"),
        Column::class("runner_up"),
        Column::text("verdict"),
        Column::text("reason"),
        Column::number("deviation"),
        Column::text("witness"),
    ];
    const LIST: &'static [(&'static str, ListSide)] = &[
        ("index", ListSide::Right),
        ("label", ListSide::Right),
        ("predicted", ListSide::Right),
        ("margin", ListSide::Right),
        ("worst margin found", ListSide::Right),
        ("runner-up", ListSide::Right),
        ("reason", ListSide::Left),
    ];

    fn holds(&self) -> bool {
        self.verdict != Verdict::Falsified
    }

    fn cells(&self) -> Vec<Cell> {
        let mut row = clean_cells(self.index, self.label, self.predicted, self.margin);
        row.extend([Cell::number(self.worst_margin), Cell::Class(Some(self.runner_up))]);
        row.extend([Cell::text(verdict_name(self.verdict)), Cell::text(reason(self.reason))]);
        row.push(Cell::number(self.deviation));
        row.push(Cell::text(self.witness.as_deref().unwrap_or_default()));
        row
    }

    fn list_row(&self) -> Vec<String> {
        vec![
            self.index.to_string(),
            label(self.label),
            self.predicted.to_string(),
            value(self.margin),
            value(self.worst_margin),
            self.runner_up.to_string(),
            reason(self.reason).into(),
        ]
    }

    fn summary_head(guarantee: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![
            ("samples", ""),
            ("accuracy", "measured"),
            ("accuracy under attack", guarantee),
            ("mean worst margin found", guarantee),
        ]
    }

    fn summary_row(s: &AttackSummary) -> Vec<String> {
        vec![
            s.samples.to_string(),
            percent_or_dash(s.accuracy),
            percent(s.accuracy_under_attack),
            value(s.mean_worst_margin),
        ]
    }
}
