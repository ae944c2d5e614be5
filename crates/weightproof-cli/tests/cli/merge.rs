//! `--shard` and `merge`: parts of a run give, byte for byte, what one run gives, and parts that do not belong together are refused.

use crate::snapshot::{Output, Run, check};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;

/// Numbers of parts.
const PARTS: [usize; 4] = [1, 2, 3, 7];

const CERTIFY: [&str; 6] = ["certify", "--radius", "0.0005,0.001", "--samples", "150", "--batch=16"];
const ATTACK: [&str; 10] =
    ["attack", "--radius", "0.001,0.002", "--samples", "40", "--steps", "3", "--restarts", "1", "--batch=5"];
const RADIUS: [&str; 12] = [
    "radius",
    "--offset",
    "36",
    "--samples",
    "7",
    "--steps",
    "5",
    "--restarts",
    "1",
    "--width=0.3",
    "--batch=1",
    "--quiet",
];
const FAULTS: [&str; 8] =
    ["faults", "--storage", "int4", "--samples", "14", "--batch=2", "--property", "prediction"];

fn run(folder: &Path, args: &[&str]) -> Output {
    Run::new(args.iter().copied()).within(folder).output()
}

/// The text of a report without time and host, which stand on a line of their own.
fn text(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("  \"environment\": "));
    lines.map(without_times).collect()
}

/// A line of JSON without the times of samples.
fn without_times(line: &str) -> String {
    let mut parts = line.split("\"seconds\":");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.trim_start_matches(|c: char| c.is_ascii_digit() || ".e-".contains(c))
    })
}

/// Names of `of` parts, written by `args` in a format.
fn parts(folder: &Path, args: &[&str], of: usize, format: &str) -> Vec<String> {
    let part = |number: usize| {
        let (name, shard) = (format!("{number}-{of}.{format}"), format!("{number}/{of}"));
        let more = ["--shard", &shard, "--format", format, "--output", &name];
        let output = run(folder, &[args, &more].concat());
        assert!(output.code.is_some_and(|code| code < 2), "{output:?}");
        name
    };
    (1..=of).map(part).collect()
}

fn merge(folder: &Path, parts: &[String], output: &str) -> Output {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    run(folder, &[&["merge"], &parts[..], &["-o", output]].concat())
}

/// Whether the run can be kept in a journal.
fn has_journal(args: &[&str]) -> bool {
    args[0] != "faults" && !(args.contains(&"--noise") && args[0] != "certify")
}

/// Merges parts of a run in several ways, and compares the results with those of one run.
fn is_whole(args: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let one = run(folder, &[args, &["--json", "--output", "one.json"]].concat());
    for of in PARTS {
        let mut parts = parts(folder, args, of, "json");
        // In any order.
        parts.rotate_left(of / 2);
        let merged = merge(folder, &parts, "whole.json");
        assert_eq!(merged.code, one.code, "{args:?}: {merged:?}");
        assert!(text(&folder.join("whole.json")) == text(&folder.join("one.json")), "{of} parts of {args:?}");
    }
    if has_journal(args) {
        let journal = |number: usize| {
            let (name, shard) = (format!("{number}.journal"), format!("{number}/3"));
            run(folder, &[args, &["--shard", &shard, "--journal", &name]].concat());
            name
        };
        let journals: Vec<String> = (1..=3).map(journal).collect();
        let merged = merge(folder, &journals, "whole.json");
        assert!(text(&folder.join("whole.json")) == text(&folder.join("one.json")), "{args:?}: {merged:?}");
    }
}

#[test]
fn parts_of_certify_are_the_whole() {
    is_whole(&CERTIFY);
    is_whole(&["certify", "--radius", "0.001", "--samples", "100", "--batch=8", "--property", "deviation"]);
    is_whole(&[
        "certify",
        "--radius",
        "0.001",
        "--samples",
        "60",
        "--batch=8",
        "--method",
        "interval",
        "--scale",
        "1/255",
        "--mean=0.5",
        "--offset=100",
    ]);
}

