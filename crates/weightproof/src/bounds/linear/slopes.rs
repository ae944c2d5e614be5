//! Ascent on the free slopes of ReLUs and quantizers and on the multipliers of boxes (theory.md §4.4, §6, §16).
//!
//! Every slope in `[0, 1]` gives a sound bound, so slopes may be moved by any rule; the best value that was seen is kept. The
//! gradient is the adjoint of the backward pass: the bound is linear in the coefficients of a node, and its derivative is a
//! point, the *worst point* ([`super::points`]).
//!
//! ```text
//! ∂bound/∂α = c v_p where c > 0             α the lower slope and p the input of a ReLU, c its coefficient, v the worst point
//! ∂bound/∂α = c (v_p − t)                   α the slope of both lines of a quantizer, t where the one of the sign of c touches it
//! ```
//!
//! # Guarantee
//! Never below the bound that it starts from. Where the worst point is only approximate (kernels of convolutions, maxima) the
//! ascent may be slower, the bounds are as sound.
//! # Source
//! theory.md §4.4; Xu et al., *Fast and Complete*, arXiv 2011.13824. Difference: the effect of weight radii is in the gradient.

use super::ascent::Ascent;
use super::domain::has_chord;
use super::propagate::{Backward, COEFFICIENTS, Row, RowBound, divided};
use super::relax::Relaxed;
use super::staircase::Hull;
use crate::kernels::rows::{fill, vectorized};
use crate::kernels::{Matrix, Scalar};
use crate::memory::MATRICES;
use crate::model::Step;
use crate::network::Activation;
use rayon::prelude::*;

/// Numbers that an ascent keeps for each element and row: coefficients, worst point, and of slope and multiplier the value, the
/// gradient and its two means.
const NUMBERS: usize = 9;

/// A matrix for some of the nodes; (rows, width) each.
pub(super) type ByNode<T> = Vec<Option<Matrix<T>>>;

/// What is free in the bounds of some rows, by node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FreeVariables<T> {
    /// In `[0, 1]`: lower slopes of ReLUs, and slopes of both lines of quantizers, which count on boxes with at least two jumps.
    pub slopes: ByNode<T>,
    /// Multipliers of the boxes that activations read: of the lower end where negative, of the upper end where positive.
    pub multipliers: ByNode<T>,
}

/// Coefficients that left each node of a pass, multipliers included; (rows, width).
pub(super) type Tape<T> = ByNode<T>;

/// What an ascent is to reach.
pub(super) struct Goal<'g, T> {
    /// Passes for every row.
    pub steps: usize,
    /// What the steps of the ascent are multiplied by.
    pub size: f64,
    /// Whether a row, by its place among the rows, goes on with this bound.
    pub is_open: &'g dyn Fn(usize, T) -> bool,
    /// Told of every row that is done: its place among the rows, what is free in the bounds of the rows at work, and its row there.
    pub done: &'g mut dyn FnMut(usize, &FreeVariables<T>, usize),
    /// Where weights are random, the quantile of each row at which its bound is to rise.
    pub quantiles: Option<&'g [f64]>,
    /// Told of every row whose bound rises: its place among the rows, and the bound.
    pub raised: &'g mut dyn FnMut(usize, RowBound<T>),
}

/// What an ascent ends with, for the rows that are still open.
pub(super) struct Ending<T> {
    /// Their places among the rows that it was given.
    pub at: Vec<usize>,
    /// What is free in their bounds, as it was in the last pass.
    pub free: FreeVariables<T>,
    /// Coefficients of the last pass.
    pub tape: Tape<T>,
    /// Its worst points.
    pub points: ByNode<T>,
}

impl<T: Scalar> Ending<T> {
    /// The lower slope of an element of node `index` in row `r`, where it is free.
    pub(super) fn slope(&self, index: usize, r: usize, element: usize) -> Option<T> {
        self.free.slopes[index].as_ref().map(|slopes| slopes[(r, element)])
    }
}

