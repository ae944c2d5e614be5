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
                        smoothing * T::from_f64(rows.smoothing[row]) * mean_distance(p, clean.row(s))
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

#[cfg(test)]
mod tests {
    use super::super::search::generator;
    use super::super::terrain::Reach;
    use super::*;
    use crate::network::{Network, NetworkBuilder, Scale};
    use crate::property::SpecRow;
    use crate::threat::{LayerSet, PerturbationSet, WeightRadius};
    use rand::RngExt;

    const WIDTHS: [usize; 4] = [3, 5, 4, 3];
    const STEP: f64 = 1e-6;
    const TOLERANCE: f64 = 1e-6;

    fn matrix(rows: usize, cols: usize, phase: f64) -> Matrix<f64> {
        Matrix::from_fn(rows, cols, |i, j| (1.3 * i as f64 + 0.7 * j as f64 + phase).sin())
    }

    fn network() -> Network {
        let mut builder = NetworkBuilder::new(vec![WIDTHS[0]]);
        let mut last = builder
            .scale("scale", 0, Scale { scale: vec![1.5, -0.5, 2.0], shift: vec![0.1, 0.2, -0.3] })
            .unwrap();
        for k in 1..WIDTHS.len() {
            let weight = matrix(WIDTHS[k], WIDTHS[k - 1], k as f64);
            let bias = (0..WIDTHS[k]).map(|i| 0.1 * i as f64).collect();
            last = builder.dense(&format!("d{k}"), last, weight, bias).unwrap();
            let f = if k == 1 { Activation::Relu } else { Activation::Tanh };
            if k + 1 < WIDTHS.len() {
                last = builder.activation(&format!("a{k}"), last, f).unwrap();
            }
        }
        builder.finish().unwrap()
    }

    fn sets(network: &Network) -> Vec<PerturbationSet> {
        let radii: [fn(usize, usize) -> WeightRadius; 4] = [
            |_, _| WeightRadius::Uniform(0.2),
            |rows, _| WeightRadius::PerRow((0..rows).map(|i| 0.1 * i as f64).collect()),
            |rows, cols| WeightRadius::dense(matrix(rows, cols, 0.5).map(|v| 0.3 * v.abs())),
            |_, _| WeightRadius::Frobenius(0.4),
        ];
        let set = |radius: fn(usize, usize) -> WeightRadius, joint: bool| PerturbationSet {
            layers: network
                .affine_layers()
                .map(|(node, _, d)| LayerSet {
                    node,
                    weight: radius(d.weight.rows(), d.weight.cols()),
                    bias: vec![0.15; d.bias.len()],
                    bias_scales: true,
                })
                .collect(),
            input_radius: if joint { 0.3 } else { 0.0 },
            input_range: Some((0.0, 1.0)),
            activation_radius: if joint { 0.2 } else { 0.0 },
            value_limit: None,
        };
        radii.into_iter().flat_map(|radius| [set(radius, false), set(radius, true)]).collect()
    }

    /// What [`Landscape::gradient`] leaves out of the derivative with respect to variable `i` of a slot.
    fn factor(pass: &Pass<'_, '_, f64>, slot: usize, i: usize) -> f64 {
        let (terrain, node) = (pass.terrain, pass.terrain.space.slots[slot].node);
        let slots = terrain.space.nodes[node];
        if slots.bias == Some(slot) {
            return terrain.radii.layer(node).bias[i];
        }
        match &terrain.model.steps[node] {
            Step::Input => {
                let (lower, upper) = pass.still.input.as_ref().unwrap();
                (upper[(0, i)] - lower[(0, i)]) / 2.0
            }
            Step::Dense { weight, .. } => {
                let (input, moving) = terrain.input_of(node);
                let z = if moving { &pass.values[input] } else { &pass.still.values[input] };
                let cols = weight.cols();
                match (terrain.space.parameters, terrain.reach(node)) {
                    (Parameters::Weights, Reach::Dense(e)) => e[(i / cols, i % cols)],
                    (Parameters::Weights, Reach::Rows(rows)) => rows[i / cols],
                    (Parameters::Weights, Reach::Ball(r)) => *r,
                    (_, Reach::Ball(_)) => terrain.reach_at(node, z)[(0, 0)],
                    (_, _) => terrain.reach_at(node, z)[(0, i)],
                }
            }
            Step::Activation(_) => terrain.radii.activation(),
            Step::Scale { .. } | Step::Reshape => panic!("no variables"),
        }
    }