#[test]
fn parts_of_exact_are_the_whole() {
    is_whole(&[
        "certify",
        "--radius",
        "0.001",
        "--samples",
        "20",
        "--offset",
        "36",
        "--batch=2",
        "--method",
        "exact",
    ]);
}

#[test]
fn parts_of_attack_are_the_whole() {
    is_whole(&ATTACK);
    is_whole(&[&ATTACK[..], &["--attack", "random-gaussian"]].concat());
    is_whole(&[&ATTACK[..], &["--witness", "witnesses"]].concat());
}

#[test]
fn parts_of_radius_are_the_whole() {
    is_whole(&[&RADIUS[..], &["--by-layer"]].concat());
    is_whole(&[&RADIUS[..], &["--no-attack", "--radius", "0.001,0.002"]].concat());
    is_whole(&[&RADIUS[..], &["--method", "exact"]].concat());
}

#[test]
fn parts_of_faults_are_the_whole() {
    is_whole(&FAULTS);
    is_whole(&[&FAULTS[..], &["--words", "2", "--max-nodes", "2"]].concat());
}

#[test]
fn parts_of_faults_have_the_critical_hits_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, &[&FAULTS[..], &["--critical", "one.csv", "-o", "one.txt"]].concat());
    let parts = parts(folder, &FAULTS, 2, "json");
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    run(folder, &[&["merge"], &parts[..], &["--critical", "merged.csv", "-o", "whole.json"]].concat());
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert!(read("one.csv").lines().count() > 3);
    assert_eq!(read("one.csv"), read("merged.csv"));
}

/// Certificates and drawn devices at two times, and the largest noise: sums of probabilities, counts of devices, radii.
#[test]
fn parts_of_runs_with_random_weights_are_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drift.toml");
    fs::write(&file, "kind = \"gaussian-of-max\"\nsigma = 0.005\n[drift]\nmean = 0.05\nspread = 0.002\n")
        .unwrap();
    let drift = ["--noise", file.to_str().unwrap(), "--time", "1s,1d", "--samples=21", "--batch=3"];
    is_whole(&[&["certify"][..], &drift].concat());
    is_whole(&[&["attack", "--draws=5"][..], &drift].concat());
    let noise = ["--noise", "gaussian-of-max:0.02", "--samples=14", "--batch=2"];
    is_whole(&[&["attack", "--draws=5"][..], &noise].concat());
    is_whole(&["radius", "--noise", "gaussian-of-max", "--samples=14", "--batch=2", "--width=0.3"]);
    // In the other forms, too.
    let folder = folder.path();
    for args in [[&["certify"][..], &noise].concat(), [&["attack", "--draws=5"][..], &drift].concat()] {
        run(folder, &[&args[..], &["--format", "parquet", "-o", "one.parquet"]].concat());
        let parts = parts(folder, &args, 3, "parquet");
        let output = merge(folder, &parts, "whole.parquet");
        let [one, whole] = ["one.parquet", "whole.parquet"].map(|name| table(&folder.join(name)));
        assert!(one == whole, "{args:?}: {output:?}");
    }
    // Parts with other numbers of devices do not belong together.
    let draws = |name: &str, n: &str, shard: &str| {
        let args = [&["attack", n, "--shard", shard, "--json", "-o", name][..], &noise].concat();
        assert!(run(folder, &args).code.is_some_and(|code| code < 2));
    };
    draws("1.json", "--draws=5", "1/2");
    draws("2.json", "--draws=4", "2/2");
    let refused = merge(folder, &["1.json".into(), "2.json".into()], "whole.json");
    assert!(refused.code == Some(2) && refused.stderr.contains("draws"), "{refused:?}");
    draws("2.json", "--draws=5", "2/2");
    let text = fs::read_to_string(folder.join("2.json")).unwrap();
    fs::write(folder.join("2.json"), text.replacen("{\"holds\":[", "{\"holds\":[7,", 1)).unwrap();
    let refused = merge(folder, &["1.json".into(), "2.json".into()], "whole.json");
    assert!(refused.stderr.contains("counts of as many devices as in the other parts"), "{refused:?}");
}

