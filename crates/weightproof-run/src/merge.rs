//! `merge`: the parts of a run (`--shard I/N`) become what one run would have given.
//!
//! ```text
//! parts → heads: all there, of one run → samples, in order: Counter → summary → samples again → report
//! ```
//! Samples are read as often as they are needed and never kept, so parts need not fit into memory.

use crate::RunError;
use crate::hits;
use crate::journal::differing;
use crate::measure::parts as measure;
use crate::remarks;
use crate::run::add_labels;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use weightproof::bounds::EXACT;
use weightproof::faults::FaultCounts;
use weightproof::verdict::Precision;
use weightproof_formats::fingerprint::Fingerprint;
use weightproof_report::provenance::Provenance;
use weightproof_report::reading::part::{PartEnvironment, PartError, PartFile, PartHead};
use weightproof_report::{
    AttackCounter, AttackRecord, CertifyCounter, CertifyRecord, Counter, DataReport, DeviceCounts,
    DrawsCounter, DrawsRecord, Environment, ExactCounter, ExactRadiusCounter, ExactRadiusRecord, ExactRecord,
    FaultCounter, FaultRecord, Header, MeasureReport, NoiseCounter, NoiseRecord, RadiusCounter, RadiusRecord,
    Record, Report, RunResult, SampleSource, ShardReport,
};

/// How many parts that are missing a message names.
const NAMED: usize = 8;

/// A record whose summary can be counted again from parts.
pub trait Mergeable: Record + DeserializeOwned {
    /// Counts them.
    type Counter: Counter<Self>;

    /// One that has counted no sample of result `k` yet.
    ///
    /// # Errors
    /// Parts that lack what it needs.
    fn counter(parts: &[PartFile], k: usize) -> Result<Self::Counter, RunError>;

    /// Which sample this is.
    fn sample(&self) -> Sample;
}

/// A sample of the data, and what the network says about it.
pub struct Sample {
    index: usize,
    label: Option<u32>,
    predicted: u32,
}

/// The parts of a run, joined.
pub struct Merged<R: Record> {
    /// The report without its samples, which are in the parts.
    pub report: Report<R>,
    /// Whether no sample needs attention.
    pub holds: bool,
    parts: Vec<PartFile>,
}

/// What parts were joined to.
pub enum AnyMerged {
    /// `certify` by a bound method.
    Certify(Merged<CertifyRecord>),
    /// `certify` by branch and bound.
    Exact(Merged<ExactRecord>),
    /// `certify --noise`.
    Noise(Merged<NoiseRecord>),
    /// `attack`.
    Attack(Merged<AttackRecord>),
    /// `attack --noise`.
    Draws(Merged<DrawsRecord>),
    /// `radius` by a bound method.
    Radius(Merged<RadiusRecord>),
    /// `radius`, closed by branch and bound.
    ExactRadius(Merged<ExactRadiusRecord>),
    /// `faults`.
    Faults(Merged<FaultRecord>),
    /// `measure`.
    Measure(Box<MeasureReport>),
}

impl AnyMerged {
    /// What hits do over all samples.
    ///
    /// # Errors
    /// Parts of another command; hits that leave no finite number, which parts only count.
    pub fn counts(&self) -> Result<&FaultCounts, RunError> {
        let AnyMerged::Faults(merged) = self else {
            return Err(RunError::setting("critical", "parts of faults", "others"));
        };
        let Some(result) = merged.report.results.first() else {
            return Err(RunError::setting("critical", "parts with a result", "none"));
        };
        let counts = &result.summary.counts;
        let not_finite: u64 = counts.positions.iter().map(|position| position.not_finite).sum();
        match not_finite {
            0 => Ok(counts),
            n => Err(RunError::setting("critical", "hits that leave finite numbers", format!("{n} others"))),
        }
    }
}

