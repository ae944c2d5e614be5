//! Small quantized models against the outputs that ONNX Runtime recorded for them, with all its fusions
//! (`assets/make_quantized_onnx.py`).

use serde_json::Value;
use std::path::{Path, PathBuf};
use weightproof::network::{Activation, Layer, Network, Staircase};
use weightproof_formats::network::{parse_onnx, read_network};

/// Outputs that no quantizer rounds were computed in f32.
const F32_TOLERANCE: f64 = 1e-5;
/// Of outputs in f32, as a part of them.
const ROUNDING: f64 = 1e-6;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx-quantized")
}

fn path(name: &str) -> PathBuf {
    folder().join(name).with_extension("onnx")
}

fn network(name: &str) -> Network {
    read_network(&path(name)).unwrap_or_else(|e| panic!("{e}")).network
}

fn recorded(path: &Path) -> (Vec<Vec<f64>>, Vec<Vec<f64>>, f64) {
    let text = std::fs::read(path.with_extension("json")).unwrap();
    let recorded: Value = serde_json::from_slice(&text).unwrap();
    let rows = |key: &str| serde_json::from_value(recorded[key].clone()).unwrap();
    (rows("inputs"), rows("outputs"), recorded["step"].as_f64().unwrap())
}

fn quantizers(network: &Network) -> Vec<Staircase> {
    let quantizer =
        |layer: &Layer| if let Layer::Activation(Activation::Quantize(q)) = layer { Some(*q) } else { None };
    network.nodes().iter().filter_map(|node| quantizer(&node.layer)).collect()
}

#[test]
fn quantized_models_compute_what_onnx_runtime_computes() {
    let (mut models, mut outputs, mut equal) = (0, 0, 0);
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let network = read_network(&path).unwrap_or_else(|e| panic!("{e}")).network;
        assert!(network.is_quantized() && network.is_float64(), "{}", path.display());
        let (inputs, expected, step) = recorded(&path);
        for (x, y) in inputs.iter().zip(expected) {
            for (a, b) in network.forward(x).iter().zip(&y) {
                let float = F32_TOLERANCE * b.abs().max(1.0);
                let allowed = if step > 0.0 { step + ROUNDING * b.abs().max(1.0) } else { float };
                assert!((a - b).abs() <= allowed, "{}: {a} instead of {b}", path.display());
                outputs += 1;
                equal += usize::from((a - b).abs() <= float);
            }
        }
        models += 1;
    }
    assert_eq!(models, 26);
    // Most are the same step, not only a neighbouring one.
    assert!(100 * equal >= 99 * outputs, "{equal} of {outputs}");
}

#[test]
fn both_forms_of_a_network_are_the_same_layers() {
    let kinds = |name: &str| -> Vec<&'static str> {
        network(name).nodes().iter().map(|node| node.layer.kind()).collect()
    };
    assert_eq!(kinds("dense-operator"), kinds("dense-qdq-signed"));
    assert_eq!(
        kinds("dense-operator"),
        ["input", "quantize", "dense", "quantize", "dense", "quantize", "dense", "quantize"]
    );
    // A quantizer of what is on its grid already is left out.
    assert_eq!(kinds("convolution-qdq"), kinds("convolution-operator"));
}

/// Each quantizer, product, cast, multiplication and bias of dynamic quantization becomes a quantizer and a layer.
#[test]
fn dynamic_quantization_is_a_quantizer_before_each_layer() {
    let kinds = |name: &str| -> Vec<&'static str> {
        network(name).nodes().iter().map(|node| node.layer.kind()).collect()
    };
    let dense = ["input", "dynamic-quantize", "dense", "relu", "dynamic-quantize", "dense", "relu"];
    let dense = [&dense[..], &["dynamic-quantize", "dense"]].concat();
    for name in ["dense-dynamic", "dense-dynamic-channel", "dense-dynamic-fused"] {
        assert_eq!(kinds(name), dense, "{name}");
        assert!(network(name).affine_layers().all(|(_, _, affine)| affine.has_bias), "{name}");
    }
    assert_eq!(
        network("dense-dynamic-channel").forward(&[0.3; 6]),
        network("dense-dynamic-fused").forward(&[0.3; 6])
    );
    let found = read_network(&path("convolution-dynamic")).unwrap();
    assert!(found.notes.iter().any(|note| note.contains("one sample at a time")), "{:?}", found.notes);
    // One quantizer is read by two products, a constant step by two others.
    let kinds = kinds("integer-to-float");
    let count = |kind: &str| kinds.iter().filter(|k| **k == kind).count();
    assert_eq!((count("dynamic-quantize"), count("dense"), count("quantize")), (1, 4, 2), "{kinds:?}");
}