/// Without --batch, blocks have the size that the command chooses; CSV has to be read to its end to be divided.
#[test]
fn parts_of_csv_in_blocks_of_the_command_are_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let row = |k: usize| {
        let pixels = (0..784).map(|j| (k * j / 28 % 3).to_string()).collect::<Vec<_>>();
        format!("{},{}\n", k % 10, pixels.join(","))
    };
    // Eight blocks of 64.
    let rows: String = (0..450).map(row).collect();
    let path = folder.path().join("data.csv");
    fs::write(&path, rows).unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/mnist-784-128-64-32-10.onnx");
    is_whole(&["certify", model, path.to_str().unwrap(), "--radius", "0.0001", "--method", "interval"]);
}

/// Rows and metadata of a Parquet file, without time and host.
fn table(path: &Path) -> (Vec<String>, Value) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    let entries = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let header = entries.into_iter().find(|entry| entry.key == "weightproof").unwrap().value.unwrap();
    let mut header: Value = serde_json::from_str(&header).unwrap();
    header.as_object_mut().unwrap().remove("environment");
    (rows, header)
}

#[test]
fn parts_may_be_parquet_and_become_every_format() {
    let by_layer = [&RADIUS[..], &["--by-layer"]].concat();
    for args in [&CERTIFY[..], &ATTACK, &by_layer, &FAULTS] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for extension in ["json", "csv", "parquet"] {
            run(folder, &[args, &["--format", extension, "-o", &format!("one.{extension}")]].concat());
        }
        let parquet = parts(folder, args, 3, "parquet");
        // The forms may be mixed.
        let mut mixed = parts(folder, args, 3, "json");
        mixed[1].clone_from(&parquet[1]);
        for (parts, name) in [(&parquet, "of-parquet"), (&mixed, "of-both")] {
            for extension in ["json", "csv", "parquet"] {
                let name = format!("{name}.{extension}");
                let output = merge(folder, parts, &name);
                let (one, whole) = (folder.join(format!("one.{extension}")), folder.join(&name));
                match extension {
                    "parquet" => assert_eq!(table(&one), table(&whole), "{args:?}"),
                    _ => assert!(text(&one) == text(&whole), "{args:?}: {name}: {output:?}"),
                }
            }
        }
    }
}

