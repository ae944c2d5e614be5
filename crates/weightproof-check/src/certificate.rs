//! The file format: gzip members, each one line of JSON. docs/reference/certificate.md describes every field that is not described here.
#![allow(missing_docs)]

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
    pub schema: u64,
    pub writer: String,
    pub model_sha256: String,
    pub data_sha256: Option<String>,
    pub settings_sha256: Option<String>,
    pub method: String,
    pub property: Property,
    pub outputs: Option<Outputs>,
    pub threat: Threat,
    pub set: Vec<LayerSet>,
    pub faults: Option<Faults>,
    pub network: Vec<Node>,
}

/// What is claimed of each sample: that its class has the largest output, that it has and that the unperturbed network says so, or
/// that no output differs from the unperturbed network's by the tolerance or more.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum Property {
    Label,
    Prediction,
    Deviation { tolerance: Number },
}

/// What makes classes of outputs that are none.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Outputs {
    /// Class 1 is one output above the threshold, in front of a last sigmoid; class 0 one that is not.
    Positive { threshold: Number },
    /// Class 0 is all outputs between the ends; every sample is claimed to be of it.
    Within { lower: Option<Number>, upper: Option<Number> },
}

/// The documented threat model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Threat {
    pub kind: Kind,
    pub name: Option<String>,
    pub radius: Option<Number>,
    pub bias_radius: Option<Number>,
    pub layers: Option<Vec<String>>,
    pub input_radius: Number,
    pub input_range: Option<Numbers>,
    pub activation_radius: Number,
    #[serde(default)]
    pub rounding: Rounding,
}

/// Which step comes out of a quantizer: that of the operator's text, or that one or one beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    #[default]
    NearestEven,
    Any,
}

/// Hits on stored words: at most so many words of the network change, and of each at most so many bits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    #[serde(default = "one_word")]
    pub words: usize,
    pub bits: u32,
    #[serde(default)]
    pub fault: Fault,
    pub layers: Vec<HitLayer>,
}

/// What a bit does: it flips, or is stuck at a value, and changes where it has the other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Fault {
    #[default]
    #[serde(rename = "flip")]
    Flip,
    #[serde(rename = "stuck-at-0")]
    StuckAt0,
    #[serde(rename = "stuck-at-1")]
    StuckAt1,
}

fn one_word() -> usize {
    1
}

/// The positions of the bits that may change in the words of a layer, rising from 0, the lowest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HitLayer {
    pub node: usize,
    pub weights: Vec<u32>,
    pub biases: Vec<u32>,
}

/// What the radii of the layers must be at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Absolute,
    Relative,
    PerChannel,
    Frobenius,
    RowBall,
    Lsb,
    #[serde(rename = "format:fp32")]
    Fp32,
    #[serde(rename = "format:tf32")]
    TensorFloat,
    #[serde(rename = "format:bf16")]
    Bf16,
    #[serde(rename = "format:fp16")]
    Fp16,
    #[serde(rename = "format:fp8e4m3")]
    Fp8E4M3,
    #[serde(rename = "format:fp8e5m2")]
    Fp8E5M2,
    Explicit,
}

/// Where the parameters of one layer move.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LayerSet {
    pub node: usize,
    pub weights: WeightSet,
    pub bias: Option<Numbers>,
    #[serde(default)]
    pub per_use: bool,
}

/// Where the weights of one layer move.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightSet {
    Uniform(Number),
    Rows(Numbers),
    Relative(Number),
    Entries(Numbers),
    Ball(Number),
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
    pub sample: usize,
    pub class: Option<usize>,
    pub input: Numbers,
    pub verdict: Verdict,
}

/// The verdict of a sample, and what shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Domains, the first of which is the whole set.
    Verified(Vec<Domain>),
    Falsified(Witness),
    /// Nothing is claimed, for the given reason.
    Unknown(String),
}

/// A part of the set: all of it, or what a split leaves.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Domain {
    pub boxes: Vec<BoxClaim>,
    pub rows: Vec<RowClaim>,
    pub split: Option<Split>,
    /// An element whose bounds cross, so that the domain is empty.
    pub empty: Option<Element>,
}

/// The claim that elements of a node (all of them, when they are not listed) lie in a box.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxClaim {
    pub node: usize,
    pub elements: Option<Vec<usize>>,
    pub lower: Numbers,
    pub upper: Numbers,
}

/// A row that is proved in this domain, and what it is proved with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowClaim {
    pub row: usize,
    #[serde(default)]
    pub slopes: Vec<NodeNumbers>,
    #[serde(default)]
    pub multipliers: Vec<NodeNumbers>,
}

/// Numbers of some elements of a node, or of all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeNumbers {
    pub node: usize,
    pub elements: Option<Vec<usize>>,
    pub values: Numbers,
}

/// An element of a node.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Element {
    pub node: usize,
    pub element: usize,
}

/// A division into the domains in which an element is at most, and at least, a value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    pub node: usize,
    pub element: usize,
    pub value: Number,
    pub below: usize,
    pub above: usize,
}

/// Parameters or words, and an input, that break a row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    pub row: usize,
    pub input: Option<Numbers>,
    pub layers: Vec<MovedLayer>,
    #[serde(default)]
    pub hits: Vec<HitWord>,
}

/// A word that was hit, the integer of a weight or of a bias by its place in the layer, and what it became.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HitWord {
    pub node: usize,
    pub word: Place,
    pub to: i64,
}

/// Which of the words of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    Weight(usize),
    Bias(usize),
}

/// A layer of a witness.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovedLayer {
    pub node: usize,
    pub to: Moved,
}

/// Where a layer is moved.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moved {
    Parameters {
        weight: Numbers,
        bias: Option<Numbers>,
    },
    /// By these shares of the radii of each row, in the direction of the signs of what it reads.
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
        let line = self.bytes()?.ok_or("line 1: the file is empty")?;
        self.digest.update(&line);
        // Of another schema it may have other fields.
        let schema = self.parsed::<serde_json::Value>(&line)?["schema"].clone();
        if schema == SCHEMA {
            self.parsed(&line)
        } else {
            Err(format!("schema: expected {SCHEMA}, found {schema}"))
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
