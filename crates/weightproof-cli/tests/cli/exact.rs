//! `certify --method exact` as its users see it: reports, limits, witnesses, and the journal of a run that was killed.

use crate::snapshot;
use crate::snapshot::{Run, check, check_json, clear_seconds, same_json};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a run may take to settle a few samples.
const PATIENCE: Duration = Duration::from_secs(120);

const FEW: [&str; 7] = ["certify", "--method", "exact", "--offset", "36", "--samples", "4"];

fn few(more: &[&str]) -> Run {
    Run::new(FEW.iter().chain(more).copied())
}

#[test]
fn reports() {
    check("exact", &few(&["--radius", "0.0005,0.001", "--time-limit", "100", "--max-memory", "1G"]));
    let limits = ["--time-limit", "100", "--time-limit-total", "500", "--max-nodes", "100000", "--seed", "3"];
    let json = ["--radius", "0.001", "--gap", "20", "--format", "json"];
    check_json("exact-json", &few(&[&limits[..], &json].concat()));
    let csv = few(&["--radius", "0.001", "--format", "csv"]).output();
    let head = "radius,index,label,predicted,margin,margin_lower,runner_up,verdict,reason,deviation_upper,worst_margin,nodes,\
                seconds,witness,oracle,oracle_seconds";
    assert_eq!((csv.stdout.lines().next(), csv.stdout.lines().count()), (Some(head), 5), "{csv:?}");
    let all = Run::new(["certify", "--method", "exact", "--samples", "3", "--radius", "0.0001"]).output();
    assert_eq!(all.code, Some(0), "{all:?}");
}

#[test]
fn arguments_that_are_wrong() {
    let of_linear = ["certify", "--radius", "0.001", "--samples", "1"];
    for (flag, value) in [
        ("time-limit", "1"),
        ("time-limit-total", "1"),
        ("max-nodes", "1"),
        ("max-memory", "1K"),
        ("gap", "0.1"),
        ("witness", "w"),
        ("oracle", "milp"),
    ] {
        let run = Run::new(of_linear.iter().copied().chain([format!("--{flag}").as_str(), value])).output();
        let start = format!("error: {flag}: expected the method exact, found linear\nhint: ");
        assert!(run.code == Some(2) && run.stderr.starts_with(&start), "{run:?}");
    }
    for (flag, value) in [
        ("time-limit", "nan"),
        ("time-limit", "-1"),
        ("time-limit", "1e300"),
        ("time-limit-total", "0"),
        ("max-nodes", "-1"),
        ("max-nodes", "0"),
        ("max-nodes", "99999999999999999999999"),
        ("max-memory", "-1"),
        ("max-memory", "99999999999G"),
        ("gap", "0"),
        ("gap", "inf"),
    ] {
        let run = few(&["--radius", "0.001", &format!("--{flag}"), value]).output();
        assert!(
            run.code == Some(2) && run.stderr.contains(flag) && run.stderr.contains("expected"),
            "{run:?}"
        );
    }
    check("exact-memory", &few(&["--radius", "0.001", "--max-memory", "lots"]));
    check("exact-other", &Run::new(of_linear.iter().chain(&["--gap", "0.1"]).copied()));
    check("exact-intermediate", &few(&["--radius", "0.001", "--intermediate", "linear"]));
    check("exact-no-attack", &radius(&["--method", "exact", "--no-attack"]));
    check("exact-other-radius", &radius(&["--time-limit-total", "1"]));
    for (flag, value) in [("time-limit", "1"), ("max-nodes", "1"), ("max-memory", "1K")] {
        let run = radius(&[&format!("--{flag}"), value]).output();
        let start = format!("error: {flag}: expected the method exact, found linear\nhint: ");
        assert!(run.code == Some(2) && run.stderr.starts_with(&start), "{run:?}");
    }
    for flag in ["--gap", "--witness", "--oracle"] {
        assert_eq!(radius(&["--method", "exact", flag, "1"]).output().code, Some(2));
    }
}

fn radius(more: &[&str]) -> Run {
    let few = ["radius", "--offset", "36", "--samples", "3", "--steps", "30", "--restarts", "2"];
    Run::new(few.iter().chain(more).copied())
}

#[test]
fn radii() {
    let limits = ["--time-limit", "500", "--max-nodes", "100000"];
    check("exact-radius", &radius(&[&["--method", "exact"], &limits[..]].concat()));
    check_json("exact-radius-json", &radius(&["--method", "exact", "--format", "json"]));
    check("exact-radius-open", &radius(&["--method", "exact", "--max-nodes", "1"]));
    let csv = radius(&["--method", "exact", "--max-nodes", "1", "--format", "csv"]).output();
    let head = "index,label,predicted,margin,certified_radius,attacked_radius,reason";
    assert_eq!((csv.stdout.lines().next(), csv.stdout.lines().count()), (Some(head), 4), "{csv:?}");
}

