//! The command line as its users see it: exit codes, standard output, standard error.
//!
//! Expected output is stored under `snapshots`; `UPDATE_SNAPSHOTS=1 cargo test -p weightproof-cli` writes it anew. Numbers
//! may differ in their last digits, because machines round differently; `environment` and times are left out.

use crate::snapshot::{Run, check, check_json};
use std::fs;
use std::path::Path;

#[test]
fn help() {
    check("help", &Run::new(["--help"]));
    check("help-certify", &Run::new(["certify", "-h"]));
    check("help-attack", &Run::new(["attack", "-h"]));
    check("help-radius", &Run::new(["radius", "-h"]));
    check("no-command", &Run::new([""; 0]));
    check("unknown-flag", &Run::new(["certify", "--bogus"]));
}

/// What is on a screen without scrolling has the options that people use; `--help` has all.
#[test]
fn short_help_fits_on_a_screen() {
    let fits = |command: &str| {
        let short = Run::new([command, "-h"]).output().stdout;
        assert!(short.lines().count() <= 40, "{command}: {} lines\n{short}", short.lines().count());
        short
    };
    for command in ["faults", "train", "measure", "experiment", "report", "merge", "sweep", "faithful"] {
        fits(command);
    }
    for command in ["certify", "attack", "radius", "inspect"] {
        let short = fits(command);
        assert!(short.contains("-r, --radius") && short.contains("-t, --threat"), "{short}");
        let long = Run::new([command, "--help"]).output().stdout;
        assert!(long.contains("--scale-radius") && !short.contains("--scale-radius"), "{long}");
    }
}

/// Colours are for terminals, and for nobody who says NO_COLOR, even where they are forced.
#[test]
fn no_color_is_heard() {
    let help = |no_color: bool| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weightproof"));
        command.arg("--help").env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR");
        if no_color {
            command.env("NO_COLOR", "1");
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(help(false).contains('\u{1b}') && !help(true).contains('\u{1b}'));
}

#[test]
fn short_options_and_json_are_other_words_for_the_same() {
    let rows = |args: &[&str]| {
        let output = Run::new(args.iter().copied()).output();
        let found: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        (found["samples"].clone(), found["threat"].clone())
    };
    let short = rows(&["certify", "-r", "0.01", "-n", "3", "-t", "relative", "-f", "json"]);
    assert_eq!(short.0.as_array().unwrap().len(), 3);
    assert_eq!(
        short,
        rows(&["certify", "--radius", "0.01", "--samples", "3", "--threat", "relative", "--json"])
    );
    assert_eq!(Run::new(["certify", "-r", "0.01", "--json", "--format", "csv"]).output().code, Some(2));
}

#[test]
fn a_misspelt_threat_is_told_the_right_word() {
    for (found, meant) in [("bf16", "format:bf16"), ("int8-per-channel", "int8:per-channel")] {
        let output = few(&["--threat", found]).output();
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.ends_with(&format!("hint: --threat {meant}\n")), "{output:?}");
    }
}

/// Speeds differ; what is measured, and against what, does not.
#[test]
fn bench_measures_networks_beside_products() {
    let output = Run::new(["bench", "--quick", "--only", "128x3", "--threads", "1", "--json", "-q"]).output();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["schema"], "weightproof/bench/1");
    assert_eq!(report["environment"]["threads"], 1);
    let rate = report["product_rate"].as_f64().unwrap();
    let rows = report["rows"].as_array().unwrap();
    let works: Vec<&str> = rows.iter().map(|row| row["work"].as_str().unwrap()).collect();
    assert_eq!(works, ["interval", "linear"]);
    for row in rows {
        let [operations, seconds, share] =
            ["multiply_adds", "seconds", "product_share"].map(|name| row[name].as_f64().unwrap());
        assert!((operations / seconds / rate / share - 1.0).abs() < 1e-9, "{row}");
    }
    let output = Run::new(["bench", "--quick", "--only", "transformer"]).output();
    assert_eq!(output.code, Some(2));
    assert!(
        output.stderr.contains("expected a part of the name of a network, found transformer"),
        "{output:?}"
    );
    let output = Run::new(["bench", "--quick", "--only", "residual", "--threads", "1", "-q"]).output();
    assert!(output.stdout.contains("of products") && output.stdout.contains("forward"), "{output:?}");
}

