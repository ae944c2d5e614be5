//! Runs without the GIL, that signals end and that tell how far they are.
//!
//! ```text
//! caller's thread: signals, progress        worker: batches on a pool of threads
//!              └──── stop ────▶ flag ────▶ between batches
//! ```

use crate::array::{self, Array, ArrayFeed, Labels, Values};
use crate::data::Origin;
use crate::error::raise;
use crate::network::Network;
use crate::report::{Document, Other, Report, fingerprint};
use crate::settings::{self, Attack, Method, Shared};
use pyo3::prelude::*;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weightproof::attack::AttackOptions;
use weightproof::faults::{FaultError, FaultModel};
use weightproof::progress::Progress;
use weightproof::stop::Stop;
use weightproof::threat::ThreatModel;
use weightproof_measure::Effort;
use weightproof_report::DataReport;
use weightproof_run::attack::Kept;
use weightproof_run::config::{DataConfig, ModelConfig};
use weightproof_run::exact::ExactConfig;
use weightproof_run::faults::{self as hits, Beside, FaultConfig};
use weightproof_run::hits::{self as several, Limits};
use weightproof_run::inspect::{self as inspection, InspectConfig};
use weightproof_run::measure::{self as measures, CompressionConfig, Loaded, MeasureConfig, Subject};
use weightproof_run::merge::{AnyMerged, merge as join};
use weightproof_run::noise::{self as noises, DrawsConfig, NoiseConfig, NoiseRadiusConfig};
use weightproof_run::radius::{RadiusConfig, RadiusRun};
use weightproof_run::run::{BatchSize, Run, Watch, pool};
use weightproof_run::scale::ChosenScale;
use weightproof_run::session::Session;
use weightproof_run::shard::Shard;
use weightproof_run::threat::ThreatConfig;
use weightproof_run::train::{self as training, Moment, Place, TrainOutcome, TrainSettings};
use weightproof_run::{
    RunError, attack as attacks, certify as certificates, exact as exacts, radius as radii,
};
use weightproof_train::TrainConfig;

/// How often signals and progress are looked at.
const POLL: Duration = Duration::from_millis(50);

/// What the two threads of a run share.
#[derive(Default)]
struct Shuttle {
    stop: Stop,
    /// Samples of the batches that are done.
    batches: AtomicUsize,
    /// Samples that are settled.
    done: Arc<AtomicUsize>,
}

impl Watch for &Shuttle {
    fn begin(&mut self) {
        self.batches.store(0, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    fn advanced(&mut self, samples: usize) {
        let done = self.batches.fetch_add(samples, Ordering::Relaxed) + samples;
        self.done.store(done, Ordering::Relaxed);
    }

    fn within(&self) -> Progress {
        let done = self.done.clone();
        Progress::new(move || {
            done.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn stop(&mut self) -> Result<bool, RunError> {
        if self.stop.is_set() { Err(RunError::Interrupted) } else { Ok(false) }
    }
}

/// Runs `work` on a thread of its own without the GIL; `progress` is told of every change of the number of samples.
///
/// # Errors
/// What a signal or `progress` raises, which ends the work; else those of `work`.
fn unattended<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Shuttle) -> Result<T, RunError> + Send,
) -> PyResult<T> {
    let shuttle = Shuttle::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let receiver = Mutex::new(receiver);
        let shuttle = &shuttle;
        scope.spawn(move || {
            // Nobody waits any more when the caller was interrupted.
            let _ = sender.send(work(shuttle));
        });
        let mut told = 0;
        let mut raised = None;
        loop {
            let found = py.detach(|| match receiver.lock() {
                Ok(receiver) => receiver.recv_timeout(POLL),
                Err(_) => Err(RecvTimeoutError::Disconnected),
            });
            let done = shuttle.done.load(Ordering::Relaxed);
            if raised.is_none() {
                let tell = progress.filter(|_| done != told);
                told = done;
                let told = tell.map_or(Ok(()), |progress| progress.call1((done,)).map(drop));
                if let Err(error) = py.check_signals().and(told) {
                    shuttle.stop.set();
                    raised = Some(error);
                }
            }
            match (found, raised.take()) {
                (Ok(_) | Err(RecvTimeoutError::Disconnected), Some(error)) => return Err(error),
                (Ok(found), None) => return found.map_err(raise),
                (Err(RecvTimeoutError::Timeout), still) => raised = still,
                (Err(RecvTimeoutError::Disconnected), None) => {
                    return Err(pyo3::exceptions::PyRuntimeError::new_err("the work ended with a panic"));
                }
            }
        }
    })
}

/// Samples as Python gives them.
#[derive(Clone, Copy)]
pub struct Given<'a, 'py> {
    pub x: &'a Array<'py>,
    pub y: Option<&'a Labels<'py>>,
    pub origin: Option<&'a Origin>,
}

/// Samples that can be read without Python.
struct Raw<'a> {
    values: Values<'a>,
    labels: Option<&'a [u32]>,
    report: DataReport,
    read: Option<&'a ChosenScale>,
}

