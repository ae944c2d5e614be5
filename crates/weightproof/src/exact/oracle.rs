//! Samples and specification rows settled by HiGHS: a judge of the project's own branch and bound (theory.md §6, §13.4). Needs
//! the feature `milp` or `milp-system`.
//!
//! Nothing that the search proves is believed. Shared with the search are the question (the network with its forward pass and
//! the geometry of its windows, the perturbation set, the specification row) and, for samples that are broken, the code that
//! takes the solver's point into the set and runs the perturbed network on it. Not shared are boxes, bounds, lines, rows, the code
//! that writes the program, and the solver: an unsound bound method is contradicted, not confirmed.

mod judge;
mod milp;

pub use judge::{Judge, Judgement};

use super::program::ProgramError;
use crate::network::Network;
use crate::property::SpecRow;
use crate::threat::PerturbationSet;
use crate::verdict::Reason;
use highs::{HighsStatus, TrySetOptionError};
use milp::{Boxes, Milp};
use std::time::Duration;
use thiserror::Error;

/// Violation of bounds, rows and integrality, and absolute gap, that the solver lets pass.
pub const TOLERANCE: f64 = 1e-9;

/// How a program is solved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OracleOptions {
    /// Most time for the solver.
    pub time: Option<Duration>,
    /// Leave integrality out: triangles take the place of rectifiers and chords that of magnitudes (theory.md §3, §4.3).
    pub relaxed: bool,
    /// Seed of the solver, below 2³¹.
    pub seed: u32,
}

/// How the solver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `lower` and `upper` are the minimum.
    Optimal,
    /// Nothing fulfils the constraints; not for sound boxes, as the unperturbed network does.
    Infeasible,
    /// The time was up: the minimum lies between `lower` and `upper`.
    TimeLimit,
}

/// The least value of a specification row.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// How the solver ended.
    pub outcome: Outcome,
    /// The solver's dual bound: no point of the program is below it. −∞ when there is none.
    pub lower: f64,
    /// The value of `point`; ∞ when there is none.
    pub upper: f64,
    /// Values of all nodes, in node order, at the best point found.
    pub point: Option<Vec<Vec<f64>>>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum OracleError {
    /// There is no program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The interval boxes are void.
    #[error("the interval boxes of the sample are void: {}", .0.name())]
    Void(Reason),
    /// The solver refused the program or stopped for a reason that is none of [`Outcome`].
    #[error("solver: expected an optimum, found {0}")]
    Solver(String),
}

impl From<HighsStatus> for OracleError {
    fn from(status: HighsStatus) -> Self {
        OracleError::Solver(format!("status {status:?}"))
    }
}

impl From<TrySetOptionError> for OracleError {
    fn from(error: TrySetOptionError) -> Self {
        OracleError::Solver(error.to_string())
    }
}

/// The least value of `row` on the outputs at the input `x` over `set`.
///
/// # Guarantee
/// Exact for networks of dense layers, piecewise linear activations, sums, scalings, pooling and rearrangements, as an
/// *estimate*: the solver computes in f64 with [`TOLERANCE`], and the intervals that its boxes come from are not rounded outward. All
/// uses of a kernel weight move independently: exact for layers that are
/// [`per_use`](crate::threat::LayerSet::per_use), a lower bound where kernels are shared.
///
/// # Errors
/// [`OracleError`] for balls and smooth activations, which have no such program, and where the arguments do not belong
/// to the network; running out of time is an [`Outcome`].
///
/// # Source
/// theory.md §6; the solver: Huangfu and Hall, Mathematical Programming Computation 2018.
pub fn minimum(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    row: SpecRow,
    options: &OracleOptions,
) -> Result<Answer, OracleError> {
    ProgramError::check(network, set, x, row)?;
    Milp::new(network, set, x, Boxes::Intervals)?.minimise(row, false, options)
}
