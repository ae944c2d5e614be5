//! A network and a perturbation set in the precision of the engine, shared by all blocks of samples.

use crate::kernels::rows::squares;
use crate::kernels::{Matrix, Scalar, Window, add_by_row, affine, average_pool, max_pool, product};
use crate::network::{
    Activation, Affine as Affine64, DynamicQuantizer, Gather, Layer, Network, Node, Read, largest_error,
};
use crate::threat::{LayerSet, PerturbationSet};
use rayon::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Most samples that share the products of a forward pass.
const BLOCK: usize = 64;

/// A node of a [`Model`]: its layer in the precision of the engine, affine ones as an `A`.
#[derive(Clone, Debug)]
pub enum Step<T, A = Affine<T>> {
    /// The input.
    Input,
    /// `W z + b`: a dense layer or a convolution.
    Affine(A),
    /// `scale · z + shift`.
    Scale {
        /// One factor per element.
        scale: Vec<T>,
        /// One summand per element.
        shift: Vec<T>,
    },
    /// An activation.
    Activation(Activation),
    /// A quantizer whose step follows from the range of all elements.
    DynamicQuantize(DynamicQuantizer),
    /// The largest element of every window.
    MaxPool(Window),
    /// The weighted sum of every window.
    AveragePool {
        /// Windows.
        window: Window,
        /// One factor for each position.
        factor: Vec<T>,
    },
    /// The sum of the inputs.
    Add,
    /// The elementwise product of two inputs.
    Multiply,
    /// Elements of the inputs.
    Gather(Gather),
    /// The same elements.
    Reshape,
}

/// A dense layer or a convolution.
#[derive(Clone, Debug)]
pub struct Affine<T> {
    /// One row for each output channel; (n_out, n_in) of a dense layer. Shared with the model's receptive fields.
    pub weight: Arc<Matrix<T>>,
    /// One bias for each row.
    pub bias: Vec<T>,
    /// Where a convolution uses its rows; `None` for a dense layer.
    pub window: Option<Window>,
}

impl<T: Scalar> Affine<T> {
    fn new(layer: &Affine64, window: Option<&Window>) -> Self {
        let bias = numbers(&layer.bias);
        Affine { weight: Arc::new(layer.weight.cast()), bias, window: window.cloned() }
    }

    /// How many output elements use each row: 1 for a dense layer.
    pub fn positions(&self) -> usize {
        self.window.as_ref().map_or(1, Window::positions)
    }

    /// `out = W z + b` for rows `z`.
    pub fn apply(&self, out: &mut Matrix<T>, z: &Matrix<T>) {
        affine(out, z, &self.weight, &self.bias, self.window.as_ref());
    }
}

/// An affine layer as a forward pass uses it.
trait Apply<T> {
    /// `out = W z + b` for rows `z`.
    fn apply(&self, out: &mut Matrix<T>, z: &Matrix<T>);
}

impl<T: Scalar> Apply<T> for Affine<T> {
    fn apply(&self, out: &mut Matrix<T>, z: &Matrix<T>) {
        Affine::apply(self, out, z);
    }
}

/// An affine layer of which nothing but forward passes is wanted.
#[derive(Clone, Debug)]
enum Applied<T> {
    /// The transposed weights, (n_in, n_out), which a product reads as they are, and biases.
    Dense(Matrix<T>, Vec<T>),
    Conv(Affine<T>),
}

impl<T: Scalar> Applied<T> {
    fn new(layer: &Affine64, window: Option<&Window>) -> Self {
        match window {
            None => Applied::Dense(layer.weight.transposed_as(T::from_f64), numbers(&layer.bias)),
            Some(_) => Applied::Conv(Affine::new(layer, window)),
        }
    }
}

impl<T: Scalar> Apply<T> for Applied<T> {
    fn apply(&self, out: &mut Matrix<T>, z: &Matrix<T>) {
        match self {
            Applied::Dense(weight, bias) => {
                product(out, z, weight);
                add_by_row(out, bias);
            }
            Applied::Conv(layer) => layer.apply(out, z),
        }
    }
}

