//! Ways to train: a plain configuration and what is added to it; and networks that no list of sizes describes.

use crate::error::ExperimentError;
use crate::lab::Record;
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Gather, Network, NetworkBuilder, NetworkError, Scale};
use weightproof_train::TrainConfig;
use weightproof_train::adversary::Adversary;
use weightproof_train::architecture::LayerConfig;
use weightproof_train::config::{NetworkConfig, Term};
use weightproof_train::optimizer::Rule;
use weightproof_train::schedule::{Decay, LearningRate, Ramp};
use weightproof_train::threat::Threat;

/// The paper's network.
pub const SIZES: [usize; 5] = [784, 128, 64, 32, 10];
/// The name of the knob of records whose network is convolutional, which is 1 for them.
const CONVOLUTIONAL: &str = "convolutional";
/// Share of the epochs over which radii and weights of terms rise, and after which they stay.
const RAMP: f64 = 0.5;

/// Cross-entropy and Adam; `held_out` samples are kept for choices between models.
pub fn plain(epochs: usize, batch: usize, seed: u64, held_out: usize) -> TrainConfig {
    let mut config = TrainConfig::plain(&SIZES, epochs);
    config.batch = batch;
    config.seed = seed;
    config.validation.samples = held_out;
    config.learning_rate = LearningRate { rate: 2e-3, warm_up: 0.5, decay: Decay::Cosine { floor: 0.0 } };
    config
}

/// The networks for images of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Dense layers of [`SIZES`].
    Dense,
    /// Two convolutions of 3 × 3 with a stride of two, 8 and 16 channels, and dense layers of 64 and 10.
    Convolutional,
}

impl Shape {
    /// What tells records of this shape from others.
    pub fn knob(self) -> (&'static str, f64) {
        (CONVOLUTIONAL, f64::from(u8::from(self == Shape::Convolutional)))
    }

    /// Whether a record is of this shape.
    pub fn is_of(self, record: &Record) -> bool {
        record.knob(CONVOLUTIONAL) == self.knob().1
    }

    /// What is appended to names of files and models.
    pub fn suffix(self) -> &'static str {
        match self {
            Shape::Dense => "",
            Shape::Convolutional => "-convolutional",
        }
    }

    /// In sentences.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Dense => "Dense network",
            Shape::Convolutional => "Convolutional network",
        }
    }

    /// The layers, for a training.
    pub fn network(self) -> NetworkConfig {
        let config = NetworkConfig { gain: 1.0, ..NetworkConfig::default() };
        let conv = |channels| LayerConfig::Conv { channels, kernel: 3, stride: 2, padding: 0 };
        match self {
            Shape::Dense => NetworkConfig { sizes: Some(SIZES.to_vec()), ..config },
            Shape::Convolutional => NetworkConfig {
                input: Some(vec![1, 28, 28]),
                layers: Some(vec![
                    conv(8),
                    LayerConfig::Relu,
                    conv(16),
                    LayerConfig::Relu,
                    LayerConfig::Dense { outputs: 64 },
                    LayerConfig::Relu,
                    LayerConfig::Dense { outputs: SIZES[SIZES.len() - 1] },
                ]),
                ..config
            },
        }
    }
}

/// Gradient descent with momentum 0.9 at a constant rate; `rule` is the rate and the weight decay. No sample is held out.
pub fn descent(sizes: &[usize], (epochs, batch): (usize, usize), seed: u64, rule: (f64, f64)) -> TrainConfig {
    let (rate, weight_decay) = rule;
    let mut config = TrainConfig::plain(sizes, epochs);
    config.batch = batch;
    config.seed = seed;
    config.validation.samples = 0;
    config.optimizer = Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay };
    config.learning_rate = LearningRate { rate, warm_up: 0.0, decay: Decay::Constant };
    config
}

/// A chain of dense layers with one output f, read as the two logits (−f/2, f/2): the margin of label 1 is f, that of label 0 is −f, and
/// cross-entropy is the logistic loss of f. All parameters are zero.
///
/// # Errors
/// When a size is zero.
pub fn binary(sizes: &[usize], activation: Activation) -> Result<Network, NetworkError> {
    let mut builder = NetworkBuilder::new(vec![sizes[0]]);
    for (k, pair) in sizes.windows(2).enumerate() {
        if k > 0 {
            let before = builder.last();
            builder.activation(&format!("{}{k}", activation.name()), before, activation)?;
        }
        let (before, weight) = (builder.last(), Matrix::zeros(pair[1], pair[0]));
        builder.dense(&format!("fc{}", k + 1), before, weight, vec![0.0; pair[1]])?;
    }
    logits(&mut builder)?;
    builder.finish()
}

