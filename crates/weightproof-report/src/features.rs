//! Parts of this crate that may be left out of a build, because they take minutes to compile.

use weightproof_figure::features::NotBuilt;

/// Whether results can be written as Parquet.
///
/// # Errors
/// When this build cannot.
pub fn parquet() -> Result<(), NotBuilt> {
    let feature = "parquet";
    if cfg!(feature = "parquet") { Ok(()) } else { Err(NotBuilt { what: "parquet", feature }) }
}
