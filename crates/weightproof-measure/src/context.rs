//! What measures are taken of, and what several of them share: computed once, when it is first asked for.

use crate::error::Refusal;
use crate::sharpness::Losses;
use std::cell::OnceCell;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::kernels::Matrix;
use weightproof::model::ForwardPass;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::PerturbationSet;
use weightproof::verdict::{SampleCertificate, Samples};

/// How hard is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Effort {
    /// Samples that searches use at most, the first ones.
    pub samples: usize,
    /// Random networks that an expectation over perturbations is the mean of.
    pub draws: usize,
    /// Passes of the universal attack over the samples.
    pub passes: usize,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { samples: 1000, draws: 8, passes: 20, seed: 0 }
    }
}

/// A network with everything that measures may need.
pub struct Context<'a> {
    /// The network.
    pub network: &'a Network,
    /// The samples it was trained on, or others in their place; labelled for all that has to do with errors.
    pub train: Samples<'a>,
    /// Samples that played no role in training it.
    pub held_out: Option<Samples<'a>>,
    /// The network before it was trained: the same layers.
    pub initial: Option<&'a Network>,
    /// The perturbations; all radii are zero for the unperturbed network.
    pub set: &'a PerturbationSet,
    /// How margins over the set are bounded.
    pub certify: CertifyOptions,
    /// Probability with which a bound may fail.
    pub delta: f64,
    /// How hard is searched.
    pub effort: Effort,
    outputs: OnceCell<Matrix<f64>>,
    certified: OnceCell<Vec<f64>>,
    /// σ of noise on all parameters, absolute and relative.
    pub(crate) deviations: [OnceCell<Result<f64, Refusal>>; 2],
    /// Growth of the losses over the set, proved and found.
    pub(crate) growths: [OnceCell<Result<Losses, Refusal>>; 2],
}

impl<'a> Context<'a> {
    /// Margins are bounded by `method`; a bound fails with probability 5%.
    ///
    /// # Errors
    /// When the method is unknown.
    pub fn new(
        network: &'a Network,
        train: Samples<'a>,
        set: &'a PerturbationSet,
        method: &str,
    ) -> Result<Self, weightproof::certify::UnknownMethod> {
        let certify = CertifyOptions::new(method, Property::Label);
        // So that a method that does not exist is found before anything is computed.
        Certifier::new(network, &[], certify.clone())?;
        Ok(Context {
            network,
            train,
            held_out: None,
            initial: None,
            set,
            certify,
            delta: 0.05,
            effort: Effort::default(),
            outputs: OnceCell::new(),
            certified: OnceCell::new(),
            deviations: Default::default(),
            growths: Default::default(),
        })
    }

    /// Number of training samples.
    pub fn samples(&self) -> usize {
        self.train.count(self.network.input_width())
    }

    /// Outputs of the unperturbed network, (samples, classes).
    pub fn outputs(&self) -> &Matrix<f64> {
        self.outputs.get_or_init(|| outputs(self.network, self.train.inputs))
    }

    /// Labels of the training samples.
    ///
    /// # Errors
    /// When there are none.
    pub fn labels(&self) -> Result<&'a [u32], Refusal> {
        match self.train.labels {
            Some(labels) if !labels.is_empty() => Ok(labels),
            Some(_) | None => Err(Refusal::Missing("samples with labels")),
        }
    }

    /// Margins of the unperturbed network on the training samples.
    ///
    /// # Errors
    /// When the samples have no labels.
    pub fn margins(&self) -> Result<Vec<f64>, Refusal> {
        Ok(margins(self.outputs(), self.labels()?))
    }

    /// Proved lower bounds of the margins of the training samples over the set.
    ///
    /// # Errors
    /// When the samples have no labels.
    pub fn certified(&self) -> Result<&[f64], Refusal> {
        self.labels()?;
        Ok(self.certified.get_or_init(|| certified(self.network, self.set, &self.certify, self.train)))
    }

    /// The samples that searches use.
    ///
    /// # Errors
    /// When the samples have no labels.
    pub fn searched(&self) -> Result<Samples<'a>, Refusal> {
        let labels = self.labels()?;
        let count = self.samples().min(self.effort.samples.max(1));
        let inputs = &self.train.inputs[..count * self.network.input_width()];
        Ok(Samples { inputs, labels: Some(&labels[..count]), ..self.train })
    }
}