/// A network of which nothing but forward passes is wanted: dense layers are stored as products read them.
#[derive(Clone, Debug)]
pub struct ForwardPass<T> {
    /// Elements of the input.
    width: usize,
    /// The nodes that each node reads.
    inputs: Vec<Vec<usize>>,
    steps: Vec<Step<T, Applied<T>>>,
    /// Memory of the values of blocks that are done.
    memory: Arc<Mutex<Vec<Vec<Matrix<T>>>>>,
}

impl<T: Scalar> ForwardPass<T> {
    /// Casts `network`.
    pub fn new(network: &Network) -> Self {
        let nodes = network.nodes().iter();
        ForwardPass::of_steps(network, nodes.map(|node| cast(&node.layer, Applied::new)).collect())
    }

    fn of_steps(network: &Network, steps: Vec<Step<T, Applied<T>>>) -> Self {
        let inputs = network.nodes().iter().map(|node| node.inputs.clone()).collect();
        ForwardPass { width: network.input_width(), inputs, steps, memory: Arc::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Vec<Vec<Matrix<T>>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Here, so that its loops are compiled in this crate, whatever the crates that call it are optimised for.
macro_rules! forward_pass {
    ($scalar:ty) => {
        impl ForwardPass<$scalar> {
            /// Values of every node for a block of samples.
            ///
            /// # Shapes
            /// `x`: (samples, input width); returns one (samples, width) matrix for each node.
            pub fn run(&self, x: Matrix<$scalar>) -> Vec<Matrix<$scalar>> {
                let mut values = vec![x];
                self.run_from_input(&mut values);
                values
            }

            /// [`ForwardPass::run`] for the block in `values[0]`; the memory of the other nodes' values, if there are any, is reused.
            pub fn run_from_input(&self, values: &mut Vec<Matrix<$scalar>>) {
                forward(|index| &self.inputs[index], &self.steps, values);
            }

            /// Outputs of samples, (samples, outputs), in parallel on the current rayon pool: few samples are shared by all
            /// threads. The numbers do not depend on how many there are.
            ///
            /// # Shapes
            /// `inputs`: rows of the input width.
            pub fn outputs(&self, inputs: &[$scalar]) -> Matrix<$scalar> {
                let samples = inputs.len() / self.width;
                let block = samples.div_ceil(rayon::current_num_threads()).clamp(1, BLOCK);
                let run = |inputs: &[$scalar]| {
                    let mut values = self.memory().pop().unwrap_or_else(|| vec![Matrix::default()]);
                    values[0].set_rows(inputs, self.width);
                    self.run_from_input(&mut values);
                    let outputs = values.last().map_or_else(Vec::new, |out| out.as_slice().to_vec());
                    self.memory().push(values);
                    outputs
                };
                let outputs = inputs.par_chunks(block * self.width).map(run).collect::<Vec<_>>().concat();
                Matrix::from_vec(samples, outputs.len() / samples.max(1), outputs)
            }
        }
    };
}

forward_pass!(f32);
forward_pass!(f64);

/// What a node is beside its step.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The nodes that it reads.
    inputs: Vec<usize>,
    /// Number of elements.
    width: usize,
    /// ℓ2 norms of the rows of its weights in f64, made when they are needed.
    lengths: OnceLock<Vec<f64>>,
}

impl Link {
    /// A node of `width` elements that reads the nodes `inputs`.
    pub fn new(inputs: &[usize], width: usize) -> Self {
        Link { inputs: inputs.to_vec(), width, lengths: OnceLock::new() }
    }
}

/// A network, cast once.
#[derive(Clone, Debug)]
pub struct Model<'n, T> {
    /// The network it comes from; that of a receptive field is the whole one.
    pub network: &'n Network,
    /// One step for each node.
    pub steps: Vec<Step<T>>,
    /// One for each node.
    links: Vec<Link>,
    /// The same in f64, made when it is needed.
    in_f64: OnceLock<ForwardPass<f64>>,
}

impl<'n, T: Scalar> Model<'n, T> {
    /// Casts `network`.
    pub fn new(network: &'n Network) -> Self {
        let link = |node: &Node| Link::new(&node.inputs, node.width());
        let nodes = network.nodes().iter();
        let steps = nodes.clone().map(|node| cast(&node.layer, Affine::new)).collect();
        Model::of_steps(network, steps, nodes.map(link).collect())
    }

