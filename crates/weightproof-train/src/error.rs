//! What can go wrong.

use std::path::PathBuf;
use thiserror::Error;
use weightproof::network::NetworkError;

/// Why a network is not trained.
#[derive(Debug, Error)]
pub enum TrainError {
    /// A setting is out of range or does not fit the others.
    #[error("{setting}: {detail}")]
    Setting {
        /// The key in the configuration.
        setting: String,
        /// What was expected and found.
        detail: String,
    },
    /// The configuration is not what it should be.
    #[error("{0}")]
    Configuration(String),
    /// The network cannot be built.
    #[error("network: {0}")]
    Network(#[from] NetworkError),
    /// The data do not fit.
    #[error("data: expected {expected}, found {found}")]
    Data {
        /// What would have fitted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A term of the loss, its gradient or the parameters are not finite.
    #[error("epoch {epoch}, batch {batch}: {what} is {value}, the training diverged")]
    Diverged {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Batch in the epoch, counted from 1.
        batch: usize,
        /// Which number.
        what: String,
        /// Its value.
        value: f32,
    },
    /// A checkpoint cannot be read, or belongs to another run.
    #[error("{}: {detail}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
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
}

impl TrainError {
    pub(crate) fn setting(setting: impl Into<String>, detail: impl Into<String>) -> Self {
        TrainError::Setting { setting: setting.into(), detail: detail.into() }
    }
}
