//! Spectral decoupling.

use super::{Evaluation, Objective, no_defect};
use burn::tensor::Tensor;

/// The mean square of the outputs.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "spectral-decoupling",
    summary: "mean square of the outputs",
    source: "Pezeshki et al., arXiv 2011.09468",
    bound: false,
    defect: no_defect,
    loss: |at: &Evaluation<'_>| -> Tensor<1> { at.logits().square().mean() },
};
