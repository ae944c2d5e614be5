//! Results of `experiment`.

use super::ReadError;
use serde::Deserialize;
use serde_json::{Map, Value};
use weightproof_figure::Chart;

/// An experiment.
#[derive(Clone, Debug, Deserialize)]
pub struct ExperimentFile {
    /// Name of the file.
    #[serde(skip)]
    pub file: String,
    /// Name of the experiment.
    pub experiment: String,
    /// What it asks.
    pub summary: String,
    /// Version that wrote it.
    pub version: String,
    /// Whether models are missing.
    #[serde(default)]
    pub partial: bool,
    /// Seeds and size, as they were written.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// Numbers that the experiment fixes, as they were written.
    #[serde(default)]
    pub settings: Value,
    /// Where the samples come from, as it was written.
    #[serde(default)]
    pub data: Vec<Map<String, Value>>,
    /// What was found, in sentences.
    pub findings: Vec<String>,
    /// What was found, in numbers.
    pub tables: Vec<ExperimentTable>,
    /// What was found, in lines; files of earlier versions have none.
    #[serde(default)]
    pub charts: Vec<Chart>,
    /// Time and host, as they were written.
    #[serde(default)]
    pub environment: Map<String, Value>,
}

/// A table.
#[derive(Clone, Debug, Deserialize)]
pub struct ExperimentTable {
    /// Name of its file.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// Its columns.
    pub columns: Vec<ExperimentColumn>,
    /// Its rows: words, numbers, or a mean with the least and the greatest value.
    pub rows: Vec<Vec<Value>>,
}

/// A column.
#[derive(Clone, Debug, Deserialize)]
pub struct ExperimentColumn {
    /// Name in the file.
    pub name: String,
    /// Head for people.
    pub head: String,
    /// `fraction` is written in percent.
    pub unit: String,
    /// What the numbers are worth.
    pub guarantee: String,
}

impl ExperimentFile {
    /// Checks that rows fit their columns.
    pub(super) fn checked(mut self, file: &str) -> Result<Self, ReadError> {
        self.file = file.into();
        for table in &self.tables {
            if let Some(row) = table.rows.iter().find(|row| row.len() != table.columns.len()) {
                return Err(ReadError::Field {
                    file: file.into(),
                    place: format!("table {}", super::short(&table.name)),
                    expected: format!("rows of {} cells", table.columns.len()),
                    found: row.len().to_string(),
                });
            }
        }
        Ok(self)
    }
}
