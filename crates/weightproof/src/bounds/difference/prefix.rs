//! What hits on the first layers of a chain do to the values behind them, one number of hits for each layer.

use super::chain::{Clean, DenseLink};
use super::gate::{Gate, grown};
use super::gradient::Gradients;
use crate::bounds::hits::Damages;
use crate::bounds::noise::inflated;
use crate::bounds::rounding::Arithmetic;
use crate::faults::LayerHits;
use crate::kernels::{Matrix, linear};
use crate::verdict::Guarantee;

/// Factor that rounds a product of a few numbers of one sign up.
pub(super) const UP: f64 = 1.0 + 8.0 * f64::EPSILON;
/// The same down.
pub(super) const DOWN: f64 = 1.0 - 8.0 * f64::EPSILON;

/// How far elements may be moved below and above their values without hits, both ≥ 0.
pub(super) type Moves = [Vec<f64>; 2];

/// A number of hits for each of the first layers, and what they may do so far.
#[derive(Clone)]
pub(super) struct Prefix {
    /// The layers that are hit, in order.
    layers: Vec<HitLayer>,
    /// Hits so far.
    pub used: usize,
    /// How far layers before the last dense one move the elements of the current node.
    from_before: Moves,
    /// How far all do.
    pub moves: Moves,
}

/// A layer with so many hits. All hits on one row are a group: they move one element, and what reads it.
#[derive(Clone)]
struct HitLayer {
    hits: usize,
    rows: usize,
    /// How far groups of 1, 2, … hits on a row move its element down and up, (rows, hits) each.
    ends: [Matrix<f64>; 2],
    /// What one unit of an element of the layer, as the next dense layer reads it, adds to the elements of the current node; `None`
    /// before the next dense layer.
    reach: Option<Reach>,
    /// What a group takes from each row of the specification when it moves its element down (0) or up (1) as far as it can, one
    /// (rows, hits) for each of the specification's.
    damages: Vec<[Matrix<f64>; 2]>,
}

/// Intervals `middle ± radius`, (rows of the hit layer, width) each.
#[derive(Clone)]
struct Reach {
    middle: Matrix<f64>,
    radius: Matrix<f64>,
}

impl Prefix {
    /// No hits: nothing moves.
    pub fn new(width: usize) -> Self {
        let nothing = || [vec![0.0; width], vec![0.0; width]];
        Prefix { layers: Vec::new(), used: 0, from_before: nothing(), moves: nothing() }
    }

    /// Through the weights of a dense layer that reads `input`; hits on it come behind.
    pub fn through_dense(&mut self, dense: &DenseLink<'_>, input: usize, gradients: &Gradients) {
        let weight = &dense.affine.weight;
        let width = weight.rows();
        for layer in &mut self.layers {
            layer.reach = Some(match layer.reach.take() {
                None => {
                    layer.add_first_order(gradients, input);
                    let radius = Matrix::zeros(weight.cols(), width);
                    Reach { middle: weight.transposed(), radius }
                }
                Some(reach) => reach.through_dense(dense),
            });
        }
        let most = |j: usize, end: usize| {
            inflated(self.layers.iter().map(|layer| layer.most(j, end)).sum(), self.layers.len())
        };
        self.from_before = [0, 1].map(|end| (0..width).map(|j| most(j, end)).collect());
        self.moves.clone_from(&self.from_before);
    }

    /// So many hits on the dense layer that was passed last, of which groups of hits on its rows do this.
    pub fn hit(&mut self, hits: usize, groups: &Damages, rows: usize, spec: usize) {
        if hits == 0 {
            return;
        }
        let ends = [&groups.down, &groups.up]
            .map(|largest| Matrix::from_fn(rows, hits, |i, a| largest.sum_of(i, a + 1)));
        for (moves, ends) in self.moves.iter_mut().zip(&ends) {
            for (i, own) in moves.iter_mut().enumerate() {
                *own = (*own + ends[(i, hits - 1)]).next_up();
            }
        }
        let nothing = || Matrix::zeros(rows, hits);
        let damages = (0..spec).map(|_| [nothing(), nothing()]).collect();
        self.layers.push(HitLayer { hits, rows, ends, reach: None, damages });
        self.used += hits;
    }

