use weightproof_kernels::{Matrix, Scalar};

/// Numbers between −1 and 1, the same on every machine. Another phase gives other numbers.
pub fn wave<T: Scalar>(rows: usize, cols: usize, phase: f64) -> Matrix<T> {
    Matrix::from_fn(rows, cols, |i, j| (1.3 * i as f64 + 0.7 * j as f64 + phase).sin()).cast()
}
