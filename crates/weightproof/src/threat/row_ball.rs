//! A ball around each row, `‖Ŵ_i − W_i‖₂ ≤ r`: what many small independent errors of the weights of one neuron add up to
//! (theory.md §14); each bias moves by at most `r` on its own.

use super::absolute::of_rows;
use super::kind::{Family, Parameters, named};
use super::{Kind, ThreatError, WeightSet};
use crate::network::Affine;

pub(super) struct RowBall;

impl Family for RowBall {
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>> {
        named(text, Self::forms(), Kind::RowBall)
    }

    fn forms() -> &'static str {
        "row-ball"
    }

    fn written(&self) -> String {
        Self::forms().into()
    }

    fn unit(&self) -> &'static str {
        "Euclidean norm of the change of each row (output channel)"
    }

    fn parameters(&self, _: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError> {
        let rows = of_rows(radii, affine);
        Ok(Parameters { weight: WeightSet::row_balls(rows.clone()), bias: rows })
    }
}
