//! The closed set of layers. A new variant makes the compiler list every place that lacks a rule for it.

use super::{Activation, DynamicQuantizer};
use crate::kernels::{Matrix, Window};

/// What a node of a [`Network`](super::Network) computes from its inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// The input of the network; exactly the first node.
    Input,
    /// `p = W z + b`. Threat models perturb its parameters.
    Dense(Affine),
    /// A convolution; one-dimensional ones have height 1. Threat models perturb its parameters.
    Conv(Conv),
    /// `z ↦ scale · z + shift` elementwise: constants of the deployed program (input normalization), never perturbed.
    Scale(Scale),
    /// An activation function on every element.
    Activation(Activation),
    /// A quantizer whose step follows from the range of all elements.
    DynamicQuantize(DynamicQuantizer),
    /// The largest element of every window.
    MaxPool(Window),
    /// The weighted sum of every window.
    AveragePool(AveragePool),
    /// The elementwise sum of two or more nodes: residual connections.
    Add,
    /// The elementwise product of two nodes: gates, normalizations, attention.
    Multiply,
    /// Elements of the inputs in another order: transposition, padding, slices, concatenation.
    Gather(Gather),
    /// The same elements under another shape.
    Reshape,
}

/// Weights and biases: the parameters that threat models perturb. Rows are output neurons of a dense layer, output
/// channels of a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Weights `W`, shape (n_out, n_in); of a convolution (channels, inputs of the group × height × width of the kernel).
    pub weight: Matrix<f64>,
    /// Biases `b`, length n_out.
    pub bias: Vec<f64>,
    /// Whether the layer has biases. When it has none, `bias` is zero and no threat model moves it.
    pub has_bias: bool,
    /// The integers that the file stores the weights as, if it does.
    pub stored: Option<StoredIntegers>,
}

/// How integers in a file stand for the weights of a layer: `W_ij = s (q_ij − z)`, with the step `s` and the zero point `z` of the
/// group that the weight belongs to. The product is exact in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredIntegers {
    /// Bits of an integer.
    pub bits: u32,
    /// Whether integers have a sign.
    pub signed: bool,
    /// The step of each group.
    pub steps: Vec<f64>,
    /// The zero point of each group.
    pub zeros: Vec<i64>,
    /// The group of each weight, row after row; empty when there is one group.
    pub groups: Vec<u32>,
    /// The step of each bias; empty when biases are not stored as integers.
    pub bias_steps: Vec<f64>,
}

impl StoredIntegers {
    /// The group of weight number `k` in row-major order.
    pub fn group(&self, k: usize) -> usize {
        self.groups.get(k).map_or(0, |&group| group as usize)
    }

    /// The step of weight number `k` in row-major order.
    pub fn step(&self, k: usize) -> f64 {
        self.steps[self.group(k)]
    }

    /// Least and largest integer.
    pub fn ends(&self) -> (i64, i64) {
        let all = 1_i64 << self.bits;
        if self.signed { (-all / 2, all / 2 - 1) } else { (0, all - 1) }
    }
}

/// A convolution: every row of the parameters is used at every position of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Kernels, one row for each output channel, and one bias for each.
    pub affine: Affine,
    /// Which elements the kernels meet.
    pub window: Window,
}

/// Average pooling over a window whose groups are the channels.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePool {
    /// Which elements are summed.
    pub window: Window,
    /// What the sum is multiplied by, one factor for each output position: one over the number of elements counted there.
    pub factor: Vec<f64>,
}

/// A choice of elements of one or more inputs, laid end to end in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Gather {
    /// For each output element the input element that it copies; `None` for the constant.
    pub source: Vec<Option<usize>>,
    /// What elements without a source are.
    pub constant: f64,
}

/// An elementwise affine map.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// One factor per element.
    pub scale: Vec<f64>,
    /// One summand per element.
    pub shift: Vec<f64>,
    /// Where the map is a division, what it divides by: `scale` then has the inverses, each to the nearest number.
    pub divisor: Option<Vec<f64>>,
}

