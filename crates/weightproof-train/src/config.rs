//! What is trained, and how: the TOML file of `train`, echoed into every result.
//!
//! ```toml
//! epochs = 30
//! batch = 128
//! seed = 0
//! gradient-clip = 1.0              # largest Euclidean norm of a gradient; none by default
//! weight-limit = 1.0               # largest magnitude of a weight, kept after every step; none by default
//! row-limit = 4.0                  # largest ‖W‖_∞ of a layer (sum of the magnitudes of a row), kept after every step; none by default
//!
//! [network]
//! sizes = [784, 128, 64, 32, 10]   # or [[network.layer]], see `LayerConfig`
//! activation = "relu"
//!
//! [threat]                         # what bound-based objectives guard against
//! radius = 0.002
//! noise = { sigma = 0.03, failure-probability = 1e-9 }   # of the largest weight of each layer, for noise-certified
//!
//! [radius-ramp]                    # factor on all radii; a number, or a line over the epochs; by default it rises from 0 to 1
//! from = 0.0                       # in the first half of the epochs where an objective is built on a bound, else it is 1
//! to = 1.0
//! end = 10
//!
//! [[term]]
//! objective = "cross-entropy"
//! weight = 1.0                     # a number, or a line over the epochs
//!
//! [[term]]
//! objective = "robust-hinge"
//! weight = 0.5
//!
//! [[adversary]]                    # where gradients are taken: noise, sam, awp, pgd
//! kind = "sam"
//! rho = 0.05
//!
//! [optimizer]                      # sgd, adam, adamw
//! kind = "adam"
//!
//! [learning-rate]
//! rate = 1e-3
//! warm-up = 1
//! decay = { kind = "cosine" }
//!
//! [validation]
//! samples = 1000                   # the last ones of the data, never trained on
//! method = "interval"              # bound method of the certified accuracy
//! ```

use crate::adversary::Adversary;
use crate::architecture::{self, LayerConfig};
use crate::error::TrainError;
use crate::graph::Graph;
use crate::objective::{self, OBJECTIVES, Objective};
use crate::optimizer::Rule;
use crate::parameters::Initialization;
use crate::schedule::{Decay, LearningRate, Ramp};
use crate::threat::Threat;
use serde::{Deserialize, Serialize};
use weightproof::bounds::METHODS;
use weightproof::network::{Activation, Network};

/// Share of the epochs over which radii and weights of worst cases rise when nothing else is said.
const RISING: f64 = 0.5;

/// The bound method of certified accuracies against random weights.
pub(crate) const NOISE_METHOD: &str = "linear";

/// All settings of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the data.
    pub epochs: usize,
    /// Samples in one step.
    pub batch: usize,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Largest Euclidean norm of a gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_clip: Option<f64>,
    /// Largest magnitude of a weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_limit: Option<f64>,
    /// Largest sum of the magnitudes of a row of weights, ‖W‖_∞ of every layer: rows with more are scaled down to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_limit: Option<f64>,
    /// The layers.
    pub network: NetworkConfig,
    /// The perturbations that bounds guard against.
    #[serde(default)]
    pub threat: Threat,
    /// Factor on all radii of the threat; none is [`TrainConfig::default_ramp`], which a [`Trainer`](crate::Trainer) fills in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_ramp: Option<Ramp>,
    /// The loss is their sum.
    #[serde(rename = "term")]
    pub terms: Vec<Term>,
    /// Where gradients are taken.
    #[serde(default, rename = "adversary", skip_serializing_if = "Vec::is_empty")]
    pub adversaries: Vec<Adversary>,
    /// The update rule.
    pub optimizer: Rule,
    /// Its rate.
    pub learning_rate: LearningRate,
    /// Samples that are held out.
    #[serde(default)]
    pub validation: Validation,
}

/// The network of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkConfig {
    /// Sizes of a chain of dense layers, input first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Vec<usize>>,
    /// What is between the layers of `sizes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// Shape of the input of `layer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Vec<usize>>,
    /// Layers one after the other, instead of `sizes`.
    #[serde(default, rename = "layer", skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerConfig>>,
    /// How weights start.
    #[serde(default)]
    pub initialization: Initialization,
    /// Factor on the parameters at the start.
    #[serde(default = "unit")]
    pub gain: f64,
}

/// A term of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Term {
    /// Name of one of [`OBJECTIVES`].
    pub objective: String,
    /// What it is multiplied by.
    #[serde(default = "one")]
    pub weight: Ramp,
}

/// Samples that are held out to watch the training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Validation {
    /// How many, from the end of the data.
    pub samples: usize,
    /// Bound method of the certified accuracy over the full threat.
    pub method: String,
}

impl Default for Validation {
    fn default() -> Self {
        Validation { samples: 1000, method: "interval".into() }
    }
}

fn one() -> Ramp {
    Ramp::Constant(1.0)
}

fn unit() -> f64 {
    1.0
}

