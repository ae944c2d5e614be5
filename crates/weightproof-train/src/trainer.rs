//! The training loop.
//!
//! ```text
//! for every batch:   (Ŵ, x̂) ← adversaries (W, x)      g ← ∇ Σ weightₜ · termₜ at (Ŵ, x̂)      W ← optimiser (W, clip g)
//! ```
//! Everything random is drawn from the seed, the epoch and the batch, so that a run that was stopped after any batch and goes
//! on from its checkpoint ends with the same bits.

use crate::adversary::Landscape;
use crate::config::{NOISE_METHOD, TrainConfig};
use crate::data::{Labelled, right};
use crate::error::TrainError;
use crate::graph::Graph;
use crate::history::{EpochRecord, Sums, TermValue};
use crate::objective::{Evaluation, Objective};
use crate::optimizer::{self, Optimizer};
use crate::parameters::{Initialization, Parameters};
use crate::random::{self, Purpose};
use crate::shard::shards;
use crate::threat::{NoiseThreat, Threat};
use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Instant;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::network::Network;
use weightproof::noise::{NoiseCertifier, NoiseOptions};
use weightproof::property::Property;
use weightproof::verdict::{SampleCertificate, Samples};

/// A network in training.
pub struct Trainer {
    config: TrainConfig,
    graph: Graph,
    terms: Vec<&'static Objective>,
    pub(crate) state: State,
}

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub parameters: Parameters,
    pub optimizer: Optimizer,
    /// Epochs that are done.
    pub epoch: usize,
    /// Batches of the next epoch that are done.
    pub batch: usize,
    /// Sums over those batches.
    pub sums: Sums,
    pub history: Vec<EpochRecord>,
    /// [`Labelled::sha256`] of the data, once they are known.
    pub data: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// After its last epoch.
    Finished,
    /// Because the observer said so; it can go on from a checkpoint.
    Stopped,
}

/// Watches a run, and may stop it after any batch.
pub trait Observer {
    /// After every batch, with the numbers of batches done and in an epoch.
    fn batch(&mut self, trainer: &Trainer, done: usize, batches: usize) -> ControlFlow<()>;
    /// After every epoch; the place for checkpoints.
    ///
    /// # Errors
    /// Ends the run.
    fn epoch(&mut self, trainer: &Trainer, record: &EpochRecord) -> Result<(), TrainError>;
}

/// Watches nothing.
pub struct Silent;

impl Observer for Silent {
    fn batch(&mut self, _: &Trainer, _: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn epoch(&mut self, _: &Trainer, _: &EpochRecord) -> Result<(), TrainError> {
        Ok(())
    }
}

/// The weighted terms of one batch at a moment of the schedule.
struct Loss<'a> {
    trainer: &'a Trainer,
    threat: Threat,
    weights: Vec<f64>,
    labels: &'a [u32],
}

