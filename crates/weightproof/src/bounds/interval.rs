//! The interval method: boxes by interval steps (theory.md §4.2).

use super::linear::{Backward, Reach, Sharing};
use super::step::propagate;
use super::{Block, BoundMethod, LowerBounds};
use crate::kernels::Scalar;
use crate::property::Specification;

/// The interval method: boxes up to the output's inputs, then the specification row on that box.
pub struct Interval;

impl<T: Scalar> BoundMethod<T> for Interval {
    /// Merging the rows of the last layer (`f_y − f_j` on the box of its inputs) is never worse than subtracting the
    /// bounds of two outputs.
    fn lower_bounds(&self, block: &Block<'_, T>, spec: &Specification) -> LowerBounds<T> {
        let states = propagate(block);
        Backward::new(block, &states, Reach::OneLayer, Sharing::PerUse).specification(spec)
    }
}
