//! The loop over samples: batches that adapt to the method's speed, threads, interrupts, time.

use crate::RunError;
use crate::entry::Entry;
use crate::feed::Feed;
use crate::store::Store;
use std::ops::Range;
use std::time::{Duration, Instant};
use weightproof::progress::Progress;
use weightproof::verdict::{Precision, Samples};
use weightproof_formats::fingerprint::Fingerprint;
use weightproof_report::Environment;
use weightproof_report::provenance::Provenance;

/// How long a batch should take: often enough for progress and interrupts.
const BATCH_SECONDS: f64 = 0.5;

/// The most samples that are read at once when the user does not say.
pub const MOST_BATCH: usize = 2048;

/// What a front end does between batches.
pub trait Watch {
    /// The loop over the samples starts, or starts again.
    fn begin(&mut self) {}

    /// This many more samples are done, those that [`Watch::within`] was told of included.
    fn advanced(&mut self, _samples: usize) {}

    /// What is told of every sample that is settled within a batch.
    fn within(&self) -> Progress {
        Progress::default()
    }

    /// The loop over the samples is done.
    fn finish(&mut self) {}

    /// Whether the loop must end here, with what is done.
    ///
    /// # Errors
    /// Where the front end wants no results of a loop that it ends.
    fn stop(&mut self) -> Result<bool, RunError> {
        Ok(false)
    }
}

/// Threads and progress of a run, and the time that it took so far.
pub struct Run<W> {
    pool: rayon::ThreadPool,
    watch: W,
    batch: BatchSize,
    spent: Duration,
    seed: u64,
    precision: Precision,
    label: Option<u32>,
}

/// What is done with the records of samples that are settled.
pub struct Keeping<'k, R> {
    /// Where they are kept, and where those of a former run are.
    pub store: &'k Store<R>,
    /// Number of sets.
    pub sets: usize,
    /// Gets every batch with all of its records, a list for each set, on the threads and outside of the time.
    pub seen: Option<Seen<'k, R>>,
}

