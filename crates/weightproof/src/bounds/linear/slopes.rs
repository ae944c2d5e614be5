//! Ascent on the free lower slopes of ReLUs (theory.md §4.4).
//!
//! Every slope in `[0, 1]` gives a sound bound, so slopes may be moved by any rule; the best value that was seen is kept. The
//! gradient is the adjoint of the backward pass: the bound is linear in the coefficients of a node, and its derivative is a
//! point, the *worst point*, which the relaxed network carries from the end of the pass towards the start.
//!
//! ```text
//! end        v_j = l_j where a_j > 0, else u_j
//! affine     v_p = W v + b − sign(a) (E |v| + e)
//! ReLU       v_z = α v_p where c > 0, else β v_p + b₀             ∂bound/∂α = c v_p where c > 0
//! ```
//!
//! # Guarantee
//! Never below the bound that it starts from. Where the worst point is only approximate (kernels of convolutions, maxima) the
//! ascent may be slower, the bounds are as sound.
//! # Source
//! theory.md §4.4; Xu et al., *Fast and Complete*, arXiv 2011.13824. Difference: the effect of weight radii is in the gradient.

use super::super::interval::largest_magnitude;
use super::concretize::End;
use super::conv::{is_shared, radius_matrix};
use super::propagate::{Backward, COEFFICIENTS, Row, Sharing};
use super::relax::Relaxed;
use crate::kernels::rows::squares;
use crate::kernels::{Matrix, Scalar, average_pool, linear, max_pool};
use crate::memory::MATRICES;
use crate::model::{Affine, Radius, Step, gathered};
use crate::network::Activation;

/// Size of the first step; slopes lie between 0 and 1.
const FIRST_STEP: f64 = 0.4;
/// What a step keeps of the size of the one before.
const SHRINK: f64 = 0.85;
/// Decay of the mean of gradients and of the mean of their squares (Adam).
const MEAN_DECAY: f64 = 0.8;
const SQUARE_DECAY: f64 = 0.95;

/// Numbers that an ascent keeps for each element and row: coefficients, slope, gradient, its two means, worst point.
const NUMBERS: usize = 6;

/// Lower slopes of the ReLUs on the way of a pass, by node; (rows, width).
pub(super) type Slopes<T> = Vec<Option<Matrix<T>>>;

/// Coefficients that arrived at each node of a pass; (rows, width).
pub(super) type Tape<T> = Vec<Option<Matrix<T>>>;

