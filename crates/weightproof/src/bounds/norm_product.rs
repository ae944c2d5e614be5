//! The paper's bound: induced norms of the layers (theory.md §4.1; Tsai et al., arXiv 2103.02200).
//!
//! ```text
//! δ_0 = ε_x      δ_k = ‖Wᵏ‖_∞ δ_{k−1} + max_i (T_i + e_i)                            ℓ∞ deviation of layer k
//! g_0 = d ε_x    g_k = min( ‖Wᵏ‖_1 g_{k−1} + Σ_i (T_i + e_i),  n_k δ_k )             ℓ1 deviation
//! T_i = max |Δ_i ẑ| ≤ min( E_i·m,  E_i·|z| + min( max_j E_ij · g, ‖E_i‖₁ δ ) )        m ≥ |ẑ| from intervals
//! m_j(x̂) ≥ m_j(x) − min( ‖W_y − W_j‖₁ δ, ‖W_y − W_j‖_∞ g ) − T_y − T_j − e_y − e_j
//! ```
//! The matrix of a convolution has the rows of its kernels at every position; pooling, sums and choices of elements are
//! matrices, too (a maximum moves by no more than the largest, and the sum, of what its window moves), and sums that a number
//! format rounds have `T_i = ρ Σ_j |ẑ_j| + δ`. Activations multiply δ and g by their Lipschitz constant; quantizers add the jump that their box allows. A single perturbed layer is the case in which every other
//! radius is zero. The first form of `T` bounds the perturbed activations, the second adds their deviation to the clean
//! ones; the smaller of the two is taken neuron by neuron.
//!
//! Difference to theory.md §4.1: the network "with every weight raised" does *not* dominate the reachable activations
//! when later weights are negative (`raising_all_weights_does_not_dominate` below), so `m` comes from interval bounds.

use super::deviation::{largest_magnitude, weight_deviation};
use super::rounding::FEW;
use super::state::largest as maximum;
use super::step::{numbers, propagate};
use super::{Block, BoundMethod, LowerBounds, States};
use crate::kernels::rows::{l1, squares};
use crate::kernels::{Matrix, Scalar, Window, add_window_sums_transposed, average_pool};
use crate::model::Step;
use crate::network::{Affine, Read};
use crate::property::{SpecRow, Specification};
use crate::threat::WeightSet;

/// The norm-product method.
pub struct NormProduct;

/// How far the values of one node may be from the clean ones, for each sample.
#[derive(Clone)]
struct Deviation<T> {
    /// ℓ∞ norm.
    largest: Vec<T>,
    /// ℓ1 norm.
    total: Vec<T>,
}

impl<T: Scalar> BoundMethod<T> for NormProduct {
    fn lower_bounds(&self, block: &Block<'_, T>, spec: &Specification) -> LowerBounds<T> {
        let states = propagate(block);
        let errors = clean_errors(block);
        let mut deviations: Vec<Deviation<T>> = Vec::with_capacity(block.values.len());
        for index in 0..block.values.len() {
            let next = step(block, &states, &deviations, &errors, index);
            deviations.push(next);
        }
        let (lower, charge) = margins(block, &states, &deviations, &errors, spec).into_iter().unzip();
        LowerBounds { lower, charge, variance: Vec::new(), ends: Vec::new(), void: states.void.clone() }
    }
}

/// By node and sample how far any clean value may be from that of the network in real arithmetic; nothing where rounding is
/// neglected.
type Errors<T> = Vec<Vec<T>>;

fn clean_errors<T: Scalar>(block: &Block<'_, T>) -> Errors<T> {
    let prepared = block.prepared;
    let (nodes, samples) = (block.values.len(), block.values[0].rows());
    let mut largest = vec![vec![T::zero(); samples]; nodes];
    if prepared.arithmetic.is_exact() {
        return largest;
    }
    let by_norms = |n: usize, own: &Affine, window: Option<&Window>, (values, errors): (&[f64], &[f64])| {
        Read { weight: &own.weight, bias: &own.bias, window, values, errors }
            .by_norms(prepared.model.lengths(n))
    };
    for s in 0..samples {
        let values: Vec<Vec<f64>> =
            block.values.iter().map(|m| m.row(s).iter().map(|v| Scalar::to_f64(*v)).collect()).collect();
        let values: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let errors = prepared.model.network.errors(&values, |_| true, by_norms, |_| false);
        for (n, errors) in errors.into_iter().enumerate() {
            let most = maximum(errors.expect("all are wanted").into_iter());
            // Of the value in f64, and of its cast.
            let cast = prepared.arithmetic.gamma(2) * maximum(block.values[n].row(s).iter().map(|v| v.abs()));
            largest[n][s] = T::from_f64_up(most) + cast;
        }
    }
    largest
}

