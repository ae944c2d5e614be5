//! The linear program of a domain that no split improves (theory.md §6): its minimum is what ascent only comes near to.

use super::program::{Element, Program};
use crate::bounds::is_quantizer;
use crate::memory::work;
use crate::network::{Layer, Network, Node};
use clarabel::algebra::CscMatrix;
use clarabel::solver::SupportedConeT::{NonnegativeConeT, ZeroConeT};
use clarabel::solver::{DefaultSettingsBuilder, DefaultSolver, IPSolver};
use std::collections::HashMap;

/// An end of a relaxed program that a solver stopped at.
pub(super) struct Solution {
    /// Lower bound on the minimum, by weak duality: it does not rest on the solver.
    pub lower: f64,
    /// Values of all nodes near the minimum.
    pub values: Vec<Vec<f64>>,
    /// By element of a quantizer, what a unit of its hull is worth at the minimum; zero of all others.
    pub worth: HashMap<(usize, usize), f64>,
}

/// `a·v + s = b`, `s = 0` or `s ≥ 0`.
struct Inequality {
    terms: Vec<(usize, f64)>,
    b: f64,
    /// Row of the program that it is an end of, and the sign of its multiplier there.
    row: Option<(usize, f64)>,
}

/// Most multiply-adds of the layers behind the first quantizer in networks whose programs are solved before domains are split.
const MOST_WORK: u64 = 1 << 17;

/// Whether it pays to solve the program of every domain before it is split: with quantizers, whose hulls have more edges than ascent finds at once,
/// in small networks without convolutions, whose program does not know that their weights are shared.
pub(super) fn pays(network: &Network) -> bool {
    let nodes = network.nodes();
    let Some(first) = nodes.iter().position(is_quantizer) else { return false };
    let is_convolution = |node: &Node| matches!(node.layer, Layer::Conv(_));
    let behind: u64 = nodes[first..]
        .iter()
        .skip_while(|node| node.layer.affine().is_none())
        .skip(1)
        .map(|node| work(&node.layer, node.width()))
        .sum();
    !nodes.iter().any(is_convolution) && behind <= MOST_WORK
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
    (lower.is_finite() && v.iter().all(|v| v.is_finite())).then(|| Solution {
        lower,
        values: program.values(&v),
        worth: worth(program, &multipliers),
    })
}

/// The sum of the magnitudes of the multipliers of each hull, by node and element.
fn worth(program: &Program, multipliers: &[f64]) -> HashMap<(usize, usize), f64> {
    let of = |(node, elements): (usize, &Vec<Element>)| {
        let hull = |(k, element): (usize, &Element)| match element {
            Element::Variable(v) => program.hulls.get(v).map(|rows| ((node, k), rows.clone())),
            Element::Constant(_) => None,
        };
        elements.iter().enumerate().filter_map(hull).collect::<Vec<_>>()
    };
    let hulls = program.elements.iter().enumerate().flat_map(of);
    hulls.map(|(at, rows)| (at, multipliers[rows].iter().map(|m| m.abs()).sum())).collect()
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
            hulls: HashMap::new(),
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
