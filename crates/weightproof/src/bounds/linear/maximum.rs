//! Linear relaxation of max pooling.
//!
//! ```text
//! y = max_j z_j,  z_j ∈ [l_j, u_j],  m = max_j l_j = l_k
//! below    y ≥ z_k
//! above    y ≤ max_j u_j          or          y ≤ z_k + Σ_{j≠k, u_j > m} λ_j (z_j − l_j),   λ_j = (u_j − m)/(u_j − l_j)
//! ```
//! *Proof of the last.* `y = m + max_j (z_j − m)⁺ ≤ m + Σ_j (z_j − m)⁺`; the chord of `(z_j − m)⁺` on `[l_j, u_j]` is
//! `λ_j (z_j − l_j)`, and for `j = k` it is `z_k − m`. ∎ Elements with `u_j ≤ m` drop out, so the maximum is exact where one
//! element dominates. Of the two upper lines the one that is lower in the middle of the box is taken.
//!
//! # Source
//! theory.md §4.3 (the constant line); the sum of chords is ours.

use super::super::States;
use super::relax::Slack;
use crate::kernels::rows::larger;
use crate::kernels::{Matrix, Scalar, Window};

/// Lines of all windows of one node, for a block of samples.
#[derive(Clone, Debug)]
pub struct MaxRelaxation<T> {
    window: Window,
    /// Tap of the element whose value is the lower line, (samples, output width).
    below: Matrix<usize>,
    /// Slopes of the upper lines, (samples, output width × taps).
    slope: Matrix<T>,
    /// Offsets of the upper lines, (samples, output width).
    offset: Matrix<T>,
    /// For a unit of an output's coefficient the magnitudes of what it is made into, (samples, output width).
    magnitude: Matrix<T>,
}

impl<T: Scalar> MaxRelaxation<T> {
    /// Relaxes the maxima of `window` on the boxes of node `input`.
    pub fn new(window: &Window, states: &States<'_, T>, input: usize, slack: Slack<T>) -> Self {
        let (l, u) = (states.lower(input), states.upper(input));
        let (width, taps) = (window.output_width(), window.taps());
        let mut relaxation = MaxRelaxation {
            window: window.clone(),
            below: Matrix::zeros(l.rows(), width),
            slope: Matrix::zeros(l.rows(), width * taps),
            offset: Matrix::zeros(l.rows(), width),
            magnitude: Matrix::zeros(l.rows(), width),
        };
        let sources: Vec<Option<usize>> = (0..window.positions())
            .flat_map(|p| (0..taps).map(move |tap| (p, tap)))
            .map(|(p, tap)| window.source(p, tap))
            .collect();
        for s in 0..l.rows() {
            for k in 0..width {
                let (channel, position) = (k / window.positions(), k % window.positions());
                let first = channel * window.plane();
                let of_window = &sources[position * taps..(position + 1) * taps];
                let slope = &mut relaxation.slope.row_mut(s)[k * taps..(k + 1) * taps];
                let at = |source: usize| (l[(s, first + source)], u[(s, first + source)]);
                let (below, offset) = lines(of_window, at, slope, slack);
                (relaxation.below[(s, k)], relaxation.offset[(s, k)]) = (below, offset);
                let size = |(&slope, source): (&T, &Option<usize>)| {
                    let (l, u) = source.map_or((T::zero(), T::zero()), at);
                    slope * larger(l.abs(), u.abs())
                };
                let (l, u) = at(of_window[below].expect("the lower line is an element"));
                let above = slope.iter().zip(of_window).map(size).sum::<T>() + offset.abs();
                relaxation.magnitude[(s, k)] = larger(above, larger(l.abs(), u.abs()));
            }
        }
        relaxation
    }

    /// What rounding is a part of, for a unit of the coefficient of each maximum, (samples, maxima).
    pub fn magnitudes(&self) -> &Matrix<T> {
        &self.magnitude
    }

