//! `attack`: the worst margin that a search finds for every sample.

use super::exit_code;
use crate::args::AttackArgs;
use crate::config::{AttackConfig, Config};
use crate::error::Failure;
use crate::output;
use crate::run::{self, BatchSize, Done, Run};
use crate::session::{Arguments, Session};
use crate::threat::SetAt;
use crate::witness::{Broken, WitnessFolder, prefix};
use serde::Serialize;
use std::process::ExitCode;
use weightproof::attack::{AttackKind, AttackOptions, Attacker, SampleAttack, UniversalAttack};
use weightproof::network::Network;
use weightproof::verdict::{Reason, Verdict};
use weightproof_formats::data::Batch;
use weightproof_report::{AttackRecord, AttackSummary, MethodReport, Record, Report, RunResult};

/// Settings, as the report echoes them.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    shared: &'a Config,
    attack: &'a AttackConfig,
}

/// Runs the command.
pub fn run(args: &AttackArgs) -> Result<ExitCode, Failure> {
    let attack = AttackConfig::new(&args.search, args.step_size.as_ref())?;
    let arguments = Arguments {
        model: &args.model,
        data: &args.data,
        threat: &args.threat,
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    };
    let mut session = Session::open(&arguments)?;
    let sets = session.config.threat.sets(&session.network, session.input_range())?;
    let folder = args.witness.as_deref().map(WitnessFolder::create).transpose()?;
    let options = options(&session, &attack);
    let (records, done, environment) = match attack.kind {
        AttackKind::Universal => universal(&mut session, &arguments, &sets, &options, folder.as_ref())?,
        AttackKind::NeuronSpace | AttackKind::WeightSpace | AttackKind::Random(_) => {
            by_sample(&mut session, &arguments, &sets, &options, folder.as_ref())?
        }
    };
    let known: Vec<f64> = sets.iter().filter_map(|at| at.radius).collect();
    let settings = Settings { shared: &session.config, attack: &attack };
    let described = (describe(&session, &attack), "estimate");
    let report = Report {
        header: session.header(&done, &known, super::moving(&sets), described, &settings)?,
        partial: done.partial,
        results: sets.iter().zip(records).map(|(at, samples)| result(at.radius, samples)).collect(),
        environment: environment.environment(),
    };
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    let holds = report.results.iter().all(|r| r.samples.iter().all(Record::holds));
    Ok(exit_code(holds && !report.partial))
}

/// Records for each set, and the run that gave them.
type Found = (Vec<Vec<AttackRecord>>, Done, Run);

/// Attacks every sample as it is read.
fn by_sample(
    session: &mut Session,
    arguments: &Arguments<'_>,
    sets: &[SetAt],
    options: &AttackOptions,
    folder: Option<&WitnessFolder>,
) -> Result<Found, Failure> {
    let mut run = session.start(arguments, BatchSize::Adaptive(AttackOptions::BLOCK))?;
    let classes = session.classes();
    let Session { network, source, .. } = session;
    let attackers: Vec<Attacker<'_>> =
        sets.iter().map(|at| Attacker::new(network, &at.set, options.clone())).collect();
    let mut records: Vec<Vec<AttackRecord>> = vec![Vec::new(); sets.len()];
    let done = run.over(
        source,
        classes,
        |batch| Ok(attackers.iter().map(|a| a.attack(run::samples(batch))).collect::<Vec<_>>()),
        |batch, found| {
            for (k, found) in found.iter().enumerate() {
                records[k].extend(found.iter().map(AttackRecord::from));
                let Some(folder) = folder else { continue };
                write_witnesses(folder, (sets, k), (network, &attackers[k]), batch, found)?;
            }
            Ok(())
        },
    )?;
    Ok((records, done, run))
}

