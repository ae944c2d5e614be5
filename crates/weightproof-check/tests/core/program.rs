//! The program: exit codes, and what it prints.

use crate::writer::format::Property;
use crate::writer::*;
use std::process::Command;

#[test]
fn exit_codes_and_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let net = Net::layers(&[5, 10, 8, 3], &mut Stream(17));
    let threat = Threat::new(Kind::Absolute, 0.001);
    let mut stream = Stream(19);
    let records: Vec<_> = (0..4)
        .map(|sample| Bounder::new(&net, &threat).linear_record(sample, &stream.many(5, 1.0)))
        .collect();
    let mut header = header(&net, &threat, Property::Prediction);
    std::fs::write(path("model.onnx"), net.onnx()).unwrap();
    std::fs::write(path("good"), compressed(&lines(&header, &records))).unwrap();
    header.threat.radius = Some(double(&[0.5]));
    std::fs::write(path("larger"), compressed(&lines(&header, &records))).unwrap();

    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_weightproof-check")).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (good, model) = (path("good"), path("model.onnx"));
    let (code, out, error) = run(&[&good, "--model", &model]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("radius 0.00100000") && out.contains("4 records: "), "{out}");
    let (code, out, _) = run(&[&good, "--model", &model, "--explain", "2", "--threads", "1"]);
    assert!(
        code == 0 && out.contains("node 1 (n1): 20 ends by the interval step") && out.contains("sample 2: "),
        "{out}"
    );
    let (code, out, _) = run(&[&path("larger"), "--model", &model]);
    assert!(
        code == 1 && out.contains("rejected: set of node n1: radius of weight (0, 0): expected 0.500000"),
        "{out}"
    );
    for bad in [
        vec![&*good],
        vec![&good, "--model", &good],
        vec![&good, "--model", "missing"],
        vec!["missing", "--model", &model],
        vec![&good, "--model", &model, "--explain", "9"],
        vec![&good, "--model", &model, "--threads", "two"],
        vec![&good, "--model", &model, "--loud"],
    ] {
        let (code, _, error) = run(&bad);
        let is_refused = code == 2 && error.starts_with("error: ");
        // Another file than the model is a contradiction, not a file that cannot be read.
        assert!(
            is_refused || (code == 1 && bad.contains(&"--model") && bad[2] == good),
            "{bad:?}: {code} {error}"
        );
    }
    let (code, out, _) = run(&["--help"]);
    assert!(code == 0 && out.starts_with("usage: weightproof-check"));
}
