//! Settings of a command in a file: `--config run.toml` reads it, `--print-config` writes it.
//!
//! A file is a command line written down. Its keys are the names of options, without dashes in front, and of arguments (`model`, `data`);
//! its values are read as if they stood on the command line, where whatever is said again takes precedence. So every command has a file
//! without a line of code, and what it may say is what the command's help says. `train` has tables of its own settings beside them.

use crate::error::Failure;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use toml::de::DeTable;
use toml::{Table, Value};

/// Arguments that a file cannot have.
const NOT_IN_FILES: [&str; 4] = ["config", "print-config", "help", "version"];

/// The key that says whose settings a file has.
const COMMAND: &str = "command";

/// Keys of `train` that its options and its own settings share, with the same meaning.
const SHARED_WITH_TRAIN: [&str; 5] = ["epochs", "batch", "seed", "gradient-clip", "weight-limit"];

/// Options of `train` that its own settings do not have.
const BESIDE_TRAIN: [&str; 14] = [
    "data",
    "output",
    "resume",
    "labels",
    "unlabelled-csv",
    "header",
    "scale",
    "split",
    "offset",
    "samples",
    "layout",
    "mean",
    "std",
    "threads",
];

/// The arguments with those of the file of `--config` among them, where there is one.
pub fn expand(arguments: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let mut program = crate::args::Cli::command();
    program.build();
    // What is wrong with the arguments is said when they are read with those of the file.
    let Ok(matches) = program.clone().ignore_errors(true).try_get_matches_from(&arguments) else {
        return Ok(arguments);
    };
    let Some((name, given)) = matches.subcommand() else { return Ok(arguments) };
    let Some(command) = program.find_subcommand(name) else { return Ok(arguments) };
    let path = given.try_get_one::<std::path::PathBuf>("config").ok().flatten();
    let Some(path) = path else { return Ok(arguments) };
    let text = fs::read_to_string(path).map_err(Failure::io(path))?;
    let table = table(&text).map_err(|failure| failure.within(path))?;
    let found = words(command, given, &table).map_err(|failure| failure.within(path))?;
    Ok(found.into(arguments))
}

/// The command line that settings are: those of a file with the name of the command in it.
pub fn command_line(settings: &Table) -> Result<Vec<OsString>, Failure> {
    let mut program = crate::args::Cli::command();
    program.build();
    let name = settings.get(COMMAND).and_then(Value::as_str).unwrap_or_default();
    let arguments = vec![OsString::from("weightproof"), OsString::from(name)];
    // What is missing so far stands in the settings.
    let none = program.clone().ignore_errors(true).try_get_matches_from(&arguments);
    let none = none.as_ref().ok().and_then(ArgMatches::subcommand);
    let (Some(command), Some((_, none))) = (program.find_subcommand(name), none) else {
        return Err(Failure::new(format!("{COMMAND}: expected the name of a command, found {name:?}")));
    };
    Ok(words(command, none, settings)?.into(arguments))
}

/// What a file adds to the arguments.
#[derive(Default)]
struct Words {
    options: Vec<String>,
    positional: Vec<String>,
}

impl Words {
    /// Options behind the name of the command, positional arguments behind those given.
    fn into(self, mut arguments: Vec<OsString>) -> Vec<OsString> {
        let rest = arguments.split_off(arguments.len().min(2));
        arguments.extend(self.options.into_iter().map(OsString::from));
        let separated = rest.iter().any(|word| word == "--");
        arguments.extend(rest);
        if !self.positional.is_empty() && !separated {
            arguments.push("--".into());
        }
        arguments.extend(self.positional.into_iter().map(OsString::from));
        arguments
    }
}

/// The settings that a text is.
pub fn table(text: &str) -> Result<Table, Failure> {
    text.parse::<Table>().map_err(|error| {
        let line = error.span().map_or(0, |span| 1 + text[..span.start].matches('\n').count());
        Failure::new(format!("line {line}: {}", error.message().trim_end()))
    })
}

