//! The files of an experiment: JSON with everything, one CSV for each table, SVG plots, and Markdown to read.

use crate::Options;
use crate::error::ExperimentError;
use crate::lab::{DataSource, Record};
use crate::table::Table;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use weightproof_figure::Chart;
use weightproof_report::provenance::Provenance;

/// Name and version of the JSON.
pub const SCHEMA: &str = "weightproof/experiment/1";

/// The results of an experiment. Two runs with the same settings differ only in `environment`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Name of the experiment.
    pub experiment: String,
    /// What it asks.
    pub summary: String,
    /// Version of weightproof.
    pub version: String,
    /// Whether models are missing, because the run is not over or was interrupted.
    pub partial: bool,
    /// Seeds and size.
    pub options: Options,
    /// Numbers that are fixed by the experiment.
    pub settings: Value,
    /// The data.
    pub data: Vec<DataSource>,
    /// What was found, in sentences.
    pub findings: Vec<String>,
    /// What was found, in numbers.
    pub tables: Vec<Table>,
    /// Names of the plots' files.
    pub plots: Vec<String>,
    /// The plots' lines.
    pub charts: Vec<Chart>,
    /// All models with their configurations and numbers.
    pub models: Vec<Record>,
    /// What differs between two runs.
    pub environment: Environment,
}

/// Time and host.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Time spent on all models.
    pub seconds: f64,
    /// Time spent on each.
    pub models: Vec<Seconds>,
    /// Operating system and processor family.
    pub host: String,
    /// When and by which command.
    #[serde(flatten)]
    pub provenance: Provenance,
}

/// Time spent on a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Its name.
    pub model: String,
    /// Training.
    pub training_seconds: f64,
    /// Measuring.
    pub measuring_seconds: f64,
}

impl Environment {
    /// Sums the times up.
    pub fn new(models: Vec<Seconds>) -> Self {
        let seconds = models.iter().map(|m| m.training_seconds + m.measuring_seconds).sum();
        let host = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
        Environment { seconds, models, host, provenance: Provenance::now() }
    }
}

impl Report {
    /// Everything as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}\n", self.experiment, self.summary);
        // Writing to a string does not fail.
        if self.partial {
            let _ = write!(text, "\nNot finished: models are missing.\n");
        }
        for table in self.tables.iter().filter(|table| !table.data_only) {
            let _ = write!(text, "\n{}", table.markdown());
        }
        if !self.findings.is_empty() {
            let _ = writeln!(
                text,
                "\n{}",
                self.findings.iter().map(|f| format!("- {f}\n")).collect::<String>().trim_end()
            );
        }
        for plot in &self.plots {
            let _ = write!(text, "\n![{0}]({0})\n", plot);
        }
        text
    }

    /// Writes JSON, CSV and Markdown.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ExperimentError> {
        for table in &self.tables {
            put(folder, &format!("{}.csv", table.name), &table.csv()?)?;
        }
        put(folder, &format!("{}.md", self.experiment), self.markdown().as_bytes())?;
        let json = serde_json::to_vec_pretty(self).expect("reports have text keys");
        put(folder, &format!("{}.json", self.experiment), &json)
    }
}

/// Writes the plots.
///
/// # Errors
/// When one cannot be written.
pub fn write_plots(folder: &Path, plots: &[Chart]) -> Result<(), ExperimentError> {
    let file = |plot: &Chart| plot.draw().file(&plot.title, "");
    plots.iter().try_for_each(|plot| put(folder, &format!("{}.svg", plot.name), file(plot).as_bytes()))
}

/// The file appears whole or not at all.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ExperimentError> {
    let (path, part) = (folder.join(name), folder.join(format!("{name}.part")));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&part, bytes));
    written.and_then(|()| fs::rename(&part, &path)).map_err(|source| ExperimentError::Io { path, source })
}

/// The models of an earlier run with the same settings as `now`, from its JSON; none when there is no such run. It may have had another number
/// of seeds.
pub fn previous(now: &Report, folder: &Path) -> Vec<(Record, Seconds)> {
    let path = folder.join(format!("{}.json", now.experiment));
    let Some(found) = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
    else {
        return Vec::new();
    };
    let Ok(now) = serde_json::to_value(now) else { return Vec::new() };
    let same = |key: &&str| found.pointer(key) == now.pointer(key);
    let keys =
        ["/schema", "/experiment", "/version", "/options/quick", "/options/seed", "/settings", "/data"];
    if !keys.iter().all(same) {
        return Vec::new();
    }
    let read = |value: &Value| serde_json::from_value::<Vec<Record>>(value.clone()).ok();
    let models = found.get("models").and_then(read).unwrap_or_default();
    let seconds = found.get("environment").and_then(|e| e.get("models")).cloned().unwrap_or_default();
    let seconds: Vec<Seconds> = serde_json::from_value(seconds).unwrap_or_default();
    models.into_iter().zip(seconds).collect()
}
