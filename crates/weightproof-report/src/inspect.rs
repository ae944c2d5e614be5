//! Results of `inspect`: layers, shapes, norms, and what a threat model would perturb.

use crate::against::ComparisonReport;
use crate::header::{Environment, ModelReport, ThreatReport};
use crate::table::{Side, Table};
use crate::written::Written;
use crate::{csv, json, text};
use serde::Serialize;
use std::io::{self, Write};
use weightproof::bounds::Norms;
use weightproof::certify::CertifyOptions;
use weightproof::memory::Estimate;
use weightproof::model::{self, Model};
use weightproof::network::{
    Activation, Affine, DynamicQuantizer, Jumps, Layer, Network, Node, Staircase, StoredIntegers,
};
use weightproof::threat::{LayerSet, PerturbationSet};
use weightproof_figure::number::{exact, grouped, shape, value, value_or_dash};

/// Norms of the weights of a layer.
#[derive(Clone, Debug, Serialize)]
pub struct NormReport {
    /// `‖W‖_∞`, the largest ℓ1 norm of a row.
    pub row_l1: f64,
    /// `‖W‖_1`, the largest ℓ1 norm of a column.
    pub column_l1: f64,
    /// `‖W‖_F`, of a convolution the norm of its kernels.
    pub frobenius: f64,
    /// `‖W‖₂`, the largest singular value, measured; `null` where it is not known.
    pub spectral: Option<f64>,
    /// `‖W‖_F² / ‖W‖₂²`, of a convolution that of the matrix that it is.
    pub stable_rank: Option<f64>,
    /// `max |W_ij|`.
    pub largest: f64,
    /// `max |b_i|`.
    pub largest_bias: f64,
}

/// Radii of the parameters of a layer.
#[derive(Clone, Debug, Serialize)]
pub struct RadiusReport {
    /// Smallest radius of a weight.
    pub least: f64,
    /// Mean radius of the weights.
    pub mean: f64,
    /// Largest radius of a weight.
    pub most: f64,
    /// Largest radius of a bias.
    pub bias_most: f64,
}

/// The integers that a layer's weights are stored as.
#[derive(Clone, Debug, Serialize)]
pub struct StoredReport {
    /// Bits of an integer.
    pub bits: u32,
    /// Whether integers have a sign.
    pub signed: bool,
    /// Groups of weights with a step and a zero point of their own.
    pub groups: usize,
    /// Least and largest step.
    pub steps: (f64, f64),
    /// Least and largest zero point.
    pub zeros: (i64, i64),
    /// Least and largest step of a bias; none when biases are not stored as integers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias_steps: Option<(f64, f64)>,
}

impl StoredReport {
    fn new(stored: &StoredIntegers) -> Self {
        let range = |steps: &[f64]| {
            steps.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), &s| (least.min(s), most.max(s)))
        };
        let zeros = || stored.zeros.iter().copied();
        StoredReport {
            bits: stored.bits,
            signed: stored.signed,
            groups: stored.steps.len(),
            steps: range(&stored.steps),
            zeros: (zeros().min().unwrap_or(0), zeros().max().unwrap_or(0)),
            bias_steps: (!stored.bias_steps.is_empty()).then(|| range(&stored.bias_steps)),
        }
    }
}

/// A quantizer of activations.
#[derive(Clone, Debug, Serialize)]
pub struct QuantizerReport {
    /// Distance of two values; nothing where it follows from the range of each sample.
    pub step: Option<f64>,
    /// The integer that stands for zero; nothing where it follows from the range of each sample.
    pub zero: Option<i32>,
    /// Least and largest integer.
    pub range: (i32, i32),
    /// Which step comes out: `nearest-even` or `any`; of a sign `sign`.
    pub rounding: &'static str,
}

impl QuantizerReport {
    fn new(layer: &Layer) -> Option<Self> {
        if let Layer::DynamicQuantize(q) = layer {
            let (range, rounding) = (DynamicQuantizer::RANGE, q.rounding.name());
            return Some(QuantizerReport { step: None, zero: None, range, rounding });
        }
        let Layer::Activation(Activation::Quantize(q)) = layer else { return None };
        let Staircase { step, zero, low, high, rounding, jumps } = *q;
        let rounding = match jumps {
            Jumps::HalfWay => rounding.name(),
            Jumps::AtZero => q.name(),
        };
        Some(QuantizerReport { step: Some(step), zero: Some(zero), range: (low, high), rounding })
    }
}

