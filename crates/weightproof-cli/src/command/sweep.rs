//! `sweep`: one command for every combination of some settings, as one run that can be gone on with.
//!
//! ```toml
//! command = "certify"            # settings of a command, as `--config` reads them
//! data = "mnist/"
//! radius = [0.0005, 0.001]       # both in every run
//!
//! [sweep]                        # a list for each setting that changes
//! model = ["a.onnx", "b.onnx"]
//! method = ["interval", "linear"]
//! ```
//! ```text
//! FOLDER/results/model=a.onnx/method=linear/result.json      for `report FOLDER`
//! FOLDER/results/model=a.onnx/method=linear/journal          with which a run that was stopped goes on
//! FOLDER/rows/model=a.onnx/method=linear/rows.parquet        the samples: FOLDER/rows is one data set, partitioned as Hive does it
//! ```
//! so that readers of data sets (pandas, pyarrow, DuckDB, Polars, Spark) have the settings as columns.

use super::Status;
use crate::error::Failure;
use crate::{config_file, interrupt, output};
use clap::Args;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};
use weightproof_report::features;
use weightproof_run::shard::Shard;

/// Commands whose results have samples and a journal.
const COMMANDS: [&str; 4] = ["certify", "attack", "radius", "faults"];
/// Settings that every run has its own of, or that would write into one file.
const OWN: [&str; 9] =
    ["output", "format", "json", "journal", "quiet", "config", "certificate", "witness", "critical"];
/// Most runs of one sweep.
const MOST_RUNS: usize = 100_000;
/// The table of the settings that change.
const SWEEP: &str = "sweep";
/// What a result is called in its folder.
const RESULT: &str = "result.json";

/// Arguments of `sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Settings of a command, as --config reads them, and a table [sweep] with a list for each setting that changes
    #[arg(value_name = "SWEEP")]
    pub sweep: PathBuf,
    /// Folder for results, journals and rows; the same folder goes on where it was
    #[arg(long, short, value_name = "FOLDER")]
    pub output: PathBuf,
    /// Do part I of N of the runs, counted from 1
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
    /// Print the command lines of the runs, and run nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Neither progress nor remarks on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// One combination of the settings.
struct Combination {
    /// What it is called, as a folder: `model=a.onnx/method=linear`.
    name: String,
    /// Settings of the command.
    settings: Table,
}

/// All runs of a sweep in a file.
fn read(sweep: &Path) -> Result<Vec<Combination>, Failure> {
    let text = fs::read_to_string(sweep).map_err(Failure::io(sweep))?;
    let within = |failure: Failure| failure.within(sweep);
    combinations(&config_file::table(&text).map_err(within)?).map_err(within)
}

/// The result of each run of a sweep, whose folder is `output`.
pub fn files(sweep: &Path, output: &Path) -> Result<Vec<PathBuf>, Failure> {
    let all = read(sweep)?;
    Ok(all.iter().map(|combination| combination.folders(output).0.join(RESULT)).collect())
}

