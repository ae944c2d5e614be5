//! `measure`: what theory and measurement say about how a network generalizes.

use super::exit_code;
use crate::args::measure::{CompressionArgs, MeasureArgs, TrainingArgs};
use crate::config::{self, DataConfig, MethodConfig, ModelConfig};
use crate::error::Failure;
use crate::number::{self, Range};
use crate::run::{environment, pool, remark};
use crate::source::{self, Source};
use crate::threat::{SetAt, ThreatConfig};
use crate::{interrupt, output};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::Samples;
use weightproof_formats::network::{read_network, write_network};
use weightproof_measure::compression::{self, Compression};
use weightproof_measure::context::outputs;
use weightproof_measure::distance::changes;
use weightproof_measure::ensemble::{BiasVariance, perturbed};
use weightproof_measure::margins::quantile;
use weightproof_measure::pac_bayes::error;
use weightproof_measure::utilization::Utilization;
use weightproof_measure::{Context, Effort, MEASURES, Measure, RademacherBound, Refusal, take};
use weightproof_report::{
    CompressionReport, DataReport, EnsembleAt, EnsembleReport, ErrorReport, Format, LayerCompressionReport,
    MeasureRecord, MeasureReport, MeasuresAt, RademacherReport, ShareReport, ThreatReport, TruncationReport,
};
use weightproof_run::feed::Feed;

/// Samples that are read at once.
const READ: usize = 2048;

/// Shares of the components that errors are reported for.
const SHARES: [f64; 4] = [1.0, 0.5, 0.25, 0.1];

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings {
    model: ModelConfig,
    data: DataConfig,
    train_data: Option<DataConfig>,
    init: Option<String>,
    ensemble: Vec<String>,
    threat: ThreatConfig,
    method: MethodConfig,
    delta: f64,
    search: Option<Effort>,
    compression: CompressionConfig,
}

/// How far the network is compressed.
#[derive(Serialize)]
struct CompressionConfig {
    truncate: Option<String>,
    gamma: Option<f64>,
    rank: Option<f64>,
}

/// Samples in memory.
struct Loaded {
    inputs: Vec<f64>,
    labels: Option<Vec<u32>>,
    report: DataReport,
}

impl Loaded {
    fn samples(&self) -> Samples<'_> {
        Samples { first: 0, inputs: &self.inputs, labels: self.labels.as_deref() }
    }

    /// Reads all samples of `source`, the first of which is number `offset`.
    fn read(mut source: Source, network: &Network, offset: usize) -> Result<Loaded, Failure> {
        let (mut inputs, mut labels) = (Vec::new(), source.info().labelled.then(Vec::new));
        while let Some(batch) = source.next(READ, Some(network.output_width()))? {
            inputs.extend(batch.inputs);
            labels.iter_mut().zip(batch.labels).for_each(|(all, more)| all.extend(more));
        }
        let report = Feed::report(&source, inputs.len() / network.input_width(), offset)?;
        Ok(Loaded { inputs, labels, report })
    }
}

