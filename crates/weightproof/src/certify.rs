//! Certification of batches: forward passes, a bound method for each perturbation set, verdicts.

use crate::bounds::{
    Block, BoundMethod, Bounds, Chain, HitTerms, LowerBounds, METHODS, Prepared, intersect, method,
};
use crate::faults::{FaultError, HitSet};
use crate::gathered::Gathered;
use crate::kernels::{Matrix, Scalar};
use crate::memory::Estimate;
use crate::model::{Model, Radii};
use crate::network::Network;
use crate::property::{Property, Specification};
use crate::stop::Stop;
use crate::threat::PerturbationSet;
use crate::verdict::{Clean, Guarantee, Precision, Reason, SampleCertificate, Samples, Verdict, nan_min};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;
use thiserror::Error;

/// How samples are certified.
#[derive(Clone, Debug, PartialEq)]
pub struct CertifyOptions {
    /// Name of an entry of [`METHODS`].
    pub method: String,
    /// What must hold.
    pub property: Property,
    /// Largest allowed deviation, for [`Property::Deviation`].
    pub tolerance: f64,
    /// Floating-point type of the bounds.
    pub precision: Precision,
    /// What the bounds rest on.
    pub guarantee: Guarantee,
    /// Most samples in one block of work; large networks take fewer.
    pub block: usize,
    /// Ends the work: blocks that were not begun are left out.
    pub stop: Stop,
}

impl CertifyOptions {
    /// Samples of a block: enough for the products to share their weights, few enough for the cache.
    pub const BLOCK: usize = 64;

    /// The default engine for a method and a property: f32, rigorous, blocks of [`CertifyOptions::BLOCK`].
    pub fn new(method: &str, property: Property) -> Self {
        let (method, precision) = (method.into(), Precision::F32);
        CertifyOptions {
            method,
            property,
            tolerance: 0.0,
            precision,
            guarantee: Guarantee::Rigorous,
            block: CertifyOptions::BLOCK,
            stop: Stop::default(),
        }
    }
}

/// The method's name is not in [`METHODS`].
#[derive(Debug, Error, PartialEq)]
#[error("method: expected one of {}, found {found}", METHODS.iter().map(|m| m.name).collect::<Vec<_>>().join(", "))]
pub struct UnknownMethod {
    /// What was written.
    pub found: String,
}

/// Certifies batches of samples of one network against several perturbation sets.
pub struct Certifier<'n> {
    network: &'n Network,
    options: CertifyOptions,
    /// Hits on stored words, beside every set.
    hits: Option<HitSet>,
    /// The chain that hits move, where nothing else does and the method bounds differences.
    chain: Option<Chain<'n>>,
    engine: Engine<'n>,
}

/// The engine in one of its two precisions.
enum Engine<'n> {
    /// With the one in f64 for the samples that f32 leaves open by rounding, made when there are some.
    F32(EngineOf<'n, f32>, OnceLock<EngineOf<'n, f64>>),
    F64(EngineOf<'n, f64>),
}

struct EngineOf<'n, T> {
    model: Model<'n, T>,
    radii: Vec<Radii<T>>,
}

impl<'n, T: Scalar> EngineOf<'n, T> {
    fn new(network: &'n Network, sets: &[PerturbationSet]) -> Self {
        let radii = sets.iter().map(|set| Radii::new(set, network.nodes().len())).collect();
        EngineOf { model: Model::new(network), radii }
    }
}

impl<'n> Certifier<'n> {
    /// Casts the network and the sets once.
    ///
    /// # Errors
    /// When the method is unknown.
    pub fn new(
        network: &'n Network,
        sets: &[PerturbationSet],
        options: CertifyOptions,
    ) -> Result<Self, UnknownMethod> {
        if method::<f64>(&options.method).is_none() {
            return Err(UnknownMethod { found: options.method });
        }
        let engine = match options.precision {
            Precision::F32 => Engine::F32(EngineOf::new(network, sets), OnceLock::new()),
            Precision::F64 => Engine::F64(EngineOf::new(network, sets)),
        };
        Ok(Certifier { network, options, hits: None, chain: None, engine })
    }

