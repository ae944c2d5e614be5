//! Piecewise linear functions between lines.
//!
//! A line `c x + t` is below `a f(x)` on [l, u] when it is at l, at u and at every corner of f between: there the difference
//! has its least value. So any slope will do, and t is computed from it; that is the whole proof.

use crate::damage::RowDamages;
use crate::network::{Activation, Op, Window};
use crate::number::{FRACTION_BITS, Interval, Number, share};
use crate::pass::Row;
use std::sync::Arc;

/// Bits of a slope times a coefficient: with the 64 of a corner they fit into 128.
const SLOPE_BITS: u32 = 58;

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
            Activation::Quantize(q) => q.around(x),
        }
    }

    /// The box of `f` on a box: none of these functions falls.
    pub fn image(self, x: Interval) -> Interval {
        Interval { low: self.around(x.low).low, high: self.around(x.high).high }
    }
}

/// A point, and a value there.
type Corner = (Number, Number);

impl Activation {
    /// Where a line must be below the function on a box, and where above.
    fn corners(self, x: Interval) -> [Vec<Corner>; 2] {
        let inner = match self {
            Activation::Relu | Activation::LeakyRelu(_) => [Some(Number::ZERO), None],
            Activation::Clip(low, high) => [low, high],
            Activation::SoftThreshold(lambda) => [Some(-lambda), Some(lambda)],
            Activation::Quantize(q) => return q.corners(x),
        };
        let inner = inner.into_iter().flatten().filter(|c| x.low < *c && *c < x.high);
        let points = [x.low, x.high].into_iter().chain(inner).map(|x| (x, self.around(x)));
        let (below, above) = points.map(|(x, y)| ((x, y.low), (x, y.high))).unzip();
        [below, above]
    }
}

/// One element of an activation on its box.
#[derive(Clone, Debug)]
struct Lines {
    /// Slopes of the lines below and above, which are not negative.
    slopes: [Number; 2],
    /// Where they must be below and above; nowhere when the function is zero or its argument.
    corners: [Vec<Corner>; 2],
    /// Whether a row may choose the slope of the line above, too: of a quantizer.
    both: bool,
}

impl Lines {
    /// Any slopes are sound; those that are tightest in the middle are taken.
    fn new(f: Activation, x: Interval) -> Lines {
        let corners = f.corners(x);
        let is_staircase = matches!(f, Activation::Quantize(_));
        // Of a quantizer corners stay: a row may choose another slope.
        let is_line = |value: fn(Number) -> Number| {
            !is_staircase && corners.iter().flatten().all(|&(x, y)| y == value(x))
        };
        if let Some(slope) = [(Number::ONE, is_line(|x| x)), (Number::ZERO, is_line(|_| Number::ZERO))]
            .into_iter()
            .find_map(|(slope, is_line)| is_line.then_some(slope))
        {
            return Lines { slopes: [slope; 2], corners: [vec![], vec![]], both: false };
        }
        // Twice the height of a line of this slope in the middle of the box, or of its opposite.
        let middle = |slope: Number, sign: Number, corners: &[Corner]| {
            let line = |x: Number| sign * slope * x;
            let offset = corners.iter().map(|&(x, y)| sign * y - line(x)).min().expect("there are corners");
            offset + offset + line(x.low) + line(x.high)
        };
        let best = |sign: Number, corners: &[Corner]| {
            let between = |k: usize| corners[k + 1..].iter().map(move |&b| slope(corners[k], b));
            // Of a quantizer flat, along the jumps, and from the end to the jump that it sees: the edges of the hull.
            let edges: Vec<Number> = match is_staircase {
                true => between(0).max().into_iter().collect(),
                false => (0..corners.len().min(2)).flat_map(between).collect(),
            };
            let slopes: Vec<Number> = [Number::ZERO, Number::ONE].into_iter().chain(edges).collect();
            *slopes.iter().rev().max_by_key(|slope| middle(**slope, sign, corners)).expect("there are slopes")
        };
        let slopes = [best(Number::ONE, &corners[0]), best(-Number::ONE, &corners[1])];
        Lines { slopes, corners, both: is_staircase }
    }