/// Joins the parts in these files, given in any order.
///
/// # Errors
/// Parts that are missing, that overlap, that are of another run, that were interrupted or are damaged.
pub fn merge(paths: &[PathBuf]) -> Result<AnyMerged, RunError> {
    if let Some(parts) = measure::read(paths)? {
        return measure::join(parts).map(|report| AnyMerged::Measure(Box::new(report)));
    }
    let parts = paths.iter().map(|path| PartFile::open(path)).collect::<Result<Vec<_>, _>>()?;
    let parts = ordered(parts)?;
    let Some(PartFile { path, head, .. }) = parts.first() else {
        return Err(RunError::misfit("expected at least one part, found none"));
    };
    let is_exact = head.header.method.name == EXACT.name;
    let is_random = head.header.threat.noise.is_some();
    match (head.schema.as_str(), is_exact) {
        ("weightproof/certify/1", _) if is_random => merged(parts).map(AnyMerged::Noise),
        ("weightproof/certify/1", false) => merged(parts).map(AnyMerged::Certify),
        ("weightproof/certify/1", true) => merged(parts).map(AnyMerged::Exact),
        ("weightproof/attack/1", _) if is_random => merged(parts).map(AnyMerged::Draws),
        ("weightproof/attack/1", _) => merged(parts).map(AnyMerged::Attack),
        ("weightproof/radius/1", false) => merged(parts).map(AnyMerged::Radius),
        ("weightproof/radius/1", true) => merged(parts).map(AnyMerged::ExactRadius),
        ("weightproof/faults/1", _) => merged(parts).map(AnyMerged::Faults),
        (other, _) => {
            let found: String = other.chars().take(60).collect();
            let expected = "a part of certify, attack, radius, faults or measure";
            Err(RunError::misfit(format!("{}: expected {expected}, found {found}", path.display())))
        }
    }
}

/// A part of a run, whatever its command.
pub(crate) trait Part {
    /// Its file.
    fn path(&self) -> &Path;
    /// Which part it is.
    fn shard(&self) -> &ShardReport;
    /// Whether its run was interrupted.
    fn is_partial(&self) -> bool;
    /// Number of samples that it is about.
    fn samples(&self) -> usize;
    /// All that is the same in all parts of a run, field by field.
    fn identity(&self) -> Value;
}

impl Part for PartFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn shard(&self) -> &ShardReport {
        &self.head.shard
    }

    fn is_partial(&self) -> bool {
        self.head.partial
    }

    fn samples(&self) -> usize {
        self.head.header.data.samples
    }

    fn identity(&self) -> Value {
        identity(&self.head)
    }
}

/// The parts in the order of their numbers, when they are all parts of one run, and no others.
pub(crate) fn ordered<P: Part>(parts: Vec<P>) -> Result<Vec<P>, RunError> {
    let mut all: BTreeMap<usize, P> = BTreeMap::new();
    let (mut first, mut of, mut total) = (None, 0, 0);
    for part in parts {
        let (path, identity) = (part.path().display().to_string(), part.identity());
        let (path_of_first, expected) = first.get_or_insert_with(|| (path.clone(), identity.clone()));
        if *expected != identity {
            let differing = differing(expected, &identity);
            return Err(RunError::Misfit {
                message: format!(
                    "{path}: expected a part of the same run as {path_of_first}, found one of a different run: {differing}"
                ),
                hint: Some("parts differ in --shard only: the same network, data, labels and settings"),
            });
        }
        if part.is_partial() {
            return Err(RunError::Misfit {
                message: format!(
                    "{path}: expected a part that is done, found one of a run that was interrupted"
                ),
                hint: Some("run it again; with --journal it goes on where it was"),
            });
        }
        let number = part.shard().number;
        (of, total) = (part.shard().of, part.shard().total);
        if let Some(other) = all.get(&number) {
            return Err(RunError::Misfit {
                message: format!(
                    "{path}: expected parts that do not overlap, found shard {number} of {of} also in {}",
                    other.path().display()
                ),
                hint: Some("give every part once"),
            });
        }
        all.insert(number, part);
    }
    let missing = of - all.len().min(of);
    if missing > 0 {
        let names = (1..=of).filter(|number| !all.contains_key(number)).take(NAMED);
        let names: Vec<String> = names.map(|number| number.to_string()).collect();
        let more = if missing > NAMED { ", …" } else { "" };
        return Err(RunError::Misfit {
            message: format!("expected all {of} shards, found {missing} missing: {}{more}", names.join(", ")),
            hint: Some("run the missing parts, or give their files too"),
        });
    }
    let parts: Vec<P> = all.into_values().collect();
    let mut end = parts.first().map_or(0, |part| part.shard().first);
    let begin = end;
    for part in &parts {
        let shard = part.shard();
        if shard.first != end || shard.samples != part.samples() {
            let expected = format!("a shard whose samples begin at {end} behind those of the one before it");
            return Err(RunError::misfit(format!(
                "{}: expected {expected}, found {} samples that begin at {}",
                part.path().display(),
                part.samples(),
                shard.first
            )));
        }
        end = end.saturating_add(shard.samples);
    }
    if end - begin != total {
        return Err(RunError::misfit(format!(
            "expected {total} samples in all shards, found {}",
            end - begin
        )));
    }
    Ok(parts)
}

