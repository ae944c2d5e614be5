//! Networks and sets of the tests.

use crate::kernels::{Matrix, Window};
use crate::network::{Activation, Gather, Network, NetworkBuilder, Scale};
use crate::threat::{LayerSet, PerturbationSet, WeightSet};

pub(super) fn wave(rows: usize, cols: usize, phase: f64) -> Matrix<f64> {
    Matrix::from_fn(rows, cols, |i, j| (1.3 * i as f64 + 0.7 * j as f64 + phase).sin())
}

fn ramp(n: usize) -> Vec<f64> {
    (0..n).map(|i| 0.1 * i as f64).collect()
}

/// Inputs in [0, 1].
pub(super) fn inputs(network: &Network, count: usize) -> Matrix<f64> {
    wave(count, network.input_width(), 0.4).map(f64::abs)
}

/// A chain of dense layers behind a scale.
pub(super) fn dense() -> Network {
    const WIDTHS: [usize; 4] = [3, 5, 4, 3];
    let mut builder = NetworkBuilder::new(vec![WIDTHS[0]]);
    let scale = Scale::new(vec![1.5, -0.5, 2.0], vec![0.1, 0.2, -0.3]);
    let mut last = builder.scale("scale", 0, scale).unwrap();
    for k in 1..WIDTHS.len() {
        let weight = wave(WIDTHS[k], WIDTHS[k - 1], k as f64);
        last = builder.dense(&format!("d{k}"), last, weight, ramp(WIDTHS[k])).unwrap();
        let f = if k == 1 { Activation::Relu } else { Activation::Tanh };
        if k + 1 < WIDTHS.len() {
            last = builder.activation(&format!("a{k}"), last, f).unwrap();
        }
    }
    builder.finish().unwrap()
}

/// Every layer there is: convolutions with groups, padding, stride and one that is depthwise; a node with three readers, a
/// residual sum, a product, both poolings, a choice of elements of three nodes, a clip.
pub(super) fn residual() -> Network {
    let mut builder = NetworkBuilder::new(vec![2, 4, 5]);
    let conv = |builder: &mut NetworkBuilder, name: &str, input: usize, window: Window| {
        let weight = wave(window.channels, window.patch(), input as f64).map(|w| 0.6 * w);
        builder.conv(name, input, weight, ramp(window.channels), window).unwrap()
    };
    let window = Window { groups: 2, padding: [[1, 1], [1, 0]], ..Window::new([2, 4, 5], 4, [3, 2]) };
    let c1 = conv(&mut builder, "grouped", 0, window);
    let a1 = builder.activation("tanh", c1, Activation::Tanh).unwrap();
    let window = Window { groups: 4, padding: [[1, 1]; 2], ..Window::new([4, 4, 5], 4, [3, 3]) };
    let c2 = conv(&mut builder, "depthwise", a1, window);
    let sum = builder.add("sum", vec![c2, a1, a1]).unwrap();
    let window = Window { stride: [2, 2], ..Window::pooling([4, 4, 5], [2, 2]) };
    let most = builder.max_pool("most", sum, window).unwrap();
    let window = Window { stride: [2, 2], padding: [[1, 1]; 2], ..Window::pooling([4, 4, 5], [3, 3]) };
    let mean = builder.average_pool("mean", sum, window, false).unwrap();
    let source = (0..20).map(|k| (k % 7 != 3).then_some((11 * k + 5) % 80)).collect();
    let gather = Gather { source, constant: 0.5 };
    let picked = builder.gather("picked", vec![most, mean, 0], gather, vec![20]).unwrap();
    let image = builder.reshape("image", picked, vec![2, 2, 5]).unwrap();
    let window = Window { stride: [1, 2], padding: [[0, 1], [0, 1]], ..Window::new([2, 2, 5], 3, [2, 2]) };
    let c3 = conv(&mut builder, "strided", image, window);
    let a3 = builder.activation("clip", c3, Activation::Clip { low: -0.6, high: 0.7 }).unwrap();
    let d1 = builder.dense("d1", a3, wave(5, 18, 0.2), ramp(5)).unwrap();
    let a4 = builder.activation("relu", d1, Activation::Relu).unwrap();
    let bounded = builder.activation("bounded", d1, Activation::Tanh).unwrap();
    let squared = builder.activation("square", bounded, Activation::Square).unwrap();
    let product = builder.multiply("product", [squared, a4]).unwrap();
    let d2 = builder.dense("d2", product, wave(3, 5, 0.9), Vec::new()).unwrap();
    let d3 = builder.dense("d3", a3, wave(3, 18, 2.9), Vec::new()).unwrap();
    builder.add("output", vec![d2, d3]).unwrap();
    builder.finish().unwrap()
}

/// Sets of all kinds: with and without inputs and activations that move, and with only some layers that move.
pub(super) fn sets(network: &Network) -> Vec<(String, PerturbationSet)> {
    let radii: [fn(usize, usize) -> WeightSet; 5] = [
        |rows, _| WeightSet::uniform(0.2, rows),
        |rows, _| WeightSet::rows((0..rows).map(|i| 0.1 * i as f64).collect()),
        |rows, cols| WeightSet::entries(wave(rows, cols, 0.5).map(|v| 0.3 * v.abs())),
        |_, _| WeightSet::ball(0.4),
        |rows, _| WeightSet::row_balls((0..rows).map(|i| 0.15 * i as f64).collect()),
    ];
    let mut sets = Vec::new();
    for (kind, radius) in ["uniform", "per row", "dense", "ball", "row balls"].into_iter().zip(radii) {
        for (variant, joint, first) in
            [("weights", false, 0), ("joint", true, 0), ("later layers", false, 1), ("last layers", false, 2)]
        {
            let layers = network.affine_layers().enumerate().map(|(k, (node, _, affine))| {
                let (rows, cols) = (affine.weight.rows(), affine.weight.cols());
                // The layer before the first that moves still moves its biases.
                let weight = if k < first { WeightSet::Fixed } else { radius(rows, cols) };
                let bias = vec![if k + 1 < first { 0.0 } else { 0.15 }; rows];
                LayerSet { node, weight, bias, bias_scales: true, per_use: false }
            });
            let set = PerturbationSet {
                layers: layers.collect(),
                roundings: Vec::new(),
                input_radius: if joint { 0.3 } else { 0.0 },
                input_range: Some((0.0, 1.0)),
                activation_radius: if joint { 0.2 } else { 0.0 },
                value_limit: None,
            };
            sets.push((format!("{kind}, {variant}"), set));
        }
    }
    sets
}
