//! Compression by tensor methods: how much of each layer can be cut off while no margin of the samples moves by more than γ.
//!
//! ```text
//! Wᵏ = Σ_r components        t_k    tensorization factor: a bound of the norm of every partial sum, and of Wᵏ
//!                            ξ_k,j  noise bound: a bound of the norm of what is left after j components
//! ζ_k = min_i ‖zᵏ_i‖/‖zᵏ⁻¹_i‖       layer cushion over the samples, zᵏ the input of layer k+1, z^L = f
//! R̂_k = min j with  ξ_k,j ≤ γ/(√2 L max_i ‖f(x_i)‖) · Π_{i≥k} ζ_i / (Π_{i>k} t_i · Π λ)       compressed rank
//! ```
//! λ are the Lipschitz constants of what lies between the layers behind layer k. Then `‖f̂(x_i) − f(x_i)‖₂ ≤ γ/√2` for every sample,
//! and no margin moves by more than γ. *Proof.* Compress one layer after the other, the last one first. Compressing layer k changes
//! its output by at most `ξ_k ‖zᵏ⁻¹‖` (its input is still the original one), and f by at most that times `Π_{i>k} t_i λ` (the layers
//! behind are compressed, and t bounds them). Norms fall by at most ζ from layer to layer, so `‖zᵏ⁻¹‖ ≤ ‖f‖/Π_{i≥k} ζ_i`; each of the
//! L changes is at most `γ/(√2 L)`. A margin is `⟨e_y − e_j, f⟩` and `‖e_y − e_j‖₂ = √2`. ∎
//!
//! [`Truncation::moved_most`] is the same sum with the ranks that were chosen and the largest `‖zᵏ⁻¹‖` in place of cushions: never
//! above γ, and with the rounding of the weights to f32 in ξ, because the truncated network is meant to be stored.
//!
//! Dense layers are decomposed by singular values ([`dense`]), convolutions by rank-one tensors ([`cp`]).
//!
//! # Guarantee
//! Real-arithmetic, for the samples that cushions were measured on; other samples may move more: norms and cushions rest on singular values
//! and norms in f64, of whose errors nothing is proved. What a truncation does to any sample is bounded rigorously by certifying the box
//! `|Ŵ − W| ≤ |W_j − W|`, rounded up ([`Truncation::set`]).
//!
//! # Source
//! Li, Sun, Liu, Taiji, Huang et al., Understanding generalization in deep learning via tensor methods, arXiv 2001.05070, reconstructed:
//! its capacity term is `√(Σ_k R̂_k (n_k + n_{k−1} + 1) / n)`, a component of a convolution counts its four factors.

pub mod cp;
pub mod dense;
mod measure;

pub use measure::{CAPACITY, gamma};

use crate::context::Context;
use crate::error::Refusal;
use crate::norms::{euclidean, parts};
use crate::rounding::sum_above;
use crate::spectral_margin::{check_chain, lipschitz};
use weightproof::kernels::Matrix;
use weightproof::model::Model;
use weightproof::network::{Affine, Network, Window};
use weightproof::threat::{LayerPerturbation, LayerSet, PerturbationSet, WeightSet};

/// Samples that are run at once.
const BLOCK: usize = 128;

/// A layer as a sum of components, the largest first.
#[derive(Clone, Debug)]
pub struct Decomposition {
    /// Index of the node.
    pub node: usize,
    /// `t`.
    pub factor: f64,
    /// `ξ_j` for j = 0, 1, …; the last one is for all components.
    pub noise: Vec<f64>,
    /// Numbers of one component.
    pub numbers: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Dense(dense::Components),
    Cp(cp::Components),
}

impl Decomposition {
    fn new(node: usize, affine: &Affine, window: Option<&Window>) -> Result<Self, Refusal> {
        match window {
            None => dense::decompose(node, &affine.weight),
            Some(window) => cp::decompose(node, &affine.weight, window),
        }
    }

    /// The weights that the first `rank` components sum up to.
    pub fn partial_sum(&self, rank: usize) -> Matrix<f64> {
        match &self.kind {
            Kind::Dense(components) => components.partial_sum(rank),
            Kind::Cp(components) => components.partial_sum(rank),
        }
    }

    /// Number of components.
    pub fn components(&self) -> usize {
        self.noise.len() - 1
    }
}

