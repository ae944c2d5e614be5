//! Certified and attacked radii by bisection (theory.md §5).
//!
//! A perturbation set is scaled by `t`. All samples search one common geometric lattice of `t`, so that samples at the
//! same point share the radii, the sign-split weights and the products of a block. What is reported was computed: the
//! largest `t` that was certified, the smallest `t` that was broken by a checked witness.

use crate::attack::{AttackOptions, Attacker};
use crate::bounds::{Prepared, method};
use crate::certify::{CertifyOptions, UnknownMethod};
use crate::exact::{Descent, ExactOptions, Paused, Settled};
use crate::gathered::Gathered;
use crate::kernels::Scalar;
use crate::model::{Model, Radii};
use crate::network::Network;
use crate::progress::Progress;
use crate::threat::PerturbationSet;
use crate::verdict::{Clean, Precision, Reason, SampleCertificate, Samples, Verdict};
use rayon::prelude::*;
use std::sync::OnceLock;
use thiserror::Error;

/// Largest ratio of two scales between which a tree is kept.
const NEAR: f64 = 1.03;

/// How radii are searched.
#[derive(Clone, Debug)]
pub struct RadiusOptions {
    /// The bound.
    pub certify: CertifyOptions,
    /// The attack; `None` leaves attacked radii out.
    pub attack: Option<AttackOptions>,
    /// Branch and bound between the certified and the attacked radius, until they are neighbours on the lattice or a budget is
    /// spent; needs the attack. The time and the nodes of a sample are those of one `t`; the deadline ends every search.
    pub exact: Option<ExactOptions>,
    /// Ratio of neighbouring points of the lattice, minus one.
    pub relative_width: f64,
    /// Smallest `t` that is tried.
    pub least: f64,
    /// Largest `t` that is tried.
    pub most: f64,
    /// Told of every sample whose radii are found.
    pub progress: Progress,
}

impl RadiusOptions {
    /// Neighbouring radii differ by 1%, from 1e-8 to 1000.
    pub fn new(certify: CertifyOptions, attack: Option<AttackOptions>) -> Self {
        let (relative_width, least, most) = (0.01, 1e-8, 1e3);
        let progress = Progress::default();
        RadiusOptions { certify, attack, exact: None, relative_width, least, most, progress }
    }
}

/// Radii of one sample, in the unit of the threat model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRadius {
    /// The unperturbed network.
    pub clean: Clean,
    /// Largest `t` on the lattice at which the property was proved; 0 when there is none.
    pub certified_radius: f64,
    /// Smallest `t` on the lattice at which the attack found a witness (0 when the unperturbed network breaks the
    /// property); `None` when it found none.
    pub attacked_radius: Option<f64>,
    /// Why branch and bound left lattice points open between the two.
    pub reason: Option<Reason>,
}

/// A certified radius at or above an attacked one: one of the two is wrong, which is a bug of this program.
#[derive(Debug, Error, PartialEq)]
#[error(
    "soundness violation at sample {index}: certified at radius {certified}, attacked at radius {attacked}; \
     this is a bug, please report it with the network"
)]
pub struct OrderViolation {
    /// Index of the sample.
    pub index: usize,
    /// Radius with a proof.
    pub certified: f64,
    /// Radius with a checked witness.
    pub attacked: f64,
}

/// Searches radii of batches of samples.
pub struct RadiusSearch<'n> {
    network: &'n Network,
    unit: PerturbationSet,
    options: RadiusOptions,
    lattice: Vec<f64>,
}

/// Where a sample stands in a bisection over lattice points.
#[derive(Clone, Copy, Debug)]
struct Bracket {
    /// Number of lattice points known to lie below the answer.
    low: usize,
    /// Number of lattice points that may lie below it.
    high: usize,
}

/// The smallest lattice point at which the property is broken by a witness.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Unperturbed,
    At(usize),
    Never,
}

impl Bracket {
    fn open(self) -> bool {
        self.low < self.high
    }
}

