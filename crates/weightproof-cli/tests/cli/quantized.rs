//! Quantized networks on the command line.

use crate::snapshot::{Run, check};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use weightproof_check::run::Opened;
use weightproof_formats::archive::archive;
use weightproof_formats::network::read_network;

/// A model that ONNX Runtime quantized, with its recorded inputs and outputs beside it.
fn model(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weightproof-formats/tests/onnx-quantized");
    folder.join(name).display().to_string()
}

fn recorded(name: &str, key: &str) -> Vec<Vec<f64>> {
    let text = fs::read(model(name)).unwrap();
    let recorded: Value = serde_json::from_slice(&text).unwrap();
    serde_json::from_value(recorded[key].clone()).unwrap()
}

/// An NPY file of these rows in double precision.
fn npy(rows: &[Vec<f64>]) -> Vec<u8> {
    npy_of("<f8", rows, |v| v.to_le_bytes().to_vec())
}

/// An NPY file of these rows as numbers of type `descr`.
fn npy_of(descr: &str, rows: &[Vec<f64>], number: impl Fn(f64) -> Vec<u8>) -> Vec<u8> {
    let shape = format!("({}, {})", rows.len(), rows[0].len());
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.iter().flatten().flat_map(|v| number(*v)));
    bytes
}

fn data(folder: &Path) -> PathBuf {
    let path = folder.join("x.npy");
    fs::write(&path, npy(&recorded("dense-operator.json", "inputs"))).unwrap();
    path
}

fn certify(folder: &Path, more: &[&str]) -> Value {
    let (model, data) = (model("dense-operator.onnx"), data(folder).display().to_string());
    let args = ["certify", &model, &data, "--scale", "1", "--threat", "lsb", "--radius", "1", "--json"];
    let output = Run::new(args.iter().chain(more).copied()).output();
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[test]
fn inspect_shows_integers_steps_and_zero_points() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(model("dense-operator.onnx"), folder.path().join("int8.onnx")).unwrap();
    check("inspect-quantized", &Run::new(["inspect", "int8.onnx"]).within(folder.path()));
}

#[test]
fn a_neighbouring_step_costs_some_of_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let [nearest, any] = ["nearest-even", "any"].map(|how| certify(folder.path(), &["--rounding", how]));
    let bound = |result: &Value| -> Vec<f64> {
        let samples = result["samples"].as_array().unwrap().iter();
        samples.map(|sample| sample["margin_lower"].as_f64().unwrap()).collect()
    };
    assert!(bound(&nearest).iter().zip(bound(&any)).all(|(nearest, any)| any <= *nearest));
    assert!(bound(&nearest) != bound(&any));
    assert!(any["model"]["notes"].to_string().contains("--rounding any"), "{any}");
    assert_eq!(any["config"]["model"]["step_rounding"], "any");
}

#[test]
fn what_a_network_lacks_is_told() {
    for (args, message) in [
        (["--rounding", "any"], "rounding: expected a network with quantizers for any, found one without"),
        (["--threat", "lsb"], "layer dense1: expected weights that the file stores as integers"),
    ] {
        let output =
            Run::new(["certify", "--samples", "1", "--radius", "0.1"].into_iter().chain(args)).output();
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(message), "{output:?}");
    }
}

#[test]
fn the_checker_accepts_certificates_of_operators_on_integers() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (model("dense-operator.onnx"), data(folder.path()).display().to_string());
    let file = folder.path().join("c.wpc").display().to_string();
    let output = Run::new([
        "certify",
        &model,
        &data,
        "--scale",
        "1",
        "--threat",
        "lsb",
        "--radius",
        "0.1",
        "--certificate",
        &file,
    ])
    .output();
    assert!(output.code.is_some_and(|code| code < 2), "{output:?}");
    let file = fs::read(&file).unwrap();
    let mut opened = Opened::new(&file[..], &fs::read(&model).unwrap()).unwrap();
    let mut verified = 0;
    let end = opened.check(2, |finding| {
        assert!(finding.result.is_ok(), "{finding}");
        verified += usize::from(finding.kind() == 0);
    });
    assert!(end.is_ok() && verified > 0, "{verified} {output:?}");
}

#[test]
fn a_network_is_a_rounding_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(model("dense-operator.onnx"), folder.path().join("int8.onnx")).unwrap();
    let run = Run::new(["faithful", "int8.onnx", "int8.onnx"]).within(folder.path());
    let output = run.output();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.stdout.matches("equal").count(), 3, "{output:?}");
    let run = Run::new(["faithful", "int8.onnx", &model("matmul-qdq.onnx")]).within(folder.path());
    let output = run.output();
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("expected 3 layers with parameters, found 2"), "{output:?}");
}

