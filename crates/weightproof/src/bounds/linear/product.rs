//! Linear relaxation of products of two nodes.
//!
//! ```text
//! x ∈ [lx, ux], y ∈ [ly, uy], centres cx = (lx + ux)/2, cy = (ly + uy)/2, radii rx, ry
//! cy x + cx y − cx cy − rx ry  ≤  x y  ≤  cy x + cx y − cx cy + rx ry
//! ```
//! *Proof.* `x y − cy x − cx y + cx cy = (x − cx)(y − cy)`, which is at most `rx ry` in magnitude. ∎ Both planes are the means of
//! McCormick's two planes on their side, `x y ≥ ly x + lx y − lx ly` and `x y ≥ uy x + ux y − ux uy`, `x y ≤ uy x + lx y − lx uy` and
//! `x y ≤ ly x + ux y − ux ly`. All convex combinations of the two are the same at the centre of the box; of these the mean is
//! farthest from the product by `2 rx ry`, any other by more.
//!
//! Slopes are data: for slopes as they are stored the offsets are the extrema of `x y − cy x − cx y` over the box, which a bilinear
//! function has at corners.
//!
//! # Guarantee
//! Sound in real arithmetic and rounded outward.
//! # Source
//! theory.md §17; McCormick, *Computability of global solutions to factorable nonconvex programs*, Math. Program. 10 (1976).

use super::super::States;
use super::super::rounding::Arithmetic;
use crate::kernels::rows::{concretized, fill, larger};
use crate::kernels::{Matrix, Scalar};

/// Planes of all products of one node, for a block of samples; (samples, width) each.
#[derive(Clone, Debug)]
pub struct ProductRelaxation<T> {
    /// Slopes of the first and of the second factor, the same below and above.
    slopes: [Matrix<T>; 2],
    /// Offset of the lower plane.
    below: Matrix<T>,
    /// Offset of the upper plane.
    above: Matrix<T>,
    /// For a unit of an output's coefficient the magnitudes of what it is made into.
    magnitude: Matrix<T>,
}

impl<T: Scalar> ProductRelaxation<T> {
    /// Relaxes the product on the boxes of both factors.
    pub fn new(arithmetic: Arithmetic<T>, states: &States<'_, T>, [x, y]: [usize; 2]) -> Self {
        let ends = [states.lower(x), states.upper(x), states.lower(y), states.upper(y)];
        let (rows, cols) = (ends[0].rows(), ends[0].cols());
        let zeros = || Matrix::zeros(rows, cols);
        let mut r = ProductRelaxation {
            slopes: [zeros(), zeros()],
            below: zeros(),
            above: zeros(),
            magnitude: zeros(),
        };
        for k in 0..rows * cols {
            let [lx, ux, ly, uy] = ends.map(|m| m.as_slice()[k].to_f64());
            let centre = |l: f64, u: f64| T::from_f64(0.5 * l + 0.5 * u);
            let (of_x, of_y) = (centre(ly, uy), centre(lx, ux));
            let (below, above) = offsets([lx, ux], [ly, uy], [of_x, of_y].map(Scalar::to_f64));
            let (below, above) = if arithmetic.is_exact() {
                (T::from_f64(below.0), T::from_f64(above.0))
            } else {
                (T::from_f64_down(below.0 - below.1), T::from_f64_up(above.0 + above.1))
            };
            let most = |l: f64, u: f64| T::from_f64_up(l.abs().max(u.abs()));
            let size = of_x.abs() * most(lx, ux) + of_y.abs() * most(ly, uy);
            r.slopes[0].as_mut_slice()[k] = of_x;
            r.slopes[1].as_mut_slice()[k] = of_y;
            r.below.as_mut_slice()[k] = below;
            r.above.as_mut_slice()[k] = above;
            r.magnitude.as_mut_slice()[k] = size + larger(below.abs(), above.abs());
        }
        r
    }

    /// What rounding is a part of, for a unit of the coefficient of each product, (samples, products).
    pub fn magnitudes(&self) -> &Matrix<T> {
        &self.magnitude
    }

    /// What coefficients `a` of the products of sample `s` become: coefficients of both factors, and a constant, which is returned.
    #[inline(always)]
    pub fn backward(&self, s: usize, a: &[T], factors: [&mut [T]; 2]) -> T {
        for (out, slopes) in factors.into_iter().zip(&self.slopes) {
            fill(out, [a, slopes.row(s)], |[a, slope]| a * slope);
        }
        concretized(a, self.below.row(s), self.above.row(s))
    }

