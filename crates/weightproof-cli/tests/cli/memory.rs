//! What `inspect` says about memory, beside what runs take.
#![cfg(target_os = "linux")]

use crate::snapshot::Run;
use serde_json::Value;
use std::fs;
use std::path::Path;
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof_formats::network::encode_onnx;

/// 784-`width`-`width`-`width`-10, with weights that keep values of size one.
fn network(width: usize) -> Network {
    let mut builder = NetworkBuilder::new(vec![784]);
    let weight = |rows: usize, cols: usize| {
        Matrix::from_fn(rows, cols, |i, j| {
            ((i * cols + j) as f64 * 0.618).fract() * 4.0 / cols as f64 - 2.0 / cols as f64
        })
    };
    let mut last = 0;
    for (k, cols) in [784, width, width].into_iter().enumerate() {
        last = builder.dense(&format!("dense{k}"), last, weight(width, cols), vec![0.01; width]).unwrap();
        last = builder.activation(&format!("relu{k}"), last, Activation::Relu).unwrap();
    }
    builder.dense("out", last, weight(10, width), (0..10).map(f64::from).collect()).unwrap();
    builder.finish().unwrap()
}

/// 1x28x28, three convolutions that halve the image, two dense layers.
fn convolutional() -> Network {
    let mut builder = NetworkBuilder::new(vec![1, 28, 28]);
    let weight = |rows: usize, cols: usize| {
        Matrix::from_fn(rows, cols, |i, j| {
            (((i * cols + j) as f64 * 0.618).fract() * 4.0 - 2.0) / cols as f64
        })
    };
    let (mut last, mut input) = (0, [1, 28, 28]);
    for (k, channels) in [32, 64, 64].into_iter().enumerate() {
        let window = Window { stride: [2; 2], padding: [[1, 1]; 2], ..Window::new(input, channels, [3, 3]) };
        let bias = vec![0.01; channels];
        last = builder
            .conv(&format!("conv{k}"), last, weight(channels, window.patch()), bias, window.clone())
            .unwrap();
        last = builder.activation(&format!("relu{k}"), last, Activation::Relu).unwrap();
        input = [channels, window.extent(0), window.extent(1)];
    }
    let width = input.iter().product();
    last = builder.dense("dense", last, weight(100, width), vec![0.01; 100]).unwrap();
    last = builder.activation("relu", last, Activation::Relu).unwrap();
    builder.dense("out", last, weight(10, 100), (0..10).map(f64::from).collect()).unwrap();
    builder.finish().unwrap()
}

#[test]
fn peaks_are_within_a_fifth_of_what_inspect_predicts() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wide.onnx"), encode_onnx(&network(1024)).unwrap()).unwrap();
    let run = |args: &[&str]| run(folder.path(), args);
    let certify = [
        "certify",
        "wide.onnx",
        "--data",
        "embedded",
        "--property",
        "prediction",
        "-n",
        "2",
        "--threads",
        "1",
    ];
    for (threat, radii) in [
        (vec!["--radius", "1e-6"], 1.0),
        (vec!["--radius", "1e-6,2e-6,3e-6"], 3.0),
        (vec!["--threat", "relative", "--radius", "1e-6"], 1.0),
        (vec!["--radius", "1e-6", "--precision", "f64"], 1.0),
        (vec!["--radius", "1e-6", "--method", "exact"], 1.0),
    ] {
        let of_set = if threat[0] == "--threat" { &threat[..] } else { &["--radius", "1e-6"] };
        let estimate = run(&[&["inspect", "wide.onnx"], of_set].concat())["estimate"].clone();
        let bytes = |name: &str| estimate[name].as_f64().unwrap();
        let (threads, of_radius) = (bytes("memory_bytes_per_thread"), bytes("memory_bytes_per_radius"));
        let predicted = bytes("memory_bytes")
            + match threat.last() {
                // No cast to f32, which is about what wider coefficients take.
                Some(&"f64") => bytes("memory_bytes_f64") + threads,
                Some(&"exact") => of_radius + bytes("memory_bytes_exact") + threads,
                _ => radii * of_radius + threads,
            };
        is_near(predicted, &run(&[&certify, &threat[..]].concat()));
    }
}

#[test]
fn the_peak_of_a_convolutional_network_is_within_a_fifth_of_what_inspect_predicts() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("conv.onnx"), encode_onnx(&convolutional()).unwrap()).unwrap();
    let run = |args: &[&str]| run(folder.path(), args);
    let estimate = run(&["inspect", "conv.onnx"])["estimate"].clone();
    let parts = ["memory_bytes", "memory_bytes_per_radius", "memory_bytes_per_thread"];
    let predicted = parts.iter().map(|name| estimate[name].as_f64().unwrap()).sum();
    let certify =
        ["certify", "conv.onnx", "--data", "embedded", "--property", "prediction", "--threads", "1"];
    is_near(predicted, &run(&[&certify[..], &["--samples", "32", "--radius", "0.001"]].concat()));
}

fn is_near(predicted: f64, report: &Value) {
    let peak = report["environment"]["peak_memory_bytes"].as_f64().unwrap();
    let threat = &report["threat"];
    assert!((predicted / peak - 1.0).abs() <= 0.2, "{threat}: {predicted} predicted, {peak} measured");
}

/// The JSON that a command gives.
fn run(folder: &Path, args: &[&str]) -> Value {
    let output = Run::new(args.iter().chain(&["--json", "--quiet"]).copied()).within(folder).output();
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}
