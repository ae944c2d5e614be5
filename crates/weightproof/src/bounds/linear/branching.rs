//! Where a domain is split.

use super::super::{Arithmetic, Prepared};
use super::domain::{has_chord, has_own_box};
use super::propagate::Backward;
use super::relax::{Relaxed, Slack, chord};
use super::slopes::Ending;
use crate::kernels::Scalar;
use crate::model::Step;
use crate::network::{Activation, Staircase};
use crate::threat::WeightSet;
use crate::verdict::Guarantee;
use std::collections::HashMap;

/// One side of a split says `v ≤ value` of an element, the other one `v ≥ value`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Branch<T> {
    pub node: usize,
    pub element: usize,
    pub value: T,
}

/// How the neuron is chosen. All score what the lines of a neuron lose, times its coefficient `c` in the row with the least
/// bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Branching {
    /// What is lost at the value of the split: of a ReLU `|c| b₀` of its upper line, and nothing of its lower one.
    #[default]
    Intercept,
    /// What is lost at the worst point of the relaxation.
    Violation,
    /// What is lost at the value of the split, and for ReLUs with the lower line half of `c min(u, −l)`.
    Area,
    /// The widest box.
    Width,
}

/// Values nearer than this are what a network with f64 would compute.
const NEAR: f64 = 1e-9;
/// Scores of less than this part of the bound are noise.
const NOISE: f64 = 1e-7;
/// What scores of quantizers of outputs are multiplied by. A cut there only moves the worst case to the next jump: all others come first.
const OF_OUTPUT: f64 = 1e-3;

impl Branching {
    /// The best split of part `d`, whose row with the least bound is row `r` of an ascent's ending; `None` when no split
    /// promises anything.
    pub(super) fn choose<T: Scalar>(
        self,
        pass: &Backward<'_, T>,
        ending: &Ending<T>,
        r: usize,
        d: usize,
    ) -> Option<Branch<T>> {
        let model = pass.block.prepared.model;
        let mut best = (NOISE, None);
        for (index, a) in ending.tape.iter().enumerate() {
            let (Step::Activation(f), Some(a), Some(Relaxed::Activation(relaxation))) =
                (&model.steps[index], a, pass.relaxed(index))
            else {
                continue;
            };
            let node = model.input_of(index);
            if !has_own_box(pass.block.prepared, node) {
                continue;
            }
            let (lines, lower, upper) =
                (relaxation.lines(d), pass.states.lower(node), pass.states.upper(node));
            let Some(point) = ending.points[node].as_ref() else { continue };
            if let Activation::Quantize(q) = f {
                let Some(values) = ending.points[index].as_ref() else { continue };
                for element in 0..a.cols() {
                    let (l, u) = (lower[(d, element)], upper[(d, element)]);
                    let c = a[(r, element)].to_f64();
                    let Some((p, value)) = next_jump(q, (l, u), point[(r, element)], c < 0.0) else {
                        continue;
                    };
                    let (least, most) = q.range(p, p);
                    let real = if c < 0.0 { most } else { least };
                    let score = match self {
                        Branching::Intercept | Branching::Violation | Branching::Area => {
                            c * (real - values[(r, element)].to_f64()) * rank(index, &ending.tape)
                        }
                        Branching::Width => (u - l).to_f64(),
                    };
                    if score > best.0 {
                        best = (score, Some(Branch { node, element, value }));
                    }
                }
                continue;
            }
            for element in 0..a.cols() {
                let (l, u) = (lower[(d, element)], upper[(d, element)]);
                let Some(value) = kink(*f, l, u) else { continue };
                let c = a[(r, element)];
                let line = if c < T::zero() {
                    (lines.upper_slope[element], lines.upper_offset[element])
                } else {
                    (
                        ending.slope(index, r, element).unwrap_or(lines.lower_slope[element]),
                        lines.lower_offset[element],
                    )
                };
                let lost = |v: T| (c * (f.apply_scalar(v) - line.0 * v - line.1)).to_f64();
                let score = match self {
                    Branching::Intercept => lost(value),
                    Branching::Violation => lost(point[(r, element)]),
                    Branching::Area => {
                        let least = if u < -l { u } else { -l };
                        lost(value) + if c > T::zero() { 0.5 * (c * least).to_f64() } else { 0.0 }
                    }
                    Branching::Width => (u - l).to_f64(),
                };
                if score > best.0 {
                    best = (score, Some(Branch { node, element, value }));
                }
            }
        }
        for node in 0..ending.tape.len() {
            // Where the worst case is at ends of the box, chords lose nothing.
            let prepared = pass.block.prepared;
            let has_chord = has_chord(prepared, node) && !prepared.is_independent(node);
            let Some(lines) = pass.absolute_lines(node).filter(|_| has_chord) else { continue };
            let charged = charged(pass, ending, node, r);
            let (lower, upper) = (pass.states.lower(node), pass.states.upper(node));
            for element in 0..charged.len() {
                let is_open = lower[(d, element)] < T::zero() && upper[(d, element)] > T::zero();
                let score = (charged[element] * lines.offset[(d, element)]).to_f64();
                if is_open && score > best.0 {
                    best = (score, Some(Branch { node, element, value: T::zero() }));
                }
            }
        }
        best.1
    }
}

