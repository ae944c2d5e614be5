//! Domains of a branch and bound (theory.md §6): parts of a sample's set in which some neurons lie on one side of a value.
//!
//! A domain is bounded like a sample, in blocks, but starts from boxes of its own: those of the domain that it was split
//! from, clipped at the split. Nodes after the split get better boxes; then the rows that are not proved ascend from the
//! slopes and multipliers that the domain before ended with. A split enters as a box, and the box of every neuron has a
//! multiplier ([`super::slopes`]).
//!
//! # Guarantee
//! A bound holds for all perturbations that the domain contains, and the two parts of a split contain all of their parent's.
//! # Source
//! theory.md §6; Bunel et al., JMLR 21 (2020); Wang et al., *Beta-CROWN*, arXiv 2103.06624. Differences: weights move, all
//! rivals of a sample share one tree, and every box has a multiplier, not only those of splits.

mod evidence;

use super::super::step::{moving, step};
use super::super::{Block, Bounds, Prepared, State, States};
use super::branching::{self, Branch, Branching};
use super::optimized::Optimized;
use super::propagate::{Backward, Reach, Row, Sharing};
use super::slopes::{Ending, FreeVariables, Goal, Tape};
use super::{Analysis, analysed, analysed_by, is_exact, meet, sharings, tighten, tighten_by, uncross};
use crate::evidence::{DomainEvidence, RowEvidence};
use crate::exact::cover::Side;
use crate::kernels::{Matrix, Scalar};
use crate::memory::Estimate;
use crate::model::Step;
use crate::network::{Activation, Layer, Node};
use crate::property::SpecRow;
use std::collections::HashMap;
use std::ops::Range;

/// Passes for every row of a domain.
const STEPS: usize = 4;
/// Size of the steps of an ascent that goes on in a part of a domain with quantizers, as a part of those of a first one: slopes of hulls are near
/// their best there, which larger steps would leave.
const ON_HULLS: f64 = 0.25;
/// Passes for every row of a domain that no split improves.
const CONVERGING_STEPS: usize = 100;
/// Most domains bounded together.
const TOGETHER: usize = 32;

/// A row of the specification that a domain has not proved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OpenRow<T> {
    /// Its place among the rows of its sample.
    pub k: usize,
    pub row: SpecRow,
    /// Its bound.
    pub lower: T,
}

/// A sample and its rows that are to be proved.
pub(crate) type Root<T> = (usize, Vec<OpenRow<T>>);

/// A domain that was bounded and is not proved.
#[derive(Clone, Debug)]
pub(crate) struct Domain<T> {
    /// Sample of the block that the tree belongs to.
    pub sample: usize,
    /// Whether its bounds were driven to their limit.
    pub converged: bool,
    /// Whether its linear program was solved.
    pub solved: bool,
    /// Whether it is of a larger set, or made of its sides alone: its boxes and bounds hold, but are to be improved before it is split.
    reopened: bool,
    /// Its number in the evidence of its tree, where that is recorded.
    pub record: usize,
    /// Rows that are not proved.
    pub open: Vec<OpenRow<T>>,
    /// Where to split it, if anywhere.
    pub branch: Option<Branch<T>>,
    /// Where it lies: the sides of all splits from the whole set on.
    pub sides: Vec<Side>,
    /// Lower and upper ends of the boxes of [`Domains::nodes`], one after the other.
    boxes: Vec<T>,
    /// What the ascent ended with; a row for each of `open`. `None` of a root.
    free: Option<FreeVariables<T>>,
}

impl<T: Scalar> Domain<T> {
    /// The row with the least bound.
    pub fn worst(&self) -> OpenRow<T> {
        let worse = |a: OpenRow<T>, b: &OpenRow<T>| if b.lower < a.lower { *b } else { a };
        self.open[1..].iter().fold(self.open[0], worse)
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        let free = self.free.as_ref().map_or(0, FreeVariables::len);
        size_of::<Self>()
            + size_of::<T>() * (self.boxes.len() + free)
            + size_of::<OpenRow<T>>() * self.open.len()
            + size_of::<Side>() * self.sides.len()
    }
}

