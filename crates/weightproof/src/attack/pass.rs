//! Forward and backward pass of a block of rows through the network, as functions of the variables.
//!
//! Dense layers are in `neuron_space` and `weight_space`. The other variables:
//!
//! ```text
//! input  z⁰_j = l_j + (h_j − l_j)(u_j + 1)/2          after an activation  z_j = ρ(p_j) + ε u_j
//! ```

use super::descent::{Landscape, Rows};
use super::kernels::{
    add_scaled, elementwise, elementwise_backward, interpolate, kink_backward, mean_distance,
};
use super::space::{Parameters, Point, Space};
use super::terrain::{Still, Terrain};
use crate::kernels::rows::vectorized;
use crate::kernels::{Matrix, Scalar};
use crate::model::Step;
use crate::network::Activation;

/// The landscape of a block of samples. Rows are `(sample, start)` pairs.
pub(super) struct Pass<'a, 'n, T> {
    pub terrain: &'a Terrain<'n, T>,
    pub still: &'a Still<T>,
    /// Values of every moving node, (rows, width).
    pub values: Vec<Matrix<T>>,
    /// Gradients with respect to them, where `written`.
    pub gradients: Vec<Matrix<T>>,
    pub written: Vec<bool>,
    /// Weight space: gradients with respect to the slots of the weights.
    pub weight_gradients: Vec<Matrix<T>>,
    /// Scratch: what multiplies a dense `E`, and the product.
    pub factor: Matrix<T>,
    pub reached: Matrix<T>,
}

impl<'a, 'n, T: Scalar> Pass<'a, 'n, T> {
    pub fn new(terrain: &'a Terrain<'n, T>, still: &'a Still<T>) -> Self {
        let empty = |n: usize| (0..n).map(|_| Matrix::default()).collect::<Vec<_>>();
        let nodes = terrain.model.steps.len();
        Pass {
            terrain,
            still,
            values: empty(nodes),
            gradients: empty(nodes),
            written: vec![false; nodes],
            weight_gradients: empty(terrain.space.slots.len()),
            factor: Matrix::default(),
            reached: Matrix::default(),
        }
    }

    fn forward_node(&mut self, index: usize, point: &Point<T>, samples: &[usize]) {
        let terrain = self.terrain;
        let step = &terrain.model.steps[index];
        let slot = terrain.space.nodes[index].values.map(|slot| &point.0[slot]);
        let mut out = std::mem::take(&mut self.values[index]);
        out.reshape_scratch(samples.len(), terrain.model.width(index));
        match step {
            Step::Input => {
                let (lower, upper) = self.still.input.as_ref().expect("the input moves");
                let u = slot.expect("the input moves");
                vectorized(|| {
                    for (row, &s) in samples.iter().enumerate() {
                        interpolate(out.row_mut(row), u.row(row), lower.row(s), upper.row(s));
                    }
                });
            }
            Step::Dense { weight, bias } => match terrain.space.parameters {
                Parameters::Fixed | Parameters::Neurons => {
                    self.forward_neurons(index, (weight, bias), point, samples, &mut out);
                }
                Parameters::Weights => self.forward_weights(index, (weight, bias), point, samples, &mut out),
            },
            Step::Scale { .. } | Step::Activation(_) | Step::Reshape => {
                let (input, moving) = terrain.input_of(index);
                let (z, offset) = (&self.values[input], terrain.radii.activation());
                vectorized(|| {
                    for (row, &s) in samples.iter().enumerate() {
                        let z = if moving { z.row(row) } else { self.still.values[input].row(s) };
                        elementwise(out.row_mut(row), z, step);
                        if let Some(u) = slot {
                            add_scaled(out.row_mut(row), u.row(row), offset);
                        }
                    }
                });
            }
        }
        self.values[index] = out;
    }

