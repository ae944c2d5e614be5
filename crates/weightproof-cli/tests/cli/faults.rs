//! Faults in memory on the command line.

use crate::snapshot::Run;
use serde_json::Value;
use std::fs;

fn json(more: &[&str]) -> Value {
    let args = ["faults", "--storage", "int8", "-n", "40", "--json", "--quiet"];
    let output = Run::new(args.iter().chain(more).copied()).output();
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn sum(list: &Value, field: &str) -> u64 {
    list.as_array().unwrap().iter().map(|item| item[field].as_u64().unwrap()).sum()
}

#[test]
fn counts_agree_with_each_other_and_what_is_recommended_protects_all() {
    let found = json(&[]);
    let summary = &found["summary"];
    assert_eq!(found["schema"], "weightproof/faults/1");
    assert_eq!(found["guarantee"], "rigorous");
    assert_eq!(found["threat"]["faults"]["storage"], "int8");
    // Eight flips of each of 111,146 weights and biases.
    assert_eq!(summary["hits_per_sample"], 8 * 111_146);
    assert_eq!(summary["hits"], 40 * 8 * 111_146);
    assert_eq!(summary["breaking"].as_u64().unwrap(), sum(&found["by_bit"], "breaking"));
    assert_eq!(summary["breaking"].as_u64().unwrap(), sum(&found["samples"], "breaking"));
    let certified = summary["certified"].as_u64().unwrap();
    assert!(certified > 20 && certified < 40, "{summary}");
    let verified = found["samples"].as_array().unwrap().iter().filter(|s| s["verdict"] == "verified");
    assert_eq!(verified.count() as u64, certified);
    // Every sample that is right without faults is certified at the end of the list, and then indeed.
    let steps = found["protection"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["certified"], summary["correct"]);
    let protect: Vec<String> = steps
        .iter()
        .flat_map(|step| ["--protect".into(), format!("{}:{}", step["layer"].as_str().unwrap(), step["bit"])])
        .collect();
    let protect: Vec<&str> = protect.iter().map(String::as_str).collect();
    let protected = json(&protect);
    assert_eq!(protected["summary"]["certified"], summary["correct"]);
    assert_eq!(protected["summary"]["breaking"], 0);
    // Without the last one, something breaks.
    let less = json(&protect[..protect.len() - 2]);
    assert!(less["summary"]["breaking"].as_u64().unwrap() > 0);
}

#[test]
fn settings_of_a_file_and_all_critical_hits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    fs::write(&file, "storage = \"int4\"\nfault = \"stuck-at-0\"\nlayers = [\"dense4\"]\nbiases = false\n")
        .unwrap();
    let args =
        ["faults", "--faults", "faults.toml", "-n", "30", "--critical", "hits.csv", "--json", "--quiet"];
    let output = Run::new(args).within(folder.path()).output();
    let found: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(found["summary"]["words"], 320);
    assert_eq!(output.code, Some(1));
    let hits = fs::read_to_string(folder.path().join("hits.csv")).unwrap();
    let broken: u64 =
        hits.lines().skip(1).map(|l| l.split(',').nth(7).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(found["summary"]["breaking"].as_u64().unwrap(), broken);
    assert!(broken > 0 && hits.lines().skip(1).all(|l| l.starts_with("dense4,") && l.contains("1→0")));
    // What the command line says takes precedence; all bits protected, nothing is left to hit.
    let output = Run::new(args.iter().chain(&["--protect", "all"]).copied()).within(folder.path()).output();
    let found: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(found["summary"]["hits"], 0);
    assert_eq!(found["summary"]["certified"], found["summary"]["correct"]);
    let text = Run::new(["faults", "-n", "3", "--protect", "all", "--quiet"]).output().stdout;
    assert!(text.contains("no single hit breaks a sample") && !text.contains("critical"), "{text}");
}

#[test]
fn the_curve_over_words_agrees_with_its_samples_and_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let within = |args: &[&str]| Run::new(args.iter().copied()).within(folder.path()).output();
    let ask = ["faults", "--storage", "int8", "-n", "16", "--words", "3", "--max-nodes", "3", "--quiet"];
    within(&[&ask[..], &["--json", "-o", "faults.json"]].concat());
    let text = fs::read_to_string(folder.path().join("faults.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    let samples = found["samples"].as_array().unwrap();
    let curve = found["by_words"].as_array().unwrap();
    assert_eq!(curve.len(), 3);
    for (at, words) in curve.iter().zip(1..) {
        let certified = samples.iter().filter(|s| s["certified_words"].as_u64().unwrap() >= words).count();
        let broken = samples.iter().filter(|s| s["broken_words"].as_u64().is_some_and(|n| n <= words));
        let broken = broken.count();
        assert_eq!(
            (at["certified"].as_u64(), at["broken"].as_u64()),
            (Some(certified as u64), Some(broken as u64))
        );
        assert!(certified + broken <= 16);
        assert!(at["broken_by_gradient"].as_u64().unwrap() <= broken as u64, "{at}");
    }
    let single = Run::new(["faults", "--storage", "int8", "-n", "16", "--json", "--quiet"]).output();
    let single: Value = serde_json::from_str(&single.stdout).unwrap();
    assert_eq!(single["summary"]["certified"], curve[0]["certified"]);
    assert_eq!(found["summary"]["certified"], curve[2]["certified"]);
    // Single hits are the same whatever is asked of several.
    assert_eq!(single["by_bit"], found["by_bit"]);
    let several = samples.iter().filter_map(|s| s["broken_by"].as_str()).filter(|hits| hits.contains("; "));
    assert!(several.count() > 0, "{text:.2000}");
    assert_eq!(within(&["report", "faults.json", "-o", "page.html", "--figures", "figures"]).code, Some(0));
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("id=\"curve\"") && folder.path().join("figures/fault-words.svg").is_file());
    let wrong = text.replacen("\"broken_by_gradient\"", "\"by_gradient\"", 1);
    fs::write(folder.path().join("faults.json"), wrong).unwrap();
    assert_eq!(within(&["report", "faults.json", "-o", "page.html"]).code, Some(2));
}

#[test]
fn a_run_with_a_journal_goes_on_and_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let ask = [
        "faults",
        "--storage",
        "int4",
        "-n",
        "20",
        "--words",
        "2",
        "--max-nodes",
        "2",
        "--batch=4",
        "--json",
    ];
    let answer = |more: &[&str]| {
        let output = Run::new(ask.iter().chain(more).copied()).within(folder.path()).output();
        let mut found: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        found.as_object_mut().unwrap().remove("environment");
        found
    };
    let (without, begun) = (answer(&[]), answer(&["--journal", "journal"]));
    assert_eq!(without, begun);
    let path = folder.path().join("journal");
    let whole = fs::read_to_string(&path).unwrap();
    assert!(whole.lines().count() > 8, "{}", whole.lines().count());
    // Killed behind the seventh line, and in the middle of the eighth.
    let cut = whole.match_indices('\n').nth(6).unwrap().0 + 30;
    fs::write(&path, &whole[..cut]).unwrap();
    assert_eq!(answer(&["--journal", "journal"]), without);
    let output = Run::new(["faults", "--storage", "int8", "-n", "20", "--journal", "journal"]);
    let output = output.within(folder.path()).output();
    assert!(output.code == Some(2) && output.stderr.contains("found that of another: faults"), "{output:?}");
}