/// Reads the only element f of the last node as the logits (−f/2, f/2).
///
/// # Errors
/// When the last node has no elements.
pub fn logits(builder: &mut NetworkBuilder) -> Result<(), NetworkError> {
    let twice = Gather { source: vec![Some(0); 2], constant: 0.0 };
    let twice = builder.gather("twice", vec![builder.last()], twice, vec![2])?;
    builder.scale("logits", twice, Scale::new(vec![-0.5, 0.5], vec![0.0; 2]))?;
    Ok(())
}

/// The error of a model whose network cannot be built.
pub fn unbuilt(model: &str) -> impl Fn(NetworkError) -> ExperimentError + '_ {
    move |source| ExperimentError::Train { model: model.into(), source: source.into() }
}

/// Adds `weight · objective` with the bounds' radius rising to `radius`.
pub fn with_term(mut config: TrainConfig, objective: &str, weight: f64, radius: f64) -> TrainConfig {
    let end = RAMP * config.epochs as f64;
    if weight > 0.0 {
        config.terms.push(Term { objective: objective.into(), weight: Ramp::Constant(weight) });
    }
    config.threat = Threat { radius, ..config.threat };
    config.radius_ramp = Some(Ramp::linear(0.0, 1.0, 0.0, end));
    config
}

/// `(1 − κ) · cross-entropy + κ · objective`, radius and κ rising together.
pub fn with_worst_case(config: TrainConfig, objective: &str, kappa: f64, radius: f64) -> TrainConfig {
    let end = RAMP * config.epochs as f64;
    let mut config = with_term(config, objective, 1.0, radius);
    config.terms[0].weight = Ramp::linear(1.0, 1.0 - kappa, 0.0, end);
    config.terms[1].weight = Ramp::linear(0.0, kappa, 0.0, end);
    config
}

/// Takes gradients where `adversary` moves the network.
pub fn with_adversary(mut config: TrainConfig, adversary: Adversary) -> TrainConfig {
    config.adversaries.push(adversary);
    config
}

/// AdamW in place of Adam.
pub fn with_weight_decay(mut config: TrainConfig, weight_decay: f64) -> TrainConfig {
    config.optimizer = Rule::adamw(weight_decay);
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::threat::LayerPerturbation;

    #[test]
    fn worst_cases_take_over_from_cross_entropy() {
        let config = with_worst_case(plain(10, 32, 3, 5), "interval", 0.75, 0.01);
        let weights = |epoch| [config.terms[0].weight.at(epoch), config.terms[1].weight.at(epoch)];
        assert_eq!(weights(0.0), [1.0, 0.0]);
        assert_eq!(weights(9.0), [0.25, 0.75]);
        assert_eq!(config.radius_ramp.unwrap().at(2.5), 0.5);
        assert_eq!((config.threat.radius, config.seed, config.validation.samples), (0.01, 3, 5));
    }

    #[test]
    fn shapes_take_images_of_digits() {
        let parameters = [Shape::Dense, Shape::Convolutional].map(|shape| {
            let config = TrainConfig { network: shape.network(), ..plain(1, 1, 0, 0) };
            let network = config.build().unwrap();
            assert_eq!((network.input_width(), network.output_width()), (784, 10));
            network.parameters()
        });
        let dense: usize = SIZES.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum();
        assert_eq!(parameters, [dense, 10 * 8 + 73 * 16 + 577 * 64 + 65 * 10]);
    }

    #[test]
    fn one_output_becomes_two_logits() {
        let network = binary(&[2, 3, 1], Activation::Relu).unwrap();
        let matrix = |rows, cols, numbers: &[f64]| Matrix::from_vec(rows, cols, numbers.to_vec());
        let first = matrix(3, 2, &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let parameters = [
            LayerPerturbation { node: 1, weight: first, bias: vec![0.0; 3] },
            LayerPerturbation { node: 3, weight: matrix(1, 3, &[1.0, 2.0, -1.0]), bias: vec![0.25] },
        ];
        // f = 1 + 2 · 2 − 3 + 0.25
        assert_eq!(network.with_parameters(&parameters).forward(&[1.0, 2.0]), [-1.125, 1.125]);
    }

    #[test]
    fn a_term_without_weight_is_none() {
        assert_eq!(with_term(plain(2, 8, 0, 0), "norms", 0.0, 0.0).terms.len(), 1);
    }
}