    /// Through `factor · z + shift`.
    pub fn through_scale(&mut self, factor: &[f64]) {
        let scaled = |moves: &mut Moves| {
            let [down, up] = moves;
            for ((d, u), s) in down.iter_mut().zip(up).zip(factor) {
                (*d, *u) = (*d * s.abs() * UP, *u * s.abs() * UP);
                if *s < 0.0 {
                    std::mem::swap(d, u);
                }
            }
        };
        scaled(&mut self.from_before);
        scaled(&mut self.moves);
        for layer in &mut self.layers {
            match &mut layer.reach {
                None => {
                    let [down, up] = &mut layer.ends;
                    for (i, s) in factor.iter().enumerate() {
                        for (d, u) in down.row_mut(i).iter_mut().zip(up.row_mut(i)) {
                            (*d, *u) = (*d * s.abs() * UP, *u * s.abs() * UP);
                            if *s < 0.0 {
                                std::mem::swap(d, u);
                            }
                        }
                    }
                }
                Some(Reach { middle, radius }) => {
                    for i in 0..layer.rows {
                        let ends = middle.row_mut(i).iter_mut().zip(radius.row_mut(i));
                        for ((m, r), s) in ends.zip(factor) {
                            *m *= s;
                            *r = (*r * s.abs() + 4.0 * f64::EPSILON * m.abs()) * UP + f64::MIN_POSITIVE;
                        }
                    }
                }
            }
        }
    }

    /// Through the ReLU `node`, which reads the pre-activations of node `input`.
    pub fn through_relu(&mut self, clean: &Clean<'_>, gradients: &Gradients, (node, input): (usize, usize)) {
        let (p, errors) = (clean.values[input], &clean.errors[input]);
        let own = self.layers.last().filter(|layer| layer.reach.is_none()).map_or(0, |layer| layer.hits);
        let before = self.used - own;
        let gates: Vec<Gate> = (0..p.len())
            .map(|j| Gate::new(p[j], errors[j], [self.from_before[0][j], self.from_before[1][j]]))
            .collect();
        for layer in &mut self.layers {
            match &mut layer.reach {
                None => {
                    let [down, up] = &mut layer.ends;
                    for (i, gate) in gates.iter().enumerate() {
                        let largest = (gate.largest + self.from_before[1][i]).next_up();
                        for (d, u) in down.row_mut(i).iter_mut().zip(up.row_mut(i)) {
                            (*d, *u) = grown(largest, [*d, *u]);
                        }
                    }
                }
                Some(reach) => {
                    let weights = gradients.of(node);
                    let off = |r: usize| gradients.error(node, r);
                    let excess = Excess { gates: &gates, weights, off: &off, before };
                    excess.add(reach, layer.hits, &layer.ends, &mut layer.damages);
                    reach.through_gates(&gates);
                }
            }
        }
        for (j, gate) in gates.iter().enumerate() {
            for moves in [&mut self.from_before, &mut self.moves] {
                [moves[0][j], moves[1][j]] = grown(gate.largest, [moves[0][j], moves[1][j]]).into();
            }
        }
    }

    /// What the hits take at most from each row of the specification, rounded up, at the end of the chain.
    pub fn damages(mut self, gradients: &Gradients, output: usize) -> Vec<f64> {
        let mut sums = Vec::new();
        for layer in &mut self.layers {
            if layer.reach.is_none() {
                layer.add_first_order(gradients, output);
            }
            sums.resize(layer.damages.len(), 0.0);
            for (sum, [down, up]) in sums.iter_mut().zip(&layer.damages) {
                let worst = |i: usize, a: usize| worse(down[(i, a)], up[(i, a)]);
                *sum += best(layer.rows, layer.hits, worst);
            }
        }
        sums.into_iter().map(|sum| inflated(sum, self.layers.len())).collect()
    }

