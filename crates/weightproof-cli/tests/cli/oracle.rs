//! `--oracle milp` in builds with HiGHS: both solvers settle every sample in the same way.
#![cfg(feature = "milp")]

use crate::snapshot;
use crate::snapshot::Run;
use serde_json::Value;

fn certify(more: &[&str]) -> snapshot::Output {
    let some = ["certify", "--method", "exact", "--oracle", "milp", "--offset", "36", "--samples", "8"];
    Run::new(some.iter().chain(more).copied()).output()
}

#[test]
fn search_and_solver_agree() {
    let output = certify(&["--radius", "0.0005,0.001", "--format", "json"]);
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    for result in report["results"].as_array().unwrap() {
        let (summary, oracle) = (&result["summary"], &result["summary"]["oracle"]);
        assert_eq!(
            (&oracle["verified"], &oracle["falsified"]),
            (&summary["certified"], &summary["falsified"])
        );
        assert_eq!((&oracle["unknown"], &oracle["contradicted"]), (&0.into(), &0.into()));
        for sample in result["samples"].as_array().unwrap() {
            assert_eq!(sample["oracle"]["verdict"], sample["verdict"], "{sample}");
        }
    }
    let text = certify(&["--radius", "0.001"]);
    assert!(text.stdout.contains("oracle: HiGHS\nverified  falsified"), "{text:?}");
}

#[test]
fn what_has_no_program_is_refused() {
    let refused = |more: &[&str], expected: &str| {
        let output = certify(&[&["--radius", "1"], more].concat());
        assert!(output.code == Some(2) && output.stderr.starts_with(expected), "{output:?}");
    };
    refused(
        &["--property", "deviation", "--tolerance", "1"],
        "error: oracle: expected the property label or prediction, found deviation\nhint: ",
    );
    refused(&["--threat", "frobenius"], "error: oracle: node ");
}
