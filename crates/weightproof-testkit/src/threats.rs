//! Every kind of threat model, for a given network.

use std::collections::BTreeMap;
use weightproof::network::Network;
use weightproof::threat::{Kind, LayerOverride, PerturbationSet, RadiusValue, ThreatError, ThreatModel};

/// Kinds with a radius that is neither trivial nor hopeless on the networks of [`crate::networks`].
const KINDS: [(&str, Option<f64>); 15] = [
    ("absolute", Some(0.02)),
    ("absolute", Some(0.3)),
    ("relative", Some(0.05)),
    ("per-channel", Some(0.04)),
    ("frobenius", Some(0.1)),
    ("row-ball", Some(0.08)),
    ("int8", None),
    ("int4", None),
    ("int4:per-channel", None),
    ("format:fp32", None),
    ("format:tf32", None),
    ("format:bf16", None),
    ("format:fp16", None),
    ("format:fp8e4m3", None),
    ("format:fp8e5m2", None),
];

/// Threat models of every kind and with every option, with a name for messages.
pub fn all(network: &Network) -> Vec<(String, ThreatModel)> {
    let mut models: Vec<(String, ThreatModel)> = KINDS
        .iter()
        .map(|(kind, radius)| {
            let model = ThreatModel::new(kind.parse().expect("a kind"), *radius);
            (format!("{kind} {radius:?}"), model)
        })
        .collect();
    let names: Vec<String> = network.affine_layers().map(|(_, node, _)| node.name.clone()).collect();
    let rows: Vec<usize> = network.affine_layers().map(|(_, _, d)| d.bias.len()).collect();
    let absolute = || ThreatModel::new(Kind::Absolute, 0.03);
    models.push(("no bias radius".into(), ThreatModel { bias_radius: Some(0.0), ..absolute() }));
    models.push(("own bias radius".into(), ThreatModel { bias_radius: Some(0.1), ..absolute() }));
    for name in &names {
        let layers = Some(vec![name.clone()]);
        models.push((format!("only {name}"), ThreatModel { layers: layers.clone(), ..absolute() }));
        let ball = ThreatModel::new(Kind::Frobenius, 0.2);
        models.push((format!("only {name}, ball"), ThreatModel { layers, ..ball }));
    }
    let per_row = (0..rows[0]).map(|i| 0.01 * (i + 1) as f64).collect();
    let layer = BTreeMap::from([
        (names[0].clone(), LayerOverride { radius: Some(RadiusValue::PerRow(per_row)), bias_radius: None }),
        (
            names[names.len() - 1].clone(),
            LayerOverride { radius: Some(RadiusValue::One(0.002)), bias_radius: Some(0.05) },
        ),
    ]);
    models.push(("radii by layer and row".into(), ThreatModel { layer, ..absolute() }));
    models.push(("joint input".into(), ThreatModel { input_radius: 0.1, ..absolute() }));
    models.push(("activation rounding".into(), ThreatModel { activation_radius: 0.05, ..absolute() }));
    for kind in ["relative", "per-channel", "frobenius", "row-ball", "format:fp8e4m3"] {
        let kind: Kind = kind.parse().expect("a kind");
        let everything = ThreatModel {
            input_radius: 0.05,
            activation_radius: 0.02,
            ..ThreatModel::new(kind, (!kind.has_own_radius()).then_some(0.05))
        };
        models.push((format!("{kind}, input and activations"), everything));
    }
    models
}

/// [`all`], resolved; the last one also once more with inputs clipped to pixels.
pub fn sets(network: &Network) -> Vec<(String, PerturbationSet)> {
    let mut sets: Vec<(String, PerturbationSet)> = all(network)
        .into_iter()
        .filter_map(|(name, model)| {
            let set = model.resolve(network);
            // Number formats take no products.
            let is_refused = matches!(set, Err(ThreatError::ProductRounded { .. }));
            (!is_refused).then(|| (name, set.expect("a valid threat model")))
        })
        .collect();
    let joint = ThreatModel { input_radius: 0.3, ..ThreatModel::new(Kind::Absolute, 0.02) };
    let mut clipped = joint.resolve(network).expect("a valid threat model");
    clipped.input_range = Some((0.0, 1.0));
    sets.push(("joint input, clipped".into(), clipped));
    sets
}
