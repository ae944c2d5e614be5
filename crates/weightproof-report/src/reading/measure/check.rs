//! Whether the numbers of `measure` agree with each other.

use super::MeasureFile;
use crate::measure::{ErrorReport, MeasureRecord, MeasuresAt, RademacherReport, SplitReport};
use crate::reading::{ReadError, short};

/// How far a sum may be from its parts, relative to their magnitude: the parts were added in another order.
const SUM: f64 = 1e-9;

/// What is wrong: the field, what it must be, what it is.
type Found = Result<(), [String; 3]>;

/// Checks shares, sums, names of layers, and that nothing has both a number and a reason why there is none.
pub(super) fn measure(m: &MeasureFile) -> Result<(), ReadError> {
    all(m).map_err(|[place, expected, found]| ReadError::Field {
        file: m.file.clone(),
        place,
        expected,
        found,
    })
}

fn all(m: &MeasureFile) -> Found {
    ensure(m.delta > 0.0 && m.delta < 1.0, "delta", "a number between 0 and 1", m.delta)?;
    errors(&m.errors, m.train_data.is_some())?;
    m.measures.iter().try_for_each(|one| measure_of(one, ""))?;
    match m.results.first() {
        None => ensure(m.partial, "results", "at least the unperturbed network", "none")?,
        Some(first) => ensure(
            first.radius == Some(0.0),
            "results: the first radius",
            "0, the unperturbed network",
            text(first.radius),
        )?,
    }
    m.results.iter().try_for_each(|at| over(at, m))?;
    if let Some(utilization) = &m.utilization {
        for layer in &utilization.layers {
            let place = |field: &str| format!("utilization.{field} of {}", short(&layer.name));
            share(&place("probe_training"), Some(layer.probe_training))?;
            share(&place("probe_held_out"), layer.probe_held_out)?;
            share(&place("reset_error"), Some(layer.reset_error))?;
        }
        let rewind = utilization.rewind.iter().flat_map(|&(way, error)| [way, error]);
        rewind.into_iter().try_for_each(|v| share("utilization.rewind", Some(v)))?;
    }
    if let Some(ensemble) = &m.ensemble {
        ensure(ensemble.members >= 2, "ensemble.members", "at least 2", ensemble.members)?;
        for at in &ensemble.results {
            let place = |loss: &str| format!("ensemble.{loss}.loss at radius {}", text(at.radius));
            split(&place("cross_entropy"), at.cross_entropy)?;
            split(&place("squared"), at.squared)?;
        }
    }
    one_of("compression", m.compression.is_some(), m.compression_refusal.is_some(), m.partial)?;
    let Some(compression) = &m.compression else { return Ok(()) };
    for layer in &compression.layers {
        let place = format!("compression.rank of {}", short(&layer.name));
        let expected = format!("at most its {} components", layer.components);
        let rank = layer.rank.unwrap_or(0);
        ensure(rank <= layer.components, &place, &expected, rank)?;
    }
    let shares = compression.shares.iter();
    shares.flat_map(|s| [Some(s.share), s.error]).try_for_each(|v| share("compression.shares", v))?;
    share("compression.truncation.error", compression.truncation.as_ref().and_then(|t| t.error))
}

fn errors(errors: &ErrorReport, has_training: bool) -> Found {
    share("errors.training", errors.training)?;
    share("errors.held_out", errors.held_out)?;
    let gap = errors.held_out.zip(errors.training).map(|(held_out, training)| held_out - training);
    let same = match (gap, errors.gap) {
        (Some(gap), Some(claimed)) => close(claimed, gap, 1.0),
        (gap, claimed) => gap.is_none() && claimed.is_none(),
    };
    let expected = format!("{}, held_out minus training", text(gap));
    ensure(same, "errors.gap", &expected, text(errors.gap))?;
    let known = has_training || errors.held_out.is_none();
    ensure(known, "errors.held_out", "null without train_data", text(errors.held_out))
}

fn measure_of(one: &MeasureRecord, at: &str) -> Found {
    let place = format!("{}{at}", short(&one.name));
    one_of(&place, one.value.is_some(), one.refusal.is_some(), false)?;
    let known = ["rigorous", "real-arithmetic", "estimate", "measured"].contains(&&*one.guarantee);
    let place = format!("guarantee of {place}");
    ensure(known, &place, "rigorous, real-arithmetic, estimate or measured", short(&one.guarantee))
}

