//! Quantizers whose step follows from what they read, as ONNX's DynamicQuantizeLinear (theory.md §16).
//!
//! ```text
//! m = min(0, min_j p_j)      M = max(0, max_j p_j)      s = (M − m) / 255      z = round(clamp(−m / s, 0, 255))
//! level_j = clamp(round(p_j / s) + z, 0, 255) − z       q(p)_j = s · level_j
//! ```
//! All of it in f32, ties to the even integer, over all elements of one sample. Every operation is monotone, so what is known of the
//! elements gives ends of the step, of the zero point and of each level.

use super::StepRounding;
use crate::kernels::Scalar;
use serde::{Deserialize, Serialize};

/// A quantizer to 8 bits whose range is that of the values it reads, zero included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicQuantizer {
    /// Which step comes out.
    pub rounding: StepRounding,
}

/// The largest integer; the least is 0.
const LEVELS: f32 = 255.0;
/// How far from half a step a value may be moved beyond it, as a part of the step: quotient, step and zero point are rounded to f32.
const OF_STEP: f64 = 1.0 / (1_u32 << 12) as f64;
/// The same where the step underflows.
const UNDERFLOW: f64 = 1.0 / (1_u128 << 100) as f64;
/// What `|q(p)_j|` may be beyond twice `|p_j|`, as a part of `|p_j|`; a power of two, so that the slope is a number of f32.
const OF_TWICE: f64 = 1.0 / (1_u32 << 19) as f64;

/// Least and largest step and zero point.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Grids {
    step: [f32; 2],
    zero: [f32; 2],
}

impl Grids {
    /// Of all samples whose elements lie between `lower` and `upper`.
    fn new(lower: &[f64], upper: &[f64]) -> Self {
        // NaN stays.
        let least = |values: &[f64]| {
            values.iter().fold(0.0, |m: f64, &v| if m <= v || m.is_nan() { m } else { v }) as f32
        };
        let most = |values: &[f64]| {
            values.iter().fold(0.0, |m: f64, &v| if m >= v || m.is_nan() { m } else { v }) as f32
        };
        let step = [(most(lower) - least(upper)) / LEVELS, (most(upper) - least(lower)) / LEVELS];
        let zero = |least: f32, step: f32| kept(quotient(-least, step), 0.0, LEVELS).round_ties_even();
        Grids { step, zero: [zero(least(upper), step[1]), zero(least(lower), step[0])] }
    }
}

/// `p / step`, where zero has no step.
fn quotient(p: f32, step: f32) -> f32 {
    if p == 0.0 { 0.0 } else { p / step }
}

/// `v` between two ends; NaN stays.
fn kept(v: f32, low: f32, high: f32) -> f32 {
    if v < low {
        low
    } else if v > high {
        high
    } else {
        v
    }
}

impl DynamicQuantizer {
    /// Least and largest integer.
    pub const RANGE: (i32, i32) = (0, LEVELS as i32);

    /// The values of one sample, by the operator's text; NaN where an element is NaN or the range is not a number of f32.
    pub fn apply(self, p: &[f64]) -> Vec<f64> {
        let Grids { step: [step, _], zero: [zero, _] } = Grids::new(p, p);
        p.iter().map(|&p| value(quotient(p as f32, step).round_ties_even(), zero, step)).collect()
    }

    /// The step of one sample and the integer that stands for zero, by the operator's text; NaN as in [`DynamicQuantizer::apply`].
    pub fn grid(self, p: &[f64]) -> (f64, f64) {
        let Grids { step: [step, _], zero: [zero, _] } = Grids::new(p, p);
        (f64::from(step), f64::from(zero))
    }

    /// [`DynamicQuantizer::apply`] in the precision of the engine.
    pub fn apply_all<T: Scalar>(self, out: &mut [T], p: &[T]) {
        let values = self.apply(&p.iter().map(|v| Scalar::to_f64(*v)).collect::<Vec<f64>>());
        out.iter_mut().zip(values).for_each(|(out, value)| *out = T::from_f64(value));
    }

    /// How many steps another level may come out.
    pub fn freedom(self) -> f64 {
        match self.rounding {
            StepRounding::NearestEven => 0.0,
            StepRounding::Any => 1.0,
        }
    }

    /// The most that a value may be from what it stands for, `|q(p)_j − p_j|`, when all elements lie between `lower` and `upper`:
    /// half of the largest step, and what is lost by rounding. Infinite where the range may not be a number of f32.
    pub fn reach(self, lower: &[f64], upper: &[f64]) -> f64 {
        let [_, step] = Grids::new(lower, upper).step;
        if step.is_finite() {
            f64::from(step) * (0.5 + self.freedom() + OF_STEP) + UNDERFLOW
        } else {
            f64::INFINITY
        }
    }

    /// A box of all that may come out when all elements lie between `lower` and `upper`.
    pub fn enclose(self, lower: &[f64], upper: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Grids { step: [small, large], zero: [few, many] } = Grids::new(lower, upper);
        let (reach, freedom) = (self.reach(lower, upper), self.freedom() as f32);
        let of = |(&l, &u): (&f64, &f64)| {
            if !reach.is_finite() {
                return (f64::NEG_INFINITY, f64::INFINITY);
            }
            // A quotient falls with the step where it is positive, and so does its level times the step.
            let at = |p: f64, positive: f32, negative: f32| {
                quotient(p as f32, if p > 0.0 { positive } else { negative }).round_ties_even()
            };
            let (first, last) = (at(l, large, small) - freedom, at(u, small, large) + freedom);
            let low = value(first, many, if kept(first, -many, LEVELS - many) > 0.0 { small } else { large });
            let high = value(last, few, if kept(last, -few, LEVELS - few) > 0.0 { large } else { small });
            let (around_l, around_u) = ((l - reach).next_down(), (u + reach).next_up());
            (if low > around_l { low } else { around_l }, if high < around_u { high } else { around_u })
        };
        lower.iter().zip(upper).map(of).unzip()
    }

