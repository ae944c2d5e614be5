//! The set of perturbations: exact radii of every parameter, and whether they are at least what the threat model says.

use crate::certificate::{Header, LayerSet, Threat, WeightSet};
use crate::network::{Affine, Network, Op};
use crate::number::{Dyadic, Number, exactly, one};

/// Where the weights of one layer move.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Nowhere.
    Fixed,
    /// `|Δ_ij| ≤ r_i`.
    Rows(Vec<Number>),
    /// `|Δ_ij| ≤ r |W_ij|`.
    Relative(Number),
    /// `|Δ_ij| ≤ E_ij`.
    Entries(Vec<Number>),
    /// `‖Δ‖_F ≤ r`.
    Ball(Number),
    /// `‖Δ_i‖₂ ≤ r_i`.
    RowBalls(Vec<Number>),
}

/// The set of one layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Of its weights.
    pub weights: Weights,
    /// Radii of its biases, one for each row.
    pub bias: Vec<Number>,
}

/// The set of a network.
#[derive(Clone, Debug)]
pub struct Set {
    /// By node; `None` where there are no parameters.
    pub layers: Vec<Option<Layer>>,
    /// Radius of each element of the input.
    pub input_radius: Number,
    /// What the moved input is clipped to.
    pub input_range: Option<(Number, Number)>,
    /// Error added to each activation.
    pub activation_radius: Number,
}

impl Layer {
    /// Whether nothing moves.
    pub fn is_fixed(&self) -> bool {
        let is_zero = |r: &Number| *r == Number::ZERO;
        self.bias.iter().all(is_zero)
            && match &self.weights {
                Weights::Fixed => true,
                Weights::Relative(r) | Weights::Ball(r) => is_zero(r),
                Weights::Rows(all) | Weights::Entries(all) | Weights::RowBalls(all) => {
                    all.iter().all(is_zero)
                }
            }
    }

    /// Largest `|Δ_ij|` of a box; zero in a ball.
    pub fn radius(&self, affine: &Affine, row: usize, column: usize) -> Dyadic {
        let place = row * affine.columns + column;
        match &self.weights {
            Weights::Fixed | Weights::Ball(_) | Weights::RowBalls(_) => Dyadic::zero(),
            Weights::Rows(rows) => rows[row].into(),
            Weights::Relative(r) => Dyadic::from(*r).times(&affine.weight[place].magnitude().into()),
            Weights::Entries(entries) => entries[place].into(),
        }
    }
}

impl Set {
    /// The set that a header describes.
    ///
    /// # Errors
    /// When a radius is missing, negative, no number, or less than what the threat model says.
    pub fn new(header: &Header, network: &Network) -> Result<Set, String> {
        let threat = &header.threat;
        let radius = |what: &str, text: &str| {
            let radius = one(text).map_err(|error| format!("{what}: {error}"))?;
            if radius.is_negative() { Err(format!("{what}: negative")) } else { Ok(radius) }
        };
        let mut set = Set {
            layers: network.nodes.iter().map(|node| unmoved(&node.op)).collect(),
            input_radius: radius("input radius", &threat.input_radius)?,
            input_range: None,
            activation_radius: radius("activation radius", &threat.activation_radius)?,
        };
        if let Some(range) = &threat.input_range {
            let range = exactly(2, range).map_err(|error| format!("input range: {error}"))?;
            set.input_range = Some((range[0], range[1]));
        }
        for layer in &header.set {
            let name = network.nodes.get(layer.node).map_or("?", |node| &node.name);
            let at = |what: String| format!("set of node {} ({name}): {what}", layer.node);
            let (Some(Op::Affine(affine)), Some(Some(own))) =
                (network.nodes.get(layer.node).map(|n| &n.op), set.layers.get_mut(layer.node))
            else {
                return Err(at("the node has no parameters".into()));
            };
            if !matches!(own.weights, Weights::Fixed) {
                return Err(at("listed twice".into()));
            }
            *own = parsed(layer, affine).map_err(at)?;
        }
        set.check_threat(threat, network)?;
        Ok(set)
    }

