//! Linear bounds with interval intermediates on a tape, theory.md §4.3 (the recipe of CROWN-IBP).
//!
//! ```text
//! affine, p = W z, z ≥ 0:   offset += A b − |A| e            A ← A W − |A| E
//! relu, z = ρ(p):           offset += A⁻ b₀                  A ← A⁺ α + A⁻ β       α = [u > −l], β = u/(u−l), b₀ = −β l
//! z fixed:                  offset += min of A p over the box of p = W z + b
//! z¹ = ρ(p¹), x fixed:      offset += min of A z¹ over the box of z¹                where p¹ is dense: every point is reached
//! ```

use super::interval::{Range, Ranges};
use super::{output, output_defect};
use crate::graph::{Graph, Var, Weights, constants, per_output, window};
use crate::threat::{RadiusKind, Threat};
use weightproof::network::{Activation, Layer, Node};

/// Keeps `u − l` from zero.
const TINY: f64 = 1e-12;

/// What keeps the linear objective from a network, if anything.
pub fn defect(graph: &Graph) -> Option<String> {
    let mut signless = vec![true; graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate() {
        signless[index] = node.inputs.iter().all(|&i| signless[i]);
        let fits = match &node.layer {
            Layer::Input | Layer::Reshape | Layer::Add | Layer::Scale(_) => true,
            Layer::Dense(_) | Layer::Conv(_) => {
                // Lemma 1 needs z ≥ 0, or an input that does not move.
                let fits = signless[index];
                signless[index] = false;
                fits
            }
            Layer::Activation(Activation::Relu) => {
                signless[index] = true;
                true
            }
            Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Multiply
            | Layer::Gather(_) => false,
        };
        if !fits {
            let expected = "dense layers or convolutions with relu between them, and sums";
            return Some(format!("{}: expected {expected}, found {}", node.name, node.layer.kind()));
        }
    }
    output_defect(graph)
}

/// Lower bounds of the margins `f_y − f_j`, (batch, classes), zero at the label.
///
/// # Panics
/// On networks with a [`defect`].
pub fn margins<'t>(
    graph: &'t Graph,
    weights: &Weights<'t>,
    threat: &Threat,
    ranges: &Ranges<'t>,
    labels: &'t [u32],
) -> Var<'t> {
    let (last, before) = output(graph);
    let radii = threat.at(graph, last, weights);
    let (rows, biases) = radii.rows_of_pairs(labels);
    let mut backward =
        Backward { graph, weights, threat, ranges, coefficients: vec![None; last], offset: biases };
    backward.add(before, rows);
    for index in (0..last).rev() {
        if let Some(a) = backward.coefficients[index].take() {
            backward.step(index, &graph.nodes()[index], a);
        }
    }
    backward.offset.reshape([labels.len(), graph.network().output_width()])
}

/// A bound `Σ over nodes of A z + offset` of every margin, while it is carried to the input.
struct Backward<'a, 't> {
    graph: &'t Graph,
    weights: &'a Weights<'t>,
    threat: &'a Threat,
    ranges: &'a Ranges<'t>,
    /// For each node `A`, (batch · classes, width).
    coefficients: Vec<Option<Var<'t>>>,
    /// (batch · classes, 1).
    offset: Var<'t>,
}

impl<'t> Backward<'_, 't> {
    fn add(&mut self, node: usize, a: Var<'t>) {
        let there = self.coefficients[node];
        self.coefficients[node] = Some(there.map_or(a, |there| there + a));
    }

    /// Adds the least `a · v` over the box from `lower` to `upper`.
    fn charge(&mut self, a: Var<'t>, [lower, upper]: [Var<'t>; 2]) {
        self.offset = self.offset + a.split_sum(lower, upper);
    }

    /// Whether every point of the box of node `index` is reached: of a dense layer whose input does not move, and of what follows element
    /// by element where nothing else reads it.
    fn is_independent(&self, index: usize) -> bool {
        let nodes = self.graph.nodes();
        let input = || nodes[index].inputs[0];
        let is_fixed = |i: usize| matches!(self.ranges.ranges[i], Range::Fixed(_));
        match &nodes[index].layer {
            Layer::Dense(_) => is_fixed(input()),
            Layer::Activation(_) | Layer::Scale(_) | Layer::Reshape => {
                let readers = nodes.iter().filter(|node| node.inputs.contains(&input())).count();
                self.is_independent(input()) && readers == 1
            }
            Layer::Input
            | Layer::Conv(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_) => false,
        }
    }

    fn step(&mut self, index: usize, node: &'t Node, a: Var<'t>) {
        let range = self.ranges.ranges[index];
        let input_fixed = node.inputs.iter().all(|&i| matches!(self.ranges.ranges[i], Range::Fixed(_)));
        match (&node.layer, range) {
            // An input, and what depends on inputs that do not move, is a box of its own.
            (_, Range::Fixed(_)) | (Layer::Input, _) => self.charge(a, range.ends()),
            (Layer::Dense(_) | Layer::Conv(_), _) if input_fixed => self.charge(a, range.ends()),
            _ if self.is_independent(index) => self.charge(a, range.ends()),
            (layer @ (Layer::Dense(_) | Layer::Conv(_)), _) => self.affine(index, layer, node.inputs[0], a),
            (Layer::Activation(_), _) => self.relu(node.inputs[0], a),
            (Layer::Scale(scale), _) => {
                let [factor, shift] = [&scale.scale, &scale.shift].map(|row| constants(a.tape(), row));
                self.charge(a, [shift; 2]);
                self.add(node.inputs[0], a * factor);
            }
            (Layer::Add | Layer::Reshape, _) => node.inputs.iter().for_each(|&i| self.add(i, a)),
            (
                Layer::DynamicQuantize(_)
                | Layer::MaxPool(_)
                | Layer::AveragePool(_)
                | Layer::Multiply
                | Layer::Gather(_),
                _,
            ) => {
                unreachable!("refused by `defect`")
            }
        }
    }

    fn affine(&mut self, index: usize, layer: &'t Layer, input: usize, a: Var<'t>) {
        let radii = self.threat.at(self.graph, index, self.weights);
        if let Some(bias) = radii.row {
            let (bias, push) = (per_output(layer, bias), radii.biases());
            self.charge(a, [bias - push, bias + push]);
        }
        let push = match (self.threat.kind, window(layer)) {
            (RadiusKind::Absolute, None) => radii.weighted_l1(a, -1.0),
            _ => -a.abs().linear_transposed(radii.extents(), window(layer), None),
        };
        self.add(input, a.linear_transposed(radii.matrix, window(layer), Some(push)));
    }

    fn relu(&mut self, input: usize, a: Var<'t>) {
        let [lower, upper] = self.ranges.ranges[input].ends();
        let (l, u) = (lower.clamp(f64::NEG_INFINITY, 0.0), upper.relu());
        let slope = u * (u - l).shift(TINY).recip();
        let adaptive = (lower + upper).step();
        let zero = a.tape().full(0.0, lower.shape());
        self.charge(a, [zero, -(slope * l)]);
        self.add(input, a.split(adaptive, slope));
    }
}
