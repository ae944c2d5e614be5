//! Random weights of one network, with numbers.

use super::error::NoiseError;
use super::layer::LayerNoise;
use super::model::Reference;
use crate::kernels::Matrix;
use crate::network::{Affine, Network};
use crate::threat::outward::product_up;
use crate::threat::{LayerPerturbation, PerturbationSet, WeightSet};
use rand::Rng;
use std::borrow::Cow;
use std::sync::Arc;

/// One number for each weight of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Amounts {
    /// The same for all weights of an output channel.
    Rows(Vec<f64>),
    /// One for each weight.
    Entries(Arc<Matrix<f64>>),
}

impl Amounts {
    /// The number of weight `(i, j)`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        match self {
            Amounts::Rows(rows) => rows[i],
            Amounts::Entries(entries) => entries[(i, j)],
        }
    }

    /// `Σ_j c_j s_j²` over row `i`, for numbers `s` ≥ 0.
    pub(crate) fn of_row(&self, i: usize, s: impl Iterator<Item = f64>) -> f64 {
        match self {
            Amounts::Rows(rows) => rows[i] * s.map(|s| s * s).sum::<f64>(),
            Amounts::Entries(entries) => entries.row(i).iter().zip(s).map(|(c, s)| c * s * s).sum(),
        }
    }

    pub(super) fn map(&self, f: impl Fn(f64) -> f64) -> Amounts {
        match self {
            Amounts::Rows(rows) => Amounts::Rows(rows.iter().map(|&v| f(v)).collect()),
            Amounts::Entries(entries) => Amounts::Entries(Arc::new(entries.map(f))),
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        match self {
            Amounts::Rows(rows) => rows.iter().all(|v| *v == 0.0),
            Amounts::Entries(entries) => entries.as_slice().iter().all(|v| *v == 0.0),
        }
    }
}

/// The random weights of one network.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSet {
    /// Layers with random parameters, in node order.
    layers: Vec<LayerNoise>,
    /// How likely a device is in no state for which the proxies hold.
    escape: f64,
}

impl NoiseSet {
    /// The noise of these layers of `network`.
    ///
    /// # Errors
    /// A random layer whose weights another layer has, too: one memory, whose cells are not independent. Numbers that are not finite.
    pub(super) fn new(network: &Network, layers: Vec<LayerNoise>) -> Result<Self, NoiseError> {
        let is_random = |index: usize| layers.iter().any(|layer| layer.node == index);
        if let Some([first, second]) = network.same_weights(is_random) {
            return Err(NoiseError::Shared { first: first.into(), second: second.into() });
        }
        if let Some(layer) = layers.iter().find(|layer| !layer.is_finite()) {
            return Err(NoiseError::NotFinite { layer: network.nodes()[layer.node].name.clone() });
        }
        let affine = |layer: &LayerNoise| network.nodes()[layer.node].layer.affine();
        let escape = |layer: &LayerNoise| affine(layer).map_or(0.0, |affine| layer.escape(affine));
        let escape = layers.iter().map(escape).sum::<f64>() * (1.0 + layers.len() as f64 * f64::EPSILON);
        Ok(NoiseSet { layers, escape })
    }

    /// Layers with random parameters, in node order.
    pub fn layers(&self) -> &[LayerNoise] {
        &self.layers
    }

    /// The noise of node `index`, where its parameters are random.
    pub fn layer(&self, index: usize) -> Option<&LayerNoise> {
        self.layers.iter().find(|layer| layer.node == index)
    }

    /// Whether all noise is Gaussian.
    pub fn is_gaussian(&self) -> bool {
        self.layers.iter().all(LayerNoise::is_gaussian)
    }

    /// How likely a device is in no state for which the proxies hold: 0 but for pairs of devices.
    pub fn escape(&self) -> f64 {
        self.escape
    }

    /// Whether means are computed, and known but for an error: weights drift, or are pairs of devices.
    pub fn is_aged(&self) -> bool {
        self.layers.iter().any(|layer| layer.mean.is_some())
    }

    /// Whether means are not the parameters of the network.
    pub fn moves_means(&self) -> bool {
        self.layers.iter().any(|layer| layer.mean.as_ref().is_some_and(|mean| mean.parameters.is_some()))
    }

