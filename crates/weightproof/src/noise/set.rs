//! Random weights of one network, with numbers.

use super::drift::Drift;
use super::model::{Law, NoiseError, Reference};
use super::pcm::{Pairs, Weights};
use crate::kernels::Matrix;
use crate::network::{Affine, Network};
use crate::threat::outward::product_up;
use crate::threat::{PerturbationSet, WeightSet, standard_normal};
use rand::{Rng, RngExt};
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

    fn map(&self, f: impl Fn(f64) -> f64) -> Amounts {
        match self {
            Amounts::Rows(rows) => Amounts::Rows(rows.iter().map(|&v| f(v)).collect()),
            Amounts::Entries(entries) => Amounts::Entries(Arc::new(entries.map(f))),
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Amounts::Rows(rows) => rows.iter().all(|v| *v == 0.0),
            Amounts::Entries(entries) => entries.as_slice().iter().all(|v| *v == 0.0),
        }
    }
}

/// The random part of one layer: independent for every parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNoise {
    /// Index of the node.
    pub node: usize,
    /// Where parameters come from.
    pub source: Source,
    /// Means of the parameters, where they are not those of the network.
    mean: Option<Mean>,
    /// Variance proxies of the weights, rounded up.
    pub(crate) squares: Amounts,
    /// Variance proxies of the biases, rounded up.
    pub(crate) bias_squares: Vec<f64>,
}

/// How the parameters of a layer are drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// By one law, with numbers, before cells drift.
    Added(Added),
    /// By pairs of devices; biases are not random.
    Devices(Pairs),
}

/// Numbers of a law.
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    /// The law of every parameter.
    pub law: Law,
    /// The number of the law for each weight: see [`Law`].
    pub weight: Amounts,
    /// The same for each bias.
    pub bias: Vec<f64>,
    /// What happens to the parameters afterwards.
    pub drift: Option<Drift>,
    /// Whether biases drift.
    pub biases_drift: bool,
}

/// Means of the parameters of a layer, and what they are wrong by at most.
#[derive(Clone, Debug, PartialEq)]
struct Mean {
    /// Means; `None` where they are those of the network.
    parameters: Option<(Matrix<f64>, Vec<f64>)>,
    /// For each row.
    weight_errors: Vec<f64>,
    bias_errors: Vec<f64>,
}

impl LayerNoise {
    /// Noise of a law; `None` where nothing is random and nothing moves.
    pub(super) fn added(node: usize, affine: &Affine, added: Added) -> Option<Self> {
        let is_still = added.weight.is_zero() && added.bias.iter().all(|v| *v == 0.0);
        if is_still && added.drift.is_none() {
            return None;
        }
        let square = |amount: f64| added.law.proxy_square(amount);
        let (squares, bias_squares) =
            (added.weight.map(square), added.bias.iter().map(|&v| square(v)).collect());
        let noise =
            LayerNoise { node, source: Source::Added(added.clone()), mean: None, squares, bias_squares };
        Some(match added.drift {
            None => noise,
            Some(drift) => noise.drifted(affine, &drift, added.biases_drift),
        })
    }

    /// The same after cells have drifted: `F (w + Δ) = E F w + (F − E F) w + F Δ`, of which the last two are random.
    fn drifted(self, affine: &Affine, drift: &Drift, biases_drift: bool) -> Self {
        let up = |v: f64| v * (1.0 + 16.0 * f64::EPSILON) + f64::MIN_POSITIVE;
        let square = |w: f64, of_law: f64| up((drift.proxy * w).powi(2) + drift.most * drift.most * of_law);
        let (rows, cols) = (affine.weight.rows(), affine.weight.cols());
        let squares =
            Matrix::from_fn(rows, cols, |i, j| square(affine.weight[(i, j)], self.squares.at(i, j)));
        let error = |w: f64| product_up(w.abs(), drift.error + 2.0 * f64::EPSILON * drift.mean);
        let (mut bias, mut bias_errors, mut bias_squares) =
            (affine.bias.clone(), vec![0.0; rows], self.bias_squares);
        if biases_drift {
            for i in 0..rows {
                bias_squares[i] = square(bias[i], bias_squares[i]);
                bias_errors[i] = error(bias[i]);
                bias[i] *= drift.mean;
            }
        }
        let parameters = (drift.mean != 1.0).then(|| (affine.weight.map(|w| w * drift.mean), bias));
        let weight_errors = (0..rows).map(|i| error(largest(affine.weight.row(i)))).collect();
        let mean = Some(Mean { parameters, weight_errors, bias_errors });
        LayerNoise { mean, squares: Amounts::Entries(Arc::new(squares)), bias_squares, ..self }
    }

    /// Noise of pairs of devices.
    ///
    /// # Errors
    /// A spread of drift that is too large for the time.
    pub(super) fn devices(node: usize, affine: &Affine, pairs: Pairs) -> Result<Self, NoiseError> {
        let Weights { mean, error, squares } = pairs.weights(affine)?;
        let rows = affine.weight.rows();
        let weight_errors = (0..rows).map(|i| largest(error.row(i))).collect();
        let parameters = Some((mean, affine.bias.clone()));
        Ok(LayerNoise {
            node,
            source: Source::Devices(pairs),
            mean: Some(Mean { parameters, weight_errors, bias_errors: vec![0.0; rows] }),
            squares: Amounts::Entries(Arc::new(squares)),
            bias_squares: vec![0.0; rows],
        })
    }

