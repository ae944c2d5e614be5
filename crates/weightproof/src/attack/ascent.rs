//! The ascent behind a universal perturbation: its variables, and one step on a mini-batch.

use super::AttackOptions;
use super::kernels::{add, add_products, clamp, elementwise_backward, length, scatter, sign};
use super::search::generator;
use super::space::normalize;
use super::witness::inside;
use crate::kernels::{
    ConvScratch, Matrix, Scalar, add_average_pool_transposed, add_linear_transposed, add_max_pool_gradient,
    add_product,
};
use crate::model::{Affine, Model, Radii, Step};
use crate::network::Network;
use crate::property::Property;
use crate::threat::{Perturbation, PerturbationSet, WeightSet};
use crate::verdict::{Clean, Samples};
use rand::RngExt;
use rayon::prelude::*;
use std::sync::Arc;

/// How far from the unperturbed network the ascent starts, as a fraction of the radius.
const START: f64 = 0.1;
/// Share of the old gradients in the running mean.
const MEMORY: f64 = 0.9;
/// Samples in one piece of a mini-batch; pieces are summed in order, so that threads do not matter.
const PIECE: usize = 64;

/// Variables of one layer: one for each weight and each bias.
struct LayerUnits<T> {
    node: usize,
    weight: Matrix<T>,
    bias: Vec<T>,
}

impl<T: Scalar> LayerUnits<T> {
    fn zeros(&self) -> Self {
        let weight = Matrix::zeros(self.weight.rows(), self.weight.cols());
        LayerUnits { node: self.node, weight, bias: vec![T::zero(); self.bias.len()] }
    }
}

/// The variables of a universal perturbation and their running mean of gradients.
pub(super) struct Ascent<'n, T> {
    network: &'n Network,
    clean: Model<'n, T>,
    radii: Radii<T>,
    /// The network at the current variables.
    moved: Model<'n, T>,
    units: Vec<LayerUnits<T>>,
    mean: Vec<LayerUnits<T>>,
}

impl<'n, T: Scalar> Ascent<'n, T> {
    pub fn new(network: &'n Network, set: &PerturbationSet, options: &AttackOptions) -> Self {
        let mut rng = generator(options.seed, u64::MAX, usize::MAX);
        let mut start = || T::from_f64(START * rng.random_range(-1.0..=1.0));
        let units: Vec<LayerUnits<T>> = network
            .affine_layers()
            .map(|(node, _, dense)| {
                let mut weight = Matrix::from_fn(dense.weight.rows(), dense.weight.cols(), |_, _| start());
                let layer = set.layer(node).expect("every layer with parameters has a set");
                for part in parts(&layer.weight, &mut weight) {
                    normalize(part);
                    part.iter_mut().for_each(|u| *u *= T::from_f64(START));
                }
                LayerUnits { node, weight, bias: dense.bias.iter().map(|_| start()).collect() }
            })
            .collect();
        let mean = units.iter().map(LayerUnits::zeros).collect();
        let radii = Radii::new(set, network.nodes().len());
        let (clean, moved) = (Model::new(network), Model::new(network));
        let mut ascent = Ascent { network, clean, radii, moved, units, mean };
        ascent.apply();
        ascent
    }

    /// `Ŵ = W + E∘u`, `b̂ = b + e∘v`.
    fn apply(&mut self) {
        for units in &self.units {
            let clean = self.clean.affine(units.node);
            let Step::Affine(Affine { weight, bias, .. }) = &mut self.moved.steps[units.node] else {
                unreachable!("a layer with parameters")
            };
            let layer = self.radii.layer(units.node);
            let weight = Arc::make_mut(weight);
            for i in 0..clean.weight.rows() {
                weight.row_mut(i).copy_from_slice(clean.weight.row(i));
                layer.weight.add_point(i, weight.row_mut(i), units.weight.row(i));
                bias[i] = clean.bias[i] + layer.bias[i] * units.bias[i];
            }
        }
    }

