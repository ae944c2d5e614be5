//! Frobenius norms of the weights: their sum and their product over the layers.
//!
//! Of a convolution the norm of its kernels, as in the source. Biases are left out. Rescaling ReLU layers by c and 1/c leaves the
//! network and the product, but not the sum.

use crate::context::Context;
use crate::measures::{Direction, Measure, Needs, Parts};
use weightproof::verdict::Worth;

/// `Σ_k ‖Wᵏ‖_F²`.
pub const SUM: Measure = Measure {
    name: "frobenius-sum",
    quantity: "sum of ||W||_F^2",
    source: "Jiang et al., arXiv 1912.02178",
    needs: Needs::NOTHING,
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| Ok(squares(context).sum()),
};

/// `Π_k ‖Wᵏ‖_F²`, as a logarithm.
pub const PRODUCT: Measure = Measure {
    name: "frobenius-product",
    quantity: "log10 of the product of ||W||_F^2",
    source: "Neyshabur, Tomioka and Srebro, arXiv 1503.00036; Jiang et al., arXiv 1912.02178",
    needs: Needs::NOTHING,
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| Ok(squares(context).map(f64::log10).sum()),
};

/// `‖Wᵏ‖_F²` of each layer.
fn squares(context: &Context<'_>) -> impl Iterator<Item = f64> {
    let layers = context.network.affine_layers();
    layers.map(|(_, _, affine)| affine.weight.as_slice().iter().map(|w| w * w).sum())
}
