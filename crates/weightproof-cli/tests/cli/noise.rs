//! Random weights on the command line.

use crate::snapshot::Run;
use serde_json::Value;
use std::fs;

fn run(args: &[&str]) -> (Value, Option<i32>) {
    let output = Run::new(args.iter().chain(&["--json", "--quiet"]).copied()).output();
    let found = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (found, output.code)
}

const CERTIFY: [&str; 3] = ["certify", "--noise", "gaussian-of-max:0.01"];

/// The shares of theory.md §14.
#[test]
fn a_failure_probability_that_only_a_proof_can_see() {
    for (probability, share) in [("1e-2", 0.985), ("1e-6", 0.955), ("1e-9", 0.915)] {
        let (found, _) = run(&[&CERTIFY[..], &["-n", "200", "--failure-probability", probability]].concat());
        let summary = &found["summary"];
        assert!(summary["certified_accuracy"].as_f64().unwrap() >= share, "{probability}: {summary}");
        assert_eq!(found["guarantee"], "rigorous, with probability");
        let asked: f64 = probability.parse().unwrap();
        let samples = found["samples"].as_array().unwrap();
        for sample in samples {
            let (proved, margin) = (sample["failure_probability"].as_f64().unwrap(), &sample["margin_lower"]);
            assert!((0.0..=1.0).contains(&proved), "{sample}");
            if sample["verdict"] == "verified" {
                assert!(proved <= asked && margin.as_f64().unwrap() > 0.0, "{sample}");
            }
        }
        let lost: f64 = samples.iter().map(|s| s["failure_probability"].as_f64().unwrap()).sum();
        let expected = summary["expected_accuracy_at_least"].as_f64().unwrap();
        assert!((expected - (1.0 - lost / 200.0)).abs() < 1e-9, "{expected}");
        let together = &summary["jointly"];
        assert_eq!(together["samples"], summary["certified"]);
        assert!(together["failure_probability"].as_f64().unwrap() <= 200.0 * asked);
    }
}

#[test]
fn drawn_devices_agree_with_what_is_proved() {
    let noise = ["--noise", "gaussian-of-max:0.01", "-n", "60"];
    let (proved, _) = run(&[&["certify"][..], &noise, &["--failure-probability", "1e-3"]].concat());
    let (drawn, code) = run(&[&["attack"][..], &noise, &["--draws", "12"]].concat());
    assert_eq!(
        (drawn["schema"].as_str(), drawn["guarantee"].as_str()),
        (Some("weightproof/attack/1"), Some("estimate"))
    );
    let devices = &drawn["summary"]["devices"];
    let mean = devices["mean"].as_f64().unwrap();
    assert!(mean >= proved["summary"]["expected_accuracy_at_least"].as_f64().unwrap(), "{devices}");
    let (low, high) =
        (devices["mean_interval"][0].as_f64().unwrap(), devices["mean_interval"][1].as_f64().unwrap());
    assert!(low < mean && mean <= high && devices["draws"] == 12);
    let pairs = proved["samples"].as_array().unwrap().iter().zip(drawn["samples"].as_array().unwrap());
    for (proved, drawn) in pairs {
        // Twelve draws see no failure that is as rare as a thousandth.
        assert!(proved["verdict"] != "verified" || drawn["failures"] == 0, "{proved} {drawn}");
    }
    let broken = drawn["samples"].as_array().unwrap().iter().any(|s| s["verdict"] == "falsified");
    assert_eq!(code, Some(i32::from(broken)));
    let again = run(&[&["attack"][..], &noise, &["--draws", "12", "--threads", "1"]].concat()).0;
    assert_eq!(again["samples"], drawn["samples"], "devices are the same whatever the threads");
}

#[test]
fn the_largest_noise_that_samples_withstand() {
    let args = ["-n", "40", "--failure-probability", "1e-6"];
    let (found, code) =
        run(&[&["radius", "--noise", "gaussian-of-max", "--width", "0.05"][..], &args].concat());
    assert_eq!((code, found["guarantee"].as_str()), (Some(0), Some("rigorous, with probability")));
    let (at, _) = run(&[&["certify", "--noise", "gaussian-of-max:0.01"][..], &args].concat());
    let pairs = found["samples"].as_array().unwrap().iter().zip(at["samples"].as_array().unwrap());
    for (withstood, at) in pairs {
        let radius = withstood["certified_radius"].as_f64().unwrap();
        assert!(radius > 1e-4 && radius < 0.1, "{withstood}");
        // But for the width of the search.
        assert!(radius < 0.01 || at["verdict"] == "verified", "{withstood} {at}");
        assert!(radius > 0.0095 || at["verdict"] != "verified", "{withstood} {at}");
    }
    let refused = Run::new(["radius", "-n", "2", "--noise", "stochastic:int8"]).output();
    assert!(refused.code == Some(2) && refused.stderr.contains("fixed step"), "{refused:?}");
}

