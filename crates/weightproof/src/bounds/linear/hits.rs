//! What hits on stored words take from rows of a backward pass (theory.md §10): damages, of which a row pays the largest.

use super::super::Block;
use super::super::hits::largest_product;
use super::super::rounding::{Offsets, Roundings};
use super::propagate::{Backward, Reach, Row, Sharing};
use super::slopes::Tape;
use super::{Intermediate, Linear};
use crate::kernels::{Matrix, Scalar, Window};
use crate::property::{SpecRow, Specification};

impl<T: Scalar> Backward<'_, T> {
    /// Adds the damages of hits on the rows of node `start` that rows of a specification select.
    pub(super) fn add_row_damages(&self, start: usize, rows: &[Row], offset: &mut Offsets<T>) {
        let Some(damages) = self.states.damages(start) else { return };
        let width = self.block.prepared.model.width(start);
        for (r, (s, SpecRow { plus, minus })) in rows.iter().enumerate() {
            let own = plus.map(|i| damages.down.row(s * width + i));
            let other = minus.map(|i| damages.up.row(s * width + i));
            for &damage in own.into_iter().chain(other).flatten() {
                offset.add_damage(r, damage);
            }
        }
    }

    /// Adds the damages of hits on the dense node `node` for rows with the coefficients `a`.
    pub(super) fn add_damages(&self, node: usize, a: &Matrix<T>, rows: &[Row], offset: &mut Offsets<T>) {
        let Some(damages) = self.states.damages(node) else { return };
        let width = a.cols();
        for (r, (s, _)) in rows.iter().enumerate() {
            for (i, &a) in a.row(r).iter().enumerate() {
                let a = Scalar::to_f64(a);
                let of_row = if a > 0.0 { &damages.down } else { &damages.up };
                for &damage in of_row.row(s * width + i) {
                    // What underflowed is charged, too.
                    offset.add_damage(r, a.abs() * (damage + f64::MIN_POSITIVE));
                }
            }
        }
    }

    /// Adds the damages of hits on the convolution `node` for rows with the coefficients `a`: a hit is one for all uses of its weight.
    pub(super) fn add_kernel_damages(
        &self,
        (node, window): (usize, &Window),
        a: &Matrix<T>,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) {
        let Some(hits) = self.block.prepared.hits_of(node) else { return };
        self.kernel_ends((node, window), a, rows, |r, ends| {
            let changes = [0, 1].map(|k| hits.weight[k].as_slice().iter().chain(&hits.bias[k]));
            let [least, most] = changes;
            let [low, high] = ends.each_ref().map(|ends| ends.weights.iter().chain(&ends.biases));
            for (((&least, &most), &l), &u) in least.zip(most).zip(low).zip(high) {
                offset.add_damage(r, largest_product([-most, -least], [l, u]));
            }
        });
    }

    /// Tells, of each row with any coefficients, the ends of what a change of each parameter of the convolution `node` is multiplied
    /// with: `S_w = Σ_positions a z` of a weight, `Σ_positions a` of a bias. What the sums may lose is at most a part of `‖a_o‖₁ max |z|`.
    fn kernel_ends(
        &self,
        (node, window): (usize, &Window),
        a: &Matrix<T>,
        rows: &[Row],
        mut each: impl FnMut(usize, &[KernelEnds; 2]),
    ) {
        let (positions, patch) = (window.positions(), window.patch());
        let part = Scalar::to_f64(self.block.prepared.arithmetic.gamma(Roundings::of_uses(positions, 0)));
        let mut ends: [KernelEnds; 2] = Default::default();
        self.measured_uses((node, window), a, rows, |r, largest, (middle, half)| {
            for end in &mut ends {
                end.weights.clear();
                end.biases.clear();
            }
            for (o, a) in a.row(r).chunks_exact(positions).enumerate() {
                let length: f64 = a.iter().map(|&a| Scalar::to_f64(a).abs()).sum();
                let least = if length == 0.0 { 0.0 } else { f64::MIN_POSITIVE };
                let lost = part * length * largest + least;
                let taps = o * patch..(o + 1) * patch;
                for (&m, &h) in middle[taps.clone()].iter().zip(&half[taps]) {
                    ends[0].weights.push(end(Scalar::to_f64(m), -(Scalar::to_f64(h) + lost)));
                    ends[1].weights.push(end(Scalar::to_f64(m), Scalar::to_f64(h) + lost));
                }
                let sum: f64 = a.iter().map(|&a| Scalar::to_f64(a)).sum();
                let off = (positions as f64 * f64::EPSILON) * length + least;
                ends[0].biases.push(end(sum, -off));
                ends[1].biases.push(end(sum, off));
            }
            each(r, &ends);
        });
    }
}

