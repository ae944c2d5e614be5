//! `attack`: the worst margin that a search finds for every sample.

use super::Status;
use crate::args::AttackArgs;
use crate::error::Failure;
use crate::session::Arguments;
use crate::threat::SetAt;
use crate::witness::{Broken, WitnessFolder, prefix};
use crate::{config, output};
use weightproof::attack::{Attacker, SampleAttack};
use weightproof::network::Network;
use weightproof::threat::Perturbation;
use weightproof::verdict::{Reason, Samples, Verdict};
use weightproof_report::{AttackSummary, Record};
use weightproof_run::RunError;
use weightproof_run::attack::{self, Keep};

/// Runs the command.
pub fn run(args: &AttackArgs) -> Result<Status, Failure> {
    let attack = config::attack(&args.search, args.step_size.as_ref())?;
    let arguments = Arguments {
        model: &args.model,
        data: &args.data,
        threat: &args.threat,
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    };
    let mut session = arguments.open()?;
    let sets = session.config.threat.sets(&session.network, session.input_range())?;
    let folder = args.witness.as_deref().map(WitnessFolder::create).transpose()?;
    let run = arguments.start(&session, attack::batch(&attack))?;
    let mut witnesses = Witnesses { folder: folder.as_ref(), sets: &sets };
    let report = attack::run(&mut session, &sets, &attack, run, &mut witnesses)?;
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    let holds = report.results.iter().all(|r| r.samples.iter().all(Record::holds));
    Ok(Status::of(holds && !report.partial))
}

/// What is written of the perturbations that are found.
struct Witnesses<'a> {
    folder: Option<&'a WitnessFolder>,
    sets: &'a [SetAt],
}

impl Keep for Witnesses<'_> {
    fn samples(
        &mut self,
        k: usize,
        network: &Network,
        attacker: &Attacker<'_>,
        batch: Samples<'_>,
        found: &[SampleAttack],
    ) -> Result<Vec<Option<String>>, RunError> {
        let Some(folder) = self.folder else { return Ok(vec![None; found.len()]) };
        write_witnesses(folder, (self.sets, k), (network, attacker), batch, found)
    }

    fn universal(
        &mut self,
        k: usize,
        network: &Network,
        perturbation: &Perturbation,
        summary: &AttackSummary,
    ) -> Result<(), RunError> {
        let Some(folder) = self.folder else { return Ok(()) };
        let metadata = [("samples", summary.samples.to_string()), ("robust", summary.robust.to_string())];
        let name = format!("{}universal", prefix(self.sets, k));
        folder.write(&name, network, perturbation, &metadata).map(drop)
    }
}

/// One file for each sample that the attack broke at the radius of set `k`; the names of the files.
fn write_witnesses(
    folder: &WitnessFolder,
    at: (&[SetAt], usize),
    (network, attacker): (&Network, &Attacker<'_>),
    batch: Samples<'_>,
    found: &[SampleAttack],
) -> Result<Vec<Option<String>>, RunError> {
    let inputs = batch.inputs.chunks_exact(network.input_width());
    let write = |(x, found): (&[f64], &SampleAttack)| {
        let attacked = found.verdict == Verdict::Falsified && found.reason == Some(Reason::Attacked);
        let Some(witness) = found.witness.as_ref().filter(|_| attacked) else { return Ok(None) };
        let (runner_up, worst_margin) = (Some(found.runner_up), found.worst_margin);
        let broken = Broken { clean: &found.clean, runner_up, worst_margin };
        folder.write_sample(at, network, &broken, &attacker.witness(x, witness)).map(Some)
    };
    inputs.zip(found).map(write).collect()
}