    /// A model of these steps: `network`, or a part of it.
    pub(crate) fn of_steps(network: &'n Network, steps: Vec<Step<T>>, links: Vec<Link>) -> Self {
        Model { network, steps, links, in_f64: OnceLock::new() }
    }

    /// Makes the forward pass in f64, its layers on all threads: few blocks would make it on one.
    ///
    /// Not where it is asked for, because threads that wait for each other begin other blocks, which ask for the same.
    pub(crate) fn prepare_f64(&self) {
        if self.in_f64.get().is_none() {
            let nodes = self.network.nodes().par_iter();
            let steps = nodes.map(|node| cast(&node.layer, Applied::new)).collect();
            // What is there already stays.
            let _ = self.in_f64.set(ForwardPass::of_steps(self.network, steps));
        }
    }

    /// Values of every node of the unperturbed network in f64, whatever the precision of the engine.
    ///
    /// # Shapes
    /// `inputs`: rows of the input width; returns one (samples, width) matrix for each node.
    pub fn values_in_f64(&self, inputs: &[f64]) -> Vec<Matrix<f64>> {
        let width = self.network.input_width();
        let pass = self.in_f64.get_or_init(|| ForwardPass::new(self.network));
        pass.run(Matrix::from_vec(inputs.len() / width, width, inputs.to_vec()))
    }

    /// Outputs of the unperturbed network in f64, (samples, outputs), and for each sample how far any of them may be from real arithmetic
    /// (theory.md §12); not finite where nothing is known.
    ///
    /// # Shapes
    /// `inputs`: rows of the input width.
    pub fn outputs_in_f64(&self, inputs: &[f64]) -> (Matrix<f64>, Vec<f64>) {
        let mut values = self.values_in_f64(inputs);
        let of_sample = |s: usize| {
            let own: Vec<&[f64]> = values.iter().map(|value| value.row(s)).collect();
            self.output_error(&own, f64::INFINITY)
        };
        let errors = (0..values[0].rows()).map(of_sample).collect();
        (values.pop().expect("a network has nodes"), errors)
    }

    /// ℓ2 norms of the rows of the affine node `index`, in f64.
    pub(crate) fn lengths(&self, index: usize) -> &[f64] {
        self.links[index].lengths.get_or_init(|| {
            let layer = self.network.nodes()[index].layer.affine().expect("an affine node");
            (0..layer.weight.rows()).map(|i| squares(layer.weight.row(i)).sqrt()).collect()
        })
    }

