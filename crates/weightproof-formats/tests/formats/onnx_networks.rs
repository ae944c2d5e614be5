//! Tiny models against the outputs that ONNX Runtime recorded for them, damaged ones, and mutated ones.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::path::{Path, PathBuf};
use weightproof_formats::network::{
    BatchNorm, OnnxError, ReadOptions, parse_onnx, parse_onnx_with, read_network, read_network_with,
};

/// Outputs were computed in f32, some in f16; the network computes in f64.
const F32_TOLERANCE: f64 = 1e-5;
const F16_TOLERANCE: f64 = 5e-3;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The ONNX files of a folder, sorted; none when the folder is absent.
fn models(name: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder(name)) else {
        eprintln!("skipped: no folder {name}");
        return vec![];
    };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    paths.sort();
    paths
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The largest difference to the recorded outputs, relative to their size (at least 1).
fn worst_difference(path: &Path, network: &weightproof::network::Network) -> f64 {
    let text = std::fs::read_to_string(path.with_extension("json")).unwrap();
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let mut worst: f64 = 0.0;
    for (x, y) in rows(&recorded["inputs"]).iter().zip(rows(&recorded["outputs"])) {
        // A file may fix a batch of several samples, which the network takes one by one.
        let found: Vec<f64> = x.chunks(network.input_width()).flat_map(|x| network.forward(x)).collect();
        assert_eq!(found.len(), y.len(), "{}", path.display());
        for (a, b) in found.iter().zip(&y) {
            assert!(a.is_finite(), "{}", path.display());
            worst = worst.max((a - b).abs() / b.abs().max(1.0));
        }
    }
    worst
}

/// Softmax and LogSoftmax are dropped, so for those models only the order of the outputs is as recorded.
fn same_order(path: &Path, network: &weightproof::network::Network) -> bool {
    let order = |values: &[f64]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
        order
    };
    let recorded: Value =
        serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
    let samples = rows(&recorded["inputs"]).into_iter().zip(rows(&recorded["outputs"]));
    samples.into_iter().all(|(x, y)| order(&network.forward(&x)) == order(&y))
}

#[test]
fn tiny_models_compute_what_onnx_runtime_computes() {
    for path in models("onnx") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let read = read_network(&path);
        let loaded = read.unwrap_or_else(|e| panic!("{e}"));
        if name.contains("softmax") {
            assert!(loaded.notes.iter().any(|n| n.contains("oftmax")), "{name}: {:?}", loaded.notes);
            assert!(same_order(&path, &loaded.network), "{name}");
            continue;
        }
        let worst = worst_difference(&path, &loaded.network);
        assert!(worst <= F32_TOLERANCE, "{name}: {worst:e}");
        let options = ReadOptions { batch_norm: BatchNorm::Separate, ..ReadOptions::default() };
        let separate = read_network_with(&path, &options).unwrap_or_else(|e| panic!("{e}")).network;
        let worst = worst_difference(&path, &separate);
        assert!(worst <= F32_TOLERANCE, "{name}, batch normalization separate: {worst:e}");
    }
}

#[test]
fn exported_networks_compute_what_onnx_runtime_computes() {
    for path in models("exporters") {
        for batch_norm in [BatchNorm::Fold, BatchNorm::Separate] {
            let options = ReadOptions { batch_norm, ..ReadOptions::default() };
            let loaded = read_network_with(&path, &options).unwrap_or_else(|e| panic!("{e}"));
            let worst = worst_difference(&path, &loaded.network);
            assert!(worst <= F32_TOLERANCE, "{} {batch_norm:?}: {worst:e}", path.display());
        }
    }
}

#[test]
fn models_with_more_are_read_right_or_refused_by_name() {
    for path in models("onnx/later") {
        match read_network(&path) {
            Ok(loaded) => {
                let worst = worst_difference(&path, &loaded.network);
                let halves = path.ends_with("half-model.onnx");
                let tolerance = if halves { F16_TOLERANCE } else { F32_TOLERANCE };
                assert!(worst <= tolerance, "{}: {worst:e}", path.display());
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("expected") && message.contains("found"), "{message}");
            }
        }
    }
}