#[test]
fn radii_are_closed_within_those_of_linear() {
    let samples = |more: &[&str]| {
        let output = radius(&[more, &["--format", "json"]].concat()).output();
        let report: Value = serde_json::from_str(&output.stdout).unwrap();
        let radii =
            |s: &Value| (s["certified_radius"].as_f64().unwrap(), s["attacked_radius"].as_f64().unwrap());
        let closed = report["summary"]["closed"].as_u64();
        (report["samples"].as_array().unwrap().iter().map(radii).collect::<Vec<_>>(), closed)
    };
    let (linear, none) = samples(&[]);
    let (closed, all) = samples(&["--method", "exact"]);
    assert_eq!((none, all), (None, Some(3)));
    for ((certified, attacked), (least, most)) in closed.into_iter().zip(linear) {
        assert!(least <= certified && certified < attacked && attacked <= most);
        assert!(attacked <= certified * 1.01 * (1.0 + 1e-9), "{certified} {attacked}");
    }
}

#[test]
fn witnesses_are_named_by_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let run = few(&["--radius", "0.001,0.002", "--format", "json", "--witness", "w"]).within(folder.path());
    let report: Value = serde_json::from_str(&run.output().stdout).unwrap();
    let mut named: Vec<&str> = Vec::new();
    for result in report["results"].as_array().unwrap() {
        for sample in result["samples"].as_array().unwrap() {
            assert_eq!(sample["witness"].is_string(), sample["verdict"] == "falsified", "{sample}");
            assert!(sample["verdict"] != "falsified" || sample["worst_margin"].as_f64().unwrap() <= 0.0);
            named.extend(sample["witness"].as_str());
        }
    }
    assert!(named.contains(&"radius-0.001-sample-38.safetensors"), "{named:?}");
    let mut files: Vec<String> = fs::read_dir(folder.path().join("w"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "run.json")
        .collect();
    files.sort();
    named.sort();
    assert_eq!(files, named);
}

#[test]
fn a_folder_has_the_witnesses_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| few(&[&["--witness", "w"], more].concat()).within(folder.path());
    assert_eq!(run(&["--radius", "0.002"]).output().code, Some(1));
    let names = || {
        let files = fs::read_dir(folder.path().join("w")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert!(before.len() > 1);
    check("witness-radius", &run(&["--radius", "0.001"]));
    // Limits do not change what is asked.
    assert_eq!(run(&["--radius", "0.002", "--time-limit", "1000"]).output().code, Some(1));
    let attack = ["attack", "--offset", "36", "--samples", "4", "--radius", "0.002", "--witness", "w"];
    let output = Run::new(attack).within(folder.path()).output();
    assert!(
        output.code == Some(2)
            && output.stderr.contains("found those of another: attack, command, guarantee, method, oracle\n"),
        "{output:?}"
    );
    assert_eq!(names(), before);
}

#[test]
fn a_witness_that_is_gone_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let journal = ["--journal", "journal", "--witness", "w", "--radius", "0.002"];
    let attack = ["attack", "--offset", "36", "--samples", "4", "--steps", "20"];
    for args in [&FEW[..], &attack] {
        let run = Run::new(args.iter().chain(&journal).copied()).within(folder.path());
        let witness = folder.path().join("w/sample-38.safetensors");
        assert_eq!(run.output().code, Some(1));
        let bytes = fs::read(&witness).unwrap();
        fs::remove_file(&witness).unwrap();
        assert_eq!(run.output().code, Some(1));
        assert_eq!(fs::read(&witness).unwrap().len(), bytes.len());
        fs::remove_file(folder.path().join("journal")).unwrap();
        fs::remove_dir_all(folder.path().join("w")).unwrap();
    }
}

/// A run over two radii with a journal in `folder`; the report without what differs between runs.
fn journalled(folder: &Path, more: &[&str]) -> Value {
    let some = ["--radius", "0.0005,0.001", "--format", "json", "--batch", "3", "--journal", "journal"];
    let some = ["certify", "--method", "exact", "--offset", "36", "--samples", "8"].iter().chain(&some);
    let output = Run::new(some.chain(more).copied()).within(folder).output();
    let mut report: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    report.as_object_mut().unwrap().remove("environment");
    clear_seconds(&mut report);
    report
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let whole = journalled(folder.path(), &[]);
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 2 * 8);
    for kept in [0, 1, 4, 7, 16, 17] {
        let torn = lines.get(kept).map_or("", |line| &line[..line.len() / 2]);
        let start: String = lines[..kept].iter().map(|line| format!("{line}\n")).collect();
        fs::write(&journal, start + torn).unwrap();
        // Samples that are solved again may end up among others, which changes how products are rounded.
        same_json(&whole, &journalled(folder.path(), &[]), &mut vec![format!("{kept} lines")]);
        let resumed = fs::read_to_string(&journal).unwrap();
        assert_eq!(resumed.lines().count(), lines.len());
    }
}

