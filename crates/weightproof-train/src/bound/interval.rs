//! Interval bounds on tensors, theory.md §4.2.
//!
//! ```text
//! z ∈ c ± r, z ≥ 0:   p_lo = W c + b − E c − e − |W − E| r      p_hi = W c + b + E c + e + |W + E| r
//! z ∈ c ± r:          p    = W c + b ± (E (|c| + r) + |W| r + e)                          (looser than the core's)
//! z fixed:            p    = W z + b ± (E |z| + e)
//! ```
//! The first line is the sign split of theory.md in the form of midpoint and radius: three products instead of four.

use super::{differences, of_label, output, output_defect, pairs, rivals, row_differences, sums};
use crate::graph::{Graph, Weights, activate, add_bias, apply, window};
use crate::threat::{LayerRadii, Threat};
use burn::tensor::{Int, Tensor};
use weightproof::network::{Activation, Layer};

/// Values that a node can take, (batch, width).
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each node of a network")]
pub enum Range {
    /// It does not move.
    Fixed(Tensor<2>),
    /// It stays between `lower` and `upper`.
    Box {
        /// Lower ends.
        lower: Tensor<2>,
        /// Upper ends.
        upper: Tensor<2>,
    },
}

/// The ranges of all nodes but the output.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// One for each node.
    pub ranges: Vec<Range>,
    /// Which nodes never take negative values.
    pub nonnegative: Vec<bool>,
}

/// What keeps interval objectives from a network, if anything.
pub fn defect(graph: &Graph) -> Option<String> {
    let monotone = |f: &Activation| !matches!(f, Activation::Gelu | Activation::GeluTanh);
    let bad = graph.nodes().iter().find(|n| matches!(&n.layer, Layer::Activation(f) if !monotone(f)));
    bad.map(|n| format!("{}: expected a monotone activation, found {}", n.name, n.layer.kind()))
        .or_else(|| output_defect(graph))
}

/// The ranges of all nodes before the output for inputs `x`, which are in [0, 1] when they move.
pub fn propagate(graph: &Graph, weights: &Weights, threat: &Threat, x: Tensor<2>) -> Ranges {
    let mut found = Ranges { ranges: Vec::new(), nonnegative: Vec::new() };
    for (index, node) in graph.nodes()[..graph.network().output()].iter().enumerate() {
        let inputs: Vec<&Range> = node.inputs.iter().map(|&i| &found.ranges[i]).collect();
        let inputs_nonnegative = node.inputs.iter().all(|&i| found.nonnegative[i]);
        let range = match &node.layer {
            Layer::Input if threat.input_radius > 0.0 => Range::Box {
                lower: (x.clone() - threat.input_radius).clamp_min(0.0),
                upper: (x.clone() + threat.input_radius).clamp_max(1.0),
            },
            Layer::Input => Range::Fixed(x.clone()),
            Layer::Dense(_) | Layer::Conv(_) => {
                let radii = threat.at(graph, index, weights);
                let slot = graph.slot(index);
                let (weight, bias) = (weights.weight[slot].clone(), weights.bias[slot].clone());
                affine(&node.layer, &radii, (weight, bias), (inputs[0], inputs_nonnegative))
            }
            Layer::Activation(f) => inputs[0].map(|z| activate(*f, z)),
            Layer::Scale(scale) => match inputs[0] {
                Range::Fixed(z) => Range::Fixed(graph.rearrange(&node.layer, std::slice::from_ref(z))),
                Range::Box { lower, upper } => {
                    let part = |keep: fn(&f64) -> f64| {
                        graph.row(&scale.scale.iter().map(keep).collect::<Vec<f64>>())
                    };
                    let (up, down) = (part(|s| s.max(0.0)), part(|s| s.min(0.0)));
                    let shift = graph.row(&scale.shift);
                    Range::Box {
                        lower: lower.clone() * up.clone() + upper.clone() * down.clone() + shift.clone(),
                        upper: upper.clone() * up + lower.clone() * down + shift,
                    }
                }
            },
            Layer::MaxPool(_) | Layer::AveragePool(_) | Layer::Add | Layer::Gather(_) | Layer::Reshape => {
                monotone(&inputs, |z| graph.rearrange(&node.layer, z))
            }
        };
        let nonnegative = match &node.layer {
            Layer::Input => threat.input_radius > 0.0,
            Layer::Activation(f) => f.range(f64::NEG_INFINITY, f64::INFINITY).0 >= 0.0,
            Layer::Gather(gather) => inputs_nonnegative && gather.constant >= 0.0,
            Layer::MaxPool(_) | Layer::AveragePool(_) | Layer::Add | Layer::Reshape => inputs_nonnegative,
            Layer::Dense(_) | Layer::Conv(_) | Layer::Scale(_) => false,
        };
        found.ranges.push(range);
        found.nonnegative.push(nonnegative);
    }
    found
}

