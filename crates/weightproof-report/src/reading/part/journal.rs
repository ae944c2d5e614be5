//! Parts in journals: one line for each sample and radius, in the order in which they were settled, and the header behind them.

use super::{Blocks, PartError, PartHead};
use crate::reading::{ReadError, short};
use crate::{JOURNAL, JOURNAL_REPORT};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// The longest line that is read.
const MOST_BYTES: u64 = 1 << 24;

#[derive(Deserialize)]
struct First {
    schema: Option<String>,
}

/// The last line of a journal whose run is done.
#[derive(Deserialize)]
struct Last {
    report: Blocks,
}

/// Which sample a line is about.
#[derive(Deserialize)]
struct Place {
    set: usize,
    index: usize,
}

/// Whether a file that begins so is a journal.
pub(super) fn is_journal(begin: &[u8]) -> bool {
    let line = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<First>(line).is_ok_and(|first| first.schema.as_deref() == Some(JOURNAL))
}

fn failed<E>(path: &Path) -> impl Fn(io::Error) -> PartError<E> {
    let path = path.display().to_string();
    move |source| PartError::Io { path: path.clone(), source }
}

fn shape<E>(path: &Path, detail: &str) -> PartError<E> {
    ReadError::Shape { file: path.display().to_string(), detail: short(detail) }.into()
}

/// Tells `line` of every whole line behind the first, and where it begins.
fn lines<E>(
    path: &Path,
    mut line: impl FnMut(&[u8], u64) -> Result<(), PartError<E>>,
) -> Result<(), PartError<E>> {
    let mut reader = BufReader::new(File::open(path).map_err(failed(path))?);
    let (mut text, mut begin) = (Vec::new(), 0);
    loop {
        text.clear();
        let length = reader.by_ref().take(MOST_BYTES).read_until(b'\n', &mut text).map_err(failed(path))?;
        if text.last() != Some(&b'\n') {
            return Ok(());
        }
        if begin > 0 {
            line(&text, begin)?;
        }
        begin += length as u64;
    }
}

pub(super) fn head<E>(path: &Path) -> Result<PartHead, PartError<E>> {
    let mut last = None;
    lines(path, |line, _| {
        if line.starts_with(JOURNAL_REPORT.as_bytes()) {
            last =
                Some(serde_json::from_slice::<Last>(line).map_err(|error| shape(path, &error.to_string()))?);
        }
        Ok(())
    })?;
    let Some(last) = last else {
        let detail = "expected the journal of a part that is done, found one without an end: run it again, with the same --shard and --journal";
        return Err(shape(path, detail));
    };
    Ok(last.report.head(&path.display().to_string())?)
}

pub(super) fn each<R: DeserializeOwned, E>(
    path: &Path,
    k: usize,
    sample: &mut dyn FnMut(R) -> Result<(), E>,
) -> Result<(), PartError<E>> {
    // Samples that a limit left open, and were settled later, stand behind others.
    let mut places = BTreeMap::new();
    lines(path, |line, begin| {
        if !line.starts_with(JOURNAL_REPORT.as_bytes()) {
            let place: Place =
                serde_json::from_slice(line).map_err(|error| shape(path, &error.to_string()))?;
            if place.set == k {
                places.insert(place.index, begin);
            }
        }
        Ok(())
    })?;
    let mut reader = BufReader::new(File::open(path).map_err(failed(path))?);
    let (mut text, mut at) = (Vec::new(), 0);
    for begin in places.into_values() {
        let moved = match i64::try_from(begin).ok().zip(i64::try_from(at).ok()) {
            Some((begin, at)) => reader.seek_relative(begin - at),
            None => reader.seek(SeekFrom::Start(begin)).map(drop),
        };
        moved.map_err(failed(path))?;
        text.clear();
        let length = reader.by_ref().take(MOST_BYTES).read_until(b'\n', &mut text).map_err(failed(path))?;
        at = begin + length as u64;
        let record = serde_json::from_slice(&text).map_err(|error| shape(path, &error.to_string()))?;
        sample(record).map_err(PartError::Told)?;
    }
    Ok(())
}
