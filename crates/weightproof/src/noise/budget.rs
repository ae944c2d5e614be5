//! How likely it is that anything fails which a proof relies on (theory.md §14).

use super::set::NoiseSet;
use super::tail::Tail;
use crate::bounds::{BoxEnds, Prepared};
use crate::kernels::Scalar;

/// The tails of everything that a proof relies on.
pub(super) struct Tails {
    /// Probability that no proxy holds.
    escape: f64,
    ends: BoxEnds,
    first: Tail,
    /// Of elements behind the first random layer, and of rows of the specification.
    pub(super) later: Tail,
}

impl Tails {
    pub(super) fn new<T: Scalar>(prepared: &Prepared<'_, T>, noise: &NoiseSet) -> Self {
        let (first, later) = match (noise.is_gaussian(), noise.layers().len()) {
            // What one random layer reads is not random.
            (true, 1) => (Tail::Gaussian, Tail::Gaussian),
            (true, _) => (Tail::Gaussian, Tail::Reflected),
            (false, _) => (Tail::Chernoff, Tail::Chernoff),
        };
        Tails { escape: noise.escape(), ends: BoxEnds::of(prepared), first, later }
    }

    /// The probability that a proxy or a box does not hold which is `q` deviations wide on either side.
    pub(super) fn of_boxes(&self, q: f64) -> f64 {
        let ends = self.ends.first as f64 * self.first.at(q) + self.ends.later as f64 * self.later.at(q);
        (self.escape + ends) * (1.0 + 4.0 * f64::EPSILON)
    }

    /// The probability that one of these rows does not stay above `least`.
    pub(super) fn of_rows(&self, rows: &[NoisyRow], least: f64) -> f64 {
        let total: f64 = rows.iter().map(|row| row.failure(self.later, least)).sum();
        total * (1.0 + rows.len() as f64 * f64::EPSILON)
    }
}

/// A row of the specification: above `lower` but for noise of this variance.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoisyRow {
    pub(super) lower: f64,
    pub(super) variance: f64,
}

impl NoisyRow {
    /// The probability that the row is not above `least`.
    pub(super) fn failure(self, tail: Tail, least: f64) -> f64 {
        let room = (self.lower - least).next_down();
        if self.variance == 0.0 {
            return if room >= 0.0 { 0.0 } else { 1.0 };
        }
        tail.at((room / self.variance.sqrt().next_up()).next_down())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tail::MOST;
    use super::*;

    #[test]
    fn what_is_out_of_reach_counts_with_every_quantile() {
        let (first, later) = (Tail::Chernoff, Tail::Chernoff);
        let tails = Tails { escape: 1e-12, ends: BoxEnds { first: 2, later: 0 }, first, later };
        assert!(tails.of_boxes(MOST) >= 1e-12 && tails.of_boxes(MOST) < 1.01e-12);
        assert!(tails.of_boxes(2.0) > 2.0 * (-2.0_f64).exp());
    }
}
