//! Arbitrary small networks that multiply, divide and normalize computed values.

use crate::networks::{Design, parameters, rng};
use proptest::prelude::*;
use rand::Rng;
use weightproof::kernels::Window;
use weightproof::network::{Activation, AveragePool, Gather, Layer, Network, NetworkBuilder, Scale};

/// What a network does between its first layers and its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `a · b`, of any sign, and `relu(a) · x`.
    Products,
    /// `a · σ(b)`.
    Gate,
    /// `a²`, and `a² · a`.
    Powers,
    /// `√(relu(a) + 1/2)`, and `(b² + 1/2)^(−3/4)`.
    Roots,
    /// `a / (1 + exp(b))`, and the reciprocal of a negative number.
    Quotients,
    /// `γ d / √(mean(d²) + ε) + β` with `d = a − mean(a)`.
    Normalization,
    /// `softmax(Q Kᵀ) V` of two tokens.
    Attention,
}

/// All of them.
pub const FORMS: [Form; 7] = [
    Form::Products,
    Form::Gate,
    Form::Powers,
    Form::Roots,
    Form::Quotients,
    Form::Normalization,
    Form::Attention,
];

/// How a random network with products looks.
#[derive(Clone, Debug)]
pub struct ProductBlueprint {
    /// What is between the layers.
    pub form: Form,
    /// Seed of the parameters.
    pub seed: u64,
}

/// Elements of the input, and of what is multiplied.
const WIDTH: usize = 4;

impl Design for ProductBlueprint {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn build(&self) -> Network {
        let mut draft = Draft { builder: NetworkBuilder::new(vec![WIDTH]), random: rng(self.seed) };
        let middle = draft.middle(self.form);
        draft.dense("last", middle, 3);
        draft.builder.finish().expect("valid")
    }
}

struct Draft<R> {
    builder: NetworkBuilder,
    random: R,
}

impl<R: Rng> Draft<R> {
    fn dense(&mut self, name: &str, input: usize, width: usize) -> usize {
        let inputs = self.builder.shape(input).iter().product();
        let (weight, bias) = parameters(width, inputs, &mut self.random);
        self.builder.dense(name, input, weight, bias).expect("valid")
    }

    fn apply(&mut self, name: &str, input: usize, f: Activation) -> usize {
        self.builder.activation(name, input, f).expect("valid")
    }

    fn affine(&mut self, name: &str, input: usize, factor: f64, summand: f64) -> usize {
        let width = self.builder.shape(input).iter().product();
        let scale = Scale::new(vec![factor; width], vec![summand; width]);
        self.builder.scale(name, input, scale).expect("valid")
    }

    fn times(&mut self, name: &str, x: usize, y: usize) -> usize {
        self.builder.multiply(name, [x, y]).expect("valid")
    }

    fn chosen(&mut self, name: &str, input: usize, source: Vec<usize>) -> usize {
        let shape = vec![source.len()];
        let gather = Gather { source: source.into_iter().map(Some).collect(), constant: 0.0 };
        self.builder.gather(name, vec![input], gather, shape).expect("valid")
    }

    /// Sums of `count` neighbours times `factor`.
    fn sums(&mut self, name: &str, input: usize, count: usize, factor: f64) -> usize {
        let groups = self.builder.shape(input).iter().product::<usize>() / count;
        let window = Window::pooling([groups, 1, count], [1, count]);
        let layer = Layer::AveragePool(AveragePool { window, factor: vec![factor] });
        self.builder.push(name, layer, vec![input], vec![groups]).expect("valid")
    }

