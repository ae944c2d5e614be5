//! `certify`: a verdict and a margin bound for every sample.

use crate::RunError;
use crate::certificate::{Certificate, Plan};
use crate::config::{Config, MethodConfig};
use crate::exact::{self, ExactConfig};
use crate::faults::Beside;
use crate::feed::Feed;
use crate::run::{BatchSize, Keeping, Run, Watch};
use crate::session::Session;
use crate::store::{Store, identity};
use crate::threat::{self, SetAt};
use serde::Serialize;
use serde_json::json;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::faults::FaultError;
use weightproof::verdict::{SampleCertificate, Samples};
use weightproof_report::{CertifyRecord, CertifySummary, Header, MethodReport, Report, RunResult};

/// Size of a batch when the user does not say.
pub const BATCH: BatchSize = BatchSize::Adaptive(CertifyOptions::BLOCK);

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    method: &'a MethodConfig,
}

/// Certifies every sample against every set by a bound method, beside hits on stored words where there are some.
///
/// # Errors
/// Those of the feed and of the front end; a journal that fails.
pub fn run<F: Feed, W: Watch>(
    session: &mut Session<F>,
    sets: &[SetAt],
    config: &ExactConfig,
    faults: Option<&Beside>,
    mut run: Run<W>,
) -> Result<Report<CertifyRecord>, RunError> {
    let ExactConfig { method, budget, .. } = config;
    let options = options(session, method);
    if faults.is_some() && method.is_exact() {
        return Err(FaultError::Method { found: method.name.clone() }.into());
    }
    let plan = Plan::new(config.certificate.as_deref(), session, sets, method, faults)?;
    let proofs = exact::options(session, method, budget);
    let store = Store::open(config.journal.as_deref(), || {
        let mut of_method = json!({ "command": "certify", "method": method });
        if let Some(faults) = faults {
            of_method["faults"] = json!(faults.model);
        }
        identity(session, &of_method)
    })?;
    let all: Vec<_> = sets.iter().map(|at| at.set.clone()).collect();
    let (classes, asks_largest) = (session.classes(), session.asks_largest_change());
    let record = |certificate: &SampleCertificate| match CertifyRecord::from(certificate) {
        record if asks_largest => record.of_largest_change(),
        record => record,
    };
    let Session { network, feed, .. } = session;
    let certifier = Certifier::new(network, &all, options);
    let mut certifier = certifier.map_err(|error| RunError::misfit(error.to_string()))?;
    if let Some(faults) = faults {
        certifier = certifier.with_hits(faults.hits())?;
    }
    let certificate = plan.map(|plan| plan.start(network, &sets[0], proofs, faults)).transpose()?;
    let mut prove = |batch: Samples<'_>, records: &[&[CertifyRecord]]| match &certificate {
        Some(certificate) => {
            let all: Vec<usize> = (0..records[0].len()).collect();
            certificate.add(batch, &all, &records[0].iter().collect::<Vec<_>>(), |_| None)
        }
        None => Ok(()),
    };
    let (records, done) = run.settle(
        feed,
        classes,
        Keeping { store: &store, sets: sets.len(), seen: Some(&mut prove) },
        |batch| Ok(certifier.certify(batch)),
        |_, found| Ok(found.iter().map(|found| found.iter().map(record).collect()).collect()),
    )?;
    let certificate = certificate.map(Certificate::finish).transpose()?;
    let known: Vec<f64> = sets.iter().filter_map(|at| at.radius).collect();
    let settings = Settings { shared: &session.config, method };
    let described = (describe(session, method), method.guarantee.name());
    let mut header = session.header(&done, &known, threat::moving(sets), described, &settings)?;
    if let Some(faults) = faults {
        header.threat = faults.describe(&header.threat);
    }
    let report = Report {
        header: Header { certificate, ..header },
        partial: done.partial,
        results: sets.iter().zip(records).map(|(at, samples)| result(at.radius, samples)).collect(),
        environment: run.environment(),
    };
    store.finish(&report)?;
    Ok(report)
}

fn result(radius: Option<f64>, samples: Vec<CertifyRecord>) -> RunResult<CertifyRecord> {
    RunResult { radius, summary: CertifySummary::new(&samples), samples }
}

/// Options of the bound method.
pub fn options<F: Feed>(session: &Session<F>, method: &MethodConfig) -> CertifyOptions {
    CertifyOptions {
        tolerance: session.tolerance(),
        precision: session.precision,
        guarantee: method.guarantee,
        stop: session.stop.clone(),
        ..CertifyOptions::new(&method.entry, session.property)
    }
}

/// The method's block of the report.
pub fn describe<F: Feed>(session: &Session<F>, method: &MethodConfig) -> MethodReport {
    let intermediate = method.intermediate.map(str::to_owned);
    let assumptions = session.assumptions(method.guarantee);
    MethodReport { intermediate, assumptions, ..session.method(&method.name) }
}