    /// Whether variances and means are numbers.
    fn is_finite(&self) -> bool {
        let finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
        let of_mean = |mean: &Mean| {
            let parameters = mean.parameters.as_ref();
            let errors = [&mean.weight_errors, &mean.bias_errors];
            errors.iter().all(|of| finite(of))
                && parameters.is_none_or(|(weight, bias)| finite(weight.as_slice()) && finite(bias))
        };
        let squares = match &self.squares {
            Amounts::Rows(rows) => finite(rows),
            Amounts::Entries(entries) => finite(entries.as_slice()),
        };
        squares && finite(&self.bias_squares) && self.mean.as_ref().is_none_or(of_mean)
    }

    /// Whether what is random is Gaussian.
    fn is_gaussian(&self) -> bool {
        match &self.source {
            Source::Added(added) => added.law == Law::Gaussian && added.drift.is_none(),
            Source::Devices(_) => false,
        }
    }

    /// How likely the layer is in no state for which the proxies hold.
    fn escape(&self, affine: &Affine) -> f64 {
        match &self.source {
            Source::Added(_) => 0.0,
            Source::Devices(pairs) => pairs.escape(affine),
        }
    }

    /// The same noise times `t`, rounded up.
    fn scaled(&self, network: &Network, t: f64) -> Result<Option<Self>, NoiseError> {
        match &self.source {
            Source::Added(added) if added.law != Law::StochasticRounding && added.drift.is_none() => {
                let scale = |v: f64| product_up(t, v);
                let (weight, bias) =
                    (added.weight.map(scale), added.bias.iter().map(|&v| scale(v)).collect());
                let affine = network.nodes()[self.node].layer.affine().expect("a layer with parameters");
                Ok(LayerNoise::added(self.node, affine, Added { weight, bias, ..added.clone() }))
            }
            Source::Added(_) | Source::Devices(_) => Err(NoiseError::FixedStep),
        }
    }

    /// Parameters of one draw.
    fn draw(&self, layer: &Affine, rng: &mut impl Rng) -> (Matrix<f64>, Vec<f64>) {
        match &self.source {
            Source::Devices(pairs) => (pairs.draw(layer, rng), layer.bias.clone()),
            Source::Added(added) => added.draw(layer, rng),
        }
    }
}

impl Added {
    fn draw(&self, layer: &Affine, rng: &mut impl Rng) -> (Matrix<f64>, Vec<f64>) {
        let mut one = |w: f64, amount: f64, drifts: bool| {
            let programmed = self.law.draw(w, amount, rng);
            match &self.drift {
                Some(drift) if drifts => programmed * drift.draw(rng),
                Some(_) | None => programmed,
            }
        };
        let mut weight = layer.weight.clone();
        for i in 0..weight.rows() {
            for (j, w) in weight.row_mut(i).iter_mut().enumerate() {
                *w = one(*w, self.weight.at(i, j), true);
            }
        }
        let bias = layer.bias.iter().zip(&self.bias).map(|(&b, &amount)| one(b, amount, self.biases_drift));
        (weight, bias.collect())
    }
}

impl Law {
    /// The square of a sub-Gaussian proxy of a parameter with this number, rounded up.
    fn proxy_square(self, amount: f64) -> f64 {
        let factor = match self {
            Law::Gaussian => 1.0,
            // sinh(t)/t ≤ exp(t²/6).
            Law::Uniform => 1.0 / 3.0,
            // Hoeffding: bounded in an interval as long as a step.
            Law::StochasticRounding => 0.25,
        };
        if amount == 0.0 {
            0.0
        } else {
            amount * amount * factor * (1.0 + 8.0 * f64::EPSILON) + f64::MIN_POSITIVE
        }
    }

    /// The parameter `value` of one device.
    fn draw(self, value: f64, amount: f64, rng: &mut impl Rng) -> f64 {
        if amount == 0.0 {
            return value;
        }
        match self {
            Law::Gaussian => value + amount * standard_normal(rng),
            Law::Uniform => value + amount * rng.random_range(-1.0..=1.0),
            Law::StochasticRounding => {
                let below = (value / amount).floor();
                let up = rng.random::<f64>() < value / amount - below;
                amount * (below + if up { 1.0 } else { 0.0 })
            }
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
        let sorted = |affine: &Affine| {
            let mut bits: Vec<u64> = affine.weight.as_slice().iter().map(|w| w.to_bits()).collect();
            bits.sort_unstable();
            bits
        };
        let all: Vec<(usize, &str, Vec<u64>)> = network
            .affine_layers()
            .map(|(index, node, affine)| (index, node.name.as_str(), sorted(affine)))
            .collect();
        for (k, (index, name, weights)) in all.iter().enumerate() {
            let is_random = |index: &usize| layers.iter().any(|layer| layer.node == *index);
            let same = all[..k]
                .iter()
                .find(|(other, _, found)| found == weights && (is_random(index) || is_random(other)));
            if let Some((_, other, _)) = same {
                return Err(NoiseError::Shared { first: (*other).into(), second: (*name).into() });
            }
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
            Some((layer.node, weight, bias))
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
                (layer.node, weight, bias)
            })
            .collect();
        network.with_parameters(&parameters)
    }
}

/// The largest magnitude.
fn largest(values: &[f64]) -> f64 {
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
