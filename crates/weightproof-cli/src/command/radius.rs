//! `radius`: how far the weights may move for every sample, proved from below and attacked from above.

use super::Status;
use crate::args::RadiusArgs;
use crate::error::Failure;
use crate::session::Arguments;
use crate::{config, output};
use weightproof_run::number::{self, Range};
use weightproof_run::radius::{self, BATCH, RadiusConfig, RadiusRun};

/// Runs the command.
pub fn run(args: &RadiusArgs) -> Result<Status, Failure> {
    let method = config::method(&args.method)?;
    let budget = config::limits(&args.limits, &method)?;
    let width = number::one("width", &args.width, Range::Positive)?;
    let attack = (!args.no_attack).then(|| config::attack(&args.search, None)).transpose()?;
    let radius = RadiusConfig::new(method, budget, width, attack)?.by_layer(args.by_layer);
    let arguments = Arguments {
        model: &args.model,
        data: &args.data,
        threat: &args.threat,
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    };
    let mut session = arguments.open()?;
    let run = arguments.start(&mut session, BATCH)?;
    let report = radius::run(&mut session, &radius, args.journal.journal.as_deref(), run)?;
    let format = args.output.format();
    output::write(args.output.output.as_deref(), |out| match &report {
        RadiusRun::Bound(report) => report.write(format, out),
        RadiusRun::Exact(report) => report.write(format, out),
    })?;
    let partial = match &report {
        RadiusRun::Bound(report) => report.partial,
        RadiusRun::Exact(report) => report.partial,
    };
    Ok(Status::Holds.unless(partial))
}
