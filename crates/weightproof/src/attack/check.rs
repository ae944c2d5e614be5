//! The check in f64 that everything found passes before it is reported.

use super::descent::Landscape;
use super::objective::{MOST_GOALS, Objective};
use super::pass::Pass;
use super::problem::{FixedValues, SearchProblem};
use super::search::starts;
use super::space::Parameters;
use super::witness::{CompactWitness, Source, materialize, unpack};
use super::{AttackKind, AttackOptions, SampleAttack};
use crate::kernels::{Matrix, Scalar};
use crate::model::Model;
use crate::network::{Layer, Network, Node};
use crate::property::Property;
use crate::threat::{Perturbation, PerturbationSet};
use crate::verdict::{Clean, Reason, Samples, Verdict};
use rayon::prelude::*;

/// Clean results of a block of samples in f64.
pub(super) struct Block<'a> {
    pub network: &'a Network,
    pub set: &'a PerturbationSet,
    pub options: &'a AttackOptions,
    /// (samples, input width), row after row.
    pub inputs: &'a [f64],
    pub clean: Vec<Clean>,
    /// Outputs of the unperturbed network, (samples, outputs).
    pub outputs: Matrix<f64>,
    /// For each sample how far these may be from those in real arithmetic, where it is asked.
    errors: Vec<f64>,
    /// Threads for its rows.
    pub threads: usize,
}

impl<'a> Block<'a> {
    /// Runs the unperturbed network on `inputs`; `identity` gives the index and label of each sample. Also returns the clean
    /// values of every node.
    pub fn new(
        model: &Model<'a, f64>,
        set: &'a PerturbationSet,
        options: &'a AttackOptions,
        inputs: &'a [f64],
        identity: impl Fn(usize) -> (usize, Option<u32>),
    ) -> (Self, Vec<Matrix<f64>>) {
        let width = model.network.input_width();
        let values = model.forward(Matrix::from_vec(inputs.len() / width, width, inputs.to_vec()));
        let outputs = values.last().expect("a network has nodes").clone();
        let clean = (0..outputs.rows()).map(|s| {
            let (index, label) = identity(s);
            Clean::of(outputs.row(s), index, label, options.property, options.tolerance)
        });
        let clean: Vec<Clean> = clean.collect();
        let error = |(s, clean): (usize, &Clean)| {
            if options.property != Property::Deviation && !breaks(clean.margin, options.property) {
                return 0.0;
            }
            let values: Vec<&[f64]> = values.iter().map(|m| m.row(s)).collect();
            // Deviations are compared with what a margin found, digit by digit.
            let enough = if options.property == Property::Deviation { 0.0 } else { -0.5 * clean.margin };
            model.output_error(&values, enough)
        };
        let errors = clean.iter().enumerate().map(error).collect();
        (Block { network: model.network, set, options, inputs, clean, outputs, errors, threads: 1 }, values)
    }

