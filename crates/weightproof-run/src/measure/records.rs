//! Measures as reports have them.

use weightproof::network::Network;
use weightproof_measure::compression::LayerCompression;
use weightproof_measure::ensemble::{BiasVariance, Split};
use weightproof_measure::utilization::Utilization;
use weightproof_measure::{Measure, RademacherBound, Refusal};
use weightproof_report::{
    EnsembleAt, LayerCapacityReport, LayerCompressionReport, LayerUtilizationReport, MeasureRecord,
    RademacherReport, SplitReport, UtilizationReport,
};

/// A number, unless it is not finite.
pub(super) fn finite(v: f64) -> Option<f64> {
    Some(v).filter(|v| v.is_finite())
}

/// What came out for a measure.
pub(super) fn measure(measure: &Measure, value: Result<f64, Refusal>) -> MeasureRecord {
    MeasureRecord {
        name: measure.name.into(),
        value: value.as_ref().ok().copied(),
        guarantee: measure.guarantee.name().into(),
        direction: measure.direction.name().into(),
        quantity: measure.quantity.into(),
        source: measure.source.into(),
        refusal: value.err().map(|refusal| refusal.to_string()),
    }
}

/// A bound for `network`.
pub(super) fn rademacher(bound: &RademacherBound, network: &Network) -> RademacherReport {
    let layers = bound.layers.iter().map(|layer| LayerCapacityReport {
        name: network.nodes()[layer.norms.node].name.clone(),
        row_norm: layer.norms.row,
        row_norm_reached: layer.norms.row_reached,
        bias: layer.norms.bias,
        bias_reached: layer.norms.bias_reached,
        class_row_norm: layer.class[0],
        class_bias: layer.class[1],
        complexity: finite(layer.complexity),
    });
    RademacherReport {
        gamma: finite(bound.gamma),
        empirical: bound.empirical,
        capacity: finite(bound.capacity),
        confidence: finite(bound.confidence),
        bound: finite(bound.total()),
        vacuous: bound.is_vacuous(),
        complexity: finite(bound.complexity),
        samples: bound.samples,
        root_mean_square: finite(bound.root_mean_square),
        layers: layers.collect(),
    }
}

/// What all layers contribute.
pub(super) fn utilization(of: &Utilization) -> UtilizationReport {
    let layers = of.layers.iter().map(|layer| LayerUtilizationReport {
        name: layer.name.clone(),
        distance: layer.distance,
        relative_distance: layer.relative_distance,
        probe_training: layer.probe_training,
        probe_held_out: layer.probe_held_out,
        reset_error: layer.reset_error,
    });
    UtilizationReport { layers: layers.collect(), rewind: of.rewind.clone() }
}

/// Both losses over the set of this radius.
pub(super) fn ensemble(radius: Option<f64>, losses: BiasVariance) -> EnsembleAt {
    let parts = |of: Split| SplitReport {
        loss: finite(of.loss),
        bias: finite(of.bias),
        variance: finite(of.variance),
    };
    EnsembleAt { radius, cross_entropy: parts(losses.cross_entropy), squared: parts(losses.squared) }
}

/// Layers of `network` as sums of components.
pub(super) fn compression(layers: &[LayerCompression], network: &Network) -> Vec<LayerCompressionReport> {
    let report = |layer: &LayerCompression| LayerCompressionReport {
        name: network.nodes()[layer.node].name.clone(),
        components: layer.components,
        rank: layer.rank,
        tensorization_factor: finite(layer.factor),
        noise_bound: finite(layer.noise),
        cushion: finite(layer.cushion),
    };
    layers.iter().map(report).collect()
}
