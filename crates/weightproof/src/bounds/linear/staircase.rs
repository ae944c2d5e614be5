//! Linear relaxation of a quantizer: lines above and below all corners of its staircase (theory.md §16).
//!
//! ```text
//! above on [l, u]:  (l, q(l)), (t_k, s k) for every jump t_k in [l, u]        a line with slope m ≥ 0 that is above the first, the
//! below on [l, u]:  (u, q(u)), (t_k, s (k − 1))                              second and the last corner is above all of them
//! ```
//! Corners between lie on `p ± s/2`. Of the edges of their hull the one that is tightest in the middle of the interval is taken:
//! among all lines it leaves the least area. When both ends fall on one step, the lines are that constant.

use super::relax::Line;
use crate::kernels::Scalar;
use crate::network::Staircase;

/// What evaluating a line's offset in f64 may lose, as a part of its terms.
const ROUNDING: f64 = 1.0 / (1_u64 << 48) as f64;

/// Slope and offset of the lower line of `q` on `[l, u]`, then of the upper one.
///
/// # Guarantee
/// Sound for every value that may come out of the quantizer: in real arithmetic if `is_exact`, else for lines as they are stored, whose
/// offsets are rounded outward.
#[inline(always)]
pub(super) fn lines<T: Scalar>(q: &Staircase, (l, u): (T, T), is_exact: bool) -> [T; 4] {
    let (l, u) = (l.to_f64(), u.to_f64());
    let hull = Hull::new(q, l, u);
    let middle = l + 0.5 * (u - l);
    let low = T::from_f64(hull.below.steepness(-1.0, middle));
    let high = T::from_f64(hull.above.steepness(1.0, middle));
    let (least, most) = (hull.offsets(low.to_f64()).0, hull.offsets(high.to_f64()).1);
    if is_exact {
        let of =
            |corners: &Corners, slope: T, sign: f64| T::from_f64(sign * corners.offset(slope.to_f64(), sign));
        return [low, of(&hull.below, low, -1.0), high, of(&hull.above, high, 1.0)];
    }
    [low, T::from_f64_down(least), high, T::from_f64_up(most)]
}

/// The convex hull of a staircase on an interval: lines of every slope that touch it from below and from above.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hull {
    below: Corners,
    above: Corners,
    /// At least the sum of the magnitudes of p, and of the values, at its corners.
    reach: f64,
    height: f64,
}

impl Hull {
    /// Of what may come out of `q` for `p ∈ [l, u]`.
    #[inline(always)]
    pub fn new(q: &Staircase, l: f64, u: f64) -> Self {
        let (below, above) = Corners::both(q, l, u);
        Hull { below, above, reach: l.abs() + u.abs() + q.step, height: below.size() + above.size() }
    }

    /// The hull where slopes between 0 and 1 matter: on at least two jumps. On fewer [`lines`] has its edges.
    pub fn of_many_steps(q: &Staircase, l: f64, u: f64) -> Option<Self> {
        (q.level(u) - q.level(l) >= 2.0).then(|| Hull::new(q, l, u))
    }

    /// Offsets of the lines below and above that have a slope of at least zero, rounded outward.
    #[inline(always)]
    pub fn offsets(&self, slope: f64) -> (f64, f64) {
        // Of a flat line nothing underflows; and coefficients times the smallest number are subnormal, which is slow.
        let least = if slope == 0.0 { 0.0 } else { f64::MIN_POSITIVE };
        let slack = ROUNDING * (slope * self.reach + self.height) + least;
        (-self.below.offset(slope, -1.0) - slack, self.above.offset(slope, 1.0) + slack)
    }

    /// Where the line of this slope touches: above for a negative coefficient, below for others.
    pub fn touches(&self, slope: f64, coefficient: f64) -> f64 {
        let (corners, sign) = if coefficient < 0.0 { (&self.above, 1.0) } else { (&self.below, -1.0) };
        let of = |(p, value): (f64, f64)| sign * (value - slope * p);
        let farther = |a: (f64, f64), b: (f64, f64)| if of(b) > of(a) { b } else { a };
        corners.all().into_iter().reduce(farther).map_or(f64::NAN, |(p, _)| p)
    }

    /// All edges but flat ones: lines below, and lines above, rounded outward.
    pub fn edges(&self) -> [Vec<Line>; 2] {
        let sides = [(&self.below, false), (&self.above, true)];
        sides.map(|(corners, above)| {
            let line = |slope: f64| {
                let (least, most) = self.offsets(slope);
                Line { slope, offset: if above { most } else { least } }
            };
            corners.slopes().into_iter().filter(|slope| *slope > 0.0).map(line).collect()
        })
    }
}

