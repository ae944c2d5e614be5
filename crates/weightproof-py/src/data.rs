//! Data of files and the embedded sample, read whole.

use crate::error::raise;
use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use serde::Deserialize;
use std::path::PathBuf;
use weightproof_report::DataReport;
use weightproof_run::RunError;
use weightproof_run::config::{DataConfig, delimiter};
use weightproof_run::scale::ChosenScale;
use weightproof_run::source;

/// Where data come from, for reports.
#[pyclass(frozen, module = "weightproof")]
pub struct Origin {
    /// Settings of the reader.
    pub config: DataConfig,
    /// The block of reports about all that was read.
    pub report: DataReport,
    /// The factor that they were multiplied by.
    pub scale: ChosenScale,
}

#[pymethods]
impl Origin {
    /// Where the data come from.
    #[getter]
    fn description(&self) -> &str {
        &self.report.description
    }

    /// SHA-256 of the file with the samples.
    #[getter]
    fn sha256(&self) -> &str {
        &self.report.sha256
    }
}

/// Settings of a reader, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    path: Option<PathBuf>,
    labels: Option<PathBuf>,
    csv_labels: bool,
    csv_header: String,
    #[serde(default)]
    csv_delimiter: Option<String>,
    #[serde(default)]
    csv_label_column: Option<String>,
    scale: Option<String>,
    train: bool,
    offset: usize,
    samples: Option<usize>,
}

/// Samples, labels and where they come from.
type Loaded<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyArray1<u32>>>, Origin);

/// Reads data of a file or folder, or the embedded sample.
#[pyfunction]
pub fn load_data<'py>(py: Python<'py>, settings: &str) -> PyResult<Loaded<'py>> {
    let reading: Reading = crate::settings::parse(settings)?;
    let config = DataConfig {
        path: reading.path,
        labels: reading.labels,
        csv_labels: reading.csv_labels,
        csv_header: match reading.csv_header.as_str() {
            "yes" => "yes",
            "no" => "no",
            _ => "auto",
        },
        csv_delimiter: reading.csv_delimiter.as_deref().map(delimiter).transpose().map_err(raise)?,
        csv_label_column: reading.csv_label_column,
        scale: reading.scale.as_deref().map(crate::settings::scale).transpose().map_err(raise)?,
        split: if reading.train { "train" } else { "test" },
        offset: reading.offset,
        samples: reading.samples,
        ..DataConfig::default()
    };
    let (inputs, labels, origin) = py.detach(|| read(config)).map_err(raise)?;
    let mut shape = vec![origin.report.samples];
    shape.extend(&origin.report.shape);
    let x = PyArray1::from_vec(py, inputs).reshape(shape)?;
    Ok((x.into_any(), labels.map(|labels| PyArray1::from_vec(py, labels)), origin))
}

/// Numbers, labels and where they come from.
type Whole = (Vec<f64>, Option<Vec<u32>>, Origin);

fn read(config: DataConfig) -> Result<Whole, RunError> {
    let mut data = source::data(&config)?;
    let scale = source::scaled(&mut data, &config, None)?;
    let (mut inputs, mut labels, mut count) = (Vec::new(), data.info().labelled.then(Vec::new), 0);
    while let Some(batch) = data.next_batch(usize::MAX)? {
        count += batch.count;
        // The first batch is mostly the only one.
        if inputs.is_empty() {
            inputs = batch.inputs
        } else {
            inputs.extend(batch.inputs)
        }
        if let (Some(all), Some(more)) = (&mut labels, batch.labels) {
            all.extend(more);
        }
    }
    let report = source::describe(&data, &scale, count, config.offset)?;
    let report = DataReport { requested: config.samples.filter(|wanted| *wanted > count), ..report };
    Ok((inputs, labels, Origin { report, scale, config }))
}
