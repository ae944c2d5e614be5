//! Networks whose layers are truncated, and what that is worth.

use super::records::{self, finite};
use super::split;
use crate::RunError;
use serde::Serialize;
use std::path::Path;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::verdict::Samples;
use weightproof_formats::network::write_network;
use weightproof_measure::compression::{self, Compression};
use weightproof_measure::context::outputs;
use weightproof_measure::margins::quantile;
use weightproof_measure::pac_bayes::error;
use weightproof_measure::{Context, Refusal};
use weightproof_report::{CompressionReport, ShareReport, TruncationReport};

/// Shares of the components that errors are reported for.
const SHARES: [f64; 4] = [1.0, 0.5, 0.25, 0.1];

/// How far the network is compressed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CompressionConfig {
    /// File for the network with truncated layers.
    pub truncate: Option<String>,
    /// How far a margin of the samples may move.
    pub gamma: Option<f64>,
    /// Share of the components of every layer that is kept instead.
    pub rank: Option<f64>,
}

/// Components, ranks and the truncated network; a refusal is no error unless a file was asked for.
pub(super) fn compress(
    context: &Context<'_>,
    config: &CompressionConfig,
) -> Result<(Option<CompressionReport>, Option<String>), RunError> {
    let (found, refusal) = split(compressed(context, config));
    match (found, refusal, &config.truncate) {
        (Some(report), None, _) => report.map(|report| (Some(report), None)),
        (_, Some(refusal), Some(path)) => Err(RunError::Misfit {
            message: format!("{path}: cannot truncate: {refusal}"),
            hint: Some("gamma or rank say how far; networks must be chains"),
        }),
        (_, refusal, _) => Ok((None, refusal)),
    }
}

fn compressed(
    context: &Context<'_>,
    config: &CompressionConfig,
) -> Result<Result<CompressionReport, RunError>, Refusal> {
    let network = context.network;
    let compression = Compression::new(context)?;
    let (gamma, layers) = match (config.rank, config.gamma) {
        (Some(share), _) => (None, compression.layers_with_share(share)),
        (None, Some(gamma)) => (Some(gamma), compression.layers(gamma)),
        (None, None) => {
            let gamma = compression::gamma(context)?;
            (Some(gamma), compression.layers(gamma))
        }
    };
    let error_of = |network: &Network| context.train.labels.map(|_| error(network, context.train));
    let at = |share: f64| {
        let cut = compression.truncate(&compression.layers_with_share(share));
        ShareReport { share, error: error_of(&cut.network) }
    };
    let report = |truncation| CompressionReport {
        gamma,
        capacity: finite(compression.capacity(&layers)),
        layers: records::compression(&layers, network),
        shares: SHARES.map(at).into(),
        truncation,
    };
    let Some(path) = &config.truncate else { return Ok(Ok(report(None))) };
    let cut = compression.truncate(&layers);
    if let Err(error) = write_network(Path::new(path), &cut.network) {
        return Ok(Err(error.into()));
    }
    let [before, after] = [network, &cut.network].map(|network| outputs(network, context.train.inputs));
    let moved = |s: usize| {
        let change = || before.row(s).iter().zip(after.row(s)).map(|(a, b)| b - a);
        change().fold(f64::NEG_INFINITY, f64::max) - change().fold(f64::INFINITY, f64::min)
    };
    let options = CertifyOptions { property: Property::Deviation, ..context.certify.clone() };
    let guarantee = options.guarantee.name();
    let certifier = Certifier::new(network, std::slice::from_ref(&cut.set), options);
    let samples = Samples { labels: None, ..context.train };
    let found = certifier.expect("a known method").certify(samples).swap_remove(0);
    let most: Vec<f64> = found.iter().map(|c| c.deviation_upper.unwrap_or(f64::INFINITY)).collect();
    Ok(Ok(report(Some(TruncationReport {
        path: path.clone(),
        error: error_of(&cut.network),
        moved_most: finite(cut.moved_most),
        moved_seen: finite((0..before.rows()).map(moved).fold(0.0, f64::max)),
        certified_deviation: finite(quantile(most.clone(), 1.0)),
        certified_deviation_median: finite(quantile(most, 0.5)),
        certified_guarantee: guarantee.into(),
    }))))
}
