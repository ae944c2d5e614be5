//! Margins while the value of one node moves along a line.
//!
//! ```text
//! p(τ) = p + m + s τ ± e,  |τ| ≤ 1        what a node is moved by: a midpoint, a slope and an error for each element
//! W: (W m, W s, |W| e)                     exact for affine layers, but for rounding
//! ReLU: unmoved where both values are above zero, a chord λ (m + s τ) + μ/2 ± μ/2 where the moved one changes its sign
//! ```
//! Lines hold what is *added* to the unperturbed values, so that an error of these counts only where a nonlinear node needs the value.
//! The error of a chord falls with the square of the length of the line, so halves of halves soon decide.
//!
//! # Guarantee
//! Rigorous: rounding is charged, as in [`crate::network`] for forward passes.

use crate::kernels::definition::pool;
use crate::kernels::lines::{add_lines, moving};
use crate::kernels::{Matrix, Window, convolution};
use crate::network::{Activation, Layer, Network};
use crate::verdict::nan_min;

/// Unit roundoff of f64.
pub(super) const UNIT: f64 = f64::EPSILON / 2.0;
/// Room for the rounding of the bounds themselves.
const OF_BOUNDS: f64 = 1.0 + 1.0 / 64.0;

/// What the elements of a node are moved by on some lines; each part has shape (lines, elements).
#[derive(Clone, Debug, Default)]
pub(super) struct Bundle {
    pub mid: Matrix<f64>,
    pub slope: Matrix<f64>,
    pub error: Matrix<f64>,
}

impl Bundle {
    /// Lines on which nothing moves.
    pub fn reset(&mut self, lines: usize, width: usize) {
        for part in self.parts_mut() {
            part.reshape_scratch(lines, width);
            part.as_mut_slice().fill(0.0);
        }
    }

    /// So many lines, of a bundle in which nothing moves.
    pub fn resize(&mut self, lines: usize) {
        for part in self.parts_mut() {
            part.reshape_scratch(lines, part.cols());
        }
    }

    fn lines(&self) -> usize {
        self.mid.rows()
    }

    /// Midpoints, slopes and errors of a line.
    fn line(&self, line: usize) -> [&[f64]; 3] {
        self.parts().map(|part| part.row(line))
    }

    /// Midpoints, slopes and errors of a line.
    pub fn line_mut(&mut self, line: usize) -> [&mut [f64]; 3] {
        self.parts_mut().map(|part| part.row_mut(line))
    }

    fn parts(&self) -> [&Matrix<f64>; 3] {
        [&self.mid, &self.slope, &self.error]
    }

    fn parts_mut(&mut self) -> [&mut Matrix<f64>; 3] {
        [&mut self.mid, &mut self.slope, &mut self.error]
    }

    fn at(&self, line: usize, k: usize) -> Moved {
        let [mid, slope, error] = self.parts().map(|part| part[(line, k)]);
        Moved { mid, slope, error }
    }

    fn set(&mut self, line: usize, k: usize, moved: Moved) {
        let [mid, slope, error] = self.line_mut(line);
        (mid[k], slope[k], error[k]) = (moved.mid, moved.slope, moved.error);
    }

    /// Sets each element of each line.
    fn set_all(&mut self, f: impl Fn(usize, usize) -> Moved) {
        for line in 0..self.lines() {
            let [mid, slope, error] = self.line_mut(line);
            for (k, ((mid, slope), error)) in mid.iter_mut().zip(slope).zip(error).enumerate() {
                Moved { mid: *mid, slope: *slope, error: *error } = f(line, k);
            }
        }
    }
}

/// One element of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moved {
    mid: f64,
    slope: f64,
    error: f64,
}

impl Moved {
    const NOT: Moved = Moved { mid: 0.0, slope: 0.0, error: 0.0 };