    /// The planes at the points of the factors: the lower one where `a > 0`, else the upper one.
    pub fn point(&self, s: usize, a: &[T], [x, y]: [&[T]; 2], out: &mut [T]) {
        let [of_x, of_y] = self.slopes.each_ref().map(|slopes| slopes.row(s));
        let of = [a, x, of_x, y, of_y, self.below.row(s), self.above.row(s)];
        fill(out, of, |[a, x, of_x, y, of_y, below, above]| {
            of_x * x + of_y * y + if a > T::zero() { below } else { above }
        });
    }
}

/// The least and the largest of `x y − sx x − sy y` over the box, each with what computing it may have lost.
fn offsets(x: [f64; 2], y: [f64; 2], [of_x, of_y]: [f64; 2]) -> ((f64, f64), (f64, f64)) {
    let corner = |x: f64, y: f64| {
        let terms = [x * y, of_x * x, of_y * y];
        let lost = 4.0 * f64::EPSILON * terms.iter().map(|t| t.abs()).sum::<f64>() + 4.0 * f64::MIN_POSITIVE;
        (terms[0] - terms[1] - terms[2], lost)
    };
    let corners = [corner(x[0], y[0]), corner(x[0], y[1]), corner(x[1], y[0]), corner(x[1], y[1])];
    let pick = |is_beyond: fn(f64, f64) -> bool| {
        let beyond =
            |far: (f64, f64), c: (f64, f64)| if c.0.is_nan() || is_beyond(c.0, far.0) { c } else { far };
        let (value, _) = corners.into_iter().fold(corners[0], beyond);
        // Another corner may be beyond it in real arithmetic.
        (value, corners.into_iter().fold(0.0, |most, (_, lost)| if lost > most { lost } else { most }))
    };
    (pick(|a, b| a < b), pick(|a, b| a > b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_extrema_over_the_box_for_any_slopes() {
        let wave = |k: usize| (k as f64 * 1.7).sin();
        for case in 0..300 {
            let of = |k: usize| wave(8 * case + k);
            let (x, y) = ([of(0), of(0) + 1.0 + of(1)], [of(2), of(2) + 1.0 + of(3)]);
            let slopes = [2.0 * of(4), 2.0 * of(5)];
            let (below, above) = offsets(x, y, slopes);
            let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
            for (i, j) in (0..=10).flat_map(|i| (0..=10).map(move |j| (i, j))) {
                let at = |[l, u]: [f64; 2], i: i32| l + (u - l) * f64::from(i) / 10.0;
                let (x, y) = (at(x, i), at(y, j));
                let rest = x * y - slopes[0] * x - slopes[1] * y;
                (least, most) = (least.min(rest), most.max(rest));
            }
            assert!((below.0 - least).abs() < 1e-12 && (above.0 - most).abs() < 1e-12, "case {case}");
        }
    }

    /// Integers whose products f64 rounds: the offsets with what they lost hold the exact extrema.
    #[test]
    fn what_offsets_lose_is_charged() {
        let mut lost = 0;
        for case in 0..300_i128 {
            let of = |k: i128| ((case * 8 + k) * 0x9e37_79b9_7f4a_7c15 % (1 << 40)) - (1 << 39);
            let (x, y) = ([of(0), of(0) + 3], [of(1), of(1) + 5]);
            // As centres are: near the ends, so that everything cancels.
            let slopes = [of(1) + 2, of(0) + 1];
            let float = |pair: [i128; 2]| pair.map(|v| v as f64);
            let (below, above) = offsets(float(x), float(y), float(slopes));
            let corners = x.iter().flat_map(|x| y.iter().map(move |y| (x, y)));
            let exact: Vec<i128> = corners.map(|(x, y)| x * y - slopes[0] * x - slopes[1] * y).collect();
            let (least, most) = (exact.iter().min().unwrap(), exact.iter().max().unwrap());
            assert!((below.0 - below.1).floor() as i128 <= *least, "case {case}");
            assert!((above.0 + above.1).ceil() as i128 >= *most, "case {case}");
            lost += usize::from(below.0 as i128 > *least);
        }
        assert!(lost > 20, "f64 loses something: {lost}");
    }

    /// With the centre as slopes the planes are `rx ry` from the tangent.
    #[test]
    fn planes_by_hand() {
        let (below, above) = offsets([1.0, 3.0], [-1.0, 3.0], [1.0, 2.0]);
        assert_eq!((below.0, above.0), (-2.0 - 2.0, -2.0 + 2.0));
        let (below, above) = offsets([2.0, 2.0], [-1.0, 3.0], [1.0, 2.0]);
        assert_eq!((below.0, above.0), (-2.0, -2.0));
        assert!(offsets([f64::NAN, 1.0], [0.0, 1.0], [0.5, 0.5]).0.0.is_nan());
    }
}
