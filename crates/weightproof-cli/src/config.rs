//! Settings of a run from arguments.

pub use weightproof_run::config::*;

use crate::args::{
    BatchNormArg, CertifyArgs, DataArgs, EngineArgs, GuaranteeArg, HeaderArg, IntermediateArg, LayoutArg,
    LimitArgs, MethodArgs, ModelArgs, NoiseArgs, NoiseRadiusArgs, OracleArg, PrecisionArg, PropertyArg,
    PropertyArgs, RoundingArg, SearchArgs, SplitArg, TimesArgs,
};
use crate::error::Failure;
use weightproof::network::StepRounding;
use weightproof::property::Property;
use weightproof::verdict::{Guarantee, Precision};
use weightproof_formats::data::Scale;
use weightproof_report::BudgetReport;
use weightproof_run::RunError;
use weightproof_run::exact::ExactConfig;
use weightproof_run::noise::{self, NoiseConfig};
use weightproof_run::number::{self, Range};
use weightproof_run::oracle::OracleKind;

/// The network that the arguments name.
pub fn model(args: &ModelArgs) -> ModelConfig {
    ModelConfig {
        path: args.model.clone(),
        architecture: args.architecture.clone(),
        separate_batch_norm: args.batch_norm == BatchNormArg::Separate,
        outputs: args.output_name.clone(),
        inputs: args.input.iter().map(|(name, file)| (name.clone(), file.into())).collect(),
        dims: args.dim.clone(),
        step_rounding: match args.rounding {
            RoundingArg::NearestEven => StepRounding::NearestEven,
            RoundingArg::Any => StepRounding::Any,
        },
    }
}

/// The data that the arguments name.
pub fn data(args: &DataArgs) -> Result<DataConfig, Failure> {
    Ok(DataConfig {
        path: args.data.clone(),
        embedded: args.embedded.is_some(),
        labels: args.labels.clone(),
        csv_labels: !args.unlabelled_csv,
        csv_header: header_name(args.header),
        csv_delimiter: args.delimiter.as_deref().map(delimiter).transpose()?,
        csv_label_column: args.label_column.clone(),
        split: split_name(args.split),
        offset: args.offset,
        samples: args.samples,
        layout: args.layout.map(layout_name),
        scale: scale(&args.scale)?,
        mean: data_numbers("mean", &args.mean, Range::Finite)?,
        std: data_numbers("std", &args.std, Range::Positive)?,
        batch: args.batch,
    })
}

/// The part that `--split` names.
pub fn split_name(split: SplitArg) -> &'static str {
    match split {
        SplitArg::Test => "test",
        SplitArg::Train => "train",
    }
}

/// What `--header` says.
pub fn header_name(header: HeaderArg) -> &'static str {
    match header {
        HeaderArg::Auto => "auto",
        HeaderArg::Yes => "yes",
        HeaderArg::No => "no",
    }
}

/// The factor of `--scale`, if it was given.
pub fn scale(text: &Option<String>) -> Result<Option<Scale>, Failure> {
    Ok(text.as_ref().map(|text| number::scale("scale", text)).transpose()?)
}

/// The order that `--layout` names.
pub fn layout_name(layout: LayoutArg) -> &'static str {
    match layout {
        LayoutArg::Nchw => "nchw",
        LayoutArg::Nhwc => "nhwc",
    }
}

/// Numbers of `--mean` or `--std`, if they were given.
pub fn data_numbers(name: &str, text: &Option<String>, range: Range) -> Result<Option<Vec<f64>>, Failure> {
    Ok(text.as_ref().map(|text| number::list(name, text, range)).transpose()?)
}

/// Joins `--method` and `--intermediate`.
pub fn method(args: &MethodArgs) -> Result<MethodConfig, Failure> {
    let intermediate = args.intermediate.map(|intermediate| match intermediate {
        IntermediateArg::Linear => "linear",
        IntermediateArg::Interval => "interval",
    });
    let guarantee = match args.guarantee {
        GuaranteeArg::Rigorous => Guarantee::Rigorous,
        GuaranteeArg::RealArithmetic => Guarantee::RealArithmetic,
    };
    Ok(MethodConfig { guarantee, ..MethodConfig::new(&args.method, intermediate)? })
}

