//! The bound of [`crate::rademacher`] as one number, and its capacity term without γ.

use crate::measures::{Direction, Measure, Needs, Parts};
use crate::rademacher::RademacherBound;
use crate::rounding::above;
use weightproof::verdict::Worth;

/// Complexity of the class that contains every perturbed network.
pub const CAPACITY: Measure = Measure {
    name: "rademacher-capacity",
    quantity: "log10(4 K R), R the Rademacher complexity of networks with these row norms",
    source: "theory.md §8; Bartlett and Mendelson 2002",
    needs: Needs { labels: true, set: true, ..Needs::NOTHING },
    parts: Parts::Nothing,
    guarantee: Worth::RIGOROUS,
    direction: Direction::WorseLarger,
    value: |context| {
        let bound = RademacherBound::of(context)?;
        let capacity = above(4.0 * context.network.output_width() as f64 * bound.complexity, 2);
        // The library is off by less than two units in the last place.
        Ok(capacity.log10().next_up().next_up())
    },
};

/// The bound of the error of every perturbed network.
pub const BOUND: Measure = Measure {
    name: "rademacher-bound",
    quantity: "share with certified margin <= gamma + 4 K R / gamma + 3 sqrt(ln(2 / delta pi) / 2n)",
    source: "theory.md §8; Mohri, Rostamizadeh and Talwalkar 2018",
    needs: Needs { labels: true, set: true, ..Needs::NOTHING },
    parts: Parts::Nothing,
    guarantee: Worth::RIGOROUS,
    direction: Direction::WorseLarger,
    value: |context| Ok(RademacherBound::of(context)?.total()),
};
