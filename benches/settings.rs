use criterion::Criterion;
use std::time::Duration;

/// How long each benchmark is measured. Options of the command line take precedence.
pub fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(50)
        .without_plots()
}
