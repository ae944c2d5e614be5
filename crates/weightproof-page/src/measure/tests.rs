use crate::Page;
use serde_json::{Value, json};
use weightproof_report::reading::read;

/// What `measure` wrote for two small networks, 20 training and 20 held-out samples.
const RESULT: &str = include_str!("../../../weightproof-cli/tests/results/measure.json");

fn result() -> Value {
    serde_json::from_str(RESULT).unwrap()
}

fn page(result: &Value) -> String {
    Page::new(&[read("m.json", result.to_string().as_bytes()).unwrap()]).html()
}

/// The numbers of the page that show a field, in order.
fn shown(page: &str, field: &str) -> Vec<f64> {
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let of_field = page.split('<').filter(|tag| attribute(tag, "data-field").as_deref() == Some(field));
    of_field.filter_map(|tag| attribute(tag, "data-value")).map(|v| v.parse().unwrap()).collect()
}

/// The numbers at a place of the file; `*` stands for every entry of a list.
fn at(json: &Value, place: &str) -> Vec<f64> {
    let step = |values: Vec<Value>, part: &str| match part {
        "*" => values.iter().flat_map(|v| v.as_array().unwrap().clone()).collect(),
        _ => values.iter().map(|v| v.pointer(&format!("/{part}")).unwrap().clone()).collect(),
    };
    place.split('/').fold(vec![json.clone()], step).iter().filter_map(Value::as_f64).collect()
}

#[test]
fn numbers_on_the_page_are_those_of_the_file() {
    let json = result();
    let page = page(&json);
    for (field, place) in [
        ("errors.training", "errors/training"),
        ("errors.held_out", "errors/held_out"),
        ("errors.gap", "errors/gap"),
        ("rademacher-bound", "results/*/rademacher/bound"),
        ("rademacher.gamma", "results/*/rademacher/gamma"),
        ("rademacher.empirical", "results/*/rademacher/empirical"),
        ("rademacher.capacity", "results/*/rademacher/capacity"),
        ("rademacher.confidence", "results/*/rademacher/confidence"),
        ("rademacher.bound", "results/*/rademacher/bound"),
        ("compression.components", "compression/layers/*/components"),
        ("compression.rank", "compression/layers/*/rank"),
        ("compression.tensorization_factor", "compression/layers/*/tensorization_factor"),
        ("compression.noise_bound", "compression/layers/*/noise_bound"),
        ("compression.cushion", "compression/layers/*/cushion"),
        ("compression.share", "compression/shares/*/share"),
        ("compression.error", "compression/shares/*/error"),
        ("truncation.error", "compression/truncation/error"),
        ("truncation.moved_most", "compression/truncation/moved_most"),
        ("truncation.moved_seen", "compression/truncation/moved_seen"),
        ("truncation.certified_deviation", "compression/truncation/certified_deviation"),
        ("truncation.certified_deviation_median", "compression/truncation/certified_deviation_median"),
        ("utilization.distance", "utilization/layers/*/distance"),
        ("utilization.relative_distance", "utilization/layers/*/relative_distance"),
        ("utilization.probe_training", "utilization/layers/*/probe_training"),
        ("utilization.probe_held_out", "utilization/layers/*/probe_held_out"),
        ("utilization.reset_error", "utilization/layers/*/reset_error"),
        ("rewind.way", "utilization/rewind/*/0"),
        ("rewind.error", "utilization/rewind/*/1"),
        ("ensemble.cross_entropy.loss", "ensemble/results/*/cross_entropy/loss"),
        ("ensemble.cross_entropy.bias", "ensemble/results/*/cross_entropy/bias"),
        ("ensemble.cross_entropy.variance", "ensemble/results/*/cross_entropy/variance"),
        ("ensemble.squared.loss", "ensemble/results/*/squared/loss"),
        ("ensemble.squared.bias", "ensemble/results/*/squared/bias"),
        ("ensemble.squared.variance", "ensemble/results/*/squared/variance"),
    ] {
        let wanted = at(&json, place);
        assert!(!wanted.is_empty() && shown(&page, field) == wanted, "{field}: {:?}", shown(&page, field));
    }
    // Layers come with all their radii, measures with all their sets.
    for field in
        ["row_norm", "row_norm_reached", "bias", "bias_reached", "class_row_norm", "class_bias", "complexity"]
    {
        let [first, last] = [0, 1].map(|k| at(&json, &format!("results/{k}/rademacher/layers/*/{field}")));
        let wanted: Vec<f64> = first.into_iter().zip(last).flat_map(|(a, b)| [a, b]).collect();
        assert_eq!(shown(&page, &format!("layer.{field}")), wanted, "{field}");
    }
    let [first, last] = [0, 1].map(|k| at(&json, &format!("results/{k}/measures/*/value")));
    let of_sets = first.into_iter().zip(last).flat_map(|(a, b)| [a, b]);
    let wanted: Vec<f64> = at(&json, "measures/*/value").into_iter().chain(of_sets).collect();
    assert_eq!(shown(&page, "measure.value"), wanted);
    let held_out = |k: usize| {
        let measures = json["results"][k]["measures"].as_array().unwrap();
        measures.iter().find(|m| m["name"] == "held-out-bound").unwrap()["value"].as_f64().unwrap()
    };
    assert_eq!(shown(&page, "held-out-bound"), [held_out(0), held_out(1)]);
    // Both Rademacher bounds say nothing, no held-out bound does.
    assert_eq!(page.matches(">vacuous</span>").count(), 2);
}

#[test]
fn refusals_say_where_and_why() {
    let mut json = result();
    let why = "threat: expected the same perturbed network for all samples, found inputs that move";
    json["results"][1]["rademacher"] = Value::Null;
    json["results"][1]["refusal"] = why.into();
    for measure in json["results"][1]["measures"].as_array_mut().unwrap() {
        if measure["name"] == "rademacher-bound" {
            measure["value"] = Value::Null;
            measure["refusal"] = why.into();
        }
    }
    json["compression"] = Value::Null;
    json["compression_refusal"] = "node pool1 is no chain".into();
    json["utilization"] = Value::Null;
    json["ensemble"] = Value::Null;
    let page = page(&json);
    assert!(page.contains(&format!("radius 0.001: {why}")) && page.contains("None: node pool1 is no chain"));
    assert_eq!(shown(&page, "rademacher.bound"), at(&json, "results/0/rademacher/bound"));
    assert!(!page.contains("Bias and variance"));
}

/// Every word of a file may be anything.
#[test]
fn hostile_words_stay_text() {
    const EVIL: &str = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"&";
    fn spoil(value: &mut Value, name: &str) {
        match value {
            Value::String(text) if !["schema", "guarantee"].contains(&name) => text.push_str(EVIL),
            Value::Array(list) => list.iter_mut().for_each(|v| spoil(v, name)),
            Value::Object(fields) => fields.iter_mut().for_each(|(name, v)| spoil(v, name)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut json = result();
    json["measures"][0]["value"] = json!(null);
    json["measures"][0]["refusal"] = "no".into();
    spoil(&mut json, "");
    let page = page(&json);
    assert!(!page.contains("<img src=x") && !page.contains("<script>alert"));
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains("&lt;img src=x"));
}
