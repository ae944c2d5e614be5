//! Published and embedded networks against outputs recorded from ONNX Runtime.

use serde_json::Value;
use std::path::{Path, PathBuf};
use weightproof::network::Network;
use weightproof_formats::data::{ChannelOrder, reorder};
use weightproof_formats::network::read_network;

/// Outputs were computed in f32 through up to ten layers, the network computes in f64.
const TOLERANCE: f64 = 1e-4;

fn model(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    ["assets", "../shared/models"]
        .iter()
        .map(|folder| root.join(folder).join(name))
        .find(|path| path.exists())
}

/// Mean and standard deviation of the channels that some networks want CIFAR images normalized with.
const CIFAR: [[f64; 3]; 2] = [[0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]];

fn check(name: &str) {
    check_with(name, |network| network);
}

/// Compares outputs; `prepare` may put something in front of the network. Pixels of images in color are recorded channels
/// first, as CIFAR files have them.
fn check_with(name: &str, prepare: impl Fn(Network) -> Network) {
    let Some(path) = model(name) else {
        eprintln!("skipped: no model {name}");
        return;
    };
    let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(format!("{stem}.json"));
    let recorded: Value = serde_json::from_slice(&std::fs::read(recorded).unwrap()).unwrap();
    let rows = |key: &str| -> Option<Vec<Vec<f64>>> { serde_json::from_value(recorded[key].clone()).ok() };
    let network = prepare(read_network(&path).unwrap().network);
    let (inputs, unit) =
        rows("pixels").map_or_else(|| (rows("inputs").unwrap(), 1.0), |pixels| (pixels, 255.0));
    for (x, y) in inputs.iter().zip(rows("outputs").unwrap()) {
        let mut x: Vec<f64> = x.iter().map(|v| f64::from((v / unit) as f32)).collect();
        if let [_, _, 3] = network.input_shape() {
            x = reorder(&[3, 32, 32], &x, ChannelOrder::Last).1;
        }
        let found = network.forward(&x);
        let size = y.iter().fold(1.0_f64, |size, v| size.max(v.abs()));
        for (a, b) in found.iter().zip(&y) {
            assert!((a - b).abs() <= TOLERANCE * size, "{name}: {a} instead of {b}");
        }
    }
}

/// The network with CIFAR's normalization in front, channels first.
fn normalized(network: Network) -> Network {
    let [mean, std] = CIFAR.map(|numbers| numbers.map(|v| f64::from(v as f32)));
    let pixel = |k: usize| k / 1024;
    let scale = (0..3072).map(|k| 1.0 / std[pixel(k)]).collect();
    let shift = (0..3072).map(|k| -mean[pixel(k)] / std[pixel(k)]).collect();
    network.with_normalization(scale, shift).unwrap()
}

#[test]
fn convolutional_and_residual_networks() {
    check("Convnet_maxpool.onnx");
    check_with("cifar_base_kw.onnx", normalized);
    check_with("resnet_2b.onnx", normalized);
}

#[test]
fn a_network_with_channels_last() {
    check("cifar10_small.onnx");
    if let Some(path) = model("cifar10_small.onnx") {
        let network = read_network(&path).unwrap().network;
        assert_eq!(network.input_shape(), [32, 32, 3]);
    }
}

#[test]
fn a_residual_network_keeps_its_graph() {
    let Some(path) = model("resnet_2b.onnx") else {
        eprintln!("skipped: no model");
        return;
    };
    let network = read_network(&path).unwrap().network;
    let count = |kind: &str| network.nodes().iter().filter(|node| node.layer.kind() == kind).count();
    assert_eq!([count("conv"), count("add"), count("relu"), count("dense")], [6, 2, 6, 2]);
}

#[test]
fn networks_of_this_repository() {
    check("mnist-784-128-64-32-10.onnx");
    check("mnist-conv-8-16-10.onnx");
}

#[test]
fn fully_connected_networks_from_the_verification_competition() {
    check("mnist-net_256x2.onnx");
    check("mnist-net_256x4.onnx");
}

#[test]
fn networks_that_normalize_their_input() {
    check("mnist_relu_9_200.onnx");
    check("ffnnSIGMOID__Point_6x200.onnx");
    check("ACASXU_run2a_1_1_batch_2000.onnx");
}

#[test]
fn normalization_is_not_folded_into_the_weights() {
    let Some(path) = model("ffnnSIGMOID__Point_6x200.onnx") else {
        eprintln!("skipped: no model");
        return;
    };
    let network = read_network(&path).unwrap().network;
    let kinds: Vec<&str> = network.nodes().iter().take(4).map(|node| node.layer.kind()).collect();
    assert_eq!(kinds, ["input", "scale", "scale", "reshape"]);
}

#[test]
fn tiny_networks_without_a_batch_dimension() {
    for (name, weights) in [("test_nano.onnx", vec![1]), ("test_small.onnx", vec![2, 4, 2])] {
        let Some(path) = model(name) else {
            eprintln!("skipped: no model {name}");
            continue;
        };
        let network = read_network(&path).unwrap_or_else(|e| panic!("{e}")).network;
        let found: Vec<usize> = network.affine_layers().map(|(_, _, d)| d.weight.as_slice().len()).collect();
        assert_eq!(found, weights, "{name}");
    }
}
