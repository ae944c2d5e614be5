//! The paper's robust term.

use super::{Evaluation, Objective};
use crate::bound::norm_product::{defect, margins};
use crate::bound::rivals;
use crate::graph::Var;
use weightproof::network::Activation;

const SOURCE: &str = "Tsai et al., arXiv 2103.02200; theory.md §11";
/// Takes the label out of a maximum.
const NEVER: f64 = 1e30;

/// `max over j ≠ y of [f_j − f_y + η^{yj}]₊` with the perturbation term `η` of theory.md §4.1; with one layer in the threat the
/// single-layer form.
pub(super) const HINGE: Objective = Objective {
    name: "robust-hinge",
    summary: "hinge of the worst margin by norm products",
    source: SOURCE,
    bound: true,
    defect,
    loss: |at| worst(at).relu().mean(),
};

/// The same with `log(1 + exp(·))` instead of `[·]₊`.
pub(super) const SOFTPLUS: Objective = Objective {
    name: "robust-softplus",
    summary: "softplus of the worst margin by norm products",
    source: SOURCE,
    bound: true,
    defect,
    loss: |at| worst(at).activation(Activation::Softplus).mean(),
};

/// `max over j ≠ y of −m_j`, (batch, 1).
fn worst<'t>(at: &Evaluation<'t>) -> Var<'t> {
    let margins = margins(at.graph, at.weights, at.threat, (at.logits(), at.ranges()), at.labels);
    let classes = margins.shape()[1];
    let rivals = rivals(margins.tape(), at.labels, classes);
    (rivals.scale(NEVER).shift(-NEVER) - margins).max_columns()
}