/// Corners `(p, value)` of one side: the end of the interval where the side is not flat, the jump next to it, and the last jump.
#[derive(Clone, Copy, Debug)]
struct Corners {
    end: (f64, f64),
    near: (f64, f64),
    far: (f64, f64),
}

impl Corners {
    /// Below and above; no numbers where an end is none.
    #[inline(always)]
    fn both(q: &Staircase, l: f64, u: f64) -> (Self, Self) {
        let (l, u) = if l.is_nan() || u.is_nan() { (f64::NAN, f64::NAN) } else { (l, u) };
        (Corners::below(q, l, u), Corners::above(q, l, u))
    }

    /// Above the staircase, from the lower end.
    #[inline(always)]
    fn above(q: &Staircase, l: f64, u: f64) -> Self {
        let (first, last) = (q.levels_beside(q.level(l)).1, q.levels_beside(q.level(u)).1);
        let end = (l, first * q.step);
        if !(first < last) {
            return Corners { end, near: end, far: end };
        }
        let corner = |k: f64| (q.jump(k - q.freedom()).0, k * q.step);
        Corners { end, near: corner(first + 1.0), far: corner(last) }
    }

    /// Below the staircase, from the upper end.
    #[inline(always)]
    fn below(q: &Staircase, l: f64, u: f64) -> Self {
        let (first, last) = (q.levels_beside(q.level(l)).0, q.levels_beside(q.level(u)).0);
        let end = (u, last * q.step);
        if !(first < last) {
            return Corners { end, near: end, far: end };
        }
        let corner = |k: f64| (q.jump(k + q.freedom()).1, (k - 1.0) * q.step);
        Corners { end, near: corner(last), far: corner(first + 1.0) }
    }

    #[inline(always)]
    fn all(&self) -> [(f64, f64); 3] {
        [self.end, self.near, self.far]
    }

    /// The slope of the edge that is the tightest in the middle of the interval.
    #[inline(always)]
    fn steepness(&self, sign: f64, middle: f64) -> f64 {
        let at = |slope: f64| self.offset(slope, sign) + sign * slope * middle;
        let [flat, steps, end] = self.slopes();
        let best = if at(steps) < at(flat) { steps } else { flat };
        if at(end) < at(best) { end } else { best }
    }

    /// Slopes of the hull's edges: flat, along the jumps, and from the end to the jump that it sees.
    #[inline(always)]
    fn slopes(&self) -> [f64; 3] {
        let steepness = |corner: (f64, f64)| {
            let slope = (corner.1 - self.end.1) / (corner.0 - self.end.0);
            if slope > 0.0 && slope.is_finite() { slope } else { 0.0 }
        };
        let (near, far) = (steepness(self.near), steepness(self.far));
        [0.0, 1.0, if near > far { near } else { far }]
    }

    /// The least offset with which a line of this slope is on the side `sign` (1 above, −1 below), times `sign`. The corners of
    /// [`Corners::both`] are all numbers or none.
    #[inline(always)]
    fn offset(&self, slope: f64, sign: f64) -> f64 {
        let of = |(p, value): (f64, f64)| sign * (value - slope * p);
        self.all().into_iter().map(of).fold(f64::NEG_INFINITY, |most, v| if v <= most { most } else { v })
    }

