//! A network on a tape: its parameters, and what every node computes for a batch.

use crate::parameters::Parameters;
use crate::tape::{self, Pool};
use std::sync::Arc;
use weightproof::kernels::Window;
use weightproof::network::{Layer, Network, Node};

/// A tape of single precision numbers.
pub type Tape<'t> = tape::Tape<'t, f32>;
/// A value on such a tape, most often (batch, width of a node).
pub type Var<'t> = tape::Var<'t, f32>;

/// Parameters that gradients are taken of.
#[derive(Clone)]
pub struct Weights<'t> {
    /// One matrix (n_out, n_in) for each layer.
    pub weight: Vec<Var<'t>>,
    /// One row (1, n_out) for each layer that has biases.
    pub bias: Vec<Option<Var<'t>>>,
}

/// A network whose nodes can be evaluated on tapes. Values are (batch, width of the node).
#[derive(Clone, Debug)]
pub struct Graph {
    network: Network,
    /// For each node with parameters, its place among those nodes.
    slots: Vec<Option<usize>>,
    /// Memory of the tapes.
    pool: Arc<Pool<f32>>,
}

impl Graph {
    /// The shapes and constants of `network`; its parameters play no role.
    pub fn new(network: &Network) -> Self {
        let mut next = 0..;
        let slots = network.nodes().iter().map(|n| n.layer.affine().and_then(|_| next.next())).collect();
        Graph { network: network.clone(), slots, pool: Arc::default() }
    }

    /// The network that was given.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// All nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        self.network.nodes()
    }

    /// Place of a node among those with parameters.
    ///
    /// # Panics
    /// When it has none.
    pub fn slot(&self, node: usize) -> usize {
        self.slots[node].expect("a node with parameters")
    }

    /// An empty tape.
    pub fn tape<'t>(&self) -> Tape<'t> {
        Tape::new(&self.pool)
    }

    /// A batch (count, width) without gradients.
    pub fn batch<'t>(&self, tape: &'t Tape<'t>, inputs: &'t [f32]) -> Var<'t> {
        tape.input(inputs, self.batch_shape(inputs))
    }

    /// A batch (count, width) that gradients are taken of.
    pub fn tracked_batch<'t>(&self, tape: &'t Tape<'t>, inputs: &'t [f32]) -> Var<'t> {
        tape.parameter(inputs, self.batch_shape(inputs))
    }

    fn batch_shape(&self, inputs: &[f32]) -> [usize; 2] {
        let width = self.network.input_width();
        [inputs.len() / width, width]
    }

    /// `parameters` as values that gradients are taken of.
    pub fn track<'t>(&self, tape: &'t Tape<'t>, parameters: &'t Parameters) -> Weights<'t> {
        let layers: Vec<_> = self.network.affine_layers().zip(parameters.arrays.chunks(2)).collect();
        let weight = layers.iter().map(|((_, _, affine), arrays)| {
            tape.parameter(&arrays[0], [affine.weight.rows(), affine.weight.cols()])
        });
        let bias = layers.iter().map(|(_, arrays)| {
            let bias = &arrays[1];
            (!bias.is_empty()).then(|| tape.parameter(bias, [1, bias.len()]))
        });
        Weights { weight: weight.collect(), bias: bias.collect() }
    }

    /// Gradients in the order of the parameters, after [`tape::Tape::backward`]; zeros where the loss does not depend on them.
    pub fn gradient(&self, weights: &Weights<'_>) -> Parameters {
        let pairs = weights.weight.iter().zip(&weights.bias);
        let arrays = pairs.flat_map(|(w, b)| [w.gradient(), b.map_or(Vec::new(), |bias| bias.gradient())]);
        Parameters { arrays: arrays.collect() }
    }

    /// Gives the memory of gradients back to the tapes.
    pub fn recycle(&self, gradient: Parameters) {
        gradient.arrays.into_iter().for_each(|array| self.pool.give(array));
    }

    /// Values of the output node, (batch, classes).
    pub fn forward<'t>(&'t self, weights: &Weights<'t>, x: Var<'t>) -> Var<'t> {
        self.values(weights, x).pop().expect("an output node")
    }

    /// Values of every node.
    pub(crate) fn values<'t>(&'t self, weights: &Weights<'t>, x: Var<'t>) -> Vec<Var<'t>> {
        let mut values: Vec<Var<'t>> = Vec::with_capacity(self.nodes().len());
        for (index, node) in self.nodes().iter().enumerate() {
            let input = |k: usize| values[node.inputs[k]];
            let value = match &node.layer {
                Layer::Input => x,
                Layer::Dense(_) | Layer::Conv(_) => {
                    let slot = self.slot(index);
                    let bias = weights.bias[slot].map(|bias| per_output(&node.layer, bias));
                    input(0).linear(weights.weight[slot], window(&node.layer), bias)
                }
                Layer::Activation(f) => input(0).activation(*f),
                Layer::DynamicQuantize(_) => unreachable!("quantized networks are not trained"),
                Layer::Scale(scale) => {
                    let [factor, shift] = [&scale.scale, &scale.shift].map(|row| constants(x.tape(), row));
                    input(0) * factor + shift
                }
                Layer::Multiply => input(0) * input(1),
                Layer::MaxPool(_)
                | Layer::AveragePool(_)
                | Layer::Add
                | Layer::Gather(_)
                | Layer::Reshape => {
                    let inputs: Vec<Var<'t>> = node.inputs.iter().map(|&i| values[i]).collect();
                    rearrange(&node.layer, &inputs)
                }
            };
            values.push(value);
        }
        values
    }
}

/// A layer without parameters that is monotone in all of its inputs.
pub(crate) fn rearrange<'t>(layer: &'t Layer, inputs: &[Var<'t>]) -> Var<'t> {
    let first = inputs[0];
    match layer {
        Layer::MaxPool(window) => first.max_pool(window),
        Layer::AveragePool(pool) => {
            let factor = pool.factor.repeat(pool.window.channels);
            first.window_sums(&pool.window) * constants(first.tape(), &factor)
        }
        Layer::Add => inputs[1..].iter().fold(first, |sum, z| sum + *z),
        Layer::Gather(gather) => inputs[1..].iter().fold(first, |all, z| all.beside(*z)).pick(gather),
        Layer::Reshape => first,
        Layer::Input
        | Layer::Dense(_)
        | Layer::Conv(_)
        | Layer::Scale(_)
        | Layer::Activation(_)
        | Layer::Multiply
        | Layer::DynamicQuantize(_) => {
            unreachable!("{} has a rule of its own", layer.kind())
        }
    }
}

/// Constants as a row (1, n).
pub(crate) fn constants<'t>(tape: &'t Tape<'t>, numbers: &[f64]) -> Var<'t> {
    tape.constant(numbers.iter().map(|&n| n as f32), [1, numbers.len()])
}

/// The window of a convolution.
pub(crate) fn window(layer: &Layer) -> Option<&Window> {
    if let Layer::Conv(conv) = layer { Some(&conv.window) } else { None }
}

/// A row (1, n_out) of numbers of output neurons or channels, for every output: (1, width).
pub(crate) fn per_output<'t>(layer: &Layer, row: Var<'t>) -> Var<'t> {
    window(layer).map_or(row, |window| row.repeat(window.positions()))
}
