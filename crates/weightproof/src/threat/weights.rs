//! The set in which the weights of one layer move (theory.md §2, §3, §4.3): one type, in f64 for users and in the precision of
//! an engine for bounds and attacks.

use super::outward::product_up;
use crate::kernels::rows::{l1, squares, weighted_l1};
use crate::kernels::{Matrix, Scalar};
use std::sync::Arc;

/// Where `Δ = Ŵ − W` of one layer lies. Rows of a weight matrix are output channels.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightSet<T = f64> {
    /// `Δ = 0`.
    Fixed,
    /// `|Δ_ij| ≤ r_i`.
    Rows(Vec<T>),
    /// `|Δ_ij| ≤ E_ij`; sets that are cloned share the matrix.
    Entries(Arc<Matrix<T>>),
    /// `‖Δ‖_F ≤ r`.
    Ball(T),
    /// `‖Δ_i‖₂ ≤ r_i` for every row (theory.md §14).
    RowBalls(Vec<T>),
}

impl<T: Scalar> WeightSet<T> {
    /// `|Δ_ij| ≤ r` for `rows` rows.
    pub fn uniform(radius: T, rows: usize) -> Self {
        WeightSet::rows(vec![radius; rows])
    }

    /// `|Δ_ij| ≤ r_i`.
    pub fn rows(radii: Vec<T>) -> Self {
        if radii.iter().all(|r| *r == T::zero()) { WeightSet::Fixed } else { WeightSet::Rows(radii) }
    }

    /// `|Δ_ij| ≤ E_ij`.
    pub fn entries(radii: Matrix<T>) -> Self {
        let fixed = radii.as_slice().iter().all(|r| *r == T::zero());
        if fixed { WeightSet::Fixed } else { WeightSet::Entries(Arc::new(radii)) }
    }

    /// `‖Δ‖_F ≤ r`.
    pub fn ball(radius: T) -> Self {
        if radius == T::zero() { WeightSet::Fixed } else { WeightSet::Ball(radius) }
    }

    /// `‖Δ_i‖₂ ≤ r_i` for every row.
    pub fn row_balls(radii: Vec<T>) -> Self {
        if radii.iter().all(|r| *r == T::zero()) { WeightSet::Fixed } else { WeightSet::RowBalls(radii) }
    }

    /// Largest possible `|Δ_ij|`.
    pub fn at(&self, i: usize, j: usize) -> T {
        match self {
            WeightSet::Ball(r) => *r,
            WeightSet::RowBalls(rows) => rows[i],
            WeightSet::Fixed | WeightSet::Rows(_) | WeightSet::Entries(_) => self.box_radius(i, j),
        }
    }

    /// The radius of weight `(i, j)` where every weight moves on its own; 0 in a ball, whose weights move together.
    pub fn box_radius(&self, i: usize, j: usize) -> T {
        match self {
            WeightSet::Fixed | WeightSet::Ball(_) | WeightSet::RowBalls(_) => T::zero(),
            WeightSet::Rows(rows) => rows[i],
            WeightSet::Entries(e) => e[(i, j)],
        }
    }

    /// [`WeightSet::box_radius`] of all weights, (rows, cols).
    pub fn box_matrix(&self, rows: usize, cols: usize) -> Matrix<T> {
        Matrix::from_fn(rows, cols, |i, j| self.box_radius(i, j))
    }

    /// Whether no weight moves.
    pub fn is_zero(&self) -> bool {
        match self {
            WeightSet::Fixed => true,
            WeightSet::Ball(r) => *r == T::zero(),
            WeightSet::Rows(rows) | WeightSet::RowBalls(rows) => rows.iter().all(|r| *r == T::zero()),
            WeightSet::Entries(e) => e.as_slice().iter().all(|r| *r == T::zero()),
        }
    }

    /// Whether weights move together, so that the set is no box.
    pub fn is_ball(&self) -> bool {
        match self {
            WeightSet::Ball(_) | WeightSet::RowBalls(_) => true,
            WeightSet::Fixed | WeightSet::Rows(_) | WeightSet::Entries(_) => false,
        }
    }

    /// What multiplies a norm of `z` in `max aᵀΔz` over the set: `Σ_i |a_i| r_i` for rows, times `‖z‖₁`, and for balls of rows,
    /// times `‖z‖₂`; `r ‖a‖₂` for one ball, times `‖z‖₂`. Radii of single weights have no such factor: 0.
    ///
    /// # Shapes
    /// `a`: one number for each row of the weights from row `first` on; it is 0 in the others.
    #[inline(always)]
    pub fn factor(&self, first: usize, a: &[T]) -> T {
        match self {
            WeightSet::Fixed | WeightSet::Entries(_) => T::zero(),
            WeightSet::Rows(rows) | WeightSet::RowBalls(rows) => {
                weighted_l1(a, &rows[first..first + a.len()])
            }
            WeightSet::Ball(r) => *r * num_traits::Float::sqrt(squares(a)),
        }
    }

    /// `max ⟨U, Δ⟩` over the set: its support function.
    ///
    /// # Shapes
    /// `u`: `U` row by row, as many numbers as weights.
    pub fn support(&self, u: &[T]) -> T {
        match self {
            WeightSet::Fixed => T::zero(),
            WeightSet::Rows(rows) => {
                u.chunks_exact(u.len() / rows.len()).zip(rows).map(|(u, &r)| r * l1(u)).sum()
            }
            WeightSet::Entries(e) => weighted_l1(u, e.as_slice()),
            WeightSet::Ball(r) => *r * num_traits::Float::sqrt(squares(u)),
            WeightSet::RowBalls(rows) => {
                let of_rows = u.chunks_exact(u.len() / rows.len()).zip(rows);
                of_rows.map(|(u, &r)| r * num_traits::Float::sqrt(squares(u))).sum()
            }
        }
    }

    /// Adds `E∘u` to row `i` of `out`, where `E_ij` is [`WeightSet::at`]: the point of a box at `u ∈ [−1, 1]`, of a ball at `u` in
    /// the unit ball, of balls of rows at rows in it.
    #[inline(always)]
    pub fn add_point(&self, i: usize, out: &mut [T], u: &[T]) {
        match self {
            WeightSet::Fixed => {}
            WeightSet::Rows(rows) | WeightSet::RowBalls(rows) => {
                out.iter_mut().zip(u).for_each(|(o, &u)| *o += rows[i] * u);
            }
            WeightSet::Entries(e) => {
                out.iter_mut().zip(u).zip(e.row(i)).for_each(|((o, &u), &e)| *o += e * u);
            }
            WeightSet::Ball(r) => out.iter_mut().zip(u).for_each(|(o, &u)| *o += *r * u),
        }
    }

    fn map<U: Scalar>(&self, f: impl Fn(T) -> U) -> WeightSet<U> {
        match self {
            WeightSet::Fixed => WeightSet::Fixed,
            WeightSet::Rows(rows) => WeightSet::rows(rows.iter().map(|&r| f(r)).collect()),
            WeightSet::Entries(e) => WeightSet::entries(e.map(f)),
            WeightSet::Ball(r) => WeightSet::ball(f(*r)),
            WeightSet::RowBalls(rows) => WeightSet::row_balls(rows.iter().map(|&r| f(r)).collect()),
        }
    }
}

impl WeightSet {
    /// All radii times `t`, rounded up.
    pub fn scaled(&self, t: f64) -> Self {
        self.map(|r| product_up(t, r))
    }

    /// The set in another precision; radii that it has not are rounded up, so the set is never smaller.
    pub fn cast<T: Scalar>(&self) -> WeightSet<T> {
        self.map(T::from_f64_up)
    }
}