#[test]
fn files_tables_and_pages() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("noise.toml"),
        "kind = \"gaussian-relative\"\nsigma = 0.02\nbiases = false\n[layer.dense4]\nsigma = 0.01\n",
    )
    .unwrap();
    let args = ["certify", "--noise", "noise.toml", "--failure-probability", "1e-6", "-n", "20", "--quiet"];
    let within = |more: &[&str]| Run::new(args.iter().chain(more).copied()).within(folder.path()).output();
    let csv = within(&["--format", "csv"]).stdout;
    assert!(csv.lines().next().unwrap().ends_with("deviation_upper,failure_probability"), "{csv}");
    let text = within(&[]).stdout;
    assert!(text.contains("noise     gaussian-relative, 0.02 (deviation relative to each weight)"), "{text}");
    assert!(text.contains("weights of dense1, dense2, dense3, dense4, each on its own"), "{text}");
    assert!(
        text.contains("layer dense4 has 0.01") && text.contains("in the mean over devices, at least"),
        "{text}"
    );
    within(&["--json", "-o", "result.json"]);
    let page =
        Run::new(["report", "result.json", "-o", "page.html", "--quiet"]).within(folder.path()).output();
    assert_eq!(page.code, Some(0), "{page:?}");
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("rigorous, with probability") && page.contains("noise:gaussian-relative"));
    // A set beside it is chosen first, and costs its part.
    let lower = |more: &[&str]| {
        let found: Value = serde_json::from_str(&within(&[&["--json"], more].concat()).stdout).unwrap();
        found["summary"]["mean_margin_lower"].as_f64().unwrap()
    };
    let (alone, both) = (lower(&[]), lower(&["--radius", "0.0002"]));
    assert!(both < alone && both > alone - 4.0, "{alone} {both}");
    // A journal goes on.
    let journal = ["--json", "--journal", "journal"];
    assert_eq!(without_time(&within(&journal).stdout), without_time(&within(&journal).stdout));
    assert_eq!(fs::read_to_string(folder.path().join("journal")).unwrap().lines().count(), 21);
}

/// Drift at several times: a row of the table for each, which is worse the later it is; drawn devices beside it; one page of both.
#[test]
fn weights_that_drift() {
    let folder = tempfile::tempdir().unwrap();
    let drift = "kind = \"gaussian-of-max\"\nsigma = 0.005\n[drift]\nmean = 0.05\nspread = 0.002\n";
    fs::write(folder.path().join("drift.toml"), drift).unwrap();
    let within = |args: &[&str]| {
        let shared = ["--noise", "drift.toml", "--time", "1s,1h,1d", "-n", "40", "--quiet"];
        Run::new(args.iter().chain(&shared).copied()).within(folder.path()).output()
    };
    let text = within(&["certify"]).stdout;
    assert!(text.contains("ν Gaussian with mean 0.05 and deviation 0.002, clipped from 0"), "{text}");
    assert!(
        text.contains("the mean of every layer is scaled back")
            && text.contains("\n   1d ")
            && text.contains("not certified 1d after the first reading"),
        "{text}"
    );
    assert_eq!(within(&["certify", "--json", "-o", "proved.json"]).code, Some(1));
    assert!(within(&["attack", "--draws", "4", "--json", "-o", "drawn.json"]).code.is_some());
    let of = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let (proved, drawn) = (of("proved.json"), of("drawn.json"));
    assert_eq!(proved["threat"]["unit"], "seconds after the first reading");
    let shares: Vec<f64> = (0..3)
        .map(|k| {
            let (at, beside) = (&proved["results"][k], &drawn["results"][k]);
            assert_eq!(at["radius"], beside["radius"]);
            let mean = beside["summary"]["devices"]["mean"].as_f64().unwrap();
            assert!(mean >= at["summary"]["expected_accuracy_at_least"].as_f64().unwrap());
            at["summary"]["certified_accuracy"].as_f64().unwrap()
        })
        .collect();
    assert!(shares[0] > shares[2] && shares[1] > 0.5, "{shares:?}");
    let report = Run::new(["report", "proved.json", "drawn.json", "-o", "page.html", "--quiet"]);
    assert_eq!(report.within(folder.path()).output().code, Some(0));
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    for expected in [
        "Accuracy over time",
        "accuracy in the mean over drawn devices",
        "Every time is a statement of its own",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(!page.contains("one covers all smaller radii"));
    // Devices with the parameters of the simulator.
    fs::write(
        folder.path().join("pcm.toml"),
        "kind = \"pcm\"\nbiases = false\n[pcm]\nprogramming-scale = 0.2\nread-scale = 0.1\n",
    )
    .unwrap();
    let pcm = Run::new(["certify", "--noise", "pcm.toml", "--time", "0s", "-n", "20", "--quiet", "--json"]);
    let found: Value = serde_json::from_str(&pcm.within(folder.path()).output().stdout).unwrap();
    assert!(found["summary"]["certified_accuracy"].as_f64().unwrap() > 0.5, "{}", found["summary"]);
}

/// A network trained with the objective, and what its report says about the certified accuracy.
#[test]
fn training_against_random_weights() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "epochs = 4\nbatch = 32\n[network]\nsizes = [784, 32, 10]\n[threat]\nradius = 0.0\n\
                    noise = { sigma = 0.03, failure-probability = 1e-6 }\n[[term]]\nobjective = \"noise-certified\"\n\
                    [optimizer]\nkind = \"adam\"\n[learning-rate]\nrate = 3e-3\n[validation]\nsamples = 200\n";
    fs::write(folder.path().join("noise.toml"), settings).unwrap();
    let train =
        Run::new(["train", "--data", "embedded", "--config", "noise.toml", "--output", "net", "--quiet"]);
    let text = train.within(folder.path()).output().stdout;
    let expected = "(rigorous, with probability, linear, noise of 0.03 of the largest weight of each layer, failure probability 1e-6)";
    assert!(text.contains(expected), "{text}");
    let wrong = settings.replace("0.03", "-1.0");
    fs::write(folder.path().join("noise.toml"), wrong).unwrap();
    let train =
        Run::new(["train", "--data", "embedded", "--config", "noise.toml", "--output", "other", "--quiet"]);
    let output = train.within(folder.path()).output();
    assert!(output.code == Some(2) && output.stderr.contains("threat.noise: sigma"), "{output:?}");
}

