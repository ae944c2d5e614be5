//! Trains and measures one model after the other, and writes what is known after each.

use crate::error::ExperimentError;
use crate::report::{self, Environment, Report, Seconds};
use crate::table::{Cell, Table};
use crate::{Experiment, Options};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;
use weightproof::network::Network;
use weightproof_figure::Chart;
use weightproof_train::{EpochRecord, Labelled, Observer, Outcome, TrainConfig, TrainError, Trainer};

/// The samples of an experiment and where they come from.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// To train on.
    pub train: Labelled,
    /// To measure on.
    pub test: Labelled,
    /// What they are, for the report.
    pub sources: Vec<DataSource>,
}

/// Where samples come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataSource {
    /// What they are for.
    pub part: String,
    /// Name.
    pub description: String,
    /// How many there are.
    pub samples: usize,
    /// SHA-256 of the bytes of the file with the samples, in hexadecimal.
    pub sha256: String,
}

/// Who watches a run.
pub trait Watch {
    /// A line about what was done.
    fn remark(&mut self, text: &str);
    /// Whether the user wants the run to end.
    fn interrupted(&self) -> bool;
}

/// What is known about one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub model: String,
    /// Models of a kind have the same group.
    pub group: String,
    /// Numbers that tell models of a group apart.
    pub knobs: BTreeMap<String, f64>,
    /// How it was trained; nothing where no network was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<TrainConfig>,
    /// Why it has no numbers, when training it diverged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Numbers that were measured; `null` when not finite.
    pub values: BTreeMap<String, Option<f64>>,
    /// Numbers for each radius, or in the order that the experiment says.
    pub curves: BTreeMap<String, Vec<f64>>,
}

impl Record {
    /// Nothing is known yet.
    fn new(model: String, group: &str, knobs: &[(&'static str, f64)]) -> Self {
        Record {
            model,
            group: group.into(),
            knobs: knobs.iter().map(|&(name, value)| (name.into(), value)).collect(),
            config: None,
            failure: None,
            values: BTreeMap::new(),
            curves: BTreeMap::new(),
        }
    }

    /// A number that was measured; NaN without one.
    pub fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().flatten().unwrap_or(f64::NAN)
    }

    /// A knob; 0 when the model has none of this name.
    pub fn knob(&self, name: &str) -> f64 {
        self.knobs.get(name).copied().unwrap_or(0.0)
    }

    /// The seed of its training, if a network was trained.
    pub fn seed(&self) -> Option<u64> {
        self.config.as_ref().map(|config| config.seed)
    }

    /// Numbers along a curve.
    pub fn curve(&self, name: &str) -> &[f64] {
        self.curves.get(name).map_or(&[], Vec::as_slice)
    }

    /// Keeps a number.
    pub fn set(&mut self, name: &str, value: f64) {
        self.values.insert(name.into(), Some(value).filter(|v| v.is_finite()));
    }
}

/// Records that differ in their seeds only, in the order of their first; those without numbers are left out.
pub fn replicas(records: &[Record]) -> Vec<Vec<&Record>> {
    let mut all: Vec<Vec<&Record>> = Vec::new();
    for record in records.iter().filter(|r| r.failure.is_none()) {
        let alike = |kind: &&mut Vec<&Record>| kind[0].group == record.group && kind[0].knobs == record.knobs;
        match all.iter_mut().find(alike) {
            Some(kind) => kind.push(record),
            None => all.push(vec![record]),
        }
    }
    all
}

/// A number of some records: mean, least and largest.
pub fn spread(records: &[&Record], name: &str) -> Cell {
    Cell::spread(&records.iter().map(|r| r.value(name)).collect::<Vec<_>>())
}

/// Mean of some numbers; NaN without numbers.
pub fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean of a number over some records; NaN without records.
pub fn mean(records: &[&Record], name: &str) -> f64 {
    average(&records.iter().map(|r| r.value(name)).collect::<Vec<_>>())
}

/// `f` of a number of two records with the same seed, for each seed that both lists have.
pub fn paired(a: &[&Record], b: &[&Record], name: &str, f: fn(f64, f64) -> f64) -> Vec<f64> {
    let twin = |r: &Record| b.iter().find(|other| other.seed() == r.seed()).map(|other| other.value(name));
    a.iter().filter_map(|r| twin(r).map(|other| f(r.value(name), other))).collect()
}

/// Number `k` of a curve of each of some records; left out where the curve is shorter.
pub fn along(records: &[&Record], curve: &str, k: usize) -> Vec<f64> {
    records.iter().filter_map(|r| r.curve(curve).get(k).copied()).collect()
}

/// At most `most` of the samples, at equal distances.
pub fn evenly(samples: &Labelled, most: usize) -> Labelled {
    let step = samples.len().div_ceil(most).max(1);
    samples.pick(&(0..samples.len()).step_by(step).collect::<Vec<_>>())
}

/// A record that is to be filled, or one of the last run.
enum Begun {
    New(Record),
    Known(Record),
}

/// A model that is to be trained.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub group: &'static str,
    /// Numbers that tell it from others of the kind.
    pub knobs: Vec<(&'static str, f64)>,
    /// How it is trained.
    pub config: TrainConfig,
}

/// A network that is trained, with the samples.
pub struct Subject<'a> {
    /// The network.
    pub network: Network,
    /// How it was trained.
    pub config: &'a TrainConfig,
    /// The samples it was trained on, those that were held out left away.
    pub train: &'a Labelled,
    /// The samples that were held out, for choices between models.
    pub held_out: &'a Labelled,
    /// The samples it is measured on.
    pub test: &'a Labelled,
    /// Their inputs in f64.
    pub wide: &'a [f64],
    /// Seed of attacks.
    pub seed: u64,
}