impl<'a, 'py> Given<'a, 'py> {
    pub fn of((x, y, origin): &'a Triple<'py>) -> Self {
        Given { x, y: y.as_ref(), origin: origin.as_ref().map(|origin| origin.get()) }
    }

    /// The numbers and the report about them; the fingerprint of an array is left empty.
    fn raw(self) -> PyResult<Raw<'a>> {
        let (values, labels) = (self.x.values()?, self.y.map(|y| y.as_slice()).transpose()?);
        let (samples, shape) = self.x.shape();
        let (report, read) = match self.origin {
            None => (array::describe(samples, shape, labels.is_some()), None),
            Some(origin) => (origin.report.clone(), Some(&origin.scale)),
        };
        Ok(Raw { values, labels, report, read })
    }

    /// Settings of the reader.
    fn config(self) -> Option<&'a DataConfig> {
        self.origin.map(|origin| &origin.config)
    }
}

impl<'a> Raw<'a> {
    fn feed(
        self,
        network: &weightproof::network::Network,
        config: &DataConfig,
    ) -> Result<ArrayFeed<'a>, RunError> {
        ArrayFeed::new(self.values, self.labels, self.report, self.read, (network, config))
    }
}

/// A run as Python asks for it.
pub struct Question<'a, 'py> {
    pub network: &'a Network,
    pub given: Given<'a, 'py>,
    pub progress: Option<&'a Bound<'py, PyAny>>,
}

impl Question<'_, '_> {
    /// A session on these samples, and the report that `answer` makes of it.
    fn ask(
        &self,
        py: Python<'_>,
        shared: &Shared,
        answer: impl FnOnce(&mut Session<ArrayFeed<'_>>, &Starter<'_>) -> Result<Report, RunError> + Send,
    ) -> PyResult<Report> {
        self.ask_for(py, shared, |session, starter, values| {
            Ok(answer(session, starter)?.about(values.checksum()))
        })
    }

    /// A session on these samples, and `answer` to it, which sees their numbers, too.
    pub fn ask_for<R: Send>(
        &self,
        py: Python<'_>,
        shared: &Shared,
        answer: impl FnOnce(&mut Session<ArrayFeed<'_>>, &Starter<'_>, Values<'_>) -> Result<R, RunError> + Send,
    ) -> PyResult<R> {
        let raw = self.given.raw()?;
        let config = shared.config(self.network, self.given.config()).map_err(raise)?;
        let (network, threads) = (self.network, shared.threads);
        let shard = shared.shard.map(|(number, of)| Shard::new(number, of)).transpose().map_err(raise)?;
        unattended(py, self.progress, |shuttle| {
            let values = raw.values;
            let feed = raw.feed(&network.network, &config.data)?;
            let feed = match shared.among {
                None => feed,
                Some(place) => feed.among(place)?,
            };
            let normalized = feed.fit().normalized(network.network.clone(), &config.data)?;
            let mut session = Session::new(normalized, network.model.clone(), feed, config)?;
            session.stop = shuttle.stop.clone();
            answer(&mut session, &Starter { shuttle, threads, shard }, values)
        })
    }
}

/// Starts the threads of a run.
pub struct Starter<'a> {
    shuttle: &'a Shuttle,
    pub threads: Option<usize>,
    shard: Option<Shard>,
}

