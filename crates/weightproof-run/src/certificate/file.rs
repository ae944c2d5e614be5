//! The file: gzip members, one for each line, in the order of the samples.

use crate::RunError;
use crate::certificate::text::{Header, Line, Record};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use weightproof_formats::FormatError;
use weightproof_formats::fingerprint::Fingerprint;

/// A certificate that is being written. Each record reaches the file as soon as those of all samples before it have.
pub(super) struct CertificateFile {
    path: PathBuf,
    file: File,
    digest: Fingerprint,
    records: usize,
    /// Number of the next sample.
    next: usize,
    /// Records that came before their turn, by sample.
    early: BTreeMap<usize, Text>,
}

/// A line, and as it is written.
struct Text {
    line: Vec<u8>,
    packed: Vec<u8>,
}

impl Text {
    fn new(value: &impl Serialize) -> io::Result<Text> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&line)?;
        Ok(Text { packed: packed.finish()?, line })
    }
}

/// A record that is ready to be written.
pub(super) struct Packed(usize, Text);

impl Packed {
    /// Compresses a record; the work of a thread.
    pub fn new(record: Record) -> Result<Packed, RunError> {
        let sample = record.sample;
        let text = Text::new(&Line::Record(record));
        Ok(Packed(sample, text.map_err(|error| RunError::misfit(format!("certificate: {error}")))?))
    }
}

impl CertificateFile {
    /// Starts the file; what was there is gone. The first sample is number `next`.
    pub fn create(path: &Path, header: &Header, next: usize) -> Result<Self, RunError> {
        let file = File::create(path).map_err(FormatError::io(path))?;
        let (digest, early) = (Fingerprint::default(), BTreeMap::new());
        let mut own = CertificateFile { path: path.into(), file, digest, records: 0, next, early };
        own.write(&Text::new(header).map_err(FormatError::io(path))?, true)?;
        Ok(own)
    }

    /// Adds the record of a sample.
    pub fn add(&mut self, Packed(sample, text): Packed) -> Result<(), RunError> {
        self.early.insert(sample, text);
        while let Some(text) = self.early.remove(&self.next) {
            self.write(&text, true)?;
            self.records += 1;
            self.next += 1;
        }
        Ok(())
    }

    /// Writes what is left, and the last line; gives the number of records and the SHA-256 of all lines before it.
    pub fn finish(mut self) -> Result<(usize, String), RunError> {
        for (_, text) in std::mem::take(&mut self.early) {
            self.write(&text, true)?;
            self.records += 1;
        }
        let sha256 = std::mem::take(&mut self.digest).finish();
        let end = Line::End { records: self.records, sha256: sha256.clone() };
        let end = Text::new(&end).map_err(FormatError::io(&self.path))?;
        self.write(&end, false)?;
        Ok((self.records, sha256))
    }

    fn write(&mut self, text: &Text, counts: bool) -> Result<(), RunError> {
        if counts {
            self.digest.update(&text.line);
        }
        Ok(self.file.write_all(&text.packed).map_err(FormatError::io(&self.path))?)
    }
}
