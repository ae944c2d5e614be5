//! `attack`: the worst margin that a search finds for every sample.

use crate::RunError;
use crate::config::{AttackConfig, Config};
use crate::feed::Feed;
use crate::run::{BatchSize, Done, Keeping, Run, Watch};
use crate::session::Session;
use crate::store::{Store, identity};
use crate::threat::{self, SetAt};
use crate::witness::{Broken, WitnessFile, WitnessFolder, prefix};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use weightproof::attack::{AttackKind, AttackOptions, Attacker, SampleAttack, UniversalAttack};
use weightproof::network::Network;
use weightproof::threat::Distribution;
use weightproof::verdict::{Reason, Samples, Verdict};
use weightproof_report::{AttackRecord, AttackSummary, MethodReport, Report, RunResult};

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    attack: &'a AttackConfig,
}

/// What an attack searches or draws, in a few words.
pub fn description(kind: AttackKind) -> &'static str {
    match kind {
        AttackKind::NeuronSpace => "ascent on one number for each neuron, for each sample",
        AttackKind::WeightSpace => "ascent on every weight, for each sample",
        AttackKind::OneGradient => "one gradient for each sample, a step as far as a linear margin needs",
        AttackKind::Fgsm => "one gradient for each sample, a step of the full radius",
        AttackKind::Pgd => "signed steps from the unperturbed network, for each sample until it is broken",
        AttackKind::Universal => "ascent on one change of the weights for all samples",
        AttackKind::Random(Distribution::Uniform) => "draws that are uniform in the set",
        AttackKind::Random(Distribution::Gaussian) => {
            "draws of a Gaussian with standard deviation r/√3, clipped at the radius r"
        }
        AttackKind::Random(Distribution::Vertex) => "draws of corners of the set",
    }
}

/// Size of a batch when the user does not say.
pub fn batch(attack: &AttackConfig) -> BatchSize {
    // Whole mini-batches, so that steps do not depend on how the data are read.
    if attack.kind == AttackKind::Universal {
        return BatchSize::Fixed(8 * AttackOptions::BATCH);
    }
    BatchSize::Adaptive(AttackOptions::BLOCK)
}

/// Where an attack keeps what it finds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept<'a> {
    /// A file that keeps what is found for each sample; not for the attack universal, whose one perturbation needs all samples.
    pub journal: Option<&'a Path>,
    /// A folder for what breaks samples.
    pub witness: Option<&'a Path>,
}

/// Attacks every sample within every set.
///
/// # Errors
/// Those of the feed and of the front end; a journal or a witness that fails, a journal for the attack universal.
pub fn run<F: Feed, W: Watch>(
    session: &mut Session<F>,
    sets: &[SetAt],
    attack: &AttackConfig,
    kept: Kept<'_>,
    mut run: Run<W>,
) -> Result<Report<AttackRecord>, RunError> {
    session.require_tolerance("attack")?;
    let options = options(session, attack);
    let identity = || {
        let witness = kept.witness.map(|folder| folder.to_string_lossy());
        identity(session, &json!({ "command": "attack", "attack": attack, "witness": witness }))
    };
    if kept.journal.is_some() && attack.kind == AttackKind::Universal {
        return Err(RunError::setting("journal", "an attack on each sample by itself", attack.name));
    }
    if session.shard().is_some() && attack.kind == AttackKind::Universal {
        return Err(RunError::setting("shard", "an attack on each sample by itself", attack.name));
    }
    let folder = WitnessFolder::asked(kept.witness, identity)?;
    let mut store = Store::open(kept.journal, identity)?;
    store.require(folder.as_ref(), |record: &AttackRecord| record.witness.as_deref());
    let (records, done) = if attack.kind == AttackKind::Universal {
        universal(session, &mut run, sets, &options, folder.as_ref())?
    } else {
        by_sample(session, &mut run, sets, &options, (&store, folder.as_ref()))?
    };
    let known: Vec<f64> = sets.iter().filter_map(|at| at.radius).collect();
    let settings = Settings { shared: &session.config, attack };
    let described = (describe(session, attack), "estimate");
    let report = Report {
        header: session.header(&done, &known, threat::moving(sets), described, &settings)?,
        partial: done.partial,
        results: sets.iter().zip(records).map(|(at, samples)| result(at.radius, samples)).collect(),
        environment: run.environment(),
    };
    store.finish(&report)?;
    Ok(report)
}

/// Records for each set, and how many samples there were.
type Found = (Vec<Vec<AttackRecord>>, Done);

/// Attacks every sample as it is read, but those in the store.
fn by_sample<F: Feed, W: Watch>(
    session: &mut Session<F>,
    run: &mut Run<W>,
    sets: &[SetAt],
    options: &AttackOptions,
    (store, folder): (&Store<AttackRecord>, Option<&WitnessFolder>),
) -> Result<Found, RunError> {
    let classes = session.classes();
    let Session { network, feed, .. } = session;
    let attackers: Vec<Attacker<'_>> =
        sets.iter().map(|at| Attacker::new(network, &at.set, options.clone())).collect();
    let records = |k: usize, batch: Samples<'_>, found: &[SampleAttack]| {
        let files = match folder {
            None => vec![None; found.len()],
            Some(folder) => write_witnesses(folder, (sets, k), (network, &attackers[k]), batch, found)?,
        };
        let record = |(found, file): (&SampleAttack, Option<WitnessFile>)| {
            let integers = file.as_ref().and_then(|file| file.integers);
            let (witness, witness_sha256) = file.map(|file| (file.name, file.sha256)).unzip();
            AttackRecord { witness, witness_sha256, integers, ..AttackRecord::from(found) }
        };
        Ok(found.iter().zip(files).map(record).collect())
    };
    run.settle(
        feed,
        classes,
        Keeping { store, sets: sets.len(), seen: None },
        |batch| Ok(attackers.iter().map(|a| a.attack(batch)).collect::<Vec<_>>()),
        |batch, found| found.iter().enumerate().map(|(k, found)| records(k, batch, found)).collect(),
    )
}

