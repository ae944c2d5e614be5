//! One perturbation of the parameters, used for all samples: what it does to each of them.

use super::check::{Block, breaks};
use super::descent::Landscape;
use super::objective::Objective;
use super::pass::Pass;
use super::problem::{FixedValues, SearchProblem};
use super::space::{Parameters, Space};
use super::witness::{materialize, unpack};
use crate::kernels::Matrix;
use crate::network::Network;
use crate::threat::{Perturbation, PerturbationSet};

/// Values of the variables of one sample, slot by slot.
pub(super) type Units = Vec<Vec<f32>>;

/// A perturbed network; only its input and its activations may still move, for each sample on its own.
pub(super) struct Shared<'a> {
    parameters: &'a Perturbation,
    problem: SearchProblem<'a, f64>,
}

/// A point that was found for a sample: margin, rival, and the input and activation variables.
pub(super) type SharedPoint = Option<(f64, usize, Units)>;

impl<'a> Shared<'a> {
    /// `changed` is the network with `parameters`; `None` when they are not in the set, which the overflow of a huge radius
    /// can bring about.
    pub fn new(
        network: &Network,
        set: &PerturbationSet,
        parameters: &'a Perturbation,
        changed: &'a Network,
    ) -> Option<Self> {
        set.contains(network, &[], parameters).ok()?;
        let problem = SearchProblem::new(changed, set, Space::new(changed, set, Parameters::Fixed));
        Some(Shared { parameters, problem })
    }

    /// Margins of a block under this perturbation, where finite. Inputs and activations go where `find` says.
    ///
    /// # Guarantee
    /// A margin that breaks the property was recomputed by the plain forward pass of a perturbation in the set.
    pub fn evaluate(
        &self,
        block: &Block<'_>,
        objective: &Objective<f64>,
        find: impl Fn(&SearchProblem<'_, f64>, &FixedValues<f64>) -> Vec<Option<Units>>,
    ) -> Vec<SharedPoint> {
        let count = block.clean.len();
        let inputs = Matrix::from_vec(count, block.network.input_width(), block.inputs.to_vec());
        let mut values = self.problem.model.forward(inputs);
        let space = &self.problem.space;
        let (units, outputs): (Vec<Option<Units>>, Matrix<f64>) = if space.slots.is_empty() {
            (vec![Some(Vec::new()); count], values.pop().expect("a network has nodes"))
        } else {
            let fixed = FixedValues::new(&self.problem, &values);
            let units = find(&self.problem, &fixed);
            let centre: Units = space.slots.iter().map(|slot| vec![0.0; slot.width]).collect();
            let rows: Vec<&[Vec<f32>]> =
                units.iter().map(|u| u.as_ref().unwrap_or(&centre).as_slice()).collect();
            let samples: Vec<usize> = (0..count).collect();
            let outputs = Pass::new(&self.problem, &fixed).outputs(&unpack(space, &rows), &samples).clone();
            (units, outputs)
        };
        let mut whole = None;
        let found = units.into_iter().enumerate().map(|(s, units)| {
            let units = units?;
            let (mut margin, mut rival) = objective.worst(s, outputs.row(s));
            if breaks(margin, block.options.property) {
                let whole = whole.get_or_insert_with(|| self.parameters.clone());
                (margin, rival) = self.check(block, objective, s, &units, whole)?;
            }
            margin.is_finite().then_some((margin, rival, units))
        });
        found.collect()
    }

    /// The margin of sample `s` by the plain forward pass; the parameters were checked when this was built.
    fn check(
        &self,
        block: &Block<'_>,
        objective: &Objective<f64>,
        s: usize,
        units: &[Vec<f32>],
        whole: &mut Perturbation,
    ) -> Option<(f64, usize)> {
        let x = block.input(s);
        let own = materialize(block.network, block.set, &self.problem.space, units, x);
        block.set.contains(block.network, x, &own).ok()?;
        (whole.input, whole.activations) = (own.input, own.activations);
        Some(block.found_margin(objective, s, whole))
    }
}

/// The network with the parameters of `perturbation`.
pub(super) fn changed(network: &Network, perturbation: &Perturbation) -> Network {
    network.with_parameters(&perturbation.layers)
}
