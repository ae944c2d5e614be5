//! Worst points: where in the relaxed network a bound is reached, carried from the end of a pass towards its start.
//!
//! ```text
//! end        v_j = l_j where a_j > 0, else u_j
//! affine     v_p = W v + b − sign(a) (E |v| + e)
//! ReLU       v_z = α v_p where c > 0, else β v_p + b₀
//! noise      v_p − q a_i v_i / √V         the ball that √V is a norm of
//! ```
//! # Source
//! theory.md §4.4: the adjoint of the backward pass.

use super::super::deviation::largest_magnitude;
use super::concretize::End;
use super::conv::is_shared;
use super::propagate::{Backward, Row, Sharing};
use super::relax::{Relaxation, Relaxed};
use super::slopes::{ByNode, Tape};
use crate::kernels::rows::{dot, each, fill, squares, sum, vectorized};
use crate::kernels::{Matrix, Scalar, average_pool, linear, max_pool};
use crate::model::{Affine, Step, gathered};
use crate::threat::WeightSet;

impl<T: Scalar> Backward<'_, T> {
    /// Worst points of the bounds of all rows, by node; (rows, width) each. Where weights are random, `pulls` are the `q / √V` of rows.
    pub(super) fn points(
        &self,
        tape: &Tape<T>,
        rows: &[Row],
        slopes: &ByNode<T>,
        pulls: Option<&[f64]>,
    ) -> ByNode<T> {
        let mut points: ByNode<T> = Vec::with_capacity(tape.len());
        for (node, a) in tape.iter().enumerate() {
            let point = a.as_ref().map(|a| {
                let mut point = if self.ends_at(node, true) {
                    self.end_point(node, a, rows)
                } else {
                    self.moved_point(node, a, &points, rows, slopes)
                };
                if let Some(pulls) = pulls {
                    self.pull(node, a, (rows, pulls), &mut point);
                }
                point
            });
            points.push(point);
        }
        points
    }

    /// The worst point of the set where a pass ends; of kernels whose input is fixed that of the box around it.
    fn end_point(&self, node: usize, a: &Matrix<T>, rows: &[Row]) -> Matrix<T> {
        let mut out = Matrix::zeros(a.rows(), a.cols());
        if let Some(End::Ball { radius, length, bias }) = End::of_layer(self, node) {
            let value = self.states.value(node);
            vectorized!(|| {
                for (r, (s, _)) in rows.iter().enumerate() {
                    let (norm, reach) = (squares(a.row(r)).sqrt(), radius * length[*s]);
                    fill(out.row_mut(r), [a.row(r), value.row(*s), bias], |[a, v, e]| {
                        let towards = if norm > T::zero() { a / norm } else { T::zero() };
                        v - reach * towards - with_sign(a, e)
                    });
                }
            });
            return out;
        }
        let (mut lower, mut upper) = (self.states.lower(node), self.states.upper(node));
        let of_fixed = !self.states.is_fixed(node) && self.states.variances(node).is_some();
        if of_fixed && self.states.is_fixed(self.block.prepared.model.input_of(node)) {
            let without = self.without_own(node);
            (lower, upper) = (&without.lower, &without.upper);
        }
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let of = [a.row(r), lower.row(*s), upper.row(*s)];
                fill(out.row_mut(r), of, |[a, l, u]| if a > T::zero() { l } else { u });
            }
        });
        out
    }

    /// Where the noise of node `node` pulls its point: the derivative of `−q √V` by the coefficients, `−q a_i v_i / √V`. Elements of
    /// convolutions are taken as if each had a draw of its own.
    fn pull(&self, node: usize, a: &Matrix<T>, (rows, pulls): (&[Row], &[f64]), point: &mut Matrix<T>) {
        let Some(variances) = self.states.variances(node) else { return };
        for (r, ((s, _), &pull)) in rows.iter().zip(pulls).enumerate() {
            if !pull.is_finite() {
                continue;
            }
            let of_elements = point.row_mut(r).iter_mut().zip(a.row(r)).zip(variances.row(*s));
            of_elements.for_each(|((v, &a), &variance)| *v -= T::from_f64(pull * variance) * a);
        }
    }

    /// The worst point of `node` from those of what it reads.
    fn moved_point(
        &self,
        node: usize,
        a: &Matrix<T>,
        points: &ByNode<T>,
        rows: &[Row],
        slopes: &ByNode<T>,
    ) -> Matrix<T> {
        let model = self.block.prepared.model;
        let inputs = model.inputs_of(node);
        let point = |k: usize| points[inputs[k]].as_ref().expect("coefficients moved to every input");
        match &model.steps[node] {
            Step::Input => unreachable!("a pass ends at the input"),
            Step::Affine(layer) => self.affine_point(node, layer, a, point(0), rows),
            Step::Scale { scale, shift } => {
                let mut out = Matrix::zeros(a.rows(), a.cols());
                vectorized!(|| {
                    for r in 0..rows.len() {
                        fill(out.row_mut(r), [point(0).row(r), scale, shift], |[v, scale, shift]| {
                            v * scale + shift
                        });
                    }
                });
                out
            }
            Step::Activation(_) | Step::DynamicQuantize(_) => {
                self.activation_point(node, a, point(0), rows, slopes[node].as_ref())
            }
            Step::MaxPool(window) => max_pool(point(0), window),
            Step::AveragePool { window, factor } => average_pool(point(0), window, factor),
            Step::Add => {
                let mut sum = point(0).clone();
                (1..inputs.len()).for_each(|k| sum.add_assign(point(k)));
                sum
            }
            Step::Multiply => {
                let Some(Relaxed::Product(relaxation)) = self.relaxed(node) else {
                    unreachable!("products before the start are relaxed")
                };
                let mut out = Matrix::zeros(a.rows(), a.cols());
                for (r, (s, _)) in rows.iter().enumerate() {
                    relaxation.point(*s, a.row(r), [point(0).row(r), point(1).row(r)], out.row_mut(r));
                }
                out
            }
            Step::Gather(gather) => {
                let parts: Vec<&Matrix<T>> = (0..inputs.len()).map(point).collect();
                gathered(&parts, gather, T::from_f64(gather.constant))
            }
            Step::Reshape => point(0).clone(),
        }
    }

    /// The lower line at `v` where `a > 0`, else the upper line, each moved away by the radius of the activation.
    fn activation_point(
        &self,
        node: usize,
        a: &Matrix<T>,
        v: &Matrix<T>,
        rows: &[Row],
        slopes: Option<&Matrix<T>>,
    ) -> Matrix<T> {
        let Some(Relaxed::Activation(relaxation)) = self.relaxed(node) else {
            unreachable!("activations before the start are relaxed")
        };
        let radius = self.radius_after(node);
        let mut out = Matrix::zeros(a.rows(), a.cols());
        let mut own = Relaxation::zeros(1, a.cols());
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let slopes = slopes.map(|slopes| slopes.row(r));
                let lines =
                    relaxation.own_lines(*s, slopes, slopes.and_then(|_| self.hulls(node, *s)), &mut own);
                let of = [
                    a.row(r),
                    v.row(r),
                    lines.lower_slope,
                    lines.lower_offset,
                    lines.upper_slope,
                    lines.upper_offset,
                ];
                fill(out.row_mut(r), of, |[a, v, ls, lo, us, uo]| {
                    if a > T::zero() { ls * v + lo - radius } else { us * v + uo + radius }
                });
            }
        });
        out
    }

    /// `W v + b − sign(a) (E |v| + e)`, with the chord of `|v|`; kernels whose uses move alike only move by their
    /// biases, and balls of kernels do not move.
    fn affine_point(
        &self,
        node: usize,
        layer: &Affine<T>,
        a: &Matrix<T>,
        v: &Matrix<T>,
        rows: &[Row],
    ) -> Matrix<T> {
        let mut out = Matrix::default();
        layer.apply(&mut out, v);
        let losses = self.weight_losses(node, layer, a, v, rows);
        let bias = &self.block.prepared.radii.layer(node).bias;
        // One for each element.
        let bias: Vec<T> = (0..out.cols()).map(|i| bias[i / layer.positions()]).collect();
        vectorized!(|| {
            for r in 0..rows.len() {
                let from = losses.row(r).iter().zip(&bias).zip(a.row(r));
                for (out, ((&loss, &e), &a)) in out.row_mut(r).iter_mut().zip(from) {
                    *out -= with_sign(a, loss + e);
                }
            }
        });
        out
    }

    /// `E |v|`, with the chord of `|v|`, or what a ball of weights takes from each element; (rows, width of `node`).
    fn weight_losses(
        &self,
        node: usize,
        layer: &Affine<T>,
        a: &Matrix<T>,
        v: &Matrix<T>,
        rows: &[Row],
    ) -> Matrix<T> {
        let radii = self.block.prepared.radii.layer(node);
        let input = self.block.prepared.model.input_of(node);
        let mut losses = Matrix::zeros(a.rows(), a.cols());
        match (&radii.weight, &layer.window) {
            (WeightSet::Fixed, _) | (WeightSet::Ball(_) | WeightSet::RowBalls(_), Some(_)) => {}
            (_, Some(_)) if self.sharing == Sharing::Shared && is_shared(radii) => {}
            (WeightSet::Entries(e), window) => {
                linear(&mut losses, &self.magnitudes(input, v, rows), e, window.as_ref());
            }
            (WeightSet::Rows(_), Some(window)) => {
                let e = radii.weight.box_matrix(layer.weight.rows(), layer.weight.cols());
                linear(&mut losses, &self.magnitudes(input, v, rows), &e, Some(window));
            }
            // Every row of `E` is one number.
            (WeightSet::Rows(e), None) => {
                let totals = self.total_magnitudes(input, v, rows);
                vectorized!(|| for (r, total) in totals.iter().enumerate() {
                    fill(losses.row_mut(r), [e.as_slice()], |[e]| e * *total);
                });
            }
            (WeightSet::RowBalls(e), None) => {
                let longest = largest_magnitude(self.states.lower(input), self.states.upper(input));
                vectorized!(|| {
                    for (r, (s, _)) in rows.iter().enumerate() {
                        let length = squares(longest.row(*s)).sqrt();
                        fill(losses.row_mut(r), [e.as_slice()], |[e]| e * length);
                    }
                });
            }
            (WeightSet::Ball(e), None) => {
                let longest = largest_magnitude(self.states.lower(input), self.states.upper(input));
                vectorized!(|| {
                    for (r, (s, _)) in rows.iter().enumerate() {
                        let (norm, length) = (squares(a.row(r)).sqrt(), squares(longest.row(*s)).sqrt());
                        if norm > T::zero() {
                            let reach = *e * length;
                            fill(losses.row_mut(r), [a.row(r)], |[a]| reach * a.abs() / norm);
                        }
                    }
                });
            }
        }
        losses
    }

    /// The chords of `|v|` for the elements of `node`; (rows, width).
    fn magnitudes(&self, node: usize, v: &Matrix<T>, rows: &[Row]) -> Matrix<T> {
        let Some(lines) = self.absolute_lines(node) else { return v.clone() };
        let mut out = Matrix::zeros(v.rows(), v.cols());
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let of = [v.row(r), lines.slope.row(*s), lines.offset.row(*s)];
                fill(out.row_mut(r), of, |[v, slope, offset]| slope * v + offset);
            }
        });
        out
    }

    /// Their sums; one for each row.
    fn total_magnitudes(&self, node: usize, v: &Matrix<T>, rows: &[Row]) -> Vec<T> {
        let lines = self.absolute_lines(node);
        vectorized!(|| each(
            rows.len(),
            #[inline(always)]
            |r| match lines {
                None => sum(v.row(r)),
                Some(lines) => dot(lines.slope.row(rows[r].0), v.row(r)) + sum(lines.offset.row(rows[r].0)),
            }
        ))
    }
}

/// `size` where `a > 0`, else `−size`.
#[inline(always)]
fn with_sign<T: Scalar>(a: T, size: T) -> T {
    if a > T::zero() { size } else { -size }
}
