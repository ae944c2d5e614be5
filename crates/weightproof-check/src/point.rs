//! Witnesses and unperturbed outputs: the network at one point of the set.
//!
//! The passes of [`crate::pass`] are used on a set that is one point: boxes are as narrow as integers of 53 bits can make them, and
//! bounds of both signs enclose every output.

use crate::certificate::{Faults, HitWord, Moved, Place, Property, WeightSet, Witness};
use crate::check::{Row, root};
use crate::faults::words;
use crate::layer::Model;
use crate::network::{Affine, Network, Op, is_share};
use crate::number::{Interval, Number, Numbers};
use crate::pass::{Pass, Reach};
use crate::relax::{Bounds, State};
use crate::set::{LayerSet, Set};
use std::sync::Arc;

/// A network without perturbation at an input.
pub struct Point {
    model: Model,
    state: State,
}

impl Point {
    /// Of a network and an input.
    ///
    /// # Errors
    /// When numbers are too large.
    pub fn new(network: &Network, input: &[Number]) -> Result<Point, String> {
        let model = Model::new(network.clone(), Set::of_one_point(network));
        Ok(Point { state: root(&model, input)?, model })
    }

    /// A number that is at most the sum of outputs with signs.
    pub fn below(&self, outputs: &[(usize, i64)]) -> Number {
        let pass = Pass { model: &self.model, state: &self.state, reach: Reach::PerUse };
        pass.bound(self.model.network.output(), outputs, None)
    }

    /// A number that is at least that sum.
    pub fn above(&self, outputs: &[(usize, i64)]) -> Number {
        -self.below(&outputs.iter().map(|&(j, sign)| (j, -sign)).collect::<Vec<_>>())
    }
}

/// An upper bound of a row of the specification at a witness, when it is at most zero and the witness lies in the set.
///
/// # Errors
/// Says which parameter is outside of the set, or that the property may hold there.
pub fn broken(
    (model, faults): (&Model, Option<&Faults>),
    property: Property,
    rows: &[Row],
    input: &[Number],
    witness: &Witness,
) -> Result<Number, String> {
    let row = rows.iter().find(|row| row.number == witness.row);
    let row = row.ok_or_else(|| format!("there is no row {}", witness.row))?;
    if property == Property::Prediction {
        let clean = Point::new(&model.network, input)?;
        if let Some(rival) = rows.iter().find(|row| clean.below(&row.outputs).is_negative()) {
            return Err(format!("the unperturbed network may say class {}", rival.number));
        }
    }
    let moved = match &witness.input {
        None => input,
        Some(moved) => moved.exactly(input.len()).map_err(|error| format!("input: {error}"))?,
    };
    for (j, (&from, &to)) in input.iter().zip(moved).enumerate() {
        let in_range = model.set.input_range.is_none_or(|[low, high]| low <= to && to <= high);
        if !(in_range || from == to) || apart(from, to) > model.set.input_radius {
            return Err(format!("input {j} is moved from {from} to {to}, out of the set"));
        }
    }
    let mut network = model.network.clone();
    for (k, layer) in witness.layers.iter().enumerate() {
        let at = |what: String| format!("node {}: {what}", layer.node);
        let set = model.set.layers.get(layer.node).and_then(Option::as_ref);
        let set = set.ok_or_else(|| at("does not move".into()))?;
        if witness.layers[..k].iter().any(|other| other.node >= layer.node) {
            return Err(at("layers are not in the order of the nodes".into()));
        }
        let Op::Affine(from) = &model.network.nodes[layer.node].op else { unreachable!("only layers move") };
        let to = parameters(&layer.to, from, set, || {
            let input_of = model.network.nodes[layer.node].inputs[0];
            Ok(Point::new(&network, moved)?.state.boxes[input_of].clone())
        });
        let to = to.map_err(at)?;
        if let Some(what) = outside(from, &to, set) {
            return Err(at(format!("{what} is out of the set")));
        }
        network.nodes[layer.node].op = Op::Affine(to);
    }
    hit(&mut network, faults, &witness.hits).map_err(|what| format!("hits: {what}"))?;
    let value = Point::new(&network, moved)?.above(&row.outputs) + row.constant;
    if value.is_positive() { Err(format!("row {} may be {value}, above 0", row.number)) } else { Ok(value) }
}

