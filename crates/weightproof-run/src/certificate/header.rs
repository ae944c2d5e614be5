//! The first line: the network, the set and the question.

use crate::RunError;
use crate::certificate::checker;
use crate::certificate::text::{
    Activation, Affine, Faults, Header, HitLayer, LayerSet, Node, Numbers, Op, Outputs, Property, SCHEMA,
    Stored, Threat, WeightSet, Window,
};
use crate::config::{self, MethodConfig};
use crate::faults::Beside;
use crate::feed::Feed;
use crate::session::Session;
use crate::source::model_bytes;
use crate::threat::SetAt;
use weightproof::faults::{Encoding, Fault, Protection, Storage};
use weightproof::network::{self, Jumps, Layer, Network, Scale, StepRounding};
use weightproof::threat::{self, Kind, Rounding, ThreatModel};
use weightproof::verdict::Guarantee;
use weightproof_formats::fingerprint::sha256;

/// Which nodes of a network a certificate has. The network of the file has no normalization: with `--mean` and `--std` its input
/// is what the normalization makes of the data.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// The node that is the input of the file's network.
    pub input: usize,
}

impl Places {
    /// The number in the certificate of node `index`.
    pub fn of(self, index: usize) -> usize {
        index.saturating_sub(self.input)
    }
}

/// An error about what a certificate cannot hold.
pub(super) fn unsupported(what: String) -> RunError {
    RunError::Misfit {
        message: format!("certificate: {what}"),
        hint: Some(
            "what certificates hold is listed in docs/reference/certificate.md; without --certificate the run needs none of it",
        ),
    }
}

/// The header of a certificate, and which nodes it has.
///
/// # Errors
/// What certificates do not hold or the checker does not read, by name.
pub(super) fn header<F: Feed>(
    session: &Session<F>,
    sets: &[SetAt],
    method: &MethodConfig,
    beside: Option<&Beside>,
) -> Result<(Header, Places), RunError> {
    let [at] = sets else {
        return Err(RunError::setting("certificate", "one radius", sets.len().to_string()));
    };
    if method.guarantee != Guarantee::Rigorous {
        return Err(RunError::setting("certificate", "the guarantee rigorous", method.guarantee.name()));
    }
    if session.model_format() != "onnx" {
        let found = session.model_format();
        return Err(unsupported(format!("expected a network from an ONNX file, found one from {found}")));
    }
    let config = &session.config;
    let path = config.model.path.as_deref();
    if path.is_some_and(|path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gz"))) {
        return Err(unsupported("expected a file of the network that is not compressed".into()));
    }
    let file = model_bytes(path)?;
    // The checker reads one file.
    if sha256(&file) != session.model_sha256() {
        return Err(unsupported("expected all parameters in one file, found some beside the model".into()));
    }
    if config.threat.model.kind.format().is_some_and(|inference| inference.rounding == Rounding::Any) {
        let found = config.threat.model.kind;
        return Err(unsupported(format!("expected numbers that are rounded to nearest, found {found}")));
    }
    let own = checker::read(&file)?;
    let is_normalized = config.data.mean.is_some() || config.data.std.is_some();
    let places = Places { input: usize::from(is_normalized) };
    if is_normalized && at.set.input_radius > 0.0 {
        return Err(unsupported(
            "expected normalized data, found inputs that move before --mean and --std".into(),
        ));
    }
    let threat = threat_of(&session.network, &config.threat.model, at);
    if beside.is_some() && at.set.layers.iter().any(|layer| !layer.is_zero()) {
        return Err(unsupported(
            "expected weights and biases that do not move beside hits, found radii of some".into(),
        ));
    }
    let faults = beside.map(|beside| faults_of(&session.network, beside, places)).transpose()?;
    let settings =
        serde_json::to_vec(config).map_err(|error| RunError::misfit(format!("settings: {error}")))?;
    let tolerance = Numbers::one(session.tolerance());
    let header = Header {
        schema: SCHEMA,
        writer: format!("weightproof {}", env!("CARGO_PKG_VERSION")),
        model_sha256: session.model_sha256().into(),
        data_sha256: Some(session.feed.sha256()?),
        settings_sha256: Some(sha256(&settings)),
        method: method.name.clone(),
        property: match session.property {
            weightproof::property::Property::Label => Property::Label,
            weightproof::property::Property::Prediction => Property::Prediction,
            weightproof::property::Property::Deviation => Property::Deviation { tolerance },
        },
        outputs: config.outputs.map(|outputs| outputs_of(&session.network, outputs)),
        threat: match &faults {
            Some(_) => Threat {
                kind: "explicit".into(),
                name: Some("hits".into()),
                radius: None,
                bias_radius: None,
                ..threat
            },
            None => threat,
        },
        set: match &faults {
            Some(_) => Vec::new(),
            None => layers(&session.network, &config.threat.model, at, places)?,
        },
        faults,
        network: nodes(&session.network, places, |index| beside?.memory().rounded(index))?,
    };
    checker::accept(&header, own)?;
    Ok((header, places))
}

