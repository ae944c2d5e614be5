//! A bound from samples that played no role in training: what a test set proves.
//!
//! ```text
//! P[some Ŵ of the set errs]  ≤  (1/n) Σ_i 1[certified margin of x_i ≤ 0]  +  √(ln(1/δ) / 2n)
//! ```
//! with probability 1 − δ over the n samples. The network is fixed before they are drawn, so whether a sample is certified is a coin
//! of its own (Hoeffding), and the worst Ŵ may differ from sample to sample: inputs and activations may move, too. Nothing depends on
//! norms, and for good networks the bound is far below 1.
//!
//! # Guarantee
//! Rigorous, if the samples are independent draws that neither training nor any choice about network, threat model or
//! method has seen.
//!
//! # Source
//! Hoeffding 1963; Langford, JMLR 2005, for test set bounds.

use crate::context::{Context, certified, share_up_to};
use crate::error::Refusal;
use crate::measures::{Direction, Measure, Needs, Parts};
use crate::rounding::above;
use weightproof::verdict::Worth;

/// A quotient, a logarithm, a quotient, a root and a sum, with room.
const ROUNDINGS: usize = 8;

/// The bound over the perturbation set.
pub const HELD_OUT: Measure = Measure {
    name: "held-out-bound",
    quantity: "share of held-out samples not certified + sqrt(ln(1/delta) / 2n)",
    source: "Hoeffding 1963; certified margins",
    needs: Needs { labels: true, held_out: true, set: true, ..Needs::NOTHING },
    parts: Parts::Nothing,
    guarantee: Worth::RIGOROUS,
    direction: Direction::WorseLarger,
    value: |context| {
        let (uncertified, samples) = uncertified(context)?;
        Ok(above(uncertified + (-context.delta.ln() / (2.0 * samples)).sqrt(), ROUNDINGS))
    },
};

/// Share of the held-out samples that are not certified, and their number.
fn uncertified(context: &Context<'_>) -> Result<(f64, f64), Refusal> {
    let missing = Err(Refusal::Missing("held-out samples with labels"));
    let Some(samples) = context.held_out.filter(|s| s.labels.is_some_and(|l| !l.is_empty())) else {
        return missing;
    };
    let margins = certified(context.network, context.set, &context.certify, samples);
    Ok((share_up_to(&margins, 0.0), margins.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::network::{Activation, NetworkBuilder};
    use weightproof::threat::{Kind, ThreatModel};
    use weightproof::verdict::Samples;

    /// f(x) = (relu(x), 0): certified while (1 − r)x > r (1 + r) … at x = 1 up to r = 1/2, and never at x = −1.
    #[test]
    fn by_hand() {
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("a", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new()).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        builder.dense("b", z, Matrix::from_vec(2, 1, vec![1.0, 0.0]), Vec::new()).unwrap();
        let network = builder.finish().unwrap();
        let samples = Samples { first: 0, inputs: &[1.0, -1.0], labels: Some(&[0, 0]) };
        for (radius, uncertified) in [(0.0, 0.5), (0.4, 0.5), (0.6, 1.0)] {
            let set = ThreatModel::new(Kind::Absolute, radius).resolve(&network).unwrap();
            let mut context = Context::new(&network, samples, &set, "linear").unwrap();
            assert!((HELD_OUT.value)(&context).is_err());
            context.held_out = Some(samples);
            let expected = uncertified + (20f64.ln() / 4.0).sqrt();
            assert!(((HELD_OUT.value)(&context).unwrap() - expected).abs() < 1e-12);
        }
    }
}