/// Runs the command.
pub fn run(args: &SweepArgs) -> Result<Status, Failure> {
    let within = |failure: Failure| failure.within(&args.sweep);
    let all = read(&args.sweep)?;
    let shard: Option<Shard> = args.shard.as_deref().map(str::parse).transpose()?;
    let is_ours = |k: usize| shard.is_none_or(|shard| k % shard.of() == shard.number() - 1);
    let ours: Vec<(usize, &Combination)> = all.iter().enumerate().filter(|(k, _)| is_ours(*k)).collect();
    // Settings that are wrong are said before hours of runs.
    for (_, combination) in &ours {
        let line = combination.command_line(&args.output, "json").map_err(within)?;
        crate::check(&line).map_err(|failure| within(failure.within(Path::new(&combination.name))))?;
    }
    if args.dry_run {
        let lines: Result<Vec<String>, Failure> =
            ours.iter().map(|(_, c)| Ok(spelled(&c.command_line(&args.output, "json")?))).collect();
        let lines = lines?;
        output::write(None, |out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
        return Ok(Status::Holds);
    }
    interrupt::watch()?;
    let rows = if features::parquet().is_ok() { "parquet" } else { "csv" };
    let mut worst = Status::Holds;
    for (k, combination) in &ours {
        if !args.quiet {
            eprintln!("run {} of {}: {}", k + 1, all.len(), combination.name);
        }
        // The second reads the journal of the first, and computes nothing again.
        for format in ["json", rows] {
            match crate::run(combination.prepared(&args.output, format)?) {
                0 => {}
                1 => worst = Status::Fails,
                130 => return Ok(Status::Interrupted),
                _ => {
                    let failure = Failure::new(format!("{SWEEP}: run {} has no result", combination.name));
                    return Err(failure.hint("runs that are done stay; the same line goes on behind them"));
                }
            }
            if interrupt::requested() {
                return Ok(Status::Interrupted);
            }
        }
    }
    let (done, folder) = (ours.len(), args.output.display());
    let text = format!(
        "{done} runs of {} are in {folder}\nweightproof report {folder} -o report.html   # one page for all of them\n",
        all.len()
    );
    output::write(None, |out| out.write_all(text.as_bytes()))?;
    Ok(worst)
}

/// The results of a sweep in a folder, each with its name.
pub fn results(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let root = folder.join("results");
    let (mut folders, mut found) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Failure::io(&folder))? {
            let path = entry.map_err(Failure::io(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == RESULT) {
                let segments = folder.strip_prefix(&root).unwrap_or(&folder).iter();
                let names: Vec<String> =
                    segments.map(|segment| readable(&segment.to_string_lossy())).collect();
                found.push((names.join(" "), path));
            }
        }
    }
    if found.is_empty() {
        let expected = "expected results of `weightproof sweep` in it, found none";
        return Err(Failure::new(format!("{}: {expected}", folder.display())));
    }
    found.sort_by(|(_, a), (_, b)| a.cmp(b));
    Ok(found)
}

/// A [`segment`] for people: of a path only its end.
fn readable(segment: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), segment.as_bytes());
    while let [first, others @ ..] = rest {
        let code = others
            .first_chunk::<2>()
            .filter(|_| *first == b'%')
            .and_then(|code| std::str::from_utf8(code).ok());
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &others[2..] } else { others };
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match text.split_once('=') {
        Some((key, path)) => format!("{key}={}", path.rsplit('/').next().unwrap_or(path)),
        None => text,
    }
}

/// All combinations of the lists of `[sweep]`, each with the other settings.
fn combinations(table: &Table) -> Result<Vec<Combination>, Failure> {
    let mut base = table.clone();
    let Some(Value::Table(sweep)) = base.remove(SWEEP) else {
        let failure = Failure::new(format!("{SWEEP}: expected a table of lists, found none"));
        return Err(failure.hint("[sweep]\nmethod = [\"interval\", \"linear\"]"));
    };
    let command = base.get("command").and_then(Value::as_str).unwrap_or_default();
    if !COMMANDS.contains(&command) {
        let expected = COMMANDS.join(", ");
        return Err(Failure::new(format!("command: expected one of {expected}, found {command:?}")));
    }
    let mut all = vec![(String::new(), base)];
    for (key, values) in &sweep {
        let Value::Array(values) = values else {
            return Err(Failure::new(format!("{SWEEP}.{key}: expected a list of values, found {values}")));
        };
        if values.is_empty() || all.len().saturating_mul(values.len()) > MOST_RUNS {
            let runs = all.len().saturating_mul(values.len());
            return Err(Failure::new(format!("{SWEEP}.{key}: expected 1 to {MOST_RUNS} runs, found {runs}")));
        }
        let mut more = Vec::with_capacity(all.len() * values.len());
        for (name, settings) in &all {
            for value in values {
                let mut settings = settings.clone();
                if settings.insert(key.clone(), value.clone()).is_some() {
                    return Err(Failure::new(format!("{key}: expected once, found beside and in [{SWEEP}]")));
                }
                let slash = if name.is_empty() { "" } else { "/" };
                more.push((format!("{name}{slash}{key}={}", segment(value)), settings));
            }
        }
        all = more;
    }
    if let Some(key) = OWN.into_iter().find(|key| all.iter().any(|(_, s)| s.contains_key(*key))) {
        return Err(Failure::new(format!(
            "{key}: expected none, found one: runs would write into the same file"
        )));
    }
    let mut names: Vec<&String> = all.iter().map(|(name, _)| name).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Failure::new(format!(
            "{SWEEP}: expected every combination once, found {} twice",
            pair[0]
        )));
    }
    Ok(all.into_iter().map(|(name, settings)| Combination { name, settings }).collect())
}