/// The bits of stored integers that may change.
fn faults_of(network: &Network, beside: &Beside, places: Places) -> Result<Faults, RunError> {
    let model = &beside.model;
    let is_triple = |p: &Protection| p.by == Encoding::Triple;
    let is_integer = matches!(model.storage, Storage::File | Storage::Integer(_));
    if !(is_integer && model.fault != Fault::Replace && model.protect.iter().all(is_triple)) {
        let expected = "bits of integers that flip or are stuck, without encodings";
        return Err(unsupported(format!("expected {expected}, found another fault model")));
    }
    let is_hit = |name: &String| model.layers.as_ref().is_none_or(|names| names.contains(name));
    let layer = |(index, node, affine): (usize, &network::Node, &network::Affine)| {
        let open = |bit: &u32| {
            let protects = |p: &Protection| {
                p.layers.as_ref().is_none_or(|names| names.contains(&node.name))
                    && p.bits.as_ref().is_none_or(|bits| bits.contains(bit))
            };
            model.at.as_ref().is_none_or(|at| at.contains(bit)) && !model.protect.iter().any(protects)
        };
        let has_biases = model.biases && affine.has_bias;
        // Biases whose steps are products of two are no exact multiples of them.
        let is_exact = |stored: &network::StoredIntegers| {
            stored.steps.iter().chain(&stored.bias_steps).all(|&step| f64::from(step as f32) == step)
        };
        let rounded = beside.memory().rounded(index);
        let bias_bits = rounded.map_or(32, |rounded| rounded.bits);
        match affine.stored.as_ref().or(rounded).filter(|stored| is_exact(stored)) {
            Some(stored) if !has_biases || !stored.bias_steps.is_empty() => Ok(HitLayer {
                node: places.of(index),
                weights: (0..stored.bits).filter(open).collect(),
                biases: if has_biases { (0..bias_bits).filter(open).collect() } else { Vec::new() },
            }),
            _ => Err(unsupported(format!(
                "node {}: words that are no integers with steps in single precision",
                node.name
            ))),
        }
    };
    let layers = network.affine_layers().filter(|(_, node, _)| is_hit(&node.name)).map(layer);
    let layers = layers.collect::<Result<_, _>>()?;
    Ok(Faults { words: model.words, bits: model.bits, fault: model.fault, layers })
}

/// What makes classes of the outputs. The threshold is the one of the network, from which a last sigmoid may have been left out.
fn outputs_of(network: &Network, outputs: config::Outputs) -> Outputs {
    let end = |value: f64| value.is_finite().then(|| Numbers::one(value));
    match outputs {
        config::Outputs::Positive { .. } => {
            let Layer::Scale(classes) = &network.nodes()[network.output()].layer else {
                unreachable!("classes are a scaling")
            };
            Outputs::Positive { threshold: Numbers::one(-classes.shift[1]) }
        }
        config::Outputs::Within { lower, upper } => Outputs::Within { lower: end(lower), upper: end(upper) },
    }
}

/// The name that the checker knows the set by; `None` where the radii of the layers say all there is.
fn kind(model: &ThreatModel) -> Option<String> {
    if !model.layer.is_empty() {
        return None;
    }
    match model.kind {
        Kind::Integer(_) => None,
        Kind::Absolute
        | Kind::Relative
        | Kind::PerChannel
        | Kind::Frobenius
        | Kind::RowBall
        | Kind::Lsb
        | Kind::Format(_) => Some(model.kind.to_string()),
    }
}

