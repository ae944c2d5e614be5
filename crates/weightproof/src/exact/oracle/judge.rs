//! Samples settled by the solver alone.

use super::{OracleError, OracleOptions, Outcome, solve};
use crate::attack::{AttackKind, AttackOptions, Attacker, Ground, SampleAttack, Suggestions};
use crate::bounds::{Block, Branching, Domains, Open, Prepared, method};
use crate::exact::program::{Program, Row};
use crate::kernels::Matrix;
use crate::model::{Model, Radii};
use crate::network::Network;
use crate::property::{Property, Specification};
use crate::threat::PerturbationSet;
use crate::verdict::{Clean, Precision, Samples, Verdict};
use std::time::Instant;

/// Judges samples of one network against one set.
pub struct Judge<'n> {
    network: &'n Network,
    set: &'n PerturbationSet,
    property: Property,
    options: OracleOptions,
    attacker: Attacker<'n>,
    ground: Ground<'n, f64>,
}

/// What the solver says about a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Every margin is above zero: by linear bounds, or because the solver finds no point where it is not.
    Proved,
    /// The solver's point, taken into the set and checked by the plain forward pass, breaks the property.
    Broken(SampleAttack),
    /// Neither within the time.
    Open,
}

impl<'n> Judge<'n> {
    /// `options.time` is for all rows of a sample together, bounds and programs included.
    ///
    /// # Panics
    /// For [`Property::Deviation`], whose rows are no margins.
    pub fn new(
        network: &'n Network,
        set: &'n PerturbationSet,
        property: Property,
        options: OracleOptions,
    ) -> Self {
        assert!(property != Property::Deviation, "the judge knows margins only");
        let attack = AttackOptions {
            precision: Precision::F64,
            ..AttackOptions::new(AttackKind::NeuronSpace, property)
        };
        let attacker = Attacker::new(network, set, attack);
        Judge { network, set, property, options, attacker, ground: Ground::new(network, set) }
    }

    /// Settles the sample `x` by one feasibility problem for each margin that method `linear` does not prove:
    ///
    /// ```text
    /// a point of the program with f_target − f_rival ≤ 0?       none: proved; one that stands the check: broken
    /// ```
    /// The boxes of the program are those that the root of the project's own search has, not intervals.
    ///
    /// # Guarantee
    /// `Proved` is an *estimate*: the solver computes in f64 with [`TOLERANCE`](super::TOLERANCE). `Broken` is checked.
    ///
    /// # Errors
    /// [`OracleError`]; running out of time leaves a sample [`Judgement::Open`].
    ///
    /// # Panics
    /// When `x` is not one input, or the property needs a label and there is none.
    pub fn settle(&self, x: &[f64], label: Option<u32>) -> Result<Judgement, OracleError> {
        let start = Instant::now();
        let labels = label.map(|label| [label]);
        let samples = Samples { first: 0, inputs: x, labels: labels.as_ref().map(<[u32; 1]>::as_slice) };
        let model = Model::<f64>::new(self.network);
        let radii = Radii::new(self.set, self.network.nodes().len());
        let prepared = Prepared::new(&model, &radii);
        let values = model.forward(Matrix::from_vec(1, x.len(), x.to_vec()));
        let outputs = values[values.len() - 1].row(0);
        let clean = Clean::of(outputs, 0, label, self.property, 0.0);
        let spec = Specification::margins(&[clean.target], outputs.len());
        let linear = method::<f64>("linear").expect("the method exists");
        let bounds = linear.lower_bounds(&Block { prepared: &prepared, values: &values }, &spec);
        if let Some(reason) = bounds.void[0] {
            return Err(OracleError::Void(reason));
        }
        let rows = spec.rows.iter().zip(&bounds.lower).enumerate();
        let mut open: Vec<Open<f64>> = rows
            .filter(|(_, (_, lower))| !(**lower > 0.0))
            .map(|(k, (&row, &lower))| Open { k, row, lower })
            .collect();
        // What is most likely to be broken comes first.
        open.sort_by(|a, b| a.lower.total_cmp(&b.lower));
        if open.is_empty() {
            return Ok(Judgement::Proved);
        }
        let domains = Domains::new(&prepared, &values, Branching::default());
        let boxes = domains.boxes_of(&domains.roots(vec![(0, open.clone())])[0]);
        let suggestions = Suggestions::new(&self.attacker, &self.ground, samples);
        let mut proved = true;
        for Open { row, .. } in open {
            let ends = |node: usize, k: usize| (boxes[node].0[k], boxes[node].1[k]);
            let program = breaking(Program::new(self.network, self.set, x, ends, row)?);
            let time = self.options.time.map(|time| time.saturating_sub(start.elapsed()));
            if time.is_some_and(|time| time.is_zero()) {
                return Ok(Judgement::Open);
            }
            let answer = solve(&program, &OracleOptions { time, ..self.options })?;
            if answer.outcome == Outcome::Infeasible || answer.lower > 0.0 {
                continue;
            }
            proved = false;
            if let Some(point) = answer.point {
                let found = suggestions.check(0, suggestions.towards(0, &point));
                if found.verdict == Verdict::Falsified {
                    return Ok(Judgement::Broken(found));
                }
            }
        }
        Ok(if proved { Judgement::Proved } else { Judgement::Open })
    }
}

/// The program on the points whose objective is not above zero.
fn breaking(mut program: Program) -> Program {
    let costs = program.objective.iter().copied().enumerate();
    let terms: Vec<(usize, f64)> = costs.filter(|(_, cost)| *cost != 0.0).collect();
    if !terms.is_empty() {
        program.rows.push(Row { terms, lower: f64::NEG_INFINITY, upper: -program.constant });
    }
    program
}
