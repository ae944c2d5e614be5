//! Writes certificates for the tests, in plain f64: a second implementation of the bounds, which shares nothing with the checker.
#![allow(clippy::type_complexity)]

pub mod format;

use flate2::{Compression, write::GzEncoder};
use format::{
    ActivationText, BoxClaim, Domain, Header, LayerSet, Line, Moved, MovedLayer, NodeText, OpText, Property,
    Record, SCHEMA, Split, StoredText, Verdict, WeightSet, Witness,
};
use sha2::{Digest, Sha256};
use std::io::Write;
use weightproof_check::certificate::hexadecimal;
use weightproof_check::network::Window;

/// What is added to every end of a box, relatively and absolutely.
pub const WIDENING: f64 = 1e-9;

/// A stream of numbers in [−1, 1).
pub struct Stream(pub u64);

impl Stream {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    pub fn many(&mut self, count: usize, scale: f64) -> Vec<f64> {
        // Parameters of single precision.
        (0..count).map(|_| f64::from((self.next() * scale) as f32)).collect()
    }
}

pub fn double(values: &[f64]) -> String {
    values.iter().fold("d".to_owned(), |text, v| text + &format!("{:016x}", v.to_bits()))
}

pub fn single(values: &[f64]) -> String {
    values.iter().fold("s".to_owned(), |text, v| text + &format!("{:08x}", (*v as f32).to_bits()))
}

#[derive(Clone, Debug)]
pub enum Op {
    Input(usize),
    Dense {
        rows: usize,
        weight: Vec<f64>,
        bias: Option<Vec<f64>>,
    },
    Conv {
        window: Window,
        weight: Vec<f64>,
        bias: Option<Vec<f64>>,
    },
    Scale {
        scale: Vec<f64>,
        shift: Vec<f64>,
    },
    Divide(Vec<f64>),
    Relu,
    Leaky(f64),
    Clip(Option<f64>, Option<f64>),
    Soft(f64),
    /// Step, and the levels that are kept; the integer 0 stands for the first of them.
    Quantize(f64, [i32; 2]),
    MaxPool(Window),
    AveragePool(Window),
    Add,
    /// Elements of flat inputs laid end to end, or a constant.
    Gather(Vec<Option<usize>>, f64),
    Reshape(Vec<usize>),
}

#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub inputs: Vec<usize>,
    pub width: usize,
    pub shape: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
pub struct Net {
    pub nodes: Vec<Node>,
    /// Integers of the layers, by node; empty when none are stored.
    pub stored: Vec<Option<Stored>>,
}

/// Integers of a layer, with their steps by row.
#[derive(Clone, Debug)]
pub struct Stored {
    pub steps: Vec<f64>,
    pub bias_steps: Vec<f64>,
    pub weights: Vec<i8>,
    pub biases: Vec<i32>,
    /// Whether the file of the network has the parameters that these are rounded from.
    pub is_rounded: bool,
}

/// Where the weights of all layers move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Absolute,
    Relative,
    PerChannel,
    Entries,
    Lsb,
    Frobenius,
    RowBall,
    /// A number format: its name, the bits of a number and the power of two of the smallest one.
    Format(&'static str, i32, i32),
}

/// bfloat16, and the format of 8 bits with the shorter fraction.
pub const BF16: Kind = Kind::Format("format:bf16", 8, -133);
pub const FP8: Kind = Kind::Format("format:fp8e5m2", 3, -16);

/// `u`, `η` and `1 + γ` of a format, for sums of `terms`, and what underflow takes from them.
pub fn rounding(bits: i32, least: i32, terms: usize) -> (f64, f64, f64, f64) {
    let (n, all) = (terms as f64, 2_f64.powi(24));
    (2_f64.powi(-bits), 2_f64.powi(least - 1), all / (all - n), n * 2_f64.powi(-149))
}

#[derive(Clone, Debug)]
pub struct Threat {
    pub kind: Kind,
    pub radius: f64,
    pub input_radius: f64,
    pub activation_radius: f64,
}

impl Threat {
    pub fn new(kind: Kind, radius: f64) -> Self {
        Threat { kind, radius, input_radius: 0.0, activation_radius: 0.0 }
    }
}

pub fn window(input: [usize; 3], channels: usize, kernel: [usize; 2]) -> Window {
    Window { input, channels, groups: 1, kernel, stride: [1; 2], dilation: [1; 2], padding: [[0; 2]; 2] }
}

impl Net {
    pub fn new(shape: &[usize]) -> Net {
        let width = shape.iter().product();
        let input = Node { op: Op::Input(width), inputs: vec![], width, shape: shape.to_vec() };
        Net { nodes: vec![input], ..Net::default() }
    }

    pub fn push(&mut self, op: Op, inputs: &[usize]) -> usize {
        let input = self.nodes[inputs[0]].clone();
        let windowed = |w: &Window| vec![w.channels, w.extent(0), w.extent(1)];
        let shape = match &op {
            Op::Input(_) => unreachable!(),
            Op::Dense { rows, .. } => vec![*rows],
            Op::Conv { window, .. } | Op::MaxPool(window) | Op::AveragePool(window) => windowed(window),
            Op::Reshape(shape) => shape.clone(),
            Op::Gather(source, _) => vec![source.len()],
            Op::Scale { .. }
            | Op::Divide(_)
            | Op::Relu
            | Op::Leaky(_)
            | Op::Clip(..)
            | Op::Soft(_)
            | Op::Quantize(..)
            | Op::Add => input.shape.clone(),
        };
        self.nodes.push(Node { op, inputs: inputs.to_vec(), width: shape.iter().product(), shape });
        self.nodes.len() - 1
    }

    pub fn dense(&mut self, rows: usize, stream: &mut Stream) -> usize {
        let last = self.nodes.len() - 1;
        let columns = self.nodes[last].width;
        let weight = stream.many(rows * columns, 1.5 / (columns as f64).sqrt());
        let bias = Some(stream.many(rows, 0.3));
        self.push(Op::Dense { rows, weight, bias }, &[last])
    }

    pub fn conv(&mut self, window: Window, stream: &mut Stream) -> usize {
        let last = self.nodes.len() - 1;
        let columns = window.columns();
        let weight = stream.many(window.channels * columns, 1.5 / (columns as f64).sqrt());
        let bias = Some(stream.many(window.channels, 0.3));
        self.push(Op::Conv { window, weight, bias }, &[last])
    }

    pub fn then(&mut self, op: Op) -> usize {
        let last = self.nodes.len() - 1;
        self.push(op, &[last])
    }

    /// A dense network with ReLUs between its layers.
    pub fn layers(widths: &[usize], stream: &mut Stream) -> Net {
        let mut net = Net::new(&widths[..1]);
        for (place, &width) in widths[1..].iter().enumerate() {
            net.dense(width, stream);
            if place + 2 < widths.len() {
                net.then(Op::Relu);
            }
        }
        net
    }

