//! The linear method with optimised slopes (theory.md §4.4).

use super::super::noise::wide;
use super::super::{Block, BoundMethod, LowerBounds, State, States};
use super::propagate::{Backward, Reach, Row, RowBound, has_wide_output};
use super::relax::Relaxed;
use super::{analysed, analysed_randomly, meet, of_output, sharings, tighten, tighten_by};
use crate::kernels::Scalar;
use crate::property::Specification;

/// The linear method, then ascent on the lower slopes of ReLUs for the samples that it leaves open: each side of every
/// unstable neuron and each row of the specification has slopes of its own.
pub struct Optimized {
    /// Steps for each side of a hidden neuron's box.
    pub hidden_steps: usize,
    /// Steps for each row of the specification.
    pub steps: usize,
}

impl Optimized {
    /// What the command line and the benchmarks use.
    pub const DEFAULT: Optimized = Optimized { hidden_steps: 3, steps: 20 };
}

impl<T: Scalar> BoundMethod<T> for Optimized {
    /// Never below the linear method: the better of both is taken, for every row.
    fn lower_bounds(&self, block: &Block<'_, T>, spec: &Specification) -> LowerBounds<T> {
        let (plain, relaxed) = analysed(block, |states, relaxed, index, state| {
            tighten(block, states, relaxed, index, state);
        });
        let mut best = of_output(block, &plain, &relaxed, spec);
        let rows = best.lower.chunks(spec.count).zip(&best.void);
        let open: Vec<bool> =
            rows.map(|(rows, void)| void.is_none() && rows.iter().any(is_open(spec))).collect();
        if !open.contains(&true) || has_wide_output(block.prepared.model) {
            return best;
        }
        let (states, relaxed) = analysed(block, |states, relaxed, index, state| {
            meet(state, plain.state(index));
            self.tighten(block, states, relaxed, (index, &open), state);
        });
        let again = of_output(block, &states, &relaxed, spec);
        let places: Vec<usize> = (0..spec.rows.len()).filter(|k| open[k / spec.count]).collect();
        let rows: Vec<Row> = places.iter().map(|&k| (k / spec.count, spec.rows[k])).collect();
        for &k in &places {
            if again.lower[k] > best.lower[k] {
                best.lower[k] = again.lower[k];
            }
        }
        let bound = |&k: &usize| RowBound { lower: best.lower[k], ..RowBound::nothing() };
        let mut found: Vec<RowBound<T>> = places.iter().map(bound).collect();
        let output = block.values.len() - 1;
        for sharing in sharings(block, output + 1) {
            let pass = Backward::new(block, &states, Reach::Input(&relaxed), *sharing);
            pass.ascend(output, (&rows, None), &mut found, self.steps, enough(spec));
        }
        places.iter().zip(found).for_each(|(&k, bound)| best.lower[k] = bound.lower);
        best
    }
}

impl Optimized {
    /// Bounds where weights are random: slopes ascend in `o − q √V`, those of a hidden element's sides at the quantile at which it would be
    /// decided, those of a row of the specification at the quantile of its sample. Slopes follow from the sample, the set and the noise, not
    /// from the draw.
    pub(in super::super) fn random_bounds<T: Scalar>(
        &self,
        block: &Block<'_, T>,
        spec: &Specification,
    ) -> LowerBounds<T> {
        let quantiles = block.quantiles.expect("a block with noise has quantiles");
        let hidden = |pass: &Backward<'_, T>, index: usize, rows: &[Row]| {
            let at: Vec<f64> = rows.iter().map(|(s, _)| wide(quantiles[*s])).collect();
            let mut found = vec![RowBound::nothing(); rows.len()];
            // A side beyond zero decides the neuron.
            pass.ascend(index, (rows, Some(&at)), &mut found, self.hidden_steps, T::zero());
            found
        };
        let (states, relaxed) = analysed_randomly(block, Some(&hidden));
        let mut best = of_output(block, &states, &relaxed, spec);
        if has_wide_output(block.prepared.model) {
            return best;
        }
        let rows: Vec<Row> = spec.rows.iter().enumerate().map(|(r, row)| (r / spec.count, *row)).collect();
        let at: Vec<f64> = rows.iter().map(|(s, _)| quantiles[*s]).collect();
        let bound =
            |r: usize| RowBound { lower: best.lower[r], charge: best.charge[r], variance: best.variance[r] };
        let mut found: Vec<RowBound<T>> = (0..rows.len()).map(bound).collect();
        let output = block.values.len() - 1;
        for sharing in sharings(block, output + 1) {
            let pass = Backward::new(block, &states, Reach::Input(&relaxed), *sharing);
            pass.ascend(output, (&rows, Some(&at)), &mut found, self.steps, enough(spec));
        }
        for (r, bound) in found.into_iter().enumerate() {
            (best.lower[r], best.charge[r], best.variance[r]) = (bound.lower, bound.charge, bound.variance);
        }
        best
    }

    /// Replaces the box of node `index` by the better of it and bounds with optimised slopes, in open samples.
    pub(super) fn tighten<T: Scalar>(
        &self,
        block: &Block<'_, T>,
        states: &States<'_, T>,
        relaxed: &[Option<Relaxed<T>>],
        (index, open): (usize, &[bool]),
        state: &mut State<T>,
    ) {
        let bound = |pass: &Backward<'_, T>, index: usize, rows: &[Row], known: &[T]| {
            let bound = |&lower: &T| RowBound { lower, ..RowBound::nothing() };
            let mut found: Vec<RowBound<T>> = known.iter().map(bound).collect();
            // A side beyond zero decides the neuron.
            pass.ascend(index, (rows, None), &mut found, self.hidden_steps, T::zero());
            found.into_iter().map(|bound| bound.lower).collect()
        };
        tighten_by(block, (states, relaxed), index, state, |s| open[s], bound);
    }
}

/// Whether a bound leaves its row open. A margin above zero is decided; an output's deviation has no such end.
fn is_open<T: Scalar>(spec: &Specification) -> impl Fn(&T) -> bool {
    let enough = enough(spec);
    move |lower| !(*lower > enough)
}

fn enough<T: Scalar>(spec: &Specification) -> T {
    let margins = spec.rows.iter().all(|row| row.plus.is_some() && row.minus.is_some());
    if margins { T::zero() } else { T::infinity() }
}
