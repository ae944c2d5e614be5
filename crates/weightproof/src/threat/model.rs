//! The threat model as users write it, on the command line or in a TOML file.

use super::{Granularity, LayerSet, NumberFormat, PerturbationSet, WeightRadius};
use super::{absolute, format, frobenius, integer, per_channel, relative};
use crate::network::{Affine, Network};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Which family of sets the weights move in. Written `absolute`, `int8`, `format:bf16`, …
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `|Ŵ_ij − W_ij| ≤ radius`.
    Absolute,
    /// `|Ŵ_ij − W_ij| ≤ radius · |W_ij|`.
    Relative,
    /// `|Ŵ_ij − W_ij| ≤ radius · max_j |W_ij|`: relative to the largest weight of the output channel.
    PerChannel,
    /// `‖Ŵ − W‖_F ≤ radius` for every layer.
    Frobenius,
    /// Symmetric integer quantization, rounding to nearest.
    Integer {
        /// Bits per weight, 2 to 16.
        bits: u32,
        /// One step per tensor or per output channel.
        granularity: Granularity,
    },
    /// Inference in a number format with fp32 accumulation in any order.
    Format(NumberFormat),
}

impl Kind {
    /// Whether the kind fixes its own radius, so that `radius` is only an optional multiplier (default 1).
    pub fn has_own_radius(self) -> bool {
        match self {
            Kind::Integer { .. } | Kind::Format(_) => true,
            Kind::Absolute | Kind::Relative | Kind::PerChannel | Kind::Frobenius => false,
        }
    }

    /// What one unit of `radius` means, for reports.
    pub fn unit(self) -> &'static str {
        match self {
            Kind::Absolute => "absolute, in the unit of the weights",
            Kind::Relative => "relative to each weight",
            Kind::PerChannel => "relative to the largest weight of each output channel",
            Kind::Frobenius => "Frobenius norm of each layer's change",
            Kind::Integer { .. } => "multiple of half a quantization step",
            Kind::Format(_) => "multiple of the rounding error of the format",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Absolute => f.write_str("absolute"),
            Kind::Relative => f.write_str("relative"),
            Kind::PerChannel => f.write_str("per-channel"),
            Kind::Frobenius => f.write_str("frobenius"),
            Kind::Integer { bits, granularity: Granularity::Tensor } => write!(f, "int{bits}"),
            Kind::Integer { bits, granularity: Granularity::Channel } => write!(f, "int{bits}:per-channel"),
            Kind::Format(format) => write!(f, "format:{}", format.name()),
        }
    }
}

impl FromStr for Kind {
    type Err = ThreatError;

