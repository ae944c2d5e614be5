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

use crate::threat::SetAt;
use std::process::ExitCode;
use weightproof::threat::PerturbationSet;

/// Exit code 0 when the property holds, else 1.
fn exit_code(holds: bool) -> ExitCode {
    ExitCode::from(u8::from(!holds))
}

/// One of the sets in which something moves, where there is one: it tells what the threat model perturbs.
fn moving(sets: &[SetAt]) -> &PerturbationSet {
    let moves = |at: &&SetAt| at.set.layers.iter().any(|layer| !layer.is_zero());
    &sets.iter().find(moves).unwrap_or(&sets[0]).set
}
