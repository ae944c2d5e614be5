//! Per-channel radii: `|Ŵ_ij − W_ij| ≤ r · max_j |W_ij|`, the scale of per-channel quantization.

use super::WeightRadius;
use super::model::LayerRadii;
use crate::network::Affine;

/// Biases move by the radius of their row.
pub(super) fn radii(dense: &Affine, radii: &[f64]) -> LayerRadii {
    let row_radius = |i: usize| radii[i.min(radii.len() - 1)] * largest(dense, i);
    let rows: Vec<f64> = (0..dense.bias.len()).map(row_radius).collect();
    (WeightRadius::PerRow(rows.clone()), rows)
}

/// `max_j |W_ij|`.
pub(super) fn largest(dense: &Affine, row: usize) -> f64 {
    dense.weight.row(row).iter().fold(0.0, |m, w| m.max(w.abs()))
}
