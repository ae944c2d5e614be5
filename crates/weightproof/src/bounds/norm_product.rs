//! The paper's bound: induced norms of the layers (theory.md §4.1; Tsai et al., arXiv 2103.02200).
//!
//! ```text
//! δ_0 = ε_x      δ_k = ‖Wᵏ‖_∞ δ_{k−1} + max_i (T_i + e_i)                            ℓ∞ deviation of layer k
//! g_0 = d ε_x    g_k = min( ‖Wᵏ‖_1 g_{k−1} + Σ_i (T_i + e_i),  n_k δ_k )             ℓ1 deviation
//! T_i = max |Δ_i ẑ| ≤ min( E_i·m,  E_i·|z| + min( max_j E_ij · g, ‖E_i‖₁ δ ) )        m ≥ |ẑ| from intervals
//! m_j(x̂) ≥ m_j(x) − min( ‖W_y − W_j‖₁ δ, ‖W_y − W_j‖_∞ g ) − T_y − T_j − e_y − e_j
//! ```
//! Activations multiply δ and g by their Lipschitz constant. A single perturbed layer is the case in which every other
//! radius is zero. The first form of `T` bounds the perturbed activations, the second adds their deviation to the clean
//! ones; the smaller of the two is taken neuron by neuron.
//!
//! Difference to theory.md §4.1: the network "with every weight raised" does *not* dominate the reachable activations
//! when later weights are negative (`raising_all_weights_does_not_dominate` below), so `m` comes from interval bounds.

use super::interval::{largest_magnitude, propagate, weight_deviation};
use super::{Block, BoundMethod, LowerBounds, States};
use crate::kernels::rows::{l1, squares};
use crate::kernels::{Matrix, Scalar};
use crate::model::{Radius, Step};
use crate::property::{SpecRow, Specification};

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
        let mut deviations: Vec<Deviation<T>> = Vec::with_capacity(block.values.len());
        for index in 0..block.values.len() {
            let next = step(block, &states, &deviations, index);
            deviations.push(next);
        }
        LowerBounds { lower: margins(block, &states, &deviations, spec), void: states.void.clone() }
    }
}

fn step<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    deviations: &[Deviation<T>],
    index: usize,
) -> Deviation<T> {
    let model = block.prepared.model;
    let samples = states.samples();
    let width = T::from_f64(model.width(index) as f64);
    let scaled = |factor: T, added: T| {
        let input = &deviations[model.input_of(index)];
        Deviation {
            largest: input.largest.iter().map(|&d| factor * d + added).collect(),
            total: input.total.iter().map(|&g| factor * g + width * added).collect(),
        }
    };
    match &model.steps[index] {
        Step::Input => {
            let radius = T::from_f64(block.prepared.radii.set.input_radius);
            Deviation { largest: vec![radius; samples], total: vec![width * radius; samples] }
        }
        Step::Reshape => scaled(T::one(), T::zero()),
        Step::Activation(f) => scaled(T::from_f64(f.lipschitz()), block.prepared.radii.activation()),
        Step::Scale { scale, .. } => scaled(maximum(scale.iter().map(|s| s.abs())), T::zero()),
        Step::Dense { weight, .. } => {
            let input = &deviations[model.input_of(index)];
            let moved = row_terms(block, states, deviations, index);
            let e = &block.prepared.radii.layer(index).bias;
            let row_norm: T = maximum((0..weight.rows()).map(|i| l1(weight.row(i))));
            let column = |j: usize| (0..weight.rows()).map(|i| weight[(i, j)].abs()).sum::<T>();
            let column_norm: T = maximum((0..weight.cols()).map(column));
            let terms = |s: usize| moved.row(s).iter().zip(e).map(|(&t, &e)| t + e);
            let largest: Vec<T> =
                (0..samples).map(|s| row_norm * input.largest[s] + maximum(terms(s))).collect();
            let total = (0..samples).map(|s| {
                let sum = column_norm * input.total[s] + terms(s).sum::<T>();
                minimum(sum, width * largest[s])
            });
            Deviation { total: total.collect(), largest }
        }
    }
}

/// `T_i` of every row of the dense node `index`, (samples, n_out).
fn row_terms<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    deviations: &[Deviation<T>],
    index: usize,
) -> Matrix<T> {
    let model = block.prepared.model;
    let (input, n_out) = (model.input_of(index), model.width(index));
    let n_in = T::from_f64(model.width(input) as f64);
    let radius = &block.prepared.radii.layer(index).weight;
    let Deviation { largest, total } = &deviations[input];
    let reachable =
        weight_deviation(radius, &largest_magnitude(states.lower(input), states.upper(input)), n_out);
    let clean = weight_deviation(radius, states.value(input), n_out);
    let spread = |s: usize, i: usize| match radius {
        Radius::Zero => T::zero(),
        Radius::Uniform(r) => *r * minimum(total[s], n_in * largest[s]),
        Radius::PerRow(rows) => rows[i] * minimum(total[s], n_in * largest[s]),
        Radius::Dense(e) => minimum(maximum(e.row(i).iter().copied()) * total[s], l1(e.row(i)) * largest[s]),
        // ‖ẑ − z‖₂ is at most its ℓ1 norm, and √n times its largest entry.
        Radius::Frobenius(r) => *r * minimum(total[s], n_in.sqrt() * largest[s]),
    };
    Matrix::from_fn(reachable.rows(), n_out, |s, i| minimum(reachable[(s, i)], clean[(s, i)] + spread(s, i)))
}

fn margins<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    deviations: &[Deviation<T>],
    spec: &Specification,
) -> Vec<T> {
    let model = block.prepared.model;
    let output = model.steps.len() - 1;
    let two = T::one() + T::one();
    let terms = match &model.steps[output] {
        Step::Dense { .. } => Some(row_terms(block, states, deviations, output)),
        Step::Input | Step::Scale { .. } | Step::Activation(_) | Step::Reshape => None,
    };
    let loss = |s: usize, row: SpecRow| match (&model.steps[output], &terms) {
        (Step::Dense { weight, .. }, Some(terms)) => {
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
                Radius::Frobenius(_) => squares(&ends().map(|i| terms[(s, i)]).collect::<Vec<T>>()).sqrt(),
                Radius::Zero | Radius::Uniform(_) | Radius::PerRow(_) | Radius::Dense(_) => {
                    ends().map(|i| terms[(s, i)]).sum()
                }
            };
            passed + own + ends().map(|i| radii.bias[i]).sum::<T>()
        }
        _ => {
            let d = &deviations[output];
            let ends = if row.plus.is_some() && row.minus.is_some() { two } else { T::one() };
            minimum(ends * d.largest[s], d.total[s])
        }
    };
    let value = |s: usize, row: SpecRow| row.apply(states.value(output).row(s));
    spec.rows
        .iter()
        .enumerate()
        .map(|(r, &row)| value(r / spec.count, row) - loss(r / spec.count, row))
        .collect()
}

/// The larger numbers; NaN when one is NaN.
fn maximum<T: Scalar>(values: impl Iterator<Item = T>) -> T {
    values.fold(T::zero(), |m, v| if v <= m { m } else { v })
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
