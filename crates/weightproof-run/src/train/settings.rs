//! Settings of `train`: those of a TOML file, and single ones that take precedence over it.

use crate::RunError;
use crate::number::{self, Range};
use serde::Deserialize;
use weightproof_train::TrainConfig;
use weightproof_train::adversary::Adversary;
use weightproof_train::config::Term;
use weightproof_train::optimizer::Rule;
use weightproof_train::schedule::{Decay, Ramp};
use weightproof_train::threat::RadiusKind;

/// Sizes and epochs when neither the file nor a setting says more.
const SIZES: [usize; 5] = [784, 128, 64, 32, 10];
const EPOCHS: usize = 10;

/// Single settings, as users write them; what is missing is as the file says, or the default. Names are those of the command line,
/// whose help says what each is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the help of the command line documents them, one for one")]
pub struct TrainSettings {
    pub sizes: Option<String>,
    pub gain: Option<String>,
    pub objective: Vec<String>,
    pub adversary: Vec<String>,
    pub radius: Option<String>,
    pub bias_radius: Option<String>,
    pub input_radius: Option<String>,
    pub relative: bool,
    pub radius_epochs: Option<String>,
    pub epochs: Option<usize>,
    pub batch: Option<usize>,
    pub optimizer: Option<String>,
    pub learning_rate: Option<String>,
    pub momentum: Option<String>,
    pub weight_decay: Option<String>,
    pub warm_up: Option<String>,
    pub decay: Option<String>,
    pub gradient_clip: Option<String>,
    pub weight_limit: Option<String>,
    pub seed: Option<u64>,
    pub validation: Option<usize>,
    pub validation_method: Option<String>,
}

impl TrainSettings {
    /// Joins the settings of a file, or the defaults without one, and these.
    ///
    /// # Errors
    /// The first text that is no value of its setting.
    pub fn over(&self, file: Option<TrainConfig>) -> Result<TrainConfig, RunError> {
        let mut config = file.unwrap_or_else(|| TrainConfig::plain(&SIZES, EPOCHS));
        network(&mut config, self)?;
        descent(&mut config, self)?;
        loss(&mut config, self)?;
        if let Some(samples) = self.validation {
            config.validation.samples = samples;
        }
        if let Some(method) = &self.validation_method {
            config.validation.method.clone_from(method);
        }
        Ok(config)
    }
}

fn network(config: &mut TrainConfig, args: &TrainSettings) -> Result<(), RunError> {
    if let Some(text) = &args.sizes {
        let sizes = text.split(',').map(|part| {
            let found =
                || RunError::value(format!("sizes: expected whole numbers of at least 1, found {part}"));
            part.trim().parse().ok().filter(|&n: &usize| n > 0).ok_or_else(found)
        });
        config.network.sizes = Some(sizes.collect::<Result<_, _>>()?);
        (config.network.layers, config.network.input) = (None, None);
    }
    set(&mut config.network.gain, "gain", &args.gain, Range::Positive)
}

fn loss(config: &mut TrainConfig, args: &TrainSettings) -> Result<(), RunError> {
    if !args.objective.is_empty() {
        config.terms = args.objective.iter().map(|text| term(text)).collect::<Result<_, _>>()?;
    }
    if !args.adversary.is_empty() {
        config.adversaries = args.adversary.iter().map(|text| adversary(text)).collect::<Result<_, _>>()?;
    }
    let threat = &mut config.threat;
    set(&mut threat.radius, "radius", &args.radius, Range::NotNegative)?;
    set(&mut threat.input_radius, "input-radius", &args.input_radius, Range::NotNegative)?;
    if let Some(text) = &args.bias_radius {
        threat.bias_radius = Some(number::one("bias-radius", text, Range::NotNegative)?);
    }
    if args.relative {
        threat.kind = RadiusKind::Relative;
    }
    let end = args.radius_epochs.as_ref();
    let end = end.map(|text| number::one("radius-epochs", text, Range::NotNegative)).transpose()?;
    let rise = |config: &TrainConfig, to| match end {
        None => config.rise(to),
        Some(0.0) => Ramp::Constant(to),
        Some(end) => Ramp::linear(0.0, to, 0.0, end),
    };
    if end.is_some() {
        config.radius_ramp = Some(rise(config, 1.0));
    }
    // The weights of a file are as it says.
    let given = if args.objective.is_empty() { 0 } else { config.terms.len() };
    for k in 0..given {
        let Ramp::Constant(to) = config.terms[k].weight else { continue };
        if config.terms[k].find()?.bound {
            config.terms[k].weight = rise(config, to);
        }
    }
    Ok(())
}