/// `certify --faults`: what is proved by bounds alone is proved by the exact answers too; inputs may move; what has no rule is refused.
#[test]
fn faults_beside_a_box_of_inputs_are_certified_by_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let toml = |name: &str, words: u32| {
        let text = format!("storage = \"int8\"\nwords = {words}\nprotect = [{{ bits = [6, 7] }}]\n");
        fs::write(folder.path().join(name), text).unwrap();
    };
    fs::write(folder.path().join("floats.toml"), "storage = \"bf16\"\n").unwrap();
    toml("one.toml", 1);
    toml("two.toml", 2);
    let within = |args: &[&str]| Run::new(args.iter().copied()).within(folder.path()).output();
    let certified = |args: &[&str]| {
        let output = within(&[&["certify", "-n", "30", "--json", "--quiet"], args].concat());
        let found: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(found["guarantee"], "rigorous");
        assert_eq!(found["threat"]["faults"]["storage"], "int8");
        let samples = found["samples"].as_array().unwrap().clone();
        samples.iter().map(|s| s["verdict"] == "verified").collect::<Vec<bool>>()
    };
    let (one, two) = (certified(&["--faults", "one.toml"]), certified(&["--faults", "two.toml"]));
    let moved = certified(&["--faults", "two.toml", "--input-radius", "0.002"]);
    let ask = ["faults", "--storage", "int8", "--protect", "6,7", "-n", "30", "--json", "--quiet"];
    let exact: Value = serde_json::from_str(&within(&ask).stdout).unwrap();
    let exact: Vec<bool> =
        exact["samples"].as_array().unwrap().iter().map(|s| s["verdict"] == "verified").collect();
    let count = |all: &[bool]| all.iter().filter(|c| **c).count();
    for (less, more) in [(&one, &exact), (&two, &one), (&moved, &two)] {
        assert!(less.iter().zip(more).all(|(less, more)| *more || !less));
    }
    assert!(
        count(&moved) > 2 && count(&two) > count(&moved) && count(&one) > 20,
        "{} {} {}",
        count(&moved),
        count(&two),
        count(&one)
    );
    for (more, expected) in [
        (&["--method", "exact"][..], "method: expected interval, linear-interval or linear for faults"),
        (&["--method", "norm-product"], "method: expected interval, linear-interval or linear for faults"),
        (&["--radius", "0.001"], "threat: expected weights that do not move beside faults"),
        (
            &["--certificate", "c.wpc", "--bias-radius", "0.001"],
            "certificate: expected weights and biases that do not move beside hits",
        ),
        (&["--certificate", "c.wpc", "--faults", "floats.toml"], "certificate: expected bits of integers"),
    ] {
        let faults = if more.contains(&"--faults") { &[][..] } else { &["--faults", "one.toml"] };
        let output = within(&[&["certify", "-n", "1"], faults, more].concat());
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(expected), "{expected}: {}", output.stderr);
    }
}