impl<T: Scalar> Backward<'_, T> {
    /// Raises lower bounds of rows of node `start` by `steps` steps of ascent each; a row rests once it is above `enough`.
    pub fn ascend(&self, start: usize, rows: &[Row], best: &mut [T], steps: usize, enough: T) {
        // As much memory as a plain pass takes for its rows.
        let model = self.block.prepared.model;
        let elements: usize = (0..=start).map(|node| model.width(node)).sum();
        let most = MATRICES * COEFFICIENTS / (NUMBERS * elements).max(1);
        let together = self.rows_together(start).min(most.max(1));
        for (rows, best) in rows.chunks(together).zip(best.chunks_mut(together)) {
            self.ascend_chunk(start, rows, best, steps, enough);
        }
    }

    fn ascend_chunk(&self, start: usize, rows: &[Row], best: &mut [T], steps: usize, enough: T) {
        // Rows at work, by their place in `best`.
        let open = |best: &[T], k: &usize| !(best[*k] > enough);
        let mut at: Vec<usize> = (0..rows.len()).filter(|k| open(best, k)).collect();
        let mut own: Vec<Row> = at.iter().map(|&k| rows[k]).collect();
        let mut ascent = Ascent::new(self.first_slopes(start, &own));
        for step in 0..steps {
            if own.is_empty() {
                return;
            }
            let mut tape: Tape<T> = vec![None; start + 1];
            let found = self.pass(start, &own, Some(&ascent.slopes), Some(&mut tape));
            for (&k, &lower) in at.iter().zip(&found) {
                if lower > best[k] {
                    best[k] = lower;
                }
            }
            if step + 1 == steps {
                return;
            }
            let gradients = self.gradients(&tape, &own, &ascent.slopes);
            ascent.step(gradients, step);
            let keep: Vec<bool> = at.iter().map(|k| open(best, k)).collect();
            if keep.contains(&false) {
                ascent.retain(&keep);
                let mut kept = keep.iter();
                own.retain(|_| *kept.next().expect("one for each row"));
                at.retain(|k| open(best, k));
            }
        }
    }

    /// The slopes that the plain pass uses.
    fn first_slopes(&self, start: usize, rows: &[Row]) -> Slopes<T> {
        let model = self.block.prepared.model;
        let of_node = |node: usize| match (&model.steps[node], self.relaxed(node)) {
            // The lower lines of other activations have offsets that belong to their slopes.
            (Step::Activation(Activation::Relu), Some(Relaxed::Activation(relaxation))) => {
                let mut slopes = Matrix::zeros(rows.len(), model.width(node));
                for (r, (s, _)) in rows.iter().enumerate() {
                    slopes.row_mut(r).copy_from_slice(relaxation.lines(*s).lower_slope);
                }
                Some(slopes)
            }
            _ => None,
        };
        // The start itself is not passed.
        (0..start).map(of_node).chain([None]).collect()
    }

    /// Derivatives of the bounds of all rows by their slopes.
    fn gradients(&self, tape: &Tape<T>, rows: &[Row], slopes: &Slopes<T>) -> Vec<Option<Matrix<T>>> {
        let model = self.block.prepared.model;
        let mut points: Vec<Option<Matrix<T>>> = Vec::with_capacity(tape.len());
        let mut gradients = vec![None; tape.len()];
        for (node, a) in tape.iter().enumerate() {
            let point = a.as_ref().map(|a| {
                if self.ends_at(node, true) {
                    return self.end_point(node, a, rows);
                }
                let input = points[model.input_of(node)].as_ref().expect("coefficients moved to the input");
                if let (Step::Activation(_), Some(_)) = (&model.steps[node], &slopes[node]) {
                    let free =
                        |r: usize, i: usize| self.unstable(node, rows[r].0, i) && a[(r, i)] > T::zero();
                    let by_slope = |r, i| if free(r, i) { a[(r, i)] * input[(r, i)] } else { T::zero() };
                    gradients[node] = Some(Matrix::from_fn(a.rows(), a.cols(), by_slope));
                }
                self.moved_point(node, a, &points, rows, slopes)
            });
            points.push(point);
        }
        gradients
    }

    fn unstable(&self, node: usize, s: usize, i: usize) -> bool {
        let p = self.block.prepared.model.input_of(node);
        self.states.lower(p)[(s, i)] < T::zero() && self.states.upper(p)[(s, i)] > T::zero()
    }

    /// The worst point of the set where a pass ends; of kernels whose input is fixed that of the box around it.
    fn end_point(&self, node: usize, a: &Matrix<T>, rows: &[Row]) -> Matrix<T> {
        if let Some(End::Ball { radius, length, bias }) = End::of_layer(self, node) {
            let value = self.states.value(node);
            return Matrix::from_fn(a.rows(), a.cols(), |r, j| {
                let (s, norm) = (rows[r].0, squares(a.row(r)).sqrt());
                let towards = if norm > T::zero() { a[(r, j)] / norm } else { T::zero() };
                let sign = if a[(r, j)] > T::zero() { T::one() } else { -T::one() };
                value[(s, j)] - radius * length[s] * towards - sign * bias[j]
            });
        }
        let (l, u) = (self.states.lower(node), self.states.upper(node));
        Matrix::from_fn(a.rows(), a.cols(), |r, j| {
            let s = rows[r].0;
            if a[(r, j)] > T::zero() { l[(s, j)] } else { u[(s, j)] }
        })
    }

    /// The worst point of `node` from those of what it reads.
    fn moved_point(
        &self,
        node: usize,
        a: &Matrix<T>,
        points: &[Option<Matrix<T>>],
        rows: &[Row],
        slopes: &Slopes<T>,
    ) -> Matrix<T> {
        let model = self.block.prepared.model;
        let inputs = model.inputs_of(node);
        let point = |k: usize| points[inputs[k]].as_ref().expect("coefficients moved to every input");
        match &model.steps[node] {
            Step::Input => unreachable!("a pass ends at the input"),
            Step::Affine(layer) => self.affine_point(node, layer, a, point(0), rows),
            Step::Scale { scale, shift } => {
                Matrix::from_fn(a.rows(), a.cols(), |r, j| point(0)[(r, j)] * scale[j] + shift[j])
            }
            Step::Activation(_) => {
                let Some(Relaxed::Activation(relaxation)) = self.relaxed(node) else {
                    unreachable!("activations before the start are relaxed")
                };
                let radius = self.block.prepared.radii.activation();
                Matrix::from_fn(a.rows(), a.cols(), |r, j| {
                    let (lines, p) = (relaxation.lines(rows[r].0), point(0)[(r, j)]);
                    if a[(r, j)] > T::zero() {
                        let slope = slopes[node].as_ref().map_or(lines.lower_slope[j], |own| own[(r, j)]);
                        slope * p + lines.lower_offset[j] - radius
                    } else {
                        lines.upper_slope[j] * p + lines.upper_offset[j] + radius
                    }
                })
            }
            Step::MaxPool(window) => max_pool(point(0), window),
            Step::AveragePool { window, factor } => average_pool(point(0), window, factor),
            Step::Add => {
                let mut sum = point(0).clone();
                (1..inputs.len()).for_each(|k| sum.add_assign(point(k)));
                sum
            }
            Step::Gather(gather) => {
                let parts: Vec<&Matrix<T>> = (0..inputs.len()).map(point).collect();
                gathered(&parts, gather, T::from_f64(gather.constant))
            }
            Step::Reshape => point(0).clone(),
        }
    }

    /// `W v + b − sign(a) (E |v| + e)`, with the chord of `|v|`; kernels whose uses move alike only move by their
    /// biases, and balls of kernels do not move.
    fn affine_point(
        &self,
        node: usize,
        layer: &Affine<T>,
        a: &Matrix<T>,
        z: &Matrix<T>,
        rows: &[Row],
    ) -> Matrix<T> {
        let radii = self.block.prepared.radii.layer(node);
        let input = self.block.prepared.model.input_of(node);
        let mut out = Matrix::default();
        layer.apply(&mut out, z);
        let lines = self.absolute_lines(input);
        let magnitude = Matrix::from_fn(z.rows(), z.cols(), |r, j| match lines {
            None => z[(r, j)],
            Some(lines) => lines.slope[(rows[r].0, j)] * z[(r, j)] + lines.offset[(rows[r].0, j)],
        });
        let mut losses = Matrix::zeros(out.rows(), out.cols());
        let window = layer.window.as_ref();
        let is_shared = window.is_some() && self.sharing == Sharing::Shared && is_shared(radii);
        match &radii.weight {
            Radius::Zero | Radius::Frobenius(_) => {}
            Radius::Uniform(_) | Radius::PerRow(_) | Radius::Dense(_) if is_shared => {}
            Radius::Dense(e) => linear(&mut losses, &magnitude, e, window),
            Radius::Uniform(_) | Radius::PerRow(_) => {
                linear(&mut losses, &magnitude, &radius_matrix(&radii.weight, &layer.weight), window);
            }
        }
        let longest = largest_magnitude(self.states.lower(input), self.states.upper(input));
        for r in 0..rows.len() {
            let (norm, length) = (squares(a.row(r)).sqrt(), squares(longest.row(rows[r].0)).sqrt());
            for i in 0..out.cols() {
                let mut loss = losses[(r, i)] + radii.bias[i / layer.positions()];
                if let (Radius::Frobenius(e), None, true) = (&radii.weight, window, norm > T::zero()) {
                    loss += *e * length * a[(r, i)].abs() / norm;
                }
                let sign = if a[(r, i)] > T::zero() { T::one() } else { -T::one() };
                out[(r, i)] -= sign * loss;
            }
        }
        out
    }
}