    /// The same with parameters that are integers times steps, 8 bits for weights and 32 for biases.
    #[must_use]
    pub fn stored(mut self) -> Net {
        for node in &mut self.nodes {
            let (Op::Dense { weight, bias, .. } | Op::Conv { weight, bias, .. }) = &mut node.op else {
                self.stored.push(None);
                continue;
            };
            let bias = bias.as_mut().expect("a bias");
            let columns = weight.len() / bias.len();
            let largest = |row: &[f64]| row.iter().fold(0.0, |most: f64, w| most.max(w.abs()));
            let steps: Vec<f64> =
                weight.chunks(columns).map(|row| f64::from((largest(row) / 127.0) as f32)).collect();
            let bias_steps: Vec<f64> = steps.iter().map(|step| f64::from((step / 100.0) as f32)).collect();
            let weights: Vec<i8> =
                weight.iter().enumerate().map(|(k, w)| (w / steps[k / columns]).round() as i8).collect();
            let biases: Vec<i32> =
                bias.iter().zip(&bias_steps).map(|(b, step)| (b / step).round() as i32).collect();
            let of = |k: usize| f64::from(weights[k]) * steps[k / columns];
            *weight = (0..weight.len()).map(of).collect();
            *bias = biases.iter().zip(&bias_steps).map(|(b, step)| f64::from(*b) * step).collect();
            self.stored.push(Some(Stored { steps, bias_steps, weights, biases, is_rounded: false }));
        }
        self
    }

    fn integers(&self, node: usize) -> Option<&Stored> {
        self.stored.get(node)?.as_ref()
    }

    /// Rows, weights, biases of a layer that moves.
    pub fn parameters(&self, node: usize) -> Option<(usize, &[f64], Option<&Vec<f64>>)> {
        match &self.nodes[node].op {
            Op::Dense { rows, weight, bias } => Some((*rows, weight, bias.as_ref())),
            Op::Conv { window, weight, bias } => Some((window.channels, weight, bias.as_ref())),
            _ => None,
        }
    }

    /// Radii of the weights and biases of a layer.
    pub fn radii(&self, node: usize, threat: &Threat) -> (Vec<f64>, Vec<f64>) {
        let (rows, weight, bias) = self.parameters(node).unwrap();
        let columns = weight.len() / rows;
        let largest: Vec<f64> =
            weight.chunks(columns).map(|row| row.iter().fold(0.0, |m: f64, w| m.max(w.abs()))).collect();
        let r = threat.radius;
        // More than what is asked, by the rounding of these lines.
        const ROOM: f64 = 1.0 + 1e-12;
        let e = |k: usize| match threat.kind {
            Kind::Format(_, bits, least) => {
                let (u, eta, gamma, _) = rounding(bits, least, columns + 1);
                r * ROOM * (((1.0 + u).powi(2) * gamma - 1.0) * weight[k].abs() + (1.0 + u) * gamma * eta)
            }
            Kind::Absolute => r,
            Kind::Relative => r * weight[k].abs(),
            Kind::PerChannel => r * largest[k / columns] * (1.0 + 1e-15),
            Kind::Entries => r * (1.0 + (k % 3) as f64),
            Kind::Lsb => r * self.integers(node).unwrap().steps[k / columns],
            Kind::Frobenius | Kind::RowBall => 0.0,
        };
        let of_bias = |i: usize| match (threat.kind, bias) {
            (Kind::Format(_, bits, least), _) => {
                let (u, eta, gamma, underflow) = rounding(bits, least, columns + 1);
                let b = bias.map_or(0.0, |bias| bias[i].abs());
                let size: f64 = (i * columns..(i + 1) * columns).map(|k| weight[k].abs() + e(k)).sum();
                r * ROOM * (((1.0 + u) * gamma - 1.0) * b + gamma * eta * (1.0 + size) + underflow)
            }
            (_, None) => 0.0,
            (Kind::Relative, Some(bias)) => r * bias[i].abs() * (1.0 + 1e-15),
            (Kind::PerChannel, Some(_)) => r * largest[i] * (1.0 + 1e-15),
            (Kind::Lsb, Some(_)) => r * self.integers(node).unwrap().bias_steps[i],
            (_, Some(_)) => r,
        };
        ((0..weight.len()).map(e).collect(), (0..rows).map(of_bias).collect())
    }

    pub fn set(&self, threat: &Threat) -> Vec<LayerSet> {
        let layer = |node: usize| {
            let (rows, weight, bias) = self.parameters(node)?;
            let columns = weight.len() / rows;
            let (radii, bias_radii) = self.radii(node, threat);
            let weights = match threat.kind {
                Kind::Absolute => WeightSet::Uniform(double(&[threat.radius])),
                Kind::Relative => WeightSet::Relative(double(&[threat.radius])),
                Kind::PerChannel | Kind::Lsb => {
                    WeightSet::Rows(double(&radii.chunks(columns).map(|row| row[0]).collect::<Vec<_>>()))
                }
                Kind::Entries | Kind::Format(..) => WeightSet::Entries(double(&radii)),
                Kind::Frobenius => WeightSet::Ball(double(&[threat.radius])),
                Kind::RowBall => WeightSet::RowBalls(double(&vec![threat.radius; rows])),
            };
            let per_use = matches!(threat.kind, Kind::Format(..));
            let bias = (per_use || bias.is_some()).then(|| double(&bias_radii));
            Some(LayerSet { node, weights, bias, per_use })
        };
        (0..self.nodes.len()).filter_map(layer).collect()
    }

    pub fn texts(&self) -> Vec<NodeText> {
        let text = |(index, node): (usize, &Node)| {
            let stored = self.integers(index).map(|stored| StoredText {
                bits: 8,
                signed: true,
                steps: single(&stored.steps),
                zeros: vec![0; stored.steps.len()],
                bias_steps: Some(single(&stored.bias_steps)),
                rounded: stored.is_rounded,
            });
            // Products of integers and steps have more bits than single precision.
            let of_layer = if stored.is_some() { double } else { single };
            let op = match &node.op {
                Op::Input(width) => OpText::Input(*width),
                Op::Dense { rows, weight, bias } => OpText::Dense {
                    rows: *rows,
                    weight: of_layer(weight),
                    bias: bias.as_ref().map(|b| of_layer(b)),
                    stored,
                },
                Op::Conv { window, weight, bias } => OpText::Conv {
                    rows: window.channels,
                    window: window.clone(),
                    weight: of_layer(weight),
                    bias: bias.as_ref().map(|b| of_layer(b)),
                    stored,
                },
                Op::Scale { scale, shift } => OpText::Scale { scale: double(scale), shift: single(shift) },
                Op::Divide(divisor) => OpText::Divide(single(divisor)),
                Op::Relu => OpText::Activation(ActivationText::Relu),
                Op::Leaky(slope) => OpText::Activation(ActivationText::LeakyRelu(single(&[*slope]))),
                Op::Clip(low, high) => OpText::Activation(ActivationText::Clip(
                    low.map(|x| single(&[x])),
                    high.map(|x| double(&[x])),
                )),
                Op::Soft(lambda) => OpText::Activation(ActivationText::SoftThreshold(single(&[*lambda]))),
                Op::Quantize(step, [bottom, top]) => OpText::Activation(ActivationText::Quantize {
                    step: single(&[*step]),
                    zero: -bottom,
                    low: 0,
                    high: top - bottom,
                }),
                Op::MaxPool(window) => OpText::MaxPool(window.clone()),
                Op::AveragePool(window) => {
                    OpText::AveragePool { window: window.clone(), counts: counts(window) }
                }
                Op::Add => OpText::Add,
                Op::Gather(source, constant) => {
                    OpText::Gather { source: source.clone(), constant: single(&[*constant]) }
                }
                Op::Reshape(_) => OpText::Reshape,
            };
            NodeText { name: format!("n{index}"), inputs: node.inputs.clone(), op }
        };
        self.nodes.iter().enumerate().map(text).collect()
    }

