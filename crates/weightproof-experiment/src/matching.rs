//! Choice of strengths at matched accuracy, by images that are held out: neither trained on nor tested.

/// Accuracies that differ by no more count as equal.
pub const NEAR: f64 = 0.005;

/// A method at one of its strengths, by held-out images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Accuracy.
    pub accuracy: f64,
    /// Accuracy under attack.
    pub withstood: f64,
}

/// Whether an accuracy is that of the comparison.
pub fn near(accuracy: f64, target: f64) -> bool {
    (accuracy - target).abs() <= NEAR
}

/// Place of the strength that stands for its method at the accuracy `target`: of those near it the one that withstands the attack
/// best; when none is near, the nearest. None when no accuracy is finite.
pub fn choose(candidates: &[Candidate], target: f64) -> Option<usize> {
    let far = |c: &Candidate| (c.accuracy - target).abs();
    let finite = || candidates.iter().enumerate().filter(|(_, c)| c.accuracy.is_finite());
    let best = finite()
        .filter(|(_, c)| near(c.accuracy, target) && c.withstood.is_finite())
        .max_by(|a, b| a.1.withstood.total_cmp(&b.1.withstood));
    best.or_else(|| finite().min_by(|a, b| far(a.1).total_cmp(&far(b.1)))).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(candidates: &[(f64, f64)]) -> Option<usize> {
        let of = |&(accuracy, withstood): &(f64, f64)| Candidate { accuracy, withstood };
        choose(&candidates.iter().map(of).collect::<Vec<_>>(), 0.95)
    }

    #[test]
    fn of_the_near_ones_the_best_else_the_nearest() {
        // What withstands most is too far from the target.
        assert_eq!(chosen(&[(0.98, 0.5), (0.954, 0.7), (0.948, 0.8), (0.9, 0.9)]), Some(2));
        assert_eq!(chosen(&[(0.98, 0.5), (0.941, 0.6), (0.9, 0.9)]), Some(1));
        assert_eq!(chosen(&[(f64::NAN, 0.5), (0.5, f64::NAN)]), Some(1));
        assert_eq!(chosen(&[(f64::NAN, 0.5)]), None);
        assert!(near(0.954, 0.95) && !near(0.944, 0.95) && !near(f64::NAN, 0.95));
    }
}