    /// The network whose parameters are the means of the random ones: what certificates are about.
    pub fn mean_network<'n>(&self, network: &'n Network) -> Cow<'n, Network> {
        let parameters = |layer: &LayerNoise| {
            let (weight, bias) = layer.mean.as_ref()?.parameters.clone()?;
            Some(LayerPerturbation { node: layer.node, weight, bias })
        };
        let parameters: Vec<_> = self.layers.iter().filter_map(parameters).collect();
        if parameters.is_empty() {
            Cow::Borrowed(network)
        } else {
            Cow::Owned(network.with_parameters(&parameters))
        }
    }

    /// Whether `network` has the means of the random parameters.
    pub(super) fn is_at_mean(&self, network: &Network) -> bool {
        let holds = |layer: &LayerNoise| {
            let Some((weight, bias)) = layer.mean.as_ref().and_then(|mean| mean.parameters.as_ref()) else {
                return true;
            };
            let affine = network.nodes().get(layer.node).and_then(|node| node.layer.affine());
            affine.is_some_and(|affine| affine.weight == *weight && affine.bias == *bias)
        };
        self.layers.iter().all(holds)
    }

    /// `set`, which leaves all weights as they are, with what means are wrong by.
    pub(super) fn with_errors(&self, set: PerturbationSet) -> PerturbationSet {
        let mut set = set;
        for layer in &mut set.layers {
            if let Some(mean) = self.layer(layer.node).and_then(|noise| noise.mean.as_ref()) {
                layer.weight = WeightSet::rows(mean.weight_errors.clone());
                layer.bias.clone_from(&mean.bias_errors);
            }
        }
        set
    }

    /// The same noise of `network` with all numbers times `t`, rounded up.
    ///
    /// # Errors
    /// Stochastic rounding, whose step is fixed; weights that drift, and pairs of devices.
    pub fn scaled(&self, network: &Network, t: f64) -> Result<Self, NoiseError> {
        let layers: Result<Vec<_>, _> = self.layers.iter().map(|layer| layer.scaled(network, t)).collect();
        Ok(NoiseSet { layers: layers?.into_iter().flatten().collect(), escape: self.escape })
    }

    /// The network of one device: every random parameter drawn, the others as they are.
    pub fn draw(&self, network: &Network, rng: &mut impl Rng) -> Network {
        let parameters: Vec<_> = self
            .layers
            .iter()
            .map(|layer| {
                let affine = network.nodes()[layer.node].layer.affine().expect("a layer with parameters");
                let (weight, bias) = layer.draw(affine, rng);
                LayerPerturbation { node: layer.node, weight, bias }
            })
            .collect();
        network.with_parameters(&parameters)
    }
}

/// The largest magnitude.
pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0_f64, |most, w| most.max(w.abs()))
}

/// What the number of a layer is relative to, with that number for each row or weight.
pub(super) fn amounts(reference: Reference, sigma: f64, affine: &Affine) -> (Amounts, Vec<f64>) {
    let rows = affine.bias.len();
    match reference {
        Reference::Absolute => (Amounts::Rows(vec![sigma; rows]), vec![sigma; rows]),
        Reference::Weight => {
            let of = |w: f64| product_up(sigma, w.abs());
            (Amounts::Entries(Arc::new(affine.weight.map(of))), affine.bias.iter().map(|&b| of(b)).collect())
        }
        Reference::Channel => {
            let of_rows: Vec<f64> =
                (0..rows).map(|i| product_up(sigma, largest(affine.weight.row(i)))).collect();
            (Amounts::Rows(of_rows.clone()), of_rows)
        }
        Reference::Layer => {
            let of_layer = product_up(sigma, largest(affine.weight.as_slice()));
            (Amounts::Rows(vec![of_layer; rows]), vec![of_layer; rows])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compensation, DriftModel, NoiseModel};
    use super::*;
    use crate::network::NetworkBuilder;
    use crate::threat::{Kind, ThreatModel};

    fn network() -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let weight = Matrix::from_vec(2, 2, vec![0.5, -2.0, 0.25, 0.125]);
        builder.dense("only", 0, weight, vec![0.125, 0.0]).unwrap();
        builder.finish().unwrap()
    }

    /// What means may be wrong by is a set beside the noise: of every row at least the error of its largest weight.
    #[test]
    fn errors_of_means_are_radii() {
        let network = network();
        let still = ThreatModel::new(Kind::Absolute, 0.0).resolve(&network).unwrap();
        let drift = DriftModel {
            mean: 0.05,
            spread: 0.01,
            low: 0.0,
            high: None,
            reference_time: 1.0,
            compensation: Compensation::None,
        };
        let model =
            NoiseModel { drift: Some(drift), ..NoiseModel::new("gaussian".parse().unwrap(), Some(0.0)) };
        let of = |model: &NoiseModel| model.resolve_at(&network, Some(3600.0)).unwrap();
        let set = of(&model).with_errors(still.clone());
        let [layer] = &set.layers[..] else { panic!("one layer") };
        let factor = drift.at(3600.0).unwrap();
        assert!(
            layer.weight.at(0, 1) >= 2.0 * factor.error && layer.weight.at(0, 1) < 3.0 * factor.error + 1e-14
        );
        assert!(layer.weight.at(1, 0) >= 0.25 * factor.error && layer.bias[0] >= 0.125 * factor.error);
        assert!(factor.error > 0.0 && factor.error < 1e-9);
        // Without noise nothing changes, and nobody is out of reach.
        assert_eq!((of(&model).escape(), of(&model).is_gaussian()), (0.0, false));
        let devices = of(&NoiseModel::new("pcm".parse().unwrap(), None));
        // Eight devices, each beyond 8.5 deviations with a probability of 9.5e-18.
        assert!(devices.escape() > 7.5e-17 && devices.escape() < 7.7e-17, "{}", devices.escape());
        assert!(devices.with_errors(still).layers[0].weight.at(0, 0) > 0.0);
        assert!(devices.scaled(&network, 2.0).is_err());
    }
}
