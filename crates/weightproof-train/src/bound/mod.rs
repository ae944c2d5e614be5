//! Lower bounds of margins that gradients flow through: the bounds of the certifying core, written on tensors.
//!
//! They guide training and prove nothing: tests compare them with the core on the same network and samples, and certified
//! accuracies are always the core's.

pub mod interval;
pub mod linear;
pub mod norm_product;

use crate::graph::Graph;
use burn::tensor::{Int, Tensor};
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
pub(crate) fn rivals(labels: &Tensor<2, Int>, classes: usize) -> Tensor<2> {
    let batch = labels.dims()[0];
    let label: Tensor<2> = labels.clone().squeeze_dim::<1>(1).one_hot::<2>(classes).float();
    Tensor::ones([batch, classes], &label.device()) - label
}

/// `v_y − v_j` for every rival `j` of the label: (batch, classes) to (batch, classes), zero at the label.
pub(crate) fn differences(values: Tensor<2>, labels: &Tensor<2, Int>) -> Tensor<2> {
    values.clone().gather(1, labels.clone()) - values
}

/// `v_y + v_j` for every rival, zero at the label; a column of `values` holds for all classes.
pub(crate) fn sums(values: Tensor<2>, labels: &Tensor<2, Int>, classes: usize) -> Tensor<2> {
    let values = values.expand([labels.dims()[0], classes]);
    (values.clone().gather(1, labels.clone()) + values) * rivals(labels, classes)
}

/// `W_y − W_j` of every pair of rows: (classes · classes, n), the label first.
pub(crate) fn row_differences(weight: Tensor<2>) -> Tensor<2> {
    pairs(weight, |y, j| y - j)
}

/// `f(row y, row j)` of every pair of rows: (classes · classes, n).
pub(crate) fn pairs(rows: Tensor<2>, f: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>) -> Tensor<2> {
    let [classes, n] = rows.dims();
    f(rows.clone().unsqueeze_dim(1), rows.unsqueeze_dim(0)).reshape([classes * classes, n])
}

/// The entries of the label's pairs: (batch, classes · classes) to (batch, classes).
pub(crate) fn of_label(values: Tensor<2>, labels: &Tensor<2, Int>, classes: usize) -> Tensor<2> {
    let batch = values.dims()[0];
    let index = labels.clone().unsqueeze_dim::<3>(2).repeat_dim(2, classes);
    values.reshape([batch, classes, classes]).gather(1, index).reshape([batch, classes])
}
