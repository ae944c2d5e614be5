//! Piecewise linear functions between lines.
//!
//! A line `c x + t` is below `a f(x)` on [l, u] when it is at l, at u and at every corner of f between: there the difference
//! has its least value. So any slope will do, and t is computed from it; that is the whole proof.

use crate::layer::Model;
use crate::network::{Activation, Op, Window};
use crate::number::{Dyadic, FRACTION, FRACTION_BITS, Number, Sum, share};
use crate::state::Bounds;
use std::iter::once;

/// A point of a function: `x`, and numbers around `f(x)`, equal where it is exact.
#[derive(Clone, Copy, Debug)]
struct Point {
    x: Number,
    below: Number,
    above: Number,
}

/// One element of an activation on its box.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Slope below, a fraction.
    lower: i64,
    /// Slope above, a fraction.
    upper: i64,
    /// Ends and corners; none where the function is the line through zero with both slopes.
    points: Vec<Point>,
}

impl Activation {
    /// Numbers around `f(x)`.
    pub fn around(self, x: Number) -> (Number, Number) {
        match self {
            Activation::Relu => (x.max(Number::ZERO), x.max(Number::ZERO)),
            Activation::LeakyRelu(_) if !x.is_negative() => (x, x),
            Activation::LeakyRelu(slope) => {
                let value = Dyadic::from(slope).times(&x.into());
                (value.down(), value.up())
            }
            Activation::Clip(low, high) => {
                let raised = low.map_or(x, |low| x.max(low));
                let value = high.map_or(raised, |high| raised.min(high));
                (value, value)
            }
        }
    }

    /// Lines for the box [l, u].
    pub fn lines(self, l: Number, u: Number) -> Lines {
        let zero = Number::ZERO;
        let line = |slope: i64| Lines { lower: slope, upper: slope, points: vec![] };
        let corners = match self {
            Activation::Relu | Activation::LeakyRelu(_) if l >= zero => return line(FRACTION),
            Activation::Relu if u <= zero => return line(0),
            Activation::Relu | Activation::LeakyRelu(_) => [Some(zero), None],
            Activation::Clip(low, high) => [low, high],
        };
        let corners: Vec<Number> = corners.into_iter().flatten().filter(|x| l < *x && *x < u).collect();
        let point = |x: Number| {
            let (below, above) = self.around(x);
            Point { x, below, above }
        };
        let points: Vec<Point> = [l, u].into_iter().chain(corners.iter().copied()).map(point).collect();
        if self == Activation::Relu {
            let lower = if u > l.negated() { FRACTION } else { 0 };
            return Lines { lower, upper: share(u, l.negated()), points };
        }
        // Any of these slopes is sound; the tightest in the middle is taken, as the engine does.
        let mut slopes = vec![0, FRACTION, slope(&points[0], &points[1])];
        if let Activation::LeakyRelu(slope) = self {
            slopes.push(slope.fraction());
        }
        for corner in &points[2..] {
            slopes.extend([slope(&points[0], corner), slope(corner, &points[1])]);
        }
        let sum = Dyadic::from(l).plus(&u.into());
        let middle = |slope: i64, above: bool| {
            let slope = Dyadic::new(slope.into(), -i64::from(FRACTION_BITS));
            let offset = |p: &Point| {
                Dyadic::from(if above { p.above } else { p.below }).minus(&slope.times(&p.x.into()))
            };
            let offsets = points.iter().map(offset);
            let offset = if above { offsets.max() } else { offsets.min() }.expect("there are points");
            offset.plus(&offset).plus(&slope.times(&sum))
        };
        let lower = *slopes.iter().max_by_key(|s| middle(**s, false)).expect("there are slopes");
        let upper = *slopes.iter().min_by_key(|s| middle(**s, true)).expect("there are slopes");
        Lines { lower, upper, points }
    }
}

/// The slope of a line through two points of a function that rises by at most 1, a fraction.
fn slope(a: &Point, b: &Point) -> i64 {
    let (dx, dy) = (Dyadic::from(b.x).minus(&a.x.into()), Dyadic::from(b.below).minus(&a.below.into()));
    let rest = dx.minus(&dy);
    match (dy.is_positive(), rest.is_positive()) {
        (true, true) => share(dy.down(), rest.down()),
        (true, false) => FRACTION,
        (false, _) => 0,
    }
}