fn over(result: &MeasuresAt, m: &MeasureFile) -> Found {
    let at = format!(" at radius {}", text(result.radius));
    ensure(result.radius.is_none_or(|r| r >= 0.0), "radius", "a number of at least 0", text(result.radius))?;
    result.measures.iter().try_for_each(|one| measure_of(one, &at))?;
    one_of(&format!("rademacher{at}"), result.rademacher.is_some(), result.refusal.is_some(), false)?;
    let measured = result.measure("rademacher-bound").map(|one| one.value);
    let bound = result.rademacher.as_ref().and_then(|r| r.bound);
    let expected = format!("{}, as the measure rademacher-bound", text(measured.flatten()));
    ensure(measured.is_none_or(|v| v == bound), &format!("rademacher.bound{at}"), &expected, text(bound))?;
    result.rademacher.as_ref().map_or(Ok(()), |r| rademacher(r, m, &at))
}

fn rademacher(r: &RademacherReport, m: &MeasureFile, at: &str) -> Found {
    let place = |field: &str| format!("rademacher.{field}{at}");
    share(&place("empirical"), Some(r.empirical))?;
    let samples = m.train_data.as_ref().unwrap_or(&m.data).samples;
    let expected = format!("{samples}, the number of training samples");
    ensure(r.samples == samples, &place("samples"), &expected, r.samples)?;
    let sum = r.capacity.zip(r.confidence).map(|(capacity, confidence)| r.empirical + capacity + confidence);
    let same = match (sum, r.bound) {
        (Some(sum), Some(bound)) => close(bound, sum, sum.abs()),
        (sum, bound) => sum.is_none() || bound.is_none(),
    };
    let expected = format!("{}, the sum of its terms", text(sum));
    ensure(same, &place("bound"), &expected, text(r.bound))?;
    let vacuous = !r.bound.is_some_and(|bound| bound <= 1.0);
    let expected = format!("{vacuous}, for the bound {}", text(r.bound));
    ensure(r.vacuous == vacuous, &place("vacuous"), &expected, r.vacuous)?;
    let first = m.results.iter().find_map(|result| result.rademacher.as_ref()).unwrap_or(r);
    let names = |r: &RademacherReport| r.layers.iter().map(|layer| layer.name.clone()).collect::<Vec<_>>();
    let expected = format!("the {} layers of the first bound", first.layers.len());
    ensure(names(r) == names(first), &place("layers"), &expected, format!("{} others", r.layers.len()))?;
    for layer in &r.layers {
        let name = format!("row_norm_reached of {}", short(&layer.name));
        let expected = format!("at least row_norm, {}", layer.row_norm);
        ensure(layer.row_norm_reached >= layer.row_norm, &place(&name), &expected, layer.row_norm_reached)?;
    }
    Ok(())
}

/// The loss is the sum of bias and variance.
fn split(place: &str, parts: SplitReport) -> Found {
    let SplitReport { loss: Some(loss), bias: Some(bias), variance: Some(variance) } = parts else {
        return Ok(());
    };
    let sum = bias + variance;
    ensure(close(loss, sum, bias.abs() + variance.abs()), place, &format!("{sum}, bias and variance"), loss)
}

fn share(place: &str, v: Option<f64>) -> Found {
    ensure(v.is_none_or(|v| (0.0..=1.0).contains(&v)), place, "a share between 0 and 1", text(v))
}

/// A number and a refusal exclude each other; one is there unless the run was interrupted.
fn one_of(place: &str, number: bool, refusal: bool, may_miss: bool) -> Found {
    let found = if number { "both" } else { "neither" };
    ensure(number != refusal || may_miss && !number, place, "a number or a refusal", found)
}

fn close(a: f64, b: f64, magnitude: f64) -> bool {
    (a - b).abs() <= SUM * magnitude.max(f64::MIN_POSITIVE)
}

fn text(v: Option<f64>) -> String {
    v.map_or_else(|| "null".into(), |v| v.to_string())
}

fn ensure(holds: bool, place: &str, expected: &str, found: impl ToString) -> Found {
    if holds { Ok(()) } else { Err([place.into(), expected.into(), found.to_string()]) }
}
