//! The closed set of layers. A new variant makes the compiler list every place that lacks a rule for it.

use super::Activation;
use crate::kernels::Matrix;

/// What a node of a [`Network`](super::Network) computes from its inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// The input of the network; exactly the first node.
    Input,
    /// `p = W z + b`. The only layer with parameters that threat models perturb.
    Dense(Dense),
    /// `z ↦ scale · z + shift` elementwise: constants of the deployed program (input normalization), never perturbed.
    Scale(Scale),
    /// An activation function on every element.
    Activation(Activation),
    /// The same elements under another shape.
    Reshape,
}

/// A fully connected layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Weights `W`, shape (n_out, n_in).
    pub weight: Matrix<f64>,
    /// Biases `b`, length n_out.
    pub bias: Vec<f64>,
    /// Whether the layer has biases. When it has none, `bias` is zero and no threat model moves it.
    pub has_bias: bool,
}

/// An elementwise affine map.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// One factor per element.
    pub scale: Vec<f64>,
    /// One summand per element.
    pub shift: Vec<f64>,
}

impl Layer {
    /// Name of the kind of layer, as `inspect` prints it.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Input => "input",
            Layer::Dense(_) => "dense",
            Layer::Scale(_) => "scale",
            Layer::Activation(f) => f.name(),
            Layer::Reshape => "reshape",
        }
    }

    /// Number of inputs the layer takes.
    pub fn arity(&self) -> usize {
        match self {
            Layer::Input => 0,
            Layer::Dense(_) | Layer::Scale(_) | Layer::Activation(_) | Layer::Reshape => 1,
        }
    }
}
