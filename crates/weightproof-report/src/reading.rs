//! Results read back from the JSON that the commands write.
//!
//! Files come from outside: everything is checked, nothing is executed, and no number that a file claims sizes memory. Blocks that
//! are only shown (method, settings, environment) stay JSON; fields that a later version of the same schema adds are ignored.

mod check;
mod experiment;
mod faults;
mod measure;
pub mod part;
mod run;
mod train;

pub use experiment::{ExperimentColumn, ExperimentFile, ExperimentTable};
pub use faults::FaultsFile;
pub use measure::MeasureFile;
pub use run::{Command, ResultAt, RunFile, Sample, Summary};
pub use train::TrainFile;

use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use thiserror::Error;

/// Why a file cannot be shown.
#[derive(Debug, Error, PartialEq)]
pub enum ReadError {
    /// Not JSON, or cut off.
    #[error("{file}: expected JSON, found {found}")]
    Json {
        /// The file.
        file: String,
        /// What it is, and where.
        found: String,
    },
    /// JSON that no command of weightproof wrote.
    #[error("{file}: expected {expected}, found {found}")]
    Schema {
        /// The file.
        file: String,
        /// What can be read.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The schema is right, a field is not.
    #[error("{file}: {place}: expected {expected}, found {found}")]
    Field {
        /// The file.
        file: String,
        /// The field.
        place: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A field that is missing or has another type.
    #[error("{file}: {detail}")]
    Shape {
        /// The file.
        file: String,
        /// What and where.
        detail: String,
    },
}

impl ReadError {
    /// How to fix it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ReadError::Json { .. } => Some("results are written by `--format json --output FILE`"),
            ReadError::Schema { found, .. } if found.starts_with("weightproof/") => {
                Some("was it written by a newer version of weightproof, or by a command without a report?")
            }
            ReadError::Schema { .. } => Some("results are written by `--format json --output FILE`"),
            ReadError::Field { .. } | ReadError::Shape { .. } => None,
        }
    }
}

/// What can be read.
const EXPECTED: &str = "a result of certify, attack, radius, faults, train, experiment or measure with a schema weightproof/COMMAND/1";

/// A result.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// Of `certify`, `attack` or `radius`.
    Run(Box<RunFile>),
    /// Of `train`.
    Train(Box<TrainFile>),
    /// Of `experiment`.
    Experiment(Box<ExperimentFile>),
    /// Of `measure`.
    Measure(Box<MeasureFile>),
    /// Of `faults`.
    Faults(Box<FaultsFile>),
}

impl Loaded {
    /// The file that it was read from.
    pub fn file(&self) -> &str {
        match self {
            Loaded::Run(run) => &run.file,
            Loaded::Train(train) => &train.file,
            Loaded::Experiment(experiment) => &experiment.file,
            Loaded::Measure(measure) => &measure.file,
            Loaded::Faults(faults) => &faults.file,
        }
    }

    /// The command that wrote it.
    pub fn command(&self) -> &'static str {
        match self {
            Loaded::Run(run) => run.command.name(),
            Loaded::Train(_) => "train",
            Loaded::Experiment(_) => "experiment",
            Loaded::Measure(_) => "measure",
            Loaded::Faults(_) => "faults",
        }
    }

    /// Gives a result with curves the name that figures have for it.
    pub fn set_name(&mut self, name: &str) {
        if let Loaded::Run(run) = self {
            (run.name, run.named) = (name.into(), true);
        }
    }
}

/// The first look at a file.
#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

/// Reads the bytes of `file`.
///
/// # Errors
/// [`ReadError`] with the name of the file, what was expected and what was found.
pub fn read(file: &str, bytes: &[u8]) -> Result<Loaded, ReadError> {
    let schema = schema(file, bytes)?;
    match schema.as_str() {
        "weightproof/certify/1" => run::read(file, bytes, Command::Certify),
        "weightproof/attack/1" => run::read(file, bytes, Command::Attack),
        "weightproof/radius/1" => run::read(file, bytes, Command::Radius),
        "weightproof/train/1" => train::read(file, bytes).map(|file| Loaded::Train(Box::new(file))),
        "weightproof/experiment/1" => {
            parse::<ExperimentFile>(file, bytes)?.checked(file).map(|file| Loaded::Experiment(Box::new(file)))
        }
        "weightproof/measure/1" => measure::read(file, bytes).map(|file| Loaded::Measure(Box::new(file))),
        "weightproof/faults/1" => faults::read(file, bytes).map(|file| Loaded::Faults(Box::new(file))),
        _ => Err(ReadError::Schema { file: file.into(), expected: EXPECTED, found: short(&schema) }),
    }
}

fn schema(file: &str, bytes: &[u8]) -> Result<String, ReadError> {
    let broken = |found: String| ReadError::Json { file: file.into(), found };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(broken("an empty file".into()));
    }
    let missing =
        |found: &str| Err(ReadError::Schema { file: file.into(), expected: EXPECTED, found: found.into() });
    match serde_json::from_slice::<Head>(bytes) {
        Ok(Head { schema: Some(schema) }) => Ok(schema),
        Ok(Head { schema: None }) => missing("an object without the field schema"),
        Err(error) => match error.classify() {
            Category::Eof => Err(broken(format!("a file that was cut off ({error})"))),
            Category::Syntax | Category::Io => Err(broken(format!("something else ({error})"))),
            Category::Data => missing("other JSON"),
        },
    }
}

/// Parses a file whose schema is known; errors say line and column.
fn parse<'a, T: Deserialize<'a>>(file: &str, bytes: &'a [u8]) -> Result<T, ReadError> {
    let shape =
        |error: serde_json::Error| ReadError::Shape { file: file.into(), detail: short(&error.to_string()) };
    serde_json::from_slice(bytes).map_err(shape)
}

/// Reads a number or `null`; that it is missing is an error.
pub(crate) fn nullable<'de, D: Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    Option::deserialize(source)
}

/// Text of a file in a message: without control characters, not long.
fn short(text: &str) -> String {
    const MOST: usize = 200;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = clean.take(MOST).collect();
    if text.chars().count() > MOST {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests;
