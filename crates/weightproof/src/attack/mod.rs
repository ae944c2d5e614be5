//! Attacks: perturbations that break a property, found by search (theory.md §7).
//!
//! An attack is an *estimate*: the margin it finds is an upper bound on the exact one, and comes with the perturbation
//! that reaches it. It proves that a property fails, never that it holds.
//!
//! ```text
//! neuron space   min over t ∈ [−1, 1]ⁿ of the margin, p_i = W_i z + b_i + t_i (E_i |z| + e_i)   one t for each neuron
//! weight space   min over |Δ| ≤ E of the margin, p = (W + Δ) z + b + δ                           one Δ for each sample
//! universal      max over |Δ| ≤ E of the mean loss                                               one Δ for all samples
//! random         the worst of some draws                                                         no gradient
//! one gradient, FGSM, PGD        signed steps from the unperturbed network, in weight space      few gradients
//! ```
//!
//! Neuron space reaches what weight space reaches (Lemma 1) with a thousandth of the variables, so it affords a better
//! descent; weight space is kept as the customary baseline. It is neuron space where that is exact, in dense layers; the shared
//! kernels of convolutions have one variable for each weight and bias in both. Nothing realisable is lost, and nothing else is
//! reached. A per-sample attack gives each sample its own parameters; the universal and random ones use one set of
//! parameters for all samples.
//!
//! An attack on a number format searches a subset of its set: every use of a weight may round on its own there
//! ([`LayerSet::per_use`](crate::threat::LayerSet::per_use)), and so may sums without parameters
//! ([`PerturbationSet::roundings`]); attacks move all uses of a kernel alike and leave such sums exact. What they find lies
//! in the set.
//!
//! [`Attacker`] runs the kinds that need no training; [`UniversalAttack`] is trained on streamed batches first. All share
//! one descent, one way to check what they found in f64 and one compact form of the witness.

mod ascent;
mod check;
mod conv;
mod counts;
mod descent;
#[cfg(test)]
mod examples;
mod gradient;
mod joins;
mod kernels;
mod neuron_space;
mod objective;
mod pass;
mod problem;
mod random;
mod search;
mod shared;
mod space;
mod suggest;
#[cfg(test)]
mod tests;
mod universal;
mod weight_space;
mod witness;

pub use counts::{CountedWitness, in_counts};
pub(crate) use suggest::{BoundProblem, Pointer, Suggestions};
pub use universal::UniversalAttack;
pub use witness::CompactWitness;

use crate::kernels::{Matrix, Scalar};
use crate::network::Network;
use crate::property::Property;
use crate::threat::{Distribution, Perturbation, PerturbationSet};
use crate::verdict::{Clean, Precision, Reason, Samples, Verdict};
use check::Block;
use descent::{Landscape, Schedule};
use gradient::{Followed, Stride, follow};
use pass::Pass;
use problem::{FixedValues, SearchProblem};
use search::{Search, search};
use space::{NodeSlots, Parameters, Point, Space};
use std::str::FromStr;
use thiserror::Error;
use witness::Source;

/// What is searched, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttackKind {
    /// Gradient descent on one number for each neuron of dense layers and each weight of convolutions, for every sample.
    NeuronSpace,
    /// Gradient descent on every weight, for every sample.
    WeightSpace,
    /// One gradient of every sample, and a step as far as a linear margin needs.
    OneGradient,
    /// One gradient of every sample, and a step of the full radius: the fast gradient sign method.
    Fgsm,
    /// Projected gradient descent on every weight from the unperturbed network, until the sample is broken.
    Pgd,
    /// Gradient ascent on the mean loss over one perturbation for all samples.
    Universal,
    /// Random draws of the parameters, each used for all samples.
    Random(Distribution),
}

/// Every kind, in the order of documentation.
pub const KINDS: [AttackKind; 9] = [
    AttackKind::NeuronSpace,
    AttackKind::WeightSpace,
    AttackKind::OneGradient,
    AttackKind::Fgsm,
    AttackKind::Pgd,
    AttackKind::Universal,
    AttackKind::Random(Distribution::Uniform),
    AttackKind::Random(Distribution::Gaussian),
    AttackKind::Random(Distribution::Vertex),
];

