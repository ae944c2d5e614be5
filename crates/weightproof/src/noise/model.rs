//! The noise model as users write it, on the command line or in a TOML file.

use super::drift::DriftModel;
use super::error::NoiseError;
use super::layer::{Added, LayerNoise};
use super::pcm::PcmModel;
use super::set::{NoiseSet, amounts};
use crate::kernels::Matrix;
use crate::network::{Affine, Network};
use crate::threat::outward::quotient_up;
use crate::threat::{NumberFormat, extremes};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::set::Amounts;

/// The law of the random part of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// Gaussian; its number is the standard deviation.
    Gaussian,
    /// Uniform; its number is the half width of the interval.
    Uniform,
    /// The parameter becomes one of its two neighbours on a grid, so that its mean stays; its number is the step of the grid, 0 where the
    /// parameter is on the grid.
    StochasticRounding,
}

/// What the number of a law is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Nothing: it is in the unit of the weights.
    Absolute,
    /// The magnitude of each weight.
    Weight,
    /// The largest magnitude in the output channel.
    Channel,
    /// The largest magnitude in the layer.
    Layer,
}

/// Numbers that stochastic rounding rounds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Multiples of the largest magnitude of the layer, or of the output channel, over `2^(bits − 1) − 1`.
    Integer {
        /// Bits of a weight, 2 to 16.
        bits: u32,
        /// Whether every output channel has a step of its own.
        per_channel: bool,
    },
    /// A floating-point format.
    Float(NumberFormat),
}

/// How parameters are random. Written `gaussian`, `uniform-of-max`, `stochastic:int8`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseKind {
    /// Noise with a number, relative to something.
    Added(Law, Reference),
    /// Rounding up or down at random.
    Rounding(Grid),
    /// Pairs of phase-change devices, see [`PcmModel`].
    Devices,
}

/// The word for [`NoiseKind::Devices`].
const DEVICES: &str = "pcm";

const ADDED: [(&str, Law, Reference); 8] = [
    ("gaussian", Law::Gaussian, Reference::Absolute),
    ("gaussian-relative", Law::Gaussian, Reference::Weight),
    ("gaussian-of-channel", Law::Gaussian, Reference::Channel),
    ("gaussian-of-max", Law::Gaussian, Reference::Layer),
    ("uniform", Law::Uniform, Reference::Absolute),
    ("uniform-relative", Law::Uniform, Reference::Weight),
    ("uniform-of-channel", Law::Uniform, Reference::Channel),
    ("uniform-of-max", Law::Uniform, Reference::Layer),
];

impl NoiseKind {
    /// What may be written, for messages.
    pub const FORMS: &'static str = "gaussian, gaussian-relative, gaussian-of-channel, gaussian-of-max, uniform, uniform-relative, \
                                     uniform-of-channel, uniform-of-max, stochastic:int8 (2 to 16 bits, also stochastic:int8:per-channel), \
                                     stochastic:bf16 (also fp16, tf32, fp8e4m3, fp8e5m2), pcm";

    /// What the number of the kind means.
    pub fn unit(self) -> &'static str {
        match self {
            NoiseKind::Added(Law::Uniform, Reference::Absolute) => "half width in the unit of the weights",
            NoiseKind::Added(Law::Uniform, Reference::Weight) => "half width relative to each weight",
            NoiseKind::Added(Law::Uniform, Reference::Channel) => {
                "half width relative to the largest weight of the output channel"
            }
            NoiseKind::Added(Law::Uniform, Reference::Layer) => {
                "half width relative to the largest weight of the layer"
            }
            NoiseKind::Added(_, Reference::Absolute) => "deviation in the unit of the weights",
            NoiseKind::Added(_, Reference::Weight) => "deviation relative to each weight",
            NoiseKind::Added(_, Reference::Channel) => {
                "deviation relative to the largest weight of the output channel"
            }
            NoiseKind::Added(_, Reference::Layer) => "deviation relative to the largest weight of the layer",
            NoiseKind::Rounding(_) => "none: the grid has its step",
            NoiseKind::Devices => "none: devices have their errors",
        }
    }
}

