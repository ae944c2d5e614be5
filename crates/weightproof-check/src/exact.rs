//! The network at one point of the set, exactly: outputs, and witnesses.

use crate::certificate::{Moved, Property, Witness};
use crate::check::Row;
use crate::layer::Model;
use crate::network::{Activation, Affine, Op, Window, is_share};
use crate::number::{Dyadic, Number, exactly};
use crate::set::{Layer, Weights};
use num_bigint::BigInt;

/// How one layer is moved.
#[derive(Clone, Debug)]
enum Move {
    /// To these weights and biases.
    To(Vec<Number>, Vec<Number>),
    /// Rows by a share of their radii, see [`Moved::Rows`].
    Rows(Vec<Number>),
}

/// Outputs at an input, with layers moved as a witness says.
///
/// # Errors
/// When an operation has no exact result.
pub fn outputs(model: &Model, input: &[Number], witness: Option<&Witness>) -> Result<Vec<Dyadic>, String> {
    let moves = moves(model, witness)?;
    let nodes = &model.network.nodes;
    let mut values: Vec<Vec<Dyadic>> = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let z = node.inputs.first().map(|&i| &values[i]);
        let value = match (&node.op, z) {
            (Op::Affine(affine), Some(z)) => {
                let layer = model.set.layers[index].as_ref().expect("layers with parameters have a set");
                affine_at(affine, (layer, moves[index].as_ref()), z, node.width)
            }
            (Op::Scale { scale, shift }, Some(z)) => {
                let element = |j: usize| Dyadic::from(scale[j]).times(&z[j]).plus(&shift[j].into());
                (0..node.width).map(element).collect()
            }
            (Op::Activation(f), Some(z)) => z.iter().map(|z| activated(*f, z)).collect(),
            (Op::MaxPool(window), Some(z)) => {
                let largest = |taps: Vec<usize>| {
                    taps.into_iter().map(|j| z[j].clone()).max().expect("no window is empty")
                };
                (0..node.width).map(|k| largest(pooled(window, k))).collect()
            }
            (Op::AveragePool { window, counts }, Some(z)) => {
                let mean = |k: usize| {
                    let count = counts[k % window.positions()];
                    let sum = pooled(window, k).into_iter().fold(Dyadic::zero(), |sum, j| sum.plus(&z[j]));
                    let share = Dyadic::new(BigInt::from(1), -i64::from(count.trailing_zeros()));
                    count.is_power_of_two().then(|| sum.times(&share))
                };
                let means: Option<Vec<Dyadic>> = (0..node.width).map(mean).collect();
                means.ok_or(format!(
                    "node {}: a mean over another number than a power of two is not exact",
                    node.name
                ))?
            }
            (Op::Sum, Some(_)) => {
                let sum =
                    |j: usize| node.inputs.iter().fold(Dyadic::zero(), |sum, &i| sum.plus(&values[i][j]));
                (0..node.width).map(sum).collect()
            }
            (_, _) => input.iter().map(|x| Dyadic::from(*x)).collect(),
        };
        values.push(value);
    }
    Ok(values.pop().expect("a network has nodes"))
}

/// The value of a row of the specification at a witness, when it is at most zero and the witness lies in the set.
///
/// # Errors
/// Says which parameter is outside of the set, or that the property holds there.
pub fn broken(
    model: &Model,
    property: &Property,
    (class, rows): (Option<usize>, &[Row]),
    input: &[Number],
    witness: &Witness,
) -> Result<Dyadic, String> {
    let row = rows.iter().find(|row| row.number == witness.row);
    let row = row.ok_or(format!("witness: there is no row {}", witness.row))?;
    if let Property::Prediction = property {
        let (clean, class) = (outputs(model, input, None)?, class.unwrap_or(0));
        if let Some(better) = (0..clean.len()).find(|&j| clean[j] > clean[class]) {
            return Err(format!("the unperturbed network says class {better}, not {class}"));
        }
    }
    let moved = match &witness.input {
        None => input.to_vec(),
        Some(text) => exactly(input.len(), text).map_err(|error| format!("witness: input: {error}"))?,
    };
    let (radius, range) = (Dyadic::from(model.set.input_radius), model.set.input_range);
    for (j, (x, moved)) in input.iter().zip(&moved).enumerate() {
        let inside = range.is_none_or(|(low, high)| (low..=high).contains(moved)) || moved == x;
        if !inside || Dyadic::from(*moved).minus(&(*x).into()).magnitude() > radius {
            return Err(format!("witness: input {j} is moved from {x} to {moved}, out of the set"));
        }
    }
    if model.set.activation_radius != Number::ZERO {
        // Without errors of activations the witness is in the set, too.
        debug_assert!(!model.set.activation_radius.is_negative());
    }
    let value = outputs(model, &moved, Some(witness))?;
    let sum = row.outputs.iter().fold(row.constant.clone(), |sum, &(j, sign)| {
        if sign > 0 { sum.plus(&value[j]) } else { sum.minus(&value[j]) }
    });
    if sum.is_positive() {
        return Err(format!("witness: row {} is {sum}, above 0", row.number));
    }
    Ok(sum)
}

