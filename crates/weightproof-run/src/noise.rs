//! Random weights: `certify --noise`, what holds but for a probability, and `attack --noise`, what drawn devices do,
//! `radius --noise`, how much noise samples withstand.

use crate::RunError;
use crate::certify::{describe, options};
use crate::config::{Config, MethodConfig};
use crate::exact::ExactConfig;
use crate::feed::Feed;
use crate::file;
use crate::radius::check_width;
use crate::run::{BatchSize, Keeping, Run, Watch};
use crate::session::Session;
use crate::store::{Store, identity};
use crate::threat::{self, SetAt};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use weightproof::noise::{
    DeviceOptions, Devices, Draws, NoiseCertifier, NoiseError, NoiseKind, NoiseModel, NoiseOptions,
    NoiseRadius,
};
use weightproof::radius::SampleRadius;
use weightproof::threat::{Kind, PerturbationSet};
use weightproof_report::{
    DrawsRecord, DrawsSummary, MethodReport, NoiseRecord, NoiseSummary, RadiusRecord, RadiusSummary, Report,
    RunResult, with_probability,
};

/// The largest file with a noise model that is read.
const MOST_BYTES: u64 = 1 << 20;
/// Samples at once on drawn devices: many, because devices are drawn again for every batch.
pub const DRAWS_BATCH: BatchSize = BatchSize::Fixed(2048);
/// Number of devices when the user does not say.
pub const DRAWS: usize = 100;
/// The failure probability when the user does not say.
pub const FAILURE_PROBABILITY: f64 = 1e-9;

/// What is asked of `certify --noise`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoiseConfig {
    /// What is random.
    #[serde(rename = "noise")]
    pub model: NoiseModel,
    /// The probability that verdicts are meant at.
    pub failure_probability: f64,
}

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    method: &'a MethodConfig,
    #[serde(flatten)]
    noise: &'a NoiseConfig,
}

/// Certifies every sample against random weights beside every set.
///
/// # Errors
/// A noise model that does not fit; settings that have no meaning for it; those of the feed and of the front end; a journal that fails.
pub fn run<F: Feed, W: Watch>(
    session: &mut Session<F>,
    sets: &[SetAt],
    config: &ExactConfig,
    noise: &NoiseConfig,
    mut run: Run<W>,
) -> Result<Report<NoiseRecord>, RunError> {
    let ExactConfig { method, journal, certificate, .. } = config;
    if certificate.is_some() {
        return Err(RunError::setting("certificate", "no certificate file with noise", "one"));
    }
    require_all_samples(session)?;
    let asked = noise.failure_probability;
    let options = NoiseOptions { certify: options(session, method), failure_probability: asked };
    let set = noise.model.resolve(&session.network)?;
    let store = Store::open(journal.as_deref(), || {
        identity(session, &json!({ "command": "certify", "method": method, "noise": noise }))
    })?;
    let (classes, asks_largest) = (session.classes(), session.asks_largest_change());
    let Session { network, feed, .. } = session;
    let certifier = |at: &SetAt| NoiseCertifier::new(network, at.set.clone(), set.clone(), options.clone());
    let certifiers = sets.iter().map(certifier).collect::<Result<Vec<_>, _>>()?;
    let (records, done) = run.settle(
        feed,
        classes,
        Keeping { store: &store, sets: sets.len(), seen: None },
        |batch| Ok(certifiers.iter().map(|certifier| certifier.certify(batch)).collect::<Vec<_>>()),
        |_, found| {
            let record = |certificate| match NoiseRecord::from(certificate) {
                record if asks_largest => record.of_largest_change(asked),
                record => record,
            };
            Ok(found.iter().map(|of_set| of_set.iter().map(record).collect()).collect())
        },
    )?;
    drop(certifiers);
    let known: Vec<f64> = sets.iter().filter_map(|at| at.radius).collect();
    let settings = Settings { shared: &session.config, method, noise };
    let failure_probability = Some(asked);
    let described = MethodReport { failure_probability, ..describe(session, method) };
    let described = (described, with_probability(method.guarantee));
    let moved = threat::moving(sets);
    let is_alone = is_still(moved);
    let mut header = session.header(&done, &known, moved, described, &settings)?;
    header.threat = header.threat.with_noise(&noise.model, &set, &session.network, is_alone);
    let result = |(at, samples): (&SetAt, Vec<NoiseRecord>)| RunResult {
        radius: at.radius.filter(|_| !is_alone),
        summary: NoiseSummary::new(&samples, asked),
        samples,
    };
    let results = sets.iter().zip(records).map(result).collect();
    Ok(Report { header, partial: done.partial, results, environment: run.environment() })
}

