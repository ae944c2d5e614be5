//! Quick runs of every experiment: files, schema, and the order between what is proved, attacked and clean.

use crate::snapshot::{Run, check};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Accuracies of one sample apart may come from rounding.
const ROUNDING: f64 = 0.006;

/// Runs an experiment in a folder of its own and reads its JSON.
fn quick(name: &str, folder: &Path) -> Value {
    quick_with(name, "1", folder)
}

/// The same with several seeds.
fn quick_with(name: &str, seeds: &str, folder: &Path) -> Value {
    let run = Run::new(["experiment", name, "--quick", "--seeds", seeds, "--quiet"]).within(folder).output();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.starts_with(&format!("# {name}\n")) && run.stderr.is_empty(), "{run:?}");
    let results = folder.join("results").join(name);
    let report: Value =
        serde_json::from_slice(&fs::read(results.join(format!("{name}.json"))).unwrap()).unwrap();
    assert_eq!(report["schema"], "weightproof/experiment/1");
    assert_eq!(report["partial"], false);
    assert!(report["environment"]["seconds"].as_f64().unwrap() > 0.0);
    // Experiments that draw their samples from the seed have no data.
    for source in report["data"].as_array().unwrap() {
        assert_eq!(source["sha256"].as_str().unwrap().len(), 64);
    }
    assert!(report["findings"].as_array().is_some_and(|f| !f.is_empty()));
    assert_eq!(fs::read_to_string(results.join(format!("{name}.md"))).unwrap(), run.stdout);
    for table in report["tables"].as_array().unwrap() {
        let text =
            fs::read_to_string(results.join(format!("{}.csv", table["name"].as_str().unwrap()))).unwrap();
        assert_eq!(text.lines().count(), 1 + table["rows"].as_array().unwrap().len());
    }
    for plot in report["plots"].as_array().unwrap() {
        let text = fs::read_to_string(results.join(plot.as_str().unwrap())).unwrap();
        assert!(text.starts_with("<svg") && text.contains("<text") && text.contains("<path"), "{plot}");
    }
    assert_eq!(report["charts"].as_array().unwrap().len(), report["plots"].as_array().unwrap().len());
    let page = Run::new(["report", &format!("results/{name}/{name}.json")]).within(folder).output();
    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    for chart in report["charts"].as_array().unwrap() {
        assert!(
            page.stdout.contains(&format!("aria-label=\"{}", chart["title"].as_str().unwrap())),
            "{chart}"
        );
    }
    for model in report["models"].as_array().unwrap() {
        assert!(model["failure"].is_null(), "{model}");
        assert!(model["config"].is_null() || model["config"]["term"].is_array(), "{model}");
        // Networks that classify do better than chance.
        assert!(model["values"]["clean"].as_f64().is_none_or(|clean| clean > 0.5), "{model}");
    }
    report
}

/// The rows of a table, cells by column; a mean stands for a spread.
fn rows(report: &Value, table: &str) -> Vec<HashMap<String, Value>> {
    let tables = report["tables"].as_array().unwrap();
    let table = tables.iter().find(|t| t["name"] == table).unwrap();
    let names: Vec<String> =
        table["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().into()).collect();
    let cell = |v: &Value| if v.is_array() { v[0].clone() } else { v.clone() };
    let row = |row: &Value| names.iter().cloned().zip(row.as_array().unwrap().iter().map(cell)).collect();
    table["rows"].as_array().unwrap().iter().map(row).collect()
}

fn number(row: &HashMap<String, Value>, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("{name} in {row:?}"))
}

/// Asserts that accuracies rise in this order and lie between 0 and 1.
fn rising(row: &HashMap<String, Value>, names: &[&str]) {
    let values: Vec<f64> = names.iter().map(|name| number(row, name)).collect();
    assert!(values.iter().all(|v| (0.0..=1.0).contains(v)), "{row:?}");
    assert!(values.windows(2).all(|pair| pair[0] <= pair[1] + ROUNDING), "{names:?} of {row:?}");
}

/// The accuracy that methods are compared at.
fn target(row: &HashMap<String, Value>) -> f64 {
    row["target"].as_str().unwrap().trim_end_matches('%').parse::<f64>().unwrap() / 100.0
}

