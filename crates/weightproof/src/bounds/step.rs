//! Interval steps: the box of a node from those of the nodes that it reads, exact for each element on its own (theory.md §4.2).
//!
//! ```text
//! z ∈ [l, u], l ≥ 0:    p_lo = (W−E)⁺ l + (W−E)⁻ u + b − e      p_hi = (W+E)⁺ u + (W+E)⁻ l + b + e
//! z fixed, any sign:    p = W z + b ± (E |z| + e)
//! ```
//! For mixed signs the four products act on the positive and negative parts of the box; where both a weight's interval
//! and the neuron's contain zero, the worst case is the *larger* of two products and not their sum, which is corrected
//! entry by entry. A convolution uses every weight of a row once for each output element, so each is exact on its own, too.
//! Sums that a number format rounds (residual addition, average pooling) move every summand by `ρ |z|`.

use super::deviation::{around, largest_magnitude, weight_deviation};
use super::hits;
use super::noise;
use super::rounding;
use super::{Block, Bounds, Prepared, State, States};
use crate::kernels::{Matrix, Scalar, Window, add_by_row, average_pool, linear, max_pool};
use crate::model::{Affine, Rounding, Step, gathered};
use crate::network::{Activation, DynamicQuantizer};
use crate::threat::WeightSet;

/// States of all nodes by interval rules alone.
pub fn propagate<'a, T: Scalar>(block: &Block<'a, T>) -> States<'a, T> {
    propagate_cut(block, |_, _| {})
}

/// States of all nodes by interval rules; `cut` makes the box of a node smaller by what else is known of it.
pub(crate) fn propagate_cut<'a, T: Scalar>(
    block: &Block<'a, T>,
    mut cut: impl FnMut(usize, &mut Bounds<T>),
) -> States<'a, T> {
    let mut states = States::new(block);
    for index in 0..block.values.len() {
        let mean = step(block, &states, index);
        let (mut state, ends) = noise::held(block, &states, index, mean, |_| Vec::new());
        states.rely_on(&ends);
        if let State::Box(bounds) = &mut state {
            cut(index, bounds);
        }
        states.push(state);
        check_format_range(block, &mut states, index);
    }
    states
}

/// Largest sum that an fp32 accumulator holds, less what computing the sum may lose.
const ACCUMULATOR_LIMIT: f64 = f32::MAX as f64 * (1.0 - 1.0 / 64.0);

/// Voids samples for which a value read by a product or a sum at node `index` may leave the range of the number format.
pub(super) fn check_format_range<T: Scalar>(block: &Block<'_, T>, states: &mut States<'_, T>, index: usize) {
    let Some(limit) = block.prepared.radii.set.value_limit else { return };
    match &block.prepared.model.steps[index] {
        Step::Affine(_) | Step::Add | Step::AveragePool { .. } => {
            block.prepared.model.inputs_of(index).iter().for_each(|&input| states.check_range(input, limit));
            // Accumulators hold the partial sums, whatever the order.
            if let Some(terms) = rounding::terms(block, states, index) {
                states.check_sums(&terms, ACCUMULATOR_LIMIT);
            }
        }
        Step::Input
        | Step::Scale { .. }
        | Step::Activation(_)
        | Step::DynamicQuantize(_)
        | Step::MaxPool(_)
        | Step::Gather(_)
        | Step::Multiply
        | Step::Reshape => {}
    }
}

/// The state of node `index` from the states before it, but for what its own noise adds ([`noise::held`]).
pub(super) fn step<T: Scalar>(block: &Block<'_, T>, states: &States<'_, T>, index: usize) -> State<T> {
    let prepared = block.prepared;
    let inputs = prepared.model.inputs_of(index);
    let rounding = prepared.radii.roundings[index];
    let still = !inputs.is_empty() && inputs.iter().all(|&i| states.is_fixed(i));
    if still && !moves_by_itself(prepared, index) {
        return State::Fixed;
    }
    let mut state = match &prepared.model.steps[index] {
        Step::Input => input_box(block),
        Step::Affine(_) => affine(prepared, states, index, inputs[0]),
        Step::Scale { scale, shift } => scale_box(states, inputs[0], scale, shift),
        Step::Activation(f) => activation(*f, prepared, states, inputs[0]),
        Step::DynamicQuantize(q) => dynamic(*q, states, inputs[0]),
        Step::MaxPool(window) => ends(states, inputs[0], |m| max_pool(m, window)),
        Step::AveragePool { window, factor } => average_box(states, inputs[0], window, factor, rounding),
        Step::Add => sum_box(states, inputs, rounding),
        Step::Multiply => product_box(states, [inputs[0], inputs[1]]),
        Step::Gather(gather) => {
            let pick = |bounds: Vec<&Matrix<T>>| gathered(&bounds, gather, T::from_f64(gather.constant));
            let lower = pick(inputs.iter().map(|&i| states.lower(i)).collect());
            State::Box(Bounds { lower, upper: pick(inputs.iter().map(|&i| states.upper(i)).collect()) })
        }
        Step::Reshape => ends(states, inputs[0], Matrix::clone),
    };
    rounding::widen(block, states, index, &mut state);
    hits::widen(block, states, index, &mut state);
    state
}

