//! Whether the parts of a result agree: a page must not show a summary that its samples contradict.

use super::{Command, ReadError, ResultAt, RunFile, Sample};
use weightproof::verdict::Verdict;

/// Checks counts, the fields that the command writes, and the sign of radii.
pub(super) fn run(run: &RunFile) -> Result<(), ReadError> {
    let fail = |place: String, expected: String, found: String| {
        Err(ReadError::Field { file: run.file.clone(), place, expected, found })
    };
    let radii = run.results.iter().filter_map(|r| r.radius);
    if let Some(radius) = radii.into_iter().find(|r| !(*r >= 0.0)) {
        return fail("radius".into(), "a number of at least 0".into(), radius.to_string());
    }
    if run.results.is_empty() {
        return fail("results".into(), "at least one radius".into(), "none".into());
    }
    for result in &run.results {
        let at = result.radius.map_or_else(String::new, |r| format!(" at radius {r}"));
        let place = |what: &str| format!("{what}{at}");
        let (summary, samples) = (&result.summary, &result.samples);
        if summary.samples != samples.len() {
            let expected = format!("{}, the number of samples", samples.len());
            return fail(place("summary.samples"), expected, summary.samples.to_string());
        }
        if let Some(missing) = missing(run.command, result) {
            return fail(
                place(missing),
                format!("a number, as {} writes it", run.command.name()),
                "none".into(),
            );
        }
        let count =
            |wanted: &dyn Fn(Option<Verdict>) -> bool| samples.iter().filter(|s| wanted(s.verdict)).count();
        let verified = count(&|v| v == Some(Verdict::Verified));
        let unbroken = count(&|v| v != Some(Verdict::Falsified));
        for (name, claimed, counted) in
            [("summary.certified", summary.certified, verified), ("summary.robust", summary.robust, unbroken)]
        {
            if let Some(claimed) = claimed.filter(|&claimed| claimed != counted) {
                return fail(
                    place(name),
                    format!("{counted}, by the verdicts of the samples"),
                    claimed.to_string(),
                );
            }
        }
        if let Some(sample) = samples.iter().find(|s| s.certified_radius.is_some_and(|r| !(r >= 0.0))) {
            let found = sample.certified_radius.unwrap_or(f64::NAN).to_string();
            return fail(format!("certified_radius of sample {}", sample.index), "at least 0".into(), found);
        }
        let layers = summary.layers.len();
        let short =
            |s: &&Sample| [s.layer_certified_radius.len(), s.layer_attacked_radius.len()] != [layers; 2];
        if let Some(sample) = samples.iter().find(short) {
            let place = format!("layer_certified_radius of sample {}", sample.index);
            return fail(
                place,
                format!("{layers}, one for each layer"),
                sample.layer_certified_radius.len().to_string(),
            );
        }
    }
    Ok(())
}

/// The field of the summary, or of a sample, without which there is nothing to show.
fn missing(command: Command, result: &ResultAt) -> Option<&'static str> {
    let summary = &result.summary;
    let (head, name, verdicts) = match command {
        Command::Certify => (
            summary.certified.is_some() && summary.certified_accuracy.is_some(),
            "summary.certified_accuracy",
            true,
        ),
        Command::Attack => (
            summary.robust.is_some() && summary.accuracy_under_attack.is_some(),
            "summary.accuracy_under_attack",
            true,
        ),
        Command::Radius => (
            summary.mean_certified_radius.is_some() || result.samples.is_empty(),
            "summary.mean_certified_radius",
            false,
        ),
    };
    let sample = match verdicts {
        true => result.samples.iter().all(|s| s.verdict.is_some()),
        false => result.samples.iter().all(|s| s.certified_radius.is_some()),
    };
    match (head, sample) {
        (false, _) => Some(name),
        (true, false) if verdicts => Some("samples: verdict"),
        (true, false) => Some("samples: certified_radius"),
        (true, true) => None,
    }
}
