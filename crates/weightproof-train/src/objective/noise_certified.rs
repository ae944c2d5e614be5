//! Cross-entropy and hinge of the worst case of random weights.

use super::{Evaluation, Objective};
use crate::bound::noise::{defect, margins};
use crate::bound::rivals;
use crate::graph::Var;
use crate::threat::NoiseThreat;

const SOURCE: &str = "theory.md §14";
/// Takes the label out of a maximum.
const NEVER: f64 = 1e30;

/// `log Σ_j exp(−m_j)` with the bounds `m_j` of margins that random weights leave at the quantile of `[threat.noise]`, `m_y = 0`.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "noise-certified",
    summary: "cross-entropy of the margins that random weights leave but for a probability",
    source: SOURCE,
    bound: true,
    defect,
    loss: |at| (-bounds(at)).cross_entropy(at.labels),
};

/// `max over j ≠ y of [1 − m_j]₊`.
pub(super) const HINGE: Objective = Objective {
    name: "noise-certified-hinge",
    summary: "hinge of the worst margin that random weights leave but for a probability",
    source: SOURCE,
    bound: true,
    defect,
    loss: |at| {
        let margins = bounds(at);
        let rivals = rivals(margins.tape(), at.labels, margins.shape()[1]);
        (rivals.scale(NEVER).shift(-NEVER) - margins).max_columns().shift(1.0).relu().mean()
    },
};

fn bounds<'t>(at: &Evaluation<'t>) -> Var<'t> {
    // Without noise the bounds are the margins.
    let still = NoiseThreat { sigma: 0.0, ..NoiseThreat::default() };
    margins(at.graph, at.weights, at.threat.noise.as_ref().unwrap_or(&still), at.values(), at.labels)
}
