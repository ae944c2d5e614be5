//! Samples settled by the solver alone.

use super::milp::{Boxes, Milp};
use super::{OracleError, OracleOptions, Outcome};
use crate::attack::{AttackKind, AttackOptions, Attacker, BoundProblem, SampleAttack, Suggestions};
use crate::exact::program::ProgramError;
use crate::network::Network;
use crate::property::{Property, SpecRow};
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
    problem: BoundProblem<'n, f64>,
}

/// What the solver says about a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Every margin is above zero: the solver finds no point where it is not.
    Proved,
    /// The solver's point, taken into the set and checked by the plain forward pass, breaks the property.
    Broken(SampleAttack),
    /// Neither within the time.
    Open,
}

impl<'n> Judge<'n> {
    /// `options.time` is for all rows of a sample together.
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
        Judge { network, set, property, options, attacker, problem: BoundProblem::new(network, set) }
    }

    /// Settles the sample `x` by one feasibility problem for each rival class:
    ///
    /// ```text
    /// a point of the program with f_target − f_rival ≤ 0?       none: proved; one that stands the check: broken
    /// ```
    /// Rivals with the least margins of the unperturbed network come first, as they are most likely to break the sample.
    ///
    /// # Guarantee
    /// `Proved` is an *estimate*: the solver computes in f64 with [`TOLERANCE`](super::TOLERANCE). `Broken` is checked.
    ///
    /// # Errors
    /// [`OracleError`]; running out of time leaves a sample [`Judgement::Open`].
    ///
    /// # Panics
    /// When the property needs a label and there is none.
    pub fn settle(&self, x: &[f64], label: Option<u32>) -> Result<Judgement, OracleError> {
        let start = Instant::now();
        ProgramError::check(self.network, self.set, x, SpecRow::lower(0))?;
        let outputs = self.network.forward(x);
        let target = Clean::of(&outputs, 0, label, self.property, 0.0).target;
        let mut rivals: Vec<usize> = (0..outputs.len()).filter(|j| *j != target).collect();
        rivals.sort_by(|&a, &b| outputs[b].total_cmp(&outputs[a]));
        let end = self.options.time.map(|time| start + time);
        let milp = Milp::new(self.network, self.set, x, Boxes::Narrowed(end))?;
        let labels = label.map(|label| [label]);
        let samples = Samples { first: 0, inputs: x, labels: labels.as_ref().map(<[u32; 1]>::as_slice) };
        let suggestions = Suggestions::new(&self.attacker, &self.problem, samples);
        let mut proved = true;
        for rival in rivals {
            let time = self.options.time.map(|time| time.saturating_sub(start.elapsed()));
            if time.is_some_and(|time| time.is_zero()) {
                return Ok(Judgement::Open);
            }
            let row = SpecRow::difference(target, rival);
            let answer = milp.minimise(row, true, &OracleOptions { time, ..self.options })?;
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
