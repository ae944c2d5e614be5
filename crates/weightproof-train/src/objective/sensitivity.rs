//! First-order sensitivities to inputs and weights.

use super::{Evaluation, Objective};
use crate::bound::norm_product::{defect, difference_norms, norm_inf};
use crate::threat::dense;
use burn::tensor::Tensor;

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

fn tau(at: &Evaluation<'_>, input: bool) -> Tensor<1> {
    let (graph, [batch, _]) = (at.graph, at.x.dims());
    let start = if input { at.threat.input_radius } else { 0.0 };
    let mut moved = Tensor::<2>::full([batch, 1], start, graph.device());
    let values = graph.values(at.weights, at.x.clone());
    let layers = graph.nodes().iter().enumerate().filter(|(_, node)| dense(&node.layer).is_some());
    for (index, node) in layers {
        let weight = at.weights.weight[graph.slot(index)].clone();
        let z = values[node.inputs[0]].clone().abs();
        let push = at.threat.at(graph, index, at.weights).times(&node.layer, z).max_dim(1);
        let push = if input { push.zeros_like() } else { push };
        if index == graph.network().output() {
            return (difference_norms(weight, &at.labels).max_dim(1) * moved + push * 2.0).mean();
        }
        moved = moved * norm_inf(weight) + push;
    }
    unreachable!("the output is a dense layer")
}