/// Changes the words of a network that a witness lists.
fn hit(network: &mut Network, faults: Option<&Faults>, hits: &[HitWord]) -> Result<(), String> {
    let Some(faults) = faults else {
        return if hits.is_empty() { Ok(()) } else { Err("no word may be hit".into()) };
    };
    if hits.len() > faults.words || !hits.is_sorted_by(|a, b| (a.node, a.word) < (b.node, b.word)) {
        return Err(format!("expected at most {} words, in their order", faults.words));
    }
    let before = network.clone();
    let layers = words(faults, &before)?;
    for HitWord { node, word, to } in hits {
        let layer = layers.iter().find(|layer| layer.node() == *node);
        let layer = layer.ok_or_else(|| format!("node {node}: no word may be hit"))?;
        let after = layer.at(*word)?.after(*to, faults)?;
        let Op::Affine(affine) = &mut network.nodes[*node].op else { unreachable!("only layers have words") };
        match (*word, &mut affine.bias) {
            (Place::Weight(k), _) => affine.weight.0[k] = after,
            (Place::Bias(i), Some(bias)) => bias.0[i] = after,
            (Place::Bias(_), None) => unreachable!("the word was found"),
        }
    }
    Ok(())
}

/// The parameters of a moved layer that reads `z`.
fn parameters(
    to: &Moved,
    from: &Affine,
    set: &LayerSet,
    z: impl Fn() -> Result<Arc<Bounds>, String>,
) -> Result<Affine, String> {
    let (weight, bias) = match to {
        Moved::Parameters { weight, bias } => {
            let bias = bias.as_ref().map(|bias| bias.exactly(from.rows)).transpose()?;
            let bias = bias.map_or_else(|| from.bias.clone(), |bias| Some(Numbers(bias.to_vec())));
            (weight.exactly(from.weight.0.len())?.to_vec(), bias)
        }
        Moved::Rows(t) => {
            let (t, z) = (t.exactly(from.rows)?, z()?);
            if set.is_ball() || from.window.is_some() || !t.iter().all(|t| is_share(t.magnitude())) {
                return Err("expected shares from -1 to 1 of the box of a dense layer".into());
            }
            // Rounded towards where it comes from, so that it stays in the set.
            let moved = |from: Number, by: Number| {
                let around = Interval::around(from + by, -from - by);
                around.worst(!by.is_negative())
            };
            let columns = from.columns();
            let weight = |(k, &w): (usize, &Number)| {
                let by = t[k / columns] * set.radius(from, k).down();
                moved(w, if z[k % columns].low.is_negative() { -by } else { by })
            };
            let bias = |i: usize| moved(from.bias(i), t[i] * set.bias(i));
            (
                from.weight.0.iter().enumerate().map(weight).collect(),
                Some(Numbers((0..from.rows).map(bias).collect())),
            )
        }
    };
    Ok(Affine { rows: from.rows, weight: Numbers(weight), bias, window: from.window.clone(), stored: None })
}

/// `|a − b|`, rounded up.
fn apart(a: Number, b: Number) -> Number {
    let change = Interval::around(a - b, b - a);
    change.high.max(-change.low)
}

/// What of a moved layer is out of its set.
fn outside(from: &Affine, to: &Affine, set: &LayerSet) -> Option<String> {
    if let Some(i) = (0..from.rows).find(|&i| apart(from.bias(i), to.bias(i)) > set.bias(i)) {
        return Some(format!("bias {i}"));
    }
    let changes: Vec<Number> = from.weight.0.iter().zip(&to.weight.0).map(|(&a, &b)| apart(a, b)).collect();
    let together = if let WeightSet::Ball(_) = set.weights { changes.len() } else { from.columns() };
    let is_out = |(i, row): (usize, &[Number])| {
        let radius = |j: usize| set.radius(from, i * together + j);
        if !set.is_ball() {
            return row.iter().enumerate().any(|(j, &change)| change > radius(j));
        }
        let r = radius(0).down();
        row.iter().fold(r * r, |rest, &change| rest - change * change).is_negative()
    };
    changes.chunks(together).enumerate().position(is_out).map(|i| format!("row {i}"))
}
