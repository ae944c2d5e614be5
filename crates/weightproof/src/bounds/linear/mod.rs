//! Backward linear bounds (theory.md §4.3): CROWN with the exact effect of weight perturbations.
//!
//! A row of coefficients starts at a node and moves towards the input. Lemma 1 makes the step through a perturbed layer
//! linear in the layer's input, so no weight × activation product is relaxed. [`relax`] knows single activations,
//! [`propagate`] moves coefficients through the graph, [`concretize`] ends at a set whose worst case is known exactly.
//! [`optimized`] moves the slopes that are free, by the ascent of [`slopes`].

mod ascent;
mod branching;
mod concretize;
mod conv;
mod dense;
mod domain;
mod dynamic;
mod hits;
mod length;
mod maximum;
mod optimized;
mod points;
mod product;
mod propagate;
mod receptive;
mod relax;
mod slopes;
mod staircase;

pub(crate) use branching::Branch;
pub use branching::Branching;
pub(crate) use domain::{Bounded, Domain, Domains, OpenRow, Root, SubDomain, is_quantizer};
pub(crate) use hits::HitTerms;
pub use optimized::Optimized;
pub(super) use propagate::Row;
pub use propagate::{Backward, COEFFICIENTS, ROWS, Reach, Sharing};
pub(crate) use propagate::{RowBound, has_wide_output};
pub(crate) use relax::Line;
pub use relax::Relaxed;
pub(crate) use staircase::Hull;

use super::noise::{BoxEnds, better, held};
use super::step::{check_format_range, step};
use super::{Block, BoundMethod, Bounds, LowerBounds, State, States, intersect};
use crate::kernels::{Matrix, Scalar, Window, max_pool};
use crate::model::{Model, Step};
use crate::network::{Activation, Gather};
use crate::property::{SpecRow, Specification};
pub(super) use conv::is_shared;

/// Where the bounds of hidden neurons come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intermediate {
    /// Interval propagation: cheap.
    Interval,
    /// The same backward pass, started at every layer: tight.
    Linear,
}

/// The linear method.
pub struct Linear {
    /// Bounds of hidden neurons.
    pub intermediate: Intermediate,
}

impl<T: Scalar> BoundMethod<T> for Linear {
    /// The backward bound, intersected with the interval bound on the same intermediate boxes; where convolutions share their
    /// weights, the better of charging their uses one by one and together.
    fn lower_bounds(&self, block: &Block<'_, T>, spec: &Specification) -> LowerBounds<T> {
        self.bounds(block, spec)
    }
}

impl Linear {
    /// See [`BoundMethod::lower_bounds`]; with noise, bounds of what is not random, and variances.
    pub(super) fn bounds<T: Scalar>(&self, block: &Block<'_, T>, spec: &Specification) -> LowerBounds<T> {
        let (states, relaxed) = self.analysis(block);
        of_output(block, &states, &relaxed, spec)
    }

    /// The states of all nodes, and the lines of the nonlinear ones.
    pub(super) fn analysis<'a, T: Scalar>(&self, block: &Block<'a, T>) -> Analysis<'a, T> {
        if block.quantiles.is_some() {
            let bound = |pass: &Backward<'_, T>, index: usize, rows: &[Row]| pass.passes(index, rows, None);
            let is_linear = self.intermediate == Intermediate::Linear;
            return analysed_randomly(block, is_linear.then_some(&bound));
        }
        analysed(block, |states, relaxed, index, state| {
            if self.intermediate == Intermediate::Linear {
                tighten(block, states, relaxed, index, state);
            }
        })
    }
}

/// What a block's analysis knows: the states of its nodes, and the lines of the nonlinear ones.
pub(super) type Analysis<'a, T> = (States<'a, T>, Vec<Option<Relaxed<T>>>);

/// Intervals of every node, which `tighten` may make better before the next node is reached.
fn analysed<'a, T: Scalar>(
    block: &Block<'a, T>,
    mut tighten: impl FnMut(&States<'a, T>, &[Option<Relaxed<T>>], usize, &mut State<T>),
) -> Analysis<'a, T> {
    analysed_by(block, |states, relaxed, index| {
        let mut state = step(block, states, index);
        if !is_exact(block, states, index) {
            tighten(states, relaxed, index, &mut state);
        }
        state
    })
}