impl fmt::Display for NoiseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoiseKind::Added(law, reference) => {
                let name = ADDED.iter().find(|(_, l, r)| (l, r) == (law, reference));
                f.write_str(name.map_or("stochastic", |(name, ..)| name))
            }
            NoiseKind::Rounding(Grid::Integer { bits, per_channel }) => {
                write!(f, "stochastic:int{bits}{}", if *per_channel { ":per-channel" } else { "" })
            }
            NoiseKind::Rounding(Grid::Float(format)) => write!(f, "stochastic:{}", format.name()),
            NoiseKind::Devices => f.write_str(DEVICES),
        }
    }
}

impl FromStr for NoiseKind {
    type Err = NoiseError;

    fn from_str(text: &str) -> Result<NoiseKind, NoiseError> {
        let added = ADDED.iter().find(|(name, ..)| *name == text);
        let rounding = || {
            let grid = text.strip_prefix("stochastic:")?;
            let (grid, per_channel) = match grid.strip_suffix(":per-channel") {
                Some(grid) => (grid, true),
                None => (grid, false),
            };
            match grid.strip_prefix("int") {
                Some(bits) => {
                    let bits = bits.parse().ok().filter(|bits| (2..=16).contains(bits))?;
                    Some(Grid::Integer { bits, per_channel })
                }
                None if per_channel => None,
                None => NumberFormat::from_name(grid).map(Grid::Float),
            }
        };
        if text == DEVICES {
            return Ok(NoiseKind::Devices);
        }
        match (added, rounding()) {
            (Some((_, law, reference)), _) => Ok(NoiseKind::Added(*law, *reference)),
            (None, Some(grid)) => Ok(NoiseKind::Rounding(grid)),
            (None, None) => Err(NoiseError::UnknownKind { found: text.chars().take(60).collect() }),
        }
    }
}

impl<'de> Deserialize<'de> for NoiseKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for NoiseKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a layer has of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LayerNoiseModel {
    /// Its number, instead of that of the model.
    pub sigma: f64,
}

/// A noise model as written by a user; the TOML form has these fields in kebab-case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NoiseModel {
    /// How parameters are random.
    pub kind: NoiseKind,
    /// The number of the kind, see [`NoiseKind::unit`]; none for stochastic rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// Whether biases are random as the weights of their layer are.
    #[serde(default = "yes")]
    pub biases: bool,
    /// Names of the layers that are random; when absent, all with parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// Numbers of single layers, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layer: BTreeMap<String, LayerNoiseModel>,
    /// What happens to programmed parameters in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftModel>,
    /// The devices of the kind `pcm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcm: Option<PcmModel>,
}

fn yes() -> bool {
    true
}

/// A number of at least 0 that is finite.
fn checked(sigma: f64) -> Result<f64, NoiseError> {
    if sigma >= 0.0 && sigma.is_finite() {
        Ok(sigma)
    } else {
        Err(NoiseError::BadSigma { found: sigma.to_string() })
    }
}

impl FromStr for NoiseModel {
    type Err = NoiseError;

    /// Reads `gaussian:0.01`, `stochastic:int8`.
    fn from_str(text: &str) -> Result<NoiseModel, NoiseError> {
        let (kind, sigma) = match text.rsplit_once(':') {
            Some((kind, number)) if ADDED.iter().any(|(name, ..)| *name == kind) => {
                let found = || NoiseError::BadSigma { found: number.chars().take(60).collect() };
                (kind, Some(checked(number.trim().parse().map_err(|_| found())?)?))
            }
            Some(_) | None => (text, None),
        };
        let model = NoiseModel::new(kind.parse()?, sigma);
        model.check()?;
        Ok(model)
    }
}

impl NoiseModel {
    /// One kind with one number for all layers and biases.
    pub fn new(kind: NoiseKind, sigma: Option<f64>) -> Self {
        let biases = kind != NoiseKind::Devices;
        NoiseModel { kind, sigma, biases, layers: None, layer: BTreeMap::new(), drift: None, pcm: None }
    }

