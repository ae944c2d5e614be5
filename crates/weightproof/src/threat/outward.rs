//! Radii are rounded up, so that the set in memory never is smaller than the one that was asked for.

/// Products below this size may have an error that f64 has no number for.
const TINY: f64 = 1e-280;

/// The smallest f64 that is at least `a b`, for numbers ≥ 0 (within one unit in the last place where the product is tiny).
pub(crate) fn product_up(a: f64, b: f64) -> f64 {
    let product = a * b;
    let is_exact = a == 0.0 || b == 0.0 || (product >= TINY && a.mul_add(b, -product) <= 0.0);
    // NaN and infinity stay.
    if is_exact { product } else { product.next_up() }
}

/// The smallest f64 that is at least `a / b`, for `a` ≥ 0 and `b` > 0 (within one unit in the last place where it is tiny).
pub(crate) fn quotient_up(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    let is_exact = a == 0.0 || (a >= TINY && quotient >= TINY && quotient.mul_add(b, -a) >= 0.0);
    if is_exact { quotient } else { quotient.next_up() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_never_too_small() {
        assert_eq!(product_up(0.5, 0.25), 0.125);
        assert_eq!(product_up(0.0, 3.0), 0.0);
        assert!(product_up(f64::MIN_POSITIVE, 1e-10) > 0.0);
        assert!(product_up(5e-324, 0.1) > 0.0);
        assert_eq!(product_up(1e300, 1e300), f64::INFINITY);
        assert!(product_up(f64::NAN, 1.0).is_nan());
        assert_eq!(quotient_up(0.5, 0.25), 2.0);
        assert_eq!(quotient_up(0.0, 3.0), 0.0);
        assert!((1..200).all(|k| quotient_up(1.0, f64::from(k)).mul_add(f64::from(k), -1.0) >= 0.0));
        let mut up = 0;
        for k in 1..2000_u32 {
            // Halves of the digits: the product of the parts is exact in f64.
            let (a, b) = (f64::from(k) / 3.0, 1.0 / f64::from(k + 7));
            let product = product_up(a, b);
            assert!(a.mul_add(b, -product) <= 0.0 && product <= (a * b).next_up());
            up += u32::from(product > a * b);
        }
        assert!(up > 500 && up < 1500, "{up}");
    }
}
