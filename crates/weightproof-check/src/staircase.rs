//! Quantizers of activations: QuantizeLinear, then DequantizeLinear (theory.md §16).
//!
//! ```text
//! level(x) = clamp(round(x / s) + z, low, high) − z        q(x) = s · level(x)
//! ```
//! x and x / s are rounded to single precision, as the operator's text has it, and ties go to the even integer. No rounding falls, so
//! q is a staircase, and level k is reached at a number that differs from (k − ½) s by at most (|k| + 1) 2⁻²² s.

use crate::number::{Interval, Number};
use serde::Deserialize;

/// Most steps of a staircase.
const MOST_STEPS: i64 = 1 << 16;

/// A quantizer, one for all elements of a node.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staircase {
    /// Distance of two values, a number of single precision between 2⁻¹⁰⁰ and 2¹⁰⁰.
    pub step: Number,
    /// The integer that stands for zero.
    pub zero: i32,
    /// Least integer.
    pub low: i32,
    /// Largest integer.
    pub high: i32,
    /// How many steps another one may come out than the operator's text says: a matter of the set, not of the network.
    #[serde(skip)]
    pub freedom: i64,
}

impl Staircase {
    /// What is wrong with the numbers, if anything.
    pub fn defect(&self) -> Option<&'static str> {
        let step = self.step;
        let is_step =
            step.is_positive() && step == step.single() && (-99..=101).contains(&step.magnitude_bits());
        let (bottom, top) = self.ends();
        if !is_step {
            Some("a step that is not in single precision, between 2^-100 and 2^100")
        } else {
            let fit = bottom <= 0 && 0 <= top && top - bottom < MOST_STEPS;
            (!fit).then_some("a zero point outside of the integers, or too many of them")
        }
    }

    /// Least and largest level.
    fn ends(&self) -> (i64, i64) {
        let from_zero = |integer: i32| i64::from(integer) - i64::from(self.zero);
        (from_zero(self.low), from_zero(self.high))
    }

    /// How many steps x is from zero, by the operator's text.
    pub fn level(&self, x: Number) -> i64 {
        let (quotient, (bottom, top)) = (x.divided(self.step), self.ends());
        if quotient.magnitude_bits() > 20 {
            return if quotient.is_negative() { bottom } else { top };
        }
        (quotient.nearest(0) as i64).clamp(bottom, top)
    }

    /// Least and largest level that may come out at x.
    fn levels(&self, x: Number) -> [i64; 2] {
        let (level, (bottom, top)) = (self.level(x), self.ends());
        [(level - self.freedom).max(bottom), (level + self.freedom).min(top)]
    }

    fn value(&self, level: i64) -> Number {
        self.step * Number::new(level, 0)
    }

    /// The values that may come out at x.
    pub fn around(&self, x: Number) -> Interval {
        let [low, high] = self.levels(x).map(|level| self.value(level));
        Interval { low, high }
    }

    /// Points `(x, value)` that a line with a slope of at least zero must be below, to be below everything that may come out for x in an
    /// interval; and points that it must be above.
    ///
    /// The line rises, so on each step its worst point is the end of the step. Ends of steps but the last one are jumps, at which
    /// `s (k − 1) − m t_k` is concave in k: the first and the last of them are enough. Above likewise.
    pub fn corners(&self, x: Interval) -> [Vec<(Number, Number)>; 2] {
        let (first, last) = (self.levels(x.low), self.levels(x.high));
        // Where level k is reached by the operator's text, at the latest (1) or at the earliest (−1).
        let jump =
            |k: i64, side: i64| self.step * Number::new(((2 * k - 1) << 21) + side * (k.abs() + 1), -22);
        let mut below = vec![(x.high, self.value(last[0]))];
        if first[0] < last[0] {
            below.extend([last[0], first[0] + 1].map(|k| (jump(k + self.freedom, 1), self.value(k - 1))));
        }
        let mut above = vec![(x.low, self.value(first[1]))];
        if first[1] < last[1] {
            above.extend([first[1] + 1, last[1]].map(|k| (jump(k - self.freedom, -1), self.value(k))));
        }
        [below, above]
    }
}
