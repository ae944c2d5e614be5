//! A file that keeps what is settled, so that a run that was killed goes on where it was.
//!
//! ```text
//! {"schema": "weightproof/journal/1", …}     all that results depend on
//! {"set": 0, "index": 17, …}                 one line for each settled sample and radius
//! {"report": {…}}                            of a part (`--shard`) that is done: what its report has above the samples
//! ```
//! The file is locked while a run writes it: a second run is refused, whose lines would overwrite those of the first.
//!
//! Lines are believed as they are: a journal is as trustworthy as whoever can write to it.

use crate::RunError;
use crate::entry::Entry;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use weightproof_formats::FormatError;
use weightproof_report::{JOURNAL as SCHEMA, JOURNAL_REPORT};

/// The longest line that is read.
const MOST_BYTES: u64 = 1 << 24;

/// Records by set and index of the sample.
pub type Settled<R> = HashMap<(usize, usize), R>;

/// The end of the file, where lines are added.
#[derive(Debug)]
pub struct Journal {
    out: BufWriter<File>,
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Line<R> {
    set: usize,
    #[serde(flatten)]
    record: R,
}

impl Journal {
    /// Reads what is settled, or starts a new file; `identity` is an object with all that results depend on.
    ///
    /// A last line without an end was being written when the run was killed: it is overwritten.
    ///
    /// # Errors
    /// The file cannot be read or written, another run writes it, or it is no journal of this run; then nothing in it is
    /// changed.
    pub fn open<R: Entry>(path: &Path, identity: &Value) -> Result<(Settled<R>, Journal), RunError> {
        let header = header(identity);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(FormatError::io(path))?;
        if !file.metadata().map_err(FormatError::io(path))?.is_file() {
            return Err(RunError::misfit(format!("{}: expected a file for the journal", path.display())));
        }
        lock(&file, path)?;
        let (settled, end) = read(&file, &header).map_err(|error| error.in_file(path))?;
        let prepared = file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end)));
        prepared.map_err(FormatError::io(path))?;
        let mut journal = Journal { out: BufWriter::new(file), path: path.into() };
        if end == 0 {
            journal.write(|out| out.write_all(header.as_bytes()))?;
        }
        Ok((settled, journal))
    }

    /// Adds samples that are settled for set `set`, without those whose numbers are not all finite: JSON has no others.
    ///
    /// # Errors
    /// A line cannot be written.
    pub fn append<'r, R: Entry + 'r>(
        &mut self,
        set: usize,
        records: impl IntoIterator<Item = &'r R>,
    ) -> Result<(), RunError> {
        let mut lines = records.into_iter().filter_map(|record| line(set, record));
        self.write(|out| lines.try_for_each(|line| out.write_all(line.as_bytes())))
    }

    /// Says what the report of the run has above its samples; with it, the journal of a part can be merged.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn finish(&mut self, head: &Value) -> Result<(), RunError> {
        self.write(|out| writeln!(out, "{JOURNAL_REPORT}{head}}}"))
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), RunError> {
        let written = write(&mut self.out).and_then(|()| self.out.flush());
        written.map_err(FormatError::io(&self.path)).map_err(RunError::from)
    }
}

/// Locks the file until it is closed.
///
/// # Errors
/// Another run has locked it, or the file system has no locks.
fn lock(file: &File, path: &Path) -> Result<(), RunError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(RunError::Misfit {
            message: format!("{}: expected a journal that no run is using, found it locked", path.display()),
            hint: Some("wait until the other run ends, or give a file of its own"),
        }),
        Err(TryLockError::Error(error)) => Err(FormatError::io(path)(error).into()),
    }
}

/// The line of a record; none where it would not read back as it is, because a number in it is not finite.
fn line<R: Entry>(set: usize, record: &R) -> Option<String> {
    let line = serde_json::to_string(&Line { set, record }).ok()?;
    let read: Line<R> = serde_json::from_slice(line.as_bytes()).ok()?;
    (serde_json::to_string(&read).ok()? == line).then(|| line + "\n")
}

/// The first line.
fn header(identity: &Value) -> String {
    let mut header = identity.clone();
    header["schema"] = SCHEMA.into();
    format!("{header}\n")
}

