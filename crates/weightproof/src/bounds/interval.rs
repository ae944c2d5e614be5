//! Interval bounds: a box for every neuron, exact for each neuron on its own (theory.md §4.2).
//!
//! ```text
//! z ∈ [l, u], l ≥ 0:    p_lo = (W−E)⁺ l + (W−E)⁻ u + b − e      p_hi = (W+E)⁺ u + (W+E)⁻ l + b + e
//! z fixed, any sign:    p = W z + b ± (E |z| + e)
//! ```
//! For mixed signs the four products act on the positive and negative parts of the box; where both a weight's interval
//! and the neuron's contain zero, the worst case is the *larger* of two products and not their sum, which is corrected
//! entry by entry.

use super::linear::{Backward, Reach};
use super::{Block, BoundMethod, Bounds, LowerBounds, Prepared, State, States};
use crate::kernels::rows::{l1, squares, vectorized};
use crate::kernels::{Matrix, Scalar, add_product_transposed, product_transposed};
use crate::model::{Radius, Step};
use crate::network::Activation;
use crate::property::Specification;

/// The interval method: boxes up to the output's inputs, then the specification row on that box.
pub struct Interval;

impl<T: Scalar> BoundMethod<T> for Interval {
    /// Merging the rows of the last layer (`f_y − f_j` on the box of its inputs) is never worse than subtracting the
    /// bounds of two outputs.
    fn lower_bounds(&self, block: &Block<'_, T>, spec: &Specification) -> LowerBounds<T> {
        let states = propagate(block);
        Backward::new(block, &states, Reach::OneLayer).specification(spec)
    }
}

/// States of all nodes by interval rules alone.
pub fn propagate<'a, T: Scalar>(block: &Block<'a, T>) -> States<'a, T> {
    let mut states = States::new(block);
    for index in 0..block.values.len() {
        let state = step(block, &states, index);
        states.push(state);
        check_format_range(block, &mut states, index);
    }
    states
}

/// Voids samples for which a value read by the dense node `index` may leave the range of the number format.
pub(super) fn check_format_range<T: Scalar>(block: &Block<'_, T>, states: &mut States<'_, T>, index: usize) {
    let is_dense = matches!(block.prepared.model.steps[index], Step::Dense { .. });
    if let (true, Some(limit)) = (is_dense, block.prepared.radii.set.value_limit) {
        states.check_range(block.prepared.model.input_of(index), limit);
    }
}

/// The state of node `index` from the states before it.
pub(super) fn step<T: Scalar>(block: &Block<'_, T>, states: &States<'_, T>, index: usize) -> State<T> {
    let prepared = block.prepared;
    let input = || prepared.model.input_of(index);
    match &prepared.model.steps[index] {
        Step::Input => input_box(block),
        Step::Dense { .. } => dense(prepared, states, index, input()),
        Step::Scale { scale, shift } => scale_box(states, input(), scale, shift),
        Step::Activation(f) => activation(*f, states, input(), prepared.radii.activation()),
        Step::Reshape if states.is_fixed(input()) => State::Fixed,
        Step::Reshape => {
            State::Box(Bounds { lower: states.lower(input()).clone(), upper: states.upper(input()).clone() })
        }
    }
}

fn input_box<T: Scalar>(block: &Block<'_, T>) -> State<T> {
    let set = &block.prepared.radii.set;
    if set.input_radius == 0.0 {
        return State::Fixed;
    }
    let x = &block.values[0];
    let lower = x.map(|x| T::from_f64(set.input_interval(x.to_f64()).0));
    let upper = x.map(|x| T::from_f64(set.input_interval(x.to_f64()).1));
    State::Box(Bounds { lower, upper })
}