    /// How far values of one sample in f64 may be from real arithmetic, by node in `wanted`: bounds that take no products.
    pub(crate) fn coarse_errors(
        &self,
        values: &[&[f64]],
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<Option<Vec<f64>>> {
        let by_norms =
            |n: usize, own: &Affine64, window: Option<&Window>, (values, errors): (&[f64], &[f64])| {
                let read = Read { weight: &own.weight, bias: &own.bias, window, values, errors };
                read.by_norms(self.lengths(n))
            };
        self.network.errors(values, wanted, by_norms, |_| false)
    }

    /// How far any output in f64 may be from that in real arithmetic, for values of all nodes of one sample: a first bound that
    /// takes no products, and the one by the definition where the first is not below `enough`.
    pub(crate) fn output_error(&self, values: &[&[f64]], enough: f64) -> f64 {
        let coarse = largest_error(self.coarse_errors(values, |_| true));
        if coarse < enough { coarse } else { self.network.output_error(values, |_| None, |_| false) }
    }

    /// The first node that node `index` reads.
    pub fn input_of(&self, index: usize) -> usize {
        self.links[index].inputs[0]
    }

    /// The nodes that node `index` reads.
    pub fn inputs_of(&self, index: usize) -> &[usize] {
        &self.links[index].inputs
    }

    /// The nodes that read node `index`, rising.
    pub fn readers_of(&self, index: usize) -> impl Iterator<Item = usize> {
        (index + 1..self.steps.len()).filter(move |&k| self.inputs_of(k).contains(&index))
    }

    /// The affine layer of node `index`.
    ///
    /// # Panics
    /// When it is another layer.
    pub fn affine(&self, index: usize) -> &Affine<T> {
        self.affine_of(index).unwrap_or_else(|| panic!("node {index} has no parameters"))
    }

    /// The layer of node `index`, if it is affine.
    pub fn affine_of(&self, index: usize) -> Option<&Affine<T>> {
        match &self.steps[index] {
            Step::Affine(affine) => Some(affine),
            Step::Input
            | Step::Scale { .. }
            | Step::Activation(_)
            | Step::DynamicQuantize(_)
            | Step::MaxPool(_)
            | Step::AveragePool { .. }
            | Step::Add
            | Step::Multiply
            | Step::Gather(_)
            | Step::Reshape => None,
        }
    }

    /// Number of elements of node `index`.
    pub fn width(&self, index: usize) -> usize {
        self.links[index].width
    }

    /// Values of every node for a block of samples.
    ///
    /// # Shapes
    /// `x`: (samples, input width); returns one (samples, width) matrix for each node.
    pub fn forward(&self, x: Matrix<T>) -> Vec<Matrix<T>> {
        let mut values = vec![x];
        forward(|index| self.inputs_of(index), &self.steps, &mut values);
        values
    }
}

/// Values of all nodes from those of the input, `values[0]`; the memory of the others, if there are any, is reused.
fn forward<'a, T: Scalar, A: Apply<T>>(
    inputs_of: impl Fn(usize) -> &'a [usize],
    steps: &[Step<T, A>],
    values: &mut Vec<Matrix<T>>,
) {
    values.resize_with(steps.len(), Matrix::default);
    for (index, step) in steps.iter().enumerate().skip(1) {
        let (before, after) = values.split_at_mut(index);
        let (inputs, out) = (inputs_of(index), &mut after[0]);
        let input = &before[inputs[0]];
        match step {
            Step::Input => unreachable!("the first node alone is the input"),
            Step::Affine(affine) => affine.apply(out, input),
            Step::Scale { scale, shift } => {
                out.copy_from(input);
                scale_rows(out, scale, shift);
            }
            Step::Activation(f) => {
                out.reshape_scratch(input.rows(), input.cols());
                f.apply_all(out.as_mut_slice(), input.as_slice());
            }
            Step::DynamicQuantize(q) => {
                out.reshape_scratch(input.rows(), input.cols());
                (0..input.rows()).for_each(|s| q.apply_all(out.row_mut(s), input.row(s)));
            }
            Step::MaxPool(window) => *out = max_pool(input, window),
            Step::AveragePool { window, factor } => *out = average_pool(input, window, factor),
            Step::Add => {
                out.become_sum(input, &before[inputs[1]]);
                inputs[2..].iter().for_each(|&i| out.add_assign(&before[i]));
            }
            Step::Multiply => {
                out.copy_from(input);
                let factors = before[inputs[1]].as_slice();
                out.as_mut_slice().iter_mut().zip(factors).for_each(|(x, &y)| *x *= y);
            }
            Step::Gather(gather) => {
                let inputs: Vec<&Matrix<T>> = inputs.iter().map(|&i| &before[i]).collect();
                *out = gathered(&inputs, gather, T::from_f64(gather.constant));
            }
            Step::Reshape => out.copy_from(input),
        }
    }
}

/// `v`, rounded to the nearest numbers of the engine.
fn numbers<T: Scalar>(v: &[f64]) -> Vec<T> {
    v.iter().map(|&v| T::from_f64(v)).collect()
}

/// The step of a layer; `affine` makes those of affine layers.
fn cast<T: Scalar, A>(layer: &Layer, affine: impl Fn(&Affine64, Option<&Window>) -> A) -> Step<T, A> {
    match layer {
        Layer::Input => Step::Input,
        Layer::Dense(dense) => Step::Affine(affine(dense, None)),
        Layer::Conv(conv) => Step::Affine(affine(&conv.affine, Some(&conv.window))),
        Layer::MaxPool(window) => Step::MaxPool(window.clone()),
        Layer::AveragePool(average) => {
            Step::AveragePool { window: average.window.clone(), factor: numbers(&average.factor) }
        }
        Layer::Add => Step::Add,
        Layer::Multiply => Step::Multiply,
        Layer::Gather(gather) => Step::Gather(gather.clone()),
        Layer::Scale(s) => Step::Scale { scale: numbers(&s.scale), shift: numbers(&s.shift) },
        Layer::Activation(f) => Step::Activation(*f),
        Layer::DynamicQuantize(q) => Step::DynamicQuantize(*q),
        Layer::Reshape => Step::Reshape,
    }
}

/// The elements that `gather` picks from rows of `inputs`.
pub fn gathered<T: Scalar>(inputs: &[&Matrix<T>], gather: &Gather, constant: T) -> Matrix<T> {
    let rows = inputs[0].rows();
    let mut out = Matrix::zeros(rows, gather.source.len());
    let mut all: Vec<T> = Vec::new();
    for s in 0..rows {
        all.clear();
        inputs.iter().for_each(|z| all.extend_from_slice(z.row(s)));
        let sources = out.row_mut(s).iter_mut().zip(&gather.source);
        sources.for_each(|(out, source)| *out = source.map_or(constant, |k| all[k]));
    }
    out
}

/// `z ← scale · z + shift` for rows `z`.
fn scale_rows<T: Scalar>(z: &mut Matrix<T>, scale: &[T], shift: &[T]) {
    for s in 0..z.rows() {
        let factors = scale.iter().zip(shift);
        z.row_mut(s).iter_mut().zip(factors).for_each(|(z, (&a, &b))| *z = *z * a + b);
    }
}

/// Rounding of a sum without parameters in the precision of the engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rounding<T> {
    /// Relative error of every summand.
    pub relative: T,
    /// Absolute error of the sum.
    pub absolute: T,
}