    /// `(matrix, radii, bias, bias radii)` of a linear node, uses of a kernel one by one.
    fn linear(&self, node: usize, threat: &Threat) -> Option<[Vec<Vec<f64>>; 3]> {
        let this = &self.nodes[node];
        let inputs = self.nodes[*this.inputs.first()?].width;
        let (mut w, mut e) = (vec![vec![0.0; inputs]; this.width], vec![vec![0.0; inputs]; this.width]);
        let mut b = vec![vec![0.0, 0.0]; this.width];
        match &this.op {
            Op::Dense { .. } | Op::Conv { .. } => {
                let (rows, weight, bias) = self.parameters(node)?;
                let (radii, bias_radii) = self.radii(node, threat);
                let columns = weight.len() / rows;
                for o in 0..this.width {
                    let (row, taps) = match &this.op {
                        Op::Conv { window, .. } => {
                            let positions = window.positions();
                            let group = o / positions / (window.channels / window.groups);
                            (o / positions, window.taps(group, o % positions))
                        }
                        _ => (o, (0..columns).map(|j| (j, j)).collect()),
                    };
                    for (column, j) in taps {
                        w[o][j] = weight[row * columns + column];
                        e[o][j] = radii[row * columns + column];
                    }
                    b[o] = vec![bias.map_or(0.0, |b| b[row]), bias_radii[row]];
                }
            }
            Op::Scale { scale, shift } => {
                for o in 0..this.width {
                    w[o][o] = scale[o];
                    b[o][0] = shift[o];
                }
            }
            Op::Divide(divisor) => {
                for o in 0..this.width {
                    w[o][o] = 1.0 / divisor[o];
                }
            }
            Op::AveragePool(window) => {
                for o in 0..this.width {
                    let (channel, position) = (o / window.positions(), o % window.positions());
                    for (_, j) in window.taps(channel, position) {
                        w[o][j] = 1.0 / counts(window)[position] as f64;
                    }
                }
            }
            _ => return None,
        }
        Some([w, e, b])
    }

    pub fn value(&self, op: &Op, z: f64) -> f64 {
        match op {
            Op::Relu => z.max(0.0),
            Op::Leaky(slope) => z.max(0.0) + slope * z.min(0.0),
            Op::Clip(low, high) => z.max(low.unwrap_or(f64::MIN)).min(high.unwrap_or(f64::MAX)),
            Op::Soft(lambda) => (z - lambda).max(0.0) + (z + lambda).min(0.0),
            Op::Quantize(step, [bottom, top]) => {
                let level = f64::from((z as f32 / *step as f32).round_ties_even());
                level.clamp(f64::from(*bottom), f64::from(*top)) * step
            }
            _ => unreachable!(),
        }
    }

