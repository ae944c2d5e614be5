//! One hard sample of `certify --method exact` over several processes: its open regions are searched anywhere (theory.md §6).
//!
//! ```text
//! driver: Division ── questions of a round ──▶ workers: search ── answers ──▶ Division: a partition, or refused ──▶ … ──▶ record
//! ```
//! Questions and answers are JSON. Both say of which network, sample, set and settings they are: a worker refuses a question that is not of
//! its files, a division answers that are not of its sample.

use crate::RunError;
use crate::exact::{ExactConfig, options};
use crate::feed::Feed;
use crate::session::Session;
use crate::store::settings;
use crate::threat::SetAt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::slice;
use weightproof::exact::ExactCertifier;
use weightproof::exact::cover::{Cover, CoverError, Region, Searched};
use weightproof::verdict::Samples;
use weightproof_formats::fingerprint::Fingerprint;
use weightproof_report::ExactRecord;

/// Which sample, set, network and settings regions are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Place of the sample among those that are asked for.
    pub sample: usize,
    /// Number of the set, counted from 0.
    pub set: usize,
    /// SHA-256 of all that a bound depends on.
    pub identity: String,
}

/// Regions that one search is to settle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// What they are of.
    pub subject: Subject,
    /// The regions.
    pub regions: Vec<Region>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What it is about.
    pub subject: Subject,
    /// The search.
    pub searched: Searched,
}

/// A sample whose regions are searched by others.
#[derive(Clone, Debug)]
pub struct Division {
    subject: Subject,
    cover: Cover,
}

/// An error of a cover, as runs have it.
fn refused(subject: &Subject, error: &CoverError) -> RunError {
    RunError::misfit(format!("sample {}, set {}: {error}", subject.sample, subject.set))
}

/// Reads JSON of this kind.
fn read<'t, T: Deserialize<'t>>(what: &str, text: &'t str) -> Result<T, RunError> {
    serde_json::from_str(text).map_err(|error| RunError::misfit(format!("{what}: {error}")))
}

fn write(value: &impl Serialize) -> Result<String, RunError> {
    serde_json::to_string(value).map_err(|error| RunError::misfit(format!("regions: {error}")))
}

impl Division {
    /// The whole set `set` of the sample at place `sample`, of which nothing is known.
    ///
    /// # Errors
    /// Data that cannot be read; settings that regions do not know.
    pub fn new<F: Feed>(
        session: &mut Session<F>,
        sets: &[SetAt],
        config: &ExactConfig,
        (sample, set): (usize, usize),
    ) -> Result<Self, RunError> {
        let subject = asked(session, sets, config, (sample, set), |_, subject| Ok(subject))?;
        Ok(Division { subject, cover: Cover::default() })
    }

    /// Whether no more questions are worth asking.
    pub fn is_settled(&self) -> bool {
        self.cover.is_settled()
    }

    /// The open regions, in at most `most` questions as JSON. They depend on the answers alone, never on who gave them.
    ///
    /// # Errors
    /// None that are known.
    pub fn questions(&self, most: usize) -> Result<Vec<String>, RunError> {
        let question = |regions| write(&Question { subject: self.subject.clone(), regions });
        self.cover.groups(most).into_iter().map(question).collect()
    }

    /// Takes the answers to all questions of a round.
    ///
    /// # Errors
    /// Texts that are no answers, answers about something else, regions that are lost, come twice or are foreign; then nothing is taken.
    pub fn take(&mut self, answers: &[String]) -> Result<(), RunError> {
        let read = |text: &String| {
            let Answer { subject, searched } = read("answer", text)?;
            if subject != self.subject {
                return Err(foreign("an answer", &self.subject, &subject));
            }
            Ok(searched)
        };
        let answers = answers.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        self.cover.take(answers).map_err(|error| refused(&self.subject, &error))
    }

