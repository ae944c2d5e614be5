//! `certify --noise`: verdicts that hold but for a probability.

use super::{NoiseConfig, at_times, is_still, require_one_set};
use crate::RunError;
use crate::certify::{describe, options};
use crate::config::{Config, MethodConfig};
use crate::exact::ExactConfig;
use crate::feed::Feed;
use crate::run::{Keeping, Run, Watch};
use crate::session::Session;
use crate::store::{Store, identity};
use crate::threat::{self, SetAt};
use serde::Serialize;
use serde_json::json;
use weightproof::noise::{NoiseCertifier, NoiseOptions};
use weightproof_report::{
    MethodReport, NoiseRecord, NoiseSummary, RandomWeights, Report, RunResult, with_probability,
};

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    method: &'a MethodConfig,
    #[serde(flatten)]
    noise: &'a NoiseConfig,
}

/// Certifies every sample against random weights beside every set, or at every time.
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
    let asked = noise.failure_probability;
    let options = NoiseOptions { certify: options(session, method), failure_probability: asked };
    require_one_set(sets, &noise.times)?;
    let random = at_times(&noise.model, &session.network, &noise.times)?;
    let store = Store::open(journal.as_deref(), || {
        identity(session, &json!({ "command": "certify", "method": method, "noise": noise }))
    })?;
    let (classes, asks_largest) = (session.classes(), session.asks_largest_change());
    let Session { network, feed, .. } = session;
    let means: Vec<_> = random.iter().map(|(_, set)| set.mean_network(network)).collect();
    // Radii without times, or times at one radius.
    let certifier = |at: &SetAt| {
        let of_time = |((_, noise), mean)| NoiseCertifier::new(mean, at.set.clone(), noise, options.clone());
        let owned = random.iter().cloned().zip(means.iter().map(|mean| &**mean));
        owned.map(of_time).collect::<Result<Vec<_>, _>>()
    };
    let certifiers: Vec<_> =
        sets.iter().map(certifier).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let (records, done) = run.settle(
        feed,
        classes,
        Keeping { store: &store, sets: certifiers.len(), seen: None },
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
    let of = RandomWeights { model: &noise.model, set: &random[0].1, times: &noise.times };
    header.threat = header.threat.with_noise(of, &session.network, is_alone);
    let places = sets.iter().flat_map(|at| random.iter().map(move |(time, _)| (at, *time)));
    let result = |((at, time), samples): ((&SetAt, Option<f64>), Vec<NoiseRecord>)| RunResult {
        radius: time.or(at.radius.filter(|_| !is_alone)),
        summary: NoiseSummary::new(&samples, asked),
        samples,
    };
    let results = places.zip(records).map(result).collect();
    Ok(Report { header, partial: done.partial, results, environment: run.environment() })
}
