//! `faithful`: whether one network is a rounding of another.

use super::Status;
use crate::args::FaithfulArgs;
use crate::config::ModelConfig;
use crate::error::Failure;
use crate::{output, source};
use std::path::Path;
use std::time::Instant;
use weightproof::verdict::Precision;
use weightproof_report::{FaithfulReport, Format};
use weightproof_run::faithful::{layers, smallest_sets};
use weightproof_run::run::environment;

/// Runs the command.
pub fn run(args: &FaithfulArgs) -> Result<Status, Failure> {
    if args.output.format() == Format::Parquet {
        return Err(Failure::new("format: expected text, json or csv for faithful, found parquet"));
    }
    output::check(args.output.output.as_deref())?;
    let load = |path: &Path| {
        source::load_model(&ModelConfig { path: Some(path.to_owned()), ..ModelConfig::default() })
    };
    let ((network, model), (second, rounded)) = (load(&args.float)?, load(&args.rounded)?);
    let start = Instant::now();
    let report = FaithfulReport {
        layers: layers(&network, &second)?,
        sets: smallest_sets(&network, &second)?,
        model,
        rounded,
        environment: environment(start.elapsed(), 1, 0, Precision::F64),
    };
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    Ok(Status::of(report.holds()))
}
