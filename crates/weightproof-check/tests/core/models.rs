//! The reader of ONNX against outputs that ONNX Runtime recorded, and files that must be refused.

use crate::rational::{Rational, rational};
use std::path::{Path, PathBuf};
use weightproof_check::number::Number;
use weightproof_check::onnx::read;
use weightproof_check::point::Point;

#[derive(serde::Deserialize)]
struct Recorded {
    inputs: Vec<Vec<f64>>,
    outputs: Vec<Vec<f64>>,
    /// Of integers, the distance of two outputs; a sum of single precision may come out one step away.
    #[serde(default)]
    step: f64,
}

fn models(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weightproof-formats/tests").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect()
}

#[test]
fn outputs_are_those_of_onnx_runtime() {
    let (mut read_networks, mut refused) = (0, 0);
    for path in [models("onnx"), models("exporters"), models("onnx-quantized")].concat() {
        let Ok(network) = read(&std::fs::read(&path).unwrap()) else {
            refused += 1;
            continue;
        };
        read_networks += 1;
        if network.head.is_some() {
            // Recorded behind the last operator, which is left out.
            continue;
        }
        let recorded = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let recorded: Recorded = serde_json::from_str(&recorded).unwrap();
        for (input, output) in recorded.inputs.iter().zip(&recorded.outputs).take(2) {
            let input: Vec<Number> =
                input.iter().map(|x| Number::from_double(x.to_bits()).unwrap()).collect();
            let point = Point::new(&network, &input).unwrap();
            for (j, expected) in output.iter().enumerate() {
                // ONNX Runtime computes in single precision.
                let room = 1e-4 * (1.0 + expected.abs());
                let (expected, near) = (rational(*expected), rational(room + recorded.step));
                let room = rational(room);
                let (below, above) =
                    (Rational::from(point.below(&[(j, 1)])), Rational::from(point.above(&[(j, 1)])));
                assert!(
                    below <= above && above.minus(&below) < room,
                    "{}: {below:?} {above:?}",
                    path.display()
                );
                let near = below.minus(&near) < expected && expected < above.plus(&near);
                assert!(near, "{}: output {j}: {below:?} {above:?}, expected {expected:?}", path.display());
            }
        }
    }
    assert!(read_networks > 100 && refused > 40, "{read_networks} networks are read, {refused} refused");
}

#[test]
fn bad_files_are_refused() {
    // Not as they should be, but there is one thing only that they can mean.
    let harmless = [
        "no-nodes",
        "output-wrong-width",
        "input-int64",
        "mixed-types",
        "relu-two-inputs",
        "conv-unknown-attribute",
    ];
    let is_read = |path: &PathBuf| read(&std::fs::read(path).unwrap()).is_ok();
    let is_harmless = |path: &PathBuf| harmless.contains(&path.file_stem().unwrap().to_str().unwrap());
    let accepted = models("onnx-bad").into_iter().filter(|path| is_read(path) && !is_harmless(path));
    assert_eq!(accepted.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    let good = models("onnx")
        .into_iter()
        .filter(is_read)
        .map(|path| std::fs::read(path).unwrap())
        .min_by_key(Vec::len);
    let good = good.unwrap();
    // No cut or flipped bit makes the reader stop.
    for place in 0..good.len() {
        drop(read(&good[..place]));
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[place] ^= 1 << bit;
            drop(read(&flipped));
        }
    }
}
