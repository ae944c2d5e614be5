//! `weightproof-check CERTIFICATE --model network.onnx`: exit code 0 when every record is accepted, 1 when not, 2 for input errors.

use std::collections::HashMap;
use std::fs::{File, read};
use std::io::{BufReader, Write, stdout};
use std::process::ExitCode;
use std::thread::available_parallelism;
use weightproof_check::run::{Opened, Problem, claim, sha256};

const USAGE: &str =
    "usage: weightproof-check CERTIFICATE --model network.onnx [--data FILE] [--explain SAMPLE] [--threads N]

Repeats every proof of a certificate in exact integer arithmetic.

  --model FILE       the network; its SHA-256 and every parameter are compared with the certificate
  --data FILE        compare the SHA-256 of the data, too
  --explain SAMPLE   print the proof of one sample in steps
  --threads N        number of threads; all cores by default

exit codes: 0 every record is accepted, 1 something is rejected, 2 a file cannot be read or is not supported";

fn main() -> ExitCode {
    if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem @ Problem::Rejected(_)) => {
            println!("{problem}");
            ExitCode::from(1)
        }
        Err(Problem::Input(error)) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Values of the options by their names; that of the certificate by "".
fn arguments() -> Result<HashMap<String, String>, String> {
    let mut arguments = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let is_option = ["--model", "--data", "--explain", "--threads"].contains(&word.as_str());
        let (name, value) = if is_option { (word, words.next()) } else { (String::new(), Some(word)) };
        let value =
            value.filter(|value| !value.starts_with('-')).ok_or(format!("{name}: not expected here"))?;
        if arguments.insert(name.clone(), value).is_some() {
            return Err(format!("{name}: given twice"));
        }
    }
    let is_complete = arguments.contains_key("") && arguments.contains_key("--model");
    if is_complete { Ok(arguments) } else { Err("expected a certificate and --model".into()) }
}

/// Whether every record is accepted.
fn run() -> Result<bool, Problem> {
    let usage = |error| Problem::Input(format!("{error}\n\n{USAGE}"));
    let arguments = arguments().map_err(usage)?;
    let number = |name: &str| arguments.get(name).map(|text| text.parse::<usize>()).transpose();
    let number = |name: &str| number(name).map_err(|error| usage(format!("{name}: {error}")));
    let (sample, threads) = (number("--explain")?, number("--threads")?);
    let unreadable = |path: &str, error| Problem::Input(format!("{path}: {error}"));
    let bytes = |path: &str| read(path).map_err(|error| unreadable(path, error));
    let file = File::open(&arguments[""]).map_err(|error| unreadable(&arguments[""], error))?;
    let mut opened = Opened::new(BufReader::new(file), &bytes(&arguments["--model"])?)?;
    if let Some(data) = arguments.get("--data") {
        let found = sha256(&bytes(data)?);
        if opened.header.data_sha256.as_ref() != Some(&found) {
            let expected = opened.header.data_sha256.as_deref().unwrap_or("none");
            return Err(Problem::Rejected(format!(
                "SHA-256 of the data: expected {expected}, found {found}"
            )));
        }
    }
    let mut out = stdout().lock();
    // A reader that closes early is no problem of the certificate.
    let mut print = |line: String| drop(writeln!(out, "{line}"));
    print(format!("written by {}; model {}", opened.header.writer, opened.header.model_sha256));
    print(format!("claim: {}", claim(&opened.header)));
    if let Some(sample) = sample {
        let record = opened.find(sample)?;
        let finding = opened.one(&record, &mut print);
        print(finding.to_string());
        return Ok(finding.result.is_ok());
    }
    let threads = threads.or(available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1);
    let mut counts = [0; 4];
    let end = opened.check(threads, |finding| {
        counts[finding.kind()] += 1;
        print(finding.to_string());
    });
    let ([verified, falsified, unknown, rejected], all) = (counts, counts.iter().sum::<usize>());
    print(format!(
        "{all} records: {verified} verified and {falsified} falsified are accepted, {unknown} claim nothing, {rejected} are rejected"
    ));
    end.map(|()| rejected == 0)
}
