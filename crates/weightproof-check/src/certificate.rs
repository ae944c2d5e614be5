//! The file format: gzip members, each one line of JSON. docs/reference/certificate.md describes every field.

use crate::network::Node;
use crate::number::{Number, Numbers};
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read};

/// Version of the format.
pub const SCHEMA: u64 = 1;
/// Most bytes of one line.
pub const LONGEST_LINE: u64 = 1 << 28;

/// The first line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u64,
    /// Name and version of the program that wrote the file.
    pub writer: String,
    /// SHA-256 of the file of the model, 64 hexadecimal digits.
    pub model_sha256: String,
    /// SHA-256 of the data, if known.
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
    pub network: Vec<Node>,
}

/// What is claimed of each sample.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum Property {
    /// The class of the record has the largest output.
    Label,
    /// So has the class of the record, which is what the unperturbed network says.
    Prediction,
    /// No output differs from the unperturbed network's by `tolerance` or more.
    Deviation {
        /// In the unit of the outputs.
        tolerance: Number,
    },
}

/// The documented threat model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Threat {
    /// What the radii of the layers must be at least.
    pub kind: Kind,
    /// What users wrote, for readers: `int8`, say, where the kind is `explicit`.
    pub name: Option<String>,
    /// In the unit of the kind.
    pub radius: Option<Number>,
    /// Biases move like weights when there is none.
    pub bias_radius: Option<Number>,
    /// Names of the layers that move; all when there is none.
    pub layers: Option<Vec<String>>,
    /// Each element of the input moves by at most this.
    pub input_radius: Number,
    /// The moved input is clipped to the range of two numbers.
    pub input_range: Option<Numbers>,
    /// Error added to each activation.
    pub activation_radius: Number,
}

/// A family of sets of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `|Δ_ij| ≤ r`.
    Absolute,
    /// `|Δ_ij| ≤ r |W_ij|`.
    Relative,
    /// `|Δ_ij| ≤ r max_j |W_ij|`.
    PerChannel,
    /// `‖Δ‖_F ≤ r`.
    Frobenius,
    /// `‖Δ_i‖₂ ≤ r`.
    RowBall,
    /// Whatever the radii of the layers say.
    Explicit,
}

/// Where the parameters of one layer move.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LayerSet {
    /// Number of the node.
    pub node: usize,
    /// Where its weights move.
    pub weights: WeightSet,
    /// Radii of its biases, one for each row; none moves when there is none.
    pub bias: Option<Numbers>,
    /// Whether each use of a weight of a convolution moves on its own.
    #[serde(default)]
    pub per_use: bool,
}

/// Where the weights of one layer move.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightSet {
    /// `|Δ_ij| ≤ r`.
    Uniform(Number),
    /// `|Δ_ij| ≤ r_i`.
    Rows(Numbers),
    /// `|Δ_ij| ≤ r |W_ij|`.
    Relative(Number),
    /// `|Δ_ij| ≤ E_ij`.
    Entries(Numbers),
    /// `‖Δ‖_F ≤ r`.
    Ball(Number),
    /// `‖Δ_i‖₂ ≤ r_i`.
    RowBalls(Numbers),
}

/// A line after the header.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Line {
    Record(Box<Record>),
    End { records: usize, sha256: String },
}

/// What is known of one sample.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its number in the data; numbers rise from record to record.
    pub sample: usize,
    /// The class of the property; none for `deviation`.
    pub class: Option<usize>,
    /// The unperturbed input.
    pub input: Numbers,
    /// The verdict and what shows it.
    pub verdict: Verdict,
}

/// The verdict of a sample.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The property holds for the whole set: domains, the first of which is the whole set.
    Verified(Vec<Domain>),
    /// It does not hold: parameters that break it.
    Falsified(Witness),
    /// Nothing is claimed, for the given reason.
    Unknown(String),
}

/// A part of the set: all of it, or what a split leaves.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Domain {
    /// Boxes of nodes, in the order of their numbers.
    pub boxes: Vec<BoxClaim>,
    /// Rows with slopes or multipliers of their own, or that are proved here and not in the parts. In a domain without split
    /// all other rows are proved without.
    pub rows: Vec<RowClaim>,
    /// How the domain is divided.
    pub split: Option<Split>,
    /// Node and element whose bounds cross, so that the domain is empty.
    pub empty: Option<Element>,
}

/// The claim that elements of a node lie in a box.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxClaim {
    /// Number of the node.
    pub node: usize,
    /// The elements; all of them when there is none.
    pub elements: Option<Vec<usize>>,
    /// One number for each element.
    pub lower: Numbers,
    /// One number for each element.
    pub upper: Numbers,
}

/// What one row of the specification is proved with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowClaim {
    /// The rival class; for `deviation`, 2j says that output j does not rise by the tolerance, 2j + 1 that it does not fall.
    pub row: usize,
    /// Lower slopes of ReLU nodes in [0, 1], one for each element.
    #[serde(default)]
    pub slopes: Vec<NodeNumbers>,
    /// Multipliers of boxes.
    #[serde(default)]
    pub multipliers: Vec<NodeNumbers>,
}

/// Numbers of some elements of a node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeNumbers {
    /// Number of the node.
    pub node: usize,
    /// The elements; all of them when there is none.
    pub elements: Option<Vec<usize>>,
    /// One number for each.
    pub values: Numbers,
}

/// An element of a node.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Element {
    /// Number of the node.
    pub node: usize,
    /// Number of the element.
    pub element: usize,
}

/// A division into two parts at one value of an element.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Number of the node.
    pub node: usize,
    /// Number of the element.
    pub element: usize,
    /// Where it is divided.
    pub value: Number,
    /// Number of the domain where the element is at most the value; larger than the number of this one.
    pub below: usize,
    /// Number of the domain where the element is at least the value; larger than the number of this one.
    pub above: usize,
}

/// Parameters that break the property.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// The row that is broken, as in [`RowClaim`].
    pub row: usize,
    /// The moved input; the record's when there is none.
    pub input: Option<Numbers>,
    /// Layers that are moved.
    pub layers: Vec<MovedLayer>,
}

/// A layer of a witness.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovedLayer {
    /// Number of the node.
    pub node: usize,
    /// How it is moved.
    pub to: Moved,
}

/// How a layer is moved.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moved {
    /// All its weights and biases.
    Parameters {
        /// Row by row.
        weight: Numbers,
        /// One for each row.
        bias: Option<Numbers>,
    },
    /// Of a dense layer in a box: one number t in [−1, 1] for each row, for `Δ_ij = t_i E_ij sign(z_j)`, and its bias moves by
    /// `t_i e_i`.
    Rows(Numbers),
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

    /// The next line; `None` at the end of the file.
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
        let found = hexadecimal(&self.digest.clone().finalize());
        match self.parsed(&line)? {
            Line::Record(record) => {
                self.digest.update(&line);
                Ok(Some(record))
            }
            // Line 1 is the header.
            Line::End { records, .. } if records + 2 != self.number => {
                Err(format!("expected {records} records, found {}", self.number - 2))
            }
            Line::End { sha256, .. } if sha256 != found => {
                Err(format!("SHA-256 of the lines: expected {sha256}, found {found}"))
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
