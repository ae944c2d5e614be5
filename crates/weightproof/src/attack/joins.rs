//! Layers without variables that read several nodes or windows: sums, products, choices of elements, pooling.

use super::kernels::{add, add_products, scatter};
use super::pass::Pass;
use crate::kernels::rows::vectorized;
use crate::kernels::{
    Matrix, Scalar, add_max_pool_gradient, add_window_sums, add_window_sums_transposed, max_pool_row,
};
use crate::model::Step;

impl<T: Scalar> Pass<'_, '_, T> {
    /// # Shapes
    /// `out`: (rows, width).
    pub(super) fn forward_join(&mut self, index: usize, samples: &[usize], out: &mut Matrix<T>) {
        let model = &self.problem.model;
        let inputs = model.inputs_of(index);
        let mut joined = std::mem::take(&mut self.kernels);
        vectorized!(|| {
            for (row, &s) in samples.iter().enumerate() {
                let (z, out) = (self.value(inputs[0], row, s), out.row_mut(row));
                match &model.steps[index] {
                    Step::MaxPool(window) => max_pool_row(out, z, window),
                    Step::AveragePool { window, factor } => {
                        out.fill(T::zero());
                        add_window_sums(out, z, window);
                        for plane in out.chunks_exact_mut(factor.len()) {
                            multiply(plane, factor);
                        }
                    }
                    Step::Add => {
                        out.copy_from_slice(z);
                        for &input in &inputs[1..] {
                            add(out, self.value(input, row, s));
                        }
                    }
                    Step::Multiply => {
                        out.copy_from_slice(z);
                        multiply(out, self.value(inputs[1], row, s));
                    }
                    Step::Gather(gather) => {
                        joined.clear();
                        for &k in inputs {
                            joined.extend_from_slice(self.value(k, row, s));
                        }
                        let constant = T::from_f64(gather.constant);
                        for (out, source) in out.iter_mut().zip(&gather.source) {
                            *out = source.map_or(constant, |k| joined[k]);
                        }
                    }
                    Step::Input
                    | Step::Affine(_)
                    | Step::Scale { .. }
                    | Step::Activation(_)
                    | Step::DynamicQuantize(_)
                    | Step::Reshape => unreachable!("not a join"),
                }
            }
        });
        self.kernels = joined;
    }

    /// Pooling uses the gradient with respect to its output up: no variable reads it.
    pub(super) fn backward_join(&mut self, index: usize, samples: &[usize]) {
        let problem = self.problem;
        let mut g = std::mem::take(&mut self.gradients[index]);
        let mut start = 0;
        let inputs = problem.model.inputs_of(index);
        for (k, &input) in inputs.iter().enumerate() {
            // Of a product the other factor.
            let other = inputs[(k + 1) % inputs.len()];
            let width = problem.model.width(input);
            if problem.space.moving[input] {
                let mut back = self.take_gradient(input, g.rows());
                let (z, value) = (&self.values[input], &self.values[index]);
                vectorized!(|| {
                    for row in 0..g.rows() {
                        let (back, g) = (back.row_mut(row), g.row_mut(row));
                        match &problem.model.steps[index] {
                            Step::MaxPool(window) => {
                                add_max_pool_gradient(back, g, z.row(row), value.row(row), window);
                            }
                            Step::AveragePool { window, factor } => {
                                g.chunks_exact_mut(factor.len()).for_each(|plane| multiply(plane, factor));
                                add_window_sums_transposed(back, g, window);
                            }
                            Step::Add => add(back, g),
                            Step::Multiply => {
                                let others = self.value(other, row, samples[row]);
                                add_products(back, g, others);
                            }
                            Step::Gather(gather) => scatter(back, g, &gather.source, start),
                            Step::Input
                            | Step::Affine(_)
                            | Step::Scale { .. }
                            | Step::Activation(_)
                            | Step::DynamicQuantize(_)
                            | Step::Reshape => unreachable!("not a join"),
                        }
                    }
                });
                self.gradients[input] = back;
            }
            start += width;
        }
        self.gradients[index] = g;
    }
}

#[inline(always)]
fn multiply<T: Scalar>(plane: &mut [T], factor: &[T]) {
    plane.iter_mut().zip(factor).for_each(|(z, &f)| *z *= f);
}
