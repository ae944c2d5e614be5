//! Worst-case sharpness over a perturbation set, from both sides: what an attack finds, and what is proved.
//!
//! ```text
//! attacked   max over the Ŵ that were found of   L(Ŵ) − L(W)    ≤    max over the set    ≤    certified
//! certified  error   (1/n) Σ 1[m̲_i ≤ 0]                 − error(W)
//!            loss    (1/n) Σ ln(1 + (K − 1) exp(−m̲_i))  − loss(W)
//! ```
//! L is the share of errors or the mean cross-entropy of the training samples, m̲_i the proved lower bound of the margin of sample i:
//! cross-entropy is `ln Σ_j exp(−(f_y − f_j))`, and every of its K − 1 margins is at least m̲_i. One Ŵ serves all samples for the
//! attack; the certified numbers hold even when every sample has its own. Both use the first samples only, the same ones.
//!
//! # Guarantee
//! Certified numbers are rigorous upper bounds: an error of the unperturbed network counts when its margin is below zero by more than
//! rounding, and its loss is a lower bound of what it is in real arithmetic ([`crate::cross_entropy`]). Attacked ones are estimates. The
//! difference to known sharpness measures is that nothing has to be searched for the upper side.
//!
//! # Source
//! Keskar et al., arXiv 1609.04836 (sharpness); Tsai et al., arXiv 2103.02200 (weight PGD); bounds of theory.md §4.

use crate::context::{Context, Effort, certificates, cross_entropies, margins, mean, outputs, share_up_to};
use crate::cross_entropy;
use crate::error::Refusal;
use crate::measures::{Direction, Measure, Needs, Parts};
use crate::rounding::{above, sum_above};
use weightproof::attack::{AttackKind, AttackOptions, UniversalAttack};
use weightproof::model::Model;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::PerturbationSet;
use weightproof::verdict::{Reason, Samples, Worth};

/// Samples of a mini-batch of the attack.
const BATCH: usize = 250;

const fn measure(
    name: &'static str,
    quantity: &'static str,
    guarantee: Worth,
    value: fn(&Context<'_>) -> Result<f64, Refusal>,
) -> Measure {
    let source = "Keskar et al., arXiv 1609.04836; Tsai et al., arXiv 2103.02200; theory.md §4";
    let needs = Needs { labels: true, set: true, search: true, ..Needs::NOTHING };
    // One perturbed network serves all samples for the attack.
    let parts = if matches!(guarantee, Worth::Proved(_)) { Parts::Mean } else { Parts::Nothing };
    Measure { name, quantity, source, needs, parts, guarantee, direction: Direction::WorseLarger, value }
}

/// Proved growth of the error.
pub const CERTIFIED_ERROR: Measure = measure(
    "certified-sharpness-error",
    "at least the largest growth of the training error over the set",
    Worth::RIGOROUS,
    |context| Ok(growth(context, 0, certified_growth)?.error),
);
/// Growth of the error that was found.
pub const ATTACKED_ERROR: Measure = measure(
    "attacked-sharpness-error",
    "growth of the training error at the worst weights found",
    Worth::Estimate,
    |context| Ok(growth(context, 1, attacked_growth)?.error),
);
/// Proved growth of the cross-entropy.
pub const CERTIFIED_LOSS: Measure = measure(
    "certified-sharpness-loss",
    "at least the largest growth of the training cross-entropy over the set",
    Worth::RIGOROUS,
    |context| Ok(growth(context, 0, certified_growth)?.loss),
);
/// Growth of the cross-entropy that was found.
pub const ATTACKED_LOSS: Measure = measure(
    "attacked-sharpness-loss",
    "growth of the training cross-entropy at the worst weights found",
    Worth::Estimate,
    |context| Ok(growth(context, 1, attacked_growth)?.loss),
);

/// Share of errors and mean cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Losses {
    error: f64,
    loss: f64,
}

impl Losses {
    fn of(network: &Network, samples: Samples<'_>) -> Losses {
        let labels = samples.labels.unwrap_or_default();
        let outputs = outputs(network, samples.inputs);
        let error = share_up_to(&margins(&outputs, labels), 0.0);
        Losses { error, loss: mean(cross_entropies(&outputs, labels).into_iter()) }
    }
}

