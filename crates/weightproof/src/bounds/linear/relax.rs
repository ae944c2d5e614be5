//! Linear relaxations of single neurons: `α p + a₀ ≤ ρ(p) ≤ β p + b₀` on `[l, u]`.

use super::super::rounding::Arithmetic;
use super::super::step::numbers;
use super::super::{Block, States};
use super::maximum::MaxRelaxation;
use super::product::ProductRelaxation;
use super::staircase::Hull;
use super::{dynamic, staircase};
use crate::kernels::rows::{Lines, larger, vectorized};
use crate::kernels::{Matrix, Scalar};
use crate::model::Step;
use crate::network::{Activation, DynamicQuantizer, FUNCTION_ROUNDING};
use std::f64::consts::SQRT_2;

/// A line `slope · p + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub slope: f64,
    pub offset: f64,
}

impl Line {
    /// The line on the other side of zero, of an element of opposite sign.
    pub(super) fn mirrored(self) -> Self {
        Line { offset: -self.offset, ..self }
    }

    /// Its value at `p`.
    pub fn at(self, p: f64) -> f64 {
        self.slope * p + self.offset
    }
}

/// Lines of one nonlinear node, for a block of samples.
#[derive(Clone, Debug)]
pub enum Relaxed<T> {
    /// Of an activation, or of a quantizer whose step follows from the range of all elements.
    Activation(Relaxation<T>),
    /// Of max pooling.
    Maximum(MaxRelaxation<T>),
    /// Of a product of two nodes.
    Product(ProductRelaxation<T>),
}

impl<T: Scalar> Relaxed<T> {
    /// Relaxes node `index` on the boxes of what it reads, if it is nonlinear.
    pub fn new(block: &Block<'_, T>, states: &States<'_, T>, index: usize) -> Option<Self> {
        let model = block.prepared.model;
        let input = || model.input_of(index);
        match &model.steps[index] {
            // No pass goes through it.
            Step::Activation(Activation::Quantize(_)) | Step::DynamicQuantize(_)
                if states.is_fixed(index) =>
            {
                None
            }
            Step::Activation(_) if states.is_independent(index) => None,
            Step::DynamicQuantize(q) => Some(Relaxed::Activation(Relaxation::dynamic(states, *q, input()))),
            Step::Activation(f) => Some(Relaxed::Activation(Relaxation::new(block, states, *f, input()))),
            Step::MaxPool(window) => {
                let slack = Slack::new(block.prepared.arithmetic);
                Some(Relaxed::Maximum(MaxRelaxation::new(window, states, input(), slack)))
            }
            Step::Multiply => {
                let arithmetic = block.prepared.arithmetic;
                let inputs = model.inputs_of(index);
                Some(Relaxed::Product(ProductRelaxation::new(arithmetic, states, [inputs[0], inputs[1]])))
            }
            Step::Input
            | Step::Affine(_)
            | Step::Scale { .. }
            | Step::AveragePool { .. }
            | Step::Add
            | Step::Gather(_)
            | Step::Reshape => None,
        }
    }
}

/// Lines of all neurons of one activation node, for a block of samples.
#[derive(Clone, Debug)]
pub struct Relaxation<T> {
    lower_slope: Matrix<T>,
    lower_offset: Matrix<T>,
    upper_slope: Matrix<T>,
    upper_offset: Matrix<T>,
    /// For a unit of the activation's coefficient the magnitudes of what it is made into: slope times input and offset, for
    /// every lower slope of ReLU in `[0, 1]`.
    magnitude: Matrix<T>,
}