#[test]
fn weights_keep_their_integers() {
    for (name, bits, signed, groups) in [
        ("dense-qdq-channel", 8, true, 8),
        ("dense-operator", 8, false, 1),
        ("convolution-operator", 8, true, 4),
        ("int4-blocks", 4, false, 16),
        ("int4-signed", 4, true, 5),
        ("nbits-4", 4, false, 18),
        ("nbits-8", 8, false, 18),
        ("weights-in-floats", 8, true, 8),
        ("dense-dynamic", 8, true, 1),
        ("dense-dynamic-channel", 8, true, 8),
        ("matmul-dynamic", 8, false, 8),
        ("tokens-dynamic", 8, true, 6),
        ("convolution-dynamic", 8, false, 1),
        ("integer-to-float", 8, true, 8),
    ] {
        let network = network(name);
        let (_, _, affine) = network.affine_layers().next().unwrap();
        let stored = affine.stored.as_ref().unwrap_or_else(|| panic!("{name}"));
        assert_eq!((stored.bits, stored.signed, stored.steps.len()), (bits, signed, groups), "{name}");
        let (low, high) = stored.ends();
        for (k, w) in affine.weight.as_slice().iter().enumerate() {
            let q = w / stored.step(k) + stored.zeros[stored.group(k)] as f64;
            assert!(q == q.round() && q >= low as f64 && q <= high as f64, "{name}: weight {k} is {q}");
        }
    }
}

#[test]
fn quantizers_have_the_integers_of_their_type() {
    let ends = |name: &str| quantizers(&network(name)).iter().map(|q| (q.low, q.high)).collect::<Vec<_>>();
    assert_eq!(ends("dense-qdq-channel"), [(0, 255); 4]);
    assert_eq!(ends("dense-qdq-signed"), [(-128, 127); 4]);
    assert_eq!(ends("dense-qdq-int16"), [(-32768, 32767); 4]);
    assert_eq!(ends("dense-qdq-uint16"), [(0, 65535); 4]);
}

#[test]
fn biases_have_the_step_of_the_accumulator() {
    let network = network("dense-operator");
    let [quantizer, ..] = quantizers(&network)[..] else { panic!("no quantizer") };
    let (_, _, affine) = network.affine_layers().next().unwrap();
    let stored = affine.stored.as_ref().unwrap();
    assert_eq!(stored.bias_steps, [quantizer.step * stored.steps[0]; 8]);
    for b in &affine.bias {
        let q = b / stored.bias_steps[0];
        assert!((q - q.round()).abs() < 1e-6, "{q}");
    }
}

/// The networks of the models quantized by ONNX Runtime that are kept beside the repository.
#[test]
fn networks_with_convolutions_and_joins() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models/quantized");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no {}", folder.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "onnx") {
            let network = read_network(&path).unwrap_or_else(|e| panic!("{e}")).network;
            assert!(network.affine_layers().all(|(_, _, affine)| affine.stored.is_some()));
            assert!(quantizers(&network).len() > network.affine_layers().count());
        }
    }
}

/// Damaged steps, zero points and integers are errors, never panics.
#[test]
fn damaged_quantized_models_are_errors() {
    for name in [
        "dense-qdq-channel",
        "residual-operator",
        "int4-blocks",
        "nbits-4",
        "convolution-dynamic",
        "integer-to-float",
    ] {
        let bytes = std::fs::read(path(name)).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= change;
                let _ = parse_onnx(&damaged);
            }
        }
    }
}
