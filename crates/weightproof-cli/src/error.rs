//! Errors of usage and input: one line that says what was expected and found, and one that says how to fix it.

use std::fmt;
use std::path::Path;
use weightproof::network::NetworkError;
use weightproof::threat::ThreatError;
use weightproof_formats::FormatError;
use weightproof_train::TrainError;

/// Why a command stops with exit code 2.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// An error without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), hint: None }
    }

    /// The same error with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error, about this file.
    pub fn within(mut self, file: &Path) -> Self {
        self.message = format!("{}: {}", file.display(), self.message);
        self
    }

    /// For `map_err` after a call of the operating system.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
        let path = path.display().to_string();
        move |error| Failure::new(format!("{path}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            None => Ok(()),
            Some(hint) => write!(f, "\nhint: {hint}"),
        }
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        Failure { message: error.to_string(), hint: error.hint() }
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let hint = match &error {
            TrainError::Diverged { .. } => Some(
                "a lower --learning-rate, a --warm-up, or a --gradient-clip; the last checkpoint is kept"
                    .into(),
            ),
            TrainError::Checkpoint { .. } => Some("the settings of the first run, or another folder".into()),
            TrainError::Setting { .. }
            | TrainError::Configuration(_)
            | TrainError::Network(_)
            | TrainError::Data { .. }
            | TrainError::Io { .. } => None,
        };
        Failure { message: error.to_string(), hint }
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        Failure::new(error.to_string())
    }
}

impl From<ThreatError> for Failure {
    fn from(error: ThreatError) -> Self {
        let hint = match &error {
            ThreatError::MissingRadius { .. } => Some("--radius 0.001".into()),
            ThreatError::UnknownLayer { .. } => Some("`weightproof inspect MODEL` lists the layers".into()),
            ThreatError::OutOfRange { .. } => Some("choose a format with a larger range".into()),
            ThreatError::UnknownKind { .. }
            | ThreatError::Bits { .. }
            | ThreatError::BadRadius { .. }
            | ThreatError::RowCount { .. }
            | ThreatError::RowsUnsupported { .. }
            | ThreatError::TooManyTerms { .. } => None,
        };
        Failure { message: error.to_string(), hint }
    }
}
