//! Certification against random weights: for each sample the smallest failure probability that is proved (theory.md §14).
//!
//! ```text
//! δ(q) = Σ_ends tail(q_e) + Σ_rows tail(o_r / √V_r)         o, V of the pass over boxes that hold at q
//! ```
//! Wider boxes hold more often and make worse rows, so δ has a minimum in `q`; it is searched for each sample. The rows of a specification
//! share no quantile: each fails as rarely as its own bound says, and what is far away costs nothing.

use super::NoiseError;
use super::budget::{NoisyRow, Tails};
use super::set::NoiseSet;
use super::tail::{MOST, quantile};
use crate::bounds::{Block, Bounds, Intermediate, LowerBounds, NoisyMethod, Prepared, lowered, noisy_bounds};
use crate::certify::{CHARGES, CertifyOptions, CleanBlock, proved};
use crate::gathered::Gathered;
use crate::kernels::{Matrix, Scalar};
use crate::memory::Estimate;
use crate::model::{Model, Radii};
use crate::network::Network;
use crate::property::{Property, Specification};
use crate::threat::PerturbationSet;
use crate::verdict::{Clean, Guarantee, Precision, Reason, SampleCertificate, Samples, Verdict};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// How samples are certified against random weights.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseOptions {
    /// Method, property, precision; the method is `interval`, `linear-interval`, `linear` or `optimized`.
    pub certify: CertifyOptions,
    /// The failure probability at which verdicts and margins are meant.
    pub failure_probability: f64,
}

/// What is proved about one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseCertificate {
    /// Verdict and bound of the margin: they hold with a probability of at least one minus the one that was asked for.
    pub certificate: SampleCertificate,
    /// The smallest probability found with which the property is proved to fail at most; 1 where nothing is proved.
    pub failure_probability: f64,
}

/// Certifies batches of samples of one network with random weights.
pub struct NoiseCertifier<'n> {
    network: &'n Network,
    set: PerturbationSet,
    noise: NoiseSet,
    options: NoiseOptions,
    /// How samples are bounded: all by the first, and those that it leaves open by the next.
    methods: &'static [NoisyMethod],
    engines: Arc<Engines<'n>>,
    /// Whether the search ends where the verdict is known.
    verdicts_only: bool,
}

/// Network and set in both precisions, made when they are needed.
#[derive(Default)]
struct Engines<'n> {
    single: OnceLock<Engine<'n, f32>>,
    double: OnceLock<Engine<'n, f64>>,
}

/// Network and set in one precision.
struct Engine<'n, T> {
    model: Model<'n, T>,
    radii: Radii<T>,
}

impl<'n, T: Scalar> Engine<'n, T> {
    fn new(network: &'n Network, set: &PerturbationSet) -> Self {
        Engine { model: Model::new(network), radii: Radii::new(set, network.nodes().len()) }
    }
}

impl<'n> NoiseCertifier<'n> {
    /// Random weights `noise` beside the perturbation set `set`, which is chosen before the draw.
    ///
    /// # Errors
    /// An input that moves, a method that has no form for noise, a failure probability that is none. Where weights drift or are pairs of
    /// devices: a network that is not [`NoiseSet::mean_network`], a set in which weights move, and a property that is about the network as
    /// it was programmed where its means are others.
    pub fn new(
        network: &'n Network,
        set: PerturbationSet,
        noise: NoiseSet,
        options: NoiseOptions,
    ) -> Result<Self, NoiseError> {
        if set.input_radius != 0.0 {
            return Err(NoiseError::InputRadius { found: set.input_radius });
        }
        let asked = options.failure_probability;
        if !(LEAST..1.0).contains(&asked) {
            return Err(NoiseError::Probability { found: asked });
        }
        let methods: &[NoisyMethod] = match options.certify.method.as_str() {
            "interval" => &[NoisyMethod::Interval],
            "linear-interval" => &[NoisyMethod::Linear(Intermediate::Interval)],
            "linear" => &[NoisyMethod::Linear(Intermediate::Linear)],
            "optimized" => &[NoisyMethod::Linear(Intermediate::Linear), NoisyMethod::Optimized],
            found => return Err(NoiseError::Method { found: found.into() }),
        };
        let set = match noise.is_aged() {
            true => aged(network, set, &noise, options.certify.property)?,
            false => set,
        };
        let (engines, verdicts_only) = (Arc::default(), false);
        Ok(NoiseCertifier { network, set, noise, options, methods, engines, verdicts_only })
    }

