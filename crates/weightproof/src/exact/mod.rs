//! Complete verification: every sample is proved or broken, within budgets (theory.md §6).

pub mod cover;
mod descent;
mod divide;
mod encode;
mod evidence;
mod leaf;
#[cfg(feature = "milp")]
pub mod oracle;
pub mod program;
mod rows;
mod search;

use crate::attack::{
    AttackKind, AttackOptions, Attacker, BoundProblem, CompactWitness, SampleAttack, Suggestions,
};
use crate::bounds::{Branching, LowerBounds, Prepared, method};
use crate::certify::{CertifyOptions, CleanBlock};
use crate::gathered::Gathered;
use crate::kernels::Scalar;
use crate::memory::Estimate;
use crate::model::{Model, Radii};
use crate::network::Network;
use crate::threat::{Perturbation, PerturbationSet};
use crate::verdict::{Precision, Reason, SampleCertificate, Samples, Verdict};
pub(crate) use descent::{Descent, Settled};
use rayon::prelude::*;
pub(crate) use search::Paused;
use search::{Answer, Purpose, Question, Search, Start};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The bound that every sample gets first.
const FIRST: &str = "linear";
/// Most samples whose trees are searched together.
const GROUP: usize = 32;

/// Limits of the work; what is not settled within them is `unknown`, with the reason.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Most time for one sample and set, added up over the threads that work on it.
    pub time: Option<Duration>,
    /// When to stop altogether.
    pub deadline: Option<Instant>,
    /// Most domains bounded for one sample and set.
    pub nodes: Option<usize>,
    /// Most bytes of open domains.
    pub bytes: Option<usize>,
    /// Asked again and again: whether to stop altogether, for instance because of Ctrl-C.
    pub interrupted: Option<fn() -> bool>,
}

impl Budget {
    /// Bytes of open domains when nothing else is asked for: searches without an end must not take a machine down.
    pub const BYTES: usize = 4 << 30;

    /// Why to stop altogether, if there is a reason to.
    pub fn ended(&self) -> Option<Reason> {
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let interrupted = self.interrupted.is_some_and(|interrupted| interrupted());
        interrupted.then_some(Reason::Interrupted).or(late.then_some(Reason::TimeLimit))
    }
}

/// How samples are settled.
#[derive(Clone, Debug)]
pub struct ExactOptions {
    /// Property and precision; the method is the one that is tried first.
    pub certify: CertifyOptions,
    /// The attack that is tried second, and whose steps go on inside of domains.
    pub attack: AttackOptions,
    /// How domains are split.
    pub branching: Branching,
    /// Limits.
    pub budget: Budget,
    /// Close the smallest margin to this width; `None` stops when its sign is known.
    pub gap: Option<f64>,
}

/// What is known about a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ExactCertificate {
    /// Verdict and proved bound. Falsified samples have a witness, or are misclassified.
    pub certificate: SampleCertificate,
    /// Smallest margin that was found, by plain forward passes in f64: an upper bound on the smallest one, up to their rounding.
    pub worst_margin: f64,
    /// What reaches it; `None` when nothing is worse than the unperturbed network.
    pub witness: Option<CompactWitness>,
    /// Domains that were bounded.
    pub nodes: usize,
    /// Time spent on the sample, added up over threads; its share where several were bounded together.
    pub time: Duration,
}

/// Takes the certificate of a sample.
pub type Keep<'k> = &'k (dyn Fn(usize, ExactCertificate) + Sync);

/// Settles batches of samples of one network against several perturbation sets.
pub struct ExactCertifier<'n> {
    network: &'n Network,
    options: ExactOptions,
    attackers: Vec<Attacker<'n>>,
    engine: Engine<'n>,
}

/// The engine in one of its two precisions.
enum Engine<'n> {
    /// With the one in f64 for the samples that f32 leaves open by rounding, made when there are some.
    F32(EngineOf<'n, f32>, OnceLock<EngineOf<'n, f64>>),
    F64(EngineOf<'n, f64>),
}

/// What becomes of a sample that f32 leaves open by so little that rounding may be the reason.
#[derive(Clone, Copy)]
enum NearlyProved<'c> {
    /// It is listed, to be settled in f64.
    List(&'c Mutex<Vec<usize>>),
    /// It is searched like others.
    Search,
}

impl NearlyProved<'_> {
    /// Lists sample `s` where samples are listed; whether they are.
    fn lists(self, s: usize) -> bool {
        match self {
            NearlyProved::List(list) => {
                list.lock().expect("nothing panics with it").push(s);
                true
            }
            NearlyProved::Search => false,
        }
    }
}

/// A sample whose bound stays below zero by less than this part of its unperturbed margin, with nothing left to split, is settled
/// in f64.
const NEARLY: f64 = 1e-3;