    /// The model whose number is 1: numbers of layers keep their ratio to that of the model.
    ///
    /// # Errors
    /// Stochastic rounding, drift, devices; a model whose number is 0.
    pub fn unit(&self) -> Result<NoiseModel, NoiseError> {
        if !matches!(self.kind, NoiseKind::Added(..)) || self.drift.is_some() {
            return Err(NoiseError::FixedStep);
        }
        let own = self.sigma.unwrap_or(1.0);
        if own == 0.0 {
            return Err(NoiseError::BadSigma { found: "0, which has no multiple".into() });
        }
        let of_layer = |(name, layer): (&String, &LayerNoiseModel)| {
            (name.clone(), LayerNoiseModel { sigma: quotient_up(layer.sigma, own) })
        };
        let layer = self.layer.iter().map(of_layer).collect();
        Ok(NoiseModel { sigma: self.sigma.map(|_| 1.0), layer, ..self.clone() })
    }

    /// An error for what no network has an answer to.
    ///
    /// # Errors
    /// A number that is missing, not wanted, negative or not finite; a table that does not belong to the kind.
    pub fn check(&self) -> Result<(), NoiseError> {
        let given = self.sigma.into_iter().chain(self.layer.values().map(|own| own.sigma));
        given.clone().try_for_each(|sigma| checked(sigma).map(drop))?;
        self.drift.as_ref().map_or(Ok(()), DriftModel::check)?;
        self.pcm.as_ref().map_or(Ok(()), PcmModel::check)?;
        let kind = self.kind;
        match kind {
            NoiseKind::Devices if self.drift.is_some() => {
                let expected = "no table drift: devices have drift-mean and drift-spread";
                return Err(NoiseError::Table { kind, expected });
            }
            NoiseKind::Devices if self.biases => {
                return Err(NoiseError::Table { kind, expected: "biases = false: they are digital" });
            }
            NoiseKind::Added(..) | NoiseKind::Rounding(_) if self.pcm.is_some() => {
                return Err(NoiseError::Table {
                    kind,
                    expected: "no table pcm, which belongs to the kind pcm",
                });
            }
            NoiseKind::Added(..) | NoiseKind::Rounding(_) | NoiseKind::Devices => {}
        }
        match kind {
            NoiseKind::Rounding(_) | NoiseKind::Devices => match given.into_iter().next() {
                Some(found) => Err(NoiseError::UnwantedSigma { kind: self.kind, found }),
                None => Ok(()),
            },
            NoiseKind::Added(..) if self.sigma.is_none() && self.layer.is_empty() => {
                Err(NoiseError::MissingSigma { kind: self.kind })
            }
            NoiseKind::Added(..) => Ok(()),
        }
    }

    /// Whether the weights change with time.
    pub fn ages(&self) -> bool {
        self.drift.is_some() || self.kind == NoiseKind::Devices
    }

    /// The random weights of `network`.
    ///
    /// # Errors
    /// As [`NoiseModel::check`]; a layer that is not there; weights that two layers have; weights that change with time.
    pub fn resolve(&self, network: &Network) -> Result<NoiseSet, NoiseError> {
        self.resolve_at(network, None)
    }

    /// The random weights of `network`, so many seconds after the first reading where they change with time.
    ///
    /// # Errors
    /// As [`NoiseModel::resolve`]; a time that is missing, not wanted or none.
    pub fn resolve_at(&self, network: &Network, time: Option<f64>) -> Result<NoiseSet, NoiseError> {
        self.check()?;
        let seconds = match (time, self.ages()) {
            (None, true) => return Err(NoiseError::MissingTime { kind: self.kind }),
            (Some(_), false) => return Err(NoiseError::UnwantedTime { kind: self.kind }),
            (Some(found), true) if !(found >= 0.0 && found.is_finite()) => {
                return Err(NoiseError::BadTime { found });
            }
            (time, _) => time.unwrap_or(0.0),
        };
        let drift = self.drift.as_ref().map(|drift| drift.at(seconds)).transpose()?;
        let known = || network.affine_layers().map(|(_, node, _)| node.name.clone());
        let mut named = self.layers.iter().flatten().chain(self.layer.keys());
        if let Some(found) = named.find(|name| known().all(|k| k != **name)) {
            return Err(NoiseError::UnknownLayer { found: found.clone(), known: known().collect() });
        }
        let mut layers = Vec::new();
        for (index, node, affine) in network.affine_layers() {
            let is_random = self.layers.as_ref().is_none_or(|names| names.contains(&node.name));
            let sigma = self.layer.get(&node.name).map(|own| own.sigma).or(self.sigma);
            let (law, weight, mut bias) = match self.kind {
                _ if !is_random => continue,
                NoiseKind::Added(law, reference) => {
                    // Layers without a number of their own are as they are.
                    let (weight, bias) = amounts(reference, sigma.unwrap_or(0.0), affine);
                    (law, weight, bias)
                }
                NoiseKind::Rounding(grid) => {
                    let (weight, bias) = grid.steps(&node.name, affine)?;
                    (Law::StochasticRounding, weight, bias)
                }
                NoiseKind::Devices => {
                    let devices = self.pcm.clone().unwrap_or_default().at(seconds)?;
                    layers.push(LayerNoise::devices(index, affine, devices.pairs(affine)?)?);
                    continue;
                }
            };
            let biases_drift = self.biases && affine.has_bias;
            if !biases_drift {
                bias.fill(0.0);
            }
            let added = Added { law, weight, bias, drift, biases_drift };
            layers.extend(LayerNoise::added(index, affine, added));
        }
        NoiseSet::new(network, layers)
    }
}

