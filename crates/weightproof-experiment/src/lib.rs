//! Experiments on networks that are trained to withstand perturbed weights.
//!
//! ```text
//! Options, Data → train and measure one model after the other → Report → JSON, CSV, SVG, Markdown
//! ```
//! One file for each experiment; [`EXPERIMENTS`] lists them. [`measure`] says what is measured on one network and what each
//! number is worth: certified accuracies are proofs whose rounding is charged, everything found by training or search is an
//! estimate. A run is deterministic for its options and data, times apart.

mod baselines;
mod bias_variance;
pub mod error;
mod feature_contamination;
mod generalization_gap;
mod generalization_study;
mod gradient_starvation;
pub mod joint;
mod lab;
mod layer_utilization;
pub mod matching;
pub mod measure;
mod non_singular;
mod predictive_coding;
pub mod rank;
pub mod recipe;
pub mod report;
pub mod table;
mod unrolled;
mod weight_robustness;

pub use error::ExperimentError;
pub use lab::{Data, DataSource, Lab, Model, Presentation, Record, Subject, Watch};
pub use report::Report;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// What a user asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Options {
    /// Small grids and few samples, for a machine that tests.
    pub quick: bool,
    /// Seed of everything random; models with several seeds count from it.
    pub seed: u64,
    /// Seeds of each model, where an experiment takes several.
    pub seeds: usize,
}

impl Options {
    /// One of two numbers: for a quick run, or for a whole one.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// What an experiment reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Images of digits with labels.
    Images,
    /// Nothing: it draws its samples from the seed.
    Nothing,
}

/// An experiment.
pub struct Experiment {
    /// Name on the command line.
    pub name: &'static str,
    /// What it asks.
    pub summary: &'static str,
    /// What it reads.
    pub needs: Needs,
    /// Numbers that are fixed by the experiment, for the report.
    pub settings: fn(&Options) -> Value,
    /// Trains and measures all models.
    pub train: fn(&mut Lab<'_>) -> Result<(), ExperimentError>,
    /// Tables, plots and sentences about the models so far.
    pub present: fn(&Options, &[Record]) -> Presentation,
}

/// All experiments.
pub static EXPERIMENTS: &[Experiment] = &[
    weight_robustness::EXPERIMENT,
    generalization_gap::EXPERIMENT,
    generalization_study::EXPERIMENT,
    baselines::EXPERIMENT,
    non_singular::EXPERIMENT,
    gradient_starvation::EXPERIMENT,
    feature_contamination::EXPERIMENT,
    unrolled::EXPERIMENT,
    layer_utilization::EXPERIMENT,
    bias_variance::EXPERIMENT,
    predictive_coding::EXPERIMENT,
];

/// The experiment of this name.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<&'static Experiment, ExperimentError> {
    let found = EXPERIMENTS.iter().find(|experiment| experiment.name == name);
    found.ok_or_else(|| ExperimentError::Unknown { found: name.chars().take(60).collect() })
}

/// Runs an experiment, and writes its files into `folder` after every model. An earlier run there with the same settings, the number of
/// seeds apart, is gone on with. A run that is interrupted ends with what it has, marked `partial`.
///
/// # Errors
/// When the data do not fit, a model cannot be trained, or a file cannot be written.
pub fn run(
    experiment: &'static Experiment,
    options: &Options,
    data: &Data,
    folder: &Path,
    watch: &mut dyn Watch,
) -> Result<Report, ExperimentError> {
    if experiment.needs == Needs::Images {
        check_images(data)?;
    }
    let mut lab = Lab::new(experiment, (options, data), folder, watch);
    match (experiment.train)(&mut lab) {
        Ok(()) => lab.write(false),
        Err(ExperimentError::Interrupted) => lab.write(true),
        Err(error) => Err(error),
    }
}

/// Whether the samples fit the networks that are trained on images.
fn check_images(data: &Data) -> Result<(), ExperimentError> {
    for (part, samples) in [("training", &data.train), ("test", &data.test)] {
        let fail = |expected: String, found: String| Err(ExperimentError::Data { part, expected, found });
        let (width, classes) = (recipe::SIZES[0], recipe::SIZES[recipe::SIZES.len() - 1] as u32);
        if samples.width != width {
            return fail(format!("samples of {width} values"), samples.width.to_string());
        }
        if samples.len() < 100 {
            return fail("at least 100 samples with labels".into(), samples.len().to_string());
        }
        if let Some(label) = samples.labels.iter().find(|&&label| label >= classes) {
            return fail(format!("labels below {classes}"), label.to_string());
        }
    }
    Ok(())
}