    /// The same while words of the network are hit, too: bounds pay the largest damages (theory.md §10). The network must be the one
    /// that the words stand for.
    ///
    /// # Errors
    /// A method that has no rule for hits.
    pub fn with_hits(self, hits: HitSet) -> Result<Self, FaultError> {
        match self.options.method.as_str() {
            "interval" | "linear-interval" => Ok(Certifier { hits: Some(hits), ..self }),
            "linear" => {
                let chain =
                    self.sets().all(PerturbationSet::is_point).then(|| Chain::new(self.network, &hits));
                Ok(Certifier { hits: Some(hits), chain: chain.flatten(), ..self })
            }
            found => Err(FaultError::Method { found: found.into() }),
        }
    }

    /// One list of certificates for each set, in the order of the samples. Parallel over blocks on the current rayon
    /// pool; the result does not depend on the number of threads.
    ///
    /// # Panics
    /// When the inputs are not whole samples, or [`Property::Label`] comes without labels: callers check their data.
    pub fn certify(&self, samples: Samples<'_>) -> Vec<Vec<SampleCertificate>> {
        let width = self.network.input_width();
        assert_eq!(samples.inputs.len() % width, 0, "inputs are whole samples");
        let all = 0..match &self.engine {
            Engine::F32(engine, _) => engine.radii.len(),
            Engine::F64(engine) => engine.radii.len(),
        };
        let (f32, f64) = match &self.engine {
            Engine::F64(engine) => {
                let found = self.run(engine, all, samples);
                return found
                    .into_iter()
                    .map(|of_set| of_set.into_iter().map(|(c, _)| c).collect())
                    .collect();
            }
            Engine::F32(engine, f64) => (engine, f64),
        };
        let again = |(set, found): (usize, Vec<(SampleCertificate, bool)>)| {
            let open: Vec<usize> = (0..found.len()).filter(|&s| found[s].1).collect();
            let mut found: Vec<SampleCertificate> = found.into_iter().map(|(c, _)| c).collect();
            if !open.is_empty() {
                let gathered = Gathered::new(samples, &open, width);
                let sets =
                    || f32.radii.iter().map(|radii| PerturbationSet::clone(&radii.set)).collect::<Vec<_>>();
                let engine = f64.get_or_init(|| EngineOf::new(self.network, &sets()));
                let better = self.run(engine, set..set + 1, gathered.samples()).swap_remove(0);
                for (&s, (mut certificate, _)) in open.iter().zip(better) {
                    certificate.clean.index = found[s].clean.index;
                    found[s] = certificate;
                }
            }
            found
        };
        self.run(f32, all, samples).into_iter().enumerate().map(again).collect()
    }

    fn sets(&self) -> impl Iterator<Item = &PerturbationSet> {
        let (f32, f64) = match &self.engine {
            Engine::F32(engine, _) => (&engine.radii[..], &[][..]),
            Engine::F64(engine) => (&[][..], &engine.radii[..]),
        };
        f32.iter().map(|radii| &*radii.set).chain(f64.iter().map(|radii| &*radii.set))
    }

    fn prepared<'e, T: Scalar>(&'e self, model: &'e Model<'e, T>, radii: &'e Radii<T>) -> Prepared<'e, T> {
        let prepared = Prepared::new(model, radii, self.options.guarantee);
        match &self.hits {
            None => prepared,
            Some(hits) => prepared.with_hits(hits, self.chain.as_ref()),
        }
    }

    /// What the linear bounds of one sample say about hits.
    ///
    /// # Panics
    /// When the engine is in f32.
    pub(crate) fn hit_terms(&self, sample: Samples<'_>) -> HitTerms {
        let Engine::F64(engine) = &self.engine else { panic!("terms are in f64") };
        let identity = |_| (sample.first, sample.labels.map(|labels| labels[0]));
        let clean = CleanBlock::new(&engine.model, sample.inputs, &self.options, identity);
        let prepared = &self.prepared(&engine.model, &engine.radii[0]);
        let (values, fixed) = (&clean.values[..], &clean.enclosed(prepared)[..]);
        HitTerms::new(&Block { prepared, values, fixed, divided: false, quantiles: None }, &clean.spec)
    }

