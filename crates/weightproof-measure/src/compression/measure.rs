//! The capacity of the compressed network as one number.

use super::Compression;
use crate::context::Context;
use crate::error::Refusal;
use crate::margins::quantile;
use crate::measures::{Direction, Measure, Needs, Parts};
use weightproof::verdict::Worth;

/// Capacity at the γ that nine of ten training samples have as their margin.
pub const CAPACITY: Measure = Measure {
    name: "compressed-capacity",
    quantity: "sqrt(sum of ranks (n_k + n_{k-1} + 1) / n), no margin moved by more than its 10% quantile",
    source: "arXiv 2001.05070, reconstructed",
    needs: Needs::LABELS,
    parts: Parts::Nothing,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| {
        let compression = Compression::new(context)?;
        Ok(compression.capacity(&compression.layers(gamma(context)?)))
    },
};

/// The 10% quantile of the training margins.
///
/// # Errors
/// When it is not above zero, or there are no labels.
pub fn gamma(context: &Context<'_>) -> Result<f64, Refusal> {
    let gamma = quantile(context.margins()?, 0.1);
    let undefined =
        || Refusal::Undefined(format!("the 10% quantile of the margins is not above zero: {gamma}"));
    if gamma > 0.0 { Ok(gamma) } else { Err(undefined()) }
}
