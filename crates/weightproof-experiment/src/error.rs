//! What can go wrong.

use std::path::PathBuf;
use thiserror::Error;
use weightproof_train::TrainError;

/// Why an experiment ends early.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// The experiment's name is not known.
    #[error("experiment: expected one of {}, found {found}", crate::EXPERIMENTS.iter().map(|e| e.name).collect::<Vec<_>>().join(", "))]
    Unknown {
        /// What was written.
        found: String,
    },
    /// The data do not fit.
    #[error("{part} data: expected {expected}, found {found}")]
    Data {
        /// Training or test.
        part: &'static str,
        /// What would have fitted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A network cannot be trained.
    #[error("model {model}: {source}")]
    Train {
        /// Its name.
        model: String,
        /// Why.
        source: TrainError,
    },
    /// A number cannot be measured.
    #[error("model {model}: {detail}")]
    Measure {
        /// Its name.
        model: String,
        /// What was expected and found.
        detail: String,
    },
    /// A table cannot be written as CSV.
    #[error("table {name}: {detail}")]
    Table {
        /// Its name.
        name: String,
        /// Why.
        detail: String,
    },
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The user wants the run to end; what was finished is written.
    #[error("interrupted")]
    Interrupted,
}
