//! Relative radii: `|Ŵ_ij − W_ij| ≤ ρ |W_ij|` (drift, analog noise), biases likewise.

use super::absolute::of_rows;
use super::kind::{Family, Parameters, named};
use super::outward::product_up;
use super::{Kind, ThreatError, WeightSet};
use crate::kernels::Matrix;
use crate::network::Affine;

pub(super) struct Relative;

impl Family for Relative {
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>> {
        named(text, Self::forms(), Kind::Relative)
    }

    fn forms() -> &'static str {
        "relative"
    }

    fn written(&self) -> String {
        Self::forms().into()
    }

    fn unit(&self) -> &'static str {
        "relative to each weight"
    }

    fn parameters(&self, _: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError> {
        let (rows, cols) = (affine.weight.rows(), affine.weight.cols());
        let radii = of_rows(radii, affine);
        let weight = Matrix::from_fn(rows, cols, |i, j| product_up(radii[i], affine.weight[(i, j)].abs()));
        let bias = affine.bias.iter().zip(&radii).map(|(b, &r)| product_up(r, b.abs())).collect();
        Ok(Parameters { weight: WeightSet::entries(weight), bias })
    }

    fn biases(&self, affine: &Affine, radius: f64) -> Vec<f64> {
        affine.bias.iter().map(|b| product_up(radius, b.abs())).collect()
    }
}
