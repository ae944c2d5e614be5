//! Piecewise linear functions between lines.
//!
//! A line `c x + t` is below `a f(x)` on [l, u] when it is at l, at u and at every corner of f between: there the difference
//! has its least value. So any slope will do, and t is computed from it; that is the whole proof.

use crate::network::{Activation, Op, Window};
use crate::number::{FRACTION, FRACTION_BITS, Interval, Number, share};
use std::sync::Arc;

/// A box: one interval for each element.
pub type Bounds = Vec<Interval>;

impl Activation {
    /// Numbers around `f(x)`.
    pub fn around(self, x: Number) -> Interval {
        match self {
            Activation::Relu => Interval::point(x.max(Number::ZERO)),
            Activation::LeakyRelu(slope) if x.is_negative() => Interval::around(slope * x, -slope * x),
            Activation::LeakyRelu(_) => Interval::point(x),
            Activation::Clip(low, high) => {
                let raised = low.map_or(x, |low| x.max(low));
                Interval::point(high.map_or(raised, |high| raised.min(high)))
            }
            Activation::SoftThreshold(lambda) if x > lambda => Interval::around(x - lambda, lambda - x),
            Activation::SoftThreshold(lambda) if x < -lambda => Interval::around(x + lambda, -lambda - x),
            Activation::SoftThreshold(_) => Interval::point(Number::ZERO),
        }
    }

    /// The box of `f` on a box: none of these functions falls.
    pub fn image(self, x: Interval) -> Interval {
        Interval { low: self.around(x.low).low, high: self.around(x.high).high }
    }
}

/// One element of an activation on its box.
#[derive(Clone, Debug)]
struct Lines {
    /// Slope below, a fraction.
    lower: i64,
    /// Slope above, a fraction.
    upper: i64,
    /// Ends and corners, with numbers around the values there; none where the function is zero or its argument.
    points: Vec<(Number, Interval)>,
}

impl Lines {
    /// Any slopes are sound; those that are tightest in the middle are taken.
    fn new(f: Activation, x: Interval) -> Lines {
        let corners = match f {
            Activation::Relu | Activation::LeakyRelu(_) => [Some(Number::ZERO), None],
            Activation::Clip(low, high) => [low, high],
            Activation::SoftThreshold(lambda) => [Some(-lambda), Some(lambda)],
        };
        let inner = corners.into_iter().flatten().filter(|c| x.low < *c && *c < x.high);
        let points: Vec<_> = [x.low, x.high].into_iter().chain(inner).map(|x| (x, f.around(x))).collect();
        let is_line =
            |value: fn(Number) -> Number| points.iter().all(|&(x, y)| y == Interval::point(value(x)));
        if points.len() == 2 && (is_line(|x| x) || is_line(|_| Number::ZERO)) {
            let slope = if is_line(|x| x) { FRACTION } else { 0 };
            return Lines { lower: slope, upper: slope, points: vec![] };
        }
        let mut slopes = vec![0, FRACTION, slope(points[0], points[1])];
        for &corner in &points[2..] {
            slopes.extend([slope(points[0], corner), slope(corner, points[1])]);
        }
        // Twice the height of a line of this slope in the middle of the box, or of its opposite.
        let middle = |slope: i64, sign: i64| {
            let line = |x: Number| Number::new(sign * slope, -(FRACTION_BITS as i32)) * x;
            let gap =
                |&(x, y): &(Number, Interval)| if sign > 0 { y.low - line(x) } else { -y.high - line(x) };
            let offset = points.iter().map(gap).min().expect("there are points");
            offset + offset + line(x.low) + line(x.high)
        };
        let best = |sign: i64| {
            *slopes.iter().rev().max_by_key(|slope| middle(**slope, sign)).expect("there are slopes")
        };
        Lines { lower: best(1), upper: best(-1), points }
    }

    /// The slope `c` of a line below `a f`, whose offset is added to the sum. A lower slope of one's own is a fraction of ReLU:
    /// where it is the line z, `own z` is below for z ≥ 0, and where it is 0, for z ≤ 0.
    fn relax(&self, a: i64, own: Option<i64>, exponent: i32, sum: &mut Number) -> i64 {
        let c = part(a, if a < 0 { self.upper } else { own.unwrap_or(self.lower) });
        let gap = |&(x, y): &(Number, Interval)| {
            Number::new(a, exponent) * y.worst(a > 0) - Number::new(c, exponent) * x
        };
        self.points.iter().map(gap).min().into_iter().for_each(|least| *sum += least);
        c
    }
}

/// A fraction of an integer, rounded.
fn part(a: i64, fraction: i64) -> i64 {
    ((i128::from(a) * i128::from(fraction)) >> FRACTION_BITS) as i64
}

/// The slope of a line through two points of a function that rises by at most 1, about, as a fraction.
fn slope(a: (Number, Interval), b: (Number, Interval)) -> i64 {
    let (dx, dy) = (b.0 - a.0, b.1.low - a.1.low);
    share(dy, dx - dy)
}

/// The upper line of the maximum of one window: `y ≤ Σ slope_j z_j + …`, with the input `top` of the largest lower end.
#[derive(Clone, Debug)]
struct Maximum {
    /// The input whose lower end is the largest; it is never above the maximum.
    top: usize,
    /// Inputs that may be larger than the lower end of `top`, with the slopes of their chords; none where a constant is taken.
    others: Option<Vec<(usize, i64)>>,
    /// The lower end of `top`, and the largest upper end.
    range: Interval,
}

