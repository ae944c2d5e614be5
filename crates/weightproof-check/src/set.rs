//! The set of perturbations: exact radii of every parameter, and whether they are at least what the threat model says.

pub use crate::certificate::LayerSet;
use crate::certificate::{Header, Kind, Rounding, Threat, WeightSet};
use crate::format::Format;
use crate::network::{Affine, Network, Op, Stored};
use crate::number::Number;

/// The set of a network.
#[derive(Clone, Debug)]
pub struct Set {
    /// By node; `None` where nothing moves.
    pub layers: Vec<Option<LayerSet>>,
    /// Radius of each element of the input.
    pub input_radius: Number,
    /// What the moved input is clipped to.
    pub input_range: Option<[Number; 2]>,
    /// Error added to each activation.
    pub activation_radius: Number,
    /// How many steps another value may come out of a quantizer than the operator's text says.
    pub freedom: i64,
    /// By node, of sums without parameters: what each summand may be off by, as a part of itself, and their sum in all.
    pub sums: Vec<[Number; 2]>,
    /// What no value that a layer or a sum reads may be above, nor its opposite.
    pub largest: Option<Number>,
}

impl LayerSet {
    /// Radius of the bias of a row.
    pub fn bias(&self, row: usize) -> Number {
        self.bias.as_ref().map_or(Number::ZERO, |bias| bias.0[row])
    }

    /// Whether its weights move together, in balls.
    pub fn is_ball(&self) -> bool {
        matches!(self.weights, WeightSet::Ball(_) | WeightSet::RowBalls(_))
    }

    /// The radius of a weight, by its place, or of the ball that it is in.
    pub fn radius(&self, affine: &Affine, place: usize) -> Number {
        match &self.weights {
            WeightSet::Uniform(r) | WeightSet::Ball(r) => *r,
            WeightSet::Rows(rows) | WeightSet::RowBalls(rows) => rows.0[place / affine.columns()],
            WeightSet::Relative(r) => *r * affine.weight.0[place].magnitude(),
            WeightSet::Entries(entries) => entries.0[place],
        }
    }

    fn defect(&self, affine: &Affine) -> Option<&'static str> {
        let (radii, count) = match &self.weights {
            WeightSet::Uniform(r) | WeightSet::Relative(r) | WeightSet::Ball(r) => {
                (std::slice::from_ref(r), 1)
            }
            WeightSet::Rows(rows) | WeightSet::RowBalls(rows) => (&rows.0[..], affine.rows),
            WeightSet::Entries(entries) => (&entries.0[..], affine.weight.0.len()),
        };
        let biases = self.bias.as_ref().map(|bias| &bias.0);
        if radii.len() != count || biases.is_some_and(|biases| biases.len() != affine.rows) {
            Some("another number of radii")
        } else if radii.iter().chain(biases.into_iter().flatten()).any(|r| r.is_negative()) {
            Some("a negative radius")
        } else {
            (self.is_ball() && self.per_use).then_some("a ball whose uses move on their own")
        }
    }
}

impl Set {
    /// The set in which nothing moves.
    pub fn of_one_point(network: &Network) -> Set {
        let (layers, zero) = (vec![None; network.nodes.len()], Number::ZERO);
        Set {
            layers,
            input_radius: zero,
            input_range: None,
            activation_radius: zero,
            freedom: 0,
            sums: vec![[zero; 2]; network.nodes.len()],
            largest: None,
        }
    }

    /// The set that a header describes.
    ///
    /// # Errors
    /// When a radius is missing, negative, or less than what the threat model says.
    pub fn new(header: &Header, network: &Network) -> Result<Set, String> {
        let threat = &header.threat;
        if threat.input_radius.is_negative() || threat.activation_radius.is_negative() {
            return Err("threat: a negative radius".into());
        }
        let mut set = Set::of_one_point(network);
        (set.input_radius, set.activation_radius) = (threat.input_radius, threat.activation_radius);
        set.freedom = i64::from(threat.rounding == Rounding::Any);
        if let Some(range) = &threat.input_range {
            set.input_range = Some([range.exactly(2)?[0], range.0[1]]);
        }
        for layer in &header.set {
            let at = |what: &str| format!("set of node {}: {what}", layer.node);
            let Some(Op::Affine(affine)) = network.nodes.get(layer.node).map(|node| &node.op) else {
                return Err(at("the node has no parameters"));
            };
            if let Some(defect) = layer.defect(affine) {
                return Err(at(defect));
            }
            if set.layers[layer.node].replace(layer.clone()).is_some() {
                return Err(at("listed twice"));
            }
        }
        if threat.kind != Kind::Explicit {
            set.covers(threat, network)?;
        }
        Ok(set)
    }

