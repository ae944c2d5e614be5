//! `faults`: every single hit on stored words, settled for every sample, and how many hits at once each withstands.

use crate::RunError;
use crate::config::Config;
use crate::feed::Feed;
use crate::file;
use crate::run::{BatchSize, Keeping, Run, Watch};
use crate::session::Session;
use crate::store::{Store, identity};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use weightproof::faults::{
    Effects, FaultCounts, FaultError, FaultModel, HitSet, Memory, PairLimits, SampleFaults, SampleWords,
    SeveralHits, SingleHits, Tally,
};
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::Guarantee;
use weightproof_report::{
    Counter, FaultCounter, FaultRecord, MethodReport, Report, RunResult, ThreatReport, write_hits,
};

/// Size of a batch when the user does not say.
pub const BATCH: BatchSize = BatchSize::Adaptive(64);
/// The largest file with a fault model that is read.
const MOST_BYTES: u64 = 1 << 20;

/// What is asked of `faults`.
#[derive(Clone, Debug, Serialize)]
pub struct FaultConfig {
    /// What may happen to stored words.
    pub model: FaultModel,
    /// Whether the text says what to protect.
    pub recommend: bool,
    /// How far inputs move beside a hit, in the unit of the data.
    pub input_radius: f64,
    /// Most first hits of pairs that are looked at for one sample, where two words or more are hit.
    pub max_nodes: usize,
    /// Most seconds of that.
    pub time_limit: Option<f64>,
    /// A file that keeps each sample as soon as it is settled.
    #[serde(skip)]
    pub journal: Option<PathBuf>,
}

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    faults: &'a FaultConfig,
}

/// All that a run found: the report, and the counts of each hit.
pub struct Faults {
    /// The report.
    pub report: Report<FaultRecord>,
    memory: Memory,
    tally: Tally,
}

impl Faults {
    /// Every hit that changes what a sample is, as CSV.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_hits(&self, out: impl std::io::Write) -> std::io::Result<()> {
        write_hits(&self.memory, &self.tally, out)
    }
}

/// Refuses quantizers of which a neighbouring step may come out: hits are settled with margins of the operators' text.
///
/// # Errors
/// There is one.
pub(crate) fn refuse_free_steps(network: &Network) -> Result<(), RunError> {
    if network.nodes().iter().any(|node| node.layer.is_free()) {
        return Err(RunError::setting("rounding", "nearest-even where every hit is settled", "any"));
    }
    Ok(())
}

/// Settles all hits for every sample.
///
/// # Errors
/// The property deviation; a fault model that does not fit the network; those of the feed and of the front end.
pub fn run<F: Feed, W: Watch>(
    session: &mut Session<F>,
    config: &FaultConfig,
    mut run: Run<W>,
) -> Result<Faults, RunError> {
    if session.property == Property::Deviation {
        return Err(RunError::setting("property", "label or prediction for faults", "deviation"));
    }
    refuse_free_steps(&session.network)?;
    let memory = Memory::new(&session.network, &config.model)?;
    let tally = Tally::new(&memory);
    let classes = session.classes();
    let hits = SingleHits::new(&memory, session.property).watched(run.within(), session.stop.clone());
    let range = session.input_range();
    let hits = match config.input_radius {
        0.0 => hits,
        radius => hits.with_inputs(radius, range)?,
    };
    let words = config.model.words;
    let limits = PairLimits { nodes: config.max_nodes, time: config.time_limit.map(Duration::from_secs_f64) };
    let is_kept = config.journal.is_some();
    let store = Store::open(config.journal.as_deref(), || {
        let FaultConfig { model, input_radius, max_nodes, time_limit, .. } = config;
        identity(
            session,
            &json!({
                "command": "faults", "faults": model, "input_radius": input_radius,
                // Broken by three words, a sample is settled although a limit ended the search for two.
                "max_nodes": max_nodes, "time_limit": time_limit
            }),
        )
    })?;
    let several = SeveralHits::new(&memory, &hits, words, (config.input_radius, range))?.limited(limits);
    let (mut entries, done) = run.settle(
        &mut session.feed,
        classes,
        Keeping { store: &store, sets: 1, seen: None },
        |batch| {
            let (single, effects): (Vec<_>, Vec<_>) = hits.settle_each(batch).into_iter().unzip();
            let found = several.settle(batch, &single);
            Ok(single.into_iter().zip(effects).zip(found).collect())
        },
        |_, found: Vec<((SampleFaults, Effects), SampleWords)>| {
            let entry = |((single, effects), found): ((SampleFaults, Effects), SampleWords)| {
                let record = FaultRecord::new(&single, &found, words, &memory);
                if is_kept {
                    return FaultEntry { record, effects };
                }
                // There may be many, and nobody reads them again.
                tally.add(&effects);
                FaultEntry { record, effects: Effects::default() }
            };
            Ok(vec![found.into_iter().map(entry).collect()])
        },
    )?;
    let entries = entries.pop().unwrap_or_default();
    entries.iter().filter(|_| is_kept).for_each(|entry| tally.add(&entry.effects));
    let records: Vec<FaultRecord> = entries.into_iter().map(|entry| entry.record).collect();
    let settings = Settings { shared: &session.config, faults: config };
    let assumptions = session.assumptions(Guarantee::Rigorous);
    let method = MethodReport { precision: "f64".into(), assumptions, ..session.method("every single hit") };
    let unmoved = ThreatModel::new(Kind::Absolute, 0.0).resolve(&session.network);
    let unmoved = unmoved.map_err(|source| RunError::Threat { file: None, source })?;
    let described = (method, Guarantee::Rigorous.name());
    let mut header = session.header(&done, &[], &unmoved, described, &settings)?;
    header.threat = ThreatReport {
        input_radius: config.input_radius,
        input_range: range.filter(|_| config.input_radius > 0.0),
        ..ThreatReport::of_faults(&config.model, &memory)
    };
    if let Value::Object(config) = &mut header.config {
        config.remove("threat");
    }
    let mut counter = FaultCounter::new(FaultCounts::new(&tally, &memory), words, config.recommend);
    records.iter().for_each(|record| counter.add(record));
    let summary = counter.finish();
    let results = vec![RunResult { radius: None, summary, samples: records }];
    let report = Report { header, partial: done.partial, results, environment: run.environment() };
    drop(several);
    drop(hits);
    store.finish(&report)?;
    Ok(Faults { report, memory, tally })
}

