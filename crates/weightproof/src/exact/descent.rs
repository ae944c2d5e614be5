//! One sample at falling scales of a set, as searches of radii ask (theory.md §5, §6).
//!
//! A set of smaller scale lies within those of larger ones. What is proved in a part of the larger set holds in that part of the
//! smaller one, and boxes stay valid: so only the domains that a scale left open are bounded again at the next, from the boxes,
//! slopes and multipliers that they have.

use super::search::{Answer, Paused, Purpose, Start};
use super::{Begin, ExactOptions, FIRST, searched};
use crate::attack::{AttackOptions, Attacker, BoundProblem, Suggestions};
use crate::bounds::{Prepared, method};
use crate::certify::CleanBlock;
use crate::gathered::Gathered;
use crate::kernels::Scalar;
use crate::model::{Model, Radii};
use crate::network::Network;
use crate::threat::PerturbationSet;
use crate::verdict::{Reason, SampleCertificate, Verdict};

/// A sample whose unperturbed values are known.
pub(crate) struct Descent<'a, 'n, T> {
    network: &'n Network,
    model: &'a Model<'n, T>,
    options: &'a ExactOptions,
    attack: AttackOptions,
    gathered: &'a Gathered<'a>,
    clean: CleanBlock<T>,
}

/// How one set is settled.
pub struct Settled<T: Scalar> {
    pub verdict: Verdict,
    /// Why it is not verified.
    pub reason: Option<Reason>,
    /// What is left for smaller sets.
    pub left: Option<Paused<T>>,
}

impl<'a, 'n, T: Scalar> Descent<'a, 'n, T> {
    /// For the one sample of `gathered`; nothing but its property is settled, so `options` have no gap.
    pub fn new(
        network: &'n Network,
        model: &'a Model<'n, T>,
        options: &'a ExactOptions,
        gathered: &'a Gathered<'a>,
    ) -> Self {
        let clean = gathered.clean(model, &options.certify);
        let attack = AttackOptions { stop_when_broken: true, ..options.attack.clone() };
        Descent { network, model, options, attack, gathered, clean }
    }

    /// Settles the sample for `set`, which no attack has broken, and tells what that leaves for smaller sets. `left` is what a
    /// larger set left.
    pub fn settle(&self, set: &PerturbationSet, left: Option<Paused<T>>) -> Settled<T> {
        let radii = Radii::new(set, self.network.nodes().len());
        let prepared = Prepared::new(self.model, &radii, self.options.certify.guarantee);
        let first = method::<T>(FIRST).expect("the first method exists");
        let mut bounds = self.clean.bounds(&prepared, first);
        let SampleCertificate { verdict, reason, .. } = self.clean.verdict(&bounds, 0, &self.options.certify);
        if verdict != Verdict::Unknown || bounds.void[0].is_some() {
            return Settled { verdict, reason, left: None };
        }
        let attacker = Attacker::new(self.network, set, self.attack.clone());
        let problem = BoundProblem::new(self.network, set);
        let suggestions = Suggestions::new(&attacker, &problem, self.gathered.samples());
        let start = left.map_or(Start::Whole, Start::Paused);
        let starts = vec![Begin { found: suggestions.unperturbed().swap_remove(0), start }];
        let of = (&prepared, &self.clean);
        let (certificate, Answer { found, left, .. }) =
            searched(of, &mut bounds, suggestions, self.options, (starts, Purpose::Descend)).swap_remove(0);
        match found.verdict {
            Verdict::Falsified => Settled { verdict: Verdict::Falsified, reason: found.reason, left },
            Verdict::Verified | Verdict::Unknown => {
                Settled { verdict: certificate.verdict, reason: certificate.reason, left }
            }
        }
    }
}
