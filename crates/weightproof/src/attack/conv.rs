//! Convolutions: one variable for each weight of the kernel and each bias, in both spaces.
//!
//! ```text
//! p = (W + E∘u) X + b + e∘v            X: the patches of z, (patch, positions); ball: E_ij = r, ‖u‖₂ ≤ 1
//! ∂/∂u = E∘(g Xᵀ)      ∂/∂v_c = e_c Σ_positions g_c      ∂/∂z: (W + E∘u)ᵀ g laid back onto the image
//! ```
//!
//! A kernel is used at every position, so one number for each output element, as neuron space has it for dense layers, would
//! reach pre-activations that no kernel gives. Every row of a block of work has a kernel of its own; where the input does
//! not move, all rows of a sample share its patches and are one product.

use super::descent::Rows;
use super::pass::Pass;
use super::space::Point;
use crate::kernels::{Matrix, Scalar, Window, add_linear_transposed, linear};
use crate::model::Affine;
use crate::threat::WeightSet;
use std::ops::Range;

impl<T: Scalar> Pass<'_, '_, T> {
    /// # Shapes
    /// `out`: (rows, channels × positions).
    pub(super) fn forward_conv(
        &mut self,
        index: usize,
        (affine, window): (&Affine<T>, &Window),
        point: &Point<T>,
        samples: &[usize],
        out: &mut Matrix<T>,
    ) {
        let problem = self.problem;
        let (input, moving) = problem.input_of(index);
        let slots = problem.space.nodes[index];
        match slots.weights.map(|slot| &point.0[slot]) {
            Some(u) => {
                let (mut kernels, mut scratch) =
                    (std::mem::take(&mut self.kernels), std::mem::take(&mut self.conv));
                let width = window.output_width();
                for run in runs(samples, moving) {
                    kernels.clear();
                    run.clone().for_each(|row| {
                        push_moved(&mut kernels, &affine.weight, problem.weights(index), u.row(row));
                    });
                    let z = self.value(input, run.start, samples[run.start]);
                    let out = &mut out.as_mut_slice()[run.start * width..run.end * width];
                    scratch.convolve(out, z, &kernels, window);
                }
                (self.kernels, self.conv) = (kernels, scratch);
            }
            None if moving => linear(out, &self.values[input], &affine.weight, Some(window)),
            None => {
                let centre = &self.fixed.values[index];
                samples
                    .iter()
                    .enumerate()
                    .for_each(|(row, &s)| out.row_mut(row).copy_from_slice(centre.row(s)));
            }
        }
        let centred = slots.weights.is_none() && !moving;
        let radius = &problem.radii.layer(index).bias;
        for row in 0..samples.len() {
            let v = slots.bias.map(|slot| point.0[slot].row(row));
            for (c, plane) in out.row_mut(row).chunks_exact_mut(window.positions()).enumerate() {
                let bias = if centred { T::zero() } else { affine.bias[c] };
                let shift = bias + v.map_or(T::zero(), |v| radius[c] * v[c]);
                plane.iter_mut().for_each(|p| *p += shift);
            }
        }
    }

    /// The factors `E` and `e` of the gradients are left out: they are ≥ 0, and one number for a ball.
    pub(super) fn backward_conv(
        &mut self,
        index: usize,
        (affine, window): (&Affine<T>, &Window),
        point: &Point<T>,
        rows: &Rows,
    ) {
        let problem = self.problem;
        let (input, moving) = problem.input_of(index);
        let slots = problem.space.nodes[index];
        let count = rows.samples.len();
        if let Some(slot) = slots.bias {
            let gradient = &mut self.parameter_gradients[slot];
            gradient.reshape_scratch(count, window.channels);
            let planes = self.gradients[index].as_slice().chunks_exact(window.positions());
            gradient.as_mut_slice().iter_mut().zip(planes).for_each(|(v, g)| *v = g.iter().copied().sum());
        }
        let mut scratch = std::mem::take(&mut self.conv);
        if let Some(slot) = slots.weights {
            let mut gradient = std::mem::take(&mut self.parameter_gradients[slot]);
            let (size, width) = (affine.weight.as_slice().len(), window.output_width());
            gradient.reshape_scratch(count, size);
            gradient.as_mut_slice().fill(T::zero());
            for run in runs(&rows.samples, moving) {
                let z = self.value(input, run.start, rows.samples[run.start]);
                let g = &self.gradients[index].as_slice()[run.start * width..run.end * width];
                let gradient = &mut gradient.as_mut_slice()[run.start * size..run.end * size];
                scratch.add_kernel_gradient(gradient, g, z, window);
            }
            self.parameter_gradients[slot] = gradient;
        }
        if moving {
            let mut back = self.take_gradient(input, count);
            let g = &self.gradients[index];
            match slots.weights.map(|slot| &point.0[slot]) {
                None => add_linear_transposed(&mut back, g, &affine.weight, Some(window)),
                Some(u) => {
                    for row in 0..count {
                        self.kernels.clear();
                        push_moved(&mut self.kernels, &affine.weight, problem.weights(index), u.row(row));
                        scratch.add_transposed(back.row_mut(row), g.row(row), &self.kernels, window);
                    }
                }
            }
            self.gradients[input] = back;
        }
        self.conv = scratch;
    }
}

/// Ranges of rows that meet the same values: single rows, or those of one sample where the input does not move.
fn runs(samples: &[usize], moving: bool) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    samples.chunk_by(move |a, b| !moving && a == b).map(move |run| {
        start += run.len();
        start - run.len()..start
    })
}

/// Appends `W + E∘u`.
fn push_moved<T: Scalar>(kernels: &mut Vec<T>, weight: &Matrix<T>, set: &WeightSet<T>, u: &[T]) {
    let (start, cols) = (kernels.len(), weight.cols());
    kernels.extend_from_slice(weight.as_slice());
    let rows = kernels[start..].chunks_exact_mut(cols).zip(u.chunks_exact(cols)).enumerate();
    rows.for_each(|(i, (row, u))| set.add_point(i, row, u));
}
