//! CSV: a header, then one row for each radius and sample. What is missing or not finite is empty.

use crate::field::Field;
use crate::report::{Record, Report, SampleSource};
use std::io::{self, Write};

/// Writes a table; the `csv` crate quotes what needs it.
pub(crate) fn table<W: Write>(
    out: W,
    head: impl IntoIterator<Item = impl AsRef<[u8]>>,
    rows: impl Iterator<Item = Vec<String>>,
) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(head).map_err(io_error)?;
    for row in rows {
        writer.write_record(row).map_err(io_error)?;
    }
    writer.flush()
}

/// The error of the stream below, so that a closed pipe is recognised as one.
fn io_error(error: csv::Error) -> io::Error {
    let text = error.to_string();
    if let csv::ErrorKind::Io(error) = error.into_kind() { error } else { io::Error::other(text) }
}

/// Writes a report.
pub(crate) fn report<R: Record>(
    report: &Report<R>,
    source: &dyn SampleSource<R>,
    out: &mut impl Write,
) -> io::Result<()> {
    let radii = report.results.iter().any(|r| r.radius.is_some());
    let fields = report.fields();
    let head = radii.then_some("radius").into_iter().chain(fields.iter().map(Field::name));
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(head).map_err(io_error)?;
    for (k, result) in report.results.iter().enumerate() {
        let radius = radii.then(|| result.radius.map_or_else(String::new, weightproof_figure::number::exact));
        source.each(k, &mut |sample| {
            let cells = fields.iter().map(|field| field.cell(sample).csv());
            writer.write_record(radius.iter().cloned().chain(cells)).map_err(io_error)
        })?;
    }
    writer.flush()
}
