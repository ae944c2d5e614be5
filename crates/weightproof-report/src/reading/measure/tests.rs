use crate::reading::{Loaded, MeasureFile, ReadError, read};
use serde_json::{Value, json};

/// What `measure` wrote for two small networks, 20 training and 20 held-out samples.
const RESULT: &str = include_str!("../../../../weightproof-cli/tests/results/measure.json");

fn result() -> Value {
    serde_json::from_str(RESULT).unwrap()
}

fn file(result: &Value) -> Result<Box<MeasureFile>, ReadError> {
    match read("m.json", result.to_string().as_bytes())? {
        Loaded::Measure(file) => Ok(file),
        Loaded::Run(_) | Loaded::Train(_) | Loaded::Experiment(_) | Loaded::Faults(_) => panic!(),
    }
}

#[test]
fn a_result_is_read() {
    let json = result();
    let file = file(&json).unwrap();
    assert_eq!((file.file.as_str(), file.results.len(), file.model.layers.len()), ("m.json", 2, 4));
    assert_eq!(
        file.results[1].rademacher.as_ref().unwrap().bound,
        json["results"][1]["rademacher"]["bound"].as_f64()
    );
    assert_eq!(file.errors.held_out, json["errors"]["held_out"].as_f64());
    assert!(file.utilization.is_some() && file.ensemble.is_some() && file.compression.is_some());
}

#[test]
fn fields_that_are_missing_or_of_another_schema_are_errors() {
    for (place, field) in [
        ("", "delta"),
        ("", "errors"),
        ("", "results"),
        ("/errors", "gap"),
        ("/measures/0", "value"),
        ("/results/0", "radius"),
        ("/results/0/rademacher", "bound"),
        ("/results/0/rademacher/layers/2", "row_norm_reached"),
        ("/utilization/layers/0", "reset_error"),
        ("/ensemble/results/0/squared", "variance"),
        ("/compression/layers/0", "noise_bound"),
    ] {
        let mut json = result();
        json.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        let error = file(&json).unwrap_err().to_string();
        assert!(error.starts_with(&format!("m.json: missing field `{field}`")), "{error}");
    }
    let newer = RESULT.replace("measure/1", "measure/2");
    let error = read("m.json", newer.as_bytes()).unwrap_err();
    assert!(error.to_string().ends_with("found weightproof/measure/2"), "{error}");
}

#[test]
fn numbers_that_contradict_are_errors() {
    for (place, wrong, expected) in [
        ("/delta", json!(1.5), "delta: expected a number between 0 and 1, found 1.5"),
        ("/errors/training", json!(1.25), "errors.training: expected a share between 0 and 1, found 1.25"),
        ("/errors/gap", json!(0.75), "errors.gap: expected"),
        ("/train_data", json!(null), "errors.held_out: expected null without train_data"),
        (
            "/measures/0/guarantee",
            json!("certain"),
            "guarantee of parameters: expected rigorous, real-arithmetic, estimate or measured, found certain",
        ),
        ("/measures/0/value", json!(null), "parameters: expected a number or a refusal, found neither"),
        ("/measures/0/refusal", json!("no"), "parameters: expected a number or a refusal, found both"),
        ("/results", json!([]), "results: expected at least the unperturbed network, found none"),
        (
            "/results/0/radius",
            json!(0.5),
            "results: the first radius: expected 0, the unperturbed network, found 0.5",
        ),
        ("/results/1/radius", json!(-1.0), "radius: expected a number of at least 0, found -1"),
        (
            "/results/1/rademacher",
            json!(null),
            "rademacher at radius 0.001: expected a number or a refusal, found neither",
        ),
        ("/results/1/rademacher/bound", json!(0.5), "rademacher.bound at radius 0.001: expected"),
        ("/results/1/rademacher/capacity", json!(0.5), "rademacher.bound at radius 0.001: expected"),
        (
            "/results/1/rademacher/vacuous",
            json!(false),
            "rademacher.vacuous at radius 0.001: expected true, for the bound",
        ),
        (
            "/results/1/rademacher/samples",
            json!(21),
            "rademacher.samples at radius 0.001: expected 20, the number of training samples, found 21",
        ),
        (
            "/results/1/rademacher/layers",
            json!([]),
            "rademacher.layers at radius 0.001: expected the 4 layers of the first bound",
        ),
        (
            "/results/1/rademacher/layers/0/row_norm_reached",
            json!(0.5),
            "rademacher.row_norm_reached of dense1 at radius 0.001: expected at least row_norm",
        ),
        (
            "/utilization/layers/0/reset_error",
            json!(2.0),
            "utilization.reset_error of dense1: expected a share",
        ),
        ("/ensemble/members", json!(1), "ensemble.members: expected at least 2, found 1"),
        ("/ensemble/results/0/squared/loss", json!(0.5), "ensemble.squared.loss at radius 0: expected"),
        (
            "/compression/layers/0/rank",
            json!(1000),
            "compression.rank of dense1: expected at most its 128 components, found 1000",
        ),
        ("/compression", json!(null), "compression: expected a number or a refusal, found neither"),
    ] {
        let mut json = result();
        match json.pointer_mut(place) {
            Some(value) => *value = wrong,
            None => json["measures"][0]["refusal"] = wrong,
        }
        let error = file(&json).unwrap_err().to_string();
        assert!(error.starts_with(&format!("m.json: {expected}")), "{place}: {error}");
    }
}

#[test]
fn bytes_that_are_wrong_do_not_panic() {
    let whole = result().to_string().into_bytes();
    for k in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[k] = bytes[k].wrapping_add(k as u8 | 1);
        let _ = read("m.json", &bytes);
        let _ = read("m.json", &whole[..k]);
    }
}