/// What is asked of `radius --noise`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoiseRadiusConfig {
    /// What is random, in the unit of the radius.
    #[serde(flatten)]
    pub noise: NoiseConfig,
    /// Distance of neighbouring radii of the search, relative to the radius.
    pub width: f64,
}

/// Settings of a search, as the report echoes them.
#[derive(Serialize)]
struct RadiusSettings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    method: &'a MethodConfig,
    #[serde(flatten)]
    search: &'a NoiseRadiusConfig,
}

/// Searches the largest noise at which each sample is certified, beside the set that is asked for.
///
/// # Errors
/// As [`run`]; stochastic rounding, which has no size; several sets.
pub fn radius<F: Feed, W: Watch>(
    session: &mut Session<F>,
    sets: &[SetAt],
    method: &MethodConfig,
    config: &NoiseRadiusConfig,
    mut run: Run<W>,
) -> Result<Report<RadiusRecord>, RunError> {
    session.require_tolerance("radius")?;
    require_all_samples(session)?;
    check_width(config.width)?;
    let [at] = sets else {
        return Err(RunError::setting("radius", "at most one beside noise", sets.len().to_string()));
    };
    let NoiseConfig { model, failure_probability } = &config.noise;
    let options =
        NoiseOptions { certify: options(session, method), failure_probability: *failure_probability };
    let noise = model.resolve(&session.network)?;
    let classes = session.classes();
    let certifier = NoiseCertifier::new(&session.network, at.set.clone(), noise.clone(), options)?;
    let search = NoiseRadius::new(certifier, config.width)?;
    let mut records: Vec<RadiusRecord> = Vec::new();
    let done = run.over(
        &mut session.feed,
        classes,
        |batch| Ok(search.search(batch)?),
        |_, found: Vec<SampleRadius>| {
            records.extend(found.iter().map(RadiusRecord::from));
            Ok(())
        },
    )?;
    let settings = RadiusSettings { shared: &session.config, method, search: config };
    let described = MethodReport {
        relative_width: Some(config.width),
        failure_probability: Some(*failure_probability),
        ..describe(session, method)
    };
    let mut header =
        session.header(&done, &[], &at.set, (described, with_probability(method.guarantee)), &settings)?;
    let is_alone = is_still(&at.set);
    header.threat =
        header.threat.with_noise(model, &noise, &session.network, is_alone).without_radius(is_alone);
    let summary = RadiusSummary::new(&records, &[], &[], false);
    let results = vec![RunResult { radius: None, summary, samples: records }];
    Ok(Report { header, partial: done.partial, results, environment: run.environment() })
}

/// Refuses a part of the samples: what holds of all on one device is not merged from parts.
fn require_all_samples<F: Feed>(session: &Session<F>) -> Result<(), RunError> {
    match session.shard() {
        None => Ok(()),
        Some(part) => {
            let found = format!("{}/{}", part.number, part.of);
            Err(RunError::setting("shard", "all samples with noise, whose parts are not merged", found))
        }
    }
}

/// Whether a set leaves everything but the input as it is.
fn is_still(set: &PerturbationSet) -> bool {
    set.layers.iter().all(|layer| layer.is_zero()) && set.activation_radius == 0.0
}

/// What is asked of `attack --noise`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrawsConfig {
    /// What is random.
    #[serde(rename = "noise")]
    pub model: NoiseModel,
    /// Number of devices.
    pub draws: usize,
}

/// Settings of draws, as the report echoes them.
#[derive(Serialize)]
struct DrawsSettings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    #[serde(flatten)]
    draws: &'a DrawsConfig,
}

