//! Where batch normalization goes: into the affine layer before it, the one after it, or a layer of its own.

use std::path::Path;
use weightproof::network::{Layer, Network};
use weightproof_formats::network::{BatchNorm, LoadedNetwork, ReadOptions, read_network_with};

/// Folded weights are the stored ones times a factor: f64 from start to end.
const TOLERANCE: f64 = 1e-12;

fn read(name: &str, batch_norm: BatchNorm) -> LoadedNetwork {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx").join(format!("{name}.onnx"));
    let options = ReadOptions { batch_norm, ..ReadOptions::default() };
    read_network_with(&path, &options).unwrap_or_else(|e| panic!("{e}"))
}

fn kinds(network: &Network) -> Vec<&'static str> {
    network.nodes().iter().map(|node| node.layer.kind()).collect()
}

/// Name, layers when folded, layers when separate, what the note on the folded ones starts with.
const CASES: [(&str, &[&str], &[&str], &str); 8] = [
    ("batchnorm-after-conv", &["conv"], &["conv", "conv"], "batch normalization folded: batchn"),
    ("batchnorm-after-conv-1d", &["conv"], &["conv", "conv"], "batch normalization folded: batchn"),
    ("batchnorm-after-dense", &["dense"], &["dense", "conv"], "batch normalization folded: batchn"),
    ("batchnorm-before-conv", &["relu", "conv"], &["relu", "conv", "conv"], "batch normalization folded"),
    ("batchnorm-twice", &["conv"], &["conv", "conv", "conv"], "batch normalization folded"),
    (
        "batchnorm-before-padded-conv",
        &["conv", "conv"],
        &["conv", "conv"],
        "batch normalization kept as layers of their own: batchn",
    ),
    (
        "batchnorm-of-conv-read-twice",
        &["conv", "conv", "relu", "add"],
        &["conv", "conv", "relu", "add"],
        "batch normalization kept as layers of their own",
    ),
    (
        "batchnorm-after-add",
        &["conv", "conv", "add", "conv"],
        &["conv", "conv", "add", "conv"],
        "batch normalization kept as layers of their own",
    ),
];

#[test]
fn folded_into_the_layer_before_or_after_where_that_is_exact() {
    for (name, folded, separate, note) in CASES {
        let both = [(BatchNorm::Fold, folded), (BatchNorm::Separate, separate)];
        let networks = both.map(|(choice, expected)| {
            let loaded = read(name, choice);
            let kinds = kinds(&loaded.network);
            assert_eq!(kinds[1..=expected.len()], *expected, "{name} {choice:?}");
            assert!(!kinds[expected.len() + 1..].contains(&"conv"), "{name} {choice:?}: {kinds:?}");
            let note = if choice == BatchNorm::Fold { note } else { "batch normalization kept" };
            assert!(loaded.notes.iter().any(|n| n.starts_with(note)), "{name}: {:?}", loaded.notes);
            loaded.network
        });
        let x: Vec<f64> = (0..networks[0].input_width()).map(|k| (k as f64 * 0.7).sin()).collect();
        let [a, b] = networks.map(|network| network.forward(&x));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= TOLERANCE * (1.0 + b.abs())), "{name}");
    }
}

#[test]
fn a_folded_layer_has_a_bias() {
    let network = read("batchnorm-after-conv-without-bias", BatchNorm::Fold).network;
    let Layer::Conv(conv) = &network.nodes()[1].layer else { panic!("no convolution") };
    assert!(conv.affine.has_bias && conv.affine.bias.iter().any(|&b| b != 0.0));
}

#[test]
fn a_separate_layer_has_one_weight_and_one_bias_for_each_channel() {
    let network = read("batchnorm-after-conv", BatchNorm::Separate).network;
    let Layer::Conv(norm) = &network.nodes()[2].layer else { panic!("no convolution") };
    assert_eq!((norm.affine.weight.rows(), norm.affine.weight.cols(), norm.window.groups), (3, 1, 3));
    assert!(norm.affine.has_bias);
    assert_eq!(network.nodes()[2].shape, [3, 4, 4]);
}
