//! Hits on several words at once: for each sample how many hits it is proved to withstand, and how many break it (theory.md §10).
//!
//! ```text
//! 1 word      every hit, settled by SingleHits
//! m words     linear bounds less the m largest damages, else an attack: greedy with exchanges
//! 2 words     what both leave open is searched: first hits that may be the worse of a breaking pair, for each all second ones, settled
//! ```
//! # Guarantee
//! Rigorous: bounds are proofs, and hits that break a sample are those after which its margin is proved not to be above zero.

use super::injection::{Injection, WordHit};
use super::{FaultError, HitSet, Memory, SampleFaults, SingleHits};
use crate::bounds::HitTerms;
use crate::certify::{Certifier, CertifyOptions};
use crate::gathered::Gathered;
use crate::stop::Stop;
use crate::threat::{Kind, ThreatModel};
use crate::verdict::{Precision, Reason, Samples, Verdict};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// The bound method.
const METHOD: &str = "linear";

/// Limits of the search for breaking pairs; what is not settled within them is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLimits {
    /// Most first hits that are looked at for one sample; 0 for no search.
    pub nodes: usize,
    /// Most time for one sample.
    pub time: Option<Duration>,
}

impl PairLimits {
    /// Most first hits when nothing else is asked for.
    pub const NODES: usize = 1000;
}

impl Default for PairLimits {
    fn default() -> Self {
        PairLimits { nodes: PairLimits::NODES, time: None }
    }
}

/// What hits on several words do to one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleWords {
    /// So many hits are proved to be harmless, whichever they are.
    pub certified: u32,
    /// So many hits were found to break the sample, 0 when it is broken without.
    pub broken: Option<u32>,
    /// So many does progressive bit search need, up to the most that are asked for.
    pub by_gradient: Option<u32>,
    /// Hits that break it, on different words.
    pub hits: Vec<WordHit>,
    /// The margin after them, by the plain forward pass.
    pub margin: Option<f64>,
    /// Why `certified` is not larger, where it is open.
    pub reason: Option<Reason>,
    /// First hits of pairs that were looked at.
    pub nodes: usize,
}

/// Settles sets of hits.
pub struct SeveralHits<'s, 'm> {
    memory: &'m Memory,
    singles: &'s SingleHits<'m>,
    words: u32,
    /// From two words on.
    certifiers: Vec<Certifier<'m>>,
    /// In f64, for pairs.
    pairs: Option<Certifier<'m>>,
    limits: PairLimits,
    stop: Stop,
}

impl<'s, 'm> SeveralHits<'s, 'm> {
    /// Up to `words` hits on `memory`, whose single hits `singles` settles, while inputs move by at most `input_radius` within a range.
    ///
    /// # Errors
    /// An input radius that is none.
    pub fn new(
        memory: &'m Memory,
        singles: &'s SingleHits<'m>,
        words: u32,
        inputs: (f64, Option<(f64, f64)>),
    ) -> Result<Self, FaultError> {
        let (input_radius, input_range) = inputs;
        let network = memory.network();
        let model = ThreatModel { input_radius, ..ThreatModel::new(Kind::Absolute, 0.0) };
        let set = crate::threat::PerturbationSet { input_range, ..model.resolve(network)? };
        let hits = HitSet::new(memory, 0);
        let stop = singles.stop().clone();
        let certifier = |words: u32, precision: Precision| {
            let options = CertifyOptions::new(METHOD, singles.property());
            let options = CertifyOptions { precision, stop: stop.clone(), ..options };
            let certifier = Certifier::new(network, std::slice::from_ref(&set), options);
            certifier.expect("a method that there is").with_hits(hits.with_words(words as usize))
        };
        let certifiers = (2..=words).map(|m| certifier(m, Precision::F32)).collect::<Result<_, _>>()?;
        let has_pairs = words >= 2 && input_radius == 0.0;
        let pairs = has_pairs.then(|| certifier(2, Precision::F64)).transpose()?;
        Ok(SeveralHits { memory, singles, words, certifiers, pairs, limits: PairLimits::default(), stop })
    }

    /// The same with limits of the search for pairs.
    #[must_use]
    pub fn limited(self, limits: PairLimits) -> Self {
        SeveralHits { limits, ..self }
    }

