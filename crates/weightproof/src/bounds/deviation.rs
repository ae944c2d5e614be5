//! What a set of weights may do to one affine layer: deviations of its outputs for an input that does not move, or of known magnitude.

use super::rounding::FEW;
use super::{Bounds, Prepared, States};
use crate::kernels::rows::{each, fill, l1, larger, squares, sum, vectorized};
use crate::kernels::{Matrix, Scalar, Window, add_by_row, linear};
use crate::model::Affine;
use crate::threat::WeightSet;

/// The box of the affine node `index` whose input does not move: its clean value, and what its set may add.
pub(super) fn around<T: Scalar>(
    prepared: &Prepared<'_, T>,
    states: &States<'_, T>,
    index: usize,
) -> Bounds<T> {
    let (layer, radii) = (prepared.model.affine(index), prepared.radii.layer(index));
    let input = prepared.model.input_of(index);
    let center = states.fixed(index);
    let mut deviation = weight_deviation(&radii.weight, &states.magnitude(input), layer);
    add_by_row(&mut deviation, &radii.bias);
    // The deviation is a sum of numbers of one sign.
    let n = layer.weight.cols() + FEW;
    let part = T::one() + prepared.arithmetic.gamma(n);
    let least = prepared.arithmetic.underflow(n);
    deviation.as_mut_slice().iter_mut().for_each(|d| *d = *d * part + least);
    let single = prepared.arithmetic.outward(1);
    let (mut lower, mut upper) = (Matrix::default(), Matrix::default());
    for (out, center) in [(&mut lower, &center.lower), (&mut upper, &center.upper)] {
        out.reshape_scratch(center.rows(), center.cols());
    }
    let (l, u, d) = (center.lower.as_slice(), center.upper.as_slice(), deviation.as_slice());
    vectorized!(|| {
        fill(lower.as_mut_slice(), [l, d], |[c, d]| single.down(c - d));
        fill(upper.as_mut_slice(), [u, d], |[c, d]| single.up(c + d));
    });
    Bounds { lower, upper }
}

/// `max |Δ_i z|` over the set, for fixed `z`: `E|z|`, or `r ‖z‖₂` for a ball; `z` is the patch of an output element of a
/// convolution.
///
/// # Shapes
/// `z`: (samples, n_in); returns (samples, n_out).
pub(super) fn weight_deviation<T: Scalar>(set: &WeightSet<T>, z: &Matrix<T>, layer: &Affine<T>) -> Matrix<T> {
    let (rows, window) = (layer.bias.len(), layer.window.as_ref());
    let positions = layer.positions();
    match set {
        WeightSet::Fixed => Matrix::zeros(z.rows(), rows * positions),
        WeightSet::Rows(radii) => by_patch(&patch_l1(z, window), radii, positions),
        WeightSet::Ball(r) => by_patch(&patch_l2(z, window), &vec![*r; rows], positions),
        WeightSet::RowBalls(radii) => by_patch(&patch_l2(z, window), radii, positions),
        WeightSet::Entries(e) => {
            let mut out = Matrix::default();
            linear(&mut out, &z.map(|z| z.abs()), e, window);
            out
        }
    }
}

/// One number for each group and position times one for each row of weights, (samples, rows × positions).
pub(super) fn by_patch<T: Scalar>(of_patches: &Matrix<T>, of_rows: &[T], positions: usize) -> Matrix<T> {
    let rows_of_group = of_rows.len() / (of_patches.cols() / positions);
    let mut out = Matrix::zeros(of_patches.rows(), of_rows.len() * positions);
    for s in 0..out.rows() {
        let groups = of_patches.row(s).chunks_exact(positions).zip(of_rows.chunks_exact(rows_of_group));
        let of_groups = out.row_mut(s).chunks_exact_mut(rows_of_group * positions).zip(groups);
        for (out, (of_patches, factors)) in of_groups {
            if let [one] = of_patches {
                out.iter_mut().zip(factors).for_each(|(out, &factor)| *out = *one * factor);
                continue;
            }
            for (out, &factor) in out.chunks_exact_mut(positions).zip(factors) {
                out.iter_mut().zip(of_patches).for_each(|(out, &v)| *out = v * factor);
            }
        }
    }
    out
}

/// `f` of every row of `z`, one column; `f` is `#[inline(always)]`.
fn of_rows<T: Scalar>(z: &Matrix<T>, f: impl Fn(&[T]) -> T) -> Matrix<T> {
    let column = vectorized!(|| each(
        z.rows(),
        #[inline(always)]
        |s| f(z.row(s))
    ));
    Matrix::from_vec(z.rows(), 1, column)
}

/// ℓ1 norms of the patches of `z`, (samples, groups × positions); of all of `z`, one column, without a window.
fn patch_l1<T: Scalar>(z: &Matrix<T>, window: Option<&Window>) -> Matrix<T> {
    match window {
        None => of_rows(
            z,
            #[inline(always)]
            |z| l1(z),
        ),
        Some(_) => patch_sums(&z.map(|z| z.abs()), window),
    }
}

/// ℓ2 norms of the patches of `z`, shaped as [`patch_l1`].
pub(super) fn patch_l2<T: Scalar>(z: &Matrix<T>, window: Option<&Window>) -> Matrix<T> {
    match window {
        None => of_rows(
            z,
            #[inline(always)]
            |z| squares(z),
        )
        .map(|v| v.sqrt()),
        Some(_) => patch_sums(&z.map(|z| z * z), window).map(|v| v.sqrt()),
    }
}

/// Sums of the patches of `z`, shaped as [`patch_l1`].
pub(super) fn patch_sums<T: Scalar>(z: &Matrix<T>, window: Option<&Window>) -> Matrix<T> {
    let Some(window) = window else {
        return of_rows(
            z,
            #[inline(always)]
            |z| sum(z),
        );
    };
    let groups = Window { channels: window.groups, ..window.clone() };
    let ones =
        Matrix::from_vec(groups.channels, groups.patch(), vec![T::one(); groups.channels * groups.patch()]);
    let mut out = Matrix::default();
    linear(&mut out, z, &ones, Some(&groups));
    out
}

/// `max(|l|, |u|)`, elementwise.
pub(super) fn largest_magnitude<T: Scalar>(l: &Matrix<T>, u: &Matrix<T>) -> Matrix<T> {
    let mut out = Matrix::default();
    out.reshape_scratch(l.rows(), l.cols());
    vectorized!(|| fill(out.as_mut_slice(), [l.as_slice(), u.as_slice()], |[l, u]| larger(l.abs(), u.abs())));
    out
}
