//! `train`: a network from data, with checkpoints, as ONNX and safetensors, in a folder.

mod settings;

pub use settings::TrainSettings;

use crate::RunError;
use crate::config::DataConfig;
use crate::feed::Feed;
use crate::file;
use crate::run::{environment, fingerprint_of_labels};
use rayon::ThreadPool;
use serde::Serialize;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;
use weightproof::network::Network;
use weightproof::verdict::{Guarantee, Precision};
use weightproof_formats::network::{read_network, write_network};
use weightproof_report::{
    AtChanceReport, DataReport, EpochReport, ModelReport, TrainReport, history_csv, with_probability,
};
use weightproof_train::chance::{AtChance, at_chance};
use weightproof_train::{
    EpochRecord, Labelled, Observer, Outcome, TrainConfig, TrainError, Trainer, checkpoint,
};

/// Samples that are read at once.
const READ: usize = 2048;

/// What a front end does while a network is trained.
pub trait Watch {
    /// A batch is done. Whether to go on.
    fn batch(&mut self, at: Moment) -> bool;

    /// An epoch is done, and the checkpoint written; training and validation took so many seconds.
    fn epoch(&mut self, _record: &EpochReport, _seconds: f64, _epochs: usize) {}
}

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Epochs that are done, and all of them.
    pub epochs: (usize, usize),
    /// Batches of the epoch that are done, and all of them.
    pub batches: (usize, usize),
}

/// How a training ended.
pub enum TrainOutcome {
    /// After its last epoch.
    Finished(Box<TrainReport>),
    /// Because the front end said so, in this epoch: a checkpoint is written, from which it can go on.
    Stopped {
        /// The epoch, from 1.
        epoch: usize,
    },
}

/// Where a training is kept.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The folder for network, history, checkpoint and result.
    pub folder: &'a Path,
    /// Whether to go on from the checkpoint that is there.
    pub resume: bool,
}

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    data: &'a DataConfig,
    train: &'a TrainConfig,
}

/// All samples of `feed`, which must have labels.
///
/// # Errors
/// Those of the feed; samples without labels.
pub fn labelled(feed: &mut impl Feed, classes: usize) -> Result<Labelled, RunError> {
    let info = feed.info();
    if !info.labelled {
        return Err(RunError::Unlabelled { data: info.description });
    }
    let mut all = Labelled { width: info.width, ..Labelled::default() };
    while let Some(batch) = feed.advance(READ, Some(classes))? {
        all.inputs.extend(batch.inputs.iter().map(|&x| x as f32));
        all.labels.extend_from_slice(batch.labels.unwrap_or_default());
    }
    Ok(all)
}

/// Trains `network`, which `settings` build and which reads the data as they are, on the threads of `pool`; writes `network.onnx`,
/// `network.safetensors`, `history.csv`, `config.toml`, `checkpoint.safetensors` and `result.json`.
///
/// # Errors
/// Settings and data that do not fit, a training that diverges, a checkpoint of another run, files that cannot be written.
pub fn run(
    mut settings: TrainConfig,
    network: &Network,
    (feed, samples, data): (&impl Feed, &Labelled, &DataConfig),
    place: Place<'_>,
    (pool, watch): (&ThreadPool, &mut (impl Watch + Send)),
) -> Result<TrainOutcome, RunError> {
    let begin = Instant::now();
    settings.validation.samples = settings.validation.samples.min(samples.len() / 5);
    let mut trainer = Trainer::of(settings, network)?;
    samples.check(network.input_width(), network.output_width())?;
    let folder = Folder::open(place.folder)?;
    if folder.checkpoint.exists() {
        if !place.resume {
            return Err(RunError::Checkpoint { path: folder.checkpoint });
        }
        checkpoint::load(&mut trainer, &folder.checkpoint)?;
    }
    let epochs = trainer.config().epochs;
    let outcome = pool.install(|| trainer.run(samples, &mut Watcher { folder: &folder, watch, epochs }))?;
    if outcome == Outcome::Stopped {
        checkpoint::save(&trainer, &folder.checkpoint)?;
        return Ok(TrainOutcome::Stopped { epoch: trainer.history().len() + 1 });
    }
    let first: Vec<f64> = samples.inputs[..samples.width].iter().map(|&x| f64::from(x)).collect();
    let model = folder.export(&trainer, &first)?;
    let labels_sha256 = Some(fingerprint_of_labels(&samples.labels));
    let report = TrainReport {
        model,
        data: DataReport { labels_sha256, ..feed.report(samples.len(), data.offset)? },
        at_chance: at_chance(&trainer, samples).map(|chance| advice(&chance, &trainer)),
        validation_method: trainer.config().validation_method().into(),
        guarantee: match trainer.config().threat.noise {
            Some(_) => with_probability(Guarantee::Rigorous),
            None => Guarantee::Rigorous.name(),
        },
        validation_noise: trainer.config().threat.noise.map(|noise| {
            format!(
                "noise of {} of the largest weight of each layer, failure probability {:e}",
                noise.sigma, noise.failure_probability
            )
        }),
        config: serde_json::to_value(Settings { data, train: trainer.config() })
            .map_err(|error| RunError::misfit(format!("settings: {error}")))?,
        history: trainer.history().iter().map(epoch).collect(),
        epoch_seconds: trainer.history().iter().map(|r| r.seconds + r.validation_seconds).collect(),
        environment: environment(
            begin.elapsed(),
            pool.current_num_threads(),
            trainer.config().seed,
            Precision::F32,
        ),
    };
    file::write(&folder.path.join("result.json"), |out| report.json(out))?;
    Ok(TrainOutcome::Finished(Box::new(report)))
}

