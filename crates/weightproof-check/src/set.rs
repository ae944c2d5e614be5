//! The set of perturbations: exact radii of every parameter, and whether they are at least what the threat model says.

use crate::certificate::{Header, Kind, LayerSet, Threat, WeightSet};
use crate::network::{Affine, Network, Op};
use crate::number::{Dyadic, Number};

/// The set of a network.
#[derive(Clone, Debug)]
pub struct Set {
    /// By node; `None` where nothing moves.
    pub layers: Vec<Option<LayerSet>>,
    /// Radius of each element of the input.
    pub input_radius: Number,
    /// What the moved input is clipped to.
    pub input_range: Option<(Number, Number)>,
    /// Error added to each activation.
    pub activation_radius: Number,
}

impl LayerSet {
    /// All radii of its weights.
    fn radii(&self) -> &[Number] {
        match &self.weights {
            WeightSet::Uniform(r) | WeightSet::Relative(r) | WeightSet::Ball(r) => std::slice::from_ref(r),
            WeightSet::Rows(all) | WeightSet::Entries(all) | WeightSet::RowBalls(all) => &all.0,
        }
    }

    /// Radius of the bias of a row.
    pub fn bias(&self, row: usize) -> Number {
        self.bias.as_ref().map_or(Number::ZERO, |bias| bias.0[row])
    }

    /// Whether its weights move together, in balls.
    pub fn is_ball(&self) -> bool {
        matches!(self.weights, WeightSet::Ball(_) | WeightSet::RowBalls(_))
    }

    /// Largest `|Δ_ij|` of a box; zero in a ball.
    pub fn radius(&self, affine: &Affine, row: usize, column: usize) -> Dyadic {
        let place = row * affine.columns() + column;
        match &self.weights {
            WeightSet::Ball(_) | WeightSet::RowBalls(_) => Dyadic::zero(),
            WeightSet::Uniform(r) => (*r).into(),
            WeightSet::Rows(rows) => rows.0[row].into(),
            WeightSet::Relative(r) => Dyadic::from(*r).times(&affine.weight.0[place].magnitude().into()),
            WeightSet::Entries(entries) => entries.0[place].into(),
        }
    }

    fn check(&self, affine: &Affine) -> Result<(), String> {
        let count = match &self.weights {
            WeightSet::Uniform(_) | WeightSet::Relative(_) | WeightSet::Ball(_) => 1,
            WeightSet::Rows(_) | WeightSet::RowBalls(_) => affine.rows,
            WeightSet::Entries(_) => affine.weight.0.len(),
        };
        let (radii, biases) = (self.radii(), self.bias.as_ref().map_or(&[][..], |bias| &bias.0));
        if radii.len() != count || (self.bias.is_some() && biases.len() != affine.rows) {
            return Err("another number of radii".into());
        }
        if radii.iter().chain(biases).any(|r| r.is_negative()) {
            return Err("a negative radius".into());
        }
        if self.is_ball() && affine.window.is_some() {
            Err("kernels in a ball are not supported".into())
        } else {
            Ok(())
        }
    }
}

impl Set {
    /// The set that a header describes.
    ///
    /// # Errors
    /// When a radius is missing, negative, or less than what the threat model says.
    pub fn new(header: &Header, network: &Network) -> Result<Set, String> {
        let threat = &header.threat;
        if threat.input_radius.is_negative() || threat.activation_radius.is_negative() {
            return Err("threat: a negative radius".into());
        }
        let range = |range: &crate::number::Numbers| range.exactly(2).map(|range| (range[0], range[1]));
        let mut layers = vec![None; network.nodes.len()];
        for layer in &header.set {
            let at = |what: String| format!("set of node {}: {what}", layer.node);
            let Some(Op::Affine(affine)) = network.nodes.get(layer.node).map(|node| &node.op) else {
                return Err(at("the node has no parameters".into()));
            };
            layer.check(affine).map_err(at)?;
            if layers[layer.node].replace(layer.clone()).is_some() {
                return Err(at("listed twice".into()));
            }
        }
        let set = Set {
            layers,
            input_radius: threat.input_radius,
            input_range: threat.input_range.as_ref().map(range).transpose()?,
            activation_radius: threat.activation_radius,
        };
        if threat.kind != Kind::Explicit {
            set.covers(threat, network)?;
        }
        Ok(set)
    }

    /// Whether every radius is at least what the threat model says.
    fn covers(&self, threat: &Threat, network: &Network) -> Result<(), String> {
        let radius = threat.radius.ok_or("threat: expected a radius, found none")?;
        let bias_radius = threat.bias_radius.unwrap_or(radius);
        let is_layer =
            |name: &String| network.nodes.iter().any(|n| n.name == *name && matches!(n.op, Op::Affine(_)));
        if let Some(unknown) = threat.layers.iter().flatten().find(|name| !is_layer(name)) {
            return Err(format!("threat: there is no layer {unknown}"));
        }
        for (node, layer) in network.nodes.iter().zip(&self.layers) {
            let Op::Affine(affine) = &node.op else { continue };
            if threat.layers.as_ref().is_some_and(|names| !names.contains(&node.name)) {
                continue;
            }
            let at = |what: &str| format!("set of node {}: {what}", node.name);
            let layer = layer.as_ref().ok_or_else(|| at("the layer does not move"))?;
            let enough = |what: &str, own: Dyadic, (r, w, largest): (Number, Number, Number)| {
                let unit = match threat.kind {
                    Kind::Relative => w.magnitude(),
                    Kind::PerChannel => largest,
                    Kind::Absolute | Kind::Frobenius | Kind::RowBall | Kind::Explicit => Number::new(1, 0),
                };
                let needed = Dyadic::from(r).times(&unit.into());
                if own < needed {
                    Err(at(&format!("radius of {what}: expected {needed}, found {own}")))
                } else {
                    Ok(())
                }
            };
            for (i, row) in affine.weight.0.chunks(affine.columns()).enumerate() {
                let largest = row.iter().map(|w| w.magnitude()).max().unwrap_or(Number::ZERO);
                for (j, &w) in row.iter().enumerate() {
                    let own = match (threat.kind, &layer.weights) {
                        (Kind::Frobenius, WeightSet::Ball(r)) => (*r).into(),
                        (Kind::RowBall, WeightSet::RowBalls(rows)) => rows.0[i].into(),
                        (Kind::Frobenius | Kind::RowBall, _) => return Err(at("expected balls")),
                        _ => layer.radius(affine, i, j),
                    };
                    enough(&format!("weight ({i}, {j})"), own, (radius, w, largest))?;
                }
                if affine.bias.is_some() {
                    enough(
                        &format!("bias {i}"),
                        layer.bias(i).into(),
                        (bias_radius, affine.bias(i), largest),
                    )?;
                }
            }
        }
        Ok(())
    }
}
