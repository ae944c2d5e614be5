//! Cross-entropy of the unperturbed network.

use super::{Evaluation, Objective, no_defect};
use crate::graph::Var;

/// `−log softmax(f(x))_y`.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "cross-entropy",
    summary: "cross-entropy of the unperturbed network",
    source: "",
    bound: false,
    defect: no_defect,
    loss,
};

fn loss<'t>(at: &Evaluation<'t>) -> Var<'t> {
    at.logits().cross_entropy(at.labels)
}
