//! The linear method with optimised slopes (theory.md §4.4).

use super::super::{Block, BoundMethod, Bounds, LowerBounds, State, States};
use super::propagate::{Backward, Reach, Row, has_wide_output};
use super::relax::Relaxed;
use super::{analysed, meet, of_output, sharings, tighten, tighten_by};
use crate::kernels::Scalar;
use crate::property::{SpecRow, Specification};

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
        let mut found: Vec<T> = places.iter().map(|&k| best.lower[k]).collect();
        let output = block.values.len() - 1;
        for sharing in sharings(block, output + 1) {
            let pass = Backward::new(block, &states, Reach::Input(&relaxed), *sharing);
            pass.ascend(output, &rows, &mut found, self.steps, enough(spec));
        }
        places.iter().zip(found).for_each(|(&k, lower)| best.lower[k] = lower);
        best
    }
}

impl Optimized {
    /// Replaces the box of node `index` by the better of it and bounds with optimised slopes, in open samples.
    pub(super) fn tighten<T: Scalar>(
        &self,
        block: &Block<'_, T>,
        states: &States<'_, T>,
        relaxed: &[Option<Relaxed<T>>],
        (index, open): (usize, &[bool]),
        state: &mut State<T>,
    ) {
        let bound = |pass: &Backward<'_, T>, rows: &[Row], bounds: &Bounds<T>| {
            let side = |&(s, row): &Row| match row {
                SpecRow { plus: Some(i), .. } => bounds.lower[(s, i)],
                SpecRow { minus: Some(i), .. } => -bounds.upper[(s, i)],
                SpecRow { .. } => unreachable!("both sides of a box have an element"),
            };
            let mut found: Vec<T> = rows.iter().map(side).collect();
            // A side beyond zero decides the neuron.
            pass.ascend(index, rows, &mut found, self.hidden_steps, T::zero());
            found
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
