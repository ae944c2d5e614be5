//! `faults`: hits on the memory of the weights.

use super::Status;
use crate::args::{FaultModelArgs, FaultsArgs, ThreatArgs};
use crate::error::Failure;
use crate::output;
use crate::session::Arguments;
use weightproof::faults::{Fault, FaultModel, Protection};
use weightproof_report::Record;
use weightproof_run::faults::{self, BATCH, FaultConfig};
use weightproof_run::number::{self, Range};

/// Runs the command.
pub fn run(args: &FaultsArgs) -> Result<Status, Failure> {
    let radius = args.faults.input_radius.as_ref();
    let radius = radius.map(|text| number::one("input-radius", text, Range::NotNegative)).transpose()?;
    let config = FaultConfig {
        model: model(&args.faults)?,
        recommend: args.faults.recommend,
        input_radius: radius.unwrap_or(0.0),
        max_nodes: args.faults.max_nodes,
        journal: args.journal.journal.clone(),
        time_limit: args
            .faults
            .time_limit
            .as_ref()
            .map(|text| number::one("time-limit", text, Range::Positive))
            .transpose()?,
    };
    let arguments = Arguments {
        model: &args.model,
        data: &args.data,
        threat: &ThreatArgs::default(),
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    };
    output::check(args.critical.as_deref())?;
    let mut session = arguments.open()?;
    let run = arguments.start(&mut session, BATCH)?;
    let found = faults::run(&mut session, &config, run)?;
    if let Some(file) = &args.critical {
        output::write(Some(file), |out| found.write_hits(out))?;
    }
    let report = &found.report;
    output::write(args.output.output.as_deref(), |out| report.write(args.output.format(), out))?;
    let holds = report.results.iter().all(|r| r.samples.iter().all(Record::holds));
    Ok(Status::of(holds).unless(report.partial))
}

/// The fault model of a file, changed by what the command line says.
fn model(args: &FaultModelArgs) -> Result<FaultModel, Failure> {
    let file = args.faults.as_deref().map(faults::read).transpose()?.unwrap_or_default();
    let protect = args.protect.iter().map(|text| text.parse::<Protection>());
    let protect = protect.collect::<Result<Vec<_>, _>>()?;
    let fault = args.fault.as_ref().and_then(|name| Fault::NAMES.iter().find(|(n, _)| n == name));
    let names = |text: &String| text.split(',').map(|name| name.trim().to_owned()).collect();
    let model = FaultModel {
        storage: args.storage.as_ref().map(|text| text.parse()).transpose()?.unwrap_or(file.storage),
        words: args.words.unwrap_or(file.words),
        bits: args.bits.unwrap_or(file.bits),
        fault: fault.map_or(file.fault, |(_, fault)| *fault),
        at: (!args.at.is_empty()).then(|| args.at.clone()).or(file.at),
        layers: args.layers.as_ref().map(names).or(file.layers),
        biases: file.biases && !args.no_biases,
        protect: if protect.is_empty() { file.protect } else { protect },
    };
    model.check()?;
    Ok(model)
}
