//! `train` as its users see it: files, resumption, interrupts, errors.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A small network on the embedded images, at a rate that does not depend on the number of epochs.
const SMALL: [&str; 10] = [
    "--data",
    "embedded",
    "--sizes",
    "784,16,12,10",
    "--validation",
    "100",
    "--decay",
    "constant",
    "--batch",
    "50",
];
/// How long a process may take before a test gives it up.
const PATIENCE: Duration = Duration::from_secs(300);

fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weightproof"));
    command.arg("train").arg("--output").arg(folder).args(SMALL).args(more);
    command
}

fn train(folder: &Path, more: &[&str]) -> Output {
    command(folder, more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_trained_network_is_written_read_and_certified() {
    let folder = tempfile::tempdir().unwrap();
    let loss =
        ["--objective", "cross-entropy", "--objective", "interval=0:0.5:0:2", "--adversary", "sam=0.01"];
    let more = ["--epochs", "3", "--radius", "0.001", "--radius-epochs", "2", "--learning-rate", "0.003"];
    let run = train(folder.path(), &[&loss[..], &more].concat());
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    assert!(text(&run.stdout).contains("held-out certified"), "{run:?}");
    assert!(text(&run.stderr).contains("epoch 3/3: loss "), "{run:?}");
    let result = json(&folder.path().join("result.json"));
    assert_eq!(result["schema"], "weightproof/train/1");
    assert_eq!(result["config"]["train"]["term"][1]["weight"]["to"], 0.5);
    assert_eq!(result["data"]["samples"], 1000);
    assert_eq!(result["summary"]["epoch"], 3);
    let share = |key: &str| result["summary"][key].as_f64().unwrap();
    assert!(
        share("validation_accuracy") > 0.6 && share("validation_certified") <= share("validation_accuracy")
    );
    let history = fs::read_to_string(folder.path().join("history.csv")).unwrap();
    let head = "epoch,learning_rate,radius,loss,train_accuracy,validation_accuracy,validation_certified,largest_weight,\
                cross-entropy,interval";
    assert_eq!((history.lines().next(), history.lines().count()), (Some(head), 4));
    for file in ["network.onnx", "network.safetensors"] {
        let mut certify = Command::new(env!("CARGO_BIN_EXE_weightproof"));
        certify.arg("certify").arg(folder.path().join(file));
        let images =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mnist-test-1000-images.idx3-ubyte.gz");
        certify.arg(images).args(["--samples", "50", "--radius", "0.0001", "--format", "json"]);
        let found: Value = serde_json::from_slice(&certify.output().unwrap().stdout).unwrap();
        assert!(found["summary"]["certified"].as_u64().unwrap() > 20, "{found}");
    }
    // The echoed settings make the same network again.
    let again = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weightproof"));
    command
        .args(["train", "--data", "embedded", "--quiet", "--config"])
        .arg(config)
        .arg("--output")
        .arg(again.path());
    let run = command.output().unwrap();
    assert!(run.status.success() && run.stderr.is_empty(), "{run:?}");
    let bytes = |folder: &Path| fs::read(folder.join("network.onnx")).unwrap();
    assert!(bytes(folder.path()) == bytes(again.path()));
}

#[test]
fn a_longer_run_goes_on_from_a_checkpoint_and_none_is_overwritten() {
    let (short, long) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(train(short.path(), &["--epochs", "2"]).status.success());
    let refused = train(short.path(), &["--epochs", "4"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = text(&refused.stderr);
    assert!(message.contains("there is a checkpoint of another run") && message.contains("hint: --resume"));
    let other = train(short.path(), &["--epochs", "4", "--resume", "--seed", "1"]);
    assert!(text(&other.stderr).contains("expected a checkpoint of these settings, found another seed"));
    assert!(train(short.path(), &["--epochs", "4", "--resume"]).status.success());
    assert!(train(long.path(), &["--epochs", "4", "--threads", "1"]).status.success());
    let bytes = |folder: &Path| fs::read(folder.join("network.safetensors")).unwrap();
    assert!(bytes(short.path()) == bytes(long.path()));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on_with_the_same_bits() {
    let (stopped, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let more = ["--epochs", "40"];
    let mut process =
        command(stopped.path(), &more).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let checkpoint = stopped.path().join("checkpoint.safetensors");
    let begin = Instant::now();
    while !checkpoint.exists() && process.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < PATIENCE, "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    let output = process.wait_with_output().unwrap();
    if killed.success() && output.status.code() == Some(130) {
        assert!(text(&output.stderr).contains("the checkpoint is written\nhint: "), "{output:?}");
    } else {
        assert!(output.status.success(), "{output:?}");
    }
    let resumed = train(stopped.path(), &[&more[..], &["--resume"]].concat());
    assert!(resumed.status.success(), "{resumed:?}");
    assert!(train(whole.path(), &more).status.success());
    let bytes = |folder: &Path| fs::read(folder.join("network.safetensors")).unwrap();
    assert!(bytes(stopped.path()) == bytes(whole.path()));
}

#[test]
fn errors_say_what_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bad.toml");
    fs::write(&config, "epochs = 2\nbatch = 'x'\n").unwrap();
    let config = config.to_str().unwrap();
    let out = folder.path().join("out");
    for (arguments, expected) in [
        (vec!["--objective", "crown"], "error: term: expected one of cross-entropy, "),
        (
            vec!["--objective", "interval=a"],
            "error: objective: expected a finite number of at least 0, found a",
        ),
        (
            vec!["--objective", "interval=1:2"],
            "error: objective: expected a weight, or FROM:TO:START:END, found 1:2",
        ),
        (vec!["--adversary", "sam"], "error: adversary: expected noise, sam, awp, pgd or input-pgd"),
        (vec!["--optimizer", "lbfgs"], "error: optimizer: expected sgd, adam or adamw, found lbfgs"),
        (
            vec!["--momentum", "0.9"],
            "error: momentum: expected the optimizer sgd, found another\nhint: --optimizer sgd",
        ),
        (
            vec!["--decay", "linear"],
            "error: decay: expected constant, cosine or step:FACTOR:EPOCH,…, found linear",
        ),
        (vec!["--radius", "nan"], "error: radius: expected a finite number of at least 0, found nan"),
        (vec!["--sizes", "784,0,10"], "error: sizes: expected whole numbers of at least 1, found 0"),
        (
            vec!["--sizes", "100,16,10"],
            "error: expected data of shape [100], found those embedded, of shape [28, 28]",
        ),
        (vec!["--sizes", "784,16,3"], "error: "),
        (vec!["--config", config], "error: "),
        (vec!["--learning-rate", "1e30", "--objective", "interval"], "error: epoch 1, batch "),
        (vec!["nowhere"], "error: nowhere: "),
        (
            vec![],
            "error: expected data to train on, found none\nhint: name a folder or file with data, or --data embedded for the 1,000",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weightproof"));
        command.args(["train", "--quiet", "--output"]).arg(&out).args(&arguments);
        if arguments.iter().any(|word| word.starts_with("--")) {
            command.args(["--data", "embedded"]);
        }
        let run = command.output().unwrap();
        let message = text(&run.stderr);
        assert!(run.status.code() == Some(2) && message.starts_with(expected), "{arguments:?}: {run:?}");
    }
}

#[test]
fn a_training_that_ends_at_chance_says_so_and_fails() {
    // So large that nothing can be learned from the first step on.
    let dead = [
        "--radius",
        "0.5",
        "--radius-epochs",
        "0",
        "--epochs",
        "1",
        "--objective",
        "interval",
        "--validation",
        "200",
    ];
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), &[]);
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    assert!(!text(&run.stdout).contains("chance"), "{run:?}");
    assert_eq!(json(&folder.path().join("result.json"))["at_chance"], Value::Null);
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weightproof"));
    command
        .args(["train", "--data", "embedded", "--sizes", "784,16,12,10", "--output"])
        .arg(folder.path())
        .args(dead);
    let run = command.output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let said = text(&run.stdout);
    assert!(
        said.contains("\nno better than chance: accuracy ") && said.contains("\nhint: a smaller --radius, "),
        "{said}"
    );
    let found = &json(&folder.path().join("result.json"))["at_chance"];
    assert_eq!((&found["samples"], &found["held_out"]), (&200.into(), &true.into()));
    assert!(folder.path().join("network.onnx").exists());
}

#[test]
fn worst_cases_rise_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let ramps = |more: &[&str]| {
        let folder = folder.path().join(more.concat());
        let loss = [
            "--objective",
            "cross-entropy=0.5",
            "--objective",
            "interval=0.25",
            "--epochs",
            "4",
            "--radius",
            "1e-4",
        ];
        let run = train(&folder, &[&loss[..], more].concat());
        assert!(run.status.code().is_some_and(|code| code < 2), "{run:?}");
        let config = &json(&folder.join("result.json"))["config"]["train"];
        (
            config["radius-ramp"].clone(),
            config["term"][0]["weight"].clone(),
            config["term"][1]["weight"].clone(),
        )
    };
    let line = |to: f64, end: f64| serde_json::json!({ "from": 0.0, "to": to, "start": 0.0, "end": end });
    assert_eq!(ramps(&[]), (line(1.0, 2.0), 0.5.into(), line(0.25, 2.0)));
    assert_eq!(ramps(&["--radius-epochs", "3"]), (line(1.0, 3.0), 0.5.into(), line(0.25, 3.0)));
    assert_eq!(ramps(&["--radius-epochs", "0"]), (1.0.into(), 0.5.into(), 0.25.into()));
}