/// Why a journal is not read.
#[derive(Debug)]
enum Unread {
    Io(io::Error),
    Wrong { message: String, hint: Option<&'static str> },
}

impl Unread {
    fn in_file(self, path: &Path) -> RunError {
        match self {
            Unread::Io(error) => FormatError::io(path)(error).into(),
            Unread::Wrong { message, hint } => {
                RunError::Misfit { message: format!("{}: {message}", path.display()), hint }
            }
        }
    }
}

/// The samples in the text of a journal of the run that `identity` describes.
///
/// # Errors
/// What is wrong, and where: the text is no journal, or that of another run, or a line is no settled sample.
pub fn parse<R: Entry>(text: &[u8], identity: &Value) -> Result<Settled<R>, RunError> {
    let found = read(text, &header(identity)).map_err(|error| error.in_file(Path::new("journal")))?;
    Ok(found.0)
}

/// Samples of the journal, and where its last whole line ends.
fn read<R: Entry>(source: impl Read, header: &str) -> Result<(Settled<R>, u64), Unread> {
    let mut reader = BufReader::new(source);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        reader.by_ref().take(MOST_BYTES).read_until(b'\n', line).map_err(Unread::Io)
    };
    let mut end = next(&mut line)? as u64;
    let mut settled = Settled::new();
    if line != header.as_bytes() {
        // Nothing, or a part of the first line.
        let torn = header.as_bytes().starts_with(&line);
        return if torn { Ok((settled, 0)) } else { Err(foreign(header, &line)) };
    }
    for number in 2.. {
        let length = next(&mut line)? as u64;
        if line.last() != Some(&b'\n') && length < MOST_BYTES {
            break;
        }
        if line.starts_with(JOURNAL_REPORT.as_bytes()) {
            end += length;
            continue;
        }
        let Line { set, record } = serde_json::from_slice::<Line<R>>(&line).map_err(|error| {
            let message = format!("line {number}: expected a settled sample: {error}");
            Unread::Wrong { message, hint: None }
        })?;
        settled.insert((set, record.index()), record);
        end += length;
    }
    Ok((settled, end))
}

/// The error for a file that begins with another line.
fn foreign(header: &str, line: &[u8]) -> Unread {
    let parse = |line: &[u8]| serde_json::from_slice::<Value>(line).unwrap_or_default();
    let (ours, theirs) = (parse(header.as_bytes()), parse(line));
    if theirs["schema"] != SCHEMA {
        let message = "expected a journal, found another file".into();
        return Unread::Wrong { message, hint: Some("a journal is a file of its own: give another name") };
    }
    let differing = differing(&ours, &theirs);
    let message = format!("expected the journal of this run, found that of another: {differing}");
    Unread::Wrong { message, hint: Some("give a new file, or the settings and the build of that run") }
}

