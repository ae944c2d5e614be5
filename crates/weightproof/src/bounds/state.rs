//! What is known about the nodes of a block: fixed values, or a box.

use super::Block;
use super::deviation::largest_magnitude;
use super::difference::Chain;
use super::hits::{Damages, damages};
use super::noise::{BoxEnds, Ends, variances};
use super::rounding::{Arithmetic, Sums, sums};
use super::step::{independent, moving};
use crate::faults::HitSet;
use crate::kernels::{Matrix, Scalar};
use crate::kernels::{add_linear_transposed, rows};
use crate::model::{Affine, Model, Radii};
use crate::network::Gather;
use crate::noise::NoiseSet;
use crate::threat::WeightSet;
use crate::verdict::{Guarantee, Reason};
use rayon::prelude::*;
use std::sync::OnceLock;

/// A model with one perturbation set, and sign splits of its weights made on first use.
pub struct Prepared<'m, T> {
    /// The network.
    pub model: &'m Model<'m, T>,
    /// The set.
    pub radii: &'m Radii<T>,
    /// How the bounds' arithmetic rounds.
    pub arithmetic: Arithmetic<T>,
    /// What is random about the weights, beside the set.
    pub noise: Option<&'m NoiseSet>,
    /// Hits on stored words, beside the set.
    pub hits: Option<&'m HitSet>,
    /// The chain that hits move, where nothing else moves.
    pub(crate) chain: Option<&'m Chain<'m>>,
    independent: OnceLock<Vec<bool>>,
    splits: Vec<OnceLock<Split<T>>>,
    absolute: Vec<OnceLock<Matrix<T>>>,
    norms: Vec<OnceLock<Norms<T>>>,
    uses: Vec<OnceLock<usize>>,
}

/// Induced norms of an affine layer.
#[derive(Clone, Copy, Debug)]
pub struct Norms<T> {
    /// `‖W‖_∞`: largest ℓ1 norm of a row.
    pub row: T,
    /// `‖W‖_1`: largest ℓ1 norm of a column.
    pub column: T,
}

/// The sign-split weights of interval propagation, side by side so that one product does two. For a convolution n_in is the
/// patch of a row.
#[derive(Clone, Debug)]
pub struct Split<T> {
    /// `[(W−E)⁺ | (W−E)⁻]`, (n_out, 2 n_in).
    pub low: Matrix<T>,
    /// `[(W+E)⁺ | (W+E)⁻]`, (n_out, 2 n_in).
    pub high: Matrix<T>,
    /// Weights whose interval contains both signs: (row, column, w−e, w+e).
    pub straddling: Vec<(usize, usize, T, T)>,
}

impl<'m, T: Scalar> Prepared<'m, T> {
    /// Pairs a model with radii, for bounds with this guarantee.
    pub fn new(model: &'m Model<'m, T>, radii: &'m Radii<T>, guarantee: Guarantee) -> Self {
        let nodes = model.steps.len();
        Prepared {
            model,
            radii,
            arithmetic: Arithmetic::new(guarantee),
            noise: None,
            hits: None,
            chain: None,
            independent: OnceLock::new(),
            splits: (0..nodes).map(|_| OnceLock::new()).collect(),
            absolute: (0..nodes).map(|_| OnceLock::new()).collect(),
            norms: (0..nodes).map(|_| OnceLock::new()).collect(),
            uses: (0..nodes).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The same with random weights; its blocks have quantiles.
    #[must_use]
    pub fn with_noise(self, noise: &'m NoiseSet) -> Self {
        Prepared { noise: Some(noise), ..self }
    }

    /// The same with hits on stored words, and where nothing else moves the chain that they move.
    #[must_use]
    pub(crate) fn with_hits(self, hits: &'m HitSet, chain: Option<&'m Chain<'m>>) -> Self {
        Prepared { hits: Some(hits), chain, ..self }
    }

    /// Whether nothing is random or hit.
    pub(super) fn is_determined(&self) -> bool {
        self.noise.is_none() && self.hits.is_none()
    }

    /// The same for a part of the network, where [`Prepared::is_determined`]: its model and radii, and by node whether
    /// [`Prepared::is_independent`] in the whole.
    pub(super) fn part<'p>(
        &self,
        model: &'p Model<'p, T>,
        radii: &'p Radii<T>,
        independent: Vec<bool>,
    ) -> Prepared<'p, T> {
        let all = Prepared::new(model, radii, Guarantee::Rigorous);
        Prepared { arithmetic: self.arithmetic, independent: OnceLock::from(independent), ..all }
    }