/// A domain to be bounded: one side of the split of another one, or a root itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubDomain<'d, T> {
    pub of: &'d Domain<T>,
    /// Where it is clipped, and whether it is the part above.
    pub side: Option<(Branch<T>, bool)>,
}

impl<T: Scalar> SubDomain<'_, T> {
    /// Where it lies.
    pub fn sides(&self) -> Vec<Side> {
        let own = self.side.map(|(branch, above)| {
            let Branch { node, element, value } = branch;
            Side { node, element, value: value.to_f64(), above }
        });
        self.of.sides.iter().copied().chain(own).collect()
    }

    /// Whether the domain itself is bounded once more, until its bounds are at their limit.
    fn converges(&self) -> bool {
        self.side.is_none() && self.of.free.is_some() && !self.of.reopened
    }

    /// Whether it is a whole set that was not bounded yet.
    fn is_root(&self) -> bool {
        self.side.is_none() && self.of.free.is_none()
    }

    /// The node after which boxes may become better.
    fn changed(&self) -> usize {
        match self.side {
            Some((branch, _)) => branch.node,
            None if self.of.reopened => 0,
            None => usize::MAX,
        }
    }

    /// Passes for each of its rows.
    fn steps(&self) -> usize {
        match self.side {
            Some(_) => STEPS,
            None if self.converges() => CONVERGING_STEPS,
            None if self.of.free.is_some() => STEPS,
            None => Optimized::DEFAULT.steps,
        }
    }
}

/// A row that is bounded.
#[derive(Clone, Copy)]
struct Place<T> {
    /// The part that it belongs to.
    part: usize,
    /// Its place among the open rows of the part.
    row: usize,
    open: OpenRow<T>,
}

impl<T: Scalar> Place<T> {
    /// All rows of `parts`, part after part.
    fn all(parts: &[SubDomain<'_, T>]) -> Vec<Self> {
        let of = |(part, p): (usize, &SubDomain<'_, T>)| {
            let rows = p.of.open.iter().enumerate();
            rows.map(|(row, &open)| Place { part, row, open }).collect::<Vec<_>>()
        };
        parts.iter().enumerate().flat_map(of).collect()
    }
}

/// What bounding some parts gave.
pub(crate) struct Bounded<T> {
    /// Those that are not proved, in order.
    pub open: Vec<Domain<T>>,
    /// Sample, place of the row and bound of every row that was proved.
    pub proved: Vec<(usize, usize, T)>,
    /// For each open domain the part that it is.
    pub parts: Vec<usize>,
    /// For each open domain its worst row's place in `tape`.
    pub worst: Vec<usize>,
    /// Coefficients of the last pass of all open rows.
    pub tape: Tape<T>,
    /// For each part what was shown in it, where that is recorded.
    pub evidence: Vec<DomainEvidence>,
}

impl<T> Bounded<T> {
    fn nothing() -> Self {
        Bounded {
            open: Vec::new(),
            proved: Vec::new(),
            parts: Vec::new(),
            worst: Vec::new(),
            tape: Vec::new(),
            evidence: Vec::new(),
        }
    }
}

/// Bounds domains of the samples of a block.
pub(crate) struct Domains<'a, T> {
    prepared: &'a Prepared<'a, T>,
    /// Clean values of the samples, and what bounds start from.
    values: &'a [Matrix<T>],
    fixed: Vec<Option<Bounds<T>>>,
    /// Nodes with boxes of their own: those that nonlinear nodes read, and those whose sign matters to a moving weight.
    nodes: Vec<usize>,
    branching: Branching,
    /// Whether evidence is recorded. Boxes come from plain slopes then.
    records: bool,
    together: usize,
}