impl Trainer {
    /// Starts from random parameters of the network that the configuration describes.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn new(config: TrainConfig) -> Result<Self, TrainError> {
        let network = config.build()?;
        if config.network.initialization == Initialization::Given {
            let detail = "expected a rule for random weights, found given";
            return Err(TrainError::setting("network.initialization", detail));
        }
        Trainer::of(config, &network)
    }

    /// Starts from random parameters for the layers of `network`, which takes the place of the configuration's; with
    /// [`Initialization::Given`] from its own.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn of(mut config: TrainConfig, network: &Network) -> Result<Self, TrainError> {
        if network.is_quantized() {
            let detail = "expected floating-point weights and activations, found quantized ones";
            return Err(TrainError::setting("network", detail));
        }
        config.radius_ramp = Some(config.radius_ramp.unwrap_or_else(|| config.default_ramp()));
        let graph = Graph::new(network);
        config.check(&graph)?;
        let start = &config.network;
        let parameters = Parameters::random(network, start.initialization, start.gain, config.seed);
        let terms = config.terms.iter().map(|term| term.find()).collect::<Result<Vec<_>, _>>()?;
        let state = State {
            optimizer: Optimizer::new(&config.optimizer, &parameters),
            parameters,
            epoch: 0,
            batch: 0,
            sums: Sums::new(terms.len()),
            history: Vec::new(),
            data: None,
        };
        Ok(Trainer { config, graph, terms, state })
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The parameters as they are now.
    pub fn parameters(&self) -> &Parameters {
        &self.state.parameters
    }

    /// The network as it is now.
    pub fn network(&self) -> Network {
        self.state.parameters.install(self.graph.network())
    }

    /// Number of samples of `data` that are trained on; those behind them are held out.
    pub(crate) fn trained_on(&self, data: &Labelled) -> usize {
        data.len() - self.config.validation.samples.min(data.len().saturating_sub(1))
    }

    /// One record for each epoch that is done.
    pub fn history(&self) -> &[EpochRecord] {
        &self.state.history
    }

    /// Trains until the last epoch, or until the observer stops it. The last samples of `data` are held out.
    ///
    /// # Errors
    /// When the data do not fit or are not those of the checkpoint, the training diverges, or the observer fails.
    pub fn run(&mut self, data: &Labelled, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let network = self.graph.network();
        data.check(network.input_width(), network.output_width())?;
        let sha256 = data.sha256();
        if let Some(known) = self.state.data.replace(sha256.clone()).filter(|known| *known != sha256) {
            let expected = format!("the samples of the checkpoint, sha256 {known}");
            return Err(TrainError::Data { expected, found: sha256 });
        }
        let first = self.trained_on(data);
        let validation = data.pick(&(first..data.len()).collect::<Vec<_>>());
        let wide = validation.wide();
        let batches = first.div_ceil(self.config.batch);
        let mut batch = Labelled::default();
        while self.state.epoch < self.config.epochs {
            let begin = Instant::now();
            let mut rng = random::generator(self.config.seed, Purpose::Order, self.state.epoch, 0);
            let order = random::permutation(&mut rng, first);
            for places in order.chunks(self.config.batch).skip(self.state.batch) {
                batch.copy(data, places);
                self.step(&batch, batches)?;
                if observer.batch(self, self.state.batch, batches).is_break() {
                    self.state.sums.seconds += begin.elapsed().as_secs_f64();
                    return Ok(Outcome::Stopped);
                }
            }
            self.state.sums.seconds += begin.elapsed().as_secs_f64();
            let record = self.finish_epoch(&validation, &wide);
            observer.epoch(self, &record)?;
        }
        Ok(Outcome::Finished)
    }

    /// What all radii are multiplied by after `time` epochs.
    fn radius_factor(&self, time: f64) -> f64 {
        self.config.radius_ramp.map_or(1.0, |ramp| ramp.at(time))
    }

    /// Epochs that are done, the part of the next one included.
    fn time(&self, batches: usize) -> f64 {
        self.state.epoch as f64 + self.state.batch as f64 / batches as f64
    }

    fn step(&mut self, batch: &Labelled, batches: usize) -> Result<(), TrainError> {
        // The rate of a step is that of its end, so that a warm-up does not waste the first one.
        let time = self.time(batches);
        let end = time + 1.0 / batches as f64;
        let rate = self.config.learning_rate.at(end, self.config.epochs as f64);
        let (epoch, number) = (self.state.epoch, self.state.batch);
        let diverged =
            |what: String, value| TrainError::Diverged { epoch: epoch + 1, batch: number + 1, what, value };
        let loss = self.loss(&batch.labels, time);
        let mut rng = random::generator(self.config.seed, Purpose::Perturbation, epoch, number);
        let (mut at, mut inputs) = (Cow::Borrowed(&self.state.parameters), Cow::Borrowed(&batch.inputs));
        for adversary in &self.config.adversaries {
            let moved = adversary.perturb(&loss, at.into_owned(), inputs.into_owned(), &mut rng);
            (at, inputs) = (Cow::Owned(moved.0), Cow::Owned(moved.1));
        }
        let Evaluated { values, correct, mut gradient } = loss.evaluate(&at, &inputs);
        if let Some(k) = values.iter().position(|v| !v.is_finite()) {
            return Err(diverged(format!("the term {}", self.terms[k].name), values[k]));
        }
        if let Some(k) = gradient.not_finite() {
            let (_, node, _) = self.graph.network().affine_layers().nth(k / 2).expect("a layer");
            let what =
                format!("a gradient of {} ({})", node.name, if k % 2 == 0 { "weight" } else { "bias" });
            let value = gradient.arrays[k].iter().copied().find(|g| !g.is_finite()).unwrap_or(f32::NAN);
            return Err(diverged(what, value));
        }
        let total = values.iter().zip(&loss.weights).map(|(v, w)| f64::from(*v) * w).sum::<f64>();
        if let Some(limit) = self.config.gradient_clip {
            optimizer::clip(&mut gradient, limit);
        }
        let state = &mut self.state;
        state.optimizer.step(rate, &mut state.parameters, &gradient);
        self.graph.recycle(gradient);
        if let Some(limit) = self.config.weight_limit {
            let limit = limit as f32;
            let weights = state.parameters.arrays.iter_mut().step_by(2).flatten();
            weights.for_each(|w| *w = w.clamp(-limit, limit));
        }
        if let Some(limit) = self.config.row_limit {
            let layers = self.graph.network().affine_layers().map(|(_, _, affine)| affine.weight.cols());
            state.parameters.limit_rows(layers, limit as f32);
        }
        state.sums.add(batch.len(), total, &values, correct);
        state.batch += 1;
        Ok(())
    }

    /// The loss at a moment of the schedule.
    fn loss<'a>(&'a self, labels: &'a [u32], time: f64) -> Loss<'a> {
        Loss {
            trainer: self,
            threat: self.config.threat.scaled(self.radius_factor(time)),
            weights: self.config.terms.iter().map(|term| term.weight.at(time)).collect(),
            labels,
        }
    }

    fn finish_epoch(&mut self, validation: &Labelled, wide: &[f64]) -> EpochRecord {
        let begin = Instant::now();
        let (accuracy, certified) = self.validate(validation, wide);
        let time = (self.state.epoch + 1) as f64;
        let radius = self.config.threat.radius * self.radius_factor(time);
        let state = &mut self.state;
        state.epoch += 1;
        state.batch = 0;
        let sums = std::mem::replace(&mut state.sums, Sums::new(self.terms.len()));
        let terms = self.terms.iter().zip(sums.mean_terms());
        let record = EpochRecord {
            epoch: state.epoch,
            seconds: sums.seconds,
            validation_seconds: begin.elapsed().as_secs_f64(),
            learning_rate: self.config.learning_rate.at(time, self.config.epochs as f64),
            radius,
            loss: sums.mean_loss(),
            terms: terms.map(|(term, value)| TermValue { objective: term.name.into(), value }).collect(),
            train_accuracy: sums.accuracy(),
            validation_accuracy: accuracy,
            validation_certified: certified,
            largest_weight: f64::from(state.parameters.largest_weight()),
        };
        state.history.push(record.clone());
        record
    }

    /// Accuracy, and the certified accuracy over the full threat, of held-out samples; `None` without samples.
    fn validate(&self, validation: &Labelled, wide: &[f64]) -> (Option<f64>, Option<f64>) {
        if validation.is_empty() {
            return (None, None);
        }
        let network = self.network();
        let set = self.config.threat.set(&network);
        if let Some(noise) = self.config.threat.noise {
            return self.validate_noise(&network, &noise, validation.samples(wide));
        }
        let options = CertifyOptions::new(&self.config.validation.method, Property::Label);
        let certifier = set.ok().and_then(|set| Certifier::new(&network, &[set], options).ok());
        let Some(certifier) = certifier else { return (None, None) };
        let certificates = &certifier.certify(validation.samples(wide))[0];
        let share = |count: usize| count as f64 / validation.len() as f64;
        let correct = certificates.iter().filter(|c| c.clean.margin > 0.0).count();
        let certified = certificates.iter().filter(|c| c.margin_lower > 0.0).count();
        (Some(share(correct)), Some(share(certified)))
    }
}

