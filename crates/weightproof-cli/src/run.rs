//! Threads, progress and remarks of a run on a terminal.

pub use weightproof_run::run::{BatchSize, Run, Watch, pool};

use crate::args::{EngineArgs, OutputArgs};
use crate::error::Failure;
use crate::interrupt;
use crate::session::Session;
use indicatif::{
    HumanDuration, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle,
};
use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use weightproof::progress::Progress;
use weightproof_run::RunError;

/// A bar over samples; Ctrl-C ends the run with what is done.
pub struct Terminal {
    bar: ProgressBar,
    /// Samples of the batches that are done.
    done: u64,
}

impl Watch for Terminal {
    fn begin(&mut self) {
        self.bar.reset();
        self.done = 0;
    }

    fn advanced(&mut self, samples: usize) {
        self.done += samples as u64;
        self.bar.set_position(self.done);
    }

    fn within(&self) -> Progress {
        let bar = self.bar.clone();
        Progress::new(move || bar.inc(1))
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }

    fn stop(&mut self) -> Result<bool, RunError> {
        Ok(interrupt::requested())
    }
}

/// The threads, and progress over the samples that are asked for; `batch` is the size of a batch when the user does not say.
pub fn start(
    session: &Session,
    engine: &EngineArgs,
    output: &OutputArgs,
    batch: BatchSize,
) -> Result<Run<Terminal>, Failure> {
    let watch = Terminal { bar: progress(session.total(), "samples", output.quiet), done: 0 };
    let numbers = (session.config.seed, session.precision);
    Ok(Run::new(pool(engine.threads)?, watch, session.batch(batch), numbers).with_label(session.label()))
}

/// A bar over `total` of `what` on a terminal; hidden elsewhere.
pub fn progress(total: Option<usize>, what: &str, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() { ProgressBar::hidden() } else { bar(total, what) }
}

fn bar(total: Option<usize>, what: &str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total as u64),
            format!("{{bar:40}} {{pos}}/{{len}} {what}{{msg}}, {{elapsed}}, {{left}}"),
        ),
        None => (ProgressBar::no_length(), format!("{{spinner}} {{pos}} {what}, {{elapsed}}")),
    };
    let bar = bar.with_finish(ProgressFinish::AndClear);
    bar.set_draw_target(target);
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Nothing can be done when standard error is closed.
        let _ = out.write_str(&left(state.pos(), state.len().unwrap_or(0), state.elapsed()));
    }));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// How long `total` takes from now on when `done` of it took so long; nothing is told of nothing.
fn left(done: u64, total: u64, elapsed: Duration) -> String {
    if done == 0 {
        return "estimating the time left".into();
    }
    let rest = elapsed.as_secs_f64() * total.saturating_sub(done) as f64 / done as f64;
    format!("{} left", HumanDuration(Duration::from_secs_f64(rest.ceil())))
}

/// A remark on standard error, unless the user wants quiet.
pub fn remark(output: &OutputArgs, text: &str) {
    if !output.quiet {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_estimated_from_what_is_settled() {
        let seconds = Duration::from_secs;
        assert_eq!(left(0, 400, seconds(4)), "estimating the time left");
        assert_eq!(left(100, 400, seconds(4)), "12 seconds left");
        assert_eq!(left(399, 400, seconds(4)), "1 second left");
        assert_eq!(left(400, 400, seconds(4)), "0 seconds left");
    }
}