#[test]
fn the_doctor_says_what_is_installed() {
    let output = Run::new(["doctor"]).output();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let value = |name: &str| {
        let line = output.stdout.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {output:?}")).trim().to_owned()
    };
    assert_eq!(value("version"), concat!("weightproof ", env!("CARGO_PKG_VERSION")));
    assert!(value("threads").parse::<usize>().is_ok_and(|threads| threads > 0));
    // Tests are built with both.
    assert_eq!([value("parquet"), value("png")], ["yes", "yes"]);
    for name in ["system", "optimised", "instructions", "memory", "milp", "python package"] {
        assert!(!value(name).is_empty(), "{name}");
    }
}

#[test]
fn inspect() {
    check("inspect", &Run::new(["inspect"]));
    check("inspect-radius", &Run::new(["inspect", "--radius", "0.1", "--threat", "per-channel"]));
    check("inspect-csv", &Run::new(["inspect", "--threat", "int8", "--layers", "dense2", "--format", "csv"]));
    check_json("inspect-json", &Run::new(["inspect", "--threat", "format:bf16", "--format", "json"]));
}

const FEW: [&str; 5] = ["certify", "--offset", "36", "--samples", "4"];

fn few(more: &[&str]) -> Run {
    Run::new(FEW.iter().chain(more).copied())
}

#[test]
fn certify() {
    check("certify", &few(&["--radius", "0.0005,0.001"]));
    check("certify-csv", &few(&["--radius", "0.0005,0.001", "--format", "csv"]));
    check_json("certify-json", &few(&["--radius", "0.001", "--format", "json"]));
    check_json("certify-several", &few(&["--radius", "0.0005,0.001", "--format", "json"]));
    check("certify-interval", &few(&["--radius", "1e-5", "--method", "interval", "--precision", "f64"]));
    check("certify-bf16", &few(&["--threat", "format:bf16", "--intermediate", "interval"]));
    let deviation = ["--radius", "0.001", "--property", "deviation", "--tolerance", "5", "--format", "csv"];
    check("certify-deviation", &few(&deviation));
}

/// The embedded images fit every network of their size, when they are asked for.
#[test]
fn certify_a_convolutional_network_on_embedded_images() {
    let model = asset("mnist-conv-8-16-10.onnx");
    let some = [
        "certify",
        &model,
        "--data",
        "embedded",
        "--samples",
        "20",
        "--threat",
        "relative",
        "--radius",
        "0.01,0.03",
    ];
    check("certify-convolutional", &Run::new(some));
}

#[test]
fn all_certified_is_exit_code_0() {
    let run = Run::new(["certify", "--samples", "3", "--radius", "0.0001", "--quiet"]).output();
    assert_eq!(run.code, Some(0), "{run:?}");
    let enormous = Run::new(["certify", "--samples", "3", "--radius", "1e300", "--format", "csv"]).output();
    assert_eq!(enormous.code, Some(1), "{enormous:?}");
    assert!(!enormous.stdout.contains("verified"));
}

#[test]
fn threads_and_batches_do_not_change_results() {
    let run = |more: &[&str]| {
        let some = ["certify", "--samples", "300", "--radius", "0.001", "--format", "csv"];
        Run::new(some.iter().chain(more).copied()).output().stdout
    };
    assert_eq!(run(&["--threads", "1"]), run(&["--threads", "3"]));
    assert_eq!(run(&["--batch", "64"]), run(&["--batch", "192"]));
}

#[test]
fn numbers_that_are_wrong() {
    for (name, radius) in [("negative", "-1"), ("nan", "nan"), ("empty", ""), ("overflow", "1e400")] {
        check(&format!("radius-{name}"), &few(&["--radius", radius]));
    }
    check("radius-missing", &few(&[]));
    check("samples-0", &Run::new(["certify", "--radius", "0.001", "--samples", "0"]));
    check("threads-0", &few(&["--radius", "0.001", "--threads", "0"]));
    check("batch-0", &few(&["--radius", "0.001", "--batch", "0"]));
    check("std-0", &few(&["--radius", "0.001", "--std", "0"]));
    check("mean-count", &few(&["--radius", "0.001", "--mean", "0.1,0.2"]));
    check("offset-beyond", &Run::new(["certify", "--radius", "0.001", "--offset", "1000"]));
    let deviation = ["--radius", "0.001", "--property", "deviation"];
    check("tolerance-missing", &few(&[&deviation[..], &["--method", "exact"]].concat()));
    check("tolerance-of-certificate", &few(&[&deviation[..], &["--certificate", "sample.wpc"]].concat()));
    check("largest-change", &few(&deviation));
    check(
        "intermediate-of-interval",
        &few(&["--radius", "1", "--method", "interval", "--intermediate", "linear"]),
    );
}

