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
use crate::kernels::lines::add_lines;
use crate::kernels::{Matrix, convolution};
use crate::network::{Activation, Layer, Network};
use crate::verdict::nan_min;

/// Unit roundoff of f64.
pub(super) const UNIT: f64 = f64::EPSILON / 2.0;
/// Room for the rounding of the bounds themselves.
const OF_BOUNDS: f64 = 1.0 + 1.0 / 64.0;

/// What the elements of a node are moved by.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub mid: Vec<f64>,
    pub slope: Vec<f64>,
    pub error: Vec<f64>,
}

impl Line {
    /// Nothing moves.
    pub fn reset(&mut self, width: usize) {
        for part in [&mut self.mid, &mut self.slope, &mut self.error] {
            part.clear();
            part.resize(width, 0.0);
        }
    }

    fn at(&self, k: usize) -> Moved {
        Moved { mid: self.mid[k], slope: self.slope[k], error: self.error[k] }
    }

    fn set(&mut self, k: usize, moved: Moved) {
        (self.mid[k], self.slope[k], self.error[k]) = (moved.mid, moved.slope, moved.error);
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

    /// Scratch memory, one line for each node.
    pub fn scratch(&self) -> Vec<Line> {
        let mut lines = vec![Line::default(); self.network.nodes().len()];
        lines.iter_mut().zip(self.network.nodes()).for_each(|(line, node)| line.reset(node.width()));
        lines
    }

    /// Bounds of the smallest margin of `target`, below and above, while `node` moves along `lines[node]`. NaN proves nothing.
    pub fn margin(&self, clean: &CleanPass, node: usize, target: usize, lines: &mut [Line]) -> (f64, f64) {
        for &k in &self.behind[node] {
            let (before, rest) = lines.split_at_mut(k);
            self.step(clean, node, k, before, &mut rest[0]);
        }
        let last = self.network.output();
        let (values, errors) = (&clean.values[last], &clean.errors[last]);
        let still = Line::default();
        let line = if last == node || self.behind[node].contains(&last) { &lines[last] } else { &still };
        let at = |k: usize| if line.mid.is_empty() { Moved::NOT } else { line.at(k) };
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
            let reach =
                slope + error * OF_BOUNDS + 8.0 * UNIT * (sizes + own.slope.abs() + other.slope.abs());
            lower = nan_min(lower, mid - reach);
            upper = nan_min(upper, mid + reach);
        }
        (lower, upper)
    }