/// An error when a search has settings, or one of these others was given, beside hits on words.
pub fn none_with_faults(
    (attack, search): (&str, &SearchArgs),
    given: &[(&'static str, bool)],
) -> Result<(), Failure> {
    let defaults = [
        ("attack", attack != "neuron-space"),
        ("steps", search.steps != 100),
        ("restarts", search.restarts != 4),
    ];
    match defaults.iter().chain(given).find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((name, _)) => Err(RunError::setting(name, "none with faults", "one").into()),
    }
}

/// Limits of complete verification; an error when another method has any of them.
pub fn limits(args: &LimitArgs, method: &MethodConfig) -> Result<BudgetReport, Failure> {
    // A limit of another method is an error, whatever its value.
    method.only_exact(&[
        ("time-limit", args.time_limit.is_some()),
        ("time-limit-total", args.time_limit_total.is_some()),
        ("max-nodes", args.max_nodes.is_some()),
        ("max-memory", args.max_memory.is_some()),
    ])?;
    let seconds = |name, text: &Option<String>| text.as_ref().map(|t| number::seconds(name, t)).transpose();
    Ok(BudgetReport {
        time_limit: seconds("time-limit", &args.time_limit)?,
        time_limit_total: seconds("time-limit-total", &args.time_limit_total)?,
        max_nodes: args.max_nodes,
        max_memory: args.max_memory.as_ref().map(|t| number::bytes("max-memory", t)).transpose()?,
        gap: None,
    })
}

/// What complete verification is asked for; an error when another method has any of its arguments.
pub fn exact(args: &CertifyArgs) -> Result<ExactConfig, Failure> {
    let (args, method, journal, certificate) =
        (&args.exact, method(&args.method)?, &args.journal, &args.certificate);
    let limits = limits(&args.limits, &method)?;
    method.only_exact(&[("gap", args.gap.is_some())])?;
    let gap = args.gap.as_ref().map(|t| number::one("gap", t, Range::Positive)).transpose()?;
    let config = ExactConfig {
        method,
        budget: BudgetReport { gap, ..limits },
        journal: journal.journal.clone(),
        witness: args.witness.clone(),
        certificate: certificate.certificate.clone(),
        oracle: args.oracle.map(|OracleArg::Milp| OracleKind::Milp),
    };
    config.check()?;
    Ok(config)
}

/// What is random, if anything.
pub fn noise(args: &NoiseArgs) -> Result<Option<NoiseConfig>, Failure> {
    let Some(text) = &args.noise else { return Ok(None) };
    let failure_probability = failure_probability(args.failure_probability.as_ref())?;
    Ok(Some(NoiseConfig { model: noise::read(text)?, failure_probability, times: times(&args.times)? }))
}

/// Times in seconds; none where none were given.
pub fn times(args: &TimesArgs) -> Result<Vec<f64>, Failure> {
    Ok(args.time.as_ref().map(|text| number::durations("time", text)).transpose()?.unwrap_or_default())
}

/// The noise whose size is searched, if any.
pub fn noise_radius(args: &NoiseRadiusArgs) -> Result<Option<NoiseConfig>, Failure> {
    let Some(text) = &args.noise else { return Ok(None) };
    let failure_probability = failure_probability(args.failure_probability.as_ref())?;
    Ok(Some(NoiseConfig { model: noise::read_unit(text)?, failure_probability, times: Vec::new() }))
}

fn failure_probability(asked: Option<&String>) -> Result<f64, Failure> {
    let asked = asked.map(|text| number::one("failure-probability", text, Range::Positive)).transpose()?;
    Ok(asked.unwrap_or(noise::FAILURE_PROBABILITY))
}

/// The search `name`, with the settings of the arguments.
pub fn attack(name: &str, args: &SearchArgs, step_size: Option<&String>) -> Result<AttackConfig, Failure> {
    let step_size = step_size.map(|text| number::one("step-size", text, Range::Positive)).transpose()?;
    Ok(AttackConfig::new(name, args.steps, args.restarts, step_size)?)
}

/// The property and its tolerance.
pub fn property(args: &PropertyArgs) -> Result<(Option<Property>, Option<f64>), Failure> {
    let property = args.property.and_then(|p| match p {
        PropertyArg::Label => Some(Property::Label),
        PropertyArg::Prediction => Some(Property::Prediction),
        PropertyArg::Deviation => Some(Property::Deviation),
        PropertyArg::Positive | PropertyArg::Within => None,
    });
    let tolerance = args.tolerance.as_ref().map(|t| number::one("tolerance", t, Range::NotNegative));
    let tolerance = tolerance.transpose()?;
    check_property(property, tolerance)?;
    Ok((property, tolerance))
}

/// What stands for classes, if the outputs do not.
pub fn outputs(args: &PropertyArgs) -> Result<Option<Outputs>, Failure> {
    let name = args.property.and_then(|p| match p {
        PropertyArg::Positive => Some("positive"),
        PropertyArg::Within => Some("within"),
        PropertyArg::Label | PropertyArg::Prediction | PropertyArg::Deviation => None,
    });
    let number = |name, text: &Option<String>| {
        text.as_ref().map(|text| number::one(name, text, Range::Finite)).transpose()
    };
    let threshold = number("threshold", &args.threshold)?;
    let (lower, upper) = (number("lower", &args.lower)?, number("upper", &args.upper)?);
    Ok(Outputs::new(name, threshold, lower, upper)?)
}

/// The floating-point type, if it was said.
pub fn precision(args: &EngineArgs) -> Option<Precision> {
    args.precision.map(|precision| match precision {
        PrecisionArg::F32 => Precision::F32,
        PrecisionArg::F64 => Precision::F64,
    })
}
