//! Validated settings of a run, as they are echoed in reports.
//!
//! What does not change results is not here: threads, output format, progress.

use crate::args::{
    BatchNormArg, DataArgs, EngineArgs, ExactArgs, IntermediateArg, LayoutArg, LimitArgs, MethodArgs,
    ModelArgs, PrecisionArg, PropertyArg, PropertyArgs, SearchArgs, SplitArg,
};
use crate::error::Failure;
use crate::number::{self, Range};
use crate::threat::ThreatConfig;
use serde::{Serialize, Serializer};
use std::path::PathBuf;
use weightproof::attack::{AttackKind, UnknownAttack};
use weightproof::bounds::EXACT;
use weightproof::property::Property;
use weightproof::verdict::Precision;
use weightproof_report::BudgetReport;

/// Settings of a command that runs over samples.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// The network.
    pub model: ModelConfig,
    /// The data.
    pub data: DataConfig,
    /// The perturbation set.
    pub threat: ThreatConfig,
    /// What must hold, if it was said.
    pub property: Option<Property>,
    /// Largest allowed deviation.
    pub tolerance: Option<f64>,
    /// Floating-point type.
    pub precision: Precision,
    /// Seed of everything random.
    pub seed: u64,
}

/// Where the network comes from.
#[derive(Clone, Debug, Serialize)]
pub struct ModelConfig {
    /// The file; the embedded network without one.
    #[serde(serialize_with = "lossy")]
    pub path: Option<PathBuf>,
    /// The architecture of a safetensors file.
    #[serde(serialize_with = "lossy")]
    pub architecture: Option<PathBuf>,
    /// Whether batch normalization keeps parameters of its own.
    pub separate_batch_norm: bool,
}

/// Where the data come from and what is done to them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DataConfig {
    /// The file or folder; the embedded sample without one.
    #[serde(serialize_with = "lossy")]
    pub path: Option<PathBuf>,
    /// A file of labels.
    #[serde(serialize_with = "lossy")]
    pub labels: Option<PathBuf>,
    /// Whether the first column of CSV is the label.
    pub csv_labels: bool,
    /// Which part.
    pub split: &'static str,
    /// How many samples are skipped.
    pub offset: usize,
    /// How many samples are read at most.
    pub samples: Option<usize>,
    /// `nchw` or `nhwc`, if it was said.
    pub layout: Option<&'static str>,
    /// Subtracted from the data.
    pub mean: Option<Vec<f64>>,
    /// Divides the data.
    pub std: Option<Vec<f64>>,
    /// Samples that are read at once.
    pub batch: Option<usize>,
}

/// A path as text; what is not Unicode becomes replacement characters.
fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

/// Settings of a bound method.
#[derive(Clone, Debug, Serialize)]
pub struct MethodConfig {
    /// Name in the table of methods.
    pub entry: String,
    /// What users call it.
    pub name: String,
    /// Where intervals of hidden neurons come from, for the method linear.
    pub intermediate: Option<&'static str>,
}

impl ModelConfig {
    /// Takes the arguments.
    pub fn new(args: &ModelArgs) -> Self {
        ModelConfig {
            path: args.model.clone(),
            architecture: args.architecture.clone(),
            separate_batch_norm: args.batch_norm == BatchNormArg::Separate,
        }
    }
}

impl DataConfig {
    /// Checks the arguments.
    pub fn new(args: &DataArgs) -> Result<Self, Failure> {
        Ok(DataConfig {
            path: args.data.clone(),
            labels: args.labels.clone(),
            csv_labels: !args.unlabelled_csv,
            split: split_name(args.split),
            offset: args.offset,
            samples: args.samples,
            layout: args.layout.map(layout_name),
            mean: data_numbers("mean", &args.mean, Range::Finite)?,
            std: data_numbers("std", &args.std, Range::Positive)?,
            batch: args.batch,
        })
    }
}

/// The part that `--split` names.
pub fn split_name(split: SplitArg) -> &'static str {
    match split {
        SplitArg::Test => "test",
        SplitArg::Train => "train",
    }
}

/// The order that `--layout` names.
pub fn layout_name(layout: LayoutArg) -> &'static str {
    match layout {
        LayoutArg::Nchw => "nchw",
        LayoutArg::Nhwc => "nhwc",
    }
}

/// Numbers of `--mean` or `--std`, if they were given.
pub fn data_numbers(name: &str, text: &Option<String>, range: Range) -> Result<Option<Vec<f64>>, Failure> {
    text.as_ref().map(|text| number::list(name, text, range)).transpose()
}

impl MethodConfig {
    /// Joins `--method` and `--intermediate`.
    pub fn new(args: &MethodArgs) -> Result<Self, Failure> {
        let config = |entry: &str, name: &str, intermediate| {
            Ok(MethodConfig { entry: entry.into(), name: name.into(), intermediate })
        };
        match (args.method.as_str(), args.intermediate) {
            ("linear", None | Some(IntermediateArg::Linear)) => config("linear", "linear", Some("linear")),
            ("linear", Some(IntermediateArg::Interval))
            | ("linear-interval", None | Some(IntermediateArg::Interval)) => {
                config("linear-interval", "linear", Some("interval"))
            }
            (name, None) => config(name, name, None),
            (name, Some(_)) => {
                Err(Failure::new(format!("intermediate: expected the method linear, found {name}"))
                    .hint("leave out --intermediate"))
            }
        }
    }

