//! The loop over samples: batches that adapt to the method's speed, threads, progress, interrupts, time.

use crate::args::{EngineArgs, MOST_BATCH, OutputArgs};
use crate::error::Failure;
use crate::interrupt;
use crate::source::Source;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use weightproof::verdict::{Precision, Samples};
use weightproof_formats::data::Batch;
use weightproof_report::Environment;

/// How long a batch should take: often enough for progress and Ctrl-C.
const BATCH_SECONDS: f64 = 0.5;

/// Threads and progress of a run, and the time that it took so far.
pub struct Run {
    pool: rayon::ThreadPool,
    bar: ProgressBar,
    batch: BatchSize,
    spent: Duration,
    seed: u64,
    precision: Precision,
}

/// What the loop over the samples did.
pub struct Done {
    /// Number of samples.
    pub samples: usize,
    /// Whether samples are left because of an interrupt.
    pub partial: bool,
}

impl Run {
    /// Starts the threads; `total` is the number of samples where it is known.
    pub fn new(
        engine: &EngineArgs,
        output: &OutputArgs,
        total: Option<usize>,
        batch: BatchSize,
    ) -> Result<Self, Failure> {
        let pool = pool(engine.threads)?;
        let precision = crate::config::precision(engine);
        Ok(Run {
            pool,
            bar: progress(total, output.quiet),
            batch,
            spent: Duration::ZERO,
            seed: engine.seed,
            precision,
        })
    }

    /// Runs `work` over all samples of `source` on the threads, batch by batch in their order, and gives what it returns
    /// to `keep`, outside of the time. Labels are checked against `classes`, or dropped when that is `None`.
    pub fn over<T: Send>(
        &mut self,
        source: &mut Source,
        classes: Option<usize>,
        mut work: impl FnMut(&Batch) -> Result<T, Failure> + Send,
        mut keep: impl FnMut(&Batch, T) -> Result<(), Failure>,
    ) -> Result<Done, Failure> {
        let mut done = Done { samples: 0, partial: false };
        self.bar.reset();
        let mut size = self.batch.first(self.pool.current_num_threads());
        while let Some(batch) = source.next(size, classes)? {
            let start = Instant::now();
            let result = self.pool.install(|| work(&batch));
            let spent = start.elapsed();
            self.spent += spent;
            keep(&batch, result?)?;
            done.samples += batch.count;
            self.bar.inc(batch.count as u64);
            size = self.batch.next(size, spent.as_secs_f64());
            if interrupt::requested() {
                done.partial = source.next(1, classes)?.is_some();
                break;
            }
        }
        self.bar.finish_and_clear();
        Ok(done)
    }

    /// Time, memory and host.
    pub fn environment(&self) -> Environment {
        environment(self.spent, self.pool.current_num_threads(), self.seed, self.precision)
    }
}

/// How many samples are read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// This many.
    Fixed(usize),
    /// As many as take about half a second, in multiples of this block: then the blocks, and with them all roundings, do
    /// not depend on time.
    Adaptive(usize),
}

impl BatchSize {
    fn first(self, threads: usize) -> usize {
        match self {
            BatchSize::Fixed(size) => size,
            BatchSize::Adaptive(block) => block * threads.clamp(1, 8),
        }
    }

    /// At most four times more samples, while that stays within the time of a batch; fewer when it does not.
    fn next(self, size: usize, seconds: f64) -> usize {
        match self {
            BatchSize::Fixed(size) => size,
            BatchSize::Adaptive(block) => {
                let fitting = size as f64 * BATCH_SECONDS / seconds.max(1e-9);
                let most = (4 * size).min(MOST_BATCH).max(block);
                fitting.clamp(block as f64, most as f64) as usize / block * block
            }
        }
    }
}

/// As many threads as given, or as there are processors.
pub fn pool(threads: Option<usize>) -> Result<rayon::ThreadPool, Failure> {
    let threads = threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| Failure::new(format!("threads: cannot start {threads}: {e}")))
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

/// The block of a report that differs between runs.
pub fn environment(spent: Duration, threads: usize, seed: u64, precision: Precision) -> Environment {
    Environment {
        seconds: spent.as_secs_f64(),
        threads,
        version: env!("CARGO_PKG_VERSION"),
        peak_memory_bytes: peak_memory(),
        seed,
        precision: precision.name(),
        host: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

/// The largest resident memory of this process, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// A batch as the library takes it.
pub fn samples(batch: &Batch) -> Samples<'_> {
    Samples { first: batch.first, inputs: &batch.inputs, labels: batch.labels.as_deref() }
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
    fn batches_are_whole_blocks_and_grow_and_shrink() {
        let (block, most) = (64, MOST_BATCH);
        let next = |size, seconds| BatchSize::Adaptive(block).next(size, seconds);
        assert_eq!(next(2 * block, 1e-6), 8 * block);
        assert_eq!(next(most, 1e-6), most);
        assert_eq!(next(most, 1e6), block);
        assert_eq!(next(8 * block, 2.0 * BATCH_SECONDS), 4 * block);
        for seconds in [0.0, 0.013, 0.7, 3.1] {
            assert_eq!(next(7 * block, seconds) % block, 0);
        }
        assert_eq!(BatchSize::Fixed(5).next(5, 1e9), 5);
    }
}