/// One node of the network.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// `dense`, `relu`, …
    pub kind: String,
    /// Names of the nodes it reads.
    pub inputs: Vec<String>,
    /// Shape of one sample's output.
    pub shape: Vec<usize>,
    /// Number of weights and biases.
    pub parameters: usize,
    /// Norms of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norms: Option<NormReport>,
    /// Whether the threat model moves its parameters; without a threat model, whether one could.
    pub perturbed: bool,
    /// Radii, when a threat model with a radius is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub radius: Option<RadiusReport>,
    /// The integers that the weights are stored as, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<StoredReport>,
    /// The quantizer, if the node is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantizer: Option<QuantizerReport>,
}

/// What `certify` will need with its default method and block size.
#[derive(Clone, Debug, Serialize)]
pub struct EstimateReport {
    /// Samples in one block of work.
    pub block: usize,
    /// Bytes for the program and the network, without the data.
    pub memory_bytes: usize,
    /// Bytes for each radius.
    pub memory_bytes_per_radius: usize,
    /// Bytes for the block that every thread works on.
    pub memory_bytes_per_thread: usize,
    /// Bytes for each radius at which samples are open by rounding, which are bounded in f64, too.
    pub memory_bytes_f64: usize,
    /// Bytes for each radius that `--method exact` adds.
    pub memory_bytes_exact: usize,
    /// Multiply-adds of one sample's forward pass.
    pub forward_multiply_adds: u64,
    /// Multiply-adds of one sample's linear bound, if every neuron were unstable: an upper estimate.
    pub linear_multiply_adds_most: u64,
}

impl EstimateReport {
    /// Estimates for f32 and one set.
    pub fn new(network: &Network, set: &PerturbationSet) -> Self {
        let estimate = Estimate::new::<f32>(network);
        let block = estimate.block(CertifyOptions::BLOCK);
        EstimateReport {
            block,
            memory_bytes: estimate.bytes(),
            memory_bytes_per_radius: estimate.bytes_of_set(network, set),
            memory_bytes_per_thread: estimate.bytes_per_thread(block),
            memory_bytes_f64: estimate.bytes_of_f64(network, set),
            memory_bytes_exact: estimate.bytes_of_exact(),
            forward_multiply_adds: estimate.forward_work(),
            linear_multiply_adds_most: estimate.linear_work(),
        }
    }
}

/// All that `inspect` says.
#[derive(Clone, Debug)]
pub struct InspectReport {
    /// The network.
    pub model: ModelReport,
    /// The threat model, when one with a radius is given.
    pub threat: Option<ThreatReport>,
    /// Every node in topological order.
    pub nodes: Vec<NodeReport>,
    /// Where values differ from those of another program, when these are given.
    pub comparison: Option<ComparisonReport>,
    /// What `certify` will need.
    pub estimate: EstimateReport,
    /// Settings of the run.
    pub config: serde_json::Value,
    /// Time, memory and host.
    pub environment: Environment,
}

impl NodeReport {
    /// Describes every node of `network`, with radii where a set is given, and without spectral norms.
    pub fn all(network: &Network, set: Option<&PerturbationSet>) -> Vec<NodeReport> {
        let model = Model::new(network);
        (0..network.nodes().len()).map(|index| NodeReport::new(&model, index, set)).collect()
    }

    fn new(model: &Model<'_, f64>, index: usize, set: Option<&PerturbationSet>) -> NodeReport {
        let network = model.network;
        let node = &network.nodes()[index];
        let affine = node.layer.affine();
        let layer_set = set.and_then(|set| set.layer(index));
        NodeReport {
            name: node.name.clone(),
            kind: node.layer.kind().into(),
            inputs: node.inputs.iter().map(|&i| network.nodes()[i].name.clone()).collect(),
            shape: node.shape.clone(),
            parameters: affine.map_or(0, |d| d.weight.rows() * (d.weight.cols() + usize::from(d.has_bias))),
            norms: affine.map(|affine| norms(affine, model.affine(index), node)),
            perturbed: affine.is_some() && layer_set.is_none_or(|l| !l.is_zero()),
            radius: affine.zip(layer_set).map(|(affine, set)| radii(affine, set)),
            stored: affine.and_then(|affine| affine.stored.as_ref()).map(StoredReport::new),
            quantizer: QuantizerReport::new(&node.layer),
        }
    }
}