    /// The network.
    pub(super) fn network(&self) -> &'n Network {
        self.network
    }

    /// The noise.
    pub(super) fn noise(&self) -> &NoiseSet {
        &self.noise
    }

    /// The same, which does not search the smallest failure probability.
    #[must_use]
    pub fn verdicts_only(self) -> Self {
        NoiseCertifier { verdicts_only: true, ..self }
    }

    /// For each sample a lower bound of every row of the specification that fails with a probability of at most a tail at `quantile`,
    /// given boxes that do: what the search of the last method looks at, at one place, in f64. Classes other than the target in ascending
    /// order; with how likely one of the boxes fails.
    ///
    /// # Panics
    /// As [`NoiseCertifier::certify`].
    pub fn rows_at(&self, samples: Samples<'_>, quantile: f64) -> Vec<(Vec<f64>, f64)> {
        let engine = self.double();
        let prepared = Prepared::new(&engine.model, &engine.radii, self.options.certify.guarantee)
            .with_noise(&self.noise);
        let clean = CleanBlock::new(&engine.model, samples.inputs, &self.options.certify, |s| {
            (samples.first + s, samples.labels.map(|labels| labels[s]))
        });
        let (count, fixed) = (clean.clean.len(), clean.enclosed(&prepared));
        let quantiles = vec![quantile; count];
        let (values, fixed) = (&clean.values[..], &fixed[..]);
        let block = Block { prepared: &prepared, values, fixed, divided: false, quantiles: Some(&quantiles) };
        let method = *self.methods.last().expect("a method");
        let bounds = noisy_bounds(&block, &clean.spec, method);
        let row = |r: usize| lowered(bounds.lower[r], quantile, bounds.variance[r]);
        let rows = |s: usize| (s * clean.spec.count..(s + 1) * clean.spec.count).map(row).collect();
        let tails = Tails::new(&self.noise);
        (0..count).map(|s| (rows(s), tails.of_boxes(bounds.ends[s], quantile))).collect()
    }

    /// The same with `t` times the noise.
    pub(super) fn scaled(&self, t: f64) -> Result<Self, NoiseError> {
        Ok(NoiseCertifier {
            network: self.network,
            set: self.set.clone(),
            noise: self.noise.scaled(self.network, t)?,
            options: self.options.clone(),
            methods: self.methods,
            engines: self.engines.clone(),
            verdicts_only: self.verdicts_only,
        })
    }

    /// One certificate for each sample, in their order. Parallel over blocks on the current rayon pool; the result does not depend on
    /// the number of threads.
    ///
    /// # Panics
    /// When the inputs are not whole samples, or [`Property::Label`] comes without labels: callers check their data.
    pub fn certify(&self, samples: Samples<'_>) -> Vec<NoiseCertificate> {
        let width = self.network.input_width();
        assert_eq!(samples.inputs.len() % width, 0, "inputs are whole samples");
        let only = |found: Vec<(NoiseCertificate, bool)>| found.into_iter().map(|(c, _)| c).collect();
        if self.options.certify.precision == Precision::F64 {
            return only(self.run(self.double(), samples));
        }
        let single = self.engines.single.get_or_init(|| Engine::new(self.network, &self.set));
        let found = self.run(single, samples);
        let open: Vec<usize> = (0..found.len()).filter(|&s| found[s].1).collect();
        let mut found: Vec<NoiseCertificate> = only(found);
        if !open.is_empty() {
            let gathered = Gathered::new(samples, &open, width);
            for (&s, (mut better, _)) in open.iter().zip(self.run(self.double(), gathered.samples())) {
                better.certificate.clean.index = found[s].certificate.clean.index;
                found[s] = better;
            }
        }
        found
    }

    fn double(&self) -> &Engine<'n, f64> {
        self.engines.double.get_or_init(|| Engine::new(self.network, &self.set))
    }

    /// Certificates, and whether a sample is open by rounding.
    fn run<T: Scalar>(&self, engine: &Engine<'_, T>, samples: Samples<'_>) -> Vec<(NoiseCertificate, bool)> {
        let options = &self.options.certify;
        let prepared = Prepared::new(&engine.model, &engine.radii, options.guarantee).with_noise(&self.noise);
        let tails = Tails::new(&self.noise);
        let block = Estimate::new::<T>(self.network).block(options.block);
        let chunks = samples.inputs.par_chunks(self.network.input_width() * block).enumerate();
        let blocks: Vec<Vec<(NoiseCertificate, bool)>> = chunks
            .map(|(b, inputs)| {
                if options.stop.is_set() {
                    return Vec::new();
                }
                let first = b * block;
                let clean = CleanBlock::new(&engine.model, inputs, options, |s| {
                    (samples.first + first + s, samples.labels.map(|l| l[first + s]))
                });
                let (options, methods, verdicts_only) = (&self.options, self.methods, self.verdicts_only);
                Search { options, methods, verdicts_only, prepared: &prepared, clean: &clean, tails: &tails }
                    .run()
            })
            .collect();
        blocks.concat()
    }
}

