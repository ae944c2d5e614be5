//! Reports that are no list of samples: written as text, JSON or CSV.

use crate::report::Format;
use std::io::{self, Write};

/// A report in each of its forms.
///
/// Every function fails with the errors of `out` only; [`Written::write`] also where a form is missing.
pub trait Written {
    /// Said where Parquet is asked for.
    const NO_PARQUET: &str;

    /// For people.
    fn text(&self, out: &mut impl Write) -> io::Result<()>;

    /// One object, with its schema.
    fn json(&self, out: &mut impl Write) -> io::Result<()>;

    /// A heading and one line for each row.
    fn csv(&self, out: &mut impl Write) -> io::Result<()>;

    /// Writes the report in one of its forms.
    ///
    /// # Errors
    /// Those of `out`; a form that it does not have.
    fn write(&self, format: Format, mut out: impl Write) -> io::Result<()> {
        let out = &mut out;
        match format {
            Format::Text => self.text(out),
            Format::Json => self.json(out),
            Format::Csv => self.csv(out),
            Format::Parquet => Err(io::Error::other(Self::NO_PARQUET)),
        }?;
        out.flush()
    }
}
