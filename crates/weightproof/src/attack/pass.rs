//! Forward and backward pass of a block of rows through the network, as functions of the variables.
//!
//! Dense layers are in `neuron_space` and `weight_space`, convolutions in `conv`, sums, choices and pooling in `joins`. The
//! variables of inputs and activations:
//!
//! ```text
//! input  z⁰_j = l_j + (h_j − l_j)(u_j + 1)/2          after an activation  z_j = ρ(p_j) + ε u_j
//! ```

use super::descent::{Landscape, Rows};
use super::kernels::{
    add_scaled, clip_backward, elementwise, elementwise_backward, interpolate, kink_backward, mean_distance,
    threshold_backward,
};
use super::problem::{FixedValues, SearchProblem};
use super::space::{Parameters, Point, Space};
use crate::kernels::rows::vectorized;
use crate::kernels::{ConvScratch, Matrix, Scalar, Window};
use crate::model::{Affine, Step};
use crate::network::Activation;

/// Fewest multiply-adds of a forward pass that are worth a thread of their own; tests cut the rows of small networks, too.
const WORTH: usize = if cfg!(test) { 1 } else { 1 << 20 };

/// The landscape of a block of samples. Rows are `(sample, start)` pairs.
pub(super) struct Pass<'a, 'n, T> {
    pub problem: &'a SearchProblem<'n, T>,
    pub fixed: &'a FixedValues<T>,
    /// Values of every moving node, (rows, width).
    pub values: Vec<Matrix<T>>,
    /// Gradients with respect to them, where `written`.
    pub gradients: Vec<Matrix<T>>,
    pub written: Vec<bool>,
    /// Gradients with respect to the slots of single weights, and of the biases of convolutions.
    pub parameter_gradients: Vec<Matrix<T>>,
    /// Scratch: what multiplies a dense `E`, and the product.
    pub factor: Matrix<T>,
    pub reached: Matrix<T>,
    /// Scratch: moved kernels, and what convolutions with them need.
    pub kernels: Vec<T>,
    pub conv: ConvScratch<T>,
}

impl<'a, 'n, T: Scalar> Pass<'a, 'n, T> {
    pub fn new(problem: &'a SearchProblem<'n, T>, fixed: &'a FixedValues<T>) -> Self {
        let empty = |n: usize| (0..n).map(|_| Matrix::default()).collect::<Vec<_>>();
        let nodes = problem.model.steps.len();
        Pass {
            problem,
            fixed,
            values: empty(nodes),
            gradients: empty(nodes),
            written: vec![false; nodes],
            parameter_gradients: empty(problem.space.slots.len()),
            factor: Matrix::default(),
            reached: Matrix::default(),
            kernels: Vec::new(),
            conv: ConvScratch::default(),
        }
    }

