//! The proof of one sample, repeated: boxes in the order of their nodes, splits, and the rows of the specification.

use crate::certificate::{BoxClaim, Domain, Element, NodeNumbers, Property, Record, RowClaim, Verdict};
use crate::faults::Hits;
use crate::layer::Model;
use crate::network::{Activation, Op, is_share};
use crate::number::{Interval, Number};
use crate::pass::{Chosen, Pass, Reach};
use crate::point::{Point, broken};
use crate::relax::{Bounds, State, largest, pooled};
use std::sync::Arc;

/// One row of the specification: `constant + Σ ±f_j > 0`.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number, as records name it.
    pub number: usize,
    /// Output and sign.
    pub outputs: Vec<(usize, i64)>,
    /// Zero for margins.
    pub constant: Number,
}

/// What was found about a record that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The property holds for the whole set; the least lower bound of a row, and the number of domains.
    Verified(Number, usize),
    /// The witness breaks the property: the row is at most this, which is at most zero.
    Falsified(Number),
    /// The record claims nothing.
    Unknown,
}

/// Where steps of a proof are told, one line each.
pub type Tell<'a> = &'a mut dyn FnMut(String);

/// Checks one record.
///
/// # Errors
/// Says where the proof does not follow, and why: node, element, what is claimed and what was recomputed.
pub fn check(
    (model, hits): (&Model, Option<&Hits>),
    property: Property,
    record: &Record,
    tell: Tell<'_>,
) -> Result<Accepted, String> {
    let network = &model.network;
    let input = record.input.exactly(network.nodes[0].width).map_err(|error| format!("input: {error}"))?;
    let rows = rows(model, property, record.class, input)?;
    match &record.verdict {
        Verdict::Unknown(reason) => {
            tell(format!("nothing is claimed: {reason}"));
            Ok(Accepted::Unknown)
        }
        Verdict::Falsified(witness) => {
            let of_bounds = model.damages.as_ref().map(|damages| &damages.faults);
            let faults = hits.map(|hits| &hits.faults).or(of_bounds);
            let margin = broken((model, faults), property, &rows, input, witness);
            let margin = margin.map_err(|what| format!("witness: {what}"))?;
            tell(format!("witness: row {} is at most {margin} at the moved parameters", witness.row));
            Ok(Accepted::Falsified(margin))
        }
        Verdict::Verified(domains) => {
            if let Some(hits) = hits {
                if !domains.is_empty() {
                    return Err("expected no domains: hits are proved without".into());
                }
                let clean = root(model, input)?;
                let (bound, row) = worst(model, &clean, &rows);
                if !bound.is_positive() {
                    return Err(format!(
                        "row {row} without hits: expected a bound above 0, recomputed {bound}"
                    ));
                }
                return hits.check(&clean, &rows, bound, tell).map(|least| Accepted::Verified(least, 1));
            }
            let mut proof = Proof { model, input, domains, least: None, tell };
            proof.check(&rows)?;
            Ok(Accepted::Verified(proof.least.unwrap_or(Number::ZERO), domains.len()))
        }
    }
}

/// The rows of the specification.
fn rows(
    model: &Model,
    property: Property,
    class: Option<usize>,
    input: &[Number],
) -> Result<Vec<Row>, String> {
    let count = model.network.nodes[model.network.output()].width;
    if let Property::Deviation { tolerance } = property {
        // |f̂ − f| < tolerance: tolerance + f − f̂ > 0 and tolerance − f + f̂ > 0.
        let clean = Point::new(&model.network, input)?;
        let side = |number: usize| {
            let (j, sign) = (number / 2, if number.is_multiple_of(2) { -1 } else { 1 });
            Row { number, outputs: vec![(j, sign)], constant: clean.below(&[(j, -sign)]) + tolerance }
        };
        return Ok((0..2 * count).map(side).collect());
    }
    let class = class.ok_or("class: expected one, found none")?;
    if class >= count || count == 1 {
        return Err(format!("class {class}: there are {count} outputs"));
    }
    let margin =
        |number: usize| Row { number, outputs: vec![(class, 1), (number, -1)], constant: Number::ZERO };
    Ok((0..count).filter(|j| *j != class).map(margin).collect())
}

/// The boxes of all nodes by interval steps alone.
///
/// # Errors
/// When bounds of the input range cross.
pub fn root(model: &Model, input: &[Number]) -> Result<State, String> {
    let mut proof = Proof { model, input, domains: &[], least: None, tell: &mut |_| {} };
    proof.boxes(&Domain::default(), None)?.ok_or_else(|| "an empty set".into())
}

