//! Bounds of cross-entropies, although floating point rounds (theory.md §12).
//!
//! ```text
//! ℓ = ln Σ_j exp(f_j − f_y)  ≥  fl(ℓ) − 2 e − 8 u (D + K + 1)         each f_j known up to e,   D = max_j |f_j − f_y|
//! ℓ ≤ ln(1 + (K − 1) exp(−m)) = softplus(ln(K − 1) − m)                each margin f_y − f_j at least m
//! ```
//! *Proof of the first line.* `ln Σ exp` changes by no more than the largest change of what it reads: 2 e for the outputs, and for the
//! differences, and these minus the largest one m ≥ 0, which are rounded twice, at most 4 u D. The sum of K exponentials, each within two
//! units of the last place (4 u), is at least about 1 and off by (K + 4) u of itself at most, which is the error of its logarithm;
//! evaluating that loses 4 u ln K, and adding m another u (D + ln K). What underflows is less than u. All together is below 8 u (D + K + 1). ∎
//!
//! Softplus grows by no larger part of itself than its argument grows, since `σ(z) ≤ ln(1 + exp z)`; its own parts are positive, and hand
//! relative errors on.

/// Unit roundoff.
const UNIT: f64 = f64::EPSILON / 2.0;

/// A number that is at most the cross-entropy of a sample with these outputs, each known up to `error`; at least 0.
pub fn below(outputs: &[f64], label: usize, error: f64) -> f64 {
    let differences: Vec<f64> = outputs.iter().map(|f| f - outputs[label]).collect();
    let most = differences.iter().copied().fold(0.0, f64::max);
    let size = differences.iter().map(|d| d.abs()).sum::<f64>();
    let value = most + differences.iter().map(|d| (d - most).exp()).sum::<f64>().ln();
    let least = value - (2.0 * error + 8.0 * UNIT * (size + outputs.len() as f64 + 1.0)) * (1.0 + 8.0 * UNIT);
    // NaN shows nothing, but no cross-entropy is below zero.
    if least > 0.0 { least } else { 0.0 }
}

/// A number that is at least the cross-entropy of a sample of `classes` whose margins are all at least `margin`; NaN and −∞ bound nothing.
pub fn above(margin: f64, classes: usize) -> f64 {
    let rivals = (classes as f64 - 1.0).ln();
    let z = rivals - margin;
    if z == f64::NEG_INFINITY {
        return 0.0;
    }
    let value = if z > 0.0 { z + (-z).exp().ln_1p() } else { z.exp().ln_1p() };
    let charged = value * (1.0 + UNIT * (32.0 + 8.0 * (rivals + z.abs()))) + f64::MIN_POSITIVE;
    if charged.is_nan() { f64::INFINITY } else { charged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outputs_by_hand() {
        for classes in [2_usize, 3, 10, 1000] {
            let (truth, outputs) = ((classes as f64).ln(), vec![7.0; classes]);
            let (low, high) = (below(&outputs, 1, 0.0), above(0.0, classes));
            assert!(low < truth && truth < high && high - low < 1e-12, "{low} {truth} {high}");
        }
        assert_eq!((above(f64::NAN, 3), above(f64::NEG_INFINITY, 3)), (f64::INFINITY, f64::INFINITY));
        assert_eq!(
            (above(f64::INFINITY, 3), above(-2.0, 1), below(&[f64::NAN, 1.0], 1, 0.0)),
            (0.0, 0.0, 0.0)
        );
    }

    /// Outputs whose differences are rounded: the exact cross-entropy is their difference, 10¹⁶ − 1.
    #[test]
    fn rounding_of_large_outputs_is_charged() {
        let exact = |found: f64| found as i128 - (10_i128.pow(16) - 1);
        assert!(1e16 - 1.0 > 1e16 - 2.0 && exact(1e16 - 1.0) >= 0, "the difference is rounded");
        assert!(exact(below(&[1e16, 1.0], 1, 0.0)) <= 0);
        assert!(exact(above(1.0 - 1e16, 2)) >= 0);
    }

    /// `ln(1 + n exp(−m))` is `n exp(−m)` where that is small; the difference of ln n and m is rounded.
    #[test]
    fn rounding_of_small_cross_entropies_is_charged() {
        let mut below = 0;
        for rivals in (1..12).map(|k| 1_u32 << k) {
            for m in [300.3_f64, 400.7, 500.1, 600.9] {
                let rivals = f64::from(rivals);
                let least = rivals * (-m).exp() * (1.0 - 8.0 * UNIT);
                assert!(above(m, rivals as usize + 1) >= least, "{rivals} {m}");
                below += usize::from((rivals.ln() - m).exp() < least);
            }
        }
        assert!(below > 3, "{below} would be below without a charge");
    }

    #[test]
    fn outputs_may_be_off_by_their_error() {
        // Both outputs move: the one up, the other down.
        let (outputs, error) = ([0.5, -0.25, 0.125], 0.01);
        let moved = below(&[0.5 - error, -0.25 - error, 0.125 + error], 2, 0.0);
        let low = below(&outputs, 2, error);
        assert!(low <= moved && moved - low < 0.03, "{low} {moved}");
        assert!(
            below(&[0.5 - error, -0.25 - error, 0.125 + error], 2, 0.0) < below(&outputs, 2, 0.5 * error)
        );
    }
}