/// Rows that an ascent leaves open.
struct Climbed<T: Scalar> {
    /// Their places.
    at: Vec<usize>,
    /// What is free in their bounds.
    free: FreeVariables<T>,
    /// The coefficients of the last pass.
    tape: Tape<T>,
}

impl<T: Scalar> Backward<'_, T> {
    /// Raises bounds of rows of node `start` by `steps` steps of ascent each; a row rests once it is above `enough`. Where weights are
    /// random, bounds rise at the quantile of each row: `o − q √V`.
    pub fn ascend(
        &self,
        start: usize,
        (rows, quantiles): (&[Row], Option<&[f64]>),
        best: &mut [RowBound<T>],
        steps: usize,
        enough: T,
    ) {
        let most = self.ascending_together(start);
        let together = if self.block.divided { divided(rows.len(), most) } else { most };
        let raise = |(k, (rows, best)): (usize, (&[Row], &mut [RowBound<T>]))| {
            let first = |at: &[usize]| {
                let own: Vec<Row> = at.iter().map(|&k| rows[k]).collect();
                FreeVariables { multipliers: vec![None; start + 1], ..self.first_free(start, &own) }
            };
            let quantiles = quantiles.map(|all| &all[k * together..k * together + rows.len()]);
            let at = |(k, bound): (usize, &RowBound<T>)| bound.at(quantiles.map(|of_rows| of_rows[k]));
            let mut values: Vec<T> = best.iter().enumerate().map(at).collect();
            let goal = Goal {
                steps,
                size: 1.0,
                is_open: &|_, best| !(best > enough),
                done: &mut |_, _, _| {},
                quantiles,
                raised: &mut |k, bound| best[k] = bound,
            };
            self.climb((start, rows), &mut values, goal, first);
        };
        if self.block.divided {
            rows.par_chunks(together).zip(best.par_chunks_mut(together)).enumerate().for_each(raise);
        } else {
            rows.chunks(together).zip(best.chunks_mut(together)).enumerate().for_each(raise);
        }
    }

    /// How many rows of node `start` can ascend together: as much memory as a plain pass takes for its rows.
    pub(super) fn ascending_together(&self, start: usize) -> usize {
        let model = self.block.prepared.model;
        let elements: usize = (0..=start).map(|node| model.width(node)).sum();
        let most = MATRICES * COEFFICIENTS / (NUMBERS * elements).max(1);
        self.rows_together(start).min(most.max(1))
    }

    /// Raises lower bounds of a few rows of node `start` towards a goal. `first` gives what is free in the bounds of the rows at some
    /// places.
    pub(super) fn ascend_from(
        &self,
        (start, rows): (usize, &[Row]),
        best: &mut [T],
        goal: Goal<'_, T>,
        first: impl Fn(&[usize]) -> FreeVariables<T>,
    ) -> Option<Ending<T>> {
        let Climbed { at, free, tape } = self.climb((start, rows), best, goal, first)?;
        let own: Vec<Row> = at.iter().map(|&k| rows[k]).collect();
        let points = self.points(&tape, &own, &free.slopes, None);
        Some(Ending { at, free, tape, points })
    }

    /// [`Self::ascend_from`] without the worst points.
    fn climb(
        &self,
        (start, rows): (usize, &[Row]),
        best: &mut [T],
        goal: Goal<'_, T>,
        first: impl Fn(&[usize]) -> FreeVariables<T>,
    ) -> Option<Climbed<T>> {
        let Goal { steps, size, is_open, done, quantiles, raised } = goal;
        // Rows at work, by their place in `best`.
        let mut at: Vec<usize> = (0..rows.len()).filter(|&k| is_open(k, best[k])).collect();
        let mut own: Vec<Row> = at.iter().map(|&k| rows[k]).collect();
        let mut ascent = Ascent::new(first(&at));
        for step in 0..steps {
            if own.is_empty() {
                return None;
            }
            let mut tape: Tape<T> = vec![None; start + 1];
            let found = self.bounds_of(self.pass(start, &own, Some(&ascent.free), Some(&mut tape)));
            let of_row = |k: usize| quantiles.map(|of_rows| of_rows[k]);
            for (&k, bound) in at.iter().zip(&found) {
                let value = bound.at(of_row(k));
                if value > best[k] {
                    best[k] = value;
                    raised(k, *bound);
                }
            }
            let pull = |(&k, bound): (&usize, &RowBound<T>)| of_row(k).map(|q| bound.pull(q));
            let mut pulls: Option<Vec<f64>> = at.iter().zip(&found).map(pull).collect();
            let (left, ended): (Vec<usize>, Vec<usize>) =
                (0..at.len()).partition(|&r| is_open(at[r], best[at[r]]));
            if !ended.is_empty() {
                ended.into_iter().for_each(|r| done(at[r], &ascent.free, r));
                ascent.retain(&left);
                tape.iter_mut().flatten().for_each(|m| *m = m.rows_at(&left));
                own = left.iter().map(|&r| own[r]).collect();
                pulls = pulls.map(|of_rows| left.iter().map(|&r| of_rows[r]).collect());
                at = left.iter().map(|&r| at[r]).collect();
                if own.is_empty() {
                    return None;
                }
            }
            if step + 1 == steps {
                return Some(Climbed { at, free: ascent.free, tape });
            }
            let points = self.points(&tape, &own, &ascent.free.slopes, pulls.as_deref());
            ascent.step(&self.gradients(&tape, &points, &own, &ascent.free), &tape, (step, steps), size);
        }
        None
    }

    /// The slopes that the plain pass uses, and multipliers of zero.
    pub(super) fn first_free(&self, start: usize, rows: &[Row]) -> FreeVariables<T> {
        let model = self.block.prepared.model;
        let slopes = |node: usize| match (&model.steps[node], self.relaxed(node)) {
            _ if self.ends_at(node, true) => None,
            // The lower lines of other activations have offsets that belong to their slopes.
            (Step::Activation(Activation::Relu), Some(Relaxed::Activation(relaxation))) => {
                let mut slopes = Matrix::zeros(rows.len(), model.width(node));
                for (r, (s, _)) in rows.iter().enumerate() {
                    slopes.row_mut(r).copy_from_slice(relaxation.lines(*s).lower_slope);
                }
                Some(slopes)
            }
            (Step::Activation(Activation::Quantize(_)), Some(Relaxed::Activation(relaxation))) => {
                // What a layer with a fixed input gives is a box, on which flat lines lose nothing, but for what hits add to it.
                let input = model.input_of(node);
                let flat = self.ends_at(input, true) && self.block.prepared.hits_of(input).is_none();
                let mean = |s: usize, k: usize| {
                    let lines = relaxation.lines(s);
                    let mean = T::from_f64(0.5) * (lines.lower_slope[k] + lines.upper_slope[k]);
                    if mean < T::one() { mean } else { T::one() }
                };
                let slope = |r: usize, k: usize| if flat { T::zero() } else { mean(rows[r].0, k) };
                Some(Matrix::from_fn(rows.len(), model.width(node), slope))
            }
            _ => None,
        };
        let read_by_nonlinear = |node: usize| {
            (node + 1..start).any(|k| self.relaxed(k).is_some() && model.inputs_of(k).contains(&node))
        };
        let multipliers = |node: usize| {
            let has_one = !self.ends_at(node, true)
                && (read_by_nonlinear(node) || has_chord(self.block.prepared, node));
            has_one.then(|| Matrix::zeros(rows.len(), model.width(node)))
        };
        let multipliers = (0..start).map(multipliers).chain([None]).collect();
        // The start itself is not passed.
        FreeVariables { slopes: (0..start).map(slopes).chain([None]).collect(), multipliers }
    }

    /// Derivatives of the bounds of all rows by what is free; `points` are their worst points.
    fn gradients(
        &self,
        tape: &Tape<T>,
        points: &ByNode<T>,
        rows: &[Row],
        free: &FreeVariables<T>,
    ) -> FreeVariables<T> {
        let by_slope = |node: usize| {
            let (a, own) = (tape[node].as_ref()?, free.slopes[node].as_ref()?);
            let input = self.block.prepared.model.input_of(node);
            (!self.ends_at(node, true)).then(|| {
                let v = points[input].as_ref().expect("coefficients moved to the input");
                match self.hulls(node, 0) {
                    None => self.by_slope(input, a, v, rows),
                    Some(_) => self.by_slope_of_hull(node, a, (v, own), rows),
                }
            })
        };
        let by_multiplier = |node: usize| {
            let (m, v) = (free.multipliers[node].as_ref()?, points[node].as_ref()?);
            Some(self.by_multiplier(node, m, v, rows))
        };
        FreeVariables {
            slopes: (0..tape.len()).map(by_slope).collect(),
            multipliers: (0..tape.len()).map(by_multiplier).collect(),
        }
    }

    /// `a v` where a coefficient takes the free line of an unstable neuron that reads `input`, else zero.
    fn by_slope(&self, input: usize, a: &Matrix<T>, v: &Matrix<T>, rows: &[Row]) -> Matrix<T> {
        let (lower, upper) = (self.states.lower(input), self.states.upper(input));
        let mut out = Matrix::zeros(a.rows(), a.cols());
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let of = [a.row(r), v.row(r), lower.row(*s), upper.row(*s)];
                fill(out.row_mut(r), of, |[a, v, l, u]| {
                    if contains_zero(l, u) && a > T::zero() { a * v } else { T::zero() }
                });
            }
        });
        out
    }

    /// `a (v − t)` where the line of a hull touches it at t, else zero.
    fn by_slope_of_hull(
        &self,
        node: usize,
        a: &Matrix<T>,
        (v, slopes): (&Matrix<T>, &Matrix<T>),
        rows: &[Row],
    ) -> Matrix<T> {
        let of = |r: usize, k: usize| {
            let hull = self.hulls(node, rows[r].0).and_then(|hulls| hulls[k]);
            let touches = |hull: Hull| T::from_f64(hull.touches(slopes[(r, k)].to_f64(), a[(r, k)].to_f64()));
            hull.map_or(T::zero(), |hull| a[(r, k)] * (v[(r, k)] - touches(hull)))
        };
        Matrix::from_fn(a.rows(), a.cols(), of)
    }

    /// `v − u` where the multiplier of the upper end is or should be used, `v − l` for the lower end, else zero.
    fn by_multiplier(&self, node: usize, m: &Matrix<T>, v: &Matrix<T>, rows: &[Row]) -> Matrix<T> {
        let (lower, upper) = (self.states.lower(node), self.states.upper(node));
        let mut out = Matrix::zeros(v.rows(), v.cols());
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let of = [m.row(r), v.row(r), lower.row(*s), upper.row(*s)];
                fill(out.row_mut(r), of, |[m, v, l, u]| {
                    let zero = T::zero();
                    if m > zero || (m == zero && v > u) {
                        v - u
                    } else if m < zero || v < l {
                        v - l
                    } else {
                        zero
                    }
                });
            }
        });
        out
    }
}