/// Runs every sample on drawn devices; `set` must leave everything as it is.
///
/// # Errors
/// A noise model that does not fit, a set in which something moves, a deviation without a tolerance; those of the feed and of the front
/// end.
pub fn draw<F: Feed, W: Watch>(
    session: &mut Session<F>,
    sets: &[SetAt],
    config: &DrawsConfig,
    mut run: Run<W>,
) -> Result<Report<DrawsRecord>, RunError> {
    session.require_tolerance("attack")?;
    require_all_samples(session)?;
    let set = threat::moving(sets);
    if !is_still(set) || set.input_radius != 0.0 {
        return Err(RunError::setting("noise", "no other perturbation beside drawn weights", "one"));
    }
    let noise = config.model.resolve(&session.network)?;
    let options = DeviceOptions {
        draws: config.draws,
        seed: session.config.seed,
        property: session.property,
        tolerance: session.tolerance(),
        stop: session.stop.clone(),
    };
    let classes = session.classes();
    let devices = Devices::new(&session.network, noise.clone(), options);
    let (mut records, mut holds) = (Vec::new(), vec![0; config.draws]);
    let done = run.over(
        &mut session.feed,
        classes,
        |batch| Ok(devices.draw(batch)),
        |_, found: Draws| {
            let record = |sample| DrawsRecord::new(sample, config.draws, session.property);
            records.extend(found.samples.iter().map(record));
            holds.iter_mut().zip(&found.holds).for_each(|(all, of_batch)| *all += of_batch);
            Ok(())
        },
    )?;
    let settings = DrawsSettings { shared: &session.config, draws: config };
    let (draws, seed) = (Some(config.draws), Some(session.config.seed));
    let method = MethodReport { draws, seed, precision: "f32".into(), ..session.method("drawn devices") };
    let mut header = session.header(&done, &[], set, (method, "estimate"), &settings)?;
    header.threat = header.threat.with_noise(&config.model, &noise, &session.network, true);
    let summary = DrawsSummary::new(&records, &holds);
    let results = vec![RunResult { radius: None, summary, samples: records }];
    Ok(Report { header, partial: done.partial, results, environment: run.environment() })
}

/// The noise model beside the set of a session: a set without a radius leaves the weights as they are, and its layers are the random
/// ones where the model names none.
pub fn beside<F>(session: &mut Session<F>, model: NoiseModel) -> NoiseModel {
    let threat = &mut session.config.threat;
    if threat.radii.is_empty() && threat.model.kind == Kind::Absolute {
        threat.model.radius = threat.model.radius.or(Some(0.0));
    }
    NoiseModel { layers: model.layers.or_else(|| threat.model.layers.clone()), ..model }
}

/// The noise model that a word of the command line names: `gaussian:0.01`, `stochastic:int8`, or a TOML file.
///
/// # Errors
/// An unknown kind; a file that cannot be read, is too large, or is no noise model.
pub fn read(text: &str) -> Result<NoiseModel, RunError> {
    let path = Path::new(text);
    if !(text.ends_with(".toml") || text.contains('/') || path.is_file()) {
        return Ok(text.parse()?);
    }
    file::read_text(path, MOST_BYTES, parse)
}

/// The noise that `radius` searches multiples of: as [`read`], with or without a number, of which it is the unit.
///
/// # Errors
/// As [`read`]; stochastic rounding, which has no size.
pub fn read_unit(text: &str) -> Result<NoiseModel, RunError> {
    match text.parse::<NoiseKind>() {
        Ok(kind) => Ok(NoiseModel::new(kind, Some(1.0)).unit()?),
        Err(_) => Ok(read(text)?.unit()?),
    }
}

/// The noise model that a TOML text says.
///
/// # Errors
/// Where and why it is none.
pub fn parse(text: &str) -> Result<NoiseModel, RunError> {
    let model: NoiseModel = threat::from_toml(text)?;
    model.check()?;
    Ok(model)
}

impl From<NoiseError> for RunError {
    fn from(source: NoiseError) -> Self {
        RunError::Noise { source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof_testkit::damage::damaged;

    /// Everything that a file may say.
    const FILE: &str = r#"kind = "gaussian-of-max"
sigma = 0.01
biases = false
layers = ["fc1", "fc2"]
[layer.fc1]
sigma = 0.02
"#;

    #[test]
    fn files_say_what_they_say() {
        let model = parse(FILE).unwrap();
        assert_eq!((model.kind.to_string(), model.sigma), ("gaussian-of-max".into(), Some(0.01)));
        assert_eq!((model.biases, model.layer["fc1"].sigma), (false, 0.02));
        assert_eq!(parse("kind = \"gaussian\"\nsigma = 0.5").unwrap(), read("gaussian:0.5").unwrap());
        assert_eq!(parse("kind = \"stochastic:int8\"").unwrap(), read("stochastic:int8").unwrap());
        for wrong in
            ["", "kind = \"gaussian\"", "kind = \"gaussian\"\nsigma = -1.0", "kind = \"int8\"", "sigma = 1.0"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
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