/// Safetensors without an architecture are compared tensor by tensor.
#[test]
fn files_of_tensors_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, kind: &str, numbers: &[u8]| {
        let header =
            format!(r#"{{"w":{{"dtype":"{kind}","shape":[1,3],"data_offsets":[0,{}]}}}}"#, numbers.len());
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), numbers].concat();
        fs::write(folder.path().join(name), bytes).unwrap();
    };
    let floats = |numbers: [f32; 3]| numbers.map(f32::to_le_bytes).concat();
    write("float.safetensors", "F32", &floats([1.0, -2.0, 0.3]));
    // The same in 16 bits, and with a number that is off.
    write("half.safetensors", "F16", &[0x00, 0x3c, 0x00, 0xc0, 0xcd, 0x34]);
    write("off.safetensors", "F16", &[0x00, 0x3c, 0x00, 0xc0, 0xd0, 0x34]);
    for (name, code, rule) in [("half", 0, "nearest"), ("off", 1, "outside")] {
        let second = format!("{name}.safetensors");
        let output = Run::new(["faithful", "float.safetensors", &second]).within(folder.path()).output();
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(output.stdout.contains(rule) && output.stdout.contains("1 tensors, 3 numbers"), "{output:?}");
    }
    fs::write(folder.path().join("cut.safetensors"), [9, 0, 0, 0, 0, 0, 0, 0, b'{']).unwrap();
    let output =
        Run::new(["faithful", "float.safetensors", "cut.safetensors"]).within(folder.path()).output();
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("cut.safetensors: header: expected"), "{output:?}");
}

#[test]
fn the_first_value_that_differs_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outputs.npz");
    let inputs = recorded("dense-qdq-channel.json", "inputs");
    let mut outputs = recorded("dense-qdq-channel.json", "outputs");
    let run = |outputs: &[Vec<f64>]| {
        let (inputs, outputs) = (npy(&inputs), npy(outputs));
        let members = [("input.npy", inputs.as_slice()), ("y_QuantizeLinear.npy", outputs.as_slice())];
        fs::write(&path, archive(&members).unwrap()).unwrap();
        Run::new(["inspect", &model("dense-qdq-channel.onnx"), "--against", &path.display().to_string()])
            .output()
    };
    let same = run(&outputs);
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(same.stdout.contains("no value differs"), "{same:?}");
    assert!(same.stdout.contains("class equal on 12 of 12 samples"), "{same:?}");
    outputs[3][1] += 0.1;
    let changed = run(&outputs);
    assert_eq!(changed.code, Some(1), "{changed:?}");
    assert!(
        changed.stdout.contains("first difference: node y_QuantizeLinear, element 1, sample 3"),
        "{changed:?}"
    );
}

/// The tensors of a safetensors file of numbers in double precision, by name.
fn tensors(path: &Path) -> HashMap<String, Vec<f64>> {
    let bytes = fs::read(path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    let of = |(name, entry): (&String, &Value)| {
        assert_eq!(entry["dtype"], "F64");
        let at = |k: usize| start + entry["data_offsets"][k].as_u64().unwrap() as usize;
        let numbers = bytes[at(0)..at(1)].chunks_exact(8);
        (name.clone(), numbers.map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect())
    };
    header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__").map(of).collect()
}

/// Puts `new` in the only place of `bytes` where `old` is.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) -> bool {
    let places: Vec<usize> = (0..=bytes.len() - old.len()).filter(|&k| bytes[k..].starts_with(old)).collect();
    let [place] = places[..] else { return false };
    bytes[place..place + new.len()].copy_from_slice(new);
    true
}