/// The state of an ascent: Adam on every slope of every row.
struct Ascent<T> {
    slopes: Slopes<T>,
    /// Means of gradients and of their squares.
    means: Vec<Option<(Matrix<T>, Matrix<T>)>>,
}

impl<T: Scalar> Ascent<T> {
    fn new(slopes: Slopes<T>) -> Self {
        let zeros = |m: &Matrix<T>| Matrix::zeros(m.rows(), m.cols());
        let means = slopes.iter().map(|m| m.as_ref().map(|m| (zeros(m), zeros(m)))).collect();
        Ascent { slopes, means }
    }

    /// Moves the slopes along their gradients and back into `[0, 1]`.
    fn step(&mut self, gradients: Vec<Option<Matrix<T>>>, step: usize) {
        let cast = T::from_f64;
        let (keep_mean, keep_square) = (cast(MEAN_DECAY), cast(SQUARE_DECAY));
        let count = step as i32 + 1;
        let seen = |decay: f64| cast(1.0 / (1.0 - decay.powi(count)));
        let (mean_scale, square_scale) = (seen(MEAN_DECAY), seen(SQUARE_DECAY));
        let size = cast(FIRST_STEP * SHRINK.powi(step as i32));
        let of_nodes = self.slopes.iter_mut().zip(&mut self.means).zip(&gradients);
        for ((slopes, means), gradient) in of_nodes {
            let (Some(slopes), Some((mean, square)), Some(gradient)) = (slopes, means, gradient) else {
                continue;
            };
            let moments = mean.as_mut_slice().iter_mut().zip(square.as_mut_slice());
            let all = slopes.as_mut_slice().iter_mut().zip(moments).zip(gradient.as_slice());
            for ((slope, (m, v)), &g) in all {
                *m = keep_mean * *m + (T::one() - keep_mean) * g;
                *v = keep_square * *v + (T::one() - keep_square) * g * g;
                let spread = (*v * square_scale).sqrt();
                if spread > T::zero() {
                    *slope = clamped(*slope + size * *m * mean_scale / spread);
                }
            }
        }
    }

