//! Quantizers of activations: QuantizeLinear followed by DequantizeLinear (theory.md §16).
//!
//! ```text
//! level(p) = clamp(round(p / s) + z, low, high) − z        q(p) = s · level(p)
//! ```
//! `p` and `p / s` are rounded to f32, as ONNX Runtime computes them, and ties go to the even integer. Every rounding is monotone,
//! so `q` is a staircase that never falls. Signs are staircases, too, whose jumps are all at zero:
//!
//! ```text
//! level(p) = clamp(sign(p), low, high)
//! ```

use crate::kernels::rows::clamp;
use serde::{Deserialize, Serialize};

/// Which step comes out of a quantizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepRounding {
    /// The one that the operator's text says.
    #[default]
    NearestEven,
    /// That one or one beside it, as kernels find it that requantize in fixed point or break ties differently.
    Any,
}

impl StepRounding {
    /// Name as written on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            StepRounding::NearestEven => "nearest-even",
            StepRounding::Any => "any",
        }
    }
}

/// Where a staircase jumps from one level to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jumps {
    /// Half way between two levels.
    #[default]
    HalfWay,
    /// At zero, from level −1 to 0, which zero itself has, and from 0 to 1. Levels −1 and 1 make the sign, 0 and 1 whether `p > 0`, −1 and
    /// 0 whether `p ≥ 0`.
    AtZero,
}

/// A quantizer of activations, one for all elements of a node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Staircase {
    /// Distance of two values, a number of f32 between 2⁻¹⁰⁰ and 2¹⁰⁰.
    pub step: f64,
    /// The integer that stands for zero.
    pub zero: i32,
    /// Least integer.
    pub low: i32,
    /// Largest integer; at most 2¹⁶ steps lie between.
    pub high: i32,
    /// Which step comes out.
    pub rounding: StepRounding,
    /// Where the jumps are.
    #[serde(default)]
    pub jumps: Jumps,
}

/// Most steps of a quantizer.
const MOST_STEPS: i64 = 1 << 16;
/// Least and largest step.
const STEPS: (f64, f64) = (1.0 / (1_u128 << 100) as f64, (1_u128 << 100) as f64);
/// How far the place of a jump may be from `(k − ½) s`, in steps and as a part of `|k| + 1`: p and p / s are rounded to f32.
const OF_PLACE: f64 = 1.0 / (1_u32 << 22) as f64;
/// How far from zero a number has the sign of what it is rounded to.
const OF_ZERO: f64 = STEPS.0;

impl Staircase {
    /// The sign of a number, of which only the levels from `low` to `high` are kept, as multiples of `step`.
    pub fn sign(step: f64, low: i32, high: i32) -> Self {
        Staircase { step, zero: 0, low, high, rounding: StepRounding::NearestEven, jumps: Jumps::AtZero }
    }

    /// What is wrong with the numbers: `(expected, found)`; `None` when nothing is.
    pub fn defect(&self) -> Option<(String, String)> {
        let Staircase { step, zero, low, high, .. } = *self;
        let (least, most) = STEPS;
        if !(step >= least && step <= most && f64::from(step as f32) == step) {
            return Some(("a step of f32 between 2^-100 and 2^100".into(), step.to_string()));
        }
        if !(low <= zero && zero <= high && i64::from(high) - i64::from(low) < MOST_STEPS) {
            let expected = "a zero point between the least and the largest integer, at most 2^16 of them";
            return Some((expected.into(), format!("{zero} between {low} and {high}")));
        }
        if self.jumps == Jumps::AtZero && !(zero == 0 && low >= -1 && high <= 1) {
            return Some((
                "levels of a sign, from -1 to 1".into(),
                format!("{zero} between {low} and {high}"),
            ));
        }
        None
    }

    /// Least and largest level.
    #[inline(always)]
    pub fn ends(&self) -> (f64, f64) {
        (f64::from(self.low) - f64::from(self.zero), f64::from(self.high) - f64::from(self.zero))
    }

