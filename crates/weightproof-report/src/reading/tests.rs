use super::*;
use weightproof_testkit::damage::damaged;

fn run(samples: &str, summary: &str) -> String {
    format!(
        r#"{{"schema": "weightproof/certify/1", "partial": false,
        "model": {{"name": "m", "sha256": "00", "format": "onnx", "parameters": 3, "input_shape": [2], "outputs": 2, "layers": []}},
        "data": {{"description": "d", "format": "idx", "samples": 1, "offset": 0, "shape": [2], "labelled": true, "sha256": "11"}},
        "threat": {{"kind": "absolute", "unit": "weight", "radius": 0.1, "radii": [0.1], "bias_radius": null, "input_radius": 0.0,
        "input_range": null, "activation_radius": 0.0, "perturbed_layers": ["a"]}},
        "method": {{"name": "linear", "property": "label"}}, "guarantee": "real-arithmetic", "config": {{}},
        "summary": {summary}, "samples": [{samples}], "environment": {{}}, "a later field": 1}}"#
    )
}

const SAMPLE: &str = r#"{"index": 0, "label": 1, "predicted": 1, "margin": 1.0, "margin_lower": 0.5, "runner_up": 0, "verdict": "verified", "reason": null}"#;
const SUMMARY: &str = r#"{"samples": 1, "correct": 1, "accuracy": 1.0, "certified": 1, "certified_accuracy": 1.0, "mean_margin_lower": 0.5}"#;

fn error(text: &str) -> String {
    read("r.json", text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_result_is_read() {
    let Loaded::Run(run) = read("r.json", run(SAMPLE, SUMMARY).as_bytes()).unwrap() else { panic!() };
    assert_eq!((run.results[0].radius, run.results[0].samples[0].margin_lower), (Some(0.1), Some(0.5)));
}

#[test]
fn errors_name_the_file_and_what_was_found() {
    assert!(error("").contains("r.json: expected JSON, found an empty file"));
    let whole = run(SAMPLE, SUMMARY);
    assert!(
        error(&whole[..whole.len() / 2]).contains("r.json: expected JSON, found a file that was cut off")
    );
    assert!(error("radius,index\n1,2").contains("found something else"));
    assert!(error("[1, 2]").ends_with("found other JSON"), "{}", error("[1, 2]"));
    assert!(error("{}").ends_with("found an object without the field schema"));
    let newer = whole.replace("certify/1", "certify/2");
    assert!(error(&newer).ends_with("found weightproof/certify/2"));
    assert!(read("r", newer.as_bytes()).unwrap_err().hint().is_some_and(|h| h.contains("newer version")));
    assert!(error(&whole.replace("certify/1", "inspect/1")).ends_with("found weightproof/inspect/1"));
    assert!(
        error(&whole.replace("\"predicted\": 1, ", ""))
            .starts_with("r.json: missing field `predicted` at line")
    );
    assert!(error(&whole.replace("\"verified\"", "\"perhaps\"")).contains("perhaps"));
    let control = error(&whole.replace("weightproof/certify/1", "\\u001b[31mred"));
    assert!(!control.contains('\u{1b}'), "{control}");
}

#[test]
fn a_summary_must_not_contradict_its_samples() {
    let unknown = SAMPLE.replace("verified", "unknown");
    assert_eq!(
        error(&run(&unknown, SUMMARY)),
        "r.json: summary.certified at radius 0.1: expected 0, by the verdicts of the samples, found 1"
    );
    assert!(error(&run("", SUMMARY)).contains("summary.samples at radius 0.1: expected 0"));
    assert!(
        error(&run(SAMPLE, r#"{"samples": 1}"#))
            .contains("summary.certified_accuracy at radius 0.1: expected a number")
    );
}

#[test]
fn bytes_that_are_wrong_do_not_panic() {
    let whole = run(SAMPLE, SUMMARY).into_bytes();
    for k in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[k] = bytes[k].wrapping_add(k as u8 | 1);
        let _ = read("r.json", &bytes);
        let _ = read("r.json", &whole[..k]);
    }
}

/// A short fuzz: damaged results are read or refused with a message.
#[test]
fn mutated_results_never_panic() {
    let (mut errors, mut results) = (0, 0);
    for bytes in damaged(&run(SAMPLE, SUMMARY), 4000) {
        match read("r.json", &bytes) {
            Ok(_) => results += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let _ = error.hint();
                errors += 1;
            }
        }
    }
    assert!(errors > 1000 && results > 100, "both happen: {errors} {results}");
}