/// Trains one perturbation for each set over as many passes as the steps need, then looks what it does to every sample.
fn universal(
    session: &mut Session,
    arguments: &Arguments<'_>,
    sets: &[SetAt],
    options: &AttackOptions,
    folder: Option<&WitnessFolder>,
) -> Result<Found, Failure> {
    // Whole mini-batches, so that steps do not depend on how the data are read.
    let mut run = session.start(arguments, BatchSize::Fixed(8 * options.batch))?;
    let classes = session.classes();
    let network = session.network.clone();
    let new = |at: &SetAt| UniversalAttack::new(&network, &at.set, options.clone());
    let mut attacks: Vec<UniversalAttack<'_>> = sets.iter().map(new).collect();
    let (mut steps, mut cut) = (0, false);
    while steps < options.steps && !cut {
        let pass = run.over(
            &mut session.source,
            classes,
            |batch| {
                attacks.iter_mut().for_each(|attack| {
                    attack.observe(run::samples(batch));
                });
                Ok(())
            },
            |_, ()| Ok(()),
        )?;
        attacks.iter_mut().for_each(|attack| {
            attack.finish_epoch();
        });
        steps += pass.samples.div_ceil(options.batch).max(1);
        cut = crate::interrupt::requested();
        session.rewind()?;
    }
    let mut records: Vec<Vec<AttackRecord>> = vec![Vec::new(); sets.len()];
    let done = run.over(
        &mut session.source,
        classes,
        |batch| Ok(attacks.iter().map(|a| a.evaluate(run::samples(batch))).collect::<Vec<_>>()),
        |_, found| {
            let pairs = records.iter_mut().zip(&found);
            pairs.for_each(|(records, found)| records.extend(found.iter().map(AttackRecord::from)));
            Ok(())
        },
    )?;
    for (k, (attack, records)) in attacks.iter().zip(&records).enumerate() {
        let Some(folder) = folder else { continue };
        let summary = AttackSummary::new(records);
        let metadata = [("samples", summary.samples.to_string()), ("robust", summary.robust.to_string())];
        let name = format!("{}universal", prefix(sets, k));
        folder.write(&name, &network, &attack.perturbation(), &metadata)?;
    }
    Ok((records, Done { partial: done.partial || cut, ..done }, run))
}

fn result(radius: Option<f64>, samples: Vec<AttackRecord>) -> RunResult<AttackRecord> {
    RunResult { radius, summary: AttackSummary::new(&samples), samples }
}

/// Options of the search.
pub(super) fn options(session: &Session, attack: &AttackConfig) -> AttackOptions {
    AttackOptions {
        steps: attack.steps,
        restarts: attack.restarts,
        seed: session.config.seed,
        tolerance: session.tolerance(),
        precision: session.config.precision,
        step_size: attack.step_size,
        ..AttackOptions::new(attack.kind, session.property)
    }
}

/// The attack's block of the report.
fn describe(session: &Session, attack: &AttackConfig) -> MethodReport {
    let (steps, restarts, draws) = match attack.kind {
        AttackKind::NeuronSpace | AttackKind::WeightSpace => {
            (Some(attack.steps), Some(attack.restarts), None)
        }
        AttackKind::Universal => (Some(attack.steps), None, None),
        AttackKind::Random(_) => (None, None, Some(attack.restarts)),
    };
    let universal = Some(attack.kind == AttackKind::Universal);
    let seed = Some(session.config.seed);
    MethodReport { steps, restarts, draws, universal, seed, ..session.method(attack.name) }
}

/// One file for each sample that the attack broke at the radius of set `k`.
fn write_witnesses(
    folder: &WitnessFolder,
    at: (&[SetAt], usize),
    (network, attacker): (&Network, &Attacker<'_>),
    batch: &Batch,
    found: &[SampleAttack],
) -> Result<(), Failure> {
    let inputs = batch.inputs.chunks_exact(network.input_width());
    for (x, found) in inputs.zip(found) {
        let attacked = found.verdict == Verdict::Falsified && found.reason == Some(Reason::Attacked);
        let Some(witness) = found.witness.as_ref().filter(|_| attacked) else { continue };
        let (runner_up, worst_margin) = (Some(found.runner_up), found.worst_margin);
        let broken = Broken { clean: &found.clean, runner_up, worst_margin };
        folder.write_sample(at, network, &broken, &attacker.witness(x, witness))?;
    }
    Ok(())
}
