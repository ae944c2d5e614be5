//! `train`: a network from data, with checkpoints, as ONNX and safetensors.

use super::Status;
use crate::args::train::TrainArgs;
use crate::config::{DataConfig, data_numbers, split_name};
use crate::error::Failure;
use crate::number::Range;
use crate::run::{environment, pool, progress};
use crate::source::Source;
use crate::train::config;
use crate::{interrupt, output};
use indicatif::ProgressBar;
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;
use weightproof::network::Network;
use weightproof::verdict::Precision;
use weightproof_formats::network::{read_network, write_network};
use weightproof_report::{AtChanceReport, DataReport, EpochReport, ModelReport, TrainReport, history_csv};
use weightproof_run::feed::Feed;
use weightproof_run::run::fingerprint_of_labels;
use weightproof_train::chance::{AtChance, at_chance};
use weightproof_train::{
    EpochRecord, Labelled, Observer, Outcome, TrainConfig, TrainError, Trainer, checkpoint,
};

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    data: &'a DataConfig,
    train: &'a TrainConfig,
}

/// The files of a run.
struct Folder {
    path: PathBuf,
    checkpoint: PathBuf,
    history: PathBuf,
}

/// Runs the command.
pub fn run(args: &TrainArgs) -> Result<Status, Failure> {
    let begin = Instant::now();
    let mut settings = config(args)?;
    let data = DataConfig {
        path: args.data.clone(),
        embedded: args.samples.embedded.is_some(),
        labels: args.samples.labels.clone(),
        csv_labels: !args.samples.unlabelled_csv,
        csv_header: crate::config::header_name(args.samples.header),
        split: split_name(args.samples.split),
        offset: args.samples.offset,
        samples: args.samples.samples,
        layout: args.samples.layout.map(crate::config::layout_name),
        scale: crate::config::scale(&args.samples.scale)?,
        mean: data_numbers("mean", &args.samples.mean, Range::Finite)?,
        std: data_numbers("std", &args.samples.std, Range::Positive)?,
        batch: None,
    };
    if data.path.is_none() && !data.embedded {
        let hint = "name a folder or file with data, or --data embedded for the 1,000 embedded images of MNIST's test set";
        return Err(Failure::new("expected data to train on, found none").hint(hint));
    }
    let network = settings.build()?;
    let mut source = Source::open(&data, &network, false)?;
    let network = source.fit.normalized(network, &data)?;
    let samples = read(&mut source, network.output_width(), args)?;
    settings.validation.samples = settings.validation.samples.min(samples.len() / 5);
    let mut trainer = Trainer::of(settings, &network)?;
    samples.check(network.input_width(), network.output_width())?;
    let folder = Folder::open(&args.output)?;
    if folder.checkpoint.exists() {
        if !args.resume {
            let message = format!("{}: there is a checkpoint of another run", folder.checkpoint.display());
            return Err(Failure::new(message).hint("--resume to go on from it, or another folder"));
        }
        checkpoint::load(&mut trainer, &folder.checkpoint)?;
    }
    interrupt::watch()?;
    let pool = pool(args.threads)?;
    let (bar, total) = (progress(Some(0), "batches", args.quiet), trainer.config().epochs);
    let mut watcher = Watcher { folder: &folder, bar, total, quiet: args.quiet };
    let outcome = pool.install(|| trainer.run(&samples, &mut watcher));
    watcher.bar.finish_and_clear();
    if outcome? == Outcome::Stopped {
        checkpoint::save(&trainer, &folder.checkpoint)?;
        let message =
            format!("interrupted in epoch {}: the checkpoint is written", trainer.history().len() + 1);
        // Nothing can be done when standard error is closed.
        let _ = writeln!(
            std::io::stderr(),
            "{}",
            Failure::new(message).hint("the same command with --resume goes on")
        );
        return Ok(Status::Interrupted);
    }
    let first: Vec<f64> = samples.inputs[..samples.width].iter().map(|&x| f64::from(x)).collect();
    let model = folder.export(&trainer, &first)?;
    let report = TrainReport {
        model,
        data: DataReport {
            labels_sha256: Some(fingerprint_of_labels(&samples.labels)),
            ..source.report(samples.len(), data.offset)?
        },
        at_chance: at_chance(&trainer, &samples).map(|chance| advice(&chance, &trainer)),
        validation_method: trainer.config().validation.method.clone(),
        config: serde_json::to_value(Settings { data: &data, train: trainer.config() })
            .map_err(|error| Failure::new(format!("settings: {error}")))?,
        history: trainer.history().iter().map(epoch).collect(),
        epoch_seconds: trainer.history().iter().map(|r| r.seconds + r.validation_seconds).collect(),
        environment: environment(
            begin.elapsed(),
            pool.current_num_threads(),
            trainer.config().seed,
            Precision::F32,
        ),
    };
    output::write(Some(&folder.path.join("result.json")), |out| report.json(out))?;
    output::write(None, |out| report.text(out))?;
    Ok(Status::of(report.at_chance.is_none()))
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

fn read(source: &mut Source, classes: usize, args: &TrainArgs) -> Result<Labelled, Failure> {
    if !source.info().labelled {
        let message = format!("{}: expected labels, found none", source.info().description);
        return Err(Failure::new(message).hint("--labels FILE"));
    }
    let width = source.info().shape.iter().product();
    let all = Labelled::collect(width, |most| source.next(most, Some(classes)).map_err(Failure::from))?;
    if !args.quiet {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{} samples of {}", all.len(), source.info().description);
    }
    Ok(all)
}

/// A record as reports have it.
fn epoch(record: &EpochRecord) -> EpochReport {
    EpochReport {
        epoch: record.epoch,
        learning_rate: record.learning_rate,
        radius: record.radius,
        loss: record.loss,
        terms: record.terms.iter().map(|term| (term.objective.clone(), term.value)).collect(),
        train_accuracy: record.train_accuracy,
        validation_accuracy: record.validation_accuracy,
        validation_certified: record.validation_certified,
        largest_weight: record.largest_weight,
    }
}

impl Folder {
    fn open(path: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(Failure::io(path))?;
        let file = |name: &str| path.join(name);
        let folder = Folder {
            path: path.into(),
            checkpoint: file("checkpoint.safetensors"),
            history: file("history.csv"),
        };
        output::check(Some(&folder.history))?;
        Ok(folder)
    }

    /// Writes the network in both formats, reads them back and compares, on `sample`, too.
    fn export(&self, trainer: &Trainer, sample: &[f64]) -> Result<ModelReport, Failure> {
        let network = trainer.network();
        let mut report = None;
        for name in ["network.safetensors", "network.onnx"] {
            let path = self.path.join(name);
            write_network(&path, &network)?;
            let back = read_network(&path)?;
            if !same(&back.network, &network, sample) {
                let message =
                    format!("{}: the network that was written reads back as another", path.display());
                return Err(Failure::new(message));
            }
            let display = Some(path.display().to_string());
            report = Some(ModelReport::new(&network, name, display, back.sha256, back.format));
        }
        let settings = toml::to_string(trainer.config());
        let settings = settings.map_err(|error| Failure::new(format!("settings: {error}")))?;
        output::write(Some(&self.path.join("config.toml")), |out| out.write_all(settings.as_bytes()))?;
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

/// Progress, checkpoints, and Ctrl-C.
struct Watcher<'a> {
    folder: &'a Folder,
    bar: ProgressBar,
    total: usize,
    quiet: bool,
}

impl Observer for Watcher<'_> {
    fn batch(&mut self, trainer: &Trainer, done: usize, batches: usize) -> ControlFlow<()> {
        let epochs = trainer.history().len();
        self.bar.set_length((self.total * batches) as u64);
        self.bar.set_position((epochs * batches + done) as u64);
        self.bar.set_message(format!(" (epoch {}/{})", epochs + 1, self.total));
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn epoch(&mut self, trainer: &Trainer, record: &EpochRecord) -> Result<(), TrainError> {
        checkpoint::save(trainer, &self.folder.checkpoint)?;
        let path = &self.folder.history;
        let history: Vec<EpochReport> = trainer.history().iter().map(epoch).collect();
        let written = output::write(Some(path), |out| history_csv(&history, out));
        written.map_err(|error| TrainError::Io {
            path: path.clone(),
            source: std::io::Error::other(error.to_string()),
        })?;
        if !self.quiet {
            let percent = |share: Option<f64>| share.map_or("-".into(), |s| format!("{:.2}%", 100.0 * s));
            let line = format!(
                "epoch {}/{}: loss {:.4}, accuracy {} (training) {} (held out), certified {}, {:.1} s",
                record.epoch,
                self.total,
                record.loss,
                percent(Some(record.train_accuracy)),
                percent(record.validation_accuracy),
                percent(record.validation_certified),
                record.seconds + record.validation_seconds,
            );
            // Nothing can be done when standard error is closed.
            self.bar.suspend(|| {
                let _ = writeln!(std::io::stderr(), "{line}");
            });
        }
        Ok(())
    }
}