impl Scale {
    /// `scale · z + shift`.
    pub fn new(scale: Vec<f64>, shift: Vec<f64>) -> Self {
        Scale { scale, shift, divisor: None }
    }

    /// `z / divisor`.
    pub fn dividing(divisor: Vec<f64>) -> Self {
        let scale = divisor.iter().map(|d| 1.0 / d).collect();
        Scale { scale, shift: vec![0.0; divisor.len()], divisor: Some(divisor) }
    }

    /// Whether it only multiplies.
    pub fn is_product(&self) -> bool {
        self.divisor.is_none() && self.shift.iter().all(|&t| t == 0.0)
    }

    /// Whether it only adds.
    pub fn is_sum(&self) -> bool {
        self.divisor.is_none() && self.scale.iter().all(|&s| s == 1.0)
    }
}

impl AveragePool {
    /// The mean of every window: over the taps inside of the image, or over all taps when `count_padding`.
    pub fn new(window: Window, count_padding: bool) -> Self {
        let inside = |position: usize| {
            let width = window.extent(1);
            window.taps_inside(0, position / width).len() * window.taps_inside(1, position % width).len()
        };
        let count = |position| if count_padding { window.taps() } else { inside(position) };
        let positions = if window.defect().is_none() { window.positions() } else { 0 };
        let factor = (0..positions).map(|position| 1.0 / count(position) as f64).collect();
        AveragePool { window, factor }
    }
}

impl Layer {
    /// Name of the kind of layer, as `inspect` prints it.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Input => "input",
            Layer::Dense(_) => "dense",
            Layer::Conv(_) => "conv",
            Layer::Scale(_) => "scale",
            Layer::Activation(f) => f.name(),
            Layer::DynamicQuantize(_) => "dynamic-quantize",
            Layer::MaxPool(_) => "max-pool",
            Layer::AveragePool(_) => "average-pool",
            Layer::Add => "add",
            Layer::Multiply => "multiply",
            Layer::Gather(_) => "gather",
            Layer::Reshape => "reshape",
        }
    }

    /// Least and largest number of inputs the layer takes.
    pub fn arity(&self) -> (usize, usize) {
        match self {
            Layer::Input => (0, 0),
            Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Scale(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Reshape => (1, 1),
            Layer::Add => (2, usize::MAX),
            Layer::Multiply => (2, 2),
            Layer::Gather(_) => (1, usize::MAX),
        }
    }

    /// The parameters that threat models perturb, if the layer has any.
    pub fn affine(&self) -> Option<&Affine> {
        match self {
            Layer::Dense(affine) => Some(affine),
            Layer::Conv(conv) => Some(&conv.affine),
            Layer::Input
            | Layer::Scale(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_)
            | Layer::Reshape => None,
        }
    }

    /// Where a convolution uses its weights; `None` for other layers.
    pub fn kernel_window(&self) -> Option<&Window> {
        if let Layer::Conv(conv) = self { Some(&conv.window) } else { None }
    }

    /// The parameters that threat models perturb, if the layer has any.
    pub(super) fn affine_mut(&mut self) -> Option<&mut Affine> {
        match self {
            Layer::Dense(affine) => Some(affine),
            Layer::Conv(conv) => Some(&mut conv.affine),
            Layer::Input
            | Layer::Scale(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_)
            | Layer::Reshape => None,
        }
    }

    /// Whether another value than the layer's may come out, although its inputs do not move.
    pub fn is_free(&self) -> bool {
        match self {
            Layer::Activation(f) => f.is_free(),
            Layer::DynamicQuantize(q) => q.freedom() > 0.0,
            Layer::Input
            | Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Scale(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_)
            | Layer::Reshape => false,
        }
    }

    /// Whether the layer is neither linear nor the input.
    pub fn is_nonlinear(&self) -> bool {
        match self {
            Layer::Activation(_) | Layer::DynamicQuantize(_) | Layer::MaxPool(_) | Layer::Multiply => true,
            Layer::Input
            | Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Scale(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Gather(_)
            | Layer::Reshape => false,
        }
    }
}