    /// Between these two numbers.
    fn between(low: f64, high: f64) -> Moved {
        let (mid, error) = (0.5 * (low + high), 0.5 * (high - low));
        Moved { mid, slope: 0.0, error: error * OF_BOUNDS + 4.0 * UNIT * (low.abs() + high.abs()) }
    }

    /// Where `p`, known up to `error`, is moved to.
    fn range(self, p: f64, error: f64) -> (f64, f64) {
        let reach = self.slope.abs() + self.error + error;
        let reach = reach + 8.0 * UNIT * (p.abs() + self.mid.abs() + reach);
        (p + self.mid - reach, p + self.mid + reach)
    }
}

/// Values of an unperturbed sample, and how far they may be off, by node: by rounding, or because the input moves.
pub(super) struct CleanPass {
    pub values: Vec<Vec<f64>>,
    pub errors: Vec<Vec<f64>>,
    /// A lower bound of all margins, where these are not to be read off the values of the output.
    pub margin: Option<f64>,
}

/// A network, ready to move lines through it.
pub(super) struct Lines<'n> {
    network: &'n Network,
    /// Transposed weights of dense layers, magnitudes of those of convolutions; by node.
    weights: Vec<Option<Matrix<f64>>>,
    /// The nodes that read a node, directly or not, in order; by node.
    behind: Vec<Vec<usize>>,
}

impl<'n> Lines<'n> {
    pub fn new(network: &'n Network) -> Self {
        let nodes = network.nodes();
        let weights = nodes.iter().map(|node| match &node.layer {
            Layer::Dense(affine) => Some(affine.weight.transposed()),
            Layer::Conv(conv) => Some(conv.affine.weight.map(f64::abs)),
            Layer::Input
            | Layer::Scale(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_)
            | Layer::Reshape => None,
        });
        let behind = |from: usize| {
            let mut reads = vec![false; nodes.len()];
            reads[from] = true;
            for (k, node) in nodes.iter().enumerate().skip(from + 1) {
                reads[k] = node.inputs.iter().any(|&i| reads[i]);
            }
            (from + 1..nodes.len()).filter(|&k| reads[k]).collect()
        };
        Lines { network, weights: weights.collect(), behind: (0..nodes.len()).map(behind).collect() }
    }

    /// Scratch memory: of each node one line on which nothing moves.
    pub fn scratch(&self) -> Vec<Bundle> {
        let mut bundles = vec![Bundle::default(); self.network.nodes().len()];
        let nodes = bundles.iter_mut().zip(self.network.nodes());
        nodes.for_each(|(bundle, node)| bundle.reset(1, node.width()));
        bundles
    }

    /// Bounds of the smallest margin of `target`, below and above, while `node` moves along each line of `bundles[node]`. NaN proves
    /// nothing.
    pub fn margins(
        &self,
        clean: &CleanPass,
        node: usize,
        target: usize,
        bundles: &mut [Bundle],
    ) -> Vec<(f64, f64)> {
        let lines = bundles[node].lines();
        for &k in &self.behind[node] {
            let (before, rest) = bundles.split_at_mut(k);
            rest[0].reset(lines, self.network.nodes()[k].width());
            self.step(clean, node, k, before, &mut rest[0]);
        }
        let last = self.network.output();
        let moves = last == node || self.behind[node].contains(&last);
        let at = |line: usize, k: usize| if moves { bundles[last].at(line, k) } else { Moved::NOT };
        (0..lines).map(|line| margin(clean, last, target, |k| at(line, k))).collect()
    }