impl<'n> RadiusSearch<'n> {
    /// Prepares a search over scalings of `unit`.
    ///
    /// # Errors
    /// When the method is unknown.
    pub fn new(
        network: &'n Network,
        unit: &PerturbationSet,
        options: RadiusOptions,
    ) -> Result<Self, UnknownMethod> {
        if method::<f64>(&options.certify.method).is_none() {
            return Err(UnknownMethod { found: options.certify.method });
        }
        let ratio = (1.0 + options.relative_width).ln();
        let steps = ((options.most / options.least).ln() / ratio).ceil().max(0.0) as usize;
        let lattice = (0..=steps).map(|i| options.least * (ratio * i as f64).exp()).collect();
        Ok(RadiusSearch { network, unit: unit.clone(), options, lattice })
    }

    /// Radii of every sample, in order.
    ///
    /// # Errors
    /// [`OrderViolation`] when a proof and a witness contradict each other.
    pub fn search(&self, samples: Samples<'_>) -> Result<Vec<SampleRadius>, OrderViolation> {
        let (cleans, mut certified) = match self.options.certify.precision {
            Precision::F32 => self.certified::<f32>(samples),
            Precision::F64 => self.certified::<f64>(samples),
        };
        let mut broken = match &self.options.attack {
            None => vec![Broken::Never; cleans.len()],
            Some(options) => self.attacked(samples, options, &certified),
        };
        let reasons = match &self.options.exact {
            None => vec![None; cleans.len()],
            Some(options) => match options.certify.precision {
                Precision::F32 => self.close::<f32>(samples, options, &mut certified, &mut broken),
                Precision::F64 => self.close::<f64>(samples, options, &mut certified, &mut broken),
            },
        };
        let found = cleans.into_iter().zip(certified).zip(broken.into_iter().zip(reasons));
        found
            .map(|((clean, points), (broken, reason))| {
                let certified_radius = if points == 0 { 0.0 } else { self.lattice[points - 1] };
                let attacked_radius = match broken {
                    Broken::Unperturbed => Some(0.0),
                    Broken::At(point) => Some(self.lattice[point]),
                    Broken::Never => None,
                };
                match attacked_radius {
                    Some(attacked) if points > 0 && attacked <= certified_radius => {
                        Err(OrderViolation { index: clean.index, certified: certified_radius, attacked })
                    }
                    Some(_) | None => Ok(SampleRadius { clean, certified_radius, attacked_radius, reason }),
                }
            })
            .collect()
    }

    /// Closes the brackets between proof and witness by branch and bound. Tells why points are left open.
    fn close<T: Scalar>(
        &self,
        samples: Samples<'_>,
        options: &ExactOptions,
        certified: &mut [usize],
        broken: &mut [Broken],
    ) -> Vec<Option<Reason>> {
        let model = Model::<T>::new(self.network);
        let ends = certified.par_iter_mut().zip(broken).enumerate();
        ends.map(|(s, (certified, broken))| {
            let chosen = [s];
            let gathered = Gathered::new(samples, &chosen, self.network.input_width());
            let descent = Descent::new(self.network, &model, options, &gathered);
            let reason = self.close_one(&descent, certified, broken);
            self.options.progress.settled();
            reason
        })
        .collect()
    }

    /// Attacks lose little, so the point below the witness comes first: when it is proved, the bracket is closed. Further
    /// witnesses lead further down, in growing steps. A search that ends at a limit, and proofs, halve what is left; a second
    /// one at its limit ends the sample.
    fn close_one<T: Scalar>(
        &self,
        descent: &Descent<'_, '_, T>,
        certified: &mut usize,
        broken: &mut Broken,
    ) -> Option<Reason> {
        let mut reason = None;
        // The least point that is not proved, and what its search left open.
        let (mut ceiling, mut falls) = match broken {
            Broken::Unperturbed => return None,
            Broken::At(point) => (*point, true),
            Broken::Never => (self.lattice.len(), false),
        };
        let (mut step, mut left) = (1, None);
        while *certified < ceiling {
            if let Some(ended) = self.ended() {
                return Some(ended);
            }
            let point = match falls {
                true => ceiling.saturating_sub(step).max(*certified),
                false => usize::midpoint(*certified, ceiling),
            };
            let set = self.unit.scaled(self.lattice[point]);
            // A tree of a much larger set has more domains than this one needs.
            let near = |_: &&Paused<T>| self.lattice[ceiling] <= NEAR * self.lattice[point];
            let Settled { verdict, reason: why, left: more } =
                descent.settle(&set, left.as_ref().filter(near).cloned());
            match (verdict, why) {
                (Verdict::Verified, _) => {
                    *certified = point + 1;
                    falls = false;
                    continue;
                }
                (Verdict::Falsified, Some(Reason::Misclassified)) => {
                    *broken = Broken::Unperturbed;
                    return None;
                }
                (Verdict::Falsified, _) => {
                    *broken = Broken::At(point);
                    reason = None;
                }
                (Verdict::Unknown, _) if reason.is_some() => return why,
                (Verdict::Unknown, _) => {
                    reason = why;
                    falls = false;
                }
            }
            (ceiling, left) = (point, more);
            step *= 2;
        }
        reason
    }

