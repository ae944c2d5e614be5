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
use rayon::prelude::*;
use std::ops::Range;

/// The rows of a block of work.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Sample of each row.
    pub samples: Vec<usize>,
    /// What each row minimises.
    pub goals: Vec<SpecRow>,
    /// How far the kinks of activations are spread in the backward pass of each row: in units of the mean distance of a layer's
    /// pre-activations from the unperturbed ones.
    pub smoothing: Vec<f64>,
}

impl Rows {
    /// Adds a row whose kinks are sharp.
    pub fn push(&mut self, sample: usize, goal: SpecRow) {
        self.samples.push(sample);
        self.goals.push(goal);
        self.smoothing.push(0.0);
    }

    /// Some of the rows, in the order of `rows`.
    fn at(&self, rows: &[usize]) -> Self {
        Rows {
            samples: rows.iter().map(|&row| self.samples[row]).collect(),
            goals: rows.iter().map(|&row| self.goals[row]).collect(),
            smoothing: rows.iter().map(|&row| self.smoothing[row]).collect(),
        }
    }
}

/// A function of the variables of an attack.
pub(super) trait Landscape<T: Scalar>: Send + Sized {
    /// Its variables.
    fn space(&self) -> &Space;
    /// The same function with scratch of its own, for another thread.
    fn another(&self) -> Self;
    /// Fewest rows that are worth a thread of their own.
    fn fewest_rows(&self) -> usize;
    /// Outputs of the network for rows of `point`, (rows, outputs).
    fn outputs(&mut self, point: &Point<T>, samples: &[usize]) -> &Matrix<T>;
    /// Gradient of each row's goal; follows [`Landscape::outputs`] of the same point.
    fn backward(&mut self, point: &Point<T>, rows: &Rows);
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
#[derive(Clone, Copy, Debug)]
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

/// How a row goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Along which of the schedules.
    pub schedule: usize,
    /// How much of its smoothing the row gets.
    pub smoothing: f64,
}

/// Rows that descend side by side. They may be cut anywhere: nothing passes from one to another but that their sample is broken.
pub(super) struct Descents<T> {
    /// Where they start.
    pub point: Point<T>,
    pub rows: Rows,
    /// One for each row.
    pub ways: Vec<Way>,
    /// All with one number of steps, and one answer to whether broken samples are left alone.
    pub schedules: Vec<Schedule>,
}

impl<T> Descents<T> {
    /// All along one schedule, with all of its smoothing.
    pub fn alike(point: Point<T>, rows: Rows, schedule: Schedule) -> Self {
        let ways = vec![Way { schedule: 0, smoothing: 1.0 }; rows.samples.len()];
        Descents { point, rows, ways, schedules: vec![schedule] }
    }
}

/// Minimises the goal of every row, in as many parts as there are threads for them.
///
/// # Shapes
/// The result: the rows of `descents`.
pub(super) fn descend<T: Scalar, L: Landscape<T>>(
    landscape: &mut L,
    objective: &Objective<T>,
    descents: Descents<T>,
    threads: usize,
) -> Found<T> {
    let Descents { point, rows, ways, schedules } = descents;
    let count = ways.len();
    let together = count.div_ceil(threads).max(landscape.fewest_rows());
    let mut others: Vec<L> = (1..count.div_ceil(together)).map(|_| landscape.another()).collect();
    let mut walks: Vec<Walk<'_, T, L>> = Vec::new();
    if others.is_empty() {
        walks.push(Walk::new(landscape, point, rows, ways));
    } else {
        let landscapes = std::iter::once(landscape).chain(&mut others);
        let all: Vec<usize> = (0..count).collect();
        for ((part, ways), landscape) in all.chunks(together).zip(ways.chunks(together)).zip(landscapes) {
            walks.push(Walk::new(landscape, point.rows_at(part), rows.at(part), ways.to_vec()));
        }
    }
    let Schedule { steps, stop_when_broken, .. } = schedules[0];
    let mut broken = vec![false; objective.samples()];
    let mut step = 0;
    while step <= steps {
        let end = if stop_when_broken { step.next_multiple_of(DROP_EVERY).min(steps) } else { steps } + 1;
        let go = |walk: &mut Walk<'_, T, L>| walk.go(objective, &schedules, step..end, &broken);
        let found: Vec<Vec<usize>> = walks.par_iter_mut().map(go).collect();
        found.into_iter().flatten().for_each(|s| broken[s] = true);
        step = end;
    }
    let mut parts = walks.into_iter().map(|walk| walk.best);
    let mut found = parts.next().expect("one part at least");
    for part in parts {
        found.point.append(&part.point);
        found.margins.extend(part.margins);
    }
    found
}

/// Some of the rows of a descent, on a landscape of their own.
struct Walk<'l, T, L> {
    landscape: &'l mut L,
    point: Point<T>,
    previous: Point<T>,
    rows: Rows,
    ways: Vec<Way>,
    best: Found<T>,
    /// Row of `best` for each row that is still searched.
    origin: Vec<usize>,
}