/// The words that the settings of `table` are, without those that `given` replaces.
fn words(command: &Command, given: &ArgMatches, table: &Table) -> Result<Words, Failure> {
    let is_given = |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let own = own_settings(command, table);
    let mut settings: Vec<(&Arg, Vec<String>)> = Vec::new();
    for (key, value) in table.iter().filter(|(key, _)| !own.contains(&key.as_str())) {
        if key == COMMAND {
            check_command(command, value)?;
            continue;
        }
        let arg = find(command, key, value).ok_or_else(|| {
            let name = command.get_name();
            Failure::new(format!("expected a setting of {name}, found {key}"))
                .hint(format!("`weightproof {name} --help` has all of them"))
        })?;
        let texts = texts(arg, key, value)?;
        if !command.get_arguments().any(|other| is_given(other) && excludes(command, arg, other)) {
            settings.push((arg, texts));
        }
    }
    let mut words = Words::default();
    for (arg, texts) in settings.iter().filter(|(arg, _)| !arg.is_positional()) {
        let word = |text: &String| match is_flag(arg) {
            true => format!("--{}", key_of(arg)),
            false => format!("--{}={text}", key_of(arg)),
        };
        words.options.extend(texts.iter().map(word));
    }
    let mut missing = None;
    for arg in command.get_positionals().filter(|arg| !is_given(arg)) {
        match (settings.iter().find(|(other, _)| other.get_id() == arg.get_id()), missing) {
            (None, _) => missing = missing.or(Some(key_of(arg))),
            (Some(_), Some(earlier)) => {
                return Err(Failure::new(format!("expected {earlier} beside {}, found none", key_of(arg))));
            }
            (Some((_, texts)), None) => words.positional.extend(texts.iter().cloned()),
        }
    }
    Ok(words)
}

fn check_command(command: &Command, value: &Value) -> Result<(), Failure> {
    let (expected, found) = (command.get_name(), value.as_str());
    if found == Some(expected) {
        return Ok(());
    }
    let found = found.map_or_else(|| value.to_string(), str::to_owned);
    Err(Failure::new(format!("expected settings of {expected}, found those of {found}")))
}

/// What an argument is called in a file.
fn key_of(arg: &Arg) -> &str {
    arg.get_long().unwrap_or(arg.get_id().as_str())
}

/// The argument that a key means; where an argument and an option share it, as `data` does, the option when it has the value.
fn find<'a>(command: &'a Command, key: &str, value: &Value) -> Option<&'a Arg> {
    let in_files = |arg: &&Arg| key_of(arg) == key && !NOT_IN_FILES.contains(&key);
    let named: Vec<&Arg> = command.get_arguments().filter(in_files).collect();
    let possible = |arg: &&Arg| {
        arg.get_possible_values().iter().any(|possible| value.as_str() == Some(possible.get_name()))
    };
    let option =
        named.iter().copied().find(|arg| !arg.is_positional() && (named.len() == 1 || possible(arg)));
    option.or_else(|| named.into_iter().find(|arg| arg.is_positional()))
}

/// Whether `arg` must not stand beside `given`, or is the same.
fn excludes(command: &Command, arg: &Arg, given: &Arg) -> bool {
    let of =
        |a: &Arg, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|other| other.get_id() == b.get_id());
    arg.get_id() == given.get_id() || of(arg, given) || of(given, arg)
}

fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Whether an argument is a list of words, each written on its own.
fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append) || arg.get_value_delimiter().is_some()
}

/// A value as words of the command line: several for lists, one or none for a flag.
fn texts(arg: &Arg, key: &str, value: &Value) -> Result<Vec<String>, Failure> {
    let wrong = |expected: &str, found: &Value| {
        Err(Failure::new(format!("{key}: expected {expected}, found {found}")))
    };
    if is_flag(arg) {
        return match value.as_bool() {
            Some(given) => Ok(if given { vec![String::new()] } else { Vec::new() }),
            None => wrong("true or false", value),
        };
    }
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            wrong("a text, a number or a list of them", value).map(|_: Vec<String>| String::new())
        }
    };
    let Value::Array(values) = value else { return Ok(vec![one(value)?]) };
    let texts = values.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(if is_list(arg) { texts } else { vec![texts.join(",")] })
}