    /// One step on a mini-batch; returns the sum of its losses before the step.
    pub fn step(&mut self, batch: Samples<'_>, options: &AttackOptions, step: f64) -> f64 {
        let width = self.network.input_width();
        let this = &*self;
        let pieces: Vec<(f64, Vec<LayerUnits<T>>)> = batch
            .inputs
            .par_chunks(width * PIECE)
            .enumerate()
            .map(|(p, inputs)| {
                let labels = batch.labels.map(|l| &l[p * PIECE..p * PIECE + inputs.len() / width]);
                this.gradient(inputs, labels, options)
            })
            .collect();
        let (memory, fresh) = (T::from_f64(MEMORY), T::from_f64((1.0 - MEMORY) / batch.count(width) as f64));
        for (k, mean) in self.mean.iter_mut().enumerate() {
            mean.weight.as_mut_slice().iter_mut().for_each(|m| *m *= memory);
            mean.bias.iter_mut().for_each(|m| *m *= memory);
            for (_, gradients) in &pieces {
                let pairs = mean.weight.as_mut_slice().iter_mut().zip(gradients[k].weight.as_slice());
                pairs.for_each(|(m, &g)| *m += fresh * g);
                mean.bias.iter_mut().zip(&gradients[k].bias).for_each(|(m, &g)| *m += fresh * g);
            }
        }
        let step = T::from_f64(step);
        for (units, mean) in self.units.iter_mut().zip(&self.mean) {
            let set = &self.radii.layer(units.node).weight;
            if set.is_ball() {
                let mut mean = mean.weight.clone();
                let balls = parts(set, &mut units.weight).into_iter().zip(parts(set, &mut mean));
                balls.for_each(|(u, g)| ball_step(u, g, step));
            } else {
                box_step(units.weight.as_mut_slice(), mean.weight.as_slice(), step);
            }
            box_step(&mut units.bias, &mean.bias, step);
        }
        self.apply();
        pieces.iter().map(|(loss, _)| loss).sum()
    }

    /// Sum of the losses of some samples, and its gradient with respect to `Ŵ` and `b̂`.
    fn gradient(
        &self,
        inputs: &[f64],
        labels: Option<&[u32]>,
        options: &AttackOptions,
    ) -> (f64, Vec<LayerUnits<T>>) {
        let width = self.network.input_width();
        let x =
            Matrix::from_vec(inputs.len() / width, width, inputs.iter().map(|&v| T::from_f64(v)).collect());
        let clean = match options.property {
            Property::Label => None,
            Property::Prediction | Property::Deviation => self.clean.forward(x.clone()).pop(),
        };
        let values = self.moved.forward(x);
        let nodes = values.len();
        let mut gradients: Vec<Option<Matrix<T>>> = (0..nodes).map(|_| None).collect();
        let (loss, seed) = loss(&values[nodes - 1], clean.as_ref(), labels, options.property);
        gradients[nodes - 1] = Some(seed);
        let mut result: Vec<LayerUnits<T>> = self.units.iter().map(LayerUnits::zeros).collect();
        for (index, step) in self.moved.steps.iter().enumerate().rev() {
            let Some(mut g) = gradients[index].take() else { continue };
            if let Step::Affine(affine) = step {
                let units = result.iter_mut().find(|l| l.node == index).expect("every layer with parameters");
                add_parameter_gradient(units, affine, &g, &values[self.moved.input_of(index)]);
            }
            let mut start = 0;
            // Nothing is trained in front of the first layers: they read the input.
            let inputs = self.moved.inputs_of(index);
            for (k, &input) in inputs.iter().enumerate() {
                let z = &values[input];
                let other = &values[inputs[(k + 1) % inputs.len()]];
                if input != 0 {
                    let back = gradients[input].get_or_insert_with(|| Matrix::zeros(z.rows(), z.cols()));
                    add_gradient(back, step, &mut g, (z, other), (&values[index], start));
                }
                start += z.cols();
            }
        }
        (loss, result)
    }