    /// The file of the network.
    pub fn onnx(&self) -> Vec<u8> {
        let mut graph = Vec::new();
        let name = |index: usize| format!("v{index}");
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            let mut inputs: Vec<String> = node.inputs.iter().map(|&i| name(i)).collect();
            let mut constant = |suffix: &str, dims: &[usize], values: &[f64]| {
                let name = format!("c{index}{suffix}");
                graph.extend(message(5, &tensor(&name, dims, values)));
                inputs.push(name);
            };
            let mut attributes = Vec::new();
            let shape = |i: usize| self.nodes[node.inputs[i]].shape.clone();
            let kind = match &node.op {
                Op::Input(_) => unreachable!(),
                Op::Quantize(step, [bottom, top]) => {
                    constant("s", &[], &[*step]);
                    let name = format!("c{index}z");
                    graph.extend(message(5, &small(&name, -bottom, top - bottom)));
                    inputs.push(name);
                    "QuantizeLinear"
                }
                Op::Dense { rows, weight, .. } if self.integers(index).is_some() => {
                    let dims = [*rows, weight.len() / rows];
                    graph.extend(stored(index, &dims, self.integers(index).unwrap()));
                    inputs.extend(["w", "b"].map(|what| format!("c{index}{what}")));
                    attributes.push(integers("transB", &[1]));
                    "Gemm"
                }
                Op::Conv { window: w, .. } if self.integers(index).is_some() => {
                    let dims = [w.channels, w.input[0] / w.groups, w.kernel[0], w.kernel[1]];
                    graph.extend(stored(index, &dims, self.integers(index).unwrap()));
                    inputs.extend(["w", "b"].map(|what| format!("c{index}{what}")));
                    attributes.extend(slide(w));
                    attributes.push(integers("group", &[w.groups]));
                    "Conv"
                }
                Op::Dense { rows, weight, bias } => {
                    constant("w", &[*rows, weight.len() / rows], weight);
                    if let Some(bias) = bias {
                        constant("b", &[*rows], bias);
                    }
                    attributes.push(integers("transB", &[1]));
                    "Gemm"
                }
                Op::Conv { window: w, weight, bias } => {
                    let dims = [w.channels, w.input[0] / w.groups, w.kernel[0], w.kernel[1]];
                    constant("w", &dims, weight);
                    if let Some(bias) = bias {
                        constant("b", &[w.channels], bias);
                    }
                    attributes.extend(slide(w));
                    attributes.push(integers("group", &[w.groups]));
                    "Conv"
                }
                Op::Scale { scale, shift } if scale.iter().all(|s| *s == 1.0) => {
                    constant(
                        "c",
                        &[&[1], &shape(0)[..]].concat(),
                        &shift.iter().map(|s| -s).collect::<Vec<_>>(),
                    );
                    "Sub"
                }
                Op::Scale { scale, .. } => {
                    constant("c", &[&[1], &shape(0)[..]].concat(), scale);
                    "Mul"
                }
                Op::Divide(divisor) => {
                    constant("c", &[&[1], &shape(0)[..]].concat(), divisor);
                    "Div"
                }
                Op::Relu => "Relu",
                Op::Leaky(slope) => {
                    attributes.push(float("alpha", *slope));
                    "LeakyRelu"
                }
                Op::Clip(low, high) => {
                    constant("l", &[], &[low.unwrap_or(f64::from(f32::MIN))]);
                    constant("h", &[], &[high.unwrap_or(f64::from(f32::MAX))]);
                    "Clip"
                }
                Op::Soft(lambda) => {
                    attributes.extend([float("lambd", *lambda), float("bias", *lambda)]);
                    "Shrink"
                }
                Op::MaxPool(window) => {
                    attributes.extend(slide(window));
                    "MaxPool"
                }
                Op::AveragePool(window) => {
                    attributes.extend(slide(window));
                    attributes.push(integers("count_include_pad", &[0]));
                    "AveragePool"
                }
                Op::Add => "Add",
                Op::Gather(source, value) => {
                    // Inputs end to end, the constant behind them, and then the choice.
                    let total: usize = node.inputs.iter().map(|&i| self.nodes[i].width).sum();
                    let list: Vec<u8> =
                        inputs.iter().flat_map(|input| message(1, input.as_bytes())).collect();
                    let joined = [list, named(&format!("j{index}"), "Concat", &[integers("axis", &[1])])];
                    graph.extend(message(1, &joined.concat()));
                    graph.extend(message(5, &places(&format!("p{index}"), &[0, 0, 0, 1])));
                    graph.extend(message(5, &tensor(&format!("c{index}"), &[], &[*value])));
                    let operands =
                        ["j", "p", "c"].map(|what| message(1, format!("{what}{index}").as_bytes()));
                    let padded = [operands.concat(), named(&format!("a{index}"), "Pad", &[])];
                    graph.extend(message(1, &padded.concat()));
                    let source: Vec<usize> = source.iter().map(|k| k.unwrap_or(total)).collect();
                    graph.extend(message(5, &places(&format!("g{index}"), &source)));
                    inputs = vec![format!("a{index}"), format!("g{index}")];
                    attributes.push(integers("axis", &[1]));
                    "Gather"
                }
                Op::Reshape(_) => "Flatten",
            };
            let mut text = Vec::new();
            inputs.iter().for_each(|input| text.extend(message(1, input.as_bytes())));
            // The numbers that the integers of a quantizer stand for are made of them by a node behind it.
            let is_quantizer = kind == "QuantizeLinear";
            let output = if is_quantizer { format!("q{index}") } else { name(index) };
            text.extend(message(2, output.as_bytes()));
            text.extend(message(3, format!("n{index}").as_bytes()));
            text.extend(message(4, kind.as_bytes()));
            attributes.iter().for_each(|attribute| text.extend(message(5, attribute)));
            graph.extend(message(1, &text));
            if is_quantizer {
                let inputs = [&output, &inputs[1], &inputs[2]].map(|input| message(1, input.as_bytes()));
                let rest = [message(2, name(index).as_bytes()), message(4, b"DequantizeLinear")];
                graph.extend(message(1, &[inputs.concat(), rest.concat()].concat()));
            }
        }
        let info = |index: usize, shape: &[usize]| {
            let dims: Vec<u8> =
                shape.iter().flat_map(|&d| message(1, &[&[8][..], &varint(d as u64)].concat())).collect();
            let tensor = [vec![8, 1], message(2, &dims)].concat();
            [message(1, name(index).as_bytes()), message(2, &message(1, &tensor))].concat()
        };
        let input = [&[1], &self.nodes[0].shape[..]].concat();
        graph.extend(message(11, &info(0, &input)));
        graph.extend(message(12, &info(self.nodes.len() - 1, &[1])));
        let opset = message(8, &[&[16][..], &varint(13)].concat());
        [message(7, &graph), opset].concat()
    }
}

pub fn counts(window: &Window) -> Vec<usize> {
    (0..window.positions()).map(|p| window.taps(0, p).len()).collect()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub fn message(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn tensor(name: &str, dims: &[usize], values: &[f64]) -> Vec<u8> {
    let mut bytes: Vec<u8> = dims.iter().flat_map(|&d| [vec![8], varint(d as u64)].concat()).collect();
    bytes.extend([16, 1]);
    bytes.extend(message(8, name.as_bytes()));
    let raw: Vec<u8> = values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
    bytes.extend(message(9, &raw));
    bytes
}

/// Integers of the weights and biases of node `index`, their steps, and the nodes that make numbers of them.
fn stored(index: usize, dims: &[usize], stored: &Stored) -> Vec<u8> {
    let raw = |name: &str, kind: u8, dims: &[usize], bytes: &[u8]| {
        let dims: Vec<u8> = dims.iter().flat_map(|&d| [vec![8], varint(d as u64)].concat()).collect();
        message(5, &[dims, vec![16, kind], message(8, name.as_bytes()), message(9, bytes)].concat())
    };
    let rows = stored.steps.len();
    let weights: Vec<u8> = stored.weights.iter().map(|w| *w as u8).collect();
    let biases: Vec<u8> = stored.biases.iter().flat_map(|b| b.to_le_bytes()).collect();
    let parts = [("w", 3, dims, weights, &stored.steps), ("b", 6, &[rows], biases, &stored.bias_steps)];
    let mut graph = Vec::new();
    for (what, kind, dims, bytes, steps) in parts {
        let name = |of: &str| format!("c{index}{what}{of}");
        graph.extend(raw(&name("q"), kind, dims, &bytes));
        graph.extend(message(5, &tensor(&name("s"), &[rows], steps)));
        let inputs: Vec<u8> = ["q", "s"].iter().flat_map(|of| message(1, name(of).as_bytes())).collect();
        let node = [inputs, named(&name(""), "DequantizeLinear", &[integers("axis", &[0])])];
        graph.extend(message(1, &node.concat()));
    }
    graph
}

/// A zero point in bytes without sign, or of 16 bits with one, by how many integers there are.
fn small(name: &str, zero: i32, high: i32) -> Vec<u8> {
    let (kind, bytes) = match high {
        255 => (2, vec![zero as u8]),
        65535 => (4, (zero as u16).to_le_bytes().to_vec()),
        _ => panic!("{high} is no largest integer"),
    };
    [vec![16, kind], message(8, name.as_bytes()), message(9, &bytes)].concat()
}

/// A list of integers of 64 bits.
fn places(name: &str, values: &[usize]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|&v| (v as i64).to_le_bytes()).collect();
    let dims = [vec![8], varint(values.len() as u64), vec![16, 7]].concat();
    [dims, message(8, name.as_bytes()), message(9, &raw)].concat()
}

/// Output, operator and attributes of a node.
fn named(output: &str, kind: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let all = attributes.iter().flat_map(|attribute| message(5, attribute));
    [message(2, output.as_bytes()), message(4, kind.as_bytes()), all.collect()].concat()
}

fn integers(name: &str, values: &[usize]) -> Vec<u8> {
    let mut bytes = message(1, name.as_bytes());
    match values {
        [value] => bytes.extend([vec![24], varint(*value as u64)].concat()),
        values => values.iter().for_each(|&v| bytes.extend([vec![64], varint(v as u64)].concat())),
    }
    bytes
}

fn float(name: &str, value: f64) -> Vec<u8> {
    [message(1, name.as_bytes()), vec![21], (value as f32).to_le_bytes().to_vec()].concat()
}

fn slide(w: &Window) -> Vec<Vec<u8>> {
    let pads = [w.padding[0][0], w.padding[1][0], w.padding[0][1], w.padding[1][1]];
    vec![
        integers("kernel_shape", &w.kernel),
        integers("strides", &w.stride),
        integers("dilations", &w.dilation),
        integers("pads", &pads),
    ]
}

/// Boxes of all nodes: lower and upper ends.
pub type Boxes = Vec<(Vec<f64>, Vec<f64>)>;

/// Bounds in f64.
pub struct Bounder<'a> {
    pub net: &'a Net,
    pub threat: &'a Threat,
    /// [`WIDENING`], or zero where every sum is exact in f64.
    pub widening: f64,
    linear: Vec<Option<[Vec<Vec<f64>>; 3]>>,
}

