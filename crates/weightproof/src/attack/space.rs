//! The variables of an attack, scaled to the unit box or the unit ball.

use crate::kernels::{Matrix, Scalar};
use crate::network::{Conv, Layer, Network};
use crate::threat::{PerturbationSet, WeightSet};
use rand::{Rng, RngExt};

/// Where a group of variables may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Geometry {
    /// `|u_i| ≤ 1`.
    Box,
    /// `‖u‖₂ ≤ 1` for each of so many parts of equal length.
    Balls(usize),
}

impl Geometry {
    /// Scales the parts of a point of balls that are outside of them, or (`onto`) all, to length one.
    pub fn project<T: Scalar>(self, u: &mut [T], onto: bool) {
        let Geometry::Balls(parts) = self else { return };
        for part in u.chunks_exact_mut(u.len() / parts) {
            if onto || super::kernels::length(part) > T::one() {
                normalize(part);
            }
        }
    }
}

/// A group of variables that move together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Node that the variables act on.
    pub node: usize,
    /// Number of variables.
    pub width: usize,
    /// Where they may lie.
    pub geometry: Geometry,
}

/// The slots of one node, by what they move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeSlots {
    /// The neurons of a dense node in neuron space; they also stand for the biases when the geometry is a box.
    pub neurons: Option<usize>,
    /// The single weights of a dense node in weight space, or of a convolution.
    pub weights: Option<usize>,
    /// The biases, one for each row of the weights, where they have variables of their own.
    pub bias: Option<usize>,
    /// The elements of the input node, or the errors after an activation.
    pub values: Option<usize>,
}

/// All variables of an attack, and which nodes they reach.
#[derive(Clone, Debug, Default)]
pub(super) struct Space {
    /// Groups of variables.
    pub slots: Vec<Slot>,
    /// The slots of each node.
    pub nodes: Vec<NodeSlots>,
    /// Whether the value of a node depends on a variable.
    pub moving: Vec<bool>,
    /// What stands for the parameters of dense nodes.
    pub parameters: Parameters,
}

/// Which variables stand for the parameters of dense layers. Those of a convolution, whose kernel is used at all positions,
/// always have one for each weight and bias: one for each output element would reach what no kernel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Parameters {
    /// None: the parameters stay.
    #[default]
    Fixed,
    /// One for each neuron: by Lemma 1 (theory.md §3) this reaches as much as one for each weight.
    Neurons,
    /// One for each weight and bias.
    Weights,
}

impl Space {
    /// The variables with which `set` moves `network`.
    pub fn new(network: &Network, set: &PerturbationSet, parameters: Parameters) -> Self {
        let mut space = Space { parameters, ..Space::default() };
        for (index, node) in network.nodes().iter().enumerate() {
            let mut of_node = NodeSlots::default();
            let mut add = |width: usize, geometry: Geometry| {
                space.slots.push(Slot { node: index, width, geometry });
                Some(space.slots.len() - 1)
            };
            match &node.layer {
                Layer::Input if set.input_radius > 0.0 => of_node.values = add(node.width(), Geometry::Box),
                Layer::Activation(_) if set.activation_radius > 0.0 => {
                    of_node.values = add(node.width(), Geometry::Box);
                }
                Layer::Dense(affine) | Layer::Conv(Conv { affine, .. })
                    if parameters != Parameters::Fixed =>
                {
                    let layer = set.layer(index).expect("every layer with parameters has a set");
                    // Of neurons: balls of rows let each of them move on its own.
                    let ball = matches!(layer.weight, WeightSet::Ball(_));
                    let geometry = if ball { Geometry::Balls(1) } else { Geometry::Box };
                    let of_weights = match layer.weight {
                        WeightSet::RowBalls(_) => Geometry::Balls(affine.bias.len()),
                        WeightSet::Fixed
                        | WeightSet::Rows(_)
                        | WeightSet::Entries(_)
                        | WeightSet::Ball(_) => geometry,
                    };
                    let single = parameters == Parameters::Weights || matches!(node.layer, Layer::Conv(_));
                    let (weights, bias) = (!layer.weight.is_zero(), layer.bias_moves());
                    if weights && single {
                        of_node.weights = add(affine.weight.as_slice().len(), of_weights);
                    } else if weights || (bias && !single && !ball) {
                        of_node.neurons = add(affine.bias.len(), geometry);
                    }
                    if bias && (single || ball) {
                        of_node.bias = add(affine.bias.len(), Geometry::Box);
                    }
                }
                Layer::Input
                | Layer::Dense(_)
                | Layer::Conv(_)
                | Layer::Scale(_)
                | Layer::Activation(_)
                | Layer::DynamicQuantize(_)
                | Layer::MaxPool(_)
                | Layer::AveragePool(_)
                | Layer::Add
                | Layer::Multiply
                | Layer::Gather(_)
                | Layer::Reshape => {}
            }
            let reached = node.inputs.iter().any(|&i| space.moving[i]);
            space.moving.push(reached || of_node != NodeSlots::default());
            space.nodes.push(of_node);
        }
        space
    }
}

