//! Random perturbations: the benign baseline of an attack.
//!
//! Draw `k` is one perturbation of the parameters for all samples, so it costs one forward pass; the worst draw of each
//! sample counts. Inputs and activation errors are drawn for each sample on its own.

use super::Attacker;
use super::SampleAttack;
use super::check::Block;
use super::search::generator;
use super::shared::{Shared, SharedPoint, Units, changed};
use super::space::Space;
use super::witness::{CompactWitness, Source};
use crate::threat::{Distribution, Perturbation};
use rand::{Rng, RngExt};
use rayon::prelude::*;

/// No sample has this index, so draws of parameters share their generators with none.
const PARAMETERS: u64 = u64::MAX;

impl Attacker<'_> {
    /// The parameters of draw `draw`.
    pub(super) fn draw(&self, distribution: Distribution, draw: usize) -> Perturbation {
        let mut rng = generator(self.options.seed, PARAMETERS, draw);
        self.set.sample_parameters(self.network, distribution, &mut rng)
    }

    pub(super) fn attack_randomly(
        &self,
        blocks: &[Block<'_>],
        distribution: Distribution,
    ) -> Vec<SampleAttack> {
        let mut best: Vec<Vec<(SharedPoint, usize)>> =
            blocks.iter().map(|block| vec![(None, 0); block.clean.len()]).collect();
        let draws: Vec<usize> = (0..self.options.restarts).collect();
        // Each draw that is worked on has a network of its own.
        for draws in draws.chunks(rayon::current_num_threads()) {
            let found: Vec<Option<Vec<Vec<SharedPoint>>>> =
                draws.par_iter().map(|&draw| self.evaluate(blocks, distribution, draw)).collect();
            for (&draw, found) in draws.iter().zip(found) {
                let points = best.iter_mut().flatten().zip(found.into_iter().flatten().flatten());
                for (best, found) in points {
                    let margin = |point: &SharedPoint| point.as_ref().map_or(f64::INFINITY, |p| p.0);
                    if margin(&found) < margin(&best.0) {
                        *best = (found, draw);
                    }
                }
            }
        }
        let verdicts = |(block, best): (&Block<'_>, Vec<(SharedPoint, usize)>)| {
            let objective = block.objective();
            let verdict = |(s, (point, draw)): (usize, (SharedPoint, usize))| {
                let witness = |units| CompactWitness { parameters: Source::Draw(draw), units };
                let best = point.map(|(margin, rival, units)| (margin, rival, witness(units)));
                block.verdict(&objective, s, best)
            };
            best.into_iter().enumerate().map(verdict).collect::<Vec<_>>()
        };
        blocks.iter().zip(best).flat_map(verdicts).collect()
    }

    /// What draw `draw` does to the samples of each block; `None` when its parameters are not in the set.
    fn evaluate(
        &self,
        blocks: &[Block<'_>],
        distribution: Distribution,
        draw: usize,
    ) -> Option<Vec<Vec<SharedPoint>>> {
        let parameters = self.draw(distribution, draw);
        let changed = changed(self.network, &parameters);
        let shared = Shared::new(self.network, &self.set, &parameters, &changed)?;
        let of_block = |block: &Block<'_>| {
            shared.evaluate(block, &block.objective(), |problem, _| {
                let units = |stream| {
                    let mut rng = generator(self.options.seed, stream, draw);
                    Some(draw_units(&problem.space, distribution, &mut rng))
                };
                block.streams().into_iter().map(units).collect()
            })
        };
        Some(blocks.par_iter().map(of_block).collect())
    }
}

/// A random point of the boxes of `space`, rounded to f32.
fn draw_units(space: &Space, distribution: Distribution, rng: &mut impl Rng) -> Units {
    let mut unit = || match distribution {
        Distribution::Uniform => rng.random_range(-1.0..=1.0_f32),
        // The sum of twelve uniform numbers has variance one; the standard deviation is to be 1/√3.
        Distribution::Gaussian => {
            let sum: f32 = (0..12).map(|_| rng.random_range(-0.5..=0.5_f32)).sum();
            (sum / 3.0_f32.sqrt()).clamp(-1.0, 1.0)
        }
        Distribution::Vertex => {
            if rng.random() {
                1.0
            } else {
                -1.0
            }
        }
    };
    space.slots.iter().map(|slot| (0..slot.width).map(|_| unit()).collect()).collect()
}
