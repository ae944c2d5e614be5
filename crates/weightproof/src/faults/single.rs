//! Every hit on one word, settled for every sample (theory.md §10).
//!
//! # Guarantee
//! Rigorous. What rounding in f64 leaves open at a single hit is counted as undecided.

use super::injection::{WordHit, margin};
use super::line::{CleanPass, Lines};
use super::met::LayerBounds;
use super::region::Region;
use super::settle::{Search, judged};
use super::{Effects, FaultError, Hit, Memory, StoredLayer, Tally};
use crate::kernels::Window;
use crate::network::{Affine, Network, Read};
use crate::progress::Progress;
use crate::property::Property;
use crate::stop::Stop;
use crate::threat::LayerPerturbation;
use crate::verdict::{Clean, Reason, Samples, Verdict};
use rayon::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;

/// What single hits do to one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleFaults {
    /// The network that runs, without faults.
    pub clean: Clean,
    /// Verified when no hit breaks the property.
    pub verdict: Verdict,
    /// Why it is not verified. `FormatRange`: a hit leaves no finite number.
    pub reason: Option<Reason>,
    /// Hits that break the property.
    pub breaking: u64,
    /// Hits with which the property holds, where it does not without faults.
    pub repairing: u64,
    /// Hits that are too close to call.
    pub undecided: u64,
    /// Hits that leave an infinity or NaN, which are not among the others.
    pub not_finite: u64,
    /// The first hit that breaks it, in the order of the layers and words.
    pub first: Option<BreakingHit>,
}

/// A hit that breaks a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakingHit {
    /// Number of the layer in [`Memory::layers`].
    pub layer: usize,
    /// Number of the word.
    pub word: usize,
    /// What happens to it.
    pub hit: Hit,
    /// The margin after it, by the plain forward pass.
    pub margin: f64,
}

/// Settles all hits on one word.
pub struct SingleHits<'m> {
    memory: &'m Memory,
    lines: Lines<'m>,
    property: Property,
    /// What holds for all samples; by layer.
    bounds: Arc<[LayerBounds]>,
    not_finite: u64,
    /// Where inputs move.
    region: Option<Region<'m>>,
    progress: Progress,
    stop: Stop,
}

impl<'m> SingleHits<'m> {
    /// For a property of classes.
    ///
    /// # Panics
    /// For [`Property::Deviation`].
    pub fn new(memory: &'m Memory, property: Property) -> Self {
        assert!(property != Property::Deviation, "hits are settled for properties of classes");
        let layers = memory.layers().iter();
        let bounds = layers.clone().map(|layer| {
            let node = &memory.network().nodes()[layer.node];
            LayerBounds::new(layer, node.layer.kernel_window().is_some())
        });
        let (progress, stop) = (Progress::default(), Stop::default());
        SingleHits {
            memory,
            lines: Lines::new(memory.network()),
            property,
            bounds: bounds.collect(),
            not_finite: layers.map(StoredLayer::not_finite).sum(),
            region: None,
            progress,
            stop,
        }
    }

    /// With inputs that move by at most `radius` and stay in `range`, beside the hit. Hits that break the sample where it is count as
    /// breaking, others that are not proved harmless for all of these inputs as undecided. Hits that repair are not counted.
    ///
    /// # Errors
    /// A radius that is not one.
    pub fn with_inputs(self, radius: f64, range: Option<(f64, f64)>) -> Result<Self, FaultError> {
        let region = Region::new(self.memory.network(), self.property, radius, range)?;
        Ok(SingleHits { region: Some(region), ..self })
    }

    /// Tells of every sample that is settled, and ends early: what is returned after `stop` was set must not be used.
    #[must_use]
    pub fn watched(self, progress: Progress, stop: Stop) -> Self {
        SingleHits { progress, stop, ..self }
    }

    /// The words.
    pub(super) fn memory(&self) -> &Memory {
        self.memory
    }

    /// What must hold.
    pub(super) fn property(&self) -> Property {
        self.property
    }

