//! What can be wrong with a file: one error that names the file, wrapping what its parser found.

use crate::network::{OnnxError, SafetensorsError, by_extension};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a file cannot be read (or written).
#[derive(Debug, Error)]
pub enum FormatError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The name of the file says nothing about its format.
    #[error("{}: expected one of the extensions {expected}, found {found:?}", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
        /// The known extensions.
        expected: &'static str,
        /// The extension found, empty when there is none.
        found: String,
    },
    /// An ONNX model is damaged or uses something that is not supported.
    #[error("{}: {source}", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the node.
        source: OnnxError,
    },
    /// Weights or architecture of a safetensors network are wrong.
    #[error("{}: {source}", path.display())]
    Safetensors {
        /// The file that the problem lies in.
        path: PathBuf,
        /// What is wrong, with the tensor or layer.
        source: SafetensorsError,
    },
    /// A data set is wrong.
    #[error("{}: {source}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the place.
        source: DataError,
    },
}

/// What is wrong with the contents of a data set, and where.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{place}: expected {expected}, found {found}")]
pub struct DataError {
    /// The place: a header field, a row, an entry of an archive.
    pub place: String,
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// How to fix it, where that is known.
    pub hint: Option<String>,
}

impl DataError {
    /// An error without a hint.
    pub fn new(place: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        DataError { place: place.into(), expected: expected.into(), found: found.into(), hint: None }
    }

    /// The same error with advice.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error of the file at `path`.
    pub fn in_file(self, path: &Path) -> FormatError {
        FormatError::Data { path: path.into(), source: self }
    }
}

impl FormatError {
    /// For `map_err` after a call of the operating system.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> FormatError {
        let path = path.to_path_buf();
        move |source| FormatError::Io { path, source }
    }

    /// How to fix it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            FormatError::Io { .. } => None,
            FormatError::Extension { found, .. } => by_extension(found).map(|found| found.hint.into()),
            FormatError::Onnx { source, .. } => source.hint(),
            FormatError::Safetensors { source, .. } => source.hint(),
            FormatError::Data { source, .. } => source.hint.clone(),
        }
    }
}
