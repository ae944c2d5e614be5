//! The proof of one sample, repeated: boxes in the order of their nodes, splits, and the rows of the specification.

use crate::certificate::{BoxClaim, Domain, NodeNumbers, Property, Record, RowClaim, Verdict};
use crate::exact;
use crate::layer::Model;
use crate::network::{Activation, Op, is_share};
use crate::number::{Dyadic, Number, exactly, one};
use crate::pass::{Chosen, Pass};
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
    /// The witness breaks the property by this margin, at most zero.
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
pub fn check(
    model: &Model,
    property: &Property,
    record: &Record,
    tell: Tell<'_>,
) -> Result<Accepted, String> {
    let network = &model.network;
    let input = exactly(network.nodes[0].width, &record.input).map_err(|error| format!("input: {error}"))?;
    let outputs = network.nodes[network.output()].width;
    if let Some(class) = record.class.filter(|class| *class >= outputs) {
        return Err(format!("class {class}: there are {outputs} outputs"));
    }
    let rows = rows(model, property, record.class, &input)?;
    match &record.verdict {
        Verdict::Unknown(reason) => {
            tell(format!("nothing is claimed: {reason}"));
            Ok(Accepted::Unknown)
        }
        Verdict::Falsified(witness) => {
            let margin = exact::broken(model, property, (record.class, &rows), &input, witness)?;
            tell(format!("witness: row {} is {margin} at the moved parameters, exactly", witness.row));
            Ok(Accepted::Falsified(margin))
        }
        Verdict::Verified(domains) => {
            let mut proof = Proof { model, input: &input, domains, least: None, tell };
            proof.check(&rows)?;
            let least = proof.least.unwrap_or_else(Dyadic::zero);
            Ok(Accepted::Verified(least, domains.len()))
        }
    }
}

