//! Results: the report of a run, and its columns as arrays.

use crate::array::{Array, Values};
use numpy::PyArray1;
use pyo3::exceptions::{PyIndexError, PyKeyError};
use pyo3::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use weightproof::verdict::{Reason, Verdict};
use weightproof_report::{
    AttackRecord, CertifyRecord, ExactRadiusRecord, ExactRecord, Format, Header, RadiusRecord, Record,
    Report as Document,
};

/// Hexadecimal digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The report of one of the commands.
#[pyclass(module = "weightproof._weightproof")]
pub struct Report {
    kind: Kind,
    /// Of the samples that were read, see [`Values::checksum`].
    checksum: u64,
}

enum Kind {
    Certify(Document<CertifyRecord>),
    Exact(Document<ExactRecord>),
    Attack(Document<AttackRecord>),
    Radius(Document<RadiusRecord>),
    ExactRadius(Document<ExactRadiusRecord>),
}

impl Report {
    /// Of a bound method.
    pub fn certify(document: Document<CertifyRecord>) -> Self {
        Report { kind: Kind::Certify(document), checksum: 0 }
    }

    /// Of branch and bound.
    pub fn exact(document: Document<ExactRecord>) -> Self {
        Report { kind: Kind::Exact(document), checksum: 0 }
    }

    /// Of an attack.
    pub fn attack(document: Document<AttackRecord>) -> Self {
        Report { kind: Kind::Attack(document), checksum: 0 }
    }

    /// Of a search of radii by a bound method.
    pub fn radius(document: Document<RadiusRecord>) -> Self {
        Report { kind: Kind::Radius(document), checksum: 0 }
    }

    /// Of a search of radii that branch and bound closed.
    pub fn exact_radius(document: Document<ExactRadiusRecord>) -> Self {
        Report { kind: Kind::ExactRadius(document), checksum: 0 }
    }
}

/// `$body` for the document, whatever its records are.
macro_rules! with {
    ($kind:expr, $document:ident => $body:expr) => {
        match $kind {
            Kind::Certify($document) => $body,
            Kind::Exact($document) => $body,
            Kind::Attack($document) => $body,
            Kind::Radius($document) => $body,
            Kind::ExactRadius($document) => $body,
        }
    };
}

#[pymethods]
impl Report {
    /// The command: certify, attack or radius.
    #[getter]
    fn command(&self) -> &'static str {
        fn command<R: Record>(_: &Document<R>) -> &'static str {
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

    /// Names of the columns that CSV has.
    #[getter]
    fn columns(&self) -> Vec<&'static str> {
        fn columns<R: Record>(_: &Document<R>) -> Vec<&'static str> {
            R::COLUMNS.to_vec()
        }
        with!(&self.kind, d => columns(d))
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

    /// One number for each sample of result `k`; NaN where there is none.
    fn numbers<'py>(&self, py: Python<'py>, name: &str, k: usize) -> PyResult<Bound<'py, PyArray1<f64>>> {
        fn numbers<R: Row>(document: &Document<R>, name: &str, k: usize) -> PyResult<Vec<f64>> {
            let result = document.results.get(k).ok_or_else(|| PyIndexError::new_err(k))?;
            let column = result.samples.iter().map(|row| row.number(name));
            column.collect::<Option<_>>().ok_or_else(|| PyKeyError::new_err(name.to_owned()))
        }
        Ok(PyArray1::from_vec(py, with!(&self.kind, d => numbers(d, name, k))?))
    }

    /// One word for each sample of result `k`: its verdict or reason, empty where there is none.
    fn words(&self, name: &str, k: usize) -> PyResult<Vec<&'static str>> {
        fn words<R: Row>(document: &Document<R>, name: &str, k: usize) -> PyResult<Vec<&'static str>> {
            let result = document.results.get(k).ok_or_else(|| PyIndexError::new_err(k))?;
            let column = result.samples.iter().map(|row| row.word(name));
            column.collect::<Option<_>>().ok_or_else(|| PyKeyError::new_err(name.to_owned()))
        }
        with!(&self.kind, d => words(d, name, k))
    }

    /// The summary of result `k` as JSON.
    fn summary(&self, k: usize) -> PyResult<String> {
        fn summary<R: Record>(document: &Document<R>, k: usize) -> PyResult<String>
        where
            R::Summary: Serialize,
        {
            let result = document.results.get(k).ok_or_else(|| PyIndexError::new_err(k))?;
            Ok(serde_json::json!(result.summary).to_string())
        }
        with!(&self.kind, d => summary(d, k))
    }

    /// The report in a format: text, json or csv.
    fn write(&self, py: Python<'_>, format: &str) -> PyResult<String> {
        let format = match format {
            "json" => Format::Json,
            "csv" => Format::Csv,
            _ => Format::Text,
        };
        let mut bytes = Vec::new();
        py.detach(|| with!(&self.kind, d => d.write(format, &mut bytes)))?;
        Ok(String::from_utf8(bytes)?)
    }
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
}