/// `Σ_i |a_i| E_ij` over the dense layers that read `node`: what multiplies `|z_j|` in row `r`.
fn charged<T: Scalar>(pass: &Backward<'_, T>, ending: &Ending<T>, node: usize, r: usize) -> Vec<T> {
    let model = pass.block.prepared.model;
    let mut sum = vec![T::zero(); model.width(node)];
    for (k, step) in model.steps.iter().enumerate() {
        let Step::Affine(layer) = step else { continue };
        if layer.window.is_some() || model.input_of(k) != node {
            continue;
        }
        // The first step from the output leaves no coefficients of it; its row is one output against another.
        let weights: Vec<T> = match ending.tape.get(k).and_then(Option::as_ref) {
            Some(a) => a.row(r).iter().map(|a| a.abs()).collect(),
            None => vec![T::one(); model.width(k)],
        };
        let set = &pass.block.prepared.radii.layer(k).weight;
        for (i, &weight) in weights.iter().enumerate() {
            match set {
                WeightSet::Fixed | WeightSet::Ball(_) | WeightSet::RowBalls(_) => {}
                WeightSet::Rows(e) => sum.iter_mut().for_each(|s| *s += weight * e[i]),
                WeightSet::Entries(e) => sum.iter_mut().zip(e.row(i)).for_each(|(s, &e)| *s += weight * e),
            }
        }
    }
    sum
}

/// What a distance is worth at least: a hull that does not matter at one minimum of a program may at the next.
const LEAST_WORTH: f64 = 1e-4;

/// What the score of a quantizer is multiplied by: node `index` of these `nodes`.
fn rank<N>(index: usize, nodes: &[N]) -> f64 {
    if index + 1 == nodes.len() { OF_OUTPUT } else { 1.0 }
}

