//! Parts in JSON.

use super::{Blocks, PartError, PartHead};
use crate::reading::{ReadError, short};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::error::Category;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::marker::PhantomData;
use std::path::Path;

fn open<E>(path: &Path) -> Result<BufReader<File>, PartError<E>> {
    let failed = |source| PartError::Io { path: path.display().to_string(), source };
    Ok(BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?))
}

/// The error of a file that is not as it should be.
fn damaged<E>(path: &Path, error: serde_json::Error) -> PartError<E> {
    let (file, found) = (path.display().to_string(), short(&error.to_string()));
    match error.classify() {
        Category::Io => PartError::Io { path: file, source: error.into() },
        Category::Data => ReadError::Shape { file, detail: found }.into(),
        Category::Eof => ReadError::Json { file, found: format!("a file that was cut off ({found})") }.into(),
        Category::Syntax => ReadError::Json { file, found: format!("something else ({found})") }.into(),
    }
}

pub(super) fn head<E>(path: &Path) -> Result<PartHead, PartError<E>> {
    let blocks: Blocks = serde_json::from_reader(open(path)?).map_err(|error| damaged(path, error))?;
    Ok(blocks.head(&path.display().to_string())?)
}

pub(super) fn each<R: DeserializeOwned, E>(
    path: &Path,
    k: usize,
    sample: &mut dyn FnMut(R) -> Result<(), E>,
) -> Result<(), PartError<E>> {
    let mut told = None;
    let mut tell = |record| {
        sample(record).map_err(|error| {
            told = Some(error);
        })
    };
    let seed = Seed { level: Level::Report(k), tell: &mut tell, record: PhantomData };
    let mut reader = serde_json::Deserializer::from_reader(open(path)?);
    let read = seed.deserialize(&mut reader).and_then(|()| reader.end());
    match (read, told) {
        (_, Some(error)) => Err(PartError::Told(error)),
        (Ok(()), None) => Ok(()),
        (Err(error), None) => Err(damaged(path, error)),
    }
}

/// Where in the file the reader is.
#[derive(Clone, Copy)]
enum Level {
    /// The object with everything, of which this result is wanted.
    Report(usize),
    /// The list of results, of which this one is wanted.
    Results(usize),
    /// An object with samples.
    Result,
    /// The list of samples.
    Samples,
}

/// Reads one level, and tells of the samples in it.
struct Seed<'t, R> {
    level: Level,
    tell: &'t mut dyn FnMut(R) -> Result<(), ()>,
    record: PhantomData<R>,
}

impl<'t, R> Seed<'t, R> {
    fn at<'a>(&'a mut self, level: Level) -> Seed<'a, R> {
        Seed { level, tell: &mut *self.tell, record: PhantomData }
    }
}

impl<'de, R: DeserializeOwned> DeserializeSeed<'de> for Seed<'_, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.level {
            Level::Report(_) | Level::Result => deserializer.deserialize_map(self),
            Level::Results(_) | Level::Samples => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de, R: DeserializeOwned> Visitor<'de> for Seed<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the samples of a result")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match (self.level, key.as_str()) {
                (Level::Report(0) | Level::Result, "samples") => {
                    map.next_value_seed(self.at(Level::Samples))?
                }
                (Level::Report(k), "results") => map.next_value_seed(self.at(Level::Results(k)))?,
                _ => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        match self.level {
            Level::Samples => {
                while let Some(record) = items.next_element::<R>()? {
                    (self.tell)(record).map_err(|()| A::Error::custom("no more samples are wanted"))?;
                }
            }
            Level::Results(k) => {
                for _ in 0..k {
                    items.next_element::<IgnoredAny>()?;
                }
                items.next_element_seed(self.at(Level::Result))?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
            }
            Level::Report(_) | Level::Result => {
                return Err(A::Error::custom("expected an object, found a list"));
            }
        }
        Ok(())
    }
}