/// The boxes of all nodes when one node has other bounds than in `clean`, and what depends on it follows by interval steps.
pub fn moved(model: &Model, node: usize, bounds: Bounds, clean: &State) -> State {
    let proof = Proof { model, input: &[], domains: &[], least: None, tell: &mut |_| {} };
    let mut state = State::default();
    for (index, this) in model.network.nodes.iter().enumerate() {
        let old = &clean.boxes[index];
        let is_same = |&i: &usize| Arc::ptr_eq(&state.boxes[i], &clean.boxes[i]);
        let own = match index == node {
            true => Arc::new(bounds.clone()),
            false if this.inputs.iter().all(is_same) => old.clone(),
            false => Arc::new(proof.derived(&state, index, None, false)),
        };
        let own = if own == *old { old.clone() } else { own };
        state.push(&this.op, &this.inputs, own, Some(clean));
    }
    state
}

/// The least value of a row on the box of the outputs.
fn on_box(state: &State, row: &Row) -> Number {
    let outputs = state.boxes.last().expect("there is an output");
    let end = |&(j, sign): &(usize, i64)| if sign > 0 { outputs[j].low } else { -outputs[j].high };
    row.outputs.iter().map(end).fold(row.constant, |sum, end| sum + end)
}

/// The least lower bound of some rows, and the number of its row. Outputs that do not follow from what moves have their boxes, from which
/// a pass that starts there would not know.
pub fn worst(model: &Model, state: &State, rows: &[Row]) -> (Number, usize) {
    let output = model.network.output();
    let pass = |row: &Row| {
        Pass { model, state, reach: Reach::PerUse }.bound(output, &row.outputs, None) + row.constant
    };
    let bound = |row: &Row| match on_box(state, row) {
        near if near.is_positive() || !model.moves[output] => (near, row.number),
        near => (near.max(pass(row)), row.number),
    };
    rows.iter().map(bound).min().expect("there are rows")
}

struct Proof<'a> {
    model: &'a Model,
    input: &'a [Number],
    domains: &'a [Domain],
    least: Option<Number>,
    tell: Tell<'a>,
}

/// A domain that is still to be checked.
struct Task {
    domain: usize,
    /// Whether it is a part of an empty domain, of which nothing is to be checked.
    is_empty: bool,
    /// Boxes of the domain that it is a part of, cut at the split.
    before: Option<State>,
    /// Rows that are not proved yet, as places in the list of rows.
    rows: Vec<usize>,
}

