//! Results of `certify`, `attack` and `radius`.

use super::{Loaded, Model, ReadError, check, parse};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use weightproof::verdict::Verdict;

/// The command that wrote a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// Proofs.
    Certify,
    /// Searches.
    Attack,
    /// Both, for every radius.
    Radius,
}

impl Command {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Command::Certify => "certify",
            Command::Attack => "attack",
            Command::Radius => "radius",
        }
    }
}

/// A result with samples.
#[derive(Clone, Debug)]
pub struct RunFile {
    /// Name of the file.
    pub file: String,
    /// What it is called in figures: the name of the file without folder and extension, or what was asked for.
    pub name: String,
    /// Whether it was asked for.
    pub named: bool,
    /// The command that wrote it.
    pub command: Command,
    /// Whether the run was interrupted.
    pub partial: bool,
    /// The network.
    pub model: Model,
    /// The data.
    pub data: Data,
    /// The perturbation set.
    pub threat: Threat,
    /// How the question was answered, as it was written.
    pub method: Map<String, Value>,
    /// What the numbers of the method are worth.
    pub guarantee: String,
    /// Settings, as they were written.
    pub config: Value,
    /// One for each radius, radii ascending.
    pub results: Vec<ResultAt>,
    /// Time, memory and host, as they were written.
    pub environment: Map<String, Value>,
}

/// The data of a result.
#[derive(Clone, Debug, Deserialize)]
pub struct Data {
    /// Where they come from.
    pub description: String,
    /// `idx`, `npz`, …
    pub format: String,
    /// Number of samples in the result.
    pub samples: usize,
    /// Index of the first one.
    pub offset: usize,
    /// Shape of a sample.
    pub shape: Vec<usize>,
    /// Whether the samples have labels.
    pub labelled: bool,
    /// What the numbers of the file were multiplied by.
    #[serde(default)]
    pub scale: Option<DataScale>,
    /// SHA-256 of the samples' file, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of the labels.
    #[serde(default)]
    pub labels_sha256: Option<String>,
}

/// What the numbers of the data were multiplied by.
#[derive(Clone, Debug, Deserialize)]
pub struct DataScale {
    /// The factor, as it is written.
    pub factor: String,
}

/// The threat model of a result.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Threat {
    /// `absolute`, `int8`, …
    pub kind: String,
    /// What one unit of radius means.
    pub unit: String,
    /// The radius of the result, when it is about one.
    pub radius: Option<f64>,
    /// Radius of the biases; `None` when they move like the weights.
    pub bias_radius: Option<f64>,
    /// Radius of the joint input perturbation.
    pub input_radius: f64,
    /// Range that inputs are clipped to.
    pub input_range: Option<(f64, f64)>,
    /// Radius of the error of every activation.
    pub activation_radius: f64,
    /// Layers whose parameters move.
    pub perturbed_layers: Vec<String>,
    /// Radii of single layers.
    #[serde(default)]
    pub overrides: BTreeMap<String, Value>,
    /// What is taken for granted about the hardware.
    #[serde(default)]
    pub assumptions: Vec<String>,
    /// What is random about the weights, as it was written.
    #[serde(default)]
    pub noise: Option<Map<String, Value>>,
}

/// Numbers over all samples. Which are there depends on the command.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Summary {
    /// Number of samples.
    pub samples: usize,
    /// Samples that are predicted right.
    pub correct: Option<usize>,
    /// `correct / samples`.
    pub accuracy: Option<f64>,
    /// `certify`: samples that are verified.
    pub certified: Option<usize>,
    /// `certified / samples`.
    pub certified_accuracy: Option<f64>,
    /// Mean proved margin.
    pub mean_margin_lower: Option<f64>,
    /// Proved bound of how far any output moves in any sample.
    pub deviation_upper: Option<f64>,
    /// `certify --method exact`: samples with a witness.
    pub falsified: Option<usize>,
    /// `certify --method exact`: samples that stayed open.
    pub unknown: Option<usize>,
    /// `attack`: samples that were not broken.
    pub robust: Option<usize>,
    /// `robust / samples`.
    pub accuracy_under_attack: Option<f64>,
    /// `certify --noise`: the share of samples that hold, in the mean over devices, is at least this.
    pub expected_accuracy_at_least: Option<f64>,
    /// `attack --noise`: shares of samples on drawn devices.
    pub devices: Option<DevicesAt>,
    /// Mean of the worst margins found.
    pub mean_worst_margin: Option<f64>,
    /// `radius`: lower median.
    pub median_certified_radius: Option<f64>,
    /// Mean.
    pub mean_certified_radius: Option<f64>,
    /// Lower median; `None` when most samples were not broken.
    pub median_attacked_radius: Option<f64>,
    /// `radius --method exact`: samples whose interval was closed.
    pub closed: Option<usize>,
    /// Accuracies over radii.
    #[serde(default)]
    pub curve: Vec<CurveAt>,
    /// Radii with one layer perturbed.
    #[serde(default)]
    pub layers: Vec<LayerAt>,
}

