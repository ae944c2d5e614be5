//! `certify`: a verdict and a margin bound for every sample.

use super::Status;
use crate::args::CertifyArgs;
use crate::error::Failure;
use crate::run::remark;
use crate::session::Arguments;
use crate::{config, output};
use weightproof_report::{CertificateReport, Record, Report};
use weightproof_run::faults::{self, Beside};
use weightproof_run::noise::{self, NoiseConfig};
use weightproof_run::{certify, exact};

/// Runs the command.
pub fn run(args: &CertifyArgs) -> Result<Status, Failure> {
    let (exact, noise) = (config::exact(args)?, config::noise(&args.noise)?);
    let arguments = Arguments {
        model: &args.model,
        data: &args.data,
        threat: &args.threat,
        property: &args.property,
        engine: &args.engine,
        output: &args.output,
    };
    let mut session = arguments.open()?;
    let noise = noise.map(|asked| {
        let model = noise::beside(&mut session, asked.model);
        NoiseConfig { model, ..asked }
    });
    let faults = args.hits.faults.as_deref().map(faults::read).transpose()?;
    let faults = faults.map(|model| Beside::new(&mut session, model)).transpose()?;
    let sets = session.config.threat.sets(&session.network, session.input_range())?;
    if let Some(noise) = noise {
        let run = arguments.start(&mut session, certify::BATCH)?;
        let report = noise::run(&mut session, &sets, &exact, &noise, run)?;
        return write(args, &report);
    }
    if let Some(faults) = faults {
        let run = arguments.start(&mut session, certify::BATCH)?;
        return write(args, &certify::run(&mut session, &sets, &exact, Some(&faults), run)?);
    }
    if exact.method.is_exact() {
        let run = arguments.start(&mut session, exact::BATCH)?;
        let report = exact::run(&mut session, &sets, &exact, run)?;
        let status = write(args, &report)?;
        exact::check_oracle(&report)?;
        return Ok(status);
    }
    let run = arguments.start(&mut session, certify::BATCH)?;
    write(args, &certify::run(&mut session, &sets, &exact, None, run)?)
}

/// Writes the report, tells what is in the certificate, and says whether the property holds for all samples.
fn write<R: Record>(args: &CertifyArgs, report: &Report<R>) -> Result<Status, Failure> {
    if let Some(CertificateReport { path, records, without_proof, .. }) = &report.header.certificate {
        let missing = match without_proof {
            0 => String::new(),
            n => format!(
                "; of {n} verified ones no proof was found that can be written down, nothing is claimed of them there"
            ),
        };
        remark(&args.output, &format!("certificate: {records} samples in {path}{missing}"));
    }
    output::judged(&args.output, report)
}
