//! The command line of weightproof: arguments → checked settings → library → report.
//!
//! A library, because the Python package brings the same command.

mod args;
mod command;
mod config;
mod config_file;
mod error;
mod interrupt;
mod output;
mod run;
mod session;
mod threat;

use args::{Cli, Command};
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use command::Status;
use error::Failure;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use weightproof_report::provenance::set_command;
use weightproof_run::source;

/// Keeps the memory of one block for the next, which that of the C library on Linux gives back to the system and asks for again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the command line `arguments`, whose first is the name of the program; results go to standard output, all else to
/// standard error. Returns the exit code: 0 when the property holds for all samples, 1 when it does not or is unknown, 2 for
/// wrong usage or input, 130 when an interrupt left samples out of the results.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    set_command(arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect());
    let arguments = match config_file::expand(arguments) {
        Ok(arguments) => arguments,
        Err(failure) => return failed(&failure) as u8,
    };
    let matches = Cli::command().try_get_matches_from(arguments);
    let read = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match read {
        Ok(read) => read,
        Err(error) => {
            // Nothing can be done when the stream is closed.
            let _ = error.print();
            return error.exit_code() as u8;
        }
    };
    if let Some((name, given)) = matches.subcommand()
        && given.try_get_one::<bool>("print_config").ok().flatten() == Some(&true)
    {
        return print_config(&cli, name, given).unwrap_or_else(|failure| failed(&failure)) as u8;
    }
    let result = match &cli.command {
        Command::Inspect(args) => command::inspect::run(args),
        Command::Faithful(args) => command::faithful::run(args),
        Command::Certify(args) => command::certify::run(args),
        Command::Attack(args) => command::attack::run(args),
        Command::Radius(args) => command::radius::run(args),
        Command::Faults(args) => command::faults::run(args),
        Command::Measure(args) => command::measure::run(args),
        Command::Merge(args) => command::merge::run(args),
        Command::Sweep(args) => command::sweep::run(args),
        Command::Train(args) => command::train::run(args),
        Command::Experiment(args) => command::experiment::run(args),
        Command::Report(args) => command::report::run(args),
        Command::Bench(args) => command::bench::run(args),
        Command::Doctor => command::doctor::run(),
        Command::Completions { shell } => command::generate::completions(*shell),
        Command::Man { command } => command::generate::man(command.as_deref()),
    };
    result.unwrap_or_else(|failure| failed(&failure)) as u8
}

/// The result of each run of the sweep in the file `sweep`, in their order, when its folder is `output`; nothing is run.
///
/// # Errors
/// What is wrong with the file, for people.
pub fn sweep_files(sweep: &Path, output: &Path) -> Result<Vec<PathBuf>, String> {
    command::sweep::files(sweep, output).map_err(|failure| failure.to_string())
}

/// Whether a command line can be read; nothing is run.
fn check(arguments: &[OsString]) -> Result<(), Failure> {
    Cli::command().try_get_matches_from(arguments).map(drop).map_err(|error| {
        let text = error.to_string();
        Failure::new(text.lines().next().unwrap_or_default().trim_start_matches("error: "))
    })
}

/// Says what is wrong.
fn failed(failure: &Failure) -> Status {
    // Nothing can be done when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{failure}");
    Status::BadInput
}

/// Prints the settings of a command line as a file.
fn print_config(cli: &Cli, name: &str, given: &ArgMatches) -> Result<Status, Failure> {
    let mut program = Cli::command();
    program.build();
    let own = match &cli.command {
        Command::Train(args) => {
            let settings = toml::to_string(&command::train::settings(args)?);
            Some(settings.map_err(|error| Failure::new(format!("settings: {error}")))?)
        }
        Command::Inspect(_)
        | Command::Faithful(_)
        | Command::Certify(_)
        | Command::Attack(_)
        | Command::Radius(_)
        | Command::Faults(_)
        | Command::Measure(_)
        | Command::Merge(_)
        | Command::Sweep(_)
        | Command::Experiment(_)
        | Command::Report(_)
        | Command::Bench(_)
        | Command::Doctor
        | Command::Completions { .. }
        | Command::Man { .. } => None,
    };
    let command = program.find_subcommand(name).ok_or_else(|| Failure::new(format!("no command {name}")))?;
    let text = config_file::print(command, given, own.as_deref())?;
    output::write(None, |out| out.write_all(text.as_bytes()))?;
    Ok(Status::Holds)
}
