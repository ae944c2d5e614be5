//! `sweep`: every combination of some settings, gone on with where it was, and shown as one page.

use crate::snapshot::Run;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const SWEEP: &str = "command = \"certify\"\nsamples = 20\nradius = [0.0005, 0.001]\n[sweep]\nmethod = [\"interval\", \"linear\"]\nbias-radius = [0, 0.001]\n";

fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sweep.toml"), text).unwrap();
    folder
}

fn sweep(folder: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Run::new(["sweep", "sweep.toml", "-o", "out"].iter().chain(more).copied()).within(folder).output();
    (output.code, output.stdout, output.stderr)
}

fn result(folder: &Path, method: &str, bias: &str) -> PathBuf {
    folder.join(format!("out/results/bias-radius={bias}/method={method}/result.json"))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A result without what differs between two runs.
fn timeless(path: &Path) -> Value {
    let mut report = read(path);
    report["environment"].take();
    report
}

#[test]
fn every_combination_has_the_result_of_its_own_command_line() {
    let folder = folder(SWEEP);
    let (code, text, error) = sweep(folder.path(), &["--dry-run"]);
    assert_eq!((code, text.lines().count(), error.as_str()), (Some(0), 4, ""));
    assert!(!folder.path().join("out").exists());
    let (code, text, error) = sweep(folder.path(), &[]);
    assert_eq!((code, error.lines().count()), (Some(1), 4), "{error}");
    assert!(text.starts_with("4 runs of 4 are in out"), "{text}");
    for method in ["interval", "linear"] {
        for bias in ["0", "0.001"] {
            let line =
                ["certify", "--samples", "20", "--radius", "0.0005,0.001", "--json", "-o", "alone.json"];
            let own = ["--method", method, "--bias-radius", bias];
            let alone = Run::new(line.into_iter().chain(own)).within(folder.path()).output();
            assert_eq!(alone.code, Some(1), "{alone:?}");
            let found = result(folder.path(), method, bias);
            let mut expected = timeless(&folder.path().join("alone.json"));
            let mut found_report = timeless(&found);
            for report in [&mut expected, &mut found_report] {
                // Where the result is written is a setting, too.
                report["config"].take();
            }
            assert_eq!(found_report, expected);
            let command = read(&found)["environment"]["command"].to_string();
            assert!(
                command.contains("certify") && command.contains(&format!("--method={method}")),
                "{command}"
            );
            assert!(found.with_file_name("journal").is_file());
            let rows = folder.path().join(format!("out/rows/bias-radius={bias}/method={method}"));
            let [parquet, csv] =
                ["parquet", "csv"].map(|form| fs::read(rows.join(format!("rows.{form}"))).ok());
            assert!(parquet.map_or(csv.is_some(), |bytes| bytes.starts_with(b"PAR1")));
        }
    }
    let page = Run::new(["report", "out", "-q"]).within(folder.path()).output();
    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    assert!(page.stdout.contains("bias-radius=0.001 method=linear"), "names of the figure");
}

#[test]
fn a_sweep_goes_on_with_what_is_missing_and_parts_make_the_whole() {
    let folder = folder(SWEEP);
    for (part, runs) in [("1/3", 2), ("2/3", 1), ("3/3", 1)] {
        let (code, text, error) = sweep(folder.path(), &["--shard", part]);
        assert!(code.is_some_and(|code| code <= 1), "{error}");
        assert!(text.starts_with(&format!("{runs} runs of 4")), "{text}");
    }
    let lost = result(folder.path(), "linear", "0");
    let expected = timeless(&lost);
    let journal = lost.with_file_name("journal");
    let lines = fs::read_to_string(&journal).unwrap();
    // As after a run that was killed: half of a journal, and no result.
    let half: String = lines.split_inclusive('\n').take(lines.lines().count() / 2).collect();
    fs::write(&journal, half).unwrap();
    fs::remove_file(&lost).unwrap();
    let (code, _, error) = sweep(folder.path(), &["-q"]);
    assert_eq!((code, error.as_str()), (Some(1), ""));
    assert_eq!(timeless(&lost), expected);
    // Another sweep in the same folder is refused by the journals that are there.
    fs::write(folder.path().join("sweep.toml"), SWEEP.replace("samples = 20", "samples = 10")).unwrap();
    let (code, _, error) = sweep(folder.path(), &["-q"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("journal") && error.contains("the same line goes on"), "{error}");
    assert_eq!(timeless(&lost), expected);
}

#[test]
fn sweeps_that_are_wrong_run_nothing() {
    for (text, expected) in [
        (
            "command = \"certify\"\n[sweep]\nmethod = [\"interval\", \"magic\"]\n",
            "method=magic: invalid value 'magic'",
        ),
        ("command = \"certify\"\n[sweep]\nradios = [1]\n", "expected a setting of certify, found radios"),
        ("command = \"certify\"\nradius = 0.1\n", "sweep: expected a table of lists, found none"),
        (
            "command = \"measure\"\n[sweep]\nradius = [0.1]\n",
            "expected one of certify, attack, radius, faults",
        ),
        ("command = \"certify\"\n[sweep\n", "sweep.toml: line 2"),
    ] {
        let folder = folder(text);
        let (code, output, error) = sweep(folder.path(), &[]);
        assert_eq!((code, output.as_str()), (Some(2), ""), "{text}");
        assert!(error.contains("sweep.toml") && error.contains(expected), "{error}");
        assert!(!folder.path().join("out").exists(), "{text}");
    }
    let folder = folder(SWEEP);
    let (code, _, error) = sweep(folder.path(), &["--shard", "5/4"]);
    assert_eq!(code, Some(2), "{error}");
    fs::create_dir(folder.path().join("empty")).unwrap();
    let page = Run::new(["report", "empty"]).within(folder.path()).output();
    assert_eq!(page.code, Some(2));
    assert!(page.stderr.contains("empty"), "{page:?}");
}
