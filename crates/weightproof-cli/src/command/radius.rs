//! `radius`: how far the weights may move for every sample, proved from below and attacked from above.

use super::Status;
use crate::args::{GuaranteeArg, LimitArgs, RadiusArgs};
use crate::error::Failure;
use crate::session::Arguments;
use crate::{config, output};
use std::path::Path;
use weightproof::faults::PairLimits;
use weightproof_run::config::MethodConfig;
use weightproof_run::faults::{self, Beside};
use weightproof_run::hits::{self, Limits};
use weightproof_run::noise::{self, NoiseRadiusConfig};
use weightproof_run::number::{self, Range};
use weightproof_run::radius::{self, BATCH, RadiusConfig, RadiusRun};

/// Runs the command.
pub fn run(args: &RadiusArgs) -> Result<Status, Failure> {
    if let Some(path) = &args.hits.faults {
        return of_hits(args, path);
    }
    let method = config::method(&args.method)?;
    let budget = config::limits(&args.limits, &method)?;
    let width = number::one("width", &args.width, Range::Positive)?;
    if let Some(noise) = config::noise_radius(&args.noise)? {
        return withstood(args, method, NoiseRadiusConfig { noise, width });
    }
    let attack = (!args.no_attack).then(|| config::attack(&args.attack, &args.search, None)).transpose()?;
    let radius = RadiusConfig::new(method, budget, width, attack)?.by_layer(args.by_layer);
    let arguments = arguments(args);
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

/// The largest noise that samples withstand.
fn withstood(
    args: &RadiusArgs,
    method: MethodConfig,
    mut search: NoiseRadiusConfig,
) -> Result<Status, Failure> {
    noise::refuse(&[("by-layer", args.by_layer), ("journal", args.journal.journal.is_some())])?;
    let arguments = arguments(args);
    let mut session = arguments.open()?;
    search.noise.model = noise::beside(&mut session, search.noise.model);
    let sets = session.config.threat.sets(&session.network, session.input_range())?;
    let run = arguments.start(&mut session, BATCH)?;
    let report = noise::radius(&mut session, &sets, &method, &search, run)?;
    output::report(&args.output, &report)?;
    Ok(Status::Holds.unless(report.partial))
}

/// How many hits on words samples withstand.
fn of_hits(args: &RadiusArgs, path: &Path) -> Result<Status, Failure> {
    let LimitArgs { time_limit, time_limit_total, max_nodes, max_memory } = &args.limits;
    config::none_with_faults(
        (&args.attack, &args.search),
        &[
            ("method", args.method.method != "linear" || args.method.intermediate.is_some()),
            ("guarantee", !matches!(args.method.guarantee, GuaranteeArg::Rigorous)),
            ("width", args.width != "0.01"),
            ("by-layer", args.by_layer),
            ("no-attack", args.no_attack),
            ("time-limit-total", time_limit_total.is_some()),
            ("max-memory", max_memory.is_some()),
        ],
    )?;
    let time_limit = time_limit.as_ref().map(|text| number::seconds("time-limit", text)).transpose()?;
    let limits = Limits { max_nodes: max_nodes.unwrap_or(PairLimits::NODES), time_limit };
    let arguments = arguments(args);
    let mut session = arguments.open()?;
    let faults = Beside::new(&mut session, faults::read(path)?)?;
    let run = arguments.start(&mut session, BATCH)?;
    let report = hits::radius(&mut session, &faults, limits, args.journal.journal.as_deref(), run)?;
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    Ok(Status::Holds.unless(report.partial))
}

fn arguments(args: &RadiusArgs) -> Arguments<'_> {
    Arguments {
        model: &args.model,
        data: &args.data,
        threat: &args.threat,
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    }
}
