//! Numbers that are not below what they stand for, although floating point rounds.

/// More than what one operation, or one call of the mathematical library, takes from a number: relative, with room for the products
/// of such errors.
const EACH: f64 = 4.0 * f64::EPSILON;
/// Above this part of a number its rounding is not known well enough.
const MOST: f64 = 0.01;

/// A number that is not below the exact one, of which `value` was computed from numbers ≥ 0 by sums, products, quotients, roots,
/// and logarithms that are no less than a half: these hand relative errors on, and at most `roundings` of them meet.
pub fn above(value: f64, roundings: usize) -> f64 {
    let part = EACH * roundings as f64;
    if part > MOST { f64::INFINITY } else { value * (1.0 + part) }
}

/// The sum, every addition rounded up: the exact sum where floating point has it.
pub fn sum_above(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |a, b| {
        let sum = a + b;
        // What the addition lost (Knuth, The Art of Computer Programming 2, 4.2.2).
        let of_b = sum - a;
        let lost = (a - (sum - of_b)) + (b - of_b);
        if lost > 0.0 { sum.next_up() } else { sum }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof_testkit::dyadic::Dyadic;

    /// Of tenths, whose sum floating point rounds at every step.
    #[test]
    fn a_sum_is_not_below_the_exact_one() {
        let is_below = |sum: f64, truth: &Dyadic| Dyadic::new(sum) < *truth;
        let (mut sum, mut truth, mut below) = (0.0, Dyadic::zero(), false);
        for k in 1..1000 {
            sum += 0.1;
            truth = &truth + &Dyadic::new(0.1);
            below |= is_below(sum, &truth);
            assert!(!is_below(above(sum, k), &truth), "{k}");
            assert!(!is_below(sum_above(std::iter::repeat_n(0.1, k)), &truth), "{k}");
        }
        assert!(below, "without a charge the sum is below the exact one");
        assert_eq!(sum_above([0.5, 0.25, 3.0].into_iter()), 3.75);
    }

    #[test]
    fn nothing_is_claimed_of_too_many_roundings_or_of_nan() {
        assert_eq!(above(1.0, 1 << 50), f64::INFINITY);
        assert!(above(f64::NAN, 1).is_nan());
        assert!(sum_above([1.0, f64::NAN].into_iter()).is_nan());
        assert_eq!(sum_above([1.0, f64::INFINITY].into_iter()), f64::INFINITY);
    }
}
