//! Networks and data as people have them: one output, several outputs, batches, names of classes, files of other kinds. Networks are under
//! `tests/input`.

use crate::snapshot::{Output, Run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn network(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input");
    folder.join(name).to_string_lossy().into_owned()
}

/// A file of samples of six values and their labels.
fn samples(folder: &Path) -> PathBuf {
    let path = folder.join("samples.csv");
    let rows: Vec<String> = (0..20)
        .map(|s| {
            let values: Vec<String> =
                (0..6).map(|k| format!("{}", ((s * 7 + k * 5) % 11) as f64 / 10.0 - 0.5)).collect();
            format!("{},{}", s % 2, values.join(","))
        })
        .collect();
    fs::write(&path, rows.join("\n")).unwrap();
    path
}

fn run(command: &str, model: &str, data: &Path, more: &str) -> Output {
    let words = format!("{command} {} {} --header no {more}", network(model), data.display());
    Run::new(words.split_whitespace()).output()
}

fn json(command: &str, model: &str, data: &Path, more: &str) -> Value {
    let output = run(command, model, data, &format!("{more} --format json"));
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The samples of a report.
fn results(report: &Value) -> Vec<Value> {
    report["samples"].as_array().unwrap_or_else(|| panic!("{report}")).clone()
}

#[test]
fn one_output_has_a_sign() {
    let folder = tempfile::tempdir().unwrap();
    let data = samples(folder.path());
    let more = "--radius 1e-4 --property positive";
    let report = json("certify", "head_one_logit.onnx", &data, more);
    let notes = report["model"]["notes"].to_string();
    assert!(notes.contains("class 1 is an output above 0, class 0 one that is not"), "{notes}");
    // The same without a word, since the network has one output.
    let unasked = json("certify", "head_one_logit.onnx", &data, "--radius 1e-4");
    assert_eq!(results(&report), results(&unasked));
    for sample in results(&report) {
        let right = sample["predicted"] == sample["label"];
        assert_eq!(sample["verdict"] == "falsified", !right, "{sample}");
    }
    // Every method, attack and radius takes it.
    for method in ["interval", "linear", "optimized", "exact"] {
        let found = json("certify", "head_one_logit.onnx", &data, &format!("{more} --method {method}"));
        assert_eq!(results(&found).len(), 20, "{method}");
    }
    let attacked = json("attack", "head_one_logit.onnx", &data, more);
    for (attacked, certified) in results(&attacked).iter().zip(results(&report)) {
        let (found, proved) = (attacked["worst_margin"].as_f64(), certified["margin_lower"].as_f64());
        assert!(found.unwrap() >= proved.unwrap(), "{attacked} {certified}");
    }
    let radius = run("radius", "head_one_logit.onnx", &data, "--samples 3");
    assert!(radius.code == Some(0) || radius.code == Some(1), "{radius:?}");
    // Another threshold moves every margin by as much.
    let moved =
        json("certify", "head_one_logit.onnx", &data, "--radius 0 --property positive --threshold 0.25");
    let still = json("certify", "head_one_logit.onnx", &data, "--radius 0 --property positive");
    for (moved, still) in results(&moved).iter().zip(results(&still)) {
        let sign = if moved["label"] == 1 { 1.0 } else { -1.0 };
        let of = |sample: &Value| sample["margin"].as_f64().unwrap();
        assert!((of(moved) + sign * 0.25 - of(&still)).abs() < 1e-6, "{moved} {still}");
    }
}

#[test]
fn outputs_stay_between_ends() {
    let folder = tempfile::tempdir().unwrap();
    let data = samples(folder.path());
    let wide =
        run("certify", "two_outputs.onnx", &data, "--radius 1e-4 --property within --lower -100 --upper 100");
    assert_eq!(wide.code, Some(0), "{wide:?}");
    let narrow = json("certify", "two_outputs.onnx", &data, "--radius 1e-4 --property within --upper -100");
    assert!(results(&narrow).iter().all(|s| s["verdict"] == "falsified"), "{narrow}");
    for (more, words) in [
        ("--property within", "lower below upper"),
        ("--property within --lower 1 --upper 0", "lower below upper"),
        ("--property label --lower 1", "the property within"),
        ("--property label --threshold 1", "the property positive"),
        ("--property positive", "one output"),
    ] {
        let refused = run("certify", "two_outputs.onnx", &data, &format!("--radius 1e-4 {more}"));
        assert!(refused.code == Some(2) && refused.stderr.contains(words), "{words}: {refused:?}");
    }
}

#[test]
fn outputs_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = samples(folder.path());
    let notes = |more: &str| {
        json("certify", "two_outputs.onnx", &data, &format!("--radius 1e-4 {more}"))["model"]["notes"]
            .to_string()
    };
    assert!(notes("").contains("the output y of 2 (y, p)"), "{}", notes(""));
    assert!(!notes("--output-name p").contains("of 2"), "{}", notes("--output-name p"));
    let both = run("inspect", "two_outputs.onnx", Path::new(""), "");
    assert_ne!(both.code, Some(0), "inspect takes no data");
    let refused = run("certify", "two_outputs.onnx", &data, "--radius 1e-4 --output-name nothing");
    assert!(refused.stderr.contains("found nothing"), "{refused:?}");
}

#[test]
fn networks_without_activations_have_exact_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let data = samples(folder.path());
    let certified = json("certify", "linear_classifier.onnx", &data, "--radius 0.01 --property prediction");
    let attacked = json("attack", "linear_classifier.onnx", &data, "--radius 0.01 --property prediction");
    for (proved, found) in results(&certified).iter().zip(results(&attacked)) {
        let (proved, found) =
            (proved["margin_lower"].as_f64().unwrap(), found["worst_margin"].as_f64().unwrap());
        assert!(proved <= found && found - proved < 1e-4, "{proved} {found}");
    }
}

