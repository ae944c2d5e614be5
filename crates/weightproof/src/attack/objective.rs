//! What an attack minimises: the margin of a property, for a block of samples.

use crate::kernels::{Matrix, Scalar};
use crate::property::{Property, SpecRow, Specification};
use crate::verdict::Clean;

/// Most rivals (or outputs) of a sample that get starts of their own.
pub(super) const MOST_GOALS: usize = 16;

/// The margins of a block of samples.
pub(super) struct Objective<T> {
    property: Property,
    tolerance: T,
    targets: Vec<usize>,
    /// Outputs of the unperturbed network, (samples, outputs).
    outputs: Matrix<T>,
}

impl<T: Scalar> Objective<T> {
    /// `clean` and `outputs`: one for each sample.
    pub fn new(property: Property, tolerance: f64, clean: &[Clean], outputs: &Matrix<f64>) -> Self {
        let targets = clean.iter().map(|c| c.target).collect();
        Objective { property, tolerance: T::from_f64(tolerance), targets, outputs: outputs.cast() }
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.targets.len()
    }

    /// The margin of sample `s` at the outputs `f`, and the class (deviation: output) where it is attained:
    ///
    /// ```text
    /// min over j ≠ y of f_y − f_j        or        tolerance − max over j of |f_j − f_j(unperturbed)|
    /// ```
    /// NaN when an output is NaN.
    #[inline]
    pub fn worst(&self, s: usize, f: &[T]) -> (T, usize) {
        let (target, clean) = (self.targets[s], self.outputs.row(s));
        let mut worst = (T::infinity(), usize::from(target == 0));
        for (j, &f_j) in f.iter().enumerate() {
            let margin = match self.property {
                Property::Label | Property::Prediction if j == target => continue,
                Property::Label | Property::Prediction => f[target] - f_j,
                Property::Deviation => self.tolerance - num_traits::Float::abs(f_j - clean[j]),
            };
            if margin.is_nan() {
                return (margin, j);
            }
            if margin < worst.0 {
                worst = (margin, j);
            }
        }
        worst
    }

    /// The margin of sample `s` at the outputs `f`, and what lowers it: the row of the runner-up, or of the output that deviates most.
    pub fn steepest(&self, s: usize, f: &[T]) -> (T, SpecRow) {
        let (margin, j) = self.worst(s, f);
        let row = match self.property {
            Property::Label | Property::Prediction => SpecRow::difference(self.targets[s], j),
            Property::Deviation if f[j] < self.outputs[(s, j)] => SpecRow::lower(j),
            Property::Deviation => SpecRow::upper(j),
        };
        (margin, row)
    }

    /// Whether the unperturbed network has a margin above zero that can be lost: one output has no rivals.
    pub fn is_right(&self, s: usize) -> bool {
        let margin = self.worst(s, self.outputs.row(s)).0;
        margin > T::zero() && margin < T::infinity()
    }

    /// Whether a margin at the outputs `f` breaks the property by more than the rounding of a search, so that the check in
    /// f64 will agree.
    pub fn clearly_broken(&self, margin: T, f: &[T]) -> bool {
        let largest = f
            .iter()
            .fold(T::zero(), |largest, f| num_traits::Float::max(largest, num_traits::Float::abs(*f)));
        margin < -largest * T::from_f64(64.0) * <T as num_traits::Float>::epsilon()
    }

    /// The value of one goal at the outputs `f`, up to a constant of the sample.
    pub fn value(&self, s: usize, goal: SpecRow, f: &[T]) -> T {
        match self.property {
            Property::Label | Property::Prediction => goal.apply(f),
            Property::Deviation => goal.apply(f) - goal.apply(self.outputs.row(s)),
        }
    }

    /// What can be minimised for sample `s`, the most promising first: the classes nearest to the target, or every output
    /// down and up; at most [`MOST_GOALS`].
    pub fn goals(&self, s: usize) -> Vec<SpecRow> {
        let (target, f) = (self.targets[s], self.outputs.row(s));
        let mut goals: Vec<SpecRow> = match self.property {
            Property::Label | Property::Prediction => {
                let mut rivals: Vec<usize> =
                    (0..f.len() - 1).map(|k| Specification::rival(target, k)).collect();
                rivals.sort_by(|&i, &j| f[j].to_f64().total_cmp(&f[i].to_f64()));
                rivals.iter().map(|&j| SpecRow::difference(target, j)).collect()
            }
            Property::Deviation => {
                (0..f.len()).flat_map(|j| [SpecRow::lower(j), SpecRow::upper(j)]).collect()
            }
        };
        goals.truncate(MOST_GOALS);
        goals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(property: Property) -> Objective<f64> {
        let outputs = Matrix::from_vec(1, 3, vec![2.0, 5.0, 4.0]);
        let clean = Clean::of(outputs.row(0), 0, Some(1), property, 0.5);
        Objective::new(property, 0.5, &[clean], &outputs)
    }

    #[test]
    fn the_worst_margin_is_against_the_nearest_class() {
        let objective = objective(Property::Label);
        assert_eq!(objective.worst(0, &[2.0, 5.0, 4.0]), (1.0, 2));
        assert_eq!(objective.worst(0, &[7.0, 5.0, 4.0]), (-2.0, 0));
        assert_eq!(objective.goals(0), vec![SpecRow::difference(1, 2), SpecRow::difference(1, 0)]);
    }

    #[test]
    fn deviations_count_both_ways_and_nan_stays_nan() {
        let objective = objective(Property::Deviation);
        assert_eq!(objective.worst(0, &[2.25, 5.0, 3.0]), (-0.5, 2));
        assert_eq!(objective.goals(0).len(), 6);
        assert!(objective.worst(0, &[2.0, f64::NAN, 3.0]).0.is_nan());
    }
}
