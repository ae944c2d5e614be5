//! Ends of boxes where weights are random (theory.md §14): how wide they are, and how many of them a bound relies on.
//!
//! ```text
//! an element that its box decides      q₊ = √(q² + c)      the box changes no line, and fails e^(−c/2) times as often
//! an element that it does not decide   q
//! ```
//! A ReLU whose sign is known has no need of a narrow box, and one that is left e^(c/2) times as rarely costs next to nothing. Which element
//! has which quantile follows from the sample, the set and the noise, not from the draw.

use super::super::linear::{Row, RowBound, has_wide_output, raise, uncross, undecided};
use super::super::{Block, Bounds, Prepared, State, States};
use super::lowered;
use crate::kernels::{Matrix, Scalar};

/// Ends of decided elements fail e^(−this/2) times as often as those of the others, or less: a fiftieth.
const RARER: f64 = 7.824;

/// How many deviations the box of a decided element holds where that of the others holds `quantile`.
pub(crate) fn wide(quantile: f64) -> f64 {
    (quantile * quantile + RARER).sqrt()
}

/// How many ends of boxes a bound relies on, each with a tail of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoxEnds {
    /// Of random layers that read what is not random.
    pub first: Ends,
    /// Of elements behind them, and of lengths.
    pub later: Ends,
}

/// How many ends hold how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// At the quantile of the sample.
    pub narrow: usize,
    /// At [`wide`] of it.
    pub wide: usize,
}

impl BoxEnds {
    /// Adds other ends.
    pub fn add(&mut self, other: BoxEnds) {
        for (own, other) in [(&mut self.first, other.first), (&mut self.later, other.later)] {
            own.narrow += other.narrow;
            own.wide += other.wide;
        }
    }
}

/// The box of node `index`, whose elements lie in `mean` but for the noise of their own layer, and for each sample the ends that it
/// relies on beside those of the boxes before it. `rows` gives further bounds of sides of elements from a box of all.
///
/// # Guarantee
/// Given the boxes before it, each end fails with a probability of at most the tail at its quantile: it is the best of several bounds, chosen
/// before the draw. The box of an output that nothing reads is not counted, and not relied on.
pub(in super::super) fn held<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    index: usize,
    mean: State<T>,
    rows: impl FnOnce(&Bounds<T>) -> Vec<(Row, RowBound<T>)>,
) -> (State<T>, Vec<BoxEnds>) {
    let none = vec![BoxEnds::default(); states.samples()];
    let (Some(quantiles), State::Box(mean)) = (block.quantiles, &mean) else { return (mean, none) };
    let own = states.variances(index);
    let mut bounds = own.map_or_else(|| mean.clone(), |own| widened(mean, own, |s| wide(quantiles[s])));
    let found = rows(&bounds);
    raise_at(&mut bounds, &found, |s| wide(quantiles[s]));
    let model = block.prepared.model;
    let is_read = index + 1 < model.steps.len() || has_wide_output(model);
    if (own.is_none() && found.is_empty()) || !is_read {
        return (State::Box(bounds), none);
    }
    // Elements that have an end of their own; of the others the box follows from those before it.
    let mut counts = vec![own.is_some(); bounds.lower.as_slice().len()];
    let width = bounds.lower.cols();
    for ((s, row), _) in &found {
        row.plus.into_iter().chain(row.minus).for_each(|i| counts[s * width + i] = true);
    }
    let mut is_narrow = vec![false; counts.len()];
    undecided(block, index, &bounds.lower, &bounds.upper)
        .into_iter()
        .for_each(|(s, i)| is_narrow[s * width + i] = counts[s * width + i]);
    if let Some(own) = own {
        let all = is_narrow.iter().enumerate().filter(|(_, is_narrow)| **is_narrow);
        for (s, i) in all.map(|(k, _)| (k / width, k % width)) {
            let l = lowered(mean.lower[(s, i)], quantiles[s], own[(s, i)]);
            let u = -lowered(-mean.upper[(s, i)], quantiles[s], own[(s, i)]);
            if l > bounds.lower[(s, i)] {
                bounds.lower[(s, i)] = l;
            }
            if u < bounds.upper[(s, i)] {
                bounds.upper[(s, i)] = u;
            }
        }
    }
    let of_narrow: Vec<(Row, RowBound<T>)> = found
        .into_iter()
        .filter(|((s, row), _)| row.plus.into_iter().chain(row.minus).any(|i| is_narrow[s * width + i]))
        .collect();
    raise_at(&mut bounds, &of_narrow, |s| quantiles[s]);
    uncross(&mut bounds);
    let is_first = !reads_random(block.prepared, index);
    let of_sample = |s: usize| {
        let all = s * width..(s + 1) * width;
        let both = |marks: &[bool]| 2 * marks.iter().filter(|mark| **mark).count();
        let narrow = both(&is_narrow[all.clone()]);
        let ends = Ends { narrow, wide: both(&counts[all]) - narrow };
        match is_first {
            true => BoxEnds { first: ends, ..BoxEnds::default() },
            false => BoxEnds { later: ends, ..BoxEnds::default() },
        }
    };
    let ends = (0..none.len()).map(of_sample).collect();
    (State::Box(bounds), ends)
}

/// A box, and what noise of these variances may add at the quantile of each sample.
fn widened<T: Scalar>(
    mean: &Bounds<T>,
    variances: &Matrix<f64>,
    quantile: impl Fn(usize) -> f64,
) -> Bounds<T> {
    let mut bounds = mean.clone();
    for s in 0..variances.rows() {
        let quantile = quantile(s);
        let ends = bounds.lower.row_mut(s).iter_mut().zip(bounds.upper.row_mut(s));
        for ((l, u), &variance) in ends.zip(variances.row(s)) {
            *l = lowered(*l, quantile, variance);
            *u = -lowered(-*u, quantile, variance);
        }
    }
    bounds
}

/// Takes the better of a box and bounds of some of its sides, each at the quantile of its sample.
fn raise_at<T: Scalar>(
    bounds: &mut Bounds<T>,
    found: &[(Row, RowBound<T>)],
    quantile: impl Fn(usize) -> f64,
) {
    let rows: Vec<Row> = found.iter().map(|(row, _)| *row).collect();
    let lower: Vec<T> = found.iter().map(|((s, _), bound)| bound.at(Some(quantile(*s)))).collect();
    raise(bounds, &rows, &lower);
}

/// Whether what node `index` reads is random.
fn reads_random<T: Scalar>(prepared: &Prepared<'_, T>, index: usize) -> bool {
    let model = prepared.model;
    let mut random: Vec<bool> = Vec::with_capacity(index);
    for node in 0..index {
        let reads = model.inputs_of(node).iter().any(|&i| random[i]);
        random.push(reads || prepared.noise_of(node).is_some());
    }
    model.inputs_of(index).iter().any(|&i| random[i])
}
