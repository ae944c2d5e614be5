//! The universal attack: one perturbation of the parameters for a whole data set.
//!
//! ```text
//! maximise over Δ in the set   mean over samples of  ℓ(f_{W+Δ}(x), y)        ℓ: cross-entropy; for deviations ½‖f̂ − f‖₂²
//! box   u ← clip(u + length sign(v)),  Δ = E∘u          ball   u ← P(u + length v/‖v‖_F),  Δ = r u
//! ```
//!
//! with `v` the running mean of the mini-batches' gradients. Weaker than an attack on each sample, and what one deployed
//! network can suffer: it gives the accuracy under attack of *one* perturbed network.
//!
//! # Source
//! The weight PGD of Tsai et al., arXiv 2103.02200. Differences: the running mean, and a step that shrinks with every pass.

use super::AttackOptions;
use super::SampleAttack;
use super::check::Block;
use super::descent::Schedule;
use super::kernels::{clamp, elementwise_backward, length, sign};
use super::pass::Pass;
use super::search::{Search, generator, search};
use super::shared::{Shared, SharedPoint, changed};
use super::space::{Parameters, Space, normalize};
use super::terrain::{Still, Terrain};
use super::witness::{CompactWitness, Source, inside, materialize};
use crate::kernels::{Matrix, Scalar, add_product, product};
use crate::model::{Model, Radii, Radius, Step};
use crate::network::Network;
use crate::property::Property;
use crate::threat::{Perturbation, PerturbationSet, WeightRadius};
use crate::verdict::{Clean, Precision, Samples};
use rand::RngExt;
use rayon::prelude::*;

/// Length of a step in the first pass, as a fraction of the radius; it falls with the square root of the passes.
const STEP: f64 = 0.5;
/// How far from the unperturbed network the ascent starts, as a fraction of the radius.
const START: f64 = 0.1;
/// Share of the old gradients in the running mean.
const MEMORY: f64 = 0.9;
/// Samples in one piece of a mini-batch; pieces are summed in order, so that threads do not matter.
const PIECE: usize = 64;

/// One perturbation, trained on streamed batches.
///
/// Call [`UniversalAttack::observe`] for every batch of the data, [`UniversalAttack::finish_epoch`] after every pass over it,
/// and [`UniversalAttack::evaluate`] at the end.
pub struct UniversalAttack<'n> {
    network: &'n Network,
    set: PerturbationSet,
    options: AttackOptions,
    clean: Model<'n, f64>,
    engine: Engine<'n>,
    epoch: usize,
    seen: (f64, usize),
    best: Option<(f64, Perturbation)>,
}