fn threat_of(network: &Network, model: &ThreatModel, at: &SetAt) -> Threat {
    let named = kind(model);
    let is_any = |node: &network::Node| matches!(node.layer, Layer::Activation(network::Activation::Quantize(q)) if q.rounding == StepRounding::Any);
    Threat {
        name: named.is_none().then(|| model.kind.to_string()),
        radius: at.radius.filter(|_| named.is_some()).map(Numbers::one),
        bias_radius: model.bias_radius.filter(|_| named.is_some()).map(Numbers::one),
        kind: named.unwrap_or_else(|| "explicit".into()),
        layers: model.layers.clone(),
        input_radius: Numbers::one(at.set.input_radius),
        input_range: at
            .set
            .input_range
            .filter(|_| at.set.input_radius > 0.0)
            .map(|(low, high)| Numbers::new(&[low, high])),
        activation_radius: Numbers::one(at.set.activation_radius),
        rounding: network.nodes().iter().any(is_any).then(|| StepRounding::Any.name()),
    }
}

/// The radii of all layers that the threat model names.
fn layers(
    network: &Network,
    model: &ThreatModel,
    at: &SetAt,
    places: Places,
) -> Result<Vec<LayerSet>, RunError> {
    let named = kind(model);
    let mut layers = Vec::new();
    for layer in &at.set.layers {
        let node = &network.nodes()[layer.node];
        let affine = node.layer.affine().expect("a layer with parameters");
        if model.layers.as_ref().is_some_and(|names| !names.contains(&node.name)) {
            continue;
        }
        let is_conv = matches!(node.layer, Layer::Conv(_));
        let rows = affine.bias.len();
        let weights = match (&layer.weight, at.radius) {
            (threat::WeightSet::Fixed, _) => match named.as_deref() {
                Some("frobenius") => WeightSet::Ball(Numbers::one(0.0)),
                Some("row-ball") => WeightSet::RowBalls(Numbers::new(&vec![0.0; rows])),
                Some(_) | None => WeightSet::Uniform(Numbers::one(0.0)),
            },
            (threat::WeightSet::Rows(all), _) if all.windows(2).all(|pair| pair[0] == pair[1]) => {
                WeightSet::Uniform(Numbers::one(all[0]))
            }
            (threat::WeightSet::Rows(all), _) => WeightSet::Rows(Numbers::new(all)),
            // Kernels of witnesses are rounded, and must be in the set.
            (threat::WeightSet::Entries(_), Some(radius))
                if named.as_deref() == Some("relative") && !is_conv =>
            {
                WeightSet::Relative(Numbers::one(radius))
            }
            (threat::WeightSet::Entries(all), _) => WeightSet::Entries(Numbers::new(all.as_slice())),
            (threat::WeightSet::Ball(radius), _) => WeightSet::Ball(Numbers::one(*radius)),
            (threat::WeightSet::RowBalls(all), _) => WeightSet::RowBalls(Numbers::new(all)),
        };
        // Sums may round where there is no bias, too.
        let moves = affine.has_bias || layer.bias.iter().any(|r| *r > 0.0);
        let bias = moves.then(|| Numbers::new(&layer.bias));
        layers.push(LayerSet { node: places.of(layer.node), weights, bias, per_use: layer.per_use });
    }
    Ok(layers)
}

/// The nodes of a network, of which some are `rounded` to integers.
fn nodes<'n>(
    network: &'n Network,
    places: Places,
    rounded: impl Fn(usize) -> Option<&'n network::StoredIntegers>,
) -> Result<Vec<Node>, RunError> {
    let shown = &network.nodes()[places.input..];
    let node = |(number, node): (usize, &network::Node)| {
        let is_input = number == 0;
        let inputs = if is_input { Vec::new() } else { node.inputs.iter().map(|&i| places.of(i)).collect() };
        let op = if is_input { Op::Input(node.width()) } else { op(node, rounded(places.input + number))? };
        Ok(Node { name: node.name.clone(), inputs, op })
    };
    shown.iter().enumerate().map(node).collect()
}

