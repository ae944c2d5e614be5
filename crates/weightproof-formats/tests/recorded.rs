//! Published and embedded networks against outputs recorded from ONNX Runtime.

use serde_json::Value;
use std::path::{Path, PathBuf};
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

fn check(name: &str) {
    let Some(path) = model(name) else {
        eprintln!("skipped: no model {name}");
        return;
    };
    let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(format!("{stem}.json"));
    let recorded: Value = serde_json::from_slice(&std::fs::read(recorded).unwrap()).unwrap();
    let rows = |key: &str| -> Option<Vec<Vec<f64>>> { serde_json::from_value(recorded[key].clone()).ok() };
    let network = read_network(&path).unwrap().network;
    let (inputs, unit) =
        rows("pixels").map_or_else(|| (rows("inputs").unwrap(), 1.0), |pixels| (pixels, 255.0));
    for (x, y) in inputs.iter().zip(rows("outputs").unwrap()) {
        let x: Vec<f64> = x.iter().map(|v| f64::from((v / unit) as f32)).collect();
        let found = network.forward(&x);
        let size = y.iter().fold(1.0_f64, |size, v| size.max(v.abs()));
        for (a, b) in found.iter().zip(&y) {
            assert!((a - b).abs() <= TOLERANCE * size, "{name}: {a} instead of {b}");
        }
    }
}

#[test]
fn embedded_network() {
    check("mnist-784-128-64-32-10.onnx");
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
    assert_eq!(kinds, ["input", "scale", "reshape", "dense"]);
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

#[test]
fn convolutional_networks_are_refused_by_name() {
    for (name, node) in [("cifar_base_kw.onnx", "Conv_0"), ("resnet_2b.onnx", "Conv_0")] {
        let Some(path) = model(name) else {
            eprintln!("skipped: no model {name}");
            continue;
        };
        let error = read_network(&path).map(|_| ()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(node) && message.ends_with("found Conv"), "{message}");
        assert!(error.hint().is_some());
    }
}
