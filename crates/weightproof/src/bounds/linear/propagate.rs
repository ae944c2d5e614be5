//! Moving rows of coefficients from a node towards the input.

use super::super::interval::largest_magnitude;
use super::super::{Block, LowerBounds, States};
use super::concretize::concretize;
use super::relax::{AbsoluteLines, Relaxation};
use crate::kernels::rows::{
    centered, l1, relax, squares, subtract_products, subtract_scaled, vectorized, weighted_l1,
};
use crate::kernels::{Matrix, Scalar, product};
use crate::model::{Radius, Step};
use crate::network::Activation;
use crate::property::{SpecRow, Specification};
use std::sync::OnceLock;

/// Rows moved through the graph together: enough for fast products, few enough for the cache.
const ROWS: usize = 512;

/// How far a backward pass goes.
pub enum Reach<'a, T> {
    /// Through one dense layer, then to the box of its input: the interval method.
    OneLayer,
    /// Through relaxed activations, by node, until everything before is fixed or a box.
    Input(&'a [Option<Relaxation<T>>]),
}

/// A backward pass over a block: lower bounds of linear functions of a node.
pub struct Backward<'a, T> {
    pub(super) block: &'a Block<'a, T>,
    pub(super) states: &'a States<'a, T>,
    reach: Reach<'a, T>,
    /// By dense node: chords of |z| for its input, made on first use.
    absolute: Vec<OnceLock<Option<AbsoluteLines<T>>>>,
}

/// Coefficients of a node's elements, one row for each bound, with the loss through a uniform radius still to be
/// subtracted: the bound is `a·v − g Σ_j |v_j| + offset`.
pub(super) struct Coefficients<T> {
    /// (rows, width).
    pub(super) a: Matrix<T>,
    pending: Option<Pending<T>>,
}

struct Pending<T> {
    /// One for each row.
    g: Vec<T>,
    /// The dense node whose input the loss belongs to.
    dense: usize,
}

impl<'a, T: Scalar> Backward<'a, T> {
    /// Prepares passes over `block`, whose nodes have `states`.
    pub fn new(block: &'a Block<'a, T>, states: &'a States<'a, T>, reach: Reach<'a, T>) -> Self {
        let absolute = (0..block.values.len()).map(|_| OnceLock::new()).collect();
        Backward { block, states, reach, absolute }
    }

    /// Lower bounds of every row of a specification of the output.
    pub fn specification(&self, spec: &Specification) -> LowerBounds<T> {
        let rows: Vec<(usize, SpecRow)> =
            spec.rows.iter().enumerate().map(|(r, row)| (r / spec.count, *row)).collect();
        let output = self.block.values.len() - 1;
        LowerBounds { lower: self.rows(output, &rows), void: self.states.void.clone() }
    }

    /// Lower bounds of rows `(sample, linear function)` of node `start`.
    pub fn rows(&self, start: usize, rows: &[(usize, SpecRow)]) -> Vec<T> {
        rows.chunks(ROWS).flat_map(|chunk| self.chunk(start, chunk)).collect()
    }

    fn chunk(&self, start: usize, rows: &[(usize, SpecRow)]) -> Vec<T> {
        let mut offset = vec![T::zero(); rows.len()];
        let mut work: Vec<Option<Coefficients<T>>> = (0..=start).map(|_| None).collect();
        let model = self.block.prepared.model;
        let through_dense =
            matches!(model.steps[start], Step::Dense { .. }) && !self.states.is_fixed(model.input_of(start));
        if through_dense {
            work[model.input_of(start)] = Some(self.gather(start, rows, &mut offset));
        } else {
            work[start] = Some(one_hot(rows, model.width(start)));
        }
        for node in (0..=start).rev() {
            let Some(mut c) = work[node].take() else { continue };
            if self.ends_at(node, through_dense) {
                self.resolve(&mut c, rows, &mut offset);
                concretize(self, &c, node, rows, &mut offset);
                continue;
            }
            let moved = match &model.steps[node] {
                Step::Input => unreachable!("a pass ends at the input"),
                Step::Dense { .. } => self.through_dense(c, node, rows, &mut offset),
                Step::Scale { scale, shift } => self.through_scale(c, scale, shift, rows, &mut offset),
                Step::Activation(f) => self.through_activation(c, node, *f, rows, &mut offset),
                Step::Reshape => c,
            };
            work[model.input_of(node)] = Some(moved);
        }
        offset
    }

    /// Whether the worst case over what is known of `node` is taken there.
    fn ends_at(&self, node: usize, crossed_dense: bool) -> bool {
        let model = self.block.prepared.model;
        let one_layer = matches!(self.reach, Reach::OneLayer);
        match &model.steps[node] {
            Step::Input => true,
            // Rows move independently when the input is fixed: the reachable set is a box (or a ball), exactly.
            Step::Dense { .. } => self.states.is_fixed(model.input_of(node)) || (one_layer && crossed_dense),
            Step::Activation(_) => one_layer || self.states.is_fixed(node),
            Step::Scale { .. } | Step::Reshape => self.states.is_fixed(model.input_of(node)),
        }
    }

