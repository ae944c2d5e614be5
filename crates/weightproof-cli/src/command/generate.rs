//! `completions` and `man`: made from the definition of the command line.

use super::Status;
use crate::args::Cli;
use crate::error::Failure;
use crate::output;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

/// Prints the completion script of a shell.
pub fn completions(shell: Shell) -> Result<Status, Failure> {
    // Into memory first: the generator panics when its stream fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weightproof", &mut script);
    output::write(None, |out| out.write_all(&script))?;
    Ok(Status::Holds)
}

/// Prints the manual page of the program, or of a command.
pub fn man(command: Option<&str>) -> Result<Status, Failure> {
    let mut program = Cli::command();
    program.build();
    let page = match command {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            found.ok_or_else(|| {
                let known: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
                let name: String = name.chars().take(60).collect();
                Failure::new(format!("man: expected one of {}, found {name}", known.join(", ")))
            })?
        }
    };
    output::write(None, |out| clap_mangen::Man::new(page).render(&mut &mut *out))?;
    Ok(Status::Holds)
}
