//! `certify --method exact`: every sample proved or broken, within budgets.

use super::exit_code;
use crate::args::CertifyArgs;
use crate::config::MethodConfig;
use crate::error::Failure;
use crate::journal::{self, Journal, Settled};
use crate::output;
use crate::session::{Arguments, Session};
use crate::threat::SetAt;
use crate::witness::{Broken, WitnessFolder};
use serde_json::Value;
use std::process::ExitCode;
use std::slice;
use weightproof::bounds::EXACT;
use weightproof::exact::{ExactCertificate, ExactCertifier, ExactOptions};
use weightproof::network::Network;
use weightproof::verdict::{Reason, Samples, Verdict};
use weightproof_report::{BudgetReport, ExactRecord, Record};
use weightproof_run::exact::{BATCH, options, report};

/// Runs the command.
pub(super) fn run(
    args: &CertifyArgs,
    arguments: &Arguments<'_>,
    mut session: Session,
    sets: &[SetAt],
    (method, budget): (&MethodConfig, &BudgetReport),
) -> Result<ExitCode, Failure> {
    let folder = args.exact.witness.as_deref().map(WitnessFolder::create).transpose()?;
    let options = options(&session, method, budget);
    let (settled, mut journal) = match &args.exact.journal {
        None => (Settled::new(), None),
        Some(path) => {
            let (settled, journal) = Journal::open(path, &identity(args, &session, &options)?)?;
            (settled, Some(journal))
        }
    };
    let mut run = arguments.start(&session, BATCH)?;
    let classes = session.classes();
    let Session { network, feed, .. } = &mut session;
    let solver = Solver::new(network, sets, &options, folder, settled);
    let mut records: Vec<Vec<ExactRecord>> = vec![Vec::new(); sets.len()];
    let done = run.over(
        feed,
        classes,
        |batch| Ok::<_, Failure>((0..sets.len()).map(|k| solver.solve(k, batch)).collect::<Vec<_>>()),
        |batch, found| {
            for (k, found) in found.into_iter().enumerate() {
                let fresh = solver.records(k, batch, &found)?;
                if let Some(journal) = &mut journal {
                    let settled = fresh.iter().filter(|record| journal::is_settled(record, budget.gap));
                    journal.append(k, settled)?;
                }
                records[k].extend(solver.merged(k, batch, fresh));
            }
            Ok(())
        },
    )?;
    let report = report(&session, sets, (method, budget, &options), (&done, records), &run)?;
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    let holds = report.results.iter().all(|r| r.samples.iter().all(Record::holds));
    Ok(exit_code(holds && !report.partial))
}

/// What must be the same for a journal to go on: all that the results of a sample depend on, but no limits.
fn identity(args: &CertifyArgs, session: &Session, options: &ExactOptions) -> Result<Value, Failure> {
    let broken = |error: serde_json::Error| Failure::new(format!("settings: {error}"));
    let mut identity = serde_json::to_value(&session.config).map_err(broken)?;
    let network = &session.network;
    // The outputs stand for all that is not in the file: architecture, normalization.
    let outputs = network.forward(&vec![0.5; network.input_width()]);
    identity["model"] = serde_json::json!({ "sha256": session.model_sha256(), "outputs": outputs });
    if let Some(data) = identity["data"].as_object_mut() {
        data.retain(|key, _| !["path", "offset", "samples", "batch"].contains(&key.as_str()));
    }
    identity["data"]["sha256"] = session.feed.sha256()?.into();
    identity["property"] = session.property.name().into();
    identity["method"] = EXACT.name.into();
    identity["attack"] = vec![options.attack.steps, options.attack.restarts].into();
    identity["gap"] = options.gap.into();
    identity["witness"] = args.exact.witness.as_ref().map(|folder| folder.to_string_lossy()).into();
    identity["version"] = env!("CARGO_PKG_VERSION").into();
    Ok(identity)
}