#[test]
fn files_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let row = |label: &str, values: usize| format!("{label}{}\n", ",0.5".repeat(values));
    write("key.toml", "kind = \"absolute\"\nradios = 0.1\n");
    write("kind.toml", "kind = \"spherical\"\n");
    write("nan.toml", "kind = \"absolute\"\nradius = nan\n");
    write("short.csv", &row("1", 7));
    write("label.csv", &(row("3", 784) + &row("12", 784)));
    write("unlabelled.csv", &row("0.5", 783));
    write("empty.csv", "");
    write("text.onnx", "this is not a network");
    let run = |args: &[&str]| few(args).within(folder.path());
    let all = |args: &[&str]| Run::new(args.iter().copied()).within(folder.path());
    let model = embedded();
    check("threat-key", &run(&["--threat", "key.toml"]));
    check("threat-kind", &run(&["--threat", "spherical", "--radius", "1"]));
    check("threat-file-kind", &run(&["--threat", "kind.toml"]));
    check("threat-file-nan", &run(&["--threat", "nan.toml"]));
    check("threat-layer", &run(&["--radius", "1", "--layers", "dense1,dense9"]));
    check("model-missing", &all(&["certify", "missing.onnx", "--radius", "0.1"]));
    check("model-text", &all(&["certify", "text.onnx", "--radius", "0.1"]));
    check("model-is-data", &all(&["certify", "label.csv", "--radius", "0.1"]));
    check("data-missing", &all(&["certify", &model, "missing", "--radius", "0.1"]));
    check("data-shape", &all(&["certify", &model, "short.csv", "--radius", "0.1"]));
    check("data-empty", &all(&["certify", &model, "empty.csv", "--radius", "0.1"]));
    check("data-label", &all(&["certify", &model, "label.csv", "--radius", "0.1"]));
    let unlabelled = ["certify", &model, "unlabelled.csv", "--unlabelled-csv", "--radius", "0.1"];
    check("data-unlabelled", &all(&[&unlabelled[..], &["--property", "label"]].concat()));
    check("output-folder", &run(&["--radius", "0.1", "--output", "no/such/folder.json"]));
}

fn asset(name: &str) -> String {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    assets.join(name).to_string_lossy().into_owned()
}

/// The embedded network, by its file.
fn embedded() -> String {
    asset("mnist-784-128-64-32-10.onnx")
}

#[test]
fn a_file_gives_what_is_embedded_and_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("result.csv");
    fs::write(&out, "old").unwrap();
    let images =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mnist-test-1000-images.idx3-ubyte.gz");
    let some = ["--offset", "36", "--samples", "4", "--radius", "0.0005,0.001", "--format", "csv"];
    let (model, images, path) = (embedded(), images.to_string_lossy(), out.to_string_lossy());
    let files = ["certify", &model, &images, "--output", &path];
    let run = Run::new(files.iter().chain(&some).copied()).output();
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(1), "", ""));
    let embedded = Run::new(["certify"].iter().chain(&some).copied()).output();
    assert_eq!(fs::read_to_string(&out).unwrap(), embedded.stdout);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn completions_and_manual() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = Run::new(["completions", shell]).output();
        assert!(run.code == Some(0) && run.stdout.contains("certify"), "{shell}");
    }
    let manual = Run::new(["man"]).output();
    assert!(
        manual.code == Some(0) && manual.stdout.starts_with(".ie")
            || manual.stdout.contains(".TH weightproof")
    );
    assert!(Run::new(["man", "certify"]).output().stdout.contains("bias"));
    check("man-unknown", &Run::new(["man", "bake"]));
}