    /// What node `k` is moved by, into a bundle in which nothing moves. Nodes that do not read `from` do not move.
    fn step(&self, clean: &CleanPass, from: usize, k: usize, bundles: &[Bundle], out: &mut Bundle) {
        let node = &self.network.nodes()[k];
        let moves = |i: usize| i == from || self.behind[from].binary_search(&i).is_ok();
        let first = node.inputs[0];
        let bundle = &bundles[first];
        let (values, errors) = (&clean.values[first], &clean.errors[first]);
        let (own, own_errors) = (&clean.values[k], &clean.errors[k]);
        match &node.layer {
            Layer::Input => unreachable!("nothing is read by the input"),
            Layer::Dense(affine) => {
                let weight = self.weights[k].as_ref().expect("weights of a dense layer");
                let terms = affine.weight.cols() as f64 + 2.0;
                add_lines(out.parts_mut(), bundle.parts(), weight, gamma(terms));
                widen(out, terms);
            }
            Layer::Conv(conv) => {
                let magnitudes = self.weights[k].as_ref().expect("weights of a convolution");
                let terms = conv.affine.weight.cols() as f64 + 2.0;
                convolve(out, bundle, [&conv.affine.weight, magnitudes], &conv.window, gamma(terms));
                widen(out, terms);
            }
            Layer::Scale(scale) => out.set_all(|line, j| {
                let (s, Moved { mid, slope, error }) = (scale.scale[j], bundle.at(line, j));
                let (mid, slope) = (s * mid, s * slope);
                let error = (s.abs() * error + 4.0 * UNIT * (mid.abs() + slope.abs())) * OF_BOUNDS;
                Moved { mid, slope, error }
            }),
            Layer::Activation(f) => {
                let moving = moving(bundle.parts());
                for line in 0..bundle.lines() {
                    let ([mid, slope, error], [mids, slopes, losses]) =
                        (bundle.line(line), out.line_mut(line));
                    for &j in &moving {
                        let moved = Moved { mid: mid[j], slope: slope[j], error: error[j] };
                        if moved != Moved::NOT {
                            let read = Read { value: values[j], error: errors[j], moved };
                            let moved = activate(*f, read, (own[j], own_errors[j]));
                            (mids[j], slopes[j], losses[j]) = (moved.mid, moved.slope, moved.error);
                        }
                    }
                }
            }
            Layer::DynamicQuantize(q) => {
                for line in 0..bundle.lines() {
                    let range = |j: usize| bundle.at(line, j).range(values[j], errors[j]);
                    let (low, high): (Vec<f64>, Vec<f64>) = (0..values.len()).map(range).unzip();
                    // The step of all elements may change.
                    let (low, high) = q.enclose(&low, &high);
                    for j in 0..low.len() {
                        let (value, error) = (own[j], own_errors[j]);
                        out.set(line, j, Moved::between(low[j] - value - error, high[j] - value + error));
                    }
                }
            }
            Layer::MaxPool(window) => {
                for line in 0..bundle.lines() {
                    let range = |j: usize| bundle.at(line, j).range(values[j], errors[j]);
                    let (low, high): (Vec<f64>, Vec<f64>) = (0..values.len()).map(range).unzip();
                    let largest = |all: &[f64]| {
                        pool(window, all, |_, elements| elements.fold(f64::NEG_INFINITY, f64::max))
                    };
                    let moved = |j: usize| f64::from(u8::from(bundle.at(line, j) != Moved::NOT));
                    let moved: Vec<f64> = (0..values.len()).map(moved).collect();
                    let moved = pool(window, &moved, |_, elements| elements.sum());
                    for (j, (low, high)) in largest(&low).into_iter().zip(largest(&high)).enumerate() {
                        let (value, error) = (own[j], own_errors[j]);
                        let free = Moved::between(low - value - error, high - value + error);
                        out.set(line, j, if moved[j] == 0.0 { Moved::NOT } else { free });
                    }
                }
            }
            Layer::AveragePool(average) => {
                let terms = average.window.taps() as f64 + 2.0;
                let sum = |values: &[f64], magnitude: bool| {
                    pool(&average.window, values, |position, elements| {
                        let factor = average.factor[position];
                        elements.sum::<f64>() * if magnitude { factor.abs() } else { factor }
                    })
                };
                let lost = lost(bundle, gamma(terms));
                for line in 0..bundle.lines() {
                    out.mid.row_mut(line).copy_from_slice(&sum(bundle.mid.row(line), false));
                    out.slope.row_mut(line).copy_from_slice(&sum(bundle.slope.row(line), false));
                    out.error.row_mut(line).copy_from_slice(&sum(lost.row(line), true));
                }
                widen(out, terms);
            }
            Layer::Add => {
                for bundle in node.inputs.iter().filter(|&&i| moves(i)).map(|&i| &bundles[i]) {
                    for line in 0..bundle.lines() {
                        for j in 0..node.width() {
                            let (a, b) = (out.at(line, j), bundle.at(line, j));
                            let (mid, slope) = (a.mid + b.mid, a.slope + b.slope);
                            let sizes = a.mid.abs() + b.mid.abs() + a.slope.abs() + b.slope.abs();
                            let error = (a.error + b.error) * (1.0 + 4.0 * UNIT) + 4.0 * UNIT * sizes;
                            out.set(line, j, Moved { mid, slope, error });
                        }
                    }
                }
            }
            Layer::Multiply => {
                // Where neither factor moves, the product does not.
                let read = |i: usize, line: usize, j: usize| {
                    let moved = if moves(i) { bundles[i].at(line, j) } else { Moved::NOT };
                    (moved, moved.range(clean.values[i][j], clean.errors[i][j]))
                };
                out.set_all(|line, j| {
                    let [(x, of_x), (y, of_y)] = [node.inputs[0], node.inputs[1]].map(|i| read(i, line, j));
                    if x == Moved::NOT && y == Moved::NOT {
                        return Moved::NOT;
                    }
                    let (low, high) = product_of_ranges(of_x, of_y);
                    Moved::between(low - own[j] - own_errors[j], high - own[j] + own_errors[j])
                });
            }
            Layer::Gather(gather) => {
                // The input that each element is of, and its place there.
                let widths = node.inputs.iter().map(|&i| (i, self.network.nodes()[i].width()));
                let all: Vec<(usize, usize)> =
                    widths.flat_map(|(i, width)| (0..width).map(move |j| (i, j))).collect();
                out.set_all(|line, j| match gather.source[j].map(|source| all[source]) {
                    Some((i, j)) if moves(i) => bundles[i].at(line, j),
                    Some(_) | None => Moved::NOT,
                });
            }
            Layer::Reshape => out.clone_from(bundle),
        }
    }
}

