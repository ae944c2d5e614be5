//! Networks that are built to break verifiers by rounding: large weights that cancel, scales that undo each other, subnormal
//! numbers, depth; and an output bias that puts the margin in exact arithmetic at, or a little below, zero.
//!
//! The idea that a network can hide a class behind the order of its sums is that of arXiv 2506.01054.

use crate::dyadic::{self, Dyadic};
use crate::networks::rng;
use rand::{Rng, RngExt};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};

/// What a case is built around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Pairs of large weights around small ones.
    Cancel,
    /// Layers whose scales undo each other.
    Scales,
    /// Weights of wildly different sizes, with near duplicates of opposite sign.
    Wild,
    /// Thirty layers.
    Deep,
    /// Subnormal numbers, raised again.
    Subnormal,
    /// Hundreds of terms in one sum.
    Wide,
    /// Many small terms, each of which a sum that begins with a large one loses.
    Lost,
    /// Squares, and products of large numbers that cancel.
    Product,
}

/// All of them.
pub const TRICKS: [Trick; 8] = [
    Trick::Cancel,
    Trick::Scales,
    Trick::Wild,
    Trick::Deep,
    Trick::Subnormal,
    Trick::Wide,
    Trick::Lost,
    Trick::Product,
];

/// A network, an input, and the margin of class 0 in exact arithmetic, which is below zero or not far above.
#[derive(Debug)]
pub struct Case {
    /// The network: three outputs or two.
    pub network: Network,
    /// The input.
    pub x: Vec<f64>,
}

/// Case `seed` of a trick.
pub fn case(trick: Trick, seed: u64) -> Case {
    if trick == Trick::Lost {
        return lost(seed);
    }
    let mut rng = rng(seed.wrapping_mul(6).wrapping_add(trick as u64));
    let single = rng.random_bool(0.7);
    let round = |w: f64| if single { f64::from(w as f32) } else { w };
    let layers = layers(trick, single, &mut rng);
    let inputs = layers[0].cols();
    let x: Vec<f64> = (0..inputs)
        .map(|_| match rng.random_range(0..4) {
            0 => 1.0,
            1 => round(rng.random_range(0.0..1.0)),
            2 => round(rng.random_range(-1.0..1.0)),
            _ => 0.1,
        })
        .collect();
    let leaky = rng.random_bool(0.2);
    let activation = if leaky { Activation::LeakyRelu { slope: round(0.01) } } else { Activation::Relu };
    let (count, outputs) = (layers.len(), layers[layers.len() - 1].rows());
    let build = |bias: &[f64]| {
        let mut builder = NetworkBuilder::new(vec![inputs]);
        let mut last = 0;
        for (k, weight) in layers.iter().enumerate() {
            let own = if k + 1 == count { bias.to_vec() } else { vec![0.0; weight.rows()] };
            let weight = weight.map(round);
            last = builder.dense(&format!("dense{k}"), last, weight, own).expect("valid");
            if k + 1 < count {
                let squared = trick == Trick::Product && k == 0;
                let f = if squared { Activation::Square } else { activation };
                let active = builder.activation(&format!("relu{k}"), last, f).expect("valid");
                let multiplied = trick == Trick::Product && k > 0;
                last = if multiplied {
                    builder.multiply(&format!("product{k}"), [last, active]).expect("valid")
                } else {
                    active
                };
            }
        }
        builder.finish().expect("valid")
    };
    let mut bias = vec![0.0; outputs];
    let first = exact_margin(&build(&bias), &x).near();
    if first.is_finite() {
        // A little below zero, relative to the margin that was; the sum of the last layer cancels.
        let below = 2.0_f64.powi(-rng.random_range(10..60));
        bias[0] = round(-first * (1.0 + below * f64::from(rng.random_range(-1_i8..=1))));
        bias[0] = if bias[0].is_finite() { bias[0] } else { 0.0 };
    }
    Case { network: build(&bias), x }
}

/// `f_0 − max f_j` of the unperturbed network.
pub fn exact_margin(network: &Network, x: &[f64]) -> Dyadic {
    margin(&dyadic::forward(network, x, |n, i, j| weight(network, n, i, j), |n, i| bias(network, n, i)))
}

/// `f_0 − max f_j` of outputs.
pub fn margin(f: &[Dyadic]) -> Dyadic {
    let most = f[1..].iter().cloned().reduce(Dyadic::max).expect("a rival");
    &f[0] - &most
}