/// Trains one perturbation for each set over as many passes as the steps need, then looks what it does to every sample.
fn universal<F: Feed, W: Watch>(
    session: &mut Session<F>,
    run: &mut Run<W>,
    sets: &[SetAt],
    options: &AttackOptions,
    folder: Option<&WitnessFolder>,
) -> Result<Found, RunError> {
    let classes = session.classes();
    let Session { network, feed, .. } = session;
    let new = |at: &SetAt| UniversalAttack::new(network, &at.set, options.clone());
    let mut attacks: Vec<UniversalAttack<'_>> = sets.iter().map(new).collect();
    let (mut steps, mut cut) = (0, false);
    while steps < options.steps && !cut {
        let pass = run.over(
            feed,
            classes,
            |batch| {
                attacks.iter_mut().for_each(|attack| {
                    attack.observe(batch);
                });
                Ok(())
            },
            |_, ()| Ok(()),
        )?;
        attacks.iter_mut().for_each(|attack| {
            attack.finish_epoch();
        });
        steps += pass.samples.div_ceil(options.batch).max(1);
        cut = run.stop()?;
        feed.rewind()?;
    }
    let mut records: Vec<Vec<AttackRecord>> = vec![Vec::new(); sets.len()];
    let done = run.over(
        feed,
        classes,
        |batch| Ok(attacks.iter().map(|a| a.evaluate(batch)).collect::<Vec<_>>()),
        |_, found| {
            let pairs = records.iter_mut().zip(&found);
            pairs.for_each(|(records, found)| records.extend(found.iter().map(AttackRecord::from)));
            Ok(())
        },
    )?;
    for (k, (attack, records)) in attacks.iter().zip(&records).enumerate() {
        let Some(folder) = folder else { break };
        let summary = AttackSummary::new(records);
        let metadata = [("samples", summary.samples.to_string()), ("robust", summary.robust.to_string())];
        let name = format!("{}universal", prefix(sets, k));
        folder.write(&name, network, &attack.perturbation(), &metadata)?;
    }
    Ok((records, Done { partial: done.partial || cut, ..done }))
}

/// One file for each sample that the attack broke at the radius of set `k`.
fn write_witnesses(
    folder: &WitnessFolder,
    at: (&[SetAt], usize),
    (network, attacker): (&Network, &Attacker<'_>),
    batch: Samples<'_>,
    found: &[SampleAttack],
) -> Result<Vec<Option<WitnessFile>>, RunError> {
    let inputs = batch.inputs.chunks_exact(network.input_width());
    let write = |(x, found): (&[f64], &SampleAttack)| {
        let attacked = found.verdict == Verdict::Falsified && found.reason == Some(Reason::Attacked);
        let Some(witness) = found.witness.as_ref().filter(|_| attacked) else { return Ok(None) };
        let (runner_up, worst_margin) = (Some(found.runner_up), found.worst_margin);
        let classes = found.deviation.is_none().then_some(x);
        let broken = Broken { clean: &found.clean, runner_up, worst_margin, classes };
        folder.write_sample(at, network, &broken, &attacker.witness(x, witness)).map(Some)
    };
    inputs.zip(found).map(write).collect()
}

fn result(radius: Option<f64>, samples: Vec<AttackRecord>) -> RunResult<AttackRecord> {
    RunResult { radius, summary: AttackSummary::new(&samples), samples }
}

/// Options of the search.
pub fn options<F: Feed>(session: &Session<F>, attack: &AttackConfig) -> AttackOptions {
    AttackOptions {
        steps: attack.steps,
        restarts: attack.restarts,
        seed: session.config.seed,
        tolerance: session.tolerance(),
        precision: session.precision,
        step_size: attack.step_size,
        ..AttackOptions::new(attack.kind, session.property)
    }
}

/// The attack's block of the report.
fn describe<F: Feed>(session: &Session<F>, attack: &AttackConfig) -> MethodReport {
    let (steps, restarts, draws) = match attack.kind {
        AttackKind::NeuronSpace | AttackKind::WeightSpace => {
            (Some(attack.steps), Some(attack.restarts), None)
        }
        AttackKind::OneGradient | AttackKind::Fgsm => (Some(1), None, None),
        AttackKind::Pgd | AttackKind::Universal => (Some(attack.steps), None, None),
        AttackKind::Random(_) => (None, None, Some(attack.restarts)),
    };
    let universal = Some(attack.kind == AttackKind::Universal);
    let seed = Some(session.config.seed);
    let distribution = draws.map(|_| description(attack.kind).into());
    MethodReport { steps, restarts, draws, distribution, universal, seed, ..session.method(attack.name) }
}
