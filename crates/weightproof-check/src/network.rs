//! Networks as a list of nodes, however they were read, and the question whether two are the same.

use crate::number::{Number, Numbers};
use serde::{Deserialize, Serialize};

/// Most elements of one node: with it, no sum of products overflows.
pub const WIDEST: usize = 1 << 15;

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Op {
    /// The input of the network, with its number of elements; exactly the first node.
    Input(usize),
    /// A dense layer or a convolution.
    #[serde(alias = "dense", alias = "conv")]
    Affine(Affine),
    /// `scale · z + shift` for every element.
    Scale {
        /// One factor for each element.
        scale: Numbers,
        /// One summand for each element.
        shift: Numbers,
    },
    /// `z / divisor` for every element, with one divisor for each.
    Divide(Numbers),
    /// `f(z)` for every element.
    Activation(Activation),
    /// The largest element of every window.
    MaxPool(Window),
    /// The mean of every window.
    AveragePool {
        /// Which elements are read; every channel is its own group.
        window: Window,
        /// Number of elements that count at each output position: a mean over fewer than the taps leaves padding out.
        counts: Vec<usize>,
    },
    /// The sum of the inputs, element by element. Of one input: another shape of it.
    #[serde(alias = "add", alias = "reshape")]
    Sum,
}

/// A piecewise linear activation.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Activation {
    /// `max(z, 0)`.
    Relu,
    /// `max(z, 0) + slope · min(z, 0)`.
    LeakyRelu(Number),
    /// `min(max(z, low), high)`: low and high, of which one that is `None` does not exist.
    Clip(Option<Number>, Option<Number>),
    /// `z` towards zero by a threshold, zero where `|z|` is below it.
    SoftThreshold(Number),
}

/// Weights and biases, and where they are used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// Number of rows: outputs of a dense layer, channels of a convolution.
    pub rows: usize,
    /// Row by row.
    pub weight: Numbers,
    /// One for each row; `None` when the layer has none.
    pub bias: Option<Numbers>,
    /// Where a convolution uses its rows.
    pub window: Option<Window>,
}

/// A window that slides over an image (channels, height, width). Output (o, y, x) reads, for each tap (ky, kx) and each channel
/// of its group, the element at `y·stride − before + ky·dilation` and likewise for x; taps outside of the image read nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Channels, height and width of the input.
    pub input: [usize; 3],
    /// Output channels.
    pub channels: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Taps along height and width.
    pub kernel: [usize; 2],
    /// Steps along height and width.
    pub stride: [usize; 2],
    /// Distances of taps along height and width.
    pub dilation: [usize; 2],
    /// Elements added before and after along height and width.
    pub padding: [[usize; 2]; 2],
}

impl Window {
    /// What is wrong with the numbers, if anything.
    pub fn defect(&self) -> Option<&'static str> {
        let sizes =
            [&self.input[..], &self.kernel, &self.stride, &self.dilation, &[self.channels, self.groups]]
                .concat();
        let is_small = |size: &usize| *size <= WIDEST;
        if sizes.contains(&0) || !sizes.iter().chain(self.padding.iter().flatten()).all(is_small) {
            return Some("a size of zero, or one that is too large");
        }
        if !self.input[0].is_multiple_of(self.groups) || !self.channels.is_multiple_of(self.groups) {
            return Some("groups that do not divide the channels");
        }
        if [0, 1].into_iter().any(|axis| self.reach(axis) > self.padded(axis)) {
            return Some("a kernel larger than the image");
        }
        let fit = is_small(&self.input.iter().product()) && is_small(&(self.channels * self.positions()));
        // Of small images only, where it does not overflow.
        let reads = || self.positions() * self.columns() * self.groups;
        (!fit || reads() > 1 << 26).then_some("an image with too many elements")
    }

    fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    fn padded(&self, axis: usize) -> usize {
        self.input[axis + 1] + self.padding[axis][0] + self.padding[axis][1]
    }

    /// Output positions along height (0) or width (1).
    pub fn extent(&self, axis: usize) -> usize {
        (self.padded(axis) - self.reach(axis)) / self.stride[axis] + 1
    }

    /// Output positions.
    pub fn positions(&self) -> usize {
        self.extent(0) * self.extent(1)
    }

    /// Weights of one row: input channels of a group, times taps.
    pub fn columns(&self) -> usize {
        self.input[0] / self.groups * self.kernel[0] * self.kernel[1]
    }

    /// `(column, input element)` of everything that output position `position` reads in group `group`.
    pub fn taps(&self, group: usize, position: usize) -> Vec<(usize, usize)> {
        let (place, depth) =
            ([position / self.extent(1), position % self.extent(1)], self.input[0] / self.groups);
        let at = |tap: usize, axis: usize| {
            let padded = place[axis] * self.stride[axis] + tap * self.dilation[axis];
            padded.checked_sub(self.padding[axis][0]).filter(|at| *at < self.input[axis + 1])
        };
        let tap = |column: usize| {
            let (rest, kx) = (column / self.kernel[1], column % self.kernel[1]);
            let (channel, ky) = (group * depth + rest / self.kernel[0], rest % self.kernel[0]);
            Some((column, (channel * self.input[1] + at(ky, 0)?) * self.input[2] + at(kx, 1)?))
        };
        (0..self.columns()).filter_map(tap).collect()
    }
}

