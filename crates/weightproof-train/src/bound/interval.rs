//! Interval bounds on a tape, theory.md §4.2.
//!
//! ```text
//! z ∈ c ± r, z ≥ 0:   p_lo = W c + b − E c − e − |W − E| r      p_hi = W c + b + E c + e + |W + E| r
//! z ∈ c ± r:          p    = W c + b ± (E (|c| + r) + |W| r + e)                          (looser than the core's)
//! z fixed:            p    = W z + b ± (E |z| + e)
//! ```
//! The first line is the sign split of theory.md in the form of midpoint and radius: three products instead of four.

use super::{differences, output, output_defect, rivals, sums};
use crate::graph::{Graph, Var, Weights, constants, per_output, rearrange, window};
use crate::threat::{LayerRadii, Threat};
use weightproof::network::{Layer, Node};

/// Values that a node can take.
#[derive(Clone, Copy)]
pub enum Range<'t> {
    /// It does not move: (batch, width).
    Fixed(Var<'t>),
    /// It stays in a box: the rows of the lower ends, and below them those of the upper ends, (2 · batch, width).
    Box(Var<'t>),
}

/// The ranges of all nodes but the output.
#[derive(Clone)]
pub struct Ranges<'t> {
    /// One for each node.
    pub ranges: Vec<Range<'t>>,
    /// Which nodes never take negative values.
    pub nonnegative: Vec<bool>,
}

/// What keeps interval objectives from a network, if anything.
pub fn defect(graph: &Graph) -> Option<String> {
    let is_bad = |n: &&Node| {
        matches!(&n.layer, Layer::Activation(f) if !f.is_monotone()) || n.layer == Layer::Multiply
    };
    let bad = graph.nodes().iter().find(is_bad);
    bad.map(|n| format!("{}: expected a monotone activation, found {}", n.name, n.layer.kind()))
        .or_else(|| output_defect(graph))
}

/// The ranges of all nodes before the output. `values` are those of the unperturbed nodes; inputs are in [0, 1] when they move.
pub fn propagate<'t>(
    graph: &'t Graph,
    weights: &Weights<'t>,
    threat: &Threat,
    values: &[Var<'t>],
) -> Ranges<'t> {
    let mut found = Ranges { ranges: Vec::new(), nonnegative: Vec::new() };
    for (index, node) in graph.nodes()[..graph.network().output()].iter().enumerate() {
        let inputs: Vec<Range<'t>> = node.inputs.iter().map(|&i| found.ranges[i]).collect();
        let inputs_nonnegative = node.inputs.iter().all(|&i| found.nonnegative[i]);
        let range = match &node.layer {
            Layer::Input if threat.input_radius > 0.0 => {
                let moved = |by: f64| values[index].shift(by).clamp(0.0, 1.0);
                Range::Box(moved(-threat.input_radius).below(moved(threat.input_radius)))
            }
            Layer::Input => Range::Fixed(values[index]),
            Layer::Dense(_) | Layer::Conv(_) => {
                let radii = threat.at(graph, index, weights);
                Range::Box(match inputs[0] {
                    Range::Fixed(z) => values[index].ends(radii.push(z), None),
                    Range::Box(z) => affine(&radii, z, inputs_nonnegative),
                })
            }
            Layer::Activation(f) => inputs[0].map(|z| z.activation(*f)),
            Layer::DynamicQuantize(_) | Layer::Multiply => unreachable!("refused by `defect`"),
            Layer::Scale(scale) => match inputs[0] {
                Range::Fixed(_) => Range::Fixed(values[index]),
                Range::Box(z) => {
                    let (tape, [c, r]) = (z.tape(), midpoint_radius(z));
                    let magnitude: Vec<f64> = scale.scale.iter().map(|s| s.abs()).collect();
                    let center = c * constants(tape, &scale.scale) + constants(tape, &scale.shift);
                    Range::Box(center.ends(r * constants(tape, &magnitude), None))
                }
            },
            Layer::MaxPool(_) | Layer::AveragePool(_) | Layer::Add | Layer::Gather(_) | Layer::Reshape => {
                monotone(&inputs, |z| rearrange(&node.layer, z))
            }
        };
        let nonnegative = match &node.layer {
            Layer::Input => threat.input_radius > 0.0,
            Layer::Activation(f) => f.range(f64::NEG_INFINITY, f64::INFINITY).0 >= 0.0,
            Layer::Gather(gather) => inputs_nonnegative && gather.constant >= 0.0,
            Layer::MaxPool(_) | Layer::AveragePool(_) | Layer::Add | Layer::Reshape => inputs_nonnegative,
            Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Scale(_)
            | Layer::DynamicQuantize(_)
            | Layer::Multiply => false,
        };
        found.ranges.push(range);
        found.nonnegative.push(nonnegative);
    }
    found
}