impl TrainConfig {
    /// Dense layers of `sizes` trained with cross-entropy by Adam, the rate falling by a cosine.
    pub fn plain(sizes: &[usize], epochs: usize) -> Self {
        TrainConfig {
            epochs,
            batch: 128,
            seed: 0,
            gradient_clip: None,
            weight_limit: None,
            row_limit: None,
            network: NetworkConfig { sizes: Some(sizes.to_vec()), gain: 1.0, ..NetworkConfig::default() },
            threat: Threat::default(),
            radius_ramp: None,
            terms: vec![Term { objective: "cross-entropy".into(), weight: one() }],
            adversaries: Vec::new(),
            optimizer: Rule::adam(),
            learning_rate: LearningRate { rate: 1e-3, warm_up: 0.0, decay: Decay::Cosine { floor: 0.0 } },
            validation: Validation::default(),
        }
    }

    /// Reads the TOML text.
    ///
    /// # Errors
    /// With the line of what is wrong.
    pub fn parse(text: &str) -> Result<Self, TrainError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            let place = line.map_or(String::new(), |line| format!("line {line}: "));
            TrainError::Configuration(format!("{place}{}", error.message().trim_end()))
        })
    }

    /// The network, parameters zero.
    ///
    /// # Errors
    /// When neither or both of `sizes` and `layer` are given, or a layer does not fit.
    pub fn build(&self) -> Result<Network, TrainError> {
        let config = &self.network;
        match (&config.sizes, &config.layers) {
            (Some(sizes), None) => {
                Ok(architecture::dense(sizes, config.activation.unwrap_or(Activation::Relu))?)
            }
            (None, Some(layers)) => {
                let input = config.input.clone();
                let input = input
                    .ok_or_else(|| TrainError::setting("network.input", "expected a shape, found none"))?;
                architecture::layers(input, layers)
            }
            _ => Err(TrainError::setting("network", "expected either sizes or layers")),
        }
    }

    /// The bound method of the certified accuracy of held-out samples.
    pub fn validation_method(&self) -> &str {
        if self.threat.noise.is_some() { NOISE_METHOD } else { &self.validation.method }
    }

    /// The rise of what worst cases ask for, from 0 to `to` in the first half of the epochs. A network that must withstand the
    /// full radius from its first step on often never learns anything.
    pub fn rise(&self, to: f64) -> Ramp {
        Ramp::linear(0.0, to, 0.0, RISING * self.epochs as f64)
    }

    /// The factor on the radii where none is set: a [`rise`](TrainConfig::rise) to 1 when a term depends on them, else 1.
    pub fn default_ramp(&self) -> Ramp {
        let bound = |term: &Term| objective::find(&term.objective).is_some_and(|objective| objective.bound);
        if self.terms.iter().any(bound) { self.rise(1.0) } else { one() }
    }

    /// Checks all numbers, and that every term can be computed for the network.
    ///
    /// # Errors
    /// [`TrainError::Setting`] with the key.
    pub fn check(&self, graph: &Graph) -> Result<(), TrainError> {
        let positive = |setting: &str, value: f64| {
            let fine = value > 0.0 && value.is_finite();
            if fine {
                Ok(())
            } else {
                Err(TrainError::setting(setting, format!("expected a number above 0, found {value}")))
            }
        };
        let named = |setting: String, defect: Option<String>| match defect {
            None => Ok(()),
            Some(detail) => Err(TrainError::setting(setting, detail)),
        };
        positive("epochs", self.epochs as f64)?;
        positive("batch", self.batch as f64)?;
        positive("learning-rate.rate", self.learning_rate.rate)?;
        positive("network.gain", self.network.gain)?;
        self.gradient_clip.map_or(Ok(()), |limit| positive("gradient-clip", limit))?;
        self.weight_limit.map_or(Ok(()), |limit| positive("weight-limit", limit))?;
        self.row_limit.map_or(Ok(()), |limit| positive("row-limit", limit))?;
        named("learning-rate.warm-up".into(), Ramp::Constant(self.learning_rate.warm_up).defect())?;
        named("optimizer".into(), self.optimizer.defect())?;
        named("radius-ramp".into(), self.radius_ramp.and_then(|ramp| ramp.defect()))?;
        self.threat.set(graph.network())?;
        named("threat.noise".into(), self.threat.noise.and_then(|noise| noise.defect()))?;
        if self.terms.is_empty() {
            return Err(TrainError::setting("term", "expected at least one, found none"));
        }
        for term in &self.terms {
            let setting = format!("term {}", term.objective);
            let objective = term.find()?;
            named(setting.clone(), (objective.defect)(graph))?;
            named(format!("{setting}: weight"), term.weight.defect())?;
        }
        for adversary in &self.adversaries {
            named("adversary".into(), adversary.defect())?;
        }
        if self.validation.samples > 0 && !METHODS.iter().any(|m| m.name == self.validation.method) {
            let known: Vec<&str> = METHODS.iter().map(|m| m.name).collect();
            let detail = format!("expected one of {}, found {}", known.join(", "), self.validation.method);
            return Err(TrainError::setting("validation.method", detail));
        }
        Ok(())
    }
}

impl Term {
    /// The objective of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self) -> Result<&'static Objective, TrainError> {
        objective::find(&self.objective).ok_or_else(|| {
            let known: Vec<&str> = OBJECTIVES.iter().map(|o| o.name).collect();
            TrainError::setting(
                "term",
                format!("expected one of {}, found {}", known.join(", "), self.objective),
            )
        })
    }
}