impl Trainer {
    /// Accuracy, and the share of samples that are certified against random weights at their failure probability.
    fn validate_noise(
        &self,
        network: &Network,
        noise: &NoiseThreat,
        samples: Samples<'_>,
    ) -> (Option<f64>, Option<f64>) {
        let certify = CertifyOptions::new(NOISE_METHOD, Property::Label);
        let options = NoiseOptions { certify, failure_probability: noise.failure_probability };
        let still = Threat { noise: None, ..self.config.threat.scaled(0.0) };
        let certifier = still.set(network).ok().zip(noise.model().resolve(network).ok());
        let certifier =
            certifier.and_then(|(set, noise)| NoiseCertifier::new(network, set, noise, options).ok());
        let Some(certifier) = certifier else { return (None, None) };
        let found = certifier.verdicts_only().certify(samples);
        let share = |holds: &dyn Fn(&SampleCertificate) -> bool| {
            let count = found.iter().filter(|found| holds(&found.certificate)).count();
            Some(count as f64 / found.len().max(1) as f64)
        };
        (share(&|c| c.clean.margin > 0.0), share(&|c| c.margin_lower > 0.0))
    }
}

/// What one evaluation of a loss gives, for a batch or a shard of it.
struct Evaluated {
    /// Of the terms: means over the samples.
    values: Vec<f32>,
    /// Correct predictions.
    correct: usize,
    /// Of the weighted sum.
    gradient: Parameters,
}

