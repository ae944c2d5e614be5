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

fn view<T>(m: &[T], rows: usize, cols: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(m, rows, cols)
}

/// `out = a b`.
///
/// # Shapes
/// `a`: (m, k), `b`: (k, n), `out` becomes (m, n).
pub fn product<T: Scalar>(out: &mut Matrix<T>, a: &Matrix<T>, b: &Matrix<T>) {
    out.reshape_scratch(a.rows(), b.cols());
    accumulate(Accum::Replace, out, a, view(b.as_slice(), b.rows(), b.cols()));
}

/// `out += a b`, shapes as in [`product`].
pub fn add_product<T: Scalar>(out: &mut Matrix<T>, a: &Matrix<T>, b: &Matrix<T>) {
    accumulate(Accum::Add, out, a, view(b.as_slice(), b.rows(), b.cols()));
}

/// `out = a bᵀ`.
///
/// # Shapes
/// `a`: (m, k), `b`: (n, k), `out` becomes (m, n).
pub fn product_transposed<T: Scalar>(out: &mut Matrix<T>, a: &Matrix<T>, b: &Matrix<T>) {
    out.reshape_scratch(a.rows(), b.rows());
    accumulate(Accum::Replace, out, a, view(b.as_slice(), b.rows(), b.cols()).transpose());
}

/// `out += a bᵀ`, shapes as in [`product_transposed`].
pub fn add_product_transposed<T: Scalar>(out: &mut Matrix<T>, a: &Matrix<T>, b: &Matrix<T>) {
    accumulate(Accum::Add, out, a, view(b.as_slice(), b.rows(), b.cols()).transpose());
}

/// A factor of [`multiply`]: a row-major slice, or the transposed of one.
#[derive(Clone, Copy)]
pub enum Factor<'a, T> {
    /// As it is.
    Plain(&'a [T]),
    /// Transposed.
    Transposed(&'a [T]),
}

/// `out = a b`, or `out += a b` when `add`, on row-major slices of shapes (m, n), (m, k), (k, n) after transposition.
pub fn multiply<T: Scalar>(
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
            Factor::Plain(m) => view(m, rows, cols),
            Factor::Transposed(m) => view(m, cols, rows).transpose(),
        }
    }
    let out = MatMut::from_row_major_slice_mut(out, m, n);
    let beta = if add { Accum::Add } else { Accum::Replace };
    matmul(out, beta, shaped(a, m, k), shaped(b, k, n), T::one(), Par::Seq);
}

fn accumulate<T: Scalar>(beta: Accum, out: &mut Matrix<T>, a: &Matrix<T>, b: MatRef<'_, T>) {
    assert_eq!(a.cols(), b.nrows(), "inner dimensions of a product");
    assert_eq!((out.rows(), out.cols()), (a.rows(), b.ncols()), "shape of a product");
    let (m, n) = (out.rows(), out.cols());
    if m == 0 || n == 0 {
        return;
    }
    count(m * n * a.cols());
    let out = MatMut::from_row_major_slice_mut(out.as_mut_slice(), m, n);
    matmul(out, beta, view(a.as_slice(), a.rows(), a.cols()), b, T::one(), Par::Seq);
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

    #[test]
    fn empty_products_are_zero() {
        let mut out = Matrix::default();
        product(&mut out, &Matrix::<f64>::zeros(2, 0), &Matrix::zeros(0, 3));
        assert_eq!(out, Matrix::zeros(2, 3));
    }
}