    /// For every sample, how many lattice points are at most its certified radius.
    fn certified<T: Scalar>(&self, samples: Samples<'_>) -> (Vec<Clean>, Vec<usize>) {
        let model = Model::<T>::new(self.network);
        let in_f64 = OnceLock::new();
        let options = &self.options.certify;
        let bound = method::<T>(&options.method).expect("checked when built");
        let width = self.network.input_width();
        let gather = |chosen: &[usize]| Gathered::new(samples, chosen, width).clean(&model, options);
        // What f32 leaves open by rounding is certified again.
        let certify_in_f64 = |chosen: &[usize], set: &PerturbationSet| {
            let model = in_f64.get_or_init(|| Model::<f64>::new(self.network));
            let radii = Radii::new(set, self.network.nodes().len());
            let prepared = Prepared::new(model, &radii, options.guarantee);
            let bound = method::<f64>(&options.method).expect("checked when built");
            Gathered::new(samples, chosen, width).clean(model, options).certify(&prepared, bound, options)
        };
        let count = samples.count(width);
        let all: Vec<usize> = (0..count).collect();
        let cleans: Vec<Clean> = all.par_chunks(options.block).flat_map_iter(|c| gather(c).clean).collect();
        let mut brackets = vec![Bracket { low: 0, high: self.lattice.len() }; count];
        while brackets.iter().any(|b| b.open()) && self.ended().is_none() {
            let answers: Vec<(usize, bool)> = self
                .groups(&brackets, options.block)
                .par_iter()
                .flat_map_iter(|(middle, chosen)| {
                    let set = self.unit.scaled(self.lattice[*middle]);
                    let radii = Radii::new(&set, self.network.nodes().len());
                    let prepared = Prepared::new(&model, &radii, options.guarantee);
                    let found = gather(chosen).certify(&prepared, bound, options);
                    let is_verified = |c: &SampleCertificate| c.verdict == Verdict::Verified;
                    let mut verified: Vec<(usize, bool)> =
                        chosen.iter().zip(&found).map(|(&s, (c, _))| (s, is_verified(c))).collect();
                    let open: Vec<usize> = (0..found.len()).filter(|&k| found[k].1).collect();
                    if options.precision == Precision::F32 && !open.is_empty() {
                        let of: Vec<usize> = open.iter().map(|&k| chosen[k]).collect();
                        let better = certify_in_f64(&of, &set);
                        open.iter().zip(&better).for_each(|(&k, (c, _))| verified[k].1 = is_verified(c));
                    }
                    verified
                })
                .collect();
            narrow(&mut brackets, &answers);
        }
        (cleans, brackets.iter().map(|b| b.low).collect())
    }

