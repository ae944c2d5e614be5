//! Errors of usage and input: one line that says what was expected and found, and one that says how to fix it.

use std::fmt;
use std::path::Path;
use weightproof::faults::FaultError;
use weightproof::network::NetworkError;
use weightproof::noise::NoiseError;
use weightproof::threat::ThreatError;
use weightproof_figure::features::NotBuilt;
use weightproof_formats::FormatError;
use weightproof_run::RunError;
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
        let hint = match &error {
            FormatError::Extension { path, expected, .. } if expected.contains(".onnx") && is_data(path) => {
                Some("the model comes first: MODEL DATA".into())
            }
            FormatError::Extension { .. }
            | FormatError::Io { .. }
            | FormatError::Onnx { .. }
            | FormatError::Safetensors { .. }
            | FormatError::Data { .. } => error.hint(),
        };
        Failure { message: error.to_string(), hint }
    }
}

/// Whether a path looks like data, for a hint.
fn is_data(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    path.is_dir() || ["npz", "npy", "csv", "bin", "gz"].contains(&extension.as_str())
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Format(error) => Failure::from(error),
            RunError::Threat { file, source } => match file {
                None => Failure::from(source),
                Some(file) => Failure::from(source).within(&file),
            },
            RunError::Setting { name, .. } => {
                let (message, hint) = (error.to_string(), hint(name, &error));
                Failure { message, hint }
            }
            RunError::Unlabelled { .. } => Failure::new(error.to_string())
                .hint("--labels FILE, or --property prediction, which needs none"),
            RunError::FewOutputs { .. } => {
                Failure::new(error.to_string()).hint("--property deviation --tolerance 0.1")
            }
            RunError::ImageOutput { .. } => Failure::new(error.to_string()).hint(
                "--property deviation --tolerance 0.1, or a network that ends with one number for each class",
            ),
            RunError::DroppedHead { .. } => Failure::new(error.to_string()).hint(
                "--logits, if the tolerance is meant for the outputs before it; else --property prediction, which it does not change",
            ),
            RunError::NotBuilt(error) => Failure::from(error),
            RunError::Faults { source } => Failure::from(source),
            RunError::Noise { source } => Failure::from(source),
            RunError::Train(error) => Failure::from(error),
            RunError::Checkpoint { .. } => {
                Failure::new(error.to_string()).hint("--resume to go on from it, or another folder")
            }
            RunError::Network(_)
            | RunError::ThreatText { .. }
            | RunError::Value { .. }
            | RunError::Shape { .. }
            | RunError::Misfit { .. }
            | RunError::Interrupted => Failure { message: error.to_string(), hint: error.hint() },
        }
    }
}

/// How to fix a setting.
fn hint(name: &str, error: &RunError) -> Option<String> {
    match (name, error) {
        ("intermediate", _) => Some("leave out --intermediate".into()),
        ("no-attack", _) => {
            Some("exact closes the interval below the attacked radius: leave out --no-attack".into())
        }
        ("attack", _) => Some("radii are searched for each sample on its own, from several starts".into()),
        ("scale", _) => {
            Some("--scale 1 takes the bytes as they are, --scale 1/255 divides them by 255".into())
        }
        ("tolerance", RunError::Setting { found, .. }) if found == "none" => {
            Some("--tolerance with the change that is allowed; certify by a bound, without --certificate, says what is proved".into())
        }
        ("momentum", _) => Some("--optimizer sgd".into()),
        ("tolerance", _) => Some("--property deviation".into()),
        (_, RunError::Setting { expected, .. }) if expected == "the method exact" => {
            Some(format!("--method exact, or leave out --{name}"))
        }
        ("journal", _) => Some("leave out --journal: the one perturbation needs all samples".into()),
        ("radius", RunError::Setting { expected, .. }) if expected.starts_with("a multiple") => {
            Some("leave out --radius for the format itself, or --scale-radius if this part of its rounding is meant".into())
        }
        ("oracle", _) => Some("leave out --oracle".into()),
        _ => None,
    }
}

impl From<FaultError> for Failure {
    fn from(error: FaultError) -> Self {
        let failure = Failure::new(error.to_string());
        match error {
            FaultError::UnknownLayer { .. } => failure.hint("`weightproof inspect MODEL` lists the layers"),
            FaultError::OutOfRange { .. } => failure.hint("choose a format with a larger range"),
            FaultError::Shared { .. } => {
                failure.hint("--layers with the layers that are hit, without both of these")
            }
            FaultError::Changes { .. } => {
                failure.hint("fewer --bits, or --at with the positions that matter")
            }
            FaultError::Storage { .. }
            | FaultError::Quantizer(_)
            | FaultError::Protection { .. }
            | FaultError::Words { .. }
            | FaultError::Method { .. }
            | FaultError::Bits { .. }
            | FaultError::Position { .. }
            | FaultError::EncodedBits
            | FaultError::Undetected
            | FaultError::Wide { .. }
            | FaultError::Hits { .. }
            | FaultError::NotOfFile { .. } => failure,
        }
    }
}

impl From<NoiseError> for Failure {
    fn from(error: NoiseError) -> Self {
        let hint = match &error {
            NoiseError::MissingSigma { kind } => Some(format!("--noise {kind}:0.01")),
            NoiseError::UnknownLayer { .. } => Some("`weightproof inspect MODEL` lists the layers".into()),
            NoiseError::Shared { .. } => {
                Some("--layers with the layers that are random, without both of these".into())
            }
            NoiseError::OutOfRange { .. } => Some("choose a format with a larger range".into()),
            NoiseError::InputRadius { .. } => Some("leave out --input-radius".into()),
            NoiseError::Method { .. } => Some("--method linear".into()),
            NoiseError::MissingTime { .. } => Some("--time 1s,1h,1d,1y".into()),
            NoiseError::SetBesideDrift => Some("leave out --radius and --threat".into()),
            NoiseError::PropertyOfMeans => {
                Some("compensation = \"mean\" in the table drift, or --property label".into())
            }
            NoiseError::UnknownKind { .. }
            | NoiseError::Key { .. }
            | NoiseError::Table { .. }
            | NoiseError::UnwantedTime { .. }
            | NoiseError::BadTime { .. }
            | NoiseError::NotAtMean
            | NoiseError::NotFinite { .. }
            | NoiseError::UnwantedSigma { .. }
            | NoiseError::BadSigma { .. }
            | NoiseError::FixedStep
            | NoiseError::Probability { .. } => None,
        };
        Failure { message: error.to_string(), hint }
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

impl From<NotBuilt> for Failure {
    fn from(error: NotBuilt) -> Self {
        let hint = format!("cargo build --release -p weightproof-cli --features {}", error.feature);
        Failure::new(error.to_string()).hint(hint)
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
            ThreatError::NotStored { .. } => {
                Some("--threat absolute, or another kind in the unit of the weights".into())
            }
            ThreatError::OutOfRange { .. } => Some("choose a format with a larger range".into()),
            ThreatError::ClippedAway { .. } => Some("a higher percentile, or one step for each layer".into()),
            ThreatError::UnknownKind { found, .. } => {
                crate::threat::suggestion(found).map(|kind| format!("--threat {kind}"))
            }
            ThreatError::Bits { .. }
            | ThreatError::UnknownSetting { .. }
            | ThreatError::BadRadius { .. }
            | ThreatError::RowCount { .. }
            | ThreatError::RowsUnsupported { .. }
            | ThreatError::ProductRounded { .. }
            | ThreatError::TooManyTerms { .. } => None,
        };
        Failure { message: error.to_string(), hint }
    }
}