    /// Lines through the network.
    pub(super) fn lines(&self) -> &Lines<'m> {
        &self.lines
    }

    /// What holds of the hits on a layer for all samples.
    pub(super) fn bounds(&self, layer: usize) -> &LayerBounds {
        &self.bounds[layer]
    }

    /// What ends the work early.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Settles a batch, and adds it to `tally`.
    ///
    /// # Panics
    /// When the property is about labels and there are none.
    pub fn settle(&self, samples: Samples<'_>, tally: &Tally) -> Vec<SampleFaults> {
        let found = self.settle_each(samples).into_iter();
        found.inspect(|(_, effects)| tally.add(effects)).map(|(found, _)| found).collect()
    }

    /// Settles a batch, and tells what each hit does.
    ///
    /// # Panics
    /// When the property is about labels and there are none.
    pub fn settle_each(&self, samples: Samples<'_>) -> Vec<(SampleFaults, Effects)> {
        let width = self.memory.network().input_width();
        let inputs: Vec<&[f64]> = samples.inputs.chunks_exact(width).collect();
        let settle = |(k, x): (usize, &&[f64])| {
            let label = samples.labels.map(|labels| labels[k]);
            let found = self.sample(x, samples.first + k, label);
            self.progress.settled();
            found
        };
        inputs.par_iter().enumerate().map(settle).collect()
    }

    fn sample(&self, x: &[f64], index: usize, label: Option<u32>) -> (SampleFaults, Effects) {
        let network = self.memory.network();
        let clean_pass = clean_pass(network, x);
        let moved = self.region.as_ref().map(|region| region.pass(x, index, label));
        let outputs = &clean_pass.values[network.output()];
        let clean = Clean::of(outputs, index, label, self.property, 0.0);
        let there = Search::run(self, &clean_pass, clean.target, HashSet::new());
        let effects = match moved {
            None => there,
            // Where it is, then everywhere.
            Some(Some(moved)) if there.holds == Some(true) => {
                Search::run(self, &moved, clean.target, there.broken.into_iter().collect())
            }
            // Without faults it is not certified: no hit is settled.
            Some(_) => Effects { holds: there.holds.filter(|holds| !holds), ..Effects::default() },
        };
        let verdict = effects.holds;
        let first = effects.broken.iter().min().filter(|_| verdict == Some(true));
        let first = first.map(|n| self.re_run(*n, x, clean.target));
        let (verdict, reason) = match verdict {
            Some(false) => (Verdict::Falsified, Some(Reason::Misclassified)),
            None => (Verdict::Unknown, Some(self.open())),
            Some(true) if !effects.broken.is_empty() => (Verdict::Falsified, Some(Reason::Attacked)),
            Some(true) if self.not_finite > 0 => (Verdict::Falsified, Some(Reason::FormatRange)),
            Some(true) if !effects.undecided.is_empty() => (Verdict::Unknown, Some(self.open())),
            Some(true) => (Verdict::Verified, None),
        };
        let [breaking, repairing, undecided] =
            [&effects.broken, &effects.repaired, &effects.undecided].map(|hits| hits.len() as u64);
        let not_finite = self.not_finite;
        let found =
            SampleFaults { clean, verdict, reason, breaking, repairing, undecided, not_finite, first };
        (found, effects)
    }

    /// Why something is undecided.
    fn open(&self) -> Reason {
        if self.region.is_some() { Reason::BoundTooLoose } else { Reason::Precision }
    }

    /// The hit with this number, and the margin that the plain forward pass finds after it.
    fn re_run(&self, number: usize, x: &[f64], target: usize) -> BreakingHit {
        let WordHit { layer, word, hit } = self.memory.find(number).expect("the number of a hit");
        let LayerPerturbation { node, weight, bias } = self.memory.parameters_after(layer, word, &hit);
        let network = self.memory.network();
        let replaced = |n: usize| (n == node).then_some((&weight, bias.as_slice()));
        let outputs = network.evaluate(x, replaced, |_, _| {}).pop().expect("a network has nodes");
        BreakingHit { layer, word, hit, margin: margin(&outputs, target) }
    }

    /// The margin of `target` after hits on different words, by the plain forward pass of the network that is stored then, when it is
    /// proved not to be above zero.
    pub(super) fn broken_by(&self, hits: &[WordHit], x: &[f64], target: usize) -> Option<f64> {
        let network = self.memory.network_after(hits);
        let after = clean_pass(&network, x);
        let margins = self.lines.margins(&after, network.output(), target, &mut self.lines.scratch());
        (judged(margins[0]) == Some(false)).then(|| margin(&after.values[network.output()], target))
    }

    /// Whether no hit on the memory `after` a first one breaks a sample, and one that does where there is one; `None` where that is too
    /// close to call.
    pub(super) fn second(&self, after: &Memory, x: &[f64], target: usize) -> Option<Option<WordHit>> {
        let hits = SingleHits {
            memory: after,
            lines: Lines::new(after.network()),
            property: self.property,
            // Of all words, the one that is hit included.
            bounds: self.bounds.clone(),
            not_finite: self.not_finite,
            region: None,
            progress: Progress::default(),
            stop: self.stop.clone(),
        };
        let clean = clean_pass(after.network(), x);
        let found = Search::run(&hits, &clean, target, HashSet::new());
        match (found.holds, found.broken.iter().min()) {
            (Some(true), Some(&number)) => after.find(number).map(Some),
            (Some(true), None) if found.undecided.is_empty() && !self.stop.is_set() => Some(None),
            _ => None,
        }
    }
}

/// The forward pass and its errors.
pub(super) fn clean_pass(network: &Network, x: &[f64]) -> CleanPass {
    let values = network.forward_all(x);
    let rows: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
    let by_weights = |_: usize, own: &Affine, window: Option<&Window>, (values, errors): (&[f64], &[f64])| {
        Read { weight: &own.weight, bias: &own.bias, window, values, errors }.by_weights()
    };
    let errors = network.errors(&rows, |_| true, by_weights, |_| false);
    let errors = errors.into_iter().map(|e| e.expect("all are wanted")).collect();
    CleanPass { errors, values, margin: None }
}