    /// Middle and radius of what one unit of the first element of the first layer that is hit adds to the first element of the current node.
    #[cfg(test)]
    pub fn reach(&self) -> (f64, f64) {
        let reach = self.layers[0].reach.as_ref().unwrap();
        (reach.middle[(0, 0)], reach.radius[(0, 0)])
    }

    /// Whether everything is a number; what is none proves nothing.
    pub fn is_finite(&self) -> bool {
        let finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
        self.layers.iter().all(|layer| {
            layer.ends.iter().all(|ends| finite(ends.as_slice()))
                && layer
                    .reach
                    .as_ref()
                    .is_none_or(|r| finite(r.middle.as_slice()) && finite(r.radius.as_slice()))
        }) && self.moves.iter().chain(&self.from_before).all(|moves| finite(moves))
    }
}

impl HitLayer {
    /// What groups take to first order: their move times the gradient with respect to the value of `node`, the last one that only
    /// they move.
    fn add_first_order(&mut self, gradients: &Gradients, node: usize) {
        let gradient = gradients.of(node);
        for (r, damages) in self.damages.iter_mut().enumerate() {
            let off = gradients.error(node, r);
            for ((damages, ends), sign) in damages.iter_mut().zip(&self.ends).zip([1.0, -1.0]) {
                for i in 0..self.rows {
                    let slope = sign * gradient[(r, i)];
                    for (damage, end) in damages.row_mut(i).iter_mut().zip(ends.row(i)) {
                        add_up(damage, end * (slope + off));
                    }
                }
            }
        }
    }

    /// How far its hits move element `j` of the current node down (0) or up (1).
    fn most(&self, j: usize, end: usize) -> f64 {
        let Some(reach) = &self.reach else { return 0.0 };
        let [down, up] = &self.ends;
        best(self.rows, self.hits, |i, a| {
            let sides = reach.sides(i, j);
            worse(down[(i, a)] * sides[1 - end], up[(i, a)] * sides[end]) * UP
        })
    }
}

impl Reach {
    /// How far one unit up moves element `j` down and up.
    #[inline(always)]
    fn sides(&self, i: usize, j: usize) -> [f64; 2] {
        let (m, r) = (self.middle[(i, j)], self.radius[(i, j)]);
        [((r - m) * UP).max(0.0), ((r + m) * UP).max(0.0)]
    }

    fn through_dense(&self, dense: &DenseLink<'_>) -> Reach {
        let weight = &dense.affine.weight;
        let (mut middle, mut radius) = (Matrix::default(), Matrix::default());
        linear(&mut middle, &self.middle, weight, None);
        linear(&mut radius, &self.radius, &dense.magnitudes, None);
        let part = Arithmetic::<f64>::new(Guarantee::Rigorous).gamma(weight.cols() + 2);
        for i in 0..middle.rows() {
            let both = self.middle.row(i).iter().zip(self.radius.row(i));
            let largest = both.fold(0.0_f64, |most, (m, r)| most.max(m.abs() + r));
            for (r, norm) in radius.row_mut(i).iter_mut().zip(&dense.row_norms) {
                *r = (*r + part * largest * norm) * UP + f64::MIN_POSITIVE;
            }
        }
        Reach { middle, radius }
    }

    fn through_gates(&mut self, gates: &[Gate]) {
        for i in 0..self.middle.rows() {
            let ends = self.middle.row_mut(i).iter_mut().zip(self.radius.row_mut(i));
            for ((m, r), gate) in ends.zip(gates) {
                let [least, most] = gate.secants;
                if least == most {
                    (*m, *r) = (*m * least, *r * least);
                    continue;
                }
                let (low, high) = (*m - *r, *m + *r);
                let low = low * if low < 0.0 { most } else { least };
                let high = high * if high > 0.0 { most } else { least };
                *m = 0.5 * (low + high);
                *r = 0.5 * (high - low) + 8.0 * f64::EPSILON * (low.abs() + high.abs()) + f64::MIN_POSITIVE;
            }
        }
    }
}