/// The settings of `train` itself: tables, and what it shares with its options where there are tables.
fn own_settings<'a>(command: &Command, table: &'a Table) -> Vec<&'a str> {
    if command.get_name() != "train" {
        return Vec::new();
    }
    let is_table = |value: &Value| match value {
        Value::Table(_) => true,
        Value::Array(values) => values.iter().any(Value::is_table),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            false
        }
    };
    let tables: Vec<&str> = table.iter().filter(|(_, v)| is_table(v)).map(|(key, _)| key.as_str()).collect();
    let shared = |key: &&str| !tables.is_empty() && table.contains_key(*key);
    let shared: Vec<&str> = table
        .keys()
        .map(String::as_str)
        .filter(|key| SHARED_WITH_TRAIN.contains(key))
        .filter(shared)
        .collect();
    tables.into_iter().chain(shared).collect()
}

/// The text of the settings of `train` itself in a file, where it has any; what is not of them is blank, so that lines keep their
/// numbers.
pub fn of_train(path: &Path) -> Result<Option<String>, Failure> {
    let text = fs::read_to_string(path).map_err(Failure::io(path))?;
    let command = crate::args::Cli::command();
    let Some(command) = command.find_subcommand("train") else { return Ok(None) };
    let table = table(&text).map_err(|failure| failure.within(path))?;
    let own = own_settings(command, &table);
    if own.is_empty() {
        return Ok(None);
    }
    let spans = DeTable::parse(&text).map_err(|error| Failure::new(error.to_string()).within(path))?;
    let mut bytes = text.clone().into_bytes();
    for (key, value) in spans.get_ref() {
        if !own.contains(&key.get_ref().as_ref()) {
            for byte in &mut bytes[key.span().start..value.span().end] {
                *byte = if *byte == b'\n' { b'\n' } else { b' ' };
            }
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The settings of a command line as a file: all that have a value, with the defaults.
///
/// # Errors
/// A name of a file that is not Unicode.
pub fn print(command: &Command, given: &ArgMatches, own: Option<&str>) -> Result<String, Failure> {
    let source = |arg: &Arg| given.value_source(arg.get_id().as_str());
    let is_given = |arg: &Arg| source(arg) == Some(ValueSource::CommandLine);
    let mut text = format!("{COMMAND} = {}\n", Value::from(command.get_name()));
    for arg in command.get_arguments() {
        let (key, id) = (key_of(arg), arg.get_id().as_str());
        let replaced =
            || command.get_arguments().any(|other| is_given(other) && excludes(command, arg, other));
        if NOT_IN_FILES.contains(&key) || source(arg).is_none() || !is_given(arg) && replaced() {
            continue;
        }
        // What `train` has as settings of its own stands in them.
        if own.is_some() && !BESIDE_TRAIN.contains(&key) {
            continue;
        }
        if is_flag(arg) {
            if given.get_flag(id) {
                text += &format!("{key} = true\n");
            }
            continue;
        }
        let words: Option<Vec<&str>> =
            given.get_raw(id).into_iter().flatten().map(|word| word.to_str()).collect();
        let words =
            words.ok_or_else(|| Failure::new(format!("{key}: expected Unicode, found another text")))?;
        let value = match words.as_slice() {
            [word] if !is_list(arg) => value(word),
            words => words.iter().copied().map(Value::from).collect::<Vec<_>>().into(),
        };
        text += &format!("{key} = {value}\n");
    }
    own.iter().for_each(|own| text += &format!("\n{own}"));
    Ok(text)
}

/// A word as a number or a list of numbers where that reads back as the same word, else as a text.
fn value(word: &str) -> Value {
    let number = |word: &str| {
        let integer = word.parse::<i64>().ok().map(Value::from);
        let float =
            word.parse::<f64>().ok().filter(|v| v.is_finite() && v.to_string() == word).map(Value::from);
        integer.filter(|v| v.to_string() == word).or(float)
    };
    let list = || word.split(',').map(number).collect::<Option<Vec<_>>>().map(Value::from);
    number(word).or_else(|| list().filter(|_| word.contains(','))).unwrap_or_else(|| word.into())
}