impl<T: Scalar> FreeVariables<T> {
    /// Replaces every matrix.
    pub(super) fn map(&self, f: impl Fn(&Matrix<T>) -> Matrix<T>) -> Self {
        let all = |nodes: &ByNode<T>| nodes.iter().map(|m| m.as_ref().map(&f)).collect();
        FreeVariables { slopes: all(&self.slopes), multipliers: all(&self.multipliers) }
    }

    /// Replaces row `row` by row `from` of `other`.
    pub(super) fn copy_row(&mut self, row: usize, other: &FreeVariables<T>, from: usize) {
        let own = self.slopes.iter_mut().chain(&mut self.multipliers);
        for (own, other) in own.zip(other.slopes.iter().chain(&other.multipliers)) {
            if let (Some(own), Some(other)) = (own, other) {
                own.row_mut(row).copy_from_slice(other.row(from));
            }
        }
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.slopes.iter().chain(&self.multipliers).flatten().map(|m| m.as_slice().len()).sum()
    }
}

/// Whether a neuron with this box is unstable.
#[inline(always)]
fn contains_zero<T: Scalar>(l: T, u: T) -> bool {
    l < T::zero() && u > T::zero()
}

#[cfg(test)]
mod tests {
    use super::super::{Intermediate, Linear, Reach, Sharing, analysed, tighten};
    use super::*;
    use crate::bounds::{Block, Prepared};
    use crate::kernels::Window;
    use crate::model::{Model, Radii};
    use crate::network::{Jumps, Network, NetworkBuilder, Staircase, StepRounding};
    use crate::noise::NoiseModel;
    use crate::property::SpecRow;
    use crate::threat::{Kind, ThreatModel};
    use crate::verdict::Guarantee;