impl<'a, T: Scalar> Domains<'a, T> {
    /// Trees over the samples whose unperturbed values are `values`, enclosed by `fixed`.
    pub fn new(
        prepared: &'a Prepared<'a, T>,
        values: &'a [Matrix<T>],
        fixed: Vec<Option<Bounds<T>>>,
        branching: Branching,
        records: bool,
    ) -> Self {
        let network = prepared.model.network;
        let moving = moving(prepared);
        let nodes = (0..moving.len()).filter(|&n| moving[n] && has_own_box(prepared, n)).collect();
        let together = Estimate::new::<T>(network).block(TOGETHER);
        Domains { prepared, values, fixed, nodes, branching, records, together }
    }

    /// The network and the set.
    pub fn prepared(&self) -> &'a Prepared<'a, T> {
        self.prepared
    }

    /// How many parts are bounded together.
    pub fn together(&self) -> usize {
        self.together
    }

    /// The whole set of samples, with the rows that are to be proved: boxes are as tight as method `optimized` makes them, or as
    /// `linear` where evidence is recorded.
    pub fn roots(&self, samples: Vec<Root<T>>) -> Vec<Domain<T>> {
        let (values, fixed) = self.values_of(samples.iter().map(|(s, _)| *s));
        let block = Block {
            prepared: self.prepared,
            values: &values,
            fixed: &fixed,
            divided: false,
            quantiles: None,
        };
        let open = vec![true; samples.len()];
        let (states, _) = analysed(&block, |states, relaxed, index, state| {
            tighten(&block, states, relaxed, index, state);
            if !self.records {
                Optimized::DEFAULT.tighten(&block, states, relaxed, (index, &open), state);
            }
        });
        let root = |(d, (sample, open)): (usize, Root<T>)| {
            let boxes = self.boxes(&states, d);
            let [converged, solved, reopened] = [false; 3];
            let (branch, sides, free) = (None, Vec::new(), None);
            Domain { sample, converged, solved, reopened, record: 0, open, branch, sides, boxes, free }
        };
        samples.into_iter().enumerate().map(root).collect()
    }

    /// Domains of a larger set as parts of this one, whose root is `root`: clipped at its boxes.
    pub fn reopened(&self, root: &Domain<T>, domains: Vec<Domain<T>>) -> Vec<Domain<T>> {
        let again = |mut domain: Domain<T>| {
            let mut from = 0;
            for width in self.nodes.iter().map(|&n| self.prepared.model.width(n)) {
                let (lower, upper) = (from..from + width, from + width..from + 2 * width);
                let (own, known) = (&mut domain.boxes, &root.boxes);
                own[lower.clone()]
                    .iter_mut()
                    .zip(&known[lower])
                    .for_each(|(l, &k)| *l = if k > *l { k } else { *l });
                own[upper.clone()]
                    .iter_mut()
                    .zip(&known[upper])
                    .for_each(|(u, &k)| *u = if k < *u { k } else { *u });
                from += 2 * width;
            }
            Domain {
                sample: root.sample,
                converged: false,
                solved: false,
                reopened: true,
                branch: None,
                ..domain
            }
        };
        domains.into_iter().map(again).collect()
    }

    /// The part of a root where all of `sides` hold, with the rows that are to be proved there.
    ///
    /// # Panics
    /// When a side is not one of [`Domains::can_split`].
    pub fn within(&self, root: &Domain<T>, sides: &[Side], open: Vec<OpenRow<T>>) -> Domain<T> {
        let mut boxes = root.boxes.clone();
        for side in sides {
            assert!(self.can_split(side), "regions are checked before they are searched");
            let before = self.nodes.iter().take_while(|&&n| n != side.node);
            let from: usize = before.map(|&n| 2 * self.prepared.model.width(n)).sum();
            let end = end_of::<T>(side);
            if side.above {
                let lower = &mut boxes[from + side.element];
                *lower = if end > *lower { end } else { *lower };
            } else {
                let upper = &mut boxes[from + self.prepared.model.width(side.node) + side.element];
                *upper = if end < *upper { end } else { *upper };
            }
        }
        Domain { reopened: true, open, sides: sides.to_vec(), boxes, ..root.clone() }
    }

