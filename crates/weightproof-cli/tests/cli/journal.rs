//! `--journal` of every command: a run that goes on from a part of its journal gives the same JSON as one run.

use crate::snapshot::{self, Run, check, clear_seconds, same_json};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a run may take to keep a few samples.
const PATIENCE: Duration = Duration::from_secs(120);

const CERTIFY: [&str; 5] = ["certify", "--radius", "0.0005,0.001", "--samples", "150"];
const ATTACK: [&str; 9] =
    ["attack", "--radius", "0.001,0.002", "--samples", "12", "--steps", "3", "--restarts", "1"];
const RADIUS: [&str; 10] =
    ["radius", "--offset", "36", "--samples", "5", "--steps", "20", "--restarts", "1", "--batch=2"];

/// The JSON of a run without what differs between runs.
fn report(folder: &Path, args: &[&str]) -> Value {
    let output = Run::new(args.iter().chain(&["--format", "json"]).copied()).within(folder).output();
    parse(&output)
}

fn parse(output: &snapshot::Output) -> Value {
    let mut report: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    report.as_object_mut().unwrap().remove("environment");
    clear_seconds(&mut report);
    report
}

/// Cuts the journal of a whole run after some lines, in the middle of the next, and goes on. Gives the number of lines.
fn goes_on(args: &[&str], more: &[&str]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let plain = [args, more].concat();
    let args = [&plain[..], &["--journal", "journal"]].concat();
    let expected = report(folder.path(), &plain);
    assert_eq!(report(folder.path(), &args), expected, "{args:?}");
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for kept in [1, lines.len() / 3, lines.len() / 2 + 1, lines.len() - 1, lines.len()] {
        let torn = lines.get(kept).map_or("", |line| &line[..line.len() / 2]);
        fs::write(&journal, lines[..kept].concat() + torn).unwrap();
        let found = report(folder.path(), &args);
        if more.contains(&"exact") {
            // Samples that are solved again may end up among others, which changes how products are rounded.
            same_json(&expected, &found, &mut vec![format!("{kept} lines")]);
        } else {
            assert_eq!(found, expected, "{kept} lines of {args:?}");
        }
        let mut resumed: Vec<String> =
            fs::read_to_string(&journal).unwrap().lines().map(str::to_owned).collect();
        let mut whole: Vec<String> = lines.iter().map(|line| line.trim_end().to_owned()).collect();
        resumed.sort();
        whole.sort();
        if !more.contains(&"exact") {
            assert_eq!(resumed, whole, "{kept} lines of {args:?}");
        }
    }
    lines.len()
}

/// The journal with another number in all samples.
fn marked(journal: &str, number: &str) -> String {
    let marked = journal.lines().enumerate().map(|(k, line)| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if k > 0 {
            line[number] = 12345.0.into();
        }
        line.to_string() + "\n"
    });
    marked.collect()
}

#[test]
fn certify_goes_on() {
    for method in ["norm-product", "interval", "linear", "optimized"] {
        assert_eq!(goes_on(&CERTIFY, &["--method", method]), 1 + 2 * 150);
    }
    let deviation = ["--property", "deviation", "--tolerance", "0.5", "--threads", "1", "--precision", "f64"];
    assert_eq!(goes_on(&CERTIFY, &deviation), 1 + 2 * 150);
}

#[test]
fn attack_goes_on() {
    for kind in ["neuron-space", "weight-space", "one-gradient", "random-vertex"] {
        assert_eq!(goes_on(&ATTACK, &["--attack", kind]), 1 + 2 * 12);
    }
    assert_eq!(goes_on(&ATTACK, &["--witness", "w", "--batch", "7"]), 1 + 2 * 12);
}

#[test]
fn radius_goes_on() {
    assert_eq!(goes_on(&RADIUS, &["--width", "0.1"]), 1 + 5);
    assert_eq!(goes_on(&RADIUS, &["--no-attack", "--by-layer"]), 1 + 5);
    assert_eq!(goes_on(&RADIUS, &["--method", "exact", "--width", "0.1"]), 1 + 5);
}