    /// Of a finite difference of a bound that is linear between its kinks.
    const TOLERANCE: f64 = 1e-6;

    fn wave(k: usize, phase: f64) -> f64 {
        (k as f64 * 1.3 + phase).sin()
    }

    fn convolutional() -> Network {
        let mut builder = NetworkBuilder::new(vec![1, 2, 2]);
        let window = Window { padding: [[1, 1]; 2], ..Window::new([1, 2, 2], 2, [2, 2]) };
        let weight = Matrix::from_fn(2, 4, |i, j| wave(4 * i + j, 0.0));
        let conv = builder.conv("conv0", 0, weight, vec![0.1; 2], window).unwrap();
        let relu = builder.activation("relu0", conv, Activation::Relu).unwrap();
        let weight = Matrix::from_fn(2, 8, |i, j| wave(8 * i + j, 1.0));
        let conv =
            builder.conv("conv1", relu, weight, vec![-0.1; 2], Window::new([2, 3, 3], 2, [2, 2])).unwrap();
        let relu = builder.activation("relu1", conv, Activation::Relu).unwrap();
        let flat = builder.reshape("flat", relu, vec![8]).unwrap();
        builder.dense("dense", flat, Matrix::from_fn(3, 8, |i, j| wave(8 * i + j, 2.0)), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    fn dense() -> Network {
        let mut builder = NetworkBuilder::new(vec![4]);
        let mut last = 0;
        for (layer, width) in [10, 8, 3].into_iter().enumerate() {
            let inputs = builder.shape(last)[0];
            let weight = Matrix::from_fn(width, inputs, |i, j| wave(i * inputs + j, layer as f64));
            let bias = (0..width).map(|i| 0.2 * wave(i, 0.7)).collect();
            last = builder.dense(&format!("dense{layer}"), last, weight, bias).unwrap();
            if layer < 2 {
                last = builder.activation(&format!("relu{layer}"), last, Activation::Relu).unwrap();
            }
        }
        builder.finish().unwrap()
    }

    /// A gate and a square between ReLUs.
    fn products() -> Network {
        let mut builder = NetworkBuilder::new(vec![4]);
        let dense = |builder: &mut NetworkBuilder, name: &str, input: usize, width: usize, phase: f64| {
            let inputs = builder.shape(input)[0];
            let weight = Matrix::from_fn(width, inputs, |i, j| 0.7 * wave(i * inputs + j, phase));
            builder.dense(name, input, weight, vec![0.1; width]).unwrap()
        };
        let first = dense(&mut builder, "first", 0, 8, 0.0);
        let relu = builder.activation("relu", first, Activation::Relu).unwrap();
        let (a, b) = (dense(&mut builder, "a", relu, 6, 1.0), dense(&mut builder, "b", relu, 6, 2.0));
        let gate = builder.activation("gate", b, Activation::Relu).unwrap();
        let product = builder.multiply("product", [a, gate]).unwrap();
        let square = builder.activation("square", a, Activation::Square).unwrap();
        let sum = builder.add("sum", vec![product, square]).unwrap();
        dense(&mut builder, "last", sum, 3, 3.0);
        builder.finish().unwrap()
    }

    /// Quantizers on boxes of many steps, the first one behind a layer with a fixed input.
    fn quantized() -> Network {
        let quantize = |step: f64| {
            Activation::Quantize(Staircase {
                step,
                zero: 0,
                low: -128,
                high: 127,
                rounding: StepRounding::NearestEven,
                jumps: Jumps::HalfWay,
            })
        };
        let mut builder = NetworkBuilder::new(vec![4]);
        let mut last = 0;
        for (layer, width) in [10, 8, 3].into_iter().enumerate() {
            let inputs = builder.shape(last)[0];
            let weight = Matrix::from_fn(width, inputs, |i, j| wave(i * inputs + j, layer as f64));
            last = builder.dense(&format!("dense{layer}"), last, weight, vec![0.1; width]).unwrap();
            last = builder.activation(&format!("quantize{layer}"), last, quantize(0.0625)).unwrap();
        }
        builder.finish().unwrap()
    }

    /// Runs `f` on the passes over one sample and the rows of its two margins, for every structure of boxes.
    fn each_pass(f: impl Fn(&Backward<'_, f64>, usize, &[Row])) {
        let kinds = [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Frobenius, Kind::RowBall];
        let kinds = || kinds.into_iter().zip([0.05, 0.1, 0.05, 0.05]);
        let cases =
            kinds().map(|kind| (dense(), kind)).chain(kinds().take(3).map(|kind| (convolutional(), kind)));
        let cases = cases.chain(kinds().take(3).map(|kind| (quantized(), kind)));
        let cases = cases.chain(kinds().map(|kind| (products(), kind)));
        for (network, (kind, radius)) in cases {
            for input_radius in [0.0, 0.3] {
                let threat = ThreatModel { input_radius, ..ThreatModel::new(kind, radius) };
                let mut set = threat.resolve(&network).unwrap();
                // The first convolution has a fixed input where no pixel moves: its exact set is no box.
                set.layers.iter_mut().for_each(|layer| layer.per_use = true);
                let model = Model::<f64>::new(&network);
                let radii = Radii::new(&set, network.nodes().len());
                let prepared = Prepared::new(&model, &radii, Guarantee::RealArithmetic);
                let values = model.forward(Matrix::from_fn(1, 4, |_, j| 0.5 + 0.4 * wave(j, 0.4)));
                let fixed = prepared.enclosed(&values);
                let block = Block {
                    prepared: &prepared,
                    values: &values,
                    fixed: &fixed,
                    divided: true,
                    quantiles: None,
                };
                let (states, relaxed) = analysed(&block, |states, relaxed, index, state| {
                    tighten(&block, states, relaxed, index, state);
                });
                let pass = Backward::new(&block, &states, Reach::Input(&relaxed), Sharing::PerUse);
                let rows = [(0, SpecRow::difference(0, 1)), (0, SpecRow::difference(2, 0))];
                f(&pass, network.output(), &rows);
            }
        }
    }

    /// Something free in every bound, away from the kinks, so that a difference to both sides exists.
    fn somewhere(pass: &Backward<'_, f64>, start: usize, rows: &[Row]) -> FreeVariables<f64> {
        let mut free = pass.first_free(start, rows);
        for slopes in free.slopes.iter_mut().flatten() {
            slopes.as_mut_slice().iter_mut().for_each(|a| *a = 0.3 + 0.4 * *a);
        }
        for multipliers in free.multipliers.iter_mut().flatten() {
            let all = multipliers.as_mut_slice().iter_mut().enumerate();
            all.for_each(|(k, m)| *m = 0.1 * wave(k, 0.2));
        }
        free
    }

    /// Compares the gradient by each element that `is_free` of one part with differences of the pass; returns how many matter.
    fn check_gradient(
        pass: &Backward<'_, f64>,
        (start, rows): (usize, &[Row]),
        part: fn(&mut FreeVariables<f64>) -> &mut ByNode<f64>,
        is_free: impl Fn(usize, usize) -> bool,
    ) -> usize {
        let free = somewhere(pass, start, rows);
        let mut tape: Tape<f64> = vec![None; start + 1];
        let quantile = |r: usize| pass.block.quantiles.map(|of_samples: &[f64]| of_samples[rows[r].0]);
        let bounds = |free: &FreeVariables<f64>, tape: Option<&mut Tape<f64>>| {
            pass.bounds_of(pass.pass(start, rows, Some(free), tape))
        };
        let found = bounds(&free, Some(&mut tape));
        let pulls = (0..rows.len()).map(|r| quantile(r).map(|q| found[r].pull(q)));
        let pulls: Option<Vec<f64>> = pulls.collect();
        let points = pass.points(&tape, rows, &free.slopes, pulls.as_deref());
        let mut gradients = pass.gradients(&tape, &points, rows, &free);
        let mut matter = 0;
        for (node, gradient) in part(&mut gradients).iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            for (r, i) in (0..rows.len()).flat_map(|r| (0..gradient.cols()).map(move |i| (r, i))) {
                if !is_free(node, i) {
                    continue;
                }
                let at = |h: f64| {
                    let mut moved = free.clone();
                    part(&mut moved)[node].as_mut().unwrap()[(r, i)] += h;
                    bounds(&moved, None)[r].at(quantile(r))
                };
                let (difference, found) = ((at(1e-5) - at(-1e-5)) / 2e-5, gradient[(r, i)]);
                assert!((difference - found).abs() < TOLERANCE, "node {node}: {difference} {found}");
                matter += usize::from(found != 0.0);
            }
        }
        matter
    }

    #[test]
    fn gradients_by_slopes_are_finite_differences() {
        let checked = std::cell::Cell::new(0);
        each_pass(|pass, start, rows| {
            let is_free = |node: usize, i: usize| {
                let p = pass.block.prepared.model.input_of(node);
                match pass.hulls(node, 0) {
                    Some(hulls) => hulls[i].is_some(),
                    None => contains_zero(pass.states.lower(p)[(0, i)], pass.states.upper(p)[(0, i)]),
                }
            };
            let matter = check_gradient(pass, (start, rows), |free| &mut free.slopes, is_free);
            checked.set(checked.get() + matter);
        });
        assert!(checked.get() > 30, "{} slopes matter", checked.get());
    }

    /// The same where weights are random: bounds are those at a quantile, and the slopes move their variances.
    #[test]
    fn gradients_against_the_noise_are_finite_differences() {
        let network = dense();
        let mut checked = 0;
        for (noise, radius, input_radius) in
            [("gaussian:0.05", 0.0, 0.0), ("gaussian-relative:0.2", 0.02, 0.0), ("gaussian:0.1", 0.01, 0.2)]
        {
            let threat = ThreatModel { input_radius, ..ThreatModel::new(Kind::Absolute, radius) };
            let set = threat.resolve(&network).unwrap();
            let noise = noise.parse::<NoiseModel>().unwrap().resolve(&network).unwrap();
            let model = Model::<f64>::new(&network);
            let radii = Radii::new(&set, network.nodes().len());
            let prepared = Prepared::new(&model, &radii, Guarantee::RealArithmetic).with_noise(&noise);
            let values = model.forward(Matrix::from_fn(1, 4, |_, j| 0.5 + 0.4 * wave(j, 0.4)));
            let (fixed, quantiles) = (prepared.enclosed(&values), [3.0]);
            let (prepared, values, fixed) = (&prepared, &values[..], &fixed[..]);
            let block = Block { prepared, values, fixed, divided: true, quantiles: Some(&quantiles) };
            let (states, relaxed) = Linear { intermediate: Intermediate::Linear }.analysis(&block);
            let pass = Backward::new(&block, &states, Reach::Input(&relaxed), Sharing::PerUse);
            let rows = [(0, SpecRow::difference(0, 1)), (0, SpecRow::difference(2, 0))];
            let is_free = |node: usize, i: usize| {
                let p = model.input_of(node);
                contains_zero(states.lower(p)[(0, i)], states.upper(p)[(0, i)])
            };
            checked += check_gradient(&pass, (network.output(), &rows), |free| &mut free.slopes, is_free);
            // Ascent at the quantile never loses.
            let plain = pass.passes(network.output(), &rows, None);
            let mut best = plain.clone();
            pass.ascend(network.output(), (&rows, Some(&[3.0; 2])), &mut best, 20, f64::INFINITY);
            for (best, plain) in best.iter().zip(&plain) {
                assert!(best.at(Some(3.0)) >= plain.at(Some(3.0)));
            }
        }
        assert!(checked > 8, "{checked} slopes matter");
    }

    #[test]
    fn gradients_by_multipliers_are_finite_differences() {
        let checked = std::cell::Cell::new(0);
        each_pass(|pass, start, rows| {
            let matter = check_gradient(pass, (start, rows), |free| &mut free.multipliers, |_, _| true);
            checked.set(checked.get() + matter);
        });
        assert!(checked.get() > 100, "{} multipliers matter", checked.get());
    }

    #[test]
    fn ascent_never_loses_and_sometimes_gains() {
        let gained = std::cell::Cell::new(0);
        each_pass(|pass, start, rows| {
            let plain = pass.passes(start, rows, None);
            let mut best = plain.clone();
            pass.ascend(start, (rows, None), &mut best, 20, f64::INFINITY);
            for (best, plain) in best.iter().zip(&plain) {
                assert!(best.lower >= plain.lower);
                gained.set(gained.get() + usize::from(best.lower > plain.lower + 1e-3));
            }
        });
        assert!(gained.get() >= 3, "gained {} times", gained.get());
    }

    /// `z = ReLU(p)` with p in [−1, 2]: the adaptive slope says z ≥ −1, slope 0 says z ≥ 0.
    #[test]
    fn one_neuron_by_hand() {
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("p", 0, Matrix::from_vec(1, 1, vec![1.0]), vec![0.0]).unwrap();
        let z = builder.activation("z", p, Activation::Relu).unwrap();
        builder.dense("f", z, Matrix::from_vec(2, 1, vec![1.0, 0.0]), Vec::new()).unwrap();
        let network = builder.finish().unwrap();
        let set = ThreatModel { input_radius: 1.5, ..ThreatModel::new(Kind::Absolute, 0.0) };
        let set = set.resolve(&network).unwrap();
        let model = Model::<f64>::new(&network);
        let radii = Radii::new(&set, network.nodes().len());
        let prepared = Prepared::new(&model, &radii, Guarantee::RealArithmetic);
        let values = model.forward(Matrix::from_vec(1, 1, vec![0.5]));
        let fixed = prepared.enclosed(&values);
        let block =
            Block { prepared: &prepared, values: &values, fixed: &fixed, divided: true, quantiles: None };
        let (states, relaxed) = analysed(&block, |_, _, _, _| {});
        let pass = Backward::new(&block, &states, Reach::Input(&relaxed), Sharing::PerUse);
        let rows = [(0, SpecRow::difference(0, 1))];
        let mut best = pass.passes(network.output(), &rows, None);
        assert_eq!(best[0].lower, -1.0);
        pass.ascend(network.output(), (&rows, None), &mut best, 20, f64::INFINITY);
        assert_eq!(best[0].lower, 0.0);
    }
}