impl<T: Scalar> Relaxation<T> {
    /// Relaxes `f` on the boxes of node `input`.
    pub fn new(block: &Block<'_, T>, states: &States<'_, T>, f: Activation, input: usize) -> Self {
        let (arithmetic, radius) = (block.prepared.arithmetic, block.prepared.radii.activation());
        let (l, u) = (states.lower(input), states.upper(input));
        let mut r = Relaxation::zeros(l.rows(), l.cols());
        let slack = Slack::new(arithmetic);
        if f == Activation::Relu {
            vectorized!(|| r.set_all(
                l,
                u,
                radius,
                #[inline(always)]
                |l, u| relu(l, u, slack)
            ));
            return r;
        }
        if f.is_quantizer() {
            let is_exact = arithmetic.is_exact();
            f.by_kind(
                #[inline(always)]
                |f| {
                    if let Activation::Quantize(q) = f {
                        r.set_all(
                            l,
                            u,
                            radius,
                            #[inline(always)]
                            |l, u| staircase::lines(&q, (l, u), is_exact),
                        );
                    }
                },
            );
            return r;
        }
        let of_both = |lower: T, upper: T| {
            let (l, u) = (lower.to_f64(), upper.to_f64());
            let (low, high) = lines(f, l, u);
            let (ls, us) = (T::from_f64(low.slope), T::from_f64(high.slope));
            if arithmetic.is_exact() {
                [ls, T::from_f64(low.offset), us, T::from_f64(high.offset)]
            } else {
                let below = enclosed_extrema(f, ls.to_f64(), l, u).0;
                let above = enclosed_extrema(f, us.to_f64(), l, u).1;
                [ls, T::from_f64_down(below), us, T::from_f64_up(above)]
            }
        };
        r.set_all(l, u, radius, of_both);
        r
    }

    /// Sets the lines of all elements to those that `of_both` makes of their boxes.
    #[inline(always)]
    fn set_all(&mut self, l: &Matrix<T>, u: &Matrix<T>, radius: T, of_both: impl Fn(T, T) -> [T; 4]) {
        let ends = l.as_slice().iter().zip(u.as_slice());
        let lower = self.lower_slope.as_mut_slice().iter_mut().zip(self.lower_offset.as_mut_slice());
        let upper = self.upper_slope.as_mut_slice().iter_mut().zip(self.upper_offset.as_mut_slice());
        let all = lower.zip(upper).zip(self.magnitude.as_mut_slice());
        for ((((ls, lo), (us, uo)), magnitude), (&l, &u)) in all.zip(ends) {
            let lines = of_both(l, u);
            *magnitude = magnitude_of((l, u), lines, radius);
            [*ls, *lo, *us, *uo] = lines;
        }
    }

    /// Relaxes `q` on the boxes of node `input`.
    fn dynamic(states: &States<'_, T>, q: DynamicQuantizer, input: usize) -> Self {
        let (l, u) = (states.lower(input), states.upper(input));
        let mut r = Relaxation::zeros(l.rows(), l.cols());
        for s in 0..l.rows() {
            let lines = dynamic::lines(q, &numbers(l.row(s)), &numbers(u.row(s)));
            for (j, (low, high)) in lines.into_iter().enumerate() {
                let (lo, uo) = (T::from_f64_down(low.offset), T::from_f64_up(high.offset));
                let line = [T::from_f64(low.slope), lo, T::from_f64(high.slope), uo];
                r.set(s * l.cols() + j, (l[(s, j)], u[(s, j)]), line, T::zero());
            }
        }
        r
    }

    pub(super) fn zeros(rows: usize, cols: usize) -> Self {
        let zeros = || Matrix::zeros(rows, cols);
        Relaxation {
            lower_slope: zeros(),
            lower_offset: zeros(),
            upper_slope: zeros(),
            upper_offset: zeros(),
            magnitude: zeros(),
        }
    }

    /// Sets the lines of element `k` on `[lower, upper]`: slope and offset of the lower one, then of the upper one.
    fn set(&mut self, k: usize, ends: (T, T), lines: [T; 4], radius: T) {
        self.put(k, lines, magnitude_of(ends, lines, radius));
    }

    fn put(&mut self, k: usize, [ls, lo, us, uo]: [T; 4], magnitude: T) {
        self.magnitude.as_mut_slice()[k] = magnitude;
        self.lower_slope.as_mut_slice()[k] = ls;
        self.lower_offset.as_mut_slice()[k] = lo;
        self.upper_slope.as_mut_slice()[k] = us;
        self.upper_offset.as_mut_slice()[k] = uo;
    }