    /// Whether there may be a split with this side: of an element that has a box of its own, at a number.
    pub fn can_split(&self, side: &Side) -> bool {
        let has_box = self.nodes.contains(&side.node);
        has_box && side.element < self.prepared.model.width(side.node) && side.value.is_finite()
    }

    /// Bounds `parts`; a row `k` of sample `s` is proved above `aim(s, k)`.
    pub fn bound(&self, parts: &[SubDomain<'_, T>], aim: impl Fn(usize, usize) -> T) -> Bounded<T> {
        let (values, fixed) = self.values_of(parts.iter().map(|part| part.of.sample));
        let block = Block {
            prepared: self.prepared,
            values: &values,
            fixed: &fixed,
            divided: false,
            quantiles: None,
        };
        let (states, relaxed) = self.analyse(&block, parts);
        let output = values.len() - 1;
        let places = Place::all(parts);
        let rows: Vec<Row> = places.iter().map(|place| (place.part, place.open.row)).collect();
        let aims: Vec<T> =
            places.iter().map(|place| aim(parts[place.part].of.sample, place.open.k)).collect();
        let mut best: Vec<T> = places.iter().map(|place| place.open.lower).collect();
        let is_void = |r: usize| states.void[places[r].part].is_some();
        let is_open = |r: usize, lower: T| is_void(r) || !(lower > aims[r]);
        let mut bounded = Bounded::nothing();
        let all = sharings(&block, output + 1);
        if self.records {
            bounded.evidence = (0..parts.len()).map(|d| self.shown(&states, parts, d)).collect();
        }
        if self.records {
            // As the plain rule does; a search has it from the first method.
            let mut by_plain_rule =
                |reach: Reach<'_, T>, sharing: Sharing, is_asked: &dyn Fn(usize) -> bool| {
                    let asked: Vec<usize> =
                        (0..rows.len()).filter(|&r| is_open(r, best[r]) && is_asked(r)).collect();
                    let rows: Vec<Row> = asked.iter().map(|&r| rows[r]).collect();
                    let found = Backward::new(&block, &states, reach, sharing).rows(output, &rows);
                    for (r, lower) in asked.into_iter().zip(found).filter(|(r, lower)| !is_open(*r, *lower)) {
                        best[r] = lower;
                        bounded.evidence[places[r].part].rows.push(RowEvidence::plain(places[r].open.k));
                    }
                };
            by_plain_rule(Reach::OneLayer, Sharing::PerUse, &|_| true);
            // An ascent over quantizers starts elsewhere.
            let is_root = |r: usize| parts[places[r].part].is_root();
            all.iter().for_each(|sharing| by_plain_rule(Reach::Input(&relaxed), *sharing, &is_root));
        }
        let chunk = Backward::new(&block, &states, Reach::Input(&relaxed), all[0]).ascending_together(output);
        let mut first = 0;
        while first < rows.len() {
            // Whole parts only, and at least one.
            let mut end = first + 1;
            while end < rows.len() && (end - first < chunk || places[end].part == places[end - 1].part) {
                end += 1;
            }
            let range = first..end;
            let mut ending = None;
            for sharing in all {
                let pass = Backward::new(&block, &states, Reach::Input(&relaxed), *sharing);
                let start = |at: &[usize]| warm(&pass, output, parts, at.iter().map(|r| places[first + r]));
                let open = |r: usize, lower: T| is_open(first + r, lower);
                let (steps, size) =
                    (parts[places[first].part].steps(), self.size(&parts[places[first].part]));
                let mut done = |r: usize, free: &FreeVariables<T>, own: usize| {
                    let place = places[first + r];
                    if let Some(evidence) = bounded.evidence.get_mut(place.part) {
                        evidence.rows.push(free.evidence(&pass, place.part, place.open.k, own));
                    }
                };
                let goal = Goal {
                    steps,
                    size,
                    is_open: &open,
                    done: &mut done,
                    quantiles: None,
                    raised: &mut |_, _| {},
                };
                ending =
                    pass.ascend_from((output, &rows[range.clone()]), &mut best[range.clone()], goal, start);
            }
            // Void boxes prove nothing: what is known of the domain before stays.
            range.clone().filter(|&r| is_void(r)).for_each(|r| best[r] = places[r].open.lower);
            if let Some(ending) = ending {
                let pass = Backward::new(&block, &states, Reach::Input(&relaxed), Sharing::PerUse);
                self.collect(
                    &pass,
                    parts,
                    (&places[range.clone()], &best[range.clone()]),
                    ending,
                    &mut bounded,
                );
            }
            first = end;
        }
        for (r, place) in places.iter().enumerate() {
            if !is_open(r, best[r]) {
                bounded.proved.push((parts[place.part].of.sample, place.open.k, best[r]));
            }
        }
        bounded
    }