impl Range {
    fn map(&self, f: impl Fn(Tensor<2>) -> Tensor<2>) -> Range {
        match self {
            Range::Fixed(z) => Range::Fixed(f(z.clone())),
            Range::Box { lower, upper } => Range::Box { lower: f(lower.clone()), upper: f(upper.clone()) },
        }
    }

    /// Lower and upper ends.
    pub(crate) fn ends(&self) -> (Tensor<2>, Tensor<2>) {
        match self {
            Range::Fixed(z) => (z.clone(), z.clone()),
            Range::Box { lower, upper } => (lower.clone(), upper.clone()),
        }
    }
}

/// Midpoint and radius of a box.
pub(crate) fn midpoint_radius(lower: &Tensor<2>, upper: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    ((lower.clone() + upper.clone()) * 0.5, (upper.clone() - lower.clone()) * 0.5)
}

/// A map that is monotone in every input.
fn monotone(inputs: &[&Range], f: impl Fn(&[Tensor<2>]) -> Tensor<2>) -> Range {
    let (lower, upper): (Vec<_>, Vec<_>) = inputs.iter().map(|range| range.ends()).unzip();
    if inputs.iter().all(|range| matches!(range, Range::Fixed(_))) {
        return Range::Fixed(f(&lower));
    }
    Range::Box { lower: f(&lower), upper: f(&upper) }
}

fn affine(
    layer: &Layer,
    radii: &LayerRadii,
    (weight, bias): (Tensor<2>, Option<Tensor<2>>),
    (input, nonnegative): (&Range, bool),
) -> Range {
    let times = |matrix: Tensor<2>, z: &Tensor<2>| apply(window(layer), matrix, z.clone());
    let (center, push_down, push_up) = match input {
        Range::Fixed(z) => {
            let push = radii.times(layer, z.clone().abs()) + radii.biases(layer);
            (z.clone(), push.clone(), push)
        }
        Range::Box { lower, upper } => {
            let (c, r) = midpoint_radius(lower, upper);
            if nonnegative {
                let push = radii.times(layer, c.clone()) + radii.biases(layer);
                let down = push.clone() + times(radii.shifted(-1.0).abs(), &r);
                (c, down, push + times(radii.shifted(1.0).abs(), &r))
            } else {
                let push = radii.times(layer, c.clone().abs()) + radii.biases(layer);
                let push = push + times(radii.reach(), &r);
                (c, push.clone(), push)
            }
        }
    };
    let middle = add_bias(layer, times(weight, &center), bias);
    Range::Box { lower: middle.clone() - push_down, upper: middle + push_up }
}

/// Lower bounds of the margins `f_y − f_j`, (batch, classes), zero at the label.
///
/// The rows of the output layer are merged: `(W_y − W_j) z` is bounded over the box of `z` as one row.
pub fn margins(
    graph: &Graph,
    weights: &Weights,
    threat: &Threat,
    ranges: &Ranges,
    labels: &Tensor<2, Int>,
) -> Tensor<2> {
    let (node, before) = output(graph);
    let layer = &graph.nodes()[node].layer;
    let slot = graph.slot(node);
    let radii = threat.at(graph, node, weights);
    let weight = weights.weight[slot].clone();
    let classes = weight.dims()[0];
    let (lower, upper) = ranges.ranges[before].ends();
    let (c, r) = midpoint_radius(&lower, &upper);
    let middle = add_bias(layer, apply(None, weight.clone(), c.clone()), weights.bias[slot].clone());
    let push = radii.times(layer, c.abs()) + radii.biases(layer);
    let extent = pairs(radii.extent().expand(weight.shape()), |y, j| y + j);
    let rows = row_differences(weight);
    let rows = if ranges.nonnegative[before] { (rows - extent).abs() } else { rows.abs() + extent };
    let spread = of_label(apply(None, rows, r), labels, classes) * rivals(labels, classes);
    differences(middle, labels) - sums(push, labels, classes) - spread
}
