//! `measure`: what theory and measurement say about how a network generalizes.

use super::Status;
use crate::args::measure::{CompressionArgs, MeasureArgs, TrainingArgs};
use crate::config::{self, DataConfig};
use crate::error::Failure;
use crate::run::{pool, remark};
use crate::{interrupt, output, threat};
use weightproof_formats::network::read_network;
use weightproof_measure::Effort;
use weightproof_run::measure::{
    self, CompressionConfig, Loaded, MeasureConfig, Subject, check_initial, check_member,
};
use weightproof_run::number::{self, Range};
use weightproof_run::source::{self, Source};

/// Runs the command.
pub fn run(args: &MeasureArgs) -> Result<Status, Failure> {
    let data = config::data(&args.data)?;
    let config = MeasureConfig {
        model: config::model(&args.model),
        train_data: train_data(&args.training, &data),
        data,
        init: args.training.init.as_ref().map(|path| path.display().to_string()),
        ensemble: args.training.ensemble.iter().map(|path| path.display().to_string()).collect(),
        threat: threat::config(&args.threat)?,
        method: config::method(&args.method)?,
        delta: number::one("delta", &args.training.delta, Range::Positive)?,
        search: (!args.search.no_search).then_some(Effort {
            samples: args.search.search_samples,
            draws: args.search.draws,
            passes: args.search.passes,
            seed: args.engine.seed,
        }),
        compression: compression(&args.compression)?,
    };
    config.check()?;
    output::check_written(&args.output, "measure")?;
    let subject = read(args, &config)?;
    if subject.train.is_none() {
        let text = "without --train-data the samples stand for the training samples; there is no gap, and no held-out bound";
        remark(&args.output, text);
    }
    interrupt::watch()?;
    let numbers = (args.engine.seed, config::precision(&args.engine));
    let report = measure::run(subject, &config, &pool(args.engine.threads)?, numbers, interrupt::requested)?;
    output::written(&args.output, &report)?;
    Ok(Status::Holds.unless(report.partial))
}

/// Reads every file.
fn read(args: &MeasureArgs, config: &MeasureConfig) -> Result<Subject, Failure> {
    let (network, model) = source::load_model(&config.model)?;
    let embedded = config.model.path.is_none();
    let mut source = Source::open(&config.data, &network, embedded)?;
    let network = source.fit.normalized(network, &config.data)?;
    let initial = args.training.init.as_ref().map(|path| {
        let initial = read_network(path)?.network;
        check_initial(&network, &initial, &path.display().to_string())?;
        Ok::<_, Failure>(initial)
    });
    let others = args.training.ensemble.iter().map(|path| {
        let member = read_network(path)?.network;
        check_member(&network, &member, &path.display().to_string())?;
        Ok::<_, Failure>(source.fit.normalized(member, &config.data)?)
    });
    let (initial, others) = (initial.transpose()?, others.collect::<Result<Vec<_>, _>>()?);
    let shard = args.data.shard.as_deref().map(str::parse).transpose()?.map(|shard| {
        measure::select(&mut source, (shard, config.data.offset), config, network.output_width())
    });
    let shard = shard.transpose()?;
    let first = shard.as_ref().map_or(config.data.offset, |shard| shard.first);
    let data = Loaded::read(&mut source, &network, first)?;
    let train = config.train_data.as_ref().map(|config| {
        let mut source = Source::open(config, &network, embedded)?;
        Loaded::read(&mut source, &network, 0)
    });
    Ok(Subject { data, train: train.transpose()?, network, model, initial, others, shard })
}

/// How far the network is compressed.
fn compression(args: &CompressionArgs) -> Result<CompressionConfig, Failure> {
    let one = |name, text: &Option<String>| {
        text.as_ref().map(|text| number::one(name, text, Range::Positive)).transpose()
    };
    let truncate = args.truncate.as_ref().map(|path| path.display().to_string());
    Ok(CompressionConfig { truncate, gamma: one("gamma", &args.gamma)?, rank: one("rank", &args.rank)? })
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