/// Norms of the matrix that a layer is: of a convolution, with its kernels at every position.
fn norms(affine: &Affine, layer: &model::Affine<f64>, node: &Node) -> NormReport {
    let largest = |values: &[f64]| values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let induced = Norms::new(layer, node.width());
    NormReport {
        row_l1: induced.row,
        column_l1: induced.column,
        frobenius: affine.weight.as_slice().iter().map(|w| w * w).sum::<f64>().sqrt(),
        spectral: None,
        stable_rank: None,
        largest: largest(affine.weight.as_slice()),
        largest_bias: largest(&affine.bias),
    }
}

fn radii(dense: &Affine, set: &LayerSet) -> RadiusReport {
    let (rows, cols) = (dense.weight.rows(), dense.weight.cols());
    let (mut least, mut most, mut sum) = (f64::INFINITY, 0.0_f64, 0.0);
    for i in 0..rows {
        for j in 0..cols {
            let radius = set.weight.at(i, j);
            least = least.min(radius);
            most = most.max(radius);
            sum += radius;
        }
    }
    let bias_most = set.bias.iter().copied().fold(0.0, f64::max);
    // Rounding of the sum must not take the mean out of the range.
    let mean = (sum / (rows * cols) as f64).clamp(least, most);
    RadiusReport { least, mean, most, bias_most }
}

impl Written for InspectReport {
    const NO_PARQUET: &str = "the nodes of a network have no Parquet form";

    fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let mut fields = json::Fields::open(out, 0)?;
        fields.field("schema", &"weightproof/inspect/1")?;
        fields.field("model", &self.model)?;
        fields.field("threat", &self.threat)?;
        fields.list("nodes", &self.nodes, json::compact)?;
        if let Some(comparison) = &self.comparison {
            fields.field("comparison", comparison)?;
        }
        fields.field("estimate", &self.estimate)?;
        fields.field("config", &self.config)?;
        fields.field("environment", &self.environment)?;
        fields.close()?;
        writeln!(out)
    }

    fn csv(&self, out: &mut impl Write) -> io::Result<()> {
        let head = ["name", "kind", "shape", "parameters", "row_l1", "column_l1", "frobenius", "spectral"];
        let more = [
            "stable_rank",
            "largest",
            "perturbed",
            "radius_least",
            "radius_mean",
            "radius_most",
            "bias_radius_most",
        ];
        let number = |v: Option<f64>| v.map_or_else(String::new, exact);
        let rows = self.nodes.iter().map(|n| {
            let norm = |f: fn(&NormReport) -> Option<f64>| number(n.norms.as_ref().and_then(f));
            let radius = |f: fn(&RadiusReport) -> f64| number(n.radius.as_ref().map(f));
            vec![
                n.name.clone(),
                n.kind.clone(),
                shape(&n.shape),
                n.parameters.to_string(),
                norm(|n| Some(n.row_l1)),
                norm(|n| Some(n.column_l1)),
                norm(|n| Some(n.frobenius)),
                norm(|n| n.spectral),
                norm(|n| n.stable_rank),
                norm(|n| Some(n.largest)),
                n.perturbed.to_string(),
                radius(|r| r.least),
                radius(|r| r.mean),
                radius(|r| r.most),
                radius(|r| r.bias_most),
            ]
        });
        csv::table(out, head.into_iter().chain(more), rows)
    }

    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let mut head = Table::new([Side::Left, Side::Left]);
        head.push(["model".into(), text::model(&self.model)]);
        self.threat.iter().flat_map(text::threat).for_each(|line| head.push(line));
        let millions = |n: u64| grouped(n.div_ceil(1_000_000) as usize);
        let estimate = &self.estimate;
        head.push([
            "certify".to_string(),
            format!(
                "about {} MB, {} MB for each radius and at most {} MB for each thread (blocks of {} samples)",
                millions(estimate.memory_bytes as u64),
                millions(estimate.memory_bytes_per_radius as u64),
                millions(estimate.memory_bytes_per_thread as u64),
                estimate.block
            ),
        ]);
        head.push([
            String::new(),
            format!(
                "for each radius {} MB more where samples need f64, {} MB more with --method exact",
                millions(estimate.memory_bytes_f64 as u64),
                millions(estimate.memory_bytes_exact as u64),
            ),
        ]);
        head.push([
            "multiply-adds".to_string(),
            format!(
                "{} million per forward pass, at most {} million per linear bound",
                millions(estimate.forward_multiply_adds),
                millions(estimate.linear_multiply_adds_most)
            ),
        ]);
        let notes =
            self.model.notes.iter().chain(&text::image_outputs(&self.model)).cloned().collect::<Vec<_>>();
        notes.iter().for_each(|note| head.push(["note", note]));
        write!(out, "{head}")?;
        let mut sides = vec![Side::Left, Side::Left, Side::Right, Side::Right];
        sides.extend([Side::Right; 6]);
        sides.push(Side::Left);
        let mut table = Table::new(sides);
        let norms = ["max row l1", "max column l1", "Frobenius", "spectral", "stable rank", "max |w|"];
        table.push(["node", "kind", "shape", "parameters"].into_iter().chain(norms).chain(["perturbed"]));
        for n in &self.nodes {
            let norm = |f: fn(&NormReport) -> Option<f64>| {
                n.norms.as_ref().map_or_else(String::new, |n| value_or_dash(f(n)))
            };
            table.push([
                n.name.clone(),
                n.kind.clone(),
                shape(&n.shape),
                if n.parameters == 0 { String::new() } else { grouped(n.parameters) },
                norm(|n| Some(n.row_l1)),
                norm(|n| Some(n.column_l1)),
                norm(|n| Some(n.frobenius)),
                norm(|n| n.spectral),
                norm(|n| n.stable_rank),
                norm(|n| Some(n.largest)),
                if n.norms.is_none() { String::new() } else { yes(n.perturbed).into() },
            ]);
        }
        write!(out, "\n{table}")?;
        if self.nodes.iter().any(|n| n.stored.is_some() || n.quantizer.is_some()) {
            write!(out, "\n{}", self.integer_table())?;
        }
        if self.threat.is_some() {
            write!(out, "\n{}", self.radius_table())?;
        }
        if let Some(comparison) = &self.comparison {
            write!(out, "\n{}", comparison.lines())?;
        }
        Ok(())
    }
}

