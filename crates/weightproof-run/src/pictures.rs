//! Images of samples for a report, from the data of a result when they are still there.

use crate::RunError;
use crate::source::{self, embedded_images};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use weightproof_formats::FormatError;
use weightproof_formats::data::{DataOptions, DataSet, Split};
use weightproof_page::{Layout, Picture, Pictures, Wanted};

/// Reads the images of `wanted`, from `data` if it is given. Data that a result names and that are no longer there, or are others, give
/// a remark and no images.
///
/// # Errors
/// When `data` is given and cannot be read, or is not what the result was about.
pub fn load(wanted: &Wanted<'_>, data: Option<&Path>) -> Result<Pictures, RunError> {
    let note = |note: String| Pictures { by_index: BTreeMap::new(), note: Some(note) };
    if wanted.indices.is_empty() {
        return Ok(Pictures::default());
    }
    let size = |shape: &[usize]| shape.iter().product::<usize>();
    let fitting = |shape: &[usize]| size(shape) == size(&wanted.data.shape);
    let layout = Layout::of(&wanted.data.shape)
        .or_else(|| Layout::of(wanted.input_shape).filter(|_| fitting(wanted.input_shape)));
    let Some(layout) = layout else {
        let shape: Vec<String> = wanted.data.shape.iter().map(usize::to_string).collect();
        return Ok(note(format!("Samples of shape {} are not shown as images.", shape.join("x"))));
    };
    let named = setting(wanted, "path").map(PathBuf::from);
    let path = data.map(Path::to_path_buf).or(named);
    let place = path.as_ref().map_or_else(|| "the embedded data".into(), |p| p.display().to_string());
    match pictures(wanted, path.as_deref(), data.is_some(), layout) {
        Ok(Some(pictures)) => Ok(pictures),
        Ok(None) if data.is_some() => {
            let expected = format!("sha256 {}", wanted.data.sha256);
            Err(RunError::misfit(format!(
                "{place}: expected the data of the result, {expected}, found others"
            )))
        }
        Ok(None) => Ok(note(format!(
            "No images: {place} is no longer what the result was about (its SHA-256 differs)."
        ))),
        Err(error) if data.is_some() => Err(error),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            Ok(note(format!(
                "No images: the data cannot be read ({reason}). `--data DATA` says where they are."
            )))
        }
    }
}

/// A setting of the data as the result has it.
fn setting<'a>(wanted: &'a Wanted<'_>, name: &str) -> Option<&'a str> {
    wanted.config.get("data")?.get(name)?.as_str()
}

/// The images; `None` when the data are others.
fn pictures(
    wanted: &Wanted<'_>,
    path: Option<&Path>,
    given: bool,
    layout: Layout,
) -> Result<Option<Pictures>, RunError> {
    let mut data = match path {
        None => embedded_images()?,
        Some(path) => {
            let flag =
                |name: &str| wanted.config.get("data").and_then(|d| d.get(name)).and_then(Value::as_bool);
            DataSet::open(&DataOptions {
                split: if setting(wanted, "split") == Some("train") { Split::Train } else { Split::Test },
                csv_labels: flag("csv_labels").unwrap_or(true),
                csv_header: source::csv_header(setting(wanted, "csv_header").unwrap_or("auto")),
                csv_delimiter: setting(wanted, "csv_delimiter").and_then(|c| c.bytes().next()),
                csv_label_column: setting(wanted, "csv_label_column").map(Into::into),
                labels: setting(wanted, "labels").map(PathBuf::from).filter(|_| !given || is_csv(path)),
                ..DataOptions::new(path)
            })?
        }
    };
    if data.sha256()? != wanted.data.sha256 {
        return Ok(None);
    }
    let pixels = data.info().pixels;
    let mut values: Vec<(usize, Vec<f64>)> = Vec::new();
    let mut next = 0;
    for &index in &wanted.indices {
        data = select(data, index - next)?;
        next = index + 1;
        let Some(batch) = data.next_batch(1)? else { break };
        values.push((batch.first, batch.inputs));
    }
    let all = || values.iter().flat_map(|(_, v)| v.iter().copied());
    let ends = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let range = if pixels { (0.0, 1.0) } else { ends };
    let note = (!pixels).then(|| "Images are scaled from their smallest to their largest value.".to_owned());
    let mut by_index = BTreeMap::new();
    for (index, values) in values {
        let picture = Picture::new(&values, layout, range);
        by_index.insert(
            index,
            picture.map_err(|error| RunError::misfit(format!("image of sample {index}: {error}")))?,
        );
    }
    Ok(Some(Pictures { by_index, note }))
}

/// One sample, `skip` samples further on.
fn select(data: DataSet, skip: usize) -> Result<DataSet, FormatError> {
    data.select(skip, Some(1))
}

/// Only in a CSV file do labels of their own change what is read.
fn is_csv(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv") || e.eq_ignore_ascii_case("gz"))
}
