//! The tasks of the command line as functions: arguments are checked, results come in the order of the samples.
//!
//! Each builds an engine, uses it once and drops it. For several batches or sets build the engine once: [`Certifier`],
//! [`ExactCertifier`], [`Attacker`], [`RadiusSearch`].

use crate::attack::{AttackOptions, Attacker, SampleAttack};
use crate::bounds::EXACT;
use crate::certify::{Certifier, CertifyOptions, UnknownMethod};
use crate::exact::{ExactCertifier, ExactOptions};
use crate::network::Network;
use crate::property::Property;
use crate::radius::{OrderViolation, RadiusOptions, RadiusSearch, SampleRadius};
use crate::threat::PerturbationSet;
use crate::verdict::{SampleCertificate, Samples};
use std::slice;
use thiserror::Error;

/// Why a task is not begun, or not ended.
#[derive(Debug, Error)]
pub enum TaskError {
    /// There is no such method.
    #[error(transparent)]
    Method(#[from] UnknownMethod),
    /// The inputs are not whole samples.
    #[error("inputs: expected samples of {width} values, found {found} values")]
    Inputs {
        /// Elements of the network's input.
        width: usize,
        /// Values given.
        found: usize,
    },
    /// There are as many labels as samples, or none.
    #[error("labels: expected {samples}, found {found}")]
    Labels {
        /// Samples given.
        samples: usize,
        /// Labels given.
        found: usize,
    },
    /// A label is no output of the network.
    #[error("label of sample {sample}: expected a class below {classes}, found {found}")]
    Label {
        /// Index among the samples given.
        sample: usize,
        /// Outputs of the network.
        classes: usize,
        /// The label.
        found: u32,
    },
    /// A margin takes two outputs.
    #[error("property {}: expected a network with 2 outputs, found {found}", property.name())]
    FewOutputs {
        /// The property.
        property: Property,
        /// Outputs of the network.
        found: usize,
    },
    /// The elements of an image or a sequence are no classes.
    #[error("property {}: expected an output of classes, found the shape {found:?}", property.name())]
    NoClasses {
        /// The property.
        property: Property,
        /// Shape of the output.
        found: Vec<usize>,
    },
    /// A proof and a witness contradict each other.
    #[error(transparent)]
    Order(#[from] OrderViolation),
}

/// Proves that `set` leaves the property of each sample as it is: a verdict and a proved bound of its smallest margin.
///
/// The method is one of [`METHODS`](crate::bounds::METHODS), or `exact`, which proves every sample or finds a witness and may take
/// very long: [`ExactCertifier`] has limits.
///
/// # Errors
/// [`TaskError`].
///
/// # Examples
/// See the [front page](crate).
pub fn certify(
    network: &Network,
    samples: Samples<'_>,
    set: &PerturbationSet,
    options: CertifyOptions,
) -> Result<Vec<SampleCertificate>, TaskError> {
    check(network, samples, options.property)?;
    let sets = slice::from_ref(set);
    if options.method == EXACT.name {
        let found = ExactCertifier::new(network, sets, ExactOptions::new(options)).certify(samples);
        return Ok(found.into_iter().flatten().map(|found| found.certificate).collect());
    }
    Ok(Certifier::new(network, sets, options)?.certify(samples).into_iter().flatten().collect())
}

/// Looks for a perturbation in `set` that breaks the property of each sample: the smallest margin found, with a witness that was
/// checked by the plain forward pass.
///
/// # Errors
/// [`TaskError`].
pub fn attack(
    network: &Network,
    samples: Samples<'_>,
    set: &PerturbationSet,
    options: AttackOptions,
) -> Result<Vec<SampleAttack>, TaskError> {
    check(network, samples, options.property)?;
    Ok(Attacker::new(network, set, options).attack(samples))
}

/// The largest `t` for which each sample is certified over the set `unit` scaled by `t`, and the smallest at which an attack breaks it.
///
/// # Errors
/// [`TaskError`].
pub fn radius(
    network: &Network,
    samples: Samples<'_>,
    unit: &PerturbationSet,
    options: RadiusOptions,
) -> Result<Vec<SampleRadius>, TaskError> {
    check(network, samples, options.certify.property)?;
    Ok(RadiusSearch::new(network, unit, options)?.search(samples)?)
}

/// Whether the samples are those of the network, with labels where the property needs them.
fn check(network: &Network, samples: Samples<'_>, property: Property) -> Result<(), TaskError> {
    let (width, classes) = (network.input_width(), network.output_width());
    if property != Property::Deviation && classes < 2 {
        return Err(TaskError::FewOutputs { property, found: classes });
    }
    if property != Property::Deviation && !network.has_classes() {
        let found = network.nodes().last().map(|node| node.shape.clone()).unwrap_or_default();
        return Err(TaskError::NoClasses { property, found });
    }
    if !samples.inputs.len().is_multiple_of(width) {
        return Err(TaskError::Inputs { width, found: samples.inputs.len() });
    }
    let (count, labels) = (samples.count(width), samples.labels.unwrap_or_default());
    let needed = property == Property::Label || samples.labels.is_some();
    if needed && labels.len() != count {
        return Err(TaskError::Labels { samples: count, found: labels.len() });
    }
    let wrong = labels.iter().position(|&label| label as usize >= classes);
    wrong.map_or(Ok(()), |sample| Err(TaskError::Label { sample, classes, found: labels[sample] }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Matrix;
    use crate::network::{Activation, NetworkBuilder};
    use crate::threat::{Kind, ThreatModel};
    use crate::verdict::Verdict;

    /// f(x) = (max(x, 0), 0).
    fn network() -> Network {
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("first", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new()).unwrap();
        let z = builder.activation("relu", p, Activation::Relu).unwrap();
        builder.dense("second", z, Matrix::from_vec(2, 1, vec![1.0, 0.0]), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn arguments_are_checked() {
        let network = network();
        let set = ThreatModel::new(Kind::Absolute, 0.1).resolve(&network).unwrap();
        let told = |inputs: &[f64], labels: Option<&[u32]>, method: &str| {
            let samples = Samples { first: 0, inputs, labels };
            let options = CertifyOptions::new(method, Property::Label);
            certify(&network, samples, &set, options).unwrap_err().to_string()
        };
        assert_eq!(told(&[1.0], None, "linear"), "labels: expected 1, found 0");
        assert_eq!(told(&[1.0], Some(&[0, 1]), "linear"), "labels: expected 1, found 2");
        assert_eq!(
            told(&[1.0], Some(&[2]), "linear"),
            "label of sample 0: expected a class below 2, found 2"
        );
        assert!(told(&[1.0], Some(&[0]), "guess").starts_with("method: expected one of "));
        let samples = Samples { first: 0, inputs: &[1.0, 2.0], labels: None };
        let prediction = CertifyOptions::new("interval", Property::Prediction);
        assert_eq!(certify(&network, samples, &set, prediction).unwrap().len(), 2);
    }

    /// The exact method proves below a half and has a witness above it, where the worst margin is `(1 − r)(1 − 2 r)`.
    #[test]
    fn exact_is_a_method() {
        let network = network();
        let unit = ThreatModel::new(Kind::Absolute, 1.0).resolve(&network).unwrap();
        let samples = Samples { first: 0, inputs: &[1.0], labels: Some(&[0]) };
        for (radius, expected) in [(0.49, Verdict::Verified), (0.51, Verdict::Falsified)] {
            let options = CertifyOptions::new("exact", Property::Label);
            let found = certify(&network, samples, &unit.scaled(radius), options).unwrap();
            assert_eq!(found[0].verdict, expected);
        }
    }
}
