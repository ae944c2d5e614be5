//! A report: the shared blocks, and records under a summary for each radius.

use crate::field::{Field, Total};
use crate::header::{Environment, Header};
#[cfg(feature = "parquet")]
use crate::parquet;
use crate::table::{Side, Table};
use crate::{csv, json, text};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::io::{self, Write};

/// What a column begins with that has the certified radii of one layer.
pub(crate) const LAYER_COLUMN: &str = "certified_radius:";

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Tables for people.
    #[default]
    Text,
    /// One object with a `schema` field.
    Json,
    /// One row for each sample and radius.
    Csv,
    /// The same rows with types, as bytes.
    Parquet,
}

/// What a command says about one sample.
///
/// A new command implements this trait once, and has all formats.
pub trait Record: Clone + Debug + Serialize + 'static {
    /// Numbers over all samples.
    type Summary: Clone + Debug + Serialize + 'static;
    /// Name of the command: `schema` is `weightproof/COMMAND/1`.
    const COMMAND: &'static str;
    /// How samples for which [`Record::holds`] is false are called.
    const FAILING: &'static str;
    /// Whether the sample needs no attention.
    fn holds(&self) -> bool;
    /// The fields of the forms that are tables, after the radius, those of the list of samples among them. Some runs have more of them,
    /// which their summary tells.
    fn fields(summary: Option<&Self::Summary>) -> Vec<Field<Self>>;
    /// Columns of the table of summaries.
    fn totals() -> Vec<Total<Self::Summary>>;
    /// More fields of the JSON form, beside the summary.
    fn more_fields(_summary: &Self::Summary) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
    /// What the summary of a part of the samples is counted from, beside its records, so that parts can be merged.
    fn part_fields(_summary: &Self::Summary) -> Option<Value> {
        None
    }
    /// More tables about all samples, each under a title.
    fn curves(_summary: &Self::Summary, _guarantee: &'static str) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Samples in the order of the data, as often as they are asked for.
pub trait SampleSource<R> {
    /// Tells `sample` of every sample of result `k`.
    ///
    /// # Errors
    /// Those of `sample`, and of what the samples are read from.
    fn each(&self, k: usize, sample: &mut dyn FnMut(&R) -> io::Result<()>) -> io::Result<()>;
}

impl<R: Record> SampleSource<R> for Report<R> {
    fn each(&self, k: usize, sample: &mut dyn FnMut(&R) -> io::Result<()>) -> io::Result<()> {
        self.results[k].samples.iter().try_for_each(sample)
    }
}

/// Summary and samples at one radius.
#[derive(Clone, Debug)]
pub struct RunResult<R: Record> {
    /// The radius; `None` when the run searched for radii.
    pub radius: Option<f64>,
    /// Numbers over all samples.
    pub summary: R::Summary,
    /// The samples in the order of the data.
    pub samples: Vec<R>,
}

/// All that a run has to say.
#[derive(Clone, Debug)]
pub struct Report<R: Record> {
    /// Network, data, threat model and method.
    pub header: Header,
    /// Whether the run was interrupted before its last sample.
    pub partial: bool,
    /// One for each radius.
    pub results: Vec<RunResult<R>>,
    /// Time, memory and host.
    pub environment: Environment,
}

impl<R: Record> Report<R> {
    /// Writes the report.
    ///
    /// # Errors
    /// Those of `out`, and [`NotBuilt`](weightproof_figure::features::NotBuilt) for Parquet in a build without it.
    pub fn write(&self, format: Format, mut out: impl Write) -> io::Result<()> {
        match format {
            Format::Text => text::report(self, &mut out)?,
            Format::Json | Format::Csv | Format::Parquet => self.write_from(self, format, &mut out)?,
        }
        out.flush()
    }

    /// Writes the report with samples that need not be in memory, instead of its own, in a format for programs.
    ///
    /// # Errors
    /// Those of `out` and of `source`; the format text, and Parquet in a build without it.
    pub fn write_from(
        &self,
        source: &dyn SampleSource<R>,
        format: Format,
        mut out: impl Write,
    ) -> io::Result<()> {
        let out = &mut out;
        match format {
            Format::Text => Err(io::Error::other("text is written of samples in memory")),
            Format::Json => json::report(self, source, out),
            Format::Csv => csv::report(self, source, out),
            #[cfg(feature = "parquet")]
            Format::Parquet => parquet::report(self, source, out),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => crate::features::parquet().map_err(io::Error::other),
        }
    }

    /// The blocks above the samples, for forms that have rows only. Of a part also what its summary is counted from.
    pub fn head(&self) -> Value {
        let h = &self.header;
        let mut head = json!({
            "schema": format!("weightproof/{}/1", R::COMMAND),
            "partial": self.partial,
            "model": h.model,
            "data": h.data,
            "threat": h.threat,
            "method": h.method,
            "guarantee": h.guarantee,
            "config": h.config,
            "environment": self.environment,
        });
        if let (Some(shard), Some(first)) = (&h.shard, self.results.first()) {
            head["shard"] = json!(shard);
            head["radii"] = self.results.iter().map(|result| result.radius).collect();
            let counts = self.results.iter().filter_map(|result| R::part_fields(&result.summary));
            head["counts"] = counts.collect();
            let fields = R::fields(Some(&first.summary));
            head["layers"] =
                fields.iter().filter_map(|field| field.name().strip_prefix(LAYER_COLUMN)).collect();
        }
        head
    }

    /// The fields of its records.
    pub fn fields(&self) -> Vec<Field<R>> {
        R::fields(self.results.first().map(|result| &result.summary))
    }

    /// The table of summaries: names, guarantees, then one row for each radius.
    pub(crate) fn summary_table(&self) -> Table {
        let totals = R::totals();
        let radius = self.results.iter().any(|r| r.radius.is_some());
        let first = |cell: &str| radius.then(|| cell.to_owned());
        let mut table = Table::new(vec![Side::Right; totals.len() + usize::from(radius)]);
        let row = |name: &str, cells: Vec<String>| first(name).into_iter().chain(cells);
        let threat = &self.header.threat;
        let worth = |total: &Total<R::Summary>| total.guarantee.unwrap_or(self.header.guarantee).to_owned();
        table.push(row(threat.radius_name(), totals.iter().map(|total| total.name.to_owned()).collect()));
        table.push(row("", totals.iter().map(worth).collect()));
        for result in &self.results {
            let name = result.radius.map_or_else(String::new, |radius| threat.written(radius));
            table.push(row(&name, totals.iter().map(|total| (total.shown)(&result.summary)).collect()));
        }
        table
    }
}
