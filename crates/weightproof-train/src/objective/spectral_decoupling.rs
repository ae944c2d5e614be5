//! Spectral decoupling.

use super::{Evaluation, Objective, no_defect};
use crate::graph::Var;

/// The mean square of the outputs.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "spectral-decoupling",
    summary: "mean square of the outputs",
    source: "Pezeshki et al., arXiv 2011.09468",
    bound: false,
    defect: no_defect,
    loss,
};

fn loss<'t>(at: &Evaluation<'t>) -> Var<'t> {
    at.logits().square().mean()
}
