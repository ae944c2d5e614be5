//! Samples that are settled: those of a journal, and what a run adds to it.

use crate::RunError;
use crate::entry::Entry;
use crate::feed::Feed;
use crate::journal::{Journal, Settled};
use crate::session::Session;
use crate::witness::WitnessFolder;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use weightproof::verdict::Samples;
use weightproof_report::{Record, Report};

/// The settled samples of a journal; without one, none, and nothing is kept.
#[derive(Debug)]
pub struct Store<R> {
    settled: Settled<R>,
    journal: Option<Mutex<Journal>>,
}

impl<R: Entry> Store<R> {
    /// Reads the journal, or starts it; `identity` is asked only where there is one.
    ///
    /// # Errors
    /// Those of `identity` and of [`Journal::open`].
    pub fn open(
        journal: Option<&Path>,
        identity: impl FnOnce() -> Result<Value, RunError>,
    ) -> Result<Self, RunError> {
        let Some(path) = journal else { return Ok(Store { settled: Settled::new(), journal: None }) };
        let (settled, journal) = Journal::open(path, &identity()?)?;
        Ok(Store { settled, journal: Some(Mutex::new(journal)) })
    }

    /// Forgets the samples whose witness, the file that `witness` names, is no longer in the folder: they are solved again.
    pub fn require(&mut self, folder: Option<&WitnessFolder>, witness: impl Fn(&R) -> Option<&str>) {
        let Some(folder) = folder else { return };
        self.settled.retain(|_, record| witness(record).is_none_or(|name| folder.has(name)));
    }

    /// Forgets samples with such records: they are solved again.
    pub fn forget(&mut self, is_wanted_again: impl Fn(&R) -> bool) {
        self.settled.retain(|_, record| !is_wanted_again(record));
    }

    /// What the journal has about sample `s` of a batch for set `k`. A sample with another label is another sample.
    pub fn known(&self, k: usize, batch: Samples<'_>, s: usize) -> Option<&R> {
        let label = batch.labels.map(|labels| labels[s]);
        self.settled.get(&(k, batch.first + s)).filter(|record| record.label() == label)
    }

    /// Adds samples that are settled for set `k` to the journal, from any thread; others are left out.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn keep<'r>(&self, k: usize, records: impl IntoIterator<Item = &'r R>) -> Result<(), RunError>
    where
        R: 'r,
    {
        let Some(journal) = &self.journal else { return Ok(()) };
        let settled = records.into_iter().filter(|record| record.is_settled());
        journal.lock().unwrap_or_else(PoisonError::into_inner).append(k, settled)
    }

    /// Ends the journal of a part of the samples with what its report has above them.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn finish<T: Record>(&self, report: &Report<T>) -> Result<(), RunError> {
        match &self.journal {
            Some(journal) if report.header.shard.is_some() => {
                journal.lock().unwrap_or_else(PoisonError::into_inner).finish(&report.head())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What must be the same for a journal to go on, and for witnesses to lie in one folder: the version and build that computes, the part of
/// the data, and all that the results of a sample depend on, but no limits. `method` is an object with what the session does
/// not know.
///
/// # Errors
/// Data that can no longer be read.
pub fn identity<F: Feed>(session: &Session<F>, method: &impl Serialize) -> Result<Value, RunError> {
    let mut identity = settings(session, method)?;
    identity["data"]["sha256"] = session.feed.sha256()?.into();
    identity["offset"] = session.config.data.offset.into();
    identity["samples"] = session.config.data.samples.into();
    if let Some(shard) = session.shard() {
        identity["shard"] = json!([shard.number, shard.of]);
    }
    Ok(identity)
}

/// The same without the samples.
///
/// # Errors
/// None that are known.
pub fn settings<F: Feed>(session: &Session<F>, method: &impl Serialize) -> Result<Value, RunError> {
    let value = |settings: Result<Value, serde_json::Error>| {
        settings.map_err(|error| RunError::misfit(format!("settings: {error}")))
    };
    let mut identity = value(serde_json::to_value(&session.config))?;
    let network = &session.network;
    // The outputs stand for all that is not in the file: architecture, normalization.
    let outputs = network.forward(&vec![0.5; network.input_width()]);
    identity["model"] = json!({ "sha256": session.model_sha256(), "outputs": outputs });
    if let Some(data) = identity["data"].as_object_mut() {
        data.retain(|key, _| !["path", "offset", "samples", "batch"].contains(&key.as_str()));
    }
    identity["property"] = session.property.name().into();
    if let (Some(all), Value::Object(method)) =
        (identity.as_object_mut(), value(serde_json::to_value(method))?)
    {
        all.extend(method);
    }
    identity["version"] = env!("CARGO_PKG_VERSION").into();
    identity["build"] = env!("WEIGHTPROOF_BUILD").into();
    Ok(identity)
}
