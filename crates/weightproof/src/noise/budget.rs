//! How likely it is that anything fails which a proof relies on (theory.md §14).

use super::set::NoiseSet;
use super::tail::Tail;
use crate::bounds::{BoxEnds, Ends, wide};

/// The tails of everything that a proof relies on.
pub(super) struct Tails {
    /// Probability that no proxy holds.
    escape: f64,
    /// Of boxes of random layers that read what is not random.
    first: Tail,
    /// Of elements behind the first random layer, and of rows of the specification.
    pub(super) later: Tail,
}

impl Tails {
    pub(super) fn new(noise: &NoiseSet) -> Self {
        let (first, later) = match (noise.is_gaussian(), noise.layers().len()) {
            // What one random layer reads is not random.
            (true, 1) => (Tail::Gaussian, Tail::Gaussian),
            (true, _) => (Tail::Gaussian, Tail::Reflected),
            (false, _) => (Tail::Chernoff, Tail::Chernoff),
        };
        Tails { escape: noise.escape(), first, later }
    }

    /// The probability that a proxy does not hold, or one of the ends of boxes of a sample whose quantile is `q`.
    pub(super) fn of_boxes(&self, ends: BoxEnds, q: f64) -> f64 {
        let of =
            |ends: Ends, tail: Tail| ends.narrow as f64 * tail.at(q) + ends.wide as f64 * tail.at(wide(q));
        (self.escape + of(ends.first, self.first) + of(ends.later, self.later)) * (1.0 + 8.0 * f64::EPSILON)
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
        let tails = Tails { escape: 1e-12, first, later };
        let ends = BoxEnds { first: Ends { narrow: 2, wide: 0 }, ..BoxEnds::default() };
        assert!(tails.of_boxes(ends, MOST) >= 1e-12 && tails.of_boxes(ends, MOST) < 1.01e-12);
        assert!(tails.of_boxes(ends, 2.0) > 2.0 * (-2.0_f64).exp());
    }

    /// Every end counts with the tail of its own quantile.
    #[test]
    fn wide_ends_fail_as_rarely_as_they_are_wide() {
        let tails = Tails { escape: 0.0, first: Tail::Gaussian, later: Tail::Chernoff };
        let [first, later] = [Ends { narrow: 3, wide: 50 }, Ends { narrow: 5, wide: 700 }];
        let (q, q_wide) = (6.0, (36.0_f64 + 7.824).sqrt());
        let exact = 3.0 * Tail::Gaussian.at(q)
            + 50.0 * Tail::Gaussian.at(q_wide)
            + 5.0 * (-18.0_f64).exp()
            + 700.0 * (-18.0_f64 - 3.912).exp();
        let found = tails.of_boxes(BoxEnds { first, later }, q);
        assert!((found / exact - 1.0).abs() < 1e-9, "{found} {exact}");
        // A wide end is at most a fiftieth of a narrow one, whatever the tail.
        for tail in [Tail::Chernoff, Tail::Gaussian, Tail::Reflected] {
            for q in [0.5, 2.0, 7.0] {
                assert!(tail.at(wide(q)) <= tail.at(q) / 49.9, "{tail:?} {q}");
            }
        }
    }
}
