//! Quantized networks on the command line.

use crate::snapshot::{Run, check};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use weightproof_check::run::Opened;
use weightproof_formats::archive::archive;

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
    let shape = format!("({}, {})", rows.len(), rows[0].len());
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}");
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.iter().flatten().flat_map(|v| v.to_le_bytes()));
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
