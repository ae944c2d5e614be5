//! Adam on what is free in the bounds of rows: slopes stay in `[0, 1]`, multipliers stop at zero before they change their end.

use super::optimized::Optimized;
use super::slopes::{FreeVariables, Tape};
use crate::kernels::rows::{l1, vectorized};
use crate::kernels::{Matrix, Scalar};

/// Size of the first step; slopes lie between 0 and 1.
const FIRST_STEP: f64 = 0.4;
/// What a step keeps of the size of the one before.
const SHRINK: f64 = 0.85;
/// Size of the last step of an ascent that is to converge, as a part of the first one.
const LAST: f64 = 1e-4;
/// Decay of the mean of gradients and of the mean of their squares (Adam).
const MEAN_DECAY: f64 = 0.8;
const SQUARE_DECAY: f64 = 0.95;

/// The state of an ascent: Adam on all that is free in the bounds of every row.
pub(super) struct Ascent<T> {
    pub free: FreeVariables<T>,
    /// Means of gradients and of their squares.
    mean: FreeVariables<T>,
    square: FreeVariables<T>,
}

impl<T: Scalar> Ascent<T> {
    pub fn new(free: FreeVariables<T>) -> Self {
        let zeros = || free.map(|m| Matrix::zeros(m.rows(), m.cols()));
        Ascent { mean: zeros(), square: zeros(), free }
    }

    /// Moves slopes along their gradients and back into `[0, 1]`, and multipliers along theirs, in units of the mean
    /// coefficient; a multiplier that changes its end stops at zero. `size` is what the steps of this ascent are multiplied by.
    pub fn step(&mut self, gradients: &FreeVariables<T>, tape: &Tape<T>, step: (usize, usize), size: f64) {
        let adam = Adam::at(step, size);
        let Ascent { free, mean, square } = self;
        let means = mean.slopes.iter_mut().zip(&mut square.slopes);
        for ((x, g), (m, v)) in free.slopes.iter_mut().zip(&gradients.slopes).zip(means) {
            let (Some(x), Some(g), Some(m), Some(v)) = (x, g, m, v) else { continue };
            vectorized!(|| {
                let means = m.as_mut_slice().iter_mut().zip(v.as_mut_slice());
                for ((x, &g), (m, v)) in x.as_mut_slice().iter_mut().zip(g.as_slice()).zip(means) {
                    *x = clamped(*x + adam.advance(m, v, g));
                }
            });
        }
        let means = mean.multipliers.iter_mut().zip(&mut square.multipliers).zip(tape);
        for ((x, g), ((m, v), a)) in free.multipliers.iter_mut().zip(&gradients.multipliers).zip(means) {
            let (Some(x), Some(g), Some(m), Some(v), Some(a)) = (x, g, m, v, a) else { continue };
            vectorized!(|| {
                for r in 0..g.rows() {
                    let unit = l1(a.row(r)) / T::from_f64(a.cols() as f64);
                    let means = m.row_mut(r).iter_mut().zip(v.row_mut(r));
                    for ((x, &g), (m, v)) in x.row_mut(r).iter_mut().zip(g.row(r)).zip(means) {
                        let next = *x + unit * adam.advance(m, v, g);
                        *x = if *x * next < T::zero() || next.is_nan() { T::zero() } else { next };
                    }
                }
            });
        }
    }

    /// Keeps some of the rows.
    pub fn retain(&mut self, left: &[usize]) {
        for free in [&mut self.free, &mut self.mean, &mut self.square] {
            *free = free.map(|m| m.rows_at(left));
        }
    }
}

/// One step of Adam.
struct Adam<T> {
    keep_mean: T,
    keep_square: T,
    mean_scale: T,
    square_scale: T,
    size: T,
}

impl<T: Scalar> Adam<T> {
    fn at((step, steps): (usize, usize), size: f64) -> Self {
        let shrink = if steps > Optimized::DEFAULT.steps { LAST.powf(1.0 / steps as f64) } else { SHRINK };
        let cast = T::from_f64;
        let seen = |decay: f64| cast(1.0 / (1.0 - decay.powi(step as i32 + 1)));
        Adam {
            keep_mean: cast(MEAN_DECAY),
            keep_square: cast(SQUARE_DECAY),
            mean_scale: seen(MEAN_DECAY),
            square_scale: seen(SQUARE_DECAY),
            size: cast(size * FIRST_STEP * shrink.powi(step as i32)),
        }
    }

    /// Takes gradient `g` into the means and gives the step.
    #[inline(always)]
    fn advance(&self, mean: &mut T, square: &mut T, g: T) -> T {
        *mean = self.keep_mean * *mean + (T::one() - self.keep_mean) * g;
        *square = self.keep_square * *square + (T::one() - self.keep_square) * g * g;
        let spread = (*square * self.square_scale).sqrt();
        let step = self.size * *mean * self.mean_scale / spread;
        if spread > T::zero() { step } else { T::zero() }
    }
}

/// Into `[0, 1]`; NaN becomes 0, which is as sound as any other slope.
#[inline(always)]
fn clamped<T: Scalar>(slope: T) -> T {
    if slope > T::one() {
        T::one()
    } else if slope > T::zero() {
        slope
    } else {
        T::zero()
    }
}
