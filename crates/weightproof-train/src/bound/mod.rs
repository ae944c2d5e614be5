//! Lower bounds of margins that gradients flow through: the bounds of the certifying core, written on a tape.
//!
//! They guide training and prove nothing: tests compare them with the core on the same network and samples, and certified
//! accuracies are always the core's.

mod boxes;
pub mod interval;
pub mod linear;
pub mod noise;
pub mod norm_product;

use crate::graph::{Graph, Tape, Var};
use weightproof::network::Layer;

/// Index of the output node and of the node that it reads; the output is a dense layer.
pub(crate) fn output(graph: &Graph) -> (usize, usize) {
    let output = graph.network().output();
    (output, graph.nodes()[output].inputs[0])
}

/// What is wrong with the output node, if anything.
pub(crate) fn output_defect(graph: &Graph) -> Option<String> {
    let output = &graph.nodes()[graph.network().output()];
    (!matches!(output.layer, Layer::Dense(_))).then(|| {
        format!("{}: expected a dense layer as the output, found {}", output.name, output.layer.kind())
    })
}

/// `1` for rivals, `0` for the label: (batch, classes).
pub(crate) fn rivals<'t>(tape: &'t Tape<'t>, labels: &[u32], classes: usize) -> Var<'t> {
    let row = |&label: &u32| (0..classes).map(move |j| if j == label as usize { 0.0 } else { 1.0 });
    tape.constant(labels.iter().flat_map(row), [labels.len(), classes])
}

/// `1` for every pair of different classes, `0` for equal ones: (classes², 1).
pub(crate) fn rivals_of_pairs<'t>(tape: &'t Tape<'t>, classes: usize) -> Var<'t> {
    let pair = |k: usize| if k / classes == k % classes { 0.0 } else { 1.0 };
    tape.constant((0..classes * classes).map(pair), [classes * classes, 1])
}

/// `v_y − v_j` for every rival `j` of the label: (batch, classes) to (batch, classes), zero at the label.
pub(crate) fn differences<'t>(values: Var<'t>, labels: &'t [u32]) -> Var<'t> {
    values.block(labels, 1) - values
}

/// `v_y + v_j` for every rival, zero at the label; a column of `values` holds for all classes.
pub(crate) fn sums<'t>(values: Var<'t>, labels: &'t [u32], classes: usize) -> Var<'t> {
    let rivals = rivals(values.tape(), labels, classes);
    if values.shape()[1] == 1 {
        return rivals * values.scale(2.0);
    }
    (values.block(labels, 1) + values) * rivals
}
