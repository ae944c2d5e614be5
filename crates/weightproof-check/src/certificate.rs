//! The file format: gzip members, each one line of JSON. docs/reference/certificate.md describes every field.

use crate::network::{Activation, Affine, Network, Op, Window};
use crate::number::{exactly, numbers, one};
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read};

/// Version of the format.
pub const SCHEMA: u64 = 1;
/// Most bytes of one line.
pub const LONGEST_LINE: u64 = 1 << 28;

/// The first line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u64,
    /// Name and version of the program that wrote the file.
    pub writer: String,
    /// SHA-256 of the file of the model, 64 hexadecimal digits.
    pub model_sha256: String,
    /// SHA-256 of the data, if known; not checked.
    pub data_sha256: Option<String>,
    /// SHA-256 of the settings, if known; not checked.
    pub settings_sha256: Option<String>,
    /// The bound method, for readers; the proof does not depend on its name.
    pub method: String,
    /// What is claimed of each sample.
    pub property: Property,
    /// The set as it is documented.
    pub threat: Threat,
    /// The radii of every layer that moves.
    pub set: Vec<LayerSet>,
    /// The network, node by node.
    pub network: Vec<NodeText>,
}

/// What is claimed of each sample.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum Property {
    /// The class of the record has the largest output.
    Label,
    /// So has the class of the record, which is what the unperturbed network says.
    Prediction,
    /// No output differs from the unperturbed network's by `tolerance` or more.
    Deviation {
        /// One number.
        tolerance: String,
    },
}

/// The documented threat model.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Threat {
    /// `absolute`, `relative`, `per-channel`, `frobenius`, `row-ball`, or `explicit`: only what the radii of the layers say.
    pub kind: String,
    /// What users wrote, for readers: `int8`, say, where the kind is `explicit`.
    pub name: Option<String>,
    /// One number, in the unit of the kind.
    pub radius: Option<String>,
    /// One number; biases move like weights when there is none.
    pub bias_radius: Option<String>,
    /// Names of the layers that move; all when there is none.
    pub layers: Option<Vec<String>>,
    /// One number: each element of the input moves by at most this.
    pub input_radius: String,
    /// Two numbers: the moved input is clipped to their range.
    pub input_range: Option<String>,
    /// One number: error added to each activation.
    pub activation_radius: String,
}

/// The radii of one layer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LayerSet {
    /// Number of the node.
    pub node: usize,
    /// Where the weights move.
    pub weights: WeightSet,
    /// Radii of the biases, one for each row; none moves when there is none.
    pub bias: Option<String>,
}

/// Where the weights of one layer move.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum WeightSet {
    /// One number: `|Δ_ij| ≤ r`.
    Uniform(String),
    /// One number for each row: `|Δ_ij| ≤ r_i`.
    Rows(String),
    /// One number: `|Δ_ij| ≤ r |W_ij|`.
    Relative(String),
    /// One number for each weight: `|Δ_ij| ≤ E_ij`.
    Entries(String),
    /// One number: `‖Δ‖_F ≤ r`.
    Ball(String),
    /// One number for each row: `‖Δ_i‖₂ ≤ r_i`.
    RowBalls(String),
}

/// A node of the network.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeText {
    /// Its name.
    pub name: String,
    /// What it reads.
    pub inputs: Vec<usize>,
    /// What it computes.
    pub op: OpText,
}

/// What a node computes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum OpText {
    /// The input, with its number of elements.
    Input(usize),
    /// A dense layer.
    Dense {
        /// Number of outputs.
        rows: usize,
        /// Row by row.
        weight: String,
        /// One for each row.
        bias: Option<String>,
    },
    /// A convolution.
    Conv {
        /// Where the rows are used.
        window: Window,
        /// Row by row: (channel, input channel of the group, height, width).
        weight: String,
        /// One for each channel.
        bias: Option<String>,
    },
    /// Elementwise `scale · z + shift`.
    Scale {
        /// One for each element.
        scale: String,
        /// One for each element.
        shift: String,
    },
    /// `max(z, 0)`.
    Relu,
    /// With its slope below zero, one number.
    LeakyRelu(String),
    /// With its ends.
    Clip {
        /// One number, or none.
        low: Option<String>,
        /// One number, or none.
        high: Option<String>,
    },
    /// The largest element of every window.
    MaxPool(Window),
    /// The mean of every window.
    AveragePool {
        /// The windows.
        window: Window,
        /// Number of elements that count, for each output position.
        counts: Vec<usize>,
    },
    /// The sum of the inputs.
    Add,
    /// Another shape of the input.
    Reshape,
}

