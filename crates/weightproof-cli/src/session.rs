//! The session that arguments ask for.

pub use weightproof_run::session::Session;

use crate::args::{DataArgs, EngineArgs, ModelArgs, OutputArgs, PropertyArgs, ThreatArgs};
use crate::config::{self, Config};
use crate::error::Failure;
use crate::run::{self, BatchSize, Run, Terminal, remark};
use crate::{interrupt, output, threat};

/// The arguments of a command that runs over samples.
pub struct Arguments<'a> {
    pub model: &'a ModelArgs,
    pub data: &'a DataArgs,
    pub threat: &'a ThreatArgs,
    pub property: &'a PropertyArgs,
    pub engine: &'a EngineArgs,
    pub output: &'a OutputArgs,
}

impl Arguments<'_> {
    /// Reads and checks everything.
    pub fn open(&self) -> Result<Session, Failure> {
        let (property, tolerance) = config::property(self.property)?;
        let config = Config {
            model: config::model(self.model),
            data: config::data(self.data)?,
            threat: threat::config(self.threat)?,
            property,
            outputs: config::outputs(self.property)?,
            tolerance,
            logits: self.property.logits,
            precision: config::precision(self.engine),
            seed: self.engine.seed,
        };
        output::check_format(self.output)?;
        output::check(self.output.output.as_deref())?;
        let mut session = Session::open(config)?;
        session.interrupted = Some(interrupt::requested);
        if property.is_none() && !session.feed.info().labelled && session.label().is_none() {
            remark(self.output, "the data have no labels: using --property prediction");
        }
        interrupt::watch()?;
        Ok(session)
    }

    /// The threads, and progress over the samples that are asked for, or over a part of them; `batch` is the size of a batch when the
    /// user does not say.
    pub fn start(&self, session: &mut Session, batch: BatchSize) -> Result<Run<Terminal>, Failure> {
        if let Some(shard) = &self.data.shard {
            session.take(shard.parse()?, batch)?;
        }
        run::start(session, self.engine, self.output, batch)
    }
}