    #[inline(always)]
    fn size(&self) -> f64 {
        self.all().into_iter().map(|(_, value)| value.abs()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Jumps, StepRounding};

    const QUANTIZERS: [Staircase; 4] = [
        Staircase {
            step: 0.25,
            zero: 0,
            low: 0,
            high: 255,
            rounding: StepRounding::NearestEven,
            jumps: Jumps::HalfWay,
        },
        Staircase {
            step: 0.25,
            zero: 2,
            low: -3,
            high: 4,
            rounding: StepRounding::NearestEven,
            jumps: Jumps::HalfWay,
        },
        Staircase {
            step: 0.25,
            zero: 2,
            low: -3,
            high: 4,
            rounding: StepRounding::Any,
            jumps: Jumps::HalfWay,
        },
        Staircase {
            step: 0.125,
            zero: 128,
            low: 0,
            high: 255,
            rounding: StepRounding::Any,
            jumps: Jumps::HalfWay,
        },
    ];

    /// Points of `[l, u]`, with those around all jumps.
    fn points(q: &Staircase, l: f64, u: f64) -> Vec<f64> {
        let jumps = (-260..260).flat_map(|k| <[f64; 2]>::from(q.jump(f64::from(k))));
        let grid = (0..=200).map(|i| l + (u - l) * f64::from(i) / 200.0);
        jumps
            .flat_map(|t| [t.next_down(), t, t.next_up()])
            .chain(grid)
            .filter(|p| l <= *p && *p <= u)
            .collect()
    }

    #[test]
    fn lines_enclose_all_that_may_come_out() {
        let signs = [(-1, 1), (0, 1), (-1, 0)].map(|(low, high)| Staircase::sign(0.25, low, high));
        for q in QUANTIZERS.into_iter().chain(signs) {
            for a in -20..20 {
                for width in [0.0, 1e-9, 0.06, 0.2, 0.25, 0.9, 3.0, 90.0] {
                    let (l, u) = (f64::from(a) * 0.11, f64::from(a) * 0.11 + width);
                    let [low, least, high, most] = lines(&q, (l, u), false);
                    for p in points(&q, l, u) {
                        let (below, above) = q.range(p, p);
                        assert!(low * p + least <= below, "{q:?} below on [{l}, {u}] at {p}");
                        assert!(high * p + most >= above, "{q:?} above on [{l}, {u}] at {p}");
                    }
                }
            }
        }
    }

    /// Lines of every slope, and all edges, are on their side of what may come out, and touch it.
    #[test]
    fn hulls_enclose_all_that_may_come_out() {
        for q in QUANTIZERS {
            for a in -20..20 {
                for width in [0.3, 0.9, 3.0, 90.0] {
                    let (l, u) = (f64::from(a) * 0.11, f64::from(a) * 0.11 + width);
                    let hull = Hull::new(&q, l, u);
                    let [below, above] = hull.edges();
                    let slopes = [0.0, 0.3, 0.5, 1.0, 2.5].map(|slope| (slope, hull.offsets(slope)));
                    let line = |(slope, (least, most)): (f64, (f64, f64))| {
                        [Line { slope, offset: least }, Line { slope, offset: most }]
                    };
                    let (mut lower, mut upper): (Vec<Line>, Vec<Line>) = (below, above);
                    for [low, high] in slopes.map(line) {
                        lower.push(low);
                        upper.push(high);
                    }
                    for p in points(&q, l, u) {
                        let (least, most) = q.range(p, p);
                        assert!(lower.iter().all(|line| line.at(p) <= least), "{q:?} below at {p}");
                        assert!(upper.iter().all(|line| line.at(p) >= most), "{q:?} above at {p}");
                    }
                    for (slope, (least, most)) in slopes {
                        let (below, above) = (hull.touches(slope, 1.0), hull.touches(slope, -1.0));
                        let near =
                            |p: f64, value: f64| (slope * p + value, 1e-4 + q.range(p, p).1.abs() * 1e-9);
                        let (at_least, slack) = near(below, least);
                        assert!(q.range(below - 1e-4, below + 1e-4).0 - at_least <= slack + slope * 1e-4);
                        let (at_most, slack) = near(above, most);
                        assert!(at_most - q.range(above - 1e-4, above + 1e-4).1 <= slack + slope * 1e-4);
                    }
                }
            }
        }
        assert!(Hull::of_many_steps(&QUANTIZERS[0], 0.3, 0.5).is_none(), "one jump");
        assert!(Hull::of_many_steps(&QUANTIZERS[0], 0.1, 0.5).is_some(), "two jumps");
    }

    #[test]
    fn lines_by_hand() {
        let [q, few, _, _] = QUANTIZERS;
        let at = |(low, high): (Line, Line), p: f64| (low.at(p), high.at(p));
        let lines = |q: &Staircase, l: f64, u: f64| {
            let [low, least, high, most] = lines(q, (l, u), true);
            (Line { slope: low, offset: least }, Line { slope: high, offset: most })
        };
        // One step: exact.
        assert_eq!(at(lines(&q, 0.2, 0.3), 7.0), (0.25, 0.25));
        // Many steps: half a step around the identity.
        let (low, high) = lines(&q, 1.0, 9.0);
        assert!((low.slope, high.slope) == (1.0, 1.0));
        assert!((low.at(0.0) + 0.125).abs() < 1e-4 && (high.at(0.0) - 0.125).abs() < 1e-4);
        // One jump, at 0.375: flat on the long side, steep on the short one.
        let (low, high) = lines(&q, 0.3, 0.5);
        assert!((low.slope - 2.0).abs() < 1e-5 && (low.at(0.5) - 0.5).abs() < 1e-5, "{low:?}");
        assert_eq!((high.slope, high.at(0.0)), (0.0, 0.5));
        // Saturated at both ends.
        let (low, high) = lines(&few, -40.0, 40.0);
        assert!(low.slope < 0.1 && high.slope < 0.1, "{low:?} {high:?}");
    }
}
