//! Single hits on stored words (theory.md §10 and §12b): one word of the network changes, and some of its bits flip.
//!
//! ```text
//! in front of the hit layer nothing moves;   p_e → p_e + d z_e   for the elements e that the word is used for,   d one of its changes
//! ```
//! Hits on one neuron of a dense layer, or on one word of a convolution, are a group: their changes are put in order, and a part of them is
//! proved at once with the elements in the hull of what it does to them. A part that is not proved is halved, down to single hits.

use crate::certificate::{Faults, HitLayer};
use crate::check::{Row, Tell, moved, worst};
use crate::layer::Model;
use crate::network::{Affine, Network, Op, Stored};
use crate::number::{Interval, Number};
use crate::relax::State;
use crate::set::Set;

/// Most changes of one word.
const MOST_CHANGES: usize = 1 << 12;

/// All that may be hit, prepared for all samples.
#[derive(Debug)]
pub struct Hits {
    faults: Faults,
    /// For each layer that is hit the network, of which only what depends on that layer moves.
    models: Vec<Model>,
}

/// Hits that are proved together: elements of the layer with what a change of each is multiplied by, and changes in their order.
struct Group {
    elements: Vec<(usize, Interval)>,
    changes: Vec<Interval>,
}

impl Hits {
    /// The hits that a header names, on a network whose set does not move.
    ///
    /// # Errors
    /// When something else moves, or words have no such bits.
    pub fn new(faults: &Faults, network: &Network, set: &Set) -> Result<Hits, String> {
        if faults.bits == 0 || set.moves() {
            return Err("faults: expected at least one bit, and nothing else that moves".into());
        }
        let model = |hit: &HitLayer| {
            let fits = |bits: &[u32], width: u32| {
                bits.windows(2).all(|pair| pair[0] < pair[1]) && bits.last().is_none_or(|last| *last < width)
            };
            let is_right = match network.nodes.get(hit.node).map(|node| &node.op) {
                Some(Op::Affine(Affine { stored: Some(stored), .. })) => {
                    fits(&hit.weights, stored.bits)
                        && fits(&hit.biases, if stored.bias_steps.is_some() { 32 } else { 0 })
                }
                _ => false,
            };
            if !is_right {
                return Err(format!("faults: node {} stores no integers with these bits", hit.node));
            }
            let mut model = Model::new(network.clone(), Set::of_one_point(network));
            for (index, node) in network.nodes.iter().enumerate() {
                model.moves[index] = node.inputs.iter().any(|&i| i == hit.node || model.moves[i]);
            }
            Ok(model)
        };
        let models = faults.layers.iter().map(model).collect::<Result<_, _>>()?;
        Ok(Hits { faults: faults.clone(), models })
    }

    /// Proves the rows after every single hit, and returns the least bound, which is at most `least`. `clean` has the values without hits.
    ///
    /// # Errors
    /// Names a hit after which a row is not proved.
    pub fn check(
        &self,
        clean: &State,
        rows: &[Row],
        mut least: Number,
        tell: Tell<'_>,
    ) -> Result<Number, String> {
        for (hit, model) in self.faults.layers.iter().zip(&self.models) {
            let (mut hits, mut proofs) = (0, 0);
            self.each_group(hit, model, clean, |group| {
                if group.changes.is_empty() {
                    return Ok(());
                }
                let mut parts = vec![&group.changes[..]];
                hits += group.changes.len();
                while let Some(part) = parts.pop() {
                    proofs += 1;
                    let state = moved(model, hit.node, group.moved(part, &clean.boxes[hit.node]), clean);
                    let (bound, row) = worst(model, &state, rows);
                    if bound.is_positive() {
                        least = least.min(bound);
                    } else if part.len() > 1 {
                        parts.extend(<[_; 2]>::from(part.split_at(part.len() / 2)));
                    } else {
                        let (node, element) = (hit.node, group.elements[0].0);
                        let what = format!("row {row}: expected a bound above 0, recomputed {bound}");
                        return Err(format!("a hit on node {node} that moves element {element}: {what}"));
                    }
                }
                Ok(())
            })?;
            tell(format!("node {}: {hits} hits in {proofs} parts", hit.node));
        }
        Ok(least)
    }