    /// Certificates for some of the sets, and whether a sample is open by rounding.
    fn run<T: Scalar>(
        &self,
        engine: &EngineOf<'_, T>,
        sets: Range<usize>,
        samples: Samples<'_>,
    ) -> Vec<Vec<(SampleCertificate, bool)>> {
        let method = method::<T>(&self.options.method).expect("checked when built");
        let radii = &engine.radii[sets];
        let prepared: Vec<Prepared<'_, T>> =
            radii.iter().map(|radii| self.prepared(&engine.model, radii)).collect();
        if !samples.inputs.is_empty() {
            engine.model.prepare_f64();
            prepared.iter().for_each(Prepared::split_all);
        }
        let width = self.network.input_width();
        let block = Estimate::new::<T>(self.network).block(self.options.block);
        let blocks: Vec<Vec<Vec<(SampleCertificate, bool)>>> = samples
            .inputs
            .par_chunks(width * block)
            .enumerate()
            .map(|(b, inputs)| {
                if self.options.stop.is_set() {
                    return vec![Vec::new(); prepared.len()];
                }
                let first = b * block;
                let clean = CleanBlock::new(&engine.model, inputs, &self.options, |s| {
                    (samples.first + first + s, samples.labels.map(|l| l[first + s]))
                });
                prepared.iter().map(|prepared| clean.certify(prepared, method, &self.options)).collect()
            })
            .collect();
        (0..prepared.len())
            .map(|set| blocks.iter().flat_map(|block| block[set].iter().copied()).collect())
            .collect()
    }
}

/// A block of samples with the values of the unperturbed network, shared by all perturbation sets.
pub(crate) struct CleanBlock<T> {
    /// To the nearest number, by node.
    pub(crate) values: Vec<Matrix<T>>,
    pub(crate) clean: Vec<Clean>,
    pub(crate) spec: Specification,
    /// The same values in f64.
    in_f64: Vec<Matrix<f64>>,
    /// For each sample how far its outputs in f64 may be from those in real arithmetic, where that is asked.
    errors: Vec<f64>,
}

impl<T: Scalar> CleanBlock<T> {
    /// Runs the forward pass; `identity` gives the index and label of the block's samples.
    pub(crate) fn new(
        model: &Model<'_, T>,
        inputs: &[f64],
        options: &CertifyOptions,
        identity: impl Fn(usize) -> (usize, Option<u32>),
    ) -> Self {
        let width = model.network.input_width();
        let count = inputs.len() / width;
        // What the unperturbed network says is read in f64, whatever bounds are computed in.
        let in_f64 = model.values_in_f64(inputs);
        let values = in_f64.iter().map(Matrix::cast).collect();
        let outputs = in_f64.last().expect("a network has nodes");
        let clean: Vec<Clean> = (0..count)
            .map(|s| {
                let (index, label) = identity(s);
                Clean::of(outputs.row(s), index, label, options.property, options.tolerance)
            })
            .collect();
        let classes = outputs.cols();
        let spec = match options.property {
            Property::Label | Property::Prediction => {
                Specification::margins(&clean.iter().map(|c| c.target).collect::<Vec<_>>(), classes)
            }
            Property::Deviation => Specification::outputs(count, classes),
        };
        let asked =
            |c: &Clean| options.property == Property::Deviation || is_misclassified(c, options.property);
        let error = |(s, c): (usize, &Clean)| {
            let charged = options.guarantee == Guarantee::Rigorous && asked(c);
            let values: Vec<&[f64]> = in_f64.iter().map(|m| m.row(s)).collect();
            if charged { model.output_error(&values, enough(c, options.property)) } else { 0.0 }
        };
        let errors = clean.iter().enumerate().map(error).collect();
        CleanBlock { values, clean, spec, in_f64, errors }
    }