/// A value as part of a path, with what a path cannot have as in addresses of the web.
fn segment(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values
            .iter()
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(","),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => {
            value.to_string()
        }
    };
    let mut safe = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.,+@".contains(&byte) {
            safe.push(char::from(byte));
        } else {
            // Nothing fails to be written to a text.
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    safe
}

impl Combination {
    /// The arguments of its run.
    fn command_line(&self, folder: &Path, format: &str) -> Result<Vec<OsString>, Failure> {
        let (results, rows) = self.folders(folder);
        let output =
            if format == "json" { results.join(RESULT) } else { rows.join(format!("rows.{format}")) };
        let mut settings = self.settings.clone();
        let path = |path: PathBuf| {
            let text = path.into_os_string().into_string();
            text.map_err(|_| Failure::new("output: expected a Unicode path, found another"))
        };
        settings.insert("output".into(), Value::from(path(output)?));
        settings.insert("journal".into(), Value::from(path(results.join("journal"))?));
        settings.insert("format".into(), Value::from(format));
        settings.insert("quiet".into(), Value::from(true));
        config_file::command_line(&settings)
    }

    /// The same, when its folders are there.
    fn prepared(&self, folder: &Path, format: &str) -> Result<Vec<OsString>, Failure> {
        let (results, rows) = self.folders(folder);
        for folder in [results, rows] {
            fs::create_dir_all(&folder).map_err(Failure::io(&folder))?;
        }
        self.command_line(folder, format)
    }

    fn folders(&self, folder: &Path) -> (PathBuf, PathBuf) {
        (folder.join("results").join(&self.name), folder.join("rows").join(&self.name))
    }
}

/// A command line as a shell reads it.
fn spelled(words: &[OsString]) -> String {
    let word = |word: &OsString| {
        let text = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let found = combinations(&config_file::table(text).unwrap());
        found.map(|all| all.into_iter().map(|c| c.name).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn combinations_are_all_products_of_the_lists() {
        let text =
            "command = 'certify'\n[sweep]\nmethod = ['linear', 'interval']\nradius = [0.001, [1e-4, 2e-4]]";
        assert_eq!(
            names(text).unwrap(),
            [
                "method=linear/radius=0.001",
                "method=linear/radius=0.0001,0.0002",
                "method=interval/radius=0.001",
                "method=interval/radius=0.0001,0.0002"
            ]
        );
        assert_eq!(segment(&Value::from("a b/ü")), "a%20b%2F%C3%BC");
        assert_eq!(readable("model=a%20b%2F%C3%BC"), "model=ü");
        assert_eq!(readable("radius=0.1%2"), "radius=0.1%2");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("command = 'certify'", "expected a table of lists"),
            ("command = 'train'\n[sweep]\nseed = [1]", "expected one of certify, attack"),
            ("command = 'certify'\n[sweep]\nradius = 0.1", "sweep.radius: expected a list"),
            ("command = 'certify'\n[sweep]\nradius = []", "sweep.radius: expected 1 to 100000 runs, found 0"),
            ("command = 'certify'\nradius = 1\n[sweep]\nradius = [1]", "radius: expected once"),
            ("command = 'certify'\noutput = 'x'\n[sweep]\nradius = [1]", "output: expected none"),
            ("command = 'certify'\n[sweep]\nradius = [1, 1]", "found radius=1 twice"),
        ] {
            let error = names(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
