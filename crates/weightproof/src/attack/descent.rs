//! Projected signed descent: the loop that all gradient attacks on single samples share.
//!
//! # Source
//! Projected gradient descent: Madry et al., ICLR 2018, arXiv 1706.06083. The spread kinks that are sharpened step by step are
//! graduated non-convexity (Blake and Zisserman, Visual Reconstruction, 1987), applied to the slopes of activations only: the
//! forward pass is always the true one.

use super::kernels::{clamp, sign};
use super::objective::Objective;
use super::space::{Geometry, Point, Space, normalize};
use crate::kernels::rows::vectorized;
use crate::kernels::{Matrix, Scalar};
use crate::property::SpecRow;

/// The rows of a block of work.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Sample of each row.
    pub samples: Vec<usize>,
    /// What each row minimises.
    pub goals: Vec<SpecRow>,
    /// How much of the schedule's smoothing each row gets.
    pub smoothing: Vec<f64>,
}

/// A function of the variables of an attack.
pub(super) trait Landscape<T: Scalar> {
    /// Its variables.
    fn space(&self) -> &Space;
    /// Outputs of the network for rows of `point`, (rows, outputs).
    fn outputs(&mut self, point: &Point<T>, samples: &[usize]) -> &Matrix<T>;
    /// Gradient of each row's goal; follows [`Landscape::outputs`] of the same point. `smoothing` > 0 spreads the kinks of
    /// activations over `smoothing` times the mean distance of a layer's pre-activations from the unperturbed ones.
    fn backward(&mut self, point: &Point<T>, rows: &Rows, smoothing: T);
    /// The gradient with respect to a slot, (rows, width): of boxes up to a factor ≥ 0 of each variable, of balls up to one
    /// factor > 0 of each row. `None` when the output does not depend on it.
    fn gradient(&self, slot: usize) -> Option<&Matrix<T>>;
}

/// Lengths of steps, as fractions of the radius, and what else changes from step to step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Evaluations of the gradient.
    pub steps: usize,
    /// Evaluations of the gradient in the first pass, for every goal.
    pub ranking: usize,
    /// Length of the first step; it falls geometrically.
    pub first: f64,
    /// Length of the last one.
    pub last: f64,
    /// How much of the move before is repeated.
    pub momentum: f64,
    /// Smoothing of the first step; it falls linearly and is zero for the last 45% of the steps.
    pub smoothing: f64,
    /// Share of the steps, at the end, that go from vertex to vertex.
    pub vertices: f64,
    /// Whether samples that are broken are left alone.
    pub stop_when_broken: bool,
}

/// Where the smoothing ends, as a share of the steps.
const SMOOTH: f64 = 0.55;
/// A step of this length leads from anywhere in the box to the opposite side.
const VERTEX: f64 = 2.0;
/// Most steps of the first pass: there are many goals.
const MOST_RANKING: usize = 10;
/// How often broken samples are dropped.
const DROP_EVERY: usize = 5;

impl Schedule {
    /// Graduated descent: with the kinks spread out, the gradient also sees neurons that are inactive now but need not be,
    /// which plain descent never wakes up; then they are sharpened again.
    pub fn graduated(steps: usize, stop_when_broken: bool) -> Self {
        Schedule {
            steps,
            ranking: (steps / 10).min(MOST_RANKING),
            first: 1.0,
            last: 0.05,
            momentum: 0.75,
            smoothing: 3.0,
            vertices: 0.05,
            stop_when_broken,
        }
    }

    /// The customary projected gradient descent: signed steps of one length that together span the radius 2.5 times.
    pub fn plain(steps: usize, stop_when_broken: bool) -> Self {
        let length = 2.5 / steps.max(1) as f64;
        Schedule {
            steps,
            ranking: 0,
            first: length,
            last: length,
            momentum: 0.0,
            smoothing: 0.0,
            vertices: 0.0,
            stop_when_broken,
        }
    }

    /// Whether the worst point is wanted, not just a broken one, and this is not the customary descent.
    fn is_thorough(&self) -> bool {
        !self.stop_when_broken && self.last < self.first
    }

    /// The customary descent, which graduated descent is accompanied by: its local minima are others. `None` where only the
    /// first broken point counts, or when this is the customary one.
    pub fn customary(self) -> Option<Self> {
        if self.is_thorough() { Some(Schedule::plain(self.steps, false)) } else { None }
    }

    /// A descent from a point that another one found, a quarter of the steps long: the `last` one with steps from the last
    /// length down to a fiftieth of it, those before from four times the last length. `None` when broken samples are left
    /// alone, or for the customary descent.
    pub fn refining(self, last: bool) -> Option<Self> {
        if !self.is_thorough() {
            return None;
        }
        Some(Schedule {
            steps: self.steps.div_ceil(4),
            ranking: 0,
            first: if last { self.last } else { 4.0 * self.last },
            last: 0.02 * self.last,
            momentum: 0.0,
            smoothing: 0.0,
            vertices: 0.0,
            ..self
        })
    }