    /// For every sample the smallest broken lattice radius above its certified one, by growing steps and bisection.
    fn attacked(&self, samples: Samples<'_>, options: &AttackOptions, certified: &[usize]) -> Vec<Broken> {
        let options = AttackOptions { stop_when_broken: true, ..options.clone() };
        let attack = |point: usize, chosen: &[usize], groups: usize| {
            let set = self.unit.scaled(self.lattice[point]);
            let gathered = Gathered::new(samples, chosen, self.network.input_width());
            let attacker = Attacker::new(self.network, &set, options.clone());
            // Groups have the threads first.
            let threads = rayon::current_num_threads().div_ceil(groups);
            let found = attacker.attack_on(gathered.samples(), threads);
            found.into_iter().map(|a| (a.verdict == Verdict::Falsified, a.reason)).collect::<Vec<_>>()
        };
        let top = self.lattice.len();
        let mut misclassified = vec![false; certified.len()];
        let mut brackets: Vec<Bracket> = certified.iter().map(|&c| Bracket { low: c, high: c }).collect();
        // Grow until broken: factors of about 1.1, 1.2, 1.5, 2.2, 4.9, …
        let mut growing: Vec<usize> = (0..certified.len()).collect();
        let mut step = 1 + (0.1 / self.options.relative_width) as usize;
        while !growing.is_empty() && self.ended().is_none() {
            let reach: Vec<Bracket> = growing.iter().map(|&s| brackets[s]).collect();
            let targets: Vec<usize> = reach.iter().map(|b| (b.high + step).min(top)).collect();
            let groups = by_point(&targets);
            let answers: Vec<(usize, usize, (bool, Option<Reason>))> = groups
                .par_iter()
                .flat_map_iter(|(point, members)| {
                    let (point, chosen) =
                        (*point, members.iter().map(|&m| growing[m]).collect::<Vec<usize>>());
                    let found = attack(point - 1, &chosen, groups.len());
                    chosen.into_iter().zip(found).map(move |(s, found)| (s, point, found)).collect::<Vec<_>>()
                })
                .collect();
            for (s, point, (broken, reason)) in answers {
                misclassified[s] |= reason == Some(Reason::Misclassified);
                let low = if broken { brackets[s].low } else { point };
                brackets[s] = Bracket { low, high: point };
            }
            growing.retain(|&s| !brackets[s].open() && brackets[s].high < top);
            step *= 2;
        }
        // A closed bracket at the top was never broken.
        let unbroken: Vec<bool> = brackets.iter().map(|b| !b.open()).collect();
        brackets.iter_mut().zip(&unbroken).filter(|(_, u)| !**u).for_each(|(b, _)| b.high -= 1);
        while brackets.iter().any(|b| b.open()) && self.ended().is_none() {
            let groups = self.groups(&brackets, usize::MAX);
            let answers: Vec<(usize, bool)> = groups
                .par_iter()
                .flat_map_iter(|(middle, chosen)| {
                    let broken = attack(*middle, chosen, groups.len());
                    chosen.iter().copied().zip(broken.into_iter().map(|(b, _)| !b)).collect::<Vec<_>>()
                })
                .collect();
            narrow(&mut brackets, &answers);
            if self.options.exact.is_none() {
                let found = answers.iter().filter(|(s, _)| !brackets[*s].open());
                found.for_each(|_| self.options.progress.settled());
            }
        }
        let broken = |s: usize| match (misclassified[s], unbroken[s]) {
            (true, _) => Broken::Unperturbed,
            (false, true) => Broken::Never,
            (false, false) => Broken::At(brackets[s].high),
        };
        (0..certified.len()).map(broken).collect()
    }

    /// Why to stop altogether: what is known then is what is reported.
    fn ended(&self) -> Option<Reason> {
        let stopped = self.options.certify.stop.is_set().then_some(Reason::Interrupted);
        stopped.or_else(|| self.options.exact.as_ref().and_then(ExactOptions::ended))
    }

    /// Samples with open brackets by the lattice point in the middle, in groups of at most `block`.
    fn groups(&self, brackets: &[Bracket], block: usize) -> Vec<(usize, Vec<usize>)> {
        let open: Vec<usize> = (0..brackets.len()).filter(|&s| brackets[s].open()).collect();
        let middles: Vec<usize> =
            open.iter().map(|&s| usize::midpoint(brackets[s].low, brackets[s].high)).collect();
        let mut groups = Vec::new();
        for (middle, members) in by_point(&middles) {
            for chunk in members.chunks(block) {
                groups.push((middle, chunk.iter().map(|&m| open[m]).collect()));
            }
        }
        groups
    }
}

/// Positions by value, in ascending order of the values.
fn by_point(points: &[usize]) -> Vec<(usize, Vec<usize>)> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|&m| points[m]);
    order.chunk_by(|&a, &b| points[a] == points[b]).map(|group| (points[group[0]], group.to_vec())).collect()
}

/// Moves the end of each bracket to its middle: `true` means that the answer lies above.
fn narrow(brackets: &mut [Bracket], answers: &[(usize, bool)]) {
    for &(s, above) in answers {
        let bracket = &mut brackets[s];
        let middle = usize::midpoint(bracket.low, bracket.high);
        if above {
            bracket.low = middle + 1;
        } else {
            bracket.high = middle;
        }
    }
}
