//! The binary `weightproof`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(weightproof_cli::run(std::env::args_os()))
}