/// A sample that the attack left open.
struct Attacked {
    s: usize,
    known: ExactCertificate,
    found: SampleAttack,
}

struct EngineOf<'n, T> {
    model: Model<'n, T>,
    /// Of each set.
    radii: Vec<Radii<T>>,
    problems: Vec<BoundProblem<'n, T>>,
}

impl<'n, T: Scalar> EngineOf<'n, T> {
    fn new(network: &'n Network, sets: &[PerturbationSet]) -> Self {
        EngineOf {
            model: Model::new(network),
            radii: sets.iter().map(|set| Radii::new(set, network.nodes().len())).collect(),
            problems: sets.iter().map(|set| BoundProblem::new(network, set)).collect(),
        }
    }
}

impl ExactOptions {
    /// Why to stop altogether, if there is a reason to.
    pub(crate) fn ended(&self) -> Option<Reason> {
        let stopped = self.certify.stop.is_set().then_some(Reason::Interrupted);
        stopped.or_else(|| self.budget.ended())
    }

    /// Linear bounds, then the neuron-space attack, then branch and bound, without limits but [`Budget::BYTES`].
    pub fn new(certify: CertifyOptions) -> Self {
        let certify = CertifyOptions { method: FIRST.into(), ..certify };
        let attack = AttackOptions {
            steps: 40,
            restarts: 2,
            precision: certify.precision,
            tolerance: certify.tolerance,
            stop_when_broken: true,
            ..AttackOptions::new(AttackKind::NeuronSpace, certify.property)
        };
        ExactOptions {
            certify,
            attack,
            branching: Branching::default(),
            budget: Budget { bytes: Some(Budget::BYTES), ..Budget::default() },
            gap: None,
        }
    }
}

impl<'n> ExactCertifier<'n> {
    /// Casts the network and the sets once.
    pub fn new(network: &'n Network, sets: &[PerturbationSet], options: ExactOptions) -> Self {
        let engine = match options.certify.precision {
            Precision::F32 => Engine::F32(EngineOf::new(network, sets), OnceLock::new()),
            Precision::F64 => Engine::F64(EngineOf::new(network, sets)),
        };
        let attack = AttackOptions { stop_when_broken: options.gap.is_none(), ..options.attack.clone() };
        let attackers = sets.iter().map(|set| Attacker::new(network, set, attack.clone())).collect();
        ExactCertifier { network, options, attackers, engine }
    }

    /// One list of certificates for each set, in the order of the samples. Parallel on the current rayon pool; without time
    /// and memory limits the result does not depend on the number of threads.
    ///
    /// # Panics
    /// When the inputs are not whole samples, or [`Property::Label`](crate::property::Property::Label) comes without labels.
    pub fn certify(&self, samples: Samples<'_>) -> Vec<Vec<ExactCertificate>> {
        let count = samples.count(self.network.input_width());
        let of_set = |k| {
            let found = Mutex::new(vec![None; count]);
            self.settle(k, samples, &|s, certificate| {
                found.lock().expect("nothing panics with it")[s] = Some(certificate);
            });
            let found = found.into_inner().expect("nothing panics with it");
            found.into_iter().map(|found| found.expect("every sample is kept")).collect()
        };
        (0..self.attackers.len()).map(of_set).collect()
    }

    /// The certificates of [`ExactCertifier::certify`] for set `k`, given to `keep` with the number of the sample, each once
    /// and as soon as it is final, from any thread.
    ///
    /// # Panics
    /// As [`ExactCertifier::certify`].
    pub fn settle(&self, k: usize, samples: Samples<'_>, keep: Keep<'_>) {
        let all: Vec<usize> = (0..samples.count(self.network.input_width())).collect();
        let (f32, f64) = match &self.engine {
            Engine::F64(engine) => return self.run(engine, (k, &all), samples, keep, NearlyProved::Search),
            Engine::F32(engine, f64) => (engine, f64),
        };
        let list = Mutex::new(Vec::new());
        self.run(f32, (k, &all), samples, keep, NearlyProved::List(&list));
        let mut open = list.into_inner().expect("nothing panics with it");
        if !open.is_empty() {
            open.sort_unstable();
            let engine = f64.get_or_init(|| self.in_f64(f32));
            self.run(engine, (k, &open), samples, keep, NearlyProved::Search);
        }
    }

    /// Whether the work is to end altogether.
    pub fn is_ended(&self) -> bool {
        self.options.ended().is_some()
    }

    /// [`Attacker::shares`] of a witness for set `k`.
    pub fn shares(&self, k: usize, witness: &CompactWitness) -> Vec<Option<Vec<f64>>> {
        self.attackers[k].shares(witness)
    }