/// The states of all nodes where weights are random. `bound` gives bounds of rows of a node from a pass; without it boxes are intervals.
fn analysed_randomly<'a, T: Scalar>(
    block: &Block<'a, T>,
    bound: Option<&impl Fn(&Backward<'_, T>, usize, &[Row]) -> Vec<RowBound<T>>>,
) -> Analysis<'a, T> {
    let mut all = vec![BoxEnds::default(); block.values[0].rows()];
    let (mut states, relaxed) = analysed_by(block, |states, relaxed, index| {
        let mean = step(block, states, index);
        let is_relaxed = block.prepared.model.network.nodes()[index].layer.is_nonlinear();
        let bound = bound.filter(|_| !is_relaxed && !is_exact(block, states, index));
        let (state, ends) = held(block, states, index, mean, |bounds| {
            let Some(bound) = bound else { return Vec::new() };
            let mut found = Vec::new();
            for sharing in sharings(block, index + 1) {
                let mut elements = undecided(block, index, &bounds.lower, &bounds.upper);
                let pass = Backward::new(block, states, Reach::Input(relaxed), *sharing);
                keep_affordable(&pass, index, &mut elements);
                let rows = both_sides(&elements);
                let of_rows = bound(&pass, index, &rows);
                found.extend(rows.into_iter().zip(of_rows));
            }
            found
        });
        all.iter_mut().zip(ends).for_each(|(all, ends)| all.add(ends));
        state
    });
    states.rely_on(&all);
    (states, relaxed)
}

/// The states of all nodes, each as `state` finds it from those before.
fn analysed_by<'a, T: Scalar>(
    block: &Block<'a, T>,
    mut state: impl FnMut(&States<'a, T>, &[Option<Relaxed<T>>], usize) -> State<T>,
) -> Analysis<'a, T> {
    let mut states = States::new(block);
    let mut relaxed: Vec<Option<Relaxed<T>>> = Vec::new();
    for index in 0..block.values.len() {
        let found = state(&states, &relaxed, index);
        states.push(found);
        check_format_range(block, &mut states, index);
        relaxed.push(Relaxed::new(block, &states, index));
        if let Some(lengths) = length::lengths(block, &states, &relaxed, index) {
            states.bound_lengths(lengths);
        }
    }
    (states, relaxed)
}

/// Bounds of the output on the boxes of `states`.
fn of_output<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    relaxed: &[Option<Relaxed<T>>],
    spec: &Specification,
) -> LowerBounds<T> {
    let mut best = Backward::new(block, states, Reach::OneLayer, Sharing::PerUse).specification(spec);
    for sharing in sharings(block, block.values.len()) {
        let far = Backward::new(block, states, Reach::Input(relaxed), *sharing).specification(spec);
        best = match block.quantiles {
            None => intersect(far, &best),
            Some(quantiles) => better(far, &best, quantiles),
        };
    }
    best
}

