//! Absolute radii: `|Ŵ_ij − W_ij| ≤ r` (the paper's set) or `≤ r_i` for the rows of a layer.

use super::WeightRadius;
use super::model::LayerRadii;
use crate::network::Affine;

/// Biases move by the radius of their row.
pub(super) fn radii(dense: &Affine, radii: &[f64]) -> LayerRadii {
    match radii {
        [r] => (WeightRadius::uniform(*r), vec![*r; dense.bias.len()]),
        rows => (WeightRadius::PerRow(rows.to_vec()), rows.to_vec()),
    }
}
