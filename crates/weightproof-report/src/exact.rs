//! Results of `certify --method exact`: records of `certify` with what the search found and what it cost.

use crate::certify::{CertifyCounter, CertifyRecord, CertifySummary, verdict};
use crate::count::{Counter, counted};
use crate::field::{Field, Total};
use crate::report::Record;
use crate::table::{Side, Table};
use serde::{Deserialize, Serialize};
use weightproof::exact::ExactCertificate;
use weightproof::verdict::Verdict;
use weightproof_figure::number::exact;

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
    /// SHA-256 of that file, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_sha256: Option<Box<str>>,
    /// Of a quantized network, whether that file holds whole counts of its integers, which break the class in integer arithmetic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integers: Option<bool>,
    /// What an independent solver says, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<OracleRecord>,
}

const _: () = assert!(size_of::<ExactRecord>() <= 144);

/// What a mixed-integer solver says about one sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OracleRecord {
    /// `verified` is an estimate, because the solver rounds; `falsified` was checked by the plain forward pass.
    pub verdict: Verdict,
    /// Time that the solver took; differs between runs.
    pub seconds: f64,
}

impl ExactRecord {
    /// The record of `certificate`, whose witness is in no file.
    pub fn new(certificate: &ExactCertificate, oracle: Option<OracleRecord>) -> Self {
        ExactRecord {
            certify: CertifyRecord::from(&certificate.certificate),
            worst_margin: certificate.worst_margin,
            nodes: certificate.nodes,
            seconds: certificate.time.as_secs_f64(),
            witness: None,
            witness_sha256: None,
            integers: None,
            oracle,
        }
    }

    /// Whether search and solver settle the sample in opposite ways.
    pub fn is_contradicted(&self) -> bool {
        let opposite = |oracle| match (self.certify.verdict, oracle) {
            (Verdict::Verified, Verdict::Falsified) | (Verdict::Falsified, Verdict::Verified) => true,
            (Verdict::Verified | Verdict::Falsified | Verdict::Unknown, _) => false,
        };
        self.oracle.is_some_and(|oracle| opposite(oracle.verdict))
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
    /// What an independent solver says, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oracle: Option<OracleSummary>,
}

/// Verdicts of a mixed-integer solver over all samples.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OracleSummary {
    /// Samples that it calls verified, which is an estimate.
    pub verified: usize,
    /// Samples that it falsified with a checked witness.
    pub falsified: usize,
    /// Samples that it did not settle.
    pub unknown: usize,
    /// Samples that the search settles in the opposite way.
    pub contradicted: usize,
    /// Time that it took, on one thread for each sample; differs between runs.
    pub seconds: f64,
}

/// Counts verdicts, and what the search and an independent solver say.
#[derive(Clone, Debug, Default)]
pub struct ExactCounter {
    certify: CertifyCounter,
    falsified: usize,
    unknown: usize,
    nodes: usize,
    oracle: Option<OracleSummary>,
}

impl Counter<ExactRecord> for ExactCounter {
    fn add(&mut self, record: &ExactRecord) {
        self.certify.add(&record.certify);
        self.falsified += usize::from(record.certify.verdict == Verdict::Falsified);
        self.unknown += usize::from(record.certify.verdict == Verdict::Unknown);
        self.nodes += record.nodes;
        if let Some(said) = record.oracle {
            let oracle = self.oracle.get_or_insert_default();
            oracle.verified += usize::from(said.verdict == Verdict::Verified);
            oracle.falsified += usize::from(said.verdict == Verdict::Falsified);
            oracle.unknown += usize::from(said.verdict == Verdict::Unknown);
            oracle.contradicted += usize::from(record.is_contradicted());
            oracle.seconds += said.seconds;
        }
    }

    fn finish(self) -> ExactSummary {
        let ExactCounter { certify, falsified, unknown, nodes, oracle } = self;
        ExactSummary { certify: certify.finish(), falsified, unknown, nodes, oracle }
    }
}

impl ExactSummary {
    /// Counts `records`.
    pub fn new(records: &[ExactRecord]) -> Self {
        counted(ExactCounter::default(), records)
    }
}

/// Limits of the work; what is not limited is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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

    fn holds(&self) -> bool {
        self.certify.holds()
    }

    fn fields(_: Option<&ExactSummary>) -> Vec<Field<Self>> {
        let certify = CertifyRecord::fields(None).into_iter().map(|field| field.of(|r: &Self| &r.certify));
        let more = [
            Field::number("worst_margin", |r: &Self| Some(r.worst_margin)).listed("worst margin found"),
            Field::integer("nodes", |r: &Self| Some(r.nodes as u64)).listed("nodes"),
            Field::number("seconds", |r: &Self| Some(r.seconds))
                .listed("time")
                .shown(|r| format!("{:.3} s", r.seconds)),
            Field::text("witness", |r: &Self| r.witness.clone()),
            Field::text("oracle", |r: &Self| r.oracle.map(|oracle| verdict(oracle.verdict)))
                .nested("oracle", "verdict"),
            Field::number("oracle_seconds", |r: &Self| r.oracle.map(|oracle| oracle.seconds))
                .nested("oracle", "seconds"),
        ];
        certify.chain(more).collect()
    }

    fn totals() -> Vec<Total<ExactSummary>> {
        let mut totals: Vec<_> = CertifyRecord::totals()
            .into_iter()
            .map(|total| total.of(|s: &ExactSummary| &s.certify))
            .collect();
        let counts = [
            Total::new("falsified", "witness", |s: &ExactSummary| s.falsified.to_string()),
            Total::new("unknown", "", |s: &ExactSummary| s.unknown.to_string()),
        ];
        // Before the mean bound.
        let mean = totals.len() - 1;
        totals.splice(mean..mean, counts);
        totals.push(Total::new("nodes", "", |s: &ExactSummary| s.nodes.to_string()));
        totals
    }

    fn curves(summary: &ExactSummary, guarantee: &'static str) -> Vec<(String, String)> {
        let change = summary.certify.largest_change(guarantee).into_iter();
        let Some(oracle) = &summary.oracle else { return change.collect() };
        let mut table = Table::new([Side::Right; 5]);
        table.push(["verified", "falsified", "unknown", "contradicted", "time"]);
        table.push(["estimate", "witness", "", "", ""]);
        let counts = [oracle.verified, oracle.falsified, oracle.unknown, oracle.contradicted];
        let seconds = format!("{:.1} s", oracle.seconds);
        table.push(counts.map(|count| count.to_string()).into_iter().chain([seconds]));
        change.chain([("oracle: HiGHS".into(), table.to_string())]).collect()
    }
}