    /// Whether this is complete verification.
    pub fn is_exact(&self) -> bool {
        self.entry == EXACT.name
    }
}

/// An error when another method than exact has one of its arguments; each comes with whether it was given.
fn only_exact(method: &MethodConfig, arguments: &[(&str, bool)]) -> Result<(), Failure> {
    match arguments.iter().find(|(_, given)| *given && !method.is_exact()) {
        None => Ok(()),
        Some((name, _)) => {
            let message = format!("{name}: expected the method exact, found {}", method.name);
            Err(Failure::new(message).hint(format!("--method exact, or leave out --{name}")))
        }
    }
}

/// Limits of complete verification; an error when another method has any of them.
pub fn limits(args: &LimitArgs, method: &MethodConfig) -> Result<BudgetReport, Failure> {
    let given = [
        ("time-limit", args.time_limit.is_some()),
        ("time-limit-total", args.time_limit_total.is_some()),
        ("max-nodes", args.max_nodes.is_some()),
        ("max-memory", args.max_memory.is_some()),
    ];
    only_exact(method, &given)?;
    let seconds = |name, text: &Option<String>| text.as_ref().map(|t| number::seconds(name, t)).transpose();
    Ok(BudgetReport {
        time_limit: seconds("time-limit", &args.time_limit)?,
        time_limit_total: seconds("time-limit-total", &args.time_limit_total)?,
        max_nodes: args.max_nodes,
        max_memory: args.max_memory.as_ref().map(|t| number::bytes("max-memory", t)).transpose()?,
        gap: None,
    })
}

/// Limits and gap of complete verification; an error when another method has any of its arguments.
pub fn budget(args: &ExactArgs, method: &MethodConfig) -> Result<BudgetReport, Failure> {
    let limits = limits(&args.limits, method)?;
    let given = [
        ("gap", args.gap.is_some()),
        ("witness", args.witness.is_some()),
        ("journal", args.journal.is_some()),
        ("oracle", args.oracle.is_some()),
    ];
    only_exact(method, &given)?;
    let gap = args.gap.as_ref().map(|t| number::one("gap", t, Range::Positive)).transpose()?;
    Ok(BudgetReport { gap, ..limits })
}

/// Settings of an attack.
#[derive(Clone, Debug, Serialize)]
pub struct AttackConfig {
    /// What is searched.
    pub name: &'static str,
    #[serde(skip)]
    pub kind: AttackKind,
    /// Steps of the search.
    pub steps: usize,
    /// Starts, or draws.
    pub restarts: usize,
    /// Length of a step of the universal attack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_size: Option<f64>,
}

impl AttackConfig {
    /// Checks the arguments.
    pub fn new(args: &SearchArgs, step_size: Option<&String>) -> Result<Self, Failure> {
        let kind: AttackKind = args.attack.parse().map_err(|e: UnknownAttack| Failure::new(e.to_string()))?;
        let step_size = step_size.map(|text| number::one("step-size", text, Range::Positive)).transpose()?;
        let (steps, restarts) = (args.steps, args.restarts);
        if step_size.is_some() && kind != AttackKind::Universal {
            return Err(Failure::new(format!(
                "step-size: expected the attack universal, found {}",
                kind.name()
            )));
        }
        Ok(AttackConfig { name: kind.name(), kind, steps, restarts, step_size })
    }
}

/// The property and its tolerance.
pub fn property(args: &PropertyArgs) -> Result<(Option<Property>, Option<f64>), Failure> {
    let property = args.property.map(|p| match p {
        PropertyArg::Label => Property::Label,
        PropertyArg::Prediction => Property::Prediction,
        PropertyArg::Deviation => Property::Deviation,
    });
    let tolerance = args.tolerance.as_ref().map(|t| number::one("tolerance", t, Range::NotNegative));
    let tolerance = tolerance.transpose()?;
    match (property, tolerance) {
        (Some(Property::Deviation), None) => {
            Err(Failure::new("tolerance: expected a number for the property deviation, found none")
                .hint("--tolerance 0.1"))
        }
        (Some(Property::Deviation), Some(_))
        | (Some(Property::Label | Property::Prediction) | None, None) => Ok((property, tolerance)),
        (Some(Property::Label | Property::Prediction) | None, Some(_)) => {
            Err(Failure::new("tolerance: expected the property deviation, found another one")
                .hint("--property deviation"))
        }
    }
}

/// The floating-point type.
pub fn precision(args: &EngineArgs) -> Precision {
    match args.precision {
        PrecisionArg::F32 => Precision::F32,
        PrecisionArg::F64 => Precision::F64,
    }
}
