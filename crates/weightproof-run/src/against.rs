//! Compares the values of a network with those that another program computed: where they start to differ.

use crate::RunError;
use std::path::Path;
use weightproof::kernels::Matrix;
use weightproof::model::Model;
use weightproof::network::{Activation, DynamicQuantizer, Layer, Network, Node, Staircase};
use weightproof_formats::data::{NamedArray, read_arrays};
use weightproof_report::{ComparisonReport, Difference, NodeComparison};

/// Values computed in f32 differ by less than this part of the largest of their node.
const TOLERANCE: f64 = 1e-4;
/// Samples whose values are computed together.
const TOGETHER: usize = 64;

/// Compares `network` with the arrays of the NPZ file `path`: `input`, and any nodes' values under their names, each with one entry
/// for each sample. Integers of a quantizer stand for its values.
///
/// # Errors
/// A file that cannot be read, has no input, or arrays of another size.
pub fn compare(network: &Network, path: &Path) -> Result<ComparisonReport, RunError> {
    let arrays = read_arrays(path)?;
    let find = |name: &str| arrays.iter().find(|array| array.name == name);
    let misfit = |name: &str, expected: String, found: String| {
        RunError::misfit(format!("{}: array {name}: expected {expected}, found {found}", path.display()))
    };
    let names = || arrays.iter().map(|array| array.name.as_str()).collect::<Vec<_>>().join(", ");
    let input = find("input").ok_or_else(|| misfit("input", "the inputs of the network".into(), names()))?;
    let samples = input.values.len() / network.input_width();
    if input.values.len() != samples * network.input_width() || samples == 0 {
        return Err(misfit(
            "input",
            format!("{} values for each sample", network.input_width()),
            input.size(),
        ));
    }
    let mut compared: Vec<Compared<'_>> = Vec::new();
    for (index, node) in network.nodes().iter().enumerate().skip(1) {
        let Some(array) = arrays.iter().find(|array| is_value_of(array, node)) else { continue };
        if array.values.len() != samples * node.width() {
            let expected = format!("{samples} samples of shape {:?}", node.shape);
            return Err(misfit(&node.name, expected, array.size()));
        }
        compared.push(Compared::new(index, node, array));
    }
    if compared.is_empty() {
        let expected = "values of a node under its name".to_owned();
        return Err(RunError::misfit(format!("{}: expected {expected}, found {}", path.display(), names())));
    }
    let model = Model::<f64>::new(network);
    let mut same_class = compared.last().is_some_and(|c| c.index == network.output()).then_some(0);
    for (block, inputs) in input.values.chunks(TOGETHER * network.input_width()).enumerate() {
        let values = model.values_in_f64(inputs);
        for c in &mut compared {
            (0..values[c.index].rows()).for_each(|row| c.sample(block * TOGETHER + row, &values, row));
        }
        if let (Some(same), Some(c)) = (&mut same_class, compared.last()) {
            let outputs = &values[c.index];
            let agrees = |row: &usize| {
                let expected = c.expected(block * TOGETHER + row, c.grid(&values, *row));
                largest(outputs.row(*row)) == largest(&expected)
            };
            *same += (0..outputs.rows()).filter(agrees).count();
        }
    }
    let unknown =
        |array: &&NamedArray| array.name != "input" && !network.nodes().iter().any(|n| is_value_of(array, n));
    Ok(ComparisonReport {
        samples,
        same_class,
        tolerance: TOLERANCE,
        unknown: arrays.iter().filter(unknown).map(|array| array.name.clone()).collect(),
        first: compared.iter().find_map(|c| c.first.clone()),
        nodes: compared.into_iter().map(|c| c.report).collect(),
    })
}

/// The quantizer that a node is.
#[derive(Clone, Copy)]
enum Quantizer<'a> {
    /// Its step and zero point are numbers of the file.
    Constant(&'a Staircase),
    /// They follow from what it reads.
    Dynamic(DynamicQuantizer),
}

/// The quantizer that a node is, if it is one.
fn quantizer(node: &Node) -> Option<Quantizer<'_>> {
    if let Layer::Activation(Activation::Quantize(q)) = &node.layer {
        return Some(Quantizer::Constant(q));
    }
    if let Layer::DynamicQuantize(q) = &node.layer { Some(Quantizer::Dynamic(*q)) } else { None }
}

/// What the integers of a quantizer stand for in one sample: a number `step · (q − zero)`.
#[derive(Clone, Copy)]
struct Grid {
    step: f64,
    zero: f64,
}

/// Whether an array has the values of a node. Integers that an operator gives are those of the quantizer behind its sums.
fn is_value_of(array: &NamedArray, node: &Node) -> bool {
    if quantizer(node).is_none() {
        return array.name == node.name && !array.whole;
    }
    let of_operator = node.name.strip_suffix(".quantize") == Some(array.name.as_str());
    array.name == node.name || (of_operator && array.whole)
}

/// The first largest element.
fn largest(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, k| if values[k] > values[best] { k } else { best })
}

/// A node whose values are given.
struct Compared<'a> {
    index: usize,
    node: &'a Node,
    array: &'a NamedArray,
    report: NodeComparison,
    first: Option<Difference>,
}

impl<'a> Compared<'a> {
    fn new(index: usize, node: &'a Node, array: &'a NamedArray) -> Self {
        let report = NodeComparison { node: node.name.clone(), compared: 0, differing: 0, largest: 0.0 };
        Compared { index, node, array, report, first: None }
    }

    /// The grid of the quantizer in row `row` of `values`, those of all nodes.
    fn grid(&self, values: &[Matrix<f64>], row: usize) -> Option<Grid> {
        Some(match quantizer(self.node)? {
            Quantizer::Constant(q) => Grid { step: q.step, zero: f64::from(q.zero) },
            Quantizer::Dynamic(q) => {
                let (step, zero) = q.grid(values[self.node.inputs[0]].row(row));
                Grid { step, zero }
            }
        })
    }

    /// The values of a sample, whose integers are on `grid`.
    fn expected(&self, sample: usize, grid: Option<Grid>) -> Vec<f64> {
        let width = self.node.width();
        let given = &self.array.values[sample * width..(sample + 1) * width];
        match grid.filter(|_| self.array.whole) {
            Some(Grid { step, zero }) => given.iter().map(|v| (v - zero) * step).collect(),
            None => given.to_vec(),
        }
    }

    /// Compares sample `sample`, which is row `row` of `values`.
    fn sample(&mut self, sample: usize, values: &[Matrix<f64>], row: usize) {
        let (grid, found) = (self.grid(values, row), values[self.index].row(row));
        let expected = self.expected(sample, grid);
        let allowed = match grid {
            Some(Grid { step, .. }) => 0.5 * step,
            None => TOLERANCE * expected.iter().fold(1.0_f64, |most, v| most.max(v.abs())),
        };
        for (k, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
            let distance = (found - expected).abs();
            self.report.compared += 1;
            self.report.largest = self.report.largest.max(distance);
            if distance <= allowed {
                continue;
            }
            self.report.differing += 1;
            if self.first.is_none() {
                let (node, element) = (self.node.name.clone(), place(k, &self.node.shape));
                self.first = Some(Difference { node, sample, element, found, expected });
            }
        }
    }
}

/// Where element `k` is in a value of this shape.
fn place(k: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = k;
    let mut place: Vec<usize> = shape.iter().rev().map(|&size| (rest % size, rest /= size).0).collect();
    place.reverse();
    place
}