/// The range of the product of numbers from two ranges, rounded outward. NaN stays.
fn product_of_ranges((lx, ux): (f64, f64), (ly, uy): (f64, f64)) -> (f64, f64) {
    let corners = [lx * ly, lx * uy, ux * ly, ux * uy];
    let least = |sign: f64| corners.into_iter().map(|v| sign * v).fold(f64::INFINITY, nan_min);
    (least(1.0).next_down(), (-least(-1.0)).next_up())
}

/// Bounds of the smallest margin of `target`, below and above, while the output `last` moves.
fn margin(clean: &CleanPass, last: usize, target: usize, at: impl Fn(usize) -> Moved) -> (f64, f64) {
    let (values, errors) = (&clean.values[last], &clean.errors[last]);
    let (mut lower, mut upper) = (f64::INFINITY, f64::INFINITY);
    let own = at(target);
    for rival in (0..values.len()).filter(|&k| k != target) {
        let other = at(rival);
        if let Some(margin) = clean.margin {
            let reach = (own.slope - other.slope).abs() + (own.error + other.error) * OF_BOUNDS;
            let sizes = margin.abs() + own.mid.abs() + other.mid.abs() + reach;
            lower = nan_min(lower, margin + (own.mid - other.mid) - reach - 8.0 * UNIT * sizes);
            continue;
        }
        let mid = (values[target] - values[rival]) + (own.mid - other.mid);
        let sizes = values[target].abs() + values[rival].abs() + own.mid.abs() + other.mid.abs();
        let slope = (own.slope - other.slope).abs();
        let error = own.error + other.error + errors[target] + errors[rival];
        let reach = slope + error * OF_BOUNDS + 8.0 * UNIT * (sizes + own.slope.abs() + other.slope.abs());
        lower = nan_min(lower, mid - reach);
        upper = nan_min(upper, mid + reach);
    }
    (lower, upper)
}