    /// Whether every radius is at least what the threat model says.
    fn check_threat(&self, threat: &Threat, network: &Network) -> Result<(), String> {
        if threat.kind == "explicit" {
            return Ok(());
        }
        let parse = |text: &Option<String>| text.as_ref().map(|text| one(text)).transpose();
        let fail = |error| format!("threat: {error}");
        let radius = parse(&threat.radius).map_err(fail)?.ok_or("threat: expected a radius, found none")?;
        let bias_radius = parse(&threat.bias_radius).map_err(fail)?.unwrap_or(radius);
        let names = threat.layers.as_ref();
        let known =
            |name: &String| network.nodes.iter().any(|n| n.name == *name && matches!(n.op, Op::Affine(_)));
        if let Some(unknown) = names.and_then(|names| names.iter().find(|name| !known(name))) {
            return Err(format!("threat: there is no layer {unknown}"));
        }
        for (node, layer) in network.nodes.iter().zip(&self.layers) {
            let (Op::Affine(affine), Some(layer)) = (&node.op, layer) else { continue };
            if names.is_some_and(|names| !names.contains(&node.name)) {
                continue;
            }
            let at = |what: String| format!("set of node {}: {what}", node.name);
            covers(layer, affine, &threat.kind, radius).map_err(at)?;
            for (i, bias) in affine.bias.iter().flatten().enumerate() {
                let needed = match threat.kind.as_str() {
                    "relative" => Dyadic::from(bias_radius).times(&bias.magnitude().into()),
                    "per-channel" => Dyadic::from(bias_radius).times(&largest(affine, i).into()),
                    _ => bias_radius.into(),
                };
                if Dyadic::from(layer.bias[i]) < needed {
                    return Err(at(format!(
                        "radius of bias {i}: expected {needed}, found {}",
                        layer.bias[i]
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Whether the set of the weights of a layer holds all that the kind means at `radius`.
fn covers(layer: &Layer, affine: &Affine, kind: &str, radius: Number) -> Result<(), String> {
    let enough = |row: usize| {
        let needed = match kind {
            "per-channel" => Dyadic::from(radius).times(&largest(affine, row).into()),
            _ => radius.into(),
        };
        let own = match (kind, &layer.weights) {
            ("absolute" | "per-channel", Weights::Rows(rows)) | ("row-ball", Weights::RowBalls(rows)) => {
                rows[row]
            }
            ("frobenius", Weights::Ball(r)) => *r,
            (_, Weights::Fixed) => Number::ZERO,
            _ => return Err(format!("another shape of set than {kind}")),
        };
        if Dyadic::from(own) < needed {
            Err(format!("radius of row {row}: expected {needed}, found {own}"))
        } else {
            Ok(())
        }
    };
    match kind {
        "absolute" | "per-channel" | "row-ball" | "frobenius" => (0..affine.rows).try_for_each(enough),
        "relative" => {
            for k in 0..affine.weight.len() {
                let needed = Dyadic::from(radius).times(&affine.weight[k].magnitude().into());
                let own = layer.radius(affine, k / affine.columns, k % affine.columns);
                if own < needed {
                    return Err(format!("radius of weight {k}: expected {needed}, found {own}"));
                }
            }
            Ok(())
        }
        other => Err(format!("the kind of threat {other} is not known")),
    }
}

fn largest(affine: &Affine, row: usize) -> Number {
    let row = &affine.weight[row * affine.columns..(row + 1) * affine.columns];
    row.iter().map(|w| w.magnitude()).max().unwrap_or(Number::ZERO)
}

fn unmoved(op: &Op) -> Option<Layer> {
    match op {
        Op::Affine(affine) => Some(Layer { weights: Weights::Fixed, bias: vec![Number::ZERO; affine.rows] }),
        Op::Input
        | Op::Scale { .. }
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::Sum => None,
    }
}

fn parsed(layer: &LayerSet, affine: &Affine) -> Result<Layer, String> {
    let of_rows = |text: &str| exactly(affine.rows, text);
    let weights = match &layer.weights {
        WeightSet::Uniform(r) => Weights::Rows(vec![one(r)?; affine.rows]),
        WeightSet::Rows(rows) => Weights::Rows(of_rows(rows)?),
        WeightSet::Relative(r) => Weights::Relative(one(r)?),
        WeightSet::Entries(entries) => Weights::Entries(exactly(affine.weight.len(), entries)?),
        WeightSet::Ball(r) => Weights::Ball(one(r)?),
        WeightSet::RowBalls(rows) => Weights::RowBalls(of_rows(rows)?),
    };
    let bias = match &layer.bias {
        None => vec![Number::ZERO; affine.rows],
        Some(bias) => of_rows(bias)?,
    };
    let negative = |all: &[Number]| all.iter().any(|r| r.is_negative());
    let is_negative = negative(&bias)
        || match &weights {
            Weights::Fixed => false,
            Weights::Relative(r) | Weights::Ball(r) => r.is_negative(),
            Weights::Rows(all) | Weights::Entries(all) | Weights::RowBalls(all) => negative(all),
        };
    if is_negative { Err("a negative radius".into()) } else { Ok(Layer { weights, bias }) }
}