    /// The lines of sample `s` with slopes of a row's own: of ReLU the lower ones, of a quantizer both where `hulls` has one. `own` is
    /// where they are put.
    #[inline(always)]
    pub(super) fn own_lines<'l>(
        &'l self,
        s: usize,
        slopes: Option<&'l [T]>,
        hulls: Option<&[Option<Hull>]>,
        own: &'l mut Relaxation<T>,
    ) -> Lines<'l, T> {
        let plain = self.lines(s);
        let Some(slopes) = slopes else { return plain };
        let Some(hulls) = hulls else { return Lines { lower_slope: slopes, ..plain } };
        for (k, hull) in hulls.iter().enumerate() {
            let (lines, magnitude) = match hull {
                None => (
                    [plain.lower_slope, plain.lower_offset, plain.upper_slope, plain.upper_offset]
                        .map(|of| of[k]),
                    plain.magnitude[k],
                ),
                Some(hull) => {
                    let (least, most) = hull.offsets(slopes[k].to_f64());
                    let (least, most) = (T::from_f64_down(least), T::from_f64_up(most));
                    // The slope is at most 1, for which the plain magnitude has room.
                    let magnitude = plain.magnitude[k] + larger(least.abs(), most.abs());
                    ([slopes[k], least, slopes[k], most], magnitude)
                }
            };
            own.put(k, lines, magnitude);
        }
        own.lines(0)
    }

    /// The lines of sample `s`.
    #[inline(always)]
    pub fn lines(&self, s: usize) -> Lines<'_, T> {
        Lines {
            lower_slope: self.lower_slope.row(s),
            lower_offset: self.lower_offset.row(s),
            upper_slope: self.upper_slope.row(s),
            upper_offset: self.upper_offset.row(s),
            magnitude: self.magnitude.row(s),
        }
    }
}

/// [`Relaxation`]'s magnitude of lines on `[lower, upper]`.
#[inline(always)]
fn magnitude_of<T: Scalar>((lower, upper): (T, T), [ls, lo, us, uo]: [T; 4], radius: T) -> T {
    let slope = larger(T::one(), larger(ls.abs(), us.abs()));
    slope * larger(lower.abs(), upper.abs()) + larger(lo.abs(), uo.abs()) + radius
}

/// What intercepts are raised by, so that they hold for slopes as they are stored: a part of the interval's larger end, and
/// what underflow takes.
#[derive(Clone, Copy)]
pub struct Slack<T> {
    part: T,
    least: T,
}

impl<T: Scalar> Slack<T> {
    pub(super) fn new(arithmetic: Arithmetic<T>) -> Self {
        Slack { part: arithmetic.gamma(4), least: arithmetic.underflow(4) }
    }

    /// For a line on `[l, u]`.
    #[inline(always)]
    pub(super) fn of(self, l: T, u: T) -> T {
        self.part * larger(l.abs(), u.abs()) + self.least
    }
}

/// Slope and offset of the lower line of ReLU, then of the upper one; the lower slope is the adaptive 0 or 1. The chord is above
/// the function where it is at both ends of the interval.
#[inline(always)]
fn relu<T: Scalar>(l: T, u: T, slack: Slack<T>) -> [T; 4] {
    let (zero, one) = (T::zero(), T::one());
    if l >= zero {
        [one, zero, one, zero]
    } else if u <= zero {
        [zero; 4]
    } else {
        let slope = u / (u - l);
        let chord = larger(-slope * l, u - slope * u) + slack.of(l, u);
        [if u > -l { one } else { zero }, zero, slope, chord]
    }
}

/// Lower and upper line of `f` on `[l, u]`.
///
/// A candidate slope `m` becomes a sound line by the exact extremum of `f(p) − m p` on the interval, so no tangent point
/// is ever assumed; among the candidates the line that is tightest in the middle of the interval is taken.
///
/// # Guarantee
/// Sound in real arithmetic for every activation.
/// # Source
/// theory.md §4.3; slopes as in CROWN (Zhang et al., arXiv 1811.00866). Difference: offsets by exact extrema.
fn lines(f: Activation, l: f64, u: f64) -> (Line, Line) {
    let (f_l, f_u) = (f.apply(l), f.apply(u));
    let width = u - l;
    if !(width > 0.0) {
        let (low, high) = f.range(l, u);
        return (Line { slope: 0.0, offset: low }, Line { slope: 0.0, offset: high });
    }
    let middle = l + 0.5 * width;
    let chord = (f_u - f_l) / width;
    let mut slopes = vec![chord, f.derivative(middle), f.derivative(l), f.derivative(u)];
    if f.is_piecewise_linear() {
        slopes = vec![chord, f.derivative(-1.0), f.derivative(1.0)];
    }
    slopes.extend(kink_slopes(f, l, u));
    slopes.extend(tangent_slopes(f, l, u));
    let mut low = Line { slope: 0.0, offset: f64::NEG_INFINITY };
    let mut high = Line { slope: 0.0, offset: f64::INFINITY };
    for slope in slopes {
        let (least, most) = extrema(f, slope, l, u);
        let (below, above) = (Line { slope, offset: least }, Line { slope, offset: most });
        if below.at(middle) > low.at(middle) {
            low = below;
        }
        if above.at(middle) < high.at(middle) {
            high = above;
        }
    }
    (low, high)
}