    /// Cuts `samples` into blocks for so many threads and runs `f` on each, in parallel; also passed are the clean values of
    /// every node. Where there are fewer blocks than threads, each has several.
    ///
    /// # Panics
    /// When the inputs are not whole samples, or [`Property::Label`] comes without labels.
    pub fn all<R: Send>(
        model: &Model<'a, f64>,
        set: &'a PerturbationSet,
        options: &'a AttackOptions,
        (samples, threads): (Samples<'a>, usize),
        f: impl Fn(Block<'a>, Vec<Matrix<f64>>) -> R + Sync,
    ) -> Vec<R> {
        let width = model.network.input_width();
        assert_eq!(samples.inputs.len() % width, 0, "inputs are whole samples");
        let size = divided(samples.count(width), most_samples(model.network, options), threads);
        let own = threads.div_ceil(samples.count(width).div_ceil(size).max(1));
        let blocks = samples.inputs.par_chunks(width * size).enumerate().map(|(b, inputs)| {
            let identity = |s: usize| {
                let at = b * size + s;
                (samples.first + at, samples.labels.map(|l| l[at]))
            };
            let (block, values) = Block::new(model, set, options, inputs, identity);
            f(Block { threads: own, ..block }, values)
        });
        blocks.collect()
    }

    /// One number for each sample, from which its random numbers are seeded: a hash of its input (FNV-1a), so that a sample
    /// is attacked alike wherever it stands in a batch.
    pub fn streams(&self) -> Vec<u64> {
        let mix = |hash: u64, value: &f64| (hash ^ value.to_bits()).wrapping_mul(0x0000_0100_0000_01b3);
        (0..self.clean.len()).map(|s| self.input(s).iter().fold(0xcbf2_9ce4_8422_2325, mix)).collect()
    }

    pub fn input(&self, s: usize) -> &[f64] {
        let width = self.network.input_width();
        &self.inputs[s * width..(s + 1) * width]
    }

    /// The margins of this block, in the precision of a search.
    pub fn objective<T: Scalar>(&self) -> Objective<T> {
        Objective::new(self.options.property, self.options.tolerance, &self.clean, &self.outputs)
    }

    /// Evaluates what a search found, without materialising what breaks nothing.
    ///
    /// # Guarantee
    /// A sample becomes `Falsified` only when the concrete perturbed parameters lie in the set and their forward pass in f64
    /// breaks the property.
    pub fn check_variables(
        &self,
        problem: &SearchProblem<'_, f64>,
        fixed: &FixedValues<f64>,
        found: Vec<Option<Vec<Vec<f32>>>>,
    ) -> Vec<SampleAttack> {
        let objective = self.objective();
        let samples: Vec<usize> = (0..found.len()).filter(|&s| found[s].is_some()).collect();
        let units: Vec<&[Vec<f32>]> = found.iter().flatten().map(Vec::as_slice).collect();
        let point = unpack(&problem.space, &units);
        let mut margins: Vec<Option<(f64, usize)>> = vec![None; found.len()];
        if !samples.is_empty() {
            let mut landscape = Pass::new(problem, fixed);
            let outputs = landscape.outputs(&point, &samples);
            for (row, &s) in samples.iter().enumerate() {
                margins[s] = Some(objective.worst(s, outputs.row(row)));
            }
        }
        let mut found = found.into_iter();
        let mut result = Vec::with_capacity(self.clean.len());
        for (s, margin) in margins.into_iter().enumerate() {
            let units = found.next().expect("one for each sample");
            let mut best = None;
            if let (Some(units), Some((mut margin, mut rival))) = (units, margin) {
                let mut valid = margin.is_finite();
                if breaks(margin, self.options.property) {
                    let perturbation =
                        materialize(self.network, self.set, &problem.space, &units, self.input(s));
                    match self.margin(&objective, s, &perturbation) {
                        Some(checked) => (margin, rival) = checked,
                        None => valid = false,
                    }
                }
                let witness = CompactWitness { parameters: Source::Variables, units };
                best = valid.then_some((margin, rival, witness));
            }
            result.push(self.verdict(&objective, s, best));
        }
        result
    }

    /// The margin of a concrete perturbation, if it lies in the set and the margin is finite.
    ///
    /// # Guarantee
    /// As [`Block::found_margin`].
    pub fn margin(
        &self,
        objective: &Objective<f64>,
        s: usize,
        perturbation: &Perturbation,
    ) -> Option<(f64, usize)> {
        self.set.contains(self.network, self.input(s), perturbation).ok()?;
        let (margin, rival) = self.found_margin(objective, s, perturbation);
        margin.is_finite().then_some((margin, rival))
    }

    /// The margin of a concrete perturbation by the plain forward pass.
    ///
    /// # Guarantee
    /// Where it breaks the property, it is an upper bound on the margin in real arithmetic: what rounding may have taken is
    /// added, so that the property is broken by more than rounding, or not at all.
    pub fn found_margin(
        &self,
        objective: &Objective<f64>,
        s: usize,
        perturbation: &Perturbation,
    ) -> (f64, usize) {
        let (outputs, error) = self.network.enclosed_perturbed(self.input(s), perturbation);
        let (margin, rival) = objective.worst(s, &outputs);
        (self.raised(s, margin, error), rival)
    }

    /// A margin of outputs that are off by at most `error`, raised by that where it breaks the property.
    fn raised(&self, s: usize, margin: f64, error: f64) -> f64 {
        // A margin is a difference of two outputs; for deviations one of them is unperturbed.
        let error = match self.options.property {
            Property::Label | Property::Prediction => 2.0 * error,
            Property::Deviation => error + self.errors[s],
        };
        if breaks(margin, self.options.property) && error != 0.0 {
            (margin + error).next_up()
        } else {
            margin
        }
    }

    /// The answer for sample `s` whose best checked point is `best`; the unperturbed network counts as a point, too.
    pub fn verdict(
        &self,
        objective: &Objective<f64>,
        s: usize,
        best: Option<(f64, usize, CompactWitness)>,
    ) -> SampleAttack {
        let clean = self.clean[s];
        let (fixed, rival) = objective.worst(s, self.outputs.row(s));
        let fixed = (self.raised(s, fixed, self.errors[s]), rival);
        let (worst_margin, runner_up, witness) = match best {
            Some((margin, rival, witness)) if !(margin > fixed.0) => (margin, rival, Some(witness)),
            Some(_) | None => (fixed.0, fixed.1, None),
        };
        let property = self.options.property;
        let (verdict, reason) = if property == Property::Label && breaks(fixed.0, property) {
            (Verdict::Falsified, Some(Reason::Misclassified))
        } else if breaks(worst_margin, property) {
            (Verdict::Falsified, Some(Reason::Attacked))
        } else {
            (Verdict::Unknown, Some(Reason::NotBroken))
        };
        let deviation = (property == Property::Deviation).then_some(self.options.tolerance - worst_margin);
        SampleAttack { clean, worst_margin, runner_up, verdict, reason, deviation, witness, gradients: None }
    }
}

/// Most numbers in the values of all nodes and the kernels for the rows of a block; a search keeps a few copies.
const MOST_VALUES: usize = 1 << 21;

/// Samples of a block, of which at most `most` can be: all threads have as many blocks, of one size.
fn divided(samples: usize, most: usize, threads: usize) -> usize {
    let blocks = threads * samples.div_ceil(most * threads);
    samples.div_ceil(blocks.max(1)).max(1)
}

/// Most samples of a block: what the options say, but fewer where the network is wide. Results do not depend on it.
fn most_samples(network: &Network, options: &AttackOptions) -> usize {
    // Rows of weight space share nothing, so a block only costs memory.
    if options.kind.parameters() == Parameters::Weights {
        return 1;
    }
    let kernel = |node: &Node| match &node.layer {
        Layer::Conv(conv) => conv.affine.weight.as_slice().len(),
        Layer::Input
        | Layer::Dense(_)
        | Layer::Scale(_)
        | Layer::Activation(_)
        | Layer::DynamicQuantize(_)
        | Layer::MaxPool(_)
        | Layer::AveragePool(_)
        | Layer::Add
        | Layer::Multiply
        | Layer::Gather(_)
        | Layer::Reshape => 0,
    };
    let width: usize = network.nodes().iter().map(|node| node.width() + kernel(node)).sum();
    let goals = options.property.rows(network.output_width()).min(MOST_GOALS);
    let rows = match options.kind {
        AttackKind::Random(_) => 1,
        AttackKind::NeuronSpace
        | AttackKind::WeightSpace
        | AttackKind::OneGradient
        | AttackKind::Fgsm
        | AttackKind::Pgd
        | AttackKind::Universal => goals.max(starts(options.restarts, options.stop_when_broken)).max(1),
    };
    (MOST_VALUES / (rows * width)).clamp(1, options.block.max(1))
}

/// Whether a margin breaks the property: the counterpart of what proves it.
pub(super) fn breaks(margin: f64, property: Property) -> bool {
    match property {
        Property::Label | Property::Prediction => margin <= 0.0,
        Property::Deviation => margin < 0.0,
    }
}