/// All that is the same in all parts of a run, field by field.
fn identity(head: &PartHead) -> Value {
    let Header { model, data, threat, method, guarantee, config, .. } = &head.header;
    let PartEnvironment { version, seed, precision, .. } = &head.environment;
    let data = DataReport {
        samples: 0,
        offset: 0,
        labels_sha256: data.labels_sha256.as_ref().map(|_| String::new()),
        requested: None,
        range: None,
        remarks: Vec::new(),
        ..data.clone()
    };
    let blocks = json!({
        "model": model, "data": data, "threat": threat, "method": method, "config": config,
        "shard": { "of": head.shard.of, "total": head.shard.total, "classes": head.shard.classes },
    });
    let mut fields = Map::new();
    for (block, value) in blocks.as_object().into_iter().flatten() {
        for (name, value) in value.as_object().into_iter().flatten() {
            fields.insert(format!("{block}.{name}"), value.clone());
        }
    }
    let alone = json!({
        "schema": head.schema, "guarantee": guarantee, "radii": head.radii, "layers": head.layers,
        "version": version, "seed": seed, "precision": precision,
    });
    fields.extend(alone.as_object().cloned().unwrap_or_default());
    Value::Object(fields)
}

/// Counts the samples of all parts.
fn merged<R: Mergeable>(parts: Vec<PartFile>) -> Result<Merged<R>, RunError> {
    let head = &parts[0].head;
    let (mut results, mut labels, mut holds, mut correct) =
        (Vec::new(), Fingerprint::default(), true, Some(0));
    for (k, radius) in head.radii.iter().enumerate() {
        let mut counter = R::counter(&parts, k)?;
        for part in &parts {
            let mut of_part = Fingerprint::default();
            each(part, k, &mut |record: R| {
                let Sample { label, predicted, .. } = record.sample();
                if k == 0 {
                    if let Some(label) = label {
                        add_labels(&mut labels, &[label]);
                        add_labels(&mut of_part, &[label]);
                    }
                    correct = correct.zip(label).map(|(n, label)| n + usize::from(label == predicted));
                }
                holds &= record.holds();
                counter.add(&record);
                Ok(())
            })?;
            let claimed = part.head.header.data.labels_sha256.as_ref().filter(|_| k == 0);
            if claimed.is_some_and(|claimed| *claimed != of_part.finish()) {
                let message = "labels: expected those that the part has the hash of, found others";
                return Err(RunError::misfit(format!("{}: {message}", part.path.display())));
            }
        }
        results.push(RunResult { radius: *radius, summary: counter.finish(), samples: Vec::new() });
    }
    let header = header(head, labels, correct);
    let environments: Vec<&PartEnvironment> = parts.iter().map(|part| &part.head.environment).collect();
    let environment = environment(&parts[0].path, &environments)?;
    Ok(Merged { report: Report { header, partial: false, results, environment }, holds, parts })
}

/// Tells `sample` of every sample of result `k` of a part, each at its place.
fn each<R: Mergeable>(
    part: &PartFile,
    k: usize,
    sample: &mut dyn FnMut(R) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let PartFile { path, head, .. } = part;
    let (mut next, end) = (head.shard.first, head.shard.first.saturating_add(head.shard.samples));
    part.each(k, &mut |record: R| {
        let index = record.sample().index;
        if index != next || index >= end {
            let expected = if next < end { format!("sample {next}") } else { "no more samples".into() };
            return Err(RunError::misfit(format!(
                "{}: expected {expected}, found sample {index}",
                path.display()
            )));
        }
        next += 1;
        sample(record)
    })?;
    if next < end {
        return Err(RunError::misfit(format!("{}: expected sample {next}, found the end", path.display())));
    }
    Ok(())
}

