//! Results of `train`: what was trained on what, and how it went.

use crate::header::{DataReport, Environment, ModelReport};
use crate::table::{Side, Table};
use crate::{csv, json, text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use weightproof_figure::number::{exact, grouped, percent, percent_or_dash, value_or_dash};

/// One epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochReport {
    /// Number, from 1.
    pub epoch: usize,
    /// Learning rate at its end.
    pub learning_rate: f64,
    /// Radius of the weights at its end.
    pub radius: f64,
    /// Mean loss over its samples; `null` when it was not a number.
    pub loss: Option<f64>,
    /// Means of the terms of the loss, without their weights.
    #[serde(default)]
    pub terms: BTreeMap<String, Option<f64>>,
    /// Accuracy over its samples, each before its step.
    pub train_accuracy: f64,
    /// Accuracy on the held-out samples.
    pub validation_accuracy: Option<f64>,
    /// Certified accuracy on the held-out samples over the full threat.
    pub validation_certified: Option<f64>,
    /// Largest magnitude of a weight.
    pub largest_weight: Option<f64>,
}

/// A training that ended no better than guessing.
#[derive(Clone, Debug, Serialize)]
pub struct AtChanceReport {
    /// Accuracy after the last epoch.
    pub accuracy: f64,
    /// Accuracy of a network that always gives the most frequent class.
    pub guessing: f64,
    /// Samples that both were measured on.
    pub samples: usize,
    /// Whether these were held out; else they were trained on.
    pub held_out: bool,
    /// What to try.
    pub advice: String,
}

/// All that a training run has to say.
#[derive(Clone, Debug)]
pub struct TrainReport {
    /// The trained network, as it was written.
    pub model: ModelReport,
    /// What it was trained on, the held-out samples included.
    pub data: DataReport,
    /// What guessing reaches, where the network is no better.
    pub at_chance: Option<AtChanceReport>,
    /// The bound method of the certified accuracy.
    pub validation_method: String,
    /// What the certified accuracy is worth.
    pub guarantee: &'static str,
    /// The random weights that it is against, where it is not against a radius.
    pub validation_noise: Option<String>,
    /// The settings of the run.
    pub config: serde_json::Value,
    /// One for each epoch.
    pub history: Vec<EpochReport>,
    /// Seconds of each epoch, then the rest of the environment.
    pub epoch_seconds: Vec<f64>,
    /// Time, memory and host.
    pub environment: Environment,
}

/// The history as CSV, one row for each epoch; the terms of the loss come last.
///
/// # Errors
/// Those of `out`.
pub fn history_csv(history: &[EpochReport], out: impl Write) -> io::Result<()> {
    let head = ["epoch", "learning_rate", "radius", "loss", "train_accuracy", "validation_accuracy"];
    let more = ["validation_certified", "largest_weight"];
    let terms: Vec<String> =
        history.first().map_or(Vec::new(), |first| first.terms.keys().cloned().collect());
    let head = head.into_iter().chain(more).map(str::to_owned).chain(terms);
    let optional = |v: Option<f64>| v.map_or_else(String::new, exact);
    let rows = history.iter().map(|e| {
        let fixed = [
            e.epoch.to_string(),
            exact(e.learning_rate),
            exact(e.radius),
            optional(e.loss),
            exact(e.train_accuracy),
            optional(e.validation_accuracy),
            optional(e.validation_certified),
            optional(e.largest_weight),
        ];
        fixed.into_iter().chain(e.terms.values().map(|&v| optional(v))).collect()
    });
    csv::table(out, head, rows)
}

impl TrainReport {
    /// Writes one JSON object with the schema `weightproof/train/1`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn json(&self, mut out: impl Write) -> io::Result<()> {
        /// The block that differs between runs.
        #[derive(Serialize)]
        struct Timed<'a> {
            #[serde(flatten)]
            environment: &'a Environment,
            epoch_seconds: &'a [f64],
        }
        let out = &mut out;
        let mut fields = json::Fields::open(out, 0)?;
        fields.field("schema", &"weightproof/train/1")?;
        fields.field("model", &self.model)?;
        fields.field("data", &self.data)?;
        fields.field("validation_method", &self.validation_method)?;
        fields.field("guarantee", &self.guarantee)?;
        if let Some(noise) = &self.validation_noise {
            fields.field("validation_noise", noise)?;
        }
        fields.field("at_chance", &self.at_chance)?;
        fields.field("config", &self.config)?;
        fields.field("summary", &self.history.last())?;
        fields.list("history", &self.history, json::compact)?;
        let timed = Timed { environment: &self.environment, epoch_seconds: &self.epoch_seconds };
        fields.field("environment", &timed)?;
        fields.close()?;
        writeln!(out)?;
        out.flush()
    }

    /// Writes a summary for people.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn text(&self, mut out: impl Write) -> io::Result<()> {
        let mut table = Table::new([Side::Left, Side::Left]);
        table.push(["model".into(), text::model(&self.model)]);
        if let Some(path) = &self.model.path {
            table.push(["written".to_owned(), path.clone()]);
        }
        table.push([
            "data".into(),
            format!(
                "{}, {} samples{}",
                self.data.description,
                grouped(self.data.samples),
                self.data.shortfall()
            ),
        ]);
        if let Some(last) = self.history.last() {
            let terms = last.terms.iter().map(|(name, term)| format!("{name} {}", value_or_dash(*term)));
            table.push(["epochs".to_owned(), last.epoch.to_string()]);
            table.push([
                "loss".into(),
                format!("{} ({})", value_or_dash(last.loss), terms.collect::<Vec<_>>().join(", ")),
            ]);
            table.push(["training accuracy".into(), format!("{} (measured)", percent(last.train_accuracy))]);
            let held_out = percent_or_dash(last.validation_accuracy);
            table.push(["held-out accuracy".to_owned(), format!("{held_out} (measured)")]);
            let certified = percent_or_dash(last.validation_certified);
            let over =
                self.validation_noise.clone().unwrap_or_else(|| format!("radius {}", exact(last.radius)));
            let (method, guarantee) = (&self.validation_method, self.guarantee);
            table.push(["held-out certified".into(), format!("{certified} ({guarantee}, {method}, {over})")]);
            table.push(["largest weight".into(), value_or_dash(last.largest_weight)]);
        }
        table.push(["seconds".into(), format!("{:.1}", self.environment.seconds)]);
        write!(out, "{table}")?;
        if let Some(chance) = &self.at_chance {
            let (accuracy, guessing) = (percent(chance.accuracy), percent(chance.guessing));
            let kind = if chance.held_out { "held-out" } else { "training" };
            writeln!(
                out,
                "\nno better than chance: accuracy {accuracy} on {} {kind} samples, of which {guessing} have the most frequent label\n\
                 hint: {}",
                grouped(chance.samples),
                chance.advice
            )?;
        }
        out.flush()
    }
}
