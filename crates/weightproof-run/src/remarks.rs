//! What results say about their data: numbers outside of the usual range, and a network that does no better than guessing.

use crate::config::DataConfig;

/// Samples from which on guessing is told from knowing.
const ENOUGH: usize = 30;

/// What is remarkable about the numbers of the first batch, of samples of this shape.
pub fn on_range(config: &DataConfig, shape: &[usize], range: (f64, f64)) -> Option<String> {
    let (low, high) = range;
    let normalized = config.mean.is_some() || config.std.is_some();
    let is_image = shape.len() == 3;
    (is_image && !normalized && (low < 0.0 || high > 1.0)).then(|| {
        format!(
            "the first images have numbers from {low} to {high}, not from 0 to 1: --scale, --mean and --std make of them what the network was \
             trained on"
        )
    })
}

/// A remark when `correct` of `samples` are no more than guessing among `classes` gives, two standard deviations allowed.
pub fn on_accuracy(correct: usize, samples: usize, classes: usize) -> Option<String> {
    let (n, p) = (samples as f64, 1.0 / classes as f64);
    let guessed = n * p + 2.0 * (n * p * (1.0 - p)).sqrt();
    (samples >= ENOUGH && classes > 1 && correct as f64 <= guessed).then(|| {
        format!(
            "the network classifies {correct} of {samples} samples as they are labelled, no more than guessing does: compare --scale, --mean, \
             --std, the layout and the order of the classes with its training"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_told_from_knowing() {
        assert!(on_accuracy(10, 100, 10).is_some());
        assert!(on_accuracy(16, 100, 10).is_some());
        assert!(on_accuracy(17, 100, 10).is_none());
        assert!(on_accuracy(0, ENOUGH - 1, 10).is_none());
        assert!(on_accuracy(0, 100, 1).is_none());
    }

    #[test]
    fn images_beyond_one_are_remarked_upon_unless_they_are_normalized() {
        let plain = DataConfig::default();
        let normalized = DataConfig { mean: Some(vec![0.5]), ..DataConfig::default() };
        assert!(on_range(&plain, &[1, 2, 2], (0.0, 255.0)).is_some());
        assert!(on_range(&plain, &[1, 2, 2], (-0.1, 1.0)).is_some());
        assert!(on_range(&plain, &[1, 2, 2], (0.0, 1.0)).is_none());
        assert!(on_range(&plain, &[4], (0.0, 255.0)).is_none());
        assert!(on_range(&normalized, &[1, 2, 2], (-2.0, 2.0)).is_none());
    }
}