    /// What bounds against one perturbation set start from, for [`Block::fixed`].
    pub(crate) fn enclosed(&self, prepared: &Prepared<'_, T>) -> Vec<Option<Bounds<T>>> {
        prepared.enclosed(&self.in_f64)
    }

    /// Bounds of the specification against one perturbation set.
    pub(crate) fn bounds(&self, prepared: &Prepared<'_, T>, method: &dyn BoundMethod<T>) -> LowerBounds<T> {
        let fixed = self.enclosed(prepared);
        let block = Block { prepared, values: &self.values, fixed: &fixed, divided: true, quantiles: None };
        let bounds = method.lower_bounds(&block, &self.spec);
        match prepared.differences(&self.in_f64, &self.spec) {
            None => bounds,
            Some(differences) => intersect(bounds, &differences),
        }
    }

    /// Bounds and verdicts against one perturbation set, and whether a sample is open by rounding.
    pub(crate) fn certify(
        &self,
        prepared: &Prepared<'_, T>,
        method: &dyn BoundMethod<T>,
        options: &CertifyOptions,
    ) -> Vec<(SampleCertificate, bool)> {
        let bounds = self.bounds(prepared, method);
        let of_sample = |s: usize| {
            let certificate = self.verdict(&bounds, s, options);
            (certificate, self.is_open_by_rounding(&bounds, s, &certificate, options))
        };
        (0..self.clean.len()).map(of_sample).collect()
    }

    /// What is proved about sample `s` of the block by bounds of all of its rows.
    pub(crate) fn verdict(
        &self,
        bounds: &LowerBounds<T>,
        s: usize,
        options: &CertifyOptions,
    ) -> SampleCertificate {
        let lower = &bounds.lower[s * self.spec.count..(s + 1) * self.spec.count];
        let mut worst = (f64::INFINITY, 0);
        for (k, &bound) in lower.iter().enumerate() {
            let slack = self.slack(s, k, bound, options.property);
            let rival = self.rival(s, k, options.property);
            let least = nan_min(worst.0, slack);
            if k == 0 || least.is_nan() || least < worst.0 {
                worst = (least, rival);
            }
        }
        let deviation = || {
            // Without the tolerance, which would take the digits of a small deviation.
            let of_row = |(k, bound): (usize, &T)| self.unperturbed(s, k) - Scalar::to_f64(*bound);
            lower.iter().enumerate().map(of_row).fold(0.0, f64::max).next_up()
        };
        self.judged(s, worst, bounds.void[s], deviation, options)
    }

    /// What a bound of the margin of sample `s`, with the class or output where it is smallest, and for deviations a bound of the
    /// largest one prove.
    pub(crate) fn judged(
        &self,
        s: usize,
        worst: (f64, usize),
        void: Option<Reason>,
        deviation: impl Fn() -> f64,
        options: &CertifyOptions,
    ) -> SampleCertificate {
        let clean = self.clean[s];
        let void = void.or((!worst.0.is_finite()).then_some(Reason::Overflow));
        let margin_lower = if void.is_some() { f64::NEG_INFINITY } else { worst.0 };
        // A margin that rounding in f64 may have pushed below zero breaks nothing.
        let misclassified = is_misclassified(&clean, options.property);
        let is_certain = clean.margin + 2.0 * self.errors[s] <= 0.0 || self.errors[s] == 0.0;
        let (verdict, reason) = if misclassified && is_certain {
            (Verdict::Falsified, Some(Reason::Misclassified))
        } else if proved(margin_lower, options.property) {
            (Verdict::Verified, None)
        } else if misclassified {
            (Verdict::Unknown, Some(Reason::Precision))
        } else {
            (Verdict::Unknown, Some(void.unwrap_or(Reason::BoundTooLoose)))
        };
        let deviation_upper = match options.property {
            Property::Deviation if void.is_some() => Some(f64::INFINITY),
            Property::Deviation => Some(deviation()),
            Property::Label | Property::Prediction => None,
        };
        SampleCertificate { clean, margin_lower, runner_up: worst.1, deviation_upper, verdict, reason }
    }