/// The split at the element whose value is farthest from what the network makes of the values before, or whose magnitude is
/// farthest from its chord; `None` when all are near. Boxes are lower and upper ends of all nodes. Distances are multiplied by `worth`,
/// by node and element, where it has a number.
pub(super) fn violated<T: Scalar>(
    prepared: &Prepared<'_, T>,
    boxes: &[(Vec<T>, Vec<T>)],
    values: &[Vec<f64>],
    worth: &HashMap<(usize, usize), f64>,
) -> Option<Branch<T>> {
    let mut farthest = (NEAR, None);
    for (index, step) in prepared.model.steps.iter().enumerate() {
        let Step::Activation(f) = step else { continue };
        let node = prepared.model.input_of(index);
        if !has_own_box(prepared, node) || is_led_to(prepared, index) {
            continue;
        }
        let radius = prepared.radii.activation().to_f64();
        for (element, (&p, &z)) in values[node].iter().zip(&values[index]).enumerate() {
            let (l, u) = (boxes[node].0[element], boxes[node].1[element]);
            let (value, range) = if let Activation::Quantize(q) = f {
                let above = z > f.apply(p);
                let Some((p, value)) = next_jump(q, (l, u), T::from_f64(p), above) else { continue };
                (Some(value), q.range(p, p))
            } else {
                (kink(*f, l, u), (f.apply(p), f.apply(p)))
            };
            let distance = (z - range.1).max(range.0 - z) - radius;
            let worth = worth.get(&(index, element));
            let distance = distance * worth.map_or(1.0, |worth| worth.max(LEAST_WORTH) * rank(index, values));
            let Some(value) = value else { continue };
            if distance > farthest.0 {
                farthest = (distance, Some(Branch { node, element, value }));
            }
        }
    }
    for node in (0..values.len()).filter(|&node| has_chord(prepared, node)) {
        for (element, &z) in values[node].iter().enumerate() {
            let (l, u) = (boxes[node].0[element].to_f64(), boxes[node].1[element].to_f64());
            let (slope, offset) = chord(l, u, Slack::new(Arithmetic::new(Guarantee::RealArithmetic)));
            let distance = slope * z + offset - z.abs();
            if l < 0.0 && u > 0.0 && distance > farthest.0 {
                farthest = (distance, Some(Branch { node, element, value: T::zero() }));
            }
        }
    }
    farthest.1
}

/// Whether every point of the box of node `index` is reached by values of what it reads that [`super::Domains::lead_to`] finds.
pub(super) fn is_led_to<T: Scalar>(prepared: &Prepared<'_, T>, index: usize) -> bool {
    matches!(prepared.model.steps[index], Step::Activation(Activation::Relu))
        && prepared.is_independent(index)
}

/// Where the box `[l, u]` of what an activation reads is cut: at a kink inside, or in the middle if the activation is smooth.
fn kink<T: Scalar>(f: Activation, l: T, u: T) -> Option<T> {
    let inside = |v: f64| Some(T::from_f64(v)).filter(|v| l < *v && *v < u);
    match f {
        Activation::Relu | Activation::LeakyRelu { .. } => inside(0.0),
        Activation::Clip { low, high } => inside(low).or_else(|| inside(high)),
        Activation::SoftThreshold { lambda } => inside(-lambda).or_else(|| inside(lambda)),
        Activation::Elu { .. } => inside(0.0).or_else(|| inside(0.5 * (l.to_f64() + u.to_f64()))),
        Activation::HardSwish => {
            inside(-3.0).or_else(|| inside(3.0)).or_else(|| inside(0.5 * (l.to_f64() + u.to_f64())))
        }
        Activation::Sigmoid
        | Activation::Tanh
        | Activation::Softplus
        | Activation::Gelu
        | Activation::GeluTanh
        | Activation::Silu
        | Activation::Mish
        | Activation::Softsign
        | Activation::Atan
        | Activation::Square
        | Activation::Exp
        | Activation::Reciprocal
        | Activation::Power { .. } => inside(0.5 * (l.to_f64() + u.to_f64())),
        Activation::Quantize(_) => None,
    }
}

/// The point of a box `[l, u]` that is nearest to `point`, and where the box is cut so that what comes out there is known on one side: before
/// the next jump of `q` where lines lie too high (`above`), else behind the last one. `None` when no jump is left, or only its place.
fn next_jump<T: Scalar>(q: &Staircase, (l, u): (T, T), point: T, above: bool) -> Option<(f64, T)> {
    let (first, last) = (q.level(l.to_f64()) + 1.0, q.level(u.to_f64()));
    if !(first <= last) {
        return None;
    }
    let p = if point > l { if point < u { point } else { u } } else { l };
    let p = p.to_f64();
    let next = if above { q.level(p) + 1.0 } else { q.level(p) };
    let (before, behind) = q.jump(next.clamp(first, last));
    let inside = |v: f64| Some(T::from_f64(v)).filter(|v| l < *v && *v < u);
    let (first, second) = if p < behind { (before, behind) } else { (behind, before) };
    Some((p, inside(first).or_else(|| inside(second))?))
}