/// The forms that differ for passes that start at node `start`: one when no convolution before it shares weights that move
/// and reads something that moves, too.
fn sharings<T: Scalar>(block: &Block<'_, T>, start: usize) -> &'static [Sharing] {
    let (model, radii) = (block.prepared.model, block.prepared.radii);
    let shares = |index: usize| {
        let layer = model.affine_of(index);
        layer.is_some_and(|layer| layer.window.is_some() && is_shared(radii.layer(index)))
    };
    if (0..start).any(shares) { &[Sharing::Shared, Sharing::PerUse] } else { &[Sharing::PerUse] }
}

/// Whether interval propagation gives the exact range of every element of node `index`.
fn is_exact<T: Scalar>(block: &Block<'_, T>, states: &States<'_, T>, index: usize) -> bool {
    let prepared = block.prepared;
    let model = prepared.model;
    let inputs = model.inputs_of(index);
    let all_exact = || inputs.iter().all(|&i| is_exact(block, states, i));
    match &model.steps[index] {
        Step::Input => true,
        Step::Affine(_) => {
            let moves_by_entries =
                || prepared.moves_in_set(index) && !prepared.radii.layer(index).weight.is_ball();
            let input = inputs[0];
            input == 0 || states.is_fixed(input) || (states.is_independent(input) && moves_by_entries())
        }
        Step::Add | Step::AveragePool { .. } => inputs.iter().all(|&i| i == 0 || states.is_fixed(i)),
        // Steps of all elements follow from the same range.
        Step::DynamicQuantize(_) => states.is_fixed(inputs[0]),
        // Where both factors move, they may move together.
        Step::Multiply => all_exact() && inputs.iter().any(|&i| states.is_fixed(i)),
        Step::Scale { .. } | Step::Activation(_) | Step::MaxPool(_) | Step::Gather(_) | Step::Reshape => {
            all_exact()
        }
    }
}

/// Most multiply-adds that tightening one node of one sample may take: some seconds of a core. Beyond, the node keeps its
/// intervals.
const AFFORDABLE: u64 = 100_000_000_000;

/// Replaces the box of node `index` by the better of it and backward bounds, for the elements whose box decides a relaxation.
fn tighten<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    relaxed: &[Option<Relaxed<T>>],
    index: usize,
    state: &mut State<T>,
) {
    tighten_by(
        block,
        (states, relaxed),
        index,
        state,
        |_| true,
        |pass, index, rows, _| pass.rows(index, rows),
    );
}