/// `NAME`, `NAME=WEIGHT` or `NAME=FROM:TO:START:END`.
fn term(text: &str) -> Result<Term, RunError> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    let numbers = weight.split(':').map(|part| number::one("objective", part, Range::NotNegative));
    let weight = match numbers.collect::<Result<Vec<f64>, _>>()?[..] {
        [weight] => Ramp::Constant(weight),
        [from, to, start, end] => Ramp::linear(from, to, start, end),
        _ => {
            return Err(RunError::value(format!(
                "objective: expected a weight, or FROM:TO:START:END, found {weight}"
            )));
        }
    };
    Ok(Term { objective: name.into(), weight })
}

/// `KIND=NUMBER`.
fn adversary(text: &str) -> Result<Adversary, RunError> {
    /// Steps of the ascent when they are not in a file.
    const STEPS: usize = 5;
    let expected = "noise, sam, awp, pgd or input-pgd, each with =NUMBER";
    let unknown = || RunError::value(format!("adversary: expected {expected}, found {text}"));
    let (kind, x) = text.split_once('=').ok_or_else(unknown)?;
    let x = number::one("adversary", x, Range::NotNegative)?;
    match kind {
        "noise" => Ok(Adversary::Noise { deviation: x, relative: false }),
        "sam" => Ok(Adversary::Sam { rho: x }),
        "awp" => Ok(Adversary::Awp { gamma: x }),
        "pgd" => Ok(Adversary::Pgd { radius: x, input_radius: 0.0, steps: STEPS }),
        "input-pgd" => Ok(Adversary::Pgd { radius: 0.0, input_radius: x, steps: STEPS }),
        _ => Err(unknown()),
    }
}

fn descent(config: &mut TrainConfig, args: &TrainSettings) -> Result<(), RunError> {
    config.epochs = args.epochs.unwrap_or(config.epochs);
    config.batch = args.batch.unwrap_or(config.batch);
    config.seed = args.seed.unwrap_or(config.seed);
    let optional = |name, text: &Option<String>, range| {
        text.as_ref().map(|text| number::one(name, text, range)).transpose()
    };
    let momentum = optional("momentum", &args.momentum, Range::NotNegative)?;
    let decay = optional("weight-decay", &args.weight_decay, Range::NotNegative)?;
    if let Some(name) = &args.optimizer {
        config.optimizer = match name.as_str() {
            "sgd" => Rule::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 },
            "adam" => Rule::adam(),
            "adamw" => Rule::adamw(0.01),
            _ => {
                return Err(RunError::value(format!("optimizer: expected sgd, adam or adamw, found {name}")));
            }
        };
    }
    match (&mut config.optimizer, momentum) {
        (Rule::Sgd { momentum, .. }, Some(given)) => *momentum = given,
        (_, None) => {}
        (Rule::Adam { .. } | Rule::AdamW { .. }, Some(_)) => {
            return Err(RunError::setting("momentum", "the optimizer sgd", "another"));
        }
    }
    let (Rule::Sgd { weight_decay, .. } | Rule::Adam { weight_decay, .. } | Rule::AdamW { weight_decay, .. }) =
        &mut config.optimizer;
    *weight_decay = decay.unwrap_or(*weight_decay);
    let rate = &mut config.learning_rate;
    set(&mut rate.rate, "learning-rate", &args.learning_rate, Range::Positive)?;
    set(&mut rate.warm_up, "warm-up", &args.warm_up, Range::NotNegative)?;
    if let Some(text) = &args.decay {
        rate.decay = how_it_falls(text)?;
    }
    config.gradient_clip =
        optional("gradient-clip", &args.gradient_clip, Range::Positive)?.or(config.gradient_clip);
    config.weight_limit =
        optional("weight-limit", &args.weight_limit, Range::Positive)?.or(config.weight_limit);
    Ok(())
}

/// `constant`, `cosine` or `step:FACTOR:EPOCH,…`.
fn how_it_falls(text: &str) -> Result<Decay, RunError> {
    match text.split(':').collect::<Vec<_>>()[..] {
        ["constant"] => Ok(Decay::Constant),
        ["cosine"] => Ok(Decay::Cosine { floor: 0.0 }),
        ["step", factor, epochs] => Ok(Decay::Step {
            factor: number::one("decay", factor, Range::NotNegative)?,
            epochs: number::list("decay", epochs, Range::NotNegative)?,
        }),
        _ => Err(RunError::value(format!(
            "decay: expected constant, cosine or step:FACTOR:EPOCH,…, found {text}"
        ))),
    }
}

/// Replaces `value` by the number of the flag `--name`, if it was given.
fn set(value: &mut f64, name: &str, text: &Option<String>, range: Range) -> Result<(), RunError> {
    if let Some(text) = text {
        *value = number::one(name, text, range)?;
    }
    Ok(())
}