#[test]
fn weight_robustness() {
    let folder = tempfile::tempdir().unwrap();
    let report = quick("weight-robustness", folder.path());
    for (curves, models) in [("curves", 4), ("curves-convolutional", 3)] {
        let rows = rows(&report, curves);
        assert_eq!(rows.len(), 3 * models);
        for row in rows {
            rising(&row, &["certified", "each", "clean"]);
            rising(&row, &["certified", "universal", "clean"]);
        }
    }
    for matched in ["matched", "matched-convolutional"] {
        for row in rows(&report, matched) {
            let near = (number(&row, "held-out-accuracy") - target(&row)).abs() <= 0.005;
            assert_eq!(row["matched"], if near { "yes" } else { "no" }, "{row:?}");
        }
    }
    // Goes on from what is there: the same files, times included, but for the date of the report.
    let undated = |mut report: Value| {
        report["environment"]["date"].take();
        report
    };
    assert_eq!(undated(quick("weight-robustness", folder.path())), undated(report));
}

#[test]
fn generalization_gap() {
    let folder = tempfile::tempdir().unwrap();
    // Two seeds go on from one, times included.
    let [one, two] = ["1", "2"].map(|seeds| quick_with("generalization-gap", seeds, folder.path()));
    let times = |report: &Value| report["environment"]["models"].as_array().unwrap().clone();
    assert!(times(&two).starts_with(&times(&one)) && times(&two).len() == 2 * times(&one).len());
    for row in rows(&two, "gap") {
        assert_eq!(number(&row, "seeds"), 2.0);
        let sum = number(&row, "empirical") + number(&row, "capacity") + number(&row, "confidence");
        assert!((sum / number(&row, "bound") - 1.0).abs() < 1e-9, "{row:?}");
        // Quick networks have no bound below 1.
        assert_eq!(row["says"], "vacuous", "{row:?}");
        let gap = number(&row, "test-error") - number(&row, "train-error");
        assert!((gap - number(&row, "gap")).abs() < 1e-9 && number(&row, "test-error") < 0.5, "{row:?}");
    }
}

#[test]
fn baselines() {
    let folder = tempfile::tempdir().unwrap();
    let report = quick("baselines", folder.path());
    let (dense, convolutional) = (rows(&report, "methods"), rows(&report, "methods-convolutional"));
    assert_eq!((dense.len(), convolutional.len()), (12, 3));
    for row in dense.into_iter().chain(convolutional) {
        rising(&row, &["certified", "universal", "clean"]);
        rising(&row, &["universal-far", "clean"]);
        rising(&row, &["random", "clean"]);
        rising(&row, &["relative-certified", "clean"]);
        assert!(number(&row, "largest-weight") > 0.0);
    }
}

#[test]
fn non_singular() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(&quick("non-singular", folder.path()), "grid");
    assert_eq!(rows.len(), 15);
    for row in &rows {
        rising(row, &["accuracy-at-0.01", "accuracy-at-0.005", "accuracy-at-0.002", "accuracy-at-0"]);
    }
}

#[test]
fn gradient_starvation() {
    let folder = tempfile::tempdir().unwrap();
    let report = quick("gradient-starvation", folder.path());
    let features = rows(&report, "two-features");
    assert_eq!(features.len(), 5);
    for pair in features.windows(2) {
        assert!(number(&pair[1], "decay-2") < number(&pair[0], "decay-2"));
        assert_eq!(number(&pair[1], "decoupling-2"), number(&pair[0], "decoupling-2"));
    }
    for row in rows(&report, "moons") {
        assert!(number(&row, "distance") > 0.0 && number(&row, "median-certified-radius") > 0.0, "{row:?}");
    }
    let coloured = rows(&report, "coloured");
    assert_eq!(coloured.len(), 3);
    for row in &coloured {
        assert!(
            number(row, "train-accuracy") > 0.5 && number(row, "median-certified-radius") > 0.0,
            "{row:?}"
        );
    }
}

#[test]
fn feature_contamination() {
    let folder = tempfile::tempdir().unwrap();
    let report = quick("feature-contamination", folder.path());
    let rows = rows(&report, "features");
    assert_eq!(rows.len(), 4);
    for row in &rows {
        rising(row, &["accuracy-moved", "accuracy"]);
        assert!(number(row, "radius-moved") <= number(row, "radius") && number(row, "loss") < 1.0, "{row:?}");
    }
}

