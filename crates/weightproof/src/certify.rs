//! Certification of batches: forward passes, a bound method for each perturbation set, verdicts.

use crate::bounds::{Block, BoundMethod, LowerBounds, METHODS, Prepared, method};
use crate::kernels::{Matrix, Scalar};
use crate::memory::Estimate;
use crate::model::{Model, Radii};
use crate::network::Network;
use crate::property::{Property, Specification};
use crate::stop::Stop;
use crate::threat::PerturbationSet;
use crate::verdict::{Clean, Precision, Reason, SampleCertificate, Samples, Verdict, nan_min};
use rayon::prelude::*;
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
    /// Most samples in one block of work; large networks take fewer.
    pub block: usize,
    /// Ends the work: blocks that were not begun are left out.
    pub stop: Stop,
}

impl CertifyOptions {
    /// Samples of a block: enough for the products to share their weights, few enough for the cache.
    pub const BLOCK: usize = 64;

    /// The default engine for a method and a property: f32, blocks of [`CertifyOptions::BLOCK`].
    pub fn new(method: &str, property: Property) -> Self {
        let (method, precision) = (method.into(), Precision::F32);
        CertifyOptions {
            method,
            property,
            tolerance: 0.0,
            precision,
            block: CertifyOptions::BLOCK,
            stop: Stop::default(),
        }
    }
}

/// What f32 may add to outputs that are not ill-conditioned, as a part of the largest.
const ROUNDING: f64 = 1e-3;

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
    engine: Engine<'n>,
}

/// The engine in one of its two precisions.
enum Engine<'n> {
    F32(EngineOf<'n, f32>),
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
            Precision::F32 => Engine::F32(EngineOf::new(network, sets)),
            Precision::F64 => Engine::F64(EngineOf::new(network, sets)),
        };
        Ok(Certifier { network, options, engine })
    }

    /// One list of certificates for each set, in the order of the samples. Parallel over blocks on the current rayon
    /// pool; the result does not depend on the number of threads.
    ///
    /// # Panics
    /// When the inputs are not whole samples, or [`Property::Label`] comes without labels: callers check their data.
    pub fn certify(&self, samples: Samples<'_>) -> Vec<Vec<SampleCertificate>> {
        match &self.engine {
            Engine::F32(engine) => self.run(engine, samples),
            Engine::F64(engine) => self.run(engine, samples),
        }
    }

    fn run<T: Scalar>(&self, engine: &EngineOf<'_, T>, samples: Samples<'_>) -> Vec<Vec<SampleCertificate>> {
        let method = method::<T>(&self.options.method).expect("checked when built");
        let prepared: Vec<Prepared<'_, T>> =
            engine.radii.iter().map(|radii| Prepared::new(&engine.model, radii)).collect();
        let width = self.network.input_width();
        assert_eq!(samples.inputs.len() % width, 0, "inputs are whole samples");
        let block = Estimate::new::<T>(self.network).block(self.options.block);
        let blocks: Vec<Vec<Vec<SampleCertificate>>> = samples
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
    pub(crate) values: Vec<Matrix<T>>,
    pub(crate) clean: Vec<Clean>,
    pub(crate) spec: Specification,
    /// Outputs in f64, (samples, outputs).
    in_f64: Matrix<f64>,
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
        let x = Matrix::from_vec(count, width, inputs.iter().map(|&v| T::from_f64(v)).collect());
        let values = model.forward(x);
        let outputs = values.last().expect("a network has nodes");
        // What the unperturbed network says is read in f64, whatever bounds are computed in.
        let in_f64 = match options.precision {
            Precision::F32 => model.outputs_in_f64(inputs),
            Precision::F64 => outputs.map(|v| Scalar::to_f64(v)),
        };
        let clean: Vec<Clean> = (0..count)
            .map(|s| {
                let (index, label) = identity(s);
                Clean::of(in_f64.row(s), index, label, options.property, options.tolerance)
            })
            .collect();
        let classes = outputs.cols();
        let spec = match options.property {
            Property::Label | Property::Prediction => {
                Specification::margins(&clean.iter().map(|c| c.target).collect::<Vec<_>>(), classes)
            }
            Property::Deviation => Specification::outputs(count, classes),
        };
        CleanBlock { values, clean, spec, in_f64 }
    }

    /// Bounds and verdicts against one perturbation set.
    pub(crate) fn certify(
        &self,
        prepared: &Prepared<'_, T>,
        method: &dyn BoundMethod<T>,
        options: &CertifyOptions,
    ) -> Vec<SampleCertificate> {
        let bounds = method.lower_bounds(&Block { prepared, values: &self.values }, &self.spec);
        (0..self.clean.len()).map(|s| self.verdict(&bounds, s, options)).collect()
    }

    /// What is proved about sample `s` of the block by bounds of all of its rows.
    pub(crate) fn verdict(
        &self,
        bounds: &LowerBounds<T>,
        s: usize,
        options: &CertifyOptions,
    ) -> SampleCertificate {
        let clean = self.clean[s];
        let lower = &bounds.lower[s * self.spec.count..(s + 1) * self.spec.count];
        let mut worst = (f64::INFINITY, 0);
        for (k, &bound) in lower.iter().enumerate() {
            let slack = bound.to_f64() + self.shift(s, k, options.property);
            let rival = match options.property {
                Property::Label | Property::Prediction => Specification::rival(clean.target, k),
                Property::Deviation => k / 2,
            };
            let least = nan_min(worst.0, slack);
            if k == 0 || least.is_nan() || least < worst.0 {
                worst = (least, rival);
            }
        }
        let void = bounds.void[s].or((!worst.0.is_finite()).then_some(Reason::Overflow));
        let void = void.or(self.contradicted(lower, s, options.property).then_some(Reason::Precision));
        let margin_lower = if void.is_some() { f64::NEG_INFINITY } else { worst.0 };
        let misclassified = match options.property {
            Property::Label => clean.predicted != clean.target || clean.margin <= 0.0,
            Property::Prediction | Property::Deviation => false,
        };
        let (verdict, reason) = if misclassified {
            (Verdict::Falsified, Some(Reason::Misclassified))
        } else if proved(margin_lower, options.property) {
            (Verdict::Verified, None)
        } else {
            (Verdict::Unknown, Some(void.unwrap_or(Reason::BoundTooLoose)))
        };
        let deviation_upper = match options.property {
            Property::Deviation if void.is_some() => Some(f64::INFINITY),
            // Without the tolerance, which would take the digits of a small deviation.
            Property::Deviation => {
                let of_row = |(k, bound): (usize, &T)| self.unperturbed(s, k) - Scalar::to_f64(*bound);
                Some(lower.iter().enumerate().map(of_row).fold(0.0, f64::max).next_up())
            }
            Property::Label | Property::Prediction => None,
        };
        SampleCertificate { clean, margin_lower, runner_up: worst.1, deviation_upper, verdict, reason }
    }
}

