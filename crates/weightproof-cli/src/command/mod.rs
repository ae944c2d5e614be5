//! One file for each command: arguments → library → report.

pub mod attack;
pub mod bench;
pub mod certify;
pub mod doctor;
mod evidence;
pub mod experiment;
pub mod faithful;
pub mod faults;
pub mod generate;
pub mod inspect;
pub mod measure;
pub mod merge;
pub mod radius;
pub mod report;
pub mod sweep;
pub mod train;

/// How a command ended; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The property holds for all samples, or there is none.
    Holds = 0,
    /// It does not hold, or is unknown, for a sample.
    Fails = 1,
    /// Wrong usage or input, which is also clap's code.
    BadInput = 2,
    /// An interrupt left samples out: 128 and the number of the signal, as shells have it.
    Interrupted = 130,
}

impl Status {
    /// Of a property.
    pub(crate) fn of(holds: bool) -> Status {
        if holds { Status::Holds } else { Status::Fails }
    }

    /// The same, unless an interrupt left samples out.
    pub(crate) fn unless(self, partial: bool) -> Status {
        if partial { Status::Interrupted } else { self }
    }
}