    /// Settles a batch, whose single hits do what `single` says.
    ///
    /// # Panics
    /// When the property is about labels and there are none.
    pub fn settle(&self, samples: Samples<'_>, single: &[SampleFaults]) -> Vec<SampleWords> {
        let width = self.memory.network().input_width();
        let mut found: Vec<SampleWords> = single.iter().map(of_single).collect();
        let input = |s: usize| &samples.inputs[s * width..(s + 1) * width];
        for (certifier, m) in self.certifiers.iter().zip(2..) {
            let open: Vec<usize> = (0..found.len())
                .filter(|&s| found[s].certified + 1 == m && found[s].broken.is_none())
                .collect();
            if open.is_empty() || self.stop.is_set() {
                break;
            }
            let gathered = Gathered::new(samples, &open, width);
            let proofs = certifier.certify(gathered.samples()).swap_remove(0);
            for (&s, proof) in open.iter().zip(&proofs) {
                match proof.verdict {
                    Verdict::Verified => found[s].certified = m,
                    Verdict::Falsified | Verdict::Unknown => found[s].reason = proof.reason,
                }
            }
            if m == 2 {
                self.search_pairs(&open, samples, single, &mut found);
            }
        }
        found.par_iter_mut().enumerate().for_each(|(s, found)| {
            let is_open = found.certified < self.words && found.broken != Some(0);
            if is_open && self.words > 1 && !self.stop.is_set() {
                self.attack(input(s), single[s].clean.target, found);
            }
        });
        found
    }

    /// Searches pairs for the samples of which bounds leave these open.
    fn search_pairs(
        &self,
        open: &[usize],
        samples: Samples<'_>,
        single: &[SampleFaults],
        found: &mut [SampleWords],
    ) {
        let Some(pairs) = self.pairs.as_ref().filter(|_| self.limits.nodes > 0) else { return };
        let width = self.memory.network().input_width();
        let settle = |&s: &usize| {
            let x = &samples.inputs[s * width..(s + 1) * width];
            let target = single[s].clean.target;
            // What is broken needs no search.
            let mut own = found[s].clone();
            let values = self.memory.network().forward_all(x);
            self.attack_up_to(2, &Injection::new(self.memory, &values, target), x, &mut own);
            if own.broken.is_none() {
                let labels = samples.labels.map(|labels| [labels[s]]);
                let labels = labels.as_ref().map(|l| &l[..]);
                let terms = pairs.hit_terms(Samples { first: samples.first + s, inputs: x, labels });
                self.pairs(&terms, x, target, &mut own);
            }
            own
        };
        let open: Vec<usize> = open.iter().copied().filter(|&s| found[s].certified < 2).collect();
        let settled: Vec<SampleWords> = open.par_iter().map(settle).collect();
        open.into_iter().zip(settled).for_each(|(s, settled)| found[s] = settled);
    }

    /// Looks at all first hits that may be the worse one of a breaking pair.
    ///
    /// A pair of hits on the words v, w breaks row r only if `lower_r ≤ damage_v + damage_w`, so one of both is at least half of it.
    fn pairs(&self, terms: &HitTerms, x: &[f64], target: usize, found: &mut SampleWords) {
        let begin = Instant::now();
        let mut first: Vec<(f64, WordHit)> = Vec::new();
        for (number, layer) in self.memory.layers().iter().enumerate() {
            for word in 0..layer.words() {
                let place = layer.place(word);
                let multipliers: Vec<[f64; 2]> =
                    (0..terms.lower.len()).map(|r| terms.multiplier(layer.node, r, place)).collect();
                for (_, hit) in layer.hits_on(word) {
                    let share =
                        multipliers.iter().zip(&terms.lower).map(|(s, &lower)| share(&hit, *s, lower));
                    let share =
                        share.fold(
                            0.0_f64,
                            |most, share| if share <= most || most.is_nan() { most } else { share },
                        );
                    if !(share < 0.5) {
                        first.push((share, WordHit { layer: number, word, hit }));
                    }
                }
                if first.len() > self.limits.nodes {
                    found.reason = Some(Reason::NodeLimit);
                    return;
                }
            }
        }
        first.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, one) in first {
            if self.limits.time.is_some_and(|most| begin.elapsed() > most) {
                found.reason = Some(Reason::TimeLimit);
                return;
            }
            if self.stop.is_set() {
                found.reason = Some(Reason::Interrupted);
                return;
            }
            found.nodes += 1;
            let after = self.memory.after(one.layer, one.word, &one.hit);
            match self.singles.second(&after, x, target) {
                Some(None) => {}
                Some(Some(other)) => {
                    self.note(vec![one, other], x, target, found);
                    if found.broken.is_some() {
                        return;
                    }
                    found.reason = Some(Reason::Precision);
                    return;
                }
                None => {
                    found.reason = Some(Reason::Precision);
                    return;
                }
            }
        }
        (found.certified, found.reason) = (2, None);
    }

    /// The attack and the baseline.
    fn attack(&self, x: &[f64], target: usize, found: &mut SampleWords) {
        let values = self.memory.network().forward_all(x);
        let injection = Injection::new(self.memory, &values, target);
        if found.broken.is_none() {
            self.attack_up_to(self.words, &injection, x, found);
        }
        let mut state = injection.start();
        for m in 1..=self.words {
            let Some(next) = injection.grow_by_gradient(&state) else { return };
            if next.margin <= 0.0
                && let Some(margin) = self.singles.broken_by(&next.hits, x, target)
            {
                found.by_gradient = Some(m);
                // What the baseline finds is found.
                if found.broken.is_none_or(|broken| broken > m) {
                    found.break_by(next.hits, margin);
                }
                return;
            }
            state = next;
        }
    }

    fn attack_up_to(&self, most: u32, injection: &Injection<'_>, x: &[f64], found: &mut SampleWords) {
        if let (worst, Some(margin)) = self.singles.greedy(injection, x, most) {
            found.break_by(worst.hits, margin);
        }
    }

    /// Notes hits that break a sample, when they are proved to.
    fn note(&self, hits: Vec<WordHit>, x: &[f64], target: usize, found: &mut SampleWords) {
        if let Some(margin) = self.singles.broken_by(&hits, x, target) {
            found.break_by(hits, margin);
        }
    }
}

