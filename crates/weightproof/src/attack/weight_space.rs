//! Dense layers in weight space: one variable for each weight and bias, as attacks on weights are usually run.
//!
//! ```text
//! p_i = Σ_j (W_ij + E_ij u_ij) z_j + b_i + e_i v_i          ball: E_ij = r, ‖u‖₂ ≤ 1
//! ```
//!
//! Every row of the block has weights of its own, so nothing is shared and the cost is that of a matrix for each sample,
//! start and step. Neuron space reaches the same pre-activations with one number for each neuron. Convolutions are in `conv`.

use super::descent::Rows;
use super::kernels::{add, add_products, add_scaled, dot3, length};
use super::pass::Pass;
use super::problem::{FixedValues, SearchProblem};
use super::space::{Point, Space};
use crate::kernels::rows::{dot, vectorized};
use crate::kernels::{Matrix, Scalar};
use crate::model::Affine;
use crate::threat::WeightSet;

/// `Σ_j E_ij u_j z_j` for row `i` of a layer.
#[inline(always)]
fn carried<T: Scalar>(set: &WeightSet<T>, i: usize, u: &[T], z: &[T]) -> T {
    match set {
        WeightSet::Fixed => T::zero(),
        WeightSet::Rows(rows) | WeightSet::RowBalls(rows) => rows[i] * dot(u, z),
        WeightSet::Entries(e) => dot3(u, z, e.row(i)),
        WeightSet::Ball(r) => *r * dot(u, z),
    }
}

impl<T: Scalar> Pass<'_, '_, T> {
    /// # Shapes
    /// `out`: (rows, n_out).
    pub(super) fn forward_weights(
        &mut self,
        index: usize,
        affine: &Affine<T>,
        point: &Point<T>,
        samples: &[usize],
        out: &mut Matrix<T>,
    ) {
        let problem = self.problem;
        let (input, moving) = problem.input_of(index);
        let (slots, set) = (problem.space.nodes[index], problem.weights(index));
        let radius = &problem.radii.layer(index).bias;
        vectorized!(|| {
            for (row, &s) in samples.iter().enumerate() {
                let z = if moving { self.values[input].row(row) } else { self.fixed.values[input].row(s) };
                let out = out.row_mut(row);
                if moving {
                    for (i, p) in out.iter_mut().enumerate() {
                        *p = dot(affine.weight.row(i), z);
                    }
                    add(out, &affine.bias);
                } else {
                    out.copy_from_slice(self.fixed.values[index].row(s));
                }
                if let Some(slot) = slots.weights {
                    let u = point.0[slot].row(row).chunks_exact(z.len());
                    for (i, (p, u)) in out.iter_mut().zip(u).enumerate() {
                        *p += carried(set, i, u, z);
                    }
                }
                if let Some(v) = slots.bias.map(|slot| point.0[slot].row(row)) {
                    add_products(out, v, radius);
                }
            }
        });
    }

