//! The format as a writer has it: all numbers are texts.
#![allow(missing_docs)]

use serde::Serialize;

use weightproof_check::network::Window;

/// Version of the format.
pub const SCHEMA: u64 = 1;

/// The first line.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Header {
    pub schema: u64,
    pub writer: String,
    pub model_sha256: String,
    pub data_sha256: Option<String>,
    pub settings_sha256: Option<String>,
    pub method: String,
    pub property: Property,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<serde_json::Value>,
    pub threat: Threat,
    pub set: Vec<LayerSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<serde_json::Value>,
    pub network: Vec<NodeText>,
}

/// What is claimed of each sample.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Property {
    Label,
    Prediction,
    Deviation { tolerance: String },
}

/// The documented threat model.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Threat {
    pub kind: String,
    pub name: Option<String>,
    pub radius: Option<String>,
    pub bias_radius: Option<String>,
    pub layers: Option<Vec<String>>,
    pub input_radius: String,
    pub input_range: Option<String>,
    pub activation_radius: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<String>,
}

/// The radii of one layer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LayerSet {
    pub node: usize,
    pub weights: WeightSet,
    pub bias: Option<String>,
    pub per_use: bool,
}

/// Where the weights of one layer move.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightSet {
    Uniform(String),
    Rows(String),
    Relative(String),
    Entries(String),
    Ball(String),
    RowBalls(String),
}

/// A node of the network.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeText {
    pub name: String,
    pub inputs: Vec<usize>,
    pub op: OpText,
}

/// What a node computes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpText {
    Input(usize),
    Dense { rows: usize, weight: String, bias: Option<String>, stored: Option<StoredText> },
    Conv { rows: usize, window: Window, weight: String, bias: Option<String>, stored: Option<StoredText> },
    Scale { scale: String, shift: String },
    Divide(String),
    Activation(ActivationText),
    MaxPool(Window),
    AveragePool { window: Window, counts: Vec<usize> },
    Add,
    Gather { source: Vec<Option<usize>>, constant: String },
    Reshape,
}

/// The integers that parameters are stored as.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoredText {
    pub bits: u32,
    pub signed: bool,
    pub steps: String,
    pub zeros: Vec<i64>,
    pub bias_steps: Option<String>,
    pub rounded: bool,
}

/// A piecewise linear activation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationText {
    Relu,
    LeakyRelu(String),
    Clip(Option<String>, Option<String>),
    SoftThreshold(String),
    Quantize { step: String, zero: i32, low: i32, high: i32 },
}

/// A line after the header.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    Record(Box<Record>),
    End { records: usize, sha256: String },
}

/// What is known of one sample.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    pub sample: usize,
    pub class: Option<usize>,
    pub input: String,
    pub verdict: Verdict,
}

/// The verdict of a sample.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Verified(Vec<Domain>),
    Falsified(Witness),
    Unknown(String),
}

/// A part of the set: all of it, or what a split leaves.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Domain {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub boxes: Vec<BoxClaim>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowClaim>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<Element>,
}

/// The claim that elements of a node lie in a box.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BoxClaim {
    pub node: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<Vec<usize>>,
    pub lower: String,
    pub upper: String,
}

/// What one row of the specification is proved with.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RowClaim {
    pub row: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slopes: Vec<NodeNumbers>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub multipliers: Vec<NodeNumbers>,
}

/// Numbers of some elements of a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeNumbers {
    pub node: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<Vec<usize>>,
    pub values: String,
}

/// An element of a node.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Element {
    pub node: usize,
    pub element: usize,
}

/// A division into two parts at one value of an element.
#[derive(Clone, Debug, Serialize)]
pub struct Split {
    pub node: usize,
    pub element: usize,
    pub value: String,
    pub below: usize,
    pub above: usize,
}

/// Parameters that break the property.
#[derive(Clone, Debug, Serialize)]
pub struct Witness {
    pub row: usize,
    pub input: Option<String>,
    pub layers: Vec<MovedLayer>,
    pub hits: Vec<HitWord>,
}

/// A word that was hit.
#[derive(Clone, Debug, Serialize)]
pub struct HitWord {
    pub node: usize,
    pub word: Place,
    pub to: i64,
}

/// Which of the words of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    Weight(usize),
    Bias(usize),
}

/// A layer of a witness.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MovedLayer {
    pub node: usize,
    pub to: Moved,
}

/// How a layer is moved.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moved {
    Parameters { weight: String, bias: Option<String> },
    Rows(String),
}