/// What is known about one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCompression {
    /// Index of the node.
    pub node: usize,
    /// Number of components.
    pub components: usize,
    /// `t`.
    pub factor: f64,
    /// `ζ`.
    pub cushion: f64,
    /// Largest `‖zᵏ⁻¹‖₂` of a sample.
    pub largest_input: f64,
    /// `R̂`; `None` when even all components are not enough: the layer stays as it is.
    pub rank: Option<usize>,
    /// `ξ` at that rank; 0 for a layer that stays.
    pub noise: f64,
    /// Lipschitz constants of what follows: `Π_{i>k} t_i · Π λ`.
    pub behind: f64,
}

/// A network and its layers as sums of components.
pub struct Compression<'n> {
    network: &'n Network,
    decompositions: Vec<Decomposition>,
    layers: Vec<LayerCompression>,
    /// Largest `‖f‖₂`.
    pub largest_output: f64,
    samples: usize,
}

/// A network with truncated layers.
pub struct Truncation {
    /// The network; its weights are f32 numbers.
    pub network: Network,
    /// Upper bound of how far a margin of the samples moves.
    pub moved_most: f64,
    /// `|W_j − W|`, rounded up, as a perturbation set of the original network.
    pub set: PerturbationSet,
}

impl<'n> Compression<'n> {
    /// Decomposes the layers of `context`'s network and measures cushions on its training samples.
    ///
    /// # Errors
    /// When the network is no chain (names the node), there are no samples, or singular values do not converge.
    pub fn new(context: &Context<'n>) -> Result<Self, Refusal> {
        let network = context.network;
        check_chain(network)?;
        if context.samples() == 0 {
            return Err(Refusal::Missing("samples"));
        }
        let mut decompositions = Vec::new();
        for (index, node) in network.nodes().iter().enumerate() {
            if let Some((affine, window)) = parts(&node.layer) {
                decompositions.push(Decomposition::new(index, affine, window)?);
            }
        }
        let Norms { cushions, largest } = Norms::of(network, context.train.inputs);
        let mut layers: Vec<LayerCompression> = Vec::new();
        let (mut behind, mut node) = (1.0, network.nodes().len());
        for (k, d) in decompositions.iter().enumerate().rev() {
            for between in &network.nodes()[d.node + 1..node] {
                behind *= lipschitz(between)?;
            }
            let (cushion, largest_input) = (cushions[k], largest[k]);
            let components = d.components();
            let (rank, noise) = (None, 0.0);
            let factor = d.factor;
            layers.push(LayerCompression {
                node: d.node,
                components,
                factor,
                cushion,
                largest_input,
                rank,
                noise,
                behind,
            });
            behind *= d.factor;
            node = d.node;
        }
        layers.reverse();
        let largest_output = largest[decompositions.len()];
        Ok(Compression { network, decompositions, layers, largest_output, samples: context.samples() })
    }

    /// The layers with their ranks for margins that may move by γ.
    pub fn layers(&self, gamma: f64) -> Vec<LayerCompression> {
        let share = gamma / (2f64.sqrt() * self.layers.len() as f64 * self.largest_output);
        let mut cushions = 1.0;
        let mut layers = self.layers.clone();
        for (layer, d) in layers.iter_mut().zip(&self.decompositions).rev() {
            cushions *= layer.cushion;
            let most = share * cushions / layer.behind;
            // NaN allows nothing.
            layer.rank = d.noise.iter().position(|&noise| noise <= most);
            layer.noise = layer.rank.map_or(0.0, |rank| d.noise[rank]);
        }
        layers
    }

    /// The layers with this share of their components.
    pub fn layers_with_share(&self, share: f64) -> Vec<LayerCompression> {
        let mut layers = self.layers.clone();
        for (layer, d) in layers.iter_mut().zip(&self.decompositions) {
            let rank = ((share * d.components() as f64).ceil() as usize).clamp(1, d.components());
            (layer.rank, layer.noise) = (Some(rank), d.noise[rank]);
        }
        layers
    }

    /// `√(Σ_k R̂_k (numbers of a component) / n)`; a layer that stays counts all of its weights.
    pub fn capacity(&self, layers: &[LayerCompression]) -> f64 {
        let count = |(layer, d): (&LayerCompression, &Decomposition)| match layer.rank {
            Some(rank) => rank * d.numbers,
            None => self.affine(layer.node).weight.as_slice().len(),
        };
        let total: usize = layers.iter().zip(&self.decompositions).map(count).sum();
        (total as f64 / self.samples as f64).sqrt()
    }