impl Loss<'_> {
    /// Values of the terms, correct predictions, and the gradient: sums over the shards of the batch, each times its share.
    fn evaluate(&self, at: &Parameters, inputs: &[f32]) -> Evaluated {
        let graph = &self.trainer.graph;
        let mut shards =
            shards(inputs, self.labels, |inputs, labels, share| self.shard(at, inputs, labels, share));
        let mut all = shards.remove(0);
        for shard in shards {
            all.values.iter_mut().zip(&shard.values).for_each(|(sum, v)| *sum += v);
            all.correct += shard.correct;
            all.gradient.add(&shard.gradient);
            graph.recycle(shard.gradient);
        }
        all
    }

    fn shard(&self, at: &Parameters, inputs: &[f32], labels: &[u32], share: f32) -> Evaluated {
        let graph = &self.trainer.graph;
        let tape = graph.tape();
        let (weights, x) = (graph.track(&tape, at), graph.batch(&tape, inputs));
        let evaluation = Evaluation::new(graph, &weights, &self.threat, x, labels);
        let terms = self.trainer.terms.iter().zip(&self.weights);
        let values = terms.map(|(term, &weight)| ((term.loss)(&evaluation), weight)).collect::<Vec<_>>();
        let weighted = values.iter().filter(|(_, weight)| *weight > 0.0);
        let weighted = weighted.map(|(value, weight)| value.scale(*weight));
        if let Some(total) = weighted.reduce(|sum, value| sum + value) {
            tape.backward(total, share);
        }
        let correct = evaluation.logits().read(|logits| correct(logits, labels));
        let values = values.iter().map(|(value, _)| share * value.read(|number| number[0])).collect();
        Evaluated { values, correct, gradient: graph.gradient(&weights) }
    }
}

impl Landscape for Loss<'_> {
    fn loss_gradient(&self, at: &Parameters, inputs: &[f32]) -> Parameters {
        self.evaluate(at, inputs).gradient
    }

    fn cross_entropy_gradients(&self, at: &Parameters, inputs: &[f32]) -> (Parameters, Vec<f32>) {
        let found = self.trainer.graph.cross_entropy(at, inputs, self.labels);
        (found.gradient, found.input_gradient)
    }
}

/// Samples whose label has the largest output; NaN is never correct.
fn correct(logits: &[f32], labels: &[u32]) -> usize {
    let classes = logits.len() / labels.len();
    let rows = logits.chunks_exact(classes).zip(labels);
    rows.filter(|(row, label)| right(row, **label as usize)).count()
}