/// Outputs of `network`, (samples, classes), in f64; the same for every number of threads.
pub fn outputs(network: &Network, inputs: &[f64]) -> Matrix<f64> {
    ForwardPass::<f64>::new(network).outputs(inputs)
}

/// `f_y − max over j ≠ y of f_j` for each row; NaN where an output is NaN.
pub fn margins(outputs: &Matrix<f64>, labels: &[u32]) -> Vec<f64> {
    let margin = |s: usize| {
        let (row, label) = (outputs.row(s), labels[s] as usize);
        let rivals = (0..row.len()).filter(|&j| j != label).map(|j| row[label] - row[j]);
        rivals.fold(f64::INFINITY, |least, m| if m.is_nan() || m < least { m } else { least })
    };
    (0..outputs.rows()).map(margin).collect()
}

/// Proved lower bounds of the margins of `samples` over `set`; −∞ where there is none.
pub fn certified(
    network: &Network,
    set: &PerturbationSet,
    options: &CertifyOptions,
    samples: Samples<'_>,
) -> Vec<f64> {
    certificates(network, set, options, samples).iter().map(|c| c.margin_lower).collect()
}

/// What is proved about `samples` over `set`.
pub fn certificates(
    network: &Network,
    set: &PerturbationSet,
    options: &CertifyOptions,
    samples: Samples<'_>,
) -> Vec<SampleCertificate> {
    let certifier = Certifier::new(network, std::slice::from_ref(set), options.clone());
    certifier.expect("a known method").certify(samples).swap_remove(0)
}

/// Share of the margins that are not above `gamma`. NaN is not above anything.
pub fn share_up_to(margins: &[f64], gamma: f64) -> f64 {
    let above = margins.iter().filter(|&&m| m > gamma).count();
    (margins.len() - above) as f64 / margins.len().max(1) as f64
}

/// Cross-entropy of each row, `ln Σ_j exp(f_j − f_y)`.
pub fn cross_entropies(outputs: &Matrix<f64>, labels: &[u32]) -> Vec<f64> {
    let entropy = |s: usize| {
        let row = outputs.row(s);
        log_sum_exp(row) - row[labels[s] as usize]
    };
    (0..outputs.rows()).map(entropy).collect()
}

/// `ln Σ_j exp(v_j)`.
pub fn log_sum_exp(v: &[f64]) -> f64 {
    let most = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + v.iter().map(|v| (v - most).exp()).sum::<f64>().ln()
}

/// The mean; NaN of no numbers.
pub fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_and_losses_by_hand() {
        let outputs = Matrix::from_vec(3, 2, vec![2.0, 1.0, 0.0, 0.0, f64::NAN, 1.0]);
        let found = margins(&outputs, &[0, 1, 1]);
        assert_eq!(found[..2], [1.0, 0.0]);
        assert!(found[2].is_nan());
        assert_eq!(share_up_to(&found, 0.5), 2.0 / 3.0);
        assert_eq!(share_up_to(&found, 1.0), 1.0);
        let losses = cross_entropies(&outputs, &[0, 1, 1]);
        assert!((losses[0] - (1.0 + (-1.0_f64).exp()).ln()).abs() < 1e-15);
        assert!((losses[1] - 2.0_f64.ln()).abs() < 1e-15);
        assert!((log_sum_exp(&[1000.0, 1000.0]) - 1000.0 - 2.0_f64.ln()).abs() < 1e-12);
    }
}