/// The integers of a witness, written into the file of the network, break the class of the network that is read from it.
#[test]
fn a_witness_in_integers_breaks_the_file_that_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let (name, data) = (model("dense-operator.onnx"), data(folder.path()).display().to_string());
    let witnesses = folder.path().join("w");
    let mut args = vec!["attack", &name, &data, "--scale", "1", "--property", "prediction", "--json"];
    let written = witnesses.display().to_string();
    args.extend(["--threat", "lsb", "--radius", "6", "--witness", &written]);
    let output = Run::new(args).output();
    let found: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let network = read_network(Path::new(&name)).unwrap().network;
    let mut broken = 0;
    for sample in found["samples"].as_array().unwrap().iter().filter(|s| s["integers"] == true) {
        let tensors = tensors(&witnesses.join(sample["witness"].as_str().unwrap()));
        let mut bytes = fs::read(&name).unwrap();
        for (_, node, affine) in network.affine_layers() {
            let Some(weights) = tensors.get(&format!("{}.weight", node.name)) else { continue };
            let stored = affine.stored.as_ref().unwrap();
            let integers = |weights: &[f64]| -> Vec<u8> {
                let integer = |(k, w): (usize, &f64)| {
                    let q = w / stored.step(k) + stored.zeros[stored.group(k)] as f64;
                    assert!(q == q.round() && (0.0..=255.0).contains(&q), "{}: {q}", node.name);
                    q as u8
                };
                weights.iter().enumerate().map(integer).collect()
            };
            let (old, new) = (integers(affine.weight.as_slice()), integers(weights));
            let turned = |q: &[u8]| -> Vec<u8> {
                let cols = affine.weight.cols();
                (0..cols).flat_map(|j| q.iter().skip(j).step_by(cols).copied().collect::<Vec<_>>()).collect()
            };
            let is_written =
                replace(&mut bytes, &old, &new) || replace(&mut bytes, &turned(&old), &turned(&new));
            assert!(is_written, "{}", node.name);
            let words = |bias: &[f64]| -> Vec<u8> {
                let word = |(b, s): (&f64, &f64)| ((b / s).round() as i32).to_le_bytes();
                bias.iter().zip(&stored.bias_steps).flat_map(word).collect()
            };
            let bias = &tensors[&format!("{}.bias", node.name)];
            assert!(replace(&mut bytes, &words(&affine.bias), &words(bias)), "{}", node.name);
        }
        let path = folder.path().join("broken.onnx");
        fs::write(&path, bytes).unwrap();
        let k = sample["index"].as_u64().unwrap() as usize;
        let outputs =
            read_network(&path).unwrap().network.forward(&recorded("dense-operator.json", "inputs")[k]);
        let predicted = sample["predicted"].as_u64().unwrap() as usize;
        let rivals = (0..outputs.len()).filter(|&j| j != predicted);
        assert!(rivals.clone().any(|j| outputs[j] >= outputs[predicted]), "sample {k}: {outputs:?}");
        broken += 1;
    }
    assert!(broken >= 2, "{output:?}");
    // Less than one count: no integer moves.
    let mut args = vec!["attack", &name, &data, "--scale", "1", "--property", "prediction", "--json"];
    let written = folder.path().join("v").display().to_string();
    args.extend(["--threat", "lsb", "--radius", "0.9", "--bias-radius", "0", "--witness", &written]);
    let found: Value = serde_json::from_str(&Run::new(args).output().stdout).unwrap();
    assert!(found["samples"].as_array().unwrap().iter().all(|s| s["integers"] != true), "{found}");
}

/// Integers of a quantizer whose step follows from the sample are compared, each sample with its step and zero point.
#[test]
fn integers_of_dynamic_quantizers_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outputs.npz");
    let inputs = recorded("dense-dynamic.json", "inputs");
    // By the operator's text, in single precision.
    let quantized = |x: &Vec<f64>| -> Vec<f64> {
        let x: Vec<f32> = x.iter().map(|v| *v as f32).collect();
        let (least, most) = x.iter().fold((0.0_f32, 0.0_f32), |(a, b), v| (a.min(*v), b.max(*v)));
        let step = (most - least) / 255.0;
        let zero = (-least / step).round_ties_even();
        x.iter().map(|v| f64::from(((v / step).round_ties_even() + zero).clamp(0.0, 255.0))).collect()
    };
    let mut integers: Vec<Vec<f64>> = inputs.iter().map(quantized).collect();
    let run = |integers: &[Vec<f64>]| {
        let (inputs, integers) = (npy(&inputs), npy_of("|u1", integers, |v| vec![v as u8]));
        let members = [("input.npy", inputs.as_slice()), ("x_QuantizeLinear.npy", integers.as_slice())];
        fs::write(&path, archive(&members).unwrap()).unwrap();
        Run::new(["inspect", &model("dense-dynamic.onnx"), "--against", &path.display().to_string()]).output()
    };
    let same = run(&integers);
    assert!(same.code == Some(0) && same.stdout.contains("no value differs"), "{same:?}");
    let moved = &mut integers[5][2];
    *moved += if *moved > 0.0 { -1.0 } else { 1.0 };
    let changed = run(&integers);
    assert_eq!(changed.code, Some(1), "{changed:?}");
    let first = "first difference: node x_QuantizeLinear, element 2, sample 5";
    assert!(changed.stdout.contains(first), "{changed:?}");
}

/// Networks of ONNX Runtime's dynamic quantization are certified and attacked; hits are not settled where a neighbouring step may come out.
#[test]
fn steps_that_follow_from_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let (network, data) = (model("dense-dynamic.onnx"), data(folder.path()).display().to_string());
    let run = |command: &str, more: &[&str]| {
        let args = [command, &network, &data, "--scale", "1", "--property", "prediction"];
        Run::new(args.iter().chain(more).copied()).output()
    };
    let radius = ["--threat", "relative", "--radius", "0.0001", "--json"];
    let found: Value = serde_json::from_str(&run("certify", &radius).stdout).unwrap();
    assert!(found["model"]["notes"].to_string().contains("one sample at a time"), "{found}");
    assert!(found["summary"]["certified"].as_u64() == Some(12), "{found}");
    let hits = folder.path().join("hits.toml");
    fs::write(&hits, "words = 1\n").unwrap();
    for (command, more) in [("faults", vec![]), ("radius", vec!["--faults", hits.to_str().unwrap()])] {
        let any = run(command, &[&["--rounding", "any"], &more[..]].concat());
        let message = "rounding: expected nearest-even where every hit is settled, found any";
        assert!(any.code == Some(2) && any.stderr.contains(message), "{any:?}");
    }
}