impl<T: Scalar> CleanBlock<T> {
    /// What is added to a lower bound of row `k` of sample `s` to get one of the margin: nothing where rows are margins; for
    /// deviations, whose row 2j is f̂_j and row 2j+1 is −f̂_j, the tolerance minus the unperturbed value of the row.
    pub(crate) fn shift(&self, s: usize, k: usize, property: Property) -> f64 {
        match property {
            Property::Label | Property::Prediction => 0.0,
            Property::Deviation => self.clean[s].margin - self.unperturbed(s, k),
        }
    }

    /// Whether lower bounds of the rows of sample `s` are above what the unperturbed network, which is in every set, has in f64.
    /// They may be by rounding in f32, but not when they prove a margin that is not there.
    fn contradicted(&self, lower: &[T], s: usize, property: Property) -> bool {
        let outputs = self.in_f64.row(s);
        let rounding = ROUNDING * outputs.iter().fold(0.0, |most: f64, f| most.max(f.abs()));
        lower.iter().zip(&self.spec.rows[s * self.spec.count..]).any(|(bound, row)| {
            let (bound, value) = (Scalar::to_f64(*bound), row.apply(outputs));
            let is_margin = property != Property::Deviation;
            bound > value + rounding || (is_margin && bound > 0.0 && !(value > 0.0))
        })
    }

    /// Row `k` of the specification of sample `s` for the unperturbed network.
    fn unperturbed(&self, s: usize, k: usize) -> f64 {
        let outputs = self.values.last().expect("a network has nodes").row(s);
        self.spec.rows[s * self.spec.count + k].apply(outputs).to_f64()
    }
}

/// Whether a lower bound proves the property: a margin must stay above zero, a deviation within its tolerance.
/// NaN proves nothing.
fn proved(margin_lower: f64, property: Property) -> bool {
    match property {
        Property::Label | Property::Prediction => margin_lower > 0.0,
        Property::Deviation => margin_lower >= 0.0,
    }
}
