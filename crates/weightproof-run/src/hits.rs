//! `attack` and `radius` with hits on stored words: the worst margin that a search for hits finds, and how many hits each sample withstands.

use crate::RunError;
use crate::config::Config;
use crate::faults::{Beside, refuse_free_steps};
use crate::feed::Feed;
use crate::radius::Radii;
use crate::run::{BatchSize, Keeping, Run, Watch};
use crate::session::Session;
use crate::store::{Store, identity};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::iter;
use std::path::Path;
use std::time::Duration;
use weightproof::attack::AttackOptions;
use weightproof::faults::{
    FaultModel, HitAttack, PairLimits, SampleFaults, SampleWords, SeveralHits, SingleHits,
};
use weightproof::property::Property;
use weightproof::radius::SampleRadius;
use weightproof::threat::PerturbationSet;
use weightproof::verdict::Guarantee;
use weightproof_report::{
    AttackRecord, AttackSummary, MethodReport, RadiusRecord, RadiusSummary, Report, RunResult, ThreatReport,
};

/// Size of a batch of an attack when the user does not say.
pub const BATCH: BatchSize = BatchSize::Adaptive(AttackOptions::BLOCK);

/// How sets of hits are searched.
const SEARCH: &str = "greedy hits with exchanges";

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    faults: &'a FaultModel,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

/// Limits of the search for pairs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Most first hits that are looked at for one sample.
    pub max_nodes: usize,
    /// Most seconds for one sample.
    pub time_limit: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_nodes: PairLimits::NODES, time_limit: None }
    }
}

/// Attacks every sample with up to so many hits.
///
/// # Errors
/// The property deviation, anything else that moves; those of the feed and of the front end; a journal that fails.
pub fn attack<F: Feed, W: Watch>(
    session: &mut Session<F>,
    faults: &Beside,
    journal: Option<&Path>,
    mut run: Run<W>,
) -> Result<Report<AttackRecord>, RunError> {
    let set = check(session)?;
    if set.input_radius > 0.0 {
        let found = set.input_radius.to_string();
        return Err(RunError::setting("input-radius", "0 with an attack by hits", found));
    }
    let words = faults.model.words;
    let store =
        Store::open(journal, || identity(session, &json!({ "command": "attack", "faults": faults.model })))?;
    let hits = SingleHits::new(faults.memory(), session.property).watched(run.within(), session.stop.clone());
    let classes = session.classes();
    let (records, done) = run.settle(
        &mut session.feed,
        classes,
        Keeping { store: &store, sets: 1, seen: None },
        |batch| Ok(hits.attack(batch, words)),
        |_, found: Vec<HitAttack>| {
            Ok(vec![found.iter().map(|found| AttackRecord::of_hits(found, faults.memory())).collect()])
        },
    )?;
    let records: Vec<AttackRecord> = records.into_iter().flatten().collect();
    let settings = Settings { shared: &session.config, faults: &faults.model, limits: None };
    let method = MethodReport { precision: "f64".into(), ..session.method(SEARCH) };
    let mut header = session.header(&done, &[], &set, (method, "estimate"), &settings)?;
    header.threat = described(faults, &header.threat);
    let summary = AttackSummary::new(&records);
    let results = vec![RunResult { radius: None, summary, samples: records }];
    let report = Report { header, partial: done.partial, results, environment: run.environment() };
    store.finish(&report)?;
    Ok(report)
}

/// Searches how many hits each sample withstands, and how many break it, up to those of the fault model: radii are numbers of hit words.
///
/// # Errors
/// As [`attack`]; inputs that move in a network that is not dense.
pub fn radius<F: Feed, W: Watch>(
    session: &mut Session<F>,
    faults: &Beside,
    limits: Limits,
    journal: Option<&Path>,
    mut run: Run<W>,
) -> Result<Report<RadiusRecord>, RunError> {
    let set = check(session)?;
    refuse_free_steps(&session.network)?;
    let words = faults.model.words;
    let store = Store::open(journal, || {
        identity(session, &json!({ "command": "radius", "faults": faults.model, "limits": limits }))
    })?;
    let inputs = (set.input_radius, session.input_range());
    let hits = SingleHits::new(faults.memory(), session.property).watched(run.within(), session.stop.clone());
    let hits = if inputs.0 > 0.0 { hits.with_inputs(inputs.0, inputs.1)? } else { hits };
    let pairs = PairLimits { nodes: limits.max_nodes, time: limits.time_limit.map(Duration::from_secs_f64) };
    let several = SeveralHits::new(faults.memory(), &hits, words, inputs)?.limited(pairs);
    let classes = session.classes();
    let (found, done) = run.settle(
        &mut session.feed,
        classes,
        Keeping { store: &store, sets: 1, seen: None },
        |batch| {
            let single: Vec<_> = hits.settle_each(batch).into_iter().map(|(found, _)| found).collect();
            let found = several.settle(batch, &single);
            let radius = |(single, found): (&SampleFaults, SampleWords)| SampleRadius {
                clean: single.clean,
                certified_radius: f64::from(found.certified),
                attacked_radius: found.broken.map(f64::from),
                reason: found.reason,
            };
            Ok(single.iter().zip(found).map(radius).collect::<Vec<_>>())
        },
        |_, found: Vec<SampleRadius>| {
            Ok(vec![found.iter().map(|found| Radii::new(found, iter::empty())).collect()])
        },
    )?;
    let records: Vec<RadiusRecord> = found.into_iter().flatten().map(|found| found.record.radius).collect();
    let settings = Settings { shared: &session.config, faults: &faults.model, limits: Some(limits) };
    let assumptions = session.assumptions(Guarantee::Rigorous);
    let attack = Some(SEARCH.into());
    let method =
        MethodReport { precision: "f64".into(), assumptions, attack, ..session.method("hits on words") };
    let mut header = session.header(&done, &[], &set, (method, Guarantee::Rigorous.name()), &settings)?;
    header.threat = described(faults, &header.threat);
    let summary = RadiusSummary::new(&records, &numbers(&faults.model), &[], true);
    let results = vec![RunResult { radius: None, summary, samples: records }];
    let report = Report { header, partial: done.partial, results, environment: run.environment() };
    store.finish(&report)?;
    Ok(report)
}

/// The numbers of hits that are searched, as radii.
pub(crate) fn numbers(model: &FaultModel) -> Vec<f64> {
    (1..=model.words).map(f64::from).collect()
}

/// The set of what moves beside the hits: at most the input.
fn check<F: Feed>(session: &Session<F>) -> Result<PerturbationSet, RunError> {
    if session.property == Property::Deviation {
        return Err(RunError::setting("property", "label or prediction for faults", "deviation"));
    }
    let mut sets = session.config.threat.sets(&session.network, session.input_range())?;
    let set = sets.swap_remove(0).set;
    if set.activation_radius != 0.0 {
        let found = set.activation_radius.to_string();
        return Err(RunError::setting("activation-radius", "0 with faults", found));
    }
    if !set.layers.iter().all(|layer| layer.is_zero()) {
        return Err(RunError::setting(
            "threat",
            "parameters that do not move beside faults",
            "radii of some",
        ));
    }
    Ok(set)
}

/// The hits, beside inputs that move.
fn described(faults: &Beside, threat: &ThreatReport) -> ThreatReport {
    ThreatReport {
        input_range: threat.input_range.filter(|_| threat.input_radius > 0.0),
        ..faults.describe(threat)
    }
}
