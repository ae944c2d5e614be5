//! Per-channel radii: `|Ŵ_ij − W_ij| ≤ r · max_j |W_ij|`, the scale of per-channel quantization.

use super::absolute::of_rows;
use super::kind::{Family, Parameters, named};
use super::outward::product_up;
use super::{Kind, ThreatError, WeightSet};
use crate::network::Affine;

pub(super) struct PerChannel;

impl PerChannel {
    /// `r_i max_j |W_ij|`.
    fn rows(affine: &Affine, radii: &[f64]) -> Vec<f64> {
        let of_row = |(i, r): (usize, f64)| product_up(r, largest(affine, i));
        of_rows(radii, affine).into_iter().enumerate().map(of_row).collect()
    }
}

impl Family for PerChannel {
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>> {
        named(text, Self::forms(), Kind::PerChannel)
    }

    fn forms() -> &'static str {
        "per-channel"
    }

    fn written(&self) -> String {
        Self::forms().into()
    }

    fn unit(&self) -> &'static str {
        "relative to the largest weight of each output channel"
    }

    /// Biases move by the radius of their row.
    fn parameters(&self, _: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError> {
        let rows = Self::rows(affine, radii);
        Ok(Parameters { weight: WeightSet::rows(rows.clone()), bias: rows })
    }

    fn biases(&self, affine: &Affine, radius: f64) -> Vec<f64> {
        Self::rows(affine, &[radius])
    }
}

/// `max_j |W_ij|`.
pub(super) fn largest(affine: &Affine, row: usize) -> f64 {
    affine.weight.row(row).iter().fold(0.0, |m, w| m.max(w.abs()))
}