/// Samples whose search ended at a limit are no part of the journal.
#[test]
fn radii_that_hit_a_limit_are_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let args = ["--method", "exact", "--width", "0.1", "--journal", "journal"];
        report(folder.path(), &[&RADIUS, &args[..], more].concat())
    };
    let limited = run(&["--max-nodes", "20"]);
    let open =
        limited["samples"].as_array().unwrap().iter().filter(|sample| sample["reason"].is_string()).count();
    let text = || fs::read_to_string(folder.path().join("journal")).unwrap();
    let lines = || text().lines().count();
    assert!(open > 0 && open < 5 && lines() == 1 + 5 - open, "{open} {}", lines());
    // The others are not.
    fs::write(folder.path().join("journal"), marked(&text(), "margin")).unwrap();
    let closed = run(&[]);
    let samples = closed["samples"].as_array().unwrap();
    assert_eq!((closed["summary"]["closed"].as_u64(), lines()), (Some(5), 1 + 5));
    assert_eq!(samples.iter().filter(|s| s["margin"] == 12345.0).count(), 5 - open);
    let indices: Vec<u64> = samples.iter().map(|sample| sample["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [36, 37, 38, 39, 40]);
}

#[test]
fn what_the_journal_has_is_not_computed_again() {
    for (args, number) in [(&CERTIFY[..], "margin"), (&ATTACK, "worst_margin"), (&RADIUS, "certified_radius")]
    {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let args = [args, &["--journal", "journal"]].concat();
        report(folder.path(), &args);
        let text = fs::read_to_string(&journal).unwrap();
        fs::write(&journal, marked(&text, number)).unwrap();
        let report = report(folder.path(), &args);
        let results = report["results"].as_array().cloned().unwrap_or_else(|| vec![report.clone()]);
        let samples = results.iter().flat_map(|result| result["samples"].as_array().unwrap());
        let numbers: Vec<&Value> = samples.map(|sample| &sample[number]).collect();
        assert!(!numbers.is_empty() && numbers.iter().all(|number| **number == 12345.0), "{numbers:?}");
    }
}

#[test]
fn an_interrupted_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let args = [
        "attack",
        "--radius",
        "0.001",
        "--samples",
        "400",
        "--steps",
        "40",
        "--threads",
        "1",
        "--batch",
        "32",
    ];
    let json = ["--journal", "journal", "--format", "json"];
    let expected = report(folder.path(), &args);
    let mut process = Run::new(args.iter().chain(&json).copied()).within(folder.path()).spawn();
    let begin = Instant::now();
    let lines = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    while lines() < 33 && process.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < PATIENCE, "nothing is kept");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
    let partial = parse(&snapshot::finish(&mut process));
    let samples = partial["samples"].as_array().unwrap().len();
    assert!(partial["partial"] == true && samples < 400 && lines() == 1 + samples, "{samples}");
    let resumed = report(folder.path(), &[&args[..], &["--journal", "journal"]].concat());
    assert_eq!(resumed, expected);
}

#[test]
fn journals_of_other_runs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run =
        |args: &[&str]| Run::new(args.iter().chain(&["--journal", "journal"]).copied()).within(folder.path());
    assert_eq!(run(&CERTIFY).output().code, Some(1));
    for (args, differs) in [
        (["certify", "--radius", "0.0005,0.001", "--samples", "150", "--method", "interval"], "method"),
        (
            ["certify", "--radius", "0.0005,0.001", "--samples", "150", "--method", "exact"],
            "attack, guarantee, method, oracle",
        ),
        (["certify", "--radius", "0.0005,0.001", "--samples", "150", "--offset", "1"], "offset"),
        (
            ["attack", "--radius", "0.0005,0.001", "--samples", "150", "--steps", "2"],
            "attack, command, method",
        ),
        (
            ["radius", "--radius", "0.0005,0.001", "--samples", "150", "--width", "1"],
            "attack, by_layer, command, width",
        ),
    ] {
        let output = run(&args).output();
        let expected = format!("found that of another: {differs}\n");
        assert!(output.code == Some(2) && output.stderr.contains(&expected), "{output:?}");
    }
    let universal = ["attack", "--radius", "0.001", "--samples", "4", "--attack", "universal"];
    check("journal-universal", &run(&universal));
    // The same question to the same version, built from other sources.
    let path = folder.path().join("journal");
    let journal = fs::read_to_string(&path).unwrap();
    let (header, samples) = journal.split_once('\n').unwrap();
    let mut header: Value = serde_json::from_str(header).unwrap();
    header["build"] = "0123456789abcdef".into();
    fs::write(&path, format!("{header}\n{samples}")).unwrap();
    let output = run(&CERTIFY).output();
    assert!(output.stderr.contains("found that of another: build\n"), "{output:?}");
    assert!(fs::read_to_string(&path).unwrap().ends_with(samples), "nothing is lost");
}