impl<'a> Bounder<'a> {
    pub fn new(net: &'a Net, threat: &'a Threat) -> Self {
        let linear = (0..net.nodes.len()).map(|node| net.linear(node, threat)).collect();
        Bounder { net, threat, widening: WIDENING, linear }
    }

    pub fn forward(&self, input: &[f64]) -> Vec<f64> {
        let mut values: Vec<Vec<f64>> = Vec::new();
        for (index, node) in self.net.nodes.iter().enumerate() {
            let z = node.inputs.first().map(|&i| values[i].clone()).unwrap_or_default();
            values.push(match (&node.op, &self.linear[index]) {
                (Op::Input(_), _) => input.to_vec(),
                (_, Some([w, _, b])) => (0..node.width)
                    .map(|o| b[o][0] + w[o].iter().zip(&z).map(|(w, z)| w * z).sum::<f64>())
                    .collect(),
                (Op::Add, _) => {
                    (0..node.width).map(|j| node.inputs.iter().map(|&i| values[i][j]).sum()).collect()
                }
                (Op::Reshape(_), _) => z,
                (Op::Gather(source, constant), _) => {
                    let all: Vec<f64> = node.inputs.iter().flat_map(|&i| values[i].clone()).collect();
                    source.iter().map(|k| k.map_or(*constant, |k| all[k])).collect()
                }
                (Op::MaxPool(window), _) => (0..node.width)
                    .map(|k| taps(window, k).iter().map(|&j| z[j]).fold(f64::MIN, f64::max))
                    .collect(),
                (op, _) => z.iter().map(|z| self.net.value(op, *z)).collect(),
            });
        }
        values.pop().unwrap()
    }

    /// A lower bound of `c·z` of node `start`.
    pub fn bound(&self, start: usize, c: &[f64], boxes: &Boxes, far: bool) -> f64 {
        let net = self.net;
        let mut work: Vec<Option<Vec<f64>>> = vec![None; start + 1];
        work[start] = Some(c.to_vec());
        let mut offset = 0.0;
        for index in (0..=start).rev() {
            let Some(a) = work[index].take() else { continue };
            let node = &net.nodes[index];
            let at_box = |a: &[f64]| {
                let (l, u) = &boxes[index];
                a.iter().enumerate().map(|(j, &a)| if a > 0.0 { a * l[j] } else { a * u[j] }).sum::<f64>()
            };
            let nonlinear = is_activation(&node.op) || matches!(node.op, Op::MaxPool(_));
            let ends = matches!(node.op, Op::Input(_)) || (index != start && self.is_box(index));
            if ends || (!far && index != start && nonlinear) {
                offset += at_box(&a);
                continue;
            }
            let input = node.inputs[0];
            let mut moved = vec![0.0; net.nodes[input].width];
            if let Some([w, e, b]) = &self.linear[index] {
                let (l, u) = &boxes[input];
                let mut g = vec![0.0; moved.len()];
                for (o, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                    offset += a * b[o][0] - a.abs() * b[o][1];
                    for j in 0..moved.len() {
                        moved[j] += a * w[o][j];
                        g[j] += a.abs() * e[o][j];
                    }
                }
                for j in 0..moved.len() {
                    if l[j] >= 0.0 {
                        moved[j] -= g[j];
                    } else if u[j] <= 0.0 {
                        moved[j] += g[j];
                    } else {
                        let slope = (u[j] + l[j]) / (u[j] - l[j]);
                        moved[j] -= g[j] * slope;
                        offset -= g[j] * (u[j] - slope * u[j]);
                    }
                }
                if net.parameters(index).is_some() {
                    offset -= self.threat.radius * self.ball(index, &a, &boxes[input]);
                }
            } else if let Op::MaxPool(window) = &node.op {
                let (l, u) = &boxes[input];
                for (k, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                    let taps = taps(window, k);
                    let top = taps.iter().copied().fold(taps[0], |t, j| if l[j] > l[t] { j } else { t });
                    moved[top] += a;
                    if a > 0.0 {
                        continue;
                    }
                    // z_top + Σ (z_j − l_top)⁺ with a chord for each, or the largest upper end where that is lower in the middle.
                    let over = |j: usize| u[j] - l[top];
                    let others: Vec<usize> =
                        taps.iter().copied().filter(|&j| j != top && over(j) > 0.0).collect();
                    let most = taps.iter().map(|&j| u[j]).fold(f64::MIN, f64::max);
                    if 2.0 * most < l[top] + u[top] + others.iter().map(|&j| over(j)).sum::<f64>() {
                        moved[top] -= a;
                        offset += a * most;
                        continue;
                    }
                    for j in others {
                        let slope = over(j) / (u[j] - l[j]);
                        moved[j] += a * slope;
                        offset -= a * slope * l[j];
                    }
                }
            } else if nonlinear {
                let (l, u) = &boxes[input];
                for (j, &a) in a.iter().enumerate() {
                    offset -= a.abs() * self.threat.activation_radius;
                    let (slope, t) = self.line(&node.op, a, l[j], u[j]);
                    moved[j] = slope;
                    offset += t;
                }
            } else if let Op::Gather(source, constant) = &node.op {
                let mut first = 0;
                source
                    .iter()
                    .zip(&a)
                    .for_each(|(k, a)| offset += if k.is_none() { a * constant } else { 0.0 });
                for &i in &node.inputs {
                    let width = net.nodes[i].width;
                    let mut all = work[i].take().unwrap_or_else(|| vec![0.0; width]);
                    for (k, a) in source.iter().zip(&a).filter_map(|(k, a)| k.map(|k| (k, a))) {
                        if (first..first + width).contains(&k) {
                            all[k - first] += a;
                        }
                    }
                    work[i] = Some(all);
                    first += width;
                }
                continue;
            } else {
                for &i in &node.inputs {
                    match &mut work[i] {
                        Some(all) => all.iter_mut().zip(&a).for_each(|(all, a)| *all += a),
                        None => work[i] = Some(a.clone()),
                    }
                }
                continue;
            }
            match &mut work[input] {
                Some(all) => all.iter_mut().zip(&moved).for_each(|(all, a)| *all += a),
                None => work[input] = Some(moved),
            }
        }
        offset
    }

