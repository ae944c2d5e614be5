//! Matrix products on row-major storage, single-threaded: parallelism is over blocks of samples, one level up.

use super::{Matrix, Scalar};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use std::sync::atomic::{AtomicU64, Ordering};

static MULTIPLY_ADDS: AtomicU64 = AtomicU64::new(0);

/// Multiply-add operations of all products and convolutions of this process so far; benchmarks compare them with the time.
pub fn multiply_adds() -> u64 {
    MULTIPLY_ADDS.load(Ordering::Relaxed)
}

/// Counts multiply-adds that are about to be made.
pub(super) fn count(multiply_adds: usize) {
    MULTIPLY_ADDS.fetch_add(multiply_adds as u64, Ordering::Relaxed);
}

/// A factor of [`multiply`]: a row-major slice, or the transposed of one.
#[derive(Clone, Copy)]
pub enum Factor<'a, T> {
    /// As it is.
    Plain(&'a [T]),
    /// Transposed.
    Transposed(&'a [T]),
}

/// `out = a b`.
///
/// # Shapes
/// `a`: (m, k), `b`: (k, n), `out` becomes (m, n).
pub fn product<T: Scalar>(out: &mut Matrix<T>, a: &Matrix<T>, b: &Matrix<T>) {
    out.reshape_scratch(a.rows(), b.cols());
    accumulate(out, false, a, Factor::Plain(b.as_slice()), b.rows());
}

/// `out += a b`, shapes as in [`product`].
pub fn add_product<T: Scalar>(out: &mut Matrix<T>, a: &Matrix<T>, b: &Matrix<T>) {
    assert_eq!((out.rows(), out.cols()), (a.rows(), b.cols()), "shape of a product");
    accumulate(out, true, a, Factor::Plain(b.as_slice()), b.rows());
}

/// `out = a bᵀ`.
///
/// # Shapes
/// `a`: (m, k), `b`: (n, k), `out` becomes (m, n).
pub fn product_transposed<T: Scalar>(out: &mut Matrix<T>, a: &Matrix<T>, b: &Matrix<T>) {
    out.reshape_scratch(a.rows(), b.rows());
    accumulate(out, false, a, Factor::Transposed(b.as_slice()), b.cols());
}

/// `out += a bᵀ`, shapes as in [`product_transposed`].
pub fn add_product_transposed<T: Scalar>(out: &mut Matrix<T>, a: &Matrix<T>, b: &Matrix<T>) {
    assert_eq!((out.rows(), out.cols()), (a.rows(), b.rows()), "shape of a product");
    accumulate(out, true, a, Factor::Transposed(b.as_slice()), b.cols());
}

/// `b` with `inner` rows after transposition.
fn accumulate<T: Scalar>(out: &mut Matrix<T>, add: bool, a: &Matrix<T>, b: Factor<'_, T>, inner: usize) {
    assert_eq!(a.cols(), inner, "inner dimensions of a product");
    let shape = (out.rows(), inner, out.cols());
    T::multiply(out.as_mut_slice(), add, Factor::Plain(a.as_slice()), b, shape);
}

/// `out = a b`, or `out += a b` when `add`, on row-major slices of shapes (m, n), (m, k), (k, n) after transposition.
pub fn multiply<T: Scalar>(
    out: &mut [T],
    add: bool,
    a: Factor<'_, T>,
    b: Factor<'_, T>,
    shape: (usize, usize, usize),
) {
    T::multiply(out, add, a, b, shape);
}

/// The generic code of [`multiply`].
pub(crate) fn multiply_generic<T: Scalar>(
    out: &mut [T],
    add: bool,
    a: Factor<'_, T>,
    b: Factor<'_, T>,
    (m, k, n): (usize, usize, usize),
) {
    if m == 0 || n == 0 {
        return;
    }
    count(m * n * k);
    fn shaped<T>(factor: Factor<'_, T>, rows: usize, cols: usize) -> MatRef<'_, T> {
        match factor {
            Factor::Plain(m) => MatRef::from_row_major_slice(m, rows, cols),
            Factor::Transposed(m) => MatRef::from_row_major_slice(m, cols, rows).transpose(),
        }
    }
    let beta = if add { Accum::Add } else { Accum::Replace };
    let times = |out: &mut [T], m: usize, a: MatRef<'_, T>| {
        let out = MatMut::from_row_major_slice_mut(out, m, n);
        matmul(out, beta, a, shaped(b, k, n), T::one(), Par::Seq);
    };
    let a = shaped(a, m, k);
    let least = fewest_rows(k, n);
    if m < least {
        let mut rows = vec![T::zero(); least * (n + k)];
        let (result, factor) = rows.split_at_mut(least * n);
        result[..m * n].copy_from_slice(out);
        factor
            .chunks_mut(k)
            .zip(a.row_iter())
            .for_each(|(to, from)| to.iter_mut().zip(from.iter()).for_each(|(to, &from)| *to = from));
        times(result, least, MatRef::from_row_major_slice(factor, least, k));
        out.copy_from_slice(&result[..m * n]);
    } else {
        times(out, m, a);
    }
}

/// Most multiply-adds of the products that the library makes in another way.
const SMALL: usize = 16 * 16 * 16;
/// Longest sums that it adds up in the same order in all ways.
const SHORT: usize = 16;

/// Fewest rows with which a product by a (k, n) matrix adds up in the order of larger ones: results must not depend on how many
/// samples are worked on together. Rows of zeros cost little where the weights are what is read.
fn fewest_rows(k: usize, n: usize) -> usize {
    match (k, n) {
        (0, _) | (_, 1) => 1,
        (..=SHORT, _) => 2,
        _ => (SMALL / (k * n) + 1).max(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_match_the_definition() {
        let a = Matrix::from_fn(3, 4, |i, j| (i * 4 + j) as f64);
        let b = Matrix::from_fn(4, 2, |i, j| (i as f64) - 2.0 * (j as f64));
        let naive = Matrix::from_fn(3, 2, |i, j| (0..4).map(|k| a[(i, k)] * b[(k, j)]).sum());
        let mut out = Matrix::default();
        product(&mut out, &a, &b);
        assert_eq!(out, naive);
        product_transposed(&mut out, &a, &b.transposed());
        assert_eq!(out, naive);
        add_product(&mut out, &a, &b);
        assert_eq!(out, naive.map(|v| 2.0 * v));
        add_product_transposed(&mut out, &a, &b.transposed());
        assert_eq!(out, naive.map(|v| 3.0 * v));
    }

    /// What lets work be cut anywhere: results do not depend on the number of threads, or of samples in a batch.
    fn rows_do_not_depend_on_their_neighbours<T: Scalar>() {
        let wave = |k: usize| T::from_f64((k as f64 * 0.37).sin());
        let shapes = [
            (3, 5),
            (8, 8),
            (12, 7),
            (15, 3),
            (16, 16),
            (17, 3),
            (24, 9),
            (33, 2),
            (48, 3),
            (65, 2),
            (80, 3),
            (100, 2),
            (128, 1),
            (5, 150),
            (150, 150),
            (150, 4),
            (64, 128),
            (784, 128),
            (300, 1),
            (40, 1),
            (1024, 300),
            (2100, 40),
        ];
        for (inner, cols) in shapes {
            let a = Matrix::from_fn(130, inner, |i, j| wave(i * inner + j));
            let b = Matrix::from_fn(inner, cols, |i, j| wave(7 * i + 3 * j));
            let transposed = b.transposed();
            let both = |a: &Matrix<T>| {
                let mut found = [Matrix::default(), Matrix::default()];
                product(&mut found[0], a, &b);
                product_transposed(&mut found[1], a, &transposed);
                found
            };
            let all = both(&a);
            for rows in [1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 31, 33, 64, 100, 129] {
                let last: Vec<usize> = (130 - rows..130).collect();
                for (some, all) in both(&a.rows_at(&last)).iter().zip(&all) {
                    assert_eq!(some, &all.rows_at(&last), "{rows} rows, {inner} by {cols}");
                }
            }
        }
    }

    #[test]
    fn rows_in_f32_do_not_depend_on_their_neighbours() {
        rows_do_not_depend_on_their_neighbours::<f32>();
    }

    #[test]
    fn rows_in_f64_do_not_depend_on_their_neighbours() {
        rows_do_not_depend_on_their_neighbours::<f64>();
    }

    #[test]
    fn empty_products_are_zero() {
        let mut out = Matrix::default();
        product(&mut out, &Matrix::<f64>::zeros(2, 0), &Matrix::zeros(0, 3));
        assert_eq!(out, Matrix::zeros(2, 3));
    }
}