/// What ReLUs behind negative coefficients take when hits change their slope, beyond the first order.
struct Excess<'a> {
    gates: &'a [Gate],
    /// Gradients behind the ReLUs, and how far those of a row may be off.
    weights: &'a Matrix<f64>,
    off: &'a dyn Fn(usize) -> f64,
    /// Hits on layers before.
    before: usize,
}

impl Excess<'_> {
    /// Adds what groups of up to `hits` hits take: a group of `a` of them pays what is beyond its share `a / before` of the slack.
    fn add(&self, reach: &Reach, hits: usize, ends: &[Matrix<f64>; 2], damages: &mut [[Matrix<f64>; 2]]) {
        let before = self.before as f64;
        for i in 0..reach.middle.rows() {
            for (j, gate) in self.gates.iter().enumerate() {
                let sides = reach.sides(i, j);
                for (sign, ends) in ends.iter().enumerate() {
                    let side = if sign == 1 { sides[gate.end] } else { sides[1 - gate.end] };
                    let least = gate.slack / before * DOWN;
                    if ends[(i, hits - 1)] * side * UP <= least {
                        continue;
                    }
                    for a in 0..hits {
                        let beyond = ends[(i, a)] * side * UP - (a + 1) as f64 * least * DOWN;
                        if beyond > 0.0 {
                            self.charge(beyond * UP, (i, a, sign), j, damages);
                        }
                    }
                }
            }
        }
    }

    fn charge(
        &self,
        beyond: f64,
        (i, a, sign): (usize, usize, usize),
        j: usize,
        damages: &mut [[Matrix<f64>; 2]],
    ) {
        for (r, damages) in damages.iter_mut().enumerate() {
            let weight = (self.off)(r) - self.weights[(r, j)];
            if weight > 0.0 {
                add_up(&mut damages[sign][(i, a)], beyond * weight * UP);
            }
        }
    }
}

/// The most that `hits` hits do, where groups of `a + 1` hits on a row `i` do `value(i, a)`, and do nothing where that is negative. NaN
/// counts as infinite.
fn best(rows: usize, hits: usize, value: impl Fn(usize, usize) -> f64) -> f64 {
    let (mut most, mut own) = (vec![0.0_f64; hits + 1], vec![0.0; hits]);
    for i in 0..rows {
        own.iter_mut().enumerate().for_each(|(a, own)| *own = value(i, a));
        if own.iter().all(|own| *own <= 0.0) {
            continue;
        }
        for all in (1..=hits).rev() {
            for (a, own) in own[..all].iter().enumerate() {
                most[all] = worse(most[all], most[all - 1 - a] + own);
            }
        }
    }
    inflated(most[hits], hits)
}

/// The larger of two numbers, infinite where one is NaN.
#[inline(always)]
fn worse(a: f64, b: f64) -> f64 {
    if a >= b {
        a
    } else if b > a {
        b
    } else {
        f64::INFINITY
    }
}

/// `sum + term`, rounded up.
#[inline(always)]
fn add_up(sum: &mut f64, term: f64) {
    let next = *sum + term + 4.0 * f64::EPSILON * term.abs();
    *sum = next + 2.0 * f64::EPSILON * next.abs() + f64::MIN_POSITIVE;
}

/// The largest moves of the rows of a layer that is hit, whose input is what `moves` says around the values without hits.
pub(super) fn groups(
    hits: &LayerHits,
    (values, errors): (&[f64], &[f64]),
    moves: &Moves,
    (rows, most): (usize, usize),
) -> Damages {
    // What is exact and does not move stays a point.
    let end = |k: usize, side: fn(f64, f64) -> f64| -> Vec<f64> {
        let off = errors.iter().zip(&moves[k]).map(|(e, m)| e + m);
        values.iter().zip(off).map(|(&z, off)| if off == 0.0 { z } else { side(z, off.next_up()) }).collect()
    };
    let z = [end(0, |z, off| (z - off).next_down()), end(1, |z, off| (z + off).next_up())];
    let mut found = Damages::new(rows, most);
    (0..rows).for_each(|i| found.add_row(i, hits, i, [&z[0], &z[1]]));
    found
}
