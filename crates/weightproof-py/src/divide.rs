//! Hard samples of branch and bound whose regions are searched by several processes.

use crate::array::ArrayFeed;
use crate::error::{Error, raise};
use crate::network::Network;
use crate::report::Report;
use crate::settings::{self, Method, Shared};
use crate::work::{Given, Question, Starter, Triple};
use pyo3::prelude::*;
use serde::Deserialize;
use weightproof_run::divide::{self, Division as Regions};
use weightproof_run::exact::ExactConfig;
use weightproof_run::threat::SetAt;
use weightproof_run::{RunError, run::pool, session::Session};

/// Settings of `certify`, as far as regions know them.
#[derive(Deserialize)]
struct Settings {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    method: Method,
}

/// A network and samples with the settings of a run.
struct Subject<'a, 'py> {
    question: Question<'a, 'py>,
    shared: Shared,
    exact: ExactConfig,
}

impl<'a, 'py> Subject<'a, 'py> {
    fn new(network: &'a Network, given: Given<'a, 'py>, settings: &str) -> PyResult<Self> {
        let Settings { shared, method } = settings::parse(settings)?;
        let (method, budget) = method.config().map_err(raise)?;
        let exact =
            ExactConfig { method, budget, journal: None, witness: None, certificate: None, oracle: None };
        Ok(Subject { question: Question { network, given, progress: None }, shared, exact })
    }

    /// What `answer` says, on the threads of the settings.
    fn ask<R: Send>(
        &self,
        py: Python<'_>,
        answer: impl FnOnce(&mut Session<ArrayFeed<'_>>, &[SetAt], &ExactConfig) -> Result<R, RunError> + Send,
    ) -> PyResult<R> {
        let exact = &self.exact;
        self.question.ask_for(py, &self.shared, |session, starter: &Starter<'_>, _| {
            let sets = session.config.threat.sets(&session.network, session.input_range())?;
            pool(starter.threads)?.install(|| answer(session, &sets, exact))
        })
    }
}

/// A sample whose regions are searched in rounds.
#[pyclass(module = "weightproof._weightproof")]
pub struct Division {
    regions: Regions,
    /// Place of the sample, and number of the set.
    place: (usize, usize),
}

#[pymethods]
impl Division {
    /// The whole set `set` of the sample at place `sample`.
    #[new]
    #[pyo3(signature = (network, data, settings, sample, set))]
    fn new(
        py: Python<'_>,
        network: &Network,
        data: Triple<'_>,
        settings: &str,
        sample: usize,
        set: usize,
    ) -> PyResult<Self> {
        let place = (sample, set);
        let subject = Subject::new(network, Given::of(&data), settings)?;
        let regions = subject.ask(py, |session, sets, exact| Regions::new(session, sets, exact, place))?;
        Ok(Division { regions, place })
    }

    /// Whether no more questions are worth asking.
    #[getter]
    fn is_settled(&self) -> bool {
        self.regions.is_settled()
    }

    /// The questions of a round, at most `most`.
    fn questions(&self, most: usize) -> PyResult<Vec<String>> {
        self.regions.questions(most).map_err(raise)
    }

    /// Takes the answers of a round.
    fn take(&mut self, py: Python<'_>, answers: Vec<String>) -> PyResult<()> {
        py.detach(|| self.regions.take(&answers)).map_err(raise)
    }

    /// Puts what is known of the sample into a report.
    #[pyo3(signature = (report, network, data, settings))]
    fn conclude(
        &self,
        py: Python<'_>,
        report: &mut Report,
        network: &Network,
        data: Triple<'_>,
        settings: &str,
    ) -> PyResult<()> {
        let (sample, set) = self.place;
        let subject = Subject::new(network, Given::of(&data), settings)?;
        let wrong = || Error::new_err(format!("report: expected sample {sample} of set {set}, found none"));
        let results = &mut report.exact_mut().ok_or_else(wrong)?.results;
        let record =
            results.get_mut(set).and_then(|result| result.samples.get_mut(sample)).ok_or_else(wrong)?;
        let before = &*record;
        let found =
            subject.ask(py, |session, sets, exact| self.regions.conclude(session, sets, exact, before))?;
        *record = found;
        Ok(())
    }
}

/// Searches the regions of a question.
#[pyfunction]
#[pyo3(signature = (network, data, settings, question))]
pub fn search(
    py: Python<'_>,
    network: &Network,
    data: Triple<'_>,
    settings: &str,
    question: &str,
) -> PyResult<String> {
    let subject = Subject::new(network, Given::of(&data), settings)?;
    subject.ask(py, |session, sets, exact| divide::search(session, sets, exact, question))
}
