//! The command line of weightproof: arguments → checked settings → library → report.
//!
//! A library, because the Python package brings the same command.

mod args;
mod command;
mod config;
mod error;
mod interrupt;
mod number;
mod output;
mod pictures;
mod run;
mod session;
mod threat;
mod train;

use args::{Cli, Command};
use clap::Parser;
use command::Status;
use std::ffi::OsString;
use std::io::Write;
use weightproof_report::provenance::set_command;
use weightproof_run::source;

/// Runs the command line `arguments`, whose first is the name of the program; results go to standard output, all else to
/// standard error. Returns the exit code: 0 when the property holds for all samples, 1 when it does not or is unknown, 2 for
/// wrong usage or input, 130 when an interrupt left samples out of the results.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    set_command(arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done when the stream is closed.
            let _ = error.print();
            return error.exit_code() as u8;
        }
    };
    let result = match &cli.command {
        Command::Inspect(args) => command::inspect::run(args),
        Command::Faithful(args) => command::faithful::run(args),
        Command::Certify(args) => command::certify::run(args),
        Command::Attack(args) => command::attack::run(args),
        Command::Radius(args) => command::radius::run(args),
        Command::Measure(args) => command::measure::run(args),
        Command::Train(args) => command::train::run(args),
        Command::Experiment(args) => command::experiment::run(args),
        Command::Report(args) => command::report::run(args),
        Command::Doctor => command::doctor::run(),
        Command::Completions { shell } => command::generate::completions(*shell),
        Command::Man { command } => command::generate::man(command.as_deref()),
    };
    let status = result.unwrap_or_else(|failure| {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{failure}");
        Status::BadInput
    });
    status as u8
}
