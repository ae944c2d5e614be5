//! Runs the binary and compares what it says with what is stored.

#![allow(dead_code, missing_docs)]

use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How far numbers may lie apart: machines sum in different orders, and searches end elsewhere then. Values are tested elsewhere.
const RELATIVE: f64 = 5e-2;
const ABSOLUTE: f64 = 2e-3;

/// A command line.
pub struct Run {
    args: Vec<String>,
    folder: Option<PathBuf>,
}

/// What a command line gave.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn new<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Self {
        Run { args: args.into_iter().map(Into::into).collect(), folder: None }
    }

    /// Runs in this folder, so that messages name files without it.
    pub fn within(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.into());
        self
    }

    pub fn spawn(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weightproof"));
        command.args(&self.args).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        command.env_remove("COLUMNS").env("NO_COLOR", "1");
        self.folder.iter().for_each(|folder| {
            command.current_dir(folder);
        });
        command.spawn().unwrap()
    }

    pub fn output(&self) -> Output {
        finish(&mut self.spawn())
    }

    /// The command line with the file names that depend on the machine shortened.
    fn line(&self) -> String {
        let short = |arg: &String| match arg.contains("assets/") {
            true => Path::new(arg).file_name().unwrap().to_string_lossy().into_owned(),
            false => arg.clone(),
        };
        let words = std::iter::once("weightproof".to_owned()).chain(self.args.iter().map(short));
        words.map(|word| if word.is_empty() { "''".into() } else { word }).collect::<Vec<_>>().join(" ")
    }
}

pub fn finish(child: &mut Child) -> Output {
    let mut error = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        error.read_to_string(&mut text).unwrap();
        text
    });
    let mut stdout = String::new();
    child.stdout.take().iter_mut().for_each(|out| {
        out.read_to_string(&mut stdout).unwrap();
    });
    let code = child.wait().unwrap().code();
    Output { code, stdout, stderr: errors.join().unwrap() }
}

/// Compares exit code, standard output and standard error.
pub fn check(name: &str, run: &Run) {
    let output = run.output();
    let lines = output.stdout.lines().filter(|line| !line.starts_with("time "));
    let stdout: Vec<String> = lines.map(without_seconds).collect();
    let (stdout, stderr) = (stdout.join("\n"), output.stderr.trim_end());
    let code = output.code.map_or_else(|| "none".into(), |code| code.to_string());
    let found = format!(
        "$ {}\nexit code {code}\n--- standard output\n{stdout}\n--- standard error\n{stderr}\n",
        run.line()
    );
    let Some(expected) = stored(&format!("{name}.txt"), &found) else { return };
    assert!(same_text(&expected, &found), "{name}: expected\n{expected}\nfound\n{found}");
}

/// Compares a text.
pub fn check_text(name: &str, found: &str) {
    let Some(expected) = stored(&format!("{name}.txt"), found) else { return };
    let differs = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
    assert!(expected == found, "{name}: first difference {differs:?}");
}

/// Compares the exit code and the parsed standard output, without `environment`.
pub fn check_json(name: &str, run: &Run) {
    let output = run.output();
    let mut found: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let environment = found.as_object_mut().unwrap().remove("environment");
    assert!(environment.is_some_and(|e| e["seconds"].is_number() && e["version"].is_string()));
    clear_seconds(&mut found);
    found["exit code"] = output.code.into();
    let text = serde_json::to_string_pretty(&found).unwrap() + "\n";
    let Some(expected) = stored(&format!("{name}.json"), &text) else { return };
    let expected = serde_json::from_str(&expected).unwrap();
    same_json(&expected, &found, &mut vec![name.into()]);
}

/// A row without the time at its end.
pub fn without_seconds(line: &str) -> String {
    let number = line.strip_suffix(" s").and_then(|row| row.rsplit_once(' '));
    match number.filter(|(_, number)| number.parse::<f64>().is_ok()) {
        Some((row, _)) => format!("{row} … s"),
        None => line.into(),
    }
}

/// Sets the times of samples to zero.
pub fn clear_seconds(report: &mut Value) {
    match report {
        Value::Object(fields) => {
            let seconds =
                fields.get_mut("seconds").filter(|seconds| seconds.as_f64().is_some_and(|s| s >= 0.0));
            seconds.into_iter().for_each(|seconds| *seconds = 0.into());
            fields.values_mut().for_each(clear_seconds);
        }
        Value::Array(items) => items.iter_mut().for_each(clear_seconds),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The stored text, unless it was just written.
fn stored(file: &str, found: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(file);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(path, found).unwrap();
        return None;
    }
    Some(fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= ABSOLUTE * a.abs().min(1.0) + RELATIVE * a.abs().max(b.abs())
}

/// Whether two texts have the same words, numbers near each other.
pub fn same_text(a: &str, b: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let separate = |c: char| c.is_whitespace() || c == ',';
        text.lines()
            .flat_map(|line| line.split(separate).chain(["\n"]))
            .filter(|w| !w.is_empty())
            .map(Into::into)
            .collect()
    };
    let number = |word: &str| word.trim_end_matches('%').parse::<f64>().ok();
    let close = |a: &str, b: &str| number(a).zip(number(b)).is_some_and(|(x, y)| near(x, y));
    let same = |(a, b): (&String, &String)| a == b || close(a, b);
    let (a, b) = (words(a), words(b));
    a.len() == b.len() && a.iter().zip(&b).all(same)
}

/// Panics unless two values are the same, numbers near each other.
pub fn same_json(a: &Value, b: &Value, path: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys = |o: &serde_json::Map<String, Value>| o.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(x), keys(y), "keys of {}", path.join("."));
            for (key, value) in x {
                path.push(key.clone());
                same_json(value, &y[key], path);
                path.pop();
            }
        }
        (Value::Array(x), Value::Array(y)) => {
            assert_eq!(x.len(), y.len(), "length of {}", path.join("."));
            for (k, (x, y)) in x.iter().zip(y).enumerate() {
                path.push(k.to_string());
                same_json(x, y, path);
                path.pop();
            }
        }
        (Value::Number(x), Value::Number(y)) if x.is_f64() || y.is_f64() => {
            assert!(near(x.as_f64().unwrap(), y.as_f64().unwrap()), "{}: {x} and {y}", path.join("."));
        }
        _ => assert_eq!(a, b, "{}", path.join(".")),
    }
}
