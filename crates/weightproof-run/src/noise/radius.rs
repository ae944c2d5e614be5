//! `radius --noise`: how much noise samples withstand.

use super::{NoiseConfig, is_still};
use crate::RunError;
use crate::certify::{describe, options};
use crate::config::{Config, MethodConfig};
use crate::feed::Feed;
use crate::radius::check_width;
use crate::run::{Run, Watch};
use crate::session::Session;
use crate::threat::SetAt;
use serde::Serialize;
use weightproof::noise::{NoiseCertifier, NoiseOptions, NoiseRadius};
use weightproof::radius::SampleRadius;
use weightproof_report::{
    MethodReport, RadiusRecord, RadiusSummary, RandomWeights, Report, RunResult, with_probability,
};

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
/// As [`super::run`]; stochastic rounding, which has no size; several sets.
pub fn radius<F: Feed, W: Watch>(
    session: &mut Session<F>,
    sets: &[SetAt],
    method: &MethodConfig,
    config: &NoiseRadiusConfig,
    mut run: Run<W>,
) -> Result<Report<RadiusRecord>, RunError> {
    session.require_tolerance("radius")?;
    check_width(config.width)?;
    let [at] = sets else {
        return Err(RunError::setting("radius", "at most one beside noise", sets.len().to_string()));
    };
    let NoiseConfig { model, failure_probability, .. } = &config.noise;
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
    let of = RandomWeights { model, set: &noise, times: &[] };
    header.threat = header.threat.with_noise(of, &session.network, is_alone).without_radius(is_alone);
    let summary = RadiusSummary::new(&records, &[], &[], false);
    let results = vec![RunResult { radius: None, summary, samples: records }];
    Ok(Report { header, partial: done.partial, results, environment: run.environment() })
}