    /// The boxes of all nodes in a domain: lower and upper ends.
    pub fn boxes_of(&self, domain: &Domain<T>) -> Vec<(Vec<T>, Vec<T>)> {
        let (values, fixed) = self.values_of([domain.sample].into_iter());
        let block = Block {
            prepared: self.prepared,
            values: &values,
            fixed: &fixed,
            divided: false,
            quantiles: None,
        };
        let (states, _) = self.analyse(&block, &[SubDomain { of: domain, side: None }]);
        (0..values.len())
            .map(|n| (states.lower(n).row(0).to_vec(), states.upper(n).row(0).to_vec()))
            .collect()
    }

    /// Where a domain is to be split so that `values` of all nodes, which its relaxation allows and the network does not, are
    /// in neither part: at the activation that is farthest from its value. Distances of quantizers count by what they are `worth`, by
    /// node and element.
    pub fn violated(
        &self,
        boxes: &[(Vec<T>, Vec<T>)],
        values: &[Vec<f64>],
        worth: &HashMap<(usize, usize), f64>,
    ) -> Option<Branch<T>> {
        branching::violated(self.prepared, boxes, values, worth)
    }

    /// Replaces values of what ReLUs and quantizers read by those in their `boxes` that come nearest to the values behind, where each of these
    /// is reached: a program only holds the ones to triangles or hulls around the others.
    pub fn lead_to(&self, boxes: &[(Vec<T>, Vec<T>)], values: &mut [Vec<f64>]) {
        let model = self.prepared.model;
        for index in (0..values.len()).filter(|&index| self.prepared.is_independent(index)) {
            let Step::Activation(f) = &model.steps[index] else { continue };
            let is_quantizer = matches!(f, Activation::Quantize(_));
            if !is_quantizer && *f != Activation::Relu {
                continue;
            }
            let input = model.input_of(index);
            let (before, behind) = values.split_at_mut(index);
            let ends = boxes[input].0.iter().zip(&boxes[input].1);
            for ((p, &z), (l, u)) in before[input].iter_mut().zip(&behind[0]).zip(ends) {
                let wanted = if z > 0.0 || is_quantizer { z } else { p.min(0.0) };
                *p = wanted.max(Scalar::to_f64(*l)).min(Scalar::to_f64(*u));
            }
        }
    }

    /// What the steps of an ascent in this part are multiplied by.
    fn size(&self, part: &SubDomain<'_, T>) -> f64 {
        let has_quantizers = self.prepared.model.network.nodes().iter().any(is_quantizer);
        if part.side.is_some() && has_quantizers { ON_HULLS } else { 1.0 }
    }

