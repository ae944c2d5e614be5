//! The linear program of a domain that no split improves (theory.md §6): its minimum is what ascent only comes near to.

use super::program::Program;
use clarabel::algebra::CscMatrix;
use clarabel::solver::SupportedConeT::{NonnegativeConeT, ZeroConeT};
use clarabel::solver::{DefaultSettingsBuilder, DefaultSolver, IPSolver};

/// An end of a relaxed program that a solver stopped at.
pub(super) struct Solution {
    /// Lower bound on the minimum, by weak duality: it does not rest on the solver.
    pub lower: f64,
    /// Values of all nodes near the minimum.
    pub values: Vec<Vec<f64>>,
}

/// `a·v + s = b`, `s = 0` or `s ≥ 0`.
struct Inequality {
    terms: Vec<(usize, f64)>,
    b: f64,
    /// Row of the program that it is an end of, and the sign of its multiplier there.
    row: Option<(usize, f64)>,
}

/// Minimises `program` without integrality. `None` when the solver refuses it.
pub(super) fn solve(program: &Program) -> Option<Solution> {
    let variables = program.objective.len();
    let (mut equal, mut less) = (Vec::new(), Vec::new());
    for (r, row) in program.rows.iter().enumerate() {
        if row.lower == row.upper {
            equal.push(Inequality { terms: row.terms.clone(), b: row.upper, row: Some((r, -1.0)) });
            continue;
        }
        if row.upper.is_finite() {
            less.push(Inequality { terms: row.terms.clone(), b: row.upper, row: Some((r, -1.0)) });
        }
        if row.lower.is_finite() {
            let terms = row.terms.iter().map(|&(v, a)| (v, -a)).collect();
            less.push(Inequality { terms, b: -row.lower, row: Some((r, 1.0)) });
        }
    }
    for (v, &(lower, upper)) in program.bounds.iter().enumerate() {
        less.push(Inequality { terms: vec![(v, 1.0)], b: upper, row: None });
        less.push(Inequality { terms: vec![(v, -1.0)], b: -lower, row: None });
    }
    let cones = [ZeroConeT(equal.len()), NonnegativeConeT(less.len())];
    let all: Vec<Inequality> = equal.into_iter().chain(less).collect();
    let mut triplets = (Vec::new(), Vec::new(), Vec::new());
    for (i, inequality) in all.iter().enumerate() {
        for &(v, a) in &inequality.terms {
            triplets.0.push(i);
            triplets.1.push(v);
            triplets.2.push(a);
        }
    }
    let a = CscMatrix::new_from_triplets(all.len(), variables, triplets.0, triplets.1, triplets.2);
    let b: Vec<f64> = all.iter().map(|inequality| inequality.b).collect();
    let none = CscMatrix::zeros((variables, variables));
    let settings = DefaultSettingsBuilder::default().verbose(false).build().ok()?;
    let mut solver = DefaultSolver::new(&none, &program.objective, &a, &b, &cones, settings).ok()?;
    solver.solve();
    let mut multipliers = vec![0.0; program.rows.len()];
    for (inequality, z) in all.iter().zip(&solver.solution.z) {
        if let Some((row, sign)) = inequality.row {
            multipliers[row] += sign * z;
        }
    }
    let lower = program.dual_bound(&multipliers);
    let v: Vec<f64> = solver.solution.x.clone();
    (lower.is_finite() && v.iter().all(|v| v.is_finite()))
        .then(|| Solution { lower, values: program.values(&v) })
}

#[cfg(test)]
mod tests {
    use super::super::program::Row;
    use super::*;

    /// `min −v₀ − 2 v₁` with `v₀ + v₁ ≤ 3`, `v₀ − v₁ = 1`, `v ∈ [0, 4]`: at (2, 1).
    #[test]
    fn a_small_program_by_hand() {
        let program = Program {
            objective: vec![-1.0, -2.0],
            constant: 10.0,
            bounds: vec![(0.0, 4.0); 2],
            integer: vec![false; 2],
            rows: vec![
                Row { terms: vec![(0, 1.0), (1, 1.0)], lower: f64::NEG_INFINITY, upper: 3.0, slack: 0.0 },
                Row { terms: vec![(0, 1.0), (1, -1.0)], lower: 1.0, upper: 1.0, slack: 0.0 },
            ],
            elements: Vec::new(),
        };
        let solution = solve(&program).unwrap();
        assert!((solution.lower - 6.0).abs() < 1e-6, "{}", solution.lower);
        for y in [[0.0, 0.0], [-1.0, 0.5], [-1.5, -0.5], [2.0, 7.0], [-30.0, 4.0]] {
            assert!(program.dual_bound(&y) <= 6.0 + 1e-12, "{y:?}");
        }
        let best = program.dual_bound(&[-1.5, 0.5]);
        assert!(best <= 6.0 && best > 6.0 - 1e-12, "{best}");
    }
}