#[test]
fn batches_gates_and_rows_are_read() {
    for name in ["batch_8.onnx", "act_silu.onnx", "matmul_on_tokens.onnx"] {
        let words = format!("inspect {}", network(name));
        let output = Run::new(words.split_whitespace()).output();
        assert_eq!(output.code, Some(0), "{output:?}");
    }
}

#[test]
fn other_files_are_recognised() {
    for (name, words) in [
        ("file_lfs_pointer.onnx", ["a pointer of Git LFS", "git lfs pull"]),
        ("sparse_initializer.onnx", ["a sparse one", "dense"]),
    ] {
        let output = Run::new(format!("inspect {}", network(name)).split_whitespace()).output();
        assert_eq!(output.code, Some(2), "{output:?}");
        words.iter().for_each(|word| assert!(output.stderr.contains(word), "{word}: {output:?}"));
    }
    // Bytes as an input are read as the DequantizeLinear behind them says.
    let output = Run::new(format!("inspect {}", network("uint8_input.onnx")).split_whitespace()).output();
    assert_eq!(output.code, Some(0), "{output:?}");
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.pth");
    fs::write(&model, b"PK\x03\x04").unwrap();
    let output = Run::new(["inspect", model.to_str().unwrap()]).output();
    assert!(output.stderr.contains("torch.onnx.export"), "{output:?}");
}

#[test]
fn names_of_classes_become_numbers_that_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("iris.csv");
    let row = |class: &str, k: usize| format!("{};{k}.5;2;1;0;-1;{class};0.5", k + 1);
    let text =
        format!("a;b;c;d;e;f;kind;unused\n{}\n{}\n{}\n", row("rose", 1), row("iris", 2), row("tulip", 0));
    let text: String = text.lines().map(|line| line.rsplit_once(';').unwrap().0.to_owned() + "\n").collect();
    fs::write(&data, text).unwrap();
    let words = format!(
        "certify {} {} --radius 1e-6 --delimiter ; --label-column kind",
        network("linear_classifier.onnx"),
        data.display()
    );
    let output = Run::new(words.split_whitespace()).output();
    assert!(output.stdout.contains("labels 0 = iris, 1 = rose, 2 = tulip"), "{output:?}");
    let unknown = Run::new(words.replace("kind", "sort").split_whitespace()).output();
    assert!(unknown.code == Some(2) && unknown.stderr.contains("a column \"sort\""), "{unknown:?}");
}

#[test]
fn data_and_networks_that_do_not_fit_are_remarked_upon() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    // All samples are the same, so at most a third of these labels is right.
    let rows: Vec<String> = (0..60).map(|k| format!("{},0,0,0,0,0,0", k % 3)).collect();
    fs::write(&data, rows.join("\n")).unwrap();
    let certify = |more: &str| run("certify", "linear_classifier.onnx", &data, more);
    let plain = certify("--radius 1e-6");
    assert!(plain.stdout.contains("no more than guessing does"), "{plain:?}");
    assert!(!plain.stdout.contains("the network reads"), "{plain:?}");
    let scaled = certify("--radius 1e-6 --scale 2");
    assert!(scaled.stdout.contains("the network reads 0 to 0 in the first samples"), "{scaled:?}");
}