/// Tables, plots and sentences about some records.
#[derive(Clone, Debug, Default)]
pub struct Presentation {
    /// Tables.
    pub tables: Vec<Table>,
    /// Plots.
    pub plots: Vec<Chart>,
    /// What the numbers say.
    pub findings: Vec<String>,
}

/// The state of a run.
pub struct Lab<'a> {
    /// What was asked for.
    pub options: &'a Options,
    experiment: &'static Experiment,
    data: &'a Data,
    wide: Vec<f64>,
    folder: &'a Path,
    watch: &'a mut dyn Watch,
    records: Vec<Record>,
    previous: Vec<(Record, Seconds)>,
    seconds: Vec<Seconds>,
}

impl<'a> Lab<'a> {
    pub(crate) fn new(
        experiment: &'static Experiment,
        (options, data): (&'a Options, &'a Data),
        folder: &'a Path,
        watch: &'a mut dyn Watch,
    ) -> Self {
        let wide = data.test.wide();
        let mut lab = Lab {
            options,
            experiment,
            data,
            wide,
            folder,
            watch,
            records: Vec::new(),
            previous: Vec::new(),
            seconds: Vec::new(),
        };
        lab.previous = report::previous(&lab.report(true, Presentation::default()), folder);
        lab
    }

    /// Trains the model on all samples and measures it, unless a run with the same settings did so before.
    ///
    /// # Errors
    /// When it cannot be trained, a file cannot be written, or the user wants the run to end.
    pub fn model(
        &mut self,
        model: Model,
        measure: impl FnOnce(&Subject<'_>, &mut Record) -> Result<(), ExperimentError>,
    ) -> Result<Record, ExperimentError> {
        let data = self.data;
        self.model_on(model, &data.train, None, measure)
    }

    /// The same with other samples to train on, and with the layers of another network than the configuration's.
    ///
    /// # Errors
    /// As [`Lab::model`].
    pub fn model_on(
        &mut self,
        model: Model,
        train: &Labelled,
        network: Option<&Network>,
        measure: impl FnOnce(&Subject<'_>, &mut Record) -> Result<(), ExperimentError>,
    ) -> Result<Record, ExperimentError> {
        let mut record = match self.begin(Record {
            config: Some(model.config.clone()),
            ..Record::new(model.name, model.group, &model.knobs)
        })? {
            Begun::New(record) => record,
            Begun::Known(record) => return Ok(record),
        };
        let config = model.config;
        let begin = Instant::now();
        let named = |source| ExperimentError::Train { model: record.model.clone(), source };
        let trainer = match network {
            None => Trainer::new(config.clone()),
            Some(network) => Trainer::of(config.clone(), network),
        };
        let mut trainer = trainer.map_err(named)?;
        match trainer.run(train, &mut Interrupts(&*self.watch)) {
            Ok(Outcome::Finished) => {}
            Ok(Outcome::Stopped) => return Err(ExperimentError::Interrupted),
            Err(error @ TrainError::Diverged { .. }) => record.failure = Some(error.to_string()),
            Err(error) => return Err(named(error)),
        }
        let training_seconds = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        if record.failure.is_none() {
            let held_out = config.validation.samples;
            let (fitted, held_out) = train.clone().split(held_out.min(train.len() - 1));
            let accuracy = trainer.history().last().and_then(|epoch| epoch.validation_accuracy);
            record.set("held-out-accuracy", accuracy.unwrap_or(f64::NAN));
            let (test, wide, seed) = (&self.data.test, self.wide.as_slice(), self.options.seed);
            let network = trainer.network();
            let (train, held_out) = (&fitted, &held_out);
            let subject = Subject { network, config: &config, train, held_out, test, wide, seed };
            measure(&subject, &mut record)?;
        }
        let measuring_seconds = begin.elapsed().as_secs_f64();
        let clean = match &record.failure {
            None if record.values.contains_key("clean") => {
                format!("{:.2}% clean", 100.0 * record.value("clean"))
            }
            None => "done".into(),
            Some(failure) => failure.clone(),
        };
        self.watch.remark(&format!(
            "{}: {clean}, trained in {training_seconds:.1} s, measured in {measuring_seconds:.1} s",
            record.model
        ));
        let seconds = Seconds { model: record.model.clone(), training_seconds, measuring_seconds };
        self.keep(record, seconds)
    }

    /// Computes the numbers of something that is not trained, unless a run with the same settings did so before. `measure` is also told
    /// how to ask whether the user wants the run to end.
    ///
    /// # Errors
    /// Those of `measure`, when a file cannot be written, or the user wants the run to end.
    pub fn record(
        &mut self,
        name: String,
        group: &'static str,
        knobs: &[(&'static str, f64)],
        measure: impl FnOnce(&mut Record, &dyn Fn() -> bool) -> Result<(), ExperimentError>,
    ) -> Result<Record, ExperimentError> {
        let mut record = match self.begin(Record::new(name, group, knobs))? {
            Begun::New(record) => record,
            Begun::Known(record) => return Ok(record),
        };
        let begin = Instant::now();
        measure(&mut record, &|| self.watch.interrupted())?;
        let measuring_seconds = begin.elapsed().as_secs_f64();
        self.watch.remark(&format!("{}: in {measuring_seconds:.1} s", record.model));
        let seconds = Seconds { model: record.model.clone(), training_seconds: 0.0, measuring_seconds };
        self.keep(record, seconds)
    }

    /// The record of the last run with the same name, knobs and configuration, which is kept; without one, what was given.
    fn begin(&mut self, record: Record) -> Result<Begun, ExperimentError> {
        if self.watch.interrupted() {
            return Err(ExperimentError::Interrupted);
        }
        let same = |(r, _): &&(Record, Seconds)| {
            r.model == record.model && r.knobs == record.knobs && r.config == record.config
        };
        let Some((known, seconds)) = self.previous.iter().find(same).cloned() else {
            return Ok(Begun::New(record));
        };
        self.watch.remark(&format!("{}: taken from the last run", known.model));
        self.keep(known, seconds).map(Begun::Known)
    }

    fn keep(&mut self, record: Record, seconds: Seconds) -> Result<Record, ExperimentError> {
        self.records.push(record.clone());
        self.seconds.push(seconds);
        self.write(true)?;
        Ok(record)
    }

    /// The first `most` samples to train on.
    pub fn training_samples(&self, most: usize) -> Labelled {
        let all = &self.data.train;
        all.pick(&(0..most.min(all.len())).collect::<Vec<_>>())
    }

    /// Block `number` of the samples to train on, `count` of them; behind the last one the first comes again.
    pub fn training_block(&self, number: u64, count: usize) -> Labelled {
        let all = &self.data.train;
        let first = (number as usize).wrapping_mul(count);
        all.pick(&(0..count.min(all.len())).map(|k| first.wrapping_add(k) % all.len()).collect::<Vec<_>>())
    }

    /// The first `most` samples to measure on.
    pub fn test_samples(&self, most: usize) -> Labelled {
        let all = &self.data.test;
        all.pick(&(0..most.min(all.len())).collect::<Vec<_>>())
    }

    /// Changes a number of the records of a model that were kept; it is written with the next model.
    pub fn revise(&mut self, model: &str, change: impl Fn(&mut Record)) {
        self.records.iter_mut().filter(|r| r.model == model).for_each(change);
    }

    /// Writes all files.
    pub(crate) fn write(&mut self, partial: bool) -> Result<Report, ExperimentError> {
        let presentation = (self.experiment.present)(self.options, &self.records);
        report::write_plots(self.folder, &presentation.plots)?;
        let report = self.report(partial, presentation);
        report.write(self.folder)?;
        Ok(report)
    }

    fn report(&self, partial: bool, presentation: Presentation) -> Report {
        // What an earlier run knows and this one has not come to yet is there for the next one.
        let ahead = |(r, _): &&(Record, Seconds)| partial && self.records.iter().all(|k| k.model != r.model);
        let ahead = self.previous.iter().filter(ahead).cloned();
        let visited = self.records.iter().cloned().zip(self.seconds.iter().cloned());
        let (models, seconds) = visited.chain(ahead).unzip();
        Report {
            schema: report::SCHEMA.into(),
            experiment: self.experiment.name.into(),
            summary: self.experiment.summary.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            partial,
            options: self.options.clone(),
            settings: (self.experiment.settings)(self.options),
            data: self.data.sources.clone(),
            tables: presentation.tables,
            findings: presentation.findings,
            plots: presentation.plots.iter().map(|plot| format!("{}.svg", plot.name)).collect(),
            charts: presentation.plots,
            models,
            environment: Environment::new(seconds),
        }
    }
}

/// Ends a training when the user wants that.
struct Interrupts<'a>(&'a dyn Watch);

impl Observer for Interrupts<'_> {
    fn batch(&mut self, _: &Trainer, _: usize, _: usize) -> ControlFlow<()> {
        if self.0.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn epoch(&mut self, _: &Trainer, _: &EpochRecord) -> Result<(), TrainError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Needs;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// How many models were measured.
    static MEASURED: AtomicUsize = AtomicUsize::new(0);

    /// A model for each seed, the last one first.
    static COUNTED: Experiment = Experiment {
        name: "counted",
        summary: "",
        needs: Needs::Nothing,
        settings: |_| serde_json::Value::Null,
        train: |lab| {
            for seed in (0..lab.options.seeds).rev() {
                lab.record(format!("seed {seed}"), "counted", &[], |_, _| {
                    MEASURED.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })?;
            }
            Ok(())
        },
        present: |_, _| Presentation::default(),
    };

    /// Asks for the end after some models.
    struct Few(Cell<usize>);

    impl Watch for Few {
        fn remark(&mut self, _: &str) {}

        fn interrupted(&self) -> bool {
            let left = self.0.get();
            self.0.set(left.saturating_sub(1));
            left == 0
        }
    }

    #[test]
    fn nothing_is_measured_twice() {
        let folder = tempfile::tempdir().unwrap();
        let run = |seeds: usize, models: usize| {
            let options = Options { quick: false, seed: 0, seeds };
            let mut watch = Few(Cell::new(models));
            let report = crate::run(&COUNTED, &options, &Data::default(), folder.path(), &mut watch).unwrap();
            let names: Vec<String> = report.models.into_iter().map(|r| r.model).collect();
            (report.partial, names, MEASURED.load(Ordering::Relaxed))
        };
        let names = |seeds: &[usize]| seeds.iter().map(|seed| format!("seed {seed}")).collect::<Vec<_>>();
        assert_eq!(run(2, 9), (false, names(&[1, 0]), 2));
        // Interrupted before it came to those that are known.
        assert_eq!(run(4, 1), (true, names(&[3, 1, 0]), 3));
        assert_eq!(run(4, 9), (false, names(&[3, 2, 1, 0]), 4));
    }
}
