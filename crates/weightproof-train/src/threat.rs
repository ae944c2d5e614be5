//! The perturbations that a bound-based objective guards against.

use crate::bound::rivals_of_pairs;
use crate::error::TrainError;
use crate::graph::{Graph, Var, Weights, per_output, window};
use serde::{Deserialize, Serialize};
use weightproof::network::{Affine, Layer, Network};
use weightproof::noise::{Law, NoiseKind, NoiseModel, Reference};
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
    /// Random weights that the objectives `noise-certified` guard against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseThreat>,
}

/// Gaussian noise of every weight and bias.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NoiseThreat {
    /// Deviation, a fraction of the largest weight of the layer.
    pub sigma: f64,
    /// Probability with which a certified sample may fail.
    #[serde(default = "failure_probability")]
    pub failure_probability: f64,
    /// How many deviations boxes and rows must hold for; by default so many that a sub-Gaussian tail has the probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
}

fn failure_probability() -> f64 {
    1e-9
}

impl Default for NoiseThreat {
    fn default() -> Self {
        NoiseThreat { sigma: 0.0, failure_probability: failure_probability(), quantile: None }
    }
}

impl NoiseThreat {
    /// Deviations that boxes and rows must hold for.
    pub fn quantile(&self) -> f64 {
        self.quantile.unwrap_or_else(|| (-2.0 * self.failure_probability.ln()).sqrt())
    }

    /// The same noise for the certifying core.
    pub fn model(&self) -> NoiseModel {
        NoiseModel::new(NoiseKind::Added(Law::Gaussian, Reference::Layer), Some(self.sigma))
    }

    /// What is wrong with its numbers, if anything.
    pub(crate) fn defect(&self) -> Option<String> {
        let fits = |value: f64| value >= 0.0 && value.is_finite();
        if !fits(self.sigma) {
            return Some(format!("sigma: expected a finite number of at least 0, found {}", self.sigma));
        }
        if !(self.failure_probability > 0.0 && self.failure_probability < 1.0) {
            let found = self.failure_probability;
            return Some(format!("failure-probability: expected a number between 0 and 1, found {found}"));
        }
        let quantile = self.quantile.filter(|q| !fits(*q));
        quantile.map(|found| format!("quantile: expected a finite number of at least 0, found {found}"))
    }
}