impl<'l, T: Scalar, L: Landscape<T>> Walk<'l, T, L> {
    fn new(landscape: &'l mut L, point: Point<T>, rows: Rows, ways: Vec<Way>) -> Self {
        let best = Found { point: point.clone(), margins: vec![T::infinity(); ways.len()] };
        let (previous, origin) = (point.clone(), (0..ways.len()).collect());
        Walk { landscape, point, previous, rows, ways, best, origin }
    }

    /// Leaves alone what is `broken`, then takes some steps, of which step 0 is the start. Returns samples that it broke.
    fn go(
        &mut self,
        objective: &Objective<T>,
        schedules: &[Schedule],
        steps: Range<usize>,
        broken: &[bool],
    ) -> Vec<usize> {
        let kept: Vec<usize> =
            (0..self.origin.len()).filter(|&row| !broken[self.rows.samples[row]]).collect();
        if kept.len() < self.origin.len() {
            self.keep(&kept);
        }
        let mut found = Vec::new();
        for step in steps {
            if self.origin.is_empty() {
                break;
            }
            if step > 0 {
                self.step(schedules, step - 1);
            }
            let outputs = self.landscape.outputs(&self.point, &self.rows.samples);
            for (row, (&s, &to)) in self.rows.samples.iter().zip(&self.origin).enumerate() {
                let margin = objective.worst(s, outputs.row(row)).0;
                if margin < self.best.margins[to] && num_traits::Float::is_finite(margin) {
                    self.best.margins[to] = margin;
                    self.best.point.copy_row(to, &self.point, row);
                    if objective.clearly_broken(margin, outputs.row(row)) {
                        found.push(s);
                    }
                }
            }
        }
        found
    }

    fn keep(&mut self, kept: &[usize]) {
        self.point.keep_rows(kept);
        self.previous.keep_rows(kept);
        self.origin = kept.iter().map(|&row| self.origin[row]).collect();
        self.ways = kept.iter().map(|&row| self.ways[row]).collect();
        self.rows = self.rows.at(kept);
        if !kept.is_empty() {
            self.landscape.outputs(&self.point, &self.rows.samples);
        }
    }

    fn step(&mut self, schedules: &[Schedule], step: usize) {
        let steps: Vec<Step> = schedules.iter().map(|schedule| schedule.at(step)).collect();
        for (smoothing, way) in self.rows.smoothing.iter_mut().zip(&self.ways) {
            *smoothing = steps[way.schedule].smoothing * way.smoothing;
        }
        self.landscape.backward(&self.point, &self.rows);
        let of_row = |way: &Way| {
            let Step { length, momentum, .. } = steps[way.schedule];
            (T::from_f64(length), T::from_f64(momentum))
        };
        let moves: Vec<(T, T)> = self.ways.iter().map(of_row).collect();
        advance(self.landscape, &mut self.point, &mut self.previous, &moves);
    }
}

/// Moves every row to the vertex that its gradient points away from.
pub(super) fn to_vertex<T: Scalar>(landscape: &impl Landscape<T>, point: &mut Point<T>) {
    step_once(landscape, point, VERTEX);
}

/// One signed step of every row.
pub(super) fn step_once<T: Scalar>(landscape: &impl Landscape<T>, point: &mut Point<T>, length: f64) {
    let mut previous = point.clone();
    let moves = vec![(T::from_f64(length), T::zero()); point.rows()];
    advance(landscape, point, &mut previous, &moves);
}

/// One projected step, with the length and the momentum `m` of each row:
///
/// ```text
/// box    t ← clip(t − length sign(g) + m (t − t_before))          ball    t ← P(t − length g/‖g‖₂ + m (t − t_before))
/// ```
fn advance<T: Scalar>(
    landscape: &impl Landscape<T>,
    point: &mut Point<T>,
    previous: &mut Point<T>,
    moves: &[(T, T)],
) {
    for (slot, (t, previous)) in point.0.iter_mut().zip(&mut previous.0).enumerate() {
        let Some(g) = landscape.gradient(slot) else { continue };
        let (width, geometry) = (t.cols(), landscape.space().slots[slot].geometry);
        let mut first = 0;
        // Rows that move alike are one loop.
        for alike in moves.chunk_by(|a, b| a == b) {
            let rows = first * width..(first + alike.len()) * width;
            first += alike.len();
            let t = &mut t.as_mut_slice()[rows.clone()];
            let (previous, g) = (&mut previous.as_mut_slice()[rows.clone()], &g.as_slice()[rows]);
            let (length, momentum) = alike[0];
            match geometry {
                Geometry::Box => vectorized!(|| {
                    for ((t, previous), &g) in t.iter_mut().zip(previous).zip(g) {
                        let next = *t - length * sign(g) + momentum * (*t - *previous);
                        *previous = *t;
                        *t = clamp(next, -T::one(), T::one());
                    }
                }),
                Geometry::Balls(parts) => {
                    let n = width / parts;
                    let before = previous.chunks_exact_mut(n).zip(g.chunks_exact(n));
                    for (t, (previous, g)) in t.chunks_exact_mut(n).zip(before) {
                        advance_in_ball(t, previous, g, alike[0]);
                    }
                }
            }
        }
    }
}

fn advance_in_ball<T: Scalar>(t: &mut [T], previous: &mut [T], g: &[T], (length, momentum): (T, T)) {
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