/// The blocks above all samples, of which so many are classified as they are labelled.
fn header(head: &PartHead, labels: Fingerprint, correct: Option<usize>) -> Header {
    let (total, data) = (head.shard.total, &head.header.data);
    let guessed = correct.zip(head.shard.classes);
    let guessed = guessed.and_then(|(correct, classes)| remarks::on_accuracy(correct, total, classes));
    let data = DataReport {
        samples: total,
        labels_sha256: data.labels_sha256.as_ref().map(|_| labels.finish()),
        requested: requested(&head.header.config, total),
        remarks: data.remarks.iter().cloned().chain(guessed).collect(),
        ..data.clone()
    };
    Header { data, shard: None, ..head.header.clone() }
}

/// Number of samples that settings ask for, where the data have fewer.
pub(crate) fn requested(config: &Value, total: usize) -> Option<usize> {
    let asked = config["data"]["samples"].as_u64().map(|samples| samples as usize);
    asked.filter(|asked| *asked > total)
}

/// Time of all parts together, and the largest memory of one; `path` is the file of the first.
pub(crate) fn environment(path: &Path, parts: &[&PartEnvironment]) -> Result<Environment, RunError> {
    let all = || parts.iter();
    let (version, first) = (env!("CARGO_PKG_VERSION"), parts[0]);
    let precision = [Precision::F32, Precision::F64].map(Precision::name).into_iter();
    let precision = precision.into_iter().find(|name| *name == first.precision);
    let (true, Some(precision)) = (first.version == version, precision) else {
        let found: String = first.version.chars().take(60).collect();
        let path = path.display();
        return Err(RunError::misfit(format!("{path}: expected a part of version {version}, found {found}")));
    };
    Ok(Environment {
        seconds: all().map(|environment| environment.seconds).sum(),
        threads: all().map(|environment| environment.threads).max().unwrap_or(1),
        version,
        peak_memory_bytes: all().filter_map(|environment| environment.peak_memory_bytes).max(),
        seed: first.seed,
        precision,
        host: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        provenance: Provenance::now(),
    })
}

impl<R: Mergeable> Merged<R> {
    /// The report with its samples in memory.
    ///
    /// # Errors
    /// Parts that can no longer be read.
    pub fn load(self) -> Result<Report<R>, RunError> {
        let Merged { mut report, parts, .. } = self;
        for (k, result) in report.results.iter_mut().enumerate() {
            for part in &parts {
                each(part, k, &mut |record| {
                    result.samples.push(record);
                    Ok(())
                })?;
            }
        }
        Ok(report)
    }
}

impl<R: Mergeable> SampleSource<R> for Merged<R> {
    fn each(&self, k: usize, sample: &mut dyn FnMut(&R) -> io::Result<()>) -> io::Result<()> {
        let mut failed = None;
        for part in &self.parts {
            let told = each(part, k, &mut |record| {
                sample(&record).map_err(|error| {
                    failed = Some(error);
                    RunError::Interrupted
                })
            });
            match (told, failed.take()) {
                (_, Some(error)) => return Err(error),
                (Err(error), None) => return Err(io::Error::other(error.to_string())),
                (Ok(()), None) => {}
            }
        }
        Ok(())
    }
}

impl From<PartError<RunError>> for RunError {
    fn from(error: PartError<RunError>) -> Self {
        match error {
            PartError::Told(error) => error,
            PartError::Read(error) => RunError::Misfit { message: error.to_string(), hint: error.hint() },
            PartError::Io { .. } => RunError::misfit(error.to_string()),
        }
    }
}

impl Mergeable for CertifyRecord {
    type Counter = CertifyCounter;

    fn counter(_: &[PartFile], _: usize) -> Result<CertifyCounter, RunError> {
        Ok(CertifyCounter::default())
    }

    fn sample(&self) -> Sample {
        Sample { index: self.index, label: self.label, predicted: self.predicted }
    }
}

impl Mergeable for ExactRecord {
    type Counter = ExactCounter;

    fn counter(_: &[PartFile], _: usize) -> Result<ExactCounter, RunError> {
        Ok(ExactCounter::default())
    }

    fn sample(&self) -> Sample {
        self.certify.sample()
    }
}