    /// Adds what coefficients `a` of the maxima of sample `s` become to `out`, and gives `constant` each constant.
    pub fn add_backward(&self, s: usize, a: &[T], out: &mut [T], mut constant: impl FnMut(T)) {
        let (window, taps) = (&self.window, self.window.taps());
        for (k, &a) in a.iter().enumerate() {
            if a == T::zero() {
                continue;
            }
            let (first, position) = (k / window.positions() * window.plane(), k % window.positions());
            if a > T::zero() {
                let source =
                    window.source(position, self.below[(s, k)]).expect("the lower line is an element");
                out[first + source] += a;
            } else {
                // Also NaN: it must reach the bound.
                constant(a * self.offset[(s, k)]);
                for (tap, &slope) in self.slope.row(s)[k * taps..(k + 1) * taps].iter().enumerate() {
                    if let Some(source) = window.source(position, tap) {
                        out[first + source] += a * slope;
                    }
                }
            }
        }
    }
}

/// Writes the slopes of the upper line of one maximum; returns the tap of the lower line and the offset of the upper one.
/// `at` gives the box of an element.
fn lines<T: Scalar>(
    sources: &[Option<usize>],
    at: impl Fn(usize) -> (T, T),
    slope: &mut [T],
    slack: Slack<T>,
) -> (usize, T) {
    let elements = || sources.iter().enumerate().filter_map(|(tap, source)| source.map(|k| (tap, at(k))));
    let mut best: Option<(usize, T)> = None;
    for (tap, (l, _)) in elements() {
        if best.is_none_or(|(_, m)| l > m) {
            best = Some((tap, l));
        }
    }
    let (below, m) = best.expect("a window holds an element");
    let (half, four) = (T::from_f64(0.5), T::from_f64(4.0));
    let mut most = m;
    // The sum of chords: its offset, and its value in the middle of the box.
    let (mut offset, mut middle) = (T::zero(), T::zero());
    for (tap, (l, u)) in elements() {
        most = if u > most { u } else { most };
        slope[tap] = if tap == below {
            T::one()
        } else if u > m {
            (u - m) / (u - l)
        } else {
            T::zero()
        };
        if tap == below {
            middle += half * (l + u);
        } else {
            // Raised for each element: for its slope as it is stored, and for this sum.
            offset += four * slack.of(offset, larger(l.abs(), u.abs()) + m.abs()) - slope[tap] * l;
            middle += slope[tap] * half * (u - l);
        }
    }
    if most < middle {
        slope.fill(T::zero());
        return (below, most);
    }
    (below, offset)
}

#[cfg(test)]
mod tests {
    use super::super::super::rounding::Arithmetic;
    use super::*;
    use crate::verdict::Guarantee;

    const ROUNDING: f64 = 1e-12;

    fn exact() -> Slack<f64> {
        Slack::new(Arithmetic::new(Guarantee::RealArithmetic))
    }

    #[test]
    fn lines_enclose_the_maximum_at_every_corner_and_inside() {
        let wave = |k: usize| (k as f64 * 1.7).sin();
        for case in 0..200 {
            let boxes: Vec<(f64, f64)> = (0..4)
                .map(|j| (wave(case * 8 + j), wave(case * 8 + j) + (1.0 + wave(case * 8 + 4 + j)) * 0.6))
                .collect();
            let sources: Vec<Option<usize>> = (0..4).map(|j| (j != case % 5).then_some(j)).collect();
            let mut slope = vec![0.0; 4];
            let (below, offset) = lines(&sources, |j| boxes[j], &mut slope, exact());
            for point in 0..81 {
                let z: Vec<f64> = (0..4)
                    .map(|j| {
                        boxes[j].0
                            + (boxes[j].1 - boxes[j].0) * f64::from(point / 3_i32.pow(j as u32) % 3) / 2.0
                    })
                    .collect();
                let inside = sources.iter().flatten();
                let y = inside.clone().map(|&j| z[j]).fold(f64::NEG_INFINITY, f64::max);
                let above: f64 = offset + inside.map(|&j| slope[j] * z[j]).sum::<f64>();
                assert!(z[below] <= y && y <= above + ROUNDING, "case {case}: {z:?} {above}");
            }
        }
    }

    #[test]
    fn a_dominating_element_is_the_maximum() {
        let boxes = [(0.0, 1.0), (2.0, 3.0), (-1.0, 2.0)];
        let mut slope = vec![9.0; 3];
        let found = lines(&[Some(0), Some(1), Some(2)], |j| boxes[j], &mut slope, exact());
        assert_eq!((found, slope), ((1, 0.0), vec![0.0, 1.0, 0.0]));
    }
}