/// What `take` finds, once; place 0 is for what is proved, 1 for what is found.
fn growth(
    context: &Context<'_>,
    place: usize,
    take: fn(&Context<'_>) -> Result<Losses, Refusal>,
) -> Result<Losses, Refusal> {
    context.growths[place].get_or_init(|| take(context)).clone()
}

/// Upper bounds.
fn certified_growth(context: &Context<'_>) -> Result<Losses, Refusal> {
    let (samples, classes) = (context.searched()?, context.network.output_width());
    let labels = samples.labels.unwrap_or_default();
    let found = certificates(context.network, context.set, &context.certify, samples);
    let count = found.len().max(1) as f64;
    let wrong = found.iter().filter(|c| c.reason == Some(Reason::Misclassified)).count();
    let uncertified = found.iter().filter(|c| !(c.margin_lower > 0.0)).count();
    let error = above(uncertified.saturating_sub(wrong) as f64 / count, 1);
    let (outputs, errors) = Model::<f64>::new(context.network).outputs_in_f64(samples.inputs);
    let most = found.iter().map(|c| cross_entropy::above(c.margin_lower, classes));
    let clean =
        labels.iter().enumerate().map(|(s, &y)| cross_entropy::below(outputs.row(s), y as usize, errors[s]));
    // The unperturbed network is in the set, so the exact sum is not below zero.
    let growth = sum_above(most.zip(clean).flat_map(|(most, clean)| [most, -clean]));
    Ok(Losses { error, loss: above(growth / count, 1) })
}

/// Numbers of the perturbed network that the universal attack finds; 0 where that is not worse than the unperturbed one.
fn attacked_growth(context: &Context<'_>) -> Result<Losses, Refusal> {
    if context.set.layers.iter().any(|layer| layer.per_use) {
        return Err(Refusal::Threat {
            expected: "the same perturbed network for all samples",
            found: "rounding that differs from sample to sample",
        });
    }
    let samples = context.searched()?;
    let clean = Losses::of(context.network, samples);
    let moved = attack(context.network, context.set, samples, context.effort);
    let found = Losses::of(&moved, samples);
    Ok(Losses { error: (found.error - clean.error).max(0.0), loss: (found.loss - clean.loss).max(0.0) })
}

/// The network with the parameters of the set that the universal attack finds for `samples`.
pub(crate) fn attack(
    network: &Network,
    set: &PerturbationSet,
    samples: Samples<'_>,
    effort: Effort,
) -> Network {
    let options = AttackOptions {
        batch: BATCH,
        seed: effort.seed,
        ..AttackOptions::new(AttackKind::Universal, Property::Label)
    };
    let mut attack = UniversalAttack::new(network, set, options);
    for _ in 0..effort.passes {
        attack.observe(samples);
        attack.finish_epoch();
    }
    network.with_parameters(&attack.perturbation().layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::take;
    use weightproof::threat::{Kind, ThreatModel};
    use weightproof_testkit::images::{ImageBlueprint, Piece};
    use weightproof_testkit::networks::{Blueprint, Design, input, rng};

    /// Rounding of the losses that are found, which are computed in f64.
    const ROUNDING: f64 = 1e-13;

    #[test]
    fn proved_is_at_least_what_is_found() {
        let mut worse = 0;
        for seed in 0..12 {
            let pieces = vec![Piece::Conv, Piece::Activation, Piece::Residual];
            let image = ImageBlueprint { input: [1, 4, 4], pieces, classes: 3, global_pool: false, seed };
            let activation = weightproof::network::Activation::Relu;
            for network in [Blueprint::new(&[4, 6, 5, 3], activation, seed).build(), image.build()] {
                let x = input(20 * network.input_width(), true, &mut rng(seed));
                let outputs = outputs(&network, &x);
                let best = |s: usize| {
                    (0..3).max_by(|&a, &b| outputs[(s, a)].total_cmp(&outputs[(s, b)])).unwrap() as u32
                };
                let labels: Vec<u32> = (0..20).map(best).collect();
                let samples = Samples { first: 0, inputs: &x, labels: Some(&labels) };
                for (kind, radius) in [
                    (Kind::Absolute, 0.02),
                    (Kind::Relative, 0.2),
                    (Kind::Frobenius, 0.1),
                    (Kind::RowBall, 0.08),
                ] {
                    let set = ThreatModel::new(kind, radius).resolve(&network).unwrap();
                    let context = Context::new(&network, samples, &set, "linear").unwrap();
                    let (proved, found) =
                        (certified_growth(&context).unwrap(), attacked_growth(&context).unwrap());
                    assert!(proved.error >= found.error, "{proved:?} {found:?}");
                    assert!(proved.loss >= found.loss - ROUNDING, "{proved:?} {found:?}");
                    assert!(found.loss >= 0.0);
                    worse += usize::from(found.loss > 0.0);
                }
                let still = ThreatModel::new(Kind::Absolute, 0.0).resolve(&network).unwrap();
                let context = Context::new(&network, samples, &still, "linear").unwrap();
                assert_eq!(take(&CERTIFIED_ERROR, &context).unwrap(), 0.0);
                assert_eq!(take(&ATTACKED_ERROR, &context).unwrap(), 0.0);
                // Only the least of several margins is bounded, so the loss keeps a gap without any perturbation.
                assert!(certified_growth(&context).unwrap().loss >= 0.0);
            }
        }
        assert!(worse > 60, "{worse}");
    }
}