/// [`extrema`] rounded outward.
///
/// # Guarantee
/// As [`Activation::enclosed_range`]. Where the derivative is only nearly `m`, the value differs in second order.
fn enclosed_extrema(f: Activation, m: f64, l: f64, u: f64) -> (f64, f64) {
    let (least, most) = extrema(f, m, l, u);
    let size = f.apply(l).abs() + f.apply(u).abs() + least.abs() + most.abs() + m.abs() * (l.abs() + u.abs());
    let slack = FUNCTION_ROUNDING * size + f64::MIN_POSITIVE;
    (least - slack, most + slack)
}

/// Slopes of the lines through an end of the interval and a kink inside of it, and of the parts of a clip.
fn kink_slopes(f: Activation, l: f64, u: f64) -> Vec<f64> {
    let (kinks, mut slopes) = match f {
        Activation::Clip { low, high } => ([low, high], vec![0.0, 1.0]),
        Activation::SoftThreshold { lambda } => ([-lambda, lambda], vec![0.0, 1.0]),
        Activation::HardSwish => ([-3.0, 3.0], vec![0.0, 1.0]),
        Activation::Elu { .. } => ([0.0; 2], vec![1.0]),
        Activation::Relu
        | Activation::LeakyRelu { .. }
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::Softplus
        | Activation::Gelu
        | Activation::GeluTanh
        | Activation::Silu
        | Activation::Mish
        | Activation::Softsign
        | Activation::Atan
        | Activation::Square
        | Activation::Exp
        | Activation::Reciprocal
        | Activation::Power { .. }
        | Activation::Quantize(_) => return Vec::new(),
    };
    for kink in kinks.into_iter().filter(|kink| l < *kink && *kink < u) {
        slopes.push((f.apply(kink) - f.apply(l)) / (kink - l));
        slopes.push((f.apply(u) - f.apply(kink)) / (u - kink));
    }
    slopes
}

/// Slopes of the lines through one end of an interval across zero that touch an S-shaped function on the other side.
fn tangent_slopes(f: Activation, l: f64, u: f64) -> Vec<f64> {
    let s_shaped =
        matches!(f, Activation::Sigmoid | Activation::Tanh | Activation::Softsign | Activation::Atan);
    if !s_shaped || l >= 0.0 || u <= 0.0 {
        return Vec::new();
    }
    let touch = |end: f64, mut near: f64, mut far: f64| {
        // Between `near` = 0 (line through `end` too flat) and `far` (too steep at the start, too flat at the end).
        for _ in 0..30 {
            let d = 0.5 * (near + far);
            if (f.derivative(d) * (d - end)).abs() > (f.apply(d) - f.apply(end)).abs() {
                near = d;
            } else {
                far = d;
            }
        }
        f.derivative(far)
    };
    vec![touch(l, 0.0, u), touch(u, 0.0, l)]
}

/// Exact minimum and maximum of `f(p) − m p` on `[l, u]`: at the ends, or where `f' = m`.
fn extrema(f: Activation, m: f64, l: f64, u: f64) -> (f64, f64) {
    let value = |p: f64| f.apply(p) - m * p;
    let (mut least, mut most) = (value(l).min(value(u)), value(l).max(value(u)));
    for p in stationary_points(f, m, l, u).into_iter().flatten() {
        if p > l && p < u {
            least = least.min(value(p));
            most = most.max(value(p));
        }
    }
    (least, most)
}

