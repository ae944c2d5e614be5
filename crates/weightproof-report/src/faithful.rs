//! What `faithful` says: whether one network is a rounding of another, and which sets hold it.

use crate::header::{Environment, ModelReport};
use crate::table::{Side, Table};
use crate::written::Written;
use crate::{csv, json, text};
use serde::Serialize;
use std::io::{self, Write};
use weightproof_figure::number::{grouped, value, value_or_dash};

/// How the parameters of a layer became others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundingRule {
    /// Nothing changed.
    Equal,
    /// Every weight moved by at most half a step.
    Nearest,
    /// Every weight moved by at most a step.
    Either,
    /// Some weight moved by more than a step.
    Outside,
    /// The second network stores no integers.
    Unknown,
}

impl RoundingRule {
    /// Name as in reports.
    pub fn name(self) -> &'static str {
        match self {
            RoundingRule::Equal => "equal",
            RoundingRule::Nearest => "nearest",
            RoundingRule::Either => "either",
            RoundingRule::Outside => "outside",
            RoundingRule::Unknown => "-",
        }
    }
}

/// One layer of both networks.
#[derive(Clone, Debug, Serialize)]
pub struct FaithfulLayer {
    /// Its name in the first network.
    pub layer: String,
    /// Its name in the second network.
    pub stored_as: String,
    /// Bits of the integers in the second network, where it stores some.
    pub bits: Option<u32>,
    /// Groups of weights with a step of their own.
    pub groups: usize,
    /// Which rule the weights follow.
    pub rule: RoundingRule,
    /// Weights.
    pub weights: usize,
    /// Weights that moved by more than half a step.
    pub beyond_half: usize,
    /// Weights that moved by more than a step, as those do that are beyond the range of the integers.
    pub outside: usize,
    /// Row and column of the first of these.
    pub first_outside: Option<(usize, usize)>,
    /// Farthest that a weight moved, in steps of its integer.
    pub largest_steps: Option<f64>,
    /// Farthest that a bias moved.
    pub largest_bias: f64,
}

/// The smallest set of a kind that holds the second network around the first.
#[derive(Clone, Debug, Serialize)]
pub struct SmallestSet {
    /// `--threat`.
    pub kind: String,
    /// `--radius`; none when no radius is enough, as for a weight of zero that moved and a relative radius.
    pub radius: Option<f64>,
    /// `--bias-radius`.
    pub bias_radius: Option<f64>,
}

/// A file of tensors without a network.
#[derive(Clone, Debug, Serialize)]
pub struct TensorsReport {
    /// Name of the file.
    pub name: String,
    /// `gguf` or `safetensors`.
    pub format: String,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of their numbers.
    pub numbers: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// One of the two files.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum FaithfulFile {
    /// A network.
    Network(Box<ModelReport>),
    /// Tensors by name.
    Tensors(TensorsReport),
}

impl FaithfulFile {
    fn name(&self) -> &str {
        match self {
            FaithfulFile::Network(model) => &model.name,
            FaithfulFile::Tensors(file) => &file.name,
        }
    }

    fn line(&self) -> String {
        match self {
            FaithfulFile::Network(model) => text::model(model),
            FaithfulFile::Tensors(file) => {
                let numbers = grouped(usize::try_from(file.numbers).unwrap_or(usize::MAX));
                format!("{} ({}), {} tensors, {numbers} numbers", file.name, file.format, file.tensors)
            }
        }
    }
}

/// All that `faithful` says.
#[derive(Clone, Debug)]
pub struct FaithfulReport {
    /// The network, or the tensors, that were rounded.
    pub model: FaithfulFile,
    /// What it became.
    pub rounded: FaithfulFile,
    /// Layers with parameters, in order.
    pub layers: Vec<FaithfulLayer>,
    /// Smallest sets that hold all layers; membership was checked in f64.
    pub sets: Vec<SmallestSet>,
    /// Time, memory and host.
    pub environment: Environment,
}

impl FaithfulReport {
    /// Whether every layer is a rounding of the first network's.
    pub fn holds(&self) -> bool {
        self.layers.iter().all(|layer| {
            matches!(layer.rule, RoundingRule::Equal | RoundingRule::Nearest | RoundingRule::Either)
        })
    }
}

impl Written for FaithfulReport {
    const NO_PARQUET: &str = "the layers of a network have no Parquet form";

    fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let mut fields = json::Fields::open(out, 0)?;
        fields.field("schema", &"weightproof/faithful/1")?;
        fields.field("model", &self.model)?;
        fields.field("rounded", &self.rounded)?;
        fields.field("holds", &self.holds())?;
        fields.list("layers", &self.layers, json::compact)?;
        fields.list("sets", &self.sets, json::compact)?;
        fields.field("environment", &self.environment)?;
        fields.close()?;
        writeln!(out)
    }

    fn csv(&self, out: &mut impl Write) -> io::Result<()> {
        let head = ["layer", "stored_as", "bits", "groups", "rule", "weights", "beyond_half", "outside"];
        let more = ["largest_steps", "largest_bias"];
        let rows = self.layers.iter().map(|l| {
            vec![
                l.layer.clone(),
                l.stored_as.clone(),
                l.bits.map_or_else(String::new, |bits| bits.to_string()),
                l.groups.to_string(),
                l.rule.name().to_owned(),
                l.weights.to_string(),
                l.beyond_half.to_string(),
                l.outside.to_string(),
                l.largest_steps.map_or_else(String::new, weightproof_figure::number::exact),
                weightproof_figure::number::exact(l.largest_bias),
            ]
        });
        csv::table(out, head.into_iter().chain(more), rows)
    }

    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let mut head = Table::new([Side::Left, Side::Left]);
        head.push(["model".to_owned(), self.model.line()]);
        head.push(["rounded".to_owned(), self.rounded.line()]);
        write!(out, "{head}")?;
        let mut table = Table::new([
            Side::Left,
            Side::Right,
            Side::Right,
            Side::Left,
            Side::Right,
            Side::Right,
            Side::Right,
            Side::Right,
        ]);
        table.push([
            "layer",
            "bits",
            "groups",
            "rule",
            "beyond half a step",
            "beyond a step",
            "farthest, steps",
            "farthest bias",
        ]);
        for l in &self.layers {
            table.push([
                l.layer.clone(),
                l.bits.map_or_else(String::new, |bits| bits.to_string()),
                grouped(l.groups),
                l.rule.name().to_owned(),
                grouped(l.beyond_half),
                grouped(l.outside),
                value_or_dash(l.largest_steps),
                value(l.largest_bias),
            ]);
        }
        write!(out, "\n{table}")?;
        for l in &self.layers {
            if let Some((row, column)) = l.first_outside {
                writeln!(out, "layer {}: weight [{row}, {column}] is the first beyond a step", l.layer)?;
            }
        }
        let mut table = Table::new([Side::Left, Side::Right, Side::Right]);
        table.push(["--threat", "--radius", "--bias-radius"]);
        let exact = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), weightproof_figure::number::exact);
        for set in &self.sets {
            table.push([set.kind.clone(), exact(set.radius), exact(set.bias_radius)]);
        }
        write!(out, "\nsmallest sets around {} that hold {}\n{table}", self.model.name(), self.rounded.name())
    }
}