#[test]
fn unrolled() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(&quick("unrolled", folder.path()), "errors");
    assert_eq!(rows.len(), 5);
    for row in &rows {
        for at in ["", "-relative"] {
            let [found, proved] = ["found", "proved"].map(|side| number(row, &format!("{side}{at}")));
            assert!(0.0 < found && found <= proved, "{row:?}");
        }
    }
    assert!(number(&rows[0], "test-error") < number(&rows[3], "test-error"));
    assert!((number(&rows[1], "largest-row") - 4.0).max(number(&rows[2], "largest-row") - 2.0) < 1e-5);
}

#[test]
fn predictive_coding() {
    let folder = tempfile::tempdir().unwrap();
    let report = quick("predictive-coding", folder.path());
    for row in rows(&report, "feedback") {
        let [bias, expected] = ["bias", "mean-field"].map(|name| number(&row, name));
        assert!((bias - expected).abs() < 0.1 * expected + 0.003, "{row:?}");
    }
    let certified = rows(&report, "certified");
    assert_eq!(certified.len(), 12 + 2);
    for row in certified {
        let [random, found, proved] = ["random", "found", "proved"].map(|value| number(&row, value));
        assert!(0.0 < random && random <= found && found <= proved, "{row:?}");
    }
    let late = rows(&report, "delay");
    assert!(number(&late[5], "deviation") > 3.0 * number(&late[0], "deviation"), "{late:?}");
}

#[test]
fn layer_utilization() {
    let folder = tempfile::tempdir().unwrap();
    let report = quick("layer-utilization", folder.path());
    let layers = rows(&report, "layers");
    assert_eq!(layers.len(), 4 * 6);
    for row in &layers {
        for share in ["probe-training", "probe-test", "reset-error"] {
            assert!((0.0..=1.0).contains(&number(row, share)), "{row:?}");
        }
        // Without wrong labels there is no probe of them.
        assert_eq!(row["probe-mislabelled"].is_null(), number(row, "noise") == 0.0, "{row:?}");
    }
    for row in rows(&report, "correlations") {
        assert!(number(&row, "spearman-distance").abs() <= 1.0, "{row:?}");
    }
}

#[test]
fn bias_variance() {
    let folder = tempfile::tempdir().unwrap();
    let report = quick("bias-variance", folder.path());
    for row in rows(&report, "splits") {
        let sum = number(&row, "bias") + number(&row, "variance");
        assert!((sum / number(&row, "loss") - 1.0).abs() < 1e-9, "{row:?}");
    }
    for row in rows(&report, "attacks") {
        let gradients = number(&row, "gradients");
        let most = if row["attack"] == "pgd-20" { 20.0 } else { 5.0 };
        assert!((1.0..=most).contains(&gradients) && number(&row, "size") <= 1.0 + 1e-4, "{row:?}");
    }
}

#[test]
fn usage() {
    check("experiment-no-data", &Run::new(["experiment", "unrolled", "no-such-folder"]));
    check("experiment-unknown", &Run::new(["experiment", "alchemy"]));
    check("experiment-data", &Run::new(["experiment", "baselines"]));
    check("experiment-folder", &Run::new(["experiment", "baselines", "no-such-folder"]));
}

#[test]
fn generalization_study() {
    let folder = tempfile::tempdir().unwrap();
    let report = quick("generalization-study", folder.path());
    let models = rows(&report, "models");
    assert_eq!(models.len(), 6);
    for row in &models {
        let gap = number(row, "test-error") - number(row, "train-error");
        assert!((gap - number(row, "gap")).abs() < 1e-9, "{row:?}");
        for loss in ["error", "loss"] {
            let [proved, found] =
                ["certified", "attacked"].map(|side| number(row, &format!("{side}-sharpness-{loss}-moved")));
            assert!(proved >= found && found >= 0.0, "{row:?}");
        }
        assert!(number(row, "rademacher-capacity-moved") >= number(row, "rademacher-capacity"));
        assert!(number(row, "distance-last-layer") < number(row, "distance-frobenius"));
    }
    let correlations = rows(&report, "correlations");
    assert!(correlations.len() > 25);
    for row in correlations.iter().filter(|row| row["tau"].is_number()) {
        assert!((-1.0..=1.0).contains(&number(row, "tau")), "{row:?}");
        assert!(
            number(row, "low") <= number(row, "tau") && number(row, "tau") <= number(row, "high"),
            "{row:?}"
        );
    }
}
