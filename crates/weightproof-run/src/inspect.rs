//! `inspect`: layers, shapes, norms, and what a threat model would perturb.

use crate::RunError;
use crate::against::compare;
use crate::config::ModelConfig;
use crate::run::environment;
use crate::threat::ThreatConfig;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;
use weightproof::network::{Network, Node};
use weightproof::verdict::Precision;
use weightproof_measure::norms::{parts, spectral_norm, stable_rank};
use weightproof_report::{EstimateReport, InspectReport, ModelReport, NodeReport, ThreatReport};

/// Settings, as the report echoes them.
#[derive(Clone, Debug, Serialize)]
pub struct InspectConfig {
    /// The network.
    pub model: ModelConfig,
    /// The perturbations; radii are shown where they are known.
    pub threat: ThreatConfig,
    /// Values of another program that those of the network are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<PathBuf>,
}

/// Describes `network`, which `model` names.
///
/// # Errors
/// More than one radius; a threat model that does not fit the network.
pub fn run(network: &Network, model: ModelReport, config: &InspectConfig) -> Result<InspectReport, RunError> {
    let start = Instant::now();
    let threat = &config.threat;
    if threat.radii.len() > 1 {
        return Err(RunError::value(format!(
            "radius: expected one to inspect, found {}",
            threat.radii.len()
        )));
    }
    let comparison = config.against.as_deref().map(|path| compare(network, path)).transpose()?;
    // Which layers move is known without a radius.
    let own = threat.model.kind.has_own_radius();
    let known = own || !threat.radii.is_empty() || threat.model.radius.is_some();
    let (radius, set) = if known {
        let at = threat.sets(network, None)?.swap_remove(0);
        (at.radius, at.set)
    } else {
        (None, threat.unit_set(network, None)?)
    };
    let radii: Vec<f64> = radius.into_iter().collect();
    let mut nodes = NodeReport::all(network, Some(&set));
    nodes.iter_mut().zip(network.nodes()).for_each(|(report, node)| spectral(report, node));
    if !known {
        nodes.iter_mut().for_each(|node| node.radius = None);
    }
    Ok(InspectReport {
        threat: known.then(|| ThreatReport::new(&threat.model, &radii, network, &set)),
        model,
        nodes,
        comparison,
        estimate: EstimateReport::new(network, &set),
        config: serde_json::to_value(config).map_err(|e| RunError::misfit(format!("settings: {e}")))?,
        environment: environment(start.elapsed(), 1, 0, Precision::F64),
    })
}

/// Adds the largest singular value and the stable rank of the matrix that a layer is, where the iteration converges.
fn spectral(report: &mut NodeReport, node: &Node) {
    let (Some(norms), Some((affine, window))) = (&mut report.norms, parts(&node.layer)) else { return };
    norms.spectral = spectral_norm(&affine.weight, window).ok();
    norms.stable_rank = norms.spectral.map(|norm| stable_rank(&affine.weight, window, norm));
}
