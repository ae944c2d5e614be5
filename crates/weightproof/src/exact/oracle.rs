//! The program of a sample and specification row, solved by HiGHS: an independent judge of the project's own branch and
//! bound (theory.md §6, §13.4). Needs the feature `milp` or `milp-system`.

mod judge;

pub use judge::{Judge, Judgement};

use super::program::{Program, ProgramError};
use crate::bounds::{Block, Prepared, interval_states};
use crate::kernels::Matrix;
use crate::model::{Model, Radii};
use crate::network::Network;
use crate::property::SpecRow;
use crate::threat::PerturbationSet;
use crate::verdict::Reason;
use highs::{
    Col, HighsModelStatus, HighsSolutionStatus, HighsStatus, RowProblem, Sense, SolvedModel,
    TrySetOptionError,
};
use std::time::Duration;
use thiserror::Error;

/// Violation of bounds, rows and integrality, and absolute gap, that the solver lets pass.
pub const TOLERANCE: f64 = 1e-9;

/// How a program is solved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OracleOptions {
    /// Most time for the solver.
    pub time: Option<Duration>,
    /// Leave integrality out: the bound of the triangles and chords, see [`Program::relaxed`].
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
/// The boxes of the program come from interval propagation in f64, so nothing rests on linear bounds.
///
/// # Guarantee
/// That of [`Program::new`], as an *estimate*: the solver computes in f64 with [`TOLERANCE`], without directed rounding.
///
/// # Errors
/// [`OracleError`]; running out of time is an [`Outcome`].
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
    let program = interval_program(network, set, x, row)?;
    solve(&if options.relaxed { program.relaxed() } else { program }, options)
}

/// The program of `row` on interval boxes.
///
/// # Errors
/// As [`minimum`], but for the solver.
pub fn interval_program(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    row: SpecRow,
) -> Result<Program, OracleError> {
    ProgramError::check(network, set, x, row)?;
    let model = Model::<f64>::new(network);
    let radii = Radii::new(set, network.nodes().len());
    let prepared = Prepared::new(&model, &radii);
    let values = model.forward(Matrix::from_vec(1, x.len(), x.to_vec()));
    let states = interval_states(&Block { prepared: &prepared, values: &values });
    if let Some(reason) = states.void[0] {
        return Err(OracleError::Void(reason));
    }
    let boxes = |node: usize, k: usize| (states.lower(node)[(0, k)], states.upper(node)[(0, k)]);
    Ok(Program::new(network, set, x, boxes, row)?)
}

/// Solves a program with one thread.
///
/// # Errors
/// When the solver refuses the program, or fails.
pub fn solve(program: &Program, options: &OracleOptions) -> Result<Answer, OracleError> {
    let mut model = problem(program).try_optimise(Sense::Minimise)?;
    model.try_set_option("threads", 1)?;
    model.try_set_option("random_seed", (options.seed & 0x7fff_ffff) as i32)?;
    model.try_set_option("mip_rel_gap", 0.0)?;
    for option in ["mip_abs_gap", "mip_feasibility_tolerance", "primal_feasibility_tolerance"] {
        model.try_set_option(option, TOLERANCE)?;
    }
    if let Some(time) = options.time {
        model.try_set_option("time_limit", time.as_secs_f64())?;
    }
    answer(program, &model.try_solve()?)
}

fn problem(program: &Program) -> RowProblem {
    let mut problem = RowProblem::new();
    let costs = program.objective.iter().zip(&program.bounds).zip(&program.integer);
    let columns: Vec<Col> = costs
        .map(|((&cost, &(lower, upper)), &integer)| {
            problem.add_column_with_integrality(cost, lower..=upper, integer)
        })
        .collect();
    for row in &program.rows {
        let terms = row.terms.iter().map(|&(v, a)| (columns[v], a));
        problem.add_row(row.lower..=row.upper, terms);
    }
    problem
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the enum is not exhaustive")]
fn answer(program: &Program, solved: &SolvedModel) -> Result<Answer, OracleError> {
    let outcome = match solved.status() {
        // Without variables there is nothing to optimise.
        HighsModelStatus::Optimal | HighsModelStatus::ModelEmpty => Outcome::Optimal,
        HighsModelStatus::Infeasible => Outcome::Infeasible,
        HighsModelStatus::ReachedTimeLimit => Outcome::TimeLimit,
        status => return Err(OracleError::Solver(format!("model status {status:?}"))),
    };
    let found =
        outcome == Outcome::Optimal || solved.primal_solution_status() == HighsSolutionStatus::Feasible;
    let v = solved.get_solution().columns().to_vec();
    let value = program.constant + program.objective.iter().zip(&v).map(|(c, v)| c * v).sum::<f64>();
    let mixed = program.integer.contains(&true);
    let lower = match outcome {
        Outcome::Infeasible => f64::INFINITY,
        Outcome::Optimal | Outcome::TimeLimit if mixed => {
            program.constant + solved.double_info_value(c"mip_dual_bound")?
        }
        Outcome::Optimal => value,
        Outcome::TimeLimit => f64::NEG_INFINITY,
    };
    let upper = if found { value } else { f64::INFINITY };
    Ok(Answer { outcome, lower, upper, point: found.then(|| program.values(&v)) })
}
