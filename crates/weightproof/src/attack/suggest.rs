//! Points that a bound suggests: what its relaxation takes for the worst case, tried as an attack.
//!
//! A backward pass charges the radius of a neuron with the sign of its coefficient, so the vertex `t = −sign(a)` is where the
//! relaxed network is worst; the real one is often near its worst there, too. Kernels of convolutions, whose weights have many
//! coefficients each, stay where they are.

use super::check::Block;
use super::descent::Landscape;
use super::objective::Objective;
use super::pass::Pass;
use super::problem::{FixedValues, SearchProblem};
use super::space::{Geometry, Parameters, Point, Slot, Space};
use super::{Attacker, SampleAttack};
use crate::kernels::{Matrix, Scalar};
use crate::model::Step;
use crate::network::Network;
use crate::property::SpecRow;
use crate::threat::PerturbationSet;
use crate::verdict::Samples;

/// A network and a set, in the precision of the bounds.
pub(crate) struct BoundProblem<'n, T>(SearchProblem<'n, T>);

impl<'n, T: Scalar> BoundProblem<'n, T> {
    /// Casts the network and the set once.
    pub fn new(network: &'n Network, set: &PerturbationSet) -> Self {
        BoundProblem(SearchProblem::new(network, set, Space::new(network, set, Parameters::Neurons)))
    }
}

/// Tries suggestions for a block of samples.
pub(crate) struct Suggestions<'a, 'n, T> {
    attacker: &'a Attacker<'n>,
    problem: &'a BoundProblem<'n, T>,
    block: Block<'a>,
    exact: FixedValues<f64>,
    fixed: FixedValues<T>,
    objective: Objective<T>,
}

/// A suggestion and its margin.
pub(crate) struct Tried<T> {
    pub margin: T,
    /// Whether the margin breaks the property by more than rounding.
    pub broken: bool,
    pub units: Vec<Vec<f32>>,
}

/// A row of coefficients.
pub struct Pointer {
    /// Of this sample.
    pub sample: usize,
    /// Its place in the matrices.
    pub row: usize,
    /// What it bounds.
    pub goal: SpecRow,
}