/// The rows of the specification.
fn rows(
    model: &Model,
    property: &Property,
    class: Option<usize>,
    input: &[Number],
) -> Result<Vec<Row>, String> {
    let count = model.network.nodes[model.network.output()].width;
    let tolerance = match property {
        Property::Label | Property::Prediction => {
            let class = class.ok_or("class: expected one, found none")?;
            let margin = |number: usize| Row {
                number,
                outputs: vec![(class, 1), (number, -1)],
                constant: Dyadic::zero(),
            };
            let rows: Vec<Row> = (0..count).filter(|j| *j != class).map(margin).collect();
            return if rows.is_empty() { Err("one output has no rival".into()) } else { Ok(rows) };
        }
        Property::Deviation { tolerance } => {
            Dyadic::from(one(tolerance).map_err(|e| format!("tolerance: {e}"))?)
        }
    };
    // |f̂ − f| < tolerance: tolerance + f − f̂ > 0 and tolerance − f + f̂ > 0.
    let clean = exact::outputs(model, input, None)?;
    let sides = clean.iter().enumerate().flat_map(|(j, f)| {
        let side = |number, sign, constant| Row { number, outputs: vec![(j, sign)], constant };
        [side(2 * j, -1, tolerance.plus(f)), side(2 * j + 1, 1, tolerance.minus(f))]
    });
    Ok(sides.collect())
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
        let mut tasks = vec![Task { domain: 0, before: None, rows: (0..rows.len()).collect() }];
        let mut visited = 0;
        while let Some(task) = tasks.pop() {
            let domains = self.domains;
            let domain = domains.get(task.domain).ok_or(format!("domain {}: missing", task.domain))?;
            visited += 1;
            let number = task.domain;
            if visited > domains.len() {
                return Err(format!("domain {number} is used twice"));
            }
            let children = self.domain(domain, task, rows);
            let at = |what: String| if domains.len() > 1 { format!("domain {number}: {what}") } else { what };
            tasks.extend(children.map_err(at)?);
        }
        // Each domain is a part of one other.
        if visited == self.domains.len() {
            Ok(())
        } else {
            Err(format!("{visited} domains of {} are in the tree", self.domains.len()))
        }
    }

    /// Checks a domain and returns its parts.
    fn domain(&mut self, domain: &Domain, task: Task, rows: &[Row]) -> Result<Vec<Task>, String> {
        let Some(state) = self.boxes(domain, task.before.as_ref())? else {
            return Ok(vec![]);
        };
        let mut open = task.rows;
        for claim in &domain.rows {
            let place = open.iter().position(|&row| rows[row].number == claim.row);
            let place = place.ok_or(format!("row {}: there is no such row to prove", claim.row))?;
            let chosen = self.chosen(claim).map_err(|error| format!("row {}: {error}", claim.row))?;
            self.row(&state, &rows[open.remove(place)], Some(&chosen))?;
        }
        let Some(split) = &domain.split else {
            return open.iter().try_for_each(|&row| self.row(&state, &rows[row], None)).map(|()| vec![]);
        };
        let value = one(&split.value).map_err(|error| format!("split: {error}"))?;
        let width = self.model.network.nodes.get(split.node).map_or(0, |node| node.width);
        if split.element >= width {
            return Err(format!("split: node {} has no element {}", split.node, split.element));
        }
        (self.tell)(format!("split: node {} element {} at {value}", split.node, split.element));
        let part = |number: usize, cut: fn(&mut Bounds, usize, Number)| {
            if number <= task.domain {
                return Err(format!("split: domain {number} is not behind domain {}", task.domain));
            }
            let mut before = state.clone();
            let mut bounds = (*state.boxes[split.node]).clone();
            cut(&mut bounds, split.element, value);
            before.boxes[split.node] = Arc::new(bounds);
            Ok(Task { domain: number, before: Some(before), rows: open.clone() })
        };
        let below = part(split.below, |b, j, v| b.upper[j] = b.upper[j].min(v))?;
        let above = part(split.above, |b, j, v| b.lower[j] = b.lower[j].max(v))?;
        Ok(vec![above, below])
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
            if domain.empty.is_some_and(|empty| empty.node == index) {
                let element = domain.empty.map_or(0, |empty| empty.element);
                return self.crossing(&state, index, element, known).map_err(at).map(|()| None);
            }
            let mut bounds = self.derived(&state, index, known, claim.is_some());
            if let Some(claim) = claim {
                self.claimed(&state, index, claim, &mut bounds).map_err(at)?;
            }
            if let Some(j) = (0..node.width).find(|&j| bounds.lower[j] > bounds.upper[j]) {
                let (l, u) = (bounds.lower[j], bounds.upper[j]);
                // A part whose bounds cross holds no point of the set; the whole set cannot.
                return if before.is_some() {
                    Ok(None)
                } else {
                    Err(at(format!("element {j}: {l} above {u}")))
                };
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
    /// interval step, where nothing is known. It lies in what is known.
    fn derived(&self, state: &State, index: usize, known: Option<&Arc<Bounds>>, is_claimed: bool) -> Bounds {
        let (model, node) = (self.model, &self.model.network.nodes[index]);
        let input = node.inputs.first().map(|&i| &state.boxes[i]);
        let mut bounds = match (&node.op, input) {
            (Op::Activation(f), Some(input)) => activated(*f, input, model.set.activation_radius),
            (Op::MaxPool(window), Some(input)) => {
                let elements = |k: usize| window.taps(k / window.positions(), k % window.positions());
                let most = |k, side: &[Number]| {
                    elements(k).iter().map(|(_, j)| side[*j]).max().expect("no window is empty")
                };
                let all = |side: &[Number]| (0..node.width).map(|k| most(k, side)).collect();
                Bounds { lower: all(&input.lower), upper: all(&input.upper) }
            }
            (Op::Sum, Some(input)) if node.inputs.len() == 1 => (**input).clone(),
            (Op::Input, _) => self.input_box(),
            _ if known.is_some() => return known.map(|known| (**known).clone()).expect("it is known"),
            // Every side is claimed, and compared with what is recomputed for it.
            _ if is_claimed => Bounds { lower: vec![], upper: vec![] },
            _ => {
                let pass = Pass { model, state, far: false };
                let end = |sign: i64| (0..node.width).map(move |j| pass.bound(index, &[(j, sign)], None));
                Bounds {
                    lower: end(1).map(|bound| bound.down()).collect(),
                    upper: end(-1).map(|bound| bound.down().negated()).collect(),
                }
            }
        };
        if let Some(known) = known {
            bounds.lower.iter_mut().zip(&known.lower).for_each(|(own, &l)| *own = l.max(*own));
            bounds.upper.iter_mut().zip(&known.upper).for_each(|(own, &u)| *own = u.min(*own));
        }
        bounds
    }

    fn input_box(&self) -> Bounds {
        let set = &self.model.set;
        let radius = Dyadic::from(set.input_radius);
        let clip = |x: Number| set.input_range.map_or(x, |(low, high)| x.max(low).min(high));
        Bounds {
            lower: self.input.iter().map(|x| clip(Dyadic::from(*x).minus(&radius).down())).collect(),
            upper: self.input.iter().map(|x| clip(Dyadic::from(*x).plus(&radius).up())).collect(),
        }
    }

    /// Checks a claimed box, element by element, and takes it into `bounds`.
    fn claimed(
        &mut self,
        state: &State,
        index: usize,
        claim: &BoxClaim,
        bounds: &mut Bounds,
    ) -> Result<(), String> {
        let width = self.model.network.nodes[index].width;
        let elements = elements(claim.elements.as_ref(), width)?;
        let lower = exactly(elements.len(), &claim.lower).map_err(|error| format!("lower ends: {error}"))?;
        let upper = exactly(elements.len(), &claim.upper).map_err(|error| format!("upper ends: {error}"))?;
        // Where nothing is known, all elements must be claimed.
        let nothing = bounds.lower.is_empty();
        if nothing && elements.len() != width {
            return Err(format!("expected boxes of {width} elements, found {}", elements.len()));
        }
        let (mut near, mut far) = (0, 0);
        for (k, &j) in elements.iter().enumerate() {
            let sides = [
                (1, lower[k], bounds.lower.get(j).copied()),
                (-1, upper[k].negated(), bounds.upper.get(j).map(|u| u.negated())),
            ];
            for (sign, end, known) in sides {
                if known.is_some_and(|known| end <= known) {
                    continue;
                }
                match self.proves((state, index), (j, sign), end, known) {
                    Ok(true) => near += 1,
                    Ok(false) => far += 1,
                    Err(best) => {
                        let side = if sign > 0 { "lower" } else { "upper" };
                        let of = |x: Dyadic| if sign > 0 { x } else { x.negated() };
                        let (end, best) = (of(end.into()), of(best));
                        return Err(format!(
                            "element {j}: the {side} end {end} is claimed, {best} recomputed"
                        ));
                    }
                }
            }
        }
        let name = &self.model.network.nodes[index].name;
        (self.tell)(format!(
            "node {index} ({name}): {near} ends by the interval step, {far} by backward passes"
        ));
        if nothing {
            *bounds = Bounds { lower, upper };
        } else {
            for (k, &j) in elements.iter().enumerate() {
                bounds.lower[j] = bounds.lower[j].max(lower[k]);
                bounds.upper[j] = bounds.upper[j].min(upper[k]);
            }
        }
        Ok(())
    }

    /// Whether the interval step (true) or a backward pass (false) shows `sign · z ≥ end`; else the better bound.
    fn proves(
        &self,
        (state, index): (&State, usize),
        row: (usize, i64),
        end: Number,
        known: Option<Number>,
    ) -> Result<bool, Dyadic> {
        let end = Dyadic::from(end);
        if let Op::Input | Op::Activation(_) | Op::MaxPool(_) = self.model.network.nodes[index].op {
            // Its box follows from that of its input, and no better one is shown.
            return Err(known.map_or_else(Dyadic::zero, Dyadic::from));
        }
        let bound = |far| Pass { model: self.model, state, far }.bound(index, &[row], None);
        let near = bound(false);
        if near >= end {
            return Ok(true);
        }
        let far = bound(true);
        if far >= end { Ok(false) } else { Err(near.max(far)) }
    }

    /// Whether the bounds of an element cross, so that the domain is empty.
    fn crossing(
        &mut self,
        state: &State,
        index: usize,
        element: usize,
        known: Option<&Arc<Bounds>>,
    ) -> Result<(), String> {
        let known = known.ok_or("the whole set is not empty")?;
        let (Some(&l), Some(&u)) = (known.lower.get(element), known.upper.get(element)) else {
            return Err(format!("there is no element {element}"));
        };
        let bound = |sign, far| Pass { model: self.model, state, far }.bound(index, &[(element, sign)], None);
        let above = |far: bool| bound(1, far) > Dyadic::from(u);
        let below = |far: bool| bound(-1, far) > Dyadic::from(l.negated());
        if above(false) || below(false) || above(true) || below(true) {
            (self.tell)(format!("node {index} element {element}: nothing is left between {l} and {u}"));
            return Ok(());
        }
        Err(format!("element {element}: the domain is not empty by its bounds"))
    }

    /// Checks one row of the specification.
    fn row(&mut self, state: &State, row: &Row, chosen: Option<&Chosen>) -> Result<(), String> {
        let output = self.model.network.output();
        let bound = |far, chosen| {
            let pass = Pass { model: self.model, state, far };
            pass.bound(output, &row.outputs, chosen).plus(&row.constant)
        };
        let near = bound(false, None);
        let best = if near.is_positive() { near } else { near.max(bound(true, chosen)) };
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
        let parsed = |own: &NodeNumbers| {
            let width =
                nodes.get(own.node).map(|node| node.width).ok_or(format!("there is no node {}", own.node))?;
            let elements = elements(own.elements.as_ref(), width)?;
            let values = exactly(elements.len(), &own.values)
                .map_err(|error| format!("node {}: {error}", own.node))?;
            Ok::<_, String>((elements, values))
        };
        for own in &claim.slopes {
            let (elements, values) = parsed(own)?;
            if nodes[own.node].op != Op::Activation(Activation::Relu)
                || elements.len() != nodes[own.node].width
            {
                return Err(format!("slopes of node {}: expected one for each element of a ReLU", own.node));
            }
            if let Some(bad) = values.iter().find(|slope| !is_share(**slope)) {
                return Err(format!(
                    "slopes of node {}: expected numbers from 0 to 1, found {bad}",
                    own.node
                ));
            }
            chosen.slopes[own.node] = Some(values.into_iter().map(Number::fraction).collect());
        }
        for own in &claim.multipliers {
            let (elements, values) = parsed(own)?;
            let all =
                chosen.multipliers[own.node].get_or_insert_with(|| vec![Number::ZERO; nodes[own.node].width]);
            elements.into_iter().zip(values).for_each(|(j, m)| all[j] = m);
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

/// The box of an activation.
fn activated(f: Activation, input: &Bounds, radius: Number) -> Bounds {
    let error = Dyadic::from(radius);
    let moves = radius != Number::ZERO;
    let low =
        |l: &Number| if moves { Dyadic::from(f.around(*l).0).minus(&error).down() } else { f.around(*l).0 };
    let high =
        |u: &Number| if moves { Dyadic::from(f.around(*u).1).plus(&error).up() } else { f.around(*u).1 };
    Bounds { lower: input.lower.iter().map(low).collect(), upper: input.upper.iter().map(high).collect() }
}