/// Errors of what a sum reads, and what the sum loses by rounding, `part` of the magnitudes.
fn lost(bundle: &Bundle, part: f64) -> Matrix<f64> {
    let [mid, slope, error] = bundle.parts().map(Matrix::as_slice);
    let lost = mid.iter().zip(slope).zip(error).map(|((m, s), e)| e + part * (m.abs() + s.abs()));
    Matrix::from_vec(bundle.lines(), bundle.mid.cols(), lost.collect())
}

/// A convolution of lines, with the weights and their magnitudes. Of a window without groups only the channels that move on some line are
/// read, where these are few: behind a hit on a kernel it is one.
fn convolve(out: &mut Bundle, from: &Bundle, weights: [&Matrix<f64>; 2], window: &Window, part: f64) {
    let lost = lost(from, part);
    let parts = [&from.mid, &from.slope, &lost];
    let plane = window.plane();
    let moves = |c: &usize| {
        let of_channel = |k: usize| from.parts().map(|part| &part.row(k)[c * plane..(c + 1) * plane]);
        (0..from.lines()).flat_map(of_channel).flatten().any(|v| *v != 0.0)
    };
    let channels: Vec<usize> = (0..window.input[0]).filter(moves).collect();
    let cropped = window.groups == 1 && 2 * channels.len() <= window.input[0];
    if !cropped {
        let weights = weights.map(Matrix::as_slice);
        return convolve_parts(out, parts, weights, window);
    }
    if channels.is_empty() {
        return;
    }
    let window = Window { input: [channels.len(), window.input[1], window.input[2]], ..window.clone() };
    let parts = parts.map(|part| chosen(part, &channels, plane));
    let weights = weights.map(|weight| chosen(weight, &channels, window.taps()));
    convolve_parts(out, parts.each_ref(), weights.each_ref().map(Matrix::as_slice), &window);
}

fn convolve_parts(out: &mut Bundle, parts: [&Matrix<f64>; 3], weights: [&[f64]; 2], window: &Window) {
    let [mid, slope, lost] = parts.map(Matrix::as_slice);
    convolution(out.mid.as_mut_slice(), false, mid, weights[0], window);
    if slope.iter().any(|s| *s != 0.0) {
        convolution(out.slope.as_mut_slice(), false, slope, weights[0], window);
    }
    convolution(out.error.as_mut_slice(), false, lost, weights[1], window);
}

/// Of each row some of its pieces of `size` columns, one after the other.
fn chosen(rows: &Matrix<f64>, pieces: &[usize], size: usize) -> Matrix<f64> {
    let of_row = |k: usize| pieces.iter().flat_map(move |p| &rows.row(k)[p * size..(p + 1) * size]);
    let data = (0..rows.rows()).flat_map(of_row).copied().collect();
    Matrix::from_vec(rows.rows(), pieces.len() * size, data)
}

/// What the errors of sums of `terms` products lose by being sums themselves, and by underflow.
fn widen(bundle: &mut Bundle, terms: f64) {
    let [mid, slope, error] = bundle.parts_mut().map(Matrix::as_mut_slice);
    for (error, (m, s)) in error.iter_mut().zip(mid.iter().zip(slope)) {
        if !(*error == 0.0 && *m == 0.0 && *s == 0.0) {
            *error = *error * OF_BOUNDS + terms * f64::MIN_POSITIVE;
        }
    }
}

/// What an activation reads: its unperturbed input up to an error, and what that is moved by.
#[derive(Clone, Copy)]
struct Read {
    value: f64,
    error: f64,
    moved: Moved,
}