    /// The most that a ball of weights of radius 1 moves `a·p` by, for inputs in a box.
    fn ball(&self, index: usize, a: &[f64], (l, u): &(Vec<f64>, Vec<f64>)) -> f64 {
        let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        // By row, what its weights are multiplied by.
        let rows: Vec<Vec<f64>> = match &self.net.nodes[index].op {
            Op::Conv { window, .. } => {
                let positions = window.positions();
                let of_channel = |(channel, a): (usize, &[f64])| {
                    let mut met = vec![[0.0; 2]; window.columns()];
                    for (p, &a) in a.iter().enumerate() {
                        for (column, j) in window.taps(channel / (window.channels / window.groups), p) {
                            met[column][0] += (a * l[j]).min(a * u[j]);
                            met[column][1] += (a * l[j]).max(a * u[j]);
                        }
                    }
                    met.iter().map(|[low, high]| low.abs().max(high.abs())).collect()
                };
                a.chunks(positions).enumerate().map(of_channel).collect()
            }
            _ => {
                let z: Vec<f64> = l.iter().zip(u).map(|(l, u)| l.abs().max(u.abs())).collect();
                a.iter().map(|&a| vec![a * length(&z)]).collect()
            }
        };
        match self.threat.kind {
            Kind::Frobenius => length(&rows.concat()),
            Kind::RowBall => rows.iter().map(|row| length(row)).sum(),
            Kind::Absolute
            | Kind::Relative
            | Kind::PerChannel
            | Kind::Entries
            | Kind::Lsb
            | Kind::Format(..) => 0.0,
        }
    }

    /// Whether nothing before a node moves, or only its own parameters, in a box.
    fn is_box(&self, index: usize) -> bool {
        let moves = |index: usize| self.moves(index);
        let own = self.net.parameters(index).is_some() && self.threat.kind != Kind::Frobenius;
        !moves(index) || (own && !moves(self.net.nodes[index].inputs[0]))
    }

    fn moves(&self, index: usize) -> bool {
        let node = &self.net.nodes[index];
        let own = match node.op {
            Op::Input(_) => self.threat.input_radius > 0.0,
            ref op if is_activation(op) => self.threat.activation_radius > 0.0,
            _ => self.net.parameters(index).is_some(),
        };
        own || node.inputs.iter().any(|&i| self.moves(i))
    }

    /// A line below `a f`.
    fn line(&self, op: &Op, a: f64, l: f64, u: f64) -> (f64, f64) {
        if let Op::Quantize(step, _) = op {
            return self.line_of_steps(op, *step, a, l, u);
        }
        let f = |z| self.net.value(op, z);
        let corners = match op {
            Op::Clip(low, high) => [*low, *high],
            Op::Soft(lambda) => [Some(-lambda), Some(*lambda)],
            _ => [Some(0.0), None],
        };
        let inner: Vec<f64> = corners.into_iter().flatten().filter(|x| l < *x && *x < u).collect();
        let points: Vec<f64> = [l, u].into_iter().chain(inner.iter().copied()).collect();
        let offset = |slope: f64| points.iter().map(|&z| a * f(z) - a * slope * z).fold(f64::MAX, f64::min);
        let through = |x: f64, y: f64| if y > x { (f(y) - f(x)) / (y - x) } else { 0.0 };
        let chord = through(l, u);
        let slope = match op {
            Op::Relu if l >= 0.0 => 1.0,
            Op::Relu if u <= 0.0 => 0.0,
            Op::Relu if a > 0.0 => f64::from(u > -l),
            // The first of those that are tightest in the middle.
            Op::Soft(_) => {
                let ends = inner.iter().flat_map(|&c| [through(l, c), through(c, u)]);
                let middle = |slope: f64| a * slope * 0.5 * (l + u) + offset(slope);
                [0.0, 1.0, chord]
                    .into_iter()
                    .chain(ends)
                    .fold(0.0, |best, slope| if middle(slope) > middle(best) { slope } else { best })
            }
            _ => chord,
        };
        let t = offset(slope);
        (a * slope, t)
    }

    /// A line below `a q` of a quantizer, at all its corners: of the slopes between two of them the one that is tightest in the middle.
    fn line_of_steps(&self, op: &Op, step: f64, a: f64, l: f64, u: f64) -> (f64, f64) {
        let level = |z: f64| (self.net.value(op, z) / step).round() as i32;
        let side = a.signum();
        let jump = |k: i32| {
            let k = f64::from(k);
            (k - 0.5 + side * (k.abs() + 1.0) / f64::from(1 << 22)) * step
        };
        let end = if a > 0.0 { u } else { l };
        let mut corners = vec![(end, self.net.value(op, end))];
        corners.extend((level(l) + 1..=level(u)).map(|k| {
            let below = if a > 0.0 { k - 1 } else { k };
            (jump(k), f64::from(below) * step)
        }));
        let offset = |slope: f64| corners.iter().map(|(z, y)| a * (y - slope * z)).fold(f64::MAX, f64::min);
        let middle = |slope: f64| a * slope * 0.5 * (l + u) + offset(slope);
        let through = corners[1..].iter().map(|(z, y)| (y - corners[0].1) / (z - corners[0].0));
        let slopes = [0.0, 1.0].into_iter().chain(through).filter(|slope| *slope >= 0.0 && slope.is_finite());
        let slope = slopes.fold(0.0, |best, slope| if middle(slope) > middle(best) { slope } else { best });
        (a * slope, offset(slope))
    }

