//! `radius`: how far the weights may move for every sample, proved from below and attacked from above.

use crate::RunError;
use crate::config::{AttackConfig, Config, MethodConfig, check_budget};
use crate::entry::{Entry, is_limit};
use crate::exact::{self, Exact};
use crate::feed::Feed;
use crate::run::{BatchSize, Keeping, Run, Watch, part};
use crate::session::Session;
use crate::store::{Store, identity};
use crate::{attack, certify};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::iter;
use std::path::Path;
use weightproof::network::Network;
use weightproof::progress::Progress;
use weightproof::radius::{RadiusOptions, RadiusSearch, SampleRadius};
use weightproof::threat::PerturbationSet;
use weightproof::verdict::Reason;
use weightproof_report::{
    BudgetReport, ExactRadiusRecord, ExactRadiusSummary, MethodReport, RadiusRecord, RadiusSummary, Record,
    Report, RunResult,
};

/// Samples at once: all of a batch share the sets that a search tries, and batches do not depend on time, because the
/// search groups the samples of a batch.
pub const BATCH: BatchSize = BatchSize::Fixed(256);

/// The least and the greatest distance of neighbouring radii.
const WIDTHS: (f64, f64) = (1e-4, 1.0);

/// An error when neighbouring radii are too near or too far from each other.
pub(crate) fn check_width(width: f64) -> Result<(), RunError> {
    let (least, most) = WIDTHS;
    if !(least..=most).contains(&width) {
        let expected = format!("a number from {least} to {most}");
        return Err(RunError::setting("width", expected, width.to_string()));
    }
    Ok(())
}

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
        check_width(width)?;
        match &attack {
            None if method.is_exact() => Err(RunError::setting("no-attack", "a bound method", "exact")),
            Some(attack) if !attack.kind.is_search() => {
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

/// Radii of a sample, as a journal keeps them.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Radii {
    #[serde(flatten)]
    pub(crate) record: ExactRadiusRecord,
    /// Whether a limit ended the search of a layer.
    #[serde(skip)]
    layer_limited: bool,
}

impl Radii {
    pub(crate) fn new<'a>(
        found: &SampleRadius,
        layers: impl Iterator<Item = &'a SampleRadius> + Clone,
    ) -> Self {
        let radius = RadiusRecord::from(found).by_layer(layers.clone());
        let layer_limited = layers.map(|layer| layer.reason).any(is_limit);
        Radii { record: ExactRadiusRecord { radius, reason: found.reason }, layer_limited }
    }
}

impl Entry for Radii {
    fn index(&self) -> usize {
        self.record.radius.index
    }

    fn label(&self) -> Option<u32> {
        self.record.radius.label
    }

    fn predicted(&self) -> u32 {
        self.record.radius.predicted
    }

    fn reason(&self) -> Option<Reason> {
        self.record.reason
    }

    fn is_settled(&self) -> bool {
        !is_limit(self.reason()) && !self.layer_limited
    }
}

/// Searches the radii of every sample; a `journal` keeps those that are found.
///
/// # Errors
/// Those of the feed and of the front end; a proof and a witness that contradict each other; a journal that fails.
pub fn run<F: Feed, W: Watch>(
    session: &mut Session<F>,
    radius: &RadiusConfig,
    journal: Option<&Path>,
    mut run: Run<W>,
) -> Result<RadiusRun, RunError> {
    session.require_tolerance("radius")?;
    let RadiusConfig { method, budget, width, by_layer, attack } = radius;
    let set = session.config.threat.unit_set(&session.network, session.input_range())?;
    let exact = method.is_exact().then(|| exact::options(session, method, budget));
    let options = RadiusOptions {
        exact: exact.clone(),
        relative_width: *width,
        // With single layers, too, a sample is settled several times.
        progress: if *by_layer { Progress::default() } else { run.within() },
        ..RadiusOptions::new(
            exact.as_ref().map_or_else(|| certify::options(session, method), |e| e.certify.clone()),
            attack.as_ref().map(|a| attack::options(session, a)),
        )
    };
    let store = Store::open(journal, || {
        let exact = exact.as_ref().map(|exact| [exact.attack.steps, exact.attack.restarts]);
        let method = json!({
            "command": "radius", "method": method, "width": width, "by_layer": by_layer, "attack": attack, "exact": exact
        });
        identity(session, &method)
    })?;
    let (layers, parts) = if *by_layer { parts(&session.network, &set) } else { Default::default() };
    let classes = session.classes();
    let Session { network, feed, .. } = session;
    let inputs = network.input_width();
    let new = |set: &PerturbationSet| {
        let search = RadiusSearch::new(network, set, options.clone());
        search.map_err(|error| RunError::misfit(error.to_string()))
    };
    let searches = iter::once(&set).chain(&parts).map(new).collect::<Result<Vec<_>, _>>()?;
    let (found, done) = run.settle(
        feed,
        classes,
        Keeping { store: &store, sets: 1, seen: None },
        |batch| {
            // Branch and bound takes long and leaves single samples open. A bound method searches a batch anew as a whole, in the
            // same groups, so that nothing is rounded otherwise.
            let all = 0..batch.count(inputs);
            let known = |s: usize| method.is_exact() && store.known(0, batch, s).is_some();
            let open: Vec<usize> = all.filter(|&s| !known(s)).collect();
            let runs: Vec<&[usize]> = open.chunk_by(|a, b| a + 1 == *b).collect();
            let search = |run: &&[usize]| {
                let samples = part(batch, &(run[0]..run[0] + run.len()), inputs);
                searches.iter().map(|search| search.search(samples)).collect::<Result<Vec<_>, _>>()
            };
            let found: Result<Vec<Vec<Vec<SampleRadius>>>, _> = runs.par_iter().map(search).collect();
            Ok((open.clone(), found.map_err(|error| RunError::misfit(error.to_string()))?))
        },
        |batch, (open, found)| {
            let known = |s| store.known(0, batch, s).cloned();
            let mut records: Vec<Option<Radii>> = (0..batch.count(inputs)).map(known).collect();
            let fresh = found.iter().filter_map(|run| run.split_first()).flat_map(|(all, layers)| {
                let of_layers = move |k: usize| layers.iter().map(move |layer| &layer[k]);
                all.iter().enumerate().map(move |(k, found)| Radii::new(found, of_layers(k)))
            });
            open.into_iter().zip(fresh).for_each(|(s, radii)| records[s] = Some(radii));
            Ok(vec![records.into_iter().flatten().collect()])
        },
    )?;
    drop(searches);
    let found: Vec<ExactRadiusRecord> = found.into_iter().flatten().map(|radii| radii.record).collect();
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
    let (radii, attacked) = (&session.config.threat.radii, attack.is_some());
    let interrupted = |radius: &ExactRadiusRecord| radius.reason == Some(Reason::Interrupted);
    let partial = done.partial || found.iter().any(interrupted);
    let environment = run.environment();
    Ok(if method.is_exact() {
        let summary = ExactRadiusSummary::new(&found, radii, &layers, attacked);
        let report = Report { header, partial, results: result(summary, found), environment };
        store.finish(&report)?;
        RadiusRun::Exact(report)
    } else {
        let records: Vec<RadiusRecord> = found.into_iter().map(|found| found.radius).collect();
        let summary = RadiusSummary::new(&records, radii, &layers, attacked);
        let report = Report { header, partial, results: result(summary, records), environment };
        store.finish(&report)?;
        RadiusRun::Bound(report)
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
