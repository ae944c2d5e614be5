//! `attack --noise`: what drawn devices do, which is measured.

use super::{at_times, is_still};
use crate::RunError;
use crate::config::Config;
use crate::feed::Feed;
use crate::run::{BatchSize, Run, Watch};
use crate::session::Session;
use crate::threat::{self, SetAt};
use serde::Serialize;
use weightproof::noise::{DeviceOptions, Devices, Draws, NoiseModel, SampleDraws};
use weightproof_report::{DrawsRecord, DrawsSummary, MethodReport, RandomWeights, Report, RunResult};

/// Samples at once on drawn devices: many, because devices are drawn again for every batch.
pub const DRAWS_BATCH: BatchSize = BatchSize::Fixed(2048);
/// Number of devices when the user does not say.
pub const DRAWS: usize = 100;

/// What is asked of `attack --noise`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrawsConfig {
    /// What is random.
    #[serde(rename = "noise")]
    pub model: NoiseModel,
    /// Number of devices.
    pub draws: usize,
    /// Times that devices are read at, in seconds after the first reading, where weights change with time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<f64>,
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
    let set = threat::moving(sets);
    if !is_still(set) || set.input_radius != 0.0 {
        return Err(RunError::setting("noise", "no other perturbation beside drawn weights", "one"));
    }
    let random = at_times(&config.model, &session.network, &config.times)?;
    let options = DeviceOptions {
        draws: config.draws,
        seed: session.config.seed,
        property: session.property,
        tolerance: session.tolerance(),
        stop: session.stop.clone(),
    };
    let classes = session.classes();
    let devices: Vec<Devices<'_>> = random
        .iter()
        .map(|(_, noise)| Devices::new(&session.network, noise.clone(), options.clone()))
        .collect();
    // Of each time: records, and for how many samples the property holds on each device.
    let mut found: Vec<(Vec<DrawsRecord>, Vec<usize>)> =
        vec![(Vec::new(), vec![0; config.draws]); random.len()];
    let done = run.over(
        &mut session.feed,
        classes,
        |batch| Ok(devices.iter().map(|devices| devices.draw(batch)).collect::<Vec<Draws>>()),
        |_, batch: Vec<Draws>| {
            let record = |sample: &SampleDraws| DrawsRecord::new(sample, config.draws, session.property);
            for ((records, holds), draws) in found.iter_mut().zip(batch) {
                records.extend(draws.samples.iter().map(record));
                holds.iter_mut().zip(&draws.holds).for_each(|(all, of_batch)| *all += of_batch);
            }
            Ok(())
        },
    )?;
    let settings = DrawsSettings { shared: &session.config, draws: config };
    let (draws, seed) = (Some(config.draws), Some(session.config.seed));
    let method = MethodReport { draws, seed, precision: "f32".into(), ..session.method("drawn devices") };
    let mut header = session.header(&done, &[], set, (method, "estimate"), &settings)?;
    let of = RandomWeights { model: &config.model, set: &random[0].1, times: &config.times };
    header.threat = header.threat.with_noise(of, &session.network, true);
    let result = |(time, (samples, holds)): (Option<f64>, (Vec<DrawsRecord>, Vec<usize>))| RunResult {
        radius: time,
        summary: DrawsSummary::new(&samples, holds),
        samples,
    };
    let results = random.iter().map(|(time, _)| *time).zip(found).map(result).collect();
    Ok(Report { header, partial: done.partial, results, environment: run.environment() })
}
