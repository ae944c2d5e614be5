//! Parts of this crate that may be left out of a build, because they take minutes to compile.

use thiserror::Error;

/// A part that this build does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what}: expected a build with the feature {feature}, found one without")]
pub struct NotBuilt {
    /// What was asked for.
    pub what: &'static str,
    /// The feature of the command line, and of this crate, that brings it.
    pub feature: &'static str,
}

/// Whether results can be written as Parquet.
///
/// # Errors
/// When this build cannot.
pub fn parquet() -> Result<(), NotBuilt> {
    built(cfg!(feature = "parquet"), "parquet", "parquet")
}

/// Whether figures can be painted as PNG.
///
/// # Errors
/// When this build cannot.
pub fn raster() -> Result<(), NotBuilt> {
    built(cfg!(feature = "raster"), "figures as PNG", "raster")
}

fn built(here: bool, what: &'static str, feature: &'static str) -> Result<(), NotBuilt> {
    if here { Ok(()) } else { Err(NotBuilt { what, feature }) }
}
