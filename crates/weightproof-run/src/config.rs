//! Validated settings of a run, as they are echoed in reports.
//!
//! What does not change results is not here: threads, output format, progress.

use crate::RunError;
use crate::threat::ThreatConfig;
use serde::{Serialize, Serializer};
use std::path::PathBuf;
use weightproof::attack::{AttackKind, UnknownAttack};
use weightproof::bounds::{EXACT, METHODS};
use weightproof::network::{Network, StepRounding};
use weightproof::property::Property;
use weightproof::verdict::{Guarantee, Precision};
use weightproof_formats::data::Scale;
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
    /// What stands for classes, if the outputs do not.
    #[serde(flatten)]
    pub outputs: Option<Outputs>,
    /// Largest allowed deviation.
    pub tolerance: Option<f64>,
    /// Whether deviations are about the outputs before a Softmax that was left out.
    pub logits: bool,
    /// Floating-point type, if it was said.
    pub precision: Option<Precision>,
    /// Seed of everything random.
    pub seed: u64,
}

/// Questions about outputs that are no classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outputs {
    /// Class 1 is an output above the threshold, class 0 one that is not.
    Positive {
        /// The threshold; without one, a half behind a sigmoid, else zero.
        threshold: Option<f64>,
    },
    /// All outputs lie between two ends.
    Within {
        /// The lower end, possibly infinite.
        lower: f64,
        /// The upper end, possibly infinite.
        upper: f64,
    },
}

impl Outputs {
    /// The name of the property that was asked for, with its numbers, is one of these.
    ///
    /// # Errors
    /// Numbers without their property, `within` without an end, ends in the wrong order.
    pub fn new(
        property: Option<&str>,
        threshold: Option<f64>,
        lower: Option<f64>,
        upper: Option<f64>,
    ) -> Result<Option<Outputs>, RunError> {
        if threshold.is_some() && property != Some("positive") {
            return Err(RunError::setting("threshold", "the property positive", "another one"));
        }
        if (lower.is_some() || upper.is_some()) && property != Some("within") {
            return Err(RunError::setting("lower and upper", "the property within", "another one"));
        }
        match property {
            Some("positive") => Ok(Some(Outputs::Positive { threshold })),
            Some("within") => {
                let (low, high) = (lower.unwrap_or(f64::NEG_INFINITY), upper.unwrap_or(f64::INFINITY));
                if !(low < high) || low.is_infinite() && high.is_infinite() {
                    let expected = "lower below upper, at least one of them, for the property within";
                    return Err(RunError::setting("lower and upper", expected, format!("{low} and {high}")));
                }
                Ok(Some(Outputs::Within { lower: low, upper: high }))
            }
            _ => Ok(None),
        }
    }

    /// The network with classes, and a note about them.
    ///
    /// # Errors
    /// When a threshold meets several outputs.
    pub fn applied(self, network: &Network) -> Result<(Network, String), RunError> {
        Ok(match self {
            Outputs::Positive { threshold } => {
                let threshold = threshold.unwrap_or(if network.ends_with_sigmoid() { 0.5 } else { 0.0 });
                let note = format!("class 1 is an output above {threshold}, class 0 one that is not");
                (network.with_threshold(threshold)?, note)
            }
            Outputs::Within { lower, upper } => {
                let note = format!(
                    "class 0 is outputs between {lower} and {upper}, the others are outputs beyond them"
                );
                (network.with_ends(lower, upper)?, note)
            }
        })
    }
}

/// Where the network comes from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ModelConfig {
    /// The file; the embedded network without one.
    #[serde(serialize_with = "lossy")]
    pub path: Option<PathBuf>,
    /// The architecture of a safetensors file.
    #[serde(serialize_with = "lossy")]
    pub architecture: Option<PathBuf>,
    /// Whether batch normalization keeps parameters of its own.
    pub separate_batch_norm: bool,
    /// Names of the outputs of an ONNX file that are wanted; the first without one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Inputs of an ONNX file that are constants, and the files of their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<(String, PathBuf)>,
    /// Values of dimensions of an ONNX file that have a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dims: Vec<(String, usize)>,
    /// Which step comes out of quantizers of activations.
    #[serde(skip_serializing_if = "is_default")]
    pub step_rounding: StepRounding,
}

