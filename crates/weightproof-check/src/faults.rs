//! Single hits on stored words (theory.md §10 and §12b): one word of the network changes, in some of its bits.
//!
//! ```text
//! in front of the hit layer nothing moves;   p_e → p_e + d z_e   for the elements e that the word is used for,   d one of its changes
//! ```
//! Hits on one neuron of a dense layer, or on one word of a convolution, are a group: their changes are put in order, and a part of them is
//! proved at once with the elements in the hull of what it does to them. A part that is not proved is halved, down to single hits.

use crate::certificate::{Fault, Faults, HitLayer, Place};
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
    /// What may happen to a word.
    pub faults: Faults,
    /// For each layer that is hit the network, of which only what depends on that layer moves.
    models: Vec<Model>,
}

/// Hits that are proved together: elements of the layer with what a change of each is multiplied by, and changes in their order.
struct Group {
    elements: Vec<(usize, Interval)>,
    changes: Vec<Interval>,
}

impl Hits {
    /// Single hits, on a network in which nothing else moves.
    pub fn new(faults: &Faults, network: &Network) -> Hits {
        let model = |hit: &HitLayer| {
            let mut model = Model::new(network.clone(), Set::of_one_point(network));
            for (index, node) in network.nodes.iter().enumerate() {
                model.moves[index] = node.inputs.iter().any(|&i| i == hit.node || model.moves[i]);
            }
            model
        };
        Hits { faults: faults.clone(), models: faults.layers.iter().map(model).collect() }
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
            let words = Words::new(hit, &model.network)?;
            let z = &clean.boxes[model.network.nodes[hit.node].inputs[0]];
            for row in 0..words.affine.rows {
                for group in words.groups(row, &self.faults, z)? {
                    hits += group.changes.len();
                    let mut parts = vec![&group.changes[..]];
                    while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
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
                }
            }
            tell(format!("node {}: {hits} hits in {proofs} parts", hit.node));
        }
        Ok(least)
    }
}

impl Group {
    fn new(elements: Vec<(usize, Interval)>, mut changes: Vec<Interval>) -> Group {
        changes.sort_by_key(|change| change.low);
        Group { elements, changes }
    }

    /// The box of the layer when each of some changes may happen.
    fn moved(&self, part: &[Interval], clean: &[Interval]) -> Vec<Interval> {
        let hull = part.iter().copied().reduce(Interval::hull).expect("there is a change");
        let mut all = clean.to_vec();
        for &(element, z) in &self.elements {
            let (own, change) = (&mut all[element], hull.times(z));
            *own = Interval::around(own.low + change.low, -own.high - change.high);
        }
        all
    }
}

/// The words of a layer that may be hit.
pub struct Words<'n> {
    /// What they stand for.
    pub affine: &'n Affine,
    stored: &'n Stored,
    hit: &'n HitLayer,
}

/// A stored integer, `step · (integer − zero)`.
pub struct Word<'n> {
    integer: i64,
    step: Number,
    zero: i64,
    bits: u32,
    signed: bool,
    /// Positions of bits that may change.
    positions: &'n [u32],
}

/// The words of all layers that a header names.
///
/// # Errors
/// When words have no such bits, nothing may happen, or layers are not in the order of their nodes.
pub fn words<'n>(faults: &'n Faults, network: &'n Network) -> Result<Vec<Words<'n>>, String> {
    if faults.bits == 0 || faults.words == 0 || !faults.layers.is_sorted_by(|a, b| a.node < b.node) {
        return Err("faults: expected at least one bit and one word, and layers in their order".into());
    }
    faults.layers.iter().map(|hit| Words::new(hit, network)).collect()
}

