//! One file for each command: arguments → library → report.

pub mod attack;
pub mod certify;
pub mod exact;
pub mod experiment;
pub mod generate;
pub mod inspect;
pub mod measure;
pub mod radius;
pub mod report;
pub mod train;

use std::process::ExitCode;

/// Exit code 0 when the property holds, else 1.
fn exit_code(holds: bool) -> ExitCode {
    ExitCode::from(u8::from(!holds))
}