/// For each node whether it can move: [`State::Fixed`] is what cannot.
pub(super) fn moving<T: Scalar>(prepared: &Prepared<'_, T>) -> Vec<bool> {
    let mut moving = Vec::new();
    for index in 0..prepared.model.steps.len() {
        let pushed = prepared.model.inputs_of(index).iter().any(|&i| moving[i]);
        moving.push(pushed || moves_by_itself(prepared, index));
    }
    moving
}

/// For each node what [`Prepared::is_independent`] says.
pub(super) fn independent<T: Scalar>(prepared: &Prepared<'_, T>) -> Vec<bool> {
    let model = prepared.model;
    let moving = moving(prepared);
    let mut independent = vec![false; moving.len()];
    for index in (0..moving.len()).filter(|&index| moving[index]) {
        let inputs = model.inputs_of(index);
        independent[index] = match &model.steps[index] {
            Step::Affine(layer) => {
                let set = prepared.radii.layer(index);
                let is_one_ball = matches!(set.weight, WeightSet::Ball(_));
                let is_box = (layer.window.is_none() || set.per_use) && !is_one_ball;
                is_box && prepared.moves_in_set(index) && !moving[inputs[0]]
            }
            // Another reader of the input would move together with this one.
            Step::Activation(_) | Step::Scale { .. } | Step::Reshape => {
                let is_only_reader = || model.readers_of(inputs[0]).eq([index]);
                !moving[inputs[0]] || (independent[inputs[0]] && is_only_reader())
            }
            Step::Input
            | Step::DynamicQuantize(_)
            | Step::MaxPool(_)
            | Step::AveragePool { .. }
            | Step::Add
            | Step::Multiply
            | Step::Gather(_) => false,
        };
    }
    independent
}

/// Whether node `index` can move although what it reads does not.
fn moves_by_itself<T: Scalar>(prepared: &Prepared<'_, T>, index: usize) -> bool {
    let radii = prepared.radii;
    match &prepared.model.steps[index] {
        Step::Input => radii.set.input_radius != 0.0,
        Step::Affine(_) => {
            let layer = radii.layer(index);
            !layer.is_zero() || prepared.noise_of(index).is_some() || prepared.hits_of(index).is_some()
        }
        Step::Activation(f) => f.is_free() || radii.activation() != T::zero(),
        Step::DynamicQuantize(q) => q.freedom() > 0.0,
        Step::Add | Step::AveragePool { .. } => !radii.roundings[index].is_zero(),
        Step::Scale { .. } | Step::MaxPool(_) | Step::Multiply | Step::Gather(_) | Step::Reshape => false,
    }
}

/// The box that a monotone map makes of the box of node `input`.
fn ends<T: Scalar>(states: &States<'_, T>, input: usize, f: impl Fn(&Matrix<T>) -> Matrix<T>) -> State<T> {
    State::Box(Bounds { lower: f(states.lower(input)), upper: f(states.upper(input)) })
}

/// `Σ_j z_j` of rounded summands: `[l − ρ|l| − δ, u + ρ|u| + δ]`, which is exact for `ρ ≤ 1` and sound for every `ρ`.
fn sum_box<T: Scalar>(states: &States<'_, T>, inputs: &[usize], rounding: Rounding<T>) -> State<T> {
    let sum = |end: &dyn Fn(usize, usize, usize) -> T, sign: T| {
        let first = states.lower(inputs[0]);
        Matrix::from_fn(first.rows(), first.cols(), |s, j| {
            inputs.iter().map(|&i| end(i, s, j)).sum::<T>() + sign * rounding.absolute
        })
    };
    let low = |i: usize, s: usize, j: usize| rounding.lower(states.lower(i)[(s, j)], states.upper(i)[(s, j)]);
    let high =
        |i: usize, s: usize, j: usize| rounding.upper(states.lower(i)[(s, j)], states.upper(i)[(s, j)]);
    State::Box(Bounds { lower: sum(&low, -T::one()), upper: sum(&high, T::one()) })
}

