//! `certify --method exact`: every sample proved or broken, within budgets.

use crate::RunError;
use crate::certificate::{Certificate, Plan};
use crate::certify;
use crate::config::{Config, MethodConfig, check_budget};
use crate::feed::Feed;
use crate::oracle::{Oracle, OracleKind, oracle};
use crate::run::{BatchSize, Done, MOST_BATCH, Run, Watch, correct};
use crate::session::Session;
use crate::store::{Store, identity};
use crate::threat::{self, SetAt};
use crate::witness::{Broken, WitnessFile, WitnessFolder};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::slice;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use weightproof::attack::AttackOptions;
use weightproof::bounds::EXACT;
use weightproof::exact::{Budget, ExactCertificate, ExactCertifier, ExactOptions};
use weightproof::network::Network;
use weightproof::progress::Progress;
use weightproof::stop::Stop;
use weightproof::verdict::{Reason, Samples, Verdict};
use weightproof_report::{
    BudgetReport, CertifyRecord, ExactRecord, ExactSummary, MethodReport, Report, RunResult,
};

/// Size of a batch when the user does not say: the solver groups the samples of a batch, so batches are large, and do not
/// depend on time.
pub const BATCH: BatchSize = BatchSize::Fixed(MOST_BATCH);

/// How samples are settled, and what is kept of it.
#[derive(Clone, Debug)]
pub struct ExactConfig {
    /// The method, as the user calls it.
    pub method: MethodConfig,
    /// Limits and gap.
    pub budget: BudgetReport,
    /// A file that keeps each sample as soon as it is settled; a run that was killed goes on from it.
    pub journal: Option<PathBuf>,
    /// A folder for what breaks each falsified sample.
    pub witness: Option<PathBuf>,
    /// A file for what proves or breaks each sample.
    pub certificate: Option<PathBuf>,
    /// Who settles every sample a second time.
    pub oracle: Option<OracleKind>,
}

impl ExactConfig {
    /// An error when another method than exact has a setting that only exact takes.
    ///
    /// # Errors
    /// The first setting that was given.
    pub fn check(&self) -> Result<(), RunError> {
        check_budget(&self.budget, &self.method)?;
        self.method.only_exact(&[("witness", self.witness.is_some()), ("oracle", self.oracle.is_some())])
    }
}

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    method: &'a MethodConfig,
    exact: Exact<'a>,
}

/// Limits, and the attack that is tried second.
#[derive(Serialize)]
pub struct Exact<'a> {
    #[serde(flatten)]
    budget: &'a BudgetReport,
    steps: usize,
    restarts: usize,
}

impl<'a> Exact<'a> {
    /// Of a solver with these options.
    pub fn new(options: &ExactOptions, budget: &'a BudgetReport) -> Self {
        let AttackOptions { steps, restarts, .. } = options.attack;
        Exact { budget, steps, restarts }
    }
}

/// Settles every sample against every set.
///
/// # Errors
/// Those of the feed and of the front end; a journal, a witness or an oracle that fails.
pub fn run<F: Feed, W: Watch>(
    session: &mut Session<F>,
    sets: &[SetAt],
    config: &ExactConfig,
    mut run: Run<W>,
) -> Result<Report<ExactRecord>, RunError> {
    session.require_tolerance("the method exact")?;
    let options = options(session, &config.method, &config.budget);
    let plan = Plan::new(config.certificate.as_deref(), session, sets, &config.method, None)?;
    let identity = || {
        let AttackOptions { steps, restarts, .. } = options.attack;
        let witness = config.witness.as_ref().map(|folder| folder.to_string_lossy());
        let (gap, oracle) = (options.gap, config.oracle.is_some());
        let guarantee = options.certify.guarantee;
        let method = json!({
            "command": "certify", "method": EXACT.name, "guarantee": guarantee, "attack": [steps, restarts], "gap": gap, "witness": witness, "oracle": oracle
        });
        identity(session, &method)
    };
    let folder = WitnessFolder::asked(config.witness.as_deref(), identity)?;
    let mut store = Store::open(config.journal.as_deref(), identity)?;
    store.require(folder.as_ref(), |record: &ExactRecord| record.witness.as_deref());
    if plan.is_some() {
        // Journals do not keep what breaks a sample.
        store.forget(|record| record.certify.reason == Some(Reason::Attacked));
    }
    let classes = session.classes();
    let Session { network, feed, stop, .. } = session;
    let oracle = config.oracle.map(|kind| oracle(kind, network, sets, &options)).transpose()?;
    let certifier = |at: &SetAt| ExactCertifier::new(network, slice::from_ref(&at.set), options.clone());
    let certifiers = sets.iter().map(certifier).collect();
    let certificate = plan.map(|plan| plan.start(network, &sets[0], options.clone(), None)).transpose()?;
    let (within, gap) = (run.within(), options.gap);
    let mut solver =
        Solver { network, sets, certifiers, oracle, folder, certificate, store, stop, gap, within };
    let mut records: Vec<Vec<ExactRecord>> = vec![Vec::new(); sets.len()];
    let mut done = run.over(
        feed,
        classes,
        |batch| (0..sets.len()).map(|k| solver.solve(k, batch)).collect::<Result<Vec<_>, _>>(),
        |_, found| {
            records.iter_mut().zip(found).for_each(|(records, found)| records.extend(found));
            Ok(())
        },
    )?;
    let first = records.first().map(|all| all.iter().map(|r| (r.certify.label, r.certify.predicted)));
    done.correct = first.and_then(correct);
    let certificate = solver.certificate.take();
    let store = solver.into_store();
    let certificate = certificate.map(Certificate::finish).transpose()?;
    let mut report = report(session, sets, (config, &options), (&done, records), &run)?;
    report.header.certificate = certificate;
    store.finish(&report)?;
    Ok(report)
}