impl Proof<'_> {
    fn check(&mut self, rows: &[Row]) -> Result<(), String> {
        let (count, mut visited) = (self.domains.len(), 0);
        let mut tasks =
            vec![Task { domain: 0, is_empty: false, before: None, rows: (0..rows.len()).collect() }];
        while let Some(task) = tasks.pop() {
            let number = task.domain;
            let at = |what: String| if count > 1 { format!("domain {number}: {what}") } else { what };
            visited += 1;
            if number >= count || visited > count {
                return Err(at("missing, or used twice".into()));
            }
            tasks.extend(self.domain(task, rows).map_err(at)?);
        }
        if visited == count {
            Ok(())
        } else {
            Err(format!("{} domains are not part of any", count - visited))
        }
    }

    /// Checks a domain, and returns its parts.
    fn domain(&mut self, task: Task, rows: &[Row]) -> Result<Vec<Task>, String> {
        let domain = &self.domains[task.domain];
        if self.domains.len() > 1 {
            (self.tell)(format!("domain {}: {} rows to prove", task.domain, task.rows.len()));
        }
        let state = if task.is_empty { None } else { self.boxes(domain, task.before.as_ref())? };
        let Some(state) = state else {
            // A program that rounds may have divided what exact boxes show to be empty.
            let part = |domain| Task { domain, is_empty: true, before: None, rows: vec![] };
            let parts = domain.split.iter().flat_map(|split| [split.above, split.below]);
            return Ok(parts.filter(|&number| number > task.domain).map(part).collect());
        };
        if task.before.is_none() {
            self.in_range(&state)?;
        }
        let mut open = task.rows;
        for claim in &domain.rows {
            let at = |what: String| format!("row {}: {what}", claim.row);
            let place = open.iter().position(|&row| rows[row].number == claim.row);
            let row = open.remove(place.ok_or_else(|| at("there is no such row to prove".into()))?);
            let chosen = self.chosen(claim).map_err(at)?;
            self.row(&state, &rows[row], Some(&chosen))?;
        }
        let Some(split) = &domain.split else {
            return open.iter().try_for_each(|&row| self.row(&state, &rows[row], None)).map(|()| vec![]);
        };
        let (node, element, value) = (split.node, split.element, split.value);
        let cut = state.boxes.get(node).and_then(|z| z.get(element)).copied();
        let cut = cut.ok_or_else(|| format!("split: node {node} has no element {element}"))?;
        (self.tell)(format!("split: node {node} element {element} at {value}"));
        let part = |domain: usize, part: Interval| {
            if domain <= task.domain {
                return Err(format!("split: domain {domain} is not behind domain {}", task.domain));
            }
            let mut before = state.clone();
            Arc::make_mut(&mut before.boxes[node])[element] = part;
            Ok(Task { domain, is_empty: false, before: Some(before), rows: open.clone() })
        };
        let below = part(split.below, Interval { high: cut.high.min(value), ..cut })?;
        Ok(vec![part(split.above, Interval { low: cut.low.max(value), ..cut })?, below])
    }

    /// Whether what layers and sums read is in the range of the number format, and all partial sums in that of single precision.
    fn in_range(&self, state: &State) -> Result<(), String> {
        let Some(largest) = self.model.set.largest else { return Ok(()) };
        // Less than the largest number of single precision, with room for what rounding does.
        let most = Number::new(1, 127);
        for (index, node) in self.model.network.nodes.iter().enumerate() {
            let adds = node.op == Op::Sum && node.inputs.len() > 1;
            let is_sum = adds || matches!(node.op, Op::Affine(_) | Op::AveragePool { .. });
            let read: Vec<&Bounds> =
                node.inputs.iter().map(|&i| &*state.boxes[i]).filter(|_| is_sum).collect();
            let out_of_range = |z: &&Interval| z.size() > largest;
            if let Some(z) = read.iter().flat_map(|bounds| bounds.iter()).find(out_of_range) {
                let size = z.size();
                return Err(format!(
                    "node {index} ({}) may read {size}, out of the range of the format",
                    node.name
                ));
            }
            let size = |k: usize| match &self.model.maps[index] {
                Some(map) => map.size(k, read[0]),
                None => -read.iter().fold(Number::ZERO, |sum, z| sum - z[k].size() - z[k].size()),
            };
            if let Some(size) = (0..node.width).filter(|_| is_sum).map(size).find(|size| *size > most) {
                return Err(format!("node {index} ({}): a sum may have terms of {size}", node.name));
            }
        }
        Ok(())
    }

    /// The boxes of all nodes; `None` when the domain is empty.
    fn boxes(&mut self, domain: &Domain, before: Option<&State>) -> Result<Option<State>, String> {
        let mut state = State::default();
        let mut claims = domain.boxes.iter().peekable();
        for (index, node) in self.model.network.nodes.iter().enumerate() {
            let at = |what: String| format!("node {index} ({}): {what}", node.name);
            if let Some(damages) = &self.model.damages {
                let rows = node.inputs.first().and_then(|&z| damages.of_rows(index, &state.boxes[z]));
                state.damages.push(rows.map(Arc::new));
            }
            let known = before.map(|before| &before.boxes[index]);
            let claim = claims.next_if(|claim| claim.node == index);
            if let Some(empty) = domain.empty.filter(|empty| empty.node == index) {
                return self.crossing(&state, empty, known).map_err(at).map(|()| None);
            }
            let mut bounds = self.derived(&state, index, known, claim.is_some());
            if let Some(claim) = claim {
                self.claimed(&state, claim, &mut bounds).map_err(at)?;
            }
            if let Some((j, z)) = bounds.iter().enumerate().find(|(_, z)| z.low > z.high) {
                // A part whose bounds cross holds no point of the set; the whole set cannot.
                let crossing = at(format!("element {j}: {} above {}", z.low, z.high));
                return if before.is_some() { Ok(None) } else { Err(crossing) };
            }
            let same = known.filter(|known| ***known == bounds).cloned();
            state.push(&node.op, &node.inputs, same.unwrap_or_else(|| Arc::new(bounds)), before);
        }
        match claims.next() {
            None => Ok(Some(state)),
            Some(claim) => Err(format!("boxes of node {}: not in the order of the nodes", claim.node)),
        }
    }

    /// The box that follows from those before without a claim: of nonlinear nodes from the box of their input, of others by the
    /// interval step, where nothing is known. It lies in what is known. Without elements when all are to be claimed.
    fn derived(&self, state: &State, index: usize, known: Option<&Arc<Bounds>>, is_claimed: bool) -> Bounds {
        let (set, node) = (&self.model.set, &self.model.network.nodes[index]);
        let input = node.inputs.first().map_or(&[][..], |&input| &state.boxes[input]);
        let own: Bounds = match &node.op {
            Op::Input(_) => {
                let clip = |z: Number| set.input_range.map_or(z, |[low, high]| z.max(low).min(high));
                // The unperturbed input is in the set, wherever it is.
                let around = |&x: &Number| {
                    let moved = Interval::point(x).widened(set.input_radius);
                    Interval { low: clip(moved.low).min(x), high: clip(moved.high).max(x) }
                };
                self.input.iter().map(around).collect()
            }
            Op::Activation(f) => input.iter().map(|&z| f.image(z).widened(set.activation_radius)).collect(),
            Op::MaxPool(window) => (0..node.width).map(|k| largest(&pooled(window, k), input)).collect(),
            Op::Sum if node.inputs.len() == 1 => input.to_vec(),
            Op::Gather { source, constant } => {
                let all: Bounds = node.inputs.iter().flat_map(|&i| state.boxes[i].iter().copied()).collect();
                source.iter().map(|k| k.map_or(Interval::point(*constant), |k| all[k])).collect()
            }
            Op::Affine(_) | Op::Scale { .. } | Op::Divide(_) | Op::AveragePool { .. } | Op::Sum => {
                match known {
                    Some(known) => return (**known).clone(),
                    None if is_claimed => return vec![],
                    None => {
                        let pass = Pass { model: self.model, state, reach: Reach::Near };
                        let end = |j: usize, sign: i64| pass.bound(index, &[(j, sign)], None);
                        (0..node.width).map(|j| Interval::around(end(j, 1), end(j, -1))).collect()
                    }
                }
            }
        };
        match known {
            Some(known) => own.into_iter().zip(&**known).map(|(own, &known)| own.meet(known)).collect(),
            None => own,
        }
    }

    /// Checks a claimed box, element by element, and takes it into `bounds`.
    fn claimed(&mut self, state: &State, claim: &BoxClaim, bounds: &mut Bounds) -> Result<(), String> {
        let node = &self.model.network.nodes[claim.node];
        let elements = elements(claim.elements.as_ref(), node.width)?;
        let (lower, upper) = (claim.lower.exactly(elements.len())?, claim.upper.exactly(elements.len())?);
        let is_new = bounds.is_empty();
        if is_new && elements.len() != node.width {
            return Err(format!("expected boxes of {} elements, found {}", node.width, elements.len()));
        }
        // The box of a nonlinear node follows from that of its input, and no better one is shown.
        let is_derived = matches!(node.op, Op::Input(_) | Op::Activation(_) | Op::MaxPool(_));
        let mut shown = [0, 0];
        for (k, j) in elements.into_iter().enumerate() {
            let claimed = Interval { low: lower[k], high: upper[k] };
            let known = bounds.get(j).copied();
            let ends = [(1, claimed.low, known.map(|z| z.low)), (-1, -claimed.high, known.map(|z| -z.high))];
            for (sign, end, known) in ends {
                if known.is_some_and(|known| end <= known) {
                    continue;
                }
                let is_shown = |bound: &Number| *bound >= end;
                let bound = |reach| match known.filter(|_| is_derived) {
                    Some(known) => known,
                    None => Pass { model: self.model, state, reach }.bound(claim.node, &[(j, sign)], None),
                };
                let (best, is_near) = self.best(is_shown, bound);
                if !is_shown(&best) {
                    let side = if sign > 0 { "lower" } else { "upper" };
                    let of = |x: Number| if sign > 0 { x } else { -x };
                    let (end, best) = (of(end), of(best));
                    return Err(format!("element {j}: the {side} end {end} is claimed, {best} recomputed"));
                }
                shown[usize::from(!is_near)] += 1;
            }
            if is_new {
                bounds.push(claimed);
            } else {
                bounds[j] = bounds[j].meet(claimed);
            }
        }
        let ([near, far], number, name) = (shown, claim.node, &node.name);
        (self.tell)(format!(
            "node {number} ({name}): {near} ends by the interval step, {far} by backward passes"
        ));
        Ok(())
    }

    /// The first bound that is enough, or else the best one, of the interval step and of backward passes; and whether it is that of the step.
    fn best(&self, is_enough: impl Fn(&Number) -> bool, bound: impl Fn(Reach) -> Number) -> (Number, bool) {
        let mut best = bound(Reach::Near);
        if is_enough(&best) {
            return (best, true);
        }
        for reach in [Reach::PerUse, Reach::Shared] {
            let is_other = reach == Reach::PerUse || self.model.shares.contains(&true);
            if is_other && !is_enough(&best) {
                best = best.max(bound(reach));
            }
        }
        (best, false)
    }

    /// Whether the bounds of an element cross, so that the domain is empty.
    fn crossing(&mut self, state: &State, empty: Element, known: Option<&Arc<Bounds>>) -> Result<(), String> {
        let Element { node, element } = empty;
        let known = known.ok_or("the whole set is not empty")?.get(element);
        let is_linear = matches!(self.model.network.nodes[node].op, Op::Affine(_) | Op::Sum);
        let &Interval { low, high } = known
            .filter(|_| is_linear)
            .ok_or(format!("element {element}: expected one of a layer or a sum"))?;
        let crosses = |sign: i64, end: Number| {
            let is_enough = |bound: &Number| *bound > end;
            let pass = |reach| Pass { model: self.model, state, reach }.bound(node, &[(element, sign)], None);
            is_enough(&self.best(is_enough, pass).0)
        };
        if !(crosses(1, high) || crosses(-1, -low)) {
            return Err(format!("element {element}: the domain is not empty by its bounds"));
        }
        (self.tell)(format!("node {node} element {element}: nothing is left between {low} and {high}"));
        Ok(())
    }

    /// Checks one row of the specification.
    fn row(&mut self, state: &State, row: &Row, chosen: Option<&Chosen>) -> Result<(), String> {
        let bound = |reach| {
            let chosen = chosen.filter(|_| reach != Reach::Near);
            let pass = Pass { model: self.model, state, reach };
            let bound = pass.bound(self.model.network.output(), &row.outputs, chosen) + row.constant;
            if reach == Reach::Near { bound.max(on_box(state, row)) } else { bound }
        };
        let (best, _) = self.best(|bound| bound.is_positive(), bound);
        (self.tell)(format!("row {}: at least {best}", row.number));
        if !best.is_positive() {
            return Err(format!("row {}: expected a bound above 0, recomputed {best}", row.number));
        }
        self.least = Some(self.least.map_or(best, |least| least.min(best)));
        Ok(())
    }

    /// Slopes and multipliers of a row.
    fn chosen(&self, claim: &RowClaim) -> Result<Chosen, String> {
        let nodes = &self.model.network.nodes;
        let mut chosen = Chosen { slopes: vec![None; nodes.len()], multipliers: vec![None; nodes.len()] };
        // One number for each element, where there is one.
        let all = |own: &NodeNumbers| {
            let width = nodes.get(own.node).map(|node| node.width).ok_or("missing")?;
            let elements = elements(own.elements.as_ref(), width)?;
            let mut all = vec![None; width];
            elements
                .iter()
                .zip(own.values.exactly(elements.len())?)
                .for_each(|(&j, value)| all[j] = Some(*value));
            Ok::<_, String>(all)
        };
        let at = |own: &NodeNumbers, what: String| format!("node {}: {what}", own.node);
        for own in &claim.slopes {
            let slopes = all(own).map_err(|what| at(own, what))?;
            let is_free =
                matches!(nodes[own.node].op, Op::Activation(Activation::Relu | Activation::Quantize(_)));
            if !is_free || !slopes.iter().flatten().all(|s| is_share(*s)) {
                return Err(at(own, "expected slopes from 0 to 1 of a ReLU or a quantizer".into()));
            }
            chosen.slopes[own.node] = Some(slopes);
        }
        for own in &claim.multipliers {
            let multipliers = all(own).map_err(|what| at(own, what))?.into_iter();
            chosen.multipliers[own.node] = Some(multipliers.map(|m| m.unwrap_or(Number::ZERO)).collect());
        }
        Ok(chosen)
    }
}

/// The elements that a claim is about, all when it does not say.
fn elements(claimed: Option<&Vec<usize>>, width: usize) -> Result<Vec<usize>, String> {
    let Some(elements) = claimed else { return Ok((0..width).collect()) };
    let rise = elements.windows(2).all(|pair| pair[0] < pair[1]);
    let fit = elements.last().is_none_or(|last| *last < width);
    if rise && fit { Ok(elements.clone()) } else { Err("elements that do not rise, or do not exist".into()) }
}
