//! What was certified, against what and how: the blocks that all reports share.

use crate::exact::BudgetReport;
use crate::provenance::Provenance;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use weightproof::faults::{FaultModel, Memory};
use weightproof::network::Network;
use weightproof::noise::{LayerNoise, NoiseModel, NoiseSet};
use weightproof::threat::{PerturbationSet, RadiusValue, ThreatModel};

/// The blocks above the results.
#[derive(Clone, Debug)]
pub struct Header {
    /// The network.
    pub model: ModelReport,
    /// The data.
    pub data: DataReport,
    /// The perturbation set.
    pub threat: ThreatReport,
    /// How the question was answered.
    pub method: MethodReport,
    /// `rigorous`, `real-arithmetic` or `estimate`: what the numbers of the method are worth.
    pub guarantee: &'static str,
    /// The settings of the run, as given; a run with the same settings gives the same report.
    pub config: serde_json::Value,
    /// Which part of the samples this is, where it is not all of them.
    pub shard: Option<ShardReport>,
    /// The certificate that the run wrote.
    pub certificate: Option<CertificateReport>,
}

/// What is in a certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CertificateReport {
    /// The file.
    pub path: String,
    /// Samples in it.
    pub records: usize,
    /// Verified samples for which no proof was found in the form of a certificate; it claims nothing of them.
    pub without_proof: usize,
    /// SHA-256 of all lines but the last, which has it, too.
    pub sha256: String,
}

/// A part of the samples of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardReport {
    /// Its number, from 1 on.
    pub number: usize,
    /// Number of parts.
    pub of: usize,
    /// Index of its first sample in the data set.
    pub first: usize,
    /// Number of its samples.
    pub samples: usize,
    /// Number of samples of all parts.
    pub total: usize,
    /// Number of classes among which the labels are; `null` where outputs are no classes.
    pub classes: Option<usize>,
}

/// The network of a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelReport {
    /// Name of the file, or of the embedded network.
    pub name: String,
    /// The file as it was named by the user; `null` for the embedded network.
    pub path: Option<String>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// `onnx` or `safetensors`.
    pub format: String,
    /// Number of weights and biases.
    pub parameters: usize,
    /// Number of nonlinear neurons.
    #[serde(default)]
    pub neurons: usize,
    /// Shape of one input sample.
    pub input_shape: Vec<usize>,
    /// Number of outputs.
    pub outputs: usize,
    /// Shape of one output, where that is more than a list of numbers, such as the classes of every pixel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_shape: Option<Vec<usize>>,
    /// The last operator of the file, when it was left out: outputs are those before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_head: Option<String>,
    /// The layers with weights, in order.
    pub layers: Vec<LayerReport>,
    /// What the reader left out or changed.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A layer with weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerReport {
    /// What `--layers` refers to.
    pub name: String,
    /// Shape of the weights, (n_out, n_in); of a convolution (channels, weights of each).
    pub shape: [usize; 2],
}

impl ModelReport {
    /// Describes `network`, read from a file with this name, path, fingerprint and format.
    pub fn new(network: &Network, name: &str, path: Option<String>, sha256: String, format: &str) -> Self {
        let layer = |name: &str, rows, cols| LayerReport { name: name.into(), shape: [rows, cols] };
        let affine = network.affine_layers();
        let layers = affine.map(|(_, node, a)| layer(&node.name, a.weight.rows(), a.weight.cols()));
        ModelReport {
            name: name.into(),
            path,
            sha256,
            format: format.into(),
            parameters: network.parameters(),
            neurons: network.neurons(),
            input_shape: network.input_shape().to_vec(),
            outputs: network.output_width(),
            output_shape: output_shape(network),
            dropped_head: None,
            layers: layers.collect(),
            notes: Vec::new(),
        }
    }
}

/// Shape of one output, where more than one of its dimensions is larger than 1.
fn output_shape(network: &Network) -> Option<Vec<usize>> {
    let shape = &network.nodes().last()?.shape;
    (shape.iter().filter(|&&size| size > 1).count() > 1).then(|| shape.clone())
}

/// The data of a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DataReport {
    /// Where they come from.
    pub description: String,
    /// `idx`, `npz`, …
    pub format: String,
    /// Number of samples in the report.
    pub samples: usize,
    /// Index of the first of them in the data set.
    pub offset: usize,
    /// Shape of one sample.
    pub shape: Vec<usize>,
    /// Whether the samples have labels.
    pub labelled: bool,
    /// Names of the classes, label by label; left out where labels are numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// What the numbers of the file were multiplied by; left out where they were taken as they are and are no bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleReport>,
    /// SHA-256 of the bytes of the file with the samples, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of the labels of the samples in the report, each as four bytes, the least first; left out where labels play no
    /// role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_sha256: Option<String>,
    /// Number of samples that were asked for, where the data have fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<usize>,
    /// Least and largest number of the first block of samples, as the network reads them; only where a scale, mean, standard deviation or layout is
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// What is remarkable about the data: numbers outside of the usual range, a network that does no better than guessing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

