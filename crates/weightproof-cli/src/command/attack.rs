//! `attack`: the worst margin that a search finds for every sample.

use super::Status;
use crate::args::AttackArgs;
use crate::error::Failure;
use crate::session::{Arguments, Session};
use crate::{config, output};
use weightproof_run::attack::{self, Kept};
use weightproof_run::faults::{self, Beside};
use weightproof_run::hits;
use weightproof_run::noise::{self, DRAWS, DRAWS_BATCH, DrawsConfig};

/// Runs the command.
pub fn run(args: &AttackArgs) -> Result<Status, Failure> {
    let attack = config::attack(&args.attack, &args.search, args.step_size.as_ref())?;
    let arguments = Arguments {
        model: &args.model,
        data: &args.data,
        threat: &args.threat,
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    };
    let mut session = arguments.open()?;
    if let Some(text) = &args.draws.noise {
        return draw(args, text, &arguments, session);
    }
    if let Some(path) = &args.hits.faults {
        config::none_with_faults(
            (&args.attack, &args.search),
            &[("witness", args.witness.is_some()), ("step-size", args.step_size.is_some())],
        )?;
        let faults = Beside::new(&mut session, faults::read(path)?)?;
        let run = arguments.start(&mut session, hits::BATCH)?;
        let report = hits::attack(&mut session, &faults, args.journal.journal.as_deref(), run)?;
        return output::judged(&args.output, &report);
    }
    let sets = session.config.threat.sets(&session.network, session.input_range())?;
    let kept = Kept { journal: args.journal.journal.as_deref(), witness: args.witness.as_deref() };
    let run = arguments.start(&mut session, attack::batch(&attack))?;
    let report = attack::run(&mut session, &sets, &attack, kept, run)?;
    output::judged(&args.output, &report)
}

/// Draws devices instead of searching.
fn draw(
    args: &AttackArgs,
    text: &str,
    arguments: &Arguments<'_>,
    mut session: Session,
) -> Result<Status, Failure> {
    noise::refuse(&[("witness", args.witness.is_some()), ("journal", args.journal.journal.is_some())])?;
    let model = noise::beside(&mut session, noise::read(text)?);
    let sets = session.config.threat.sets(&session.network, session.input_range())?;
    let run = arguments.start(&mut session, DRAWS_BATCH)?;
    let times = config::times(&args.draws.times)?;
    let config = DrawsConfig { model, draws: args.draws.draws.unwrap_or(DRAWS), times };
    output::judged(&args.output, &noise::draw(&mut session, &sets, &config, run)?)
}