/// What an activation is moved by; `own` is its unperturbed value, and how far it may be off.
fn activate(f: Activation, read: Read, own: (f64, f64)) -> Moved {
    if f == Activation::Relu {
        return rectified(read);
    }
    let (low, high) = read.moved.range(read.value, read.error);
    let (low, high) = f.enclosed_range(low, high);
    Moved::between(low - own.0 - own.1, high - own.0 + own.1)
}

/// `max(p + D, 0) − max(p, 0)` for `p` within `error` of `value` and `D` on the line: of two lines that hold it the one with less error.
fn rectified(read: Read) -> Moved {
    let (by_sign, by_slope) = (by_sign(read), between_nothing_and_all(read.moved));
    if by_slope.error < by_sign.error { by_slope } else { by_sign }
}

/// `λ D` for λ between 0 and 1: the ReLU neither falls nor rises faster than its input.
fn between_nothing_and_all(Moved { mid, slope, error }: Moved) -> Moved {
    let most = mid.abs() + slope.abs() + error;
    Moved { mid: 0.5 * mid, slope: 0.5 * slope, error: 0.5 * (error + most) * (1.0 + 8.0 * UNIT) }
}

/// By the signs of the unperturbed and of the moved input.
fn by_sign(Read { value: p, error, moved }: Read) -> Moved {
    let (low, high) = moved.range(p, error);
    let rounding = 8.0 * UNIT * (p.abs() + moved.mid.abs() + moved.slope.abs() + moved.error + error);
    let (was_on, was_off) = (p >= error, p <= -error);
    // The error where the sign of p is not known: then |p| ≤ error.
    let unsure = if was_on || was_off { 0.0 } else { 2.0 * error };
    if low >= 0.0 {
        if was_on {
            return moved;
        }
        let mid = if was_off { p + moved.mid } else { moved.mid };
        return Moved { mid, error: moved.error + error + unsure + rounding, ..moved };
    }
    if high <= 0.0 {
        return match was_on {
            true => Moved { mid: -p, slope: 0.0, error },
            false => Moved { mid: 0.0, slope: 0.0, error: unsure },
        };
    }
    // λ q ≤ max(q, 0) ≤ λ q + μ for q between low and high, whatever λ between 0 and 1 is.
    let chord = high / (high - low);
    let gap = ((1.0 - chord) * high).max(-chord * low) * (1.0 + 8.0 * UNIT);
    let before = if was_on { p } else { 0.0 };
    Moved {
        mid: chord * (p + moved.mid) + 0.5 * gap - before,
        slope: chord * moved.slope,
        error: chord * (moved.error + error) + 0.5 * gap + if was_on { error } else { unsure } + rounding,
    }
}

/// `γ_n`, rounded up.
fn gamma(n: f64) -> f64 {
    n * UNIT / (1.0 - n * UNIT) * OF_BOUNDS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the definition, on a grid of points, errors and signs.
    #[test]
    fn rectified_lines_hold_what_is_added() {
        let grid = [-1.0, -0.3, -0.01, 0.0, 0.01, 0.4, 1.2];
        for p in grid {
            for mid in grid {
                for slope in [-0.7, 0.0, 0.2] {
                    for error in [0.0, 0.02] {
                        let moved = Moved { mid, slope, error: 0.05 };
                        let line = rectified(Read { value: p, error, moved });
                        for (tau, own, off) in [-1.0, -0.5, 0.0, 0.3, 1.0]
                            .into_iter()
                            .flat_map(|tau| [(tau, -error, -0.05), (tau, error, 0.05), (tau, 0.0, 0.0)])
                        {
                            let (real, d) = (p + own, mid + slope * tau + off);
                            let added = (real + d).max(0.0) - real.max(0.0);
                            let found = (added - line.mid - line.slope * tau).abs();
                            assert!(found <= line.error + 1e-15, "{p} {moved:?} {tau}: {added} {line:?}");
                        }
                    }
                }
            }
        }
    }
}