    /// The network whose layers have these ranks.
    pub fn truncate(&self, layers: &[LayerCompression]) -> Truncation {
        let (mut parameters, mut sets, mut moved) = (Vec::new(), Vec::new(), 0.0);
        for (layer, d) in layers.iter().zip(&self.decompositions) {
            let affine = self.affine(layer.node);
            let before = &affine.weight;
            // A layer that stays is not rounded either.
            let exact = layer.rank.map(|rank| d.partial_sum(rank));
            let after = exact.as_ref().map_or_else(|| before.clone(), |w| w.map(|w| f64::from(w as f32)));
            let rounding: f64 = exact.map_or(0.0, |exact| {
                let window = parts(&self.network.nodes()[layer.node].layer).and_then(|(_, window)| window);
                let rounded: Vec<f64> =
                    exact.as_slice().iter().zip(after.as_slice()).map(|(a, b)| a - b).collect();
                // ‖·‖₂ of a convolution is at most √taps ‖·‖_F.
                euclidean(&rounded) * window.map_or(1.0, |w| w.taps() as f64).sqrt()
            });
            moved += (layer.noise + rounding) * layer.largest_input * (layer.behind * (1.0 + ROUNDING));
            let unit =
                Matrix::from_fn(before.rows(), before.cols(), |i, j| distance(after[(i, j)], before[(i, j)]));
            sets.push(LayerSet {
                weight: WeightSet::entries(unit),
                ..LayerSet::unperturbed(layer.node, affine.bias.len())
            });
            parameters.push(LayerPerturbation { node: layer.node, weight: after, bias: affine.bias.clone() });
        }
        let set = PerturbationSet {
            layers: sets,
            roundings: Vec::new(),
            input_radius: 0.0,
            input_range: None,
            activation_radius: 0.0,
            value_limit: None,
        };
        let network = self.network.with_parameters(&parameters);
        Truncation { network, moved_most: 2f64.sqrt() * moved, set }
    }

    fn affine(&self, node: usize) -> &'n Affine {
        self.network.nodes()[node].layer.affine().expect("a layer with parameters")
    }
}

/// `|a − b|`, rounded up.
fn distance(a: f64, b: f64) -> f64 {
    let most = a.max(b);
    sum_above([most, -a.min(b)].into_iter())
}

/// What rounding a weight to f32 may add to the norm of the layers behind, relative to them: generous.
const ROUNDING: f64 = 1e-4;

/// Norms of the inputs of the layers.
struct Norms {
    /// `ζ_k`, over the samples whose input of layer k is not zero.
    cushions: Vec<f64>,
    /// Largest norm of the input of each layer, then of the output.
    largest: Vec<f64>,
}