fn op(node: &network::Node, rounded: Option<&network::StoredIntegers>) -> Result<Op, RunError> {
    Ok(match &node.layer {
        Layer::Input => Op::Input(node.width()),
        Layer::Dense(dense) => Op::Dense(affine(dense, rounded, None)),
        Layer::Conv(conv) => Op::Conv(affine(&conv.affine, rounded, Some((&conv.window).into()))),
        Layer::Scale(Scale { divisor: Some(divisor), .. }) => Op::Divide(Numbers::new(divisor)),
        Layer::Scale(scale) => {
            Op::Scale { scale: Numbers::new(&scale.scale), shift: Numbers::new(&scale.shift) }
        }
        Layer::Activation(f) => Op::Activation(activation(node, *f)?),
        Layer::MaxPool(window) => Op::MaxPool(window.into()),
        Layer::AveragePool(pool) => Op::AveragePool {
            window: (&pool.window).into(),
            counts: pool.factor.iter().map(|factor| (1.0 / factor).round() as usize).collect(),
        },
        Layer::Add => Op::Add,
        Layer::Reshape => Op::Reshape,
        Layer::Multiply => {
            return Err(unsupported(format!("node {}: a product of two computed values", node.name)));
        }
        Layer::DynamicQuantize(_) => {
            return Err(unsupported(format!(
                "node {}: a quantizer whose step follows from the data",
                node.name
            )));
        }
        Layer::Gather(gather) => {
            Op::Gather { source: gather.source.clone(), constant: Numbers::one(gather.constant) }
        }
    })
}

fn affine(
    affine: &network::Affine,
    rounded: Option<&network::StoredIntegers>,
    window: Option<Window>,
) -> Affine {
    let (rows, columns) = (affine.bias.len(), affine.weight.cols());
    let stored = |stored: &network::StoredIntegers| {
        let grid = |k: usize| (stored.step(k), stored.zeros[stored.group(k)]);
        let is_one = |i: usize| (i * columns..(i + 1) * columns).all(|k| grid(k) == grid(i * columns));
        // One for each row, or for each weight where they differ within one.
        let each = if (0..rows).all(is_one) { columns } else { 1 };
        let (steps, zeros): (Vec<f64>, Vec<i64>) = (0..rows * columns).step_by(each).map(grid).unzip();
        let biases = (affine.has_bias && !stored.bias_steps.is_empty()).then_some(&stored.bias_steps);
        Stored {
            bits: stored.bits,
            signed: stored.signed,
            steps: Numbers::new(&steps),
            zeros,
            bias_steps: biases.map(Numbers::new),
            rounded: rounded.is_some(),
        }
    };
    Affine {
        rows,
        window,
        weight: Numbers::new(affine.weight.as_slice()),
        bias: affine.has_bias.then(|| Numbers::new(&affine.bias)),
        stored: affine.stored.as_ref().or(rounded).map(stored),
    }
}

fn activation(node: &network::Node, f: network::Activation) -> Result<Activation, RunError> {
    let end = |value: f64| value.is_finite().then(|| Numbers::one(value));
    match f {
        network::Activation::Relu => Ok(Activation::Relu),
        network::Activation::LeakyRelu { slope } if (0.0..=1.0).contains(&slope) => {
            Ok(Activation::LeakyRelu(Numbers::one(slope)))
        }
        network::Activation::Clip { low, high } => Ok(Activation::Clip(end(low), end(high))),
        network::Activation::SoftThreshold { lambda } => Ok(Activation::SoftThreshold(Numbers::one(lambda))),
        network::Activation::Quantize(q) if q.jumps == Jumps::HalfWay => {
            Ok(Activation::Quantize { step: Numbers::one(q.step), zero: q.zero, low: q.low, high: q.high })
        }
        network::Activation::LeakyRelu { .. }
        | network::Activation::Sigmoid
        | network::Activation::Tanh
        | network::Activation::Softplus
        | network::Activation::Gelu
        | network::Activation::GeluTanh
        | network::Activation::Elu { .. }
        | network::Activation::Silu
        | network::Activation::Mish
        | network::Activation::HardSwish
        | network::Activation::Softsign
        | network::Activation::Atan
        | network::Activation::Square
        | network::Activation::Exp
        | network::Activation::Reciprocal
        | network::Activation::Power { .. }
        | network::Activation::Quantize(_) => {
            Err(unsupported(format!("node {}: the activation {}", node.name, f.name())))
        }
    }
}
