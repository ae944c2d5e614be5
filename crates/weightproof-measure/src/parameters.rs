//! The number of parameters.

use crate::measures::{Direction, Guarantee, Measure, Needs};

/// Weights and biases of all layers.
pub const PARAMETERS: Measure = Measure {
    name: "parameters",
    quantity: "number of weights and biases",
    source: "the classical measure of capacity",
    needs: Needs::NOTHING,
    guarantee: Guarantee::Measured,
    direction: Direction::WorseLarger,
    value: |context| Ok(context.network.parameters() as f64),
};