/// Looks at the records of a batch.
pub type Seen<'k, R> = &'k mut (dyn FnMut(Samples<'_>, &[&[R]]) -> Result<(), RunError> + Send);

/// What the loop over the samples did.
pub struct Done {
    /// Number of samples.
    pub samples: usize,
    /// Whether samples are left because of an interrupt.
    pub partial: bool,
    /// SHA-256 of their labels, see [`fingerprint_of_labels`]; `None` where they have none or none was read.
    pub labels_sha256: Option<String>,
    /// Least and largest number of the first block of samples, as the network reads them; `None` without samples.
    pub range: Option<(f64, f64)>,
    /// How many samples the unperturbed network classifies as they are labelled; `None` without labels, and where records do not tell.
    pub correct: Option<usize>,
}

impl<W: Watch> Run<W> {
    /// A run on these threads.
    pub fn new(
        pool: rayon::ThreadPool,
        watch: W,
        batch: BatchSize,
        (seed, precision): (u64, Precision),
    ) -> Self {
        Run { pool, watch, batch, spent: Duration::ZERO, seed, precision, label: None }
    }

    /// The run with one label for all samples, instead of those of the data.
    #[must_use]
    pub fn with_label(self, label: Option<u32>) -> Self {
        Run { label, ..self }
    }

    /// Runs `work` over all samples of `feed` on the threads, batch by batch in their order, and gives what it returns
    /// to `keep`, outside of the time. Labels are checked against `classes`, or dropped when that is `None`.
    ///
    /// # Errors
    /// Those of `feed`, `work`, `keep` and of the front end.
    pub fn over<T: Send>(
        &mut self,
        feed: &mut impl Feed,
        classes: Option<usize>,
        work: impl FnMut(Samples<'_>) -> Result<T, RunError> + Send,
        mut keep: impl FnMut(Samples<'_>, T) -> Result<(), RunError> + Send,
    ) -> Result<Done, RunError> {
        let all = |batch: Batch<'_>, _| 0..batch.count;
        self.over_open(feed, classes, all, work, |batch, _, found| match found {
            None => Ok(()),
            Some(found) => keep(batch.samples, found),
        })
    }

    /// Settles all samples of `feed`, without those that the store has, and adds them to it batch by batch: `work`
    /// runs on the threads, and `keep` makes its records, outside of the time, a list for each set. Gives the records of all
    /// samples. Samples are solved in the same blocks whatever the store has, so its records are those of a run without it.
    ///
    /// # Errors
    /// As [`Run::over`]; a store that cannot be written.
    pub fn settle<R: Entry + Send + Sync, T: Send>(
        &mut self,
        feed: &mut impl Feed,
        classes: Option<usize>,
        keeping: Keeping<'_, R>,
        work: impl FnMut(Samples<'_>) -> Result<T, RunError> + Send,
        mut keep: impl FnMut(Samples<'_>, T) -> Result<Vec<Vec<R>>, RunError> + Send,
    ) -> Result<(Vec<Vec<R>>, Done), RunError> {
        let Keeping { store, sets, mut seen } = keeping;
        let mut records: Vec<Vec<R>> = vec![Vec::new(); sets];
        let open = |batch: Batch<'_>, block: usize| {
            let is_open = |s: &usize| (0..sets).any(|k| store.known(k, batch.samples, *s).is_none());
            let (first, last) = ((0..batch.count).find(is_open), (0..batch.count).rfind(is_open));
            match (first, last) {
                (Some(first), Some(last)) => {
                    first / block * block..batch.count.min((last / block + 1) * block)
                }
                (None, _) | (_, None) => 0..0,
            }
        };
        let mut done = self.over_open(feed, classes, open, work, |batch, range, found| {
            let fresh = found.map(|found| keep(batch.part(&range), found)).transpose()?;
            let mut fresh = fresh.into_iter().flatten();
            for (k, records) in records.iter_mut().enumerate() {
                let fresh = fresh.next().unwrap_or_default();
                let known = |s| store.known(k, batch.samples, s).cloned();
                store.keep(
                    k,
                    range.clone().zip(&fresh).filter(|(s, _)| known(*s).is_none()).map(|(_, r)| r),
                )?;
                records.extend((0..range.start).filter_map(known));
                records.extend(fresh);
                records.extend((range.end..batch.count).filter_map(known));
            }
            let of_batch: Vec<&[R]> = records.iter().map(|all| &all[all.len() - batch.count..]).collect();
            seen.as_mut().map_or(Ok(()), |seen| seen(batch.samples, &of_batch))
        })?;
        done.correct =
            records.first().and_then(|all| correct(all.iter().map(|r| (r.label(), r.predicted()))));
        Ok((records, done))
    }

    /// The loop of [`Run::over`] and [`Run::settle`]: `open` gives the part of a batch that is worked on, in whole blocks where
    /// batches adapt; no work is done, and nothing is learned about its speed, where that is empty.
    fn over_open<T: Send>(
        &mut self,
        feed: &mut impl Feed,
        classes: Option<usize>,
        open: impl Fn(Batch<'_>, usize) -> Range<usize>,
        mut work: impl FnMut(Samples<'_>) -> Result<T, RunError> + Send,
        mut keep: impl FnMut(Batch<'_>, Range<usize>, Option<T>) -> Result<(), RunError> + Send,
    ) -> Result<Done, RunError> {
        let mut done = Done { samples: 0, partial: false, labels_sha256: None, range: None, correct: None };
        let mut fingerprint = None;
        let width = feed.info().width;
        self.watch.begin();
        let mut size = self.batch.first(self.pool.current_num_threads());
        let (mut same, one) = (Vec::new(), self.label);
        while let Some(samples) = feed.advance(size, classes.filter(|_| one.is_none()))? {
            let samples = match one {
                None => samples,
                Some(label) => {
                    same.resize(samples.count(width), label);
                    Samples { labels: Some(&same), ..samples }
                }
            };
            let batch = Batch { samples, count: samples.count(width), width };
            // Of the first block: larger batches depend on the number of threads.
            let begin = batch.count.min(self.batch.block()) * width;
            done.range = done.range.or_else(|| ends(&samples.inputs[..begin]));
            if let Some(labels) = samples.labels.filter(|_| one.is_none()) {
                add_labels(fingerprint.get_or_insert_default(), labels);
            }
            let range = open(batch, self.batch.block());
            let mut found = None;
            if !range.is_empty() {
                let (start, part) = (Instant::now(), batch.part(&range));
                found = Some(self.pool.install(|| work(part))?);
                let spent = start.elapsed();
                self.spent += spent;
                size = self.batch.next(range.len(), spent.as_secs_f64());
            }
            // Before anything is kept: work that the front end ended is incomplete.
            let stop = self.watch.stop()?;
            self.pool.install(|| keep(batch, range, found))?;
            done.samples += batch.count;
            self.watch.advanced(batch.count);
            if stop {
                done.partial = feed.advance(1, classes)?.is_some();
                break;
            }
        }
        self.watch.finish();
        done.labels_sha256 = fingerprint.map(Fingerprint::finish);
        Ok(done)
    }

    /// What is told of every sample that is settled within a batch.
    pub fn within(&self) -> Progress {
        self.watch.within()
    }

    /// Whether the front end wants the run to end.
    ///
    /// # Errors
    /// As [`Watch::stop`].
    pub fn stop(&mut self) -> Result<bool, RunError> {
        self.watch.stop()
    }

    /// Time, memory and host.
    pub fn environment(&self) -> Environment {
        environment(self.spent, self.pool.current_num_threads(), self.seed, self.precision)
    }
}

/// How many samples, each with its label and the class that the network gives it, are classified as they are labelled; `None` when one
/// has no label.
pub fn correct(samples: impl Iterator<Item = (Option<u32>, u32)>) -> Option<usize> {
    samples.map(|(label, predicted)| label.map(|label| usize::from(label == predicted))).sum()
}

/// The least and the largest of some numbers.
fn ends(numbers: &[f64]) -> Option<(f64, f64)> {
    let first = *numbers.first()?;
    Some(numbers.iter().fold((first, first), |(low, high), &v| (low.min(v), high.max(v))))
}

/// SHA-256 of labels, each as four bytes, the least first.
pub fn fingerprint_of_labels(labels: &[u32]) -> String {
    let mut fingerprint = Fingerprint::default();
    add_labels(&mut fingerprint, labels);
    fingerprint.finish()
}

/// Adds labels to a fingerprint of labels.
pub(crate) fn add_labels(fingerprint: &mut Fingerprint, labels: &[u32]) {
    let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    fingerprint.update(&bytes);
}

/// Samples that were read at once.
#[derive(Clone, Copy)]
struct Batch<'a> {
    samples: Samples<'a>,
    count: usize,
    /// Of an input.
    width: usize,
}

impl<'a> Batch<'a> {
    fn part(self, range: &Range<usize>) -> Samples<'a> {
        part(self.samples, range, self.width)
    }
}

/// The samples at these places of a batch, with inputs of `width` elements.
pub fn part<'a>(batch: Samples<'a>, range: &Range<usize>, width: usize) -> Samples<'a> {
    Samples {
        first: batch.first + range.start,
        inputs: &batch.inputs[range.start * width..range.end * width],
        labels: batch.labels.map(|labels| &labels[range.clone()]),
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

    /// Samples that must be worked on together, so that results do not depend on what a run finds in a journal.
    pub fn block(self) -> usize {
        match self {
            BatchSize::Fixed(size) | BatchSize::Adaptive(size) => size,
        }
    }

    /// At most four times more samples, while that stays within the time of a batch; fewer when it does not.
    fn next(self, done: usize, seconds: f64) -> usize {
        match self {
            BatchSize::Fixed(size) => size,
            BatchSize::Adaptive(block) => {
                let fitting = done as f64 * BATCH_SECONDS / seconds.max(1e-9);
                let most = (4 * done).min(MOST_BATCH).max(block);
                fitting.clamp(block as f64, most as f64) as usize / block * block
            }
        }
    }
}

/// As many threads as given, or as there are processors.
///
/// # Errors
/// The system starts no more threads.
pub fn pool(threads: Option<usize>) -> Result<rayon::ThreadPool, RunError> {
    let threads = threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| RunError::misfit(format!("threads: cannot start {threads}: {e}")))
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
        provenance: Provenance::now(),
    }
}

/// The largest resident memory of this process, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
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