    /// The gradient with respect to `u_ij` is `E_ij g_i z_j`; the factor `E_ij ≥ 0` is left out.
    pub(super) fn backward_weights(
        &mut self,
        index: usize,
        weight: &Matrix<T>,
        point: &Point<T>,
        rows: &Rows,
    ) {
        let problem = self.problem;
        let (input, moving) = problem.input_of(index);
        let (slot, set) = (problem.space.nodes[index].weights, problem.weights(index));
        let count = rows.samples.len();
        let mut back = if moving { self.take_gradient(input, count) } else { Matrix::default() };
        let mut gradient =
            slot.map(|slot| std::mem::take(&mut self.parameter_gradients[slot])).unwrap_or_default();
        gradient.reshape_scratch(count, if slot.is_some() { weight.as_slice().len() } else { 0 });
        vectorized!(|| {
            for (row, &s) in rows.samples.iter().enumerate() {
                let z = if moving { self.values[input].row(row) } else { self.fixed.values[input].row(s) };
                let g = self.gradients[index].row(row);
                for (gradient, &g) in gradient.row_mut(row).chunks_exact_mut(z.len()).zip(g) {
                    gradient.iter_mut().zip(z).for_each(|(gradient, &z)| *gradient = g * z);
                }
                if !moving {
                    continue;
                }
                let back = back.row_mut(row);
                let u = slot.map_or(&[][..], |slot| point.0[slot].row(row));
                for (i, &g) in g.iter().enumerate().filter(|(_, g)| **g != T::zero()) {
                    add_scaled(back, weight.row(i), g);
                    let u = &u[u.len().min(i * z.len())..u.len().min((i + 1) * z.len())];
                    match set {
                        WeightSet::Fixed => {}
                        WeightSet::Rows(rows) | WeightSet::RowBalls(rows) => add_scaled(back, u, g * rows[i]),
                        WeightSet::Entries(e) => {
                            back.iter_mut().zip(u).zip(e.row(i)).for_each(|((b, &u), &e)| *b += g * u * e);
                        }
                        WeightSet::Ball(r) => add_scaled(back, u, g * *r),
                    }
                }
            }
        });
        if moving {
            self.gradients[input] = back;
        }
        if let Some(slot) = slot {
            self.parameter_gradients[slot] = gradient;
        }
    }
}

/// The point of neuron space with the pre-activations of row `row` of a point of weight space:
///
/// ```text
/// box    t_i = (Σ_j E_ij u_ij z_j + e_i v_i) / (Σ_j E_ij |z_j| + e_i)          ball    d = u z / ‖z‖₂
/// ```
///
/// in dense layers; all other variables are those of both spaces. `pass` holds the values at `point`.
pub(super) fn fold<T: Scalar>(
    pass: &Pass<'_, '_, T>,
    neurons: &Space,
    point: &Point<T>,
    samples: &[usize],
    row: usize,
) -> Vec<Vec<f32>> {
    let (problem, fixed): (&SearchProblem<'_, T>, &FixedValues<T>) = (pass.problem, pass.fixed);
    let single = |slot: usize| point.0[slot].row(row);
    let fold = |slot: usize| {
        let node = neurons.slots[slot].node;
        let of_node = problem.space.nodes[node];
        let to_node = neurons.nodes[node];
        if to_node.neurons != Some(slot) {
            let pairs = [
                (to_node.weights, of_node.weights),
                (to_node.bias, of_node.bias),
                (to_node.values, of_node.values),
            ];
            let same = pairs.into_iter().find(|(to, _)| *to == Some(slot)).and_then(|(_, of)| of);
            return single(same.expect("both spaces move the same")).to_vec();
        }
        let (input, moving) = problem.input_of(node);
        let z = if moving { pass.values[input].row(row) } else { fixed.values[input].row(samples[row]) };
        let (set, radius) = (problem.weights(node), &problem.radii.layer(node).bias);
        let u = of_node.weights.map(single);
        let moved =
            |i: usize| u.map_or(T::zero(), |u| carried(set, i, &u[i * z.len()..(i + 1) * z.len()], z));
        if let WeightSet::Ball(r) = set {
            let norm = *r * length(z);
            return (0..radius.len()).map(|i| share(moved(i), norm)).collect();
        }
        let reached = problem.reach_at(node, &Matrix::from_vec(1, z.len(), z.to_vec()));
        let v = of_node.bias.map(single);
        let with_bias = |i: usize| moved(i) + v.map_or(T::zero(), |v| v[i] * radius[i]);
        (0..radius.len()).map(|i| share(with_bias(i), reached[(0, i)])).collect()
    };
    let f32s = |values: Vec<T>| values.iter().map(|&u| u.to_f64() as f32).collect();
    (0..neurons.slots.len()).map(|slot| f32s(fold(slot))).collect()
}

fn share<T: Scalar>(moved: T, reach: T) -> T {
    if reach > T::zero() { moved / reach } else { T::zero() }
}