/// Roundings in the deviations of node `index`, all of them sums and products of numbers of one sign.
fn roundings<T: Scalar>(block: &Block<'_, T>, index: usize) -> usize {
    let model = block.prepared.model;
    let read: usize = model.inputs_of(index).iter().map(|&i| model.width(i)).sum();
    2 * (model.width(index) + read + FEW)
}

fn step<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    deviations: &[Deviation<T>],
    errors: &Errors<T>,
    index: usize,
) -> Deviation<T> {
    let (model, radii) = (block.prepared.model, block.prepared.radii);
    let samples = states.samples();
    let width = T::from_f64(model.width(index) as f64);
    let inputs = model.inputs_of(index);
    let magnitude = |i: usize| largest_magnitude(states.lower(i), states.upper(i));
    let is_sum = matches!(model.steps[index], Step::Add);
    let n = roundings(block, index);
    let (part, least) =
        (T::one() + block.prepared.arithmetic.gamma(n), block.prepared.arithmetic.underflow(n));
    // Deviations through a matrix with these norms, and what every element moves on its own.
    let through = |row: T, column: T, own: &dyn Fn(usize) -> Option<Vec<T>>| {
        let of = |s: usize| {
            let input = |f: fn(&Deviation<T>) -> &Vec<T>| inputs.iter().map(move |&i| f(&deviations[i])[s]);
            let own = own(s).unwrap_or_default();
            // A sum adds up its inputs; a choice takes every element from one of them.
            let farthest = input(|d| &d.largest);
            let farthest = if is_sum { farthest.sum::<T>() } else { maximum(farthest) };
            let largest = row * farthest + maximum(own.iter().copied());
            let total = column * input(|d| &d.total).sum::<T>() + own.iter().copied().sum::<T>();
            let (largest, total) = (largest * part + least, total * part + least);
            (largest, minimum(total, width * largest))
        };
        let (largest, total) = (0..samples).map(of).unzip();
        Deviation { largest, total }
    };
    let nothing = |_: usize| None;
    match &model.steps[index] {
        Step::Input => {
            let radius = T::from_f64_up(radii.set.input_radius);
            Deviation { largest: vec![radius; samples], total: vec![width * radius; samples] }
        }
        Step::Reshape => through(T::one(), T::one(), &nothing),
        Step::Multiply => {
            // |x̂ŷ − xy| ≤ |ŷ| |x̂ − x| + |x| |ŷ − y|, and both boxes hold the clean values, too.
            let sizes: Vec<Matrix<T>> = inputs.iter().map(|&i| magnitude(i)).collect();
            let most = |k: usize, s: usize| maximum(sizes[k].row(s).iter().copied());
            let of = |s: usize| {
                let sum = |f: fn(&Deviation<T>) -> &Vec<T>| {
                    most(1, s) * f(&deviations[inputs[0]])[s] + most(0, s) * f(&deviations[inputs[1]])[s]
                };
                let (largest, total) = (sum(|d| &d.largest) * part + least, sum(|d| &d.total) * part + least);
                (largest, minimum(total, width * largest))
            };
            let (largest, total) = (0..samples).map(of).unzip();
            Deviation { largest, total }
        }
        // Their slopes grow without end: the steepest one on the boxes of each sample.
        Step::Activation(f) if f.lipschitz().is_infinite() && !f.is_quantizer() => {
            let (lower, upper) = (states.lower(inputs[0]), states.upper(inputs[0]));
            let of = |s: usize| {
                let ends = lower.row(s).iter().zip(upper.row(s));
                let slopes = ends.map(|(l, u)| f.steepest(Scalar::to_f64(*l), Scalar::to_f64(*u)));
                let slope = T::from_f64_up(maximum(slopes));
                let d = &deviations[inputs[0]];
                let radius = radii.activation();
                let largest = (slope * d.largest[s] + radius) * part + least;
                let total = (slope * d.total[s] + width * radius) * part + least;
                (largest, minimum(total, width * largest))
            };
            let (largest, total) = (0..samples).map(of).unzip();
            Deviation { largest, total }
        }
        Step::Activation(f) => {
            let (lipschitz, jump) = f.variation();
            let (lipschitz, jump) = (T::from_f64_up(lipschitz), T::from_f64_up(jump));
            let (lower, upper) = (states.lower(index), states.upper(index));
            let single = block.prepared.arithmetic.outward(1);
            // A value that jumps stays in its box all the same.
            let own = |s: usize, j: usize| {
                let width = single.up(upper[(s, j)] - lower[(s, j)]);
                radii.activation() + if jump <= width { jump } else { width }
            };
            through(lipschitz, lipschitz, &|s| Some((0..model.width(index)).map(|j| own(s, j)).collect()))
        }
        Step::DynamicQuantize(q) => {
            let (lower, upper) = (states.lower(index), states.upper(index));
            let single = block.prepared.arithmetic.outward(1);
            let own = |s: usize| {
                let (low, high) = (states.lower(inputs[0]).row(s), states.upper(inputs[0]).row(s));
                let jump = T::from_f64_up((2.0 * q.reach(&numbers(low), &numbers(high))).next_up());
                let width = |j: usize| single.up(upper[(s, j)] - lower[(s, j)]);
                Some((0..model.width(index)).map(|j| minimum(jump, width(j))).collect())
            };
            through(T::one(), T::one(), &own)
        }
        Step::Scale { scale, .. } => {
            let factor = maximum(scale.iter().map(|s| s.abs()));
            through(factor, factor, &nothing)
        }
        Step::Affine(layer) => {
            let moved = row_terms(block, states, deviations, errors, index);
            let (norms, positions) = (block.prepared.norms(index), layer.positions());
            let e = &radii.layer(index).bias;
            let own = |s: usize| {
                Some(moved.row(s).iter().enumerate().map(|(k, &t)| t + e[k / positions]).collect())
            };
            through(norms.row, norms.column, &own)
        }
        Step::MaxPool(window) => through(T::one(), most_uses(window, None), &nothing),
        Step::AveragePool { window, factor } => {
            let taps = T::from_f64(window.taps() as f64);
            let row = taps * maximum(factor.iter().copied());
            let rounding = radii.roundings[index];
            let sums = average_pool(&magnitude(inputs[0]), window, factor);
            let own = |s: usize| {
                let of = |&sum: &T| rounding.relative * sum + rounding.absolute;
                Some(sums.row(s).iter().map(of).collect())
            };
            through(row, most_uses(window, Some(factor)), &own)
        }
        Step::Add => {
            let rounding = radii.roundings[index];
            let magnitudes: Vec<Matrix<T>> = inputs.iter().map(|&i| magnitude(i)).collect();
            let own = |s: usize| {
                let sum = |j: usize| magnitudes.iter().map(|m| m[(s, j)]).sum::<T>();
                let of = |j: usize| rounding.relative * sum(j) + rounding.absolute;
                Some((0..model.width(index)).map(of).collect())
            };
            through(T::one(), T::one(), &own)
        }
        Step::Gather(gather) => {
            let all: usize = inputs.iter().map(|&i| model.width(i)).sum();
            let mut uses = vec![0_usize; all];
            gather.source.iter().flatten().for_each(|&k| uses[k] += 1);
            let most = uses.into_iter().max().unwrap_or(0);
            through(T::one(), T::from_f64(most as f64), &nothing)
        }
    }
}

