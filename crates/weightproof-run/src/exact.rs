//! `certify --method exact`: every sample proved or broken, within budgets.

use crate::RunError;
use crate::certify;
use crate::config::{Config, MethodConfig};
use crate::feed::Feed;
use crate::run::{BatchSize, Done, MOST_BATCH, Run, Watch};
use crate::session::Session;
use crate::threat::{self, SetAt};
use serde::Serialize;
use std::slice;
use std::time::{Duration, Instant};
use weightproof::attack::AttackOptions;
use weightproof::bounds::EXACT;
use weightproof::exact::{Budget, ExactCertifier, ExactOptions};
use weightproof::verdict::Reason;
use weightproof_report::{BudgetReport, ExactRecord, ExactSummary, MethodReport, Report, RunResult};

/// Size of a batch when the user does not say: the solver groups the samples of a batch, so batches are large, and do not
/// depend on time.
pub const BATCH: BatchSize = BatchSize::Fixed(MOST_BATCH);

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
/// Those of the feed and of the front end.
pub fn run<F: Feed, W: Watch>(
    session: &mut Session<F>,
    sets: &[SetAt],
    (method, budget): (&MethodConfig, &BudgetReport),
    mut run: Run<W>,
) -> Result<Report<ExactRecord>, RunError> {
    let options = options(session, method, budget);
    let classes = session.classes();
    let Session { network, feed, .. } = session;
    // One for each set, because the solver groups the samples that a set leaves open.
    let certifier = |at: &SetAt| ExactCertifier::new(network, slice::from_ref(&at.set), options.clone());
    let certifiers: Vec<ExactCertifier<'_>> = sets.iter().map(certifier).collect();
    let mut records: Vec<Vec<ExactRecord>> = vec![Vec::new(); sets.len()];
    let done = run.over(
        feed,
        classes,
        |batch| Ok(certifiers.iter().map(|c| c.certify(batch).swap_remove(0)).collect::<Vec<_>>()),
        |_, found| {
            let pairs = records.iter_mut().zip(&found);
            pairs.for_each(|(all, found)| all.extend(found.iter().map(|f| ExactRecord::new(f, None, None))));
            Ok::<_, RunError>(())
        },
    )?;
    drop(certifiers);
    report(session, sets, (method, budget, &options), (&done, records), &run)
}

/// The report on the records of every set.
///
/// # Errors
/// Data that can no longer be read.
pub fn report<F: Feed, W: Watch>(
    session: &Session<F>,
    sets: &[SetAt],
    (method, budget, options): (&MethodConfig, &BudgetReport, &ExactOptions),
    (done, records): (&Done, Vec<Vec<ExactRecord>>),
    run: &Run<W>,
) -> Result<Report<ExactRecord>, RunError> {
    let known: Vec<f64> = sets.iter().filter_map(|at| at.radius).collect();
    let settings = Settings { shared: &session.config, method, exact: Exact::new(options, budget) };
    let described = (describe(session, options, budget), EXACT.guarantee);
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
        ..session.method(EXACT.name)
    }
}
