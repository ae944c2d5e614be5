//! Results of `certify`, `attack` and `radius`.

use super::{Loaded, ReadError, check, parse};
use crate::{CurvePoint, DataReport, DevicesReport, LayerSummary, ModelReport, ThreatReport};
use serde::Deserialize;
use serde_json::{Map, Value};
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
    pub model: ModelReport,
    /// The data.
    pub data: DataReport,
    /// The perturbation set.
    pub threat: ThreatReport,
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
    pub devices: Option<DevicesReport>,
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
    pub curve: Vec<CurvePoint>,
    /// Radii with one layer perturbed.
    #[serde(default)]
    pub layers: Vec<LayerSummary>,
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

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    partial: bool,
    model: ModelReport,
    data: DataReport,
    threat: ThreatReport,
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