impl Norms {
    fn of(network: &Network, inputs: &[f64]) -> Norms {
        let model = Model::<f64>::new(network);
        let width = network.input_width();
        let nodes: Vec<usize> = network.affine_layers().map(|(node, _, _)| model.input_of(node)).collect();
        let nodes: Vec<usize> = nodes.into_iter().chain([network.output()]).collect();
        let (mut cushions, mut largest) = (vec![f64::INFINITY; nodes.len() - 1], vec![0.0_f64; nodes.len()]);
        for block in inputs.chunks(BLOCK * width) {
            let values = model.forward(Matrix::from_vec(block.len() / width, width, block.to_vec()));
            for s in 0..block.len() / width {
                let norms: Vec<f64> = nodes.iter().map(|&node| euclidean(values[node].row(s))).collect();
                largest.iter_mut().zip(&norms).for_each(|(most, &norm)| *most = most.max(norm));
                for (cushion, pair) in cushions.iter_mut().zip(norms.windows(2)) {
                    // An input of zero is not changed by any weights.
                    if pair[0] > 0.0 {
                        *cushion = cushion.min(pair[1] / pair[0]);
                    }
                }
            }
        }
        Norms { cushions, largest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{margins, outputs};
    use weightproof::certify::{Certifier, CertifyOptions};
    use weightproof::network::Activation;
    use weightproof::property::Property;
    use weightproof::threat::{Kind, Perturbation, ThreatModel};
    use weightproof::verdict::Samples;
    use weightproof_testkit::images::{ImageBlueprint, Piece};
    use weightproof_testkit::networks::{Blueprint, Design, input, rng};

    #[test]
    fn distances_are_rounded_up() {
        assert_eq!((distance(1.0, 0.25), distance(-0.25, 1.0)), (0.75, 1.25));
        assert_eq!((distance(1.0, -1e-17), distance(1e-17, -1.0)), (1.0_f64.next_up(), 1.0_f64.next_up()));
    }

    fn check(network: &Network, seed: u64) -> usize {
        let x = input(12 * network.input_width(), true, &mut rng(seed));
        let labels = vec![0_u32; 12];
        let samples = Samples { first: 0, inputs: &x, labels: Some(&labels) };
        let still = ThreatModel::new(Kind::Absolute, 0.0).resolve(network).unwrap();
        let context = Context::new(network, samples, &still, "linear").unwrap();
        let Ok(compression) = Compression::new(&context) else { return 0 };
        let before = outputs(network, &x);
        let mut truncated = 0;
        for gamma in [0.01, 0.3, 3.0, 100.0] {
            let layers = compression.layers(gamma);
            let cut = compression.truncate(&layers);
            let after = outputs(&cut.network, &x);
            assert!(cut.moved_most <= gamma * (1.0 + 1e-3) + 1e-4, "{} {gamma}", cut.moved_most);
            for label in 0..network.output_width() as u32 {
                let [a, b] = [&before, &after].map(|o| margins(o, &[label; 12]));
                for (a, b) in a.iter().zip(&b) {
                    assert!(
                        (a - b).abs() <= cut.moved_most + 1e-9 && (a - b).abs() <= gamma,
                        "{a} {b} {gamma}"
                    );
                }
            }
            truncated += layers.iter().filter(|l| l.rank.is_some_and(|rank| rank < l.components)).count();
            // The truncated network lies in its own set, and the certified deviation covers it.
            let moved =
                cut.network.affine_layers().map(|(node, _, a)| weightproof::threat::LayerPerturbation {
                    node,
                    weight: a.weight.clone(),
                    bias: a.bias.clone(),
                });
            let moved = Perturbation { layers: moved.collect(), ..Perturbation::default() };
            cut.set.contains(network, &x, &moved).unwrap();
            let options = CertifyOptions::new("linear", Property::Deviation);
            let certifier = Certifier::new(network, std::slice::from_ref(&cut.set), options).unwrap();
            let found = certifier.certify(Samples { labels: None, ..samples }).swap_remove(0);
            for (s, certificate) in found.iter().enumerate() {
                let most = certificate.deviation_upper.unwrap();
                for j in 0..network.output_width() {
                    assert!((before[(s, j)] - after[(s, j)]).abs() <= most * (1.0 + 1e-4) + 1e-5);
                }
            }
        }
        truncated
    }

    #[test]
    fn truncation_moves_no_margin_by_more_than_gamma() {
        let (mut dense, mut convolutional) = (0, 0);
        for seed in 0..20 {
            dense += check(&Blueprint::new(&[6, 8, 5, 3], Activation::Relu, seed).build(), seed);
            let pieces = vec![Piece::Conv, Piece::Activation, Piece::Grouped];
            let design = ImageBlueprint { input: [2, 4, 4], pieces, classes: 3, global_pool: false, seed };
            convolutional += check(&design.build(), seed);
        }
        assert!(dense > 20 && convolutional > 5, "{dense} {convolutional}");
    }

    #[test]
    fn shares_of_ranks_and_capacity_by_hand() {
        let network = Blueprint::new(&[6, 8, 5, 3], Activation::Relu, 1).build();
        let x = vec![0.5; 12];
        let still = ThreatModel::new(Kind::Absolute, 0.0).resolve(&network).unwrap();
        let samples = Samples { first: 0, inputs: &x, labels: None };
        let context = Context::new(&network, samples, &still, "linear").unwrap();
        let compression = Compression::new(&context).unwrap();
        let half = compression.layers_with_share(0.5);
        assert_eq!(half.iter().map(|l| l.rank).collect::<Vec<_>>(), [Some(3), Some(3), Some(2)]);
        let numbers = 3 * (6 + 8 + 1) + 3 * (8 + 5 + 1) + 2 * (5 + 3 + 1);
        assert!((compression.capacity(&half) - (f64::from(numbers) / 2.0).sqrt()).abs() < 1e-12);
        // All components are the network again, up to rounding to f32.
        let whole = compression.truncate(&compression.layers_with_share(1.0));
        let (a, b) = (outputs(&network, &x), outputs(&whole.network, &x));
        assert!(a.as_slice().iter().zip(b.as_slice()).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
