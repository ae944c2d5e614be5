//! What a question means: the unit of a radius, the outputs of a deviation, what counts as a class.

use crate::snapshot::Run;
use std::fs;

fn network(name: &str) -> String {
    format!("{}/tests/networks/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The column `name` of results as CSV.
fn column(csv: &str, name: &str) -> Vec<String> {
    let mut lines = csv.lines();
    let at = lines.next().unwrap().split(',').position(|n| n == name).unwrap();
    lines.map(|line| line.split(',').nth(at).unwrap().to_owned()).collect()
}

#[test]
fn a_radius_scales_all_radii_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = "kind = \"relative\"\nradius = 0.001\n[layer.dense1]\nradius = 0.001\n";
    fs::write(folder.path().join("same.toml"), file).unwrap();
    let bounds = |threat: &str, radius: &[&str]| {
        let some = ["certify", "--samples", "8", "--format", "csv", "--threat", threat];
        let run = Run::new(some.iter().chain(radius).copied()).within(folder.path()).output();
        let bounds = column(&run.stdout, "margin_lower");
        bounds.iter().map(|bound| bound.parse().unwrap()).collect::<Vec<f64>>()
    };
    // At 0.02 an attack breaks sample 7; a radius that left dense1 alone would verify it.
    for (of_file, plain) in [
        (bounds("same.toml", &["--radius", "0.02"]), bounds("relative", &["--radius", "0.02"])),
        (bounds("same.toml", &[]), bounds("relative", &["--radius", "0.001"])),
    ] {
        assert_eq!(of_file.len(), 8);
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-4 * b.abs();
        assert!(of_file.iter().zip(&plain).all(near), "{of_file:?} {plain:?}");
    }
    assert!(bounds("same.toml", &["--radius", "0.02"])[7] < 0.0);
}

/// The outputs of the file move by 0.585, those in front of its LogSoftmax by less than 0.4.
#[test]
fn deviations_in_front_of_a_dropped_head_are_asked_for() {
    let (model, data) = (network("dev_LogSoftmax.onnx"), network("dev.npz"));
    let some = ["certify", &model, &data, "--radius", "0.02", "--offset", "10", "--samples", "1"];
    let run = |more: &[&str]| Run::new(some.iter().chain(more).copied()).output();
    let refused = run(&["--property", "deviation", "--tolerance", "0.4"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("LogSoftmax") && refused.stderr.contains("--logits"), "{refused:?}");
    let meant = run(&["--property", "deviation", "--tolerance", "0.4", "--logits"]);
    assert_eq!(meant.code, Some(0), "{meant:?}");
    assert!(meant.stdout.contains("before LogSoftmax"), "{meant:?}");
    let json = run(&["--property", "deviation", "--tolerance", "0.4", "--logits", "--format", "json"]);
    assert!(json.stdout.contains("\"logits_before\":\"LogSoftmax"), "{json:?}");
    assert_ne!(run(&["--property", "prediction"]).code, Some(2));
}

#[test]
fn a_proved_deviation_does_not_depend_on_the_tolerance() {
    let (model, data) = (network("n.onnx"), network("ok.npz"));
    let found = |tolerance: &str| {
        let some =
            ["certify", &model, &data, "--radius", "0.1", "--property", "deviation", "--format", "csv"];
        let run = Run::new(some.iter().chain(&["--tolerance", tolerance]).copied()).output();
        column(&run.stdout, "deviation_upper")
    };
    assert!(!found("0.5").is_empty());
    for tolerance in ["1e4", "1e14", "1e16"] {
        assert_eq!(found("0.5"), found(tolerance), "{tolerance}");
    }
}

#[test]
fn elements_of_an_image_are_no_classes() {
    let folder = tempfile::tempdir().unwrap();
    let line = (0..192).map(|k| format!("{}", f64::from(k) / 192.0)).collect::<Vec<_>>().join(",");
    fs::write(folder.path().join("image.csv"), line + "\n").unwrap();
    let model = network("segmentation_output.onnx");
    let some = ["certify", &model, "image.csv", "--unlabelled-csv", "--header", "no", "--radius", "0.001"];
    let run = |more: &[&str]| Run::new(some.iter().chain(more).copied()).within(folder.path()).output();
    let refused = run(&[]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("[2, 6, 6]") && refused.stderr.contains("deviation"), "{refused:?}");
    let deviation = run(&["--property", "deviation", "--tolerance", "10"]);
    assert_eq!(deviation.code, Some(0), "{deviation:?}");
    assert_eq!(Run::new(["inspect", &model]).output().code, Some(0));
}

/// Cancelling weights that f32 does not have: its casts predict class 1, the file class 0.
#[test]
fn networks_in_float64_are_evaluated_in_it() {
    let (model, data) = (network("double_cancellation.onnx"), network("double_cancellation_x.npy"));
    let some = ["certify", &model, &data, "--threat", "relative", "--radius", "1e-10", "--format", "csv"];
    let run = |more: &[&str]| Run::new(some.iter().chain(more).copied()).output();
    let found = run(&[]);
    assert!(column(&found.stdout, "predicted").iter().all(|class| class == "0"), "{found:?}");
    assert_eq!(found.stdout, run(&["--precision", "f64"]).stdout);
    let refused = run(&["--precision", "f32"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("float64"), "{refused:?}");
    let text = Run::new(["inspect", &model]).output();
    assert!(text.stdout.contains("float64"), "{text:?}");
}

/// Eight layers of 1e-6 and eight of 1e6, whose products leave f32; and weights of 2^28 that cancel. Both have an unperturbed margin
/// of −5, and f32 proves a positive one.
#[test]
fn nothing_is_proved_about_a_class_that_is_not_the_networks() {
    for (model, data, set) in [
        ("under8.onnx", "under8.npz", ["--threat", "relative", "--radius", "0.01"]),
        ("cancel_4096_28.onnx", "ones_4096.npz", ["--threat", "absolute", "--radius", "1e-9"]),
    ] {
        let (model, data) = (network(model), network(data));
        for method in ["norm-product", "interval", "linear-interval", "linear", "optimized", "exact"] {
            let some =
                ["certify", &model, &data, "--property", "prediction", "--method", method, "--format", "csv"];
            let found = Run::new(some.iter().chain(&set).copied()).output();
            let verdicts = column(&found.stdout, "verdict");
            let classes = column(&found.stdout, "predicted");
            let is_true = |(verdict, class): (&String, &String)| verdict != "verified" || class == "1";
            assert!(!verdicts.is_empty() && verdicts.iter().zip(&classes).all(is_true), "{method} {found:?}");
        }
    }
}

/// An input of 2e39, which f32 does not have: the margin is 1e39, and nothing is falsified.
#[test]
fn values_beyond_f32_are_not_falsified() {
    let (model, data) = (network("of.onnx"), network("of.npz"));
    let found = Run::new(["certify", &model, &data, "--radius", "0.1", "--format", "csv"]).output();
    let verdicts = column(&found.stdout, "verdict");
    assert!(!verdicts.is_empty() && verdicts.iter().all(|verdict| verdict != "falsified"), "{found:?}");
}
