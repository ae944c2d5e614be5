//! `certify`: a verdict and a margin bound for every sample.

use super::{exact, exit_code};
use crate::args::CertifyArgs;
use crate::config::{self, Config, MethodConfig};
use crate::error::Failure;
use crate::output;
use crate::run::{self, BatchSize};
use crate::session::{Arguments, Session};
use serde::Serialize;
use std::process::ExitCode;
use weightproof::bounds::METHODS;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof_report::{CertifyRecord, CertifySummary, MethodReport, Record, Report, RunResult};

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    method: &'a MethodConfig,
}

/// Runs the command.
pub fn run(args: &CertifyArgs) -> Result<ExitCode, Failure> {
    let method = MethodConfig::new(&args.method)?;
    let budget = config::budget(&args.exact, &method)?;
    let arguments = Arguments {
        model: &args.model,
        data: &args.data,
        threat: &args.threat,
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    };
    let mut session = Session::open(&arguments)?;
    let sets = session.config.threat.sets(&session.network, session.input_range())?;
    if method.is_exact() {
        return exact::run(args, &arguments, session, &sets, (&method, &budget));
    }
    let options = options(&session, &method);
    let all: Vec<_> = sets.iter().map(|at| at.set.clone()).collect();
    let certifier = Certifier::new(&session.network, &all, options);
    let certifier = certifier.map_err(|error| Failure::new(error.to_string()))?;
    let mut run = session.start(&arguments, BatchSize::Adaptive(CertifyOptions::BLOCK))?;
    let mut records: Vec<Vec<CertifyRecord>> = vec![Vec::new(); sets.len()];
    let classes = session.classes();
    let done = run.over(
        &mut session.source,
        classes,
        |batch| Ok(certifier.certify(run::samples(batch))),
        |_, certificates| {
            for (records, certificates) in records.iter_mut().zip(certificates) {
                records.extend(certificates.iter().map(CertifyRecord::from));
            }
            Ok(())
        },
    )?;
    let known: Vec<f64> = sets.iter().filter_map(|at| at.radius).collect();
    let settings = Settings { shared: &session.config, method: &method };
    let described = (describe(&session, &method), guarantee(&method));
    let report = Report {
        header: session.header(&done, &known, super::moving(&sets), described, &settings)?,
        partial: done.partial,
        results: sets.iter().zip(records).map(|(at, samples)| result(at.radius, samples)).collect(),
        environment: run.environment(),
    };
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    let holds = report.results.iter().all(|r| r.samples.iter().all(Record::holds));
    Ok(exit_code(holds && !report.partial))
}

fn result(radius: Option<f64>, samples: Vec<CertifyRecord>) -> RunResult<CertifyRecord> {
    RunResult { radius, summary: CertifySummary::new(&samples), samples }
}

/// Options of the bound method.
pub(super) fn options(session: &Session, method: &MethodConfig) -> CertifyOptions {
    CertifyOptions {
        tolerance: session.tolerance(),
        precision: session.config.precision,
        ..CertifyOptions::new(&method.entry, session.property)
    }
}

/// The method's block of the report.
pub(super) fn describe(session: &Session, method: &MethodConfig) -> MethodReport {
    let intermediate = method.intermediate.map(str::to_owned);
    MethodReport { intermediate, ..session.method(&method.name) }
}

/// What the method's numbers are worth.
pub(super) fn guarantee(method: &MethodConfig) -> &'static str {
    METHODS.iter().find(|m| m.name == method.entry).map_or("estimate", |m| m.guarantee)
}
