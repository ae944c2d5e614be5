//! `merge`: the parts of a run become one result.

use super::Status;
use crate::args::{ConfigArgs, FormatArg};
use crate::error::Failure;
use crate::output;
use clap::Args;
use std::path::{Path, PathBuf};
use weightproof_report::{Format, Written, features, write_counted_hits};
use weightproof_run::merge::{AnyMerged, Mergeable, Merged, merge};

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Results of certify, attack, radius, faults or measure with --shard, as JSON or Parquet, in any order
    #[arg(value_name = "PART", required = true)]
    pub parts: Vec<PathBuf>,
    /// File for the result [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Format [default: that of the extension .json, .csv, .parquet or .txt, else json]
    #[arg(long, short, value_name = "FORMAT")]
    pub format: Option<FormatArg>,
    /// CSV file of all hits that break, repair or leave open a sample, of parts of faults
    #[arg(long, value_name = "FILE")]
    pub critical: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the command.
pub fn run(args: &MergeArgs) -> Result<Status, Failure> {
    let format = format(args.format, args.output.as_deref())?;
    output::check(args.output.as_deref())?;
    output::check(args.critical.as_deref())?;
    let merged = merge(&args.parts)?;
    if let Some(file) = &args.critical {
        let counts = merged.counts()?;
        output::write(Some(file), |out| write_counted_hits(counts, out))?;
    }
    match merged {
        AnyMerged::Certify(merged) => write(args, format, merged).map(Status::of),
        AnyMerged::Exact(merged) => write(args, format, merged).map(Status::of),
        AnyMerged::Noise(merged) => write(args, format, merged).map(Status::of),
        AnyMerged::Attack(merged) => write(args, format, merged).map(Status::of),
        AnyMerged::Draws(merged) => write(args, format, merged).map(Status::of),
        AnyMerged::Faults(merged) => write(args, format, merged).map(Status::of),
        // Radii are an answer, whatever they are.
        AnyMerged::Radius(merged) => write(args, format, merged).map(|_| Status::Holds),
        AnyMerged::ExactRadius(merged) => write(args, format, merged).map(|_| Status::Holds),
        AnyMerged::Measure(report) => {
            output::write(args.output.as_deref(), |out| report.write(format, out))?;
            Ok(Status::Holds)
        }
    }
}

/// The format that was asked for.
fn format(given: Option<FormatArg>, output: Option<&Path>) -> Result<Format, Failure> {
    let extension =
        output.and_then(Path::extension).map(|extension| extension.to_string_lossy().to_lowercase());
    let format = match (given, extension.as_deref()) {
        (Some(given), _) => given.into(),
        (None, Some("csv")) => Format::Csv,
        (None, Some("parquet")) => Format::Parquet,
        (None, Some("txt")) => Format::Text,
        (None, _) => Format::Json,
    };
    if format == Format::Parquet {
        features::parquet()?;
        if output.is_none() {
            return Err(output::no_file_for_parquet());
        }
    }
    Ok(format)
}

/// Writes the result, and says whether the property holds for all samples.
fn write<R: Mergeable>(args: &MergeArgs, format: Format, merged: Merged<R>) -> Result<bool, Failure> {
    let (holds, path) = (merged.holds, args.output.as_deref());
    if format == Format::Text {
        let report = merged.load()?;
        output::write(path, |out| report.write(format, out))?;
    } else {
        output::write(path, |out| merged.report.write_from(&merged, format, out))?;
    }
    Ok(holds)
}