    /// The record of the sample, of which `record` is what a search within its limits said.
    ///
    /// # Errors
    /// Another network or sample than that of the regions; a witness of another network.
    pub fn conclude<F: Feed>(
        &self,
        session: &mut Session<F>,
        sets: &[SetAt],
        config: &ExactConfig,
        record: &ExactRecord,
    ) -> Result<ExactRecord, RunError> {
        let place = (self.subject.sample, self.subject.set);
        let certificate = asked(session, sets, config, place, |question, subject| {
            if subject != self.subject {
                return Err(foreign("a division", &subject, &self.subject));
            }
            let found = question.certifier.conclude(0, question.sample, &self.cover);
            found.map_err(|error| refused(&self.subject, &error))
        })?;
        let found = ExactRecord::new(&certificate, record.oracle);
        Ok(ExactRecord {
            worst_margin: found.worst_margin.min(record.worst_margin),
            nodes: found.nodes + record.nodes,
            seconds: found.seconds + record.seconds,
            ..found
        })
    }
}

/// Searches the regions of a question in JSON; the answer is JSON, too.
///
/// # Errors
/// A text that is no question, or one about another network, sample or other settings.
pub fn search<F: Feed>(
    session: &mut Session<F>,
    sets: &[SetAt],
    config: &ExactConfig,
    question: &str,
) -> Result<String, RunError> {
    let Question { subject, regions } = read("question", question)?;
    let searched = asked(session, sets, config, (subject.sample, subject.set), |question, own| {
        if own != subject {
            return Err(foreign("a question", &own, &subject));
        }
        let found = question.certifier.search_regions(0, question.sample, &regions);
        found.map_err(|error| refused(&subject, &error))
    })?;
    if session.stop.is_set() {
        return Err(RunError::Interrupted);
    }
    write(&Answer { subject, searched })
}

/// The error for regions of something else.
fn foreign(what: &str, own: &Subject, other: &Subject) -> RunError {
    let shown = |subject: &Subject| {
        let short: String = subject.identity.chars().take(12).collect();
        format!("sample {}, set {}, identity {short}", subject.sample, subject.set)
    };
    RunError::Misfit {
        message: format!("cover: expected {what} about {}, found the foreign {}", shown(own), shown(other)),
        hint: Some("all machines need the same network, data, settings and build"),
    }
}

/// A sample that regions are of, and who searches them.
struct Asked<'a> {
    certifier: ExactCertifier<'a>,
    sample: Samples<'a>,
}

/// What `answer` says about the sample and set at this place.
fn asked<F: Feed, R>(
    session: &mut Session<F>,
    sets: &[SetAt],
    config: &ExactConfig,
    (sample, set): (usize, usize),
    answer: impl FnOnce(Asked<'_>, Subject) -> Result<R, RunError>,
) -> Result<R, RunError> {
    session.require_tolerance("the method exact")?;
    for (name, is_given) in [
        ("gap", config.budget.gap.is_some()),
        ("journal", config.journal.is_some()),
        ("witness", config.witness.is_some()),
        ("certificate", config.certificate.is_some()),
        ("oracle", config.oracle.is_some()),
    ] {
        if is_given {
            return Err(RunError::setting(name, "none where one sample is searched in regions", "one"));
        }
    }
    let at = sets.get(set).ok_or_else(|| {
        RunError::misfit(format!("set {set}: expected one of {} sets, counted from 0", sets.len()))
    })?;
    let options = options(session, &config.method, &config.budget);
    let method = json!({ "guarantee": options.certify.guarantee, "attack": [options.attack.steps, options.attack.restarts] });
    let mut settings = settings(session, &method)?;
    let (classes, label, total) = (session.classes(), session.label(), session.feed.samples()?);
    if sample >= total {
        return Err(RunError::misfit(format!("sample {sample}: expected one of {total}, counted from 0")));
    }
    session.feed.select(sample..sample + 1)?;
    let Session { network, feed, .. } = session;
    let batch = feed.advance(1, classes.filter(|_| label.is_none()))?;
    let batch =
        batch.ok_or_else(|| RunError::misfit(format!("sample {sample}: expected one, found the end")))?;
    let labels = label.as_ref().map(slice::from_ref).or(batch.labels);
    let batch = Samples { labels, ..batch };
    let mut input = Fingerprint::default();
    input.update(&batch.inputs.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    settings["sample"] = json!({ "index": batch.first, "labels": batch.labels, "sha256": input.finish() });
    let mut identity = Fingerprint::default();
    identity.update(settings.to_string().as_bytes());
    let subject = Subject { sample, set, identity: identity.finish() };
    let certifier = ExactCertifier::new(network, slice::from_ref(&at.set), options);
    answer(Asked { certifier, sample: batch }, subject)
}
