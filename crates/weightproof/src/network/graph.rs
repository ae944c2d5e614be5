//! A network is a directed acyclic graph in topological order whose shapes were checked when it was built.

use super::check::check;
use super::{Activation, Affine, AveragePool, Conv, Gather, Layer, Scale, StepRounding};
use crate::kernels::{Matrix, Window};
use thiserror::Error;

/// One operation of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name; what `--layers` refers to.
    pub name: String,
    /// What the node computes.
    pub layer: Layer,
    /// Indices of the nodes it reads, all smaller than its own.
    pub inputs: Vec<usize>,
    /// Shape of one sample's output, without the batch dimension.
    pub shape: Vec<usize>,
}

impl Node {
    /// Number of elements of one sample's output.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Why a network cannot be built.
#[derive(Debug, Error, PartialEq)]
pub enum NetworkError {
    /// Shapes of neighbouring nodes do not fit.
    #[error("node {node}: expected {expected}, found {found}")]
    Shape {
        /// Name of the node.
        node: String,
        /// What would have fitted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A parameter is NaN or infinite.
    #[error("node {node}: {parameter} is {value}, expected a finite number")]
    NotFinite {
        /// Name of the node.
        node: String,
        /// Which parameter, with its indices.
        parameter: String,
        /// Its value.
        value: f64,
    },
    /// Two nodes have one name.
    #[error("node {node}: the name is used twice")]
    DuplicateName {
        /// The name.
        node: String,
    },
    /// A node reads a node that does not exist (yet): the graph is cyclic or dangling.
    #[error("node {node}: reads node number {input}, which is not defined before it")]
    Dangling {
        /// Name of the reading node.
        node: String,
        /// Index that it reads.
        input: usize,
    },
    /// The network holds nothing to perturb.
    #[error("the network has no dense layer and no convolution, so there are no weights to perturb")]
    NoWeights,
}

/// A feed-forward network, `f(x)` of theory.md §1, for inference only.
///
/// The nodes are in topological order; node 0 is the input and the last node is the output.
#[derive(Clone, Debug)]
pub struct Network {
    nodes: Vec<Node>,
    float64: bool,
}

/// The same nodes; what the file said besides plays no part.
impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        self.nodes == other.nodes
    }
}

impl Network {
    /// All nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Shape of one input sample.
    pub fn input_shape(&self) -> &[usize] {
        &self.nodes[0].shape
    }

    /// Number of elements of one input sample.
    pub fn input_width(&self) -> usize {
        self.nodes[0].width()
    }

    /// Number of elements of one output (classes).
    pub fn output_width(&self) -> usize {
        self.nodes.last().map_or(0, Node::width)
    }