    /// The slope of a line below `a f`, whose offset is added to the sum. A lower slope of one's own is a fraction of ReLU:
    /// where it is the line z, `own z` is below for z ≥ 0, and where it is 0, for z ≤ 0. One of a quantizer counts on both sides.
    fn relax(&self, a: Number, own: Option<Number>, sum: &mut Number) -> Number {
        let side = usize::from(a.is_negative());
        let own = own.filter(|_| side == 0 || self.both).unwrap_or(self.slopes[side]);
        // Towards the line above and the line below it has the sign of a, or is zero.
        let c = (a * own).with_bits(SLOPE_BITS);
        let gap = |&(x, y): &Corner| a * y - c * x;
        self.corners[side].iter().map(gap).min().into_iter().for_each(|least| *sum += least);
        c
    }
}

/// The slope of a line through two points, about; zero when it falls.
fn slope(a: Corner, b: Corner) -> Number {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    match (dx.value.signum(), dy.value.signum()) {
        (-1, -1) => slope(b, a),
        (1, 1) => (dy.down() * dx.inverse_down()).down(),
        _ => Number::ZERO,
    }
}

/// The upper line of the maximum of one window: `y ≤ Σ slope_j z_j + …`, with the input `top` of the largest lower end.
#[derive(Clone, Debug)]
struct Maximum {
    /// The input whose lower end is the largest; it is never above the maximum.
    top: usize,
    /// Inputs that may be larger than the lower end of `top`, with the slopes of their chords; none where a constant is taken.
    others: Option<Vec<(usize, Number)>>,
    /// The lower end of `top`, and the largest upper end.
    range: Interval,
}

impl Maximum {
    fn new(inputs: &[usize], z: &Bounds) -> Maximum {
        let range = largest(inputs, z);
        let top = *inputs.iter().find(|&&j| z[j].low == range.low).expect("one has the largest end");
        let above = |j: usize| z[j].high - range.low;
        let others = inputs.iter().copied().filter(|&j| j != top && above(j).is_positive());
        let slope = |j: usize| Number::new(share(above(j), range.low - z[j].low), -(FRACTION_BITS as i32));
        let others: Vec<_> = others.map(|j| (j, slope(j))).collect();
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
    fn relax(&self, a: Number, z: &Bounds, add: &mut impl FnMut(usize, Number), sum: &mut Number) {
        if a.is_negative() {
            let Some(others) = &self.others else { return *sum += a * self.range.high };
            for &(j, slope) in others {
                let c = (a * slope).with_bits(SLOPE_BITS);
                let at_high = a * z[j].high - c * z[j].high - a * self.range.low;
                *sum += at_high.min(-c * z[j].low);
                add(j, c);
            }
        }
        add(self.top, a);
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
    /// A row below `Σ a_k y_k` of the outputs; its offset is added to the sum. Of each coefficient of the inputs a number that is at
    /// most it, and one that is at most its opposite.
    pub fn relax(&self, row: &Row, own: Option<&[Option<Number>]>, sum: &mut Number) -> Vec<[Number; 2]> {
        let mut out = vec![[Number::ZERO; 2]; self.input.len()];
        let mut add = |j: usize, c: Number| out[j].iter_mut().zip([c, -c]).for_each(|(sum, c)| *sum += c);
        for (k, &a) in row.a.iter().enumerate().filter(|(_, a)| **a != 0) {
            let a = Number::new(a, row.exponent);
            match self.lines.get(k) {
                Some(lines) => add(k, lines.relax(a, own.and_then(|own| own[k]), sum)),
                None => self.maxima[k].relax(a, &self.input, &mut add, sum),
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
    /// By node, of dense layers with words that may be hit; also of the next node.
    pub damages: Vec<Option<Arc<RowDamages>>>,
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
            if let Op::Activation(f) = op {
                lines = input.iter().map(|&x| Lines::new(*f, x)).collect();
            } else if let Op::MaxPool(window) = op {
                maxima = (0..bounds.len()).map(|k| Maximum::new(&pooled(window, k), input)).collect();
            } else {
                return None;
            }
            Some(Arc::new(Relaxation { input: input.clone(), lines, maxima }))
        }));
        self.boxes.push(bounds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staircase::Staircase;

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
                let slope = lines.relax(Number::new(sign << BITS, -BITS), None, &mut sum);
                for x in (low..=high).step_by(4) {
                    let value = (x - threshold).max(0) + (x + threshold).min(0);
                    let line = slope * number(x) + sum;
                    assert!(line <= number(sign * value) + rounding, "[{low}, {high}], {sign}, at {x}");
                }
            }
        }
    }

