//! Terms of a training loss. One file for each; [`OBJECTIVES`] lists them.

mod cross_entropy;
mod hinge;
mod interval;
mod linear;
mod noise_certified;
mod norms;
mod robust_margin;
mod sensitivity;
mod spectral_decoupling;

use crate::bound;
use crate::bound::interval::Ranges;
use crate::graph::{Graph, Var, Weights};
use crate::threat::Threat;
use std::cell::OnceCell;

/// A batch at some parameters, on a tape; what several terms need is computed once.
pub struct Evaluation<'t> {
    /// The network.
    pub graph: &'t Graph,
    /// Its parameters.
    pub weights: &'t Weights<'t>,
    /// Inputs (batch, width).
    pub x: Var<'t>,
    /// One label for each.
    pub labels: &'t [u32],
    /// The perturbations that bounds guard against.
    pub threat: &'t Threat,
    values: OnceCell<Vec<Var<'t>>>,
    ranges: OnceCell<Ranges<'t>>,
}

impl<'t> Evaluation<'t> {
    /// Nothing is computed yet.
    pub fn new(
        graph: &'t Graph,
        weights: &'t Weights<'t>,
        threat: &'t Threat,
        x: Var<'t>,
        labels: &'t [u32],
    ) -> Self {
        Evaluation { graph, weights, x, labels, threat, values: OnceCell::new(), ranges: OnceCell::new() }
    }

    /// Values of all nodes of the unperturbed network, (batch, width of the node).
    pub fn values(&self) -> &[Var<'t>] {
        self.values.get_or_init(|| self.graph.values(self.weights, self.x))
    }

    /// Outputs of the unperturbed network, (batch, classes).
    pub fn logits(&self) -> Var<'t> {
        self.values()[self.graph.network().output()]
    }

    /// Interval bounds of all nodes before the output.
    pub fn ranges(&self) -> &Ranges<'t> {
        let propagate = || bound::interval::propagate(self.graph, self.weights, self.threat, self.values());
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
    pub loss: for<'t> fn(&Evaluation<'t>) -> Var<'t>,
}

/// All terms.
pub static OBJECTIVES: &[Objective] = &[
    cross_entropy::OBJECTIVE,
    hinge::OBJECTIVE,
    robust_margin::HINGE,
    robust_margin::SOFTPLUS,
    norms::OBJECTIVE,
    interval::OBJECTIVE,
    linear::OBJECTIVE,
    noise_certified::OBJECTIVE,
    noise_certified::HINGE,
    sensitivity::INPUT,
    sensitivity::WEIGHT,
    spectral_decoupling::OBJECTIVE,
];

/// The term of this name.
pub fn find(name: &str) -> Option<&'static Objective> {
    OBJECTIVES.iter().find(|objective| objective.name == name)
}

/// Fits every network.
fn no_defect(_: &Graph) -> Option<String> {
    None
}
