//! First-order sensitivities to inputs and weights.

use super::{Evaluation, Objective};
use crate::bound::norm_product::{defect, difference_norms, norm_inf};
use crate::graph::Var;

const SOURCE: &str = "Tsai et al., arXiv 2102.11935 (reconstruction: first order, not a bound)";

/// `max_j ‖W^L_y − W^L_j‖₁ ε_x Π_{k<L} ‖Wᵏ‖_∞`.
pub(super) const INPUT: Objective = Objective {
    name: "input-sensitivity",
    summary: "first-order change of the margins by the input radius",
    source: SOURCE,
    bound: true,
    defect,
    loss: |at| tau(at, true),
};

/// `max_j ‖W^L_y − W^L_j‖₁ Σ_{k<L} ε_k ‖z^{k−1}‖₁ Π_{k<m<L} ‖W^m‖_∞ + 2 ε_L ‖z^{L−1}‖₁`.
pub(super) const WEIGHT: Objective = Objective {
    name: "weight-sensitivity",
    summary: "first-order change of the margins by the radius of the weights",
    source: SOURCE,
    bound: true,
    defect,
    loss: |at| tau(at, false),
};

fn tau<'t>(at: &Evaluation<'t>, input: bool) -> Var<'t> {
    let (graph, batch) = (at.graph, at.labels.len());
    let start = if input { at.threat.input_radius } else { 0.0 };
    let mut moved = at.x.tape().full(start, [batch, 1]);
    let layers = graph.nodes().iter().enumerate().filter(|(_, node)| node.layer.affine().is_some());
    for (index, node) in layers {
        let radii = at.threat.at(graph, index, at.weights);
        let push = (!input).then(|| radii.push_of_weights(at.values()[node.inputs[0]]).max_columns());
        let last = index == graph.network().output();
        let (norms, factor) = if last {
            (difference_norms(radii.matrix, at.labels).max_columns(), 2.0)
        } else {
            (norm_inf(radii.matrix), 1.0)
        };
        moved = moved * norms;
        if let Some(push) = push {
            moved = moved + push.scale(factor);
        }
        if last {
            return moved.mean();
        }
    }
    unreachable!("the output is a dense layer")
}
