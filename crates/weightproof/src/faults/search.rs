//! Attacks with hits on several words: the worst margin that a search finds for every sample.
//!
//! # Guarantee
//! Margins are estimates of the smallest one, from above; a sample is called broken when its margin after the hits is proved not to be above
//! zero.

use super::injection::{Found, Injection};
use super::{SingleHits, WordHit};
use crate::attack::SampleAttack;
use crate::verdict::{Reason, Samples, Verdict};
use rayon::prelude::*;

/// What a search found for a sample, and the hits that do it.
#[derive(Clone, Debug)]
pub struct HitAttack {
    /// Margins and verdict; without a witness of its own.
    pub attack: SampleAttack,
    /// Hits on different words after which the margin is that; none where nothing is worse than the network without hits.
    pub hits: Vec<WordHit>,
}

impl SingleHits<'_> {
    /// Attacks a batch with up to `words` hits: every single one, then greedy with exchanges.
    ///
    /// # Panics
    /// When the property is about labels and there are none.
    pub fn attack(&self, samples: Samples<'_>, words: u32) -> Vec<HitAttack> {
        let width = self.memory().network().input_width();
        let single = self.settle_each(samples);
        let inputs: Vec<&[f64]> = samples.inputs.chunks_exact(width).collect();
        let attack = |(x, (single, _)): (&&[f64], &(super::SampleFaults, super::Effects))| {
            let clean = single.clean;
            let values = self.memory().network().forward_all(x);
            let injection = Injection::new(self.memory(), &values, clean.target);
            let found = |worst_margin: f64, verdict, reason, hits: Vec<WordHit>| {
                let rivals = injection.rivals(&injection.after(&hits));
                let runner_up = rivals.first().copied().unwrap_or(clean.target);
                let (reason, deviation, witness) = (Some(reason), None, None);
                let attack = SampleAttack {
                    clean,
                    worst_margin,
                    runner_up,
                    verdict,
                    reason,
                    deviation,
                    witness,
                    gradients: None,
                };
                HitAttack { attack, hits }
            };
            match (single.reason, &single.first) {
                (Some(Reason::Misclassified), _) => {
                    found(clean.margin, Verdict::Falsified, Reason::Misclassified, Vec::new())
                }
                (_, Some(first)) => {
                    let hit = WordHit { layer: first.layer, word: first.word, hit: first.hit };
                    found(first.margin, Verdict::Falsified, Reason::Attacked, vec![hit])
                }
                (_, None) => {
                    let (worst, broken) = self.greedy(&injection, x, words);
                    let (verdict, reason) = match broken {
                        Some(_) => (Verdict::Falsified, Reason::Attacked),
                        None => (Verdict::Unknown, Reason::NotBroken),
                    };
                    found(worst.margin, verdict, reason, worst.hits)
                }
            }
        };
        inputs.par_iter().zip(&single).map(attack).collect()
    }

    /// For each sample hits on up to `words` different words that are proved to break it, with the class that is not below its own one then;
    /// `None` where the greedy search finds none. `classes` are those that must stay.
    pub fn breaking(
        &self,
        samples: Samples<'_>,
        classes: &[usize],
        words: u32,
    ) -> Vec<Option<(Vec<WordHit>, usize)>> {
        let network = self.memory().network();
        let inputs: Vec<&[f64]> = samples.inputs.chunks_exact(network.input_width()).collect();
        let search = |(x, &class): (&&[f64], &usize)| {
            let values = network.forward_all(x);
            let injection = Injection::new(self.memory(), &values, class);
            let (worst, broken) = self.greedy(&injection, x, words);
            let rivals = injection.rivals(&injection.after(&worst.hits));
            broken.map(|_| (worst.hits, rivals[0]))
        };
        inputs.par_iter().zip(classes).map(search).collect()
    }

    /// Adds hits, one after the other, until they are proved to break the sample or are `most`; tells the hits with the smallest margin,
    /// and the margin that breaks it.
    pub(super) fn greedy(&self, injection: &Injection<'_>, x: &[f64], most: u32) -> (Found, Option<f64>) {
        let mut state = injection.start();
        let mut worst = state.clone();
        for _ in 0..most {
            let Some(next) = injection.grow(&state) else { break };
            if next.margin < worst.margin {
                worst = next.clone();
            }
            if next.margin <= 0.0
                && let Some(margin) = self.broken_by(&next.hits, x, injection.target)
            {
                return (next, Some(margin));
            }
            state = next;
        }
        (worst, None)
    }
}
