//! `--config` and `--print-config`: a run is a file.

use crate::snapshot::{Output, Run};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs words in a folder.
fn run(folder: &Path, words: &[&str]) -> Output {
    Run::new(words.iter().copied()).within(folder).output()
}

/// Writes what `--print-config` says of these words, and returns it.
fn printed(folder: &Path, words: &[&str]) -> String {
    let output = run(folder, &[words, &["--print-config"]].concat());
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{words:?}: {output:?}");
    fs::write(folder.join("run.toml"), &output.stdout).unwrap();
    output.stdout
}

/// A command line for every command that has settings.
const LINES: [&[&str]; 10] = [
    &["inspect", "model.onnx", "--threat", "int8", "--layers", "dense1,dense2", "--format", "csv"],
    &[
        "certify",
        "model.onnx",
        "mnist/",
        "-r",
        "0.0005,1e-3",
        "-n",
        "20",
        "--mean",
        "-0.1",
        "--std",
        "1,2",
        "--scale",
        "1/255",
        "--json",
        "--property",
        "deviation",
        "--tolerance",
        "0.5",
        "--quiet",
        "--layers",
        "conv 1",
        "-o",
        "007",
    ],
    &[
        "certify",
        "--method",
        "exact",
        "--time-limit",
        "1.5",
        "--max-memory",
        "500M",
        "--guarantee",
        "real-arithmetic",
    ],
    &[
        "attack",
        "model.onnx",
        "--data",
        "embedded",
        "--attack",
        "universal",
        "--step-size",
        "0.1",
        "--seed",
        "18446744073709551615",
    ],
    &["radius", "--by-layer", "--no-attack", "--width", "0.05", "--threat", "threat.toml"],
    &[
        "faults",
        "--storage",
        "int8",
        "--at",
        "6,7",
        "--protect",
        "fc:7",
        "--protect",
        "secded",
        "--no-biases",
    ],
    &["measure", "--ensemble", "a.onnx,b.onnx", "--rank", "0.5", "--no-search", "--threads", "2"],
    &[
        "train",
        "mnist/",
        "-o",
        "out",
        "--objective",
        "cross-entropy",
        "--objective",
        "interval=0:0.5:0:2",
        "--adversary",
        "sam=0.01",
        "--radius",
        "0.001",
        "--epochs",
        "3",
        "--optimizer",
        "sgd",
        "--momentum",
        "0.9",
        "--decay",
        "step:0.1:1,2",
        "--resume",
    ],
    &["experiment", "baselines", "--quick", "--seeds", "2"],
    &["report", "a.json", "b 2.json", "--name", "x,y", "--figures", "drawn", "--compare"],
];

#[test]
fn settings_are_printed_as_the_file_that_sets_them() {
    let folder = tempfile::tempdir().unwrap();
    for words in LINES {
        let text = printed(folder.path(), words);
        assert!(text.starts_with(&format!("command = \"{}\"\n", words[0])), "{text}");
        let again = run(folder.path(), &[words[0], "--config", "run.toml", "--print-config"]);
        assert_eq!((again.stdout.as_str(), again.stderr.as_str()), (text.as_str(), ""));
    }
}

#[test]
fn a_file_makes_the_run_that_it_was_printed_for() {
    let folder = tempfile::tempdir().unwrap();
    let found = |output: Output| {
        let mut found: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        found.as_object_mut().unwrap().remove("environment");
        found
    };
    let words = [
        "certify",
        "--radius",
        "0.001,0.002",
        "--samples",
        "6",
        "--offset",
        "3",
        "--method",
        "interval",
        "--json",
    ];
    let expected = found(run(folder.path(), &words));
    printed(folder.path(), &words);
    assert_eq!(found(run(folder.path(), &["certify", "--config", "run.toml"])), expected);

    let small = [
        "train",
        "--data",
        "embedded",
        "--samples",
        "300",
        "--sizes",
        "784,8,10",
        "--epochs",
        "3",
        "--batch",
        "30",
        "--learning-rate",
        "0.01",
        "--quiet",
    ];
    assert_eq!(run(folder.path(), &[&small[..], &["-o", "first"]].concat()).code, Some(0));
    printed(folder.path(), &[&small[..], &["-o", "second"]].concat());
    let again = run(folder.path(), &["train", "--config", "run.toml", "--quiet"]);
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    let network = |name: &str| fs::read(folder.path().join(name).join("network.onnx")).unwrap();
    assert!(network("first") == network("second"));
}