    fn from_str(text: &str) -> Result<Kind, ThreatError> {
        let unknown = || ThreatError::UnknownKind { found: text.chars().take(60).collect() };
        match text {
            "absolute" => return Ok(Kind::Absolute),
            "relative" => return Ok(Kind::Relative),
            "per-channel" => return Ok(Kind::PerChannel),
            "frobenius" => return Ok(Kind::Frobenius),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("format:") {
            return NumberFormat::from_name(name).map(Kind::Format).ok_or_else(unknown);
        }
        let rest = text.strip_prefix("int").ok_or_else(unknown)?;
        let (bits, granularity) = match rest.strip_suffix(":per-channel") {
            Some(bits) => (bits, Granularity::Channel),
            None => (rest.strip_suffix(":per-tensor").unwrap_or(rest), Granularity::Tensor),
        };
        let bits: u32 = bits.parse().map_err(|_| unknown())?;
        if !(2..=16).contains(&bits) {
            return Err(ThreatError::Bits { found: bits });
        }
        Ok(Kind::Integer { bits, granularity })
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One radius for a whole layer, or one for each of its output channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RadiusValue {
    /// The same for every row of the weight matrix.
    One(f64),
    /// One for each row (output channel).
    PerRow(Vec<f64>),
}

/// Radii of one layer that differ from the threat model's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LayerOverride {
    /// Replaces the radius of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius: Option<RadiusValue>,
    /// Replaces the radius of the biases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias_radius: Option<f64>,
}

/// A threat model as written by a user; the TOML form has these fields in kebab-case.
///
/// # Units
/// `radius` is in the unit that [`Kind::unit`] says; `bias_radius` is in the same unit (relative to each bias for
/// `relative`, relative to the channel's largest weight for `per-channel`, absolute otherwise; for number formats it is
/// *added* to the error of the format); `input_radius` and `activation_radius` are absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ThreatModel {
    /// Family of sets for the weights.
    pub kind: Kind,
    /// Radius of every perturbed layer that is not overridden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius: Option<f64>,
    /// Radius of the biases; when absent, biases move like the weights of their layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias_radius: Option<f64>,
    /// Names of the perturbed layers; when absent, all layers with parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// Radius of the joint input perturbation, in the unit of the raw input.
    #[serde(default)]
    pub input_radius: f64,
    /// Radius of the error added to every activation.
    #[serde(default)]
    pub activation_radius: f64,
    /// Overrides by layer name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layer: BTreeMap<String, LayerOverride>,
}

/// Why a threat model does not apply to a network.
#[derive(Debug, Error, PartialEq)]
pub enum ThreatError {
    /// The kind is not one we know.
    #[error(
        "threat kind: expected absolute, relative, per-channel, frobenius, int2 to int16 (also int8:per-channel) or \
         format:fp32, format:tf32, format:bf16, format:fp16, format:fp8e4m3, format:fp8e5m2, found {found}"
    )]
    UnknownKind {
        /// What was written.
        found: String,
    },
    /// The number of bits is out of range.
    #[error("integer quantization: expected 2 to 16 bits, found {found}")]
    Bits {
        /// What was written.
        found: u32,
    },
    /// The kind needs a radius and there is none.
    #[error("threat {kind}: expected a radius, found none")]
    MissingRadius {
        /// The kind.
        kind: Kind,
    },
    /// A radius is negative, NaN or infinite.
    #[error("{what}: expected a finite number of at least 0, found {found}")]
    BadRadius {
        /// Which radius.
        what: String,
        /// Its value.
        found: f64,
    },
    /// A layer name does not exist.
    #[error("layer {found}: expected one of {}", known.join(", "))]
    UnknownLayer {
        /// What was written.
        found: String,
        /// The perturbable layers of the network.
        known: Vec<String>,
    },
    /// A list of radii does not fit a layer.
    #[error("layer {layer}: expected {expected} radii, one for each output channel, found {found}")]
    RowCount {
        /// Name of the layer.
        layer: String,
        /// Its number of rows.
        expected: usize,
        /// Length of the list.
        found: usize,
    },
    /// Radii per row make no sense for this kind.
    #[error(
        "layer {layer}: radii for each output channel need the kind absolute, relative or per-channel, found {kind}"
    )]
    RowsUnsupported {
        /// Name of the layer.
        layer: String,
        /// The kind.
        kind: Kind,
    },
    /// A weight does not fit into the number format.
    #[error("layer {layer}: a weight of {found} exceeds the largest number of {format}, {limit}")]
    OutOfRange {
        /// Name of the layer.
        layer: String,
        /// Name of the format.
        format: &'static str,
        /// Largest finite number of the format.
        limit: f64,
        /// The weight.
        found: f64,
    },
    /// A layer is so wide that the error analysis of the format has no bound.
    #[error("layer {layer}: {terms} terms are too many for accumulation in fp32")]
    TooManyTerms {
        /// Name of the layer.
        layer: String,
        /// Number of terms of its dot products.
        terms: usize,
    },
}

impl ThreatModel {
    /// The set of `kind` with one radius for everything and nothing else perturbed.
    pub fn new(kind: Kind, radius: impl Into<Option<f64>>) -> Self {
        ThreatModel {
            kind,
            radius: radius.into(),
            bias_radius: None,
            layers: None,
            input_radius: 0.0,
            activation_radius: 0.0,
            layer: BTreeMap::new(),
        }
    }

    /// The perturbation set of `network`.
    ///
    /// # Errors
    /// [`ThreatError`] when a radius is missing, negative or not finite, or a layer is unknown.
    pub fn resolve(&self, network: &Network) -> Result<PerturbationSet, ThreatError> {
        self.check_names(network)?;
        check_radius("input radius", self.input_radius)?;
        check_radius("activation radius", self.activation_radius)?;
        let mut layers = Vec::new();
        for (index, node, dense) in network.affine_layers() {
            let perturbed = self.layers.as_ref().is_none_or(|names| names.contains(&node.name));
            layers.push(if perturbed {
                self.layer_set(index, &node.name, dense)?
            } else {
                LayerSet::unperturbed(index, dense.bias.len())
            });
        }
        let roundings = match (self.kind, &self.layers) {
            (Kind::Format(format), None) => {
                format::sum_roundings(network, format, self.radius.unwrap_or(1.0))?
            }
            (_, _) => Vec::new(),
        };
        Ok(PerturbationSet {
            layers,
            roundings,
            input_radius: self.input_radius,
            input_range: None,
            activation_radius: self.activation_radius,
            value_limit: match self.kind {
                Kind::Format(format) => Some(format.largest()),
                Kind::Absolute
                | Kind::Relative
                | Kind::PerChannel
                | Kind::Frobenius
                | Kind::Integer { .. } => None,
            },
        })
    }