    /// The current variables as a perturbation in the set.
    pub fn perturbation(&self, set: &PerturbationSet) -> Perturbation {
        let mut perturbation = Perturbation::default();
        for (units, (node, _, dense)) in self.units.iter().zip(self.network.affine_layers()) {
            let layer = set.layer(node).expect("every layer with parameters has a set");
            let mut unit: Matrix<f64> = units.weight.map(|u| u.to_f64());
            let mut clean = dense.weight.clone();
            let balls = parts(&layer.weight, &mut unit).into_iter().zip(parts(&layer.weight, &mut clean));
            for (i, (unit, clean)) in balls.enumerate() {
                let shrink = inside(layer.weight.at(i, 0), clean) / length(unit).max(1.0);
                unit.iter_mut().for_each(|u| *u *= shrink);
            }
            let delta =
                Matrix::from_fn(unit.rows(), unit.cols(), |i, j| unit[(i, j)] * layer.weight.at(i, j));
            let bias: Vec<f64> = units.bias.iter().zip(&layer.bias).map(|(&u, e)| u.to_f64() * e).collect();
            perturbation.layers.push(set.moved(node, dense, &delta, &bias));
        }
        perturbation
    }
}

/// Adds the gradient with respect to `Ŵ` and `b̂` of one layer, summed over samples: `Σ g Xᵀ` and `Σ g`.
fn add_parameter_gradient<T: Scalar>(
    units: &mut LayerUnits<T>,
    affine: &Affine<T>,
    g: &Matrix<T>,
    z: &Matrix<T>,
) {
    let Some(window) = &affine.window else {
        add_product(&mut units.weight, &g.transposed(), z);
        (0..g.rows()).for_each(|s| add(&mut units.bias, g.row(s)));
        return;
    };
    let mut scratch = ConvScratch::default();
    for s in 0..g.rows() {
        scratch.add_kernel_gradient(units.weight.as_mut_slice(), g.row(s), z.row(s), window);
        let planes = g.row(s).chunks_exact(window.positions());
        units.bias.iter_mut().zip(planes).for_each(|(b, g)| *b += g.iter().copied().sum::<T>());
    }
}

/// Adds to `back` what the gradient `g` of a layer becomes in front of its input `z`; `value` is its output, `start` where
/// `z` begins among the elements of all its inputs, `other` its other input where it has two. Uses `g` up where a layer has one
/// input.
fn add_gradient<T: Scalar>(
    back: &mut Matrix<T>,
    step: &Step<T>,
    g: &mut Matrix<T>,
    (z, other): (&Matrix<T>, &Matrix<T>),
    (value, start): (&Matrix<T>, usize),
) {
    match step {
        Step::Input => {}
        Step::Affine(affine) => add_linear_transposed(back, g, &affine.weight, affine.window.as_ref()),
        Step::AveragePool { window, factor } => add_average_pool_transposed(back, g, window, factor),
        Step::Add => back.add_assign(g),
        Step::Multiply => add_products(back.as_mut_slice(), g.as_slice(), other.as_slice()),
        Step::MaxPool(window) => {
            for s in 0..z.rows() {
                add_max_pool_gradient(back.row_mut(s), g.row_mut(s), z.row(s), value.row(s), window);
            }
        }
        Step::Gather(gather) => {
            (0..z.rows()).for_each(|s| scatter(back.row_mut(s), g.row(s), &gather.source, start));
        }
        Step::Scale { .. } | Step::Activation(_) | Step::DynamicQuantize(_) | Step::Reshape => {
            (0..z.rows()).for_each(|s| elementwise_backward(back.row_mut(s), g.row(s), z.row(s), step));
        }
    }
}

/// The parts of a layer that a ball holds each; none where the set is a box.
fn parts<'m, S: Scalar, T: Scalar>(set: &WeightSet<S>, m: &'m mut Matrix<T>) -> Vec<&'m mut [T]> {
    let width = m.cols();
    match set {
        WeightSet::Fixed | WeightSet::Rows(_) | WeightSet::Entries(_) => Vec::new(),
        WeightSet::Ball(_) => vec![m.as_mut_slice()],
        WeightSet::RowBalls(_) => m.as_mut_slice().chunks_exact_mut(width).collect(),
    }
}

fn box_step<T: Scalar>(u: &mut [T], g: &[T], step: T) {
    u.iter_mut().zip(g).for_each(|(u, &g)| *u = clamp(*u + step * sign(g), -T::one(), T::one()));
}