/// The set of noise whose means are known but for an error.
fn aged(
    network: &Network,
    set: PerturbationSet,
    noise: &NoiseSet,
    property: Property,
) -> Result<PerturbationSet, NoiseError> {
    if !set.layers.iter().all(|layer| layer.is_zero()) {
        return Err(NoiseError::SetBesideDrift);
    }
    if !noise.is_at_mean(network) {
        return Err(NoiseError::NotAtMean);
    }
    if noise.moves_means() && property != Property::Label {
        return Err(NoiseError::PropertyOfMeans);
    }
    Ok(noise.with_errors(set))
}

/// The smallest failure probability that may be asked for.
const LEAST: f64 = 1e-280;
/// Most passes over a block.
const PASSES: usize = 8;
/// Probabilities of boxes and rows that are this close (as logarithms) are balanced well enough: where they are small, where they
/// count in a mean over samples, and as a part of the logarithm of a probability that is tiny.
const BALANCED: (f64, f64, f64) = (1.0, 0.1, 0.06);
/// What counts in a mean over samples.
const COUNTS: f64 = 1e-3;
/// Ends of boxes that a search begins with.
const FIRST_ENDS: f64 = 100.0;
/// How much faster boxes change with their quantile than rows do, who knows: the first step.
const SLOPES: f64 = 1.6;

/// The search for the quantiles of a block.
struct Search<'a, T> {
    options: &'a NoiseOptions,
    methods: &'a [NoisyMethod],
    verdicts_only: bool,
    prepared: &'a Prepared<'a, T>,
    clean: &'a CleanBlock<T>,
    tails: &'a Tails,
}

/// What is known about one sample.
struct Progress {
    /// Where the next boxes are.
    quantile: f64,
    /// Ends of the interval that the best quantile is in, with the excess of rows over boxes there.
    low: Option<(f64, f64)>,
    high: Option<(f64, f64)>,
    /// Where boxes were last, with the excess there.
    last: Option<(f64, f64)>,
    probability: f64,
    /// The best bound of the margin at the probability that is asked for, and the class where it is smallest.
    margin: (f64, usize),
    /// The quantile where it was found.
    at_margin: f64,
    /// The smallest bound of a deviation.
    deviation: f64,
    void: Option<Reason>,
    open_by_rounding: bool,
    done: bool,
}

