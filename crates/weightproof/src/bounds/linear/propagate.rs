//! Moving rows of coefficients from a node towards the input.
//!
//! Nodes are visited against their order, so that a node which several others read has all its coefficients when it is
//! reached: joins of a residual network add up there. Affine layers are in [`super::dense`] and [`super::conv`].

use super::super::deviation::around;
use super::super::noise::{inflated, lowered};
use super::super::rounding::{FEW, Offsets, Roundings};
use super::super::{Block, Bounds, LowerBounds, States};
use super::concretize::concretize;
use super::receptive::Tiles;
use super::relax::{AbsoluteLines, Relaxation, Relaxed};
use super::slopes::{FreeVariables, Tape};
use super::staircase::Hull;
use crate::kernels::rows::{
    add, concretized, dot, l1, magnitudes, relax, subtract, subtract_products, subtract_scaled, vectorized,
    weighted_l1,
};
use crate::kernels::{Matrix, Scalar, Window, add_average_pool_transposed};
use crate::memory::work;
use crate::model::{Model, Step};
use crate::network::{Activation, Gather};
use crate::property::{SpecRow, Specification};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Most rows moved through the graph together: enough for fast products, few enough for the cache.
pub const ROWS: usize = 512;
/// Most coefficients of one node, so that wide nodes take fewer rows.
pub const COEFFICIENTS: usize = 1 << 20;

/// Fewest rows that are worth a thread of their own: enough to share the weights that a product reads.
const ROWS_OF_A_THREAD: usize = 64;

/// How many of `rows` are moved together, of which at most `most` can be, so that all threads have some.
pub(super) fn divided(rows: usize, most: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads()).clamp(ROWS_OF_A_THREAD.min(most), most)
}

/// Most outputs that are bounded by passes of their own, whose work grows with the square of their number. More, as images are, have the
/// boxes that lead there.
const MOST_PASSES: usize = 1 << 14;

/// Whether the network has more outputs than passes are made for.
pub fn has_wide_output<T: Scalar>(model: &Model<'_, T>) -> bool {
    model.width(model.steps.len() - 1) > MOST_PASSES
}

/// How far a backward pass goes.
pub enum Reach<'a, T> {
    /// Through one affine layer, then to the box of its input: the interval method.
    OneLayer,
    /// Through relaxed activations, by node, until everything before is fixed or a box.
    Input(&'a [Option<Relaxed<T>>]),
}

/// How a convolution pays for its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Every use of a weight is charged on its own.
    PerUse,
    /// All uses of a weight move alike, where they do.
    Shared,
}

/// A row of a pass: the sample, and the linear function that is bounded.
pub(in super::super) type Row = (usize, SpecRow);

/// A backward pass over a block: lower bounds of linear functions of a node.
pub struct Backward<'a, T> {
    pub(super) block: &'a Block<'a, T>,
    pub(super) states: &'a States<'a, T>,
    reach: Reach<'a, T>,
    pub(super) sharing: Sharing,
    /// By node: chords of |z|, made on first use.
    absolute: Vec<OnceLock<Option<AbsoluteLines<T>>>>,
    /// By node: centre and radius of its box, made on first use.
    middle: Vec<OnceLock<(Matrix<T>, Matrix<T>)>>,
    /// By node: the box of a layer without its noise and the hits on it, made on first use.
    around: Vec<OnceLock<Bounds<T>>>,
    /// By node: hulls of a quantizer on the boxes of all elements of all samples, made on first use.
    hulls: Vec<OnceLock<Vec<Option<Hull>>>>,
}

/// Coefficients of a node's elements, one row for each bound, with the loss through a uniform radius still to be
/// subtracted: the bound is `a·v − g Σ_j |v_j| + offset`.
pub(super) struct Coefficients<T> {
    /// (rows, width).
    pub(super) a: Matrix<T>,
    pending: Option<Pending<T>>,
    /// Whether an affine layer was crossed.
    crossed: bool,
}

struct Pending<T> {
    /// One for each row.
    g: Vec<T>,
    /// The node whose elements the loss belongs to; up to a change of shape the one that the coefficients belong to.
    node: usize,
}

impl<T: Scalar> Coefficients<T> {
    /// Coefficients without a pending loss.
    pub(super) fn new(a: Matrix<T>) -> Self {
        Coefficients { a, pending: None, crossed: false }
    }