impl<'a> Starter<'a> {
    fn start(
        &self,
        session: &mut Session<ArrayFeed<'_>>,
        batch: BatchSize,
    ) -> Result<Run<&'a Shuttle>, RunError> {
        self.shard.map_or(Ok(()), |shard| session.take(shard, batch))?;
        let numbers = (session.config.seed, session.precision);
        Ok(Run::new(pool(self.threads)?, self.shuttle, session.batch(batch), numbers)
            .with_label(session.label()))
    }
}

#[derive(Deserialize)]
struct CertifySettings {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    method: Method,
    journal: Option<PathBuf>,
    witness: Option<PathBuf>,
    certificate: Option<PathBuf>,
    oracle: Option<String>,
    /// As the command line writes it.
    noise: Option<String>,
    failure_probability: Option<f64>,
    faults: Option<GivenFaults>,
    /// In seconds.
    #[serde(default)]
    times: Vec<f64>,
}

/// Certifies samples.
#[pyfunction]
#[pyo3(signature = (network, x, y, origin, settings, progress))]
pub fn certify(
    py: Python<'_>,
    network: &Network,
    x: Array<'_>,
    y: Option<Labels<'_>>,
    origin: Option<&Origin>,
    settings: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Report> {
    let CertifySettings {
        shared,
        method,
        journal,
        witness,
        certificate,
        oracle,
        noise,
        failure_probability,
        faults,
        times,
    } = settings::parse(settings)?;
    let faults = faults.map(GivenFaults::model).transpose().map_err(raise)?;
    let noise = noise.as_deref().map(noises::read).transpose().map_err(raise)?;
    let failure_probability = failure_probability.unwrap_or(noises::FAILURE_PROBABILITY);
    let (method, budget) = method.config().map_err(raise)?;
    let oracle = oracle.as_deref().map(str::parse).transpose().map_err(raise)?;
    let exact = ExactConfig { method, budget, journal, witness, certificate, oracle };
    exact.check().map_err(raise)?;
    let question = Question { network, given: Given { x: &x, y: y.as_ref(), origin }, progress };
    question.ask(py, &shared, |session, starter| {
        let noise = noise.map(|model| noises::beside(session, model));
        let faults = faults.map(|model| Beside::new(session, model)).transpose()?;
        let sets = session.config.threat.sets(&session.network, session.input_range())?;
        if let Some(faults) = faults {
            let run = starter.start(session, certificates::BATCH)?;
            return certificates::run(session, &sets, &exact, Some(&faults), run).map(Report::certify);
        }
        if let Some(model) = noise {
            let run = starter.start(session, certificates::BATCH)?;
            let noise = NoiseConfig { model, failure_probability, times };
            return noises::run(session, &sets, &exact, &noise, run).map(Report::noise);
        }
        if exact.method.is_exact() {
            let run = starter.start(session, exacts::BATCH)?;
            let report = exacts::run(session, &sets, &exact, run)?;
            exacts::check_oracle(&report)?;
            return Ok(Report::exact(report));
        }
        let run = starter.start(session, certificates::BATCH)?;
        certificates::run(session, &sets, &exact, None, run).map(Report::certify)
    })
}

#[derive(Deserialize)]
struct AttackSettings {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    attack: Attack,
    journal: Option<PathBuf>,
    witness: Option<PathBuf>,
    /// As the command line writes it.
    noise: Option<String>,
    draws: Option<usize>,
    faults: Option<GivenFaults>,
    /// In seconds.
    #[serde(default)]
    times: Vec<f64>,
}

/// Attacks samples.
#[pyfunction]
#[pyo3(signature = (network, x, y, origin, settings, progress))]
pub fn attack(
    py: Python<'_>,
    network: &Network,
    x: Array<'_>,
    y: Option<Labels<'_>>,
    origin: Option<&Origin>,
    settings: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Report> {
    let AttackSettings { shared, attack, journal, witness, noise, draws, faults, times } =
        settings::parse(settings)?;
    let faults = faults.map(GivenFaults::model).transpose().map_err(raise)?;
    let noise = noise.as_deref().map(noises::read).transpose().map_err(raise)?;
    let attack = attack.config().map_err(raise)?;
    let question = Question { network, given: Given { x: &x, y: y.as_ref(), origin }, progress };
    question.ask(py, &shared, |session, starter| {
        if let Some(model) = faults {
            let faults = Beside::new(session, model)?;
            let run = starter.start(session, several::BATCH)?;
            return several::attack(session, &faults, journal.as_deref(), run).map(Report::attack);
        }
        let noise = noise.map(|model| noises::beside(session, model));
        let sets = session.config.threat.sets(&session.network, session.input_range())?;
        if let Some(model) = noise {
            let run = starter.start(session, noises::DRAWS_BATCH)?;
            let config = DrawsConfig { model, draws: draws.unwrap_or(noises::DRAWS), times };
            return noises::draw(session, &sets, &config, run).map(Report::draws);
        }
        let run = starter.start(session, attacks::batch(&attack))?;
        let kept = Kept { journal: journal.as_deref(), witness: witness.as_deref() };
        attacks::run(session, &sets, &attack, kept, run).map(Report::attack)
    })
}

/// A fault model, or the TOML file that has one.
#[derive(Deserialize)]
#[serde(untagged)]
enum GivenFaults {
    File(PathBuf),
    Settings(serde_json::Map<String, serde_json::Value>),
}

impl GivenFaults {
    fn model(self) -> Result<FaultModel, RunError> {
        match self {
            GivenFaults::File(path) => hits::read(&path),
            GivenFaults::Settings(settings) => {
                let model = FaultModel::deserialize(serde_json::Value::Object(settings));
                let model = model.map_err(|error| RunError::misfit(format!("faults: {error}")))?;
                model.check()?;
                Ok(model)
            }
        }
    }
}

#[derive(Deserialize)]
struct FaultSettings {
    #[serde(flatten)]
    shared: Shared,
    faults: FaultModel,
    /// As the command line writes them.
    protect: Vec<String>,
    recommend: bool,
    input_radius: f64,
    max_nodes: usize,
    time_limit: Option<f64>,
    journal: Option<PathBuf>,
}

/// Settles all single hits on stored words.
#[pyfunction]
#[pyo3(signature = (network, x, y, origin, settings, progress))]
pub fn faults(
    py: Python<'_>,
    network: &Network,
    x: Array<'_>,
    y: Option<Labels<'_>>,
    origin: Option<&Origin>,
    settings: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Report> {
    let FaultSettings { shared, faults, protect, recommend, input_radius, max_nodes, time_limit, journal } =
        settings::parse(settings)?;
    let protect = protect.iter().map(|text| text.parse()).collect::<Result<Vec<_>, FaultError>>();
    let protect = protect.map_err(|error| raise(error.into()))?;
    let model = FaultModel { protect, ..faults };
    let config = FaultConfig { model, recommend, input_radius, max_nodes, time_limit, journal };
    let question = Question { network, given: Given { x: &x, y: y.as_ref(), origin }, progress };
    question.ask(py, &shared, |session, starter| {
        let run = starter.start(session, hits::BATCH)?;
        hits::run(session, &config, run).map(|found| Report::faults(found.report))
    })
}

#[derive(Deserialize)]
struct RadiusSettings {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    method: Method,
    #[serde(flatten)]
    attack: Option<Attack>,
    width: f64,
    by_layer: bool,
    journal: Option<PathBuf>,
    /// As the command line writes it.
    noise: Option<String>,
    failure_probability: Option<f64>,
    faults: Option<GivenFaults>,
    /// Limits of the search for pairs of hits.
    pair_limits: Option<Limits>,
}

/// Searches radii of samples.
#[pyfunction]
#[pyo3(signature = (network, x, y, origin, settings, progress))]
pub fn radius(
    py: Python<'_>,
    network: &Network,
    x: Array<'_>,
    y: Option<Labels<'_>>,
    origin: Option<&Origin>,
    settings: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Report> {
    let RadiusSettings {
        shared,
        method,
        attack,
        width,
        by_layer,
        journal,
        noise,
        failure_probability,
        faults,
        pair_limits,
    } = settings::parse(settings)?;
    if let Some(faults) = faults {
        let model = faults.model().map_err(raise)?;
        let question = Question { network, given: Given { x: &x, y: y.as_ref(), origin }, progress };
        return question.ask(py, &shared, |session, starter| {
            let faults = Beside::new(session, model)?;
            let run = starter.start(session, radii::BATCH)?;
            let limits = pair_limits.unwrap_or_default();
            several::radius(session, &faults, limits, journal.as_deref(), run).map(Report::radius)
        });
    }
    let (method, budget) = method.config().map_err(raise)?;
    let noise = noise.as_deref().map(noises::read_unit).transpose().map_err(raise)?;
    if let Some(model) = noise {
        let failure_probability = failure_probability.unwrap_or(noises::FAILURE_PROBABILITY);
        let noise = NoiseConfig { model, failure_probability, times: Vec::new() };
        let mut search = NoiseRadiusConfig { noise, width };
        let question = Question { network, given: Given { x: &x, y: y.as_ref(), origin }, progress };
        return question.ask(py, &shared, |session, starter| {
            search.noise.model = noises::beside(session, search.noise.model);
            let sets = session.config.threat.sets(&session.network, session.input_range())?;
            let run = starter.start(session, radii::BATCH)?;
            noises::radius(session, &sets, &method, &search, run).map(Report::radius)
        });
    }
    let attack = attack.map(|attack| attack.config()).transpose().map_err(raise)?;
    let config = RadiusConfig::new(method, budget, width, attack).map_err(raise)?.by_layer(by_layer);
    let question = Question { network, given: Given { x: &x, y: y.as_ref(), origin }, progress };
    question.ask(py, &shared, |session, starter| {
        let run = starter.start(session, radii::BATCH)?;
        Ok(match radii::run(session, &config, journal.as_deref(), run)? {
            RadiusRun::Bound(report) => Report::radius(report),
            RadiusRun::Exact(report) => Report::exact_radius(report),
        })
    })
}

/// Samples of a block of a command, which is `exact` or not: parts of a run have whole blocks.
#[pyfunction]
pub fn block(command: &str, exact: bool) -> usize {
    let batch = match (command, exact) {
        ("certify", true) => exacts::BATCH,
        ("certify", false) => certificates::BATCH,
        ("radius", _) => radii::BATCH,
        ("faults", _) => hits::BATCH,
        (_, _) => BatchSize::Adaptive(AttackOptions::BLOCK),
    };
    batch.block()
}

/// The places of the samples of part `number` of `of` among `total`, in blocks of `block`: the first, and the one behind the last.
#[pyfunction]
pub fn part(number: usize, of: usize, total: usize, block: usize) -> PyResult<(usize, usize)> {
    let part = Shard::new(number, of).and_then(|shard| shard.part(total, block)).map_err(raise)?;
    Ok((part.start, part.end))
}

/// Joins the parts of a run in files; `x` are the samples of which the parts have no fingerprint.
#[pyfunction]
#[pyo3(signature = (paths, x))]
pub fn merge(py: Python<'_>, paths: Vec<PathBuf>, x: Option<Array<'_>>) -> PyResult<Report> {
    let checksum = x.as_ref().map(Array::values).transpose()?.map_or(0, Values::checksum);
    let joined = py.detach(|| {
        Ok(match join(&paths)? {
            AnyMerged::Certify(merged) => Report::certify(merged.load()?),
            AnyMerged::Exact(merged) => Report::exact(merged.load()?),
            AnyMerged::Noise(merged) => Report::noise(merged.load()?),
            AnyMerged::Attack(merged) => Report::attack(merged.load()?),
            AnyMerged::Draws(merged) => Report::draws(merged.load()?),
            AnyMerged::Radius(merged) => Report::radius(merged.load()?),
            AnyMerged::ExactRadius(merged) => Report::exact_radius(merged.load()?),
            AnyMerged::Faults(merged) => Report::faults(merged.load()?),
            AnyMerged::Measure(_) => {
                let message = "parts: expected results about samples, found those of measure, which the command line merges";
                return Err(RunError::misfit(message));
            }
        })
    });
    joined.map(|report: Report| report.about(checksum)).map_err(raise)
}

#[derive(Deserialize)]
struct MeasureSettings {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    method: Method,
    delta: f64,
    search: Option<Search>,
    truncate: Option<String>,
    gamma: Option<f64>,
    rank: Option<f64>,
}

/// How sharpness is searched.
#[derive(Clone, Copy, Deserialize)]
struct Search {
    samples: usize,
    draws: usize,
    passes: usize,
}

impl MeasureSettings {
    fn config(
        &self,
        network: &Network,
        data: Option<&DataConfig>,
        train: Option<Option<&DataConfig>>,
    ) -> Result<MeasureConfig, RunError> {
        let (method, budget) = self.method.config()?;
        weightproof_run::config::check_budget(&budget, &method)?;
        let shared = self.shared.config(network, data)?;
        let train_data = train.map(|train| DataConfig {
            layout: shared.data.layout,
            scale: shared.data.scale,
            mean: shared.data.mean.clone(),
            std: shared.data.std.clone(),
            ..train.cloned().unwrap_or_default()
        });
        let effort = |search: Search| {
            let Search { samples, draws, passes } = search;
            Effort { samples, draws, passes, seed: shared.seed }
        };
        let config = MeasureConfig {
            search: self.search.map(effort),
            model: shared.model,
            data: shared.data,
            train_data,
            init: None,
            ensemble: Vec::new(),
            threat: shared.threat,
            method,
            delta: self.delta,
            compression: CompressionConfig {
                truncate: self.truncate.clone(),
                gamma: self.gamma,
                rank: self.rank,
            },
        };
        config.check()?;
        Ok(config)
    }
}

/// Samples with their labels and where they come from.
pub type Triple<'py> = (Array<'py>, Option<Labels<'py>>, Option<Py<Origin>>);

/// Takes measures of a network.
#[pyfunction]
#[pyo3(signature = (network, data, train, initial, ensemble, settings))]
pub fn measure(
    py: Python<'_>,
    network: &Network,
    data: Triple<'_>,
    train: Option<Triple<'_>>,
    initial: Option<PyRef<'_, Network>>,
    ensemble: Vec<PyRef<'_, Network>>,
    settings: &str,
) -> PyResult<Document> {
    let settings: MeasureSettings = settings::parse(settings)?;
    let (threads, precision) = (settings.shared.threads, settings.shared.precision().map_err(raise)?);
    let (data, train) = (Given::of(&data), train.as_ref().map(Given::of));
    let mut config = settings.config(network, data.config(), train.map(Given::config)).map_err(raise)?;
    config.init = initial.as_ref().map(|network| name(network));
    config.ensemble = ensemble.iter().map(|network| name(network)).collect();
    let (data, train) = (data.raw()?, train.map(Given::raw).transpose()?);
    let initial = initial.as_deref();
    let ensemble: Vec<&Network> = ensemble.iter().map(|network| &**network).collect();
    let report = unattended(py, None, |shuttle| {
        let offset = data.report.offset;
        let mut feed = hashed(data, &network.network, &config.data)?;
        let normalized = feed.fit().normalized(network.network.clone(), &config.data)?;
        let initial = initial.map(|initial| {
            measures::check_initial(&normalized, &initial.network, &name(initial))?;
            Ok::<_, RunError>(initial.network.clone())
        });
        let others = ensemble.iter().map(|member| {
            measures::check_member(&normalized, &member.network, &name(member))?;
            feed.fit().normalized(member.network.clone(), &config.data)
        });
        let (initial, others) = (initial.transpose()?, others.collect::<Result<Vec<_>, _>>()?);
        let data = Loaded::read(&mut feed, &normalized, offset)?;
        let train = train.map(|train| {
            let offset = train.report.offset;
            let mut feed = hashed(train, &network.network, &config.data)?;
            Loaded::read(&mut feed, &normalized, offset)
        });
        let (train, model) = (train.transpose()?, network.model.clone());
        let subject = Subject { network: normalized, model, data, train, initial, others, shard: None };
        let numbers = (settings.shared.seed, precision);
        measures::run(subject, &config, &pool(threads)?, numbers, || shuttle.stop.is_set())
    });
    Ok(Document::new(Other::Measure(Box::new(report?))))
}

#[derive(Deserialize)]
struct InspectSettings {
    threat: ThreatModel,
    radii: Vec<f64>,
    scale_radius: bool,
}

/// Describes a network.
#[pyfunction]
pub fn inspect(py: Python<'_>, network: &Network, settings: &str) -> PyResult<Document> {
    let InspectSettings { threat, radii, scale_radius } = settings::parse(settings)?;
    let threat = ThreatConfig::new(threat, radii, None).scale_radius(scale_radius);
    let config = InspectConfig { model: network.config.clone(), threat, against: None };
    let found = py.detach(|| inspection::run(&network.network, network.model.clone(), &config));
    Ok(Document::new(Other::Inspect(Box::new(found.map_err(raise)?))))
}

#[derive(Deserialize)]
struct TrainingSettings {
    folder: PathBuf,
    resume: bool,
    /// The text of a file of settings, and its name.
    file: Option<(String, String)>,
    single: TrainSettings,
    threads: Option<usize>,
    data: settings::Data,
}

/// Hundredths of a training.
const HUNDREDTHS: usize = 100;

impl training::Watch for &Shuttle {
    fn batch(&mut self, at: Moment) -> bool {
        let ((epoch, epochs), (done, batches)) = (at.epochs, at.batches);
        self.done.store(HUNDREDTHS * (epoch * batches + done) / (epochs * batches).max(1), Ordering::Relaxed);
        !self.stop.is_set()
    }
}

/// Trains a network; `progress` is told how many hundredths are done.
#[pyfunction]
pub fn train(
    py: Python<'_>,
    data: Triple<'_>,
    settings: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Document> {
    let TrainingSettings { folder, resume, file, single, threads, data: reading } =
        settings::parse(settings)?;
    let given = Given::of(&data);
    let (raw, reader) = (given.raw()?, given.config());
    let report = unattended(py, progress, |shuttle| {
        let file = file.map(|(text, name)| {
            TrainConfig::parse(&text).map_err(|error| RunError::value(format!("{name}: {error}")))
        });
        let config = single.over(file.transpose()?)?;
        let network = config.build()?;
        let data = reading.config(reader)?;
        let mut feed = hashed(raw, &network, &data)?;
        let network = feed.fit().normalized(network, &data)?;
        let samples = training::labelled(&mut feed, network.output_width())?;
        let place = Place { folder: &folder, resume };
        let work = (&pool(threads)?, &mut { shuttle });
        match training::run(config, &network, (&feed, &samples, &data), place, work)? {
            TrainOutcome::Finished(report) => Ok(report),
            TrainOutcome::Stopped { .. } => Err(RunError::Interrupted),
        }
    });
    Ok(Document::new(Other::Train(report?)))
}

/// What reports call a network.
fn name(network: &Network) -> String {
    let ModelConfig { path, .. } = &network.config;
    path.as_ref().map_or_else(|| network.model.name.clone(), |path| path.display().to_string())
}

/// A feed of samples that have a fingerprint.
fn hashed<'a>(
    mut raw: Raw<'a>,
    network: &weightproof::network::Network,
    config: &DataConfig,
) -> Result<ArrayFeed<'a>, RunError> {
    if raw.report.sha256.is_empty() {
        raw.report.sha256 = fingerprint(raw.values);
    }
    raw.feed(network, config)
}