    /// The gradient in front of node `index` is added to `back`, which is zero or holds what other readers gave.
    fn backward_elementwise(&mut self, index: usize, rows: &Rows, smoothing: T) {
        let terrain = self.terrain;
        let (input, moving) = terrain.input_of(index);
        if !moving {
            return;
        }
        let mut back = std::mem::take(&mut self.gradients[input]);
        if !self.written[input] {
            back.reshape_scratch(rows.samples.len(), terrain.model.width(input));
            back.as_mut_slice().fill(T::zero());
        }
        self.written[input] = true;
        let (g, p, clean) = (&self.gradients[index], &self.values[input], &self.still.values[input]);
        let step = &terrain.model.steps[index];
        vectorized(|| {
            for (row, &s) in rows.samples.iter().enumerate() {
                let (back, g, p) = (back.row_mut(row), g.row(row), p.row(row));
                let width = match step {
                    Step::Activation(_) if smoothing > T::zero() => {
                        smoothing * mean_distance(p, clean.row(s))
                    }
                    Step::Activation(_)
                    | Step::Input
                    | Step::Dense { .. }
                    | Step::Scale { .. }
                    | Step::Reshape => T::zero(),
                };
                match kink(step).filter(|_| width > T::zero()) {
                    Some(below) => kink_backward(back, g, p, below, width),
                    None => elementwise_backward(back, g, p, step),
                }
            }
        });
        self.gradients[input] = back;
    }
}

/// Slope below zero, of functions with slope 1 above.
fn kink<T: Scalar>(step: &Step<T>) -> Option<T> {
    match step {
        Step::Activation(Activation::Relu) => Some(T::zero()),
        Step::Activation(Activation::LeakyRelu { slope }) => Some(T::from_f64(*slope)),
        Step::Activation(
            Activation::Sigmoid
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Gelu
            | Activation::GeluTanh,
        )
        | Step::Input
        | Step::Dense { .. }
        | Step::Scale { .. }
        | Step::Reshape => None,
    }
}

impl<T: Scalar> Landscape<T> for Pass<'_, '_, T> {
    fn space(&self) -> &Space {
        &self.terrain.space
    }

    fn outputs(&mut self, point: &Point<T>, samples: &[usize]) -> &Matrix<T> {
        for index in 0..self.values.len() {
            if self.terrain.space.moving[index] {
                self.forward_node(index, point, samples);
            }
        }
        self.values.last().expect("a network has nodes")
    }

    fn backward(&mut self, point: &Point<T>, rows: &Rows, smoothing: T) {
        let terrain = self.terrain;
        self.written.fill(false);
        let output = terrain.model.steps.len() - 1;
        let seed = &mut self.gradients[output];
        seed.reshape_scratch(rows.samples.len(), terrain.model.width(output));
        seed.as_mut_slice().fill(T::zero());
        for (row, goal) in rows.goals.iter().enumerate() {
            let seed = seed.row_mut(row);
            if let Some(i) = goal.plus {
                seed[i] += T::one();
            }
            if let Some(j) = goal.minus {
                seed[j] -= T::one();
            }
        }
        self.written[output] = true;
        for (index, step) in terrain.model.steps.iter().enumerate().rev() {
            if !self.written[index] || !terrain.space.moving[index] {
                continue;
            }
            match step {
                Step::Input => {}
                Step::Dense { weight, .. } => match terrain.space.parameters {
                    Parameters::Fixed | Parameters::Neurons => self.backward_neurons(index, weight, point),
                    Parameters::Weights => self.backward_weights(index, weight, point, rows),
                },
                Step::Scale { .. } | Step::Activation(_) | Step::Reshape => {
                    self.backward_elementwise(index, rows, smoothing);
                }
            }
        }
    }

    fn gradient(&self, slot: usize) -> Option<&Matrix<T>> {
        let space = &self.terrain.space;
        let node = space.slots[slot].node;
        let of_weights = space.parameters == Parameters::Weights && space.nodes[node].weights == Some(slot);
        let gradient = if of_weights { &self.weight_gradients[slot] } else { &self.gradients[node] };
        self.written[node].then_some(gradient)
    }
}