/// Runs the command.
pub fn run(args: &MeasureArgs) -> Result<ExitCode, Failure> {
    let data = config::data(&args.data)?;
    let settings = Settings {
        model: config::model(&args.model),
        train_data: train_data(&args.training, &data),
        data,
        init: args.training.init.as_ref().map(|path| path.display().to_string()),
        ensemble: args.training.ensemble.iter().map(|path| path.display().to_string()).collect(),
        threat: crate::threat::config(&args.threat)?,
        method: config::method(&args.method)?,
        delta: delta(&args.training.delta)?,
        search: (!args.search.no_search).then_some(Effort {
            samples: args.search.search_samples,
            draws: args.search.draws,
            passes: args.search.passes,
            seed: args.engine.seed,
        }),
        compression: compression_config(&args.compression)?,
    };
    if args.output.format() == Format::Parquet {
        return Err(Failure::new("format: expected text, json or csv for measure, found parquet"));
    }
    output::check(args.output.output.as_deref())?;
    let (network, model) = source::load_model(&settings.model)?;
    let embedded = settings.model.path.is_none();
    let source = Source::open(&settings.data, &network, embedded)?;
    let network = source.fit.normalized(network, &settings.data)?;
    let initial = args.training.init.as_ref().map(|path| read_initial(path, &network)).transpose()?;
    let mut members = vec![network.clone()];
    for path in &args.training.ensemble {
        members.push(read_member(path, &source, &settings.data, &network)?);
    }
    let sets = sets(&settings.threat, &network)?;
    let data = Loaded::read(source, &network, settings.data.offset)?;
    let train = settings.train_data.as_ref().map(|config| {
        let source = Source::open(config, &network, embedded)?;
        Loaded::read(source, &network, 0)
    });
    let train = train.transpose()?;
    if train.is_none() {
        let text = "without --train-data the samples stand for the training samples; there is no gap, and no held-out bound";
        remark(&args.output, text);
    }
    if let Some(train) = &train {
        apart(&data.report, &train.report)?;
    }
    interrupt::watch()?;
    let pool = pool(args.engine.threads)?;
    let begin = Instant::now();
    let method = (&settings, config::precision(&args.engine));
    let mut measured =
        pool.install(|| measure(&network, (&data, train.as_ref()), initial.as_ref(), &sets, method))?;
    if members.len() > 1 && !measured.partial {
        measured.ensemble = Some(pool.install(|| ensemble(&members, &data, &settings))?);
    }
    let spent = begin.elapsed();
    let report = MeasureReport {
        data: data.report,
        train_data: train.map(|train| train.report),
        threat: sets.iter().find(|at| at.radius != Some(0.0)).map(|at| {
            let radii: Vec<f64> = sets.iter().filter_map(|at| at.radius).filter(|r| *r != 0.0).collect();
            ThreatReport::new(&settings.threat.model, &radii, &network, &at.set)
        }),
        model,
        method: settings.method.name.clone(),
        delta: settings.delta,
        errors: measured.errors,
        measures: measured.measures,
        results: measured.results,
        utilization: measured.utilization,
        ensemble: measured.ensemble,
        compression: measured.compression,
        compression_refusal: measured.compression_refusal,
        config: serde_json::to_value(&settings).map_err(|e| Failure::new(format!("settings: {e}")))?,
        partial: measured.partial,
        environment: environment(
            spent,
            pool.current_num_threads(),
            args.engine.seed,
            config::precision(&args.engine),
        ),
    };
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    Ok(exit_code(!report.partial))
}

/// What was measured.
#[derive(Default)]
struct Measured {
    errors: ErrorReport,
    measures: Vec<MeasureRecord>,
    results: Vec<MeasuresAt>,
    utilization: Option<Utilization>,
    ensemble: Option<EnsembleReport>,
    compression: Option<CompressionReport>,
    compression_refusal: Option<String>,
    partial: bool,
}

fn measure(
    network: &Network,
    (data, train): (&Loaded, Option<&Loaded>),
    initial: Option<&Network>,
    sets: &[SetAt],
    (settings, precision): (&Settings, weightproof::verdict::Precision),
) -> Result<Measured, Failure> {
    let samples = train.unwrap_or(data).samples();
    let chosen = |m: &&Measure| {
        (settings.search.is_some() || !m.needs.search)
            && (initial.is_some() || !m.needs.initial)
            && (train.is_some() || !m.needs.held_out)
    };
    let chosen: Vec<&Measure> = MEASURES.iter().filter(chosen).collect();
    let mut measured = Measured { errors: errors(network, data, train), ..Measured::default() };
    for (k, at) in sets.iter().enumerate() {
        let mut context = Context::new(network, samples, &at.set, &settings.method.entry)
            .map_err(|error| Failure::new(error.to_string()))?;
        context.certify.precision = precision;
        context.held_out = train.map(|_| data.samples());
        context.initial = initial;
        context.delta = settings.delta;
        context.effort = settings.search.unwrap_or_default();
        let mut record = |m: &&Measure| {
            measured.partial |= interrupt::requested();
            (!measured.partial).then(|| MeasureRecord::new(m, take(m, &context)))
        };
        if k == 0 {
            (measured.compression, measured.compression_refusal) = compress(&context, &settings.compression)?;
            measured.utilization = Utilization::of(&context).ok();
            measured.measures = chosen.iter().filter(|m| !m.needs.set).filter_map(&mut record).collect();
        }
        let measures = chosen.iter().filter(|m| m.needs.set).filter_map(record).collect();
        if measured.partial {
            break;
        }
        let (rademacher, refusal) =
            split(RademacherBound::of(&context).map(|b| RademacherReport::new(&b, network)));
        measured.results.push(MeasuresAt { radius: at.radius, measures, rademacher, refusal });
    }
    Ok(measured)
}

