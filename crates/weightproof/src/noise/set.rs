//! Random weights of one network, with numbers.

use super::model::{Law, NoiseError, Reference};
use crate::kernels::Matrix;
use crate::network::{Affine, Network};
use crate::threat::outward::product_up;
use crate::threat::standard_normal;
use rand::{Rng, RngExt};
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

/// The random part of one layer: independent for every parameter, with mean zero.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNoise {
    /// Index of the node.
    pub node: usize,
    /// The law of every parameter.
    pub law: Law,
    /// The number of the law for each weight: see [`Law`].
    pub weight: Amounts,
    /// The same for each bias.
    pub bias: Vec<f64>,
    /// Variance proxies of the weights, rounded up.
    pub(crate) squares: Amounts,
    /// Variance proxies of the biases, rounded up.
    pub(crate) bias_squares: Vec<f64>,
}

impl LayerNoise {
    /// Noise with these numbers; `None` where all are zero.
    pub(super) fn new(node: usize, law: Law, weight: Amounts, bias: Vec<f64>) -> Option<Self> {
        if weight.is_zero() && bias.iter().all(|v| *v == 0.0) {
            return None;
        }
        let square = |amount: f64| law.proxy_square(amount);
        let (squares, bias_squares) = (weight.map(square), bias.iter().map(|&v| square(v)).collect());
        Some(LayerNoise { node, law, weight, bias, squares, bias_squares })
    }

    /// Parameters of one draw.
    fn draw(&self, layer: &Affine, rng: &mut impl Rng) -> (Matrix<f64>, Vec<f64>) {
        let mut weight = layer.weight.clone();
        for i in 0..weight.rows() {
            for (j, w) in weight.row_mut(i).iter_mut().enumerate() {
                *w = self.law.draw(*w, self.weight.at(i, j), rng);
            }
        }
        let bias = layer.bias.iter().zip(&self.bias).map(|(&b, &amount)| self.law.draw(b, amount, rng));
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
}

impl NoiseSet {
    /// The noise of these layers of `network`.
    ///
    /// # Errors
    /// A random layer whose weights another layer has, too: one memory, whose cells are not independent.
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
        Ok(NoiseSet { layers })
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
        self.layers.iter().all(|layer| layer.law == Law::Gaussian)
    }

    /// The same noise with all numbers times `t`, rounded up.
    ///
    /// # Errors
    /// Stochastic rounding, whose step is fixed.
    pub fn scaled(&self, t: f64) -> Result<Self, NoiseError> {
        if self.layers.iter().any(|layer| layer.law == Law::StochasticRounding) {
            return Err(NoiseError::FixedStep);
        }
        let scale = |v: f64| product_up(t, v);
        let layer = |layer: &LayerNoise| {
            let bias = layer.bias.iter().map(|&v| scale(v)).collect();
            LayerNoise::new(layer.node, layer.law, layer.weight.map(scale), bias)
        };
        Ok(NoiseSet { layers: self.layers.iter().filter_map(layer).collect() })
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

/// What the number of a layer is relative to, with that number for each row or weight.
pub(super) fn amounts(reference: Reference, sigma: f64, affine: &Affine) -> (Amounts, Vec<f64>) {
    let largest = |values: &[f64]| values.iter().fold(0.0_f64, |most, w| most.max(w.abs()));
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
