//! The file format as a writer has it, docs/reference/certificate.md: numbers of networks, sets and proofs are texts of hexadecimal
//! digits.

use serde::Serialize;
use weightproof::evidence;
use weightproof::faults::Fault;
use weightproof::kernels;

/// Version of the format.
pub(super) const SCHEMA: u64 = 1;

/// Numbers: `s` and 8 digits each when all of them are in single precision, else `d` and 16 digits each.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Numbers(pub String);

impl Numbers {
    /// Of finite numbers.
    pub fn new<'v>(values: impl IntoIterator<Item = &'v f64, IntoIter: Clone>) -> Self {
        use std::fmt::Write;
        let values = values.into_iter();
        let is_single = values.clone().all(|&v| f64::from(v as f32).to_bits() == v.to_bits());
        let mut text = String::from(if is_single { "s" } else { "d" });
        for &v in values {
            // A string takes everything.
            let _ = match is_single {
                true => write!(text, "{:08x}", (v as f32).to_bits()),
                false => write!(text, "{:016x}", v.to_bits()),
            };
        }
        Numbers(text)
    }

    /// Of one number.
    pub fn one(value: f64) -> Self {
        Numbers::new(&[value])
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Header {
    pub schema: u64,
    pub writer: String,
    pub model_sha256: String,
    pub data_sha256: Option<String>,
    pub settings_sha256: Option<String>,
    pub method: String,
    pub property: Property,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs>,
    pub threat: Threat,
    pub set: Vec<LayerSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<Faults>,
    pub network: Vec<Node>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(super) enum Property {
    Label,
    Prediction,
    Deviation { tolerance: Numbers },
}

/// What makes classes of outputs that are none.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outputs {
    Positive { threshold: Numbers },
    Within { lower: Option<Numbers>, upper: Option<Numbers> },
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Threat {
    pub kind: String,
    pub name: Option<String>,
    pub radius: Option<Numbers>,
    pub bias_radius: Option<Numbers>,
    pub layers: Option<Vec<String>>,
    pub input_radius: Numbers,
    pub input_range: Option<Numbers>,
    pub activation_radius: Numbers,
    /// Which step comes out of quantizers, where it is not the one of the operator's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<&'static str>,
}

/// Changes of up to so many bits of each of up to so many words of the network.
#[derive(Serialize)]
pub(super) struct Faults {
    pub words: u32,
    pub bits: u32,
    pub fault: Fault,
    pub layers: Vec<HitLayer>,
}

/// The positions that may change in the words of a layer.
#[derive(Serialize)]
pub(super) struct HitLayer {
    pub node: usize,
    pub weights: Vec<u32>,
    pub biases: Vec<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LayerSet {
    pub node: usize,
    pub weights: WeightSet,
    pub bias: Option<Numbers>,
    pub per_use: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WeightSet {
    Uniform(Numbers),
    Rows(Numbers),
    Relative(Numbers),
    Entries(Numbers),
    Ball(Numbers),
    RowBalls(Numbers),
}

#[derive(Serialize)]
pub(super) struct Node {
    pub name: String,
    pub inputs: Vec<usize>,
    pub op: Op,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Op {
    Input(usize),
    Dense(Affine),
    Conv(Affine),
    Scale { scale: Numbers, shift: Numbers },
    Divide(Numbers),
    Activation(Activation),
    MaxPool(Window),
    AveragePool { window: Window, counts: Vec<usize> },
    Add,
    Gather { source: Vec<Option<usize>>, constant: Numbers },
    Reshape,
}

#[derive(Serialize)]
pub(super) struct Affine {
    pub rows: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    pub weight: Numbers,
    pub bias: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
}

/// Stored integers, with one step and zero point for each row.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Stored {
    pub bits: u32,
    pub signed: bool,
    pub steps: Numbers,
    pub zeros: Vec<i64>,
    pub bias_steps: Option<Numbers>,
    /// Whether the file has floating-point numbers, which were rounded to these.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rounded: bool,
}

#[derive(Serialize)]
pub(super) struct Window {
    input: [usize; 3],
    channels: usize,
    groups: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [[usize; 2]; 2],
}

impl From<&kernels::Window> for Window {
    fn from(window: &kernels::Window) -> Self {
        let kernels::Window { input, channels, groups, kernel, stride, dilation, padding } = *window;
        Window { input, channels, groups, kernel, stride, dilation, padding }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Activation {
    Relu,
    LeakyRelu(Numbers),
    Clip(Option<Numbers>, Option<Numbers>),
    SoftThreshold(Numbers),
    Quantize { step: Numbers, zero: i32, low: i32, high: i32 },
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    Record(Record),
    End { records: usize, sha256: String },
}

#[derive(Serialize)]
pub(super) struct Record {
    pub sample: usize,
    pub class: Option<usize>,
    pub input: Numbers,
    pub verdict: Verdict,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Verified(Vec<Domain>),
    Falsified(Witness),
    Unknown(String),
}

#[derive(Serialize)]
pub(super) struct Domain {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    boxes: Vec<BoxClaim>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<RowClaim>,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<Split>,
}

#[derive(Serialize)]
struct BoxClaim {
    node: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    elements: Option<Vec<usize>>,
    lower: Numbers,
    upper: Numbers,
}

#[derive(Serialize)]
struct RowClaim {
    row: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    slopes: Vec<NodeNumbers>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    multipliers: Vec<NodeNumbers>,
}

#[derive(Serialize)]
struct NodeNumbers {
    node: usize,
    elements: Vec<usize>,
    values: Numbers,
}

#[derive(Serialize)]
struct Split {
    node: usize,
    element: usize,
    value: Numbers,
    below: usize,
    above: usize,
}

#[derive(Serialize)]
pub(super) struct Witness {
    pub row: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Numbers>,
    pub layers: Vec<MovedLayer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<HitWord>,
}

/// A word that was hit, and the integer that it became.
#[derive(Serialize)]
pub(super) struct HitWord {
    pub node: usize,
    pub word: Place,
    pub to: i64,
}

/// Which of the words of a layer, by place or row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    Weight(usize),
    Bias(usize),
}

#[derive(Serialize)]
pub(super) struct MovedLayer {
    pub node: usize,
    pub to: Moved,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Moved {
    Parameters { weight: Numbers, bias: Option<Numbers> },
    Rows(Numbers),
}

impl Domain {
    /// A domain of a proof. `node` gives the numbers of nodes in the file, `row` those of rows, `width` the elements of a node.
    pub fn new(
        domain: &evidence::DomainEvidence,
        node: impl Fn(usize) -> usize,
        row: impl Fn(usize) -> usize,
        width: impl Fn(usize) -> usize,
    ) -> Self {
        let numbers = |of: &evidence::NodeNumbers| NodeNumbers {
            node: node(of.node),
            elements: of.elements.clone(),
            values: Numbers::new(&of.values),
        };
        let boxes = domain.boxes.iter().map(|of| BoxClaim {
            node: node(of.node),
            elements: (of.elements.len() < width(of.node)).then(|| of.elements.clone()),
            lower: Numbers::new(&of.lower),
            upper: Numbers::new(&of.upper),
        });
        let rows = domain.rows.iter().map(|of| RowClaim {
            row: row(of.row),
            slopes: of.slopes.iter().map(numbers).collect(),
            multipliers: of.multipliers.iter().map(numbers).collect(),
        });
        let split = domain.split.as_ref().map(|split| Split {
            node: node(split.node),
            element: split.element,
            value: Numbers::one(split.value),
            below: split.parts[0],
            above: split.parts[1],
        });
        Domain { boxes: boxes.collect(), rows: rows.collect(), split }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_single_when_all_are() {
        assert_eq!(Numbers::new(&[1.0, 2.0]).0, "s3f80000040000000");
        assert_eq!(Numbers::new(&[1.0, 0.1]).0, "d3ff00000000000003fb999999999999a");
        assert_eq!(Numbers::one(-0.0).0, "s80000000");
        assert_eq!(Numbers::new(&[]).0, "s");
    }
}
