//! The random part of one layer: numbers of every parameter, what is known about them, draws.

use super::drift::Drift;
use super::error::NoiseError;
use super::model::Law;
use super::pcm::{Pairs, Weights};
use super::set::{Amounts, largest};
use crate::kernels::Matrix;
use crate::network::{Affine, Network};
use crate::threat::outward::product_up;
use crate::threat::standard_normal;
use rand::{Rng, RngExt};
use std::sync::Arc;

/// The random part of one layer: independent for every parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNoise {
    /// Index of the node.
    pub node: usize,
    /// Where parameters come from.
    pub source: Source,
    /// Means of the parameters, where they are not those of the network.
    pub(super) mean: Option<Mean>,
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
pub(super) struct Mean {
    /// Means; `None` where they are those of the network.
    pub(super) parameters: Option<(Matrix<f64>, Vec<f64>)>,
    /// For each row.
    pub(super) weight_errors: Vec<f64>,
    pub(super) bias_errors: Vec<f64>,
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
    pub(super) fn is_finite(&self) -> bool {
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
    pub(super) fn is_gaussian(&self) -> bool {
        match &self.source {
            Source::Added(added) => added.law == Law::Gaussian && added.drift.is_none(),
            Source::Devices(_) => false,
        }
    }

    /// How likely the layer is in no state for which the proxies hold.
    pub(super) fn escape(&self, affine: &Affine) -> f64 {
        match &self.source {
            Source::Added(_) => 0.0,
            Source::Devices(pairs) => pairs.escape(affine),
        }
    }

    /// The same noise times `t`, rounded up.
    pub(super) fn scaled(&self, network: &Network, t: f64) -> Result<Option<Self>, NoiseError> {
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
    pub(super) fn draw(&self, layer: &Affine, rng: &mut impl Rng) -> (Matrix<f64>, Vec<f64>) {
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