/// What a network that is no better than guessing needs.
fn advice(chance: &AtChance, trainer: &Trainer) -> AtChanceReport {
    let config = trainer.config();
    let bounded = config.terms.iter().any(|term| term.find().is_ok_and(|objective| objective.bound));
    let worst_case = "a smaller --radius, a longer rise (--radius-epochs), or less weight on the worst case";
    let plain = "more --epochs, a smaller --batch, another --learning-rate, --gradient-clip 10; labels that belong to the samples";
    let advice = if bounded { format!("{worst_case}; {plain}") } else { plain.into() };
    let AtChance { accuracy, guessing, samples, held_out } = *chance;
    AtChanceReport { accuracy, guessing, samples, held_out, advice }
}

/// A record as reports have it.
fn epoch(record: &EpochRecord) -> EpochReport {
    let finite = |v: f64| Some(v).filter(|v| v.is_finite());
    EpochReport {
        epoch: record.epoch,
        learning_rate: record.learning_rate,
        radius: record.radius,
        loss: finite(record.loss),
        terms: record.terms.iter().map(|term| (term.objective.clone(), finite(term.value))).collect(),
        train_accuracy: record.train_accuracy,
        validation_accuracy: record.validation_accuracy,
        validation_certified: record.validation_certified,
        largest_weight: finite(record.largest_weight),
    }
}

/// The files of a run.
struct Folder {
    path: PathBuf,
    checkpoint: PathBuf,
    history: PathBuf,
}

impl Folder {
    fn open(path: &Path) -> Result<Self, RunError> {
        fs::create_dir_all(path).map_err(file::failed(path))?;
        let file = |name: &str| path.join(name);
        let folder = Folder {
            path: path.into(),
            checkpoint: file("checkpoint.safetensors"),
            history: file("history.csv"),
        };
        file::check(&folder.history)?;
        Ok(folder)
    }

    /// Writes the network in both formats, reads them back and compares, on `sample`, too.
    fn export(&self, trainer: &Trainer, sample: &[f64]) -> Result<ModelReport, RunError> {
        let network = trainer.network();
        let mut report = None;
        for name in ["network.safetensors", "network.onnx"] {
            let path = self.path.join(name);
            write_network(&path, &network)?;
            let back = read_network(&path)?;
            if !same(&back.network, &network, sample) {
                let message =
                    format!("{}: the network that was written reads back as another", path.display());
                return Err(RunError::misfit(message));
            }
            let display = Some(path.display().to_string());
            report = Some(ModelReport::new(&network, name, display, back.sha256, back.format));
        }
        let settings = toml::to_string(trainer.config());
        let settings = settings.map_err(|error| RunError::misfit(format!("settings: {error}")))?;
        file::write(&self.path.join("config.toml"), |out| out.write_all(settings.as_bytes()))?;
        Ok(report.expect("two formats"))
    }
}

/// Whether two networks have the same layers with parameters, and outputs that differ by no more than rounding: constants
/// such as a normalization are rounded to f32 in ONNX.
fn same(a: &Network, b: &Network, sample: &[f64]) -> bool {
    /// Largest difference of outputs, relative to their size.
    const ROUNDING: f64 = 1e-4;
    let layers = |network: &Network| {
        network
            .affine_layers()
            .map(|(_, node, affine)| (node.name.clone(), affine.clone()))
            .collect::<Vec<_>>()
    };
    let (x, y) = (a.forward(sample), b.forward(sample));
    let size = x.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
    layers(a) == layers(b) && x.iter().zip(&y).all(|(x, y)| (x - y).abs() <= ROUNDING * size)
}

/// Keeps checkpoints and the history, and tells the front end.
struct Watcher<'a, W> {
    folder: &'a Folder,
    watch: &'a mut W,
    epochs: usize,
}

impl<W: Watch> Observer for Watcher<'_, W> {
    fn batch(&mut self, trainer: &Trainer, done: usize, batches: usize) -> ControlFlow<()> {
        let at = Moment { epochs: (trainer.history().len(), self.epochs), batches: (done, batches) };
        if self.watch.batch(at) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn epoch(&mut self, trainer: &Trainer, record: &EpochRecord) -> Result<(), TrainError> {
        checkpoint::save(trainer, &self.folder.checkpoint)?;
        let path = &self.folder.history;
        let history: Vec<EpochReport> = trainer.history().iter().map(epoch).collect();
        let written = file::write(path, |out| history_csv(&history, out));
        written.map_err(|error| TrainError::Io {
            path: path.clone(),
            source: std::io::Error::other(error.to_string()),
        })?;
        self.watch.epoch(&epoch(record), record.seconds + record.validation_seconds, self.epochs);
        Ok(())
    }
}
