//! What `certify`, `attack` and `radius` share: the network, the data and the question, checked against each other.

use crate::RunError;
use crate::config::{self, Config, Outputs};
use crate::feed::Feed;
use crate::remarks;
use crate::run::{BatchSize, Done};
use crate::shard::Shard;
use crate::source::{self, Source};
use serde::Serialize;
use std::borrow::Cow;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::stop::Stop;
use weightproof::threat::PerturbationSet;
use weightproof::verdict::{Guarantee, Precision};
use weightproof_report::{DataReport, Header, MethodReport, ModelReport, ShardReport, ThreatReport};

/// A network, its data and the property, ready to run.
pub struct Session<F = Source> {
    /// The network, with the normalization in front.
    pub network: Network,
    /// The samples.
    pub feed: F,
    /// What must hold.
    pub property: Property,
    /// Floating-point type of the engine.
    pub precision: Precision,
    /// Settings as given.
    pub config: Config,
    /// Asked again and again in complete verification: whether to stop, with what is known then.
    pub interrupted: Option<fn() -> bool>,
    /// Ends work within a batch, for front ends that want nothing of it then.
    pub stop: Stop,
    model: ModelReport,
    shard: Option<ShardReport>,
}

impl Session<Source> {
    /// Reads and checks everything that `config` names.
    ///
    /// # Errors
    /// Files that cannot be read, and what does not fit together.
    pub fn open(config: Config) -> Result<Self, RunError> {
        let (network, model) = source::load_model(&config.model)?;
        let source = Source::open(&config.data, &network, config.model.path.is_none())?;
        let network = source.fit.normalized(network, &config.data)?;
        Session::new(network, model, source, config)
    }
}

impl<F: Feed> Session<F> {
    /// A session on a network, described by `model`, and samples that fit it.
    ///
    /// # Errors
    /// When the property does not fit the data or the network.
    pub fn new(network: Network, model: ModelReport, feed: F, config: Config) -> Result<Self, RunError> {
        let (mut network, mut model, mut config) = (network, model, config);
        // Labels of 0 and 1 are about the sign of a single output.
        let is_one = network.output_width() == 1 && config.property != Some(Property::Deviation);
        if is_one && config.outputs.is_none() && config.property.is_none() {
            config.outputs = Some(Outputs::Positive { threshold: None });
        }
        if let Some(outputs) = config.outputs {
            let (classes, note) = outputs.applied(&network)?;
            network = classes;
            model.notes.push(note);
            model.output_shape = None;
        }
        let property = decide(&config, &feed, &network, &model)?;
        let precision = config::precision(config.precision, &network)?;
        Ok(Session {
            network,
            feed,
            property,
            precision,
            config,
            interrupted: None,
            stop: Stop::default(),
            model,
            shard: None,
        })
    }

    /// Inputs stay within this range when they move.
    pub fn input_range(&self) -> Option<(f64, f64)> {
        self.feed.info().range
    }

    /// The label of all samples, where the question gives it.
    pub fn label(&self) -> Option<u32> {
        matches!(self.config.outputs, Some(Outputs::Within { .. })).then_some(0)
    }

    /// Number of classes that labels are checked against; `None` when labels play no role.
    pub fn classes(&self) -> Option<usize> {
        match self.property {
            Property::Label | Property::Prediction => Some(self.network.output_width()),
            Property::Deviation => None,
        }
    }

    /// Largest allowed deviation; 0 for margins, and where bounds of the largest change are asked for.
    pub fn tolerance(&self) -> f64 {
        self.config.tolerance.unwrap_or(0.0)
    }

    /// Whether the question is how far outputs move at most, and not whether they stay within a tolerance.
    pub fn asks_largest_change(&self) -> bool {
        self.property == Property::Deviation && self.config.tolerance.is_none()
    }

    /// An error when `what` needs a tolerance and there is none.
    ///
    /// # Errors
    /// The property deviation without a tolerance.
    pub fn require_tolerance(&self, what: &str) -> Result<(), RunError> {
        if self.asks_largest_change() {
            let expected = format!("a number for the property deviation with {what}");
            return Err(RunError::setting("tolerance", expected, "none"));
        }
        Ok(())
    }

    /// Number of samples that are asked for, where it is known.
    pub fn total(&self) -> Option<usize> {
        if let Some(shard) = &self.shard {
            return Some(shard.samples);
        }
        let data = &self.config.data;
        let left = self.feed.info().count.map(|count| count.saturating_sub(data.offset));
        match (left, data.samples) {
            (Some(left), Some(samples)) => Some(left.min(samples)),
            (left, samples) => left.or(samples),
        }
    }

    /// Leaves out all samples but those of this part, in whole blocks of `batch`, as it is when the user does not say.
    ///
    /// # Errors
    /// More parts than blocks; data that can no longer be read.
    pub fn take(&mut self, shard: Shard, batch: BatchSize) -> Result<(), RunError> {
        let total = self.feed.samples()?;
        let part = shard.part(total, self.batch(batch).block())?;
        self.feed.select(part.clone())?;
        self.shard = Some(ShardReport {
            number: shard.number(),
            of: shard.of(),
            first: self.config.data.offset + part.start,
            samples: part.len(),
            total,
            classes: self.has_classes().then(|| self.network.output_width()),
        });
        Ok(())
    }