impl Grid {
    /// The step at each parameter, 0 where it is on the grid.
    fn steps(self, layer: &str, affine: &Affine) -> Result<(Amounts, Vec<f64>), NoiseError> {
        let (rows, cols) = (affine.weight.rows(), affine.weight.cols());
        match self {
            Grid::Integer { bits, per_channel } => {
                let divisor = 2.0_f64.powi(bits as i32 - 1) - 1.0;
                let step = |values: &[f64]| {
                    let (least, most) = extremes(values.iter());
                    most.max(-least) / divisor
                };
                let of_rows: Vec<f64> = match per_channel {
                    true => (0..rows).map(|i| step(affine.weight.row(i))).collect(),
                    false => vec![step(affine.weight.as_slice()); rows],
                };
                let weight = Matrix::from_fn(rows, cols, |i, j| off_grid(affine.weight[(i, j)], of_rows[i]));
                let bias = affine.bias.iter().zip(&of_rows).map(|(&b, &step)| off_grid(b, step)).collect();
                Ok((Amounts::Entries(Arc::new(weight)), bias))
            }
            Grid::Float(format) => {
                let mut all = affine.weight.as_slice().iter().chain(&affine.bias);
                if let Some(&found) = all.find(|v| v.abs() > format.largest()) {
                    let (format, limit) = (format.name(), format.largest());
                    return Err(NoiseError::OutOfRange { layer: layer.into(), format, limit, found });
                }
                let step = |v: f64| if v == 0.0 { 0.0 } else { off_grid(v, format.quantum(v)) };
                let bias = affine.bias.iter().map(|&b| step(b)).collect();
                Ok((Amounts::Entries(Arc::new(affine.weight.map(step))), bias))
            }
        }
    }
}

/// The step, or 0 where `value` is a multiple of it, as far as f64 can tell.
fn off_grid(value: f64, step: f64) -> f64 {
    let distance = step.mul_add((value / step).round(), -value).abs();
    if step == 0.0 || distance <= 4.0 * f64::EPSILON * value.abs() { 0.0 } else { step }
}

#[cfg(test)]
mod tests {
    use super::super::layer::Source;
    use super::*;
    use crate::network::{Activation, NetworkBuilder};

