//! `certify`: a verdict and a margin bound for every sample.

use super::Status;
use super::exact;
use crate::args::CertifyArgs;
use crate::error::Failure;
use crate::session::Arguments;
use crate::{config, output};
use weightproof_report::Record;
use weightproof_run::certify::{self, BATCH};

/// Runs the command.
pub fn run(args: &CertifyArgs) -> Result<Status, Failure> {
    let method = config::method(&args.method)?;
    let budget = config::budget(&args.exact, &method)?;
    let arguments = Arguments {
        model: &args.model,
        data: &args.data,
        threat: &args.threat,
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    };
    let mut session = arguments.open()?;
    let sets = session.config.threat.sets(&session.network, session.input_range())?;
    if method.is_exact() {
        return exact::run(args, &arguments, session, &sets, (&method, &budget));
    }
    let run = arguments.start(&session, BATCH)?;
    let report = certify::run(&mut session, &sets, &method, run)?;
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    let holds = report.results.iter().all(|r| r.samples.iter().all(Record::holds));
    Ok(Status::of(holds && !report.partial))
}
