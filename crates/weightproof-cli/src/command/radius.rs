//! `radius`: how far the weights may move for every sample, proved from below and attacked from above.

use super::exact::{self, Exact};
use super::{attack, certify, exit_code};
use crate::args::{OutputArgs, RadiusArgs};
use crate::config::{self, AttackConfig, Config, MethodConfig};
use crate::error::Failure;
use crate::number::{self, Range};
use crate::output;
use crate::run::{self, BatchSize};
use crate::session::{Arguments, Session};
use serde::Serialize;
use std::iter;
use std::process::ExitCode;
use weightproof::bounds::EXACT;
use weightproof::radius::{RadiusOptions, RadiusSearch, SampleRadius};
use weightproof::threat::PerturbationSet;
use weightproof::verdict::Reason;
use weightproof_report::{
    Environment, ExactRadiusRecord, ExactRadiusSummary, Header, MethodReport, RadiusRecord, RadiusSummary,
    Record, Report, RunResult, curve_radii,
};

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
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    by_layer: bool,
    attack: Option<&'a AttackConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<Exact<'a>>,
}

/// Runs the command.
pub fn run(args: &RadiusArgs) -> Result<ExitCode, Failure> {
    let method = MethodConfig::new(&args.method)?;
    let budget = config::limits(&args.limits, &method)?;
    let width = width(&args.width)?;
    let attack = attack(args, &method)?;
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
    let exact = method.is_exact().then(|| exact::options(&session, &method, &budget));
    let options = RadiusOptions {
        exact: exact.clone(),
        relative_width: width,
        ..RadiusOptions::new(
            exact.as_ref().map_or_else(|| certify::options(&session, &method), |e| e.certify.clone()),
            attack.as_ref().map(|a| attack::options(&session, a)),
        )
    };
    let new = |set: &PerturbationSet| {
        let search = RadiusSearch::new(&session.network, set, options.clone());
        search.map_err(|error| Failure::new(error.to_string()))
    };
    let (layers, parts) = if args.by_layer { parts(&session, &set) } else { Default::default() };
    let searches = iter::once(&set).chain(&parts).map(new).collect::<Result<Vec<_>, _>>()?;
    let mut run = session.start(&arguments, BatchSize::Fixed(BATCH))?;
    let mut found: Vec<SampleRadius> = Vec::new();
    let mut records: Vec<RadiusRecord> = Vec::new();
    let classes = session.classes();
    let done = run.over(
        &mut session.source,
        classes,
        |batch| {
            let search = |search: &RadiusSearch<'_>| search.search(run::samples(batch));
            let found = searches.iter().map(search).collect::<Result<Vec<_>, _>>();
            found.map_err(|error| Failure::new(error.to_string()))
        },
        |_, radii| {
            let Some((all, layers)) = radii.split_first() else { return Ok(()) };
            let of_layers = |k: usize| layers.iter().map(move |layer: &Vec<SampleRadius>| &layer[k]);
            let record = |(k, r): (usize, &SampleRadius)| RadiusRecord::from(r).by_layer(of_layers(k));
            records.extend(all.iter().enumerate().map(record));
            found.extend(all);
            Ok(())
        },
    )?;
    let settings = Settings {
        shared: &session.config,
        method: &method,
        width,
        by_layer: args.by_layer,
        attack: attack.as_ref(),
        exact: exact.as_ref().map(|options| Exact::new(options, &budget)),
    };
    let (described, guarantee) = match method.is_exact() {
        true => {
            (MethodReport { budget: Some(budget.clone()), ..describe(&session, &settings) }, EXACT.guarantee)
        }
        false => (describe(&session, &settings), certify::guarantee(&method)),
    };
    let header = session.header(&done, &[], &set, (described, guarantee), &settings)?;
    let given = &session.config.threat.radii;
    let radii = if given.is_empty() { curve_radii(&records) } else { given.clone() };
    let attacked = attack.is_some();
    let summary = RadiusSummary::new(&records, &radii, attacked).by_layer(&layers, &records, attacked);
    let partial = done.partial || found.iter().any(|radius| radius.reason == Some(Reason::Interrupted));
    let end = End { output: &args.output, header, partial, environment: run.environment() };
    if method.is_exact() {
        let reason = |(radius, found): (RadiusRecord, &SampleRadius)| {
            let reason = found.reason;
            ExactRadiusRecord { radius, reason }
        };
        let records: Vec<_> = records.into_iter().zip(&found).map(reason).collect();
        end.write(ExactRadiusSummary::new(summary, &records), records)?;
    } else {
        end.write(summary, records)?;
    }
    Ok(exit_code(!partial))
}

/// The layers that move, and for each the set in which only it does.
fn parts(session: &Session, set: &PerturbationSet) -> (Vec<String>, Vec<PerturbationSet>) {
    let moving = set.layers.iter().filter(|layer| !layer.is_zero());
    moving.map(|layer| (session.network.nodes()[layer.node].name.clone(), set.only(layer.node))).unzip()
}

/// What a report has beside its samples.
struct End<'a> {
    output: &'a OutputArgs,
    header: Header,
    partial: bool,
    environment: Environment,
}

impl End<'_> {
    fn write<R: Record>(self, summary: R::Summary, samples: Vec<R>) -> Result<(), Failure> {
        let End { output, header, partial, environment } = self;
        let results = vec![RunResult { radius: None, summary, samples }];
        let report = Report { header, partial, results, environment };
        output::write(output.output.as_deref(), |out| report.write(output.format(), out))
    }
}

/// The attack for the upper ends; an error when there is none that fits the method.
fn attack(args: &RadiusArgs, method: &MethodConfig) -> Result<Option<AttackConfig>, Failure> {
    if args.no_attack && method.is_exact() {
        let message = "no-attack: expected a bound method, found exact";
        return Err(Failure::new(message)
            .hint("exact closes the interval below the attacked radius: leave out --no-attack"));
    }
    let attack = (!args.no_attack).then(|| AttackConfig::new(&args.search, None)).transpose()?;
    match attack.as_ref().filter(|a| a.kind.is_universal()) {
        None => Ok(attack),
        Some(attack) => {
            let message = format!("attack: expected neuron-space or weight-space, found {}", attack.name);
            Err(Failure::new(message).hint("radii are searched for each sample on its own"))
        }
    }
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
