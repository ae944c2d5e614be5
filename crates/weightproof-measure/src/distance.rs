//! How far training moved the weights: distances to the network before it.
//!
//! In the Frobenius norm over all layers, and as the sum of the squared largest singular values of the changes. Biases are left out.
//!
//! # Source
//! Nagarajan and Kolter, arXiv 1901.01672; Jiang et al., arXiv 1912.02178.

use crate::context::Context;
use crate::error::Refusal;
use crate::measures::{Direction, Measure, Needs, Parts};
use crate::norms::{euclidean, parts, spectral_norm};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::Network;
use weightproof::verdict::Worth;

/// `√Σ_k ‖Wᵏ − W⁰ᵏ‖_F²`.
pub const FROBENIUS: Measure = Measure {
    name: "distance-frobenius",
    quantity: "sqrt of the sum of ||W - W0||_F^2",
    source: "Nagarajan and Kolter, arXiv 1901.01672",
    needs: Needs { initial: true, ..Needs::NOTHING },
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| {
        Ok(changes_of(context)?.iter().map(|(w, _)| euclidean(w.as_slice()).powi(2)).sum::<f64>().sqrt())
    },
};

/// `Σ_k σ₁(Wᵏ − W⁰ᵏ)²`.
pub const SPECTRAL: Measure = Measure {
    name: "distance-spectral",
    quantity: "sum of sigma_1(W - W0)^2",
    source: "Jiang et al., arXiv 1912.02178",
    needs: Needs { initial: true, ..Needs::NOTHING },
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| {
        changes_of(context)?.iter().map(|(w, window)| Ok(spectral_norm(w, *window)?.powi(2))).sum()
    },
};

/// Changes of layers, with the windows of convolutions.
pub type Changes<'a> = Vec<(Matrix<f64>, Option<&'a Window>)>;

fn changes_of<'a>(context: &Context<'a>) -> Result<Changes<'a>, Refusal> {
    let initial = context.initial.ok_or(Refusal::Missing("the network before training"))?;
    changes(context.network, initial)
}

/// `Wᵏ − W⁰ᵏ` of every layer with parameters, with the window of a convolution.
///
/// # Errors
/// When the two networks have different layers; names the first that differs.
pub fn changes<'a>(network: &'a Network, initial: &Network) -> Result<Changes<'a>, Refusal> {
    let shape = |w: &Matrix<f64>| format!("weights of shape {} x {}", w.rows(), w.cols());
    let mut before = initial.nodes().iter().filter_map(|node| parts(&node.layer));
    let mut all = Vec::new();
    for node in network.nodes() {
        let Some((affine, window)) = parts(&node.layer) else { continue };
        let (w, other) = (&affine.weight, before.next().map(|(affine, _)| &affine.weight));
        let Some(w0) = other.filter(|w0| (w0.rows(), w0.cols()) == (w.rows(), w.cols())) else {
            let found = other.map_or_else(|| "none".into(), shape);
            let expected = "the same layer before training";
            return Err(Refusal::Node { node: node.name.clone(), expected, found });
        };
        all.push((Matrix::from_fn(w.rows(), w.cols(), |i, j| w[(i, j)] - w0[(i, j)]), window));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::network::{Activation, NetworkBuilder};

    fn network(first: Vec<f64>, outputs: usize) -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let p = builder.dense("a", 0, Matrix::from_vec(2, 2, first), Vec::new()).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        builder.dense("b", z, Matrix::zeros(outputs, 2), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn changes_by_hand_and_other_layers_are_refused() {
        let (after, before) = (network(vec![4.0, 0.0, 1.0, 3.0], 2), network(vec![1.0, 0.0, 1.0, -1.0], 2));
        let found = changes(&after, &before).unwrap();
        assert_eq!(found[0].0.as_slice(), [3.0, 0.0, 0.0, 4.0]);
        assert_eq!(found[1].0.as_slice(), [0.0; 4]);
        let error = changes(&after, &network(vec![0.0; 4], 3)).unwrap_err().to_string();
        assert_eq!(error, "node b: expected the same layer before training, found weights of shape 3 x 2");
    }
}