    /// Whether the elements of node `index` reach the ends of their boxes, and all between if nothing jumps, each whatever the others do:
    /// those of a layer with a fixed input whose rows, and uses of kernels, move on their own, and what activations make of them one by
    /// one (theory.md §4.3). A pass that ends at such a box loses nothing.
    pub(crate) fn is_independent(&self, index: usize) -> bool {
        self.independent.get_or_init(|| independent(self))[index]
    }

    /// Makes what interval steps take of the weights of all layers, on all threads: few blocks would make it on few.
    ///
    /// Not where it is asked for, because threads that wait for each other begin other blocks, which ask for the same.
    pub fn split_all(&self) {
        let moving = moving(self);
        let moved =
            |index: &usize| self.model.affine_of(*index).is_some() && moving[self.model.input_of(*index)];
        for index in (0..self.model.steps.len()).filter(moved) {
            let (weight, set) = self.weights(index);
            // What is there already stays.
            let _ = self.splits[index].set(Split::new(weight, set, Threads::All));
            if !self.arithmetic.is_exact() {
                let _ = self.absolute[index].set(absolute(weight, set, Threads::All));
            }
        }
    }

    fn weights(&self, index: usize) -> (&Matrix<T>, &WeightSet<T>) {
        (&self.model.affine(index).weight, &self.radii.layer(index).weight)
    }

    /// Splits of the affine node `index`. A ball is left out: it enters as a norm.
    pub fn split(&self, index: usize) -> &Split<T> {
        self.splits[index].get_or_init(|| {
            let (weight, set) = self.weights(index);
            Split::new(weight, set, Threads::This)
        })
    }

    /// `|W| + E` of the affine node `index`, a ball left out.
    pub fn absolute(&self, index: usize) -> &Matrix<T> {
        self.absolute[index].get_or_init(|| {
            let (weight, set) = self.weights(index);
            absolute(weight, set, Threads::This)
        })
    }

    /// Whether nothing but the set moves the layer `index`: noise is no box, and few of all hits happen.
    pub(crate) fn moves_in_set(&self, index: usize) -> bool {
        self.noise_of(index).is_none() && self.hits_of(index).is_none()
    }

    /// How often the choice of elements `gather`, the node `index`, takes one element, at most.
    pub(crate) fn most_uses(&self, index: usize, gather: &Gather) -> usize {
        *self.uses[index].get_or_init(|| {
            let width = self.model.inputs_of(index).iter().map(|&i| self.model.width(i)).sum();
            let mut uses = vec![0_usize; width];
            gather.source.iter().flatten().for_each(|&k| uses[k] += 1);
            uses.into_iter().max().unwrap_or(0)
        })
    }

    /// Norms of the affine node `index`.
    pub fn norms(&self, index: usize) -> Norms<T> {
        *self.norms[index].get_or_init(|| Norms::new(self.model.affine(index), self.model.width(index)))
    }
}

impl<T: Scalar> Norms<T> {
    /// Norms of the matrix of `n_out` rows that a layer is. The rows of a convolution at the border of the image are parts of
    /// its kernels, so no row is longer than the longest kernel.
    pub fn new(affine: &Affine<T>, n_out: usize) -> Self {
        let weight = affine.weight.map(|w| w.abs());
        let inputs = affine.window.as_ref().map_or(weight.cols(), crate::kernels::Window::input_width);
        let mut columns = Matrix::zeros(1, inputs);
        let ones = Matrix::from_vec(1, n_out, vec![T::one(); n_out]);
        add_linear_transposed(&mut columns, &ones, &weight, affine.window.as_ref());
        let row = largest((0..weight.rows()).map(|i| rows::l1(weight.row(i))));
        Norms { row, column: largest(columns.as_slice().iter().copied()) }
    }
}

