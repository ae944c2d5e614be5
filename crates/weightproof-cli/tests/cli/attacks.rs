//! `attack` and `radius` as their users see them, and what holds between them and `certify`.

use crate::snapshot;
use crate::snapshot::{Run, check, check_json};
use std::fs;

#[test]
fn attack() {
    let few = ["attack", "--offset", "36", "--samples", "4", "--radius", "0.001", "--steps", "30"];
    let run = |more: &[&str]| Run::new(few.iter().chain(more).copied());
    check("attack", &run(&[]));
    check("attack-csv", &run(&["--format", "csv"]));
    check("attack-universal", &run(&["--attack", "universal", "--step-size", "0.5"]));
    check("attack-random", &run(&["--attack", "random-vertex", "--restarts", "2", "--precision", "f64"]));
    check_json("attack-json", &run(&["--format", "json"]));
    check("attack-unknown", &run(&["--attack", "evil"]));
    check("attack-step-size", &run(&["--step-size", "0.1"]));
    let held =
        Run::new(["attack", "--samples", "3", "--radius", "0.0001", "--steps", "5", "--quiet"]).output();
    assert_eq!(held.code, Some(0), "{held:?}");
}

#[test]
fn radius() {
    let few = ["radius", "--offset", "36", "--samples", "4", "--steps", "30", "--restarts", "2"];
    let run = |more: &[&str]| Run::new(few.iter().chain(more).copied());
    check("radius", &run(&[]));
    check("radius-csv", &run(&["--format", "csv", "--no-attack", "--method", "interval"]));
    check_json("radius-json", &run(&["--format", "json", "--radius", "0.0005,0.001"]));
    check("radius-width", &run(&["--width", "0"]));
    check("radius-universal", &run(&["--attack", "universal"]));
}

#[test]
fn witnesses_are_written_for_broken_samples_only() {
    let folder = tempfile::tempdir().unwrap();
    let some = ["attack", "--offset", "36", "--samples", "4", "--radius", "0.001", "--steps", "30"];
    let run =
        Run::new(some.iter().chain(&["--format", "csv", "--witness", "w"]).copied()).within(folder.path());
    let broken = run.output().stdout.lines().filter(|line| line.contains("attacked")).count();
    assert!(broken > 0);
    let files = fs::read_dir(folder.path().join("w")).unwrap().map(|f| f.unwrap().path());
    let files: Vec<_> = files.filter(|path| !path.ends_with("run.json")).collect();
    assert_eq!(files.len(), broken);
    let bytes = fs::read(&files[0]).unwrap();
    let header = String::from_utf8_lossy(&bytes[8..1000]).into_owned();
    assert!(header.contains("dense1.weight") && header.contains("worst_margin"), "{header}");
}

#[test]
fn a_universal_attack_writes_one_witness_for_each_radius() {
    let folder = tempfile::tempdir().unwrap();
    let some = ["attack", "--attack", "universal", "--samples", "40", "--steps", "4", "--witness", "."];
    let run =
        Run::new(some.iter().chain(&["--radius", "0.001,0.002", "--quiet"]).copied()).within(folder.path());
    assert!(run.output().stdout.contains("one perturbation for all samples"));
    for name in ["radius-0.001-universal.safetensors", "radius-0.002-universal.safetensors"] {
        assert!(folder.path().join(name).is_file());
    }
}

#[test]
fn no_certified_sample_is_broken() {
    let verdicts = |command: &str, verdict: &str| -> Vec<String> {
        let run = Run::new([command, "--samples", "64", "--radius", "0.0015", "--format", "csv"]).output();
        let rows = run.stdout.lines().filter(|line| line.contains(verdict));
        rows.map(|line| line.split(',').nth(1).unwrap().to_owned()).collect()
    };
    let (certified, broken) = (verdicts("certify", "verified"), verdicts("attack", "falsified"));
    assert!(!certified.is_empty() && !broken.is_empty());
    assert!(certified.iter().all(|index| !broken.contains(index)));
}

#[cfg(unix)]
#[test]
fn an_interrupt_gives_what_is_done() {
    let many = ["radius", "--batch", "4", "--format", "json", "--steps", "400"];
    let mut child = Run::new(many).spawn();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = snapshot::finish(&mut child);
    assert_eq!(output.code, Some(130), "{output:?}");
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["partial"], true);
    let samples = report["samples"].as_array().unwrap().len();
    assert!(samples > 0 && samples < 1000, "{samples}");
    assert_eq!(report["summary"]["samples"], samples);
    assert!(output.stderr.contains("interrupted"), "{output:?}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Run::new(["certify", "--radius", "0.00001", "--format", "csv"]).spawn();
    drop(child.stdout.take());
    let output = snapshot::finish(&mut child);
    assert!(output.code == Some(1) && output.stderr.is_empty(), "{output:?}");
}
