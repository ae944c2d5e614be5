//! The universal attack: one perturbation of the parameters for a whole data set.
//!
//! ```text
//! maximise over Δ in the set   mean over samples of  ℓ(f_{W+Δ}(x), y)        ℓ: cross-entropy; for deviations ½‖f̂ − f‖₂²
//! box   u ← clip(u + length sign(v)),  Δ = E∘u          ball   u ← P(u + length v/‖v‖_F),  Δ = r u
//! ```
//!
//! with `v` the running mean of the mini-batches' gradients. Weaker than an attack on each sample, and what one deployed
//! network can suffer: it gives the accuracy under attack of *one* perturbed network.
//!
//! # Source
//! The weight PGD of Tsai et al., arXiv 2103.02200. Differences: the running mean, and a step that shrinks with every pass.

use super::AttackOptions;
use super::SampleAttack;
use super::ascent::Ascent;
use super::check::Block;
use super::descent::Schedule;
use super::pass::Pass;
use super::problem::{FixedValues, SearchProblem};
use super::search::{Search, search};
use super::shared::{Shared, SharedPoint, changed};
use super::space::{Parameters, Space};
use super::witness::{CompactWitness, Source, materialize};
use crate::model::Model;
use crate::network::Network;
use crate::threat::{Perturbation, PerturbationSet};
use crate::verdict::{Precision, Samples};

/// Length of a step in the first pass, as a fraction of the radius; it falls with the square root of the passes.
const STEP: f64 = 0.5;
/// One perturbation, trained on streamed batches.
///
/// Call [`UniversalAttack::observe`] for every batch of the data, [`UniversalAttack::finish_epoch`] after every pass over it,
/// and [`UniversalAttack::evaluate`] at the end.
pub struct UniversalAttack<'n> {
    network: &'n Network,
    set: PerturbationSet,
    options: AttackOptions,
    clean: Model<'n, f64>,
    engine: Engine<'n>,
    epoch: usize,
    seen: (f64, usize),
    best: Option<(f64, Perturbation)>,
}

/// The ascent in one of its two precisions.
enum Engine<'n> {
    F32(Ascent<'n, f32>),
    F64(Ascent<'n, f64>),
}

impl<'n> UniversalAttack<'n> {
    /// Starts close to the unperturbed network, at random.
    pub fn new(network: &'n Network, set: &PerturbationSet, options: AttackOptions) -> Self {
        let engine = match options.precision {
            Precision::F32 => Engine::F32(Ascent::new(network, set, &options)),
            Precision::F64 => Engine::F64(Ascent::new(network, set, &options)),
        };
        let clean = Model::new(network);
        let set = set.clone();
        UniversalAttack { network, set, options, clean, engine, epoch: 0, seen: (0.0, 0), best: None }
    }

    /// One step for each mini-batch of `samples`; returns their mean loss, each batch before its step. Inputs and
    /// activations do not move here.
    ///
    /// # Panics
    /// When [`Property::Label`](crate::property::Property::Label) comes without labels: callers check their data.
    pub fn observe(&mut self, samples: Samples<'_>) -> f64 {
        let width = self.network.input_width();
        let (mut sum, mut count) = (0.0, 0);
        let length = self.options.step_size.unwrap_or(STEP) / ((1 + self.epoch) as f64).sqrt();
        for (b, inputs) in samples.inputs.chunks(width * self.options.batch.max(1)).enumerate() {
            let first = b * self.options.batch.max(1);
            let labels = samples.labels.map(|l| &l[first..first + inputs.len() / width]);
            let batch = Samples { first: samples.first + first, inputs, labels };
            let loss = match &mut self.engine {
                Engine::F32(ascent) => ascent.step(batch, &self.options, length),
                Engine::F64(ascent) => ascent.step(batch, &self.options, length),
            };
            sum += loss;
            count += inputs.len() / width;
        }
        self.seen = (self.seen.0 + sum, self.seen.1 + count);
        sum / count.max(1) as f64
    }

    /// Ends a pass over the data: the perturbation is kept if the mean loss of the pass, which is returned, is the largest
    /// so far; steps become shorter.
    pub fn finish_epoch(&mut self) -> f64 {
        let loss = self.seen.0 / self.seen.1.max(1) as f64;
        if self.best.as_ref().is_none_or(|(most, _)| loss >= *most) {
            self.best = Some((loss, self.current()));
        }
        self.epoch += 1;
        self.seen = (0.0, 0);
        loss
    }

    /// The best perturbation so far; it lies in the set.
    pub fn perturbation(&self) -> Perturbation {
        self.best.as_ref().map_or_else(|| self.current(), |(_, best)| best.clone())
    }

    fn current(&self) -> Perturbation {
        match &self.engine {
            Engine::F32(ascent) => ascent.perturbation(&self.set),
            Engine::F64(ascent) => ascent.perturbation(&self.set),
        }
    }

    /// What the best perturbation so far does to each sample. Where inputs or activations move as well, they are attacked for
    /// each sample on its own, against the perturbed parameters.
    ///
    /// # Panics
    /// As [`super::Attacker::attack`].
    pub fn evaluate(&self, samples: Samples<'_>) -> Vec<SampleAttack> {
        let parameters = self.perturbation();
        let changed = changed(self.network, &parameters);
        let shared = Shared::new(self.network, &self.set, &parameters, &changed);
        let schedule = Schedule::graduated(self.options.steps, self.options.stop_when_broken);
        let (restarts, seed) = (self.options.restarts, self.options.seed);
        let on_all = (samples, rayon::current_num_threads());
        let blocks = Block::all(&self.clean, &self.set, &self.options, on_all, |block, _| {
            let objective = block.objective();
            let settings = Search { schedule, restarts, seed, threads: block.threads };
            let find = |problem: &SearchProblem<'_, f64>, fixed: &FixedValues<f64>| {
                search(&mut Pass::new(problem, fixed), &objective, &block.streams(), settings).compact()
            };
            let found = match &shared {
                Some(shared) => shared.evaluate(&block, &objective, find),
                None => vec![None; block.clean.len()],
            };
            let verdict = |(s, point): (usize, SharedPoint)| {
                let witness = |units| CompactWitness { parameters: Source::Universal, units };
                block.verdict(
                    &objective,
                    s,
                    point.map(|(margin, rival, units)| (margin, rival, witness(units))),
                )
            };
            found.into_iter().enumerate().map(verdict).collect::<Vec<_>>()
        });
        blocks.into_iter().flatten().collect()
    }

    /// The perturbation that `witness` stands for, at the input `x` of its sample.
    pub fn witness(&self, x: &[f64], witness: &CompactWitness) -> Perturbation {
        let space = Space::new(self.network, &self.set, Parameters::Fixed);
        let own = materialize(self.network, &self.set, &space, &witness.units, x);
        Perturbation { layers: self.perturbation().layers, ..own }
    }
}
