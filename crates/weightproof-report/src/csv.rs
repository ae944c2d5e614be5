//! CSV: a header, then one row for each radius and sample. What is missing or not finite is empty.

use crate::column::Cell;
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
    let more = report.results.first().map_or_else(Vec::new, |result| R::more_columns(&result.summary));
    let head = radii.then_some("radius").into_iter().chain(R::COLUMNS.iter().map(|column| column.name));
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(head.map(str::to_owned).chain(more)).map_err(io_error)?;
    for (k, result) in report.results.iter().enumerate() {
        let radius = radii.then(|| result.radius.map_or_else(String::new, weightproof_figure::number::exact));
        let number = |v: Option<f64>| v.map_or_else(String::new, weightproof_figure::number::exact);
        source.each(k, &mut |sample| {
            let cells = sample.cells().into_iter().map(Cell::csv);
            let more = sample.more_cells().into_iter().map(number);
            writer.write_record(radius.iter().cloned().chain(cells).chain(more)).map_err(io_error)
        })?;
    }
    writer.flush()
}