    /// Whether rows of sample `s` are not proved only because of what was charged for rounding, or of the range of the type.
    pub(crate) fn is_open_by_rounding(
        &self,
        bounds: &LowerBounds<T>,
        s: usize,
        certificate: &SampleCertificate,
        options: &CertifyOptions,
    ) -> bool {
        let charges = match options.method.as_str() {
            "interval" | "linear-interval" => CHARGES_OF_INTERVALS,
            _ => CHARGES,
        };
        let may_hold = |r: usize| {
            let slack = self.slack(s, r - s * self.spec.count, bounds.lower[r], options.property);
            // NaN may be anything.
            !(slack + charges * bounds.charge[r].to_f64() <= 0.0)
        };
        options.guarantee == Guarantee::Rigorous
            && certificate.verdict == Verdict::Unknown
            && certificate.reason != Some(Reason::FormatRange)
            && (bounds.void[s].is_some() || (s * self.spec.count..(s + 1) * self.spec.count).all(may_hold))
    }
}

impl<T: Scalar> CleanBlock<T> {
    /// What is added to a lower bound of row `k` of sample `s` to get one of the margin: nothing where rows are margins; for
    /// deviations, whose row 2j is f̂_j and row 2j+1 is −f̂_j, the tolerance minus the unperturbed value of the row.
    pub(crate) fn shift(&self, s: usize, k: usize, property: Property) -> f64 {
        match property {
            Property::Label | Property::Prediction => 0.0,
            Property::Deviation => (self.clean[s].margin - self.unperturbed(s, k)).next_down(),
        }
    }

    /// The class or output that row `k` of sample `s` is about.
    pub(crate) fn rival(&self, s: usize, k: usize, property: Property) -> usize {
        match property {
            Property::Label | Property::Prediction => Specification::rival(self.clean[s].target, k),
            Property::Deviation => k / 2,
        }
    }

    /// The bound of the margin that a bound of row `k` of sample `s` gives.
    pub(crate) fn slack(&self, s: usize, k: usize, bound: T, property: Property) -> f64 {
        match property {
            Property::Label | Property::Prediction => bound.to_f64(),
            Property::Deviation => (bound.to_f64() + self.shift(s, k, property)).next_down(),
        }
    }

    /// Row `k` of the specification of sample `s` for the unperturbed network: at most this.
    pub(crate) fn unperturbed(&self, s: usize, k: usize) -> f64 {
        let outputs = self.in_f64.last().expect("a network has nodes").row(s);
        let value = self.spec.rows[s * self.spec.count + k].apply(outputs);
        if self.errors[s] == 0.0 { value } else { (value + self.errors[s]).next_up() }
    }
}

/// Bounds that are below what they must reach by less than this many times what was charged for rounding are computed again in
/// f64: charges also widened the boxes that they were computed from.
pub(crate) const CHARGES: f64 = 4.0;
/// The same of methods whose boxes are intervals, which grow by it from layer to layer.
const CHARGES_OF_INTERVALS: f64 = 32.0;

/// An error of the outputs in f64 that does not matter: half of a margin below zero, a millionth of a tolerance.
fn enough(clean: &Clean, property: Property) -> f64 {
    match property {
        Property::Label | Property::Prediction => -0.5 * clean.margin,
        Property::Deviation => 1e-6 * clean.margin,
    }
}

/// Whether the unperturbed network, read in f64, breaks the property.
fn is_misclassified(clean: &Clean, property: Property) -> bool {
    match property {
        Property::Label => clean.predicted != clean.target || clean.margin <= 0.0,
        Property::Prediction | Property::Deviation => false,
    }
}

/// Whether a lower bound proves the property: a margin must stay above zero, a deviation within its tolerance.
/// NaN proves nothing.
pub(crate) fn proved(margin_lower: f64, property: Property) -> bool {
    match property {
        Property::Label | Property::Prediction => margin_lower > 0.0,
        Property::Deviation => margin_lower >= 0.0,
    }
}