fn dense<T: Scalar>(
    prepared: &Prepared<'_, T>,
    states: &States<'_, T>,
    index: usize,
    input: usize,
) -> State<T> {
    let Step::Dense { bias, .. } = &prepared.model.steps[index] else { panic!("node {index} is not dense") };
    let radii = prepared.radii.layer(index);
    if states.is_fixed(input) {
        let unmoved = matches!(radii.weight, Radius::Zero) && radii.bias.iter().all(|e| *e == T::zero());
        if unmoved {
            return State::Fixed;
        }
        let center = states.value(index);
        let deviation = weight_deviation(&radii.weight, states.value(input), bias.len());
        let moved = |sign: T| {
            Matrix::from_fn(center.rows(), center.cols(), |s, i| {
                center[(s, i)] + sign * (deviation[(s, i)] + radii.bias[i])
            })
        };
        return State::Box(Bounds { lower: moved(-T::one()), upper: moved(T::one()) });
    }
    let (l, u) = (states.lower(input), states.upper(input));
    let mixed = l.as_slice().iter().any(|l| *l < T::zero());
    let (mut lower, mut upper) =
        if mixed { mixed_products(prepared, index, l, u) } else { products(prepared, index, l, u) };
    let ball = match radii.weight {
        Radius::Frobenius(_) => Some(weight_deviation(&radii.weight, &largest_magnitude(l, u), bias.len())),
        Radius::Zero | Radius::Uniform(_) | Radius::PerRow(_) | Radius::Dense(_) => None,
    };
    for s in 0..lower.rows() {
        for i in 0..bias.len() {
            let e = radii.bias[i] + ball.as_ref().map_or(T::zero(), |b| b[(s, i)]);
            lower[(s, i)] += bias[i] - e;
            upper[(s, i)] += bias[i] + e;
        }
    }
    State::Box(Bounds { lower, upper })
}

/// `max |Δ_i z|` over the set, for fixed `z`: `E|z|`, or `r ‖z‖₂` for a ball.
///
/// # Shapes
/// `z`: (samples, n_in); returns (samples, n_out).
pub(super) fn weight_deviation<T: Scalar>(radius: &Radius<T>, z: &Matrix<T>, n_out: usize) -> Matrix<T> {
    let by_sample = |norm: fn(&[T]) -> T, factor: &dyn Fn(usize) -> T| {
        let norms: Vec<T> = vectorized(|| (0..z.rows()).map(|s| norm(z.row(s))).collect());
        Matrix::from_fn(z.rows(), n_out, |s, i| norms[s] * factor(i))
    };
    match radius {
        Radius::Zero => Matrix::zeros(z.rows(), n_out),
        Radius::Uniform(r) => by_sample(l1, &|_| *r),
        Radius::PerRow(rows) => by_sample(l1, &|i| rows[i]),
        Radius::Frobenius(r) => by_sample(|z| squares(z).sqrt(), &|_| *r),
        Radius::Dense(e) => {
            let mut out = Matrix::default();
            product_transposed(&mut out, &z.map(|z| z.abs()), e);
            out
        }
    }
}

/// `max(|l|, |u|)`, elementwise.
pub(super) fn largest_magnitude<T: Scalar>(l: &Matrix<T>, u: &Matrix<T>) -> Matrix<T> {
    let larger = |a: T, b: T| if b > a { b } else { a };
    Matrix::from_fn(l.rows(), l.cols(), |s, j| larger(l[(s, j)].abs(), u[(s, j)].abs()))
}

/// `[a | b]` row by row.
fn beside<T: Scalar>(a: &Matrix<T>, b: &Matrix<T>, f: impl Fn(T) -> T) -> Matrix<T> {
    let mut out = Matrix::zeros(a.rows(), 2 * a.cols());
    for s in 0..a.rows() {
        let (left, right) = out.row_mut(s).split_at_mut(a.cols());
        left.iter_mut().zip(a.row(s)).for_each(|(o, &v)| *o = f(v));
        right.iter_mut().zip(b.row(s)).for_each(|(o, &v)| *o = f(v));
    }
    out
}

