//! Why a run cannot be done. Front ends add how to fix it in their own words.

use std::path::PathBuf;
use thiserror::Error;
use weightproof::faults::FaultError;
use weightproof::network::NetworkError;
use weightproof::noise::NoiseError;
use weightproof::property::Property;
use weightproof::threat::ThreatError;
use weightproof_figure::features::NotBuilt;
use weightproof_formats::FormatError;
use weightproof_train::TrainError;

/// Why a run cannot be done.
#[derive(Debug, Error)]
pub enum RunError {
    /// A network or data cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A network cannot be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A threat model does not apply to the network.
    #[error("{}{source}", file.as_ref().map_or_else(String::new, |file| format!("{}: ", file.display())))]
    Threat {
        /// The file that the model was read from.
        file: Option<PathBuf>,
        /// What is wrong.
        source: ThreatError,
    },
    /// A fault model does not apply to the network.
    #[error("{source}")]
    Faults {
        /// What is wrong.
        source: FaultError,
    },
    /// A noise model does not apply to the network.
    #[error("{source}")]
    Noise {
        /// What is wrong.
        source: NoiseError,
    },
    /// A text is no threat model.
    #[error("{message}")]
    ThreatText {
        /// Where and why, after the file if there is one.
        message: String,
    },
    /// A setting has a value that it must not have.
    #[error("{name}: expected {expected}, found {found}")]
    Setting {
        /// Name of the setting, as the command line writes it without dashes.
        name: &'static str,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A text is no value of a setting.
    #[error("{message}")]
    Value {
        /// The setting, what would have been right and what is there.
        message: String,
        /// How it may be written.
        hint: Option<String>,
    },
    /// A network is not trained.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A folder has a training that is not to be overwritten.
    #[error("{}: there is a checkpoint of another run", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Samples have another number of values than the network reads.
    #[error(
        "{data}: expected samples of {wanted} values, the network's input of shape {input:?}, found {found} values of shape \
         {shape:?}"
    )]
    Shape {
        /// Where the data come from.
        data: String,
        /// Number of values that the network reads.
        wanted: usize,
        /// Shape of its input.
        input: Vec<usize>,
        /// Number of values of a sample.
        found: usize,
        /// Shape of a sample.
        shape: Vec<usize>,
    },
    /// The property needs labels.
    #[error("{data}: expected labels, found none")]
    Unlabelled {
        /// Where the data come from.
        data: String,
    },
    /// The property needs outputs that can be compared.
    #[error("property {}: expected a network with 2 outputs, found {found}", property.name())]
    FewOutputs {
        /// The property.
        property: Property,
        /// Number of outputs.
        found: usize,
    },
    /// Deviations of outputs whose last operator was left out.
    #[error(
        "property deviation: expected the outputs of the network, found those before {head}, which is left out"
    )]
    DroppedHead {
        /// The operator.
        head: String,
    },
    /// A property about classes, of a network whose output is no list of them.
    #[error(
        "property {}: expected a network whose output is a list of classes, found an output of shape {shape:?}",
        property.name()
    )]
    ImageOutput {
        /// The property.
        property: Property,
        /// Shape of the output.
        shape: Vec<usize>,
    },
    /// Network, data and property do not fit together, or an engine stops.
    #[error("{message}")]
    Misfit {
        /// What does not fit.
        message: String,
        /// How to fix it, where that is the same for every front end.
        hint: Option<&'static str>,
    },
    /// A part that this build does not have.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// The front end ended the run.
    #[error("interrupted")]
    Interrupted,
}

impl RunError {
    /// A setting with a wrong value.
    pub fn setting(name: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        RunError::Setting { name, expected: expected.into(), found: found.into() }
    }

    /// A text that is no value of a setting.
    pub fn value(message: impl Into<String>) -> Self {
        RunError::Value { message: message.into(), hint: None }
    }

    /// What does not fit, without advice.
    pub fn misfit(message: impl Into<String>) -> Self {
        RunError::Misfit { message: message.into(), hint: None }
    }

    /// How to fix it, where that is the same for every front end.
    pub fn hint(&self) -> Option<String> {
        match self {
            RunError::Format(error) => error.hint(),
            RunError::Misfit { hint, .. } => hint.map(str::to_owned),
            RunError::Value { hint, .. } => hint.clone(),
            RunError::Shape { .. } => {
                Some("give data of the network's size, or the network that belongs to the data".into())
            }
            RunError::Network(_)
            | RunError::Threat { .. }
            | RunError::Faults { .. }
            | RunError::Noise { .. }
            | RunError::ThreatText { .. }
            | RunError::Setting { .. }
            | RunError::Train(_)
            | RunError::Checkpoint { .. }
            | RunError::Unlabelled { .. }
            | RunError::FewOutputs { .. }
            | RunError::DroppedHead { .. }
            | RunError::ImageOutput { .. }
            | RunError::NotBuilt(_)
            | RunError::Interrupted => None,
        }
    }
}