impl InspectReport {
    /// Steps and zero points of stored weights and of quantizers.
    fn integer_table(&self) -> Table {
        let mut table = Table::new([
            Side::Left,
            Side::Left,
            Side::Right,
            Side::Right,
            Side::Right,
            Side::Right,
            Side::Left,
        ]);
        table.push(["node", "integers", "groups", "least step", "largest step", "zero points", "rounding"]);
        let both = |least: i64, most: i64| {
            if least == most { least.to_string() } else { format!("{least} to {most}") }
        };
        for n in &self.nodes {
            if let Some(s) = &n.stored {
                let kind = format!("{}int{}", if s.signed { "" } else { "u" }, s.bits);
                let steps = [s.steps.0, s.steps.1].map(value);
                let [least, most] = steps;
                let zeros = both(s.zeros.0, s.zeros.1);
                table.push([n.name.clone(), kind, grouped(s.groups), least, most, zeros, String::new()]);
            }
            if let Some(q) = &n.quantizer {
                let range = format!("{} to {}", q.range.0, q.range.1);
                let step = q.step.map_or("by sample".into(), value);
                let zero = q.zero.map_or("by sample".into(), |zero| zero.to_string());
                table.push([n.name.clone(), range, "1".into(), step.clone(), step, zero, q.rounding.into()]);
            }
        }
        table
    }

    fn radius_table(&self) -> Table {
        let mut table = Table::new([Side::Left, Side::Right, Side::Right, Side::Right, Side::Right]);
        table.push(["layer", "least radius", "mean radius", "largest radius", "largest bias radius"]);
        for n in &self.nodes {
            let Some(r) = &n.radius else { continue };
            let cells = [r.least, r.mean, r.most, r.bias_most].map(|v| value_or_dash(Some(v)));
            table.push(std::iter::once(n.name.clone()).chain(cells));
        }
        table
    }
}

fn yes(perturbed: bool) -> &'static str {
    if perturbed { "yes" } else { "no" }
}