/// Components, ranks and the truncated network; a refusal is no error unless a file was asked for.
fn compress(
    context: &Context<'_>,
    config: &CompressionConfig,
) -> Result<(Option<CompressionReport>, Option<String>), Failure> {
    let found = compressed(context, config);
    let (found, refusal) = split(found);
    match (found, refusal, &config.truncate) {
        (Some(report), None, _) => report.map(|report| (Some(report), None)),
        (_, Some(refusal), Some(path)) => Err(Failure::new(format!("{path}: cannot truncate: {refusal}"))
            .hint("--gamma G or --rank F say how far; networks must be chains")),
        (_, refusal, _) => Ok((None, refusal)),
    }
}

fn compressed(
    context: &Context<'_>,
    config: &CompressionConfig,
) -> Result<Result<CompressionReport, Failure>, Refusal> {
    let network = context.network;
    let compression = Compression::new(context)?;
    let (gamma, layers) = match (config.rank, config.gamma) {
        (Some(share), _) => (None, compression.layers_with_share(share)),
        (None, Some(gamma)) => (Some(gamma), compression.layers(gamma)),
        (None, None) => {
            let gamma = compression::gamma(context)?;
            (Some(gamma), compression.layers(gamma))
        }
    };
    let error_of = |network: &Network| context.train.labels.map(|_| error(network, context.train));
    let at = |share: f64| {
        let cut = compression.truncate(&compression.layers_with_share(share));
        ShareReport { share, error: error_of(&cut.network) }
    };
    let report = |truncation| CompressionReport {
        gamma,
        capacity: compression.capacity(&layers),
        layers: LayerCompressionReport::all(&layers, network),
        shares: SHARES.map(at).into(),
        truncation,
    };
    let Some(path) = &config.truncate else { return Ok(Ok(report(None))) };
    let cut = compression.truncate(&layers);
    if let Err(error) = write_network(Path::new(path), &cut.network) {
        return Ok(Err(error.into()));
    }
    let [before, after] = [network, &cut.network].map(|network| outputs(network, context.train.inputs));
    let moved = |s: usize| {
        let change = || before.row(s).iter().zip(after.row(s)).map(|(a, b)| b - a);
        change().fold(f64::NEG_INFINITY, f64::max) - change().fold(f64::INFINITY, f64::min)
    };
    let options = CertifyOptions { property: Property::Deviation, ..context.certify.clone() };
    let certifier = Certifier::new(network, std::slice::from_ref(&cut.set), options);
    let samples = Samples { labels: None, ..context.train };
    let found = certifier.expect("a known method").certify(samples).swap_remove(0);
    let most: Vec<f64> = found.iter().map(|c| c.deviation_upper.unwrap_or(f64::INFINITY)).collect();
    let finite = |v: f64| Some(v).filter(|v| v.is_finite());
    Ok(Ok(report(Some(TruncationReport {
        path: path.clone(),
        error: error_of(&cut.network),
        moved_most: cut.moved_most,
        moved_seen: (0..before.rows()).map(moved).fold(0.0, f64::max),
        certified_deviation: finite(quantile(most.clone(), 1.0)),
        certified_deviation_median: finite(quantile(most, 0.5)),
    }))))
}

fn compression_config(args: &CompressionArgs) -> Result<CompressionConfig, Failure> {
    let one = |name, text: &Option<String>| {
        text.as_ref().map(|text| number::one(name, text, Range::Positive)).transpose()
    };
    let rank = one("rank", &args.rank)?;
    if let Some(rank) = rank.filter(|rank| *rank > 1.0) {
        return Err(Failure::new(format!("rank: expected a share of at most 1, found {rank}")));
    }
    let truncate = args.truncate.as_ref().map(|path| path.display().to_string());
    Ok(CompressionConfig { truncate, gamma: one("gamma", &args.gamma)?, rank })
}

