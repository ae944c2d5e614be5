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
            let columns = affine.columns();
            for (k, weight) in affine.weight.0.iter().enumerate() {
                let (needed, own) = match (threat.kind, &layer.weights) {
                    (Kind::Relative, _) => {
                        (product(radius, *weight), layer.radius(affine, k / columns, k % columns))
                    }
                    // The other kinds have one radius for each row.
                    _ if k % columns > 0 => continue,
                    (Kind::RowBall, WeightSet::RowBalls(rows)) => (radius.into(), rows.0[k / columns].into()),
                    (Kind::Frobenius, WeightSet::Ball(r)) => (radius.into(), (*r).into()),
                    (Kind::Absolute | Kind::PerChannel, WeightSet::Uniform(_) | WeightSet::Rows(_)) => {
                        let largest = threat.kind == Kind::PerChannel;
                        let needed = if largest {
                            product(radius, affine.largest(k / columns))
                        } else {
                            radius.into()
                        };
                        (needed, layer.radius(affine, k / columns, 0))
                    }
                    _ => return Err(at("another shape of set than the threat model's")),
                };
                if own < needed {
                    return Err(at(&format!("radius of weight {k}: expected {needed}, found {own}")));
                }
            }
            for (i, bias) in affine.bias.iter().flat_map(|bias| &bias.0).enumerate() {
                let needed = match threat.kind {
                    Kind::Relative => product(bias_radius, *bias),
                    Kind::PerChannel => product(bias_radius, affine.largest(i)),
                    Kind::Absolute | Kind::Frobenius | Kind::RowBall | Kind::Explicit => bias_radius.into(),
                };
                if Dyadic::from(layer.bias(i)) < needed {
                    return Err(at(&format!(
                        "radius of bias {i}: expected {needed}, found {}",
                        layer.bias(i)
                    )));
                }
            }
        }
        Ok(())
    }
}

/// `r |w|`, exactly.
fn product(r: Number, w: Number) -> Dyadic {
    Dyadic::from(r).times(&w.magnitude().into())
}

impl Affine {
    fn largest(&self, row: usize) -> Number {
        let row = self.weight.0.chunks(self.columns()).nth(row).expect("the row is there");
        row.iter().map(|w| w.magnitude()).max().unwrap_or(Number::ZERO)
    }
}