    /// Keeps some of the rows.
    fn retain(&mut self, keep: &[bool]) {
        let kept = |m: &Matrix<T>| {
            let rows = (0..m.rows()).filter(|&r| keep[r]);
            let data: Vec<T> = rows.flat_map(|r| m.row(r).iter().copied()).collect();
            Matrix::from_vec(keep.iter().filter(|k| **k).count(), m.cols(), data)
        };
        self.slopes.iter_mut().flatten().for_each(|m| *m = kept(m));
        self.means.iter_mut().flatten().for_each(|(m, v)| (*m, *v) = (kept(m), kept(v)));
    }
}

/// Into `[0, 1]`; NaN becomes 0, which is as sound as any other slope.
fn clamped<T: Scalar>(slope: T) -> T {
    if slope > T::one() {
        T::one()
    } else if slope > T::zero() {
        slope
    } else {
        T::zero()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reach, Sharing, analysed, tighten};
    use super::*;
    use crate::bounds::{Block, Prepared};
    use crate::kernels::Window;
    use crate::model::{Model, Radii};
    use crate::network::{Network, NetworkBuilder};
    use crate::property::SpecRow;
    use crate::threat::{Kind, ThreatModel};

    /// Of a finite difference of a bound that is linear between its kinks.
    const TOLERANCE: f64 = 1e-6;

    fn wave(k: usize, phase: f64) -> f64 {
        (k as f64 * 1.3 + phase).sin()
    }

    fn convolutional() -> Network {
        let mut builder = NetworkBuilder::new(vec![1, 2, 2]);
        let window = Window { padding: [[1, 1]; 2], ..Window::new([1, 2, 2], 2, [2, 2]) };
        let weight = Matrix::from_fn(2, 4, |i, j| wave(4 * i + j, 0.0));
        let conv = builder.conv("conv0", 0, weight, vec![0.1; 2], window).unwrap();
        let relu = builder.activation("relu0", conv, Activation::Relu).unwrap();
        let weight = Matrix::from_fn(2, 8, |i, j| wave(8 * i + j, 1.0));
        let conv =
            builder.conv("conv1", relu, weight, vec![-0.1; 2], Window::new([2, 3, 3], 2, [2, 2])).unwrap();
        let relu = builder.activation("relu1", conv, Activation::Relu).unwrap();
        let flat = builder.reshape("flat", relu, vec![8]).unwrap();
        builder.dense("dense", flat, Matrix::from_fn(3, 8, |i, j| wave(8 * i + j, 2.0)), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    fn dense() -> Network {
        let mut builder = NetworkBuilder::new(vec![4]);
        let mut last = 0;
        for (layer, width) in [10, 8, 3].into_iter().enumerate() {
            let inputs = builder.shape(last)[0];
            let weight = Matrix::from_fn(width, inputs, |i, j| wave(i * inputs + j, layer as f64));
            let bias = (0..width).map(|i| 0.2 * wave(i, 0.7)).collect();
            last = builder.dense(&format!("dense{layer}"), last, weight, bias).unwrap();
            if layer < 2 {
                last = builder.activation(&format!("relu{layer}"), last, Activation::Relu).unwrap();
            }
        }
        builder.finish().unwrap()
    }

    /// Runs `f` on the passes over one sample and the rows of its two margins, for every structure of boxes.
    fn each_pass(f: impl Fn(&Backward<'_, f64>, usize, &[Row])) {
        let kinds = [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Frobenius];
        let kinds = || kinds.into_iter().zip([0.05, 0.1, 0.05, 0.05]);
        let cases =
            kinds().map(|kind| (dense(), kind)).chain(kinds().take(3).map(|kind| (convolutional(), kind)));
        for (network, (kind, radius)) in cases {
            for input_radius in [0.0, 0.3] {
                let threat = ThreatModel { input_radius, ..ThreatModel::new(kind, radius) };
                let mut set = threat.resolve(&network).unwrap();
                // The first convolution has a fixed input where no pixel moves: its exact set is no box.
                set.layers.iter_mut().for_each(|layer| layer.per_use = true);
                let model = Model::<f64>::new(&network);
                let radii = Radii::new(&set, network.nodes().len());
                let prepared = Prepared::new(&model, &radii);
                let values = model.forward(Matrix::from_fn(1, 4, |_, j| 0.5 + 0.4 * wave(j, 0.4)));
                let block = Block { prepared: &prepared, values: &values };
                let (states, relaxed) = analysed(&block, |states, relaxed, index, state| {
                    tighten(&block, states, relaxed, index, state);
                });
                let pass = Backward::new(&block, &states, Reach::Input(&relaxed), Sharing::PerUse);
                let rows = [(0, SpecRow::difference(0, 1)), (0, SpecRow::difference(2, 0))];
                f(&pass, network.output(), &rows);
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let checked = std::cell::Cell::new(0);
        each_pass(|pass, start, rows| {
            let mut slopes = pass.first_slopes(start, rows);
            // Away from the ends, so that a difference to both sides exists.
            slopes
                .iter_mut()
                .flatten()
                .for_each(|m| m.as_mut_slice().iter_mut().for_each(|a| *a = 0.3 + 0.4 * *a));
            let mut tape: Tape<f64> = vec![None; start + 1];
            pass.pass(start, rows, Some(&slopes), Some(&mut tape));
            let gradients = pass.gradients(&tape, rows, &slopes);
            for node in 0..start {
                let Some(gradient) = &gradients[node] else { continue };
                for r in 0..rows.len() {
                    for i in (0..gradient.cols()).filter(|&i| pass.unstable(node, 0, i)) {
                        let at = |h: f64| {
                            let mut moved = slopes.clone();
                            moved[node].as_mut().unwrap()[(r, i)] += h;
                            pass.pass(start, rows, Some(&moved), None)[r]
                        };
                        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                        let found = gradient[(r, i)];
                        assert!((difference - found).abs() < TOLERANCE, "node {node}: {difference} {found}");
                        checked.set(checked.get() + usize::from(found != 0.0));
                    }
                }
            }
        });
        assert!(checked.get() > 30, "{} slopes matter", checked.get());
    }

    #[test]
    fn ascent_never_loses_and_sometimes_gains() {
        let gained = std::cell::Cell::new(0);
        each_pass(|pass, start, rows| {
            let plain = pass.rows(start, rows);
            let mut best = plain.clone();
            pass.ascend(start, rows, &mut best, 20, f64::INFINITY);
            for (best, plain) in best.iter().zip(&plain) {
                assert!(best >= plain);
                gained.set(gained.get() + usize::from(*best > plain + 1e-3));
            }
        });
        assert!(gained.get() >= 3, "gained {} times", gained.get());
    }

    /// `z = ReLU(p)` with p in [−1, 2]: the adaptive slope says z ≥ −1, slope 0 says z ≥ 0.
    #[test]
    fn one_neuron_by_hand() {
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("p", 0, Matrix::from_vec(1, 1, vec![1.0]), vec![0.0]).unwrap();
        let z = builder.activation("z", p, Activation::Relu).unwrap();
        builder.dense("f", z, Matrix::from_vec(2, 1, vec![1.0, 0.0]), Vec::new()).unwrap();
        let network = builder.finish().unwrap();
        let set = ThreatModel { input_radius: 1.5, ..ThreatModel::new(Kind::Absolute, 0.0) };
        let set = set.resolve(&network).unwrap();
        let model = Model::<f64>::new(&network);
        let radii = Radii::new(&set, network.nodes().len());
        let prepared = Prepared::new(&model, &radii);
        let values = model.forward(Matrix::from_vec(1, 1, vec![0.5]));
        let block = Block { prepared: &prepared, values: &values };
        let (states, relaxed) = analysed(&block, |_, _, _, _| {});
        let pass = Backward::new(&block, &states, Reach::Input(&relaxed), Sharing::PerUse);
        let rows = [(0, SpecRow::difference(0, 1))];
        let mut best = pass.rows(network.output(), &rows);
        assert_eq!(best, [-1.0]);
        pass.ascend(network.output(), &rows, &mut best, 20, f64::INFINITY);
        assert_eq!(best, [0.0]);
    }
}
