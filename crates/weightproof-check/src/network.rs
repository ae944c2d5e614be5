//! Networks as a list of nodes, however they were read, and the question whether two are the same.

use crate::certificate::Outputs;
use crate::number::{Number, Numbers};
use crate::rounded;
use crate::staircase::Staircase;
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
    /// Elements of the inputs, which are laid end to end, in another order.
    Gather {
        /// By output, the element that it is; `None` for the constant.
        source: Vec<Option<usize>>,
        /// What elements without a source are.
        constant: Number,
    },
    /// The sum of the inputs, element by element. Of one input: another shape of it.
    #[serde(alias = "add", alias = "reshape")]
    Sum,
}

/// A piecewise linear activation, or a staircase.
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
    /// The nearest of the values that integers stand for.
    Quantize(Staircase),
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
    /// The integers that the file stores its parameters as, if it does.
    pub stored: Option<Stored>,
}

/// How integers in the file stand for the weights of a layer, `step · (integer − zero)`, one step and zero point for each row, or for
/// each weight.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stored {
    /// Bits of an integer.
    pub bits: u32,
    /// Whether integers have a sign.
    pub signed: bool,
    /// By row, or by weight.
    pub steps: Numbers,
    /// As many.
    pub zeros: Vec<i64>,
    /// By row; `None` when biases are no integers. Those have 32 bits, or those of the weights where they are rounded, a sign, and the zero
    /// point 0.
    pub bias_steps: Option<Numbers>,
    /// Whether the file has floating-point numbers, of which these are the nearest.
    #[serde(default)]
    pub rounded: bool,
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

impl Node {
    /// Whether it is a layer whose parameters are those of the file, rounded.
    pub fn is_rounded(&self) -> bool {
        matches!(&self.op, Op::Affine(Affine { stored: Some(stored), .. }) if stored.rounded)
    }
}

/// A last operator that is left out, because it changes no order: a sigmoid that of outputs and thresholds, a Softmax, or its logarithm, that
/// of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Of one output.
    Sigmoid,
    /// Over all outputs.
    Softmax,
}