/// Values of all variables for a block of rows: one (rows, width) matrix for each slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Point<T>(pub Vec<Matrix<T>>);

impl<T: Scalar> Point<T> {
    /// The centre of every set.
    pub fn zeros(space: &Space, rows: usize) -> Self {
        Point(space.slots.iter().map(|slot| Matrix::zeros(rows, slot.width)).collect())
    }

    /// Replaces row `row` by a random point: uniform in a box, on the sphere of a ball.
    pub fn randomize(&mut self, space: &Space, row: usize, rng: &mut impl Rng) {
        for (slot, values) in space.slots.iter().zip(&mut self.0) {
            let values = values.row_mut(row);
            values.iter_mut().for_each(|u| *u = T::from_f64(rng.random_range(-1.0..=1.0)));
            slot.geometry.project(values, true);
        }
    }

    /// Moves row `row` towards the centre.
    pub fn shrink(&mut self, row: usize, factor: f64) {
        let factor = T::from_f64(factor);
        self.0.iter_mut().for_each(|values| values.row_mut(row).iter_mut().for_each(|u| *u *= factor));
    }

    /// Draws about a `share` of the variables of row `row` anew; in balls, moves the point by that share.
    pub fn redraw(&mut self, space: &Space, row: usize, share: f64, rng: &mut impl Rng) {
        for (slot, values) in space.slots.iter().zip(&mut self.0) {
            let values = values.row_mut(row);
            match slot.geometry {
                Geometry::Box => values.iter_mut().for_each(|u| {
                    if rng.random_bool(share) {
                        *u = T::from_f64(rng.random_range(-1.0..=1.0));
                    }
                }),
                Geometry::Balls(parts) => {
                    let step = share / ((values.len() / parts) as f64).sqrt();
                    values.iter_mut().for_each(|u| *u += T::from_f64(step * rng.random_range(-1.0..=1.0)));
                    slot.geometry.project(values, true);
                }
            }
        }
    }

    /// Replaces row `row` by row `from` of `other`.
    pub fn copy_row(&mut self, row: usize, other: &Point<T>, from: usize) {
        for (to, other) in self.0.iter_mut().zip(&other.0) {
            to.row_mut(row).copy_from_slice(other.row(from));
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.0.first().map_or(0, Matrix::rows)
    }

    /// Some of the rows.
    pub fn rows_at(&self, rows: &[usize]) -> Self {
        Point(self.0.iter().map(|values| values.rows_at(rows)).collect())
    }

    /// Adds the rows of `other` below.
    pub fn append(&mut self, other: &Point<T>) {
        self.0.iter_mut().zip(&other.0).for_each(|(values, other)| values.append(other));
    }

    /// Drops all rows but `kept`, which is sorted.
    pub fn keep_rows(&mut self, kept: &[usize]) {
        for values in &mut self.0 {
            let width = values.cols();
            for (to, &from) in kept.iter().enumerate() {
                values.as_mut_slice().copy_within(from * width..(from + 1) * width, to * width);
            }
            values.reshape_scratch(kept.len(), width);
        }
    }

    /// Row `row` as a compact list, rounded to f32.
    pub fn compact_row(&self, row: usize) -> Vec<Vec<f32>> {
        self.0
            .iter()
            .map(|values| values.row(row).iter().map(|u| Scalar::to_f64(*u) as f32).collect())
            .collect()
    }
}

/// Scales `u` to length one; zero stays.
pub(super) fn normalize<T: Scalar>(u: &mut [T]) {
    let norm = u.iter().map(|&u| u * u).sum::<T>().sqrt();
    if norm > T::zero() && num_traits::Float::is_finite(norm) {
        u.iter_mut().for_each(|u| *u /= norm);
    }
}
