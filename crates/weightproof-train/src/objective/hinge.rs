//! The hinge loss.

use super::{Evaluation, Objective, no_defect};
use crate::bound::{differences, rivals};
use crate::graph::Var;

/// Takes the label out of a maximum.
const NEVER: f64 = 1e30;

/// `max over j ≠ y of [1 − (f_y − f_j)]₊` of the unperturbed network.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "hinge",
    summary: "hinge of the margin of the unperturbed network",
    source: "Crammer and Singer, JMLR 2001",
    bound: false,
    defect: no_defect,
    loss,
};

fn loss<'t>(at: &Evaluation<'t>) -> Var<'t> {
    let logits = at.logits();
    let rivals = rivals(logits.tape(), at.labels, logits.shape()[1]);
    let worst = (rivals.scale(NEVER).shift(-NEVER) - differences(logits, at.labels)).max_columns();
    worst.shift(1.0).relu().mean()
}