/// Bias and variance of all networks on the first samples of the data, as they are and under attack at every radius.
fn ensemble(members: &[Network], data: &Loaded, settings: &Settings) -> Result<EnsembleReport, Failure> {
    let effort = settings.search.unwrap_or_default();
    let width = members[0].input_width();
    let Some(labels) = &data.labels else {
        return Err(Failure::new("ensemble: expected data with labels, found none").hint("--labels FILE"));
    };
    let count = labels.len().min(effort.samples);
    let samples = Samples { first: 0, inputs: &data.inputs[..count * width], labels: Some(&labels[..count]) };
    let sets: Vec<Vec<SetAt>> =
        members.iter().map(|member| sets(&settings.threat, member)).collect::<Result<_, _>>()?;
    let at = |k: usize| {
        let outputs: Vec<_> = members
            .iter()
            .zip(&sets)
            .map(|(member, sets)| perturbed(member, &sets[k].set, samples, effort))
            .collect();
        EnsembleAt { radius: sets[0][k].radius, split: BiasVariance::new(&outputs, &labels[..count]) }
    };
    let attacked = settings.search.is_some();
    let results = (0..if attacked { sets[0].len() } else { 1 }).map(at).collect();
    Ok(EnsembleReport { members: members.len(), samples: count, results })
}

fn read_member(path: &Path, source: &Source, data: &DataConfig, like: &Network) -> Result<Network, Failure> {
    let member = read_network(path)?.network;
    let shape = |n: &Network| format!("{} inputs and {} outputs", n.input_width(), n.output_width());
    if shape(&member) != shape(like) {
        let message =
            format!("{}: expected a network with {}, found {}", path.display(), shape(like), shape(&member));
        return Err(Failure::new(message).hint("networks of an ensemble are for the same task"));
    }
    Ok(source.fit.normalized(member, data)?)
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
fn apart(data: &DataReport, train: &DataReport) -> Result<(), Failure> {
    let (first, end) =
        (data.offset.max(train.offset), (data.offset + data.samples).min(train.offset + train.samples));
    if data.sha256 != train.sha256 || first >= end {
        return Ok(());
    }
    let message = format!(
        "{}: expected samples that are no training samples, found {} of them",
        data.description,
        end - first
    );
    Err(Failure::new(message)
        .hint("--offset and --train-samples take different parts of one file; --split test that of a folder"))
}

/// The unperturbed network, then the radii that were asked for.
fn sets(threat: &ThreatConfig, network: &Network) -> Result<Vec<SetAt>, Failure> {
    let still = ThreatModel { layers: Some(Vec::new()), ..ThreatModel::new(Kind::Absolute, 0.0) };
    let mut all = vec![SetAt { radius: Some(0.0), set: still.resolve(network)? }];
    let asked =
        !threat.radii.is_empty() || threat.model.radius.is_some() || threat.model.kind.has_own_radius();
    if asked || !threat.model.layer.is_empty() {
        all.extend(threat.sets(network, None)?.into_iter().filter(|at| at.radius != Some(0.0)));
    }
    Ok(all)
}

/// Training samples are read like the others, from the training part of a folder.
fn train_data(args: &TrainingArgs, data: &DataConfig) -> Option<DataConfig> {
    args.train_data.as_ref().map(|path| DataConfig {
        path: Some(path.clone()),
        labels: args.train_labels.clone(),
        split: "train",
        offset: 0,
        samples: args.train_samples,
        ..data.clone()
    })
}

fn read_initial(path: &Path, network: &Network) -> Result<Network, Failure> {
    let initial = read_network(path)?.network;
    changes(network, &initial).map_err(|refusal| {
        Failure::new(format!("{}: {refusal}", path.display()))
            .hint("give the network as it was before training")
    })?;
    Ok(initial)
}

fn delta(text: &str) -> Result<f64, Failure> {
    let delta = number::one("delta", text, Range::Positive)?;
    if delta < 1.0 {
        Ok(delta)
    } else {
        Err(Failure::new(format!("delta: expected a number below 1, found {delta}")))
    }
}