#[test]
fn an_interrupted_run_reports_and_keeps_what_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    // A radius at which the search for some samples takes longer than any test.
    let args =
        ["certify", "--method", "exact", "--radius", "0.0025", "--format", "json", "--journal", "journal"];
    let mut process = Run::new(args).within(folder.path()).spawn();
    let begin = Instant::now();
    let lines = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    while lines() < 20 && process.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < PATIENCE, "nothing is settled");
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = snapshot::finish(&mut process);
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let samples = report["samples"].as_array().unwrap();
    let interrupted = samples.iter().filter(|sample| sample["reason"] == "interrupted").count();
    assert!(interrupted > 0 && output.code == Some(130) && report["partial"] == true, "{interrupted}");
    assert_eq!(lines(), 1 + samples.len() - interrupted);
    assert!(output.stderr.starts_with("interrupted: finishing what is under way"), "{}", output.stderr);
}

#[test]
fn what_the_journal_has_is_not_solved_again() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    journalled(folder.path(), &[]);
    let text = fs::read_to_string(&journal).unwrap();
    let marked: Vec<String> = text
        .lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            if line["set"] == 1 && line["index"] == 40 {
                line["nodes"] = 12345.into();
            }
            if line["set"] == 1 && line["index"] == 41 {
                (line["nodes"], line["label"]) = (12345.into(), 11.into());
            }
            line.to_string() + "\n"
        })
        .collect();
    fs::write(&journal, marked.concat()).unwrap();
    let report = journalled(folder.path(), &["--time-limit", "1000"]);
    let samples = report["results"][1]["samples"].as_array().unwrap();
    let nodes: Vec<bool> = samples.iter().map(|sample| sample["nodes"] == 12345).collect();
    // The sample with another label is another sample.
    assert_eq!(nodes, [false, false, false, false, true, false, false, false]);
}

#[test]
fn a_journal_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| few(&[&["--journal", "journal"], more].concat()).within(folder.path());
    assert_eq!(run(&["--radius", "0.001"]).output().code, Some(1));
    let before = fs::read(folder.path().join("journal")).unwrap();
    check("journal-radius", &run(&["--radius", "0.002"]));
    for (more, differs) in [
        (&["--seed", "5"][..], "seed"),
        (&["--property", "prediction"], "property"),
        (&["--gap", "0.5"], "gap"),
        (&["--mean", "0.1"], "data, model"),
        (&["--witness", "w"], "witness"),
        (&["--precision", "f64"], "precision"),
    ] {
        let output = run(&[&["--radius", "0.001"], more].concat()).output();
        let expected = format!("found that of another: {differs}\n");
        assert!(output.code == Some(2) && output.stderr.contains(&expected), "{output:?}");
    }
    assert_eq!(fs::read(folder.path().join("journal")).unwrap(), before);
    for (offset, samples, differs) in [("37", "4", "offset"), ("36", "5", "samples")] {
        let args =
            ["certify", "--method", "exact", "--offset", offset, "--samples", samples, "--radius", "0.001"];
        let output =
            Run::new(args.iter().chain(&["--journal", "journal"]).copied()).within(folder.path()).output();
        let expected = format!("found that of another: {differs}\n");
        assert!(output.code == Some(2) && output.stderr.contains(&expected), "{output:?}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let older = String::from_utf8(before)
        .unwrap()
        .replace(&format!("\"version\":\"{version}\""), "\"version\":\"0.0.1\"");
    fs::write(folder.path().join("journal"), older).unwrap();
    let output = run(&["--radius", "0.001"]).output();
    assert!(
        output.code == Some(2) && output.stderr.contains("found that of another: version\n"),
        "{output:?}"
    );
    fs::write(folder.path().join("journal"), "radius,index\n0.001,5\n").unwrap();
    check("journal-garbage", &run(&["--radius", "0.001"]));
    fs::create_dir(folder.path().join("folder")).unwrap();
    let refused = few(&["--radius", "0.001", "--journal", "folder"]).within(folder.path()).output();
    assert!(refused.code == Some(2) && refused.stderr.starts_with("error: folder: "), "{refused:?}");
}
