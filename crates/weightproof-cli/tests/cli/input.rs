//! What may be read in more than one way is said or refused: units, headers, names, outputs. Files are under `tests/input`.

use crate::snapshot::{Output, Run};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A file of the folder.
fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input");
    folder.join(name).to_string_lossy().into_owned()
}

/// Runs a line of words; those with an extension are files of the folder.
fn run(line: &str) -> Output {
    let known = [".onnx", ".npz", ".npy", ".csv", ".toml"];
    let word = |word: &str| match known.iter().any(|end| word.ends_with(end)) {
        true => file(word),
        false => word.to_owned(),
    };
    Run::new(line.split_whitespace().map(word)).output()
}

fn json(line: &str) -> Value {
    let output = run(&format!("{line} --format json"));
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A usage error with these words in it.
fn refused(line: &str, words: &[&str]) {
    let output = run(line);
    assert_eq!(output.code, Some(2), "{output:?}");
    words.iter().for_each(|word| assert!(output.stderr.contains(word), "{word}: {output:?}"));
}

#[test]
fn a_network_that_divides_by_255_gets_bytes() {
    let line = "certify keras_rescaling_inside.onnx --data embedded --samples 40 --radius 1e-6";
    let report = json(line);
    let scale = &report["data"]["scale"];
    assert_eq!(scale["factor"], "1", "{scale}");
    assert!(scale["reason"].as_str().unwrap().contains("rescaling"), "{scale}");
    assert!(report["summary"]["accuracy"].as_f64().unwrap() > 0.9);
    let given = json(&format!("{line} --scale 1/255"));
    assert_eq!(given["config"]["data"]["scale"], "1/255");
    assert!(given["summary"]["accuracy"].as_f64().unwrap() < 0.5);
    assert!(run(line).stdout.contains("u8 data times 1 (the network rescales bytes itself"));
    // Inputs that move stay within the range of scaled bytes.
    let range = json(&format!("{line} --input-radius 1"))["threat"]["input_range"].clone();
    assert_eq!(range, serde_json::json!([0.0, 255.0]));
}

#[test]
fn the_scale_of_bytes_is_said() {
    let line = "certify --samples 3 --radius 1e-6";
    assert!(run(line).stdout.contains("u8 data times 1/255 (default; --scale changes it)"));
    let scale = |more: &str| json(&format!("{line} {more}"))["data"]["scale"]["factor"].clone();
    assert_eq!([scale(""), scale("--std 255"), scale("--scale 0.5")], ["1/255", "1", "0.5"]);
    let margin = |more: &str| json(&format!("{line} {more}"))["samples"][0]["margin"].clone();
    assert_eq!(margin(""), margin("--scale 1/255"));
    refused(&format!("{line} --std 4"), &["scale: expected a number", "hint: --scale 1"]);
    refused(&format!("{line} --scale 0"), &["scale: expected a number above 0, or a ratio such as 1/255"]);
}

#[test]
fn bytes_of_0_and_1_are_not_divided_unasked() {
    let line =
        "certify segmentation_output.onnx img_u8_01.npy --radius 0.01 --property deviation --tolerance 1";
    refused(line, &["scale: expected a number, because no byte", "hint: --scale 1"]);
    let scale = |text: &str| json(&format!("{line} --scale {text}"))["data"]["scale"]["factor"].clone();
    assert_eq!([scale("1"), scale("1/255")], ["1", "1/255"]);
}

#[test]
fn a_header_of_numbers_is_asked_for() {
    let line = "certify names_duplicate.onnx header_numeric.csv --radius 0.001";
    refused(line, &["row 1: expected names of columns or a sample", "found 0,1,2", "hint: --header yes"]);
    let samples =
        |header: &str| json(&format!("{line} --header {header}"))["data"]["samples"].as_u64().unwrap();
    assert_eq!(samples("no"), samples("yes") + 1);
}

#[test]
fn layers_of_one_name_are_numbered() {
    let inspect = run("inspect names_duplicate.onnx").stdout;
    assert!(
        inspect.contains("2 layers of the file have the name same: they are called same_1, same_2"),
        "{inspect}"
    );
    refused("inspect names_duplicate.onnx --layers same", &["layer same: expected one of same_1, same_2"]);
    assert_eq!(run("inspect names_duplicate.onnx --layers same_2").code, Some(0));
}

#[test]
fn an_output_of_images_has_no_classes() {
    let inspect = run("inspect segmentation_output.onnx");
    assert!(inspect.code == Some(0) && inspect.stdout.contains("shape [2, 6, 6]"), "{inspect:?}");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("x.csv");
    fs::write(&data, format!("{}\n", vec!["0.5"; 3 * 8 * 8].join(","))).unwrap();
    let line = format!("segmentation_output.onnx {} --unlabelled-csv", data.display());
    let run = |more: &str| {
        let words = more.replace("FILES", &line);
        Run::new(words.split_whitespace().map(|w| if w.ends_with(".onnx") { file(w) } else { w.into() }))
            .output()
    };
    for command in
        ["certify FILES --radius 0.001", "attack FILES --radius 0.001", "radius FILES", "measure FILES"]
    {
        let output = run(command);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains("found an output of shape [2, 6, 6]"), "{output:?}");
        assert!(output.stderr.contains("hint: --property deviation"), "{output:?}");
    }
    let deviation = run("certify FILES --radius 1e-4 --property deviation --tolerance 1");
    assert_eq!(deviation.code, Some(0), "{deviation:?}");
}