fn ball_step<T: Scalar>(u: &mut [T], g: &[T], step: T) {
    let norm = length(g);
    if norm > T::zero() && num_traits::Float::is_finite(norm) {
        u.iter_mut().zip(g).for_each(|(u, &g)| *u += step * g / norm);
    }
    if length(u) > T::one() {
        normalize(u);
    }
}

/// Sum of the losses of rows `f` of outputs and its gradient; rows that are not finite give nothing.
fn loss<T: Scalar>(
    f: &Matrix<T>,
    clean: Option<&Matrix<T>>,
    labels: Option<&[u32]>,
    property: Property,
) -> (f64, Matrix<T>) {
    let mut total = 0.0;
    let mut gradient = Matrix::zeros(f.rows(), f.cols());
    for s in 0..f.rows() {
        let outputs: Vec<f64> = f.row(s).iter().map(|&v| v.to_f64()).collect();
        if outputs.iter().any(|v| !v.is_finite()) {
            continue;
        }
        let clean: Vec<f64> = clean.map_or_else(Vec::new, |c| c.row(s).iter().map(|&v| v.to_f64()).collect());
        let g: Vec<f64> = match property {
            Property::Deviation => outputs.iter().zip(&clean).map(|(f, c)| f - c).collect(),
            Property::Label | Property::Prediction => {
                let reference = if clean.is_empty() { &outputs } else { &clean };
                let target = Clean::of(reference, 0, labels.map(|l| l[s]), property, 0.0).target;
                let most = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = outputs.iter().map(|f| (f - most).exp()).sum();
                total += most + sum.ln() - outputs[target];
                let chance =
                    |(j, f): (usize, &f64)| (f - most).exp() / sum - f64::from(u8::from(j == target));
                outputs.iter().enumerate().map(chance).collect()
            }
        };
        if property == Property::Deviation {
            total += g.iter().map(|d| 0.5 * d * d).sum::<f64>();
        }
        gradient.row_mut(s).iter_mut().zip(&g).for_each(|(o, &g)| *o = T::from_f64(g));
    }
    (total, gradient)
}

#[cfg(test)]
mod tests {
    use super::super::AttackKind;
    use super::super::examples::{inputs, residual, sets};
    use super::*;

    const STEP: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-6;

    #[test]
    fn gradients_match_differences() {
        let network = residual();
        let x = inputs(&network, 3);
        for (name, set) in sets(&network) {
            for property in [Property::Label, Property::Deviation] {
                let options = AttackOptions::new(AttackKind::Universal, property);
                let mut ascent: Ascent<'_, f64> = Ascent::new(&network, &set, &options);
                let labels = Some(&[2, 0, 1][..]);
                let (_, gradients) = ascent.gradient(x.as_slice(), labels, &options);
                for (k, gradient) in gradients.iter().enumerate() {
                    let node = ascent.units[k].node;
                    let layer = set.layer(node).unwrap();
                    let cols = gradient.weight.cols();
                    for i in 0..gradient.weight.as_slice().len() + gradient.bias.len() {
                        let own = i.checked_sub(gradient.weight.as_slice().len());
                        let mut value = |offset: f64| {
                            let units = &mut ascent.units[k];
                            match own {
                                None => units.weight.as_mut_slice()[i] += offset,
                                Some(i) => units.bias[i] += offset,
                            }
                            ascent.apply();
                            ascent.gradient(x.as_slice(), labels, &options).0
                        };
                        let (above, below) = (value(STEP), value(-2.0 * STEP));
                        value(STEP);
                        let difference = (above - below) / (2.0 * STEP);
                        let exact = match own {
                            None => gradient.weight.as_slice()[i] * layer.weight.at(i / cols, i % cols),
                            Some(i) => gradient.bias[i] * layer.bias[i],
                        };
                        let error = (exact - difference).abs();
                        assert!(
                            error < TOLERANCE * (1.0 + exact.abs()),
                            "{name}, {property:?}, {node}, {i}: {exact} {difference}"
                        );
                    }
                }
            }
        }
    }
}
