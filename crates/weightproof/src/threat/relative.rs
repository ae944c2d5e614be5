//! Relative radii: `|Ŵ_ij − W_ij| ≤ ρ |W_ij|` (drift, analog noise), biases likewise.

use super::WeightRadius;
use super::model::LayerRadii;
use crate::kernels::Matrix;
use crate::network::Affine;

pub(super) fn radii(dense: &Affine, radii: &[f64]) -> LayerRadii {
    let row_radius = |i: usize| radii[i.min(radii.len() - 1)];
    let (rows, cols) = (dense.weight.rows(), dense.weight.cols());
    let weight = Matrix::from_fn(rows, cols, |i, j| row_radius(i) * dense.weight[(i, j)].abs());
    let bias = dense.bias.iter().enumerate().map(|(i, b)| row_radius(i) * b.abs()).collect();
    (WeightRadius::dense(weight), bias)
}
