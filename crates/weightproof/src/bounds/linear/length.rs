//! The length of what a random layer reads (theory.md §14): one row for all elements in place of a box for each.
//!
//! ```text
//! z² ≤ m z + t  on [l, u],   m = l + u,   t = max(l² − m l, u² − m u)                       the chord of the square
//! Σ_j z_j² ≤ Σ_j t_j − o + q √V                    o, V of the row −m·z, but for a tail at q
//! ```
//! Not all elements are at the ends of their boxes at once: what `Σ_j ζ_j²` adds over elements, noise adds in variance.

use super::super::noise::spread;
use super::super::{Block, States};
use super::propagate::{Backward, Reach, Row, RowBound, Sharing};
use super::relax::Relaxed;
use crate::kernels::{Matrix, Scalar};
use crate::noise::Amounts;
use crate::property::SpecRow;

/// Upper bounds of `Σ_j z_j²` over the elements of node `index`, one for each sample, where a dense layer reads it whose noise is the same
/// for all weights of a row.
///
/// # Guarantee
/// Each holds but for one tail at the quantile of its sample, given the boxes before. Rounded up.
pub(super) fn lengths<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    relaxed: &[Option<Relaxed<T>>],
    index: usize,
) -> Option<Vec<f64>> {
    let quantiles = block.quantiles?;
    if states.is_fixed(index) || !is_read_whole(block, index) {
        return None;
    }
    let (lower, upper) = (states.lower(index), states.upper(index));
    let mut coefficients = Matrix::zeros(lower.rows(), lower.cols());
    let constants: Vec<f64> = (0..lower.rows())
        .map(|s| {
            let (mut constant, mut size) = (0.0, 0.0);
            let ends = lower.row(s).iter().zip(upper.row(s));
            for (a, (&l, &u)) in coefficients.row_mut(s).iter_mut().zip(ends) {
                let slope = l + u;
                *a = -slope;
                let [m, l, u] = [slope, l, u].map(Scalar::to_f64);
                constant += (l * l - m * l).max(u * u - m * u);
                size += l * l + u * u + (m * l).abs() + (m * u).abs();
            }
            // Products, differences and the sum, each of them off by a part of the terms.
            constant + (lower.cols() + 16) as f64 * f64::EPSILON * size + f64::MIN_POSITIVE
        })
        .collect();
    let rows: Vec<Row> = (0..lower.rows()).map(|s| (s, SpecRow { plus: None, minus: None })).collect();
    let pass = Backward::new(block, states, Reach::Input(relaxed), Sharing::PerUse);
    let found = pass.passes(index, &rows, Some(&coefficients));
    let length = |(s, (constant, row)): (usize, (f64, RowBound<T>))| {
        let sum = (constant - Scalar::to_f64(row.lower)).next_up();
        (sum + spread(quantiles[s], row.variance)).next_up()
    };
    Some(constants.into_iter().zip(found).enumerate().map(length).collect())
}

/// Whether a dense layer reads node `index` whose noise has the same proxy for all weights of a row.
fn is_read_whole<T: Scalar>(block: &Block<'_, T>, index: usize) -> bool {
    let model = block.prepared.model;
    let reads = |k: usize| {
        let of_rows =
            block.prepared.noise_of(k).is_some_and(|noise| matches!(noise.squares, Amounts::Rows(_)));
        of_rows && model.inputs_of(k).contains(&index) && model.affine(k).window.is_none()
    };
    (index + 1..model.steps.len()).any(reads)
}