    /// How many steps `p` is from zero, by the operator's text. NaN gives NaN.
    #[inline(always)]
    pub fn level(&self, p: f64) -> f64 {
        let (bottom, top) = self.ends();
        let level = match self.jumps {
            Jumps::HalfWay => (p as f32 / self.step as f32).round_ties_even(),
            Jumps::AtZero if p as f32 == 0.0 => 0.0,
            Jumps::AtZero => (p as f32).signum(),
        };
        clamp(f64::from(level), bottom, top)
    }

    /// The value that stands for `p`, by the operator's text. Exact: an integer of 17 bits times a number of f32.
    #[inline(always)]
    pub fn apply(&self, p: f64) -> f64 {
        self.level(p) * self.step
    }

    /// How many steps another one may come out. None of a sign: no kernel rounds it.
    #[inline(always)]
    pub fn freedom(&self) -> f64 {
        match (self.rounding, self.jumps) {
            (StepRounding::NearestEven, _) | (_, Jumps::AtZero) => 0.0,
            (StepRounding::Any, Jumps::HalfWay) => 1.0,
        }
    }

    /// What the layer is called in files and reports.
    pub fn name(&self) -> &'static str {
        match self.jumps {
            Jumps::HalfWay => "quantize",
            Jumps::AtZero => "sign",
        }
    }

    /// Where attacks take the staircase for the identity: between the middles of its first and last step; of a sign a step around zero.
    #[inline(always)]
    pub fn slanted(&self) -> (f64, f64) {
        let (bottom, top) = self.ends();
        let step = match self.jumps {
            Jumps::HalfWay => self.step,
            Jumps::AtZero => 1.0,
        };
        ((bottom - 0.5) * step, (top + 0.5) * step)
    }

    /// The least and the largest level that may come out at a level by the operator's text.
    #[inline(always)]
    pub fn levels_beside(&self, level: f64) -> (f64, f64) {
        let ((bottom, top), freedom) = (self.ends(), self.freedom());
        let (down, up) = (level - freedom, level + freedom);
        (if down < bottom { bottom } else { down }, if up > top { top } else { up })
    }

    /// The range of values on `[lower, upper]`, exactly.
    #[inline(always)]
    pub fn range(&self, lower: f64, upper: f64) -> (f64, f64) {
        let (least, _) = self.levels_beside(self.level(lower));
        let (_, most) = self.levels_beside(self.level(upper));
        (least * self.step, most * self.step)
    }

    /// Between which numbers the jump to level `k` from the one below is: level k is reached at no number below the first one and at
    /// all above the second one. In f64, up to a few roundings, for which there is room.
    #[inline(always)]
    pub fn jump(&self, k: f64) -> (f64, f64) {
        if self.jumps == Jumps::AtZero {
            return (-OF_ZERO, OF_ZERO);
        }
        let (middle, around) = (k - 0.5, (k.abs() + 1.0) * OF_PLACE);
        ((middle - around) * self.step, (middle + around) * self.step)
    }

    /// Whether a better box than `[lower, upper]` may make better lines: when it may lose its only jump, or an end of the staircase. On
    /// many steps lines lie half a step around the identity, whatever the box.
    #[inline(always)]
    pub fn depends_on_box(&self, lower: f64, upper: f64) -> bool {
        let (first, last) = (self.level(lower), self.level(upper));
        let (bottom, top) = self.ends();
        first + 1.0 == last || (first < last && (first == bottom || last == top))
    }

    /// The most that values of `p` and `p'` may differ beyond `|p − p'|`, when one is by the operator's text.
    pub fn largest_jump(&self) -> f64 {
        match self.jumps {
            // Half a step at each end, and the place of jumps.
            Jumps::HalfWay => self.step * (1.0 + 1.0 / 16.0 + self.freedom()),
            Jumps::AtZero => self.step * (f64::from(self.high) - f64::from(self.low)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSIGNED: Staircase = Staircase {
        step: 0.25,
        zero: 3,
        low: 0,
        high: 255,
        rounding: StepRounding::NearestEven,
        jumps: Jumps::HalfWay,
    };

    #[test]
    fn a_sign_and_its_two_halves() {
        let values = |low, high| {
            [-7.0, -1e-30, 0.0, -0.0, 1e-30, 7.0].map(|p| Staircase::sign(0.5, low, high).apply(p))
        };
        assert_eq!(values(-1, 1), [-0.5, -0.5, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(values(0, 1), [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(values(-1, 0), [-0.5, -0.5, 0.0, 0.0, 0.0, 0.0]);
        assert!(Staircase::sign(0.5, -1, 1).apply(f64::NAN).is_nan());
        let any = Staircase { rounding: StepRounding::Any, ..Staircase::sign(0.5, -1, 1) };
        assert_eq!(any.range(-2.0, -1.0), (-0.5, -0.5));
        assert_eq!(any.range(-2.0, 1.0), (-0.5, 0.5));
        assert_eq!(any.jump(1.0), any.jump(0.0));
        assert_eq!((any.apply(any.jump(0.0).0), any.apply(any.jump(0.0).1)), (-0.5, 0.5));
        assert_eq!(any.largest_jump(), 1.0);
    }

    #[test]
    fn values_by_hand() {
        for (p, value) in [(0.0, 0.0), (0.124, 0.0), (0.125, 0.0), (0.126, 0.25), (0.375, 0.5), (-0.3, -0.25)]
        {
            assert_eq!(UNSIGNED.apply(p), value, "{p}");
        }
        assert_eq!(UNSIGNED.apply(-100.0), -0.75);
        assert_eq!(UNSIGNED.apply(f64::INFINITY), 63.0);
        assert!(UNSIGNED.apply(f64::NAN).is_nan());
        // The quotient is rounded to f32: its nearest number is the tie, which goes to the even integer.
        let third = Staircase { step: f64::from(1.0_f32 / 3.0), ..UNSIGNED };
        let p = 2.5 * third.step;
        assert_eq!(third.level(p * (1.0 + 1e-9)), 2.0);
        assert_eq!(third.level(p * (1.0 + 1e-6)), 3.0);
    }

    #[test]
    fn a_neighbour_may_come_out_but_nothing_beyond_the_ends() {
        let any = Staircase { rounding: StepRounding::Any, ..UNSIGNED };
        assert_eq!(UNSIGNED.range(-0.3, 0.3), (-0.25, 0.25));
        assert_eq!(any.range(-0.3, 0.3), (-0.5, 0.5));
        assert_eq!(any.range(-100.0, 100.0), (-0.75, 63.0));
    }

    #[test]
    fn jumps_are_where_they_are_said_to_be() {
        for step in [0.25, f64::from(0.013_f32), f64::from(1e-20_f32), f64::from(3.7e19_f32)] {
            let q = Staircase { step, zero: 0, low: -32768, high: 32767, ..UNSIGNED };
            assert_eq!(q.defect(), None);
            for k in [-32767.0, -1000.0, -3.0, -1.0, 0.0, 1.0, 2.0, 127.0, 20000.0, 32767.0] {
                let (before, after) = q.jump(k);
                assert_eq!((q.level(before), q.level(after)), (k - 1.0, k), "{step} {k}");
            }
        }
    }

    #[test]
    fn impossible_numbers_are_told() {
        for wrong in [
            Staircase { step: 0.0, ..UNSIGNED },
            Staircase { step: f64::NAN, ..UNSIGNED },
            Staircase { step: 0.1, ..UNSIGNED },
            Staircase { zero: 256, ..UNSIGNED },
            Staircase { low: i32::MIN, high: i32::MAX, ..UNSIGNED },
            Staircase::sign(1.0, -2, 1),
            Staircase { jumps: Jumps::AtZero, ..UNSIGNED },
        ] {
            assert!(wrong.defect().is_some(), "{wrong:?}");
        }
    }
}
