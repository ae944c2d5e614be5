//! `inspect`: layers, shapes, norms, and what a threat model would perturb.

use super::Status;
use crate::args::InspectArgs;
use crate::error::Failure;
use crate::{output, source};
use weightproof_report::ComparisonReport;
use weightproof_run::inspect::{self, InspectConfig};

/// Runs the command.
pub fn run(args: &InspectArgs) -> Result<Status, Failure> {
    let threat = crate::threat::config(&args.threat)?;
    output::check_written(&args.output, "inspect")?;
    let config =
        InspectConfig { model: crate::config::model(&args.model), threat, against: args.against.clone() };
    let (network, model) = source::load_model(&config.model)?;
    let report = inspect::run(&network, model, &config)?;
    let agrees = report.comparison.as_ref().is_none_or(ComparisonReport::agrees);
    output::written(&args.output, &report)?;
    Ok(Status::of(agrees))
}
