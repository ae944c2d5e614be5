//! Linear relaxation of a quantizer whose step follows from the range of all elements (theory.md §16).
//!
//! ```text
//! l ≤ q(p)_j ≤ u                      its box
//! p_j − r ≤ q(p)_j ≤ p_j + r          r half of the largest step
//! q(p)_j ≤ 2 p_j  for p_j ≥ 0         q(p)_j ≥ 2 p_j  for p_j ≤ 0
//! ```
//! Each is a line; the one that is tightest in the middle of the interval is taken.

use super::relax::Line;
use crate::kernels::Matrix;
use crate::kernels::Scalar;
use crate::network::DynamicQuantizer;

/// Lower and upper line of every element, when all lie between `lower` and `upper`.
///
/// # Guarantee
/// Sound in real arithmetic for every value that may come out. Slopes are numbers of f32.
pub(super) fn lines(q: DynamicQuantizer, lower: &[f64], upper: &[f64]) -> Vec<(Line, Line)> {
    let (low, high) = q.enclose(lower, upper);
    let reach = q.reach(lower, upper);
    let of = |j: usize| {
        let (l, u) = (lower[j], upper[j]);
        (above(q, (-u, -l), -low[j], reach).mirrored(), above(q, (l, u), high[j], reach))
    };
    (0..lower.len()).map(of).collect()
}

/// A line above an element in `[l, u]` whose value is at most `most`.
fn above(q: DynamicQuantizer, (l, u): (f64, f64), most: f64, reach: f64) -> Line {
    let twice = q.twice().filter(|_| l >= 0.0).map(|(slope, offset)| Line { slope, offset });
    let middle = 0.5 * l + 0.5 * u;
    let constant = Line { slope: 0.0, offset: most };
    let identity = Line { slope: 1.0, offset: reach };
    [Some(identity), twice]
        .into_iter()
        .flatten()
        .fold(constant, |best, line| if line.at(middle) < best.at(middle) { line } else { best })
}

/// The elements of each sample that may be the largest or the least, and so decide the step.
pub(super) fn deciding<T: Scalar>(lower: &Matrix<T>, upper: &Matrix<T>) -> Vec<bool> {
    let of_row = |s: usize| {
        let (l, u) = (lower.row(s), upper.row(s));
        let most = l.iter().fold(T::zero(), |m, &v| if v > m { v } else { m });
        let least = u.iter().fold(T::zero(), |m, &v| if v < m { v } else { m });
        l.iter().zip(u).map(move |(&l, &u)| u > most || l < least).collect::<Vec<bool>>()
    };
    (0..lower.rows()).flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::StepRounding;

    fn wave(k: usize, phase: f64) -> f64 {
        (k as f64 * 1.7 + phase).sin()
    }

    /// Points of the box: its corners in turn, and others.
    fn points(lower: &[f64], upper: &[f64]) -> Vec<Vec<f64>> {
        let part = |k: usize, j: usize| match k % 4 {
            0 => f64::from(u8::from((k / 4) >> (j % 8) & 1 == 1)),
            1 => 0.5 + 0.5 * wave(k * 31 + j, 0.3),
            2 => f64::from(u8::from(wave(k + 13 * j, 1.1) > 0.0)),
            _ => 0.5,
        };
        let point =
            |k: usize| (0..lower.len()).map(|j| lower[j] + part(k, j) * (upper[j] - lower[j])).collect();
        (0..400).map(point).collect()
    }

    #[test]
    fn lines_enclose_all_that_comes_out() {
        for seed in 0..60 {
            let count = 1 + seed % 5;
            let radius = [0.0, 1e-6, 0.01, 0.3][seed % 4];
            let shift = [0.0, 1.0, -1.0][seed % 3];
            let middle: Vec<f64> = (0..count).map(|j| wave(seed + 7 * j, 0.1) + shift).collect();
            let lower: Vec<f64> = middle.iter().map(|m| m - radius).collect();
            let upper: Vec<f64> = middle.iter().map(|m| m + radius).collect();
            for rounding in [StepRounding::NearestEven, StepRounding::Any] {
                let q = DynamicQuantizer { rounding };
                let lines = lines(q, &lower, &upper);
                for p in points(&lower, &upper) {
                    let (low, high) = q.enclose(&p, &p);
                    for (j, (below, above)) in lines.iter().enumerate() {
                        assert!(below.at(p[j]) <= low[j], "{p:?} {j}: {below:?} above {}", low[j]);
                        assert!(above.at(p[j]) >= high[j], "{p:?} {j}: {above:?} below {}", high[j]);
                    }
                }
            }
        }
    }

    #[test]
    fn lines_by_hand() {
        let q = DynamicQuantizer::default();
        // The first element decides the step, 0.01 ± 1%.
        let (lower, upper) = ([2.52, 1.0, 0.0, 0.0, 0.001], [2.58, 1.5, 0.003, 0.006, 0.008]);
        let lines = lines(q, &lower, &upper);
        assert_eq!(lines[1].0.slope, 1.0);
        assert!((lines[1].0.offset + 0.5 * 2.58 / 255.0).abs() < 1e-5, "{:?}", lines[1]);
        // Less than half a step is zero.
        assert_eq!(lines[2], (Line { slope: 0.0, offset: 0.0 }, Line { slope: 0.0, offset: 0.0 }));
        // Twice the element is less than the element and half a step.
        assert_eq!((lines[3].0.slope, lines[3].1.slope > 2.0), (0.0, true));
        // What is negative nowhere is a number of steps that is not negative.
        assert_eq!(lines[4].0, Line { slope: 0.0, offset: 0.0 });
        let row = |v: &[f64]| Matrix::from_vec(1, v.len(), v.to_vec());
        assert_eq!(deciding(&row(&lower), &row(&upper)), [true, false, false, false, false]);
    }
}