    /// Boxes of all nodes, within `before` and cut by `cuts`: (node, element, lower end, upper end).
    pub fn boxes(&self, input: &[f64], before: Option<&Boxes>) -> Boxes {
        let mut boxes: Boxes = Vec::new();
        let wide = |x: f64, up: f64| x + up * (self.widening * (1.0 + x.abs()));
        for (index, node) in self.net.nodes.iter().enumerate() {
            let r = self.threat.activation_radius;
            let mut found = match &node.op {
                Op::Input(_) => {
                    let r = self.threat.input_radius;
                    (input.iter().map(|x| x - r).collect(), input.iter().map(|x| x + r).collect())
                }
                op if is_activation(op) => {
                    let (l, u): &(Vec<f64>, Vec<f64>) = &boxes[node.inputs[0]];
                    let f = |z: &f64| self.net.value(&node.op, *z);
                    (l.iter().map(|z| f(z) - r).collect(), u.iter().map(|z| f(z) + r).collect())
                }
                Op::MaxPool(window) => {
                    let (l, u) = &boxes[node.inputs[0]];
                    let most = |z: &[f64]| {
                        (0..node.width)
                            .map(|k| taps(window, k).iter().map(|&j| z[j]).fold(f64::MIN, f64::max))
                            .collect()
                    };
                    (most(l), most(u))
                }
                Op::Reshape(_) => boxes[node.inputs[0]].clone(),
                Op::Gather(source, constant) => {
                    let side = |side: fn(&(Vec<f64>, Vec<f64>)) -> &Vec<f64>| {
                        let all: Vec<f64> =
                            node.inputs.iter().flat_map(|&i| side(&boxes[i]).clone()).collect();
                        source.iter().map(|k| k.map_or(*constant, |k| all[k])).collect()
                    };
                    (side(|z| &z.0), side(|z| &z.1))
                }
                _ => {
                    let side = |sign: f64| -> Vec<f64> {
                        let one = |j: usize| {
                            let mut c = vec![0.0; node.width];
                            c[j] = sign;
                            let far = self.bound(index, &c, &boxes, true);
                            sign * wide(far.max(self.bound(index, &c, &boxes, false)), -1.0)
                        };
                        (0..node.width).map(one).collect()
                    };
                    (side(1.0), side(-1.0))
                }
            };
            if let Some(before) = before {
                found.0.iter_mut().zip(&before[index].0).for_each(|(own, l)| *own = own.max(*l));
                found.1.iter_mut().zip(&before[index].1).for_each(|(own, u)| *own = own.min(*u));
            }
            boxes.push(found);
        }
        boxes
    }

    /// Claims for the nodes whose boxes do not follow from others; the last one has none.
    pub fn claims(&self, boxes: &Boxes) -> Vec<BoxClaim> {
        let is_claimed = |index: &usize| {
            let op = &self.net.nodes[*index].op;
            *index + 1 < boxes.len()
                && matches!(
                    op,
                    Op::Dense { .. }
                        | Op::Conv { .. }
                        | Op::Add
                        | Op::Scale { .. }
                        | Op::Divide(_)
                        | Op::AveragePool(_)
                )
        };
        let claim = |node| BoxClaim {
            node,
            elements: None,
            lower: double(&boxes[node].0),
            upper: double(&boxes[node].1),
        };
        (0..boxes.len()).filter(is_claimed).map(claim).collect()
    }

    pub fn margin(&self, class: usize, rival: usize, boxes: &Boxes) -> f64 {
        let output = self.net.nodes.len() - 1;
        let mut c = vec![0.0; self.net.nodes[output].width];
        c[class] = 1.0;
        c[rival] = -1.0;
        self.bound(output, &c, boxes, true).max(self.bound(output, &c, boxes, false))
    }

    /// The least margin.
    pub fn least(&self, class: usize, boxes: &Boxes) -> f64 {
        let count = self.net.nodes.last().unwrap().width;
        (0..count).filter(|j| *j != class).map(|j| self.margin(class, j, boxes)).fold(f64::MAX, f64::min)
    }

    /// A record of one domain: verified, if the bounds say so.
    pub fn linear_record(&self, sample: usize, input: &[f64]) -> Record {
        let class = largest(&self.forward(input));
        let boxes = self.boxes(input, None);
        let verdict = if self.least(class, &boxes) > WIDENING {
            Verdict::Verified(vec![Domain { boxes: self.claims(&boxes), ..Domain::default() }])
        } else {
            Verdict::Unknown("loose bound".into())
        };
        Record { sample, class: Some(class), input: double(input), verdict }
    }

    /// A falsified record: rows of the layers at the ends of their boxes, if some of them break the sample; as shares, or as weights.
    pub fn witness_record(&self, sample: usize, input: &[f64], shares: bool) -> Option<Record> {
        let class = largest(&self.forward(input));
        let mut stream = Stream(sample as u64);
        for _ in 0..2000 {
            let mut moved = self.net.clone();
            let mut layers = Vec::new();
            let mut values = input.to_vec();
            for (index, node) in self.net.nodes.iter().enumerate().skip(1) {
                let Some((rows, weight, bias)) = self.net.parameters(index) else {
                    values.iter_mut().for_each(|z| *z = self.net.value(&node.op, *z));
                    continue;
                };
                let (radii, bias_radii) = self.net.radii(index, self.threat);
                let columns = weight.len() / rows;
                let t: Vec<f64> = (0..rows).map(|_| stream.next().signum()).collect();
                // A little inside, because the product of the share is rounded.
                let inside = 1.0 - 1e-6;
                let w: Vec<f64> = (0..weight.len())
                    .map(|k| weight[k] + inside * t[k / columns] * radii[k] * values[k % columns].signum())
                    .collect();
                let b: Vec<f64> =
                    (0..rows).map(|i| bias.unwrap()[i] + inside * t[i] * bias_radii[i]).collect();
                let to = if shares {
                    Moved::Rows(single(&t.iter().map(|t| t * inside).collect::<Vec<_>>()))
                } else {
                    Moved::Parameters { weight: double(&w), bias: Some(double(&b)) }
                };
                layers.push(MovedLayer { node: index, to });
                let output =
                    |i: usize| b[i] + (0..columns).map(|j| w[i * columns + j] * values[j]).sum::<f64>();
                values = (0..rows).map(output).collect();
                moved.nodes[index].op = Op::Dense { rows, weight: w, bias: Some(b) };
            }
            let row = largest(&values);
            if row != class && values[row] - values[class] > 1e-4 {
                let verdict = Verdict::Falsified(Witness { row, input: None, layers, hits: vec![] });
                return Some(Record { sample, class: Some(class), input: double(input), verdict });
            }
        }
        None
    }

    /// A record with a tree: splits at zero of the widest unstable neuron; `None` when `nodes` are not enough.
    pub fn tree_record(&self, sample: usize, input: &[f64], nodes: usize) -> Option<Record> {
        let class = largest(&self.forward(input));
        let mut domains = vec![Domain::default()];
        let mut open = vec![(0, self.boxes(input, None))];
        while let Some((number, boxes)) = open.pop() {
            let crosses = boxes.iter().any(|(l, u)| l.iter().zip(u).any(|(l, u)| l > u));
            domains[number].boxes = self.claims(&boxes);
            if crosses || self.least(class, &boxes) > WIDENING {
                if crosses {
                    domains[number].boxes.clear();
                }
                continue;
            }
            if domains.len() >= nodes {
                return None;
            }
            let mut widest: Option<(f64, usize, usize)> = None;
            for (index, node) in self.net.nodes.iter().enumerate().filter(|(_, n)| matches!(n.op, Op::Relu)) {
                let (l, u) = &boxes[node.inputs[0]];
                for j in 0..l.len() {
                    let size = u[j].min(-l[j]);
                    if size > 0.0 && widest.is_none_or(|(most, ..)| size > most) {
                        widest = Some((size, self.net.nodes[index].inputs[0], j));
                    }
                }
            }
            let (_, node, element) = widest?;
            let (below, above) = (domains.len(), domains.len() + 1);
            domains[number].split = Some(Split { node, element, value: double(&[0.0]), below, above });
            for (part, side) in [(below, 0), (above, 1)] {
                let mut before = boxes.clone();
                if side == 0 {
                    before[node].1[element] = 0.0
                } else {
                    before[node].0[element] = 0.0
                }
                domains.push(Domain::default());
                open.push((part, self.boxes(input, Some(&before))));
            }
        }
        Some(Record { sample, class: Some(class), input: double(input), verdict: Verdict::Verified(domains) })
    }
}

