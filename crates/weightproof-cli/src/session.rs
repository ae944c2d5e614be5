//! What `certify`, `attack` and `radius` share: the network, the data and the question, checked against each other.

use crate::args::{DataArgs, EngineArgs, ModelArgs, OutputArgs, PropertyArgs, ThreatArgs};
use crate::config::{self, Config, DataConfig, ModelConfig};
use crate::error::Failure;
use crate::run::{BatchSize, Done, Run, remark};
use crate::source::{self, Source};
use crate::threat::ThreatConfig;
use crate::{interrupt, output};
use serde::Serialize;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::PerturbationSet;
use weightproof_report::{Header, MethodReport, ModelReport, ThreatReport};

/// The arguments of a command that runs over samples.
pub struct Arguments<'a> {
    pub model: &'a ModelArgs,
    pub data: &'a DataArgs,
    pub threat: &'a ThreatArgs,
    pub property: &'a PropertyArgs,
    pub engine: &'a EngineArgs,
    pub output: &'a OutputArgs,
}

/// A network, its data and the property, ready to run.
pub struct Session {
    /// The network, with the normalization in front.
    pub network: Network,
    /// The samples.
    pub source: Source,
    /// What must hold.
    pub property: Property,
    /// Settings as given.
    pub config: Config,
    model: ModelReport,
}

impl Session {
    /// Reads and checks everything.
    pub fn open(arguments: &Arguments<'_>) -> Result<Self, Failure> {
        let (property, tolerance) = config::property(arguments.property)?;
        let config = Config {
            model: ModelConfig::new(arguments.model),
            data: DataConfig::new(arguments.data)?,
            threat: ThreatConfig::new(arguments.threat)?,
            property,
            tolerance,
            precision: config::precision(arguments.engine),
            seed: arguments.engine.seed,
        };
        output::check_format(arguments.output)?;
        output::check(arguments.output.output.as_deref())?;
        let (network, model) = source::load_model(&config.model)?;
        let source = Source::open(&config.data, &network, config.model.path.is_none())?;
        let network = source.normalized(network, &config.data)?;
        let property = decide(property, &source, &network, arguments.output)?;
        interrupt::watch()?;
        Ok(Session { network, source, property, config, model })
    }

    /// The samples from the first again, for another pass.
    pub fn rewind(&mut self) -> Result<(), Failure> {
        let config = &self.config;
        self.source = Source::open(&config.data, &self.network, config.model.path.is_none())?;
        Ok(())
    }

    /// Inputs stay within this range when they move.
    pub fn input_range(&self) -> Option<(f64, f64)> {
        self.source.info().pixels.then_some((0.0, 1.0))
    }

    /// Number of classes that labels are checked against; `None` when labels play no role.
    pub fn classes(&self) -> Option<usize> {
        match self.property {
            Property::Label | Property::Prediction => Some(self.network.output_width()),
            Property::Deviation => None,
        }
    }

    /// Largest allowed deviation; 0 for margins.
    pub fn tolerance(&self) -> f64 {
        self.config.tolerance.unwrap_or(0.0)
    }

    /// The threads, and progress over the samples that are asked for; `batch` is the size of a batch when the user does
    /// not say.
    pub fn start(&self, arguments: &Arguments<'_>, batch: BatchSize) -> Result<Run, Failure> {
        let data = &self.config.data;
        let left = self.source.info().count.map(|count| count.saturating_sub(data.offset));
        let total = match (left, data.samples) {
            (Some(left), Some(samples)) => Some(left.min(samples)),
            (left, samples) => left.or(samples),
        };
        let batch = data.batch.map_or(batch, BatchSize::Fixed);
        Run::new(arguments.engine, arguments.output, total, batch)
    }

    /// SHA-256 of the file of the network.
    pub fn model_sha256(&self) -> &str {
        &self.model.sha256
    }

    /// A method's block of the report, with what every method has.
    pub fn method(&self, name: &str) -> MethodReport {
        MethodReport {
            name: name.into(),
            precision: self.config.precision.name(),
            property: self.property.name(),
            tolerance: self.config.tolerance,
            ..MethodReport::default()
        }
    }

    /// The blocks above the results; `set` is one of the perturbation sets, `radii` those of all.
    pub fn header(
        &self,
        done: &Done,
        radii: &[f64],
        set: &PerturbationSet,
        (method, guarantee): (MethodReport, &'static str),
        config: &impl Serialize,
    ) -> Result<Header, Failure> {
        let data = self.source.report(done.samples, self.config.data.offset)?;
        let config = serde_json::to_value(config);
        Ok(Header {
            model: self.model.clone(),
            data,
            threat: ThreatReport::new(&self.config.threat.model, radii, &self.network, set),
            method,
            guarantee,
            config: config.map_err(|error| Failure::new(format!("settings: {error}")))?,
        })
    }
}

/// The property, by default the label where there are labels.
fn decide(
    property: Option<Property>,
    source: &Source,
    network: &Network,
    output: &OutputArgs,
) -> Result<Property, Failure> {
    let labelled = source.info().labelled;
    let property = match property {
        Some(Property::Label) if !labelled => {
            let message = format!("{}: expected labels, found none", source.info().description);
            return Err(
                Failure::new(message).hint("--labels FILE, or --property prediction, which needs none")
            );
        }
        Some(property) => property,
        None if labelled => Property::Label,
        None => {
            remark(output, "the data have no labels: using --property prediction");
            Property::Prediction
        }
    };
    let outputs = network.output_width();
    if property.rows(outputs.max(1)) == 0 {
        let message =
            format!("property {}: expected a network with 2 outputs, found {outputs}", property.name());
        return Err(Failure::new(message).hint("--property deviation --tolerance 0.1"));
    }
    Ok(property)
}
