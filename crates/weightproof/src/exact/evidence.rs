//! Proofs of samples that are settled, written down (theory.md §12b).
//!
//! The search runs once more from boxes that plain slopes give, so that every bound on the way can be repeated from what is
//! listed; what a linear program would prove is split instead.

use super::search::{Answer, Purpose, Start};
use super::{Begin, Engine, EngineOf, ExactCertifier, GROUP, of_rows, searched};
use crate::attack::Suggestions;
use crate::bounds::Prepared;
use crate::evidence::Evidence;
use crate::faults::HitSet;
use crate::gathered::Gathered;
use crate::kernels::Scalar;
use crate::memory::Estimate;
use crate::verdict::{SampleCertificate, Samples, Verdict};
use rayon::prelude::*;

impl ExactCertifier<'_> {
    /// Evidence for the samples at the places `chosen` and set `k`, in their order; `None` where the search finds no proof within its
    /// limits, or none in this form. Where words are hit, too, every bound pays for it. Parallel on the current rayon pool.
    ///
    /// # Guarantee
    /// Every bound that is listed holds by rigorous arithmetic; a checker repeats it in exact arithmetic.
    ///
    /// # Panics
    /// As [`ExactCertifier::certify`].
    pub fn prove(
        &self,
        k: usize,
        hits: Option<&HitSet>,
        samples: Samples<'_>,
        chosen: &[usize],
    ) -> Vec<Option<Evidence>> {
        let beside = (k, hits);
        let (f32, f64) = match &self.engine {
            Engine::F64(engine) => return self.proofs(engine, beside, samples, chosen),
            Engine::F32(engine, f64) => (engine, f64),
        };
        let mut proofs = self.proofs(f32, beside, samples, chosen);
        let open: Vec<usize> = (0..chosen.len()).filter(|&place| proofs[place].is_none()).collect();
        if !open.is_empty() {
            let engine = f64.get_or_init(|| self.in_f64(f32));
            let again: Vec<usize> = open.iter().map(|&place| chosen[place]).collect();
            open.into_iter()
                .zip(self.proofs(engine, beside, samples, &again))
                .for_each(|(place, proof)| proofs[place] = proof);
        }
        proofs
    }

    fn proofs<T: Scalar>(
        &self,
        engine: &EngineOf<'_, T>,
        (k, hits): (usize, Option<&HitSet>),
        samples: Samples<'_>,
        chosen: &[usize],
    ) -> Vec<Option<Evidence>> {
        let prepared = Prepared::new(&engine.model, &engine.radii[k], self.options.certify.guarantee);
        let prepared = match hits {
            Some(hits) => prepared.with_hits(hits, None),
            None => prepared,
        };
        let group = Estimate::new::<T>(self.network).block(GROUP);
        let of_group = |chosen: &[usize]| {
            let gathered = Gathered::new(samples, chosen, self.network.input_width());
            let clean = gathered.clean(prepared.model, &self.options.certify);
            let suggestions = Suggestions::new(&self.attackers[k], &engine.problems[k], gathered.samples());
            let rows = clean.spec.rows.len();
            let mut bounds = of_rows(vec![T::neg_infinity(); rows], chosen.len());
            let starts =
                suggestions.unperturbed().into_iter().map(|found| Begin { found, start: Start::Whole });
            let starts = (starts.collect(), Purpose::Prove);
            let answers = searched((&prepared, &clean), &mut bounds, suggestions, &self.options, starts);
            let proof = |(certificate, answer): (SampleCertificate, Answer<T>)| {
                let is_proved = certificate.verdict == Verdict::Verified && answer.reason.is_none();
                is_proved.then(|| Evidence::new(answer.evidence))
            };
            answers.into_iter().map(proof).collect::<Vec<_>>()
        };
        chosen.par_chunks(group).flat_map_iter(of_group).collect()
    }
}