    fn network() -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let first = Matrix::from_vec(2, 2, vec![0.5, -2.0, 0.25, 0.0]);
        let p = builder.dense("first", 0, first, vec![0.125, 0.0]).unwrap();
        let z = builder.activation("relu", p, Activation::Relu).unwrap();
        builder.dense("second", z, Matrix::from_vec(1, 2, vec![3.0, 1.0]), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    fn added(layer: &LayerNoise) -> &Added {
        match &layer.source {
            Source::Added(added) => added,
            Source::Devices(_) => panic!("a law"),
        }
    }

    #[test]
    fn numbers_are_relative_to_what_is_said() {
        let of = |text: &str| text.parse::<NoiseModel>().unwrap().resolve(&network()).unwrap();
        for (text, first, second) in [
            ("gaussian:0.5", [0.5, 0.5], 0.5),
            ("gaussian-relative:0.5", [0.25, 0.0], 1.5),
            ("gaussian-of-channel:0.5", [1.0, 0.125], 1.5),
            ("gaussian-of-max:0.5", [1.0, 1.0], 1.5),
            ("uniform-of-max:0.5", [1.0, 1.0], 1.5),
        ] {
            let noise = of(text);
            let [first_layer, last] = noise.layers() else { panic!("two layers") };
            let (a, b) = (added(first_layer), added(last));
            assert_eq!(
                ([a.weight.at(0, 0), a.weight.at(1, 1)], b.weight.at(0, 0)),
                (first, second),
                "{text}"
            );
            assert_eq!(b.bias, [0.0], "a layer without biases has none");
            let factor = if text.starts_with("uniform") { 3.0 } else { 1.0 };
            let square = first_layer.squares.at(0, 0) * factor;
            assert!(square >= first[0] * first[0] && square < first[0] * first[0] * 1.001);
        }
        assert_eq!(added(&of("gaussian-relative:0.5").layers()[0]).bias, [0.0625, 0.0]);
        assert_eq!(of("gaussian:0").layers().len(), 0);
    }

    #[test]
    fn stochastic_rounding_moves_what_is_off_the_grid() {
        let of = |text: &str| text.parse::<NoiseModel>().unwrap().resolve(&network()).unwrap();
        // The step is 2 / 7: only the largest weight and zeros are on the grid.
        let int4 = of("stochastic:int4");
        let step = 2.0 / 7.0;
        let first = added(&int4.layers()[0]);
        assert_eq!(
            [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| first.weight.at(i, j)),
            [step, 0.0, step, 0.0]
        );
        assert_eq!(first.bias, [step, 0.0]);
        // Every parameter is a number of bf16.
        assert_eq!(of("stochastic:bf16").layers().len(), 0);
        assert_eq!(added(&of("stochastic:int8:per-channel").layers()[0]).weight.at(1, 0), 0.0);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let told = |text: &str| text.parse::<NoiseModel>().unwrap_err().to_string();
        assert!(told("gaussian").contains("gaussian:0.01"), "{}", told("gaussian"));
        assert!(told("gaussian:-1").contains("at least 0, found -1"));
        assert!(told("gaussian:nan").contains("NaN") && told("gaussian:x").contains("found x"));
        for unknown in
            ["gauss:1", "stochastic:int1", "stochastic:int17", "stochastic:bf16:per-channel", "stochastic"]
        {
            assert!(told(unknown).starts_with("noise: expected one of gaussian"), "{unknown}");
        }
        let mut model: NoiseModel = "gaussian:1".parse().unwrap();
        model.layers = Some(vec!["third".into()]);
        assert!(model.resolve(&network()).unwrap_err().to_string().contains("first, second"));
        let rounding = NoiseModel::new("stochastic:int8".parse().unwrap(), Some(1.0));
        assert!(rounding.check().is_err());
    }

    #[test]
    fn shared_weights_are_refused() {
        let mut builder = NetworkBuilder::new(vec![2]);
        let weight = || Matrix::from_vec(2, 2, vec![0.5, -2.0, 0.25, 1.0]);
        let p = builder.dense("first", 0, weight(), Vec::new()).unwrap();
        let z = builder.activation("relu", p, Activation::Relu).unwrap();
        let transposed = Matrix::from_fn(2, 2, |i, j| weight()[(j, i)]);
        builder.dense("second", z, transposed, Vec::new()).unwrap();
        let network = builder.finish().unwrap();
        let mut model: NoiseModel = "gaussian:1".parse().unwrap();
        for layers in [None, Some(vec!["first".to_owned()])] {
            model.layers = layers;
            let error = model.resolve(&network).unwrap_err();
            assert!(matches!(error, NoiseError::Shared { .. }), "{error}");
        }
        model.layers = Some(Vec::new());
        assert_eq!(model.resolve(&network).unwrap().layers().len(), 0);
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for text in
            ADDED.map(|(name, ..)| name).into_iter().chain(["stochastic:int8:per-channel", "stochastic:fp16"])
        {
            assert_eq!(text.parse::<NoiseKind>().unwrap().to_string(), text);
        }
    }
}
