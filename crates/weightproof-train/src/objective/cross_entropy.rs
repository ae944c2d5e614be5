//! Cross-entropy of the unperturbed network.

use super::{Evaluation, Objective, mean_cross_entropy, no_defect};
use burn::tensor::Tensor;

/// `−log softmax(f(x))_y`.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "cross-entropy",
    summary: "cross-entropy of the unperturbed network",
    source: "",
    bound: false,
    defect: no_defect,
    loss,
};

fn loss(at: &Evaluation<'_>) -> Tensor<1> {
    mean_cross_entropy(at.logits(), &at.labels)
}
