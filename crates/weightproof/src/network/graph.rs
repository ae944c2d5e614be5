//! A network is a directed acyclic graph in topological order whose shapes were checked when it was built.

use super::{Activation, Dense, Layer, Scale};
use crate::kernels::Matrix;
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
    #[error("the network has no dense layer, so there are no weights to perturb")]
    NoWeights,
    /// A chain of affine layers: nothing to prove that linear algebra does not answer.
    #[error("the network has no activation between its layers, expected at least one nonlinear layer")]
    NoActivation,
}

/// A feed-forward network, `f(x)` of theory.md §1, for inference only.
///
/// The nodes are in topological order; node 0 is the input and the last node is the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    nodes: Vec<Node>,
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

    /// The dense layers with their node indices, in order.
    pub fn dense_layers(&self) -> impl Iterator<Item = (usize, &Node, &Dense)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| match &node.layer {
            Layer::Dense(dense) => Some((index, node, dense)),
            Layer::Input | Layer::Scale(_) | Layer::Activation(_) | Layer::Reshape => None,
        })
    }

    /// Number of weights and biases of all dense layers.
    pub fn parameters(&self) -> usize {
        self.dense_layers()
            .map(|(_, _, d)| d.weight.rows() * (d.weight.cols() + usize::from(d.has_bias)))
            .sum()
    }

    /// Number of nonlinear neurons.
    pub fn neurons(&self) -> usize {
        self.nodes.iter().filter(|n| matches!(n.layer, Layer::Activation(_))).map(Node::width).sum()
    }

    /// The network with `scale · x + shift` in front of it, so that its input is the raw one.
    ///
    /// # Errors
    /// When the lengths differ from the input's or a number is not finite.
    pub fn with_normalization(&self, scale: Vec<f64>, shift: Vec<f64>) -> Result<Network, NetworkError> {
        let mut builder = NetworkBuilder::new(self.input_shape().to_vec());
        let normalized = builder.scale("normalization", 0, Scale { scale, shift })?;
        let map = |i: usize| if i == 0 { normalized } else { i + 1 };
        for node in &self.nodes[1..] {
            let inputs: Vec<usize> = node.inputs.iter().map(|&i| map(i)).collect();
            builder.push(&node.name, node.layer.clone(), inputs, node.shape.clone())?;
        }
        builder.finish()
    }

    /// The same network with other parameters in its dense layers: `(node index, W, b)`.
    ///
    /// # Panics
    /// When a node is not dense or a shape differs: callers take them from this network.
    pub fn with_parameters(&self, parameters: &[(usize, Matrix<f64>, Vec<f64>)]) -> Network {
        let mut changed = self.clone();
        for (index, weight, bias) in parameters {
            let Layer::Dense(dense) = &mut changed.nodes[*index].layer else {
                panic!("node {index} is not dense");
            };
            assert_eq!((dense.weight.rows(), dense.weight.cols()), (weight.rows(), weight.cols()));
            assert_eq!(dense.bias.len(), bias.len());
            (dense.weight, dense.bias) = (weight.clone(), bias.clone());
        }
        changed
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
        self.push(name, Layer::Dense(Dense { weight, bias, has_bias }), vec![input], shape)
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
        let fail =
            |expected: String, found: String| NetworkError::Shape { node: name.into(), expected, found };
        if self.nodes.iter().any(|n| n.name == name) {
            return Err(NetworkError::DuplicateName { node: name.into() });
        }
        if inputs.len() != layer.arity() {
            return Err(fail(format!("{} inputs", layer.arity()), inputs.len().to_string()));
        }
        let input_widths: Vec<usize> = inputs
            .iter()
            .map(|&i| Ok(self.shape_of(name, i)?.iter().product()))
            .collect::<Result<_, NetworkError>>()?;
        let width: usize = shape.iter().product();
        match &layer {
            Layer::Input => return Err(fail("one input node, the first".into(), "another one".into())),
            Layer::Dense(Dense { weight, bias, .. }) => {
                if weight.cols() != input_widths[0] {
                    let expected = format!("a weight matrix with {} columns", input_widths[0]);
                    return Err(fail(expected, format!("{} x {}", weight.rows(), weight.cols())));
                }
                if bias.len() != weight.rows() {
                    return Err(fail(format!("{} biases", weight.rows()), bias.len().to_string()));
                }
                if width != weight.rows() {
                    return Err(fail(format!("{} outputs", weight.rows()), format!("{shape:?}")));
                }
                let at = |k: usize| format!("weight [{}, {}]", k / weight.cols(), k % weight.cols());
                check_finite(name, at, weight.as_slice())?;
                check_finite(name, |k| format!("bias [{k}]"), bias)?;
            }
            Layer::Scale(Scale { scale, shift }) => {
                if scale.len() != input_widths[0]
                    || shift.len() != input_widths[0]
                    || width != input_widths[0]
                {
                    let found = format!("{} and {}", scale.len(), shift.len());
                    return Err(fail(format!("{} factors and summands", input_widths[0]), found));
                }
                check_finite(name, |k| format!("factor [{k}]"), scale)?;
                check_finite(name, |k| format!("summand [{k}]"), shift)?;
            }
            Layer::Activation(Activation::LeakyRelu { slope }) if !(*slope >= 0.0 && slope.is_finite()) => {
                return Err(fail("a leaky ReLU slope of at least 0".into(), slope.to_string()));
            }
            Layer::Activation(_) | Layer::Reshape => {
                if width != input_widths[0] {
                    return Err(fail(format!("{} elements", input_widths[0]), format!("{shape:?}")));
                }
            }
        }
        self.nodes.push(Node { name: name.into(), layer, inputs, shape });
        Ok(self.last())
    }

    /// The finished network; its output is the node added last.
    ///
    /// # Errors
    /// When there are no weights, or no activation.
    pub fn finish(self) -> Result<Network, NetworkError> {
        let network = Network { nodes: self.nodes };
        if network.dense_layers().next().is_none() {
            return Err(NetworkError::NoWeights);
        }
        if network.neurons() == 0 {
            return Err(NetworkError::NoActivation);
        }
        Ok(network)
    }

    fn shape_of(&self, reader: &str, index: usize) -> Result<Vec<usize>, NetworkError> {
        let node = self.nodes.get(index);
        node.map(|n| n.shape.clone())
            .ok_or_else(|| NetworkError::Dangling { node: reader.into(), input: index })
    }
}

fn check_finite(node: &str, at: impl Fn(usize) -> String, values: &[f64]) -> Result<(), NetworkError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(k) => Err(NetworkError::NotFinite { node: node.into(), parameter: at(k), value: values[k] }),
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
    fn a_network_without_activation_is_refused() {
        let mut builder = NetworkBuilder::new(vec![3]);
        builder.dense("d", 0, weight(2, 3), vec![0.0; 2]).unwrap();
        assert_eq!(builder.finish(), Err(NetworkError::NoActivation));
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
