//! The proof of one sample, repeated: boxes in the order of their nodes, splits, and the rows of the specification.

use crate::certificate::{BoxClaim, Domain, Element, NodeNumbers, Property, Record, RowClaim, Verdict};
use crate::layer::Model;
use crate::network::{Activation, Op, is_share};
use crate::number::{Dyadic, Number};
use crate::pass::{Chosen, Pass, Reach};
use crate::point::{Point, broken};
use crate::relax::pooled;
use crate::state::{Bounds, State};
use std::sync::Arc;

/// One row of the specification: `constant + Σ ±f_j > 0`.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number, as records name it.
    pub number: usize,
    /// Output and sign.
    pub outputs: Vec<(usize, i64)>,
    /// Zero for margins.
    pub constant: Dyadic,
}

/// What was found about a record that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The property holds for the whole set; the least lower bound of a row, and the number of domains.
    Verified(Dyadic, usize),
    /// The witness breaks the property: the row is at most this, which is at most zero.
    Falsified(Dyadic),
    /// The record claims nothing.
    Unknown,
}

/// Where steps of a proof are told, one line each.
pub type Tell<'a> = &'a mut dyn FnMut(String);

/// Checks one record.
///
/// # Errors
/// Says where the proof does not follow, and why: node, element, what is claimed and what was recomputed.
pub fn check(model: &Model, property: Property, record: &Record, tell: Tell<'_>) -> Result<Accepted, String> {
    let network = &model.network;
    let input = record.input.exactly(network.nodes[0].width).map_err(|error| format!("input: {error}"))?;
    let outputs = network.nodes[network.output()].width;
    if let Some(class) = record.class.filter(|class| *class >= outputs) {
        return Err(format!("class {class}: there are {outputs} outputs"));
    }
    let rows = rows(model, property, record.class, input)?;
    match &record.verdict {
        Verdict::Unknown(reason) => {
            tell(format!("nothing is claimed: {reason}"));
            Ok(Accepted::Unknown)
        }
        Verdict::Falsified(witness) => {
            let margin = broken(model, property, (record.class, &rows), input, witness)?;
            tell(format!("witness: row {} is at most {margin} at the moved parameters", witness.row));
            Ok(Accepted::Falsified(margin))
        }
        Verdict::Verified(domains) => {
            let mut proof = Proof { model, input, domains, least: None, tell };
            proof.check(&rows)?;
            Ok(Accepted::Verified(proof.least.unwrap_or_else(Dyadic::zero), domains.len()))
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
    let row = |number, outputs, constant| Row { number, outputs, constant };
    let Property::Deviation { tolerance } = property else {
        let class = class.ok_or("class: expected one, found none")?;
        let margin = |j: usize| row(j, vec![(class, 1), (j, -1)], Dyadic::zero());
        let rows: Vec<Row> = (0..count).filter(|j| *j != class).map(margin).collect();
        return if rows.is_empty() { Err("one output has no rival".into()) } else { Ok(rows) };
    };
    // |f̂ − f| < tolerance: tolerance + f − f̂ > 0 and tolerance − f + f̂ > 0.
    let (clean, tolerance) = (Point::clean(model, input)?, Dyadic::from(tolerance));
    let sides = |j: usize| {
        let (below, above) = (clean.below(&[(j, 1)]), clean.above(&[(j, 1)]));
        let falls = row(2 * j + 1, vec![(j, 1)], tolerance.minus(&above));
        [row(2 * j, vec![(j, -1)], tolerance.plus(&below)), falls]
    };
    Ok((0..count).flat_map(sides).collect())
}

/// The boxes of all nodes by interval steps alone.
///
/// # Errors
/// When bounds of the input range cross.
pub fn root(model: &Model, input: &[Number]) -> Result<State, String> {
    let mut proof = Proof { model, input, domains: &[], least: None, tell: &mut |_| {} };
    proof.boxes(&Domain::default(), None)?.ok_or_else(|| "an empty set".into())
}

struct Proof<'a> {
    model: &'a Model,
    input: &'a [Number],
    domains: &'a [Domain],
    least: Option<Dyadic>,
    tell: Tell<'a>,
}

/// A domain that is still to be checked.
struct Task {
    domain: usize,
    /// Boxes of the domain that it is a part of, cut at the split.
    before: Option<State>,
    /// Rows that are not proved yet, as places in the list of rows.
    rows: Vec<usize>,
}

impl Proof<'_> {
    fn check(&mut self, rows: &[Row]) -> Result<(), String> {
        let (count, mut visited) = (self.domains.len(), 0);
        let mut tasks = vec![Task { domain: 0, before: None, rows: (0..rows.len()).collect() }];
        while let Some(task) = tasks.pop() {
            let number = task.domain;
            let at = |what: String| if count > 1 { format!("domain {number}: {what}") } else { what };
            visited += 1;
            if number >= count || visited > count {
                return Err(at("missing, or used twice".into()));
            }
            tasks.extend(self.domain(task, rows).map_err(at)?);
        }
        // Each domain is a part of one other.
        if visited == count { Ok(()) } else { Err(format!("{visited} domains of {count} are in the tree")) }
    }

    /// Checks a domain and returns its parts.
    fn domain(&mut self, task: Task, rows: &[Row]) -> Result<Vec<Task>, String> {
        let domain = &self.domains[task.domain];
        let Some(state) = self.boxes(domain, task.before.as_ref())? else {
            return Ok(vec![]);
        };
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
        if self.model.network.nodes.get(node).is_none_or(|node| element >= node.width) {
            return Err(format!("split: node {node} has no element {element}"));
        }
        (self.tell)(format!("split: node {node} element {element} at {value}"));
        let part = |number: usize, cut: fn(&mut Bounds, usize, Number)| {
            if number <= task.domain {
                return Err(format!("split: domain {number} is not behind domain {}", task.domain));
            }
            let mut before = state.clone();
            cut(Arc::make_mut(&mut before.boxes[node]), element, value);
            Ok(Task { domain: number, before: Some(before), rows: open.clone() })
        };
        let below = part(split.below, |b, j, v| b.upper[j] = b.upper[j].min(v))?;
        Ok(vec![part(split.above, |b, j, v| b.lower[j] = b.lower[j].max(v))?, below])
    }

    /// The boxes of all nodes; `None` when the domain is empty.
    fn boxes(&mut self, domain: &Domain, before: Option<&State>) -> Result<Option<State>, String> {
        let model = self.model;
        let mut state = State::default();
        let mut claims = domain.boxes.iter().peekable();
        for (index, node) in model.network.nodes.iter().enumerate() {
            let at = |what: String| format!("node {index} ({}): {what}", node.name);
            let known = before.map(|before| &before.boxes[index]);
            let claim = claims.next_if(|claim| claim.node == index);
            if let Some(empty) = domain.empty.filter(|empty| empty.node == index) {
                return self.crossing(&state, empty, known).map_err(at).map(|()| None);
            }
            let mut bounds = self.derived(&state, index, known, claim.is_some());
            if let Some(claim) = claim {
                self.claimed(&state, claim, &mut bounds).map_err(at)?;
            }
            if let Some(j) = (0..node.width).find(|&j| bounds.lower[j] > bounds.upper[j]) {
                // A part whose bounds cross holds no point of the set; the whole set cannot.
                let crossing = at(format!("element {j}: {} above {}", bounds.lower[j], bounds.upper[j]));
                return if before.is_some() { Ok(None) } else { Err(crossing) };
            }
            let same = known.filter(|known| ***known == bounds).cloned();
            state.push(model, same.unwrap_or_else(|| Arc::new(bounds)), before);
        }
        match claims.next() {
            None => Ok(Some(state)),
            Some(claim) => Err(format!("boxes of node {}: not in the order of the nodes", claim.node)),
        }
    }

    /// The box that follows from those before without a claim: of nonlinear nodes from the box of their input, of others by the
    /// interval step, where nothing is known. It lies in what is known. Without elements when all are to be claimed.
    fn derived(&self, state: &State, index: usize, known: Option<&Arc<Bounds>>, is_claimed: bool) -> Bounds {
        let (model, node) = (self.model, &self.model.network.nodes[index]);
        let input = node.inputs.first().map(|&i| &*state.boxes[i]);
        // Both ends of all elements, by a function of an end of the input and of whether it is the upper one.
        let each = |f: &dyn Fn(Number, bool) -> Number| {
            let (l, u) = input.map_or((self.input, self.input), |input| (&input.lower, &input.upper));
            let all = |side: &[Number], up: bool| side.iter().map(|z| f(*z, up)).collect();
            Bounds { lower: all(l, false), upper: all(u, true) }
        };
        let moved = |x: Number, by: Number, up: bool| match (by == Number::ZERO, up) {
            (true, _) => x,
            (false, true) => Dyadic::from(x).plus(&by.into()).up(),
            (false, false) => Dyadic::from(x).minus(&by.into()).down(),
        };
        let mut bounds = match &node.op {
            Op::Input(_) => {
                let clip = |x: Number| model.set.input_range.map_or(x, |(low, high)| x.max(low).min(high));
                // The unperturbed input is in the set, wherever it is.
                each(&|x, up| {
                    let end = clip(moved(x, model.set.input_radius, up));
                    if up { end.max(x) } else { end.min(x) }
                })
            }
            Op::Activation(f) => each(&|z, up| {
                let (below, above) = f.around(z);
                moved(if up { above } else { below }, model.set.activation_radius, up)
            }),
            Op::MaxPool(window) => {
                let input = input.expect("pooling reads a node");
                let most = |k, side: &[Number]| {
                    pooled(window, k).map(|j| side[j]).max().expect("no window is empty")
                };
                let all = |side: &[Number]| (0..node.width).map(|k| most(k, side)).collect();
                Bounds { lower: all(&input.lower), upper: all(&input.upper) }
            }
            Op::Sum if node.inputs.len() == 1 => each(&|z, _| z),
            Op::Affine(_) | Op::Scale { .. } | Op::AveragePool { .. } | Op::Sum => match known {
                Some(known) => return (**known).clone(),
                None if is_claimed => return Bounds { lower: vec![], upper: vec![] },
                None => {
                    let pass = Pass { model, state, reach: Reach::Near };
                    let end =
                        |sign| (0..node.width).map(move |j| pass.bound(index, &[(j, sign)], None).down());
                    Bounds { lower: end(1).collect(), upper: end(-1).map(Number::negated).collect() }
                }
            },
        };
        if let Some(known) = known {
            bounds.lower.iter_mut().zip(&known.lower).for_each(|(own, &l)| *own = l.max(*own));
            bounds.upper.iter_mut().zip(&known.upper).for_each(|(own, &u)| *own = u.min(*own));
        }
        bounds
    }

    /// Checks a claimed box, element by element, and takes it into `bounds`.
    fn claimed(&mut self, state: &State, claim: &BoxClaim, bounds: &mut Bounds) -> Result<(), String> {
        let node = &self.model.network.nodes[claim.node];
        let elements = elements(claim.elements.as_ref(), node.width)?;
        let (lower, upper) = (claim.lower.exactly(elements.len())?, claim.upper.exactly(elements.len())?);
        let nothing = bounds.lower.is_empty();
        if nothing && elements.len() != node.width {
            return Err(format!("expected boxes of {} elements, found {}", node.width, elements.len()));
        }
        let mut shown = [0, 0];
        for (k, &j) in elements.iter().enumerate() {
            let sides = [
                (1, lower[k], bounds.lower.get(j).copied()),
                (-1, upper[k].negated(), bounds.upper.get(j).map(|u| u.negated())),
            ];
            for (sign, end, known) in sides {
                if known.is_some_and(|known| end <= known) {
                    continue;
                }
                let end = Dyadic::from(end);
                // The box of a nonlinear node follows from that of its input, and no better one is shown.
                let is_shown =
                    node.inputs.is_empty() || matches!(node.op, Op::Activation(_) | Op::MaxPool(_));
                let bound = |reach| match (is_shown, known) {
                    (true, Some(known)) => known.into(),
                    _ => Pass { model: self.model, state, reach }.bound(claim.node, &[(j, sign)], None),
                };
                let near = bound(Reach::Near);
                let far = if near < end { self.far(|far| *far >= end, bound) } else { near.clone() };
                if far < end {
                    let (side, best) = (if sign > 0 { "lower" } else { "upper" }, near.max(far));
                    let of = |x: Dyadic| if sign > 0 { x } else { x.negated() };
                    return Err(format!(
                        "element {j}: the {side} end {} is claimed, {} recomputed",
                        of(end),
                        of(best)
                    ));
                }
                shown[usize::from(near < end)] += 1;
            }
        }
        let [near, far] = shown;
        let (number, name) = (claim.node, &node.name);
        (self.tell)(format!(
            "node {number} ({name}): {near} ends by the interval step, {far} by backward passes"
        ));
        if nothing {
            *bounds = Bounds { lower: lower.to_vec(), upper: upper.to_vec() };
        }
        for (k, &j) in elements.iter().enumerate() {
            bounds.lower[j] = bounds.lower[j].max(lower[k]);
            bounds.upper[j] = bounds.upper[j].min(upper[k]);
        }
        Ok(())
    }

    /// The bound of a backward pass; the second kind of it where there is one and the first is not enough.
    fn far(&self, is_enough: impl Fn(&Dyadic) -> bool, bound: impl Fn(Reach) -> Dyadic) -> Dyadic {
        let first = bound(Reach::PerUse);
        let more = self.model.shares.contains(&true) && !is_enough(&first);
        if more { first.max(bound(Reach::Shared)) } else { first }
    }

    /// Whether the bounds of an element cross, so that the domain is empty.
    fn crossing(&mut self, state: &State, empty: Element, known: Option<&Arc<Bounds>>) -> Result<(), String> {
        let Element { node, element } = empty;
        let known = known.ok_or("the whole set is not empty")?;
        if element >= known.lower.len()
            || !matches!(self.model.network.nodes[node].op, Op::Affine(_) | Op::Sum)
        {
            return Err(format!("element {element}: expected one of a layer or a sum"));
        }
        let (l, u) = (known.lower[element], known.upper[element]);
        let bound =
            |sign, reach| Pass { model: self.model, state, reach }.bound(node, &[(element, sign)], None);
        let (u_end, l_end) = (Dyadic::from(u), Dyadic::from(l.negated()));
        let crosses = |reach| bound(1, reach) > u_end || bound(-1, reach) > l_end;
        if ![Reach::Near, Reach::PerUse, Reach::Shared].into_iter().any(crosses) {
            return Err(format!("element {element}: the domain is not empty by its bounds"));
        }
        (self.tell)(format!("node {node} element {element}: nothing is left between {l} and {u}"));
        Ok(())
    }

    /// Checks one row of the specification.
    fn row(&mut self, state: &State, row: &Row, chosen: Option<&Chosen>) -> Result<(), String> {
        let bound = |reach, chosen| {
            let pass = Pass { model: self.model, state, reach };
            pass.bound(self.model.network.output(), &row.outputs, chosen).plus(&row.constant)
        };
        let near = bound(Reach::Near, None);
        let far = |reach| bound(reach, chosen);
        let best = if near.is_positive() { near } else { near.max(self.far(Dyadic::is_positive, far)) };
        (self.tell)(format!("row {}: at least {best}", row.number));
        if !best.is_positive() {
            return Err(format!("row {}: expected a bound above 0, recomputed {best}", row.number));
        }
        self.least = Some(self.least.take().map_or(best.clone(), |least| least.min(best)));
        Ok(())
    }

    /// Slopes and multipliers of a row.
    fn chosen(&self, claim: &RowClaim) -> Result<Chosen, String> {
        let nodes = &self.model.network.nodes;
        let mut chosen = Chosen { slopes: vec![None; nodes.len()], multipliers: vec![None; nodes.len()] };
        // One number for each element, where there is one.
        let all = |own: &NodeNumbers| {
            let at = |what: String| format!("node {}: {what}", own.node);
            let width = nodes.get(own.node).map(|node| node.width).ok_or_else(|| at("missing".into()))?;
            let elements = elements(own.elements.as_ref(), width).map_err(at)?;
            let values = own.values.exactly(elements.len()).map_err(at)?;
            let mut all = vec![None; width];
            elements.into_iter().zip(values).for_each(|(j, value)| all[j] = Some(*value));
            Ok::<_, String>(all)
        };
        for own in &claim.slopes {
            let slopes = all(own)?;
            if nodes[own.node].op != Op::Activation(Activation::Relu)
                || !slopes.iter().flatten().all(|s| is_share(*s))
            {
                return Err(format!("node {}: expected slopes from 0 to 1 of a ReLU", own.node));
            }
            chosen.slopes[own.node] = Some(slopes.into_iter().map(|s| s.map(Number::fraction)).collect());
        }
        for own in &claim.multipliers {
            let multipliers = all(own)?.into_iter().map(|m| m.unwrap_or(Number::ZERO));
            chosen.multipliers[own.node] = Some(multipliers.collect());
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