#[test]
fn deviations_are_those_of_the_output() {
    let line = "--radius 0.02 --property deviation --tolerance 0.4 --offset 10 --samples 1";
    for command in ["certify", "certify --method exact", "radius", "attack"] {
        let line = if command == "radius" { line.replace("--radius 0.02", "") } else { line.into() };
        let (command, more) = command.split_once(' ').unwrap_or((command, ""));
        let asked = format!("{command} dev_LogSoftmax.onnx dev.npz {line} {more}");
        refused(&asked, &["found those before LogSoftmax", "hint: --logits"]);
        let report = json(&format!("{asked} --logits"));
        assert!(report["method"]["logits_before"].as_str().unwrap().starts_with("LogSoftmax"), "{report}");
    }
    let logits = run(&format!("certify dev_LogSoftmax.onnx dev.npz {line} --logits")).stdout;
    assert!(logits.contains("no output moves by more than 0.4, before LogSoftmax"), "{logits}");
    let prediction = "certify dev_LogSoftmax.onnx dev.npz --radius 0.02 --property prediction";
    assert_ne!(run(prediction).code, Some(2));
    refused(&format!("{prediction} --logits"), &["logits: expected the property deviation"]);
}

#[test]
fn deviations_do_not_depend_on_the_tolerance() {
    let of = |tolerance: &str| {
        let line = "certify n.onnx ok.npz --radius 0.1 --property deviation --tolerance";
        json(&format!("{line} {tolerance}"))["samples"][0]["deviation_upper"].as_f64().unwrap()
    };
    let deviation = of("0.1");
    assert!((deviation - 0.65769).abs() < 1e-5, "{deviation}");
    assert!(["1", "1e14", "1e16", "1e300"].iter().all(|tolerance| of(tolerance) == deviation));
    // Without one, what is proved is the answer.
    let asked = "ok.npz --radius 0.1 --property deviation";
    let largest = json(&format!("certify n.onnx {asked}"));
    let proved = largest["samples"][0]["deviation_upper"].as_f64().unwrap();
    assert!((proved - deviation).abs() < 1e-12, "{proved}");
    assert_eq!(largest["samples"][0]["verdict"], "verified");
    let all = largest["samples"].as_array().unwrap().iter().map(|s| s["deviation_upper"].as_f64().unwrap());
    assert_eq!(largest["summary"]["deviation_upper"], all.reduce(f64::max).unwrap());
    for command in ["certify --method exact", "radius", "attack"] {
        let asked = if command == "radius" { asked.replace(" --radius 0.1", "") } else { asked.into() };
        let (command, more) = command.split_once(' ').unwrap_or((command, ""));
        refused(&format!("{command} n.onnx {asked} {more}"), &["tolerance: expected a number"]);
    }
}

/// What `certify` proves at a radius, `attack` and `radius` mean, too.
#[test]
fn a_radius_beside_a_file_scales_all_of_its_radii() {
    let some = "--threat mult.toml --offset 7 --samples 1";
    let radius = json(&format!("radius {some}"));
    let attacked = radius["samples"][0]["attacked_radius"].as_f64().unwrap();
    assert!(attacked < 0.02, "{attacked}");
    let certified = json(&format!("certify {some} --radius 0.02"));
    assert_eq!(certified["samples"][0]["verdict"], "unknown");
    assert_eq!(certified["threat"]["reference_radius"], 0.001);
    // The file as it stands, and the same by its own radius.
    let margin =
        |more: &str| json(&format!("certify {some} {more}"))["samples"][0]["margin_lower"].as_f64().unwrap();
    assert!((margin("") - margin("--radius 0.001")).abs() < 1e-6);
    assert_eq!(json(&format!("attack {some} --radius 0.02"))["samples"][0]["verdict"], "falsified");
}