/// A weight of the network.
pub fn weight(network: &Network, node: usize, i: usize, j: usize) -> Dyadic {
    Dyadic::new(network.nodes()[node].layer.affine().expect("a layer with weights").weight[(i, j)])
}

/// A bias of the network.
pub fn bias(network: &Network, node: usize, i: usize) -> Dyadic {
    Dyadic::new(network.nodes()[node].layer.affine().expect("a layer with weights").bias[i])
}

/// A small set of a random kind around the weights of a case.
pub fn set(trick: Trick, network: &Network, seed: u64) -> PerturbationSet {
    let mut rng = rng(seed ^ 0xabcd);
    if trick == Trick::Lost {
        // So small that it hides nothing.
        let radius = 10.0_f64.powf(rng.random_range(-20.0..-12.0));
        return ThreatModel::new(Kind::Relative, radius).resolve(network).expect("a set");
    }
    let kinds = [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Frobenius, Kind::RowBall];
    let kind = kinds[rng.random_range(0..kinds.len())];
    let radius = if rng.random_bool(0.2) { 0.0 } else { 10.0_f64.powf(rng.random_range(-20.0..-2.0)) };
    let mut threat = ThreatModel::new(kind, radius);
    if rng.random_bool(0.2) {
        threat.input_radius = 10.0_f64.powf(rng.random_range(-12.0..-3.0));
    }
    if rng.random_bool(0.3) {
        let names: Vec<String> = network.affine_layers().map(|(_, node, _)| node.name.clone()).collect();
        threat.layers = Some(vec![names[rng.random_range(0..names.len())].clone()]);
    }
    threat.resolve(network).expect("a set")
}

/// `B ± 1 ± 1 …`, with `B` so large that every 1 is lost: in a sum over the neurons of a layer, which a backward pass makes, or in
/// one over the inputs of a neuron. The last bias puts the margin in exact arithmetic on one side of zero, and what is left
/// of it on the other.
fn lost(seed: u64) -> Case {
    let mut rng = rng(seed ^ 0x1057);
    let bit = |k: u64| seed >> k & 1 == 1;
    let sign = |k: u64| if bit(k) { 1.0 } else { -1.0 };
    let (n, sign, side) = (rng.random_range(250..400_usize), sign(0), sign(1));
    let large = 2.0_f64.powi(if bit(2) { 25 } else { 54 });
    let over_neurons = bit(3);
    // A sum over inputs keeps sixteen totals: all terms are to meet in one of them. One over neurons keeps one, for several rows.
    let (stride, outputs) = if over_neurons { (1, 12) } else { (16, 2) };
    let width = n * stride + 1;
    let term = |k: usize, small: f64| match k {
        0 => large,
        k if k % stride == 0 => small,
        _ => 0.0,
    };
    let hidden = if over_neurons {
        vec![
            Matrix::from_fn(1, 1, |_, _| 1.0),
            Matrix::from_fn(width, 1, |i, _| term(i, 1.0)),
            Matrix::from_fn(outputs, width, |k, i| match (k, i) {
                (0, 0) => side,
                (0, _) => side * sign,
                (_, _) => 0.0,
            }),
        ]
    } else {
        vec![
            Matrix::from_fn(width, 1, |_, _| 1.0),
            Matrix::from_fn(1, width, |_, j| term(j, sign)),
            Matrix::from_fn(outputs, 1, |k, _| if k == 0 { side } else { 0.0 }),
        ]
    };
    let mut builder = NetworkBuilder::new(vec![1]);
    let mut last = 0;
    for (k, weight) in hidden.iter().enumerate() {
        let mut own = vec![0.0; weight.rows()];
        if k == 2 {
            // Sums that keep several totals lose only some of the terms.
            let left = [0.02, 0.04, 0.1, 0.3][rng.random_range(0..4_usize)] * n as f64;
            own[0] = -side * (large + sign * (n as f64 - left).round());
        }
        last = builder.dense(&format!("dense{k}"), last, weight.clone(), own).expect("valid");
        if k < 2 {
            last = builder.activation(&format!("relu{k}"), last, Activation::Relu).expect("valid");
        }
    }
    Case { network: builder.finish().expect("valid"), x: vec![1.0] }
}