/// `attack --faults` and `radius --faults` say what `faults --words` says; what does not combine is refused.
#[test]
fn attacks_and_radii_are_those_of_faults() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("two.toml"), "storage = \"int8\"\nwords = 2\n").unwrap();
    let json = |args: &[&str]| {
        let args = [args, &["-n", "40", "--json", "--quiet"]].concat();
        let output = Run::new(args.iter().copied()).within(folder.path()).output();
        let found: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        found
    };
    let faults = json(&["faults", "--storage", "int8", "--words", "2"]);
    let radius = json(&["radius", "--faults", "two.toml", "--journal", "journal"]);
    let attack = json(&["attack", "--faults", "two.toml"]);
    assert_eq!(radius["threat"], faults["threat"]);
    let samples = |found: &Value| found["samples"].as_array().unwrap().clone();
    let mut broken = 0;
    for ((exact, radius), attack) in samples(&faults).iter().zip(samples(&radius)).zip(samples(&attack)) {
        assert_eq!(exact["certified_words"].as_f64(), radius["certified_radius"].as_f64());
        assert_eq!(exact["broken_words"].as_f64(), radius["attacked_radius"].as_f64());
        let hits = attack["hits"].as_array().map_or(0, Vec::len);
        if attack["verdict"] == "falsified" {
            assert!(exact["broken_words"].as_u64() == Some(hits as u64), "{exact} {attack}");
            assert!(attack["worst_margin"].as_f64().unwrap() <= 0.0);
            broken += 1;
        } else {
            assert!(attack["worst_margin"].as_f64().unwrap() < attack["margin"].as_f64().unwrap());
        }
    }
    let robust = attack["summary"]["robust"].as_u64().unwrap();
    assert!(broken > 3 && robust > 3 && broken + robust == 40, "{broken} {robust}");
    let curve = radius["summary"]["curve"].as_array().unwrap();
    assert_eq!(curve.len(), 2);
    assert_eq!(curve[1]["certified_accuracy"], faults["by_words"][1]["certified_accuracy"]);
    assert_eq!(curve[1]["accuracy_under_attack"], faults["by_words"][1]["attacked_accuracy"]);
    // All are in the journal.
    let again = json(&["radius", "--faults", "two.toml", "--journal", "journal"]);
    assert_eq!(again["samples"], radius["samples"]);
    for command in ["attack", "radius"] {
        let ask = |more: &[&str]| json(&[&[command, "--faults", "two.toml", "--batch", "20"], more].concat());
        for part in ["1/2", "2/2"] {
            fs::write(folder.path().join(&part[..1]), ask(&["--shard", part]).to_string()).unwrap();
        }
        let merged = Run::new(["merge", "1", "2", "--format", "json"]).within(folder.path()).output();
        let mut merged: Value = serde_json::from_str(&merged.stdout).unwrap_or_else(|_| panic!("{merged:?}"));
        let mut whole = ask(&[]);
        for report in [&mut merged, &mut whole] {
            report.as_object_mut().unwrap().remove("environment");
        }
        assert_eq!(merged, whole, "{command}");
    }
    for (command, more, expected) in [
        ("attack", &["--radius", "0.001"][..], "threat: expected weights that do not move beside faults"),
        ("attack", &["--input-radius", "0.01"], "input-radius: expected 0 with an attack by hits"),
        ("attack", &["--attack", "universal"], "attack: expected none with faults"),
        ("attack", &["--steps", "7"], "steps: expected none with faults"),
        ("attack", &["--witness", "folder"], "witness: expected none with faults"),
        (
            "attack",
            &["--property", "deviation", "--tolerance", "1"],
            "property: expected label or prediction",
        ),
        ("radius", &["--by-layer"], "by-layer: expected none with faults"),
        ("radius", &["--method", "exact"], "method: expected none with faults"),
        ("radius", &["--no-attack"], "no-attack: expected none with faults"),
        ("radius", &["--max-memory", "1G"], "max-memory: expected none with faults"),
        ("radius", &["--activation-radius", "0.01"], "activation-radius: expected 0 with faults"),
        ("radius", &["--bias-radius", "0.01"], "threat: expected parameters that do not move beside faults"),
    ] {
        let args = [&[command, "-n", "1", "--faults", "two.toml"], more].concat();
        let output = Run::new(args.iter().copied()).within(folder.path()).output();
        assert_eq!(output.code, Some(2), "{args:?} {output:?}");
        assert!(output.stderr.contains(expected), "{expected}: {}", output.stderr);
    }
}