    fn check_names(&self, network: &Network) -> Result<(), ThreatError> {
        let known: Vec<String> = network.affine_layers().map(|(_, node, _)| node.name.clone()).collect();
        let mut named = self.layers.iter().flatten().chain(self.layer.keys());
        match named.find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => Err(ThreatError::UnknownLayer { found: name.clone(), known }),
        }
    }

    fn layer_set(&self, node: usize, name: &str, dense: &Affine) -> Result<LayerSet, ThreatError> {
        let own = self.layer.get(name);
        let default = self.radius.or(self.kind.has_own_radius().then_some(1.0)).map(RadiusValue::One);
        let radius = own.and_then(|o| o.radius.clone()).or(default);
        let radius = radius.ok_or(ThreatError::MissingRadius { kind: self.kind })?;
        let radii: Vec<f64> = match &radius {
            RadiusValue::One(r) => vec![*r],
            RadiusValue::PerRow(rows) if rows.len() != dense.bias.len() => {
                let (expected, found) = (dense.bias.len(), rows.len());
                return Err(ThreatError::RowCount { layer: name.into(), expected, found });
            }
            RadiusValue::PerRow(rows) => rows.clone(),
        };
        for r in &radii {
            check_radius(&format!("radius of layer {name}"), *r)?;
        }
        let one = match radius {
            RadiusValue::One(r) => Ok(r),
            RadiusValue::PerRow(_) => {
                Err(ThreatError::RowsUnsupported { layer: name.into(), kind: self.kind })
            }
        };
        let (weight, tied) = match self.kind {
            Kind::Absolute => absolute::radii(dense, &radii),
            Kind::Relative => relative::radii(dense, &radii),
            Kind::PerChannel => per_channel::radii(dense, &radii),
            Kind::Frobenius => frobenius::radii(dense, one?),
            Kind::Integer { bits, granularity } => integer::radii(dense, bits, granularity, one?),
            Kind::Format(format) => format::radii(name, dense, format, one?)?,
        };
        let bias_radius = own.and_then(|o| o.bias_radius).or(self.bias_radius);
        if let Some(radius) = bias_radius {
            check_radius(&format!("bias radius of layer {name}"), radius)?;
        }
        let is_format = matches!(self.kind, Kind::Format(_));
        let (Some(bias_radius), false) = (bias_radius, is_format) else {
            // The sums of a number format err even where there is no bias.
            let added = bias_radius.unwrap_or(0.0);
            let moves = dense.has_bias || is_format;
            let bias = tied.iter().map(|e| if moves { e + added } else { 0.0 }).collect();
            return Ok(LayerSet { node, weight, bias, bias_scales: true, per_use: is_format });
        };
        if !dense.has_bias {
            let bias = vec![0.0; dense.bias.len()];
            return Ok(LayerSet { node, weight, bias, bias_scales: false, per_use: false });
        }
        let bias = match self.kind {
            Kind::Relative => dense.bias.iter().map(|b| bias_radius * b.abs()).collect(),
            Kind::PerChannel => {
                (0..dense.bias.len()).map(|i| bias_radius * per_channel::largest(dense, i)).collect()
            }
            Kind::Absolute | Kind::Frobenius | Kind::Integer { .. } | Kind::Format(_) => {
                vec![bias_radius; dense.bias.len()]
            }
        };
        Ok(LayerSet { node, weight, bias, bias_scales: false, per_use: false })
    }
}

/// Rejects negative, NaN and infinite radii.
fn check_radius(what: &str, value: f64) -> Result<(), ThreatError> {
    if value >= 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(ThreatError::BadRadius { what: what.into(), found: value })
    }
}

/// Radii of the weights of a layer, and the radii its biases have when nothing else is said.
pub(super) type LayerRadii = (WeightRadius, Vec<f64>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for text in
            ["absolute", "relative", "per-channel", "frobenius", "int8", "int4:per-channel", "format:bf16"]
        {
            assert_eq!(text.parse::<Kind>().unwrap().to_string(), text);
        }
        assert_eq!("int8:per-tensor".parse::<Kind>().unwrap().to_string(), "int8");
        assert_eq!("int1".parse::<Kind>(), Err(ThreatError::Bits { found: 1 }));
        assert!("format:fp7".parse::<Kind>().is_err());
        assert!("int".parse::<Kind>().is_err());
        assert!("".parse::<Kind>().is_err());
    }

    #[test]
    fn radii_must_be_finite_and_not_negative() {
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(check_radius("radius", bad).is_err());
        }
        assert!(check_radius("radius", 0.0).is_ok());
    }

    #[test]
    fn a_layer_without_bias_has_none_that_moves_but_formats_still_round() {
        use crate::kernels::Matrix;
        use crate::network::{Activation, NetworkBuilder};
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("d", 0, Matrix::from_vec(1, 1, vec![0.7]), Vec::new()).unwrap();
        builder.activation("a", p, Activation::Relu).unwrap();
        let network = builder.finish().unwrap();
        assert_eq!(network.parameters(), 1);
        let bias = |kind: Kind, bias_radius| {
            let threat = ThreatModel { bias_radius, ..ThreatModel::new(kind, 1.0) };
            threat.resolve(&network).unwrap().layers[0].bias[0]
        };
        for kind in [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Frobenius] {
            assert_eq!(bias(kind, None), 0.0);
            assert_eq!(bias(kind, Some(0.5)), 0.0);
        }
        let format = Kind::Format(NumberFormat::Fp8E4M3);
        assert!(bias(format, None) > 0.0);
        assert_eq!(bias(format, Some(0.5)), bias(format, None) + 0.5);
    }
}