/// The largest of numbers ≥ 0; NaN when one is NaN.
pub(super) fn largest<T: Scalar>(values: impl Iterator<Item = T>) -> T {
    values.fold(T::zero(), |m, v| if v.is_nan() || v > m { v } else { m })
}

/// Who makes something.
#[derive(Clone, Copy)]
enum Threads {
    This,
    All,
}

/// Rows of weights that are worth a thread of their own.
const WEIGHT_ROWS_OF_A_THREAD: usize = 32;

/// `|W| + E`, a ball left out.
fn absolute<T: Scalar>(weight: &Matrix<T>, set: &WeightSet<T>, threads: Threads) -> Matrix<T> {
    let mut out = Matrix::zeros(weight.rows(), weight.cols());
    let fill = |(i, out): (usize, &mut [T])| {
        let row = out.iter_mut().zip(weight.row(i)).enumerate();
        row.for_each(|(j, (out, w))| *out = w.abs() + set.box_radius(i, j));
    };
    let cols = weight.cols().max(1);
    match threads {
        Threads::This => out.as_mut_slice().chunks_mut(cols).enumerate().for_each(fill),
        Threads::All => {
            let rows = out.as_mut_slice().par_chunks_mut(cols).enumerate();
            rows.with_min_len(WEIGHT_ROWS_OF_A_THREAD).for_each(fill);
        }
    }
    out
}

impl<T: Scalar> Split<T> {
    fn new(weight: &Matrix<T>, set: &WeightSet<T>, threads: Threads) -> Self {
        let (rows, cols) = (weight.rows(), weight.cols());
        let (mut low, mut high) = (Matrix::zeros(rows, 2 * cols), Matrix::zeros(rows, 2 * cols));
        let fill = |(i, (low, high)): (usize, (&mut [T], &mut [T]))| {
            let mut straddling = Vec::new();
            for (j, &w) in weight.row(i).iter().enumerate() {
                let e = set.box_radius(i, j);
                let (l, h) = (w - e, w + e);
                let side = |v: T| if v < T::zero() { cols + j } else { j };
                low[side(l)] = l;
                high[side(h)] = h;
                if l < T::zero() && h > T::zero() {
                    straddling.push((i, j, l, h));
                }
            }
            straddling
        };
        let (both, width) = ((low.as_mut_slice(), high.as_mut_slice()), (2 * cols).max(1));
        let straddling: Vec<Vec<(usize, usize, T, T)>> = match threads {
            Threads::This => {
                both.0.chunks_mut(width).zip(both.1.chunks_mut(width)).enumerate().map(fill).collect()
            }
            Threads::All => {
                let rows = both.0.par_chunks_mut(width).zip(both.1.par_chunks_mut(width)).enumerate();
                rows.with_min_len(WEIGHT_ROWS_OF_A_THREAD).map(fill).collect()
            }
        };
        Split { low, high, straddling: straddling.concat() }
    }
}

/// A box for each sample of a block.
#[derive(Clone, Debug)]
pub struct Bounds<T> {
    /// (samples, width).
    pub lower: Matrix<T>,
    /// (samples, width).
    pub upper: Matrix<T>,
}

/// What is known about one node.
#[derive(Clone, Debug)]
pub enum State<T> {
    /// Nothing before it moves: its value is the clean one, which [`Block::fixed`] encloses.
    Fixed,
    /// Its value lies in a box.
    Box(Bounds<T>),
}

/// States of the nodes of a block, filled in node order.
pub struct States<'a, T> {
    block: Block<'a, T>,
    states: Vec<State<T>>,
    /// What rounding is charged by; of the next node, too.
    sums: Vec<Option<Sums<T>>>,
    /// Variance proxies of random layers; of the next node, too.
    variances: Vec<Option<Matrix<f64>>>,
    /// What single hits do to the elements of layers; of the next node, too.
    damages: Vec<Option<Damages>>,
    /// By node and sample `Σ (|l| + |u|)`, where rounding is charged.
    sizes: Vec<Vec<T>>,
    /// By node: where weights are random, bounds of the sums of squares of all elements, one for each sample.
    lengths: Vec<Option<Vec<f64>>>,
    /// Where weights are random, for each sample the ends of boxes that must hold.
    pub(super) ends: Vec<BoxEnds>,
    /// One for each sample: why its bounds are void.
    pub void: Vec<Option<Reason>>,
}

