//! Pages and figures about results, from the JSON that they are written as.

use crate::error::{Error, raise};
use pyo3::prelude::*;
use serde_json::json;
use std::path::PathBuf;
use weightproof_figure::Chart;
use weightproof_page::Page;
use weightproof_report::compare;
use weightproof_report::reading::{self, Loaded};
use weightproof_run::pages::{add_pictures, figure_files};

/// The name of a file, its bytes, and the name that figures have for it.
type File = (String, Vec<u8>, Option<String>);

/// A page and its figures: names and bytes of their files.
type Written = (String, Vec<(String, Vec<u8>)>);

/// A page about results; images of samples are from `data` if it is given.
#[pyfunction]
pub fn page(py: Python<'_>, files: Vec<File>, data: Option<PathBuf>) -> PyResult<Written> {
    py.detach(|| {
        let files = read(files)?;
        let mut page = Page::new(&files);
        if let (false, Some(misfit)) = (page.has_overlay(), page.misfits().first()) {
            return Err(Error::new_err(misfit.to_string()));
        }
        add_pictures(&mut page, data.as_deref()).map_err(raise)?;
        Ok((page.html(), figure_files(&page.figures()).map_err(raise)?))
    })
}

/// A page about what changed from one result to another.
#[pyfunction]
pub fn compare_page(py: Python<'_>, files: Vec<File>) -> PyResult<Written> {
    py.detach(|| {
        let files = read(files)?;
        let [Loaded::Run(a), Loaded::Run(b)] = files.as_slice() else {
            return Err(Error::new_err("compare: expected 2 results of certify, attack or radius"));
        };
        let found = compare::compare(a, b).map_err(|error| Error::new_err(error.to_string()))?;
        let figures = figure_files(&weightproof_page::comparison_figures(&found)).map_err(raise)?;
        Ok((weightproof_page::comparison(&found), figures))
    })
}

/// The curves of results as one figure, as JSON: title, axes, and lines with their colours, dashes and points.
#[pyfunction]
pub fn overlay(py: Python<'_>, files: Vec<File>) -> PyResult<String> {
    py.detach(|| {
        let chart =
            weightproof_page::overlay(&read(files)?).map_err(|error| Error::new_err(error.to_string()))?;
        let Chart { title, x, y, series, .. } = chart;
        let lines = series.iter().map(|line| {
            let points: Vec<_> = line.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
            json!({ "name": line.name, "color": line.ink.color(), "dash": line.ink.dash(), "points": points })
        });
        let lines: Vec<_> = lines.collect();
        Ok(json!({ "title": title, "x": x, "y": y, "lines": lines }).to_string())
    })
}

fn read(files: Vec<File>) -> PyResult<Vec<Loaded>> {
    let read = |(file, bytes, name): File| {
        let found = reading::read(&file, &bytes);
        let mut loaded = found.map_err(|error| {
            let hint = error.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
            Error::new_err(format!("{error}{hint}"))
        })?;
        name.iter().for_each(|name| loaded.set_name(name));
        Ok(loaded)
    };
    files.into_iter().map(read).collect()
}