/// The ascent in one of its two precisions.
enum Engine<'n> {
    F32(Ascent<'n, f32>),
    F64(Ascent<'n, f64>),
}

impl<'n> UniversalAttack<'n> {
    /// Starts close to the unperturbed network, at random.
    pub fn new(network: &'n Network, set: &PerturbationSet, options: AttackOptions) -> Self {
        let engine = match options.precision {
            Precision::F32 => Engine::F32(Ascent::new(network, set, &options)),
            Precision::F64 => Engine::F64(Ascent::new(network, set, &options)),
        };
        let clean = Model::new(network);
        let set = set.clone();
        UniversalAttack { network, set, options, clean, engine, epoch: 0, seen: (0.0, 0), best: None }
    }

    /// One step for each mini-batch of `samples`; returns their mean loss, each batch before its step. Inputs and
    /// activations do not move here.
    ///
    /// # Panics
    /// When [`Property::Label`] comes without labels: callers check their data.
    pub fn observe(&mut self, samples: Samples<'_>) -> f64 {
        let width = self.network.input_width();
        let (mut sum, mut count) = (0.0, 0);
        let length = self.options.step_size.unwrap_or(STEP) / ((1 + self.epoch) as f64).sqrt();
        for (b, inputs) in samples.inputs.chunks(width * self.options.batch.max(1)).enumerate() {
            let first = b * self.options.batch.max(1);
            let labels = samples.labels.map(|l| &l[first..first + inputs.len() / width]);
            let batch = Samples { first: samples.first + first, inputs, labels };
            let loss = match &mut self.engine {
                Engine::F32(ascent) => ascent.step(batch, &self.options, length),
                Engine::F64(ascent) => ascent.step(batch, &self.options, length),
            };
            sum += loss;
            count += inputs.len() / width;
        }
        self.seen = (self.seen.0 + sum, self.seen.1 + count);
        sum / count.max(1) as f64
    }

    /// Ends a pass over the data: the perturbation is kept if the mean loss of the pass, which is returned, is the largest
    /// so far; steps become shorter.
    pub fn finish_epoch(&mut self) -> f64 {
        let loss = self.seen.0 / self.seen.1.max(1) as f64;
        if self.best.as_ref().is_none_or(|(most, _)| loss >= *most) {
            self.best = Some((loss, self.current()));
        }
        self.epoch += 1;
        self.seen = (0.0, 0);
        loss
    }

    /// The best perturbation so far; it lies in the set.
    pub fn perturbation(&self) -> Perturbation {
        self.best.as_ref().map_or_else(|| self.current(), |(_, best)| best.clone())
    }

    fn current(&self) -> Perturbation {
        match &self.engine {
            Engine::F32(ascent) => ascent.perturbation(&self.set),
            Engine::F64(ascent) => ascent.perturbation(&self.set),
        }
    }

    /// What the best perturbation so far does to each sample. Where inputs or activations move as well, they are attacked for
    /// each sample on its own, against the perturbed parameters.
    ///
    /// # Panics
    /// As [`super::Attacker::attack`].
    pub fn evaluate(&self, samples: Samples<'_>) -> Vec<SampleAttack> {
        let parameters = self.perturbation();
        let changed = changed(self.network, &parameters);
        let shared = Shared::new(self.network, &self.set, &parameters, &changed);
        let schedule = Schedule::graduated(self.options.steps, self.options.stop_when_broken);
        let settings = Search { schedule, restarts: self.options.restarts, seed: self.options.seed };
        let blocks = Block::all(&self.clean, &self.set, &self.options, samples, |block, _| {
            let objective = block.objective();
            let find = |terrain: &Terrain<'_, f64>, still: &Still<f64>| {
                search(&mut Pass::new(terrain, still), &objective, &block.streams(), settings).compact()
            };
            let found = match &shared {
                Some(shared) => shared.evaluate(&block, &objective, find),
                None => vec![None; block.clean.len()],
            };
            let verdict = |(s, point): (usize, SharedPoint)| {
                let witness = |units| CompactWitness { parameters: Source::Universal, units };
                block.verdict(
                    &objective,
                    s,
                    point.map(|(margin, rival, units)| (margin, rival, witness(units))),
                )
            };
            found.into_iter().enumerate().map(verdict).collect::<Vec<_>>()
        });
        blocks.into_iter().flatten().collect()
    }

    /// The perturbation that `witness` stands for, at the input `x` of its sample.
    pub fn witness(&self, x: &[f64], witness: &CompactWitness) -> Perturbation {
        let space = Space::new(self.network, &self.set, Parameters::Fixed);
        let own = materialize(self.network, &self.set, &space, &witness.units, x);
        Perturbation { layers: self.perturbation().layers, ..own }
    }
}

/// Variables of one dense layer: the weights (n_out, n_in), then the biases, in one list.
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

struct Ascent<'n, T> {
    network: &'n Network,
    clean: Model<'n, T>,
    radii: Radii<T>,
    /// The network at the current variables.
    moved: Model<'n, T>,
    units: Vec<LayerUnits<T>>,
    mean: Vec<LayerUnits<T>>,
}