    /// First step through the dense node `start`: rows of specifications select rows of W.
    ///
    /// ```text
    /// (e_i − e_j)·p ≥ (W_i − W_j) z − (E_i + E_j)|z| + b_i − b_j − e_i − e_j
    /// ```
    fn gather(&self, start: usize, rows: &[(usize, SpecRow)], offset: &mut [T]) -> Coefficients<T> {
        let Step::Dense { weight, bias } = &self.block.prepared.model.steps[start] else {
            panic!("node {start} is not dense")
        };
        let radii = self.block.prepared.radii.layer(start);
        let mut a = Matrix::zeros(rows.len(), weight.cols());
        vectorized(|| {
            for (r, (_, row)) in rows.iter().enumerate() {
                let out = a.row_mut(r);
                if let Some(i) = row.plus {
                    out.copy_from_slice(weight.row(i));
                    offset[r] += bias[i] - radii.bias[i];
                }
                if let Some(i) = row.minus {
                    out.iter_mut().zip(weight.row(i)).for_each(|(a, &w)| *a -= w);
                    offset[r] += -bias[i] - radii.bias[i];
                }
            }
        });
        let ends = |row: &SpecRow| [row.plus, row.minus].into_iter().flatten();
        match &radii.weight {
            Radius::Zero => Coefficients { a, pending: None },
            Radius::Uniform(e) => {
                let g = rows.iter().map(|(_, row)| ends(row).map(|_| *e).sum()).collect();
                Coefficients { a, pending: Some(Pending { g, dense: start }) }
            }
            Radius::PerRow(e) => {
                let g = rows.iter().map(|(_, row)| ends(row).map(|i| e[i]).sum()).collect();
                Coefficients { a, pending: Some(Pending { g, dense: start }) }
            }
            Radius::Dense(e) => {
                let g =
                    Matrix::from_fn(rows.len(), e.cols(), |r, j| ends(&rows[r].1).map(|i| e[(i, j)]).sum());
                self.subtract_matrix(&mut a, &g, start, rows, offset);
                Coefficients { a, pending: None }
            }
            Radius::Frobenius(radius) => {
                let norms: Vec<T> =
                    rows.iter().map(|(_, row)| ends(row).map(|_| T::one()).sum::<T>().sqrt()).collect();
                self.subtract_ball(*radius, &norms, start, rows, offset);
                Coefficients { a, pending: None }
            }
        }
    }

    /// One step through a perturbed dense layer (Lemma 1).
    ///
    /// ```text
    /// a·p ≥ (a W − |a| E)·|z| part + a·b − |a|·e
    /// ```
    /// # Shapes
    /// `c.a`: (rows, n_out) becomes (rows, n_in).
    /// # Guarantee
    /// Exact for `z ≥ 0`; for mixed signs up to the chord of |z|.
    /// # Source
    /// theory.md §3, §4.3. Difference to CROWN on weights: no weight × activation relaxation.
    fn through_dense(
        &self,
        mut c: Coefficients<T>,
        node: usize,
        rows: &[(usize, SpecRow)],
        offset: &mut [T],
    ) -> Coefficients<T> {
        let Step::Dense { weight, bias } = &self.block.prepared.model.steps[node] else {
            panic!("node {node} is not dense")
        };
        let radii = self.block.prepared.radii.layer(node);
        self.resolve(&mut c, rows, offset);
        let a = c.a;
        let norms: Vec<T> = vectorized(|| {
            (0..a.rows())
                .map(|r| {
                    offset[r] += centered(a.row(r), bias, &radii.bias);
                    match &radii.weight {
                        Radius::Zero | Radius::Dense(_) => T::zero(),
                        Radius::Uniform(e) => *e * l1(a.row(r)),
                        Radius::PerRow(e) => weighted_l1(a.row(r), e),
                        Radius::Frobenius(_) => squares(a.row(r)).sqrt(),
                    }
                })
                .collect()
        });
        let mut out = Matrix::default();
        product(&mut out, &a, weight);
        match &radii.weight {
            Radius::Zero => Coefficients { a: out, pending: None },
            Radius::Uniform(_) | Radius::PerRow(_) => {
                Coefficients { a: out, pending: Some(Pending { g: norms, dense: node }) }
            }
            Radius::Dense(e) => {
                let mut g = Matrix::default();
                product(&mut g, &a.map(|a| a.abs()), e);
                self.subtract_matrix(&mut out, &g, node, rows, offset);
                Coefficients { a: out, pending: None }
            }
            Radius::Frobenius(radius) => {
                self.subtract_ball(*radius, &norms, node, rows, offset);
                Coefficients { a: out, pending: None }
            }
        }
    }