/// [`tighten`] for some of the samples, with the lower bounds of rows of a node that `bound` finds from a pass and those so far.
fn tighten_by<T: Scalar>(
    block: &Block<'_, T>,
    (states, relaxed): (&States<'_, T>, &[Option<Relaxed<T>>]),
    index: usize,
    state: &mut State<T>,
    is_open: impl Fn(usize) -> bool,
    bound: impl Fn(&Backward<'_, T>, usize, &[Row], &[T]) -> Vec<T> + Sync,
) {
    let (State::Box(bounds), false) =
        (state, block.prepared.model.network.nodes()[index].layer.is_nonlinear())
    else {
        return;
    };
    for sharing in sharings(block, index + 1) {
        let mut elements = undecided(block, index, &bounds.lower, &bounds.upper);
        elements.retain(|(s, _)| is_open(*s));
        let pass = Backward::new(block, states, Reach::Input(relaxed), *sharing);
        keep_affordable(&pass, index, &mut elements);
        let rows = both_sides(&elements);
        let known: Vec<T> = rows.iter().map(|row| side(bounds, row)).collect();
        let found = pass.by_fields(index, &rows, &|pass, index, rows, which| {
            bound(pass, index, rows, &which.iter().map(|&r| known[r]).collect::<Vec<T>>())
        });
        raise(bounds, &rows, &found);
    }
}

/// The lower bound of a row of one element that a box gives.
fn side<T: Scalar>(bounds: &Bounds<T>, &(s, row): &Row) -> T {
    match row {
        SpecRow { plus: Some(i), .. } => bounds.lower[(s, i)],
        SpecRow { minus: Some(i), .. } => -bounds.upper[(s, i)],
        SpecRow { .. } => unreachable!("both sides of a box have an element"),
    }
}

/// Takes the better of a box and bounds that were found for some of its sides.
pub(super) fn raise<T: Scalar>(bounds: &mut Bounds<T>, rows: &[Row], found: &[T]) {
    for (&(s, row), &lower) in rows.iter().zip(found) {
        match row {
            SpecRow { plus: Some(i), .. } if lower > bounds.lower[(s, i)] => bounds.lower[(s, i)] = lower,
            SpecRow { minus: Some(i), .. } if -lower < bounds.upper[(s, i)] => {
                bounds.upper[(s, i)] = -lower;
            }
            SpecRow { .. } => {}
        }
    }
    uncross(bounds);
}

/// Intersects a box with what else is known of its node.
fn meet<T: Scalar>(state: &mut State<T>, known: &State<T>) {
    let (State::Box(bounds), State::Box(known)) = (state, known) else { return };
    for (l, &other) in bounds.lower.as_mut_slice().iter_mut().zip(known.lower.as_slice()) {
        if other > *l {
            *l = other;
        }
    }
    for (u, &other) in bounds.upper.as_mut_slice().iter_mut().zip(known.upper.as_slice()) {
        if other < *u {
            *u = other;
        }
    }
    uncross(bounds);
}

/// Two sound bounds of one neuron may cross by rounding; the box must stay non-empty.
pub(super) fn uncross<T: Scalar>(bounds: &mut Bounds<T>) {
    for (l, u) in bounds.lower.as_mut_slice().iter_mut().zip(bounds.upper.as_mut_slice()) {
        if *u < *l {
            std::mem::swap(l, u);
        }
    }
}

/// Rows for the lower and the upper bound of elements.
fn both_sides(elements: &[(usize, usize)]) -> Vec<Row> {
    elements.iter().flat_map(|&(s, i)| [(s, SpecRow::lower(i)), (s, SpecRow::upper(i))]).collect()
}

/// Drops the elements of samples for which passes through all of them would cost more than [`AFFORDABLE`].
fn keep_affordable<T: Scalar>(pass: &Backward<'_, T>, index: usize, elements: &mut Vec<(usize, usize)>) {
    let of_row = pass.work_of_row(index);
    // The shared form takes two more products to measure the uses of the weights.
    let of_row = if pass.sharing == Sharing::Shared { 3 * of_row } else { of_row };
    let mut count = vec![0_u64; pass.states.samples()];
    elements.iter().for_each(|(s, _)| count[*s] += 2);
    elements.retain(|(s, _)| count[*s].saturating_mul(of_row) <= AFFORDABLE);
}

/// The elements `(sample, i)` of node `index` whose box matters to a reader: all for a smooth activation, those of unknown
/// sign for a piecewise-linear one, for a quantizer those whose lines depend on it or that may decide its step, those that may be the
/// largest of a window.
pub(super) fn undecided<T: Scalar>(
    block: &Block<'_, T>,
    index: usize,
    lower: &Matrix<T>,
    upper: &Matrix<T>,
) -> Vec<(usize, usize)> {
    let model = block.prepared.model;
    if is_of_copies(model, index) {
        return Vec::new();
    }
    let matters = mattering(block, index, lower, upper);
    let width = lower.cols();
    let plane: usize = model.network.nodes()[index].shape[1..].iter().product();
    let chosen = matters.iter().enumerate().filter(|(_, m)| **m);
    let mut chosen: Vec<(usize, usize)> = chosen.map(|(k, _)| (k / width, k % width)).collect();
    // Neighbours read the same part of the input: rows that have coefficients at the same places share work.
    chosen.sort_by_key(|&(s, i)| (s, i % plane, i));
    chosen
}

/// Whether node `index` is made of copies alone, as the differences in a softmax are: it is the elements that are tightened, which are
/// fewer.
fn is_of_copies<T: Scalar>(model: &Model<'_, T>, index: usize) -> bool {
    if let Step::Scale { .. } | Step::Add | Step::Reshape = &model.steps[index] {
        return model.inputs_of(index).iter().all(|&i| is_of_copies(model, i));
    }
    copies(&model.steps[index]).is_some()
}

/// The choice of elements that a step is, where it takes some of them several times.
fn copies<T>(step: &Step<T>) -> Option<&Gather> {
    let Step::Gather(gather) = step else { return None };
    let mut sources: Vec<usize> = gather.source.iter().flatten().copied().collect();
    sources.sort_unstable();
    sources.windows(2).any(|pair| pair[0] == pair[1]).then_some(gather)
}

/// For each element of node `index` with these boxes whether its box matters to a reader.
fn mattering<T: Scalar>(
    block: &Block<'_, T>,
    index: usize,
    lower: &Matrix<T>,
    upper: &Matrix<T>,
) -> Vec<bool> {
    let model = block.prepared.model;
    let mut matters = vec![false; lower.as_slice().len()];
    let boxes = || lower.as_slice().iter().zip(upper.as_slice());
    for reader in model.readers_of(index) {
        if let Some(gather) = copies(&model.steps[reader]) {
            let of_copies = mattering_copies(block, (reader, gather), index, [lower, upper]);
            matters.iter_mut().zip(of_copies).for_each(|(m, copy)| *m |= copy);
            continue;
        }
        if is_of_copies(model, reader) {
            // Signs are not looked at: other copies have a part in it.
            let open = |end: f64| Matrix::from_fn(lower.rows(), model.width(reader), |_, _| T::from_f64(end));
            let of_reader = mattering(block, reader, &open(-1.0), &open(1.0));
            matters.iter_mut().zip(of_reader).for_each(|(m, of_reader)| *m |= of_reader);
            continue;
        }
        match &model.steps[reader] {
            Step::Activation(Activation::Quantize(q)) => {
                let decides = |(l, u): (&T, &T)| q.depends_on_box(Scalar::to_f64(*l), Scalar::to_f64(*u));
                matters.iter_mut().zip(boxes()).for_each(|(m, b)| *m |= decides(b));
            }
            Step::Activation(f) if !f.is_piecewise_linear() => matters.fill(true),
            Step::Multiply => matters.fill(true),
            Step::Activation(_) => {
                let unknown = |(l, u): (&T, &T)| *l < T::zero() && *u > T::zero();
                matters.iter_mut().zip(boxes()).for_each(|(m, b)| *m |= unknown(b));
            }
            Step::DynamicQuantize(_) => {
                let decides = dynamic::deciding(lower, upper);
                matters.iter_mut().zip(decides).for_each(|(m, decides)| *m |= decides);
            }
            Step::MaxPool(window) => {
                let rivals = rivals(window, lower, upper);
                matters.iter_mut().zip(rivals).for_each(|(m, rival)| *m |= rival);
            }
            Step::Input
            | Step::Affine(_)
            | Step::Scale { .. }
            | Step::AveragePool { .. }
            | Step::Add
            | Step::Gather(_)
            | Step::Reshape => {}
        }
    }
    matters
}

/// [`mattering`] by the copies of the elements of node `index` that the node `reader` is.
fn mattering_copies<T: Scalar>(
    block: &Block<'_, T>,
    (reader, gather): (usize, &Gather),
    index: usize,
    ends: [&Matrix<T>; 2],
) -> Vec<bool> {
    let model = block.prepared.model;
    let (rows, cols) = (ends[0].rows(), ends[0].cols());
    let mut matters = vec![false; rows * cols];
    let mut start = 0;
    for &input in model.inputs_of(reader) {
        let width = model.width(input);
        if input == index {
            // What else is chosen is not known yet, and does not matter here.
            let own = |k: usize| gather.source[k].and_then(|k| k.checked_sub(start)).filter(|j| *j < cols);
            let [lower, upper] = ends.map(|end| {
                Matrix::from_fn(rows, gather.source.len(), |s, k| own(k).map_or(T::zero(), |j| end[(s, j)]))
            });
            let of_copies = mattering(block, reader, &lower, &upper);
            for (at, _) in of_copies.iter().enumerate().filter(|(_, m)| **m) {
                let (s, k) = (at / gather.source.len(), at % gather.source.len());
                if let Some(j) = own(k) {
                    matters[s * cols + j] = true;
                }
            }
        }
        start += width;
    }
    matters
}

/// For each element whether it may be the largest of a window that has more than one such element.
fn rivals<T: Scalar>(window: &Window, lower: &Matrix<T>, upper: &Matrix<T>) -> Vec<bool> {
    let largest = max_pool(lower, window);
    let mut rivals = vec![false; lower.as_slice().len()];
    for s in 0..lower.rows() {
        for k in 0..window.output_width() {
            let (first, position) = (k / window.positions() * window.plane(), k % window.positions());
            let elements = (0..window.taps()).filter_map(|tap| window.source(position, tap));
            let may = elements.map(|e| first + e).filter(|&j| upper[(s, j)] > largest[(s, k)]);
            let may: Vec<usize> = may.collect();
            if may.len() > 1 {
                may.into_iter().for_each(|j| rivals[s * lower.cols() + j] = true);
            }
        }
    }
    rivals
}
