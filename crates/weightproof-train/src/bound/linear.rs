//! Linear bounds with interval intermediates on tensors, theory.md §4.3 (the recipe of CROWN-IBP).
//!
//! ```text
//! affine, p = W z, z ≥ 0:   offset += A b − |A| e            A ← A W − |A| E
//! relu, z = ρ(p):           offset += A⁻ b₀                  A ← A⁺ α + A⁻ β       α = [u > −l], β = u/(u−l), b₀ = −β l
//! z fixed:                  offset += min of A p over the box of p = W z + b
//! ```

use super::interval::{Range, Ranges, midpoint_radius};
use super::{output, output_defect, pairs, rivals, row_differences, sums};
use crate::graph::{Graph, Weights, apply_transposed, per_output, window};
use crate::threat::{RadiusKind, Threat};
use burn::tensor::activation::relu;
use burn::tensor::{Int, Tensor};
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
            Layer::Activation(_) | Layer::MaxPool(_) | Layer::AveragePool(_) | Layer::Gather(_) => false,
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
pub fn margins(
    graph: &Graph,
    weights: &Weights,
    threat: &Threat,
    ranges: &Ranges,
    labels: &Tensor<2, Int>,
) -> Tensor<2> {
    let (last, before) = output(graph);
    let batch = labels.dims()[0];
    let mut backward = Backward {
        graph,
        weights,
        threat,
        ranges,
        coefficients: vec![None; last],
        offset: Tensor::zeros([batch, graph.network().output_width()], graph.device()),
    };
    backward.begin(last, before, labels);
    for index in (0..last).rev() {
        if let Some(a) = backward.coefficients[index].take() {
            backward.step(index, &graph.nodes()[index], a);
        }
    }
    backward.offset
}

/// A bound `Σ over nodes of A z + offset` of every margin, while it is carried to the input.
struct Backward<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    threat: &'a Threat,
    ranges: &'a Ranges,
    /// For each node `A`, (batch · classes, width).
    coefficients: Vec<Option<Tensor<2>>>,
    /// (batch, classes).
    offset: Tensor<2>,
}

impl Backward<'_> {
    /// Starts with the rows of the output layer, `W_y − W_j − E_y − E_j` on its input.
    fn begin(&mut self, last: usize, before: usize, labels: &Tensor<2, Int>) {
        let layer = &self.graph.nodes()[last].layer;
        let slot = self.graph.slot(last);
        let radii = self.threat.at(self.graph, last, self.weights);
        let weight = self.weights.weight[slot].clone();
        let [classes, n] = weight.dims();
        let batch = labels.dims()[0];
        let extent = pairs(radii.extent().expand([classes, n]), |y, j| y + j);
        let table = (row_differences(weight) - extent).reshape([classes, classes * n]);
        let rows = table.select(0, labels.clone().squeeze_dim::<1>(1)).reshape([batch, classes, n]);
        let mask = rivals(labels, classes);
        let rows = rows * mask.unsqueeze_dim(2);
        self.offset = -sums(radii.biases(layer).expand([batch, classes]), labels, classes);
        if let Some(bias) = self.weights.bias[slot].clone() {
            self.offset = self.offset.clone() + super::differences(bias.expand([batch, classes]), labels);
        }
        self.add(before, rows.reshape([batch * classes, n]));
    }

    fn add(&mut self, node: usize, a: Tensor<2>) {
        let sum = match self.coefficients[node].take() {
            Some(there) => there + a,
            None => a,
        };
        self.coefficients[node] = Some(sum);
    }

    /// Sums `rows` over their width: (batch · classes, n) to the offset.
    fn charge(&mut self, rows: Tensor<2>) {
        let shape = self.offset.shape();
        self.offset = self.offset.clone() + rows.sum_dim(1).reshape(shape);
    }

    /// `A · z` entry by entry, for `z` (batch, n) of the sample of each row.
    fn by_sample(&self, a: Tensor<2>, z: Tensor<2>) -> Tensor<2> {
        let [batch, classes] = self.offset.dims();
        let [rows, n] = a.dims();
        (a.reshape([batch, classes, n]) * z.unsqueeze_dim(1)).reshape([rows, n])
    }

    fn step(&mut self, index: usize, node: &Node, a: Tensor<2>) {
        let input_fixed = node.inputs.iter().all(|&i| matches!(self.ranges.ranges[i], Range::Fixed(_)));
        match (&node.layer, &self.ranges.ranges[index]) {
            (_, Range::Fixed(z)) => {
                let product = self.by_sample(a, z.clone());
                self.charge(product);
            }
            (Layer::Dense(_) | Layer::Conv(_), Range::Box { lower, upper }) if input_fixed => {
                self.minimum(a, lower, upper)
            }
            (Layer::Input, Range::Box { lower, upper }) => self.minimum(a, lower, upper),
            (layer @ (Layer::Dense(_) | Layer::Conv(_)), _) => self.affine(index, layer, node.inputs[0], a),
            (Layer::Activation(_), _) => self.relu(node.inputs[0], a),
            (Layer::Scale(scale), _) => {
                self.charge(a.clone() * self.graph.row(&scale.shift));
                self.add(node.inputs[0], a * self.graph.row(&scale.scale));
            }
            (Layer::Add | Layer::Reshape, _) => node.inputs.iter().for_each(|&i| self.add(i, a.clone())),
            (Layer::MaxPool(_) | Layer::AveragePool(_) | Layer::Gather(_), _) => {
                unreachable!("refused by `defect`")
            }
        }
    }

    /// The least `A z` over a box.
    fn minimum(&mut self, a: Tensor<2>, lower: &Tensor<2>, upper: &Tensor<2>) {
        let (c, r) = midpoint_radius(lower, upper);
        let rows = self.by_sample(a.clone(), c) - self.by_sample(a.abs(), r);
        self.charge(rows);
    }

    fn affine(&mut self, index: usize, layer: &Layer, input: usize, a: Tensor<2>) {
        let slot = self.graph.slot(index);
        let radii = self.threat.at(self.graph, index, self.weights);
        let magnitude = a.clone().abs();
        let mut biases = magnitude.clone() * radii.biases(layer) * -1.0;
        if let Some(bias) = self.weights.bias[slot].clone() {
            biases = biases + a.clone() * per_output(layer, bias);
        }
        self.charge(biases);
        let weight = self.weights.weight[slot].clone();
        let push = match (self.threat.kind, window(layer)) {
            (RadiusKind::Absolute, None) => magnitude.sum_dim(1) * radii.extent(),
            _ => apply_transposed(window(layer), radii.extent().expand(weight.shape()), magnitude),
        };
        self.add(input, apply_transposed(window(layer), weight, a) - push);
    }

    fn relu(&mut self, input: usize, a: Tensor<2>) {
        let (lower, upper) = self.ranges.ranges[input].ends();
        let (l, u) = (-relu(-lower.clone()), relu(upper.clone()));
        let slope = u.clone() / (u - l.clone() + TINY);
        let adaptive = (lower + upper).greater_scalar(0.0).float();
        let (up, down) = (relu(a.clone()), -relu(-a));
        let intercept = self.by_sample(down.clone(), -(slope.clone() * l));
        self.charge(intercept);
        let passed = self.by_sample(up, adaptive) + self.by_sample(down, slope);
        self.add(input, passed);
    }
}
