//! A Frobenius ball around the weights of each layer, `‖Ŵ − W‖_F ≤ r`; each bias moves by at most `r` on its own.

use super::WeightRadius;
use super::model::LayerRadii;
use crate::network::Affine;

pub(super) fn radii(dense: &Affine, radius: f64) -> LayerRadii {
    (WeightRadius::frobenius(radius), vec![radius; dense.bias.len()])
}
