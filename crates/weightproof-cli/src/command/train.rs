//! `train`: a network from data, with checkpoints, as ONNX and safetensors.

use super::Status;
use crate::args::train::TrainArgs;
use crate::config::{DataConfig, data_numbers, split_name};
use crate::error::Failure;
use crate::run::{pool, progress};
use crate::source::Source;
use crate::{config_file, interrupt, output};
use indicatif::ProgressBar;
use std::io::Write;
use weightproof_report::EpochReport;
use weightproof_run::number::Range;
use weightproof_run::train::{self, Moment, Place, TrainOutcome, TrainSettings};
use weightproof_train::TrainConfig;

/// Runs the command.
pub fn run(args: &TrainArgs) -> Result<Status, Failure> {
    let settings = settings(args)?;
    let data = data(args)?;
    if data.path.is_none() && !data.embedded {
        let hint = "name a folder or file with data, or --data embedded for the 1,000 embedded images of MNIST's test set";
        return Err(Failure::new("expected data to train on, found none").hint(hint));
    }
    let network = settings.build()?;
    let mut source = Source::open(&data, &network, false)?;
    let network = source.fit.normalized(network, &data)?;
    if !source.info().labelled {
        let message = format!("{}: expected labels, found none", source.info().description);
        return Err(Failure::new(message).hint("--labels FILE"));
    }
    let samples = train::labelled(&mut source, network.output_width())?;
    if !args.quiet {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{} samples of {}", samples.len(), source.info().description);
    }
    interrupt::watch()?;
    let pool = pool(args.threads)?;
    let mut terminal = Terminal { bar: progress(Some(0), "batches", args.quiet), quiet: args.quiet };
    let place = Place { folder: &args.output, resume: args.resume };
    let outcome = train::run(settings, &network, (&source, &samples, &data), place, (&pool, &mut terminal));
    terminal.bar.finish_and_clear();
    match outcome? {
        TrainOutcome::Stopped { epoch } => {
            let message = format!("interrupted in epoch {epoch}: the checkpoint is written");
            // Nothing can be done when standard error is closed.
            let _ = writeln!(
                std::io::stderr(),
                "{}",
                Failure::new(message).hint("the same command with --resume goes on")
            );
            Ok(Status::Interrupted)
        }
        TrainOutcome::Finished(report) => {
            output::write(None, |out| report.text(out))?;
            Ok(Status::of(report.at_chance.is_none()))
        }
    }
}

/// Joins the file of settings and the flags.
pub fn settings(args: &TrainArgs) -> Result<TrainConfig, Failure> {
    let file = args.config.config.as_ref().map(|path| {
        let text = config_file::of_train(path)?;
        let parse =
            |text: String| TrainConfig::parse(&text).map_err(|error| Failure::from(error).within(path));
        text.map(parse).transpose()
    });
    let file = file.transpose()?.flatten();
    let (loss, descent) = (&args.loss, &args.descent);
    let single = TrainSettings {
        sizes: args.network.sizes.clone(),
        gain: args.network.gain.clone(),
        objective: loss.objectives.clone(),
        adversary: loss.adversaries.clone(),
        radius: loss.radius.clone(),
        bias_radius: loss.bias_radius.clone(),
        input_radius: loss.input_radius.clone(),
        relative: loss.relative,
        radius_epochs: loss.radius_epochs.clone(),
        epochs: descent.epochs,
        batch: descent.batch,
        optimizer: descent.optimizer.clone(),
        learning_rate: descent.learning_rate.clone(),
        momentum: descent.momentum.clone(),
        weight_decay: descent.weight_decay.clone(),
        warm_up: descent.warm_up.clone(),
        decay: descent.decay.clone(),
        gradient_clip: descent.gradient_clip.clone(),
        weight_limit: descent.weight_limit.clone(),
        seed: descent.seed,
        validation: args.samples.validation,
        validation_method: args.samples.validation_method.clone(),
    };
    Ok(single.over(file)?)
}

/// The data that the arguments name.
fn data(args: &TrainArgs) -> Result<DataConfig, Failure> {
    Ok(DataConfig {
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
        ..DataConfig::default()
    })
}

/// A bar over all batches, a line for each epoch, and Ctrl-C.
struct Terminal {
    bar: ProgressBar,
    quiet: bool,
}

impl train::Watch for Terminal {
    fn batch(&mut self, at: Moment) -> bool {
        let ((epoch, epochs), (done, batches)) = (at.epochs, at.batches);
        self.bar.set_length((epochs * batches) as u64);
        self.bar.set_position((epoch * batches + done) as u64);
        self.bar.set_message(format!(" (epoch {}/{epochs})", epoch + 1));
        !interrupt::requested()
    }

    fn epoch(&mut self, record: &EpochReport, seconds: f64, epochs: usize) {
        if self.quiet {
            return;
        }
        let percent = |share: Option<f64>| share.map_or("-".into(), |s| format!("{:.2}%", 100.0 * s));
        let line = format!(
            "epoch {}/{epochs}: loss {:.4}, accuracy {} (training) {} (held out), certified {}, {seconds:.1} s",
            record.epoch,
            record.loss.unwrap_or(f64::NAN),
            percent(Some(record.train_accuracy)),
            percent(record.validation_accuracy),
            percent(record.validation_certified),
        );
        // Nothing can be done when standard error is closed.
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{line}");
        });
    }
}