#[test]
fn what_has_no_answer_is_refused_by_name() {
    for (words, expected) in [
        (&["--words", "0"][..], "words: expected 1 to 64, found 0"),
        (&["--storage", "int99"], "integer quantization: expected 2 to 16 bits, found 99"),
        (&["--storage", "posit8"], "storage: expected file,"),
        (&["--layers", "dense9"], "layer dense9: expected one of dense1, dense2, dense3, dense4"),
        (&["--protect", "top"], "protect: expected bits such as 6,7"),
        (
            &["--property", "deviation", "--tolerance", "1"],
            "property: expected label or prediction for faults",
        ),
        (&["--storage", "int8", "--at", "8"], "bit 8: expected positions"),
        (&["--storage", "fp32", "--bits", "5"], "bits: expected at most"),
    ] {
        let output = Run::new(["faults", "-n", "1"].iter().chain(words).copied()).output();
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(expected), "{expected}: {}", output.stderr);
    }
}

#[test]
fn a_page_shows_bits_words_and_protection_of_a_result_that_agrees_with_itself() {
    let folder = tempfile::tempdir().unwrap();
    let within = |args: &[&str]| Run::new(args.iter().copied()).within(folder.path()).output();
    within(&["faults", "--storage", "int8", "-n", "40", "--json", "-o", "faults.json"]);
    let report = ["report", "faults.json", "-o", "page.html", "--figures", "figures"];
    let output = within(&report);
    assert_eq!(output.code, Some(0), "{output:?}");
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    let text = fs::read_to_string(folder.path().join("faults.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    let certified = found["summary"]["certified_accuracy"].as_f64().unwrap();
    assert!(page.contains(&format!("data-field=\"certified_accuracy\" data-value=\"{certified}\"")));
    for part in ["id=\"bits\"", "id=\"words\"", "id=\"protection\"", "dense4"] {
        assert!(page.contains(part), "{part}");
    }
    for figure in ["fault-bits.svg", "fault-protection.svg"] {
        assert!(folder.path().join("figures").join(figure).is_file(), "{figure}");
    }
    let breaking = format!("\"breaking\":{}", found["summary"]["breaking"]);
    for (from, to) in [
        (breaking.as_str(), "\"breaking\":7"),
        ("\"bit\":7", "\"bit\":32"),
        ("\"verdict\":\"verified\"", "\"verdict\":\"falsified\""),
    ] {
        fs::write(folder.path().join("faults.json"), text.replacen(from, to, 1)).unwrap();
        assert_eq!(within(&report).code, Some(2), "{from}");
    }
}