/// Shares of samples that hold on drawn devices.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct DevicesAt {
    /// Mean over the devices.
    pub mean: f64,
}

/// A point of the curve of `radius`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct CurveAt {
    /// The radius.
    pub radius: f64,
    /// Proved.
    pub certified_accuracy: f64,
    /// Measured, where an attack ran.
    pub accuracy_under_attack: Option<f64>,
}

/// What is said about one sample. Which fields are there depends on the command.
#[derive(Clone, Debug, Deserialize)]
pub struct Sample {
    /// Index in the data set.
    pub index: usize,
    /// The given label.
    pub label: Option<u32>,
    /// Class with the largest output.
    pub predicted: u32,
    /// Margin of the unperturbed network; `None` when it is not a number.
    pub margin: Option<f64>,
    /// Proved bound of the margin; `None` when there is none.
    pub margin_lower: Option<f64>,
    /// Proved bound of the largest change of an output.
    pub deviation_upper: Option<f64>,
    /// Smallest margin found.
    pub worst_margin: Option<f64>,
    /// Class of the bound or of the smallest margin found.
    pub runner_up: Option<u32>,
    /// Verdict.
    pub verdict: Option<Verdict>,
    /// Why it is not verified.
    pub reason: Option<Box<str>>,
    /// Largest radius that was certified.
    pub certified_radius: Option<f64>,
    /// Smallest radius that was attacked.
    pub attacked_radius: Option<f64>,
    /// Certified radii with one layer perturbed, in the order of [`Summary::layers`].
    #[serde(default)]
    pub layer_certified_radius: Vec<f64>,
    /// Attacked radii with one layer perturbed.
    #[serde(default)]
    pub layer_attacked_radius: Vec<Option<f64>>,
}

impl Sample {
    /// The class that the property protects.
    pub fn class(&self) -> u32 {
        self.label.unwrap_or(self.predicted)
    }

    /// Whether the unperturbed network breaks the property already.
    pub fn is_wrong(&self) -> bool {
        !self.margin.is_some_and(|margin| margin > 0.0) || self.reason.as_deref() == Some("misclassified")
    }
}

/// Summary and samples at one radius.
#[derive(Clone, Debug, Deserialize)]
pub struct ResultAt {
    /// The radius; `None` for `radius`, and where every layer has its own.
    pub radius: Option<f64>,
    /// Numbers over all samples.
    pub summary: Summary,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// Radii with the parameters of one layer perturbed.
#[derive(Clone, Debug, Deserialize)]
pub struct LayerAt {
    /// Name of the layer.
    pub layer: String,
    /// Lower median.
    pub median_certified_radius: Option<f64>,
    /// Lower median.
    pub median_attacked_radius: Option<f64>,
    /// Samples whose smallest certified radius is that of this layer.
    pub limits: usize,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    partial: bool,
    model: Model,
    data: Data,
    threat: Threat,
    method: Map<String, Value>,
    guarantee: String,
    #[serde(default)]
    config: Value,
    summary: Option<Summary>,
    samples: Option<Vec<Sample>>,
    results: Option<Vec<ResultAt>>,
    #[serde(default)]
    environment: Map<String, Value>,
}

pub(super) fn read(file: &str, bytes: &[u8], command: Command) -> Result<Loaded, ReadError> {
    let raw: Raw = parse(file, bytes)?;
    let mut results = match (raw.results, raw.summary, raw.samples) {
        (Some(results), None, None) => results,
        (None, Some(summary), Some(samples)) => {
            vec![ResultAt { radius: raw.threat.radius, summary, samples }]
        }
        _ => {
            let detail = "expected either summary and samples, or results, found neither or both".into();
            return Err(ReadError::Shape { file: file.into(), detail });
        }
    };
    results.sort_by(|a, b| a.radius.unwrap_or(0.0).total_cmp(&b.radius.unwrap_or(0.0)));
    let stem = Path::new(file).file_stem().map_or(file.into(), |stem| stem.to_string_lossy());
    let run = RunFile {
        file: file.into(),
        name: stem.into_owned(),
        named: false,
        command,
        partial: raw.partial,
        model: raw.model,
        data: raw.data,
        threat: raw.threat,
        method: raw.method,
        guarantee: raw.guarantee,
        config: raw.config,
        results,
        environment: raw.environment,
    };
    check::run(&run)?;
    Ok(Loaded::Run(Box::new(run)))
}

impl RunFile {
    /// Name of the method.
    pub fn method_name(&self) -> &str {
        self.method.get("name").and_then(Value::as_str).unwrap_or("unknown")
    }

    /// `label`, `prediction` or `deviation`.
    pub fn property(&self) -> &str {
        self.method.get("property").and_then(Value::as_str).unwrap_or("unknown")
    }

    /// Largest allowed deviation, if it was given.
    pub fn tolerance(&self) -> Option<f64> {
        self.method.get("tolerance").and_then(Value::as_f64)
    }
}
