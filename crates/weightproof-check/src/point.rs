//! Witnesses and unperturbed outputs: the network at one point of the set.
//!
//! The passes of [`crate::pass`] are used on a set that is one point: boxes are as narrow as integers of 57 bits can make them, and
//! bounds of both signs enclose every output.

use crate::certificate::{Moved, MovedLayer, Property, WeightSet, Witness};
use crate::check::{Row, root};
use crate::layer::{Map, Model};
use crate::network::{Affine, Op, is_share};
use crate::number::{Dyadic, Number, Numbers};
use crate::pass::{Pass, Reach};
use crate::set::Set;
use crate::state::State;

/// The network at the parameters of a witness, or without perturbation, at an input.
pub struct Point {
    model: Model,
    state: State,
}

impl Point {
    /// Of the unperturbed network.
    ///
    /// # Errors
    /// When numbers are too large.
    pub fn clean(model: &Model, input: &[Number]) -> Result<Point, String> {
        Point::moved(model, input, &[])
    }

    /// With layers moved; that the move is in the set is checked.
    fn moved(model: &Model, input: &[Number], layers: &[MovedLayer]) -> Result<Point, String> {
        let network = model.network.clone();
        let set = Set {
            layers: vec![None; network.nodes.len()],
            input_radius: Number::ZERO,
            activation_radius: Number::ZERO,
            input_range: None,
        };
        let mut point = Model::new(network, set);
        for (k, layer) in layers.iter().enumerate() {
            let at = |what: &str| format!("witness: node {}: {what}", layer.node);
            let Some(Op::Affine(affine)) = model.network.nodes.get(layer.node).map(|node| &node.op) else {
                return Err(at("has no parameters"));
            };
            if layers[..k].iter().any(|other| other.node >= layer.node) {
                return Err(at("layers are not in the order of the nodes"));
            }
            let map = match &layer.to {
                Moved::Parameters { weight, bias } => {
                    moved_to(model, layer.node, affine, (weight, bias.as_ref()))
                }
                Moved::Rows(t) => {
                    // The signs of what the layer reads are those at the point so far.
                    let state = root(&point, input)?;
                    moved_by(
                        model,
                        layer.node,
                        affine,
                        (t, &state.boxes[model.network.nodes[layer.node].inputs[0]].lower),
                    )
                }
            };
            point.maps[layer.node] = Some(map.map_err(|what| at(&what))?);
        }
        let state = root(&point, input)?;
        Ok(Point { model: point, state })
    }

    /// A number that is at most the sum of outputs with signs.
    pub fn below(&self, outputs: &[(usize, i64)]) -> Dyadic {
        let pass = Pass { model: &self.model, state: &self.state, reach: Reach::PerUse };
        pass.bound(self.model.network.output(), outputs, None)
    }

    /// A number that is at least that sum.
    pub fn above(&self, outputs: &[(usize, i64)]) -> Dyadic {
        self.below(&outputs.iter().map(|&(j, sign)| (j, -sign)).collect::<Vec<_>>()).negated()
    }
}

/// An upper bound of a row of the specification at a witness, when it is at most zero and the witness lies in the set.
///
/// # Errors
/// Says which parameter is outside of the set, or that the property may hold there.
pub fn broken(
    model: &Model,
    property: Property,
    (class, rows): (Option<usize>, &[Row]),
    input: &[Number],
    witness: &Witness,
) -> Result<Dyadic, String> {
    let row = rows.iter().find(|row| row.number == witness.row);
    let row = row.ok_or(format!("witness: there is no row {}", witness.row))?;
    if let (Property::Prediction, Some(class)) = (property, class) {
        let clean = Point::clean(model, input)?;
        if let Some(rival) = rows.iter().find(|row| clean.below(&row.outputs).is_negative()) {
            return Err(format!("the unperturbed network may say class {}, not {class}", rival.number));
        }
    }
    let moved = match &witness.input {
        None => input,
        Some(moved) => moved.exactly(input.len()).map_err(|error| format!("witness: input: {error}"))?,
    };
    let (radius, range) = (Dyadic::from(model.set.input_radius), model.set.input_range);
    for (j, (x, moved)) in input.iter().zip(moved).enumerate() {
        let inside = range.is_none_or(|(low, high)| (low..=high).contains(moved)) || moved == x;
        if !inside || Dyadic::from(*moved).minus(&(*x).into()).magnitude() > radius {
            return Err(format!("witness: input {j} is moved from {x} to {moved}, out of the set"));
        }
    }
    let value = Point::moved(model, moved, &witness.layers)?.above(&row.outputs).plus(&row.constant);
    if value.is_positive() {
        Err(format!("witness: row {} may be {value}, above 0", row.number))
    } else {
        Ok(value)
    }
}

