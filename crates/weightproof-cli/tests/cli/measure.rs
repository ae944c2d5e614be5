//! `measure`: formats, files, and what must hold between its numbers.

use crate::snapshot::{Run, check, check_json};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// The embedded network on some of the embedded images, without searches.
fn few(more: &[&str]) -> Run {
    Run::new(["measure", "--samples", "200", "--no-search"].iter().chain(more).copied())
}

fn asset(name: &str) -> String {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    assets.join(name).to_string_lossy().into_owned()
}

fn json(run: &Run) -> Value {
    let output = run.output();
    assert_eq!(output.code, Some(0), "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

/// Measures by name, those of one set when `at` says which.
fn measures(report: &Value, at: Option<usize>) -> HashMap<String, f64> {
    let list = at.map_or(&report["measures"], |k| &report["results"][k]["measures"]);
    let number = |m: &Value| Some((m["name"].as_str()?.to_owned(), m["value"].as_f64()?));
    list.as_array().unwrap().iter().filter_map(number).collect()
}

#[test]
fn formats() {
    check("measure", &few(&["--radius", "0.001"]));
    check("measure-csv", &few(&["--format", "csv"]));
    check_json("measure-json", &few(&["--radius", "0.001", "--format", "json"]));
    check("help-measure", &Run::new(["measure", "-h"]));
}

#[test]
fn input_that_is_wrong() {
    check("measure-delta", &few(&["--delta", "1"]));
    check("measure-rank", &few(&["--rank", "2"]));
    let other = few(&["--init", "mnist-conv-8-16-10.onnx"]).within(Path::new(&asset("")));
    check("measure-init", &other);
    check("measure-exact", &few(&["--method", "exact"]));
    let (images, labels) =
        (asset("mnist-test-1000-images.idx3-ubyte.gz"), asset("mnist-test-1000-labels.idx1-ubyte.gz"));
    let network = asset("mnist-784-128-64-32-10.onnx");
    let same = [
        "measure",
        &network,
        &images,
        "--labels",
        &labels,
        "--train-data",
        &images,
        "--train-labels",
        &labels,
    ];
    check("measure-same-data", &Run::new(same));
    check("measure-train-labels", &few(&["--train-labels", "labels.npy"]));
}

/// Rounding in a number format differs from sample to sample; and a joint perturbation of inputs is no set of networks.
#[test]
fn bounds_that_do_not_hold_are_refused() {
    for threat in [&["--threat", "format:bf16"][..], &["--radius", "0.001", "--input-radius", "0.01"]] {
        let report = json(&few(&[threat, &["--format", "json"]].concat()));
        assert!(report["results"][0]["rademacher"]["bound"].is_number());
        let refused = &report["results"][1];
        assert!(refused["rademacher"].is_null(), "{refused}");
        assert!(refused["refusal"].as_str().unwrap().contains("expected the same perturbed network"));
    }
}

#[test]
fn searches_and_proofs_on_both_sides_of_sharpness() {
    let args = ["measure", "--samples", "300", "--radius", "0.001,0.0025", "--draws", "2", "--passes", "3"];
    let report = json(&Run::new(args.iter().chain(&["--format", "json"]).copied()));
    let still = measures(&report, Some(0));
    assert_eq!(still["certified-sharpness-error"], 0.0);
    assert!(measures(&report, None)["pac-bayes-sharpness"] > 0.0);
    let mut before = still["rademacher-capacity"];
    for at in [1, 2] {
        let moved = measures(&report, Some(at));
        for what in ["error", "loss"] {
            let [proved, found] =
                ["certified", "attacked"].map(|side| moved[&format!("{side}-sharpness-{what}")]);
            assert!(proved >= found && found >= 0.0, "{moved:?}");
        }
        // Norms go to a grid, so small radii may change nothing.
        assert!(moved["rademacher-capacity"] >= before);
        before = moved["rademacher-capacity"];
        let bound = &report["results"][at]["rademacher"];
        let sum = ["empirical", "capacity", "confidence"]
            .map(|part| bound[part].as_f64().unwrap())
            .iter()
            .sum::<f64>();
        assert!((sum / moved["rademacher-bound"] - 1.0).abs() < 1e-9);
        assert_eq!(bound["vacuous"], sum > 1.0);
        for layer in bound["layers"].as_array().unwrap() {
            let number = |key: &str| layer[key].as_f64().unwrap();
            assert!(number("row_norm") < number("row_norm_reached"));
            assert!(number("row_norm_reached") <= number("class_row_norm"));
        }
    }
    assert!(before > still["rademacher-capacity"]);
    assert!(report["errors"]["gap"].is_null());
    assert!(!still.contains_key("held-out-bound"));
}

/// Training and held-out samples, the network before training, an ensemble, and a truncated network.
#[test]
fn everything_about_a_trained_network() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) =
        (asset("mnist-test-1000-images.idx3-ubyte.gz"), asset("mnist-test-1000-labels.idx1-ubyte.gz"));
    let train = |output: &str, code, more: &[&str]| {
        let args =
            ["train", &images, "--labels", &labels, "--samples", "500", "--sizes", "784,16,10", "--quiet"];
        let args = args.iter().copied().chain(["--output", output]).chain(more.iter().copied());
        let run = Run::new(args).within(folder.path()).output();
        assert_eq!(run.code, Some(code), "{run:?}");
    };
    // It stays as it starts, at chance.
    train("before", 1, &["--epochs", "1", "--learning-rate", "1e-9"]);
    train("after", 0, &["--epochs", "30", "--learning-rate", "0.005"]);
    train("other", 0, &["--epochs", "30", "--learning-rate", "0.005", "--seed", "1"]);
    let args = [
        &["measure", "after/network.onnx", &images, "--labels", &labels, "--offset", "500"][..],
        &["--train-data", &images, "--train-labels", &labels, "--train-samples", "500"],
        &["--init", "before/network.onnx", "--ensemble", "other/network.onnx", "--radius", "0.001"],
        &["--search-samples", "200", "--draws", "2", "--passes", "2", "--rank", "0.5"],
        &["--truncate", "small.onnx", "--format", "json"],
    ];
    let report = json(&Run::new(args.concat()).within(folder.path()));
    let errors = ["training", "held_out", "gap"].map(|key| report["errors"][key].as_f64().unwrap());
    assert!((errors[1] - errors[0] - errors[2]).abs() < 1e-12 && errors[0] < errors[1], "{errors:?}");
    let [still, moved] = [0, 1].map(|k| measures(&report, Some(k))["held-out-bound"]);
    assert!(errors[1] < still && still < moved && moved < 1.0, "{still} {moved}");
    let all = measures(&report, None);
    assert!(all["distance-frobenius"] > 0.1 && all["distance-spectral"] > 0.0, "{all:?}");
    let layers = report["utilization"]["layers"].as_array().unwrap();
    assert!(
        layers.len() == 2 && layers.iter().all(|l| l["probe_training"].as_f64().unwrap() > 0.5),
        "{layers:?}"
    );
    assert_eq!(report["utilization"]["rewind"][4][1], errors[0]);
    let ensemble = &report["ensemble"];
    assert_eq!((ensemble["members"].as_u64(), ensemble["samples"].as_u64()), (Some(2), Some(200)));
    for at in ensemble["results"].as_array().unwrap() {
        for loss in ["cross_entropy", "squared"] {
            let [loss, bias, variance] =
                ["loss", "bias", "variance"].map(|part| at[loss][part].as_f64().unwrap());
            assert!((loss - bias - variance).abs() < 1e-9 * loss && variance > 0.0);
        }
    }
    let cut = &report["compression"]["truncation"];
    let number = |key: &str| cut[key].as_f64().unwrap();
    assert!(number("moved_seen") <= number("moved_most") && number("moved_seen") > 0.0, "{cut}");
    assert!(number("certified_deviation_median") <= number("certified_deviation"), "{cut}");
    // What was written is a network with the error that is reported.
    let run = ["certify", "small.onnx", &images, "--labels", &labels, "--samples", "500", "--radius", "0"];
    let certified = Run::new(run.iter().chain(&["--format", "json"]).copied()).within(folder.path()).output();
    let certified: Value = serde_json::from_str(&certified.stdout).unwrap();
    let accuracy = certified["summary"]["accuracy"].as_f64().unwrap();
    assert!((1.0 - accuracy - number("error")).abs() < 0.003, "{accuracy} {cut}");
}

/// A residual network: what is not defined there says so and names the node, the rest has numbers.
#[test]
fn convolutional_networks() {
    let network = asset("mnist-conv-8-16-10.onnx");
    let report = json(&Run::new([
        "measure",
        &network,
        "--data",
        "embedded",
        "--samples",
        "50",
        "--no-search",
        "--format",
        "json",
    ]));
    let all = measures(&report, None);
    for name in ["spectral-complexity", "path-norm", "fisher-rao", "compressed-capacity", "spectral-margin"] {
        assert!(all[name].is_finite(), "{name}");
    }
    assert!(report["compression"]["layers"].as_array().unwrap().len() >= 3);
}
