//! Runs without the GIL, that signals end and that tell how far they are.
//!
//! ```text
//! caller's thread: signals, progress        worker: batches on a pool of threads
//!              └──── stop ────▶ flag ────▶ between batches
//! ```

use crate::array::{Array, ArrayFeed, Labels};
use crate::data::Origin;
use crate::error::raise;
use crate::network::Network;
use crate::report::Report;
use crate::settings::{self, Attack, Method, Shared};
use pyo3::prelude::*;
use serde::Deserialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use weightproof::stop::Stop;
use weightproof_report::DataReport;
use weightproof_run::radius::{RadiusConfig, RadiusRun};
use weightproof_run::run::{BatchSize, Run, Watch, pool};
use weightproof_run::session::Session;
use weightproof_run::{RunError, attack as attacks, certify as certificates, exact, radius as radii};

/// How often signals and progress are looked at.
const POLL: Duration = Duration::from_millis(50);

/// What the two threads of a run share.
#[derive(Default)]
struct Shuttle {
    stop: Stop,
    done: AtomicUsize,
}

impl Watch for &Shuttle {
    fn begin(&mut self) {
        self.done.store(0, Ordering::Relaxed);
    }

    fn advanced(&mut self, samples: usize) {
        self.done.fetch_add(samples, Ordering::Relaxed);
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

/// Samples of a run as Python gives them.
struct Question<'a, 'py> {
    network: &'a Network,
    x: &'a Array<'py>,
    y: Option<&'a Labels<'py>>,
    origin: Option<&'a Origin>,
    progress: Option<&'a Bound<'py, PyAny>>,
}

impl Question<'_, '_> {
    /// A session on these samples, and `answer` to it.
    fn ask(
        &self,
        py: Python<'_>,
        shared: &Shared,
        answer: impl FnOnce(&mut Session<ArrayFeed<'_>>, &Starter<'_>) -> Result<Report, RunError> + Send,
    ) -> PyResult<Report> {
        let (values, (samples, shape)) = (self.x.values()?, self.x.shape());
        let labels = self.y.map(|y| y.as_slice()).transpose()?;
        let config = shared.config(self.network, self.origin.map(|o| &o.config)).map_err(raise)?;
        let array = DataReport {
            description: "array".into(),
            format: "numpy".into(),
            samples,
            offset: 0,
            shape,
            labelled: labels.is_some(),
            sha256: String::new(),
        };
        let (report, pixels) = match self.origin {
            None => (array, matches!(self.x, Array::U8(_))),
            Some(origin) => (origin.report.clone(), origin.pixels),
        };
        let (network, threads) = (self.network, shared.threads);
        unattended(py, self.progress, |shuttle| {
            let layout = (&network.network, config.data.layout);
            let feed = ArrayFeed::new(values, labels, report, pixels, layout)?;
            let normalized = feed.fit().normalized(network.network.clone(), &config.data)?;
            let mut session = Session::new(normalized, network.model.clone(), feed, config)?;
            session.stop = shuttle.stop.clone();
            Ok(answer(&mut session, &Starter { shuttle, threads })?.about(values.checksum()))
        })
    }
}

/// Starts the threads of a run.
struct Starter<'a> {
    shuttle: &'a Shuttle,
    threads: Option<usize>,
}

impl<'a> Starter<'a> {
    fn start(
        &self,
        session: &Session<ArrayFeed<'_>>,
        batch: BatchSize,
    ) -> Result<Run<&'a Shuttle>, RunError> {
        let numbers = (session.config.seed, session.config.precision);
        Ok(Run::new(pool(self.threads)?, self.shuttle, session.batch(batch), numbers))
    }
}

#[derive(Deserialize)]
struct CertifySettings {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    method: Method,
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
    let CertifySettings { shared, method } = settings::parse(settings)?;
    let (method, budget) = method.config().map_err(raise)?;
    weightproof_run::config::check_budget(&budget, &method).map_err(raise)?;
    let question = Question { network, x: &x, y: y.as_ref(), origin, progress };
    question.ask(py, &shared, |session, starter| {
        let sets = session.config.threat.sets(&session.network, session.input_range())?;
        if method.is_exact() {
            let run = starter.start(session, exact::BATCH)?;
            return exact::run(session, &sets, (&method, &budget), run).map(Report::exact);
        }
        let run = starter.start(session, certificates::BATCH)?;
        certificates::run(session, &sets, &method, run).map(Report::certify)
    })
}

#[derive(Deserialize)]
struct AttackSettings {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    attack: Attack,
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
    let AttackSettings { shared, attack } = settings::parse(settings)?;
    let attack = attack.config().map_err(raise)?;
    let question = Question { network, x: &x, y: y.as_ref(), origin, progress };
    question.ask(py, &shared, |session, starter| {
        let sets = session.config.threat.sets(&session.network, session.input_range())?;
        let run = starter.start(session, attacks::batch(&attack))?;
        attacks::run(session, &sets, &attack, run, &mut ()).map(Report::attack)
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
    let RadiusSettings { shared, method, attack, width, by_layer } = settings::parse(settings)?;
    let (method, budget) = method.config().map_err(raise)?;
    let attack = attack.map(|attack| attack.config()).transpose().map_err(raise)?;
    let config = RadiusConfig::new(method, budget, width, attack).map_err(raise)?.by_layer(by_layer);
    let question = Question { network, x: &x, y: y.as_ref(), origin, progress };
    question.ask(py, &shared, |session, starter| {
        let run = starter.start(session, radii::BATCH)?;
        Ok(match radii::run(session, &config, run)? {
            RadiusRun::Bound(report) => Report::radius(report),
            RadiusRun::Exact(report) => Report::exact_radius(report),
        })
    })
}