fn without_time(text: &str) -> Value {
    let mut found: Value = serde_json::from_str(text).unwrap();
    found["environment"] = Value::Null;
    found
}

#[test]
fn what_has_no_answer_is_refused_by_name() {
    for (words, expected) in [
        (&["--noise", "gauss:1"][..], "noise: expected one of gaussian,"),
        (&["--noise", "gaussian"], "hint: --noise gaussian:0.01"),
        (&["--noise", "gaussian:-1"], "at least 0, found -1"),
        (&["--noise", "gaussian:1", "--input-radius", "0.1"], "hint: leave out --input-radius"),
        (
            &["--noise", "gaussian:1", "--method", "exact"],
            "expected the method interval, linear or optimized, found exact",
        ),
        (&["--noise", "gaussian:1", "--method", "norm-product"], "hint: --method linear"),
        (&["--noise", "gaussian:1", "--certificate", "a.wpc"], "no certificate file with noise"),
        (&["--noise", "gaussian:1", "--failure-probability", "2"], "failure probability: expected a number"),
        (&["--noise", "gaussian:1", "--layers", "dense9"], "`weightproof inspect MODEL` lists the layers"),
        (&["--failure-probability", "1e-3", "--radius", "0.1"], "--noise"),
        (&["--noise", "gaussian:1", "--time", "1h"], "time: expected noise with [drift]"),
        (&["--noise", "pcm"], "hint: --time 1s,1h,1d,1y"),
        (&["--noise", "pcm", "--time", "1"], "units s, min, h, d or y, found 1"),
        (&["--noise", "pcm", "--time", "1s", "--radius", "0.1"], "hint: leave out --radius and --threat"),
        (&["--noise", "pcm", "--time", "1s", "--property", "prediction"], "expected label"),
    ] {
        let output = Run::new(["certify", "-n", "2"].iter().chain(words).copied()).output();
        assert_eq!(output.code, Some(2), "{words:?} {output:?}");
        assert!(output.stderr.contains(expected), "{words:?}: {}", output.stderr);
    }
    for (words, expected) in [
        (&["--noise", "gaussian:1", "--witness", "folder"][..], "witness: expected none with noise"),
        (&["--noise", "gaussian:1", "--radius", "0.1"], "no other perturbation beside drawn weights"),
    ] {
        let output = Run::new(["attack", "-n", "2"].iter().chain(words).copied()).output();
        assert!(output.code == Some(2) && output.stderr.contains(expected), "{words:?}: {}", output.stderr);
    }
}
