//! Terms of a training loss. One file for each; [`OBJECTIVES`] lists them.

mod cross_entropy;
mod interval;
mod linear;
mod norms;
mod robust_margin;
mod sensitivity;
mod spectral_decoupling;

use crate::bound;
use crate::bound::interval::Ranges;
use crate::graph::{Graph, Weights};
use crate::threat::Threat;
use burn::tensor::{Int, Tensor};
use std::cell::OnceCell;

/// A batch at some parameters; what several terms need is computed once.
pub struct Evaluation<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// Its parameters.
    pub weights: &'a Weights,
    /// Inputs (batch, width).
    pub x: Tensor<2>,
    /// Labels (batch, 1).
    pub labels: Tensor<2, Int>,
    /// The perturbations that bounds guard against.
    pub threat: &'a Threat,
    logits: OnceCell<Tensor<2>>,
    ranges: OnceCell<Ranges>,
}

impl<'a> Evaluation<'a> {
    /// Nothing is computed yet.
    pub fn new(
        graph: &'a Graph,
        weights: &'a Weights,
        threat: &'a Threat,
        x: Tensor<2>,
        labels: Tensor<2, Int>,
    ) -> Self {
        Evaluation { graph, weights, x, labels, threat, logits: OnceCell::new(), ranges: OnceCell::new() }
    }

    /// Outputs of the unperturbed network, (batch, classes).
    pub fn logits(&self) -> Tensor<2> {
        self.logits.get_or_init(|| self.graph.forward(self.weights, self.x.clone())).clone()
    }

    /// Interval bounds of all nodes before the output.
    pub fn ranges(&self) -> &Ranges {
        let propagate = || bound::interval::propagate(self.graph, self.weights, self.threat, self.x.clone());
        self.ranges.get_or_init(propagate)
    }
}

/// A term of the loss.
pub struct Objective {
    /// Name in configurations and on the command line.
    pub name: &'static str,
    /// What it is, for a table.
    pub summary: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// Whether it depends on the radius of the threat.
    pub bound: bool,
    /// What keeps it from a network, if anything.
    pub defect: fn(&Graph) -> Option<String>,
    /// Its value, one number: the mean over the samples, so that the shards of a batch add up, or the same for all batches.
    pub loss: fn(&Evaluation<'_>) -> Tensor<1>,
}

/// All terms.
pub static OBJECTIVES: &[Objective] = &[
    cross_entropy::OBJECTIVE,
    robust_margin::HINGE,
    robust_margin::SOFTPLUS,
    norms::OBJECTIVE,
    interval::OBJECTIVE,
    linear::OBJECTIVE,
    sensitivity::INPUT,
    sensitivity::WEIGHT,
    spectral_decoupling::OBJECTIVE,
];

/// The term of this name.
pub fn find(name: &str) -> Option<&'static Objective> {
    OBJECTIVES.iter().find(|objective| objective.name == name)
}

/// Mean over the batch of the cross-entropy of the label.
pub fn mean_cross_entropy(logits: Tensor<2>, labels: &Tensor<2, Int>) -> Tensor<1> {
    burn::tensor::activation::log_softmax(logits, 1).gather(1, labels.clone()).mean().neg()
}

/// Fits every network.
fn no_defect(_: &Graph) -> Option<String> {
    None
}