/// A node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name, for messages: no proof rests on it.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it reads, all before it.
    pub inputs: Vec<usize>,
    /// Number of its elements, which follows from the others.
    #[serde(skip)]
    pub width: usize,
}

/// A network: the first node is its input, the last one its output.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// In topological order.
    pub nodes: Vec<Node>,
}

impl Network {
    /// The network of these nodes, whose widths need not be known.
    ///
    /// # Errors
    /// Names the node whose shape does not fit its inputs.
    pub fn new(nodes: &[Node]) -> Result<Network, String> {
        let mut network = Network::default();
        for node in nodes {
            network.push(&node.name, node.op.clone(), node.inputs.clone())?;
        }
        if network.nodes.is_empty() { Err("a network without nodes".into()) } else { Ok(network) }
    }

    /// Adds a node, and returns its number.
    ///
    /// # Errors
    /// Names the node when its shape does not fit its inputs.
    pub fn push(&mut self, name: &str, op: Op, inputs: Vec<usize>) -> Result<usize, String> {
        let at = |what: String| format!("node {name}: {what}");
        let widths: Option<Vec<usize>> = inputs.iter().map(|&i| self.nodes.get(i).map(|n| n.width)).collect();
        let widths = widths.ok_or_else(|| at("reads a node that is not before it".into()))?;
        let width = self.width(&op, &widths).map_err(|what| at(what.into()))?;
        if width == 0 || width > WIDEST {
            return Err(at(format!("expected 1 to {WIDEST} elements, found {width}")));
        }
        self.nodes.push(Node { name: name.into(), op, inputs, width });
        Ok(self.nodes.len() - 1)
    }

