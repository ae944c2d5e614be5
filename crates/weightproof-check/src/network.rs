//! Networks as a list of nodes, however they were read, and the question whether two are the same.

use crate::number::Number;
use serde::{Deserialize, Serialize};

/// Most elements of one node: with it, no sum of products overflows.
pub const WIDEST: usize = 1 << 15;

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The input of the network; exactly the first node.
    Input,
    /// A dense layer or a convolution.
    Affine(Affine),
    /// `scale · z + shift` for every element.
    Scale {
        /// One factor for each element.
        scale: Vec<Number>,
        /// One summand for each element.
        shift: Vec<Number>,
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
    Sum,
}

/// A piecewise linear activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(z, 0)`.
    Relu,
    /// `max(z, 0) + slope · min(z, 0)`.
    LeakyRelu(Number),
    /// `min(max(z, low), high)`; an end that is `None` does not exist.
    Clip(Option<Number>, Option<Number>),
}

/// Weights and biases, and where they are used.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Number of rows: outputs of a dense layer, channels of a convolution.
    pub rows: usize,
    /// Number of weights of each row.
    pub columns: usize,
    /// Row by row.
    pub weight: Vec<Number>,
    /// One for each row; `None` when the layer has none.
    pub bias: Option<Vec<Number>>,
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
        (!small(self.input) || !small([self.channels, self.extent(0), self.extent(1)]))
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
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name, for messages: no proof rests on it.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it reads, all before it.
    pub inputs: Vec<usize>,
    /// Number of its elements.
    pub width: usize,
}

/// A network: the first node is its input, the last one its output.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// In topological order.
    pub nodes: Vec<Node>,
}

impl Network {
    /// Adds the input of `width` elements.
    ///
    /// # Errors
    /// As [`Network::push`].
    pub fn input(&mut self, name: &str, width: usize) -> Result<usize, String> {
        if !self.nodes.is_empty() || width == 0 || width > WIDEST {
            return Err(format!("node {name}: expected one input of 1 to {WIDEST} elements, found {width}"));
        }
        self.nodes.push(Node { name: name.into(), op: Op::Input, inputs: vec![], width });
        Ok(0)
    }

    /// Adds a node, and returns its number.
    ///
    /// # Errors
    /// Names the node when its shape does not fit its inputs.
    pub fn push(&mut self, name: &str, op: Op, inputs: Vec<usize>) -> Result<usize, String> {
        let fail = |what: String| Err(format!("node {name}: {what}"));
        if inputs.is_empty() || inputs.iter().any(|&i| i >= self.nodes.len()) {
            return fail("reads nothing, or a node that is not before it".into());
        }
        let widths: Vec<usize> = inputs.iter().map(|&i| self.nodes[i].width).collect();
        if widths.iter().any(|&w| w != widths[0]) || (inputs.len() > 1 && op != Op::Sum) {
            return fail("inputs that do not fit together".into());
        }
        let windowed = |window: &Window| match window.defect() {
            Some(defect) => Err(defect.to_owned()),
            None if window.input.iter().product::<usize>() != widths[0] => {
                Err("another size of image".into())
            }
            None => Ok(window.channels * window.positions()),
        };
        let pooled = |window: &Window| {
            let own = window.groups == window.input[0] && window.channels == window.input[0];
            if own { windowed(window) } else { Err("pooling across channels".into()) }
        };
        let width = match &op {
            Op::Input => return fail("a second input".into()),
            Op::Affine(affine) => affine.width(widths[0], windowed),
            Op::Scale { scale, shift } if [scale.len(), shift.len()] == [widths[0]; 2] => Ok(widths[0]),
            Op::Scale { .. } => Err("another number of factors".into()),
            Op::Activation(Activation::LeakyRelu(slope)) if !is_share(*slope) => {
                Err("a slope outside of 0 to 1".into())
            }
            Op::Activation(Activation::Clip(Some(low), Some(high))) if low > high => {
                Err("ends of a clip in the wrong order".into())
            }
            Op::Activation(_) | Op::Sum => Ok(widths[0]),
            Op::MaxPool(window) => pooled(window).and_then(|width| {
                let reads = |p| !window.taps(0, p).is_empty();
                if (0..window.positions()).all(reads) { Ok(width) } else { Err("an empty window".into()) }
            }),
            Op::AveragePool { window, counts } => pooled(window).and_then(|width| {
                let fits =
                    counts.len() == window.positions() && counts.iter().all(|c| (1..=WIDEST).contains(c));
                if fits { Ok(width) } else { Err("other counts".into()) }
            }),
        };
        match width {
            Ok(width) if width <= WIDEST => {
                self.nodes.push(Node { name: name.into(), op, inputs, width });
                Ok(self.nodes.len() - 1)
            }
            Ok(width) => fail(format!("expected at most {WIDEST} elements, found {width}")),
            Err(what) => fail(what),
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

    fn without_shapes(&self, mut node: usize) -> usize {
        while self.nodes[node].op == Op::Sum && self.nodes[node].inputs.len() == 1 {
            node = self.nodes[node].inputs[0];
        }
        node
    }
}

impl Affine {
    fn width(
        &self,
        input: usize,
        windowed: impl Fn(&Window) -> Result<usize, String>,
    ) -> Result<usize, String> {
        if self.rows == 0 || Some(self.weight.len()) != self.rows.checked_mul(self.columns) {
            return Err("another number of weights".into());
        }
        if self.bias.as_ref().is_some_and(|bias| bias.len() != self.rows) {
            return Err("another number of biases".into());
        }
        match &self.window {
            None if self.columns == input => Ok(self.rows),
            Some(window) => {
                let width = windowed(window)?;
                let fits = window.columns() == self.columns && window.channels == self.rows;
                if fits { Ok(width) } else { Err("kernels of another size".into()) }
            }
            None => Err(format!("expected {} inputs, found {input}", self.columns)),
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
    if (a.rows, a.columns, &a.window) != (b.rows, b.columns, &b.window) {
        return "another shape".into();
    }
    match (0..a.weight.len()).find(|&k| a.weight[k] != b.weight[k]) {
        Some(k) => {
            let (row, column) = (k / a.columns, k % a.columns);
            format!("weight ({row}, {column}) is {}, not {}", a.weight[k], b.weight[k])
        }
        None => "other biases".into(),
    }
}