/// The attack's name is not known.
#[derive(Debug, Error, PartialEq)]
#[error("attack: expected one of {}, found {found}", KINDS.map(AttackKind::name).join(", "))]
pub struct UnknownAttack {
    /// What was written.
    pub found: String,
}

impl AttackKind {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            AttackKind::NeuronSpace => "neuron-space",
            AttackKind::WeightSpace => "weight-space",
            AttackKind::OneGradient => "one-gradient",
            AttackKind::Fgsm => "fgsm",
            AttackKind::Pgd => "pgd",
            AttackKind::Universal => "universal",
            AttackKind::Random(Distribution::Uniform) => "random-uniform",
            AttackKind::Random(Distribution::Gaussian) => "random-gaussian",
            AttackKind::Random(Distribution::Vertex) => "random-vertex",
        }
    }

    /// Whether it is a search for each sample from several starts.
    pub fn is_search(self) -> bool {
        match self {
            AttackKind::NeuronSpace | AttackKind::WeightSpace => true,
            AttackKind::OneGradient | AttackKind::Fgsm | AttackKind::Pgd => false,
            AttackKind::Universal | AttackKind::Random(_) => false,
        }
    }

    /// The variables of the search.
    fn parameters(self) -> Parameters {
        match self {
            AttackKind::NeuronSpace => Parameters::Neurons,
            AttackKind::WeightSpace | AttackKind::OneGradient | AttackKind::Fgsm | AttackKind::Pgd => {
                Parameters::Weights
            }
            AttackKind::Universal | AttackKind::Random(_) => Parameters::Fixed,
        }
    }
}

impl FromStr for AttackKind {
    type Err = UnknownAttack;
    fn from_str(text: &str) -> Result<AttackKind, UnknownAttack> {
        let found = || UnknownAttack { found: text.chars().take(60).collect() };
        KINDS.into_iter().find(|k| k.name() == text).ok_or_else(found)
    }
}

/// How samples are attacked.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackOptions {
    /// What is searched.
    pub kind: AttackKind,
    /// Gradient steps (universal: passes over the data are the caller's, see [`UniversalAttack`]).
    pub steps: usize,
    /// Starts of each sample; for random attacks the number of draws.
    pub restarts: usize,
    /// Seed of all random numbers.
    pub seed: u64,
    /// What is attacked.
    pub property: Property,
    /// Largest allowed deviation, for [`Property::Deviation`].
    pub tolerance: f64,
    /// Floating-point type of the search; what it finds is always checked in f64.
    pub precision: Precision,
    /// Most samples in one block of work; wide networks have smaller ones.
    pub block: usize,
    /// Universal: samples in a mini-batch.
    pub batch: usize,
    /// Universal: length of a step as a fraction of the radius.
    pub step_size: Option<f64>,
    /// Whether a sample is left alone once it is broken. Faster, but its worst margin is then merely negative.
    pub stop_when_broken: bool,
}

impl AttackOptions {
    /// Samples of a block.
    pub const BLOCK: usize = 32;
    /// Samples of a mini-batch.
    pub const BATCH: usize = 256;

    /// 100 steps from 4 starts, in f32.
    pub fn new(kind: AttackKind, property: Property) -> Self {
        AttackOptions {
            kind,
            steps: 100,
            restarts: 4,
            seed: 0,
            property,
            tolerance: 0.0,
            precision: Precision::F32,
            block: AttackOptions::BLOCK,
            batch: AttackOptions::BATCH,
            step_size: None,
            stop_when_broken: false,
        }
    }
}

/// What an attack found for a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleAttack {
    /// The unperturbed network.
    pub clean: Clean,
    /// Smallest margin that was found, in f64: an upper bound on the smallest margin in the set. The unperturbed network
    /// counts; NaN when even its margin is NaN.
    pub worst_margin: f64,
    /// Class (deviation: output) for which it was found.
    pub runner_up: usize,
    /// `Falsified` (with a checked witness, or already unperturbed) or `Unknown`.
    pub verdict: Verdict,
    /// Misclassified, attacked or not broken.
    pub reason: Option<Reason>,
    /// For deviations: the largest `|f̂_j − f_j|` that was found.
    pub deviation: Option<f64>,
    /// What reaches `worst_margin`; `None` when nothing is worse than the unperturbed network.
    pub witness: Option<CompactWitness>,
    /// Gradients that were computed, by attacks that count them (one gradient, FGSM and PGD).
    pub gradients: Option<usize>,
}

