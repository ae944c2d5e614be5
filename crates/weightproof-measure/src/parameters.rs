//! The number of parameters.

use crate::measures::{Direction, Measure, Needs, Parts};
use weightproof::verdict::Worth;

/// Weights and biases of all layers.
pub const PARAMETERS: Measure = Measure {
    name: "parameters",
    quantity: "number of weights and biases",
    source: "the classical measure of capacity",
    needs: Needs::NOTHING,
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| Ok(context.network.parameters() as f64),
};