/// Products for `l ≥ 0`.
fn products<T: Scalar>(
    prepared: &Prepared<'_, T>,
    index: usize,
    l: &Matrix<T>,
    u: &Matrix<T>,
) -> (Matrix<T>, Matrix<T>) {
    let split = prepared.split(index);
    let (mut lower, mut upper) = (Matrix::default(), Matrix::default());
    product_transposed(&mut lower, &beside(l, u, |v| v), &split.low);
    product_transposed(&mut upper, &beside(u, l, |v| v), &split.high);
    (lower, upper)
}

/// Products for boxes of any sign, exact for each neuron.
fn mixed_products<T: Scalar>(
    prepared: &Prepared<'_, T>,
    index: usize,
    l: &Matrix<T>,
    u: &Matrix<T>,
) -> (Matrix<T>, Matrix<T>) {
    let split = prepared.split(index);
    let positive = |v: T| if v < T::zero() { T::zero() } else { v };
    let negative = |v: T| if v < T::zero() { v } else { T::zero() };
    let (mut lower, mut upper) = (Matrix::default(), Matrix::default());
    // (w−e)⁺l⁺ + (w−e)⁻u⁺ + (w+e)⁺l⁻ + (w+e)⁻u⁻, and its mirror image.
    product_transposed(&mut lower, &beside(l, u, positive), &split.low);
    add_product_transposed(&mut lower, &beside(l, u, negative), &split.high);
    product_transposed(&mut upper, &beside(u, l, positive), &split.high);
    add_product_transposed(&mut upper, &beside(u, l, negative), &split.low);
    for s in 0..l.rows() {
        let (l, u) = (l.row(s), u.row(s));
        for &(i, j, low, high) in &split.straddling {
            if l[j] < T::zero() && u[j] > T::zero() {
                // Both products are ≤ 0 (≥ 0): only the worse of them can happen.
                let (a, b) = (low * u[j], high * l[j]);
                lower[(s, i)] -= if a < b { b } else { a };
                let (a, b) = (high * u[j], low * l[j]);
                upper[(s, i)] -= if a < b { a } else { b };
            }
        }
    }
    (lower, upper)
}

fn scale_box<T: Scalar>(states: &States<'_, T>, input: usize, scale: &[T], shift: &[T]) -> State<T> {
    if states.is_fixed(input) {
        return State::Fixed;
    }
    let (l, u) = (states.lower(input), states.upper(input));
    let end = |s: usize, j: usize, first: &Matrix<T>, second: &Matrix<T>| {
        scale[j] * if scale[j] < T::zero() { second[(s, j)] } else { first[(s, j)] } + shift[j]
    };
    State::Box(Bounds {
        lower: Matrix::from_fn(l.rows(), l.cols(), |s, j| end(s, j, l, u)),
        upper: Matrix::from_fn(l.rows(), l.cols(), |s, j| end(s, j, u, l)),
    })
}

fn activation<T: Scalar>(f: Activation, states: &States<'_, T>, input: usize, radius: T) -> State<T> {
    if states.is_fixed(input) && radius == T::zero() {
        return State::Fixed;
    }
    let (mut lower, mut upper) = (states.lower(input).clone(), states.upper(input).clone());
    for (l, u) in lower.as_mut_slice().iter_mut().zip(upper.as_mut_slice()) {
        if f == Activation::Relu {
            (*l, *u) = (f.apply_scalar(*l), f.apply_scalar(*u));
        } else {
            let (low, high) = f.range(l.to_f64(), u.to_f64());
            (*l, *u) = (T::from_f64(low), T::from_f64(high));
        }
        *l -= radius;
        *u += radius;
    }
    State::Box(Bounds { lower, upper })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, Radii};
    use crate::network::NetworkBuilder;
    use crate::threat::{Kind, ThreatModel};

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
                let prepared = Prepared::new(&model, &radii);
                let x = Matrix::from_fn(1, 5, |_, j| shift + wave(j, 0.4));
                let values = model.forward(x.clone());
                let states = propagate(&Block { prepared: &prepared, values: &values });
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
