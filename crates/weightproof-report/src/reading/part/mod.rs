//! Parts of a result (`--shard`), read sample by sample: a part need not fit into memory.

mod journal;
mod json;
#[cfg(feature = "parquet")]
mod parquet;

use super::{ReadError, short};
use crate::{
    DataReport, Header, MethodReport, ModelReport, Record, ShardReport, ThreatReport, with_probability,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use weightproof::verdict::Guarantee;

/// What is in front of the samples of a part.
#[derive(Clone, Debug)]
pub struct PartHead {
    /// `weightproof/COMMAND/1`.
    pub schema: String,
    /// Whether the run was interrupted.
    pub partial: bool,
    /// Network, data, threat model and method.
    pub header: Header,
    /// Which part it is.
    pub shard: ShardReport,
    /// One for each result.
    pub radii: Vec<Option<f64>>,
    /// Layers that samples have radii of their own for.
    pub layers: Vec<String>,
    /// What was counted beside the samples, one for each result, where something was.
    pub counts: Vec<Value>,
    /// Time, memory and settings of the process.
    pub environment: PartEnvironment,
}

/// Time, memory and settings of the process that made a part.
#[derive(Clone, Debug, Deserialize)]
pub struct PartEnvironment {
    /// Time spent on bounds and attacks.
    pub seconds: f64,
    /// Number of threads.
    pub threads: usize,
    /// Version of weightproof.
    pub version: String,
    /// Largest resident memory of the process.
    pub peak_memory_bytes: Option<u64>,
    /// Seed of attacks and samples.
    pub seed: u64,
    /// Floating-point type.
    pub precision: String,
}

/// Bytes that tell the forms apart.
const BEGIN: u64 = 1 << 16;

/// How a part is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Journal,
    Json,
    Parquet,
}

/// A part in a file.
#[derive(Clone, Debug)]
pub struct PartFile {
    /// The file.
    pub path: PathBuf,
    /// What is in front of its samples.
    pub head: PartHead,
    form: Form,
}

/// Why a part is not read, or why its reader did not want more.
#[derive(Debug, thiserror::Error)]
pub enum PartError<E> {
    /// The file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// What is told of samples.
    #[error("{0}")]
    Told(E),
}

/// What stands in front of the samples, as JSON has it. What is not here is skipped while it is read, samples too.
#[derive(Deserialize)]
struct Blocks {
    schema: String,
    partial: bool,
    shard: Option<ShardReport>,
    model: ModelReport,
    data: DataReport,
    threat: ThreatReport,
    method: MethodReport,
    guarantee: String,
    config: Value,
    environment: PartEnvironment,
    /// Of the only result in JSON, a list of all in Parquet and journals.
    counts: Option<Value>,
    /// In JSON.
    summary: Option<Summary>,
    /// In JSON, where there are several radii.
    results: Option<Vec<RadiusOf>>,
    /// In Parquet and journals.
    radii: Option<Vec<Option<f64>>>,
    /// In Parquet and journals.
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RadiusOf {
    radius: Option<f64>,
    counts: Option<Value>,
}

/// What a summary says about the columns of the samples.
#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    layer: String,
}

impl Blocks {
    fn head(self, file: &str) -> Result<PartHead, ReadError> {
        let field = |place: &str, expected: &str, found: &str| ReadError::Field {
            file: file.into(),
            place: place.into(),
            expected: expected.into(),
            found: short(found),
        };
        let Some(shard) = self.shard else {
            return Err(field("shard", "a part of a result, of a run with --shard I/N", "none"));
        };
        let [rigorous, real] = [Guarantee::Rigorous, Guarantee::RealArithmetic];
        let known =
            [rigorous.name(), real.name(), with_probability(rigorous), with_probability(real), "estimate"];
        let Some(guarantee) = known.into_iter().find(|name| *name == self.guarantee) else {
            return Err(field("guarantee", &known.join(", "), &self.guarantee));
        };
        let of_results = self.results.iter().flatten().filter_map(|result| result.counts.clone()).collect();
        let counts = match self.counts {
            None => of_results,
            Some(Value::Array(all)) => all,
            Some(one) => vec![one],
        };
        let results = self.results.map(|all| all.iter().map(|result| result.radius).collect());
        let radii = results.or(self.radii).unwrap_or_else(|| vec![self.threat.radius]);
        let of_summary = self.summary.map(|summary| summary.layers).unwrap_or_default();
        let layers = self.layers.unwrap_or_else(|| of_summary.into_iter().map(|layer| layer.layer).collect());
        let header = Header {
            model: self.model,
            data: self.data,
            threat: self.threat,
            method: self.method,
            guarantee,
            config: self.config,
            shard: Some(shard.clone()),
            certificate: None,
        };
        Ok(PartHead {
            schema: self.schema,
            partial: self.partial,
            header,
            shard,
            radii,
            layers,
            counts,
            environment: self.environment,
        })
    }
}

impl PartFile {
    /// Reads what is in front of the samples of a part in JSON or Parquet, or at the end of a journal.
    ///
    /// # Errors
    /// A file that is none, or that cannot be read.
    pub fn open<E>(path: &Path) -> Result<PartFile, PartError<E>> {
        let failed = |source| PartError::Io { path: path.display().to_string(), source };
        let mut first = Vec::new();
        let opened = File::open(path).and_then(|file| file.take(BEGIN).read_to_end(&mut first));
        opened.map_err(failed)?;
        let form = match first.as_slice() {
            begin if begin.starts_with(b"PAR1") => Form::Parquet,
            begin if journal::is_journal(begin) => Form::Journal,
            _ => Form::Json,
        };
        let head = match form {
            Form::Journal => journal::head(path)?,
            Form::Json => json::head(path)?,
            #[cfg(feature = "parquet")]
            Form::Parquet => parquet::head(path)?,
            #[cfg(not(feature = "parquet"))]
            Form::Parquet => {
                return Err(failed(crate::features::parquet().map_err(io::Error::other).unwrap_err()));
            }
        };
        Ok(PartFile { path: path.into(), head, form })
    }

    /// Tells `sample` of every sample of result `k`, in the order of the file.
    ///
    /// # Errors
    /// The first of `sample`; a file that is damaged.
    pub fn each<R: Record + DeserializeOwned, E>(
        &self,
        k: usize,
        sample: &mut dyn FnMut(R) -> Result<(), E>,
    ) -> Result<(), PartError<E>> {
        match self.form {
            Form::Journal => journal::each(&self.path, k, sample),
            Form::Json => json::each(&self.path, k, sample),
            #[cfg(feature = "parquet")]
            Form::Parquet => parquet::each(&self.path, (k, self.head.shard.samples), sample),
            #[cfg(not(feature = "parquet"))]
            Form::Parquet => Ok(()),
        }
    }
}
