//! The perturbation set of one network: radii for every layer, its input and its activations.

use super::WeightSet;
use super::outward::product_up;
use crate::kernels::Scalar;
use crate::network::Network;

/// Radii of one layer with parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSet<T = f64> {
    /// Index of the node.
    pub node: usize,
    /// Where the weights move.
    pub weight: WeightSet<T>,
    /// Absolute radius of every bias.
    pub bias: Vec<T>,
    /// Whether the bias radii grow with the weight radii when the set is scaled.
    pub bias_scales: bool,
    /// Whether every use of a parameter may move on its own. A convolution uses its kernel at every position: the weights
    /// of a device move alike at all of them (`false`), rounding errors of a number format do not (`true`).
    pub per_use: bool,
}

/// Rounding of a sum without parameters, residual addition or average pooling, in a number format (theory.md §9):
///
/// ```text
/// ẑ_i = Σ_j f_j z_j (1 + θ_ij) + δ_i      |θ_ij| ≤ relative, |δ_i| ≤ absolute
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SumRounding {
    /// Index of the node.
    pub node: usize,
    /// Relative error of every summand.
    pub relative: f64,
    /// Absolute error of the sum.
    pub absolute: f64,
}

impl<T: Scalar> LayerSet<T> {
    /// The layer stays as it is.
    pub fn unperturbed(node: usize, n_out: usize) -> Self {
        LayerSet {
            node,
            weight: WeightSet::Fixed,
            bias: vec![T::zero(); n_out],
            bias_scales: true,
            per_use: false,
        }
    }

    /// Whether no parameter of the layer moves.
    pub fn is_zero(&self) -> bool {
        self.weight.is_zero() && !self.bias_moves()
    }

    /// Whether a bias moves.
    pub fn bias_moves(&self) -> bool {
        self.bias.iter().any(|e| *e != T::zero())
    }
}

impl LayerSet {
    /// The set in another precision, radii rounded up.
    pub fn cast<T: Scalar>(&self) -> LayerSet<T> {
        LayerSet {
            node: self.node,
            weight: self.weight.cast(),
            bias: self.bias.iter().map(|&e| T::from_f64_up(e)).collect(),
            bias_scales: self.bias_scales,
            per_use: self.per_use,
        }
    }
}

/// Everything that may move, with numbers: a product of sets over layers, inputs and activations.
#[derive(Clone, Debug, PartialEq)]
pub struct PerturbationSet {
    /// One entry for each layer with parameters, in node order.
    pub layers: Vec<LayerSet>,
    /// Sums without parameters that are rounded.
    pub roundings: Vec<SumRounding>,
    /// `|x̂_j − x_j| ≤ input_radius`.
    pub input_radius: f64,
    /// Inputs are clipped to this range (pixels: 0 to 1).
    pub input_range: Option<(f64, f64)>,
    /// `|ẑ_j − ρ(p̂)_j| ≤ activation_radius` after every activation.
    pub activation_radius: f64,
    /// Values read by a dense layer, a convolution or a sum must stay within this magnitude for the set to describe the hardware (theory.md §9).
    pub value_limit: Option<f64>,
}

impl PerturbationSet {
    /// Whether nothing moves, nor must stay within a range.
    pub(crate) fn is_point(&self) -> bool {
        let still = |r: &SumRounding| r.relative == 0.0 && r.absolute == 0.0;
        self.layers.iter().all(LayerSet::is_zero)
            && self.roundings.iter().all(still)
            && self.input_radius == 0.0
            && self.activation_radius == 0.0
            && self.value_limit.is_none()
    }

    /// The set `t · E` of theory.md §5: weight radii, and bias radii that follow them, times `t`. Input and activation
    /// radii and bias radii given by the user on their own stay.
    pub fn scaled(&self, t: f64) -> Self {
        let scale = |layer: &LayerSet| LayerSet {
            weight: layer.weight.scaled(t),
            bias: layer.bias.iter().map(|e| if layer.bias_scales { product_up(t, *e) } else { *e }).collect(),
            ..*layer
        };
        let scale_rounding = |r: &SumRounding| SumRounding {
            node: r.node,
            relative: product_up(t, r.relative),
            absolute: product_up(t, r.absolute),
        };
        PerturbationSet {
            layers: self.layers.iter().map(scale).collect(),
            roundings: self.roundings.iter().map(scale_rounding).collect(),
            ..self.clone()
        }
    }

    /// The set in which only the parameters of node `index` move; input, activations and sums stay as they are.
    pub fn only(&self, index: usize) -> Self {
        let keep = |layer: &LayerSet| match layer.node == index {
            true => layer.clone(),
            false => {
                LayerSet { per_use: layer.per_use, ..LayerSet::unperturbed(layer.node, layer.bias.len()) }
            }
        };
        PerturbationSet {
            layers: self.layers.iter().map(keep).collect(),
            roundings: Vec::new(),
            input_radius: 0.0,
            activation_radius: 0.0,
            ..self.clone()
        }
    }

    /// Radii of node `index`, when it has parameters.
    pub fn layer(&self, index: usize) -> Option<&LayerSet> {
        self.layers.iter().find(|l| l.node == index)
    }

    /// The box of one input element: `[x − r, x + r]`, clipped to the valid range but never excluding `x`.
    pub fn input_interval(&self, x: f64) -> (f64, f64) {
        self.clipped(x, (x - self.input_radius, x + self.input_radius))
    }

    /// A box that holds all of that of one input element: [`PerturbationSet::input_interval`] with its sums rounded outward.
    pub fn input_enclosure(&self, x: f64) -> (f64, f64) {
        if self.input_radius == 0.0 {
            return (x, x);
        }
        self.clipped(x, ((x - self.input_radius).next_down(), (x + self.input_radius).next_up()))
    }

    fn clipped(&self, x: f64, (lower, upper): (f64, f64)) -> (f64, f64) {
        match self.input_range {
            None => (lower, upper),
            Some((least, most)) => (lower.max(least).min(x), upper.min(most).max(x)),
        }
    }

    /// Names of the layers whose parameters move.
    pub fn perturbed_layers(&self, network: &Network) -> Vec<String> {
        let moved = self.layers.iter().filter(|l| !l.is_zero());
        moved.map(|l| network.nodes()[l.node].name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_layer_moves() {
        let layer = |node, radius| LayerSet {
            weight: WeightSet::uniform(radius, 2),
            bias: vec![radius; 2],
            ..LayerSet::unperturbed(node, 2)
        };
        let set = PerturbationSet {
            layers: vec![layer(1, 0.1), layer(3, 0.2)],
            roundings: vec![SumRounding { node: 2, relative: 0.1, absolute: 0.1 }],
            input_radius: 0.3,
            input_range: Some((0.0, 1.0)),
            activation_radius: 0.4,
            value_limit: None,
        };
        let only = set.only(3);
        assert!(only.layers[0].is_zero() && only.layers[0].bias.len() == 2);
        assert_eq!(only.layers[1], set.layers[1]);
        assert_eq!((only.input_radius, only.activation_radius, only.roundings.len()), (0.0, 0.0, 0));
    }
}
