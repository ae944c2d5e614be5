//! One concrete perturbation: the witness of an attack, or a sample for tests.

use crate::kernels::Matrix;
use crate::network::Network;

/// Perturbed parameters of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPerturbation {
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
    pub layers: Vec<LayerPerturbation>,
    /// The perturbed input, when the input moves.
    pub input: Option<Vec<f64>>,
    /// Errors after activations.
    pub activations: Vec<ActivationOffsets>,
}

impl Perturbation {
    /// Parameters that change nothing, for every layer of `network`.
    pub fn identity(network: &Network) -> Self {
        let layers = network.affine_layers().map(|(node, _, dense)| LayerPerturbation {
            node,
            weight: dense.weight.clone(),
            bias: dense.bias.clone(),
        });
        Perturbation { layers: layers.collect(), input: None, activations: Vec::new() }
    }
}

impl Network {
    /// The same network with other parameters in these layers. They are no longer those that the file stores.
    ///
    /// # Panics
    /// When a node has no parameters or a shape differs: callers take them from this network.
    pub fn with_parameters(&self, layers: &[LayerPerturbation]) -> Network {
        let mut changed = self.clone();
        for LayerPerturbation { node, weight, bias } in layers {
            let affine = changed.affine_mut(*node).expect("a layer with parameters");
            assert_eq!((affine.weight.rows(), affine.weight.cols()), (weight.rows(), weight.cols()));
            assert_eq!(affine.bias.len(), bias.len());
            (affine.weight, affine.bias) = (weight.clone(), bias.clone());
            affine.stored = None;
        }
        changed
    }

    /// Outputs of the perturbed network, by the definition; `x` is the unperturbed input.
    pub fn forward_perturbed(&self, x: &[f64], perturbation: &Perturbation) -> Vec<f64> {
        self.values_perturbed(x, perturbation).pop().expect("a network has nodes")
    }

    /// Outputs of the perturbed network as [`Network::forward_perturbed`], and how far any of them may be from the perturbed
    /// network in real arithmetic.
    pub(crate) fn enclosed_perturbed(&self, x: &[f64], perturbation: &Perturbation) -> (Vec<f64>, f64) {
        let mut values = self.values_perturbed(x, perturbation);
        let rows: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let is_moved = |n: usize| perturbation.activations.iter().any(|added| added.node == n);
        let error = self.output_error(&rows, |n| perturbation.parameters(n), is_moved);
        (values.pop().expect("a network has nodes"), error)
    }

    pub(crate) fn values_perturbed(&self, x: &[f64], perturbation: &Perturbation) -> Vec<Vec<f64>> {
        let x = perturbation.input.as_deref().unwrap_or(x);
        self.evaluate(
            x,
            |index| perturbation.parameters(index),
            |index, value| {
                for added in perturbation.activations.iter().filter(|a| a.node == index) {
                    value.iter_mut().zip(&added.offset).for_each(|(z, d)| *z += d);
                }
            },
        )
    }
}

impl Perturbation {
    /// Weights and biases of node `index`, where they move.
    fn parameters(&self, index: usize) -> Option<(&Matrix<f64>, &[f64])> {
        let layer = self.layers.iter().find(|l| l.node == index)?;
        Some((&layer.weight, layer.bias.as_slice()))
    }
}