/// A network: the first node is its input, the last one its output.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// In topological order.
    pub nodes: Vec<Node>,
    /// What the file has behind the last node.
    pub head: Option<Head>,
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
            Op::Gather { .. } => !inputs.is_empty(),
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
                let fit = |stored: &Stored| {
                    let (count, biases) = (stored.steps.0.len(), stored.bias_steps.as_ref());
                    [affine.rows, affine.weight.0.len()].contains(&count)
                        && stored.zeros.len() == count
                        && biases.is_none_or(|steps| steps.0.len() == affine.rows)
                };
                if affine.rows.checked_mul(columns) != Some(affine.weight.0.len()) {
                    Err("weights that do not fit the input")
                } else if !affine.stored.as_ref().is_none_or(fit) {
                    Err("another number of steps or zero points")
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
            Op::Activation(Activation::Quantize(q)) => q.defect().map_or(Ok(first), Err),
            Op::Gather { source, .. } => {
                let count: usize = inputs.iter().sum();
                let fit = source.iter().flatten().all(|&element| element < count);
                if fit { Ok(source.len()) } else { Err("an element that is not there") }
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

    /// The same network with classes made of its outputs, if they are none: 0 for class 0, and for each other class what must be below it,
    /// or `f − threshold`.
    ///
    /// # Errors
    /// When the outputs do not fit.
    pub fn with_classes(mut self, outputs: Option<Outputs>) -> Result<Network, String> {
        let (last, count) = (self.output(), self.nodes[self.output()].width);
        let rows: Vec<(usize, Number, Number)> = match outputs {
            Some(Outputs::Positive { threshold }) if count == 1 && self.head != Some(Head::Softmax) => {
                vec![(0, Number::ONE, -threshold)]
            }
            Some(Outputs::Within { lower, upper }) if self.head.is_none() => {
                let row = |j| [lower.map(|l| (j, -Number::ONE, l)), upper.map(|u| (j, Number::ONE, -u))];
                (0..count).flat_map(row).flatten().collect()
            }
            None if self.head != Some(Head::Sigmoid) => return Ok(self),
            _ => {
                return Err(
                    "several outputs for one threshold, or another operator behind the last node".into()
                );
            }
        };
        let source = [None].into_iter().chain(rows.iter().map(|row| Some(row.0))).collect();
        let chosen = self.push("outputs", Op::Gather { source, constant: Number::ZERO }, vec![last])?;
        let numbers = |first: Number, of: fn(&(usize, Number, Number)) -> Number| {
            Numbers([first].into_iter().chain(rows.iter().map(of)).collect())
        };
        let (scale, shift) = (numbers(Number::ONE, |row| row.1), numbers(Number::ZERO, |row| row.2));
        self.push("classes", Op::Scale { scale, shift }, vec![chosen])?;
        Ok(self)
    }

    /// The number of the output.
    pub fn output(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Where this network is another function than `other`, bit by bit but for layers that are rounded; `None` when it is the same.
    ///
    /// Values are compared from the output to the input, element by element, and what only chooses elements is skipped: the order and
    /// names of nodes do not matter, nor do shapes.
    pub fn difference(&self, other: &Network) -> Option<String> {
        let (own, others) = (self.choices(), other.choices());
        let mut known = vec![None; self.nodes.len()];
        let mut open = vec![(self.output(), other.output())];
        while let Some((a, b)) = open.pop() {
            let name = |a: usize, b: usize| {
                format!("node {a} ({}) is not {} of the model", self.nodes[a].name, other.nodes[b].name)
            };
            if self.nodes[a].width != other.nodes[b].width {
                return Some(name(a, b));
            }
            for element in 0..self.nodes[a].width {
                let pair = (self.origin(&own, a, element), other.origin(&others, b, element));
                let (x, y) = match pair {
                    (Ok((x, j)), Ok((y, k))) if j == k => (x, y),
                    (Err(own), Err(other)) if own == other => continue,
                    _ => return Some(format!("{}: element {element}", name(a, b))),
                };
                if known[x].is_some_and(|known| known != y) {
                    return Some(name(x, y));
                }
                if known[x].is_none() {
                    let (p, q) = (&self.nodes[x], &other.nodes[y]);
                    let of_inputs = (p.inputs.len() != q.inputs.len()).then(|| "other inputs".into());
                    if let Some(what) = op_difference(&p.op, &q.op).or(of_inputs) {
                        return Some(format!("{}: {what}", name(x, y)));
                    }
                    known[x] = Some(y);
                    open.extend(p.inputs.iter().copied().zip(q.inputs.iter().copied()));
                }
            }
        }
        None
    }

    /// By node, whether its elements are some of its inputs, unchanged, or constants.
    fn choices(&self) -> Vec<bool> {
        let all = |numbers: &Numbers, value: Number| numbers.0.iter().all(|x| *x == value);
        let chooses = |node: &Node| match &node.op {
            Op::Sum => node.inputs.len() == 1,
            Op::Gather { .. } => true,
            Op::Scale { scale, shift } => all(scale, Number::ONE) && all(shift, Number::ZERO),
            Op::Divide(divisor) => all(divisor, Number::ONE),
            Op::Input(_) | Op::Affine(_) | Op::AveragePool { .. } | Op::Activation(_) | Op::MaxPool(_) => {
                false
            }
        };
        self.nodes.iter().map(chooses).collect()
    }

    /// The element of a node that does more than choose which an element is; or the constant that it is.
    fn origin(
        &self,
        choices: &[bool],
        mut node: usize,
        mut element: usize,
    ) -> Result<(usize, usize), Number> {
        while choices[node] {
            let inputs = &self.nodes[node].inputs;
            let mut place = 0;
            if let Op::Gather { source, constant } = &self.nodes[node].op {
                element = source[element].ok_or(*constant)?;
                while element >= self.nodes[inputs[place]].width {
                    element -= self.nodes[inputs[place]].width;
                    place += 1;
                }
            }
            node = inputs[place];
        }
        Ok((node, element))
    }
}

impl Stored {
    /// Bits of the integers of biases, which have a sign.
    pub fn bias_bits(&self) -> u32 {
        match &self.bias_steps {
            None => 0,
            Some(_) if self.rounded => self.bits,
            Some(_) => 32,
        }
    }

    /// Step and zero point of a weight, by its place among `count`.
    pub fn grid(&self, place: usize, count: usize) -> (Number, i64) {
        let listed = place / (count / self.zeros.len());
        (self.steps.0[listed], self.zeros[listed])
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

/// What is different about two operations; `None` when nothing is, or when the first one is the other, rounded.
fn op_difference(a: &Op, b: &Op) -> Option<String> {
    match (a, b) {
        (Op::Affine(own @ Affine { stored: Some(stored), .. }), Op::Affine(model)) if stored.rounded => {
            rounded::check(own, stored, model).err()
        }
        (Op::Affine(a), Op::Affine(b)) => (a != b).then(|| affine_difference(a, b)),
        _ => (a != b).then(|| "another operation, or other constants".into()),
    }
}

fn affine_difference(a: &Affine, b: &Affine) -> String {
    if (a.rows, a.columns(), &a.window) != (b.rows, b.columns(), &b.window) {
        return "another shape".into();
    }
    let (own, other) = (&a.weight.0, &b.weight.0);
    match (0..own.len()).find(|&k| own[k] != other[k]) {
        Some(k) => {
            let (row, column) = (k / a.columns(), k % a.columns());
            format!("weight ({row}, {column}) is {}, not {}", own[k], other[k])
        }
        None => "other biases, or other steps of stored integers".into(),
    }
}