fn layers(trick: Trick, single: bool, rng: &mut impl Rng) -> Vec<Matrix<f64>> {
    let digits = if single { 24 } else { 53 };
    let mut draw = |low: f64, high: f64| rng.random_range(low..high);
    match trick {
        Trick::Cancel | Trick::Wide | Trick::Product => {
            let n = if trick == Trick::Wide { draw(100.0, 600.0) as usize } else { draw(3.0, 24.0) as usize };
            let rows = draw(1.0, 4.0) as usize + 1;
            let large = 2.0_f64.powf(draw(f64::from(digits) - 6.0, f64::from(digits) + 8.0).floor());
            // Neurons of one pattern have one value, so pairs of them cancel.
            let patterns = Matrix::from_fn(3, 2, |_, _| draw(0.1, 1.0));
            let first = Matrix::from_fn(n, 2, |i, j| patterns[(i % 3, j)]);
            let mut hidden = Matrix::from_fn(rows, n, |_, _| draw(-1.0, 1.0).round());
            for i in 0..rows {
                for _ in 0..n {
                    let a = draw(0.0, n as f64) as usize;
                    let b = (a + 3 * (draw(0.0, n as f64) as usize)) % n;
                    let size = large * draw(1.0, 4.0).floor();
                    if a != b && a % 3 == b % 3 {
                        hidden[(i, a)] += size;
                        hidden[(i, b)] -= size;
                    }
                }
            }
            vec![first, hidden, Matrix::from_fn(2, rows, |_, _| draw(-3.0, 3.0).round())]
        }
        Trick::Scales => {
            let (depth, width) = (draw(1.0, 6.0) as usize, draw(1.0, 4.0) as usize);
            let scale = 10.0_f64.powf(draw(3.0, 7.0));
            let mut all = vec![Matrix::from_fn(width, 2, |_, _| draw(-1.0, 1.0))];
            let order = draw(0.0, 1.0) < 0.5;
            for down in [order, !order] {
                let factor = if down { 1.0 / scale } else { scale };
                for _ in 0..depth {
                    all.push(Matrix::from_fn(width, width, |i, j| {
                        if i == j { factor } else { factor * draw(-0.5, 0.5) }
                    }));
                }
            }
            all.push(Matrix::from_fn(3, width, |_, _| draw(-1.0, 1.0)));
            all
        }
        Trick::Wild => {
            let depth = draw(1.0, 4.0) as usize;
            let mut inputs = 3;
            let mut all = Vec::new();
            for _ in 0..depth {
                let width = draw(2.0, 7.0) as usize;
                let mut layer = Matrix::from_fn(width, inputs, |_, _| {
                    draw(-1.0, 1.0) * 2.0_f64.powf(draw(-16.0, 16.0).round())
                });
                // The second row nearly undoes the first.
                for j in 0..inputs {
                    layer[(1, j)] =
                        -layer[(0, j)] * (1.0 + 2.0_f64.powi(1 - digits) * draw(-2.0, 2.0).round());
                }
                all.push(layer);
                inputs = width;
            }
            all.push(Matrix::from_fn(2, inputs, |_, _| draw(-1.0, 1.0)));
            all
        }
        Trick::Lost => unreachable!("a case of its own"),
        Trick::Deep => {
            let width = draw(1.0, 4.0) as usize;
            let mut all = vec![Matrix::from_fn(width, 2, |_, _| draw(0.0, 1.0))];
            for _ in 0..28 {
                all.push(Matrix::from_fn(width, width, |_, _| draw(-1.0, 2.0)));
            }
            all.push(Matrix::from_fn(2, width, |_, _| draw(-1.0, 1.0)));
            all
        }
        Trick::Subnormal => {
            let lowest = if single { draw(-150.0, -100.0) } else { draw(-1075.0, -900.0) };
            let small = 2.0_f64.powi(lowest as i32);
            let back = 2.0_f64.powi((-lowest * 0.5) as i32 + 2);
            let width = draw(1.0, 4.0) as usize;
            let first = Matrix::from_fn(width, 2, |_, _| small * draw(-3.0, 3.0).round());
            let raise = |draw: &mut dyn FnMut(f64, f64) -> f64| {
                Matrix::from_fn(width, width, |_, _| back * draw(-2.0, 2.0).round())
            };
            let (a, b) = (raise(&mut draw), raise(&mut draw));
            vec![first, a, b, Matrix::from_fn(2, width, |_, _| draw(-1.0, 1.0))]
        }
    }
}
