//! `radius`: how far the weights may move for every sample, proved from below and attacked from above.

use crate::RunError;
use crate::config::{AttackConfig, Config, MethodConfig, check_budget};
use crate::exact::{self, Exact};
use crate::feed::Feed;
use crate::run::{BatchSize, Run, Watch};
use crate::session::Session;
use crate::{attack, certify};
use serde::Serialize;
use std::iter;
use weightproof::network::Network;
use weightproof::radius::{RadiusOptions, RadiusSearch, SampleRadius};
use weightproof::threat::PerturbationSet;
use weightproof::verdict::Reason;
use weightproof_report::{
    BudgetReport, ExactRadiusRecord, ExactRadiusSummary, MethodReport, RadiusRecord, RadiusSummary, Record,
    Report, RunResult, curve_radii,
};

/// Samples at once: all of a batch share the sets that a search tries, and batches do not depend on time, because the
/// search groups the samples of a batch.
pub const BATCH: BatchSize = BatchSize::Fixed(256);

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

/// What `radius` searches by.
#[derive(Clone, Debug)]
pub struct RadiusConfig {
    method: MethodConfig,
    budget: BudgetReport,
    width: f64,
    by_layer: bool,
    attack: Option<AttackConfig>,
}

/// The report of a search by a bound method, or of one that branch and bound closed.
pub enum RadiusRun {
    /// By a bound method.
    Bound(Report<RadiusRecord>),
    /// Closed by branch and bound.
    Exact(Report<ExactRadiusRecord>),
}

impl RadiusConfig {
    /// Checks that the settings belong together; `width` is the relative distance of neighbouring radii, `attack` gives the
    /// upper ends.
    ///
    /// # Errors
    /// A width out of range, limits for a bound method, an attack that is missing or has no radius for each sample.
    pub fn new(
        method: MethodConfig,
        budget: BudgetReport,
        width: f64,
        attack: Option<AttackConfig>,
    ) -> Result<Self, RunError> {
        check_budget(&budget, &method)?;
        if !(width >= WIDTHS.0 && width <= WIDTHS.1) {
            let (least, most) = WIDTHS;
            let expected = format!("a number from {least} to {most}");
            return Err(RunError::setting("width", expected, width.to_string()));
        }
        match &attack {
            None if method.is_exact() => Err(RunError::setting("no-attack", "a bound method", "exact")),
            Some(attack) if attack.kind.is_universal() => {
                Err(RunError::setting("attack", "neuron-space or weight-space", attack.name))
            }
            Some(_) | None => Ok(RadiusConfig { method, budget, width, by_layer: false, attack }),
        }
    }

    /// Whether radii are also searched with only one layer perturbed, for each layer that moves.
    pub fn by_layer(self, by_layer: bool) -> Self {
        RadiusConfig { by_layer, ..self }
    }
}

/// Searches the radii of every sample.
///
/// # Errors
/// Those of the feed and of the front end; a proof and a witness that contradict each other.
pub fn run<F: Feed, W: Watch>(
    session: &mut Session<F>,
    radius: &RadiusConfig,
    mut run: Run<W>,
) -> Result<RadiusRun, RunError> {
    let RadiusConfig { method, budget, width, by_layer, attack } = radius;
    let set = session.config.threat.unit_set(&session.network, session.input_range())?;
    let exact = method.is_exact().then(|| exact::options(session, method, budget));
    let options = RadiusOptions {
        exact: exact.clone(),
        relative_width: *width,
        ..RadiusOptions::new(
            exact.as_ref().map_or_else(|| certify::options(session, method), |e| e.certify.clone()),
            attack.as_ref().map(|a| attack::options(session, a)),
        )
    };
    let (layers, parts) = if *by_layer { parts(&session.network, &set) } else { Default::default() };
    let classes = session.classes();
    let Session { network, feed, .. } = session;
    let new = |set: &PerturbationSet| {
        let search = RadiusSearch::new(network, set, options.clone());
        search.map_err(|error| RunError::misfit(error.to_string()))
    };
    let searches = iter::once(&set).chain(&parts).map(new).collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<SampleRadius> = Vec::new();
    let mut records: Vec<RadiusRecord> = Vec::new();
    let done = run.over(
        feed,
        classes,
        |batch| {
            let found = searches.iter().map(|search| search.search(batch)).collect::<Result<Vec<_>, _>>();
            found.map_err(|error| RunError::misfit(error.to_string()))
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
    drop(searches);
    let settings = Settings {
        shared: &session.config,
        method,
        width: *width,
        by_layer: *by_layer,
        attack: attack.as_ref(),
        exact: exact.as_ref().map(|options| Exact::new(options, budget)),
    };
    let limits = method.is_exact().then(|| budget.clone());
    let described = MethodReport { budget: limits, ..describe(session, &settings) };
    let header = session.header(&done, &[], &set, (described, method.guarantee.name()), &settings)?;
    let given = &session.config.threat.radii;
    let radii = if given.is_empty() { curve_radii(&records) } else { given.clone() };
    let attacked = attack.is_some();
    let summary = RadiusSummary::new(&records, &radii, attacked).by_layer(&layers, &records, attacked);
    let interrupted = |radius: &SampleRadius| radius.reason == Some(Reason::Interrupted);
    let partial = done.partial || found.iter().any(interrupted);
    let environment = run.environment();
    Ok(if method.is_exact() {
        let reason = |(radius, found): (RadiusRecord, &SampleRadius)| {
            let reason = found.reason;
            ExactRadiusRecord { radius, reason }
        };
        let records: Vec<_> = records.into_iter().zip(&found).map(reason).collect();
        let summary = ExactRadiusSummary::new(summary, &records);
        RadiusRun::Exact(Report { header, partial, results: result(summary, records), environment })
    } else {
        RadiusRun::Bound(Report { header, partial, results: result(summary, records), environment })
    })
}

/// The layers that move, and for each the set in which only it does.
fn parts(network: &Network, set: &PerturbationSet) -> (Vec<String>, Vec<PerturbationSet>) {
    let moving = set.layers.iter().filter(|layer| !layer.is_zero());
    moving.map(|layer| (network.nodes()[layer.node].name.clone(), set.only(layer.node))).unzip()
}

fn result<R: Record>(summary: R::Summary, samples: Vec<R>) -> Vec<RunResult<R>> {
    vec![RunResult { radius: None, summary, samples }]
}

/// The method's block of the report.
fn describe<F: Feed>(session: &Session<F>, settings: &Settings<'_>) -> MethodReport {
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
