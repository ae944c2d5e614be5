//! The threat model as users write it, on the command line or in a TOML file.

use super::format;
use super::kind::Parameters;
use super::outward::{product_up, quotient_up};
use super::{Kind, LayerSet, PerturbationSet};
use crate::network::{Affine, Network};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

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
    #[error("threat kind: expected {known}, found {found}")]
    UnknownKind {
        /// What was written.
        found: String,
        /// What may be written.
        known: String,
    },
    /// How a product of two values is rounded in a number format is not modelled.
    #[error(
        "node {node}: expected no product of two computed values with the threat format:{format}, whose rounding there is not modelled; \
         the kind relative takes such networks"
    )]
    ProductRounded {
        /// Name of the node.
        node: String,
        /// The number format.
        format: &'static str,
    },
    /// The number of bits is out of range.
    #[error("integer quantization: expected 2 to 16 bits, found {found}")]
    Bits {
        /// What was written.
        found: u32,
    },
    /// A quantizer has no such setting.
    #[error("integer quantization: expected settings from {known}, found {found}")]
    UnknownSetting {
        /// What was written.
        found: String,
        /// All words.
        known: String,
    },
    /// The kind needs a radius and there is none.
    #[error("threat {kind}: expected a radius, found none")]
    MissingRadius {
        /// The kind.
        kind: Kind,
    },
    /// The kind counts in stored integers, and the layer has none.
    #[error("layer {layer}: expected weights that the file stores as integers, found floating-point ones")]
    NotStored {
        /// Name of the layer.
        layer: String,
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
        "layer {layer}: radii for each output channel need a kind that has them, such as absolute, relative or per-channel, found {kind}"
    )]
    RowsUnsupported {
        /// Name of the layer.
        layer: String,
        /// The kind.
        kind: Kind,
    },
    /// A percentile of the magnitudes, from which a quantizer takes its step, is zero.
    #[error(
        "layer {layer}: a quantizer that clips at {percent}% takes no step from weights most of which are zero"
    )]
    ClippedAway {
        /// Name of the layer.
        layer: String,
        /// The percentile.
        percent: f64,
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

    /// The model at `radius`: radii of single layers keep their ratio to the model's own radius, or are multiplied by `radius`
    /// where it has none. Radii that are given for biases alone stay, as do those of inputs and activations.
    pub fn at(&self, radius: f64) -> ThreatModel {
        let factor = quotient_up(radius, self.radius.filter(|own| *own > 0.0).unwrap_or(1.0));
        let scaled = |value: &RadiusValue| match value {
            RadiusValue::One(r) => RadiusValue::One(product_up(factor, *r)),
            RadiusValue::PerRow(rows) => {
                RadiusValue::PerRow(rows.iter().map(|&r| product_up(factor, r)).collect())
            }
        };
        let layer = self.layer.iter().map(|(name, own)| {
            let radius = own.radius.as_ref().map(scaled);
            (name.clone(), LayerOverride { radius, bias_radius: own.bias_radius })
        });
        // A radius of 0 beside those of layers is one that nothing scales.
        let others_stay = self.radius == Some(0.0) && self.layer.values().any(|own| own.radius.is_some());
        let global = if others_stay { 0.0 } else { radius };
        ThreatModel { radius: Some(global), layer: layer.collect(), ..self.clone() }
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
        let roundings = match (self.kind.format(), &self.layers) {
            (Some(inference), None) => format::sum_roundings(network, inference, self.radius.unwrap_or(1.0))?,
            (_, _) => Vec::new(),
        };
        Ok(PerturbationSet {
            layers,
            roundings,
            input_radius: self.input_radius,
            input_range: None,
            activation_radius: self.activation_radius,
            value_limit: self.kind.format().map(|inference| inference.format.largest()),
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
        if matches!(radius, RadiusValue::PerRow(_)) && !self.kind.has_row_radii() {
            return Err(ThreatError::RowsUnsupported { layer: name.into(), kind: self.kind });
        }
        let Parameters { weight, bias: tied } = self.kind.parameters(name, dense, &radii)?;
        let bias_radius = own.and_then(|o| o.bias_radius).or(self.bias_radius);
        if let Some(radius) = bias_radius {
            check_radius(&format!("bias radius of layer {name}"), radius)?;
        }
        let is_format = self.kind.format().is_some();
        let bias = match bias_radius {
            // The sums of a number format err even where there is no bias.
            added if is_format => tied.iter().map(|e| e + added.unwrap_or(0.0)).collect(),
            _ if !dense.has_bias => vec![0.0; dense.bias.len()],
            None => tied,
            Some(radius) => self.kind.biases(dense, radius),
        };
        let bias_scales = is_format || bias_radius.is_none();
        Ok(LayerSet { node, weight, bias, bias_scales, per_use: is_format })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radii_of_layers_keep_their_ratio() {
        let own = |radius| LayerOverride { radius: Some(radius), bias_radius: Some(0.5) };
        let layer = BTreeMap::from([
            ("a".to_owned(), own(RadiusValue::One(0.01))),
            ("b".to_owned(), own(RadiusValue::PerRow(vec![0.002, 0.0]))),
        ]);
        let model = ThreatModel { layer, ..ThreatModel::new(Kind::Relative, 0.001) };
        assert_eq!(model.at(0.001), model);
        let at = model.at(0.002);
        assert_eq!(at.radius, Some(0.002));
        let Some(RadiusValue::One(a)) = at.layer["a"].radius else { panic!("one radius") };
        let Some(RadiusValue::PerRow(b)) = &at.layer["b"].radius else { panic!("radii of rows") };
        assert!((0.02..0.02 * (1.0 + 1e-12)).contains(&a), "{a}");
        assert!(b[0] >= 0.004 && b[0] < 0.004 * (1.0 + 1e-12) && b[1] == 0.0, "{b:?}");
        assert_eq!(at.layer["a"].bias_radius, Some(0.5));
        // Only one layer moves: the others stay whatever the factor.
        let still = ThreatModel { radius: Some(0.0), ..model.clone() };
        assert_eq!(still.at(3.0).radius, Some(0.0));
        let Some(RadiusValue::One(a)) = still.at(3.0).layer["a"].radius else { panic!("one radius") };
        assert!((0.03..0.03 * (1.0 + 1e-12)).contains(&a), "{a}");
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
        use super::super::{Inference, NumberFormat};
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
        let format = Kind::Format(Inference::new(NumberFormat::Fp8E4M3));
        assert!(bias(format, None) > 0.0);
        assert_eq!(bias(format, Some(0.5)), bias(format, None) + 0.5);
    }
}