impl Threat {
    /// All radii times `t`.
    pub fn scaled(&self, t: f64) -> Threat {
        Threat {
            radius: t * self.radius,
            bias_radius: self.bias_radius.map(|b| t * b),
            input_radius: t * self.input_radius,
            noise: self.noise.map(|noise| NoiseThreat { sigma: t * noise.sigma, ..noise }),
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
    pub(crate) fn at<'t>(&self, graph: &'t Graph, node: usize, weights: &Weights<'t>) -> LayerRadii<'t> {
        let (slot, node) = (graph.slot(node), &graph.nodes()[node]);
        LayerRadii {
            kind: self.kind,
            weight: self.weight_radius(&node.name),
            bias: self.bias_radius(&node.name),
            layer: &node.layer,
            matrix: weights.weight[slot],
            row: weights.bias[slot],
        }
    }
}

/// One layer with its radii, `E` of its weights and `e` of its biases.
pub(crate) struct LayerRadii<'t> {
    kind: RadiusKind,
    /// Radius of the weights.
    pub weight: f64,
    bias: f64,
    /// The layer.
    pub layer: &'t Layer,
    /// Its weights.
    pub matrix: Var<'t>,
    /// Its biases.
    pub row: Option<Var<'t>>,
}

impl<'t> LayerRadii<'t> {
    /// `E |z| + e`, (batch, n_in) to (batch, n_out) or a column that holds for every output.
    pub fn push(&self, z: Var<'t>) -> Var<'t> {
        self.push_of_weights(z) + self.biases()
    }

    /// `E |z|`.
    pub fn push_of_weights(&self, z: Var<'t>) -> Var<'t> {
        match (self.kind, window(self.layer)) {
            (RadiusKind::Absolute, None) => self.weighted_l1(z, 1.0),
            (_, window) => z.abs().linear(self.extents(), window, None),
        }
    }

    /// `sign · E ‖z‖₁` for every row of an absolute radius, (rows, 1).
    pub fn weighted_l1(&self, z: Var<'t>, sign: f64) -> Var<'t> {
        let [up, down] = [sign, -sign].map(|sign| z.tape().full(sign * self.weight, [1, z.shape()[1]]));
        z.split_sum(up, down)
    }

    /// `W + E` or, with sign −1, `W − E`.
    pub fn shifted(&self, sign: f64) -> Var<'t> {
        match self.kind {
            RadiusKind::Absolute => self.matrix.shift(sign * self.weight),
            RadiusKind::Relative => self.matrix.blend(self.matrix.abs(), [1.0, sign * self.weight]),
        }
    }

    /// `|W| + E`.
    pub fn reach(&self) -> Var<'t> {
        let magnitude = self.matrix.abs();
        match self.kind {
            RadiusKind::Absolute if self.weight == 0.0 => magnitude,
            RadiusKind::Absolute => magnitude.shift(self.weight),
            RadiusKind::Relative => magnitude.scale(1.0 + self.weight),
        }
    }

    /// `E`, in the shape of the weights.
    pub fn extents(&self) -> Var<'t> {
        match self.kind {
            RadiusKind::Absolute => self.matrix.tape().full(self.weight, self.matrix.shape()),
            RadiusKind::Relative => self.matrix.abs().scale(self.weight),
        }
    }

    /// `E_y + E_j` for every pair of rows: (rows², n_in), or one number.
    pub fn pair_extents(&self) -> Var<'t> {
        match self.kind {
            RadiusKind::Absolute => self.matrix.tape().full(2.0 * self.weight, [1, 1]),
            RadiusKind::Relative => self.extents().pairs([1.0, 1.0]),
        }
    }

    /// `e` for every output, a row that serves the batch; zero without biases.
    pub fn biases(&self) -> Var<'t> {
        let tape = self.matrix.tape();
        match (self.kind, self.row) {
            (_, None) => tape.full(0.0, [1, 1]),
            (RadiusKind::Absolute, Some(_)) => tape.full(self.bias, [1, 1]),
            (RadiusKind::Relative, Some(row)) => per_output(self.layer, row.abs().scale(self.bias)),
        }
    }

    /// Of an output layer over `z ≥ 0`, for the label `y` of every sample and every class `j`: `W_y − W_j − E_y − E_j`,
    /// (batch · classes, n_in), and `b_y − b_j − e_y − e_j`, (batch · classes, 1); zeros for `j = y`.
    pub fn rows_of_pairs(&self, labels: &'t [u32]) -> (Var<'t>, Var<'t>) {
        let (tape, [classes, n]) = (self.matrix.tape(), self.matrix.shape());
        let rivals = rivals_of_pairs(tape, classes);
        // One block for each label, of one row for each class.
        let of_labels = |rows: Var<'t>, n: usize| {
            let blocks = (rows * rivals).reshape([1, classes * classes * n]).block(labels, classes * n);
            blocks.reshape([labels.len() * classes, n])
        };
        let rows = of_labels(self.matrix.pairs([1.0, -1.0]) - self.pair_extents(), n);
        let column = |row: Var<'t>| row.spread([1, classes]).reshape([classes, 1]);
        let push = column(self.biases()).pairs([-1.0, -1.0]);
        let biases = self.row.map_or(push, |row| column(row).pairs([1.0, -1.0]) + push);
        (rows, of_labels(biases, 1))
    }
}

/// Whether a node's parameters form a dense layer.
pub(crate) fn dense(layer: &Layer) -> Option<&Affine> {
    if let Layer::Dense(affine) = layer { Some(affine) } else { None }
}
