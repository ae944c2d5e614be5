//! First-order sensitivities to inputs and weights.

use super::{Evaluation, Objective};
use crate::bound::norm_product::{defect, norm_inf};
use crate::bound::{of_label, row_differences};
use crate::graph::activate;
use crate::threat::dense;
use burn::tensor::Tensor;
use weightproof::network::Layer;

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
    let (graph, batch) = (at.graph, at.x.dims()[0]);
    let start = if input { at.threat.input_radius } else { 0.0 };
    let mut moved = Tensor::<2>::full([batch, 1], start, graph.device());
    let mut z = at.x.clone();
    for (index, node) in graph.nodes().iter().enumerate().skip(1) {
        match &node.layer {
            Layer::Activation(f) => z = activate(*f, z),
            layer if dense(layer).is_some() => {
                let slot = graph.slot(index);
                let weight = at.weights.weight[slot].clone();
                let push = at.threat.at(graph, index, at.weights).times(layer, z.clone().abs()).max_dim(1);
                let push = if input { push.zeros_like() } else { push };
                if index == graph.network().output() {
                    let classes = weight.dims()[0];
                    let norms = row_differences(weight).abs().sum_dim(1).reshape([1, classes * classes]);
                    let norms = of_label(norms.expand([batch, classes * classes]), &at.labels, classes);
                    return (norms.max_dim(1) * moved + push * 2.0).mean();
                }
                z = crate::graph::add_bias(
                    layer,
                    crate::graph::apply(None, weight.clone(), z),
                    at.weights.bias[slot].clone(),
                );
                moved = moved * norm_inf(weight) + push;
            }
            layer => z = graph.rearrange(layer, &[z]),
        }
    }
    unreachable!("the output is a dense layer")
}