impl<'a, 'n, T: Scalar> Suggestions<'a, 'n, T> {
    /// Runs the unperturbed network on `samples`.
    pub fn new(attacker: &'a Attacker<'n>, problem: &'a BoundProblem<'n, T>, samples: Samples<'a>) -> Self
    where
        'n: 'a,
    {
        let identity = |s: usize| (samples.first + s, samples.labels.map(|l| l[s]));
        let (block, values) =
            Block::new(&attacker.exact.model, &attacker.set, &attacker.options, samples.inputs, identity);
        let exact = FixedValues::new(&attacker.exact, &values);
        Suggestions { attacker, problem, fixed: exact.cast(), exact, objective: block.objective(), block }
    }

    /// Margins at the vertices that rows of coefficients point to; `tape` has the coefficients by node.
    pub fn follow(&self, tape: &[Option<Matrix<T>>], of: &[Pointer]) -> Vec<Tried<T>> {
        let space = &self.problem.0.space;
        let samples: Vec<usize> = of.iter().map(|pointer| pointer.sample).collect();
        let mut point = Point::zeros(space, of.len());
        for (slot, units) in space.slots.iter().zip(&mut point.0) {
            let a = tape.get(slot.node).and_then(Option::as_ref);
            let width = a.map_or(self.block.outputs.cols(), Matrix::cols);
            if slot.geometry != Geometry::Box
                || slot.width != width
                || space.nodes[slot.node].weights.is_some()
            {
                continue;
            }
            for (to, Pointer { row, goal, .. }) in of.iter().enumerate() {
                let units = units.row_mut(to);
                match a {
                    Some(a) => units.iter_mut().zip(a.row(*row)).for_each(|(t, &a)| *t = against(a)),
                    // The coefficients of the output are the row itself; other nodes without have no influence.
                    None => {
                        goal.plus.into_iter().for_each(|i| units[i] = -T::one());
                        goal.minus.into_iter().for_each(|i| units[i] = T::one());
                    }
                }
            }
        }
        let mut pass = Pass::new(&self.problem.0, &self.fixed);
        let outputs = pass.outputs(&point, &samples);
        let tried = |(k, &s): (usize, &usize)| {
            let f = outputs.row(k);
            let margin = self.objective.worst(s, f).0;
            Tried { margin, broken: self.objective.clearly_broken(margin, f), units: point.compact_row(k) }
        };
        samples.iter().enumerate().map(tried).collect()
    }

    /// The variables that carry the moving nodes of sample `s` to `values`, as far as they reach.
    pub fn towards(&self, s: usize, values: &[Vec<f64>]) -> Vec<Vec<f32>> {
        let problem = &self.attacker.exact;
        let units = |slot: &Slot| match self.reach(s, slot, values) {
            Some((centre, reach)) => {
                let unit = |j: usize| (values[slot.node][j] - centre[(0, j)]) / reach[(0, j)];
                let clamped =
                    |j: usize| if reach[(0, j)] > 0.0 { unit(j).clamp(-1.0, 1.0) as f32 } else { 0.0 };
                (0..slot.width).map(clamped).collect()
            }
            None => vec![0.0; slot.width],
        };
        problem.space.slots.iter().map(units).collect()
    }

    /// Centre and reach of the elements that a slot moves, one by one, when the nodes before have `values`.
    fn reach(&self, s: usize, slot: &Slot, values: &[Vec<f64>]) -> Option<(Matrix<f64>, Matrix<f64>)> {
        let problem = &self.attacker.exact;
        let input = || {
            let z = &values[problem.model.input_of(slot.node)];
            Matrix::from_vec(1, z.len(), z.clone())
        };
        match &problem.model.steps[slot.node] {
            Step::Input => {
                let (low, high) = self.exact.input.as_ref()?;
                let of = |f: fn(f64, f64) -> f64| {
                    Matrix::from_fn(1, slot.width, |_, j| f(low[(s, j)], high[(s, j)]))
                };
                Some((of(|l, h| 0.5 * (l + h)), of(|l, h| 0.5 * (h - l))))
            }
            Step::Affine(layer) if slot.geometry == Geometry::Box && layer.window.is_none() => {
                let z = input();
                let mut centre = Matrix::default();
                layer.apply(&mut centre, &z);
                Some((centre, problem.reach_at(slot.node, &z)))
            }
            Step::Activation(f) => {
                let z = input().map(|p| f.apply(p));
                let reach = z.map(|_| problem.radii.activation());
                Some((z, reach))
            }
            Step::Affine(_)
            | Step::Scale { .. }
            | Step::DynamicQuantize(_)
            | Step::MaxPool(_)
            | Step::AveragePool { .. }
            | Step::Add
            | Step::Multiply
            | Step::Gather(_)
            | Step::Reshape => None,
        }
    }

    /// Whether these are variables of this network and set.
    pub fn fits(&self, units: &[Vec<f32>]) -> bool {
        let slots = &self.attacker.exact.space.slots;
        let widths = slots.iter().map(|slot| slot.width);
        units.len() == slots.len() && widths.zip(units).all(|(width, units)| units.len() == width)
    }

    /// The input of sample `s`.
    pub fn input(&self, s: usize) -> &[f64] {
        self.block.input(s)
    }

    /// What is known of every sample without any attack.
    pub fn unperturbed(&self) -> Vec<SampleAttack> {
        let nothing = vec![None; self.block.clean.len()];
        self.block.check_variables(&self.attacker.exact, &self.exact, nothing)
    }

    /// What the point `units` does to sample `s`, checked in f64.
    pub fn check(&self, s: usize, units: Vec<Vec<f32>>) -> SampleAttack {
        let mut found = vec![None; self.block.clean.len()];
        found[s] = Some(units);
        self.block.check_variables(&self.attacker.exact, &self.exact, found).swap_remove(s)
    }
}

/// The end of `[−1, 1]` where `a t` is least.
fn against<T: Scalar>(a: T) -> T {
    if a > T::zero() { -T::one() } else { T::one() }
}