    #[test]
    fn lines_of_a_maximum_are_below_it() {
        let number = |x: i64| Number::new(x, -3);
        // The input with the largest lower end is the first or the second one; the other one is far above or below.
        let boxes = [
            [(-4, 8), (-8, 4)],
            [(-8, 4), (-4, 8)],
            [(0, 8), (-8, 4)],
            [(-2, 2), (-8, 3)],
            [(1, 2), (-8, 9)],
        ];
        let mut chords = 0;
        for ends in boxes {
            let z: Bounds =
                ends.map(|(low, high)| Interval { low: number(low), high: number(high) }).to_vec();
            let maximum = Maximum::new(&[0, 1], &z);
            chords += usize::from(maximum.others.is_some());
            for sign in [1, -1] {
                let (mut c, mut sum) = ([Number::ZERO; 2], Number::ZERO);
                maximum.relax(Number::new(sign << BITS, -BITS), &z, &mut |j, own| c[j] += own, &mut sum);
                for (x, y) in
                    (ends[0].0..=ends[0].1).flat_map(|x| (ends[1].0..=ends[1].1).map(move |y| (x, y)))
                {
                    let line = c[0] * number(x) + c[1] * number(y) + sum;
                    assert!(line <= number(sign * x.max(y)), "{ends:?}, {sign}, at {x} and {y}");
                }
            }
        }
        assert!(chords > 2, "{chords} of them by chords");
    }

    /// A third in single precision: p and p / step are rounded to it.
    const THIRD: Number = Number { value: 11_184_811, exponent: -25 };

    #[test]
    fn lines_of_a_quantizer_are_below_it() {
        // In 2^30ths of a step.
        let number = |x: i64| THIRD * Number::new(x, -30);
        let step = 1 << 30;
        let mut between = 0;
        for freedom in [0, 1] {
            let q = Staircase { step: THIRD, zero: 3, low: 0, high: 255, freedom };
            let boxes = [(-5, 3), (-2, 2), (0, 4), (1, 2), (100, 107), (250, 300), (-9, -4)];
            let boxes = boxes.map(|(low, high)| (low * step + 7, high * step + 9));
            // The last one is on the step of zero.
            for (low, high) in boxes.into_iter().chain([(-step / 4, step / 3)]) {
                let lines =
                    Lines::new(Activation::Quantize(q), Interval { low: number(low), high: number(high) });
                // Around all jumps, and between them.
                let jumps = (low / step - 2..high / step + 2).map(|k| k * step + step / 2);
                let points =
                    jumps.flat_map(|t| [-step / 3, -200, -9, -1, 0, 1, 9, 200, step / 3].map(|e| t + e));
                for x in points.chain([low, high]).filter(|x| (low..=high).contains(x)) {
                    let values = q.around(number(x));
                    let level = (2 * x + step).div_euclid(2 * step).clamp(-3, 252);
                    let by_text = q.level(number(x));
                    between += usize::from(by_text != level);
                    assert!((by_text - level).abs() <= 1, "{x}");
                    let ends =
                        [-freedom, freedom].map(|d| THIRD * Number::new((by_text + d).clamp(-3, 252), 0));
                    assert_eq!([values.low, values.high], ends);
                    let own = [None, Some(0), Some(1), Some(3), Some(4)];
                    let rows = [(1_i64, values.low), (-1, -values.high)];
                    for ((sign, value), own) in rows.iter().flat_map(|row| own.map(|own| (*row, own))) {
                        let (mut sum, own) = (Number::ZERO, own.map(|quarters| Number::new(quarters, -2)));
                        let slope = lines.relax(Number::new(sign << BITS, -BITS), own, &mut sum);
                        if let Some(own) = own {
                            assert_eq!(slope, Number::new(sign, 0) * own, "of both lines");
                        }
                        assert!(slope * number(x) + sum <= value, "[{low}, {high}], {sign}, {own:?}, at {x}");
                    }
                }
            }
        }
        assert!(between > 20, "{between} points whose quotient is rounded to a tie");
    }
}
