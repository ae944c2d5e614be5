//! Cross-entropy of the worst case by linear bounds.

use super::{Evaluation, Objective, mean_cross_entropy};
use crate::bound::linear::{defect, margins};
use burn::tensor::Tensor;

/// `log Σ_j exp(−m_j)` with the lower bounds `m_j` of theory.md §4.3 over interval intermediates, `m_y = 0`.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "linear",
    summary: "cross-entropy of the worst case by linear bounds over intervals",
    source: "CROWN-IBP, Zhang et al., arXiv 1906.06316",
    bound: true,
    defect,
    loss,
};

fn loss(at: &Evaluation<'_>) -> Tensor<1> {
    let worst = margins(at.graph, at.weights, at.threat, at.ranges(), &at.labels).neg();
    mean_cross_entropy(worst, &at.labels)
}