pub fn is_activation(op: &Op) -> bool {
    matches!(op, Op::Relu | Op::Leaky(_) | Op::Clip(..) | Op::Soft(_) | Op::Quantize(..))
}

fn taps(window: &Window, k: usize) -> Vec<usize> {
    window.taps(k / window.positions(), k % window.positions()).iter().map(|(_, j)| *j).collect()
}

pub fn largest(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, j| if values[j] > values[best] { j } else { best })
}

pub fn header(net: &Net, threat: &Threat, property: Property) -> Header {
    let kind = match threat.kind {
        Kind::Absolute => "absolute",
        Kind::Relative => "relative",
        Kind::PerChannel => "per-channel",
        Kind::Entries => "explicit",
        Kind::Lsb => "lsb",
        Kind::Frobenius => "frobenius",
        Kind::RowBall => "row-ball",
        Kind::Format(name, ..) => name,
    };
    Header {
        schema: SCHEMA,
        writer: "test".into(),
        model_sha256: hexadecimal(&Sha256::digest(net.onnx())),
        data_sha256: None,
        settings_sha256: None,
        method: "linear".into(),
        property,
        outputs: None,
        threat: format::Threat {
            kind: kind.into(),
            name: None,
            radius: (threat.kind != Kind::Entries).then(|| double(&[threat.radius])),
            bias_radius: None,
            layers: None,
            input_radius: double(&[threat.input_radius]),
            input_range: None,
            activation_radius: double(&[threat.activation_radius]),
            rounding: None,
        },
        set: net.set(threat),
        faults: None,
        network: net.texts(),
    }
}

/// The lines of a certificate.
pub fn lines(header: &Header, records: &[Record]) -> Vec<String> {
    let mut lines = vec![serde_json::to_string(header).unwrap()];
    lines.extend(records.iter().map(|r| serde_json::to_string(&Line::Record(Box::new(r.clone()))).unwrap()));
    finished(lines)
}

/// Adds the last line.
pub fn finished(mut lines: Vec<String>) -> Vec<String> {
    let mut digest = Sha256::new();
    lines.iter().for_each(|line| digest.update(format!("{line}\n")));
    let end = Line::End { records: lines.len() - 1, sha256: hexadecimal(&digest.finalize()) };
    lines.push(serde_json::to_string(&end).unwrap());
    lines
}

/// One gzip member for each line.
pub fn compressed(lines: &[String]) -> Vec<u8> {
    let mut file = Vec::new();
    for line in lines {
        let mut member = GzEncoder::new(&mut file, Compression::default());
        writeln!(member, "{line}").unwrap();
        member.finish().unwrap();
    }
    file
}

/// Networks with every operation.
pub fn networks() -> Vec<(&'static str, Net)> {
    let stream = &mut Stream(7);
    let mut all = vec![("dense", Net::layers(&[6, 12, 10, 4], stream))];
    let mut net = Net::new(&[1, 4, 4]);
    net.then(Op::Scale { scale: vec![1.0; 16], shift: stream.many(16, 0.5) });
    net.then(Op::Scale { scale: vec![0.25; 16], shift: vec![0.0; 16] });
    net.conv(Window { padding: [[1, 1]; 2], stride: [2, 2], ..window([1, 4, 4], 3, [3, 3]) }, stream);
    net.then(Op::Relu);
    net.conv(Window { groups: 3, dilation: [1, 1], ..window([3, 2, 2], 6, [2, 1]) }, stream);
    net.then(Op::Relu);
    net.then(Op::Reshape(vec![12]));
    net.dense(3, stream);
    all.push(("convolutional", net));
    let mut net = Net::new(&[5]);
    net.dense(8, stream);
    let first = net.then(Op::Relu);
    net.dense(8, stream);
    net.then(Op::Relu);
    let second = net.dense(8, stream);
    net.push(Op::Add, &[second, first]);
    net.then(Op::Relu);
    net.then(Op::Divide((0..8).map(|j| if j % 3 == 0 { -3.0 } else { 1.25 }).collect()));
    net.dense(3, stream);
    all.push(("residual", net));
    let mut net = Net::new(&[2, 4, 4]);
    net.conv(window([2, 4, 4], 4, [1, 1]), stream);
    net.then(Op::Relu);
    net.then(Op::MaxPool(Window { groups: 4, stride: [2, 2], ..window([4, 4, 4], 4, [2, 2]) }));
    net.then(Op::AveragePool(Window {
        groups: 4,
        padding: [[0, 1], [0, 1]],
        ..window([4, 2, 2], 4, [2, 2])
    }));
    net.then(Op::Reshape(vec![16]));
    net.dense(3, stream);
    all.push(("pooled", net));
    let mut net = Net::new(&[6]);
    net.dense(10, stream);
    net.then(Op::Leaky(f64::from(0.1_f32)));
    net.dense(10, stream);
    net.then(Op::Clip(Some(-0.5), Some(1.0)));
    net.dense(3, stream);
    all.push(("leaky", net));
    let mut net = Net::new(&[5]);
    net.dense(9, stream);
    net.then(Op::Soft(f64::from(0.3_f32)));
    net.dense(8, stream);
    net.then(Op::Soft(0.125));
    net.dense(3, stream);
    all.push(("soft", net));
    let mut net = Net::new(&[6]);
    net.then(Op::Quantize(f64::from(1.0_f32 / 127.0), [-128, 127]));
    net.dense(9, stream);
    net.then(Op::Quantize(f64::from(0.03_f32), [0, 255]));
    net.dense(8, stream);
    // Steps so wide that boxes lie on one or two of them.
    net.then(Op::Relu);
    net.then(Op::Quantize(0.25, [-3, 252]));
    net.dense(8, stream);
    net.then(Op::Quantize(f64::from(1e-4_f32), [-20000, 45535]));
    net.dense(3, stream);
    all.push(("quantized", net));
    let mut net = Net::new(&[5]);
    let first = net.dense(7, stream);
    let relu = net.then(Op::Relu);
    // Some of both, one of them twice, some left out, and a constant.
    let source = vec![Some(9), Some(0), None, Some(13), Some(3), Some(3), Some(7), None, Some(12)];
    net.push(Op::Gather(source, 0.75), &[relu, first]);
    net.dense(8, stream);
    net.then(Op::Gather((0..8).rev().map(Some).collect(), 0.0));
    net.then(Op::Relu);
    net.dense(3, stream);
    all.push(("chosen", net));
    all
}
