//! The binary `weightproof`: arguments → checked settings → library → report.

mod args;
mod command;
mod config;
mod error;
mod interrupt;
mod number;
mod oracle;
mod output;
mod pictures;
mod run;
mod session;
mod threat;
mod train;
mod witness;

use args::{Cli, Command};
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use weightproof_run::source;

/// Exit code for bad usage or input, which is also clap's.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Inspect(args) => command::inspect::run(args),
        Command::Certify(args) => command::certify::run(args),
        Command::Attack(args) => command::attack::run(args),
        Command::Radius(args) => command::radius::run(args),
        Command::Measure(args) => command::measure::run(args),
        Command::Train(args) => command::train::run(args),
        Command::Experiment(args) => command::experiment::run(args),
        Command::Report(args) => command::report::run(args),
        Command::Completions { shell } => command::generate::completions(*shell),
        Command::Man { command } => command::generate::man(command.as_deref()),
    };
    result.unwrap_or_else(|failure| {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{failure}");
        ExitCode::from(BAD_INPUT)
    })
}
