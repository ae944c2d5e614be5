//! `certify --certificate` as its users see it: the checker accepts what a run writes, also of one that was stopped.

use crate::snapshot::{Run, finish};
use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use weightproof_check::run::Opened;

/// How long a run may take to write a few records.
const PATIENCE: Duration = Duration::from_secs(120);

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/mnist-784-128-64-32-10.onnx");

/// Counts of verified, falsified, unknown and rejected records, and what the checker says about the end of the file.
fn counts(file: &Path) -> ([usize; 4], Result<(), String>) {
    counts_of(file, Path::new(MODEL))
}

fn counts_of(file: &Path, model: &Path) -> ([usize; 4], Result<(), String>) {
    let file = BufReader::new(fs::File::open(file).unwrap());
    let mut opened = Opened::new(file, &fs::read(model).unwrap()).unwrap();
    let mut counts = [0; 4];
    let end = opened.check(2, |finding| {
        assert!(finding.result.is_ok(), "{finding}");
        counts[finding.kind()] += 1;
    });
    (counts, end.map_err(|problem| problem.to_string()))
}

#[test]
fn the_checker_accepts_the_embedded_network() {
    let folder = tempfile::tempdir().unwrap();
    let certify = |file: &str, more: &[&str]| {
        let args = ["certify", "--radius", "0.001", "--certificate", file];
        let args = args.into_iter().chain(more.iter().copied());
        let output = Run::new(args).within(folder.path()).output();
        assert!(output.code.is_some_and(|code| code < 2), "{output:?}");
        assert!(output.stderr.contains("samples in"), "{output:?}");
        fs::read(folder.path().join(file)).unwrap()
    };
    // Sample 8 needs a tree, 18 a larger one, 20 is broken.
    let exact = ["--method", "exact", "--offset", "8", "--samples", "13"];
    let whole = certify("exact", &exact);
    assert_eq!(counts(&folder.path().join("exact")), ([12, 1, 0, 0], Ok(())));
    // The file does not depend on the number of threads.
    assert!(certify("threads", &[&exact[..], &["--threads", "3"]].concat()) == whole);
    let linear = certify("linear", &["--samples", "40"]);
    assert_eq!(counts(&folder.path().join("linear")), ([36, 0, 4, 0], Ok(())));
    // At most 20 KB for each sample, as documented, beside the network.
    let header = certify("one", &["--samples", "1"]).len();
    assert!(linear.len() - header < 39 * 20_000, "{} {header}", linear.len());
}

/// The embedded network as ONNX Runtime quantizes it.
#[test]
fn the_checker_accepts_a_quantized_network() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models/quantized");
    let model = models.join("mnist-784-128-64-32-10.qdq-per-channel.onnx");
    if !model.exists() {
        println!("skipped: there is no {}", model.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets");
    let images = format!("{data}/mnist-test-1000-images.idx3-ubyte.gz");
    for (threat, radius, verified) in [("lsb", "0.1", 5), ("relative", "0.005", 5), ("absolute", "0.0005", 5)]
    {
        let model = model.to_str().unwrap();
        let args = ["certify", model, &images, "--threat", threat, "--radius", radius, "-n", "6"];
        let output =
            Run::new(args.into_iter().chain(["--certificate", "file"])).within(folder.path()).output();
        assert!(output.code.is_some_and(|code| code < 2), "{output:?}");
        let (counts, end) = counts_of(&folder.path().join("file"), Path::new(model));
        assert!(
            end.is_ok() && counts[0] >= verified && counts[3] == 0,
            "{threat}: {counts:?} {end:?} {output:?}"
        );
    }
}

/// Whether inference in bf16 keeps the class.
#[test]
fn the_checker_accepts_a_number_format() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["certify", "--threat", "format:bf16", "--samples", "6", "--certificate", "file"];
    let output = Run::new(args).within(folder.path()).output();
    assert!(output.code.is_some_and(|code| code < 2), "{output:?}");
    assert_eq!(counts(&folder.path().join("file")), ([6, 0, 0, 0], Ok(())));
}

#[test]
fn a_journal_and_a_certificate_go_together() {
    let folder = tempfile::tempdir().unwrap();
    for method in ["linear", "exact"] {
        let args = ["certify", "--radius", "0.001", "--offset", "18", "--method", method];
        let run = |more: &[&str]| {
            let output = Run::new(args.iter().chain(more).copied()).within(folder.path()).output();
            assert_eq!(output.code, Some(1), "{output:?}");
        };
        let (journal, samples) = (format!("{method}.journal"), "4");
        run(&["--samples", samples, "--journal", &journal]);
        run(&["--samples", samples, "--journal", &journal, "--certificate", "resumed"]);
        run(&["--samples", samples, "--certificate", "whole"]);
        let read = |file: &str| counts(&folder.path().join(file));
        assert_eq!(read("resumed"), read("whole"), "{method}");
        assert!(read("whole").1.is_ok());
    }
}