#[test]
fn damaged_models_are_refused_by_name() {
    let starts = [
        "node ",
        "tensor ",
        "graph",
        "operator set: ",
        "not a valid ONNX model: ",
        "expected an ONNX model, found ",
    ];
    for path in models("onnx-bad") {
        let name = path.display();
        let message = read_network(&path).map(|_| ()).expect_err(&name.to_string()).to_string();
        if path.ends_with("external-data.onnx") {
            // What is missing is a file beside the model.
            let data = path.with_file_name("weights.bin");
            assert!(message.starts_with(&format!("{}: ", data.display())), "{message}");
            continue;
        }
        let rest = message.strip_prefix(&format!("{name}: ")).unwrap();
        assert!(starts.iter().any(|start| rest.starts_with(start)), "{message}");
        assert!(!rest.ends_with('.') && !rest.contains(char::is_control), "{message}");
    }
}

#[test]
fn dense_layers_keep_the_name_of_their_product() {
    let path = folder("onnx").join("matmul-add.onnx");
    if !path.exists() {
        eprintln!("skipped: no tiny models");
        return;
    }
    let network = read_network(&path).unwrap().network;
    let (_, first, dense) = network.affine_layers().next().unwrap();
    assert!(first.name.starts_with("matmul"), "{}", first.name);
    assert!(dense.bias.iter().any(|&b| b != 0.0));
}

/// Changes bytes, cuts, repeats and swaps pieces; the reader may refuse, but must return.
#[test]
fn mutated_models_never_panic() {
    const ROUNDS: usize = 60;
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut accepted = 0;
    let memory_before = peak_memory();
    let files: Vec<PathBuf> =
        ["onnx", "onnx/later", "onnx-bad", "exporters"].iter().flat_map(|f| models(f)).collect();
    for path in &files {
        let original = std::fs::read(path).unwrap();
        for _ in 0..ROUNDS {
            let mutated = mutate(&original, &mut rng);
            let batch_norm = if rng.random() { BatchNorm::Fold } else { BatchNorm::Separate };
            match parse_onnx_with(&mutated, batch_norm) {
                Ok((network, _)) => {
                    accepted += 1;
                    if network.input_width() < 1000 {
                        network.forward(&vec![0.5; network.input_width()]);
                    }
                }
                Err(error) => {
                    let _ = (error.to_string(), error.hint());
                }
            }
        }
    }
    eprintln!("{} mutated models, {accepted} accepted", files.len() * ROUNDS);
    let grown = peak_memory().saturating_sub(memory_before);
    assert!(grown < MEMORY_LIMIT, "{grown} KiB for models of a few hundred bytes");
}

/// KiB that mutated tiny models may cost: the numbers that every file may ask for, a few times.
const MEMORY_LIMIT: usize = 1 << 20;

/// The most memory that this process had, in KiB, where the system tells (0 elsewhere).
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn mutate(original: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..rng.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        let length = rng.random_range(1..=16.min(bytes.len() - at));
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = [0x00, 0x01, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
            2 => bytes.truncate(at),
            3 => {
                bytes.drain(at..at + length);
            }
            4 => {
                let piece = bytes[at..at + length].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                let from = rng.random_range(0..=bytes.len() - length);
                bytes.copy_within(from..from + length, at);
            }
        }
    }
    bytes
}

#[test]
fn every_prefix_of_a_model_is_refused_or_read() {
    for path in models("onnx").into_iter().take(5) {
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            let _ = parse_onnx(&bytes[..length]);
        }
    }
}

#[test]
fn nonsense_is_not_a_model() {
    assert!(matches!(parse_onnx(&[]), Err(OnnxError::Decode { .. })));
    assert!(matches!(parse_onnx(b"PK\x03\x04 not a model"), Err(OnnxError::Format { .. })));
    assert!(matches!(parse_onnx(b"not a model"), Err(OnnxError::Decode { .. })));
    let groups = [0x0b].repeat(100_000);
    assert!(parse_onnx(&groups).is_err());
}
