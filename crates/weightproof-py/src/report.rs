//! Results: the report of a run, and its columns as arrays.

use crate::array::{Array, Values};
use crate::error::Error;
use numpy::PyArray1;
use pyo3::exceptions::{PyIndexError, PyKeyError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use std::io;
use weightproof_formats::fingerprint::Fingerprint;
use weightproof_page::Page;
use weightproof_report::reading;
use weightproof_report::{
    AttackRecord, Cell, CertifyRecord, DrawsRecord, ExactRadiusRecord, ExactRecord, ExactSummary,
    FaultRecord, Format, Header, InspectReport, MeasureReport, NoiseRecord, RadiusRecord, Record,
    Report as Samples, TrainReport, Written, history_csv,
};

/// The report of one of the commands.
#[pyclass(module = "weightproof._weightproof")]
pub struct Report {
    kind: Kind,
    /// Of the samples that were read, see [`Values::checksum`].
    checksum: u64,
}

enum Kind {
    Certify(Samples<CertifyRecord>),
    Exact(Samples<ExactRecord>),
    Noise(Samples<NoiseRecord>),
    Attack(Samples<AttackRecord>),
    Draws(Samples<DrawsRecord>),
    Radius(Samples<RadiusRecord>),
    ExactRadius(Samples<ExactRadiusRecord>),
    Faults(Samples<FaultRecord>),
}

impl Report {
    /// Of a bound method.
    pub fn certify(document: Samples<CertifyRecord>) -> Self {
        Report { kind: Kind::Certify(document), checksum: 0 }
    }

    /// Of branch and bound.
    pub fn exact(document: Samples<ExactRecord>) -> Self {
        Report { kind: Kind::Exact(document), checksum: 0 }
    }

    /// Of a bound method, with random weights.
    pub fn noise(document: Samples<NoiseRecord>) -> Self {
        Report { kind: Kind::Noise(document), checksum: 0 }
    }

    /// Of drawn devices.
    pub fn draws(document: Samples<DrawsRecord>) -> Self {
        Report { kind: Kind::Draws(document), checksum: 0 }
    }

    /// Of an attack.
    pub fn attack(document: Samples<AttackRecord>) -> Self {
        Report { kind: Kind::Attack(document), checksum: 0 }
    }

    /// Of a search of radii by a bound method.
    pub fn radius(document: Samples<RadiusRecord>) -> Self {
        Report { kind: Kind::Radius(document), checksum: 0 }
    }

    /// Of a search of radii that branch and bound closed.
    pub fn exact_radius(document: Samples<ExactRadiusRecord>) -> Self {
        Report { kind: Kind::ExactRadius(document), checksum: 0 }
    }

    /// Of all single hits on stored words.
    pub fn faults(document: Samples<FaultRecord>) -> Self {
        Report { kind: Kind::Faults(document), checksum: 0 }
    }
}

/// `$body` for the document, whatever its records are.
macro_rules! with {
    ($kind:expr, $document:ident => $body:expr) => {
        match $kind {
            Kind::Certify($document) => $body,
            Kind::Exact($document) => $body,
            Kind::Noise($document) => $body,
            Kind::Attack($document) => $body,
            Kind::Draws($document) => $body,
            Kind::Radius($document) => $body,
            Kind::ExactRadius($document) => $body,
            Kind::Faults($document) => $body,
        }
    };
}

#[pymethods]
impl Report {
    /// The command: certify, attack, radius or faults.
    #[getter]
    fn command(&self) -> &'static str {
        fn command<R: Record>(_: &Samples<R>) -> &'static str {
            R::COMMAND
        }
        with!(&self.kind, d => command(d))
    }

    /// What the numbers are worth.
    #[getter]
    fn guarantee(&self) -> &'static str {
        self.header().guarantee
    }

    /// The radii, one for each result; none where the run searched for radii or every layer has its own.
    #[getter]
    fn radii(&self) -> Vec<Option<f64>> {
        with!(&self.kind, d => d.results.iter().map(|r| r.radius).collect())
    }

    /// Network, data and threat model as JSON has them.
    #[getter]
    fn question(&self) -> String {
        let Header { model, data, threat, .. } = self.header();
        serde_json::json!({ "model": model, "data": data, "threat": threat }).to_string()
    }

    /// Names of the columns that CSV has.
    #[getter]
    fn columns(&self) -> Vec<String> {
        with!(&self.kind, d => d.fields().iter().map(|field| field.name().to_owned()).collect())
    }

    /// Time spent on bounds and attacks.
    #[getter]
    fn seconds(&self) -> f64 {
        with!(&self.kind, d => d.environment.seconds)
    }

    /// Whether the fingerprint of the samples is missing.
    #[getter]
    fn needs_fingerprint(&self) -> bool {
        self.header().data.sha256.is_empty()
    }

    /// Takes the fingerprint of the samples, unless they are no longer those that were read.
    fn fingerprint(&mut self, py: Python<'_>, x: Array<'_>) -> PyResult<()> {
        let (values, checksum) = (x.values()?, self.checksum);
        let sha256 = py.detach(|| match values.checksum() == checksum {
            true => fingerprint(values),
            false => "unknown: the array was changed after the run".into(),
        });
        with!(&mut self.kind, d => d.header.data.sha256 = sha256);
        Ok(())
    }

    /// Counts samples again of which some were divided, and says how: in at most so many rounds, and searches of a round.
    fn divided(&mut self, rounds: usize, searches: usize) {
        let Some(document) = self.exact_mut() else { return };
        for result in &mut document.results {
            result.summary = ExactSummary::new(&result.samples);
        }
        document.header.config["exact"]["rounds"] = rounds.into();
        document.header.config["exact"]["searches"] = searches.into();
    }

    /// One number for each sample of result `k`; NaN where there is none.
    fn numbers<'py>(&self, py: Python<'py>, name: &str, k: usize) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let number = |cell| match cell {
            Cell::Integer(n) => n.map(|n| n as f64),
            Cell::Class(class) => class.map(f64::from),
            Cell::Number(v) => v,
            Cell::Text(_) => None,
        };
        let found = with!(&self.kind, d => column(d, name, k, |cell| number(cell).unwrap_or(f64::NAN)))?;
        Ok(PyArray1::from_vec(py, found))
    }

    /// One word for each sample of result `k`, empty where there is none.
    fn words(&self, name: &str, k: usize) -> PyResult<Vec<String>> {
        with!(&self.kind, d => column(d, name, k, |cell| match cell {
            Cell::Text(text) => text.unwrap_or_default(),
            Cell::Integer(_) | Cell::Class(_) | Cell::Number(_) => String::new(),
        }))
    }

    /// The summary of result `k` as JSON.
    fn summary(&self, k: usize) -> PyResult<String> {
        fn summary<R: Record>(document: &Samples<R>, k: usize) -> PyResult<String>
        where
            R::Summary: Serialize,
        {
            let result = document.results.get(k).ok_or_else(|| PyIndexError::new_err(k))?;
            Ok(serde_json::json!(result.summary).to_string())
        }
        with!(&self.kind, d => summary(d, k))
    }

    /// The bytes of the report in a format: text, json, csv, parquet or html.
    fn write<'py>(&self, py: Python<'py>, format: &str) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| written(format, |format, out| with!(&self.kind, d => d.write(format, out))));
        Ok(PyBytes::new(py, &bytes?))
    }
}

