//! The paper's margin bound by products of norms on a tape, theory.md §4.1.
//!
//! ```text
//! δ_0 = ε_x,   δ_k = ‖Wᵏ‖_∞ δ_{k−1} + max over rows of (Eᵏ z*ᵏ⁻¹ + eᵏ)        z*: upper ends of the interval bounds
//! m_j ≥ f_y − f_j − ‖W_y − W_j‖₁ δ_{L−1} − (E_y + E_j) z*^{L−1} − e_y − e_j
//! ```
//! The rows of a convolution are those of its kernels. With one layer in the threat this is the bound for that layer alone. The core also knows two forms that need no
//! non-negative activations and reports the best of them.
//!
//! # Source
//! Tsai et al., arXiv 2103.02200; the joint form is proved in theory.md §4.1. Difference: the activations of a network with
//! every weight raised do not dominate the reachable ones where weights are negative; interval bounds do.

use super::interval::Ranges;
use super::{differences, output_defect, sums};
use crate::graph::{Graph, Var, Weights};
use crate::threat::Threat;
use weightproof::network::{Activation, Layer};

/// What keeps the objective from a network, if anything: a chain of dense layers or convolutions is needed, with non-negative
/// monotone activations with slopes of at most one between them.
pub fn defect(graph: &Graph) -> Option<String> {
    // Whether values may be negative: behind a layer with weights, until an activation.
    let mut signed = false;
    for (index, node) in graph.nodes().iter().enumerate().skip(1) {
        let fits = match &node.layer {
            Layer::Dense(_) | Layer::Conv(_) => !std::mem::replace(&mut signed, true),
            Layer::Reshape => true,
            Layer::Activation(f) => match f {
                Activation::Relu | Activation::Sigmoid | Activation::Softplus => true,
                Activation::Clip { low, .. } => *low >= 0.0,
                Activation::LeakyRelu { .. }
                | Activation::SoftThreshold { .. }
                | Activation::Tanh
                | Activation::Gelu
                | Activation::GeluTanh
                | Activation::Elu { .. }
                | Activation::Silu
                | Activation::Mish
                | Activation::HardSwish
                | Activation::Softsign
                | Activation::Atan
                | Activation::Square
                | Activation::Exp
                | Activation::Reciprocal
                | Activation::Power { .. }
                | Activation::Quantize(_) => false,
            },
            // In front of the chain, of an input that does not move.
            Layer::Scale(_) => graph.nodes()[1..index].iter().all(|n| n.layer.affine().is_none()),
            Layer::Input
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_) => false,
        };
        signed &= !matches!(node.layer, Layer::Activation(_));
        if !fits || node.inputs != [index - 1] {
            let expected =
                "a chain of dense layers or convolutions with non-negative monotone activations between them";
            return Some(format!("{}: expected {expected}, found {}", node.name, node.layer.kind()));
        }
    }
    output_defect(graph)
}

/// Lower bounds of the margins `f_y − f_j`, (batch, classes), zero at the label. `logits` are those of the unperturbed
/// network for the same inputs.
///
/// # Panics
/// On networks with a [`defect`].
pub fn margins<'t>(
    graph: &'t Graph,
    weights: &Weights<'t>,
    threat: &Threat,
    (logits, ranges): (Var<'t>, &Ranges<'t>),
    labels: &'t [u32],
) -> Var<'t> {
    let [batch, classes] = logits.shape();
    let last = graph.network().output();
    let mut moved = logits.tape().full(threat.input_radius, [batch, 1]);
    let layers = graph.nodes().iter().enumerate().filter(|(_, node)| node.layer.affine().is_some());
    for (index, node) in layers {
        let radii = threat.at(graph, index, weights);
        let [_, largest] = ranges.ranges[node.inputs[0]].ends();
        let push = radii.push(largest);
        if index == last {
            let norms = difference_norms(radii.matrix, labels);
            return differences(logits, labels) - norms * moved - sums(push, labels, classes);
        }
        moved = moved * norm_inf(radii.matrix) + push.max_columns();
    }
    unreachable!("the output is a dense layer")
}

/// `‖W_y − W_j‖₁` for the label of every sample: (batch, classes).
pub(crate) fn difference_norms<'t>(weight: Var<'t>, labels: &'t [u32]) -> Var<'t> {
    let classes = weight.shape()[0];
    let norms = weight.pairs([1.0, -1.0]).abs().sum_columns();
    norms.reshape([1, classes * classes]).block(labels, classes)
}

/// `‖W‖_∞`, the largest ℓ1 norm of a row: (1, 1).
pub(crate) fn norm_inf(weight: Var<'_>) -> Var<'_> {
    weight.abs().sum_columns().max()
}

/// `‖W‖_1`, the largest ℓ1 norm of a column: (1, 1).
pub(crate) fn norm_one(weight: Var<'_>) -> Var<'_> {
    weight.abs().sum_rows().max()
}