    /// Index of the output node.
    pub fn output(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The parameters of a node, if it has some.
    pub(crate) fn affine_mut(&mut self, node: usize) -> Option<&mut Affine> {
        self.nodes[node].layer.affine_mut()
    }

    /// The layers whose parameters threat models perturb, dense ones and convolutions, with their node indices, in order.
    pub fn affine_layers(&self) -> impl Iterator<Item = (usize, &Node, &Affine)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(index, node)| node.layer.affine().map(|affine| (index, node, affine)))
    }

    /// The names of two layers with the same weights, in whatever order, of which `wanted` holds for one or both: they may be one tensor
    /// in memory.
    pub fn same_weights(&self, wanted: impl Fn(usize) -> bool) -> Option<[&str; 2]> {
        let sorted = |affine: &Affine| {
            let mut bits: Vec<u64> = affine.weight.as_slice().iter().map(|w| w.to_bits()).collect();
            bits.sort_unstable();
            bits
        };
        let all: Vec<(usize, &str, Vec<u64>)> = self
            .affine_layers()
            .map(|(index, node, affine)| (index, node.name.as_str(), sorted(affine)))
            .collect();
        all.iter().enumerate().find_map(|(k, (index, name, weights))| {
            let is_same = |(other, _, found): &&(usize, &str, Vec<u64>)| {
                found == weights && (wanted(*index) || wanted(*other))
            };
            all[..k].iter().find(is_same).map(|(_, other, _)| [*other, *name])
        })
    }

    /// Number of weights and biases of all dense layers and convolutions.
    pub fn parameters(&self) -> usize {
        self.affine_layers()
            .map(|(_, _, d)| d.weight.rows() * (d.weight.cols() + usize::from(d.has_bias)))
            .sum()
    }

    /// Number of nonlinear neurons.
    pub fn neurons(&self) -> usize {
        self.nodes.iter().filter(|n| n.layer.is_nonlinear()).map(Node::width).sum()
    }

    /// The network with `scale · x + shift` in front of it, so that its input is the raw one.
    ///
    /// # Errors
    /// When the lengths differ from the input's or a number is not finite.
    pub fn with_normalization(&self, scale: Vec<f64>, shift: Vec<f64>) -> Result<Network, NetworkError> {
        let mut builder = NetworkBuilder::new(self.input_shape().to_vec());
        let normalized = builder.scale("normalization", 0, Scale::new(scale, shift))?;
        let map = |i: usize| if i == 0 { normalized } else { i + 1 };
        for node in &self.nodes[1..] {
            let inputs: Vec<usize> = node.inputs.iter().map(|&i| map(i)).collect();
            builder.push(&node.name, node.layer.clone(), inputs, node.shape.clone())?;
        }
        Ok(Network { nodes: builder.finish()?.nodes, ..self.clone() })
    }

    /// Whether an activation is a function that a mathematical library evaluates, such as tanh.
    pub fn has_functions(&self) -> bool {
        self.nodes.iter().any(|node| match &node.layer {
            Layer::Activation(f) => f.is_library_function(),
            Layer::Input
            | Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Scale(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_)
            | Layer::Reshape => false,
        })
    }

    /// Whether weights are stored as integers or activations are quantized.
    pub fn is_quantized(&self) -> bool {
        let stored = |node: &Node| node.layer.affine().is_some_and(|affine| affine.stored.is_some());
        self.has_quantizers() || self.nodes.iter().any(stored)
    }

    /// Whether activations are quantized.
    pub fn has_quantizers(&self) -> bool {
        let quantizes = |layer: &Layer| {
            matches!(layer, Layer::Activation(Activation::Quantize(_)) | Layer::DynamicQuantize(_))
        };
        self.nodes.iter().any(|node| quantizes(&node.layer))
    }

    /// The same network whose quantizers round by `rounding`.
    pub fn with_step_rounding(mut self, rounding: StepRounding) -> Network {
        for node in &mut self.nodes {
            if let Layer::Activation(Activation::Quantize(q)) = &mut node.layer {
                q.rounding = rounding;
            }
            if let Layer::DynamicQuantize(q) = &mut node.layer {
                q.rounding = rounding;
            }
        }
        self
    }

    /// Whether the file computes in float64, or stores integers: f32 has not its parameters, and a bound that is computed with others is about another
    /// network.
    pub fn is_float64(&self) -> bool {
        self.float64
    }

    /// The network of a file that computes in float64, or not.
    pub fn with_float64(self, float64: bool) -> Network {
        Network { float64, ..self }
    }

    /// Whether the output is an image or a sequence: more than one dimension that is not 1. Its elements are no classes.
    pub fn has_classes(&self) -> bool {
        self.nodes.last().is_some_and(|node| node.shape.iter().filter(|n| **n > 1).count() <= 1)
    }
}

/// Builds a [`Network`] node by node, checking shapes and numbers.
#[derive(Clone, Debug)]
pub struct NetworkBuilder {
    nodes: Vec<Node>,
}

impl NetworkBuilder {
    /// Starts with the input node, of the given shape without the batch dimension.
    pub fn new(input_shape: Vec<usize>) -> Self {
        let input = Node { name: "input".into(), layer: Layer::Input, inputs: vec![], shape: input_shape };
        NetworkBuilder { nodes: vec![input] }
    }