    /// The open domains that an ascent over the rows at `places` left.
    fn collect(
        &self,
        pass: &Backward<'_, T>,
        parts: &[SubDomain<'_, T>],
        (places, best): (&[Place<T>], &[T]),
        ending: Ending<T>,
        bounded: &mut Bounded<T>,
    ) {
        let before = bounded.tape.iter().flatten().next().map_or(0, Matrix::rows);
        for same in ranges_by(&ending.at, |r| places[r].part) {
            let d = places[ending.at[same.start]].part;
            let (part, keep): (_, Vec<usize>) = (parts[d], same.clone().collect());
            let open: Vec<OpenRow<T>> = keep
                .iter()
                .map(|&r| OpenRow { lower: best[ending.at[r]], ..places[ending.at[r]].open })
                .collect();
            let least = keep
                .iter()
                .copied()
                .reduce(|a, b| if best[ending.at[b]] < best[ending.at[a]] { b } else { a });
            let least = least.expect("an open domain has a row");
            // When upper lines lose nothing, lower ones may.
            let branching = if part.converges() { Branching::Area } else { self.branching };
            bounded.open.push(Domain {
                sample: part.of.sample,
                open,
                converged: part.converges(),
                solved: false,
                reopened: false,
                record: part.of.record,
                branch: branching.choose(pass, &ending, least, d),
                sides: part.sides(),
                boxes: self.boxes(pass.states, d),
                free: Some(ending.free.map(|m| m.rows_at(&keep))),
            });
            bounded.parts.push(d);
            bounded.worst.push(before + least);
        }
        append(&mut bounded.tape, ending.tape);
    }

    /// States of the parts: their boxes, better ones after the split, and intervals of the other nodes.
    fn analyse<'v>(&self, block: &Block<'v, T>, parts: &[SubDomain<'_, T>]) -> Analysis<'v, T> {
        let model = self.prepared.model;
        let mut from = 0;
        analysed_by(block, |states, relaxed, index| {
            if !self.nodes.contains(&index) {
                return step(block, states, index);
            }
            let mut state = State::Box(self.restored(parts, index, from));
            if matches!(model.steps[index], Step::Activation(_)) {
                // Better boxes before the activation make this one better, too.
                meet(&mut state, &step(block, states, index));
            }
            from += 2 * model.width(index);
            if !is_exact(block, states, index) {
                let is_open = |d: usize| parts[d].changed() < index;
                tighten_by(block, (states, relaxed), index, &mut state, is_open, |pass, index, rows, _| {
                    pass.rows(index, rows)
                });
            }
            state
        })
    }

    /// The boxes of node `index`, which start at `from` in each domain, clipped at the splits.
    fn restored(&self, parts: &[SubDomain<'_, T>], index: usize, from: usize) -> Bounds<T> {
        let width = self.prepared.model.width(index);
        let end = |from: usize| {
            let data = parts.iter().flat_map(|part| &part.of.boxes[from..from + width]).copied();
            Matrix::from_vec(parts.len(), width, data.collect())
        };
        let mut bounds = Bounds { lower: end(from), upper: end(from + width) };
        for (d, part) in parts.iter().enumerate() {
            match part.side {
                Some((branch, true)) if branch.node == index => {
                    bounds.lower[(d, branch.element)] = branch.value
                }
                Some((branch, false)) if branch.node == index => {
                    bounds.upper[(d, branch.element)] = branch.value
                }
                Some(_) | None => {}
            }
        }
        uncross(&mut bounds);
        bounds
    }

    /// What [`Domain::boxes`] keeps of sample `d` of `states`.
    fn boxes(&self, states: &States<'_, T>, d: usize) -> Vec<T> {
        let ends = |&n: &usize| states.lower(n).row(d).iter().chain(states.upper(n).row(d)).copied();
        self.nodes.iter().flat_map(ends).collect()
    }

    /// Clean values of samples, and what bounds start from.
    fn values_of(&self, samples: impl Iterator<Item = usize>) -> (Vec<Matrix<T>>, Vec<Option<Bounds<T>>>) {
        let samples: Vec<usize> = samples.collect();
        let rows =
            |b: &Bounds<T>| Bounds { lower: b.lower.rows_at(&samples), upper: b.upper.rows_at(&samples) };
        let fixed = self.fixed.iter().map(|b| b.as_ref().map(rows)).collect();
        (self.values.iter().map(|m| m.rows_at(&samples)).collect(), fixed)
    }
}

/// The end of a box that lies on this side, rounded outward: both sides of a split cover everything in every precision.
fn end_of<T: Scalar>(side: &Side) -> T {
    if side.above { T::from_f64_down(side.value) } else { T::from_f64_up(side.value) }
}

/// Whether a domain has a box of its own for node `n`, so that it can be split there: what nonlinear nodes read, unless it is the input
/// or nonlinear itself and read by no quantizer; and what has a chord.
pub(super) fn has_own_box<T: Scalar>(prepared: &Prepared<'_, T>, n: usize) -> bool {
    let nodes = prepared.model.network.nodes();
    let mut readers = nodes.iter().filter(|node| node.layer.is_nonlinear() && node.inputs.contains(&n));
    let is_read = match nodes[n].layer.is_nonlinear() {
        false => readers.next().is_some(),
        true => readers.any(is_quantizer),
    };
    (n != 0 && is_read) || has_chord(prepared, n)
}

/// Whether a node is a quantizer with a constant step.
pub(crate) fn is_quantizer(node: &Node) -> bool {
    matches!(node.layer, Layer::Activation(Activation::Quantize(_)))
}

/// Whether the effect of moving weights on node `n` is relaxed by the chord of `|z|`, when the sign of an element is open.
pub(super) fn has_chord<T: Scalar>(prepared: &Prepared<'_, T>, n: usize) -> bool {
    let model = prepared.model;
    let is_charged = |&k: &usize| match &model.steps[k] {
        Step::Affine(layer) if layer.window.is_none() => {
            let set = &prepared.radii.layer(k).weight;
            !set.is_zero() && !set.is_ball() && model.input_of(k) == n
        }
        Step::Affine(_)
        | Step::Input
        | Step::Scale { .. }
        | Step::Activation(_)
        | Step::DynamicQuantize(_)
        | Step::MaxPool(_)
        | Step::AveragePool { .. }
        | Step::Add
        | Step::Multiply
        | Step::Gather(_)
        | Step::Reshape => false,
    };
    let is_signed = match &model.steps[n] {
        Step::Activation(f) => !f.is_non_negative() || prepared.radii.activation() > T::zero(),
        Step::Input
        | Step::Affine(_)
        | Step::Scale { .. }
        | Step::DynamicQuantize(_)
        | Step::MaxPool(_)
        | Step::AveragePool { .. }
        | Step::Add
        | Step::Multiply
        | Step::Gather(_)
        | Step::Reshape => true,
    };
    is_signed && (0..model.steps.len()).any(|k| is_charged(&k))
}

/// What the ascent of rows starts from: what the domain before ended with, or plain slopes.
fn warm<T: Scalar>(
    pass: &Backward<'_, T>,
    start: usize,
    parts: &[SubDomain<'_, T>],
    places: impl Iterator<Item = Place<T>>,
) -> FreeVariables<T> {
    let places: Vec<Place<T>> = places.collect();
    let own: Vec<Row> = places.iter().map(|place| (place.part, place.open.row)).collect();
    let mut free = pass.first_free(start, &own);
    for (r, place) in places.iter().enumerate() {
        if let Some(known) = &parts[place.part].of.free {
            free.copy_row(r, known, place.row);
        }
    }
    free
}

/// Adds the rows of one tape to another one.
fn append<T: Scalar>(tape: &mut Tape<T>, more: Tape<T>) {
    if tape.is_empty() {
        *tape = more;
        return;
    }
    for (m, more) in tape.iter_mut().zip(more) {
        if let (Some(m), Some(more)) = (m, more) {
            m.append(&more);
        }
    }
}

/// Ranges of neighbours with the same key.
fn ranges_by<'a>(
    items: &'a [usize],
    key: impl Fn(usize) -> usize + 'a,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut first = 0;
    items.chunk_by(move |&a, &b| key(a) == key(b)).map(move |same| {
        first += same.len();
        first - same.len()..first
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A search in f64 may split where f32 has no number.
    #[test]
    fn sides_cover_everything_in_f32() {
        for value in [0.1, -0.1, 1.0 / 3.0, 1e-50, 0.0, 0.5] {
            let end = |above| f64::from(end_of::<f32>(&Side { node: 1, element: 0, value, above }));
            assert!(end(true) <= value && value <= end(false), "{value}: {} {}", end(true), end(false));
        }
    }
}