    /// Coefficients of `node` that still pay `g Σ_j |z_j|`.
    pub(super) fn lossy(a: Matrix<T>, g: Vec<T>, node: usize) -> Self {
        Coefficients { pending: Some(Pending { g, node }), ..Coefficients::new(a) }
    }
}

/// What a pass says of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RowBound<T> {
    /// A lower bound, but for random weights.
    pub lower: T,
    /// What of it was charged for rounding.
    pub charge: T,
    /// The variance proxy of what random weights add, rounded up; 0 without noise.
    pub variance: f64,
}

impl<T: Scalar> RowBound<T> {
    /// A bound that proves nothing.
    pub fn nothing() -> Self {
        RowBound { lower: -T::infinity(), charge: T::zero(), variance: 0.0 }
    }

    /// By how much noise pulls the row for each unit of variance at `quantile`: twice the derivative of `q √V`. Infinite without noise.
    pub fn pull(&self, quantile: f64) -> f64 {
        quantile / self.variance.sqrt()
    }

    /// The lower bound which fails as rarely as noise exceeds `quantile` roots of its variance; without a quantile nothing is random.
    pub fn at(&self, quantile: Option<f64>) -> T {
        quantile.map_or(self.lower, |quantile| lowered(self.lower, quantile, self.variance))
    }
}

impl<'a, T: Scalar> Backward<'a, T> {
    /// Prepares passes over `block`, whose nodes have `states`.
    pub fn new(
        block: &'a Block<'a, T>,
        states: &'a States<'a, T>,
        reach: Reach<'a, T>,
        sharing: Sharing,
    ) -> Self {
        let absolute = (0..block.values.len()).map(|_| OnceLock::new()).collect();
        let middle = (0..block.values.len()).map(|_| OnceLock::new()).collect();
        let around = (0..block.values.len()).map(|_| OnceLock::new()).collect();
        let hulls = (0..block.values.len()).map(|_| OnceLock::new()).collect();
        Backward { block, states, reach, sharing, absolute, middle, around, hulls }
    }

    /// Lower bounds of every row of a specification of the output.
    pub fn specification(&self, spec: &Specification) -> LowerBounds<T> {
        let rows: Vec<Row> = spec.rows.iter().enumerate().map(|(r, row)| (r / spec.count, *row)).collect();
        let output = self.block.values.len() - 1;
        if has_wide_output(self.block.prepared.model) || self.is_box(output, spec) {
            return self.boxes(output, &rows);
        }
        LowerBounds::of_rows(self.states, self.passes(output, &rows, None), self.block.quantiles.is_some())
    }

    /// Whether a pass would give no more than the box of the output: one layer back from rows of single elements of an affine layer,
    /// which is how their interval was made.
    fn is_box(&self, output: usize, spec: &Specification) -> bool {
        let single = || spec.rows.iter().all(|row| row.plus.is_none() || row.minus.is_none());
        let is_affine = matches!(self.block.prepared.model.steps[output], Step::Affine(_));
        is_affine && self.block.quantiles.is_none() && matches!(self.reach, Reach::OneLayer) && single()
    }

    /// Lower bounds of rows of node `start` by the boxes of its elements.
    fn boxes(&self, start: usize, rows: &[Row]) -> LowerBounds<T> {
        let (lower, upper) = (self.states.lower(start), self.states.upper(start));
        let part = self.block.prepared.arithmetic.gamma(Roundings::of(self.block, start).backward);
        let single = self.block.prepared.arithmetic.outward(1);
        let end = |m: &Matrix<T>, s: usize, i: Option<usize>| i.map_or(T::zero(), |i| m[(s, i)]);
        let of_row = |(s, row): &Row| {
            let (plus, minus) = (end(lower, *s, row.plus), end(upper, *s, row.minus));
            let bound = if row.plus.is_some() && row.minus.is_some() {
                single.down(plus - minus)
            } else {
                plus - minus
            };
            (bound, part * (plus.abs() + minus.abs()))
        };
        // The boxes hold, whatever is random.
        let bound = |(lower, charge)| RowBound { lower, charge, variance: 0.0 };
        let found = rows.iter().map(|row| bound(of_row(row))).collect();
        LowerBounds::of_rows(self.states, found, self.block.quantiles.is_some())
    }

    /// Lower bounds of rows `(sample, linear function)` of node `start`, where nothing is random.
    pub fn rows(&self, start: usize, rows: &[Row]) -> Vec<T> {
        self.passes(start, rows, None).into_iter().map(|bound| bound.lower).collect()
    }

