//! The perturbations that a bound-based objective guards against.

use crate::error::TrainError;
use crate::graph::{Graph, Weights, apply, per_output, window};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use weightproof::network::{Affine, Layer, Network};
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};

/// What radii are multiples of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RadiusKind {
    /// Radii are in the unit of the weights.
    #[default]
    Absolute,
    /// Radii are fractions of the magnitude of each weight.
    Relative,
}

/// A box around every parameter, theory.md §2.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Threat {
    /// Absolute or relative.
    #[serde(default)]
    pub kind: RadiusKind,
    /// Radius of the weights.
    pub radius: f64,
    /// Radius of the biases; that of the weights when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias_radius: Option<f64>,
    /// Radius of the inputs, which stay in [0, 1]; 0 for fixed inputs.
    #[serde(default)]
    pub input_radius: f64,
    /// Names of the layers whose parameters move; all when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
}

impl Threat {
    /// All radii times `t`.
    pub fn scaled(&self, t: f64) -> Threat {
        Threat {
            radius: t * self.radius,
            bias_radius: self.bias_radius.map(|b| t * b),
            input_radius: t * self.input_radius,
            ..self.clone()
        }
    }

    /// The same set for the certifying core.
    pub fn model(&self) -> ThreatModel {
        let kind = match self.kind {
            RadiusKind::Absolute => Kind::Absolute,
            RadiusKind::Relative => Kind::Relative,
        };
        ThreatModel {
            bias_radius: self.bias_radius,
            input_radius: self.input_radius,
            layers: self.layers.clone(),
            ..ThreatModel::new(kind, self.radius)
        }
    }

    /// The radii of `network`'s parameters, for the certifying core; inputs that move stay in [0, 1].
    ///
    /// # Errors
    /// When a radius is negative or not finite, or a layer does not exist.
    pub fn set(&self, network: &Network) -> Result<PerturbationSet, TrainError> {
        let set = self.model().resolve(network);
        let set = set.map_err(|error| TrainError::setting("threat", error.to_string()))?;
        Ok(PerturbationSet { input_range: Some((0.0, 1.0)), ..set })
    }

    fn moves(&self, name: &str) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.iter().any(|l| l == name))
    }

    /// Radius of the weights of the layer `name`.
    pub(crate) fn weight_radius(&self, name: &str) -> f64 {
        if self.moves(name) { self.radius } else { 0.0 }
    }

    /// Radius of the biases of the layer `name`.
    pub(crate) fn bias_radius(&self, name: &str) -> f64 {
        if self.moves(name) { self.bias_radius.unwrap_or(self.radius) } else { 0.0 }
    }

    /// The radii of one node with parameters, for these weights.
    pub(crate) fn at(&self, graph: &Graph, node: usize, weights: &Weights) -> LayerRadii {
        let (name, slot) = (&graph.nodes()[node].name, graph.slot(node));
        LayerRadii {
            kind: self.kind,
            weight: self.weight_radius(name),
            bias: self.bias_radius(name),
            matrix: weights.weight[slot].clone(),
            row: weights.bias[slot].clone(),
        }
    }
}

/// The radii of one layer, `E` of its weights and `e` of its biases.
pub(crate) struct LayerRadii {
    kind: RadiusKind,
    weight: f64,
    bias: f64,
    matrix: Tensor<2>,
    row: Option<Tensor<2>>,
}

impl LayerRadii {
    /// `E z` for `z ≥ 0`, (batch, n_in) to (batch, n_out) or a column that holds for every output.
    pub fn times(&self, layer: &Layer, z: Tensor<2>) -> Tensor<2> {
        match (self.kind, window(layer)) {
            (RadiusKind::Absolute, None) => z.sum_dim(1) * self.weight,
            (RadiusKind::Absolute, Some(_)) => apply(window(layer), self.matrix.ones_like() * self.weight, z),
            (RadiusKind::Relative, _) => apply(window(layer), self.matrix.clone().abs() * self.weight, z),
        }
    }

    /// `W + E` or, with sign −1, `W − E`.
    pub fn shifted(&self, sign: f64) -> Tensor<2> {
        self.matrix.clone() + self.extent() * sign
    }

    /// `|W| + E`.
    pub fn reach(&self) -> Tensor<2> {
        self.matrix.clone().abs() + self.extent()
    }

    /// `E` as a tensor that broadcasts over the weights.
    pub fn extent(&self) -> Tensor<2> {
        match self.kind {
            RadiusKind::Absolute => Tensor::full([1, 1], self.weight, &self.matrix.device()),
            RadiusKind::Relative => self.matrix.clone().abs() * self.weight,
        }
    }

    /// `e` for every output, a row that broadcasts over the batch; zero without biases.
    pub fn biases(&self, layer: &Layer) -> Tensor<2> {
        match (self.kind, &self.row) {
            (_, None) => Tensor::zeros([1, 1], &self.matrix.device()),
            (RadiusKind::Absolute, Some(_)) => Tensor::full([1, 1], self.bias, &self.matrix.device()),
            (RadiusKind::Relative, Some(row)) => per_output(layer, row.clone().abs() * self.bias),
        }
    }
}

/// Whether a node's parameters form a dense layer.
pub(crate) fn dense(layer: &Layer) -> Option<&Affine> {
    if let Layer::Dense(affine) = layer { Some(affine) } else { None }
}
