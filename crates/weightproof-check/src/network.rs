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
    pub(crate) fn defect(&self) -> Option<&'static str> {
        let all = [&self.input[..], &self.kernel, &self.stride, &self.dilation].concat();
        let is_small = |n: usize| (1..=WIDEST).contains(&n);
        let paddings = self.padding.iter().flatten();
        if !all.into_iter().chain([self.channels, self.groups]).all(is_small)
            || !paddings.into_iter().all(|&p| p <= WIDEST)
        {
            return Some("a size of zero, or one that is too large");
        }
        if !self.input[0].is_multiple_of(self.groups) || !self.channels.is_multiple_of(self.groups) {
            return Some("groups that do not divide the channels");
        }
        let fits = |axis: usize| self.reach(axis) <= self.padded(axis);
        let small = |sizes: [usize; 3]| sizes.iter().product::<usize>() <= WIDEST;
        if !(fits(0) && fits(1)) {
            return Some("a kernel larger than the image");
        }
        let reads = self.positions() * self.columns() * self.groups;
        (!small(self.input) || !small([self.channels, self.extent(0), self.extent(1)]) || reads > 1 << 26)
            .then_some("an image with too many elements")
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
        let [_, height, width] = self.input;
        let (y, x) = (position / self.extent(1), position % self.extent(1));
        let depth = self.input[0] / self.groups;
        let mut taps = Vec::new();
        let at = |place: usize, tap: usize, axis: usize| {
            (place * self.stride[axis] + tap * self.dilation[axis]).checked_sub(self.padding[axis][0])
        };
        for c in 0..depth {
            for (ky, kx) in (0..self.kernel[0]).flat_map(|ky| (0..self.kernel[1]).map(move |kx| (ky, kx))) {
                let (Some(y), Some(x)) = (at(y, ky, 0), at(x, kx, 1)) else { continue };
                if y < height && x < width {
                    let column = (c * self.kernel[0] + ky) * self.kernel[1] + kx;
                    taps.push((column, ((group * depth + c) * height + y) * width + x));
                }
            }
        }
        taps
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
        let width = self.width(&op, &widths).map_err(at)?;
        if width == 0 || width > WIDEST {
            return Err(at(format!("expected 1 to {WIDEST} elements, found {width}")));
        }
        self.nodes.push(Node { name: name.into(), op, inputs, width });
        Ok(self.nodes.len() - 1)
    }

    fn width(&self, op: &Op, inputs: &[usize]) -> Result<usize, String> {
        let first = inputs.first().copied().unwrap_or(0);
        let count = if let Op::Input(_) = op { self.nodes.len() } else { 1 };
        let many = *op == Op::Sum && !inputs.is_empty() && inputs.iter().all(|&width| width == first);
        if !many && (inputs.len() != count || (self.nodes.is_empty() && count == 1)) {
            return Err("inputs that do not fit together".into());
        }
        let windowed = |window: &Window| match window.defect() {
            Some(defect) => Err(defect),
            None if window.input.iter().product::<usize>() != first => Err("another size of image"),
            None => Ok(window.channels * window.positions()),
        };
        let pooled = |window: &Window| {
            let own = window.groups == window.input[0] && window.channels == window.input[0];
            if own { windowed(window) } else { Err("pooling across channels") }
        };
        let known = |fits: bool, what| if fits { Ok(first) } else { Err(what) };
        let width = match op {
            Op::Input(width) => Ok(*width),
            Op::Affine(affine) => affine.width(first, windowed),
            Op::Scale { scale, shift } => {
                known([scale.0.len(), shift.0.len()] == [first; 2], "another number of factors")
            }
            Op::Activation(Activation::LeakyRelu(slope)) => {
                known(is_share(*slope), "a slope outside of 0 to 1")
            }
            Op::Activation(Activation::Clip(Some(low), Some(high))) => {
                known(low <= high, "ends in the wrong order")
            }
            Op::Activation(_) | Op::Sum => Ok(first),
            Op::MaxPool(window) => pooled(window).and_then(|width| {
                let reads = |p| !window.taps(0, p).is_empty();
                if (0..window.positions()).all(reads) { Ok(width) } else { Err("an empty window") }
            }),
            Op::AveragePool { window, counts } => pooled(window).and_then(|width| {
                let fits =
                    counts.len() == window.positions() && counts.iter().all(|c| (1..=WIDEST).contains(c));
                if fits { Ok(width) } else { Err("other counts") }
            }),
        };
        width.map_err(Into::into)
    }

    /// The number of the output.
    pub fn output(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Number of elements that a node reads from its first input.
    pub fn read_by(&self, node: usize) -> usize {
        self.nodes[node].inputs.first().map_or(0, |&input| self.nodes[input].width)
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

    fn without_shapes(&self, mut node: usize) -> usize {
        while self.nodes[node].op == Op::Sum && self.nodes[node].inputs.len() == 1 {
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

    fn width<'e>(
        &self,
        input: usize,
        windowed: impl Fn(&Window) -> Result<usize, &'e str>,
    ) -> Result<usize, &'e str> {
        let (columns, width) = match &self.window {
            None => (input, self.rows),
            Some(window) if window.channels != self.rows => return Err("another number of channels"),
            Some(window) => {
                let width = windowed(window)?;
                (window.columns(), width)
            }
        };
        let fits = Some(self.weight.0.len()) == self.rows.checked_mul(columns);
        let biases = self.bias.as_ref().map_or(self.rows, |bias| bias.0.len());
        match (fits, biases == self.rows) {
            (true, true) => Ok(width),
            (false, _) => Err("weights that do not fit the input"),
            (true, false) => Err("another number of biases"),
        }
    }
}

/// Whether a slope is in [0, 1].
pub fn is_share(slope: Number) -> bool {
    !slope.is_negative() && slope <= Number::new(1, 0)
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