/// An error when search and oracle contradict each other; the report has both answers.
///
/// # Errors
/// The first sample where they do.
pub fn check_oracle(report: &Report<ExactRecord>) -> Result<(), RunError> {
    match report.results.iter().flat_map(|r| &r.samples).find(|r| r.is_contradicted()) {
        None => Ok(()),
        Some(record) => Err(RunError::Misfit {
            message: format!(
                "oracle: search and HiGHS contradict each other at sample {}",
                record.certify.index
            ),
            hint: Some(
                "one of the two is wrong, or its smallest margin is 0 within rounding: please report the sample",
            ),
        }),
    }
}

/// Settles batches, without the samples that the store has.
struct Solver<'a> {
    network: &'a Network,
    sets: &'a [SetAt],
    /// One for each set, because a sample may be settled at one radius and open at another.
    certifiers: Vec<ExactCertifier<'a>>,
    oracle: Option<Oracle<'a>>,
    folder: Option<WitnessFolder>,
    certificate: Option<Certificate<'a>>,
    store: Store<ExactRecord>,
    /// Ends the search.
    stop: &'a Stop,
    gap: Option<f64>,
    /// Told of samples that are settled for the last set.
    within: Progress,
}

impl Solver<'_> {
    /// What it has kept, and an end of all else.
    fn into_store(self) -> Store<ExactRecord> {
        self.store
    }

    /// Records of all samples of the batch for set `k`: from the store, or settled now.
    fn solve(&self, k: usize, batch: Samples<'_>) -> Result<Vec<ExactRecord>, RunError> {
        let count = batch.count(self.network.input_width());
        let known = |s| self.store.known(k, batch, s).cloned();
        let mut records: Vec<Option<ExactRecord>> = (0..count).map(known).collect();
        let (open, settled): (Vec<usize>, Vec<usize>) = (0..count).partition(|&s| records[s].is_none());
        if let Some(certificate) = &self.certificate {
            let records: Vec<&CertifyRecord> =
                records.iter().flatten().map(|record| &record.certify).collect();
            certificate.add(batch, &settled, &records, |_| None)?;
        }
        let inputs: Vec<f64> = open.iter().flat_map(|&s| self.input(batch, s)).copied().collect();
        let labels = batch.labels.map(|labels| open.iter().map(|&s| labels[s]).collect::<Vec<_>>());
        let samples = Samples { first: batch.first, inputs: &inputs, labels: labels.as_deref() };
        let fresh = Mutex::new(Vec::new());
        self.certifiers[k].settle(0, samples, &|o, certificate| {
            let record = self.keep(k, batch, open[o], certificate);
            if record.is_err() {
                // What cannot be kept is not worth more time.
                self.stop.set();
            }
            fresh.lock().unwrap_or_else(PoisonError::into_inner).push((open[o], record));
            if k + 1 == self.sets.len() {
                self.within.settled();
            }
        });
        for (s, record) in fresh.into_inner().unwrap_or_else(PoisonError::into_inner) {
            records[s] = Some(record?);
        }
        Ok(records.into_iter().flatten().collect())
    }

    fn input<'b>(&self, batch: Samples<'b>, s: usize) -> &'b [f64] {
        let width = self.network.input_width();
        &batch.inputs[s * width..(s + 1) * width]
    }

    /// The record of sample `s` of the batch, with its witness in a file and its line in the journal.
    fn keep(
        &self,
        k: usize,
        batch: Samples<'_>,
        s: usize,
        mut found: ExactCertificate,
    ) -> Result<ExactRecord, RunError> {
        // The solver counts the samples that it is given.
        found.certificate.clean.index = batch.first + s;
        let x = self.input(batch, s);
        let label = batch.labels.map(|labels| labels[s]);
        let oracle = self.oracle.as_ref().map(|oracle| oracle(k, x, label)).transpose()?;
        let file = self.write(k, x, &found)?;
        let integers = file.as_ref().and_then(|file| file.integers);
        let (witness, witness_sha256) = file.map(|f| (f.name, f.sha256)).unzip();
        let record = ExactRecord { witness, witness_sha256, integers, ..ExactRecord::new(&found, oracle) };
        if let Some(certificate) = &self.certificate {
            let broken = |_| found.witness.as_ref().map(|witness| (&self.certifiers[k], witness));
            certificate.add(batch, &[s], &[&record.certify], broken)?;
        }
        if is_closed(&record, self.gap) {
            self.store.keep(k, [&record])?;
        }
        Ok(record)
    }

    /// A file with what breaks the sample `x`, where a folder is wanted.
    fn write(&self, k: usize, x: &[f64], found: &ExactCertificate) -> Result<Option<WitnessFile>, RunError> {
        let certificate = &found.certificate;
        let broken =
            certificate.verdict == Verdict::Falsified && certificate.reason != Some(Reason::Misclassified);
        let (Some(folder), Some(witness)) = (&self.folder, found.witness.as_ref().filter(|_| broken)) else {
            return Ok(None);
        };
        let perturbation = self.certifiers[k].witness(0, x, witness);
        // The class of the bound need not be the class that the witness reaches.
        let broken = Broken {
            clean: &certificate.clean,
            runner_up: None,
            worst_margin: found.worst_margin,
            classes: certificate.deviation_upper.is_none().then_some(x),
        };
        folder.write_sample((self.sets, k), self.network, &broken, &perturbation).map(Some)
    }
}