impl<T: Scalar> Search<'_, T> {
    fn run(&self) -> Vec<(NoiseCertificate, bool)> {
        let options = &self.options.certify;
        let asked = self.options.failure_probability;
        let fixed = self.clean.enclosed(self.prepared);
        let start = quantile(0.5 * asked, |q| FIRST_ENDS * self.tails.later.at(q)).unwrap_or(MOST);
        let mut all: Vec<Progress> = (0..self.clean.clean.len()).map(|_| Progress::new(start)).collect();
        for (k, method) in self.methods.iter().enumerate() {
            if k > 0 {
                let clean = self.clean.clean.iter();
                all.iter_mut().zip(clean).for_each(|(sample, clean)| sample.reopen(clean, options.property));
            }
            for _ in 0..PASSES {
                let open: Vec<usize> = (0..all.len()).filter(|&s| !all[s].done).collect();
                if open.is_empty() {
                    break;
                }
                let bounds = self.bounds((&fixed, *method), &all, &open);
                open.iter().enumerate().for_each(|(k, &s)| self.advance((s, k), &mut all[s], &bounds));
            }
        }
        let of_sample = |(s, sample): (usize, &Progress)| {
            let certificate = self.clean.judged(s, sample.margin, sample.void, || sample.deviation, options);
            let failure_probability = match certificate.verdict {
                Verdict::Verified => sample.probability.min(asked),
                Verdict::Unknown => sample.probability,
                Verdict::Falsified => 1.0,
            };
            let open = options.guarantee == Guarantee::Rigorous
                && certificate.verdict == Verdict::Unknown
                && certificate.reason != Some(Reason::FormatRange)
                && (sample.void.is_some() || sample.open_by_rounding);
            (NoiseCertificate { certificate, failure_probability }, open)
        };
        all.iter().enumerate().map(of_sample).collect()
    }

    /// Bounds of the samples `open`, each at its quantile.
    fn bounds(
        &self,
        (fixed, method): (&[Option<Bounds<T>>], NoisyMethod),
        all: &[Progress],
        open: &[usize],
    ) -> LowerBounds<T> {
        let quantiles: Vec<f64> = open.iter().map(|&s| all[s].quantile).collect();
        let rows = |m: &Matrix<T>| {
            Matrix::from_vec(open.len(), m.cols(), open.iter().flat_map(|&s| m.row(s)).copied().collect())
        };
        let values: Vec<Matrix<T>> = self.clean.values.iter().map(rows).collect();
        let of_open = |bounds: &Bounds<T>| Bounds { lower: rows(&bounds.lower), upper: rows(&bounds.upper) };
        let fixed: Vec<Option<Bounds<T>>> = fixed.iter().map(|bounds| bounds.as_ref().map(of_open)).collect();
        let Specification { rows, count } = &self.clean.spec;
        let rows = open.iter().flat_map(|&s| &rows[s * count..(s + 1) * count]).copied().collect();
        let (prepared, values, fixed) = (self.prepared, &values[..], &fixed[..]);
        let block = Block { prepared, values, fixed, divided: true, quantiles: Some(&quantiles) };
        noisy_bounds(&block, &Specification { rows, count: *count }, method)
    }

    /// Takes in the bounds of sample `s`, which is number `at` of those that were bounded, and chooses its next quantile.
    fn advance(&self, (s, at): (usize, usize), sample: &mut Progress, bounds: &LowerBounds<T>) {
        let options = self.options;
        let (property, asked) = (options.certify.property, options.failure_probability);
        let count = self.clean.spec.count;
        let rows = |charges: f64, value: &dyn Fn(usize, f64, T) -> f64| -> Vec<NoisyRow> {
            let row = |k: usize| {
                let r = at * count + k;
                let free = charges * Scalar::to_f64(bounds.charge[r]);
                NoisyRow { lower: value(k, free, bounds.lower[r]), variance: bounds.variance[r] }
            };
            (0..count).map(row).collect()
        };
        sample.void = bounds.void[at];
        let slack = |k: usize, free: f64, lower: T| self.clean.slack(s, k, lower, property) + free;
        let found = rows(0.0, &slack);
        if sample.void.is_some() || found.iter().any(|row| row.lower.is_nan() || row.variance.is_nan()) {
            sample.void = sample.void.or(Some(Reason::Overflow));
            sample.done = true;
            return;
        }
        let of_boxes = self.tails.of_boxes(bounds.ends[at], sample.quantile);
        // Proved means above zero; a deviation may be as large as its tolerance.
        let of_rows = self.tails.of_rows(&found, 0.0);
        let total = ((of_boxes + of_rows) * (1.0 + f64::EPSILON)).min(1.0);
        sample.probability = if total < sample.probability { total } else { sample.probability };
        let budget = (asked - of_boxes).next_down();
        if !(budget > 0.0) && sample.margin.0 == f64::NEG_INFINITY {
            // Boxes take all that was asked for: no margin is bounded here, and there are more ends than the search began with.
            let enough = quantile(0.5 * asked, |q| self.tails.of_boxes(bounds.ends[at], q));
            if let Some(enough) = enough.filter(|enough| *enough > sample.quantile) {
                sample.quantile = enough;
                return;
            }
        }
        if budget > 0.0 && !proved(sample.margin.0, property) {
            let (least, k) = self.largest(&found, budget);
            if least > sample.margin.0 {
                sample.margin = (least, self.clean.rival(s, k, property));
                sample.at_margin = sample.quantile;
            }
            if property == Property::Deviation {
                let change = |k: usize, _: f64, lower: T| {
                    (Scalar::to_f64(lower) - self.clean.unperturbed(s, k)).next_down()
                };
                let deviation = (-self.largest(&rows(0.0, &change), budget).0).max(0.0);
                sample.deviation = sample.deviation.min(deviation);
            }
            let without_charges = || of_boxes + self.tails.of_rows(&rows(CHARGES, &slack), 0.0);
            sample.open_by_rounding |= without_charges() <= asked;
        }
        self.choose(sample, of_boxes, of_rows);
        sample.done |= self.verdicts_only && proved(sample.margin.0, property);
    }

    /// The largest number that all rows exceed but with this probability, and the row that fails most often there.
    fn largest(&self, rows: &[NoisyRow], probability: f64) -> (f64, usize) {
        let most = |least: f64| {
            let failure = |row: &NoisyRow| row.failure(self.tails.later, least);
            (0..rows.len()).max_by(|&a, &b| failure(&rows[a]).total_cmp(&failure(&rows[b]))).unwrap_or(0)
        };
        let each = quantile(probability / rows.len() as f64, |q| self.tails.later.at(q)).unwrap_or(MOST);
        let end = |row: &NoisyRow| row.lower - each * row.variance.sqrt();
        let low = rows.iter().map(end).fold(f64::INFINITY, f64::min);
        let mut low = low - 1e-9 * low.abs();
        let mut high = rows.iter().map(|row| row.lower).fold(f64::INFINITY, f64::min);
        if !(self.tails.of_rows(rows, low) <= probability) {
            return (f64::NEG_INFINITY, most(low));
        }
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            if self.tails.of_rows(rows, middle) <= probability { low = middle } else { high = middle }
        }
        (low, most(low))
    }

    /// The next quantile: where boxes fail about as often as rows. As quantiles of one Gaussian tail, both are nearly linear.
    fn choose(&self, sample: &mut Progress, of_boxes: f64, of_rows: f64) {
        let q = sample.quantile;
        let logarithm = |probability: f64| probability.clamp(1e-300, 1.0).ln();
        let size = |probability: f64| (-2.0 * logarithm(probability)).sqrt();
        let excess = size(of_rows) - size(of_boxes);
        let balance = (logarithm(of_rows) - logarithm(of_boxes)).abs();
        if excess > 0.0 {
            sample.low = Some((q, excess));
        } else {
            sample.high = Some((q, excess));
        }
        let next = match (sample.low, sample.high) {
            (Some((a, at_a)), Some((b, at_b))) => {
                let margin = 0.05 * (b - a);
                (a + (b - a) * at_a / (at_a - at_b)).clamp(a + margin, b - margin)
            }
            (None, _) | (_, None) => {
                let secant = sample.last.map(|(before, at_before)| (at_before - excess) / (q - before));
                q + excess / secant.filter(|slope| slope.is_finite()).map_or(SLOPES, |s| s.clamp(1.0, 4.0))
            }
        };
        sample.last = Some((q, excess));
        sample.quantile = next.clamp(0.0, MOST);
        let nothing_to_gain = of_boxes == 0.0 || of_boxes >= 0.5 && of_rows >= 1.0;
        let balanced = match sample.probability {
            // Far below what was asked for, as many digits of the exponent.
            probability if probability < COUNTS => BALANCED.0.max(BALANCED.2 * -logarithm(probability)),
            _ => BALANCED.1,
        };
        sample.done = balance < balanced || (sample.quantile - q).abs() < 1e-3 || nothing_to_gain;
    }
}

impl Progress {
    /// Lets a better method search again from where the margin is bounded, where nothing is proved yet and nothing stands against it.
    fn reopen(&mut self, clean: &Clean, property: Property) {
        let is_wrong = property != Property::Deviation && clean.margin <= 0.0;
        self.done = is_wrong || self.void.is_some() || proved(self.margin.0, property);
        (self.quantile, self.low, self.high, self.last) = (self.at_margin, None, None, None);
    }

    fn new(quantile: f64) -> Self {
        Progress {
            quantile,
            low: None,
            high: None,
            last: None,
            probability: 1.0,
            margin: (f64::NEG_INFINITY, 0),
            at_margin: quantile,
            deviation: f64::INFINITY,
            void: None,
            open_by_rounding: false,
            done: false,
        }
    }
}