#[test]
fn the_command_line_takes_precedence() {
    let folder = tempfile::tempdir().unwrap();
    let file = "radius = [0.1, 0.2]\nmodel = \"a.onnx\"\ndata = \"mnist/\"\njson = true\nby-layer = true\nquiet = false\n";
    fs::write(folder.path().join("run.toml"), file).unwrap();
    let lines = |words: &[&str]| {
        let all = [&["radius", "--config", "run.toml", "--print-config"][..], words].concat();
        let output = run(folder.path(), &all);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{words:?}");
        output.stdout
    };
    let has = |words: &[&str], line: &str| lines(words).lines().any(|found| found == line);
    assert!(has(&[], "radius = [0.1, 0.2]") && has(&[], "by-layer = true") && !has(&[], "quiet = true"));
    assert!(has(&["-r", "0.3"], "radius = 0.3"));
    assert!(has(&["b.onnx"], "model = \"b.onnx\"") && has(&["b.onnx"], "data = \"mnist/\""));
    assert!(has(&["--", "b.onnx", "c/"], "data = \"c/\""));
    // What cannot stand beside a word of the command line gives way to it.
    assert!(has(&["--format", "csv"], "format = \"csv\"") && !has(&["--format", "csv"], "json = true"));
    assert!(has(&["--data", "embedded"], "data = \"embedded\""));
}

#[test]
fn what_a_file_must_not_say_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let certify = ["certify", "--config", "run.toml"];
    for (text, expected) in [
        (
            "raduis = 0.1",
            "error: run.toml: expected a setting of certify, found raduis\nhint: `weightproof certify --help` has all",
        ),
        ("config = \"other.toml\"", "error: run.toml: expected a setting of certify, found config"),
        ("steps = 5", "error: run.toml: expected a setting of certify, found steps"),
        ("command = \"radius\"", "error: run.toml: expected settings of certify, found those of radius"),
        ("json = \"yes\"", "error: run.toml: json: expected true or false, found \"yes\""),
        (
            "radius = { a = 1 }",
            "error: run.toml: radius: expected a text, a number or a list of them, found { a = 1 }",
        ),
        ("data = \"mnist/\"", "error: run.toml: expected model beside data, found none"),
        ("radius = 0.1\nradius = 0.2", "error: run.toml: line 2: "),
        ("method = \"liner\"", "error: invalid value 'liner' for '--method <NAME>'"),
        (
            "json = true\nformat = \"csv\"",
            "error: the argument '--format <FORMAT>' cannot be used with '--json'",
        ),
    ] {
        fs::write(folder.path().join("run.toml"), text).unwrap();
        let output = run(folder.path(), &certify);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{text}");
        assert!(output.stderr.starts_with(expected), "{text}: {}", output.stderr);
    }
    assert!(
        run(folder.path(), &["certify", "--config", "none.toml"]).stderr.starts_with("error: none.toml: ")
    );
    // Settings of the training keep their lines.
    let text = "output = \"out\"\nepochs = 2\nbatch = 5\n[network]\nsizes = [784, 10]\nwidth = 3\n";
    fs::write(folder.path().join("run.toml"), text).unwrap();
    let output = run(folder.path(), &["train", "--data", "embedded", "--config", "run.toml"]);
    assert!(output.stderr.starts_with("error: run.toml: line 6: unknown field `width`"), "{output:?}");
}
