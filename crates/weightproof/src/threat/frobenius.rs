//! A Frobenius ball around the weights of each layer, `‖Ŵ − W‖_F ≤ r`; each bias moves by at most `r` on its own.

use super::kind::{Family, Parameters, named};
use super::{Kind, ThreatError, WeightSet};
use crate::network::Affine;

pub(super) struct Frobenius;

impl Family for Frobenius {
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>> {
        named(text, Self::forms(), Kind::Frobenius)
    }

    fn forms() -> &'static str {
        "frobenius"
    }

    fn written(&self) -> String {
        Self::forms().into()
    }

    fn unit(&self) -> &'static str {
        "Frobenius norm of each layer's change"
    }

    fn parameters(&self, _: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError> {
        Ok(Parameters { weight: WeightSet::ball(radii[0]), bias: self.biases(affine, radii[0]) })
    }

    fn has_row_radii(&self) -> bool {
        false
    }
}