impl<'a, T: Scalar> States<'a, T> {
    /// Nothing known yet.
    pub fn new(block: &Block<'a, T>) -> Self {
        let nodes = block.values.len();
        let mut states = States {
            block: *block,
            states: Vec::with_capacity(nodes),
            sums: Vec::with_capacity(nodes),
            variances: Vec::with_capacity(nodes),
            damages: Vec::with_capacity(nodes),
            sizes: Vec::with_capacity(nodes),
            lengths: (0..nodes).map(|_| None).collect(),
            ends: vec![BoxEnds::default(); block.values[0].rows()],
            void: vec![None; block.values[0].rows()],
        };
        states.sums.push(sums(block, &states, 0));
        states.variances.push(None);
        states.damages.push(None);
        states
    }

    /// Nothing known yet of a part of a network, for [`States::push_known`].
    pub(super) fn of_part(block: &Block<'a, T>) -> Self {
        let mut states = States::new(block);
        states.sums.clear();
        states.variances.clear();
        states.damages.clear();
        states
    }

    /// Adds the state of the next node of a part of a network, with what it is charged by and its [`States::size`] in each sample.
    pub(super) fn push_known(&mut self, state: State<T>, sums: Option<Sums<T>>, sizes: Vec<T>) {
        self.states.push(state);
        self.sizes.push(sizes);
        self.push_sums(sums);
    }

    /// Adds what the next node of a part of a network is charged by, before its state is known.
    pub(super) fn push_sums(&mut self, sums: Option<Sums<T>>) {
        self.sums.push(sums);
        self.variances.push(None);
        self.damages.push(None);
    }

    /// What the block's bounds are made with.
    pub(super) fn prepared(&self) -> &'a Prepared<'a, T> {
        self.block.prepared
    }

