//! Whether a training taught a network anything.

use crate::data::Labelled;
use crate::trainer::Trainer;

/// Fewest samples that tell a network from guessing.
const FEWEST: usize = 100;

/// Standard deviations of guessing that an accuracy must lie above it.
const DEVIATIONS: f64 = 2.0;

/// An accuracy that guessing reaches, too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AtChance {
    /// Accuracy after the last epoch.
    pub accuracy: f64,
    /// Accuracy of a network that always gives the most frequent class.
    pub guessing: f64,
    /// Samples that both were measured on.
    pub samples: usize,
    /// Whether these were held out; else they were trained on.
    pub held_out: bool,
}

/// Whether the last epoch of a training on `data` ended no better than guessing, within two standard deviations:
///
/// ```text
/// accuracy ≤ p + 2 √(p (1 − p) / n)      p: share of the most frequent class among the n samples
/// ```
/// The samples are those held out, or those trained on where fewer than 100 are held out; `None` where these are fewer than
/// 100, too, or nothing was trained.
pub fn at_chance(trainer: &Trainer, data: &Labelled) -> Option<AtChance> {
    let last = trainer.history().last()?;
    let (trained, held_out) = data.labels.split_at(trainer.trained_on(data));
    let (accuracy, labels, is_held_out) = match last.validation_accuracy {
        Some(accuracy) if held_out.len() >= FEWEST => (accuracy, held_out, true),
        Some(_) | None => (last.train_accuracy, trained, false),
    };
    let samples = labels.len();
    let guessing = most_frequent(labels) as f64 / samples as f64;
    let deviation = (guessing * (1.0 - guessing) / samples as f64).sqrt();
    // An accuracy that is not a number is no better, either.
    let better = accuracy > guessing + DEVIATIONS * deviation;
    let found = AtChance { accuracy, guessing, samples, held_out: is_held_out };
    (samples >= FEWEST && !better).then_some(found)
}

/// How often the most frequent label is there.
fn most_frequent(labels: &[u32]) -> usize {
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).map(<[u32]>::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainConfig;
    use crate::trainer::Silent;

    /// 600 points on a line; the label is their side, or, where it is `hidden`, nothing that they tell.
    fn trained(hidden: bool, held_out: usize) -> Option<AtChance> {
        let mut config = TrainConfig::plain(&[1, 8, 2], 10);
        config.batch = 20;
        config.learning_rate.rate = 0.02;
        config.validation.samples = held_out;
        let value = |k: u32| (k * 37 % 600) as f32 / 300.0 - 1.0;
        let inputs: Vec<f32> = (0..600).map(value).collect();
        let labels =
            inputs.iter().enumerate().map(|(k, x)| if hidden { k as u32 % 2 } else { u32::from(*x > 0.2) });
        let data = Labelled { width: 1, labels: labels.collect(), inputs };
        let mut trainer = Trainer::new(config).unwrap();
        assert_eq!(at_chance(&trainer, &data), None, "nothing was trained");
        trainer.run(&data, &mut Silent).unwrap();
        at_chance(&trainer, &data)
    }

    #[test]
    fn what_can_be_learned_is_above_chance_and_what_cannot_is_not() {
        assert_eq!(trained(false, 200), None);
        let found = trained(true, 200).unwrap();
        assert_eq!((found.guessing, found.samples, found.held_out), (0.5, 200, true));
        assert!(found.accuracy < 0.58, "{found:?}");
        let found = trained(true, 20).unwrap();
        assert_eq!((found.samples, found.held_out), (580, false));
    }

    #[test]
    fn the_most_frequent_label_is_counted() {
        assert_eq!((most_frequent(&[2, 0, 2, 1, 2, 0]), most_frequent(&[])), (3, 0));
    }
}
