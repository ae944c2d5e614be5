//! Networks with one convolution, so small that every vertex of its parameters can be visited.

use crate::networks::{parameters, rng};
use crate::oracle::{margin, vertex_minimum};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Layer, Network, NetworkBuilder};
use weightproof::threat::{LayerPerturbation, PerturbationSet, WeightSet};

/// The node of the convolution.
const CONVOLUTION: usize = 1;

/// Convolution `conv` → ReLU → dense layer `dense`, on an image of one channel.
///
/// `channels × (kernel + 1)` parameters of the convolution are what [`least_margin`] enumerates.
pub fn one_convolution(
    image: [usize; 2],
    channels: usize,
    kernel: [usize; 2],
    classes: usize,
    seed: u64,
) -> Network {
    let mut random = rng(seed);
    let window = Window::new([1, image[0], image[1]], channels, kernel);
    let mut builder = NetworkBuilder::new(window.input.to_vec());
    let (weight, bias) = parameters(channels, window.patch(), &mut random);
    let conv = builder.conv("conv", 0, weight, bias, window.clone()).expect("valid");
    let relu = builder.activation("relu", conv, Activation::Relu).expect("valid");
    let flat = builder.reshape("flatten", relu, vec![window.output_width()]).expect("valid");
    let (weight, bias) = parameters(classes, window.output_width(), &mut random);
    builder.dense("dense", flat, weight, bias).expect("valid");
    builder.finish().expect("valid")
}

/// The set in which every use of a kernel weight moves on its own: the convolution as the matrix that it unrolls to.
pub fn per_use(set: &PerturbationSet) -> PerturbationSet {
    let mut set = set.clone();
    set.layers.iter_mut().for_each(|layer| layer.per_use = true);
    set
}

/// The least margin of `target` over all vertices of the boxes of a network of [`one_convolution`].
///
/// ```text
/// z ≥ 0, rows t and j move on their own:   least f_t − f_j is at W_t − E_t, W_j + E_j, b_t − e_t, b_j + e_j
/// ```
/// This vertex of the dense layer is the worst for every `z` and every rival at once, so only the vertices of the convolution
/// are visited.
///
/// The least margin of the set is below or equal: a margin is no concave function of the kernel where a neuron changes its sign.
/// Where none does ([`unstable_neurons`]), margins are affine in the convolution for every vertex of the dense layer and the two
/// are equal.
pub fn least_margin(network: &Network, set: &PerturbationSet, x: &[f64], target: usize) -> f64 {
    let (node, _, dense) = network.affine_layers().last().expect("a dense layer");
    let radii = set.layer(node).expect("a set for every layer");
    let side = |i: usize| if i == target { -1.0 } else { 1.0 };
    let weight = Matrix::from_fn(dense.weight.rows(), dense.weight.cols(), |i, j| {
        dense.weight[(i, j)] + side(i) * radii.weight.at(i, j)
    });
    let bias = (0..dense.bias.len()).map(|i| dense.bias[i] + side(i) * radii.bias[i]).collect();
    let worst = network.with_parameters(&[LayerPerturbation { node, weight, bias }]);
    let mut set = set.clone();
    for layer in set.layers.iter_mut().filter(|layer| layer.node == node) {
        layer.weight = WeightSet::Fixed;
        layer.bias.fill(0.0);
    }
    vertex_minimum(&worst, &set, x, |f| margin(f, target))
}

/// How many neurons of the convolution have either sign in the set, for a fixed input: `|p| < E|x| + e`.
pub fn unstable_neurons(network: &Network, set: &PerturbationSet, x: &[f64]) -> usize {
    let Layer::Conv(conv) = &network.nodes()[CONVOLUTION].layer else { panic!("no convolution") };
    let (conv, window) = (&conv.affine, &conv.window);
    let radii = set.layer(CONVOLUTION).expect("a set for every layer");
    let mut unstable = 0;
    for (channel, position) in (0..window.channels).flat_map(|o| (0..window.positions()).map(move |p| (o, p)))
    {
        let (mut value, mut reach) = (conv.bias[channel], radii.bias[channel]);
        for tap in 0..window.taps() {
            let Some(source) = window.source(position, tap) else { continue };
            value += conv.weight[(channel, tap)] * x[source];
            reach += radii.weight.at(channel, tap) * x[source].abs();
        }
        unstable += usize::from(value.abs() < reach);
    }
    unstable
}