    /// The line of node `k`. Nodes that do not read `from` do not move.
    fn step(&self, clean: &CleanPass, from: usize, k: usize, lines: &[Line], out: &mut Line) {
        let node = &self.network.nodes()[k];
        let moves = |i: usize| i == from || self.behind[from].binary_search(&i).is_ok();
        let first = node.inputs[0];
        let line = &lines[first];
        match &node.layer {
            Layer::Input => unreachable!("nothing is read by the input"),
            Layer::Dense(affine) => {
                out.reset(node.width());
                let weight = self.weights[k].as_ref().expect("weights of a dense layer");
                let terms = affine.weight.cols() as f64 + 2.0;
                let to = [&mut out.mid[..], &mut out.slope[..], &mut out.error[..]];
                add_lines(to, [&line.mid, &line.slope, &line.error], weight, gamma(terms));
                widen(out, terms);
            }
            Layer::Conv(conv) => {
                out.reset(node.width());
                let (weight, window) = (conv.affine.weight.as_slice(), &conv.window);
                let magnitudes = self.weights[k].as_ref().expect("weights of a convolution");
                let terms = conv.affine.weight.cols() as f64 + 2.0;
                let part = gamma(terms);
                let parts = line.mid.iter().zip(&line.slope).zip(&line.error);
                let lost: Vec<f64> = parts.map(|((m, s), e)| e + part * (m.abs() + s.abs())).collect();
                convolution(&mut out.mid, false, &line.mid, weight, window);
                if line.slope.iter().any(|s| *s != 0.0) {
                    convolution(&mut out.slope, false, &line.slope, weight, window);
                }
                convolution(&mut out.error, false, &lost, magnitudes.as_slice(), window);
                widen(out, terms);
            }
            Layer::Scale(scale) => {
                for (j, s) in scale.scale.iter().enumerate() {
                    let Moved { mid, slope, error } = line.at(j);
                    let (mid, slope) = (s * mid, s * slope);
                    let error = (s.abs() * error + 4.0 * UNIT * (mid.abs() + slope.abs())) * OF_BOUNDS;
                    out.set(j, Moved { mid, slope, error });
                }
            }
            Layer::Activation(f) => {
                let (values, errors) = (&clean.values[first], &clean.errors[first]);
                let (own, own_errors) = (&clean.values[k], &clean.errors[k]);
                for j in 0..values.len() {
                    let moved = line.at(j);
                    let read = Read { value: values[j], error: errors[j], moved };
                    out.set(
                        j,
                        if moved == Moved::NOT { moved } else { activate(*f, read, (own[j], own_errors[j])) },
                    );
                }
            }
            Layer::DynamicQuantize(q) => {
                let (values, errors) = (&clean.values[first], &clean.errors[first]);
                let (low, high): (Vec<f64>, Vec<f64>) =
                    (0..values.len()).map(|j| line.at(j).range(values[j], errors[j])).unzip();
                let (low, high) = q.enclose(&low, &high);
                for j in 0..low.len() {
                    // The step of all elements may change.
                    let (value, error) = (clean.values[k][j], clean.errors[k][j]);
                    out.set(j, Moved::between(low[j] - value - error, high[j] - value + error));
                }
            }
            Layer::MaxPool(window) => {
                let (values, errors) = (&clean.values[first], &clean.errors[first]);
                let ranges: Vec<(f64, f64)> =
                    (0..values.len()).map(|j| line.at(j).range(values[j], errors[j])).collect();
                let ends = |end: fn(&(f64, f64)) -> f64| {
                    let all: Vec<f64> = ranges.iter().map(end).collect();
                    pool(window, &all, |_, elements| elements.fold(f64::NEG_INFINITY, f64::max))
                };
                let moved: Vec<f64> =
                    (0..values.len()).map(|j| f64::from(u8::from(line.at(j) != Moved::NOT))).collect();
                let moved = pool(window, &moved, |_, elements| elements.sum());
                for (j, (low, high)) in ends(|r| r.0).into_iter().zip(ends(|r| r.1)).enumerate() {
                    let (value, error) = (clean.values[k][j], clean.errors[k][j]);
                    let free = Moved::between(low - value - error, high - value + error);
                    out.set(j, if moved[j] == 0.0 { Moved::NOT } else { free });
                }
            }
            Layer::AveragePool(average) => {
                let terms = average.window.taps() as f64 + 2.0;
                let part = gamma(terms);
                let sum = |values: &[f64], magnitude: bool| {
                    pool(&average.window, values, |position, elements| {
                        let factor = average.factor[position];
                        elements.sum::<f64>() * if magnitude { factor.abs() } else { factor }
                    })
                };
                let parts = line.mid.iter().zip(&line.slope).zip(&line.error);
                let lost: Vec<f64> = parts.map(|((m, s), e)| e + part * (m.abs() + s.abs())).collect();
                (out.mid, out.slope) = (sum(&line.mid, false), sum(&line.slope, false));
                out.error = sum(&lost, true);
                widen(out, terms);
            }
            Layer::Add => {
                out.reset(node.width());
                for line in node.inputs.iter().filter(|&&i| moves(i)).map(|&i| &lines[i]) {
                    for j in 0..out.mid.len() {
                        let (a, b) = (out.at(j), line.at(j));
                        let (mid, slope) = (a.mid + b.mid, a.slope + b.slope);
                        let sizes = a.mid.abs() + b.mid.abs() + a.slope.abs() + b.slope.abs();
                        let error = (a.error + b.error) * (1.0 + 4.0 * UNIT) + 4.0 * UNIT * sizes;
                        out.set(j, Moved { mid, slope, error });
                    }
                }
            }
            Layer::Gather(gather) => {
                let mut all = Vec::new();
                for &i in &node.inputs {
                    let width = self.network.nodes()[i].width();
                    all.extend((0..width).map(|j| if moves(i) { lines[i].at(j) } else { Moved::NOT }));
                }
                let picked = gather.source.iter().map(|source| source.map_or(Moved::NOT, |j| all[j]));
                picked.enumerate().for_each(|(j, moved)| out.set(j, moved));
            }
            Layer::Reshape => out.clone_from(line),
        }
    }
}

/// What the errors of sums of `terms` products lose by being sums themselves, and by underflow.
fn widen(line: &mut Line, terms: f64) {
    for (error, (m, s)) in line.error.iter_mut().zip(line.mid.iter().zip(&line.slope)) {
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