    /// `z = ρ(p)`: coefficients pick the lower or the upper line by their sign; the activation radius costs `ε_a ‖a‖₁`.
    fn through_activation(
        &self,
        mut c: Coefficients<T>,
        node: usize,
        f: Activation,
        rows: &[(usize, SpecRow)],
        offset: &mut [T],
    ) -> Coefficients<T> {
        let Reach::Input(relaxations) = &self.reach else {
            unreachable!("{} ends a one-layer pass", f.name())
        };
        let relaxation = relaxations[node].as_ref().expect("activations before the start are relaxed");
        let radius = self.block.prepared.radii.activation();
        let plain = c.pending.as_ref().filter(|p| self.absolute_lines(p.dense).is_none());
        let shifts = plain.map(|p| p.g.clone());
        if shifts.is_some() {
            c.pending = None;
        }
        self.resolve(&mut c, rows, offset);
        vectorized(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let shift = shifts.as_ref().map_or(T::zero(), |g| g[r]);
                offset[r] += relax(c.a.row_mut(r), shift, relaxation.lines(*s), radius);
            }
        });
        c
    }

    /// `scale · z + shift`.
    fn through_scale(
        &self,
        mut c: Coefficients<T>,
        scale: &[T],
        shift: &[T],
        rows: &[(usize, SpecRow)],
        offset: &mut [T],
    ) -> Coefficients<T> {
        self.resolve(&mut c, rows, offset);
        for r in 0..rows.len() {
            for ((a, &scale), &shift) in c.a.row_mut(r).iter_mut().zip(scale).zip(shift) {
                offset[r] += *a * shift;
                *a *= scale;
            }
        }
        c
    }

    /// Subtracts the pending loss: `g |z_j| ≤ g (s_j z_j + t_j)`.
    fn resolve(&self, c: &mut Coefficients<T>, rows: &[(usize, SpecRow)], offset: &mut [T]) {
        let Some(Pending { g, dense }) = c.pending.take() else { return };
        let lines = self.absolute_lines(dense);
        vectorized(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                match lines {
                    None => c.a.row_mut(r).iter_mut().for_each(|a| *a -= g[r]),
                    Some(lines) => {
                        subtract_scaled(c.a.row_mut(r), g[r], lines.slope.row(*s));
                        offset[r] -= g[r] * l1(lines.offset.row(*s));
                    }
                }
            }
        });
    }

    /// Subtracts `g_rj |z_j|` for a matrix of losses.
    fn subtract_matrix(
        &self,
        a: &mut Matrix<T>,
        g: &Matrix<T>,
        dense: usize,
        rows: &[(usize, SpecRow)],
        offset: &mut [T],
    ) {
        let lines = self.absolute_lines(dense);
        vectorized(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                match lines {
                    None => a.row_mut(r).iter_mut().zip(g.row(r)).for_each(|(a, &g)| *a -= g),
                    Some(lines) => {
                        subtract_products(a.row_mut(r), g.row(r), lines.slope.row(*s));
                        offset[r] -= weighted_l1(g.row(r), lines.offset.row(*s));
                    }
                }
            }
        });
    }

    /// Subtracts `r ‖a‖₂ max ‖z‖₂` for a Frobenius ball; `norms` holds `‖a‖₂` of every row.
    fn subtract_ball(
        &self,
        radius: T,
        norms: &[T],
        dense: usize,
        rows: &[(usize, SpecRow)],
        offset: &mut [T],
    ) {
        let input = self.block.prepared.model.input_of(dense);
        let z = largest_magnitude(self.states.lower(input), self.states.upper(input));
        let lengths: Vec<T> = (0..z.rows()).map(|s| squares(z.row(s)).sqrt()).collect();
        for (r, (s, _)) in rows.iter().enumerate() {
            offset[r] -= radius * norms[r] * lengths[*s];
        }
    }

    fn absolute_lines(&self, dense: usize) -> Option<&AbsoluteLines<T>> {
        let input = self.block.prepared.model.input_of(dense);
        self.absolute[dense].get_or_init(|| AbsoluteLines::new(self.states, input)).as_ref()
    }
}

/// Coefficients of the rows themselves.
fn one_hot<T: Scalar>(rows: &[(usize, SpecRow)], width: usize) -> Coefficients<T> {
    let mut a = Matrix::zeros(rows.len(), width);
    for (r, (_, row)) in rows.iter().enumerate() {
        if let Some(i) = row.plus {
            a[(r, i)] += T::one();
        }
        if let Some(i) = row.minus {
            a[(r, i)] -= T::one();
        }
    }
    Coefficients { a, pending: None }
}
