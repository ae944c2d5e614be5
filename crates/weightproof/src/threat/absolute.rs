//! Absolute radii: `|Ŵ_ij − W_ij| ≤ r` (the paper's set) or `≤ r_i` for the rows of a layer.

use super::kind::{Family, Parameters, named};
use super::{Kind, ThreatError, WeightSet};
use crate::network::Affine;

pub(super) struct Absolute;

impl Family for Absolute {
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>> {
        named(text, Self::forms(), Kind::Absolute)
    }

    fn forms() -> &'static str {
        "absolute"
    }

    fn written(&self) -> String {
        Self::forms().into()
    }

    fn unit(&self) -> &'static str {
        "absolute, in the unit of the weights"
    }

    /// Biases move by the radius of their row.
    fn parameters(&self, _: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError> {
        let rows = of_rows(radii, affine);
        Ok(Parameters { weight: WeightSet::rows(rows.clone()), bias: rows })
    }
}

/// One radius for each row.
pub(super) fn of_rows(radii: &[f64], affine: &Affine) -> Vec<f64> {
    (0..affine.bias.len()).map(|i| radii[i.min(radii.len() - 1)]).collect()
}