/// Whether the gap is closed where there is one, and the oracle has judged where there is one.
fn is_closed(record: &ExactRecord, gap: Option<f64>) -> bool {
    let closed = gap.is_none_or(|gap| record.worst_margin - record.certify.margin_lower <= gap);
    closed && record.oracle.is_none_or(|oracle| oracle.verdict != Verdict::Unknown)
}

/// The report on the records of every set.
fn report<F: Feed, W: Watch>(
    session: &Session<F>,
    sets: &[SetAt],
    (config, options): (&ExactConfig, &ExactOptions),
    (done, records): (&Done, Vec<Vec<ExactRecord>>),
    run: &Run<W>,
) -> Result<Report<ExactRecord>, RunError> {
    let ExactConfig { method, budget, .. } = config;
    let known: Vec<f64> = sets.iter().filter_map(|at| at.radius).collect();
    let settings = Settings { shared: &session.config, method, exact: Exact::new(options, budget) };
    let guarantee = options.certify.guarantee.name();
    let described = (describe(session, options, budget), guarantee);
    let interrupted = |r: &ExactRecord| r.certify.reason == Some(Reason::Interrupted);
    let partial = done.partial || records.iter().flatten().any(interrupted);
    Ok(Report {
        header: session.header(done, &known, threat::moving(sets), described, &settings)?,
        partial,
        results: sets.iter().zip(records).map(|(at, samples)| result(at.radius, samples)).collect(),
        environment: run.environment(),
    })
}

fn result(radius: Option<f64>, samples: Vec<ExactRecord>) -> RunResult<ExactRecord> {
    RunResult { radius, summary: ExactSummary::new(&samples), samples }
}

/// Options of the solver; the time for the whole run starts here.
pub fn options<F: Feed>(session: &Session<F>, method: &MethodConfig, budget: &BudgetReport) -> ExactOptions {
    let options = ExactOptions::new(certify::options(session, method));
    ExactOptions {
        attack: AttackOptions { seed: session.config.seed, ..options.attack },
        budget: Budget {
            time: budget.time_limit.map(Duration::from_secs_f64),
            deadline: budget.time_limit_total.map(|s| Instant::now() + Duration::from_secs_f64(s)),
            nodes: budget.max_nodes,
            bytes: budget.max_memory.or(options.budget.bytes),
            interrupted: session.interrupted,
        },
        gap: budget.gap,
        ..options
    }
}

/// The method's block of the report.
fn describe<F: Feed>(session: &Session<F>, options: &ExactOptions, budget: &BudgetReport) -> MethodReport {
    let attack = &options.attack;
    MethodReport {
        attack: Some(attack.kind.name().into()),
        steps: Some(attack.steps),
        restarts: Some(attack.restarts),
        seed: Some(attack.seed),
        budget: Some(budget.clone()),
        assumptions: session.assumptions(options.certify.guarantee),
        ..session.method(EXACT.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn open_gaps_and_open_oracles_are_tried_again() {
        let record = |margin_lower: Option<f64>, oracle: Option<&str>| -> ExactRecord {
            serde_json::from_value(json!({
                "index": 0, "label": 3, "predicted": 3, "margin": 0.5, "margin_lower": margin_lower, "runner_up": 1,
                "verdict": "verified", "reason": null, "worst_margin": 0.3, "nodes": 7, "seconds": 0.5, "witness": null,
                "oracle": oracle.map(|verdict| json!({ "verdict": verdict, "seconds": 0.1 }))
            }))
            .unwrap()
        };
        assert!(is_closed(&record(None, None), None) && !is_closed(&record(None, None), Some(0.1)));
        let bounded = record(Some(0.25), Some("verified"));
        assert!(is_closed(&bounded, Some(0.1)) && !is_closed(&bounded, Some(0.01)));
        assert!(!is_closed(&record(Some(0.25), Some("unknown")), None));
    }
}
