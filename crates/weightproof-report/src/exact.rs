//! Results of `certify --method exact`: records of `certify` with what the search found and what it cost.

use crate::certify::{CertifyRecord, CertifySummary, label, reason, verdict};
use crate::column::{Cell, Column};
use crate::number::{exact, percent, percent_or_dash, value, value_or_dash};
use crate::report::{ListSide, Record};
use serde::{Deserialize, Serialize};
use weightproof::exact::ExactCertificate;
use weightproof::verdict::Verdict;

/// What is known about one sample.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExactRecord {
    /// Verdict and proved bound.
    #[serde(flatten)]
    pub certify: CertifyRecord,
    /// Smallest margin that was found in the perturbation set, checked: an upper bound of the true minimum.
    pub worst_margin: f64,
    /// Domains that were bounded.
    pub nodes: usize,
    /// Time spent on the sample; differs between runs.
    pub seconds: f64,
    /// Name of the file with the perturbation that breaks the property, if one was written.
    pub witness: Option<Box<str>>,
}

const _: () = assert!(size_of::<ExactRecord>() <= 104);

impl ExactRecord {
    /// The record of `certificate`, whose witness was written to this file.
    pub fn new(certificate: &ExactCertificate, witness: Option<String>) -> Self {
        ExactRecord {
            certify: CertifyRecord::from(&certificate.certificate),
            worst_margin: certificate.worst_margin,
            nodes: certificate.nodes,
            seconds: certificate.time.as_secs_f64(),
            witness: witness.map(String::into_boxed_str),
        }
    }
}

/// Numbers over all samples of `certify --method exact`.
#[derive(Clone, Debug, Serialize)]
pub struct ExactSummary {
    /// Those of every method.
    #[serde(flatten)]
    pub certify: CertifySummary,
    /// Samples with the verdict `falsified`.
    pub falsified: usize,
    /// Samples with the verdict `unknown`.
    pub unknown: usize,
    /// Domains that were bounded.
    pub nodes: usize,
}

impl ExactSummary {
    /// Counts `records`.
    pub fn new(records: &[ExactRecord]) -> Self {
        let count = |verdict| records.iter().filter(|r| r.certify.verdict == verdict).count();
        ExactSummary {
            certify: CertifySummary::of(records.iter().map(|r| &r.certify)),
            falsified: count(Verdict::Falsified),
            unknown: count(Verdict::Unknown),
            nodes: records.iter().map(|r| r.nodes).sum(),
        }
    }
}

/// Limits of the work; what is not limited is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BudgetReport {
    /// Most seconds for one sample and set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<f64>,
    /// Most seconds for the whole run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_limit_total: Option<f64>,
    /// Most domains for one sample and set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_nodes: Option<usize>,
    /// Most bytes of open domains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<usize>,
    /// Width to which the smallest margin is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<f64>,
}

impl BudgetReport {
    /// For people, one part for each limit.
    pub(crate) fn parts(&self) -> impl Iterator<Item = String> {
        [
            self.time_limit.map(|s| format!("at most {} s for a sample", exact(s))),
            self.time_limit_total.map(|s| format!("at most {} s in all", exact(s))),
            self.max_nodes.map(|n| format!("at most {n} nodes for a sample")),
            self.max_memory.map(|n| format!("at most {n} bytes of open domains")),
            self.gap.map(|g| format!("smallest margin to a gap of {}", exact(g))),
        ]
        .into_iter()
        .flatten()
    }
}

impl Record for ExactRecord {
    type Summary = ExactSummary;
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
        Column::number("worst_margin"),
        Column::integer("nodes"),
        Column::number("seconds"),
        Column::text("witness"),
    ];
    const LIST: &'static [(&'static str, ListSide)] = &[
        ("index", ListSide::Right),
        ("label", ListSide::Right),
        ("predicted", ListSide::Right),
        ("margin", ListSide::Right),
        ("margin bound", ListSide::Right),
        ("worst margin found", ListSide::Right),
        ("verdict", ListSide::Left),
        ("reason", ListSide::Left),
        ("nodes", ListSide::Right),
        ("time", ListSide::Right),
    ];

    fn holds(&self) -> bool {
        self.certify.holds()
    }

    fn cells(&self) -> Vec<Cell> {
        let mut row = self.certify.cells();
        row.extend([Cell::number(self.worst_margin), Cell::integer(self.nodes), Cell::number(self.seconds)]);
        row.push(Cell::text(self.witness.as_deref().unwrap_or_default()));
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
            value(self.worst_margin),
            verdict(c.verdict).into(),
            reason(c.reason).into(),
            self.nodes.to_string(),
            format!("{:.3} s", self.seconds),
        ]
    }

    fn summary_head(guarantee: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![
            ("samples", ""),
            ("accuracy", "measured"),
            ("certified accuracy", guarantee),
            ("falsified", "witness"),
            ("unknown", ""),
            ("mean margin bound", guarantee),
            ("nodes", ""),
        ]
    }

    fn summary_row(s: &ExactSummary) -> Vec<String> {
        vec![
            s.certify.samples.to_string(),
            percent_or_dash(s.certify.accuracy),
            percent(s.certify.certified_accuracy),
            s.falsified.to_string(),
            s.unknown.to_string(),
            value_or_dash(Some(s.certify.mean_margin_lower)),
            s.nodes.to_string(),
        ]
    }
}
