//! `measure`: what theory and measurement say about how a network generalizes.

mod compress;
pub(crate) mod parts;
mod records;

pub use compress::CompressionConfig;

use crate::RunError;
use crate::config::{DataConfig, MethodConfig, ModelConfig};
use crate::feed::Feed;
use crate::run::{environment, fingerprint_of_labels};
use crate::shard::Shard;
use crate::threat::{SetAt, ThreatConfig};
use rayon::ThreadPool;
use serde::Serialize;
use std::time::Instant;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::{Precision, Samples};
use weightproof_measure::distance::changes;
use weightproof_measure::ensemble::{BiasVariance, perturbed};
use weightproof_measure::pac_bayes::error;
use weightproof_measure::utilization::Utilization;
use weightproof_measure::{Context, Effort, MEASURES, Measure, RademacherBound, Refusal, take};
use weightproof_report::{
    CompressionReport, DataReport, EnsembleReport, ErrorReport, MeasureRecord, MeasureReport, MeasuresAt,
    ModelReport, ShardReport, ThreatReport, UtilizationReport,
};

/// Samples that are read at once.
const READ: usize = 2048;

/// Settings, as the report echoes them.
#[derive(Clone, Debug, Serialize)]
pub struct MeasureConfig {
    /// The network.
    pub model: ModelConfig,
    /// The samples; held out where there are training samples.
    pub data: DataConfig,
    /// The training samples.
    pub train_data: Option<DataConfig>,
    /// Name of the network before training.
    pub init: Option<String>,
    /// Names of more networks for the same task.
    pub ensemble: Vec<String>,
    /// The perturbations.
    pub threat: ThreatConfig,
    /// How margins are bounded.
    pub method: MethodConfig,
    /// Probability with which a bound may fail.
    pub delta: f64,
    /// How hard is searched; nothing is searched without it.
    pub search: Option<Effort>,
    /// How far the network is compressed.
    pub compression: CompressionConfig,
}