    #[test]
    fn gradients_match_differences_in_both_spaces() {
        let network = network();
        let x = Matrix::from_vec(1, 3, vec![0.2, 0.9, 0.5]);
        let goal = SpecRow::difference(1, 2);
        for (case, set) in sets(&network).iter().enumerate() {
            for parameters in [Parameters::Neurons, Parameters::Weights] {
                let terrain = Terrain::new(&network, set, Space::new(&network, set, parameters));
                let still = Still::new(&terrain, &terrain.model.forward(x.clone()));
                let mut pass = Pass::new(&terrain, &still);
                let mut point = Point::zeros(&terrain.space, 1);
                point.randomize(&terrain.space, 0, &mut generator(case as u64, 0, 0));
                // Inside of boxes and balls, so that differences are defined.
                point.0.iter_mut().for_each(|m| m.as_mut_slice().iter_mut().for_each(|u| *u *= 0.9));
                let rows = Rows { samples: vec![0], goals: vec![goal], smoothing: vec![0.0] };
                for slot in 0..terrain.space.slots.len() {
                    for i in 0..terrain.space.slots[slot].width {
                        let mut value = |offset: f64| {
                            point.0[slot][(0, i)] += offset;
                            let value = goal.apply(pass.outputs(&point, &[0]).row(0));
                            point.0[slot][(0, i)] -= offset;
                            value
                        };
                        let difference = (value(STEP) - value(-STEP)) / (2.0 * STEP);
                        pass.outputs(&point, &[0]);
                        pass.backward(&point, &rows, 0.0);
                        let exact = pass.gradient(slot).unwrap()[(0, i)] * factor(&pass, slot, i);
                        let error = (exact - difference).abs();
                        assert!(
                            error < TOLERANCE * (1.0 + exact.abs()),
                            "case {case}, {parameters:?}, slot {slot}, variable {i}: {exact} and {difference}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn weight_space_folds_into_neuron_space() {
        let network = network();
        let x = Matrix::from_vec(1, 3, vec![0.2, 0.9, 0.5]);
        for (case, set) in sets(&network).iter().enumerate() {
            let weights = Terrain::new(&network, set, Space::new(&network, set, Parameters::Weights));
            let neurons = Terrain::new(&network, set, Space::new(&network, set, Parameters::Neurons));
            let values = weights.model.forward(x.clone());
            let (still_weights, still_neurons) =
                (Still::new(&weights, &values), Still::new(&neurons, &values));
            let mut rng = generator(7, case as u64, 0);
            let mut point = Point::zeros(&weights.space, 1);
            point.randomize(&weights.space, 0, &mut rng);
            point
                .0
                .iter_mut()
                .for_each(|m| m.as_mut_slice().iter_mut().for_each(|u| *u *= rng.random::<f64>()));
            let mut pass = Pass::new(&weights, &still_weights);
            let outputs = pass.outputs(&point, &[0]).clone();
            let units = super::super::weight_space::fold(&pass, &neurons.space, &point, &[0], 0);
            let folded = super::super::witness::unpack(&neurons.space, &[&units]);
            let mut pass = Pass::new(&neurons, &still_neurons);
            for (a, b) in outputs.as_slice().iter().zip(pass.outputs(&folded, &[0]).as_slice()) {
                assert!((a - b).abs() < TOLERANCE, "case {case}: {a} and {b}");
            }
        }
    }
}
