//! Cross-entropy of the worst case by linear bounds.

use super::{Evaluation, Objective};
use crate::bound::linear::{defect, margins};
use crate::graph::Var;

/// `log Σ_j exp(−m_j)` with the lower bounds `m_j` of theory.md §4.3 over interval intermediates, `m_y = 0`.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "linear",
    summary: "cross-entropy of the worst case by linear bounds over intervals",
    source: "CROWN-IBP, Zhang et al., arXiv 1906.06316",
    bound: true,
    defect,
    loss,
};

fn loss<'t>(at: &Evaluation<'t>) -> Var<'t> {
    (-margins(at.graph, at.weights, at.threat, at.ranges(), at.labels)).cross_entropy(at.labels)
}