/// One end of what changes of the parameters of a convolution are multiplied with.
#[derive(Clone, Debug, Default)]
struct KernelEnds {
    /// (channels × patch).
    weights: Vec<f64>,
    /// One for each channel.
    biases: Vec<f64>,
}

/// `middle + reach`, rounded away from the middle.
fn end(middle: f64, reach: f64) -> f64 {
    match reach {
        0.0 => middle,
        reach if reach < 0.0 => (middle + reach).next_down(),
        reach => (middle + reach).next_up(),
    }
}

/// What rows of a specification of one sample say about hits: the constant of each without them, and what each change is multiplied
/// with.
///
/// ```text
/// row r after changes d_w of at most M words w:   c·p ≥ lower_r + Σ_w d_w S_w,   S_w between the ends of [`HitTerms::multiplier`]
/// ```
pub(crate) struct HitTerms {
    /// Lower bounds of the rows without what hits take from them; the boxes behind them hold for all sets of at most M hits.
    pub lower: Vec<f64>,
    /// By node.
    layers: Vec<Option<LayerTerms>>,
}

enum LayerTerms {
    /// Coefficients of the rows, (rows, width), and the box of what the layer reads.
    Dense { a: Matrix<f64>, z: [Vec<f64>; 2] },
    /// By row.
    Conv { cols: usize, ends: Vec<[KernelEnds; 2]> },
}

impl HitTerms {
    /// Of the bounds of a block of one sample.
    pub fn new<T: Scalar>(block: &Block<'_, T>, spec: &Specification) -> Self {
        let (states, relaxed) = Linear { intermediate: Intermediate::Linear }.analysis(block);
        let pass = Backward::new(block, &states, Reach::Input(&relaxed), Sharing::PerUse);
        let model = block.prepared.model;
        let (nodes, output) = (model.steps.len(), model.steps.len() - 1);
        let rows: Vec<Row> = spec.rows.iter().map(|row| (0, *row)).collect();
        let mut tape: Tape<T> = (0..nodes).map(|_| None).collect();
        let offset = pass.pass(output, &rows, None, Some(&mut tape));
        let (lower, _) = offset.with_hits(0).finish();
        let layer = |node: usize| {
            block.prepared.hits_of(node)?;
            // A pass begins behind a dense layer: its rows are those of the specification.
            let first = || Matrix::from_fn(rows.len(), model.width(node), |r, i| rows[r].1.coefficient(i));
            let a = match tape[node].take() {
                Some(a) => a,
                None if node == output => first(),
                None => return None,
            };
            let input = model.input_of(node);
            Some(match &model.affine(node).window {
                None => {
                    let z = [states.lower(input), states.upper(input)];
                    let z = z.map(|z| z.row(0).iter().map(|&z| Scalar::to_f64(z)).collect());
                    LayerTerms::Dense { a: a.map(Scalar::to_f64), z }
                }
                Some(window) => {
                    let weight = &model.affine(node).weight;
                    let nothing = KernelEnds {
                        weights: vec![0.0; weight.as_slice().len()],
                        biases: vec![0.0; weight.rows()],
                    };
                    let mut ends = vec![[nothing.clone(), nothing]; rows.len()];
                    pass.kernel_ends((node, window), &a, &rows, |r, found| ends[r].clone_from(found));
                    LayerTerms::Conv { cols: weight.cols(), ends }
                }
            })
        };
        let layers = (0..nodes).map(layer).collect();
        let void = states.void[0].is_some();
        let lower = lower.into_iter().map(|l| if void { f64::NAN } else { Scalar::to_f64(l) }).collect();
        HitTerms { lower, layers }
    }

    /// The ends of what a change of a parameter of node `node` is multiplied with in row `r`, rounded outward; no column for a bias.
    pub fn multiplier(&self, node: usize, r: usize, (row, column): (usize, Option<usize>)) -> [f64; 2] {
        match &self.layers[node] {
            None => [0.0; 2],
            Some(LayerTerms::Conv { cols, ends }) => ends[r].each_ref().map(|end| match column {
                None => end.biases[row],
                Some(column) => end.weights[row * cols + column],
            }),
            Some(LayerTerms::Dense { a, z }) => {
                let a = a[(r, row)];
                let z = column.map_or([1.0, 1.0], |j| [z[0][j], z[1][j]]);
                let ends = [a * z[0], a * z[1]];
                let off = (ends[0].abs() + ends[1].abs()) * f64::EPSILON + a.abs() * f64::MIN_POSITIVE;
                [ends[0].min(ends[1]) - off, ends[0].max(ends[1]) + off]
            }
        }
    }
}