fn is_default(rounding: &StepRounding) -> bool {
    *rounding == StepRounding::default()
}

/// Where the data come from and what is done to them.
#[derive(Clone, Debug, Serialize)]
pub struct DataConfig {
    /// The file or folder; the embedded sample without one.
    #[serde(serialize_with = "lossy")]
    pub path: Option<PathBuf>,
    /// Whether the embedded sample was asked for by name, for a network that is not the embedded one; without a path, there is no
    /// other one.
    #[serde(skip)]
    pub embedded: bool,
    /// A file of labels.
    #[serde(serialize_with = "lossy")]
    pub labels: Option<PathBuf>,
    /// Whether the first column of CSV is the label.
    pub csv_labels: bool,
    /// Whether the first row of CSV names the columns: `auto`, `yes` or `no`.
    pub csv_header: &'static str,
    /// What separates the fields of CSV, if it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv_delimiter: Option<char>,
    /// The column of CSV that is the label, if it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv_label_column: Option<String>,
    /// Which part.
    pub split: &'static str,
    /// How many samples are skipped.
    pub offset: usize,
    /// How many samples are read at most.
    pub samples: Option<usize>,
    /// `nchw` or `nhwc`, if it was said.
    pub layout: Option<&'static str>,
    /// Multiplies the data, if it was said; else [`choose`](crate::scale::choose) does.
    #[serde(serialize_with = "as_text")]
    pub scale: Option<Scale>,
    /// Subtracted from the data.
    pub mean: Option<Vec<f64>>,
    /// Divides the data.
    pub std: Option<Vec<f64>>,
    /// Samples that are read at once.
    pub batch: Option<usize>,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            path: None,
            embedded: false,
            labels: None,
            csv_labels: true,
            csv_header: "auto",
            csv_delimiter: None,
            csv_label_column: None,
            split: "test",
            offset: 0,
            samples: None,
            layout: None,
            scale: None,
            mean: None,
            std: None,
            batch: None,
        }
    }
}

/// A factor as it is written.
fn as_text<S: Serializer>(scale: &Option<Scale>, serializer: S) -> Result<S::Ok, S::Error> {
    scale.map(|scale| scale.to_string()).serialize(serializer)
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
    /// What its bounds rest on.
    pub guarantee: Guarantee,
}

impl MethodConfig {
    /// Joins the name of a method and where intervals of hidden neurons come from (`linear` or `interval`); its bounds are rigorous.
    ///
    /// # Errors
    /// An unknown method; an intermediate for another method than linear.
    pub fn new(method: &str, intermediate: Option<&str>) -> Result<Self, RunError> {
        let config = |entry: &str, name: &str, intermediate| {
            let guarantee = Guarantee::Rigorous;
            Ok(MethodConfig { entry: entry.into(), name: name.into(), intermediate, guarantee })
        };
        let names: Vec<&str> = METHODS.iter().chain([&EXACT]).map(|m| m.name).collect();
        if !names.contains(&method) {
            let found: String = method.chars().take(60).collect();
            return Err(RunError::setting("method", format!("one of {}", names.join(", ")), found));
        }
        match (method, intermediate) {
            (_, Some(other)) if !["linear", "interval"].contains(&other) => {
                Err(RunError::setting("intermediate", "linear or interval", other))
            }
            ("linear", None | Some("linear")) => config("linear", "linear", Some("linear")),
            ("linear", Some(_)) | ("linear-interval", None | Some("interval")) => {
                config("linear-interval", "linear", Some("interval"))
            }
            (name, None) => config(name, name, None),
            (name, Some(_)) => Err(RunError::setting("intermediate", "the method linear", name)),
        }
    }

