//! Where results go: standard output, or a file that appears whole or not at all.

use crate::args::OutputArgs;
use crate::command::Status;
use crate::error::Failure;
use console::Term;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use weightproof_report::{Format, Record, Report, Written, features, set_width};
use weightproof_run::file;

/// Checks that Parquet can be written, and goes to a file: it is bytes.
pub fn check_format(args: &OutputArgs) -> Result<(), Failure> {
    if args.format() != Format::Parquet {
        return Ok(());
    }
    features::parquet()?;
    if args.output.is_none() {
        return Err(no_file_for_parquet());
    }
    Ok(())
}

/// Checks that the results of a command without samples have a format that it has, and can be written.
pub fn check_written(args: &OutputArgs, command: &str) -> Result<(), Failure> {
    if args.format() == Format::Parquet {
        let expected = "format: expected text, json or csv for";
        return Err(Failure::new(format!("{expected} {command}, found parquet")));
    }
    check(args.output.as_deref())
}

/// The error of Parquet without a file to write it to.
pub fn no_file_for_parquet() -> Failure {
    Failure::new("output: expected a file for the format parquet, found none").hint("--output FILE.parquet")
}

/// Checks that `path` can be written, so that a long run does not fail at its end.
pub fn check(path: Option<&Path>) -> Result<(), Failure> {
    Ok(path.map_or(Ok(()), file::check)?)
}

/// Characters in a line of the terminal that standard output is: what COLUMNS says, else what the terminal does. None of a file or a
/// pipe.
fn width() -> Option<usize> {
    let terminal = Term::stdout();
    let said = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    let found = || terminal.size_checked().map(|(_, columns)| usize::from(columns));
    if terminal.is_term() { said().or_else(found) } else { None }
}

/// Writes a report to where the arguments say, in the format that they say.
pub fn report<R: Record>(args: &OutputArgs, report: &Report<R>) -> Result<(), Failure> {
    write(args.output.as_deref(), |out| report.write(args.format(), out))
}

/// Writes the results of a command without samples to where the arguments say.
pub fn written(args: &OutputArgs, report: &impl Written) -> Result<(), Failure> {
    write(args.output.as_deref(), |out| report.write(args.format(), out))
}

/// Writes a report, and says whether the property holds for all of its samples.
pub fn judged<R: Record>(args: &OutputArgs, report: &Report<R>) -> Result<Status, Failure> {
    self::report(args, report)?;
    let holds = report.results.iter().all(|r| r.samples.iter().all(Record::holds));
    Ok(Status::of(holds).unless(report.partial))
}

/// Writes results with `write`. A reader that goes away early (`| head`) is no error.
pub fn write(
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    let Some(path) = path else {
        width().into_iter().for_each(set_width);
        let mut out = BufWriter::new(io::stdout().lock());
        return match write(&mut out).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(|error| Failure::new(format!("standard output: {error}"))),
        };
    };
    Ok(file::write(path, write)?)
}