    /// The same engine in f64.
    fn in_f64(&self, engine: &EngineOf<'n, f32>) -> EngineOf<'n, f64> {
        let sets: Vec<_> = engine.radii.iter().map(|radii| PerturbationSet::clone(&radii.set)).collect();
        EngineOf::new(self.network, &sets)
    }

    /// The perturbation of set `k` that `witness` stands for, at the input `x` of its sample.
    pub fn witness(&self, k: usize, x: &[f64], witness: &CompactWitness) -> Perturbation {
        self.attackers[k].witness(x, witness)
    }

    /// Settles the samples `chosen` for set `k`.
    fn run<T: Scalar>(
        &self,
        engine: &EngineOf<'_, T>,
        (k, chosen): (usize, &[usize]),
        samples: Samples<'_>,
        keep: Keep<'_>,
        nearly: NearlyProved<'_>,
    ) {
        let prepared = Prepared::new(&engine.model, &engine.radii[k], self.options.certify.guarantee);
        let open = self.bound(&prepared, samples, chosen, (keep, nearly));
        if let Some(reason) = self.options.ended() {
            open.into_iter().for_each(|(s, known)| keep(s, known.given_up(reason)));
            return;
        }
        let open = self.attack(k, samples, open, keep);
        let group = Estimate::new::<T>(self.network).block(GROUP);
        open.par_chunks(group)
            .for_each(|open| self.search(&prepared, (k, &engine.problems[k]), samples, open, (keep, nearly)));
    }

    /// Whether there is more to find out about a sample: always when a gap is to be closed, and bounds are not void.
    fn is_open(&self, certificate: &SampleCertificate) -> bool {
        certificate.margin_lower > f64::NEG_INFINITY
            && (self.options.gap.is_some() || certificate.verdict == Verdict::Unknown)
    }

    /// The first method, on all samples. Returns those that it leaves open.
    fn bound<T: Scalar>(
        &self,
        prepared: &Prepared<'_, T>,
        samples: Samples<'_>,
        all: &[usize],
        (keep, nearly): (Keep<'_>, NearlyProved<'_>),
    ) -> Vec<(usize, ExactCertificate)> {
        let method = method::<T>(FIRST).expect("the first method exists");
        let block = Estimate::new::<T>(self.network).block(self.options.certify.block);
        let of_block = |chosen: &[usize]| {
            let start = Instant::now();
            let gathered = Gathered::new(samples, chosen, self.network.input_width());
            let clean = gathered.clean(prepared.model, &self.options.certify);
            let found = clean.certify(prepared, method, &self.options.certify);
            let time = start.elapsed() / chosen.len() as u32;
            let certificate = |certificate: SampleCertificate| ExactCertificate {
                worst_margin: certificate.clean.margin,
                certificate,
                witness: None,
                nodes: 0,
                time,
            };
            let here = chosen
                .iter()
                .copied()
                .zip(found)
                .filter(|(s, (_, by_rounding))| !(*by_rounding && nearly.lists(*s)));
            let found = here.map(|(s, (found, _))| (s, certificate(found)));
            let (open, settled): (Vec<_>, Vec<_>) =
                found.partition(|(_, found)| self.is_open(&found.certificate));
            settled.into_par_iter().for_each(|(s, found)| keep(s, found));
            open
        };
        let open: Vec<Vec<(usize, ExactCertificate)>> = all.par_chunks(block).map(of_block).collect();
        open.into_iter().flatten().collect()
    }

    /// The attack on open samples. Returns those that stay open, with what it found.
    fn attack(
        &self,
        k: usize,
        samples: Samples<'_>,
        open: Vec<(usize, ExactCertificate)>,
        keep: Keep<'_>,
    ) -> Vec<Attacked> {
        let start = Instant::now();
        let chosen: Vec<usize> = open.iter().map(|(s, _)| *s).collect();
        let gathered = Gathered::new(samples, &chosen, self.network.input_width());
        let found = self.attackers[k].attack(gathered.samples());
        let time = start.elapsed() / chosen.len().max(1) as u32;
        let attacked = open.into_iter().zip(found).map(|((s, before), found)| {
            let known = ExactCertificate { time: before.time + time, ..before.attacked(&found) };
            Attacked { s, known, found }
        });
        let (open, settled): (Vec<_>, Vec<_>) =
            attacked.partition(|attacked| self.is_open(&attacked.known.certificate));
        settled.into_par_iter().for_each(|Attacked { s, known, .. }| keep(s, known));
        open
    }

    /// Branch and bound for the samples that the attack left.
    fn search<T: Scalar>(
        &self,
        prepared: &Prepared<'_, T>,
        (k, problem): (usize, &BoundProblem<'_, T>),
        samples: Samples<'_>,
        open: &[Attacked],
        (keep, nearly): (Keep<'_>, NearlyProved<'_>),
    ) {
        if let Some(reason) = self.options.ended() {
            open.iter().for_each(|open| keep(open.s, open.known.clone().given_up(reason)));
            return;
        }
        let options = &self.options.certify;
        let chosen: Vec<usize> = open.iter().map(|open| open.s).collect();
        let gathered = Gathered::new(samples, &chosen, self.network.input_width());
        let clean = gathered.clean(prepared.model, options);
        let method = method::<T>(FIRST).expect("the first method exists");
        let mut bounds = clean.bounds(prepared, method);
        let suggestions = Suggestions::new(&self.attackers[k], problem, gathered.samples());
        let starts =
            open.iter().map(|open| Begin { found: open.found.clone(), start: Start::Whole }).collect();
        let starts = (starts, Purpose::Settle);
        let answers = searched((prepared, &clean), &mut bounds, suggestions, &self.options, starts);
        let of = |(Attacked { s, known, .. }, (certificate, answer)): (&Attacked, (_, Answer<T>))| {
            let (nodes, time) = (answer.nodes, known.time + answer.time);
            let certificate = ExactCertificate { certificate, nodes, time, ..known.clone() };
            (*s, certificate.attacked(&answer.found))
        };
        let by_rounding = |found: &SampleCertificate| {
            found.reason == Some(Reason::Incomplete)
                && found.verdict == Verdict::Unknown
                && found.margin_lower >= -NEARLY * found.clean.margin.abs()
        };
        let searched: Vec<(usize, ExactCertificate)> = open
            .iter()
            .zip(answers)
            .map(of)
            .filter(|(s, found)| !(by_rounding(&found.certificate) && nearly.lists(*s)))
            .collect();
        searched.into_par_iter().for_each(|(s, found)| keep(s, found));
    }
}

/// What the branch and bound of a sample begins with.
struct Begin<T> {
    /// The worst margin that the attack found.
    found: SampleAttack,
    start: Start<T>,
}

/// Bounds of all rows of `samples` samples, without charges: they hold as they are.
fn of_rows<T: Scalar>(lower: Vec<T>, samples: usize) -> LowerBounds<T> {
    let charge = vec![T::zero(); lower.len()];
    LowerBounds { lower, charge, variance: Vec::new(), ends: Vec::new(), void: vec![None; samples] }
}

/// Branch and bound for the samples of a block, whose `bounds` are known and become those that are proved.
fn searched<T: Scalar>(
    (prepared, clean): (&Prepared<'_, T>, &CleanBlock<T>),
    bounds: &mut LowerBounds<T>,
    suggestions: Suggestions<'_, '_, T>,
    options: &ExactOptions,
    (starts, purpose): (Vec<Begin<T>>, Purpose),
) -> Vec<(SampleCertificate, Answer<T>)> {
    let (certify, count) = (&options.certify, clean.spec.count);
    let rows = |s: usize| s * count..(s + 1) * count;
    let question = |(s, Begin { found, start })| Question {
        rows: clean.spec.rows[rows(s)].to_vec(),
        offsets: (0..count).map(|r| T::from_f64_down(clean.shift(s, r, certify.property))).collect(),
        lower: bounds.lower[rows(s)].to_vec(),
        found,
        start,
    };
    let questions = starts.into_iter().enumerate().map(question).collect();
    let answers = Search::new(prepared, clean, suggestions, options, (questions, purpose)).run();
    let certificate = |(s, answer): (usize, Answer<T>)| {
        bounds.lower[rows(s)].copy_from_slice(&answer.lower);
        let proved = clean.verdict(bounds, s, certify);
        let reason = match proved.reason {
            Some(own) => Some(answer.reason.unwrap_or(own)),
            // Proved, but the gap that was asked for is not closed.
            None => answer.reason.filter(|_| options.gap.is_some()),
        };
        (SampleCertificate { reason, ..proved }, answer)
    };
    answers.into_iter().enumerate().map(certificate).collect()
}

impl ExactCertificate {
    /// What is known when the work ends for this reason.
    fn given_up(mut self, reason: Reason) -> Self {
        if self.certificate.verdict != Verdict::Falsified {
            self.certificate.reason = Some(reason);
        }
        self
    }

    /// Takes in what an attack found.
    fn attacked(mut self, found: &SampleAttack) -> Self {
        let misclassified = self.certificate.reason == Some(Reason::Misclassified);
        if found.reason == Some(Reason::Attacked) && !misclassified {
            self.certificate.verdict = Verdict::Falsified;
            self.certificate.reason = found.reason;
            self.certificate.runner_up = found.runner_up;
        }
        self.worst_margin = found.worst_margin;
        self.witness = found.witness.clone();
        self
    }
}