impl DataReport {
    /// What is said where there are fewer samples than were asked for.
    pub(crate) fn shortfall(&self) -> String {
        let requested = self.requested.map(|n| format!(", all there are: {n} were asked for"));
        requested.unwrap_or_default()
    }
}

/// What the numbers of the data were multiplied by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleReport {
    /// The factor: a number, or a ratio such as `1/255`.
    pub factor: String,
    /// Whether the data are unsigned bytes.
    #[serde(default)]
    pub bytes: bool,
    /// Why it is this one.
    #[serde(default)]
    pub reason: String,
}

/// The threat model of a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ThreatReport {
    /// `absolute`, `int8`, `format:bf16`, …
    pub kind: String,
    /// What one unit of radius means.
    pub unit: Cow<'static, str>,
    /// The radius, when the report is about one.
    pub radius: Option<f64>,
    /// All radii.
    #[serde(default)]
    pub radii: Vec<f64>,
    /// Radius of the biases; `null` when they move like the weights of their layer.
    pub bias_radius: Option<f64>,
    /// Radius of the joint input perturbation, in the unit of the raw input.
    pub input_radius: f64,
    /// The range that inputs are clipped to.
    pub input_range: Option<(f64, f64)>,
    /// Radius of the error added to every activation.
    pub activation_radius: f64,
    /// Names of the layers whose parameters move.
    pub perturbed_layers: Vec<String>,
    /// Radii of single layers that differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, OverrideReport>,
    /// The radius that belongs to the radii of single layers: at the radius r they are multiplied by r / reference. Left out
    /// where no layer has a radius of its own, or only the radii of the threat model as they stand were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_radius: Option<f64>,
    /// What the model takes for granted about the hardware.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<Cow<'static, str>>,
    /// What happens to stored words; left out where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<FaultModel>,
    /// What is random about the weights; left out where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseReport>,
}

/// What is random about the weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoiseReport {
    /// The model, as it was given.
    #[serde(flatten)]
    pub model: NoiseModel,
    /// What its number means.
    pub unit: Cow<'static, str>,
    /// Names of the layers that have random parameters.
    pub random_layers: Vec<String>,
}

/// Random weights of a network, at some times where they change with it.
#[derive(Clone, Copy, Debug)]
pub struct RandomWeights<'a> {
    /// The model, as it was given.
    pub model: &'a NoiseModel,
    /// Its noise at one of the times.
    pub set: &'a NoiseSet,
    /// Times in seconds after the first reading; none where weights do not change with time.
    pub times: &'a [f64],
}

/// The unit of times.
const SECONDS: &str = "seconds after the first reading";

/// Radii of one layer that differ from the rest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverrideReport {
    /// One for the layer, or one for each output channel.
    pub radius: Option<RadiusValue>,
    /// Of the biases.
    pub bias_radius: Option<f64>,
}

impl ThreatReport {
    /// Describes `model` at `radii`; `set` is one of its sets, at a radius that is not 0 where there is one.
    pub fn new(model: &ThreatModel, radii: &[f64], network: &Network, set: &PerturbationSet) -> Self {
        let overrides = model.layer.iter().map(|(name, o)| {
            (name.clone(), OverrideReport { radius: o.radius.clone(), bias_radius: o.bias_radius })
        });
        ThreatReport {
            kind: model.kind.to_string(),
            unit: model.kind.unit().into(),
            radius: if let [radius] = radii { Some(*radius) } else { None },
            radii: radii.to_vec(),
            bias_radius: model.bias_radius,
            input_radius: model.input_radius,
            input_range: set.input_range.filter(|_| model.input_radius > 0.0),
            activation_radius: model.activation_radius,
            perturbed_layers: set.perturbed_layers(network),
            overrides: overrides.collect(),
            reference_radius: has_layer_radii(model).then(|| reference_radius(model)),
            assumptions: model.kind.assumptions().into_iter().map(Cow::from).collect(),
            faults: None,
            noise: None,
        }
    }

    /// The same with random weights; `is_alone` says that the set itself leaves everything as it is.
    #[must_use]
    pub fn with_noise(self, random: RandomWeights<'_>, network: &Network, is_alone: bool) -> Self {
        let RandomWeights { model, set: noise, times } = random;
        let name = |layer: &LayerNoise| network.nodes()[layer.node].name.clone();
        let random_layers: Vec<String> = noise.layers().iter().map(name).collect();
        let of_number = Cow::from(model.kind.unit());
        let unit = if times.is_empty() { of_number.clone() } else { SECONDS.into() };
        let report = NoiseReport { model: model.clone(), unit: of_number, random_layers };
        let set = match is_alone {
            false => self,
            true => {
                let kind = format!("noise:{}", model.kind);
                let radii = if times.is_empty() { model.sigma.into_iter().collect() } else { times.to_vec() };
                let radius = if let [radius] = *radii { Some(radius) } else { None };
                let bias_radius = None;
                let perturbed_layers = report.random_layers.clone();
                ThreatReport { kind, unit, radius, radii, bias_radius, perturbed_layers, ..self }
            }
        };
        ThreatReport { noise: Some(report), ..set }
    }