/// What a journal keeps of a sample.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultEntry {
    /// What the report says.
    #[serde(flatten)]
    pub record: FaultRecord,
    /// What each hit does.
    pub effects: Effects,
}

/// Hits beside the set of a run of `certify`.
pub struct Beside {
    /// The fault model, as the report has it.
    pub model: FaultModel,
    memory: Memory,
}

impl Beside {
    /// Hits that `model` allows: the network of the session becomes the one that the words stand for, and its weights do not move otherwise.
    ///
    /// # Errors
    /// A fault model that does not fit the network; a threat model that moves weights.
    pub fn new<F>(session: &mut Session<F>, model: FaultModel) -> Result<Self, RunError> {
        let memory = Memory::new(&session.network, &model)?;
        session.network = memory.network().clone();
        let threat = &mut session.config.threat;
        let moves =
            threat.radii.iter().any(|radius| *radius != 0.0) || threat.model.radius.is_some_and(|r| r != 0.0);
        if moves || threat.model.kind != Kind::Absolute {
            let found = threat.model.kind.to_string();
            return Err(RunError::setting("threat", "weights that do not move beside faults", found));
        }
        threat.model.radius = Some(0.0);
        Ok(Beside { model, memory })
    }

    /// The hits, as bounds have them.
    pub fn hits(&self) -> HitSet {
        HitSet::new(&self.memory, self.model.words as usize)
    }

    /// The words.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What a report says of them, beside the inputs and activations that `threat` moves.
    pub fn describe(&self, threat: &ThreatReport) -> ThreatReport {
        ThreatReport {
            input_radius: threat.input_radius,
            input_range: threat.input_range,
            activation_radius: threat.activation_radius,
            ..ThreatReport::of_faults(&self.model, &self.memory)
        }
    }
}

/// Reads a fault model in TOML.
///
/// # Errors
/// The file cannot be read, is too large, or is no fault model.
pub fn read(path: &Path) -> Result<FaultModel, RunError> {
    file::read_text(path, MOST_BYTES, parse)
}

/// The fault model that a TOML text says.
///
/// # Errors
/// Where and why it is none.
pub fn parse(text: &str) -> Result<FaultModel, RunError> {
    let model: FaultModel = crate::threat::from_toml(text)?;
    model.check()?;
    Ok(model)
}

impl From<FaultError> for RunError {
    fn from(source: FaultError) -> Self {
        RunError::Faults { source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::faults::Encoding;
    use weightproof_testkit::damage::damaged;

    /// Everything that a file may say.
    const FILE: &str = r#"storage = "int8:per-channel"
words = 1
bits = 2
fault = "stuck-at-0"
at = [5, 6, 7]
layers = ["fc1", "fc2"]
biases = false
[[protect]]
layers = ["fc1"]
bits = [7]
[[protect]]
by = "parity-zero"
"#;

    #[test]
    fn files_say_what_they_say() {
        let model = parse(FILE).unwrap();
        assert_eq!(model.storage.to_string(), "int8:per-channel");
        assert_eq!((model.bits, model.biases, model.at.as_deref()), (2, false, Some(&[5, 6, 7][..])));
        assert_eq!(model.protect[0].bits, Some(vec![7]));
        assert_eq!(model.protect[1].by, Encoding::ParityZero);
        assert_eq!(parse("").unwrap(), FaultModel::default());
        assert!(parse("words = 0").unwrap_err().to_string().contains("words: expected 1"));
        assert!(parse("storge = \"int8\"").unwrap_err().to_string().contains("storge"));
    }

    #[test]
    fn mutated_files_never_panic() {
        let mut errors = 0;
        for text in damaged(FILE, 2000) {
            errors += usize::from(std::str::from_utf8(&text).is_ok_and(|text| parse(text).is_err()));
        }
        assert!(errors > 500, "{errors}");
    }
}
