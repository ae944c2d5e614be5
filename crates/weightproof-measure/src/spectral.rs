//! Largest singular values of the weights: the sum and the product of their squares over the layers.
//!
//! Of a convolution that of the linear map, as [`crate::norms`] has it. Biases are left out.

use crate::context::Context;
use crate::error::Refusal;
use crate::measures::{Direction, Measure, Needs, Parts};
use crate::norms::{parts, spectral_norm};
use weightproof::verdict::Worth;

/// `Σ_k σ₁(Wᵏ)²`.
pub const SUM: Measure = Measure {
    name: "spectral-sum",
    quantity: "sum of sigma_1(W)^2",
    source: "Jiang et al., arXiv 1912.02178",
    needs: Needs::NOTHING,
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| Ok(norms(context)?.iter().map(|s| s * s).sum()),
};

/// `Π_k σ₁(Wᵏ)²`, as a logarithm.
pub const PRODUCT: Measure = Measure {
    name: "spectral-product",
    quantity: "log10 of the product of sigma_1(W)^2",
    source: "Bartlett, Foster and Telgarsky, arXiv 1706.08498; Jiang et al., arXiv 1912.02178",
    needs: Needs::NOTHING,
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| Ok(norms(context)?.iter().map(|s| 2.0 * s.log10()).sum()),
};

/// `σ₁(Wᵏ)` of each layer.
fn norms(context: &Context<'_>) -> Result<Vec<f64>, Refusal> {
    let layers = context.network.nodes().iter().filter_map(|node| parts(&node.layer));
    layers.map(|(affine, window)| spectral_norm(&affine.weight, window)).collect()
}