/// A layer at these parameters, which must lie in its set.
fn moved_to(
    model: &Model,
    node: usize,
    affine: &Affine,
    (weight, bias): (&Numbers, Option<&Numbers>),
) -> Result<Map, String> {
    let weight = weight.exactly(affine.weight.0.len())?;
    let bias = bias.map(|bias| bias.exactly(affine.rows)).transpose()?;
    let set = model.set.layers[node].as_ref().ok_or("the layer does not move")?;
    let bias = |i: usize| bias.map_or(affine.bias(i), |bias| bias[i]);
    let columns = affine.columns();
    let out = |i: usize| Err(format!("parameters of row {i} are out of the set"));
    let mut all = Dyadic::zero();
    for i in 0..affine.rows {
        let mut squares = Dyadic::zero();
        for k in i * columns..(i + 1) * columns {
            let change = Dyadic::from(weight[k]).minus(&affine.weight.0[k].into());
            if !set.is_ball() && change.magnitude() > set.radius(affine, i, k % columns) {
                return out(i);
            }
            squares = squares.plus(&change.times(&change));
        }
        all = all.plus(&squares);
        let (length, radius) = match &set.weights {
            WeightSet::Ball(r) => (&all, *r),
            WeightSet::RowBalls(rows) => (&squares, rows.0[i]),
            WeightSet::Uniform(_) | WeightSet::Rows(_) | WeightSet::Relative(_) | WeightSet::Entries(_) => {
                (&squares, Number::ZERO)
            }
        };
        let moved = Dyadic::from(bias(i)).minus(&affine.bias(i).into()).magnitude();
        let is_out = set.is_ball() && *length > Dyadic::from(radius).times(&radius.into());
        if is_out || moved > Dyadic::from(set.bias(i)) {
            return out(i);
        }
    }
    Ok(Map::at(
        affine,
        model.network.read_by(node),
        |i, j| weight[i * columns + j].into(),
        |i| bias(i).into(),
    ))
}

/// A dense layer moved by a share t of the radii of each row: `Δ_ij = t_i E_ij sign(z_j)`. With another sign it
/// is in the set, too.
fn moved_by(
    model: &Model,
    node: usize,
    affine: &Affine,
    (t, z): (&Numbers, &[Number]),
) -> Result<Map, String> {
    let t = t.exactly(affine.rows)?;
    let set = model.set.layers[node].as_ref().ok_or("the layer does not move")?;
    if set.is_ball() || affine.window.is_some() || !t.iter().all(|t| is_share(t.magnitude())) {
        return Err("expected shares from -1 to 1 of the box of a dense layer".into());
    }
    let weight = |i: usize, j: usize| {
        let change = Dyadic::from(t[i]).times(&set.radius(affine, i, j));
        let change = if z[j].is_negative() { change.negated() } else { change };
        Dyadic::from(affine.weight.0[i * affine.columns() + j]).plus(&change)
    };
    let bias = |i: usize| Dyadic::from(affine.bias(i)).plus(&Dyadic::from(t[i]).times(&set.bias(i).into()));
    Ok(Map::at(affine, model.network.read_by(node), weight, bias))
}
