//! What `inspect` says about memory, beside what runs take.
#![cfg(target_os = "linux")]

use crate::snapshot::Run;
use serde_json::Value;
use std::fs;
use weightproof::kernels::Matrix;
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

#[test]
fn peaks_are_within_a_fifth_of_what_inspect_predicts() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wide.onnx"), encode_onnx(&network(1024)).unwrap()).unwrap();
    let run = |args: &[&str]| -> Value {
        let output =
            Run::new(args.iter().chain(&["--json", "--quiet"]).copied()).within(folder.path()).output();
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
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
        let report = run(&[&certify, &threat[..]].concat());
        let peak = report["environment"]["peak_memory_bytes"].as_f64().unwrap();
        assert!((predicted / peak - 1.0).abs() <= 0.2, "{threat:?}: {predicted} predicted, {peak} measured");
    }
}
