//! Models with weights in bf16 and fp16 against the outputs that other programs recorded for them (`assets/make_half_onnx.py`).

use half::{bf16, f16};
use serde_json::Value;
use std::path::Path;
use weightproof_formats::network::{LoadedNetwork, read_network};

/// A model, with the inputs and outputs that were recorded for it.
struct Recorded {
    read: LoadedNetwork,
    inputs: Vec<Vec<f64>>,
    outputs: Vec<Vec<f64>>,
}

fn recorded(name: &str) -> Recorded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx-half").join(name);
    let text = std::fs::read(path.with_extension("json")).unwrap();
    let text: Value = serde_json::from_slice(&text).unwrap();
    let rows = |key: &str| serde_json::from_value(text[key].clone()).unwrap();
    let read = read_network(&path.with_extension("onnx")).unwrap_or_else(|e| panic!("{e}"));
    Recorded { read, inputs: rows("inputs"), outputs: rows("outputs") }
}

/// The largest difference to the recorded outputs.
fn largest_difference(Recorded { read, inputs, outputs }: &Recorded) -> f64 {
    let of = |(x, y): (&Vec<f64>, &Vec<f64>)| {
        let found = read.network.forward(x);
        assert_eq!(found.len(), y.len());
        found.iter().zip(y).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    assert!(inputs.len() >= 6);
    inputs.iter().zip(outputs).map(of).fold(0.0, f64::max)
}

/// ONNX Runtime computes in single precision; the numbers are those of the format, all of them.
#[test]
fn weights_in_half_precision_are_the_numbers_of_the_file() {
    for name in ["bf16-weights", "fp16-weights"] {
        let rounded = |w: f64| match name {
            "bf16-weights" => bf16::from_f64(w).to_f64(),
            _ => f16::from_f64(w).to_f64(),
        };
        let recorded = recorded(name);
        let mut count = 0;
        for (_, _, affine) in recorded.read.network.affine_layers() {
            for &w in affine.weight.as_slice().iter().chain(&affine.bias) {
                assert_eq!(w, rounded(w), "{name}");
                count += 1;
            }
        }
        assert_eq!(count, 72 + 4 + 384 + 6 + 18 + 3, "{name}");
        let difference = largest_difference(&recorded);
        assert!(difference < 1e-6, "{name}: {difference}");
    }
}

/// A model that computes in the format is read as it stands for, and a note says that its rounding is not modelled.
#[test]
fn models_that_compute_in_half_precision_differ_by_their_rounding() {
    // Each of 64 + 6 + … products and sums may lose half a unit of the format.
    for (name, format, allowed) in [("bf16-native", "bf16", 2e-2), ("fp16-native", "fp16", 2e-3)] {
        let recorded = recorded(name);
        let difference = largest_difference(&recorded);
        assert!(difference < allowed, "{name}: {difference}");
        let note = format!("rounding to {format} is not modelled");
        assert!(recorded.read.notes.iter().any(|n| n.contains(&note)), "{:?}", recorded.read.notes);
    }
}