    /// The block.
    #[cfg(test)]
    pub(super) fn block(&self) -> &Block<'a, T> {
        &self.block
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.block.values[0].rows()
    }

    /// Whether node `index` is known not to move.
    pub fn is_fixed(&self, index: usize) -> bool {
        matches!(self.states.get(index), Some(State::Fixed))
    }

    /// Whether a pass that ends at the box of node `index` loses nothing: see `Prepared::is_independent`.
    pub fn is_independent(&self, index: usize) -> bool {
        self.block.prepared.is_independent(index)
    }

    /// What is known about node `index`.
    pub fn state(&self, index: usize) -> &State<T> {
        &self.states[index]
    }

    /// Lower bounds of node `index`.
    pub fn lower(&self, index: usize) -> &Matrix<T> {
        match &self.states[index] {
            State::Fixed => &self.fixed(index).lower,
            State::Box(bounds) => &bounds.lower,
        }
    }

    /// Upper bounds of node `index`.
    pub fn upper(&self, index: usize) -> &Matrix<T> {
        match &self.states[index] {
            State::Fixed => &self.fixed(index).upper,
            State::Box(bounds) => &bounds.upper,
        }
    }

    /// Clean values of node `index`, to the nearest number.
    pub fn value(&self, index: usize) -> &Matrix<T> {
        &self.block.values[index]
    }

    /// Enclosure of the clean values of node `index`, which does not move or reads what does not.
    pub fn fixed(&self, index: usize) -> &'a Bounds<T> {
        self.block.fixed[index].as_ref().expect("what does not move is enclosed")
    }

    /// `max(|l|, |u|)` of every element of node `index`.
    pub fn magnitude(&self, index: usize) -> Matrix<T> {
        largest_magnitude(self.lower(index), self.upper(index))
    }

    /// Whether an element of node `index` may be negative.
    pub fn has_negative(&self, index: usize) -> bool {
        self.lower(index).as_slice().iter().any(|l| *l < T::zero())
    }

    /// `Σ (|l| + |u|)` over the elements of node `index`; 0 where the node is not reached yet, or rounding is not charged.
    pub fn size(&self, index: usize, s: usize) -> T {
        self.sizes.get(index).and_then(|sizes| sizes.get(s)).copied().unwrap_or_else(T::zero)
    }

    /// What rounding in the step through node `index` is charged by, where it is.
    pub(crate) fn sums(&self, index: usize) -> Option<&Sums<T>> {
        self.sums[index].as_ref()
    }

    /// Variance proxies of the elements of node `index`, where its weights are random, (samples, width).
    pub(super) fn variances(&self, index: usize) -> Option<&Matrix<f64>> {
        self.variances[index].as_ref()
    }

    /// Bounds of the sums of squares of the elements of node `index`, one for each sample, where there are some.
    pub(super) fn length(&self, index: usize) -> Option<&[f64]> {
        self.lengths[index].as_deref()
    }

    /// Takes in bounds of the sums of squares of the elements of the last node, each of which is one more end that must hold.
    pub(super) fn bound_lengths(&mut self, lengths: Vec<f64>) {
        let last = self.states.len() - 1;
        self.lengths[last] = Some(lengths);
        let one = BoxEnds { later: Ends { narrow: 1, wide: 0 }, ..BoxEnds::default() };
        self.ends.iter_mut().for_each(|ends| ends.add(one));
        // The variances of the next node are there already.
        if last + 1 < self.block.values.len() {
            self.variances[last + 1] = variances(&self.block, self, last + 1);
        }
    }

    /// Adds ends that must hold, for each sample.
    pub(super) fn rely_on(&mut self, ends: &[BoxEnds]) {
        self.ends.iter_mut().zip(ends).for_each(|(all, ends)| all.add(*ends));
    }

    /// What single hits on the rows of node `index` may add to its elements and take from them, where its words may be hit.
    pub(super) fn damages(&self, index: usize) -> Option<&Damages> {
        self.damages[index].as_ref()
    }

    /// Adds the state of the next node; bounds that are NaN, infinite or too large for products void their sample.
    pub fn push(&mut self, state: State<T>) {
        self.states.push(state);
        let index = self.states.len() - 1;
        let limit = T::from_f64(T::OVERFLOW);
        let (lower, upper) = (self.lower(index), self.upper(index));
        let sizes: Vec<T> = rows::vectorized!(|| rows::each(
            lower.rows(),
            #[inline(always)]
            |s| rows::l1(lower.row(s)) + rows::l1(upper.row(s))
        ));
        let is_within = |row: &[T]| row.iter().all(|a| a.abs() < limit);
        // No number is larger than the sum of all, and no sum is less than NaN.
        let is_beyond =
            |s: usize| !(sizes[s] < limit || (is_within(lower.row(s)) && is_within(upper.row(s))));
        let beyond: Vec<usize> = (0..sizes.len()).filter(|&s| is_beyond(s)).collect();
        beyond.into_iter().for_each(|s| self.void[s] = Some(Reason::Overflow));
        if !self.block.prepared.arithmetic.is_exact() {
            self.sizes.push(sizes);
        }
        if index + 1 < self.block.values.len() {
            self.sums.push(sums(&self.block, self, index + 1));
            self.variances.push(variances(&self.block, self, index + 1));
            self.damages.push(damages(&self.block, self, index + 1));
        }
    }

    /// Voids samples where one of these sums may exceed `limit`.
    pub fn check_sums(&mut self, sums: &Matrix<T>, limit: f64) {
        let limit = T::from_f64(limit);
        for s in 0..self.samples() {
            if self.void[s].is_none() && !sums.row(s).iter().all(|v| *v <= limit) {
                self.void[s] = Some(Reason::FormatRange);
            }
        }
    }

    /// Voids samples where a value of node `index` may exceed `limit` in magnitude.
    pub fn check_range(&mut self, index: usize, limit: f64) {
        let limit = T::from_f64(limit);
        for s in 0..self.samples() {
            let within = |m: &Matrix<T>| m.row(s).iter().all(|v| v.abs() <= limit);
            if self.void[s].is_none() && !(within(self.lower(index)) && within(self.upper(index))) {
                self.void[s] = Some(Reason::FormatRange);
            }
        }
    }
}