/// `x y`: the least and the largest product of ends.
fn product_box<T: Scalar>(states: &States<'_, T>, [x, y]: [usize; 2]) -> State<T> {
    let ends = [states.lower(x), states.upper(x), states.lower(y), states.upper(y)];
    let of = |pick: fn([T; 4]) -> T| {
        Matrix::from_fn(ends[0].rows(), ends[0].cols(), |s, j| {
            let [lx, ux, ly, uy] = ends.map(|m| m[(s, j)]);
            pick([lx * ly, lx * uy, ux * ly, ux * uy])
        })
    };
    State::Box(Bounds { lower: of(|products| -largest_of(products.map(|v| -v))), upper: of(largest_of) })
}

/// The largest of some numbers; NaN when one is NaN.
fn largest_of<T: Scalar>(values: [T; 4]) -> T {
    values.into_iter().fold(T::neg_infinity(), |most, v| if v.is_nan() || v > most { v } else { most })
}

/// The mean of every window, its summands rounded as in [`sum_box`].
fn average_box<T: Scalar>(
    states: &States<'_, T>,
    input: usize,
    window: &Window,
    factor: &[T],
    rounding: Rounding<T>,
) -> State<T> {
    let (l, u) = (states.lower(input), states.upper(input));
    let low = Matrix::from_fn(l.rows(), l.cols(), |s, j| rounding.lower(l[(s, j)], u[(s, j)]));
    let high = Matrix::from_fn(l.rows(), l.cols(), |s, j| rounding.upper(l[(s, j)], u[(s, j)]));
    let (mut lower, mut upper) = (average_pool(&low, window, factor), average_pool(&high, window, factor));
    lower.as_mut_slice().iter_mut().for_each(|l| *l -= rounding.absolute);
    upper.as_mut_slice().iter_mut().for_each(|u| *u += rounding.absolute);
    State::Box(Bounds { lower, upper })
}

fn input_box<T: Scalar>(block: &Block<'_, T>) -> State<T> {
    match &block.fixed[0] {
        Some(moved) if block.prepared.radii.set.input_radius > 0.0 => State::Box(moved.clone()),
        Some(_) | None => State::Fixed,
    }
}

fn affine<T: Scalar>(
    prepared: &Prepared<'_, T>,
    states: &States<'_, T>,
    index: usize,
    input: usize,
) -> State<T> {
    let layer = prepared.model.affine(index);
    let radii = prepared.radii.layer(index);
    if states.is_fixed(input) {
        return State::Box(around(prepared, states, index));
    }
    let (l, u) = (states.lower(input), states.upper(input));
    let (mut lower, mut upper) = if states.has_negative(input) {
        mixed_products(prepared, index, l, u)
    } else {
        products(prepared, index, l, u)
    };
    if radii.weight.is_ball() {
        let ball = weight_deviation(&radii.weight, &largest_magnitude(l, u), layer);
        upper.add_assign(&ball);
        lower.add_assign(&ball.map(|b| -b));
    }
    let shifted =
        |sign: T| layer.bias.iter().zip(&radii.bias).map(|(&b, &e)| b + sign * e).collect::<Vec<T>>();
    add_by_row(&mut lower, &shifted(-T::one()));
    add_by_row(&mut upper, &shifted(T::one()));
    State::Box(Bounds { lower, upper })
}

/// `[a | b]` row by row; for a convolution group by group, so that every group sees the channels of `a`, then those of `b`.
fn beside<T: Scalar>(a: &Matrix<T>, b: &Matrix<T>, groups: usize, f: impl Fn(T) -> T) -> Matrix<T> {
    let mut out = Matrix::zeros(a.rows(), 2 * a.cols());
    let width = a.cols() / groups;
    for s in 0..a.rows() {
        let pairs = a.row(s).chunks_exact(width).zip(b.row(s).chunks_exact(width));
        for (out, (a, b)) in out.row_mut(s).chunks_exact_mut(2 * width).zip(pairs) {
            let (left, right) = out.split_at_mut(width);
            left.iter_mut().zip(a).for_each(|(o, &v)| *o = f(v));
            right.iter_mut().zip(b).for_each(|(o, &v)| *o = f(v));
        }
    }
    out
}

/// The window of [`beside`] images.
fn doubled(window: &Window) -> Window {
    let [channels, height, width] = window.input;
    Window { input: [2 * channels, height, width], ..window.clone() }
}

