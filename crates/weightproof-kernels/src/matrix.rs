//! Row-major dense matrices: the one container of numbers in this crate.

use super::Scalar;
use super::rows::{add, vectorized};

/// Side of the squares that are transposed together.
const SQUARE: usize = 8;

/// A row-major matrix of shape `(rows, cols)` without padding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix<T> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T: Copy + Default> Matrix<T> {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Matrix { data: vec![T::default(); rows * cols], rows, cols }
    }

    /// Takes `data` as the rows of a matrix.
    ///
    /// # Panics
    /// When `data` does not hold exactly `rows * cols` numbers.
    pub fn from_vec(rows: usize, cols: usize, data: Vec<T>) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows}x{cols} matrix needs {} numbers", rows * cols);
        Matrix { data, rows, cols }
    }

    /// A matrix whose entry `(i, j)` is `f(i, j)`.
    pub fn from_fn(rows: usize, cols: usize, mut f: impl FnMut(usize, usize) -> T) -> Self {
        let mut data = Vec::with_capacity(rows * cols);
        for i in 0..rows {
            for j in 0..cols {
                data.push(f(i, j));
            }
        }
        Matrix { data, rows, cols }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All entries, row after row.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// All entries, row after row.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Row `i`.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Rows `from..to`, one after the other.
    pub fn row_range(&self, from: usize, to: usize) -> &[T] {
        &self.data[from * self.cols..to * self.cols]
    }

    /// Gives the matrix the shape `(rows, cols)` and keeps its memory; the entries are unspecified (old or zero).
    pub fn reshape_scratch(&mut self, rows: usize, cols: usize) {
        self.data.resize(rows * cols, T::default());
        self.rows = rows;
        self.cols = cols;
    }

    /// Becomes a copy of `other` and keeps its memory.
    pub fn copy_from(&mut self, other: &Matrix<T>) {
        self.reshape_scratch(other.rows, other.cols);
        self.data.copy_from_slice(&other.data);
    }

    /// Becomes the rows of `cols` numbers in `data` and keeps its memory.
    pub fn set_rows(&mut self, data: &[T], cols: usize) {
        self.reshape_scratch(data.len() / cols, cols);
        self.data.copy_from_slice(data);
    }

    /// Some of the rows, in the order of `rows`.
    pub fn rows_at(&self, rows: &[usize]) -> Self {
        let data = rows.iter().flat_map(|&r| self.row(r)).copied().collect();
        Matrix { data, rows: rows.len(), cols: self.cols }
    }

    /// Adds the rows of `other` below.
    ///
    /// # Panics
    /// When the widths differ.
    pub fn append(&mut self, other: &Matrix<T>) {
        assert_eq!(self.cols, other.cols, "widths of rows");
        self.data.extend_from_slice(&other.data);
        self.rows += other.rows;
    }

    /// Applies `f` to every entry.
    pub fn map<U: Copy + Default>(&self, f: impl Fn(T) -> U) -> Matrix<U> {
        Matrix { data: self.data.iter().map(|&v| f(v)).collect(), rows: self.rows, cols: self.cols }
    }

    /// The transposed matrix.
    pub fn transposed(&self) -> Self {
        self.transposed_as(|v| v)
    }

    /// The transposed matrix with `f` of every entry.
    pub fn transposed_as<U: Copy + Default>(&self, f: impl Fn(T) -> U) -> Matrix<U> {
        let mut out = Matrix::zeros(self.cols, self.rows);
        // A line of the cache of each row, so that the rows of a square stay there even where they are powers of two apart.
        for i in (0..self.rows).step_by(SQUARE) {
            let rows = i..self.rows.min(i + SQUARE);
            for j in (0..self.cols).step_by(SQUARE) {
                for j in j..self.cols.min(j + SQUARE) {
                    for i in rows.clone() {
                        out.data[j * self.rows + i] = f(self.data[i * self.cols + j]);
                    }
                }
            }
        }
        out
    }
}

impl<T: Copy + Default> std::ops::Index<(usize, usize)> for Matrix<T> {
    type Output = T;
    fn index(&self, (i, j): (usize, usize)) -> &T {
        &self.data[i * self.cols + j]
    }
}

impl<T: Copy + Default> std::ops::IndexMut<(usize, usize)> for Matrix<T> {
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut T {
        &mut self.data[i * self.cols + j]
    }
}

impl<T: Scalar> Matrix<T> {
    /// `self += other`.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn add_assign(&mut self, other: &Matrix<T>) {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "shapes of a sum");
        vectorized!(|| add(&mut self.data, &other.data));
    }

    /// Becomes `a + b` and keeps its memory.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn become_sum(&mut self, a: &Matrix<T>, b: &Matrix<T>) {
        assert_eq!((a.rows, a.cols), (b.rows, b.cols), "shapes of a sum");
        self.reshape_scratch(a.rows, a.cols);
        vectorized!(|| {
            for ((out, &a), &b) in self.data.iter_mut().zip(&a.data).zip(&b.data) {
                *out = a + b;
            }
        });
    }
}

impl Matrix<f64> {
    /// The same matrix in the precision of the engine.
    pub fn cast<T: Scalar>(&self) -> Matrix<T> {
        let mut out = Matrix::default();
        out.reshape_scratch(self.rows, self.cols);
        vectorized!(|| {
            for (out, &v) in out.data.iter_mut().zip(&self.data) {
                *out = T::from_f64(v);
            }
        });
        out
    }
}