#[test]
fn a_run_that_is_stopped_leaves_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stopped");
    // The hard samples of this radius take longer than the test waits.
    let args =
        ["certify", "--radius", "0.002", "--method", "exact", "--batch", "8", "--certificate", "stopped"];
    for signal in ["-INT", "-KILL"] {
        let mut child = Run::new(args).within(folder.path()).spawn();
        let start = Instant::now();
        while fs::metadata(&file).map_or(0, |data| data.len()) < 500_000 && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let output = finish(&mut child);
        let (counts, end) = counts(&file);
        assert!(counts.iter().sum::<usize>() > 2, "{counts:?} {output:?}");
        // Whoever is asked to stop ends the file; whoever is killed has no time for it.
        assert_eq!(end.is_ok(), signal == "-INT", "{end:?} {output:?}");
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn what_has_no_certificate_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let tanh = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weightproof-formats/tests/onnx/tanh.onnx");
    let tanh = tanh.to_str().unwrap();
    let data = folder.path().join("data.csv");
    fs::write(&data, "0,0,0,0,0,0,0").unwrap();
    let unread = "error: certificate: the checker does not read this network: node tanh6 (Tanh): this operator is not supported\nhint: what certificates hold";
    for (args, said) in [
        (&["--radius", "0.001,0.002"][..], "error: certificate: expected one radius, found 2\n"),
        (&[tanh, data.to_str().unwrap(), "--radius", "0.001", "--property", "prediction"], unread),
    ] {
        let all =
            ["certify", "--samples", "1", "--certificate", "file"].into_iter().chain(args.iter().copied());
        let output = Run::new(all).within(folder.path()).output();
        assert!(output.code == Some(2) && output.stderr.starts_with(said), "{output:?}");
        assert!(!folder.path().join("file").exists());
    }
    let real = ["certify", "--radius", "0.001", "--guarantee", "real-arithmetic", "--certificate", "file"];
    let output = Run::new(real).within(folder.path()).output();
    let said = "error: certificate: expected the guarantee rigorous, found real-arithmetic\n";
    assert!(output.code == Some(2) && output.stderr.starts_with(said), "{output:?}");
    let nowhere = ["certify", "--radius", "0.001", "--samples", "1", "--certificate", "no/such/file"];
    let output = Run::new(nowhere).within(folder.path()).output();
    assert!(output.code == Some(2) && output.stderr.starts_with("error: no/such/file: "), "{output:?}");
}

/// The archive of a result, by the name of its files.
fn archive(folder: &Path, more: &[&str]) -> (Option<i32>, String, Vec<(String, String)>) {
    let args =
        ["report", "result.json", "--evidence", "evidence.zip"].into_iter().chain(more.iter().copied());
    let output = Run::new(args).within(folder).output();
    let file = folder.join("evidence.zip");
    let mut files = Vec::new();
    if let Ok(bytes) = fs::read(&file) {
        for (name, bytes) in weightproof_formats::archive::files(&bytes).unwrap() {
            files.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
        fs::remove_file(&file).unwrap();
    }
    (output.code, output.stderr, files)
}

#[test]
fn evidence_is_one_archive() {
    let folder = tempfile::tempdir().unwrap();
    let args = "certify --radius 0.0005 --samples 5 --property deviation --tolerance 3 --json -o result.json --certificate a.wpc";
    let output = Run::new(args.split(' ')).within(folder.path()).output();
    assert_eq!(
        (output.code, fs::metadata(folder.path().join("result.json")).is_ok()),
        (Some(0), true),
        "{output:?}"
    );
    let text = fs::read_to_string(folder.path().join("result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (named, hash) = (&result["certificate"], |value: &serde_json::Value| value.as_str().map(str::len));
    assert_eq!((&named["path"], &named["records"]), (&"a.wpc".into(), &5.into()), "{named}");
    assert_eq!((&named["without_proof"], hash(&named["sha256"])), (&0.into(), Some(64)), "{named}");
    let deviations =
        result["samples"].as_array().unwrap().iter().map(|s| s["deviation_upper"].as_f64().unwrap());
    let largest = deviations.fold(0.0, f64::max);
    // A checker that is not ours tells what the archive makes of its answers.
    let checker = |name: &str, script: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(&path).status().unwrap().success());
        format!("./{name}")
    };
    let accepts = checker("accepts", "echo 'first line'; echo \"last line, $#\"");
    let with = |checker: &str| archive(folder.path(), &["--certificate", "a.wpc", "--checker", checker]);
    let (code, said, files) = with(&accepts);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let expected =
        ["evidence.html", "result.json", "model.onnx", "certificate.wpc", "checker.txt", "SHA256SUMS"];
    assert_eq!((code, &names[..]), (Some(0), &expected[..]), "{said}");
    let of = |name: &str| &files.iter().find(|(own, _)| own == name).unwrap().1;
    assert!(*of("result.json") == text && of("checker.txt").ends_with("last line, 3\n"));
    assert_eq!(of("SHA256SUMS").lines().count(), 5);
    let page = of("evidence.html");
    let shown = format!("data-field=\"evidence.deviation\" data-value=\"{largest}\"");
    assert!(
        page.contains(&shown) && page.contains("last line, 3") && page.contains("accepts every record"),
        "{shown}"
    );
    // Without a certificate the page says so; what the checker does not accept is no evidence.
    let (code, said, files) = archive(folder.path(), &[]);
    assert!(code == Some(0) && files.len() == 4 && files[0].1.contains("There is no certificate"), "{said}");
    let (code, _, files) = with(&checker("rejects", "echo 'sample 3: rejected'; exit 1"));
    assert!(code == Some(1) && files[0].1.contains("does not accept all records"));
    let (code, said, files) = with(&checker("fails", "echo 'error: of the model' >&2; exit 2"));
    assert_eq!((code, said.as_str(), files.len()), (Some(2), "error: checker: error: of the model\n", 0));
    let (code, said, _) = with("./none");
    assert!(
        code == Some(2) && said.starts_with("error: checker: ./none: ") && said.contains("hint: "),
        "{said}"
    );
}