    /// Numbers `(a, b)` with `|q(p)_j| ≤ a |p_j| + b`: rounding at most doubles. `None` where zero may become a step.
    pub fn twice(self) -> Option<(f64, f64)> {
        (self.freedom() == 0.0).then_some((2.0 + OF_TWICE, UNDERFLOW))
    }
}

/// What a level stands for once it is kept between the ends. Exact: an integer of 8 bits times a number of f32.
fn value(level: f32, zero: f32, step: f32) -> f64 {
    f64::from(kept(level, -zero, LEVELS - zero)) * f64::from(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: DynamicQuantizer = DynamicQuantizer { rounding: StepRounding::NearestEven };
    const ANY: DynamicQuantizer = DynamicQuantizer { rounding: StepRounding::Any };

    /// Integers, step and zero point, as ONNX Runtime has them.
    fn integers(p: &[f64]) -> (Vec<f64>, f32, f32) {
        let (step, zero) = TEXT.grid(p);
        (TEXT.apply(p).iter().map(|v| v / step + zero).collect(), step as f32, zero as f32)
    }

    #[test]
    fn values_of_onnx_runtime() {
        for (p, levels, step, zero) in [
            (vec![-1.0, 1.0], vec![0.0, 254.0], 0.007_843_138, 127.0),
            (vec![1.5, -1.5, f64::from(0.3_f32)], vec![255.0, 0.0, 154.0], 0.011_764_706, 128.0),
            (vec![2.0, 5.0], vec![102.0, 255.0], 0.019_607_844, 0.0),
            (vec![-2.0, -5.0], vec![153.0, 0.0], 0.019_607_844, 255.0),
            (vec![1e-42, -1e-43], vec![255.0, 0.0], 4.2e-45, 24.0),
        ] {
            assert_eq!(integers(&p), (levels, step, zero), "{p:?}");
        }
        assert_eq!(TEXT.apply(&[0.0, -0.0]), [0.0, 0.0]);
        // The step underflows.
        assert_eq!(TEXT.apply(&[1e-45, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn what_is_no_number_proves_nothing() {
        for p in [[f64::NAN, 1.0], [1.0, f64::NAN], [f64::INFINITY, 0.0], [3e38, -3e38]] {
            assert!(TEXT.apply(&p).iter().all(|v| v.is_nan()), "{p:?}");
            assert_eq!(TEXT.reach(&p, &p), f64::INFINITY);
            assert_eq!(TEXT.enclose(&p, &p).0, [f64::NEG_INFINITY; 2]);
        }
    }

    /// Numbers of many sizes, some of them ties.
    fn samples() -> impl Iterator<Item = (Vec<f64>, f64)> {
        let mut state = 7_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1 << 24)
        };
        (0..3000).map(move |k| {
            let size = 10_f64.powi(k % 9 - 4);
            let shift = f64::from(k % 3) * 0.5;
            let mut p: Vec<f64> = (0..1 + k % 7).map(|_| size * (next() - shift)).collect();
            if k % 5 == 0 {
                // Multiples of half a step.
                p = p.iter().map(|v| (v / size * 510.0).round() / 510.0).chain([0.5, -0.5]).collect();
            }
            (p, size * [0.0, 1e-12, 1e-4, 0.1][k as usize % 4])
        })
    }

    #[test]
    fn a_value_is_at_most_half_a_step_away_and_within_twice() {
        let (slope, offset) = TEXT.twice().unwrap();
        let mut largest: f64 = 0.0;
        for (p, _) in samples() {
            let reach = TEXT.reach(&p, &p);
            for (v, q) in p.iter().zip(TEXT.apply(&p)) {
                assert!((q - v).abs() <= reach, "{p:?}: {q} of {v}");
                assert!(q.abs() <= slope * v.abs() + offset && q * v >= 0.0, "{p:?}: {q} of {v}");
                largest = largest.max((q - v).abs() / reach);
            }
        }
        assert!(largest > 0.99, "{largest}");
        assert!(ANY.twice().is_none());
    }

    /// The values of points of a box, ends included, lie in what encloses it, and a neighbour where one may come out.
    #[test]
    fn boxes_hold_what_comes_out() {
        for (middle, radius) in samples() {
            let lower: Vec<f64> = middle.iter().map(|v| v - radius).collect();
            let upper: Vec<f64> = middle.iter().map(|v| v + radius).collect();
            let (low, high) = TEXT.enclose(&lower, &upper);
            let (wide_low, wide_high) = ANY.enclose(&lower, &upper);
            let corner = |pattern: usize| -> Vec<f64> {
                (0..middle.len()).map(|j| if pattern >> j & 1 == 0 { lower[j] } else { upper[j] }).collect()
            };
            for p in (0..1 << middle.len().min(4)).map(corner).chain([middle.clone()]) {
                let Grids { step: [step, _], zero: [zero, _] } = Grids::new(&p, &p);
                for (j, q) in TEXT.apply(&p).into_iter().enumerate() {
                    assert!(low[j] <= q && q <= high[j], "{p:?}: {q} not in [{}, {}]", low[j], high[j]);
                    for beside in [-1.0, 1.0] {
                        let level = (q / f64::from(step)).round() as f32 + beside;
                        let q = if step > 0.0 { value(level, zero, step) } else { q };
                        assert!(wide_low[j] <= q && q <= wide_high[j], "{p:?}: {q}");
                    }
                }
            }
            if radius == 0.0 {
                assert_eq!((&low, &high), (&TEXT.apply(&middle), &low), "nothing moves");
            }
        }
    }
}
