//! Dense layers in neuron space: one variable for each neuron instead of one for each weight.
//!
//! ```text
//! box    p_i = W_i z + b_i + t_i (Σ_j E_ij |z_j| + e_i)          ∂p_i/∂z_j = W_ij + t_i E_ij sign(z_j)
//! ball   p   = W z + b + r ‖z‖₂ d + e∘t,  ‖d‖₂ ≤ 1               ∂p_i/∂z_j = W_ij + r d_i z_j / ‖z‖₂
//! rows   p_i = W_i z + b_i + t_i (r_i ‖z‖₂ + e_i)                ∂p_i/∂z_j = W_ij + t_i r_i z_j / ‖z‖₂
//! ```
//!
//! Rows of `E` that are constant (one radius for a layer, or one for each channel) cost a rank-one update, others one more
//! product. A layer whose input does not move costs no product at all.
//!
//! # Guarantee
//! For one sample both forms reach exactly what the weights reach: the box by Lemma 1 (theory.md §3), whatever the signs of
//! `z`, because a sample has one `z`; the ball with `Δ = r d zᵀ/‖z‖₂`, since `‖Δz‖₂ ≤ ‖Δ‖_F ‖z‖₂`. A convolution, which uses its
//! kernel at many positions, is no such case: see `conv`.

use super::kernels::{add, add_products, add_scaled, add_shifted, add_signed, add_signs, dot3, length};
use super::pass::Pass;
use super::space::Point;
use crate::kernels::rows::{dot, l1, vectorized};
use crate::kernels::{Matrix, Scalar, add_product, product, product_transposed};
use crate::model::Affine;
use crate::threat::WeightSet;

impl<T: Scalar> Pass<'_, '_, T> {
    /// # Shapes
    /// `out`: (rows, n_out).
    pub(super) fn forward_neurons(
        &mut self,
        index: usize,
        affine: &Affine<T>,
        point: &Point<T>,
        samples: &[usize],
        out: &mut Matrix<T>,
    ) {
        let problem = self.problem;
        let (input, moving) = problem.input_of(index);
        if !moving {
            return self.forward_from_fixed(index, point, samples, out);
        }
        let (slots, set) = (problem.space.nodes[index], problem.weights(index));
        let radius = &problem.radii.layer(index).bias;
        let z = &self.values[input];
        product_transposed(out, z, &affine.weight);
        if let (WeightSet::Entries(e), Some(_)) = (set, slots.neurons) {
            self.factor.reshape_scratch(z.rows(), z.cols());
            for (m, &z) in self.factor.as_mut_slice().iter_mut().zip(z.as_slice()) {
                *m = num_traits::Float::abs(z);
            }
            product_transposed(&mut self.reached, &self.factor, e);
        }
        let reached = &self.reached;
        vectorized!(|| {
            for row in 0..samples.len() {
                let (out, z) = (out.row_mut(row), z.row(row));
                match (slots.neurons.map(|slot| point.0[slot].row(row)), set) {
                    (None, _) => add(out, &affine.bias),
                    (Some(t), WeightSet::Fixed) => {
                        add_shifted(out, &affine.bias, t, radius, radius, T::zero())
                    }
                    (Some(t), WeightSet::Rows(rows)) => {
                        add_shifted(out, &affine.bias, t, radius, rows, l1(z))
                    }
                    (Some(t), WeightSet::Entries(_)) => {
                        add_shifted(out, &affine.bias, t, radius, reached.row(row), T::one());
                    }
                    (Some(t), WeightSet::RowBalls(rows)) => {
                        add_shifted(out, &affine.bias, t, radius, rows, length(z));
                    }
                    (Some(d), WeightSet::Ball(r)) => {
                        add(out, &affine.bias);
                        add_scaled(out, d, *r * length(z));
                    }
                }
                if let Some(t) = slots.bias.map(|slot| point.0[slot].row(row)) {
                    add_products(out, t, radius);
                }
            }
        });
    }

    /// The input does not move: centre and reach are known.
    fn forward_from_fixed(&self, index: usize, point: &Point<T>, samples: &[usize], out: &mut Matrix<T>) {
        let problem = self.problem;
        let (slots, set) = (problem.space.nodes[index], problem.weights(index));
        let (centre, reached) = (&self.fixed.values[index], &self.fixed.reach[index]);
        let radius = &problem.radii.layer(index).bias;
        vectorized!(|| {
            for (row, &s) in samples.iter().enumerate() {
                let out = out.row_mut(row);
                out.copy_from_slice(centre.row(s));
                match (slots.neurons.map(|slot| point.0[slot].row(row)), set) {
                    (None, _) => {}
                    (Some(d), WeightSet::Ball(_)) => add_scaled(out, d, reached[(s, 0)]),
                    (
                        Some(t),
                        WeightSet::Fixed
                        | WeightSet::Rows(_)
                        | WeightSet::Entries(_)
                        | WeightSet::RowBalls(_),
                    ) => {
                        add_products(out, t, reached.row(s));
                    }
                }
                if let Some(t) = slots.bias.map(|slot| point.0[slot].row(row)) {
                    add_products(out, t, radius);
                }
            }
        });
    }

    /// The gradient with respect to the variables is the one with respect to `p`, times a reach ≥ 0.
    pub(super) fn backward_neurons(&mut self, index: usize, weight: &Matrix<T>, point: &Point<T>) {
        let problem = self.problem;
        let (input, moving) = problem.input_of(index);
        if !moving {
            return;
        }
        let mut back = std::mem::take(&mut self.gradients[input]);
        let g = &self.gradients[index];
        if self.written[input] {
            add_product(&mut back, g, weight);
        } else {
            product(&mut back, g, weight);
        }
        self.written[input] = true;
        if let Some(slot) = problem.space.nodes[index].neurons {
            let (t, z, set) = (&point.0[slot], &self.values[input], problem.weights(index));
            if let WeightSet::Entries(e) = set {
                self.factor.reshape_scratch(g.rows(), g.cols());
                let products = g.as_slice().iter().zip(t.as_slice());
                self.factor.as_mut_slice().iter_mut().zip(products).for_each(|(m, (&g, &t))| *m = g * t);
                product(&mut self.reached, &self.factor, e);
            }
            let reached = &self.reached;
            vectorized!(|| {
                for row in 0..g.rows() {
                    let (back, g, t, z) = (back.row_mut(row), g.row(row), t.row(row), z.row(row));
                    match set {
                        WeightSet::Fixed => {}
                        WeightSet::Rows(rows) => add_signs(back, z, dot3(g, t, rows)),
                        WeightSet::Entries(_) => add_signed(back, z, reached.row(row)),
                        WeightSet::RowBalls(rows) => {
                            let norm = length(z);
                            if norm > T::zero() {
                                add_scaled(back, z, dot3(g, t, rows) / norm);
                            }
                        }
                        WeightSet::Ball(r) => {
                            let norm = length(z);
                            if norm > T::zero() {
                                add_scaled(back, z, *r * dot(g, t) / norm);
                            }
                        }
                    }
                }
            });
        }
        self.gradients[input] = back;
    }
}