    /// The same without a radius, which is searched, where noise is alone.
    #[must_use]
    pub fn without_radius(self, is_alone: bool) -> Self {
        if is_alone { ThreatReport { radius: None, radii: Vec::new(), ..self } } else { self }
    }

    /// Describes `model`, which leaves everything but stored words as it is.
    pub fn of_faults(model: &FaultModel, memory: &Memory) -> Self {
        ThreatReport {
            kind: format!("faults:{}", model.storage),
            unit: "hit on a word".into(),
            radius: None,
            radii: Vec::new(),
            bias_radius: None,
            input_radius: 0.0,
            input_range: None,
            activation_radius: 0.0,
            perturbed_layers: memory.layers().iter().map(|layer| layer.name.clone()).collect(),
            overrides: BTreeMap::new(),
            reference_radius: None,
            assumptions: vec!["activations stay in floating point; sums are exact".into()],
            faults: Some(model.clone()),
            noise: None,
        }
    }
}

impl ThreatReport {
    /// What a radius is called in tables.
    pub(crate) fn radius_name(&self) -> &'static str {
        match self.is_multiple() {
            _ if self.is_time() => "after",
            true => "multiple",
            false => "radius",
        }
    }

    /// A radius as it is written in tables.
    pub(crate) fn written(&self, radius: f64) -> String {
        match self.is_time() {
            true => weightproof_figure::number::duration(radius),
            false => weightproof_figure::number::exact(radius),
        }
    }

    /// Whether radii are multiples of what a format rounds by itself.
    pub(crate) fn is_multiple(&self) -> bool {
        self.unit.starts_with("multiple of ")
    }

    /// Whether radii are times.
    pub(crate) fn is_time(&self) -> bool {
        self.unit == SECONDS
    }

    /// A radius with what it is a radius of: `radius 0.001`, or `2 × half a quantization step`.
    pub(crate) fn named(&self, radius: f64) -> String {
        if self.is_time() {
            return format!("{} after the first reading", weightproof_figure::number::duration(radius));
        }
        match self.unit.strip_prefix("multiple of ") {
            Some(unit) => format!("{} × {unit}", weightproof_figure::number::exact(radius)),
            None => format!("radius {}", weightproof_figure::number::exact(radius)),
        }
    }
}

/// Whether single layers have radii of their own.
fn has_layer_radii(model: &ThreatModel) -> bool {
    model.layer.values().any(|own| own.radius.is_some())
}

/// The radius that radii of single layers belong to: that of the model, 1 where it has none (or 0).
pub fn reference_radius(model: &ThreatModel) -> f64 {
    model.radius.filter(|r| *r > 0.0).unwrap_or(1.0)
}

/// How the question was answered; fields that do not apply are left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MethodReport {
    /// Name of the bound method, or of the attack.
    pub name: String,
    /// Where a bound method takes the intervals of hidden neurons from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intermediate: Option<String>,
    /// Floating-point type of the computation.
    pub precision: Cow<'static, str>,
    /// `label`, `prediction` or `deviation`.
    pub property: Cow<'static, str>,
    /// Largest allowed deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// What deviations are about, where that is not the output of the file: the operator that was left out behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits_before: Option<String>,
    /// Name of the attack that runs beside the bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<String>,
    /// Steps of the attack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Restarts of the attack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<usize>,
    /// Number of perturbations that a random attack draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<usize>,
    /// What a random attack draws from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Cow<'static, str>>,
    /// Whether one perturbation had to break all samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub universal: Option<bool>,
    /// The probability with which a verified sample may fail on a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_probability: Option<f64>,
    /// Relative width at which a bisection stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_width: Option<f64>,
    /// Seed of the attack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Limits of complete verification.
    #[serde(flatten)]
    pub budget: Option<BudgetReport>,
    /// What a proof takes for granted about the arithmetic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<Cow<'static, str>>,
}

/// Time, memory and host: what differs between two runs of the same work.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Time spent on bounds and attacks, without loading the network and reading data.
    pub seconds: f64,
    /// Number of threads.
    pub threads: usize,
    /// Version of weightproof.
    pub version: &'static str,
    /// Largest resident memory of the process, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// Seed of attacks and samples.
    pub seed: u64,
    /// Floating-point type.
    pub precision: &'static str,
    /// Operating system and processor family.
    pub host: String,
    /// When and by which command.
    #[serde(flatten)]
    pub provenance: Provenance,
}