impl Lines {
    /// The slope `c` of a line below `a f`, whose offset is added to the sum. A lower slope of one's own is a fraction of ReLU:
    /// where it is the line z, `own z` is below for z ≥ 0, and where it is 0, for z ≤ 0.
    pub fn relax(&self, a: i64, own: Option<i64>, exponent: i32, sum: &mut Sum) -> i64 {
        let slope = if a < 0 { self.upper } else { own.unwrap_or(self.lower) };
        let c = ((i128::from(a) * i128::from(slope)) >> FRACTION_BITS) as i64;
        if !self.points.is_empty() {
            let value = |p: &Point| {
                let (value, e) = Sum::difference(a, if a > 0 { p.below } else { p.above }, c, p.x);
                (value, e + exponent)
            };
            sum.add_least(self.points.iter().map(value));
        }
        c
    }
}

/// The upper line of the maximum of one window: `y ≤ Σ slope_j z_j + …`, with the input `top` of the largest lower end.
#[derive(Clone, Debug)]
pub struct Maximum {
    /// The input whose lower end is the largest; it is never above the maximum.
    top: usize,
    /// Inputs that may be larger than the lower end of `top`, with the slopes of their chords; none where a constant is taken.
    others: Option<Vec<(usize, i64)>>,
    /// The lower end of `top`.
    least: Number,
    /// The largest upper end.
    most: Number,
}

impl Maximum {
    /// Of the inputs of one window.
    fn new(inputs: &[usize], bounds: &Bounds) -> Maximum {
        let (l, u) = (&bounds.lower, &bounds.upper);
        let top = inputs
            .iter()
            .copied()
            .reduce(|a, b| if l[b] > l[a] { b } else { a })
            .expect("no window is empty");
        let (least, most) = (l[top], inputs.iter().map(|&j| u[j]).max().expect("no window is empty"));
        let mut others = Vec::new();
        // Twice the value of the line in the middle of the box: z_top + Σ slope_j (z_j − l_j).
        let mut middle = Dyadic::from(least).plus(&u[top].into());
        for &j in inputs.iter().filter(|&&j| j != top && u[j] > least) {
            let above = Dyadic::from(u[j]).minus(&least.into());
            let slope = share(above.down(), Dyadic::from(least).minus(&l[j].into()).up());
            others.push((j, slope));
            middle = middle.plus(&above);
        }
        let constant = Dyadic::from(most).plus(&most.into()) < middle;
        Maximum { top, others: (!constant).then_some(others), least, most }
    }

    /// Adds a line below `a max(z)` to coefficients of the inputs and its offset to the sum.
    ///
    /// ```text
    /// a > 0:   a y ≥ a z_top
    /// a < 0:   a y ≥ a most,   or   a y ≥ a z_top + Σ_j a (z_j − least)⁺,   each of them concave: a line that is below at both ends
    /// ```
    pub fn relax(&self, a: i64, row: (&mut [i128], i32), bounds: &Bounds, sum: &mut Sum) {
        let (out, exponent) = row;
        if let (Some(others), true) = (&self.others, a < 0) {
            for &(j, slope) in others {
                let c = ((i128::from(a) * i128::from(slope)) >> FRACTION_BITS) as i64;
                let (l, u) = (bounds.lower[j], bounds.upper[j]);
                let mut at_u = Sum::default();
                at_u.add_product(a, exponent, u);
                at_u.add_product(-a, exponent, self.least);
                at_u.add_product(-c, exponent, u);
                let at_l = (i128::from(-c) * i128::from(l.mantissa), exponent + l.exponent);
                sum.add_least(once(at_l).chain(once(at_u.parts())));
                out[j] += i128::from(c);
            }
        } else if a < 0 {
            return sum.add_product(a, exponent, self.most);
        }
        out[self.top] += i128::from(a);
    }
}

/// What the nonlinear node `index` is between on the boxes of its input.
#[derive(Debug)]
pub enum Relaxation {
    /// By element.
    Activation(Vec<Lines>),
    /// By window.
    Maximum(Vec<Maximum>),
}

impl Relaxation {
    /// `None` for linear nodes.
    pub fn new(model: &Model, index: usize, input: &Bounds) -> Option<Relaxation> {
        match &model.network.nodes[index].op {
            Op::Activation(f) => {
                let lines = |(&l, &u)| f.lines(l, u);
                Some(Relaxation::Activation(input.lower.iter().zip(&input.upper).map(lines).collect()))
            }
            Op::MaxPool(window) => {
                let maximum = |k| Maximum::new(&pooled(window, k).collect::<Vec<_>>(), input);
                Some(Relaxation::Maximum((0..model.network.nodes[index].width).map(maximum).collect()))
            }
            Op::Input(_) | Op::Affine(_) | Op::Scale { .. } | Op::AveragePool { .. } | Op::Sum => None,
        }
    }
}

/// The elements that output `k` of a pooling node reads.
pub fn pooled(window: &Window, k: usize) -> impl Iterator<Item = usize> {
    window.taps(k / window.positions(), k % window.positions()).into_iter().map(|(_, j)| j)
}
