//! Parts of a build that may be left out, because they take minutes to compile.

use thiserror::Error;

/// A part that this build does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what}: expected a build with the feature {feature}, found one without")]
pub struct NotBuilt {
    /// What was asked for.
    pub what: &'static str,
    /// The feature of the command line, and of the crate, that brings it.
    pub feature: &'static str,
}

/// Whether figures can be painted as PNG.
///
/// # Errors
/// When this build cannot.
pub fn raster() -> Result<(), NotBuilt> {
    let feature = "raster";
    if cfg!(feature = "raster") { Ok(()) } else { Err(NotBuilt { what: "figures as PNG", feature }) }
}