/// Where `f'(p) = m` (piecewise-linear: the kink) may hold inside `[l, u]`.
fn stationary_points(f: Activation, m: f64, l: f64, u: f64) -> [Option<f64>; 3] {
    match f {
        Activation::Relu | Activation::LeakyRelu { .. } => [Some(0.0), None, None],
        Activation::Clip { low, high } => [Some(low), Some(high), None],
        Activation::SoftThreshold { lambda } => [Some(-lambda), Some(lambda), None],
        // s(1−s) = m
        Activation::Sigmoid if m > 0.0 && m < 0.25 => {
            let root = (1.0 - 4.0 * m).sqrt();
            // The smaller solution of s² − s + m = 0, without cancellation.
            let s = 2.0 * m / (1.0 + root);
            let p = (s / (1.0 - s)).ln();
            [Some(p), Some(-p), None]
        }
        // 1 − t² = m
        Activation::Tanh if m > 0.0 && m < 1.0 => {
            let p = (1.0 - m).sqrt().atanh();
            // For tiny m the tanh is 1 in f64; ln(4/m)/2 is its limit.
            let p = if p.is_finite() { p } else { 0.5 * (4.0 / m).ln() };
            [Some(p), Some(-p), None]
        }
        // sigmoid(p) = m
        Activation::Softplus if m > 0.0 && m < 1.0 => [Some((m / (1.0 - m)).ln()), None, None],
        // 1 / (1 + |p|)² = m
        Activation::Softsign if m > 0.0 && m < 1.0 => {
            let p = (1.0 - m) / (m.sqrt() * (1.0 + m.sqrt()));
            [Some(p), Some(-p), None]
        }
        // 1 / (1 + p²) = m
        Activation::Atan if m > 0.0 && m < 1.0 => {
            let p = ((1.0 - m) / m).sqrt();
            [Some(p), Some(-p), None]
        }
        // 2 p = m
        Activation::Square => [Some(0.5 * m), None, None],
        // exp(p) = m
        Activation::Exp if m > 0.0 => [Some(m.ln()), None, None],
        // −1 / p² = m
        Activation::Reciprocal if m < 0.0 => {
            let p = 1.0 / (-m).sqrt();
            [Some(p), Some(-p), None]
        }
        // c p^(c − 1) = m
        Activation::Power { exponent } if m / exponent > 0.0 => {
            [Some((m / exponent).powf(1.0 / (exponent - 1.0))), None, None]
        }
        // α exp(p) = m, and the kink
        Activation::Elu { alpha } if m > 0.0 && m < alpha => [Some(0.0), Some((m / alpha).ln()), None],
        Activation::Elu { .. } => [Some(0.0), None, None],
        // (2 p + 3) / 6 = m, and the kinks
        Activation::HardSwish => [Some(-3.0), Some(3.0), Some(3.0 * m - 1.5).filter(|p| p.abs() < 3.0)],
        Activation::Sigmoid
        | Activation::Tanh
        | Activation::Softplus
        | Activation::Softsign
        | Activation::Atan
        | Activation::Exp
        | Activation::Reciprocal
        | Activation::Power { .. }
        | Activation::Quantize(_) => [None; 3],
        Activation::Gelu => gelu_like(f, [-SQRT_2, SQRT_2], m, l, u),
        Activation::GeluTanh => gelu_like(f, [-GELU_TANH_TURN, GELU_TANH_TURN], m, l, u),
        Activation::Silu => gelu_like(f, [-SILU_TURN, SILU_TURN], m, l, u),
        Activation::Mish => gelu_like(f, MISH_TURNS, m, l, u),
    }
}

/// Positive zero of the second derivative of the tanh form of GELU.
const GELU_TANH_TURN: f64 = 1.418_504_012_957_255_3;
/// The same for SiLU.
const SILU_TURN: f64 = 2.399_357_280_515_467_7;
/// Both zeros of the second derivative of Mish.
const MISH_TURNS: [f64; 2] = [-2.256_376_396_360_793, 1.490_571_179_485_428_5];

/// Where the derivative is `m`, for functions like GELU: it falls, rises and falls again, with these turning points, so there is at most one
/// solution in each part, found by bisection.
fn gelu_like(f: Activation, turns: [f64; 2], m: f64, l: f64, u: f64) -> [Option<f64>; 3] {
    [(l, turns[0]), (turns[0], turns[1]), (turns[1], u)].map(|(from, to)| {
        let (mut a, mut b) = (from.max(l), to.min(u));
        if !(a < b) || (f.derivative(a) - m) * (f.derivative(b) - m) > 0.0 {
            return None;
        }
        let rising = f.derivative(b) > f.derivative(a);
        // Enough to bring the widest interval down to neighbouring numbers of its root.
        for _ in 0..1100 {
            let c = 0.5 * (a + b);
            if c <= a || c >= b {
                break;
            }
            if (f.derivative(c) < m) == rising {
                a = c;
            } else {
                b = c;
            }
        }
        Some(0.5 * (a + b))
    })
}

