//! Cross-entropy of the worst case by intervals.

use super::{Evaluation, Objective};
use crate::bound::interval::{defect, margins};
use crate::graph::Var;

/// `log Σ_j exp(−m_j)` with the lower bounds `m_j` of theory.md §4.2, `m_y = 0`. Mixed with cross-entropy by weights κ and
/// 1 − κ this is interval bound propagation (Gowal et al. 2018), for weights Dang et al. (AISTATS 2025).
pub(super) const OBJECTIVE: Objective = Objective {
    name: "interval",
    summary: "cross-entropy of the worst case by intervals",
    source: "Gowal et al., arXiv 1810.12715; for weights Dang et al., AISTATS 2025",
    bound: true,
    defect,
    loss,
};

fn loss<'t>(at: &Evaluation<'t>) -> Var<'t> {
    (-margins(at.graph, at.weights, at.threat, at.ranges(), at.labels)).cross_entropy(at.labels)
}