impl MeasureConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first that is out of range.
    pub fn check(&self) -> Result<(), RunError> {
        if !(self.delta > 0.0 && self.delta < 1.0) {
            return Err(RunError::setting("delta", "a number below 1", self.delta.to_string()));
        }
        match self.compression.rank {
            Some(rank) if !(rank > 0.0 && rank <= 1.0) => {
                Err(RunError::setting("rank", "a share of at most 1", rank.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Samples in memory.
pub struct Loaded {
    inputs: Vec<f64>,
    labels: Option<Vec<u32>>,
    report: DataReport,
}

impl Loaded {
    /// Reads all samples of `feed`, the first of which is number `offset`.
    ///
    /// # Errors
    /// Those of the feed.
    pub fn read(feed: &mut impl Feed, network: &Network, offset: usize) -> Result<Loaded, RunError> {
        let (mut inputs, mut labels) = (Vec::new(), feed.info().labelled.then(Vec::new));
        while let Some(batch) = feed.advance(READ, Some(network.output_width()))? {
            inputs.extend_from_slice(batch.inputs);
            labels.iter_mut().zip(batch.labels).for_each(|(all, more)| all.extend_from_slice(more));
        }
        let report = feed.report(inputs.len() / network.input_width(), offset)?;
        let labels_sha256 = labels.as_deref().map(fingerprint_of_labels);
        let report = DataReport { labels_sha256, ..report };
        Ok(Loaded { inputs, labels, report })
    }

    fn samples(&self) -> Samples<'_> {
        Samples { first: 0, inputs: &self.inputs, labels: self.labels.as_deref() }
    }
}

/// What is measured.
pub struct Subject {
    /// The network, with the normalization in front.
    pub network: Network,
    /// The block of the report about it.
    pub model: ModelReport,
    /// The samples.
    pub data: Loaded,
    /// The training samples.
    pub train: Option<Loaded>,
    /// The network before training.
    pub initial: Option<Network>,
    /// More networks for the same task.
    pub others: Vec<Network>,
    /// Which part of the samples `data` is, where it is not all of them.
    pub shard: Option<ShardReport>,
}

/// The part `shard` of the samples of a feed, the first of which is number `offset`: nothing else is left in the feed. Parts need no whole blocks.
///
/// # Errors
/// More parts than samples; settings that are about all samples; data that can no longer be read.
pub fn select(
    feed: &mut impl Feed,
    (shard, offset): (Shard, usize),
    config: &MeasureConfig,
    classes: usize,
) -> Result<ShardReport, RunError> {
    for (name, is_given) in [
        ("train-data", config.train_data.is_some()),
        ("ensemble", !config.ensemble.is_empty()),
        ("truncate", config.compression.truncate.is_some()),
    ] {
        if is_given {
            return Err(RunError::setting(
                name,
                "none with shard, because it is about all samples at once",
                "one",
            ));
        }
    }
    let total = feed.samples()?;
    let part = shard.part(total, 1)?;
    feed.select(part.clone())?;
    let (number, of, first, samples) = (shard.number(), shard.of(), offset + part.start, part.len());
    Ok(ShardReport { number, of, first, samples, total, classes: Some(classes) })
}

/// An error when `initial`, called `name`, is not `network` with other parameters.
///
/// # Errors
/// The first difference.
pub fn check_initial(network: &Network, initial: &Network, name: &str) -> Result<(), RunError> {
    changes(network, initial).map(drop).map_err(|refusal| RunError::Misfit {
        message: format!("{name}: {refusal}"),
        hint: Some("give the network as it was before training"),
    })
}

/// An error when `member`, called `name`, is not for the task of `network`.
///
/// # Errors
/// Other numbers of inputs or outputs.
pub fn check_member(network: &Network, member: &Network, name: &str) -> Result<(), RunError> {
    let shape = |n: &Network| format!("{} inputs and {} outputs", n.input_width(), n.output_width());
    if shape(member) == shape(network) {
        return Ok(());
    }
    Err(RunError::Misfit {
        message: format!("{name}: expected a network with {}, found {}", shape(network), shape(member)),
        hint: Some("networks of an ensemble are for the same task"),
    })
}

/// Takes all measures, on the threads of `pool`. When `stop` says so, the measures that are taken are the report.
///
/// # Errors
/// Settings out of range, samples that are training samples, a truncated network that cannot be written.
pub fn run(
    subject: Subject,
    config: &MeasureConfig,
    pool: &ThreadPool,
    (seed, precision): (u64, Option<Precision>),
    stop: impl Fn() -> bool + Sync,
) -> Result<MeasureReport, RunError> {
    config.check()?;
    if let Some(train) = &subject.train {
        apart(&subject.data.report, &train.report)?;
    }
    if let Some(shape) = &subject.model.output_shape {
        return Err(RunError::ImageOutput { property: Property::Prediction, shape: shape.clone() });
    }
    let network = &subject.network;
    let precision = crate::config::precision(precision, network)?;
    let sets = sets(&config.threat, network)?;
    let begin = Instant::now();
    let mut measured = pool.install(|| measure(&subject, &sets, (config, precision), &stop))?;
    if !subject.others.is_empty() && !measured.partial {
        measured.ensemble = Some(pool.install(|| ensemble(&subject, config))?);
    }
    let spent = begin.elapsed();
    Ok(MeasureReport {
        threat: sets.iter().find(|at| at.radius != Some(0.0)).map(|at| {
            let radii: Vec<f64> = sets.iter().filter_map(|at| at.radius).filter(|r| *r != 0.0).collect();
            ThreatReport::new(&config.threat.model, &radii, network, &at.set)
        }),
        data: subject.data.report,
        shard: subject.shard,
        train_data: subject.train.map(|train| train.report),
        model: subject.model,
        method: config.method.name.clone(),
        delta: config.delta,
        errors: measured.errors,
        measures: measured.measures,
        results: measured.results,
        utilization: measured.utilization,
        ensemble: measured.ensemble,
        compression: measured.compression,
        compression_refusal: measured.compression_refusal,
        config: serde_json::to_value(config).map_err(|e| RunError::misfit(format!("settings: {e}")))?,
        partial: measured.partial,
        environment: environment(spent, pool.current_num_threads(), seed, precision),
    })
}

/// What was measured.
#[derive(Default)]
struct Measured {
    errors: ErrorReport,
    measures: Vec<MeasureRecord>,
    results: Vec<MeasuresAt>,
    utilization: Option<UtilizationReport>,
    ensemble: Option<EnsembleReport>,
    compression: Option<CompressionReport>,
    compression_refusal: Option<String>,
    partial: bool,
}

fn measure(
    subject: &Subject,
    sets: &[SetAt],
    (config, precision): (&MeasureConfig, Precision),
    stop: &(impl Fn() -> bool + Sync),
) -> Result<Measured, RunError> {
    let Subject { network, data, train, initial, shard, .. } = subject;
    let (train, initial) = (train.as_ref(), initial.as_ref());
    let samples = train.unwrap_or(data).samples();
    let chosen = |m: &&Measure| {
        (config.search.is_some() || !m.needs.search)
            && (initial.is_some() || !m.needs.initial)
            && (train.is_some() || !m.needs.held_out)
    };
    let chosen: Vec<&Measure> = MEASURES.iter().filter(chosen).collect();
    let mut measured = Measured { errors: errors(network, data, train), ..Measured::default() };
    for (k, at) in sets.iter().enumerate() {
        let mut context = Context::new(network, samples, &at.set, &config.method.entry)
            .map_err(|error| RunError::misfit(error.to_string()))?;
        context.certify.precision = precision;
        context.certify.guarantee = config.method.guarantee;
        context.held_out = train.map(|_| data.samples());
        context.initial = initial;
        context.delta = config.delta;
        context.effort = config.search.unwrap_or_default();
        let mut record = |m: &&Measure| {
            measured.partial |= stop();
            let refused = parts::refusal(m, shard.as_ref(), context.effort.samples);
            let value = || refused.map_or_else(|| take(m, &context), |why| Err(Refusal::Undefined(why)));
            (!measured.partial).then(|| records::measure(m, value()))
        };
        if k == 0 {
            (measured.compression, measured.compression_refusal) = match shard {
                None => compress::compress(&context, &config.compression)?,
                Some(_) => (None, Some(parts::REFUSED.into())),
            };
            let utilization = || Utilization::of(&context).ok().as_ref().map(records::utilization);
            measured.utilization = if shard.is_none() { utilization() } else { None };
            measured.measures = chosen.iter().filter(|m| !m.needs.set).filter_map(&mut record).collect();
        }
        let measures = chosen.iter().filter(|m| m.needs.set).filter_map(record).collect();
        if measured.partial {
            break;
        }
        let bound = || RademacherBound::of(&context).map(|bound| records::rademacher(&bound, network));
        let (rademacher, refusal) = match shard {
            None => split(bound()),
            Some(_) => (None, Some(parts::REFUSED.into())),
        };
        measured.results.push(MeasuresAt { radius: at.radius, measures, rademacher, refusal });
    }
    Ok(measured)
}

/// Bias and variance of all networks on the first samples of the data, as they are and under attack at every radius.
fn ensemble(subject: &Subject, config: &MeasureConfig) -> Result<EnsembleReport, RunError> {
    let effort = config.search.unwrap_or_default();
    let members: Vec<&Network> = [&subject.network].into_iter().chain(&subject.others).collect();
    let width = subject.network.input_width();
    let Some(labels) = &subject.data.labels else {
        return Err(RunError::misfit("ensemble: expected data with labels, found none"));
    };
    let count = labels.len().min(effort.samples);
    let inputs = &subject.data.inputs[..count * width];
    let samples = Samples { first: 0, inputs, labels: Some(&labels[..count]) };
    let of_member = |member: &&Network| sets(&config.threat, member);
    let sets: Vec<Vec<SetAt>> = members.iter().map(of_member).collect::<Result<_, _>>()?;
    let at = |k: usize| {
        let outputs: Vec<_> = members
            .iter()
            .zip(&sets)
            .map(|(member, sets)| perturbed(member, &sets[k].set, samples, effort))
            .collect();
        records::ensemble(sets[0][k].radius, BiasVariance::new(&outputs, &labels[..count]))
    };
    let attacked = config.search.is_some();
    let results = (0..if attacked { sets[0].len() } else { 1 }).map(at).collect();
    Ok(EnsembleReport { members: members.len(), samples: count, results })
}

fn split<T>(found: Result<T, Refusal>) -> (Option<T>, Option<String>) {
    match found {
        Ok(found) => (Some(found), None),
        Err(refusal) => (None, Some(refusal.to_string())),
    }
}

fn errors(network: &Network, data: &Loaded, train: Option<&Loaded>) -> ErrorReport {
    let of = |loaded: &Loaded| loaded.labels.as_ref().map(|_| error(network, loaded.samples()));
    let (training, held_out) = match train {
        None => (of(data), None),
        Some(train) => (of(train), of(data)),
    };
    ErrorReport { training, held_out, gap: held_out.zip(training).map(|(a, b)| a - b) }
}

/// An error when samples of the data are training samples: nothing is held out then.
fn apart(data: &DataReport, train: &DataReport) -> Result<(), RunError> {
    let (first, end) =
        (data.offset.max(train.offset), (data.offset + data.samples).min(train.offset + train.samples));
    if data.sha256 != train.sha256 || first >= end {
        return Ok(());
    }
    Err(RunError::Misfit {
        message: format!(
            "{}: expected samples that are no training samples, found {} of them",
            data.description,
            end - first
        ),
        hint: Some(
            "offsets and numbers of samples choose parts of one file; folders have a training and a test part",
        ),
    })
}

/// The unperturbed network, then the radii that were asked for.
fn sets(threat: &ThreatConfig, network: &Network) -> Result<Vec<SetAt>, RunError> {
    let fail = |source| RunError::Threat { file: None, source };
    let still = ThreatModel { layers: Some(Vec::new()), ..ThreatModel::new(Kind::Absolute, 0.0) };
    let mut all = vec![SetAt { radius: Some(0.0), set: still.resolve(network).map_err(fail)? }];
    let asked =
        !threat.radii.is_empty() || threat.model.radius.is_some() || threat.model.kind.has_own_radius();
    if asked || !threat.model.layer.is_empty() {
        all.extend(threat.sets(network, None)?.into_iter().filter(|at| at.radius != Some(0.0)));
    }
    Ok(all)
}
