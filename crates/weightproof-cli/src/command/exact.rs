//! `certify --method exact`: every sample proved or broken, within budgets.

use super::Status;
use crate::args::{CertifyArgs, OracleArg};
use crate::config::MethodConfig;
use crate::error::Failure;
use crate::interrupt;
use crate::oracle::{self, Oracle};
use crate::output;
use crate::session::{Arguments, Session};
use crate::threat::SetAt;
use crate::witness::{Broken, WitnessFolder};
use serde_json::Value;
use std::slice;
use std::sync::Mutex;
use weightproof::bounds::EXACT;
use weightproof::exact::{ExactCertificate, ExactCertifier, ExactOptions};
use weightproof::network::Network;
use weightproof::verdict::{Reason, Samples, Verdict};
use weightproof_report::{BudgetReport, ExactRecord, Record};
use weightproof_run::exact::{BATCH, options, report};
use weightproof_run::journal::{self, Journal, Settled};

/// Runs the command.
pub(super) fn run(
    args: &CertifyArgs,
    arguments: &Arguments<'_>,
    mut session: Session,
    sets: &[SetAt],
    (method, budget): (&MethodConfig, &BudgetReport),
) -> Result<Status, Failure> {
    let folder = args.exact.witness.as_deref().map(WitnessFolder::create).transpose()?;
    let options = options(&session, method, budget);
    let (settled, journal) = match &args.exact.journal {
        None => (Settled::new(), None),
        Some(path) => {
            let (settled, journal) = Journal::open(path, &identity(args, &session, &options)?)?;
            (settled, Some(Mutex::new(journal)))
        }
    };
    let mut run = arguments.start(&session, BATCH)?;
    let classes = session.classes();
    let Session { network, feed, property, config, .. } = &mut session;
    let asked = args.exact.oracle.map(|OracleArg::Milp| (*property, config.seed));
    let oracle = asked.map(|asked| oracle::milp(network, sets, asked, options.budget)).transpose()?;
    let certifier = |at: &SetAt| ExactCertifier::new(network, slice::from_ref(&at.set), options.clone());
    let certifiers = sets.iter().map(certifier).collect();
    let solver = Solver { network, sets, certifiers, oracle, folder, settled, journal, gap: budget.gap };
    let mut records: Vec<Vec<ExactRecord>> = vec![Vec::new(); sets.len()];
    let done = run.over(
        feed,
        classes,
        |batch| (0..sets.len()).map(|k| solver.solve(k, batch)).collect::<Result<Vec<_>, Failure>>(),
        |_, found| {
            records.iter_mut().zip(found).for_each(|(records, found)| records.extend(found));
            Ok(())
        },
    )?;
    drop(solver);
    let report = report(&session, sets, (method, budget, &options), (&done, records), &run)?;
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    let contradicted = report.results.iter().flat_map(|r| &r.samples).find(|r| r.is_contradicted());
    if let Some(record) = contradicted {
        return Err(Failure::new(format!(
            "oracle: search and HiGHS contradict each other at sample {}",
            record.certify.index
        ))
        .hint(
            "one of the two is wrong, or its smallest margin is 0 within rounding: please report the sample",
        ));
    }
    let holds = report.results.iter().all(|r| r.samples.iter().all(Record::holds));
    Ok(Status::of(holds && !report.partial))
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
    identity["oracle"] = args.exact.oracle.is_some().into();
    identity["version"] = env!("CARGO_PKG_VERSION").into();
    Ok(identity)
}

/// Settles batches, without the samples that a journal has.
struct Solver<'a> {
    network: &'a Network,
    sets: &'a [SetAt],
    /// One for each set, because a sample may be settled at one radius and open at another.
    certifiers: Vec<ExactCertifier<'a>>,
    oracle: Option<Oracle<'a>>,
    folder: Option<WitnessFolder>,
    settled: Settled,
    journal: Option<Mutex<Journal>>,
    gap: Option<f64>,
}

impl Solver<'_> {
    /// Records of all samples of the batch for set `k`: from the journal, or settled now.
    fn solve(&self, k: usize, batch: Samples<'_>) -> Result<Vec<ExactRecord>, Failure> {
        let mut records: Vec<Option<ExactRecord>> =
            (0..self.count(batch)).map(|s| self.known(k, batch, s).cloned()).collect();
        let open: Vec<usize> = (0..self.count(batch)).filter(|&s| records[s].is_none()).collect();
        let inputs: Vec<f64> = open.iter().flat_map(|&s| self.input(batch, s)).copied().collect();
        let labels = batch.labels.map(|labels| open.iter().map(|&s| labels[s]).collect::<Vec<_>>());
        let samples = Samples { first: batch.first, inputs: &inputs, labels: labels.as_deref() };
        let fresh = Mutex::new(Vec::new());
        self.certifiers[k].settle(0, samples, &|o, certificate| {
            let record = self.keep(k, batch, open[o], certificate);
            if record.is_err() {
                // What cannot be kept is not worth more time.
                interrupt::request();
            }
            fresh.lock().expect("nothing panics with it").push((open[o], record));
        });
        for (s, record) in fresh.into_inner().expect("nothing panics with it") {
            records[s] = Some(record?);
        }
        Ok(records.into_iter().flatten().collect())
    }

    /// What the journal has about a sample with this label.
    fn known(&self, k: usize, batch: Samples<'_>, s: usize) -> Option<&ExactRecord> {
        let label = batch.labels.map(|labels| labels[s]);
        self.settled.get(&(k, batch.first + s)).filter(|record| record.certify.label == label)
    }

    fn count(&self, batch: Samples<'_>) -> usize {
        batch.count(self.network.input_width())
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
    ) -> Result<ExactRecord, Failure> {
        // The solver counts the samples that it is given.
        found.certificate.clean.index = batch.first + s;
        let x = self.input(batch, s);
        let label = batch.labels.map(|labels| labels[s]);
        let oracle = self.oracle.as_ref().map(|oracle| oracle(k, x, label)).transpose()?;
        let record = ExactRecord::new(&found, self.write(k, x, &found)?, oracle);
        if let Some(journal) = self.journal.as_ref().filter(|_| journal::is_settled(&record, self.gap)) {
            journal.lock().expect("nothing panics with it").append(k, &record)?;
        }
        Ok(record)
    }

    /// A file with what breaks the sample `x`, where a folder is wanted. Gives its name.
    fn write(&self, k: usize, x: &[f64], found: &ExactCertificate) -> Result<Option<String>, Failure> {
        let certificate = &found.certificate;
        let broken =
            certificate.verdict == Verdict::Falsified && certificate.reason != Some(Reason::Misclassified);
        let (Some(folder), Some(witness)) = (&self.folder, found.witness.as_ref().filter(|_| broken)) else {
            return Ok(None);
        };
        let perturbation = self.certifiers[k].witness(0, x, witness);
        // The class of the bound need not be the class that the witness reaches.
        let broken = Broken { clean: &certificate.clean, runner_up: None, worst_margin: found.worst_margin };
        Ok(Some(folder.write_sample((self.sets, k), self.network, &broken, &perturbation)?))
    }
}