    /// Whether this is complete verification.
    pub fn is_exact(&self) -> bool {
        self.entry == EXACT.name
    }

    /// An error when another method than exact has one of its settings; each comes with whether it was given.
    ///
    /// # Errors
    /// The first setting that was given.
    pub fn only_exact(&self, settings: &[(&'static str, bool)]) -> Result<(), RunError> {
        match settings.iter().find(|(_, given)| *given && !self.is_exact()) {
            None => Ok(()),
            Some((name, _)) => Err(RunError::setting(name, "the method exact", self.name.as_str())),
        }
    }
}

/// An error when `budget` limits another method than exact.
///
/// # Errors
/// The first limit that was given.
pub fn check_budget(budget: &BudgetReport, method: &MethodConfig) -> Result<(), RunError> {
    method.only_exact(&[
        ("time-limit", budget.time_limit.is_some()),
        ("time-limit-total", budget.time_limit_total.is_some()),
        ("max-nodes", budget.max_nodes.is_some()),
        ("max-memory", budget.max_memory.is_some()),
        ("gap", budget.gap.is_some()),
    ])
}

/// Settings of an attack.
#[derive(Clone, Debug, Serialize)]
pub struct AttackConfig {
    /// What is searched.
    pub name: &'static str,
    /// The same as a value.
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
    /// Checks the settings.
    ///
    /// # Errors
    /// An unknown attack; a length of steps for another attack than the universal one.
    pub fn new(
        attack: &str,
        steps: usize,
        restarts: usize,
        step_size: Option<f64>,
    ) -> Result<Self, RunError> {
        let kind: AttackKind = attack.parse().map_err(|e: UnknownAttack| RunError::misfit(e.to_string()))?;
        if step_size.is_some() && kind != AttackKind::Universal {
            return Err(RunError::setting("step-size", "the attack universal", kind.name()));
        }
        Ok(AttackConfig { name: kind.name(), kind, steps, restarts, step_size })
    }
}

/// The floating-point type of the engine: what was said, else that of the network's file.
///
/// # Errors
/// Single precision for a network in float64, whose parameters it does not have.
pub fn precision(said: Option<Precision>, network: &Network) -> Result<Precision, RunError> {
    match (said, network.is_float64()) {
        (Some(Precision::F32), true) => {
            Err(RunError::setting("precision", "f64 for a network that computes in float64", "f32"))
        }
        (Some(said), _) => Ok(said),
        (None, true) => Ok(Precision::F64),
        (None, false) => Ok(Precision::F32),
    }
}

/// What separates the fields of CSV: one character, or `tab`.
///
/// # Errors
/// Another text, or a character that numbers are made of.
pub fn delimiter(text: &str) -> Result<char, RunError> {
    let mut characters = text.chars();
    match (text, characters.next(), characters.next()) {
        ("tab" | "\\t", _, _) => Ok('\t'),
        (_, Some(c), None) if c.is_ascii() && !c.is_ascii_alphanumeric() && !"+-.\"\r\n".contains(c) => Ok(c),
        _ => Err(RunError::setting("delimiter", "one character such as ; or |, or tab", text)),
    }
}

/// An error when property and tolerance do not belong together; a deviation without a tolerance asks for the largest one.
///
/// # Errors
/// A tolerance without a deviation.
pub fn check_property(property: Option<Property>, tolerance: Option<f64>) -> Result<(), RunError> {
    match (property, tolerance) {
        (Some(Property::Deviation), _) | (Some(Property::Label | Property::Prediction) | None, None) => {
            Ok(())
        }
        (Some(Property::Label | Property::Prediction) | None, Some(_)) => {
            Err(RunError::setting("tolerance", "the property deviation", "another one"))
        }
    }
}
