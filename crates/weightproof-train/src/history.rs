//! What is recorded while a network is trained.

use serde::{Deserialize, Serialize};

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number, from 1.
    pub epoch: usize,
    /// Seconds of its batches.
    pub seconds: f64,
    /// Seconds of the validation.
    pub validation_seconds: f64,
    /// Learning rate at its end.
    pub learning_rate: f64,
    /// Radius of the weights at its end.
    pub radius: f64,
    /// Mean loss over its samples, each before its step.
    pub loss: f64,
    /// The terms of the loss, without their weights.
    pub terms: Vec<TermValue>,
    /// Accuracy over its samples, each before its step, at the perturbed parameters where there is an adversary.
    pub train_accuracy: f64,
    /// Accuracy on the held-out samples.
    pub validation_accuracy: Option<f64>,
    /// Certified accuracy on the held-out samples over the full threat (a rigorous proof).
    pub validation_certified: Option<f64>,
    /// Largest magnitude of a weight: what an absolute radius has to be seen against.
    pub largest_weight: f64,
}

/// Value of a term.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TermValue {
    /// Name of the objective.
    pub objective: String,
    /// Mean over the samples of the epoch.
    pub value: f64,
}

/// Sums over the samples of an epoch so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    samples: usize,
    loss: f64,
    terms: Vec<f64>,
    correct: usize,
    /// Seconds so far.
    pub(crate) seconds: f64,
}

impl Sums {
    pub(crate) fn new(terms: usize) -> Self {
        Sums { samples: 0, loss: 0.0, terms: vec![0.0; terms], correct: 0, seconds: 0.0 }
    }

    pub(crate) fn add(&mut self, samples: usize, loss: f64, terms: &[f32], correct: usize) {
        let count = samples as f64;
        self.samples += samples;
        self.loss += count * loss;
        self.terms.iter_mut().zip(terms).for_each(|(sum, &term)| *sum += count * f64::from(term));
        self.correct += correct;
    }

    pub(crate) fn mean_loss(&self) -> f64 {
        self.loss / self.samples as f64
    }

    pub(crate) fn mean_terms(&self) -> Vec<f64> {
        self.terms.iter().map(|sum| sum / self.samples as f64).collect()
    }

    pub(crate) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }
}
