//! `attack`: the worst margin that a search finds for every sample.

use super::Status;
use crate::args::AttackArgs;
use crate::error::Failure;
use crate::session::Arguments;
use crate::{config, output};
use weightproof_report::Record;
use weightproof_run::attack::{self, Kept};

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
    let kept = Kept { journal: args.journal.journal.as_deref(), witness: args.witness.as_deref() };
    let run = arguments.start(&mut session, attack::batch(&attack))?;
    let report = attack::run(&mut session, &sets, &attack, kept, run)?;
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    let holds = report.results.iter().all(|r| r.samples.iter().all(Record::holds));
    Ok(Status::of(holds).unless(report.partial))
}