    /// Index of the node added last (0 is the input).
    pub fn last(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Shape of node `index`.
    pub fn shape(&self, index: usize) -> &[usize] {
        &self.nodes[index].shape
    }

    /// Adds a dense layer; an empty `bias` means that it has none.
    ///
    /// # Errors
    /// When `weight` is not (n_out, width of `input`), `bias` not n_out long, or a number not finite.
    pub fn dense(
        &mut self,
        name: &str,
        input: usize,
        weight: Matrix<f64>,
        bias: Vec<f64>,
    ) -> Result<usize, NetworkError> {
        let shape = vec![weight.rows()];
        let has_bias = !bias.is_empty();
        let bias = if has_bias { bias } else { vec![0.0; weight.rows()] };
        self.push(name, Layer::Dense(Affine { weight, bias, has_bias, stored: None }), vec![input], shape)
    }

    /// Adds a convolution; an empty `bias` means that it has none.
    ///
    /// # Errors
    /// When the window is impossible or does not fit the input, or `weight` is not (channels, patch) of the window.
    pub fn conv(
        &mut self,
        name: &str,
        input: usize,
        weight: Matrix<f64>,
        bias: Vec<f64>,
        window: Window,
    ) -> Result<usize, NetworkError> {
        let has_bias = !bias.is_empty();
        let bias = if has_bias { bias } else { vec![0.0; weight.rows()] };
        let shape = window.output().to_vec();
        let affine = Affine { weight, bias, has_bias, stored: None };
        self.push(name, Layer::Conv(Conv { affine, window }), vec![input], shape)
    }

    /// Adds a pooling layer that takes the largest element of every window.
    ///
    /// # Errors
    /// When the window is impossible, mixes channels, has positions without elements or does not fit the input.
    pub fn max_pool(&mut self, name: &str, input: usize, window: Window) -> Result<usize, NetworkError> {
        let shape = window.output().to_vec();
        self.push(name, Layer::MaxPool(window), vec![input], shape)
    }

    /// Adds a pooling layer that averages every window; padding counts as zeros when `count_padding`.
    ///
    /// # Errors
    /// As [`NetworkBuilder::max_pool`].
    pub fn average_pool(
        &mut self,
        name: &str,
        input: usize,
        window: Window,
        count_padding: bool,
    ) -> Result<usize, NetworkError> {
        let shape = window.output().to_vec();
        let average = AveragePool::new(window, count_padding);
        self.push(name, Layer::AveragePool(average), vec![input], shape)
    }

    /// Adds the elementwise sum of two or more nodes of one shape.
    ///
    /// # Errors
    /// When their widths differ.
    pub fn add(&mut self, name: &str, inputs: Vec<usize>) -> Result<usize, NetworkError> {
        let shape = match inputs.first() {
            Some(&first) => self.shape_of(name, first)?,
            None => Vec::new(),
        };
        self.push(name, Layer::Add, inputs, shape)
    }

    /// Adds the elementwise product of two nodes of one shape.
    ///
    /// # Errors
    /// When their widths differ.
    pub fn multiply(&mut self, name: &str, inputs: [usize; 2]) -> Result<usize, NetworkError> {
        let shape = self.shape_of(name, inputs[0])?;
        self.push(name, Layer::Multiply, inputs.to_vec(), shape)
    }

    /// Adds a choice of elements of the inputs.
    ///
    /// # Errors
    /// When a source is beyond the last input, or `shape` has another number of elements.
    pub fn gather(
        &mut self,
        name: &str,
        inputs: Vec<usize>,
        gather: Gather,
        shape: Vec<usize>,
    ) -> Result<usize, NetworkError> {
        self.push(name, Layer::Gather(gather), inputs, shape)
    }

    /// Adds an activation.
    ///
    /// # Errors
    /// As [`NetworkBuilder::push`].
    pub fn activation(&mut self, name: &str, input: usize, f: Activation) -> Result<usize, NetworkError> {
        let shape = self.shape_of(name, input)?;
        self.push(name, Layer::Activation(f), vec![input], shape)
    }

    /// Adds an elementwise affine map.
    ///
    /// # Errors
    /// When a length differs from the width of `input` or a number is not finite.
    pub fn scale(&mut self, name: &str, input: usize, scale: Scale) -> Result<usize, NetworkError> {
        let shape = self.shape_of(name, input)?;
        self.push(name, Layer::Scale(scale), vec![input], shape)
    }

    /// Adds a change of shape.
    ///
    /// # Errors
    /// When the number of elements changes.
    pub fn reshape(&mut self, name: &str, input: usize, shape: Vec<usize>) -> Result<usize, NetworkError> {
        self.push(name, Layer::Reshape, vec![input], shape)
    }

    /// Adds any layer; everything is checked here.
    ///
    /// # Errors
    /// [`NetworkError`] naming the node, what was expected and what was found.
    pub fn push(
        &mut self,
        name: &str,
        layer: Layer,
        inputs: Vec<usize>,
        shape: Vec<usize>,
    ) -> Result<usize, NetworkError> {
        if self.nodes.iter().any(|n| n.name == name) {
            return Err(NetworkError::DuplicateName { node: name.into() });
        }
        let widths: Vec<usize> = inputs
            .iter()
            .map(|&i| Ok(self.shape_of(name, i)?.iter().product()))
            .collect::<Result<_, NetworkError>>()?;
        check(name, &layer, &widths, &shape)?;
        self.nodes.push(Node { name: name.into(), layer, inputs, shape });
        Ok(self.last())
    }

    /// The finished network; its output is the node added last.
    ///
    /// # Errors
    /// When there are no weights.
    pub fn finish(self) -> Result<Network, NetworkError> {
        let network = Network { nodes: self.nodes, float64: false };
        if network.affine_layers().next().is_none() {
            return Err(NetworkError::NoWeights);
        }
        Ok(network)
    }

    fn shape_of(&self, reader: &str, index: usize) -> Result<Vec<usize>, NetworkError> {
        let node = self.nodes.get(index);
        node.map(|n| n.shape.clone())
            .ok_or_else(|| NetworkError::Dangling { node: reader.into(), input: index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(rows: usize, cols: usize) -> Matrix<f64> {
        Matrix::from_fn(rows, cols, |i, j| i as f64 - j as f64)
    }

    #[test]
    fn shapes_are_checked_when_a_node_is_added() {
        let mut builder = NetworkBuilder::new(vec![3]);
        let error = builder.dense("d", 0, weight(2, 4), vec![0.0; 2]).unwrap_err();
        assert_eq!(error.to_string(), "node d: expected a weight matrix with 3 columns, found 2 x 4");
        assert!(builder.dense("d", 0, weight(2, 3), vec![0.0; 3]).is_err());
        assert!(builder.dense("d", 7, weight(2, 3), vec![0.0; 2]).is_err());
        assert!(builder.reshape("r", 0, vec![2, 2]).is_err());
    }

    #[test]
    fn numbers_must_be_finite_and_are_located() {
        let mut bad = weight(2, 3);
        bad[(1, 2)] = f64::NAN;
        let error = NetworkBuilder::new(vec![3]).dense("d", 0, bad, vec![0.0; 2]).unwrap_err();
        assert_eq!(error.to_string(), "node d: weight [1, 2] is NaN, expected a finite number");
    }

    #[test]
    fn normalization_goes_in_front() {
        let mut builder = NetworkBuilder::new(vec![2]);
        let d = builder.dense("d", 0, weight(2, 2), vec![0.5, 0.25]).unwrap();
        builder.activation("r", d, Activation::Relu).unwrap();
        let network = builder.finish().unwrap();
        let normalized = network.with_normalization(vec![2.0, 3.0], vec![-1.0, 1.0]).unwrap();
        let x = [0.3, 0.7];
        assert_eq!(normalized.forward(&x), network.forward(&[2.0 * 0.3 - 1.0, 3.0 * 0.7 + 1.0]));
    }
}
