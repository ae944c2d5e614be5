//! Path norms: sums over all paths from an input, or from a bias, to an output.
//!
//! ```text
//! path-norm      √( Σ_paths Π w² )         path-norm-l1     Σ_paths Π |w|
//! ```
//! One forward pass of the network with `w²` (or `|w|`) for the weights and biases on an input of ones, activations left away and
//! maxima replaced by sums, adds all paths up. Every use of a kernel's weight is an edge; constants of the program (scales,
//! averages) are edges with fixed weights. Defined for ReLU and leaky ReLU, whose networks do not change when a neuron's
//! incoming weights are multiplied and its outgoing ones divided by c > 0; neither does the norm.
//!
//! # Source
//! Neyshabur, Tomioka and Srebro, arXiv 1503.00036; graphs as in Gonon et al., arXiv 2310.01225.

use crate::error::Refusal;
use crate::measures::{Direction, Measure, Needs, Parts};
use weightproof::kernels::{Matrix, Window, add_by_row, average_pool, linear, window_sums};
use weightproof::model::gathered;
use weightproof::network::{Activation, Affine, Layer, Network};
use weightproof::verdict::Worth;

/// The square root of the sum of squares.
pub const SQUARES: Measure = Measure {
    name: "path-norm",
    quantity: "sqrt of the sum over paths of the product of w^2",
    source: "Neyshabur, Tomioka and Srebro, arXiv 1503.00036",
    needs: Needs::NOTHING,
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| Ok(sum_over_paths(context.network, |w| w * w)?.sqrt()),
};

/// The sum of magnitudes.
pub const MAGNITUDES: Measure = Measure {
    name: "path-norm-l1",
    quantity: "sum over paths of the product of |w|",
    source: "Neyshabur, Tomioka and Srebro, arXiv 1503.00036",
    needs: Needs::NOTHING,
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| sum_over_paths(context.network, f64::abs),
};

/// `Σ_paths Π f(w)`.
///
/// # Errors
/// When an activation is not positively homogeneous; names it.
pub fn sum_over_paths(network: &Network, f: fn(f64) -> f64) -> Result<f64, Refusal> {
    let mut values: Vec<Matrix<f64>> = Vec::with_capacity(network.nodes().len());
    for node in network.nodes() {
        let inputs: Vec<&Matrix<f64>> = node.inputs.iter().map(|&i| &values[i]).collect();
        let affine = |affine: &Affine, window: Option<&Window>| {
            let mut out = Matrix::default();
            linear(&mut out, inputs[0], &affine.weight.map(f), window);
            add_by_row(&mut out, &affine.bias.iter().map(|&b| f(b)).collect::<Vec<_>>());
            out
        };
        let value = match &node.layer {
            Layer::Input => Matrix::from_vec(1, node.width(), vec![1.0; node.width()]),
            Layer::Dense(layer) => affine(layer, None),
            Layer::Conv(conv) => affine(&conv.affine, Some(&conv.window)),
            Layer::Scale(scale) => {
                let at = |_: usize, k: usize| f(scale.scale[k]) * inputs[0][(0, k)] + f(scale.shift[k]);
                Matrix::from_fn(1, node.width(), at)
            }
            Layer::Activation(Activation::Relu | Activation::LeakyRelu { slope: 0.0..=1.0 })
            | Layer::Reshape => inputs[0].clone(),
            Layer::Activation(_) | Layer::DynamicQuantize(_) | Layer::Multiply => {
                return Err(Refusal::node(node, "relu, or leaky-relu with a slope from 0 to 1"));
            }
            Layer::MaxPool(window) => window_sums(inputs[0], window),
            Layer::AveragePool(average) => {
                let factor: Vec<f64> = average.factor.iter().map(|&w| f(w)).collect();
                average_pool(inputs[0], &average.window, &factor)
            }
            Layer::Add => {
                let mut sum = inputs[0].clone();
                inputs[1..].iter().for_each(|z| sum.add_assign(z));
                sum
            }
            Layer::Gather(gather) => gathered(&inputs, gather, f(gather.constant)),
        };
        values.push(value);
    }
    Ok(values[network.output()].as_slice().iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::threat::LayerPerturbation;
    use weightproof_testkit::images::{ImageBlueprint, Piece};
    use weightproof_testkit::networks::{Blueprint, Design};

    /// Every path of a chain of dense layers, one after the other.
    fn enumerated(network: &Network, f: fn(f64) -> f64) -> f64 {
        let layers: Vec<&Affine> = network.affine_layers().map(|(_, _, affine)| affine).collect();
        fn paths(layers: &[&Affine], neuron: usize, so_far: f64, f: fn(f64) -> f64) -> f64 {
            let Some((layer, rest)) = layers.split_first() else { return so_far };
            (0..layer.weight.rows()).map(|i| paths(rest, i, so_far * f(layer.weight[(i, neuron)]), f)).sum()
        }
        let from_inputs: f64 = (0..network.input_width()).map(|j| paths(&layers, j, 1.0, f)).sum();
        let from = |k: usize| {
            let bias = &layers[k].bias;
            bias.iter().enumerate().map(|(i, &b)| paths(&layers[k + 1..], i, f(b), f)).sum::<f64>()
        };
        from_inputs + (0..layers.len()).map(from).sum::<f64>()
    }

    #[test]
    fn equal_to_the_enumeration_of_paths() {
        for seed in 0..20 {
            let network = Blueprint::new(&[3, 4, 2, 3], Activation::Relu, seed).build();
            for f in [f64::abs, (|w| w * w) as fn(f64) -> f64] {
                let (found, expected) = (sum_over_paths(&network, f).unwrap(), enumerated(&network, f));
                assert!((found - expected).abs() < 1e-12 * expected, "{found} {expected}");
            }
        }
    }

    /// With weights, biases, constants and inputs ≥ 0 and no maxima nothing is lost: the network itself adds its paths up.
    #[test]
    fn equal_to_the_network_where_everything_is_positive() {
        for seed in 0..20 {
            let pieces = vec![
                Piece::Conv,
                Piece::AveragePool,
                Piece::Residual,
                Piece::Concatenation,
                Piece::Rearrangement,
            ];
            let design = ImageBlueprint { input: [1, 4, 4], pieces, classes: 2, global_pool: true, seed };
            let network = design.build();
            if network.nodes().iter().any(|n| {
                matches!(n.layer, Layer::Activation(f) if !matches!(f, Activation::Relu | Activation::LeakyRelu { slope: 0.0..=1.0 }))
            }) {
                assert!(sum_over_paths(&network, f64::abs).is_err());
                continue;
            }
            let positive: Vec<_> = network
                .affine_layers()
                .map(|(node, _, a)| LayerPerturbation {
                    node,
                    weight: a.weight.map(f64::abs),
                    bias: a.bias.iter().map(|b| b.abs()).collect(),
                })
                .collect();
            let positive = network.with_parameters(&positive);
            let expected: f64 = positive.forward(&vec![1.0; network.input_width()]).iter().sum();
            let found = sum_over_paths(&network, f64::abs).unwrap();
            assert!((found - expected).abs() < 1e-10 * expected, "{found} {expected}");
        }
    }
}