impl<'n, T: Scalar> Ascent<'n, T> {
    fn new(network: &'n Network, set: &PerturbationSet, options: &AttackOptions) -> Self {
        let mut rng = generator(options.seed, u64::MAX, usize::MAX);
        let mut start = || T::from_f64(START * rng.random_range(-1.0..=1.0));
        let units: Vec<LayerUnits<T>> = network
            .affine_layers()
            .map(|(node, _, dense)| {
                let mut weight = Matrix::from_fn(dense.weight.rows(), dense.weight.cols(), |_, _| start());
                if matches!(set.layer(node).map(|l| &l.weight), Some(WeightRadius::Frobenius(_))) {
                    normalize(weight.as_mut_slice());
                    weight.as_mut_slice().iter_mut().for_each(|u| *u *= T::from_f64(START));
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
            let (Step::Dense { weight: w, bias: b }, Step::Dense { weight, bias }) =
                (&self.clean.steps[units.node], &mut self.moved.steps[units.node])
            else {
                unreachable!("a dense node")
            };
            let layer = self.radii.layer(units.node);
            for i in 0..w.rows() {
                let row = weight.row_mut(i).iter_mut().zip(w.row(i)).zip(units.weight.row(i));
                match &layer.weight {
                    Radius::Zero => {}
                    Radius::Uniform(r) | Radius::Frobenius(r) => {
                        row.for_each(|((o, &w), &u)| *o = w + *r * u)
                    }
                    Radius::PerRow(rows) => row.for_each(|((o, &w), &u)| *o = w + rows[i] * u),
                    Radius::Dense(e) => {
                        row.zip(e.row(i)).for_each(|(((o, &w), &u), &e)| *o = w + e * u);
                    }
                }
                bias[i] = b[i] + layer.bias[i] * units.bias[i];
            }
        }
    }

    /// One step on a mini-batch; returns the sum of its losses before the step.
    fn step(&mut self, batch: Samples<'_>, options: &AttackOptions, step: f64) -> f64 {
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
            match self.radii.layer(units.node).weight {
                Radius::Frobenius(_) => ball_step(units.weight.as_mut_slice(), mean.weight.as_slice(), step),
                Radius::Zero | Radius::Uniform(_) | Radius::PerRow(_) | Radius::Dense(_) => {
                    box_step(units.weight.as_mut_slice(), mean.weight.as_slice(), step);
                }
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
            let (Some(g), false) = (gradients[index].take(), index == 0) else { continue };
            let input = self.moved.input_of(index);
            let z = &values[input];
            let back = gradients[input].get_or_insert_with(|| Matrix::zeros(z.rows(), z.cols()));
            match step {
                Step::Input => {}
                Step::Dense { weight, .. } => {
                    let units = result.iter_mut().find(|l| l.node == index).expect("every dense layer");
                    product(&mut units.weight, &g.transposed(), z);
                    for s in 0..g.rows() {
                        super::kernels::add(&mut units.bias, g.row(s));
                    }
                    if input != 0 {
                        add_product(back, &g, weight);
                    }
                }
                Step::Scale { .. } | Step::Activation(_) | Step::Reshape => {
                    for s in 0..g.rows() {
                        elementwise_backward(back.row_mut(s), g.row(s), z.row(s), step);
                    }
                }
            }
        }
        (loss, result)
    }

    /// The current variables as a perturbation in the set.
    fn perturbation(&self, set: &PerturbationSet) -> Perturbation {
        let mut perturbation = Perturbation::default();
        for (units, (node, _, dense)) in self.units.iter().zip(self.network.affine_layers()) {
            let layer = set.layer(node).expect("every dense layer has a set");
            let mut unit: Matrix<f64> = units.weight.map(|u| u.to_f64());
            if let WeightRadius::Frobenius(radius) = layer.weight {
                let shrink = inside(radius, &dense.weight) / length(unit.as_slice()).max(1.0);
                unit = unit.map(|u| u * shrink);
            }
            let delta =
                Matrix::from_fn(unit.rows(), unit.cols(), |i, j| unit[(i, j)] * layer.weight.at(i, j));
            let bias: Vec<f64> = units.bias.iter().zip(&layer.bias).map(|(&u, e)| u.to_f64() * e).collect();
            perturbation.layers.push(set.moved(node, dense, &delta, &bias));
        }
        perturbation
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
