//! `inspect`: layers, shapes, norms, and what a threat model would perturb.

use super::Status;
use crate::args::InspectArgs;
use crate::config::ModelConfig;
use crate::error::Failure;
use crate::run::environment;
use crate::threat::ThreatConfig;
use crate::{output, source};
use serde::Serialize;
use std::time::Instant;
use weightproof::verdict::Precision;
use weightproof_report::{ComparisonReport, EstimateReport, Format, InspectReport, NodeReport, ThreatReport};
use weightproof_run::against::compare;

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings {
    model: ModelConfig,
    threat: ThreatConfig,
}

/// Runs the command.
pub fn run(args: &InspectArgs) -> Result<Status, Failure> {
    let threat = crate::threat::config(&args.threat)?;
    if threat.radii.len() > 1 {
        return Err(Failure::new(format!("radius: expected one to inspect, found {}", threat.radii.len())));
    }
    if args.output.format() == Format::Parquet {
        return Err(Failure::new("format: expected text, json or csv for inspect, found parquet"));
    }
    output::check(args.output.output.as_deref())?;
    let settings = Settings { model: crate::config::model(&args.model), threat };
    let (network, model) = source::load_model(&settings.model)?;
    let start = Instant::now();
    let comparison = args.against.as_deref().map(|path| compare(&network, path)).transpose()?;
    let agrees = comparison.as_ref().is_none_or(ComparisonReport::agrees);
    let threat = &settings.threat;
    // Radii are shown when they are known; which layers move is known anyway.
    let own = args.threat.threat.is_some() && threat.model.kind.has_own_radius();
    let known = own || !threat.radii.is_empty() || threat.model.radius.is_some();
    let (radius, set) = if known {
        let at = threat.sets(&network, None)?.swap_remove(0);
        (at.radius, at.set)
    } else {
        (None, threat.unit_set(&network, None)?)
    };
    let radii: Vec<f64> = radius.into_iter().collect();
    let mut nodes = NodeReport::all(&network, Some(&set));
    if !known {
        nodes.iter_mut().for_each(|node| node.radius = None);
    }
    let report = InspectReport {
        threat: known.then(|| ThreatReport::new(&threat.model, &radii, &network, &set)),
        model,
        nodes,
        comparison,
        estimate: EstimateReport::new(&network),
        config: serde_json::to_value(&settings).map_err(|e| Failure::new(format!("settings: {e}")))?,
        environment: environment(start.elapsed(), 1, 0, Precision::F64),
    };
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    Ok(Status::of(agrees))
}
