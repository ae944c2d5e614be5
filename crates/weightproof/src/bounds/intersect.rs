//! The better of two bounds: each is sound, so their maximum is.

use super::LowerBounds;
use crate::kernels::Scalar;

/// Row by row the larger lower bound, of bounds without noise; a row is void only where both are.
pub fn intersect<T: Scalar>(a: LowerBounds<T>, b: &LowerBounds<T>) -> LowerBounds<T> {
    let of_a = a.lower.into_iter().zip(a.charge);
    let of_b = b.lower.iter().copied().zip(b.charge.iter().copied());
    let larger = |(a, b): ((T, T), (T, T))| if b.0 > a.0 || a.0.is_nan() { b } else { a };
    let (lower, charge) = of_a.zip(of_b).map(larger).unzip();
    let void = a.void.into_iter().zip(&b.void).map(|(a, b)| a.and(*b)).collect();
    LowerBounds { lower, charge, variance: Vec::new(), ends: Vec::new(), void }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Reason;

    #[test]
    fn the_larger_bound_wins_and_nan_loses() {
        let charge = vec![0.0; 3];
        let a = LowerBounds {
            lower: vec![1.0, f64::NAN, -3.0],
            charge: charge.clone(),
            variance: Vec::new(),
            ends: Vec::new(),
            void: vec![Some(Reason::Overflow)],
        };
        let lower = vec![0.0, 2.0, f64::NAN];
        let b = LowerBounds { lower, charge, variance: Vec::new(), ends: Vec::new(), void: vec![None] };
        let both = intersect(a, &b);
        assert_eq!(both.lower, vec![1.0, 2.0, -3.0]);
        assert_eq!(both.void, vec![None]);
    }
}