/// A line after the header.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Line {
    /// What is known of one sample.
    Record(Box<Record>),
    /// The last line.
    End {
        /// Number of records.
        records: usize,
        /// SHA-256 of all lines before, 64 hexadecimal digits.
        sha256: String,
    },
}

/// What is known of one sample.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    /// Its number in the data; numbers rise from record to record.
    pub sample: usize,
    /// The class of the property; none for `deviation`.
    pub class: Option<usize>,
    /// The unperturbed input.
    pub input: String,
    /// The verdict and what shows it.
    pub verdict: Verdict,
}

/// The verdict of a sample.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Verdict {
    /// The property holds for the whole set: domains, the first of which is the whole set.
    Verified(Vec<Domain>),
    /// It does not hold: parameters that break it.
    Falsified(Witness),
    /// Nothing is claimed, for the given reason.
    Unknown(String),
}

/// A part of the set: all of it, or what a split leaves.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Domain {
    /// Boxes of nodes, in the order of their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub boxes: Vec<BoxClaim>,
    /// Rows with slopes or multipliers of their own, or that are proved here and not in the parts. In a domain without split
    /// all other rows are proved without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowClaim>,
    /// How the domain is divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// The element whose bounds cross, so that the domain is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<Element>,
}

/// The claim that elements of a node lie in a box.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BoxClaim {
    /// Number of the node.
    pub node: usize,
    /// The elements; all of them when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<Vec<usize>>,
    /// One number for each element.
    pub lower: String,
    /// One number for each element.
    pub upper: String,
}

/// What one row of the specification is proved with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RowClaim {
    /// The rival class; for `deviation`, 2j says that output j does not rise by the tolerance, 2j + 1 that it does not fall.
    pub row: usize,
    /// Lower slopes of ReLU nodes in [0, 1], one for each element.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slopes: Vec<NodeNumbers>,
    /// Multipliers of boxes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub multipliers: Vec<NodeNumbers>,
}

/// Numbers of some elements of a node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeNumbers {
    /// Number of the node.
    pub node: usize,
    /// The elements; all of them when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<Vec<usize>>,
    /// One number for each.
    pub values: String,
}

/// An element of a node.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Element {
    /// Number of the node.
    pub node: usize,
    /// Number of the element.
    pub element: usize,
}

/// A division into two parts at one value of an element.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Number of the node.
    pub node: usize,
    /// Number of the element.
    pub element: usize,
    /// One number.
    pub value: String,
    /// Number of the domain where the element is at most the value; larger than the number of this one.
    pub below: usize,
    /// Number of the domain where the element is at least the value; larger than the number of this one.
    pub above: usize,
}

/// Parameters that break the property.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// The row that is broken, as in [`RowClaim`].
    pub row: usize,
    /// The moved input; the record's when there is none.
    pub input: Option<String>,
    /// Layers that are moved.
    pub layers: Vec<MovedLayer>,
}

/// A layer of a witness.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MovedLayer {
    /// Number of the node.
    pub node: usize,
    /// How it is moved.
    pub to: Moved,
}

/// How a layer is moved.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Moved {
    /// All its weights and biases.
    Parameters {
        /// Row by row.
        weight: String,
        /// One for each row.
        bias: Option<String>,
    },
    /// Of a dense layer in a box: one number t in [−1, 1] for each row, for `Δ_ij = t_i E_ij sign(z_j)`, and its bias moves by
    /// `t_i e_i`.
    Rows(String),
}

/// The network of a header.
///
/// # Errors
/// Names the node that is wrong.
pub fn network(nodes: &[NodeText]) -> Result<Network, String> {
    let mut network = Network::default();
    for node in nodes {
        let at = |what: String| format!("node {}: {what}", node.name);
        match op(&node.op).map_err(at)? {
            Some(op) => network.push(&node.name, op, node.inputs.clone())?,
            None => {
                let OpText::Input(width) = node.op else { unreachable!("only inputs have no operation") };
                network.input(&node.name, width)?
            }
        };
    }
    if network.nodes.is_empty() { Err("a network without nodes".into()) } else { Ok(network) }
}