    /// All groups of hits on a layer, one after the other.
    fn each_group(
        &self,
        hit: &HitLayer,
        model: &Model,
        clean: &State,
        mut each: impl FnMut(Group) -> Result<(), String>,
    ) -> Result<(), String> {
        let node = &model.network.nodes[hit.node];
        let Op::Affine(affine) = &node.op else { unreachable!("only layers are hit") };
        let Some(stored @ Stored { bits, signed, .. }) = &affine.stored else {
            unreachable!("only integers are hit")
        };
        let (z, flips) = (&clean.boxes[node.inputs[0]], self.faults.bits);
        let one = Interval::point(Number::ONE);
        for row in 0..affine.rows {
            let of_weight = |column: usize| {
                let place = row * affine.columns() + column;
                let (step, zero) = stored.grid(place, affine.weight.0.len());
                let word = integer(affine.weight.0[place], step)? + zero;
                Ok::<_, String>(
                    changes(word, (*bits, *signed), &hit.weights, flips)?.into_iter().map(move |d| step * d),
                )
            };
            let of_bias = match (&stored.bias_steps, &affine.bias) {
                (Some(steps), Some(bias)) => {
                    let all = changes(integer(bias.0[row], steps.0[row])?, (32, true), &hit.biases, flips)?;
                    all.into_iter().map(|d| Interval::point(steps.0[row] * d)).collect()
                }
                _ => vec![],
            };
            let Some(window) = &affine.window else {
                let mut all = of_bias;
                for column in 0..affine.columns() {
                    all.extend(of_weight(column)?.map(|d| product(Interval::point(d), z[column])));
                }
                each(Group::new(vec![(row, one)], all))?;
                continue;
            };
            let positions = window.positions();
            let group = row / (window.channels / window.groups);
            each(Group::new((0..positions).map(|p| (row * positions + p, one)).collect(), of_bias))?;
            let mut uses = vec![vec![]; affine.columns()];
            for p in 0..positions {
                for (column, j) in window.taps(group, p) {
                    uses[column].push((row * positions + p, z[j]));
                }
            }
            for (column, elements) in uses.into_iter().enumerate().filter(|(_, uses)| !uses.is_empty()) {
                each(Group::new(elements, of_weight(column)?.map(Interval::point).collect()))?;
            }
        }
        Ok(())
    }
}

impl Group {
    fn new(elements: Vec<(usize, Interval)>, mut changes: Vec<Interval>) -> Group {
        changes.sort_by_key(|change| change.low);
        Group { elements, changes }
    }

    /// The box of the layer when each of some changes may happen.
    fn moved(&self, part: &[Interval], clean: &[Interval]) -> Vec<Interval> {
        let ends = |change: &Interval| *change;
        let hull =
            part.iter().map(ends).reduce(|a, b| Interval { low: a.low.min(b.low), high: a.high.max(b.high) });
        let hull = hull.expect("there is a change");
        let mut all = clean.to_vec();
        for &(element, z) in &self.elements {
            let change = product(hull, z);
            let own = &mut all[element];
            *own = Interval::around(own.low + change.low, -own.high - change.high);
        }
        all
    }
}

/// What a product is between.
fn product(a: Interval, b: Interval) -> Interval {
    let corners = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high];
    let (least, most) = (corners.iter().min(), corners.iter().max());
    Interval::around(*least.expect("there are four"), -*most.expect("there are four"))
}

/// The integer that a number is `step` times.
fn integer(number: Number, step: Number) -> Result<i64, String> {
    let quotient = (number.value << 64).div_euclid(step.value);
    let quotient = Number::new(quotient, number.exponent - step.exponent - 64);
    if quotient.magnitude_bits() < 40 {
        let integer = quotient.nearest(0) as i64;
        if step * Number::new(integer, 0) == number {
            return Ok(integer);
        }
    }
    Err(format!("{number} is no multiple of the step {step}"))
}

/// By how much an integer of so many bits changes when 1 to `most` of the bits at the positions flip.
fn changes(
    word: i64,
    (bits, signed): (u32, bool),
    positions: &[u32],
    most: u32,
) -> Result<Vec<Number>, String> {
    let mut all = vec![(0_i64, 0)];
    for &bit in positions {
        // The highest bit of two's complement counts negatively.
        let value = if signed && bit + 1 == bits { -(1_i64 << bit) } else { 1 << bit };
        let change = if word >> bit & 1 == 1 { -value } else { value };
        let more: Vec<_> =
            all.iter().filter(|(_, flips)| *flips < most).map(|(d, flips)| (d + change, flips + 1)).collect();
        all.extend(more);
        if all.len() > MOST_CHANGES {
            return Err(format!("faults: expected at most {MOST_CHANGES} changes of a word"));
        }
    }
    Ok(all[1..].iter().map(|(d, _)| Number::new(*d, 0)).collect())
}