/// The chord of `|z|` on `[l, u]`: `|z| ≤ s z + t`, exact when the sign is known. NaN gives NaN.
#[inline(always)]
pub(super) fn chord<T: Scalar>(l: T, u: T, slack: Slack<T>) -> (T, T) {
    if l >= T::zero() {
        (T::one(), T::zero())
    } else if u <= T::zero() {
        (-T::one(), T::zero())
    } else {
        let slope = (u + l) / (u - l);
        (slope, larger(u - slope * u, -l - slope * l) + slack.of(l, u))
    }
}

/// Chords of `|z|`, by [`chord`], of all elements of a node.
#[derive(Clone, Debug)]
pub struct AbsoluteLines<T> {
    /// Slopes `s`, (samples, width).
    pub slope: Matrix<T>,
    /// Offsets `t ≥ 0`, (samples, width).
    pub offset: Matrix<T>,
}

impl<T: Scalar> AbsoluteLines<T> {
    /// The chords of node `index`, or `None` when no value there can be negative (then `|z| = z`).
    pub fn new(states: &States<'_, T>, index: usize, arithmetic: Arithmetic<T>) -> Option<Self> {
        let (l, u) = (states.lower(index), states.upper(index));
        if l.as_slice().iter().all(|l| *l >= T::zero()) {
            return None;
        }
        let slack = Slack::new(arithmetic);
        let at = |s: usize, j: usize| chord(l[(s, j)], u[(s, j)], slack);
        Some(AbsoluteLines {
            slope: Matrix::from_fn(l.rows(), l.cols(), |s, j| at(s, j).0),
            offset: Matrix::from_fn(l.rows(), l.cols(), |s, j| at(s, j).1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Guarantee;

    const ALL: [Activation; 22] = [
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.2 },
        Activation::LeakyRelu { slope: 1.7 },
        Activation::Clip { low: 0.0, high: 6.0 },
        Activation::Clip { low: -0.5, high: 0.7 },
        Activation::SoftThreshold { lambda: 0.8 },
        Activation::SoftThreshold { lambda: 0.0 },
        Activation::Clip { low: f64::NEG_INFINITY, high: 1.25 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Softplus,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::ABSOLUTE,
        Activation::LeakyRelu { slope: -0.3 },
        Activation::Elu { alpha: 0.6 },
        Activation::Elu { alpha: 1.7 },
        Activation::Silu,
        Activation::Mish,
        Activation::HardSwish,
        Activation::Softsign,
        Activation::Atan,
    ];
    /// Rounding of the lines' evaluation in f64.
    const ROUNDING: f64 = 1e-12;

    #[test]
    fn lines_enclose_the_function_on_every_interval() {
        for f in ALL {
            for a in -24..24 {
                for width in [1e-9, 1e-3, 0.3, 1.0, 2.5, 7.0, 40.0] {
                    let l = f64::from(a) * 0.37;
                    let u = l + width;
                    let (low, high) = lines(f, l, u);
                    for k in 0..=400 {
                        let p = l + width * f64::from(k) / 400.0;
                        let slack = ROUNDING * (1.0 + p.abs());
                        assert!(low.at(p) <= f.apply(p) + slack, "{f:?} below on [{l}, {u}] at {p}");
                        assert!(high.at(p) >= f.apply(p) - slack, "{f:?} above on [{l}, {u}] at {p}");
                    }
                }
            }
        }
    }

    #[test]
    fn lines_of_steep_functions_enclose_them_wherever_they_are_defined() {
        let positive = [Activation::Reciprocal, Activation::SQRT, Activation::Power { exponent: -0.5 }];
        let cases = positive.iter().flat_map(|f| [(*f, 1.0), (*f, 0.01)]);
        let cases = cases.chain([Activation::Square, Activation::Exp].map(|f| (f, -3.0)));
        for (f, from) in cases.chain([(Activation::Reciprocal, -7.0)]) {
            for width in [1e-9, 1e-3, 0.3, 1.0, 2.5, 6.0] {
                let (l, u) = (from, from + width);
                let (low, high) = lines(f, l, u);
                let size = f.apply(l).abs() + f.apply(u).abs() + low.slope.abs() + high.slope.abs();
                let (mut below, mut above) = (f64::INFINITY, f64::INFINITY);
                for k in 0..=400 {
                    let p = l + width * f64::from(k) / 400.0;
                    let slack = ROUNDING * (1.0 + size * (1.0 + p.abs()));
                    below = below.min(f.apply(p) - low.at(p) + slack);
                    above = above.min(high.at(p) - f.apply(p) + slack);
                }
                assert!(below >= 0.0 && above >= 0.0, "{f:?} on [{l}, {u}]: {below} {above}");
                // Convex or concave: both lines touch.
                let near = ROUNDING * (1.0 + size * (1.0 + l.abs() + u.abs())) + 1e-3 * width * width * size;
                assert!(below < 2.0 * near && above < 2.0 * near, "{f:?} on [{l}, {u}]: {below} {above}");
            }
        }
    }

    #[test]
    fn lines_are_tight_where_the_best_one_is_known() {
        // Convex: the chord above, a tangent below.
        let (low, high) = lines(Activation::Softplus, -1.0, 2.0);
        assert!((high.at(-1.0) - Activation::Softplus.apply(-1.0)).abs() < ROUNDING);
        assert!((high.at(2.0) - Activation::Softplus.apply(2.0)).abs() < ROUNDING);
        assert!((low.at(0.5) - Activation::Softplus.apply(0.5)).abs() < ROUNDING);
        // S-shaped across zero: the upper line goes through the lower end.
        let (_, high) = lines(Activation::Tanh, -4.0, 3.0);
        assert!((high.at(-4.0) - Activation::Tanh.apply(-4.0)).abs() < 1e-6);
    }

    #[test]
    fn lines_of_a_soft_threshold_are_its_hull() {
        let f = Activation::SoftThreshold { lambda: 0.5 };
        // Across both kinks: above through (−λ, 0) and the upper end, below through the lower end and (λ, 0).
        let (low, high) = lines(f, -1.0, 1.5);
        assert!((high.slope - 0.5).abs() < ROUNDING && high.at(-0.5).abs() < ROUNDING);
        assert!((low.at(-1.0) + 0.5).abs() < ROUNDING && low.at(0.5).abs() < ROUNDING);
        // Across one: the chord above, and below the line that is nearer in the middle.
        let (low, high) = lines(f, 0.0, 1.5);
        assert!(high.at(0.0).abs() < ROUNDING && (high.at(1.5) - 1.0).abs() < ROUNDING);
        assert!(low.at(0.5).abs() < ROUNDING && (low.slope == 0.0 || low.slope == 1.0));
        // Inside nothing is lost.
        assert_eq!(
            lines(f, -0.5, 0.25),
            (Line { slope: 0.0, offset: 0.0 }, Line { slope: 0.0, offset: 0.0 })
        );
    }

    #[test]
    fn turning_points_are_where_derivatives_have_their_extrema() {
        let cases = [
            (Activation::Gelu, [-SQRT_2, SQRT_2]),
            (Activation::GeluTanh, [-GELU_TANH_TURN, GELU_TANH_TURN]),
            (Activation::Silu, [-SILU_TURN, SILU_TURN]),
            (Activation::Mish, MISH_TURNS),
        ];
        for (f, [low, high]) in cases {
            for h in [1e-4, 1e-2, 0.5, 3.0, 30.0] {
                assert!(f.derivative(high) >= f.derivative(high - h), "{f:?} {h}");
                assert!(f.derivative(high) >= f.derivative(high + h), "{f:?} {h}");
                assert!(f.derivative(low) <= f.derivative(low - h), "{f:?} {h}");
                assert!(f.derivative(low) <= f.derivative(low + h), "{f:?} {h}");
            }
        }
    }

    #[test]
    fn relu_lines_by_hand() {
        let exact = Slack::new(Arithmetic::new(Guarantee::RealArithmetic));
        assert_eq!(relu(1.0, 2.0, exact), [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(relu(-2.0, -1.0, exact), [0.0; 4]);
        assert_eq!(relu(-1.0, 3.0, exact), [1.0, 0.0, 0.75, 0.75]);
        assert_eq!(relu(-3.0, 1.0, exact), [0.0, 0.0, 0.25, 0.75]);
    }
}