fn op(op: &OpText) -> Result<Option<Op>, String> {
    let affine = |rows: usize, weight: &str, bias: &Option<String>, window: Option<&Window>| {
        let weight = numbers(weight)?;
        let columns = weight.len() / rows.max(1);
        let bias = bias.as_ref().map(|bias| exactly(rows, bias)).transpose()?;
        Ok::<_, String>(Op::Affine(Affine { rows, columns, weight, bias, window: window.cloned() }))
    };
    let end = |text: &Option<String>| text.as_ref().map(|text| one(text)).transpose();
    Ok(Some(match op {
        OpText::Input(_) => return Ok(None),
        OpText::Dense { rows, weight, bias } => affine(*rows, weight, bias, None)?,
        OpText::Conv { window, weight, bias } => affine(window.channels, weight, bias, Some(window))?,
        OpText::Scale { scale, shift } => Op::Scale { scale: numbers(scale)?, shift: numbers(shift)? },
        OpText::Relu => Op::Activation(Activation::Relu),
        OpText::LeakyRelu(slope) => Op::Activation(Activation::LeakyRelu(one(slope)?)),
        OpText::Clip { low, high } => Op::Activation(Activation::Clip(end(low)?, end(high)?)),
        OpText::MaxPool(window) => Op::MaxPool(window.clone()),
        OpText::AveragePool { window, counts } => {
            Op::AveragePool { window: window.clone(), counts: counts.clone() }
        }
        OpText::Add | OpText::Reshape => Op::Sum,
    }))
}

/// Reads a certificate line by line.
pub struct Lines<R> {
    lines: BufReader<MultiGzDecoder<R>>,
    digest: Sha256,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    /// Of a compressed file.
    pub fn new(file: R) -> Self {
        Lines { lines: BufReader::new(MultiGzDecoder::new(file)), digest: Sha256::new(), number: 0 }
    }

    /// SHA-256 of the lines so far.
    pub fn sha256(&self) -> String {
        hexadecimal(&self.digest.clone().finalize())
    }

    /// The next line; `None` at the end of the file. Its bytes count for [`Lines::sha256`] once `keep` is called on them.
    fn bytes(&mut self) -> Result<Option<Vec<u8>>, String> {
        self.number += 1;
        let mut line = Vec::new();
        let fail = |error| format!("line {}: damaged or cut off: {error}", self.number);
        (&mut self.lines).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(fail)?;
        match line.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) => Err(format!("line {}: cut off, or longer than {LONGEST_LINE} bytes", self.number)),
        }
    }

    fn parsed<T: for<'a> Deserialize<'a>>(&self, line: &[u8]) -> Result<T, String> {
        serde_json::from_slice(line).map_err(|error| format!("line {}: {error}", self.number))
    }

    /// The header.
    ///
    /// # Errors
    /// When it is missing, damaged, or of another schema.
    pub fn header(&mut self) -> Result<Header, String> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u64,
        }
        let line = self.bytes()?.ok_or("line 1: the file is empty")?;
        self.digest.update(&line);
        match self.parsed::<Schema>(&line)?.schema {
            SCHEMA => self.parsed(&line),
            other => Err(format!("schema: expected {SCHEMA}, found {other}")),
        }
    }

    /// The next record; `None` behind the last line, which is checked.
    ///
    /// # Errors
    /// When the file is damaged, or ends without its last line.
    pub fn record(&mut self) -> Result<Option<Box<Record>>, String> {
        let line =
            self.bytes()?.ok_or("the file ends without its last line: it was cut off between two records")?;
        match self.parsed(&line)? {
            Line::Record(record) => {
                self.digest.update(&line);
                Ok(Some(record))
            }
            // Line 1 is the header.
            Line::End { records, .. } if records + 2 != self.number => {
                Err(format!("expected {records} records, found {}", self.number - 2))
            }
            Line::End { sha256, .. } if sha256 != self.sha256() => {
                Err(format!("SHA-256 of the lines: expected {sha256}, found {}", self.sha256()))
            }
            Line::End { .. } => match self.bytes()? {
                None => Ok(None),
                Some(_) => Err(format!("line {}: expected nothing after the last line", self.number)),
            },
        }
    }
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