    /// Bounds of rows of single elements of node `start` by `bound`, from a pass over the whole network or over the receptive fields of a few
    /// of the rows. It is told the pass, the node and the rows there, and which of `rows` they are.
    pub(super) fn by_fields<F>(&self, start: usize, rows: &[Row], bound: &F) -> Vec<T>
    where
        F: Fn(&Backward<'_, T>, usize, &[Row], &[usize]) -> Vec<T> + Sync,
    {
        match self.tiles(start) {
            Some(tiles) => tiles.bounds(self, start, rows, bound),
            None => bound(self, start, rows, &(0..rows.len()).collect::<Vec<_>>()),
        }
    }

    /// The tiles of node `start`, where rows of single elements move through receptive fields alone.
    fn tiles(&self, start: usize) -> Option<Tiles> {
        let is_far = matches!(self.reach, Reach::Input(_)) && !self.ends_at(start, false);
        if is_far && self.block.prepared.is_determined() { Tiles::of(self.states, start) } else { None }
    }

    /// Multiply-adds of a row of one element of node `start`.
    pub(super) fn work_of_row(&self, start: usize) -> u64 {
        let nodes = &self.block.prepared.model.network.nodes()[..=start];
        let whole = || nodes.iter().map(|node| work(&node.layer, node.width())).sum();
        self.tiles(start).map_or_else(whole, |tiles| tiles.work_of_row)
    }

    /// Plain passes over some rows together, then over the next ones. `coefficients` of the elements of `start` stand in place of what
    /// rows say, (rows, width).
    pub(super) fn passes(
        &self,
        start: usize,
        rows: &[Row],
        coefficients: Option<&Matrix<T>>,
    ) -> Vec<RowBound<T>> {
        let together = self.rows_together(start);
        let divided = if self.block.divided { divided(rows.len(), together) } else { together };
        let chunk = |(k, rows): (usize, &[Row])| {
            let offset = match coefficients {
                None => self.pass(start, rows, None, None),
                Some(all) => {
                    let places: Vec<usize> = (k * divided..k * divided + rows.len()).collect();
                    self.pass_from(start, rows, all.rows_at(&places))
                }
            };
            self.bounds_of(offset)
        };
        let found: Vec<Vec<RowBound<T>>> = if self.block.divided {
            rows.par_chunks(divided).enumerate().map(chunk).collect()
        } else {
            rows.chunks(divided).enumerate().map(chunk).collect()
        };
        found.concat()
    }

    /// Bounds of rows from their constants at the end of a pass.
    pub(super) fn bounds_of(&self, mut offset: Offsets<T>) -> Vec<RowBound<T>> {
        let terms: usize = self.block.values.iter().map(Matrix::cols).sum();
        let mut variances = offset.variances();
        if self.block.prepared.is_random() {
            variances.iter_mut().for_each(|v| *v = inflated(*v, terms));
        }
        let (lower, charge) = offset.finish();
        let bounds = lower.into_iter().zip(charge).zip(variances);
        bounds.map(|((lower, charge), variance)| RowBound { lower, charge, variance }).collect()
    }

    /// How many rows of node `start` are moved together.
    pub(super) fn rows_together(&self, start: usize) -> usize {
        let model = self.block.prepared.model;
        let widest = (0..=start).map(|node| model.width(node)).max().unwrap_or(1);
        (COEFFICIENTS / widest.max(1)).clamp(1, ROWS)
    }

    /// Moves a few rows; with what is free in their bounds chosen for each, and writing down the coefficients that leave
    /// every node, if asked.
    pub(super) fn pass(
        &self,
        start: usize,
        rows: &[Row],
        free: Option<&FreeVariables<T>>,
        tape: Option<&mut Tape<T>>,
    ) -> Offsets<T> {
        let mut offset = self.no_offset(rows.len());
        let mut work: Vec<Option<Coefficients<T>>> = (0..=start).map(|_| None).collect();
        let model = self.block.prepared.model;
        match &model.steps[start] {
            Step::Affine(layer) if layer.window.is_none() && !self.states.is_fixed(model.input_of(start)) => {
                let c = self.gather(start, rows, &mut offset);
                work[model.input_of(start)] = Some(Coefficients { crossed: true, ..c });
            }
            Step::Affine(_)
            | Step::Input
            | Step::Scale { .. }
            | Step::Activation(_)
            | Step::DynamicQuantize(_)
            | Step::MaxPool(_)
            | Step::AveragePool { .. }
            | Step::Add
            | Step::Multiply
            | Step::Gather(_)
            | Step::Reshape => work[start] = Some(one_hot(rows, model.width(start))),
        }
        self.descend(work, (rows, free), tape, offset)
    }

    /// Moves rows with any coefficients of the elements of node `start`, (rows, width).
    fn pass_from(&self, start: usize, rows: &[Row], coefficients: Matrix<T>) -> Offsets<T> {
        let mut work: Vec<Option<Coefficients<T>>> = (0..=start).map(|_| None).collect();
        work[start] = Some(Coefficients::new(coefficients));
        self.descend(work, (rows, None), None, self.no_offset(rows.len()))
    }

    /// Constants of rows that nothing was added to.
    fn no_offset(&self, rows: usize) -> Offsets<T> {
        Offsets::new(rows, self.block.prepared.arithmetic).with_hits(self.block.prepared.hit_words())
    }

    /// Moves coefficients of nodes, `work`, to where passes end.
    fn descend(
        &self,
        mut work: Vec<Option<Coefficients<T>>>,
        (rows, free): (&[Row], Option<&FreeVariables<T>>),
        mut tape: Option<&mut Tape<T>>,
        mut offset: Offsets<T>,
    ) -> Offsets<T> {
        let model = self.block.prepared.model;
        for node in (0..work.len()).rev() {
            let Some(mut c) = work[node].take() else { continue };
            if let Some(multipliers) = free.and_then(|free| free.multipliers[node].as_ref()) {
                self.resolve(&mut c, rows, &mut offset);
                self.add_multipliers(&mut c.a, multipliers, node, rows, &mut offset);
            }
            if let Some(tape) = &mut tape {
                self.resolve(&mut c, rows, &mut offset);
                tape[node] = Some(c.a.clone());
            }
            if self.ends_at(node, c.crossed) {
                self.resolve(&mut c, rows, &mut offset);
                concretize(self, &c, node, rows, &mut offset);
                continue;
            }
            let crossed = c.crossed || matches!(model.steps[node], Step::Affine(_));
            for (input, moved) in self.through(c, node, rows, free, &mut offset) {
                let moved = Coefficients { crossed, ..moved };
                work[input] = Some(match work[input].take() {
                    None => moved,
                    Some(other) => self.joined(input, (other, moved), rows, &mut offset),
                });
            }
        }
        offset
    }

    /// Coefficients of `node` as coefficients of the nodes that it reads.
    fn through(
        &self,
        mut c: Coefficients<T>,
        node: usize,
        rows: &[Row],
        free: Option<&FreeVariables<T>>,
        offset: &mut Offsets<T>,
    ) -> Vec<(usize, Coefficients<T>)> {
        let model = self.block.prepared.model;
        let inputs = model.inputs_of(node);
        let step = &model.steps[node];
        // A change of shape carries a pending loss along, an activation subtracts it on the way.
        if !matches!(step, Step::Reshape | Step::Activation(_) | Step::DynamicQuantize(_)) {
            self.resolve(&mut c, rows, offset);
        }
        self.charge_step(&c, node, rows, offset);
        let moved = match step {
            Step::Input => unreachable!("a pass ends at the input"),
            Step::Affine(layer) => match &layer.window {
                None => self.through_dense(c, node, rows, offset),
                Some(window) => self.through_conv(c, node, window, rows, offset),
            },
            Step::Scale { scale, shift } => through_scale(c, scale, shift, offset),
            Step::Activation(_) | Step::DynamicQuantize(_) => {
                let slopes = free.and_then(|free| free.slopes[node].as_ref());
                self.through_activation(c, node, rows, slopes, offset)
            }
            Step::MaxPool(window) => self.through_max_pool(&c, node, window, rows, offset),
            Step::AveragePool { window, factor } => {
                self.through_average_pool(&c, node, (window, factor), rows, offset)
            }
            Step::Add => return self.through_sum(c, node, rows, offset),
            Step::Multiply => return self.through_product(&c, node, rows, offset),
            Step::Gather(gather) => return self.through_gather(&c, node, gather, offset),
            Step::Reshape => c,
        };
        vec![(inputs[0], moved)]
    }

    /// Adds multiples `m` of the elements of `node`, and subtracts the most that they can be on its box: `m p ≤ m⁺ u + m⁻ l`.
    fn add_multipliers(
        &self,
        a: &mut Matrix<T>,
        multipliers: &Matrix<T>,
        node: usize,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) {
        let (lower, upper) = (self.states.lower(node), self.states.upper(node));
        let part = self.block.prepared.arithmetic.gamma(Roundings::of_row(a.cols()));
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let (m, lower, upper) = (multipliers.row(r), lower.row(*s), upper.row(*s));
                add(a.row_mut(r), m);
                // The most is the least of the opposite.
                offset.add(r, -concretized(m, upper, lower));
                if part > T::zero() {
                    offset
                        .charge(r, part * (magnitudes(m, lower, upper) + magnitudes(a.row(r), lower, upper)));
                }
            }
        });
        self.charge_underflow(node, rows, offset);
    }

    /// Charges rounding in the step from the coefficients `c` of `node` to those of what it reads. Activations and dense layers
    /// charge it where they pass over the coefficients anyway.
    fn charge_step(&self, c: &Coefficients<T>, node: usize, rows: &[Row], offset: &mut Offsets<T>) {
        let prepared = self.block.prepared;
        let charged = match &prepared.model.steps[node] {
            Step::Activation(_) | Step::DynamicQuantize(_) => false,
            Step::Affine(layer) => layer.window.is_some(),
            Step::Input
            | Step::Scale { .. }
            | Step::MaxPool(_)
            | Step::AveragePool { .. }
            | Step::Add
            | Step::Multiply
            | Step::Gather(_)
            | Step::Reshape => true,
        };
        if prepared.arithmetic.is_exact() || !charged {
            return;
        }
        let part = self.charged_part(node);
        // Of a product its planes say what is made of a coefficient.
        let sums = self.states.sums(node).filter(|_| !matches!(prepared.model.steps[node], Step::Multiply));
        if let Some(sums) = sums {
            let of_uses = prepared.arithmetic.gamma(Roundings::of(self.block, node).uses);
            let uses = sums.uses.as_ref().filter(|_| self.sharing == Sharing::Shared);
            vectorized!(|| {
                for (r, (s, _)) in rows.iter().enumerate() {
                    let a = c.a.row(r);
                    offset.charge(r, part * weighted_l1(a, sums.terms.row(*s)) + sums.underflow[*s]);
                    if let Some(uses) = uses {
                        offset.charge(r, of_uses * weighted_l1(a, uses.row(*s)));
                    }
                }
            });
        }
        if let Step::MaxPool(_) | Step::Multiply = &prepared.model.steps[node] {
            let magnitudes = match self.relaxed(node) {
                Some(Relaxed::Maximum(maximum)) => maximum.magnitudes(),
                Some(Relaxed::Product(product)) => product.magnitudes(),
                Some(Relaxed::Activation(_)) | None => {
                    unreachable!("maxima and products before the start are relaxed")
                }
            };
            vectorized!(|| for (r, (s, _)) in rows.iter().enumerate() {
                offset.charge(r, part * weighted_l1(c.a.row(r), magnitudes.row(*s)));
            });
            self.charge_underflow(node, rows, offset);
        }
    }

    /// What part of the magnitudes of its terms a step through `node` is charged.
    pub(super) fn charged_part(&self, node: usize) -> T {
        self.block.prepared.arithmetic.gamma(Roundings::of(self.block, node).backward)
    }

    /// Charges underflow in products with coefficients of `node` and with those of what it reads.
    pub(super) fn charge_underflow(&self, node: usize, rows: &[Row], offset: &mut Offsets<T>) {
        let (model, arithmetic) = (self.block.prepared.model, self.block.prepared.arithmetic);
        if arithmetic.is_exact() {
            return;
        }
        let nodes = || model.inputs_of(node).iter().copied().chain([node]);
        let least = arithmetic.underflow(2 * model.width(node) + FEW);
        for (r, (s, _)) in rows.iter().enumerate() {
            let size: T = nodes().map(|n| self.states.size(n, *s)).sum();
            offset.charge(r, least * (T::one() + size));
        }
    }

    /// Whether the worst case over what is known of `node` is taken there.
    pub(super) fn ends_at(&self, node: usize, crossed_affine: bool) -> bool {
        let model = self.block.prepared.model;
        let one_layer = matches!(self.reach, Reach::OneLayer);
        self.states.is_fixed(node)
            || self.states.is_independent(node)
            || match &model.steps[node] {
                Step::Input => true,
                // With a fixed input the worst case over the parameters is known exactly.
                Step::Affine(_) => {
                    self.states.is_fixed(model.input_of(node)) || (one_layer && crossed_affine)
                }
                Step::Activation(_) | Step::DynamicQuantize(_) | Step::MaxPool(_) | Step::Multiply => {
                    one_layer
                }
                Step::Scale { .. }
                | Step::AveragePool { .. }
                | Step::Add
                | Step::Gather(_)
                | Step::Reshape => false,
            }
    }

    /// The sum of what two readers of one node give.
    fn joined(
        &self,
        node: usize,
        (mut c, mut other): (Coefficients<T>, Coefficients<T>),
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) -> Coefficients<T> {
        self.resolve(&mut c, rows, offset);
        self.resolve(&mut other, rows, offset);
        c.a.add_assign(&other.a);
        c.crossed |= other.crossed;
        let part = self.block.prepared.arithmetic.gamma(1);
        if part > T::zero() {
            let (lower, upper) = (self.states.lower(node), self.states.upper(node));
            vectorized!(|| {
                for (r, (s, _)) in rows.iter().enumerate() {
                    offset.charge(r, part * magnitudes(c.a.row(r), lower.row(*s), upper.row(*s)));
                }
            });
        }
        c
    }

    /// What is added after a relaxed node.
    pub(super) fn radius_after(&self, node: usize) -> T {
        match &self.block.prepared.model.steps[node] {
            Step::Activation(_) => self.block.prepared.radii.activation(),
            Step::Input
            | Step::Affine(_)
            | Step::Scale { .. }
            | Step::DynamicQuantize(_)
            | Step::MaxPool(_)
            | Step::AveragePool { .. }
            | Step::Add
            | Step::Multiply
            | Step::Gather(_)
            | Step::Reshape => T::zero(),
        }
    }

    /// `z = ρ(p)`: coefficients pick the lower or the upper line by their sign; the activation radius costs `ε_a ‖a‖₁`.
    fn through_activation(
        &self,
        mut c: Coefficients<T>,
        node: usize,
        rows: &[Row],
        slopes: Option<&Matrix<T>>,
        offset: &mut Offsets<T>,
    ) -> Coefficients<T> {
        let Some(Relaxed::Activation(relaxation)) = self.relaxed(node) else {
            unreachable!("activations before the start are relaxed")
        };
        let radius = self.radius_after(node);
        let part = self.block.prepared.arithmetic.gamma(Roundings::of(self.block, node).backward);
        let plain = c.pending.as_ref().filter(|p| self.absolute_lines(p.node).is_none());
        let shifts = plain.map(|p| p.g.clone());
        if shifts.is_some() {
            c.pending = None;
        }
        self.resolve(&mut c, rows, offset);
        let mut own = Relaxation::zeros(1, c.a.cols());
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let shift = shifts.as_ref().map_or(T::zero(), |g| g[r]);
                let slopes = slopes.map(|slopes| slopes.row(r));
                let lines =
                    relaxation.own_lines(*s, slopes, slopes.and_then(|_| self.hulls(node, *s)), &mut own);
                let (constant, size) = relax(c.a.row_mut(r), shift, lines, radius);
                offset.add(r, constant);
                offset.charge(r, part * size);
            }
        });
        self.charge_underflow(node, rows, offset);
        c
    }

    /// The maximum of every window by its lower or upper line.
    fn through_max_pool(
        &self,
        c: &Coefficients<T>,
        node: usize,
        window: &Window,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) -> Coefficients<T> {
        let Some(Relaxed::Maximum(relaxation)) = self.relaxed(node) else {
            unreachable!("maxima before the start are relaxed")
        };
        let mut out = Matrix::zeros(rows.len(), window.input_width());
        for (r, (s, _)) in rows.iter().enumerate() {
            relaxation.add_backward(*s, c.a.row(r), out.row_mut(r), |constant| offset.add(r, constant));
        }
        Coefficients::new(out)
    }

    /// `Σ f_j z_j`, every summand rounded by `ρ |z_j|`, the sum by `δ`.
    fn through_average_pool(
        &self,
        c: &Coefficients<T>,
        node: usize,
        (window, factor): (&Window, &[T]),
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) -> Coefficients<T> {
        let rounding = self.block.prepared.radii.roundings[node];
        let mut out = Matrix::zeros(rows.len(), window.input_width());
        add_average_pool_transposed(&mut out, &c.a, window, factor);
        if !rounding.is_zero() {
            let mut g = Matrix::zeros(rows.len(), window.input_width());
            let loss = c.a.map(|a| rounding.relative * a.abs());
            add_average_pool_transposed(&mut g, &loss, window, factor);
            let input = self.block.prepared.model.input_of(node);
            self.subtract_matrix(&mut out, &g, input, rows, offset);
            (0..rows.len())
                .for_each(|r| self.subtract_sum(r, rounding.absolute * l1(c.a.row(r)), &c.a, offset));
        }
        Coefficients::new(out)
    }

    /// A sum hands its coefficients to every summand, rounded by `ρ |z|` each; the sum by `δ`.
    fn through_sum(
        &self,
        c: Coefficients<T>,
        node: usize,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) -> Vec<(usize, Coefficients<T>)> {
        let rounding = self.block.prepared.radii.roundings[node];
        (0..rows.len()).for_each(|r| self.subtract_sum(r, rounding.absolute * l1(c.a.row(r)), &c.a, offset));
        let loss = (!rounding.is_zero()).then(|| c.a.map(|a| rounding.relative * a.abs()));
        let inputs = self.block.prepared.model.inputs_of(node);
        let all = std::iter::repeat_n(c.a, inputs.len());
        let summand = |(&input, mut a): (&usize, Matrix<T>)| {
            if let Some(loss) = &loss {
                self.subtract_matrix(&mut a, loss, input, rows, offset);
            }
            (input, Coefficients::new(a))
        };
        inputs.iter().zip(all).map(summand).collect()
    }

    /// A product by the plane below or above it.
    fn through_product(
        &self,
        c: &Coefficients<T>,
        node: usize,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) -> Vec<(usize, Coefficients<T>)> {
        let Some(Relaxed::Product(relaxation)) = self.relaxed(node) else {
            unreachable!("products before the start are relaxed")
        };
        let mut factors = [Matrix::zeros(rows.len(), c.a.cols()), Matrix::zeros(rows.len(), c.a.cols())];
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let [x, y] = &mut factors;
                offset.add(r, relaxation.backward(*s, c.a.row(r), [x.row_mut(r), y.row_mut(r)]));
            }
        });
        let inputs = self.block.prepared.model.inputs_of(node).iter().copied();
        inputs.zip(factors.map(Coefficients::new)).collect()
    }

    /// A choice of elements hands every coefficient to the element that was chosen.
    fn through_gather(
        &self,
        c: &Coefficients<T>,
        node: usize,
        gather: &Gather,
        offset: &mut Offsets<T>,
    ) -> Vec<(usize, Coefficients<T>)> {
        let model = self.block.prepared.model;
        let (inputs, constant) = (model.inputs_of(node), T::from_f64(gather.constant));
        let widths: Vec<usize> = inputs.iter().map(|&i| model.width(i)).collect();
        let mut all = Matrix::zeros(c.a.rows(), widths.iter().sum());
        for r in 0..c.a.rows() {
            let out = all.row_mut(r);
            for (&a, source) in c.a.row(r).iter().zip(&gather.source) {
                match source {
                    Some(k) => out[*k] += a,
                    None => offset.add(r, a * constant),
                }
            }
        }
        let mut first = 0;
        let part = |(&input, &width): (&usize, &usize)| {
            let a = if inputs.len() == 1 {
                std::mem::take(&mut all)
            } else {
                Matrix::from_fn(c.a.rows(), width, |r, j| all[(r, first + j)])
            };
            first += width;
            (input, Coefficients::new(a))
        };
        inputs.iter().zip(&widths).map(part).collect()
    }

    /// The hulls of quantizer `node` in sample `s`, by element: of those with slopes that rows may choose. `None` of other nodes.
    #[inline(always)]
    pub(super) fn hulls(&self, node: usize, s: usize) -> Option<&[Option<Hull>]> {
        let Step::Activation(Activation::Quantize(q)) = &self.block.prepared.model.steps[node] else {
            return None;
        };
        let input = self.block.prepared.model.input_of(node);
        let hulls = self.hulls[node].get_or_init(|| {
            let (lower, upper) = (self.states.lower(input), self.states.upper(input));
            let boxes = lower.as_slice().iter().zip(upper.as_slice());
            boxes.map(|(l, u)| Hull::of_many_steps(q, Scalar::to_f64(*l), Scalar::to_f64(*u))).collect()
        });
        let width = self.states.lower(input).cols();
        Some(&hulls[s * width..(s + 1) * width])
    }

    pub(super) fn relaxed(&self, node: usize) -> Option<&Relaxed<T>> {
        match &self.reach {
            Reach::OneLayer => None,
            Reach::Input(relaxed) => relaxed[node].as_ref(),
        }
    }

    /// Subtracts the pending loss: `g |z_j| ≤ g (s_j z_j + t_j)`.
    pub(super) fn resolve(&self, c: &mut Coefficients<T>, rows: &[Row], offset: &mut Offsets<T>) {
        let Some(Pending { g, node }) = c.pending.take() else { return };
        let lines = self.absolute_lines(node);
        vectorized!(|| {
            for (r, ((s, _), &g)) in rows.iter().zip(&g).enumerate() {
                match lines {
                    None => {
                        for a in c.a.row_mut(r) {
                            *a -= g;
                        }
                    }
                    Some(lines) => {
                        subtract_scaled(c.a.row_mut(r), g, lines.slope.row(*s));
                        self.subtract_sum(r, g * l1(lines.offset.row(*s)), &lines.offset, offset);
                    }
                }
            }
        });
    }

    /// Subtracts `g_rj |z_j|` for a matrix of losses of the elements of `node`.
    pub(super) fn subtract_matrix(
        &self,
        a: &mut Matrix<T>,
        g: &Matrix<T>,
        node: usize,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) {
        let lines = self.absolute_lines(node);
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                match lines {
                    None => subtract(a.row_mut(r), g.row(r)),
                    Some(lines) => {
                        subtract_products(a.row_mut(r), g.row(r), lines.slope.row(*s));
                        let sum = weighted_l1(g.row(r), lines.offset.row(*s));
                        self.subtract_sum(r, sum, &lines.offset, offset);
                    }
                }
            }
        });
    }

    /// Subtracts a sum of numbers ≥ 0 over a row of `summands`, rounded up.
    #[inline(always)]
    fn subtract_sum(&self, r: usize, sum: T, summands: &Matrix<T>, offset: &mut Offsets<T>) {
        if sum == T::zero() {
            return;
        }
        offset.add(r, -sum);
        offset.charge(r, self.block.prepared.arithmetic.gamma(Roundings::of_row(summands.cols())) * sum);
    }

    pub(super) fn absolute_lines(&self, node: usize) -> Option<&AbsoluteLines<T>> {
        let arithmetic = self.block.prepared.arithmetic;
        self.absolute[node].get_or_init(|| AbsoluteLines::new(self.states, node, arithmetic)).as_ref()
    }

    /// The box of the layer `node` without its noise and the hits on it, where its input does not move.
    pub(super) fn without_own(&self, node: usize) -> &Bounds<T> {
        self.around[node].get_or_init(|| around(self.block.prepared, self.states, node))
    }

    /// Centre and radius of the box of `node`, (samples, width) each.
    pub(super) fn middle(&self, node: usize) -> &(Matrix<T>, Matrix<T>) {
        self.middle[node].get_or_init(|| {
            let (l, u) = (self.states.lower(node), self.states.upper(node));
            let half = T::from_f64(0.5);
            let of = |f: fn(T, T) -> T| {
                let ends = l.as_slice().iter().zip(u.as_slice());
                Matrix::from_vec(l.rows(), l.cols(), ends.map(|(&l, &u)| half * f(l, u)).collect())
            };
            (of(|l, u| l + u), of(|l, u| u - l))
        })
    }
}

/// `scale · z + shift`.
fn through_scale<T: Scalar>(
    mut c: Coefficients<T>,
    scale: &[T],
    shift: &[T],
    offset: &mut Offsets<T>,
) -> Coefficients<T> {
    for r in 0..c.a.rows() {
        offset.add(r, dot(c.a.row(r), shift));
        c.a.row_mut(r).iter_mut().zip(scale).for_each(|(a, &scale)| *a *= scale);
    }
    c
}

/// Coefficients of the rows themselves.
fn one_hot<T: Scalar>(rows: &[Row], width: usize) -> Coefficients<T> {
    let mut a = Matrix::zeros(rows.len(), width);
    for (r, (_, row)) in rows.iter().enumerate() {
        if let Some(i) = row.plus {
            a[(r, i)] += T::one();
        }
        if let Some(i) = row.minus {
            a[(r, i)] -= T::one();
        }
    }
    Coefficients::new(a)
}