impl<'n> Words<'n> {
    fn new(hit: &'n HitLayer, network: &'n Network) -> Result<Words<'n>, String> {
        let fits = |bits: &[u32], width: u32| {
            bits.is_sorted_by(|a, b| a < b) && bits.last().is_none_or(|last| *last < width)
        };
        match network.nodes.get(hit.node).map(|node| &node.op) {
            Some(Op::Affine(affine @ Affine { stored: Some(stored), .. }))
                if fits(&hit.weights, stored.bits) && fits(&hit.biases, stored.bias_bits()) =>
            {
                Ok(Words { affine, stored, hit })
            }
            _ => Err(format!("faults: node {} stores no integers with these bits", hit.node)),
        }
    }

    /// The number of the layer's node.
    pub fn node(&self) -> usize {
        self.hit.node
    }

    /// Whether biases are words.
    pub fn has_biases(&self) -> bool {
        self.stored.bias_steps.is_some() && self.affine.bias.is_some()
    }

    /// A word.
    ///
    /// # Errors
    /// When there is none, or the parameter is no multiple of its step.
    pub fn at(&self, place: Place) -> Result<Word<'n>, String> {
        let Words { affine, stored, hit } = self;
        let (value, step, zero, bits, signed, positions) = match (place, &affine.bias, &stored.bias_steps) {
            (Place::Weight(k), _, _) if k < affine.weight.0.len() => {
                let (step, zero) = stored.grid(k, affine.weight.0.len());
                (affine.weight.0[k], step, zero, stored.bits, stored.signed, &hit.weights)
            }
            (Place::Bias(i), Some(bias), Some(steps)) if i < affine.rows => {
                (bias.0[i], steps.0[i], 0, stored.bias_bits(), true, &hit.biases)
            }
            _ => return Err(format!("faults: node {} has no word {place:?}", hit.node)),
        };
        Ok(Word { integer: value.in_steps(step)? + zero, step, zero, bits, signed, positions })
    }

    /// All groups of hits on the words of a row, when the layer reads what is in `z`.
    fn groups(&self, row: usize, faults: &Faults, z: &[Interval]) -> Result<Vec<Group>, String> {
        let (affine, one) = (self.affine, Interval::point(Number::ONE));
        let of_weight =
            |column: usize| self.at(Place::Weight(row * affine.columns() + column))?.changes(faults);
        let of_bias = if self.has_biases() { self.at(Place::Bias(row))?.changes(faults)? } else { vec![] };
        let Some(window) = &affine.window else {
            let mut all = of_bias;
            for column in 0..affine.columns() {
                all.extend(of_weight(column)?.into_iter().map(|change| change.times(z[column])));
            }
            return Ok(vec![Group::new(vec![(row, one)], all)]);
        };
        let positions = window.positions();
        let group = row / (window.channels / window.groups);
        let mut uses = vec![vec![]; affine.columns()];
        for p in 0..positions {
            for (column, j) in window.taps(group, p) {
                uses[column].push((row * positions + p, z[j]));
            }
        }
        let mut all = vec![Group::new((0..positions).map(|p| (row * positions + p, one)).collect(), of_bias)];
        for (column, elements) in uses.into_iter().enumerate().filter(|(_, uses)| !uses.is_empty()) {
            all.push(Group::new(elements, of_weight(column)?));
        }
        Ok(all)
    }
}

impl Word<'_> {
    /// By how much the integer changes when 1 to so many bits as may be do.
    fn differences(&self, faults: &Faults) -> Result<Vec<i64>, String> {
        let mut all = vec![(0_i64, 0)];
        for &bit in self.positions {
            let is_one = self.integer >> bit & 1 == 1;
            if faults.fault == (if is_one { Fault::StuckAt1 } else { Fault::StuckAt0 }) {
                continue;
            }
            // The highest bit of two's complement counts negatively.
            let value = if self.signed && bit + 1 == self.bits { -(1_i64 << bit) } else { 1 << bit };
            let change = if is_one { -value } else { value };
            let can_change = all.iter().filter(|(_, bits)| *bits < faults.bits);
            let more: Vec<_> = can_change.map(|(d, bits)| (d + change, bits + 1)).collect();
            all.extend(more);
            if all.len() > MOST_CHANGES {
                return Err(format!("faults: expected at most {MOST_CHANGES} changes of a word"));
            }
        }
        Ok(all[1..].iter().map(|(d, _)| *d).collect())
    }

    /// By how much the parameter changes when bits do.
    ///
    /// # Errors
    /// When there are too many changes.
    pub fn changes(&self, faults: &Faults) -> Result<Vec<Interval>, String> {
        let change = |d: i64| Interval::point(self.step * Number::new(d, 0));
        Ok(self.differences(faults)?.into_iter().map(change).collect())
    }

    /// What the parameter is when changes of bits make the word the integer `to`.
    ///
    /// # Errors
    /// When they do not.
    pub fn after(&self, to: i64, faults: &Faults) -> Result<Number, String> {
        let is_reached = self.differences(faults)?.contains(&to.wrapping_sub(self.integer));
        let value = || self.step * Number::new(to - self.zero, 0);
        is_reached.then(value).ok_or_else(|| format!("no change makes {} the integer {to}", self.integer))
    }
}