    fn width(&self, op: &Op, inputs: &[usize]) -> Result<usize, &'static str> {
        let (first, is_first) = (inputs.first().copied().unwrap_or(0), self.nodes.is_empty());
        let is_right_count = match op {
            Op::Input(_) => is_first && inputs.is_empty(),
            Op::Sum => !inputs.is_empty() && inputs.iter().all(|&width| width == first),
            Op::Affine(_)
            | Op::Scale { .. }
            | Op::Divide(_)
            | Op::Activation(_)
            | Op::MaxPool(_)
            | Op::AveragePool { .. } => inputs.len() == 1,
        };
        if !is_right_count {
            return Err("inputs that do not fit together");
        }
        let windowed = |window: &Window| match window.defect() {
            Some(defect) => Err(defect),
            None if window.input.iter().product::<usize>() != first => Err("another size of image"),
            None => Ok(window.channels * window.positions()),
        };
        let pooled = |window: &Window| {
            let is_apart = [window.groups, window.channels] == [window.input[0]; 2];
            if is_apart { windowed(window) } else { Err("pooling across channels") }
        };
        match op {
            Op::Input(width) => Ok(*width),
            Op::Affine(affine) => {
                let (columns, width) = match &affine.window {
                    None => (first, affine.rows),
                    Some(window) if window.channels != affine.rows => {
                        return Err("another number of channels");
                    }
                    Some(window) => {
                        (windowed(window).map(|_| window.columns())?, window.channels * window.positions())
                    }
                };
                if affine.rows.checked_mul(columns) != Some(affine.weight.0.len()) {
                    Err("weights that do not fit the input")
                } else if affine.bias.as_ref().is_some_and(|bias| bias.0.len() != affine.rows) {
                    Err("another number of biases")
                } else {
                    Ok(width)
                }
            }
            Op::Scale { scale, shift } if [scale.0.len(), shift.0.len()] != [first; 2] => {
                Err("another number of factors")
            }
            Op::Divide(divisor) if divisor.0.len() != first || divisor.0.contains(&Number::ZERO) => {
                Err("another number of divisors, or one of zero")
            }
            Op::Activation(Activation::LeakyRelu(slope)) if !is_share(*slope) => {
                Err("a slope outside of 0 to 1")
            }
            Op::Activation(Activation::Clip(Some(low), Some(high))) if low > high => {
                Err("ends in the wrong order")
            }
            Op::Activation(Activation::SoftThreshold(lambda)) if lambda.is_negative() => {
                Err("a negative threshold")
            }
            Op::Scale { .. } | Op::Divide(_) | Op::Activation(_) | Op::Sum => Ok(first),
            Op::MaxPool(window) => {
                let width = pooled(window)?;
                let is_empty = |p| window.taps(0, p).is_empty();
                if (0..window.positions()).any(is_empty) { Err("an empty window") } else { Ok(width) }
            }
            Op::AveragePool { window, counts } => {
                let width = pooled(window)?;
                let fit =
                    counts.len() == window.positions() && counts.iter().all(|c| (1..=WIDEST).contains(c));
                if fit { Ok(width) } else { Err("other counts") }
            }
        }
    }

    /// The number of the output.
    pub fn output(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Where this network is another function than `other`, bit by bit; `None` when it is the same.
    ///
    /// Nodes are compared from the output to the input, so their order and names do not matter, and shapes are skipped.
    pub fn difference(&self, other: &Network) -> Option<String> {
        let mut known = vec![None; self.nodes.len()];
        let mut open = vec![(self.output(), other.output())];
        while let Some((a, b)) = open.pop() {
            let (a, b) = (self.without_shapes(a), other.without_shapes(b));
            let (x, y) = (&self.nodes[a], &other.nodes[b]);
            if known[a].is_some_and(|known| known != b)
                || x.inputs.len() != y.inputs.len()
                || x.width != y.width
            {
                return Some(format!("node {} ({}) is not {} of the model", a, x.name, y.name));
            }
            if known[a].is_none() {
                if x.op != y.op {
                    let what = op_difference(&x.op, &y.op);
                    return Some(format!("node {} ({}): not {} of the model: {what}", a, x.name, y.name));
                }
                known[a] = Some(b);
                open.extend(x.inputs.iter().copied().zip(y.inputs.iter().copied()));
            }
        }
        None
    }

    /// The node whose elements `node` has, as they are.
    fn without_shapes(&self, mut node: usize) -> usize {
        let one = Number::new(1, 0);
        let changes_nothing = |node: usize| match &self.nodes[node].op {
            Op::Sum => self.nodes[node].inputs.len() == 1,
            Op::Scale { scale, shift } => {
                scale.0.iter().all(|s| *s == one) && shift.0.iter().all(|s| *s == Number::ZERO)
            }
            Op::Divide(divisor) => divisor.0.iter().all(|d| *d == one),
            Op::Input(_) | Op::Affine(_) | Op::AveragePool { .. } | Op::Activation(_) | Op::MaxPool(_) => {
                false
            }
        };
        while changes_nothing(node) {
            node = self.nodes[node].inputs[0];
        }
        node
    }
}

impl Affine {
    /// Number of weights of each row.
    pub fn columns(&self) -> usize {
        self.weight.0.len() / self.rows.max(1)
    }

    /// The bias of a row.
    pub fn bias(&self, row: usize) -> Number {
        self.bias.as_ref().map_or(Number::ZERO, |bias| bias.0[row])
    }
}

/// Whether a slope is in [0, 1].
pub fn is_share(slope: Number) -> bool {
    !slope.is_negative() && slope <= Number::ONE
}

fn op_difference(a: &Op, b: &Op) -> String {
    let (Op::Affine(a), Op::Affine(b)) = (a, b) else {
        return "another operation, or other constants".into();
    };
    if (a.rows, a.columns(), &a.window) != (b.rows, b.columns(), &b.window) {
        return "another shape".into();
    }
    let (own, other) = (&a.weight.0, &b.weight.0);
    match (0..own.len()).find(|&k| own[k] != other[k]) {
        Some(k) => {
            let (row, column) = (k / a.columns(), k % a.columns());
            format!("weight ({row}, {column}) is {}, not {}", own[k], other[k])
        }
        None => "other biases".into(),
    }
}
