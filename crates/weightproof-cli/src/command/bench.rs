//! `bench`: what this machine does in a second.

use super::Status;
use crate::args::BenchArgs;
use crate::error::Failure;
use crate::output;
use crate::run::{progress, remark};
use weightproof_run::bench::{self, BenchSettings};

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<Status, Failure> {
    output::check_written(&args.output, "bench")?;
    if cfg!(debug_assertions) {
        remark(&args.output, "this is a build for development: it says nothing about speed");
    }
    let bar = progress(None, "measurements", args.output.quiet);
    let settings = BenchSettings { only: args.only.clone(), quick: args.quick, threads: args.threads };
    let report = bench::run(&settings, |_| bar.inc(1))?;
    bar.finish_and_clear();
    output::written(&args.output, &report)?;
    Ok(Status::Holds)
}