/// The names of what differs between the identities of two runs.
pub(crate) fn differing(ours: &Value, theirs: &Value) -> String {
    let keys: BTreeSet<&String> =
        [ours, theirs].iter().filter_map(|run| run.as_object()).flat_map(Map::keys).collect();
    let differing: Vec<&str> =
        keys.into_iter().filter(|key| ours[*key] != theirs[*key]).map(String::as_str).collect();
    differing.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;
    use weightproof_report::ExactRecord;
    use weightproof_testkit::damage::damaged;

    fn record(index: usize, reason: Option<&str>) -> ExactRecord {
        let verdict = if reason.is_some() { "unknown" } else { "verified" };
        serde_json::from_value(json!({
            "index": index, "label": 3, "predicted": 3, "margin": 0.1, "margin_lower": null, "runner_up": 1,
            "verdict": verdict, "reason": reason, "worst_margin": 0.3, "nodes": 7, "seconds": 0.5, "witness": null
        }))
        .unwrap()
    }

    #[test]
    fn limits_are_tried_again() {
        let settled = |reason| record(0, reason).is_settled();
        assert!(settled(None) && settled(Some("incomplete")));
        assert!(
            ["time-limit", "node-limit", "memory-limit", "interrupted"]
                .iter()
                .all(|limit| !settled(Some(limit)))
        );
    }

    #[test]
    fn numbers_that_json_lacks_are_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (_, mut journal) = Journal::open::<ExactRecord>(&path, &json!({})).unwrap();
        let mut infinite = record(1, None);
        infinite.certify.deviation_upper = Some(f64::INFINITY);
        let mut unknown = record(2, None);
        unknown.worst_margin = f64::NAN;
        journal.append(0, [&infinite, &unknown, &record(3, None)]).unwrap();
        drop(journal);
        let (settled, _) = Journal::open::<ExactRecord>(&path, &json!({})).unwrap();
        assert_eq!(settled.keys().collect::<Vec<_>>(), [&(0, 3)]);
    }

    #[test]
    fn lines_read_back_and_a_torn_one_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let open = || Journal::open::<ExactRecord>(&path, &json!({ "seed": 1 }));
        let (settled, mut journal) = open().unwrap();
        assert!(settled.is_empty());
        let (mut odd, plain) = (record(5, None), record(6, None));
        (odd.certify.margin, odd.worst_margin) = (0.1 + 0.2, 5e-324);
        [&odd, &plain].into_iter().for_each(|record| journal.append(1, [record]).unwrap());
        let whole = fs::read(&path).unwrap();
        drop(journal);
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (settled, mut journal) = open().unwrap();
            let lines = whole[..cut].iter().filter(|b| **b == b'\n').count();
            assert_eq!(settled.len(), lines.saturating_sub(1), "{cut}");
            let missing = [&odd, &plain].into_iter().skip(settled.len());
            missing.for_each(|record| journal.append(1, [record]).unwrap());
            assert_eq!(fs::read(&path).unwrap(), whole, "{cut}");
        }
        let (settled, _) = open().unwrap();
        let read = &settled[&(1, 5)];
        assert_eq!((read.certify.margin, read.worst_margin), (0.1 + 0.2, 5e-324));
        assert_eq!(read.certify.margin_lower, f64::NEG_INFINITY);
    }

    #[test]
    fn a_second_run_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let open = || Journal::open::<ExactRecord>(&path, &json!({ "seed": 1 }));
        let (_, mut first) = open().unwrap();
        first.append(0, [&record(5, None)]).unwrap();
        let error = open().unwrap_err();
        let expected =
            format!("{}: expected a journal that no run is using, found it locked", path.display());
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some_and(|hint| hint.contains("a file of its own")));
        // The first run is not disturbed.
        first.append(0, [&record(6, None)]).unwrap();
        drop(first);
        assert_eq!(open().unwrap().0.len(), 2);
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let open =
            |seed| Journal::open::<ExactRecord>(&path, &json!({ "seed": seed, "gap": null })).map(|_| ());
        for garbage in ["hello", "hello\n", "{}\n", "\n", "\0\0", "[1]\n", "{\"gap\":null,\"seed\":1}\n"] {
            fs::write(&path, garbage).unwrap();
            let error = open(1).unwrap_err().to_string();
            assert!(error.contains("expected a journal"), "{garbage:?}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), garbage);
        }
        fs::remove_file(&path).unwrap();
        open(1).unwrap();
        let error = open(2).unwrap_err().to_string();
        assert!(error.contains("found that of another: seed"), "{error}");
        let text = fs::read_to_string(&path).unwrap() + "{\"set\":0}\n";
        fs::write(&path, &text).unwrap();
        assert!(open(1).unwrap_err().to_string().contains("line 2: expected a settled sample"));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(Journal::open::<ExactRecord>(folder.path(), &json!({})).is_err());
    }

    /// A short fuzz: damaged bytes give samples or an error, never a panic; `parse` sees what `open` sees.
    #[test]
    fn mutated_journals_never_panic() {
        let identity = json!({ "seed": 1 });
        let line = |index| line(0, &record(index, None)).unwrap();
        let whole = header(&identity) + &line(5) + &line(6);
        assert_eq!(parse::<ExactRecord>(whole.as_bytes(), &identity).unwrap().len(), 2);
        let mut errors = 0;
        let mut samples = 0;
        for damaged in damaged(&whole, 4000) {
            match parse::<ExactRecord>(&damaged, &identity) {
                Ok(settled) => samples += settled.len(),
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    errors += 1;
                }
            }
        }
        assert!(errors > 1000 && samples > 100, "both happen: {errors} {samples}");
    }
}