/// The largest sum, over the input elements, of the factors of the windows that hold it (1 each without factors).
fn most_uses<T: Scalar>(window: &Window, factor: Option<&[T]>) -> T {
    let mut sums = vec![T::zero(); window.input_width()];
    let of_plane = factor.map_or_else(|| vec![T::one(); window.positions()], <[T]>::to_vec);
    add_window_sums_transposed(&mut sums, &of_plane.repeat(window.channels), window);
    maximum(sums.into_iter())
}

/// `T_i` of every output element of the affine node `index`, (samples, n_out).
fn row_terms<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    deviations: &[Deviation<T>],
    errors: &Errors<T>,
    index: usize,
) -> Matrix<T> {
    let model = block.prepared.model;
    let (input, layer) = (model.input_of(index), model.affine(index));
    let positions = layer.positions();
    let n_in = T::from_f64(layer.weight.cols() as f64);
    let set = &block.prepared.radii.layer(index).weight;
    let Deviation { largest, total } = &deviations[input];
    let magnitude = largest_magnitude(states.lower(input), states.upper(input));
    let reachable = weight_deviation(set, &magnitude, layer);
    let value = states.value(input);
    let at_most = Matrix::from_fn(value.rows(), value.cols(), |s, j| value[(s, j)].abs() + errors[input][s]);
    let clean = weight_deviation(set, &at_most, layer);
    let of_row = |i: usize| match set {
        WeightSet::Entries(e) => (maximum(e.row(i).iter().copied()), l1(e.row(i))),
        WeightSet::Fixed | WeightSet::Rows(_) | WeightSet::Ball(_) | WeightSet::RowBalls(_) => {
            (T::zero(), T::zero())
        }
    };
    let of_rows: Vec<(T, T)> = (0..layer.bias.len()).map(of_row).collect();
    let spread = |s: usize, i: usize| match set {
        WeightSet::Fixed => T::zero(),
        WeightSet::Rows(rows) => rows[i] * minimum(total[s], n_in * largest[s]),
        WeightSet::Entries(_) => minimum(of_rows[i].0 * total[s], of_rows[i].1 * largest[s]),
        // ‖ẑ − z‖₂ is at most its ℓ1 norm, and √n times its largest entry.
        WeightSet::Ball(r) => *r * minimum(total[s], n_in.sqrt() * largest[s]),
        WeightSet::RowBalls(rows) => rows[i] * minimum(total[s], n_in.sqrt() * largest[s]),
    };
    Matrix::from_fn(reachable.rows(), reachable.cols(), |s, k| {
        minimum(reachable[(s, k)], clean[(s, k)] + spread(s, k / positions))
    })
}