/// The part of `lower` that a hit on what is multiplied with a number between these ends may take, rounded up; 1 where nothing is left.
fn share(hit: &super::Hit, multiplier: [f64; 2], lower: f64) -> f64 {
    let d = hit.moved();
    // The change is the difference of two numbers.
    let off = 4.0 * f64::EPSILON * (hit.before.abs() + hit.after.abs());
    let damage = multiplier.map(|s| -d * s + off * s.abs());
    let most = damage[0].max(damage[1]) * (1.0 + 8.0 * f64::EPSILON) + f64::MIN_POSITIVE;
    if lower > 0.0 { most / lower * (1.0 + 8.0 * f64::EPSILON) } else { 1.0 }
}

/// What is known from single hits.
fn of_single(single: &SampleFaults) -> SampleWords {
    let (certified, broken) = match (single.verdict, single.reason) {
        (Verdict::Verified, _) => (1, None),
        (Verdict::Falsified, Some(Reason::Misclassified)) => (0, Some(0)),
        (Verdict::Falsified, _) => (0, Some(1)),
        (Verdict::Unknown, _) => (0, None),
    };
    let first = single.first.as_ref();
    let hits = first.map(|b| WordHit { layer: b.layer, word: b.word, hit: b.hit });
    let reason = if certified == 0 && broken.is_none() { single.reason } else { None };
    SampleWords {
        certified,
        broken,
        hits: hits.into_iter().collect(),
        margin: first.map(|b| b.margin),
        reason,
        ..SampleWords::default()
    }
}

impl SampleWords {
    fn break_by(&mut self, hits: Vec<WordHit>, margin: f64) {
        (self.broken, self.margin) = (Some(hits.len() as u32), Some(margin));
        (self.hits, self.reason) = (hits, None);
    }

