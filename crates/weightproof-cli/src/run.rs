//! Threads, progress and remarks of a run on a terminal.

pub use weightproof_run::run::{BatchSize, Run, Watch, environment, pool};

use crate::args::{EngineArgs, OutputArgs};
use crate::error::Failure;
use crate::interrupt;
use crate::session::Session;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;
use weightproof_run::RunError;

/// A bar over samples; Ctrl-C ends the run with what is done.
pub struct Terminal(ProgressBar);

impl Watch for Terminal {
    fn begin(&mut self) {
        self.0.reset();
    }

    fn advanced(&mut self, samples: usize) {
        self.0.inc(samples as u64);
    }

    fn finish(&mut self) {
        self.0.finish_and_clear();
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
    let watch = Terminal(progress(session.total(), output.quiet));
    let numbers = (session.config.seed, session.precision);
    Ok(Run::new(pool(engine.threads)?, watch, session.batch(batch), numbers))
}

/// A bar over samples on a terminal; hidden elsewhere.
pub fn progress(total: Option<usize>, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() { ProgressBar::hidden() } else { bar(total) }
}

fn bar(total: Option<usize>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total as u64), "{bar:40} {pos}/{len} samples, {elapsed}, {eta} left")
        }
        None => (ProgressBar::no_length(), "{spinner} {pos} samples, {elapsed}"),
    };
    let bar = bar.with_finish(ProgressFinish::AndClear);
    bar.set_draw_target(target);
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// A remark on standard error, unless the user wants quiet.
pub fn remark(output: &OutputArgs, text: &str) {
    if !output.quiet {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