/// Attacks batches of samples of one network with the perturbations of one set.
pub struct Attacker<'n> {
    network: &'n Network,
    set: PerturbationSet,
    options: AttackOptions,
    /// Neuron space in f64: what everything is checked with.
    exact: SearchProblem<'n, f64>,
    engine: Engine<'n>,
}

/// What is searched, in one of two precisions.
enum Engine<'n> {
    F32(SearchProblem<'n, f32>),
    F64(SearchProblem<'n, f64>),
}

impl<'n> Attacker<'n> {
    /// Casts the network and the set once.
    pub fn new(network: &'n Network, set: &PerturbationSet, options: AttackOptions) -> Self {
        let space = Space::new(network, set, options.kind.parameters());
        let engine = match options.precision {
            Precision::F32 => Engine::F32(SearchProblem::new(network, set, space)),
            Precision::F64 => Engine::F64(SearchProblem::new(network, set, space)),
        };
        let exact = SearchProblem::new(network, set, Space::new(network, set, Parameters::Neurons));
        Attacker { network, set: set.clone(), options, exact, engine }
    }

    /// The worst that was found for each sample, in their order. Parallel over blocks on the current rayon pool; the result
    /// does not depend on the number of threads.
    ///
    /// [`AttackKind::Universal`] trains on `samples` for about `steps` mini-batches first; data that do not fit into memory
    /// need [`UniversalAttack`].
    ///
    /// # Panics
    /// When the inputs are not whole samples, or [`Property::Label`] comes without labels: callers check their data.
    pub fn attack(&self, samples: Samples<'_>) -> Vec<SampleAttack> {
        self.attack_on(samples, rayon::current_num_threads())
    }

    /// The same, cut for so many threads: the others of the pool have other work.
    ///
    /// # Panics
    /// As [`Attacker::attack`].
    pub(crate) fn attack_on(&self, samples: Samples<'_>, threads: usize) -> Vec<SampleAttack> {
        match self.options.kind {
            AttackKind::NeuronSpace
            | AttackKind::WeightSpace
            | AttackKind::OneGradient
            | AttackKind::Fgsm
            | AttackKind::Pgd => {
                let search = |block: Block<'_>, values: Vec<Matrix<f64>>| match &self.engine {
                    Engine::F32(problem) => self.search(&block, &values, problem),
                    Engine::F64(problem) => self.search(&block, &values, problem),
                };
                let model = &self.exact.model;
                let blocks = Block::all(model, &self.set, &self.options, (samples, threads), search);
                blocks.into_iter().flatten().collect()
            }
            AttackKind::Universal => self.train(samples).evaluate(samples),
            AttackKind::Random(distribution) => {
                let model = &self.exact.model;
                let blocks =
                    Block::all(model, &self.set, &self.options, (samples, threads), |block, _| block);
                self.attack_randomly(&blocks, distribution)
            }
        }
    }

    /// The perturbation that `witness` stands for, at the input `x` of its sample.
    ///
    /// # Panics
    /// When the witness comes from a universal attack: [`UniversalAttack::witness`] knows its parameters.
    pub fn witness(&self, x: &[f64], witness: &CompactWitness) -> Perturbation {
        let materialize =
            |space: &Space| witness::materialize(self.network, &self.set, space, &witness.units, x);
        match (witness.parameters, self.options.kind) {
            (Source::Variables, _) => materialize(&self.exact.space),
            (Source::Draw(draw), AttackKind::Random(distribution)) => {
                let own = materialize(&Space::new(self.network, &self.set, Parameters::Fixed));
                Perturbation { layers: self.draw(distribution, draw).layers, ..own }
            }
            (Source::Draw(_) | Source::Universal, _) => panic!("the witness is of another attack"),
        }
    }

    /// The variables of a witness, one list for each slot.
    pub(crate) fn units(&self, witness: &CompactWitness) -> Vec<Vec<f32>> {
        witness.units.clone()
    }

    /// By node the variables `t` of a witness for dense layers whose set is a box: `Δ_ij = t_i E_ij sign(z_j)`, and the bias moves by
    /// `t_i e_i`. Other layers, and witnesses of other variables, have `None`.
    pub fn shares(&self, witness: &CompactWitness) -> Vec<Option<Vec<f64>>> {
        let space = &self.exact.space;
        let of = |(node, slots): (usize, &NodeSlots)| {
            let is_box = self.set.layer(node).is_some_and(|layer| !layer.weight.is_ball());
            let slot = slots.neurons.filter(|_| is_box && witness.parameters == Source::Variables)?;
            Some(witness.units[slot].iter().map(|&t| f64::from(t).clamp(-1.0, 1.0)).collect())
        };
        space.nodes.iter().enumerate().map(of).collect()
    }

    fn train(&self, samples: Samples<'_>) -> UniversalAttack<'n> {
        let mut attack = UniversalAttack::new(self.network, &self.set, self.options.clone());
        let batches = samples.count(self.network.input_width()).div_ceil(self.options.batch.max(1));
        for _ in 0..self.options.steps.div_ceil(batches.max(1)) {
            attack.observe(samples);
            attack.finish_epoch();
        }
        attack
    }

    fn search<T: Scalar>(
        &self,
        block: &Block<'_>,
        values: &[Matrix<f64>],
        problem: &SearchProblem<'_, T>,
    ) -> Vec<SampleAttack> {
        let exact = FixedValues::new(&self.exact, values);
        if problem.space.slots.is_empty() {
            return block.check_variables(&self.exact, &exact, vec![None; block.clean.len()]);
        }
        let fixed = exact.cast();
        let mut pass = Pass::new(problem, &fixed);
        let steps = self.options.steps;
        let stride = match self.options.kind {
            AttackKind::OneGradient => Stride::AsNeeded,
            AttackKind::Fgsm => Stride::Vertex,
            AttackKind::Pgd => Stride::Steps(steps),
            AttackKind::NeuronSpace | AttackKind::WeightSpace => {
                let found = self.descend(block, &mut pass);
                return block.check_variables(&self.exact, &exact, found);
            }
            AttackKind::Universal | AttackKind::Random(_) => unreachable!("one perturbation for all samples"),
        };
        let Followed { samples, point, gradients } =
            follow(&mut pass, &block.objective(), &values[0], stride);
        let mut found =
            block.check_variables(&self.exact, &exact, self.fold(block, &mut pass, (&samples, &point)));
        found.iter_mut().for_each(|found| found.gradients = Some(0));
        samples.iter().zip(gradients).for_each(|(&s, count)| found[s].gradients = Some(count));
        found
    }

    /// The best points of a search from several starts, in neuron space.
    fn descend<T: Scalar>(
        &self,
        block: &Block<'_>,
        pass: &mut Pass<'_, '_, T>,
    ) -> Vec<Option<Vec<Vec<f32>>>> {
        let (steps, stop) = (self.options.steps, self.options.stop_when_broken);
        let weights = pass.problem.space.parameters == Parameters::Weights;
        let schedule = if weights { Schedule::plain(steps, stop) } else { Schedule::graduated(steps, stop) };
        let (restarts, seed) = (self.options.restarts, self.options.seed);
        let settings = Search { schedule, restarts, seed, threads: block.threads };
        let best = search(pass, &block.objective(), &block.streams(), settings);
        if !weights {
            return best.compact();
        }
        let (samples, point) = best.gather(pass);
        self.fold(block, pass, (&samples, &point))
    }

    /// Points of weight space, one for each of `samples`, in neuron space.
    fn fold<T: Scalar>(
        &self,
        block: &Block<'_>,
        pass: &mut Pass<'_, '_, T>,
        (samples, point): (&[usize], &Point<T>),
    ) -> Vec<Option<Vec<Vec<f32>>>> {
        let mut found = vec![None; block.clean.len()];
        if !samples.is_empty() {
            pass.outputs(point, samples);
            for (row, &s) in samples.iter().enumerate() {
                found[s] = Some(weight_space::fold(pass, &self.exact.space, point, samples, row));
            }
        }
        found
    }
}
