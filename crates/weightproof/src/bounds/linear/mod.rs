//! Backward linear bounds (theory.md §4.3): CROWN with the exact effect of weight perturbations.
//!
//! A row of coefficients starts at a node and moves towards the input. Lemma 1 makes the step through a perturbed layer
//! linear in the layer's input, so no weight × activation product is relaxed. [`relax`] knows single activations,
//! [`propagate`] moves coefficients through the graph, [`concretize`] ends at a set whose worst case is known exactly.

mod concretize;
mod propagate;
mod relax;

pub use propagate::{Backward, Reach};
pub use relax::Relaxation;

use super::interval::{check_format_range, step};
use super::{Block, BoundMethod, LowerBounds, State, States, intersect};
use crate::kernels::Scalar;
use crate::model::Step;
use crate::network::Activation;
use crate::property::{SpecRow, Specification};

/// Where the bounds of hidden neurons come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intermediate {
    /// Interval propagation: cheap.
    Interval,
    /// The same backward pass, started at every layer: tight.
    Linear,
}

/// The linear method.
pub struct Linear {
    /// Bounds of hidden neurons.
    pub intermediate: Intermediate,
}

impl<T: Scalar> BoundMethod<T> for Linear {
    /// The backward bound, intersected with the interval bound on the same intermediate boxes.
    fn lower_bounds(&self, block: &Block<'_, T>, spec: &Specification) -> LowerBounds<T> {
        let mut states = States::new(block);
        let mut relaxations: Vec<Option<Relaxation<T>>> = Vec::new();
        for index in 0..block.values.len() {
            let mut state = step(block, &states, index);
            if self.intermediate == Intermediate::Linear && wants_tightening(block, &states, index) {
                tighten(block, &states, &relaxations, index, &mut state);
            }
            states.push(state);
            check_format_range(block, &mut states, index);
            relaxations.push(match &block.prepared.model.steps[index] {
                Step::Activation(f) => {
                    Some(Relaxation::new(*f, &states, block.prepared.model.input_of(index)))
                }
                Step::Input | Step::Dense { .. } | Step::Scale { .. } | Step::Reshape => None,
            });
        }
        let near = Backward::new(block, &states, Reach::OneLayer).specification(spec);
        let far = Backward::new(block, &states, Reach::Input(&relaxations)).specification(spec);
        intersect(far, &near)
    }
}

/// Whether node `index` is an affine node before an activation whose box is not exact already.
fn wants_tightening<T: Scalar>(block: &Block<'_, T>, states: &States<'_, T>, index: usize) -> bool {
    let model = block.prepared.model;
    let feeds_activation = model.network.nodes().iter().enumerate().any(|(reader, node)| {
        node.inputs.contains(&index) && matches!(model.steps[reader], Step::Activation(_))
    });
    let hidden_behind = match &model.steps[index] {
        Step::Input | Step::Activation(_) | Step::Reshape => false,
        Step::Dense { .. } | Step::Scale { .. } => {
            // Exact when nothing nonlinear lies between the node and what is fixed.
            (0..index).any(|i| matches!(model.steps[i], Step::Activation(_)) && !states.is_fixed(i))
                || !states.is_fixed(model.input_of(index))
        }
    };
    feeds_activation && hidden_behind
}

/// Replaces the box of node `index` by the better of it and backward bounds, for the neurons whose box decides a
/// relaxation: all of a smooth activation, and those of unknown sign of a piecewise-linear one.
fn tighten<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    relaxations: &[Option<Relaxation<T>>],
    index: usize,
    state: &mut State<T>,
) {
    let State::Box(bounds) = state else { return };
    let readers = block.prepared.model.network.nodes().iter().zip(&block.prepared.model.steps);
    let smooth = readers.filter(|(node, _)| node.inputs.contains(&index)).any(|(_, step)| match step {
        Step::Activation(f) => !Activation::is_piecewise_linear(*f),
        Step::Input | Step::Dense { .. } | Step::Scale { .. } | Step::Reshape => false,
    });
    let mut rows: Vec<(usize, SpecRow)> = Vec::new();
    for s in 0..bounds.lower.rows() {
        for i in 0..bounds.lower.cols() {
            if smooth || (bounds.lower[(s, i)] < T::zero() && bounds.upper[(s, i)] > T::zero()) {
                rows.push((s, SpecRow::lower(i)));
                rows.push((s, SpecRow::upper(i)));
            }
        }
    }
    let found = Backward::new(block, states, Reach::Input(relaxations)).rows(index, &rows);
    for (&(s, row), &lower) in rows.iter().zip(&found) {
        match row {
            SpecRow { plus: Some(i), .. } if lower > bounds.lower[(s, i)] => bounds.lower[(s, i)] = lower,
            SpecRow { minus: Some(i), .. } if -lower < bounds.upper[(s, i)] => bounds.upper[(s, i)] = -lower,
            SpecRow { .. } => {}
        }
    }
    // Two sound bounds of one neuron may cross by rounding; the box must stay non-empty.
    for (l, u) in bounds.lower.as_mut_slice().iter_mut().zip(bounds.upper.as_mut_slice()) {
        if *u < *l {
            std::mem::swap(l, u);
        }
    }
}