impl Mergeable for AttackRecord {
    type Counter = AttackCounter;

    fn counter(_: &[PartFile], _: usize) -> Result<AttackCounter, RunError> {
        Ok(AttackCounter::default())
    }

    fn sample(&self) -> Sample {
        Sample { index: self.index, label: self.label, predicted: self.predicted }
    }
}

impl Mergeable for RadiusRecord {
    type Counter = RadiusCounter;

    fn counter(parts: &[PartFile], _: usize) -> Result<RadiusCounter, RunError> {
        let head = &parts[0].head;
        let given = head.header.config["threat"]["radii"].as_array();
        let given: Vec<f64> = given.into_iter().flatten().filter_map(Value::as_f64).collect();
        let hits = head.header.threat.faults.as_ref().map(hits::numbers);
        let given = hits.unwrap_or(given);
        Ok(RadiusCounter::new(&given, &head.layers, head.header.method.attack.is_some()))
    }

    fn sample(&self) -> Sample {
        Sample { index: self.index, label: self.label, predicted: self.predicted }
    }
}

impl Mergeable for ExactRadiusRecord {
    type Counter = ExactRadiusCounter;

    fn counter(parts: &[PartFile], k: usize) -> Result<ExactRadiusCounter, RunError> {
        Ok(ExactRadiusCounter::new(RadiusRecord::counter(parts, k)?))
    }

    fn sample(&self) -> Sample {
        self.radius.sample()
    }
}

/// What all parts counted beside the samples of result `k`.
fn added<C: DeserializeOwned>(
    parts: &[PartFile],
    k: usize,
    expected: &str,
    add: impl Fn(C, &C) -> Option<C>,
) -> Result<Option<C>, RunError> {
    let mut all: Option<C> = None;
    for part in parts {
        let wrong = || {
            RunError::misfit(format!("{}: counts: expected {expected}, found others", part.path.display()))
        };
        let counts = part.head.counts.get(k).ok_or_else(wrong)?;
        let counts = C::deserialize(counts).map_err(|_| wrong())?;
        all = Some(match all {
            None => counts,
            Some(all) => add(all, &counts).ok_or_else(wrong)?,
        });
    }
    Ok(all)
}

impl Mergeable for NoiseRecord {
    type Counter = NoiseCounter;

    fn counter(parts: &[PartFile], _: usize) -> Result<NoiseCounter, RunError> {
        let PartFile { path, head, .. } = &parts[0];
        let asked = head.header.method.failure_probability.ok_or_else(|| {
            let expected = "method: failure_probability: expected a number, found none";
            RunError::misfit(format!("{}: {expected}", path.display()))
        })?;
        Ok(NoiseCounter::new(asked))
    }

    fn sample(&self) -> Sample {
        self.certify.sample()
    }
}

impl Mergeable for DrawsRecord {
    type Counter = DrawsCounter;

    fn counter(parts: &[PartFile], k: usize) -> Result<DrawsCounter, RunError> {
        let add = |mut all: DeviceCounts, part: &DeviceCounts| {
            let fits = all.holds.len() == part.holds.len();
            for (all, part) in all.holds.iter_mut().zip(&part.holds) {
                *all = all.checked_add(*part)?;
            }
            fits.then_some(all)
        };
        let all = added(parts, k, "counts of as many devices as in the other parts", add)?;
        Ok(DrawsCounter::new(all.map_or_else(Vec::new, |all| all.holds)))
    }

    fn sample(&self) -> Sample {
        Sample { index: self.index, label: self.label, predicted: self.predicted }
    }
}

impl Mergeable for FaultRecord {
    type Counter = FaultCounter;

    fn counter(parts: &[PartFile], k: usize) -> Result<FaultCounter, RunError> {
        let add = |all: FaultCounts, counts: &FaultCounts| all.with(counts);
        let all = added(parts, k, "counts of the same hits as in the other parts", add)?;
        let header = &parts[0].head.header;
        let recommends = header.config["faults"]["recommend"].as_bool().unwrap_or(false);
        let words = header.threat.faults.as_ref().map_or(1, |model| model.words);
        Ok(FaultCounter::new(all.unwrap_or_default(), words, recommends))
    }

    fn sample(&self) -> Sample {
        Sample { index: self.index, label: self.label, predicted: self.predicted }
    }
}