#[test]
fn embedded_images_are_not_taken_for_those_of_a_model() {
    let line = "certify keras_rescaling_inside.onnx --radius 1e-6 --samples 2";
    refused(line, &["expected data for a network with an input of shape", "found none", "--data embedded"]);
    refused("certify n.onnx --radius 1e-6 --data embedded", &["found those embedded, of shape [28, 28]"]);
    refused("certify n.onnx ok.npz --radius 1e-6 --data embedded", &["cannot be used with"]);
    assert_eq!(json(&format!("{line} --data embedded"))["data"]["description"], "embedded mnist-test-1000");
}

#[test]
fn fewer_samples_than_were_asked_for_are_said() {
    let line = "certify --radius 1e-6 --offset 997 --samples";
    let report = json(&format!("{line} 99999"));
    assert_eq!((&report["data"]["samples"], &report["data"]["requested"]), (&3.into(), &99999.into()));
    assert!(run(&format!("{line} 99999")).stdout.contains(", all there are: 99999 were asked for"));
    assert_eq!(json(&format!("{line} 3"))["data"]["requested"], Value::Null);
}

/// The images of both results are the same, their labels are not.
#[test]
fn labels_date_and_command_line_are_in_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let labels = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let images =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mnist-test-1000-images.idx3-ubyte.gz");
    let (model, images) = (images.with_file_name("mnist-784-128-64-32-10.onnx"), images.to_string_lossy());
    let model = model.to_string_lossy();
    let report = |labels: &str| -> Value {
        let few = [
            "certify",
            &model,
            &images,
            "--labels",
            labels,
            "--samples",
            "2",
            "--radius",
            "1e-6",
            "--format",
            "json",
        ];
        serde_json::from_str(&Run::new(few).output().stdout).unwrap()
    };
    let all = |first: &str| format!("{first}\n{}", "0\n".repeat(998));
    let (a, b) = (report(&labels("a.txt", &all("7\n2"))), report(&labels("b.txt", &all("7\n3"))));
    assert_eq!(a["data"]["sha256"], b["data"]["sha256"]);
    // SHA-256 of the bytes 7 0 0 0 2 0 0 0.
    let expected = "28bade6573ebdf9afa6b1c4fd22315b11a0fb31c604729dc77eb43135544a530";
    assert_eq!(a["data"]["labels_sha256"], expected);
    assert_ne!(a["data"]["labels_sha256"], b["data"]["labels_sha256"]);
    let environment = &a["environment"];
    let date = environment["date"].as_str().unwrap();
    assert!(date.len() == 20 && date.starts_with("20") && date.ends_with('Z'), "{date}");
    let command = environment["command"].as_array().unwrap();
    assert_eq!((&command[1], &command[11]), (&"certify".into(), &"json".into()));
}

/// A radius that was left over from another threat model would prove less than was asked.
#[test]
fn a_part_of_a_formats_rounding_is_asked_for() {
    for kind in ["int8", "int4:per-channel", "format:bf16"] {
        let line = format!("certify --samples 2 --threat {kind} --radius");
        refused(
            &format!("{line} 1,0.001"),
            &["radius: expected a multiple of at least 1 for ", "found 0.001", "--scale-radius"],
        );
        assert!(run(&format!("{line} 0.001 --scale-radius")).code.unwrap() < 2);
        assert!(run(&format!("{line} 1")).code.unwrap() < 2);
    }
    refused(
        "attack --samples 2 --threat int8 --radius 0.5",
        &["radius: expected a multiple of at least 1 for int8"],
    );
    let said = run("certify --samples 2 --threat int2 --radius 2").stdout;
    assert!(said.lines().any(|line| line.starts_with("multiple  samples")), "{said}");
    assert!(said.contains("not certified at 2 × half a quantization step: "), "{said}");
    // Radii of another threat model are as they were.
    assert!(run("certify --samples 2 --threat relative --radius 0.001").code.unwrap() < 2);
}

#[test]
fn witnesses_have_a_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("w");
    let some = [
        "attack",
        "--samples",
        "40",
        "--offset",
        "30",
        "--radius",
        "0.02",
        "--steps",
        "20",
        "--format",
        "json",
        "--witness",
    ];
    let words = some.iter().map(ToString::to_string).chain([witness.to_string_lossy().into_owned()]);
    let report: Value = serde_json::from_str(&Run::new(words).output().stdout).unwrap();
    let broken: Vec<&Value> =
        report["samples"].as_array().unwrap().iter().filter(|s| s["witness"].is_string()).collect();
    assert!(!broken.is_empty());
    for sample in broken {
        let bytes = fs::read(witness.join(sample["witness"].as_str().unwrap())).unwrap();
        assert_eq!(sample["witness_sha256"], weightproof_formats::fingerprint::sha256(&bytes));
    }
}