/// SHA-256 of the numbers as they lie in memory on a little-endian machine.
fn fingerprint(values: Values<'_>) -> String {
    let mut hasher = Sha256::new();
    let mut bytes: Vec<u8> = Vec::new();
    let mut absorb = |part: &mut dyn FnMut(&mut Vec<u8>)| {
        bytes.clear();
        part(&mut bytes);
        hasher.update(&bytes);
    };
    match values {
        Values::F64(all) => all.chunks(1 << 14).for_each(|chunk| {
            absorb(&mut |bytes| bytes.extend(chunk.iter().flat_map(|v| v.to_le_bytes())));
        }),
        Values::F32(all) => all.chunks(1 << 14).for_each(|chunk| {
            absorb(&mut |bytes| bytes.extend(chunk.iter().flat_map(|v| v.to_le_bytes())));
        }),
        Values::U8(all) => hasher.update(all),
    }
    hex(&hasher.finalize())
}

/// A record whose fields are known by the names of JSON.
trait Row: Record {
    /// A field that is a number; NaN where it is missing, `None` for another field.
    fn number(&self, name: &str) -> Option<f64>;

    /// A field that is a word; `None` for another field.
    fn word(&self, _name: &str) -> Option<&'static str> {
        None
    }
}

/// The fields that all records have.
fn clean(name: &str, index: usize, label: Option<u32>, predicted: u32, margin: f64) -> Option<f64> {
    match name {
        "index" => Some(index as f64),
        "label" => Some(label.map_or(f64::NAN, f64::from)),
        "predicted" => Some(f64::from(predicted)),
        "margin" => Some(margin),
        _ => None,
    }
}

fn or_nan(number: Option<f64>) -> Option<f64> {
    Some(number.unwrap_or(f64::NAN))
}

fn outcome(name: &str, verdict: Verdict, reason: Option<Reason>) -> Option<&'static str> {
    match (name, verdict) {
        ("verdict", Verdict::Verified) => Some("verified"),
        ("verdict", Verdict::Falsified) => Some("falsified"),
        ("verdict", Verdict::Unknown) => Some("unknown"),
        ("reason", _) => Some(reason.map_or("", Reason::name)),
        _ => None,
    }
}

impl Row for CertifyRecord {
    fn number(&self, name: &str) -> Option<f64> {
        match name {
            "margin_lower" => Some(self.margin_lower),
            "runner_up" => Some(f64::from(self.runner_up)),
            "deviation_upper" => or_nan(self.deviation_upper),
            _ => clean(name, self.index, self.label, self.predicted, self.margin),
        }
    }

    fn word(&self, name: &str) -> Option<&'static str> {
        outcome(name, self.verdict, self.reason)
    }
}

impl Row for ExactRecord {
    fn number(&self, name: &str) -> Option<f64> {
        match name {
            "worst_margin" => Some(self.worst_margin),
            "nodes" => Some(self.nodes as f64),
            "seconds" => Some(self.seconds),
            _ => self.certify.number(name),
        }
    }

    fn word(&self, name: &str) -> Option<&'static str> {
        self.certify.word(name)
    }
}

impl Row for AttackRecord {
    fn number(&self, name: &str) -> Option<f64> {
        match name {
            "worst_margin" => Some(self.worst_margin),
            "runner_up" => Some(f64::from(self.runner_up)),
            "deviation" => or_nan(self.deviation),
            _ => clean(name, self.index, self.label, self.predicted, self.margin),
        }
    }

    fn word(&self, name: &str) -> Option<&'static str> {
        outcome(name, self.verdict, self.reason)
    }
}

impl Row for RadiusRecord {
    fn number(&self, name: &str) -> Option<f64> {
        match name {
            "certified_radius" => Some(self.certified_radius),
            "attacked_radius" => or_nan(self.attacked_radius),
            _ => clean(name, self.index, self.label, self.predicted, self.margin),
        }
    }
}

impl Row for ExactRadiusRecord {
    fn number(&self, name: &str) -> Option<f64> {
        self.radius.number(name)
    }

    fn word(&self, name: &str) -> Option<&'static str> {
        (name == "reason").then(|| self.reason.map_or("", Reason::name))
    }
}