/// A report without samples: of `measure`, `inspect` or `train`.
#[pyclass(frozen, module = "weightproof._weightproof")]
pub struct Document(Other);

/// What a [`Document`] is about.
pub enum Other {
    /// Of `measure`.
    Measure(Box<MeasureReport>),
    /// Of `inspect`.
    Inspect(Box<InspectReport>),
    /// Of `train`.
    Train(Box<TrainReport>),
}

impl Document {
    /// Of this report.
    pub fn new(report: Other) -> Self {
        Document(report)
    }
}

#[pymethods]
impl Document {
    /// The bytes of the report in a format: text, json, csv, or html where there is a page about it.
    fn write<'py>(&self, py: Python<'py>, format: &str) -> PyResult<Bound<'py, PyBytes>> {
        let write = |format, out: &mut Vec<u8>| match &self.0 {
            Other::Measure(report) => report.write(format, out),
            Other::Inspect(report) => report.write(format, out),
            Other::Train(report) => match format {
                Format::Csv => history_csv(&report.history, out),
                Format::Json => report.json(out),
                Format::Text | Format::Parquet => report.text(out),
            },
        };
        Ok(PyBytes::new(py, &py.detach(|| written(format, write))?))
    }
}

/// What `write` writes in a format; `html` is the page of its JSON.
fn written(format: &str, write: impl Fn(Format, &mut Vec<u8>) -> io::Result<()>) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let plain = match format {
        "json" | "html" => Format::Json,
        "csv" => Format::Csv,
        "parquet" => Format::Parquet,
        _ => Format::Text,
    };
    write(plain, &mut bytes)?;
    if format != "html" {
        return Ok(bytes);
    }
    let loaded = reading::read("result", &bytes).map_err(|error| Error::new_err(error.to_string()))?;
    Ok(Page::new(&[loaded]).html().into_bytes())
}

/// A column of result `k`.
fn column<R: Record, T>(
    document: &Samples<R>,
    name: &str,
    k: usize,
    value: impl Fn(Cell) -> T,
) -> PyResult<Vec<T>> {
    let fields = document.fields();
    let field = fields.iter().find(|field| field.name() == name);
    let field = field.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
    let result = document.results.get(k).ok_or_else(|| PyIndexError::new_err(k))?;
    Ok(result.samples.iter().map(|row| value(field.cell(row))).collect())
}

impl Report {
    /// The same about samples with this checksum.
    pub fn about(mut self, checksum: u64) -> Self {
        self.checksum = checksum;
        self
    }

    fn header(&self) -> &Header {
        with!(&self.kind, d => &d.header)
    }

    /// The samples of branch and bound, where this is about them.
    pub fn exact_mut(&mut self) -> Option<&mut Samples<ExactRecord>> {
        match &mut self.kind {
            Kind::Exact(document) => Some(document),
            Kind::Certify(_)
            | Kind::Noise(_)
            | Kind::Attack(_)
            | Kind::Draws(_)
            | Kind::Radius(_)
            | Kind::ExactRadius(_)
            | Kind::Faults(_) => None,
        }
    }
}

/// SHA-256 of the numbers as they lie in memory on a little-endian machine.
pub fn fingerprint(values: Values<'_>) -> String {
    let mut fingerprint = Fingerprint::default();
    let mut bytes: Vec<u8> = Vec::new();
    let mut absorb = |part: &mut dyn FnMut(&mut Vec<u8>)| {
        bytes.clear();
        part(&mut bytes);
        fingerprint.update(&bytes);
    };
    match values {
        Values::F64(all) => all.chunks(1 << 14).for_each(|chunk| {
            absorb(&mut |bytes| bytes.extend(chunk.iter().flat_map(|v| v.to_le_bytes())));
        }),
        Values::F32(all) => all.chunks(1 << 14).for_each(|chunk| {
            absorb(&mut |bytes| bytes.extend(chunk.iter().flat_map(|v| v.to_le_bytes())));
        }),
        Values::U8(all) => fingerprint.update(all),
    }
    fingerprint.finish()
}