/// Products for `l ≥ 0`.
fn products<T: Scalar>(
    prepared: &Prepared<'_, T>,
    index: usize,
    l: &Matrix<T>,
    u: &Matrix<T>,
) -> (Matrix<T>, Matrix<T>) {
    let split = prepared.split(index);
    let window = prepared.model.affine(index).window.as_ref();
    let (groups, window) = (window.map_or(1, |w| w.groups), window.map(doubled));
    let product = |a: &Matrix<T>, b: &Matrix<T>, weight: &Matrix<T>| {
        let mut out = Matrix::default();
        linear(&mut out, &beside(a, b, groups, |v| v), weight, window.as_ref());
        out
    };
    rayon::join(|| product(l, u, &split.low), || product(u, l, &split.high))
}

/// Products for boxes of any sign, exact for each neuron.
fn mixed_products<T: Scalar>(
    prepared: &Prepared<'_, T>,
    index: usize,
    l: &Matrix<T>,
    u: &Matrix<T>,
) -> (Matrix<T>, Matrix<T>) {
    let split = prepared.split(index);
    let layer = prepared.model.affine(index);
    let groups = layer.window.as_ref().map_or(1, |w| w.groups);
    let window = layer.window.as_ref().map(doubled);
    let positive = |v: T| if v < T::zero() { T::zero() } else { v };
    let negative = |v: T| if v < T::zero() { v } else { T::zero() };
    let product = |z: Matrix<T>, weight: &Matrix<T>| {
        let mut out = Matrix::default();
        linear(&mut out, &z, weight, window.as_ref());
        out
    };
    // (w−e)⁺l⁺ + (w−e)⁻u⁺ + (w+e)⁺l⁻ + (w+e)⁻u⁻, and its mirror image.
    let sum = |a: &Matrix<T>, b: &Matrix<T>, (of_positive, of_negative): (&Matrix<T>, &Matrix<T>)| {
        let mut sum = product(beside(a, b, groups, positive), of_positive);
        sum.add_assign(&product(beside(a, b, groups, negative), of_negative));
        sum
    };
    let (mut lower, mut upper) =
        rayon::join(|| sum(l, u, (&split.low, &split.high)), || sum(u, l, (&split.high, &split.low)));
    let positions = layer.positions();
    for &(i, j, low, high) in &split.straddling {
        for position in 0..positions {
            let Some(source) = source(layer, i, j, position) else { continue };
            for s in 0..l.rows() {
                let (l, u) = (l[(s, source)], u[(s, source)]);
                if l < T::zero() && u > T::zero() {
                    let out = i * positions + position;
                    // Both products are ≤ 0 (≥ 0): only the worse of them can happen.
                    let (a, b) = (low * u, high * l);
                    lower[(s, out)] -= if a < b { b } else { a };
                    let (a, b) = (high * u, low * l);
                    upper[(s, out)] -= if a < b { a } else { b };
                }
            }
        }
    }
    (lower, upper)
}

/// The input element that column `j` of row `i` meets at an output position, if any.
fn source<T>(layer: &Affine<T>, i: usize, j: usize, position: usize) -> Option<usize> {
    let Some(window) = &layer.window else { return Some(j) };
    let channel = i / window.group_outputs() * window.group_inputs() + j / window.taps();
    window.source(position, j % window.taps()).map(|source| channel * window.plane() + source)
}

fn scale_box<T: Scalar>(states: &States<'_, T>, input: usize, scale: &[T], shift: &[T]) -> State<T> {
    let (l, u) = (states.lower(input), states.upper(input));
    let end = |s: usize, j: usize, first: &Matrix<T>, second: &Matrix<T>| {
        scale[j] * if scale[j] < T::zero() { second[(s, j)] } else { first[(s, j)] } + shift[j]
    };
    State::Box(Bounds {
        lower: Matrix::from_fn(l.rows(), l.cols(), |s, j| end(s, j, l, u)),
        upper: Matrix::from_fn(l.rows(), l.cols(), |s, j| end(s, j, u, l)),
    })
}