    fn forward_node(&mut self, index: usize, point: &Point<T>, samples: &[usize]) {
        let problem = self.problem;
        let step = &problem.model.steps[index];
        let slot = problem.space.nodes[index].values.map(|slot| &point.0[slot]);
        let mut out = std::mem::take(&mut self.values[index]);
        out.reshape_scratch(samples.len(), problem.model.width(index));
        match step {
            Step::Input => {
                let (lower, upper) = self.fixed.input.as_ref().expect("the input moves");
                let u = slot.expect("the input moves");
                vectorized!(|| {
                    for (row, &s) in samples.iter().enumerate() {
                        interpolate(out.row_mut(row), u.row(row), lower.row(s), upper.row(s));
                    }
                });
            }
            Step::Affine(affine) => match (&affine.window, problem.space.parameters) {
                (Some(window), _) => self.forward_conv(index, (affine, window), point, samples, &mut out),
                (None, Parameters::Fixed | Parameters::Neurons) => {
                    self.forward_neurons(index, affine, point, samples, &mut out);
                }
                (None, Parameters::Weights) => self.forward_weights(index, affine, point, samples, &mut out),
            },
            Step::MaxPool(_) | Step::AveragePool { .. } | Step::Add | Step::Multiply | Step::Gather(_) => {
                self.forward_join(index, samples, &mut out);
            }
            Step::Scale { .. } | Step::Activation(_) | Step::DynamicQuantize(_) | Step::Reshape => {
                let (input, moving) = problem.input_of(index);
                let (z, offset) = (&self.values[input], problem.radii.activation());
                vectorized!(|| {
                    for (row, &s) in samples.iter().enumerate() {
                        let z = if moving { z.row(row) } else { self.fixed.values[input].row(s) };
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

    /// The value of node `index` in row `row`, which is of sample `s`.
    #[inline(always)]
    pub fn value(&self, index: usize, row: usize, s: usize) -> &[T] {
        if self.problem.space.moving[index] {
            self.values[index].row(row)
        } else {
            self.fixed.values[index].row(s)
        }
    }

    /// The gradient with respect to node `index`, to be added to and put back: zero, or what other readers of the node gave.
    pub fn take_gradient(&mut self, index: usize, rows: usize) -> Matrix<T> {
        let mut back = std::mem::take(&mut self.gradients[index]);
        if !self.written[index] {
            back.reshape_scratch(rows, self.problem.model.width(index));
            back.as_mut_slice().fill(T::zero());
        }
        self.written[index] = true;
        back
    }

    fn backward_elementwise(&mut self, index: usize, rows: &Rows) {
        let problem = self.problem;
        let (input, moving) = problem.input_of(index);
        if !moving {
            return;
        }
        let mut back = self.take_gradient(input, rows.samples.len());
        let (g, p, clean) = (&self.gradients[index], &self.values[input], &self.fixed.values[input]);
        let step = &problem.model.steps[index];
        vectorized!(|| {
            for (row, &s) in rows.samples.iter().enumerate() {
                let (back, g, p) = (back.row_mut(row), g.row(row), p.row(row));
                let smoothing = T::from_f64(rows.smoothing[row]);
                let kink = if smoothing > T::zero() { Kink::of(step) } else { Kink::None };
                let width = match kink {
                    Kink::None => T::zero(),
                    Kink::Zero { .. } | Kink::Ends(..) | Kink::Threshold(_) => {
                        smoothing * mean_distance(p, clean.row(s))
                    }
                };
                match kink {
                    Kink::Zero { below } if width > T::zero() => kink_backward(back, g, p, below, width),
                    Kink::Ends(low, high) if width > T::zero() => {
                        clip_backward(back, g, p, (low, high), width);
                    }
                    Kink::Threshold(lambda) if width > T::zero() => {
                        threshold_backward(back, g, p, lambda, width);
                    }
                    Kink::None | Kink::Zero { .. } | Kink::Ends(..) | Kink::Threshold(_) => {
                        elementwise_backward(back, g, p, step);
                    }
                }
            }
        });
        self.gradients[input] = back;
    }
}

/// Where the slope of an activation jumps.
#[derive(Clone, Copy)]
enum Kink<T> {
    /// Nowhere.
    None,
    /// At zero, from `below` to 1.
    Zero { below: T },
    /// At both ends of an interval; the slope is 1 inside and 0 outside.
    Ends(T, T),
    /// At minus and plus a threshold; the slope is 0 between and 1 outside.
    Threshold(T),
}

impl<T: Scalar> Kink<T> {
    fn of(step: &Step<T>) -> Self {
        match step {
            Step::Activation(Activation::Relu) => Kink::Zero { below: T::zero() },
            Step::Activation(Activation::LeakyRelu { slope }) => Kink::Zero { below: T::from_f64(*slope) },
            Step::Activation(Activation::Clip { low, high }) => {
                Kink::Ends(T::from_f64(*low), T::from_f64(*high))
            }
            Step::Activation(Activation::SoftThreshold { lambda }) => Kink::Threshold(T::from_f64(*lambda)),
            Step::Activation(
                Activation::Sigmoid
                | Activation::Tanh
                | Activation::Softplus
                | Activation::Gelu
                | Activation::GeluTanh
                | Activation::Elu { .. }
                | Activation::Silu
                | Activation::Mish
                | Activation::HardSwish
                | Activation::Softsign
                | Activation::Atan
                | Activation::Square
                | Activation::Exp
                | Activation::Reciprocal
                | Activation::Power { .. }
                | Activation::Quantize(_),
            )
            | Step::Input
            | Step::Affine(_)
            | Step::Scale { .. }
            | Step::DynamicQuantize(_)
            | Step::MaxPool(_)
            | Step::AveragePool { .. }
            | Step::Add
            | Step::Multiply
            | Step::Gather(_)
            | Step::Reshape => Kink::None,
        }
    }
}

impl<T: Scalar> Landscape<T> for Pass<'_, '_, T> {
    fn space(&self) -> &Space {
        &self.problem.space
    }

    fn another(&self) -> Self {
        Pass::new(self.problem, self.fixed)
    }

    fn fewest_rows(&self) -> usize {
        let problem = self.problem;
        let weights = problem.space.parameters == Parameters::Weights;
        let of_row = |(index, step): (usize, &Step<T>)| {
            let Step::Affine(Affine { weight, window, .. }) = step else { return 0 };
            // Neurons that read what does not move need no product.
            let made = weights || window.is_some() || problem.input_of(index).1;
            let positions = window.as_ref().map_or(1, Window::positions);
            if made { weight.as_slice().len() * positions } else { 0 }
        };
        let work: usize = problem.model.steps.iter().enumerate().map(of_row).sum();
        // Where rows share the weights that products read, one costs as much as two.
        WORTH.div_ceil(work.max(1)).max(if weights { 1 } else { 2 })
    }

    fn outputs(&mut self, point: &Point<T>, samples: &[usize]) -> &Matrix<T> {
        for index in 0..self.values.len() {
            if self.problem.space.moving[index] {
                self.forward_node(index, point, samples);
            }
        }
        self.values.last().expect("a network has nodes")
    }

    fn backward(&mut self, point: &Point<T>, rows: &Rows) {
        let problem = self.problem;
        self.written.fill(false);
        let output = problem.model.steps.len() - 1;
        let seed = &mut self.gradients[output];
        seed.reshape_scratch(rows.samples.len(), problem.model.width(output));
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
        for (index, step) in problem.model.steps.iter().enumerate().rev() {
            if !self.written[index] || !problem.space.moving[index] {
                continue;
            }
            match step {
                Step::Input => {}
                Step::Affine(affine) => match (&affine.window, problem.space.parameters) {
                    (Some(window), _) => self.backward_conv(index, (affine, window), point, rows),
                    (None, Parameters::Fixed | Parameters::Neurons) => {
                        self.backward_neurons(index, &affine.weight, point);
                    }
                    (None, Parameters::Weights) => self.backward_weights(index, &affine.weight, point, rows),
                },
                Step::MaxPool(_)
                | Step::AveragePool { .. }
                | Step::Add
                | Step::Multiply
                | Step::Gather(_) => {
                    self.backward_join(index, &rows.samples);
                }
                Step::Scale { .. } | Step::Activation(_) | Step::DynamicQuantize(_) | Step::Reshape => {
                    self.backward_elementwise(index, rows);
                }
            }
        }
    }

    fn gradient(&self, slot: usize) -> Option<&Matrix<T>> {
        let (space, model) = (&self.problem.space, &self.problem.model);
        let node = space.slots[slot].node;
        let slots = space.nodes[node];
        // A dense layer has one output element for each bias, a convolution has many.
        let own =
            slots.weights == Some(slot) || (slots.bias == Some(slot) && model.affine(node).window.is_some());
        let gradient = if own { &self.parameter_gradients[slot] } else { &self.gradients[node] };
        self.written[node].then_some(gradient)
    }
}

#[cfg(test)]
mod tests;
