//! The native half of the Python package `weightproof`.
//!
//! ```text
//! python/weightproof: arrays, settings → _weightproof: newtypes → weightproof-run → Report
//! ```
//! Classes here wrap types of the library and have methods of a few lines; arrays, defaults and documentation are in Python.

mod array;
mod data;
mod divide;
mod error;
mod network;
mod page;
mod report;
mod settings;
mod work;

use pyo3::prelude::*;

/// The native half of `weightproof`.
#[pymodule]
mod _weightproof {
    use super::PyResult;
    use pyo3::prelude::*;
    use std::path::PathBuf;

    #[pymodule_export]
    use super::data::{Origin, load_data};
    #[pymodule_export]
    use super::divide::{Division, search};
    #[pymodule_export]
    use super::error::{
        DataError, Error, FormatError, NetworkError, NotBuiltError, SettingError, ThreatError,
    };
    #[pymodule_export]
    use super::network::Network;
    #[pymodule_export]
    use super::page::{compare_page, overlay, page};
    #[pymodule_export]
    use super::report::{Document, Report};
    #[pymodule_export]
    use super::settings::{parse_threat, read_threat, write_threat};
    #[pymodule_export]
    use super::work::{attack, block, certify, faults, inspect, measure, merge, part, radius, train};

    /// Runs the command line; returns the exit code.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> u8 {
        py.detach(|| weightproof_cli::run(arguments))
    }

    /// The result of each run of a sweep, whose folder is `output`.
    #[pyfunction]
    fn sweep_files(sweep: PathBuf, output: PathBuf) -> PyResult<Vec<PathBuf>> {
        weightproof_cli::sweep_files(&sweep, &output).map_err(SettingError::new_err)
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