    fn middle(&mut self, form: Form) -> usize {
        let a = self.dense("a", 0, WIDTH);
        match form {
            Form::Products => {
                let b = self.dense("b", 0, WIDTH);
                let both = self.times("a b", a, b);
                let relu = self.apply("relu", a, Activation::Relu);
                let fixed = self.times("a x", relu, 0);
                self.builder.add("sum", vec![both, fixed]).expect("valid")
            }
            Form::Gate => {
                let b = self.dense("b", 0, WIDTH);
                let gate = self.apply("sigmoid", b, Activation::Sigmoid);
                self.times("gate", a, gate)
            }
            Form::Powers => {
                let square = self.apply("square", a, Activation::Square);
                let cube = self.times("cube", square, a);
                self.builder.add("sum", vec![square, cube]).expect("valid")
            }
            Form::Roots => {
                let relu = self.apply("relu", a, Activation::Relu);
                let positive = self.affine("positive", relu, 1.0, 0.5);
                let root = self.apply("root", positive, Activation::SQRT);
                let b = self.dense("b", root, WIDTH);
                let square = self.apply("square", b, Activation::Square);
                let positive = self.affine("more", square, 1.0, 0.5);
                self.apply("power", positive, Activation::Power { exponent: -0.75 })
            }
            Form::Quotients => {
                let b = self.dense("b", 0, WIDTH);
                let exp = self.apply("exp", b, Activation::Exp);
                let below = self.affine("below", exp, 1.0, 1.0);
                let inverse = self.apply("inverse", below, Activation::Reciprocal);
                let quotient = self.times("quotient", a, inverse);
                let negative = self.affine("negative", exp, -1.0, -1.0);
                let inverse = self.apply("opposite", negative, Activation::Reciprocal);
                self.builder.add("sum", vec![quotient, inverse]).expect("valid")
            }
            Form::Normalization => {
                let mean = self.sums("mean", a, WIDTH, 1.0 / WIDTH as f64);
                let opposite = self.affine("opposite", mean, -1.0, 0.0);
                let repeated = self.chosen("repeated", opposite, vec![0; WIDTH]);
                let centred = self.builder.add("centred", vec![a, repeated]).expect("valid");
                let square = self.apply("square", centred, Activation::Square);
                let variance = self.sums("variance", square, WIDTH, 1.0 / WIDTH as f64);
                let positive = self.affine("positive", variance, 1.0, 0.1);
                let inverse = self.apply("inverse", positive, Activation::Power { exponent: -0.5 });
                let factors = self.chosen("factors", inverse, vec![0; WIDTH]);
                let normalized = self.times("normalized", centred, factors);
                let window = Window { groups: WIDTH, ..Window::new([WIDTH, 1, 1], WIDTH, [1, 1]) };
                let (weight, bias) = parameters(WIDTH, 1, &mut self.random);
                self.builder.conv("scaled", normalized, weight, bias, window).expect("valid")
            }
            Form::Attention => {
                let (k, v) = (self.dense("k", 0, WIDTH), self.dense("v", 0, WIDTH));
                // Terms (i, j, l) of Q Kᵀ.
                let terms = || (0..8).map(|t| (t / 4, t / 2 % 2, t % 2));
                let rows = self.chosen("rows", a, terms().map(|(i, _, l)| 2 * i + l).collect());
                let columns = self.chosen("columns", k, terms().map(|(_, j, l)| 2 * j + l).collect());
                let products = self.times("products", rows, columns);
                let scores = self.sums("scores", products, 2, 1.0);
                let others = self.chosen("others", scores, vec![1, 0, 3, 2]);
                let opposite = self.affine("opposite", scores, -1.0, 0.0);
                let differences = self.builder.add("differences", vec![others, opposite]).expect("valid");
                let powers = self.apply("powers", differences, Activation::Exp);
                let total = self.affine("total", powers, 1.0, 1.0);
                let shares = self.apply("shares", total, Activation::Reciprocal);
                let left = self.chosen("left", shares, terms().map(|(i, _, l)| 2 * i + l).collect());
                let right = self.chosen("right", v, terms().map(|(_, j, l)| 2 * l + j).collect());
                let mixed = self.times("mixed", left, right);
                self.sums("attention", mixed, 2, 1.0)
            }
        }
    }
}

/// Arbitrary networks of all forms.
pub fn arbitrary_products() -> impl Strategy<Value = ProductBlueprint> {
    (prop::sample::select(FORMS.to_vec()), any::<u64>())
        .prop_map(|(form, seed)| ProductBlueprint { form, seed })
}
