//! One hierarchy of exceptions, with the messages of the library.

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use weightproof_figure::features::NotBuilt;
use weightproof_formats::FormatError as CoreFormatError;
use weightproof_run::RunError;
use weightproof_train::TrainError;

create_exception!(
    weightproof,
    Error,
    PyValueError,
    "Bad usage or input; every error of this package is one."
);
create_exception!(weightproof, FormatError, Error, "A file that cannot be read or written.");
create_exception!(weightproof, NetworkError, Error, "A network that cannot be built.");
create_exception!(weightproof, DataError, Error, "Samples or labels of a wrong shape, type or value.");
create_exception!(
    weightproof,
    ThreatError,
    Error,
    "A threat model that is none, or does not fit the network."
);
create_exception!(weightproof, SettingError, Error, "A setting with a value that it must not have.");
create_exception!(weightproof, NotBuiltError, Error, "A part of the package that this build does not have.");

/// An error of the library as an exception, the hint on a line of its own.
pub fn raise(error: RunError) -> PyErr {
    let hint = error.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
    let message = format!("{error}{hint}");
    match error {
        RunError::Format(error) => format_error(&error, message),
        RunError::Network(_) => NetworkError::new_err(message),
        RunError::Threat { .. }
        | RunError::ThreatText { .. }
        | RunError::Faults { .. }
        | RunError::Noise { .. } => ThreatError::new_err(message),
        RunError::Setting { name, expected, found } => {
            // Names are those of the command line.
            let name = name.replace('-', "_");
            SettingError::new_err(format!("{name}: expected {expected}, found {found}"))
        }
        RunError::Shape { .. } | RunError::Unlabelled { .. } | RunError::FewOutputs { .. } => {
            DataError::new_err(message)
        }
        RunError::DroppedHead { .. } => SettingError::new_err(format!(
            "{message}\nhint: logits=True, if the tolerance is meant for the outputs before it"
        )),
        RunError::ImageOutput { .. } => NetworkError::new_err(format!(
            "{message}\nhint: property=\"deviation\", or a network that ends with one number for each class"
        )),
        RunError::NotBuilt(NotBuilt { feature, .. }) => NotBuiltError::new_err(format!(
            "{message}\nhint: pip install --config-settings=build-args=\"--features {feature}\" ."
        )),
        RunError::Value { .. } => SettingError::new_err(message),
        RunError::Checkpoint { .. } => {
            Error::new_err(format!("{message}\nhint: resume=True to go on from it, or another folder"))
        }
        RunError::Train(error) => training(&error, message),
        RunError::Misfit { .. } | RunError::Interrupted => Error::new_err(message),
    }
}

fn format_error(error: &CoreFormatError, message: String) -> PyErr {
    match error {
        CoreFormatError::Data { .. } => DataError::new_err(message),
        CoreFormatError::Io { .. }
        | CoreFormatError::Extension { .. }
        | CoreFormatError::Onnx { .. }
        | CoreFormatError::Safetensors { .. } => FormatError::new_err(message),
    }
}

fn training(error: &TrainError, message: String) -> PyErr {
    match error {
        TrainError::Setting { .. } | TrainError::Configuration(_) => SettingError::new_err(message),
        TrainError::Network(_) => NetworkError::new_err(message),
        TrainError::Data { .. } => DataError::new_err(message),
        TrainError::Diverged { .. } => Error::new_err(format!(
            "{message}\nhint: a lower learning_rate, a warm_up, or a gradient_clip; the last checkpoint is kept"
        )),
        TrainError::Checkpoint { .. } | TrainError::Io { .. } => Error::new_err(message),
    }
}