impl<T: Scalar> Rounding<T> {
    /// Whether the sum is exact.
    pub fn is_zero(&self) -> bool {
        self.relative == T::zero() && self.absolute == T::zero()
    }

    /// Least value of a rounded summand in `[l, u]`, the absolute error of the sum left out: `min z − ρ|z|`, which
    /// is concave and so attained at an end.
    pub fn lower(&self, l: T, u: T) -> T {
        let at = |z: T| z - self.relative * z.abs();
        let ends = if at(u) < at(l) { at(u) } else { at(l) };
        if l.is_nan() || u.is_nan() { T::nan() } else { ends }
    }

    /// Largest value of a rounded summand in `[l, u]`.
    pub fn upper(&self, l: T, u: T) -> T {
        -self.lower(-u, -l)
    }
}

/// A perturbation set in the precision of the engine, cast once for each radius; radii are rounded up.
#[derive(Clone, Debug)]
pub struct Radii<T> {
    /// By node index; `None` where the node has no parameters.
    pub layers: Vec<Option<Arc<LayerSet<T>>>>,
    /// By node index; zero where nothing is rounded.
    pub roundings: Vec<Rounding<T>>,
    /// The set in f64.
    pub set: Arc<PerturbationSet>,
}

impl<T: Scalar> Radii<T> {
    /// Casts `set` for a network of `nodes` nodes.
    pub fn new(set: &PerturbationSet, nodes: usize) -> Self {
        let mut layers: Vec<Option<Arc<LayerSet<T>>>> = (0..nodes).map(|_| None).collect();
        for layer in &set.layers {
            layers[layer.node] = Some(Arc::new(layer.cast()));
        }
        let mut roundings = vec![Rounding::default(); nodes];
        for rounding in &set.roundings {
            let (relative, absolute) = (T::from_f64_up(rounding.relative), T::from_f64_up(rounding.absolute));
            roundings[rounding.node] = Rounding { relative, absolute };
        }
        Radii { layers, roundings, set: Arc::new(set.clone()) }
    }

    /// Radii of the affine node `index`.
    pub fn layer(&self, index: usize) -> &LayerSet<T> {
        self.layers[index].as_deref().expect("every affine layer has radii")
    }

    /// Radius added after every activation.
    pub fn activation(&self) -> T {
        T::from_f64_up(self.set.activation_radius)
    }
}