fn activation<T: Scalar>(
    f: Activation,
    prepared: &Prepared<'_, T>,
    states: &States<'_, T>,
    input: usize,
) -> State<T> {
    let (mut lower, mut upper) = (states.lower(input).clone(), states.upper(input).clone());
    let radius = prepared.radii.activation();
    let single = prepared.arithmetic.outward(1);
    let is_exact = prepared.arithmetic.is_exact();
    let ends = lower.as_mut_slice().iter_mut().zip(upper.as_mut_slice());
    f.by_kind(
        #[inline(always)]
        |f| {
            for (l, u) in ends {
                if f == Activation::Relu {
                    (*l, *u) = (f.apply_scalar(*l), f.apply_scalar(*u));
                } else if is_exact {
                    let (low, high) = f.range(l.to_f64(), u.to_f64());
                    (*l, *u) = (T::from_f64(low), T::from_f64(high));
                } else {
                    let (low, high) = f.enclosed_range(l.to_f64(), u.to_f64());
                    (*l, *u) = (T::from_f64_down(low), T::from_f64_up(high));
                }
                if radius != T::zero() {
                    (*l, *u) = (single.down(*l - radius), single.up(*u + radius));
                }
            }
        },
    );
    State::Box(Bounds { lower, upper })
}

/// The box of a quantizer whose step follows from the values of each sample.
fn dynamic<T: Scalar>(q: DynamicQuantizer, states: &States<'_, T>, input: usize) -> State<T> {
    let (mut lower, mut upper) = (states.lower(input).clone(), states.upper(input).clone());
    for s in 0..lower.rows() {
        let (low, high) = q.enclose(&numbers(lower.row(s)), &numbers(upper.row(s)));
        lower.row_mut(s).iter_mut().zip(low).for_each(|(l, v)| *l = T::from_f64_down(v));
        upper.row_mut(s).iter_mut().zip(high).for_each(|(u, v)| *u = T::from_f64_up(v));
    }
    State::Box(Bounds { lower, upper })
}

/// A row in f64.
pub(super) fn numbers<T: Scalar>(row: &[T]) -> Vec<f64> {
    row.iter().map(|v| Scalar::to_f64(*v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, Radii};
    use crate::network::NetworkBuilder;
    use crate::threat::{Kind, ThreatModel};
    use crate::verdict::Guarantee;

    /// Every entry on its own: the worst of the four corners of (weight interval) × (input interval).
    fn corners(w: f64, e: f64, l: f64, u: f64) -> (f64, f64) {
        let all = [(w - e) * l, (w - e) * u, (w + e) * l, (w + e) * u];
        (all.into_iter().fold(f64::INFINITY, f64::min), all.into_iter().fold(f64::NEG_INFINITY, f64::max))
    }

    #[test]
    fn a_layer_is_exact_for_each_neuron_on_boxes_of_every_sign() {
        let wave = |k: usize, phase: f64| (k as f64 * 1.3 + phase).sin();
        let weight = Matrix::from_fn(6, 5, |i, j| wave(i * 5 + j, 0.2));
        let bias: Vec<f64> = (0..6).map(|i| wave(i, 0.7)).collect();
        let mut builder = NetworkBuilder::new(vec![5]);
        let dense = builder.dense("dense", 0, weight.clone(), bias.clone()).unwrap();
        builder.activation("relu", dense, Activation::Relu).unwrap();
        let network = builder.finish().unwrap();
        for shift in [-2.0, 0.0, 2.0] {
            for (kind, radius) in [(Kind::Absolute, 0.4), (Kind::Relative, 1.5), (Kind::PerChannel, 0.5)] {
                let mut threat = ThreatModel::new(kind, radius);
                threat.input_radius = 0.6;
                let set = threat.resolve(&network).unwrap();
                let model = Model::<f64>::new(&network);
                let radii = Radii::new(&set, network.nodes().len());
                let prepared = Prepared::new(&model, &radii, Guarantee::RealArithmetic);
                let x = Matrix::from_fn(1, 5, |_, j| shift + wave(j, 0.4));
                let values = model.forward(x.clone());
                let fixed = prepared.enclosed(&values);
                let block = Block {
                    prepared: &prepared,
                    values: &values,
                    fixed: &fixed,
                    divided: true,
                    quantiles: None,
                };
                let states = propagate(&block);
                for i in 0..6 {
                    let (mut lower, mut upper) =
                        (bias[i] - set.layers[0].bias[i], bias[i] + set.layers[0].bias[i]);
                    for j in 0..5 {
                        let e = set.layers[0].weight.at(i, j);
                        let (low, high) = corners(weight[(i, j)], e, x[(0, j)] - 0.6, x[(0, j)] + 0.6);
                        lower += low;
                        upper += high;
                    }
                    assert!((states.lower(dense)[(0, i)] - lower).abs() < 1e-12, "{kind} {shift}");
                    assert!((states.upper(dense)[(0, i)] - upper).abs() < 1e-12, "{kind} {shift}");
                }
            }
        }
    }
}