    /// Verdict for at most `words` hits, and why it is not verified.
    pub fn verdict(&self, words: u32, single: &SampleFaults) -> (Verdict, Option<Reason>) {
        match (self.certified, self.broken) {
            (_, Some(0 | 1)) => (single.verdict, single.reason),
            (_, Some(broken)) if broken <= words => (Verdict::Falsified, Some(Reason::Attacked)),
            (certified, _) if certified >= words => (Verdict::Verified, None),
            _ => (Verdict::Unknown, self.reason.or(Some(Reason::BoundTooLoose))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FaultModel, Tally};
    use super::*;
    use crate::kernels::{Matrix, Window};
    use crate::network::{Activation, Network, NetworkBuilder};
    use crate::property::Property;

    fn wave(k: usize, seed: usize) -> f64 {
        ((k * 7 + seed * 13) as f64 * 1.37 + 0.4).sin()
    }

    /// A convolution or a dense layer, a ReLU and a dense layer.
    fn network(seed: usize, convolutional: bool) -> Network {
        let mut builder = NetworkBuilder::new(if convolutional { vec![1, 2, 3] } else { vec![3] });
        let first = if convolutional {
            let window = Window::new([1, 2, 3], 2, [2, 2]);
            let weight = Matrix::from_fn(2, 4, |i, j| wave(4 * i + j, seed));
            let conv = builder.conv("first", 0, weight, vec![0.2, -0.1], window).unwrap();
            builder.reshape("flat", conv, vec![4]).unwrap()
        } else {
            let weight = Matrix::from_fn(4, 3, |i, j| wave(3 * i + j, seed));
            builder.dense("first", 0, weight, vec![0.1; 4]).unwrap()
        };
        let relu = builder.activation("relu", first, Activation::Relu).unwrap();
        let last = Matrix::from_fn(2, 4, |i, j| wave(4 * i + j, seed + 50));
        builder.dense("last", relu, last, vec![0.3, -0.3]).unwrap();
        builder.finish().unwrap()
    }

    /// The search alone, without an attack before it: always an answer, and that of the enumeration of all pairs.
    #[test]
    fn the_search_for_pairs_answers_as_enumeration() {
        let (mut holds, mut breaks) = (0, 0);
        for (seed, convolutional) in (0..40).map(|seed| (seed, seed % 2 == 0)) {
            let faults = FaultModel {
                storage: "int6".parse().unwrap(),
                at: Some((0..2 + seed as u32 % 4).collect()),
                ..FaultModel::default()
            };
            let memory = Memory::new(&network(seed, convolutional), &faults).unwrap();
            let x: Vec<f64> = (0..memory.network().input_width()).map(|j| wave(j, seed + 9).abs()).collect();
            let samples = Samples { first: 0, inputs: &x, labels: None };
            let singles = SingleHits::new(&memory, Property::Prediction);
            let single = singles.settle(samples, &Tally::new(&memory)).pop().unwrap();
            if single.verdict != Verdict::Verified {
                continue;
            }
            let several = SeveralHits::new(&memory, &singles, 2, (0.0, None)).unwrap();
            let target = single.clean.target;
            let terms = several.pairs.as_ref().unwrap().hit_terms(samples);
            let mut found = of_single(&single);
            several.pairs(&terms, &x, target, &mut found);
            let least = least_of_pairs(&memory, &x, target);
            if least.abs() > 1e-9 {
                let expected = if least > 0.0 { (2, None) } else { (1, Some(2)) };
                assert_eq!((found.certified, found.broken), expected, "{seed} {found:?} {least}");
            }
            (holds, breaks) = (holds + u32::from(least > 0.0), breaks + u32::from(least < 0.0));
        }
        assert!(holds > 3 && breaks > 3, "{holds} {breaks}");
    }

    /// Two hits that take eight steps each from a margin of thirteen: neither takes all of it, and both are first hits.
    #[test]
    fn half_of_a_bound_makes_a_first_hit() {
        const STEP: f64 = 1.0 / 31.0;
        let mut builder = NetworkBuilder::new(vec![2]);
        let weight = Matrix::from_vec(2, 2, [24.0, 24.0, 31.0, 4.0].map(|code| code * STEP).into());
        builder.dense("only", 0, weight, Vec::new()).unwrap();
        let faults = FaultModel {
            storage: "int6".parse().unwrap(),
            at: Some(vec![3]),
            biases: false,
            ..FaultModel::default()
        };
        let memory = Memory::new(&builder.finish().unwrap(), &faults).unwrap();
        let singles = SingleHits::new(&memory, Property::Prediction);
        let samples = Samples { first: 0, inputs: &[1.0, 1.0], labels: None };
        let single = singles.settle(samples, &Tally::new(&memory)).pop().unwrap();
        assert_eq!(single.verdict, Verdict::Verified);
        let several = SeveralHits::new(&memory, &singles, 2, (0.0, None)).unwrap();
        let terms = several.pairs.as_ref().unwrap().hit_terms(samples);
        let mut found = of_single(&single);
        several.pairs(&terms, &[1.0, 1.0], 0, &mut found);
        assert_eq!((found.certified, found.broken), (1, Some(2)), "{found:?}");
    }

    /// The smallest margin after two hits on different words, by injections.
    fn least_of_pairs(memory: &Memory, x: &[f64], target: usize) -> f64 {
        let values = memory.network().forward_all(x);
        let injection = Injection::new(memory, &values, target);
        let mut all: Vec<WordHit> = Vec::new();
        for (layer, stored) in memory.layers().iter().enumerate() {
            for word in 0..stored.words() {
                all.extend(stored.hits_on(word).map(|(_, hit)| WordHit { layer, word, hit }));
            }
        }
        let mut least = f64::INFINITY;
        for (k, a) in all.iter().enumerate() {
            for b in all[k + 1..].iter().filter(|b| (b.layer, b.word) != (a.layer, a.word)) {
                let values = injection.after(&[*a, *b]);
                least = least.min(super::super::injection::margin(values.last().unwrap(), target));
            }
        }
        least
    }
}