#[test]
fn a_part_goes_on_from_its_own_journal_only() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let part = |shard: &str| {
        run(folder, &[&CERTIFY[..], &["--shard", shard, "--journal", "journal", "--json"]].concat())
    };
    assert_eq!(part("2/3").code, Some(1));
    assert_eq!(part("2/3").code, Some(1));
    let text = fs::read_to_string(folder.join("journal")).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("{\"report\":")).count(), 2);
    let killed: Vec<&str> = text.lines().filter(|line| !line.starts_with("{\"report\":")).collect();
    fs::write(folder.join("killed"), killed.join("\n") + "\n").unwrap();
    let unfinished = merge(folder, &["killed".into()], "whole.json");
    assert!(unfinished.stderr.contains("the journal of a part that is done, found one without an end"));
    let refused = part("3/3");
    assert!(refused.code == Some(2) && refused.stderr.contains("that of another: shard"), "{refused:?}");
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let args = ["certify", "--radius", "0.001", "--samples", "40", "--batch=8", "--method", "interval"];
    parts(folder, &args, 3, "json");
    let merged =
        |parts: &[&str]| Run::new([&["merge"], parts, &["-o", "whole.json"]].concat()).within(folder);
    check("merge-missing", &merged(&["1-3.json", "3-3.json"]));
    check("merge-overlapping", &merged(&["1-3.json", "2-3.json", "3-3.json", "2-3.json"]));
    let other = ["certify", "--radius", "0.001", "--samples", "40", "--batch=8", "--seed=7"];
    run(folder, &[&other[..], &["--shard=2/3", "--json", "--output=other.json"]].concat());
    check("merge-different", &merged(&["1-3.json", "other.json", "3-3.json"]));
    run(folder, &[&args[..], &["--json", "--output=one.json"]].concat());
    check("merge-no-part", &merged(&["one.json"]));
    let text = fs::read_to_string(folder.join("2-3.json")).unwrap();
    let edit = |name: &str, edited: String| {
        assert_ne!(edited, text, "{name}");
        fs::write(folder.join(name), edited).unwrap();
        let output = merged(&["1-3.json", name, "3-3.json"]).output();
        assert_eq!(output.code, Some(2), "{name}: {output:?}");
        output.stderr
    };
    let lines: Vec<&str> = text.lines().collect();
    let sample = lines.iter().position(|line| line.starts_with("    {\"index\":")).unwrap();
    let without = [&lines[..sample], &lines[sample + 1..]].concat().join("\n");
    let error = edit("without.json", without);
    assert!(error.contains("without.json: expected sample 8, found sample 9"), "{error}");
    let error = edit("partial.json", text.replacen("\"partial\": false", "\"partial\": true", 1));
    assert!(error.contains("found one of a run that was interrupted"), "{error}");
    let label = lines[sample].split("\"label\":").nth(1).unwrap().split(',').next().unwrap();
    let digit = (label.parse::<u32>().unwrap() + 1) % 10;
    let relabelled = lines[sample].replacen(&format!("\"label\":{label}"), &format!("\"label\":{digit}"), 1);
    let error = edit("label.json", text.replacen(lines[sample], &relabelled, 1));
    assert!(error.contains("label.json: labels: expected those that the part has the hash of"), "{error}");
    let error = edit("cut.json", text[..text.len() / 2].into());
    assert!(error.contains("a file that was cut off"), "{error}");
    let error = edit("model.json", text.replacen("\"sha256\":\"", "\"sha256\":\"0", 1));
    assert!(error.contains("model.json: expected a part of the same run as 1-3.json"), "{error}");
    assert!(error.contains("model.sha256"), "{error}");
    assert!(!folder.join("whole.json").exists());
}

#[test]
fn what_cannot_be_divided_is_refused() {
    check(
        "shard-universal",
        &Run::new([
            "attack",
            "--radius",
            "0.001",
            "--samples",
            "40",
            "--batch=8",
            "--attack",
            "universal",
            "--shard=1/2",
        ]),
    );
    check("shard-measure-train", &Run::new(["measure", "--train-data", "mnist", "--shard", "1/2"]));
    check(
        "shard-too-many",
        &Run::new(["certify", "--radius", "0.001", "--samples", "100", "--shard", "1/3"]),
    );
    check("shard-zero", &Run::new(["certify", "--radius", "0.001", "--shard", "0/3"]));
}

/// Damaged parts give an error or a result, never a panic.
#[test]
fn damaged_parts_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let args = ["certify", "--radius", "0.001", "--samples", "16", "--batch=8", "--method", "interval"];
    let names = parts(folder, &args, 2, "json");
    parts(folder, &args, 2, "parquet");
    for extension in ["json", "parquet"] {
        let bytes = fs::read(folder.join(format!("2-2.{extension}"))).unwrap();
        for k in 0..40 {
            let mut damaged = bytes.clone();
            let place = (k * 7919 + 13) * 104_729 % damaged.len();
            match k % 3 {
                0 => damaged.truncate(place),
                1 => damaged[place] ^= 1 << (k % 8),
                _ => drop(damaged.splice(place..(place + 9).min(bytes.len()), *b"99999999999")),
            }
            fs::write(folder.join("damaged"), damaged).unwrap();
            let output = merge(folder, &[names[0].clone(), "damaged".into()], "whole.json");
            assert!(output.code.is_some_and(|code| code < 3), "{k}: {output:?}");
        }
    }
}

/// Measures by name: those of the network, then those of each radius.
fn measures(report: &Value) -> Vec<(String, Option<f64>)> {
    let of = |list: &Value| {
        let list = list.as_array().expect("a list").iter();
        list.map(|m| (m["name"].to_string(), m["value"].as_f64())).collect::<Vec<_>>()
    };
    let results = report["results"].as_array().expect("results").iter();
    of(&report["measures"]).into_iter().chain(results.flat_map(|at| of(&at["measures"]))).collect()
}