/// Settles batches, without the samples that a journal has.
struct Solver<'a> {
    network: &'a Network,
    sets: &'a [SetAt],
    /// One for each set, because a sample may be settled at one radius and open at another.
    certifiers: Vec<ExactCertifier<'a>>,
    folder: Option<WitnessFolder>,
    settled: Settled,
}

impl<'a> Solver<'a> {
    fn new(
        network: &'a Network,
        sets: &'a [SetAt],
        options: &ExactOptions,
        folder: Option<WitnessFolder>,
        settled: Settled,
    ) -> Self {
        let certifier = |at: &SetAt| ExactCertifier::new(network, slice::from_ref(&at.set), options.clone());
        Solver { network, sets, certifiers: sets.iter().map(certifier).collect(), folder, settled }
    }

    /// What the journal has about a sample with this label.
    fn known(&self, k: usize, batch: Samples<'_>, s: usize) -> Option<&ExactRecord> {
        let label = batch.labels.map(|labels| labels[s]);
        self.settled.get(&(k, batch.first + s)).filter(|record| record.certify.label == label)
    }

    /// Numbers in the batch of the samples that the journal does not have.
    fn open(&self, k: usize, batch: Samples<'_>) -> Vec<usize> {
        (0..self.count(batch)).filter(|&s| self.known(k, batch, s).is_none()).collect()
    }

    fn count(&self, batch: Samples<'_>) -> usize {
        batch.count(self.network.input_width())
    }

    fn input<'b>(&self, batch: Samples<'b>, s: usize) -> &'b [f64] {
        let width = self.network.input_width();
        &batch.inputs[s * width..(s + 1) * width]
    }

    /// One certificate for each open sample.
    fn solve(&self, k: usize, batch: Samples<'_>) -> Vec<ExactCertificate> {
        let open = self.open(k, batch);
        if open.is_empty() {
            return Vec::new();
        }
        let inputs: Vec<f64> = open.iter().flat_map(|&s| self.input(batch, s)).copied().collect();
        let labels = batch.labels.map(|labels| open.iter().map(|&s| labels[s]).collect::<Vec<_>>());
        let samples = Samples { first: batch.first, inputs: &inputs, labels: labels.as_deref() };
        let mut found: Vec<_> = self.certifiers[k].certify(samples).into_iter().flatten().collect();
        // The solver counts the samples that it is given.
        found.iter_mut().zip(open).for_each(|(found, s)| found.certificate.clean.index = batch.first + s);
        found
    }

    /// Records of what was found, and a file for each sample that was broken.
    fn records(
        &self,
        k: usize,
        batch: Samples<'_>,
        found: &[ExactCertificate],
    ) -> Result<Vec<ExactRecord>, Failure> {
        let record = |found: &ExactCertificate| Ok(ExactRecord::new(found, self.write(k, batch, found)?));
        found.iter().map(record).collect()
    }

    fn write(
        &self,
        k: usize,
        batch: Samples<'_>,
        found: &ExactCertificate,
    ) -> Result<Option<String>, Failure> {
        let certificate = &found.certificate;
        let broken =
            certificate.verdict == Verdict::Falsified && certificate.reason != Some(Reason::Misclassified);
        let (Some(folder), Some(witness)) = (&self.folder, found.witness.as_ref().filter(|_| broken)) else {
            return Ok(None);
        };
        let clean = &certificate.clean;
        let perturbation =
            self.certifiers[k].witness(0, self.input(batch, clean.index - batch.first), witness);
        // The class of the bound need not be the class that the witness reaches.
        let broken = Broken { clean, runner_up: None, worst_margin: found.worst_margin };
        Ok(Some(folder.write_sample((self.sets, k), self.network, &broken, &perturbation)?))
    }

    /// Records of all samples of the batch, from the journal and from `fresh`, which has one for each open sample.
    fn merged(&self, k: usize, batch: Samples<'_>, fresh: Vec<ExactRecord>) -> Vec<ExactRecord> {
        let mut fresh = fresh.into_iter();
        let record = |s| self.known(k, batch, s).cloned().or_else(|| fresh.next());
        (0..self.count(batch)).filter_map(record).collect()
    }
}