    fn at(&self, k: usize) -> Step {
        let descent = (self.steps as f64 * (1.0 - self.vertices)).ceil();
        let share = k as f64 / descent.max(1.0);
        if share >= 1.0 {
            return Step { length: VERTEX, momentum: 0.0, smoothing: 0.0 };
        }
        let length = self.first * (self.last / self.first).powf(share);
        let smoothing = (self.smoothing * (1.0 - share / SMOOTH)).max(0.0);
        Step { length, momentum: self.momentum, smoothing }
    }
}

/// How one step goes.
struct Step {
    length: f64,
    momentum: f64,
    smoothing: f64,
}

/// The best point of each row, and its margin; infinite where no margin was finite.
pub(super) struct Found<T> {
    pub point: Point<T>,
    pub margins: Vec<T>,
}

/// Minimises the goal of every row from `point` on.
///
/// # Shapes
/// `point` and the result: the rows of `rows`.
pub(super) fn descend<T: Scalar>(
    landscape: &mut impl Landscape<T>,
    objective: &Objective<T>,
    mut point: Point<T>,
    mut rows: Rows,
    schedule: Schedule,
) -> Found<T> {
    let mut best = Found { point: point.clone(), margins: vec![T::infinity(); rows.samples.len()] };
    let mut previous = point.clone();
    // Row of `best` for each row that is still searched.
    let mut origin: Vec<usize> = (0..rows.samples.len()).collect();
    let mut broken = vec![false; objective.samples()];
    for step in 0..=schedule.steps {
        let outputs = landscape.outputs(&point, &rows.samples);
        for (row, (&s, &to)) in rows.samples.iter().zip(&origin).enumerate() {
            let margin = objective.worst(s, outputs.row(row)).0;
            if margin < best.margins[to] && num_traits::Float::is_finite(margin) {
                best.margins[to] = margin;
                best.point.copy_row(to, &point, row);
                broken[s] |= objective.clearly_broken(margin, outputs.row(row));
            }
        }
        if schedule.stop_when_broken && step % DROP_EVERY == 0 {
            let kept: Vec<usize> = (0..origin.len()).filter(|&row| !broken[rows.samples[row]]).collect();
            if kept.len() < origin.len() {
                point.keep_rows(&kept);
                previous.keep_rows(&kept);
                origin = kept.iter().map(|&row| origin[row]).collect();
                rows.samples = kept.iter().map(|&row| rows.samples[row]).collect();
                rows.smoothing = kept.iter().map(|&row| rows.smoothing[row]).collect();
                rows.goals = kept.iter().map(|&row| rows.goals[row]).collect();
                if kept.is_empty() {
                    break;
                }
                landscape.outputs(&point, &rows.samples);
            }
        }
        if step == schedule.steps {
            break;
        }
        let Step { length, momentum, smoothing } = schedule.at(step);
        landscape.backward(&point, &rows, T::from_f64(smoothing));
        advance(landscape, &mut point, &mut previous, T::from_f64(length), T::from_f64(momentum));
    }
    best
}

/// Moves every row to the vertex that its gradient points away from.
pub(super) fn to_vertex<T: Scalar>(landscape: &impl Landscape<T>, point: &mut Point<T>) {
    step_once(landscape, point, VERTEX);
}

/// One signed step of every row.
pub(super) fn step_once<T: Scalar>(landscape: &impl Landscape<T>, point: &mut Point<T>, length: f64) {
    let mut previous = point.clone();
    advance(landscape, point, &mut previous, T::from_f64(length), T::zero());
}

/// One projected step, with `m` the momentum:
///
/// ```text
/// box    t ← clip(t − length sign(g) + m (t − t_before))          ball    t ← P(t − length g/‖g‖₂ + m (t − t_before))
/// ```
fn advance<T: Scalar>(
    landscape: &impl Landscape<T>,
    point: &mut Point<T>,
    previous: &mut Point<T>,
    length: T,
    momentum: T,
) {
    for (slot, (t, previous)) in point.0.iter_mut().zip(&mut previous.0).enumerate() {
        let Some(g) = landscape.gradient(slot) else { continue };
        match landscape.space().slots[slot].geometry {
            Geometry::Box => vectorized!(|| {
                let values = t.as_mut_slice().iter_mut().zip(previous.as_mut_slice()).zip(g.as_slice());
                for ((t, previous), &g) in values {
                    let next = *t - length * sign(g) + momentum * (*t - *previous);
                    *previous = *t;
                    *t = clamp(next, -T::one(), T::one());
                }
            }),
            Geometry::Balls(parts) => {
                let n = t.cols() / parts;
                let before = previous.as_mut_slice().chunks_exact_mut(n).zip(g.as_slice().chunks_exact(n));
                for (t, (previous, g)) in t.as_mut_slice().chunks_exact_mut(n).zip(before) {
                    advance_in_ball(t, previous, g, length, momentum);
                }
            }
        }
    }
}

fn advance_in_ball<T: Scalar>(t: &mut [T], previous: &mut [T], g: &[T], length: T, momentum: T) {
    let norm = super::kernels::length(g);
    if !(norm > T::zero() && num_traits::Float::is_finite(norm)) {
        return;
    }
    for ((t, previous), &g) in t.iter_mut().zip(previous.iter_mut()).zip(g) {
        let next = *t - length * g / norm + momentum * (*t - *previous);
        *previous = *t;
        *t = next;
    }
    if super::kernels::length(t) > T::one() {
        normalize(t);
    }
}
