//! Bounds against random weights on a tape, theory.md §14: linear bounds over intervals that hold at one quantile `q`.
//!
//! ```text
//! variance of an element     v = σ² (Σ_j ζ_j² + 1)             σ: a fraction of the largest weight of its layer
//! box                        p = W c + b ± (|W| r + q √v)
//! row                        m − q √V,  V = Σ_k v_k ‖Aᵏ‖₂²     A, m as in the linear bounds, noise left out
//! ```
//! The output layer has two rows in every margin, so its `v` counts twice.

use super::{output, output_defect, rivals};
use crate::graph::{Graph, Var, Weights, constants};
use crate::threat::{NoiseThreat, dense};
use weightproof::network::{Activation, Layer};

/// Keeps roots and `u − l` from zero.
const TINY: f64 = 1e-12;

/// What keeps the objective from a network, if anything: a chain of dense layers with relu between them is needed.
pub fn defect(graph: &Graph) -> Option<String> {
    for (index, node) in graph.nodes().iter().enumerate().skip(1) {
        let before = graph.nodes()[..index].iter().any(|node| dense(&node.layer).is_some());
        let fits = match &node.layer {
            Layer::Dense(_) | Layer::Reshape => true,
            Layer::Activation(Activation::Relu) => before,
            Layer::Scale(_) => !before,
            Layer::Input
            | Layer::Activation(_)
            | Layer::Conv(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_) => false,
        };
        let reads = &graph.nodes()[node.inputs[0]].layer;
        let alternates = dense(&node.layer).is_none() || !before || !matches!(reads, Layer::Dense(_));
        if !fits || !alternates || node.inputs != [index - 1] {
            let expected = "a chain of dense layers with relu between them";
            return Some(format!("{}: expected {expected}, found {}", node.name, node.layer.kind()));
        }
    }
    output_defect(graph)
}

/// A layer of the chain before the output.
struct Hidden<'t> {
    weight: Var<'t>,
    bias: Option<Var<'t>>,
    /// Ends of its box, (batch, width).
    ends: [Var<'t>; 2],
    /// Variance of each of its elements, (batch, 1).
    variance: Var<'t>,
}

/// Lower bounds of the margins `f_y − f_j`, (batch, classes), zero at the label: each holds at the quantile of `noise`, given boxes that
/// do. `values` are those of the unperturbed nodes.
///
/// # Panics
/// On networks with a [`defect`].
pub fn margins<'t>(
    graph: &'t Graph,
    weights: &Weights<'t>,
    noise: &NoiseThreat,
    values: &[Var<'t>],
    labels: &'t [u32],
) -> Var<'t> {
    let q = noise.quantile();
    let (last, _) = output(graph);
    let mut layers: Vec<Hidden<'t>> = Vec::new();
    // What the next layer reads: a value, and how far it may be from it.
    let mut first = None;
    for (index, node) in graph.nodes()[..last].iter().enumerate() {
        if dense(&node.layer).is_none() {
            continue;
        }
        let slot = graph.slot(index);
        let (weight, bias) = (weights.weight[slot], weights.bias[slot]);
        let input = layers.last().map(reached);
        let largest = input.map_or(values[node.inputs[0]], |[_, upper]| upper);
        let variance = variance(noise, weight, bias.is_some(), largest);
        let spread = root(variance).scale(q);
        let ends = match input {
            None => {
                first = Some(values[index]);
                [values[index] - spread, values[index] + spread]
            }
            Some([lower, upper]) => {
                let middle = lower.blend(upper, [0.5, 0.5]).linear(weight, None, bias);
                let radius = lower.blend(upper, [-0.5, 0.5]).linear(weight.abs(), None, None) + spread;
                [middle - radius, middle + radius]
            }
        };
        layers.push(Hidden { weight, bias, ends, variance });
    }
    backward(graph, weights, (noise, first, &layers), values, labels)
}

/// The box behind the relu of a layer.
fn reached<'t>(layer: &Hidden<'t>) -> [Var<'t>; 2] {
    layer.ends.map(Var::relu)
}

/// `σ² (Σ ζ² + 1)`, (batch, 1); without the 1 where there are no biases.
fn variance<'t>(noise: &NoiseThreat, weight: Var<'t>, has_bias: bool, z: Var<'t>) -> Var<'t> {
    let sigma = weight.abs().max().scale(noise.sigma);
    let size = z.square().sum_columns().shift(if has_bias { 1.0 } else { 0.0 });
    size * sigma.square()
}

fn root(variance: Var<'_>) -> Var<'_> {
    variance.shift(TINY).sqrt()
}

fn backward<'t>(
    graph: &'t Graph,
    weights: &Weights<'t>,
    (noise, first, layers): (&NoiseThreat, Option<Var<'t>>, &[Hidden<'t>]),
    values: &[Var<'t>],
    labels: &'t [u32],
) -> Var<'t> {
    let (last, before) = output(graph);
    let slot = graph.slot(last);
    let (weight, bias) = (weights.weight[slot], weights.bias[slot]);
    let (tape, [classes, width]) = (weight.tape(), weight.shape());
    let batch = labels.len();
    let column = |of_sample: Var<'t>| of_sample.spread([batch, classes]).reshape([batch * classes, 1]);
    // One block for each label, of one row for each class.
    let blocks = |rows: Var<'t>, cols: usize| {
        rows.reshape([1, classes * classes * cols])
            .block(labels, classes * cols)
            .reshape([batch * classes, cols])
    };
    let mut a = blocks(weight.pairs([1.0, -1.0]), width);
    let row = bias.unwrap_or_else(|| constants(tape, &vec![0.0; classes]));
    let mut offset = blocks(row.reshape([classes, 1]).pairs([1.0, -1.0]), 1);
    let largest = layers.last().map_or(values[before], |layer| reached(layer)[1]);
    let mut total = column(variance(noise, weight, bias.is_some(), largest)).scale(2.0);
    for (k, layer) in layers.iter().enumerate().rev() {
        let [lower, upper] = layer.ends;
        let (l, u) = (lower.clamp(f64::NEG_INFINITY, 0.0), upper.relu());
        let slope = u * (u - l).shift(TINY).recip();
        let zero = tape.full(0.0, lower.shape());
        offset = offset + a.split_sum(zero, -(slope * l));
        a = a.split((lower + upper).step(), slope);
        total = total + a.square().sum_columns() * column(layer.variance);
        match first.filter(|_| k == 0) {
            Some(fixed) => offset = offset + a.split_sum(fixed, fixed),
            None => {
                if let Some(bias) = layer.bias {
                    let rows = bias.spread([batch, bias.shape()[1]]);
                    offset = offset + a.split_sum(rows, rows);
                }
                a = a.linear_transposed(layer.weight, None, None);
            }
        }
    }
    if layers.is_empty() {
        offset = offset + a.split_sum(values[before], values[before]);
    }
    let bounds = offset - root(total).scale(noise.quantile());
    bounds.reshape([batch, classes]) * rivals(tape, labels, classes)
}