/// What parts tell is what one run measures, up to rounding; what they do not tell is refused by its name.
#[test]
fn parts_of_measures_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let args = ["measure", "--samples", "90", "--radius", "0.001", "--draws=1", "--passes=1", "--quiet"];
    let whole = run(folder, &[&args[..], &["--format", "json", "-o", "one.json"]].concat());
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let one: Value = serde_json::from_str(&fs::read_to_string(folder.join("one.json")).unwrap()).unwrap();
    for of in [1, 3] {
        let mut names = parts(folder, &args, of, "json");
        names.reverse();
        let output = merge(folder, &names, "whole.json");
        assert_eq!(output.code, Some(0), "{output:?}");
        let found = fs::read_to_string(folder.join("whole.json")).unwrap();
        let found: Value = serde_json::from_str(&found).unwrap();
        assert!(found["shard"].is_null() && found["data"]["samples"] == 90);
        assert_eq!(found["errors"], one["errors"]);
        let (mut told, mut refused) = (Vec::new(), Vec::new());
        for ((name, value), (own, expected)) in measures(&found).into_iter().zip(measures(&one)) {
            assert_eq!(name, own);
            let Some(value) = value else {
                refused.push(name);
                continue;
            };
            let expected = expected.unwrap_or_else(|| panic!("{name}"));
            assert!((value - expected).abs() <= 1e-9 * expected.abs(), "{name}: {value} {expected}");
            told.push(name);
        }
        for name in [
            "fisher-rao",
            "certified-sharpness-error",
            "certified-sharpness-loss",
            "path-norm",
            "spectral-sum",
        ] {
            assert!(told.iter().any(|told| told.contains(name)), "{name} of {told:?}");
        }
        for name in ["margin-50", "attacked-sharpness-loss", "pac-bayes-sharpness", "rademacher-bound"] {
            assert!(refused.iter().any(|refused| refused.contains(name)), "{name} of {refused:?}");
        }
    }
    let text = run(folder, &["merge", "1-3.json", "2-3.json", "3-3.json", "--format", "text"]);
    assert!(text.stdout.contains("parts of the samples do not tell what all of them say"), "{}", text.stdout);
    // What does not belong together.
    let refused = |files: &[&str], expected: &str| {
        let output = run(folder, &[&["merge"], files].concat());
        assert!(output.code == Some(2) && output.stderr.contains(expected), "{output:?}");
    };
    refused(&["1-3.json", "3-3.json"], "found 1 missing: 2");
    refused(&["1-3.json", "1-3.json", "2-3.json"], "found shard 1 of 3 also in 1-3.json");
    refused(&["1-3.json", "1-1.json"], "found one of a different run: shard");
    refused(&["one.json"], "shard: expected a part of a result");
    let other = fs::read_to_string(folder.join("2-3.json")).unwrap();
    let at = other.find("\"name\":\"path-norm\",\"value\":").expect("a measure of the network") + 27;
    fs::write(folder.join("other.json"), format!("{}1{}", &other[..at], &other[at..])).unwrap();
    refused(&["1-3.json", "other.json", "3-3.json"], "path-norm: expected a number that parts tell");
    parts(folder, &["certify", "--radius", "0.001", "--samples", "8", "--batch=4"], 2, "json");
    refused(&["1-3.json", "1-2.json"], "1-2.json: expected a part of measure, found another result");
    // Searches look at the first samples only.
    let few = [&args[..], &["--search-samples", "50", "--shard", "1/3", "--format", "json"]].concat();
    let few: Value = serde_json::from_str(&run(folder, &few).stdout).unwrap();
    let sharpness = few["results"][1]["measures"].as_array().unwrap();
    let refusal = |m: &&Value| {
        m["name"] == "certified-sharpness-loss" && m["refusal"].to_string().contains("at least 90")
    };
    assert_eq!(sharpness.iter().filter(refusal).count(), 1, "{sharpness:?}");
}
