//! What a measure is, and the table of all.

use crate::context::Context;
use crate::error::Refusal;
use crate::rounding::{above, sum_above};
use crate::{
    compression, distance, fisher_rao, frobenius, held_out, margins, pac_bayes, parameters, path_norm,
    rademacher_measures, sharpness, spectral, spectral_margin,
};
use serde::Serialize;
use weightproof::verdict::Worth;

/// Which way a measure is meant to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Larger numbers are meant to go with larger gaps.
    WorseLarger,
    /// Larger numbers are meant to go with smaller gaps.
    BetterLarger,
}

impl Direction {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Direction::WorseLarger => "larger is worse",
            Direction::BetterLarger => "larger is better",
        }
    }
}

/// What a measure needs besides the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Needs {
    /// Training samples, or others in their place, with labels.
    pub labels: bool,
    /// Samples that training has not seen.
    pub held_out: bool,
    /// The network before it was trained.
    pub initial: bool,
    /// A perturbation set: one number for each radius.
    pub set: bool,
    /// A search, with its time.
    pub search: bool,
}

impl Needs {
    /// The network alone.
    pub const NOTHING: Needs =
        Needs { labels: false, held_out: false, initial: false, set: false, search: false };
    /// Labelled samples.
    pub const LABELS: Needs = Needs { labels: true, ..Needs::NOTHING };
}

/// What parts of the samples say about all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Everything: it depends on the network alone.
    Network,
    /// It is a mean over samples.
    Mean,
    /// It is the root of a mean of squares over samples.
    RootMeanSquare,
    /// Nothing: it is a quantile, a search or a bound of all samples at once.
    Nothing,
}

impl Parts {
    /// The number for all samples, given the number of samples of each part and what was measured on it; `None` where parts do not tell it, or
    /// differ in what they must agree on.
    ///
    /// ```text
    /// mean   Σ n_k v_k / Σ n_k        root of a mean of squares   √(Σ n_k v_k² / Σ n_k)        v_k ≥ 0
    /// ```
    /// # Guarantee
    /// A mean is rounded up: of upper bounds it is an upper bound.
    pub fn joined(self, parts: &[(usize, f64)]) -> Option<f64> {
        let count = parts.iter().map(|(samples, _)| samples).sum::<usize>() as f64;
        let mean = |of: fn(f64) -> f64| {
            let sum = sum_above(parts.iter().map(|&(samples, v)| above(samples as f64 * of(v), 2)));
            above(sum / count, 1)
        };
        match self {
            Parts::Network => {
                let (_, first) = parts.first()?;
                parts.iter().all(|(_, v)| v == first).then_some(*first)
            }
            Parts::Mean => Some(mean(|v| v)),
            Parts::RootMeanSquare => Some(mean(|v| v * v).sqrt()),
            Parts::Nothing => None,
        }
    }
}

/// One number about a network.
#[derive(Clone, Copy)]
pub struct Measure {
    /// Name in reports.
    pub name: &'static str,
    /// What it is, as a formula.
    pub quantity: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// What parts of the samples say about it.
    pub parts: Parts,
    /// What it is worth.
    pub guarantee: Worth,
    /// Which way it is meant to go.
    pub direction: Direction,
    /// The number.
    pub value: fn(&Context<'_>) -> Result<f64, Refusal>,
}

/// All measures, in the order of reports.
pub static MEASURES: &[Measure] = &[
    parameters::PARAMETERS,
    margins::TENTH,
    margins::MEDIAN,
    frobenius::SUM,
    frobenius::PRODUCT,
    spectral::SUM,
    spectral::PRODUCT,
    path_norm::SQUARES,
    path_norm::MAGNITUDES,
    fisher_rao::FISHER_RAO,
    spectral_margin::COMPLEXITY,
    spectral_margin::MARGIN,
    distance::FROBENIUS,
    distance::SPECTRAL,
    compression::CAPACITY,
    pac_bayes::SHARPNESS,
    pac_bayes::BOUND,
    pac_bayes::MAGNITUDE_SHARPNESS,
    pac_bayes::MAGNITUDE_BOUND,
    rademacher_measures::CAPACITY,
    rademacher_measures::BOUND,
    held_out::HELD_OUT,
    sharpness::CERTIFIED_ERROR,
    sharpness::ATTACKED_ERROR,
    sharpness::CERTIFIED_LOSS,
    sharpness::ATTACKED_LOSS,
];

/// A measure of a network, or why there is none. Numbers that are not finite are none.
pub fn take(measure: &Measure, context: &Context<'_>) -> Result<f64, Refusal> {
    let value = (measure.value)(context)?;
    if value.is_finite() { Ok(value) } else { Err(Refusal::Undefined(format!("not finite: {value}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_measure_says_what_it_is() {
        for (k, measure) in MEASURES.iter().enumerate() {
            assert!(MEASURES[..k].iter().all(|other| other.name != measure.name), "{}", measure.name);
            assert!(!measure.quantity.is_empty() && !measure.source.is_empty());
            assert!(measure.parts != Parts::Network || !measure.needs.labels, "{}", measure.name);
        }
    }

    #[test]
    fn parts_join_by_hand() {
        let parts = [(1, 2.0), (3, 4.0)];
        let joined = |parts_of: Parts| parts_of.joined(&parts);
        assert_eq!(joined(Parts::Mean).map(|v| (v - 3.5).abs() < 1e-12 && v >= 3.5), Some(true));
        let root = 13_f64.sqrt();
        assert_eq!(joined(Parts::RootMeanSquare).map(|v| (v - root).abs() < 1e-12), Some(true));
        assert_eq!((joined(Parts::Nothing), joined(Parts::Network)), (None, None));
        assert_eq!(Parts::Network.joined(&[(1, 2.0), (3, 2.0)]), Some(2.0));
        assert_eq!(Parts::Network.joined(&[(1, f64::NAN), (3, f64::NAN)]), None);
        // Thirds that floating point rounds down.
        let third = Parts::Mean.joined(&[(1, 1.0), (2, 0.0)]).unwrap();
        assert!(third * 3.0 > 1.0, "{third}");
    }
}
