//! The paper's norm term.

use super::{Evaluation, Objective, no_defect};
use crate::bound::norm_product::{norm_inf, norm_one};
use crate::graph::Var;

/// `Σ_k ‖Wᵏ‖_∞ + ‖Wᵏ‖_1`, which the generalization bound of theory.md §8 grows with; of a convolution the norms of its
/// matrix of parameters.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "norms",
    summary: "sum over layers of the largest ℓ1 norms of a row and of a column",
    source: "Tsai et al., arXiv 2103.02200 (shape of the term reconstructed, theory.md §11)",
    bound: false,
    defect: no_defect,
    loss,
};

fn loss<'t>(at: &Evaluation<'t>) -> Var<'t> {
    let layers = at.weights.weight.iter();
    let norms = layers.map(|w| norm_inf(*w) + norm_one(*w));
    norms.reduce(|sum, norm| sum + norm).expect("a layer with parameters")
}
