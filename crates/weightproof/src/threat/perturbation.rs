//! One concrete perturbation: the witness of an attack, or a sample for tests.

use crate::kernels::Matrix;
use crate::network::{Layer, Network, Scale, affine};

/// Perturbed parameters of one dense layer.
#[derive(Clone, Debug, PartialEq)]
pub struct DensePerturbation {
    /// Index of the node.
    pub node: usize,
    /// Perturbed weights `Ŵ`.
    pub weight: Matrix<f64>,
    /// Perturbed biases.
    pub bias: Vec<f64>,
}

/// Errors added to the outputs of one activation node.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationOffsets {
    /// Index of the node.
    pub node: usize,
    /// One summand for each neuron.
    pub offset: Vec<f64>,
}

/// A point of a perturbation set: what is not listed stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Perturbation {
    /// Changed layers.
    pub layers: Vec<DensePerturbation>,
    /// The perturbed input, when the input moves.
    pub input: Option<Vec<f64>>,
    /// Errors after activations.
    pub activations: Vec<ActivationOffsets>,
}

impl Perturbation {
    /// Parameters that change nothing, for every dense layer of `network`.
    pub fn identity(network: &Network) -> Self {
        let layers = network.dense_layers().map(|(node, _, dense)| DensePerturbation {
            node,
            weight: dense.weight.clone(),
            bias: dense.bias.clone(),
        });
        Perturbation { layers: layers.collect(), input: None, activations: Vec::new() }
    }
}

impl Network {
    /// Outputs of the perturbed network, by the definition; `x` is the unperturbed input.
    pub fn forward_perturbed(&self, x: &[f64], perturbation: &Perturbation) -> Vec<f64> {
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.nodes().len());
        for (index, node) in self.nodes().iter().enumerate() {
            let input = || values[node.inputs[0]].as_slice();
            let value = match &node.layer {
                Layer::Input => perturbation.input.as_deref().unwrap_or(x).to_vec(),
                Layer::Dense(dense) => match perturbation.layers.iter().find(|l| l.node == index) {
                    None => dense.apply(input()),
                    Some(l) => affine(&l.weight, &l.bias, input()),
                },
                Layer::Scale(Scale { scale, shift }) => {
                    input().iter().zip(scale.iter().zip(shift)).map(|(z, (s, t))| s * z + t).collect()
                }
                Layer::Activation(f) => {
                    let mut z: Vec<f64> = input().iter().map(|&p| f.apply(p)).collect();
                    for added in perturbation.activations.iter().filter(|a| a.node == index) {
                        z.iter_mut().zip(&added.offset).for_each(|(z, d)| *z += d);
                    }
                    z
                }
                Layer::Reshape => input().to_vec(),
            };
            values.push(value);
        }
        values.pop().expect("a network has nodes")
    }
}