    /// Whether anything moves.
    pub fn moves(&self) -> bool {
        let radii = self.input_radius.is_positive() || self.activation_radius.is_positive();
        radii || self.freedom > 0 || self.layers.iter().any(Option::is_some)
    }

    /// Whether the weights of a node move in one ball.
    pub fn is_one_ball(&self, node: usize) -> bool {
        self.layers[node].as_ref().is_some_and(|layer| matches!(layer.weights, WeightSet::Ball(_)))
    }

    /// Whether every radius is at least what the threat model says.
    fn covers(&mut self, threat: &Threat, network: &Network) -> Result<(), String> {
        let radius = threat.radius.filter(|radius| !radius.is_negative());
        let radius = radius.ok_or("threat: expected a radius of at least 0, found none")?;
        let format = Format::new(threat.kind, radius);
        let is_format = format.map(|format| self.rounds(format, threat, network)).transpose()?.is_some();
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
            match (threat.kind, &layer.weights) {
                (Kind::Frobenius, WeightSet::Ball(_)) | (Kind::RowBall, WeightSet::RowBalls(_)) => {}
                (Kind::Frobenius | Kind::RowBall, _) => return Err(at("expected balls")),
                (_, WeightSet::Ball(_) | WeightSet::RowBalls(_)) => return Err(at("expected a box")),
                _ => {}
            }
            if is_format {
                continue;
            }
            let enough =
                |what: &dyn Fn() -> String, own: Number, (r, x, largest): (Number, Number, Number)| {
                    let needed = if matches!(threat.kind, Kind::Relative | Kind::Lsb) {
                        r * x.magnitude()
                    } else if threat.kind == Kind::PerChannel {
                        r * largest
                    } else {
                        r
                    };
                    let less = || at(&format!("radius of {}: expected {needed}, found {own}", what()));
                    if own < needed { Err(less()) } else { Ok(()) }
                };
            let columns = affine.columns();
            let stored = affine.stored.as_ref().filter(|_| threat.kind == Kind::Lsb);
            if threat.kind == Kind::Lsb && stored.is_none() {
                return Err(at("the model does not store its weights as integers"));
            }
            for (i, row) in affine.weight.0.chunks(columns).enumerate() {
                let largest = row.iter().map(|w| w.magnitude()).max().unwrap_or(Number::ZERO);
                for (j, &w) in row.iter().enumerate() {
                    let (place, count) = (i * columns + j, affine.weight.0.len());
                    let own = layer.radius(affine, place);
                    let x = stored.map_or(w, |stored| stored.grid(place, count).0);
                    enough(&|| format!("weight ({i}, {j})"), own, (radius, x, largest))?;
                }
                if affine.bias.is_some() {
                    let (own, r) = (layer.bias(i), threat.bias_radius.unwrap_or(radius));
                    // Biases that are no integers stay where they are.
                    let step =
                        |stored: &Stored| stored.bias_steps.as_ref().map_or(Number::ZERO, |steps| steps.0[i]);
                    let x = stored.map_or(affine.bias(i), step);
                    enough(&|| format!("bias {i}"), own, (r, x, largest))?;
                }
            }
        }
        Ok(())
    }

    /// Whether every radius is at least what rounding in a number format does; takes in what it does to sums, and its range.
    fn rounds(&mut self, format: Format, threat: &Threat, network: &Network) -> Result<(), String> {
        self.largest = Some(format.largest);
        if threat.bias_radius.is_some() {
            return Err("threat: biases round as their layers do".into());
        }
        for (index, node) in network.nodes.iter().enumerate() {
            let at = |what: String| format!("set of node {}: {what}", node.name);
            let is_named = threat.layers.as_ref().is_none_or(|names| names.contains(&node.name));
            let (terms, factors) = match (&node.op, &self.layers[index]) {
                (Op::Affine(affine), Some(layer)) if is_named => {
                    format.holds_all(layer, affine).map_err(at)?;
                    continue;
                }
                (Op::Sum, _) if node.inputs.len() > 1 => {
                    (node.inputs.len(), Number::new(node.inputs.len() as i64, 0))
                }
                (Op::AveragePool { window, counts }, _) => {
                    let taps = window.kernel[0] * window.kernel[1];
                    let least = counts.iter().min().copied().unwrap_or(1) as i64;
                    let most = -Number::new(-least, 0).inverse_down().down();
                    (taps + 2, Number::new(taps as i64, 0) * most)
                }
                _ => continue,
            };
            if threat.layers.is_none() {
                self.sums[index] = format.sums(terms).map_err(at)?.sum(factors);
            }
        }
        Ok(())
    }
}
