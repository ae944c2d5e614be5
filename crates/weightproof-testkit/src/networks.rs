//! Arbitrary small networks.

use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Jumps, Network, NetworkBuilder, Scale, Staircase, StepRounding};

/// The random numbers of all tests.
pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Every activation, with the parameters that change their character.
pub const ACTIVATIONS: [Activation; 21] = [
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::LeakyRelu { slope: 1.5 },
    Activation::Clip { low: 0.0, high: 0.6 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softplus,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::ABSOLUTE,
    Activation::Elu { alpha: 1.5 },
    Activation::Silu,
    Activation::Mish,
    Activation::HardSwish,
    Activation::Softsign,
    Activation::Atan,
    Activation::Quantize(UNSIGNED),
    Activation::Quantize(SIGNED),
    Activation::Quantize(SIGN),
    Activation::Quantize(Staircase { low: 0, ..SIGN }),
    Activation::SoftThreshold { lambda: 0.2 },
];

/// A quantizer that cuts off what is negative.
const UNSIGNED: Staircase = Staircase {
    step: 0.0625,
    zero: 0,
    low: 0,
    high: 15,
    rounding: StepRounding::NearestEven,
    jumps: Jumps::HalfWay,
};
/// A coarse quantizer of both signs.
const SIGNED: Staircase = Staircase {
    step: 0.25,
    zero: 1,
    low: -4,
    high: 3,
    rounding: StepRounding::NearestEven,
    jumps: Jumps::HalfWay,
};

/// The sign, as a multiple.
const SIGN: Staircase = Staircase { step: 0.5, zero: 0, low: -1, high: 1, jumps: Jumps::AtZero, ..SIGNED };

/// A recipe for a random network.
pub trait Design: std::fmt::Debug {
    /// The network.
    fn build(&self) -> Network;
    /// Seed of its parameters, and of the tests on it.
    fn seed(&self) -> u64;
}

/// How a random dense network looks.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Widths from input to output.
    pub widths: Vec<usize>,
    /// One for each hidden layer.
    pub activations: Vec<Activation>,
    /// Puts an input normalization in front, a reshape in the middle and a rescaling before the last layer.
    pub decorated: bool,
    /// Seed of the parameters.
    pub seed: u64,
}

impl Blueprint {
    /// A network of `widths` with one activation.
    pub fn new(widths: &[usize], activation: Activation, seed: u64) -> Self {
        let activations = vec![activation; widths.len() - 2];
        Blueprint { widths: widths.to_vec(), activations, decorated: false, seed }
    }
}

impl Design for Blueprint {
    fn seed(&self) -> u64 {
        self.seed
    }

    /// The network: Gaussian-like weights of variance about 1/n_in, and small biases.
    fn build(&self) -> Network {
        let mut rng = rng(self.seed);
        let mut builder = NetworkBuilder::new(vec![self.widths[0]]);
        let mut last = 0;
        if self.decorated {
            let shift = (0..self.widths[0]).map(|j| 0.1 * j as f64 - 0.3).collect();
            let scale = Scale::new(vec![1.5; self.widths[0]], shift);
            last = builder.scale("normalization", last, scale).expect("valid");
        }
        for (k, pair) in self.widths.windows(2).enumerate() {
            let (weight, bias) = parameters(pair[1], pair[0], &mut rng);
            last = builder.dense(&format!("dense{k}"), last, weight, bias).expect("valid");
            let Some(activation) = self.activations.get(k) else { continue };
            last = builder.activation(&format!("activation{k}"), last, *activation).expect("valid");
            if self.decorated && k == 0 {
                last = builder.reshape("reshape", last, vec![1, pair[1]]).expect("valid");
            }
            if self.decorated && k + 1 == self.activations.len() {
                let mut factor = || rng.random_range(-1.5..1.5);
                let scale = (0..pair[1]).map(|_| factor()).collect();
                let shift = (0..pair[1]).map(|_| factor()).collect();
                last = builder.scale("rescale", last, Scale::new(scale, shift)).expect("valid");
            }
        }
        builder.finish().expect("valid")
    }
}

pub(crate) fn parameters(rows: usize, cols: usize, rng: &mut impl Rng) -> (Matrix<f64>, Vec<f64>) {
    let spread = 1.7 / (cols as f64).sqrt();
    let weight = Matrix::from_fn(rows, cols, |_, _| spread * rng.random_range(-1.0..1.0));
    let bias = (0..rows).map(|_| 0.3 * rng.random_range(-1.0..1.0)).collect();
    (weight, bias)
}

/// A random input, in `[0, 1]` like pixels, or of any sign.
pub fn input(width: usize, pixels: bool, rng: &mut impl Rng) -> Vec<f64> {
    let low = if pixels { 0.0 } else { -1.0 };
    (0..width).map(|_| rng.random_range(low..1.0)).collect()
}

/// Arbitrary networks: one to three hidden layers, every activation, with and without decoration.
pub fn arbitrary() -> impl Strategy<Value = Blueprint> {
    let hidden = prop::collection::vec((1_usize..6, prop::sample::select(ACTIVATIONS.to_vec())), 1..4);
    (1_usize..5, hidden, 2_usize..5, any::<bool>(), any::<u64>()).prop_map(
        |(inputs, hidden, outputs, decorated, seed)| {
            let mut widths = vec![inputs];
            widths.extend(hidden.iter().map(|h| h.0));
            widths.push(outputs);
            Blueprint { widths, activations: hidden.iter().map(|h| h.1).collect(), decorated, seed }
        },
    )
}