impl<'t> Range<'t> {
    fn map(self, f: impl Fn(Var<'t>) -> Var<'t>) -> Range<'t> {
        match self {
            Range::Fixed(z) => Range::Fixed(f(z)),
            Range::Box(z) => Range::Box(f(z)),
        }
    }

    /// Lower and upper ends, each (batch, width).
    pub(crate) fn ends(self) -> [Var<'t>; 2] {
        match self {
            Range::Fixed(z) => [z, z],
            Range::Box(z) => two(z),
        }
    }
}

/// The upper and the lower half of the rows.
fn two(z: Var<'_>) -> [Var<'_>; 2] {
    let batch = z.shape()[0] / 2;
    [z.rows(0, batch), z.rows(batch, batch)]
}

/// Midpoint and radius of a box.
fn midpoint_radius(z: Var<'_>) -> [Var<'_>; 2] {
    two(z.halves())
}

/// A map of rows that is monotone in every input.
fn monotone<'t>(inputs: &[Range<'t>], f: impl Fn(&[Var<'t>]) -> Var<'t>) -> Range<'t> {
    if inputs.iter().all(|range| matches!(range, Range::Fixed(_))) {
        let fixed: Vec<Var<'t>> = inputs.iter().map(|range| range.ends()[0]).collect();
        return Range::Fixed(f(&fixed));
    }
    let boxes = inputs.iter().map(|range| match *range {
        Range::Fixed(z) => z.below(z),
        Range::Box(z) => z,
    });
    Range::Box(f(&boxes.collect::<Vec<_>>()))
}

/// A layer with parameters over a box.
fn affine<'t>(radii: &LayerRadii<'t>, z: Var<'t>, nonnegative: bool) -> Var<'t> {
    let (window, [c, r]) = (window(radii.layer), midpoint_radius(z));
    let bias = radii.row.map(|row| per_output(radii.layer, row));
    let middle = c.linear(radii.matrix, window, bias);
    let push = radii.push(c);
    if nonnegative && radii.weight > 0.0 {
        let further = [-1.0, 1.0].map(|sign| r.linear(radii.shifted(sign).abs(), window, None));
        return middle.ends(push, Some(further));
    }
    middle.ends(r.linear(radii.reach(), window, Some(push)), None)
}

/// Lower bounds of the margins `f_y − f_j`, (batch, classes), zero at the label.
///
/// The rows of the output layer are merged: `(W_y − W_j) z` is bounded over the box of `z` as one row.
pub fn margins<'t>(
    graph: &'t Graph,
    weights: &Weights<'t>,
    threat: &Threat,
    ranges: &Ranges<'t>,
    labels: &'t [u32],
) -> Var<'t> {
    let (node, before) = output(graph);
    let radii = threat.at(graph, node, weights);
    let classes = radii.matrix.shape()[0];
    let (c, r) = match ranges.ranges[before] {
        Range::Fixed(z) => (z, None),
        Range::Box(z) => {
            let [c, r] = midpoint_radius(z);
            (c, Some(r))
        }
    };
    let middle = c.linear(radii.matrix, None, radii.row);
    let unspread = differences(middle, labels) - sums(radii.push(c), labels, classes);
    let Some(r) = r else { return unspread };
    let (rows, extent) = (radii.matrix.pairs([1.0, -1.0]), radii.pair_extents());
    let rows = if ranges.nonnegative[before] { (rows - extent).abs() } else { rows.abs() + extent };
    unspread - r.linear(rows, None, None).block(labels, classes) * rivals(c.tape(), labels, classes)
}