fn margins<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    deviations: &[Deviation<T>],
    errors: &Errors<T>,
    spec: &Specification,
) -> Vec<(T, T)> {
    let model = block.prepared.model;
    let output = model.steps.len() - 1;
    let two = T::one() + T::one();
    // A dense output: the rows of its specification are merged.
    let dense = model.affine_of(output).filter(|layer| layer.window.is_none());
    let dense = dense.map(|layer| (&layer.weight, row_terms(block, states, deviations, errors, output)));
    let loss = |s: usize, row: SpecRow| match &dense {
        Some((weight, terms)) => {
            let input = &deviations[model.input_of(output)];
            let radii = block.prepared.radii.layer(output);
            let difference: Vec<T> = (0..weight.cols())
                .map(|j| {
                    row.plus.map_or(T::zero(), |i| weight[(i, j)])
                        - row.minus.map_or(T::zero(), |i| weight[(i, j)])
                })
                .collect();
            let passed = minimum(
                l1(&difference) * input.largest[s],
                maximum(difference.iter().map(|d| d.abs())) * input.total[s],
            );
            let ends = || [row.plus, row.minus].into_iter().flatten();
            let own: T = match radii.weight {
                // Two rows of one ball: ‖e_y − e_j‖₂ = √2.
                WeightSet::Ball(_) => squares(&ends().map(|i| terms[(s, i)]).collect::<Vec<T>>()).sqrt(),
                WeightSet::Fixed | WeightSet::Rows(_) | WeightSet::Entries(_) | WeightSet::RowBalls(_) => {
                    ends().map(|i| terms[(s, i)]).sum()
                }
            };
            passed + own + ends().map(|i| radii.bias[i]).sum::<T>()
        }
        None => {
            let d = &deviations[output];
            let ends = if row.plus.is_some() && row.minus.is_some() { two } else { T::one() };
            minimum(ends * d.largest[s], d.total[s])
        }
    };
    let arithmetic = block.prepared.arithmetic;
    let part = arithmetic.gamma(roundings(block, output));
    let bound = |(r, row): (usize, &SpecRow)| {
        let s = r / spec.count;
        let outputs = states.value(output).row(s);
        let (value, loss) = (row.apply(outputs), loss(s, *row));
        if arithmetic.is_exact() {
            return (value - loss, T::zero());
        }
        let ends: T = [row.plus, row.minus].into_iter().flatten().map(|i| outputs[i].abs()).sum();
        // Rows of weights are subtracted as they were cast.
        let cast = model.affine_of(output).map_or(T::zero(), |_| {
            let norms = block.prepared.norms(output);
            two * norms.row * deviations[model.input_of(output)].largest[s]
        });
        let charge = part * (ends + loss + cast) + two * errors[output][s];
        (arithmetic.down(value - loss - charge, 2), charge)
    };
    spec.rows.iter().enumerate().map(bound).collect()
}

/// The smaller of two numbers; NaN when one is NaN.
fn minimum<T: Scalar>(a: T, b: T) -> T {
    if a.is_nan() || a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use crate::kernels::Matrix;
    use crate::network::{Activation, NetworkBuilder};

    /// A counterexample to domination by the network with every weight raised: with a negative second weight, raising the
    /// first one *lowers* the second activation, so perturbing only the second layer reaches more.
    #[test]
    fn raising_all_weights_does_not_dominate() {
        let network = |first: f64, second: f64| {
            let mut builder = NetworkBuilder::new(vec![1]);
            let p = builder.dense("first", 0, Matrix::from_vec(1, 1, vec![first]), vec![0.0]).unwrap();
            let z = builder.activation("a", p, Activation::Relu).unwrap();
            let p = builder.dense("second", z, Matrix::from_vec(1, 1, vec![second]), vec![2.0]).unwrap();
            builder.activation("b", p, Activation::Relu).unwrap();
            builder.finish().unwrap()
        };
        let radius = 0.1;
        let raised = network(1.0 + radius, -1.0 + radius).forward(&[1.0])[0];
        let reachable = network(1.0 - radius, -1.0 + radius).forward(&[1.0])[0];
        assert!(reachable > raised + 0.1, "{reachable} {raised}");
    }
}