impl Maximum {
    fn new(inputs: &[usize], z: &Bounds) -> Maximum {
        let range = largest(inputs, z);
        let top = *inputs.iter().find(|&&j| z[j].low == range.low).expect("one has the largest end");
        let above = |j: usize| z[j].high - range.low;
        let others = inputs.iter().copied().filter(|&j| j != top && above(j).is_positive());
        let below = |j: usize| range.low - z[j].low;
        let others: Vec<_> = others.map(|j| (j, share(above(j), below(j)))).collect();
        // Twice the height of the line in the middle of the box: z_top + Σ slope_j (z_j − l_j).
        let middle = range.low + z[top].high;
        let middle = others.iter().fold(middle, |sum, &(j, _)| sum + above(j));
        let is_constant = range.high + range.high < middle;
        Maximum { top, others: (!is_constant).then_some(others), range }
    }

    /// Adds a line below `a max(z)` to coefficients of the inputs and its offset to the sum.
    ///
    /// ```text
    /// a > 0:   a y ≥ a z_top
    /// a < 0:   a y ≥ a most,   or   a y ≥ a z_top + Σ_j a (z_j − least)⁺,   each of them concave: a line that is below at both ends
    /// ```
    fn relax(&self, a: i64, exponent: i32, z: &Bounds, out: &mut [i128], sum: &mut Number) {
        match &self.others {
            None if a < 0 => return *sum += Number::new(a, exponent) * self.range.high,
            Some(others) if a < 0 => {
                for &(j, slope) in others {
                    let c = part(a, slope);
                    let at_low = Number::new(-c, exponent) * z[j].low;
                    let at_high = Number::new(a - c, exponent) * z[j].high;
                    *sum += at_low.min(at_high - Number::new(a, exponent) * self.range.low);
                    out[j] += i128::from(c);
                }
            }
            _ => {}
        }
        out[self.top] += i128::from(a);
    }
}

/// The box of the maximum of some elements of a box.
pub fn largest(elements: &[usize], z: &[Interval]) -> Interval {
    let ends = elements.iter().map(|&j| z[j]);
    ends.reduce(|a, b| Interval { low: a.low.max(b.low), high: a.high.max(b.high) })
        .expect("no window is empty")
}

/// The elements that output `k` of a pooling node reads.
pub fn pooled(window: &Window, k: usize) -> Vec<usize> {
    window.taps(k / window.positions(), k % window.positions()).into_iter().map(|(_, j)| j).collect()
}

/// What a nonlinear node is between on the box of its input.
#[derive(Debug)]
pub struct Relaxation {
    input: Arc<Bounds>,
    lines: Vec<Lines>,
    maxima: Vec<Maximum>,
}

impl Relaxation {
    /// A row below `Σ a_k y_k` of the outputs, in coefficients of the inputs; its offset is added to the sum.
    pub fn relax(
        &self,
        a: &[i64],
        own: Option<&[Option<i64>]>,
        exponent: i32,
        sum: &mut Number,
    ) -> Vec<i128> {
        let mut out = vec![0; self.input.len()];
        for (k, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0) {
            match self.lines.get(k) {
                Some(lines) => {
                    out[k] = lines.relax(a, own.and_then(|slopes| slopes[k]), exponent, sum).into()
                }
                None => self.maxima[k].relax(a, exponent, &self.input, &mut out, sum),
            }
        }
        out
    }
}

/// What is known of the first nodes for one domain of one sample.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Boxes, by node.
    pub boxes: Vec<Arc<Bounds>>,
    /// By node; `None` for linear ones.
    pub relaxed: Vec<Option<Arc<Relaxation>>>,
}

impl State {
    /// Adds the box of the next node; lines stay when the input has the same box as in `before`.
    pub fn push(&mut self, op: &Op, inputs: &[usize], bounds: Arc<Bounds>, before: Option<&State>) {
        let old = before.and_then(|before| before.relaxed[self.boxes.len()].clone());
        self.relaxed.push(inputs.first().and_then(|&input| {
            let input = &self.boxes[input];
            if old.as_ref().is_some_and(|old| Arc::ptr_eq(&old.input, input)) {
                return old;
            }
            let (mut lines, mut maxima) = (vec![], vec![]);
            match op {
                Op::Activation(f) => lines = input.iter().map(|&x| Lines::new(*f, x)).collect(),
                Op::MaxPool(window) => {
                    maxima = (0..bounds.len()).map(|k| Maximum::new(&pooled(window, k), input)).collect();
                }
                Op::Input(_)
                | Op::Affine(_)
                | Op::Scale { .. }
                | Op::Divide(_)
                | Op::AveragePool { .. }
                | Op::Sum => {
                    return None;
                }
            }
            Some(Arc::new(Relaxation { input: input.clone(), lines, maxima }))
        }));
        self.boxes.push(bounds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits behind the point of a coefficient.
    const BITS: i32 = 40;

    #[test]
    fn lines_of_a_soft_threshold_are_below_it() {
        // In 256ths.
        let number = |x: i64| Number::new(x, -8);
        let threshold = 128;
        let f = Activation::SoftThreshold(number(threshold));
        // Coefficients are rounded.
        let rounding = Number::new(1, -30);
        let boxes = [(-4, 8), (-8, 4), (-4, 1), (-1, 4), (0, 8), (-8, 0), (-2, 2)];
        for (low, high) in boxes.map(|(low, high)| (64 * low, 64 * high)) {
            let lines = Lines::new(f, Interval { low: number(low), high: number(high) });
            for sign in [1, -1] {
                let mut sum = Number::ZERO;
                let slope = lines.relax(sign << BITS, None, -BITS, &mut sum);
                for x in (low..=high).step_by(4) {
                    let value = (x - threshold).max(0) + (x + threshold).min(0);
                    let line = Number::new(slope, -BITS) * number(x) + sum;
                    assert!(line <= number(sign * value) + rounding, "[{low}, {high}], {sign}, at {x}");
                }
            }
        }
    }
}