/// By node: how its layer is moved, which is checked to be in the set.
fn moves(model: &Model, witness: Option<&Witness>) -> Result<Vec<Option<Move>>, String> {
    let nodes = &model.network.nodes;
    let mut moves = vec![None; nodes.len()];
    for moved in witness.iter().flat_map(|witness| &witness.layers) {
        let at = |what: String| format!("witness: node {}: {what}", moved.node);
        let (Some(Op::Affine(affine)), Some(Some(layer)), None) = (
            nodes.get(moved.node).map(|node| &node.op),
            model.set.layers.get(moved.node),
            moves.get(moved.node).cloned().flatten(),
        ) else {
            return Err(at("no layer with parameters, or moved twice".into()));
        };
        moves[moved.node] = Some(match &moved.to {
            Moved::Rows(t) => {
                let t = exactly(affine.rows, t).map_err(at)?;
                let in_box = matches!(
                    layer.weights,
                    Weights::Fixed | Weights::Rows(_) | Weights::Relative(_) | Weights::Entries(_)
                );
                if !in_box || affine.window.is_some() || !t.iter().all(|t| is_share(t.magnitude())) {
                    return Err(at("expected shares from -1 to 1 of the box of a dense layer".into()));
                }
                Move::Rows(t)
            }
            Moved::Parameters { weight, bias } => {
                let weight = exactly(affine.weight.len(), weight).map_err(at)?;
                let bias = match bias {
                    Some(bias) => exactly(affine.rows, bias).map_err(at)?,
                    None => affine.bias.clone().unwrap_or(vec![Number::ZERO; affine.rows]),
                };
                inside(affine, layer, &weight, &bias).map_err(at)?;
                Move::To(weight, bias)
            }
        });
    }
    Ok(moves)
}

/// Whether moved parameters lie in the set of their layer.
fn inside(affine: &Affine, layer: &Layer, weight: &[Number], bias: &[Number]) -> Result<(), String> {
    let change = |k: usize| Dyadic::from(weight[k]).minus(&affine.weight[k].into());
    for (i, moved) in bias.iter().enumerate() {
        let own = affine.bias.as_ref().map_or(Number::ZERO, |bias| bias[i]);
        if Dyadic::from(*moved).minus(&own.into()).magnitude() > Dyadic::from(layer.bias[i]) {
            return Err(format!("bias {i} is out of the set"));
        }
    }
    let square =
        |ks: std::ops::Range<usize>| ks.map(change).fold(Dyadic::zero(), |sum, d| sum.plus(&d.times(&d)));
    let within = |ks, r: Number| square(ks) <= Dyadic::from(r).times(&r.into());
    let row = |i: usize| i * affine.columns..(i + 1) * affine.columns;
    let out = match &layer.weights {
        Weights::Ball(r) => (!within(0..weight.len(), *r)).then_some(0),
        Weights::RowBalls(rows) => (0..affine.rows).find(|&i| !within(row(i), rows[i])),
        Weights::Fixed | Weights::Rows(_) | Weights::Relative(_) | Weights::Entries(_) => {
            let outside = |&k: &usize| {
                change(k).magnitude() > layer.radius(affine, k / affine.columns, k % affine.columns)
            };
            (0..weight.len()).find(outside).map(|k| k / affine.columns)
        }
    };
    out.map_or(Ok(()), |row| Err(format!("weights of row {row} are out of the set")))
}

/// `W z + b` at moved parameters.
fn affine_at(
    affine: &Affine,
    (layer, moved): (&Layer, Option<&Move>),
    z: &[Dyadic],
    width: usize,
) -> Vec<Dyadic> {
    let (weight, bias) = match moved {
        Some(Move::To(weight, bias)) => (weight, Some(bias)),
        Some(Move::Rows(_)) | None => (&affine.weight, affine.bias.as_ref()),
    };
    let output = |o: usize| {
        let (row, taps) = match &affine.window {
            None => (o, (0..affine.columns).map(|j| (j, j)).collect()),
            Some(window) => {
                let (channel, position) = (o / window.positions(), o % window.positions());
                (channel, window.taps(channel / (window.channels / window.groups), position))
            }
        };
        let mut sum = Dyadic::from(bias.map_or(Number::ZERO, |bias| bias[row]));
        for &(column, j) in &taps {
            sum = sum.plus(&Dyadic::from(weight[row * affine.columns + column]).times(&z[j]));
        }
        if let Some(Move::Rows(t)) = moved.filter(|_| affine.window.is_none()) {
            let reach =
                |&(column, j): &(usize, usize)| layer.radius(affine, row, column).times(&z[j].magnitude());
            let all = taps.iter().map(reach).fold(layer.bias[row].into(), |sum: Dyadic, r| sum.plus(&r));
            sum = sum.plus(&Dyadic::from(t[row]).times(&all));
        }
        sum
    };
    (0..width).map(output).collect()
}

fn activated(f: Activation, z: &Dyadic) -> Dyadic {
    let raised = |low: &Number| z.clone().max((*low).into());
    match f {
        Activation::Relu => raised(&Number::ZERO),
        Activation::LeakyRelu(slope) if z.is_negative() => z.times(&slope.into()),
        Activation::LeakyRelu(_) => z.clone(),
        Activation::Clip(low, high) => {
            let raised = low.as_ref().map_or_else(|| z.clone(), raised);
            high.map_or(raised.clone(), |high| raised.min(high.into()))
        }
    }
}

/// The elements that output `k` of a pooling node reads.
fn pooled(window: &Window, k: usize) -> Vec<usize> {
    window.taps(k / window.positions(), k % window.positions()).into_iter().map(|(_, j)| j).collect()
}