    /// The part of the samples that this is about, where it is not all of them.
    pub fn shard(&self) -> Option<&ShardReport> {
        self.shard.as_ref()
    }

    /// Index of the first sample in its data set.
    pub fn first(&self) -> usize {
        self.shard.as_ref().map_or(self.config.data.offset, |shard| shard.first)
    }

    /// Whether outputs are classes; ends of outputs are none.
    fn has_classes(&self) -> bool {
        self.property != Property::Deviation && !matches!(self.config.outputs, Some(Outputs::Within { .. }))
    }

    /// The size of a batch that the settings ask for, else `batch`.
    pub fn batch(&self, batch: BatchSize) -> BatchSize {
        self.config.data.batch.map_or(batch, BatchSize::Fixed)
    }

    /// Format of the file of the network: `onnx`, `safetensors`, …
    pub fn model_format(&self) -> &str {
        &self.model.format
    }

    /// SHA-256 of the file of the network.
    pub fn model_sha256(&self) -> &str {
        &self.model.sha256
    }

    /// What a proof with this guarantee takes for granted about the arithmetic.
    pub fn assumptions(&self, guarantee: Guarantee) -> Vec<Cow<'static, str>> {
        match guarantee {
            Guarantee::RealArithmetic => {
                vec!["floating point is exact: a bound may be wrong by rounding".into()]
            }
            Guarantee::Rigorous => {
                let functions = self.network.has_functions().then_some(FUNCTIONS);
                [ARITHMETIC].into_iter().chain(functions).map(Cow::from).collect()
            }
        }
    }

    /// A method's block of the report, with what every method has.
    pub fn method(&self, name: &str) -> MethodReport {
        MethodReport {
            name: name.into(),
            precision: self.precision.name().into(),
            property: self.property.name().into(),
            tolerance: self.config.tolerance,
            logits_before: self.model.dropped_head.clone().filter(|_| self.property == Property::Deviation),
            ..MethodReport::default()
        }
    }

    /// The blocks above the results; `set` is one of the perturbation sets, `radii` those of all.
    ///
    /// # Errors
    /// Data that can no longer be read.
    pub fn header(
        &self,
        done: &Done,
        radii: &[f64],
        set: &PerturbationSet,
        (method, guarantee): (MethodReport, &'static str),
        config: &impl Serialize,
    ) -> Result<Header, RunError> {
        let data = self.feed.report(done.samples, self.first())?;
        // Samples that an interrupt left are no shortfall of the data.
        let requested = data.requested.filter(|_| !done.partial);
        let given = &self.config.data;
        let is_scaled =
            given.scale.is_some() || given.mean.is_some() || given.std.is_some() || given.layout.is_some();
        let range = done.range.filter(|_| is_scaled).map(|(low, high)| [low, high]);
        // Of a part it is said when parts are merged.
        let guessed = done.correct.filter(|_| self.has_classes() && self.shard.is_none());
        let guessed =
            guessed.and_then(|n| remarks::on_accuracy(n, done.samples, self.network.output_width()));
        let beyond = done.range.and_then(|range| remarks::on_range(given, &data.shape, range));
        let remarks = beyond.into_iter().chain(guessed).collect();
        let data =
            DataReport { labels_sha256: done.labels_sha256.clone(), requested, range, remarks, ..data };
        let config = serde_json::to_value(config);
        Ok(Header {
            model: self.model.clone(),
            data,
            threat: ThreatReport::new(&self.config.threat.model, radii, &self.network, set),
            method,
            guarantee,
            config: config.map_err(|error| RunError::misfit(format!("settings: {error}")))?,
            shard: self.shard.clone(),
            certificate: None,
        })
    }
}

/// What rigorous bounds assume of products and sums, and of exponentials and the like.
const ARITHMETIC: &str = "IEEE 754 products and sums, rounded to nearest, in any order";
const FUNCTIONS: &str = "mathematical functions within two units of the last place";

/// The property, by default the label where there are labels.
fn decide(
    config: &Config,
    feed: &impl Feed,
    network: &Network,
    model: &ModelReport,
) -> Result<Property, RunError> {
    let info = feed.info();
    let property = match config.property {
        _ if matches!(config.outputs, Some(Outputs::Within { .. })) => Property::Label,
        Some(Property::Label) if !info.labelled => {
            return Err(RunError::Unlabelled { data: info.description });
        }
        Some(property) => property,
        None if info.labelled => Property::Label,
        None => Property::Prediction,
    };
    match (property, &model.dropped_head, &model.output_shape) {
        (Property::Deviation, Some(head), _) if !config.logits => {
            return Err(RunError::DroppedHead { head: head.clone() });
        }
        (Property::Label | Property::Prediction, _, Some(shape)) => {
            return Err(RunError::ImageOutput { property, shape: shape.clone() });
        }
        (Property::Label | Property::Prediction | Property::Deviation, _, _) => {}
    }
    if config.logits && (property != Property::Deviation || model.dropped_head.is_none()) {
        let expected = "the property deviation and a network whose last Softmax was left out";
        return Err(RunError::setting("logits", expected, "another"));
    }
    let outputs = network.output_width();
    if property.rows(outputs.max(1)) == 0 {
        return Err(RunError::FewOutputs { property, found: outputs });
    }
    Ok(property)
}
