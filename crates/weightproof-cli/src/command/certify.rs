//! `certify`: a verdict and a margin bound for every sample.

use super::exit_code;
use crate::args::CertifyArgs;
use crate::config::{Config, MethodConfig};
use crate::error::Failure;
use crate::output;
use crate::run;
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
    let (radii, sets): (Vec<Option<f64>>, Vec<_>) = sets.into_iter().map(|s| (s.radius, s.set)).unzip();
    let options = options(&session, &method);
    let certifier = Certifier::new(&session.network, &sets, options);
    let certifier = certifier.map_err(|error| Failure::new(error.to_string()))?;
    let mut run = session.start(&arguments)?;
    let mut records: Vec<Vec<CertifyRecord>> = vec![Vec::new(); sets.len()];
    let classes = session.classes();
    let done = run.over(&mut session.source, classes, |batch| {
        for (records, certificates) in records.iter_mut().zip(certifier.certify(run::samples(batch))) {
            records.extend(certificates.iter().map(CertifyRecord::from));
        }
        Ok(())
    })?;
    let known: Vec<f64> = radii.iter().flatten().copied().collect();
    let settings = Settings { shared: &session.config, method: &method };
    let described = (describe(&session, &method), guarantee(&method));
    let largest = sets.iter().find(|s| s.layers.iter().any(|l| !l.is_zero())).unwrap_or(&sets[0]);
    let report = Report {
        header: session.header(&done, &known, largest, described, &settings)?,
        partial: done.partial,
        results: radii.into_iter().zip(records).map(|(radius, samples)| result(radius, samples)).collect(),
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
