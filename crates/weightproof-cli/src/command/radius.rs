//! `radius`: how far the weights may move for every sample, proved from below and attacked from above.

use super::{attack, certify, exit_code};
use crate::args::RadiusArgs;
use crate::config::{AttackConfig, Config, MethodConfig};
use crate::error::Failure;
use crate::number::{self, Range};
use crate::output;
use crate::run::{self, BatchSize};
use crate::session::{Arguments, Session};
use serde::Serialize;
use std::process::ExitCode;
use weightproof::radius::{RadiusOptions, RadiusSearch};
use weightproof_report::{MethodReport, RadiusRecord, RadiusSummary, Report, RunResult, curve_radii};

/// Samples at once: all of a batch share the sets that a search tries, and batches do not depend on time, because the
/// search groups the samples of a batch.
const BATCH: usize = 256;

/// The least and the greatest distance of neighbouring radii.
const WIDTHS: (f64, f64) = (1e-4, 1.0);

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    method: &'a MethodConfig,
    width: f64,
    attack: Option<&'a AttackConfig>,
}

/// Runs the command.
pub fn run(args: &RadiusArgs) -> Result<ExitCode, Failure> {
    let method = MethodConfig::new(&args.method)?;
    let width = width(&args.width)?;
    let attack = (!args.no_attack).then(|| AttackConfig::new(&args.search, None)).transpose()?;
    if let Some(attack) = attack.as_ref().filter(|a| a.kind.is_universal()) {
        let message = format!("attack: expected neuron-space or weight-space, found {}", attack.name);
        return Err(Failure::new(message).hint("radii are searched for each sample on its own"));
    }
    let arguments = Arguments {
        model: &args.model,
        data: &args.data,
        threat: &args.threat,
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    };
    let mut session = Session::open(&arguments)?;
    let set = session.config.threat.unit_set(&session.network, session.input_range())?;
    let options = RadiusOptions {
        relative_width: width,
        ..RadiusOptions::new(
            certify::options(&session, &method),
            attack.as_ref().map(|a| attack::options(&session, a)),
        )
    };
    let search = RadiusSearch::new(&session.network, &set, options);
    let search = search.map_err(|error| Failure::new(error.to_string()))?;
    let mut run = session.start(&arguments, BatchSize::Fixed(BATCH))?;
    let mut records: Vec<RadiusRecord> = Vec::new();
    let classes = session.classes();
    let done = run.over(
        &mut session.source,
        classes,
        |batch| search.search(run::samples(batch)).map_err(|error| Failure::new(error.to_string())),
        |_, found| {
            records.extend(found.iter().map(RadiusRecord::from));
            Ok(())
        },
    )?;
    let given = &session.config.threat.radii;
    let radii = if given.is_empty() { curve_radii(&records) } else { given.clone() };
    let summary = RadiusSummary::new(&records, &radii, attack.is_some());
    let settings = Settings { shared: &session.config, method: &method, width, attack: attack.as_ref() };
    let described = (describe(&session, &settings), certify::guarantee(&method));
    let report = Report {
        header: session.header(&done, &[], &set, described, &settings)?,
        partial: done.partial,
        results: vec![RunResult { radius: None, summary, samples: records }],
        environment: run.environment(),
    };
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    Ok(exit_code(!report.partial))
}

fn width(text: &str) -> Result<f64, Failure> {
    let width = number::one("width", text, Range::Positive)?;
    if width < WIDTHS.0 || width > WIDTHS.1 {
        let (least, most) = WIDTHS;
        return Err(Failure::new(format!("width: expected a number from {least} to {most}, found {width}")));
    }
    Ok(width)
}

/// The method's block of the report.
fn describe(session: &Session, settings: &Settings<'_>) -> MethodReport {
    let attack = settings.attack;
    MethodReport {
        attack: attack.map(|a| a.name.into()),
        steps: attack.map(|a| a.steps),
        restarts: attack.map(|a| a.restarts),
        seed: attack.map(|_| session.config.seed),
        relative_width: Some(settings.width),
        ..certify::describe(session, settings.method)
    }
}
