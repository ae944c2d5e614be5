//! `weightproof-check CERTIFICATE --model network.onnx`: exit code 0 when every record is accepted, 1 when not, 2 for input errors.

use std::fs::{File, read};
use std::io::{BufReader, Write, stdout};
use std::process::ExitCode;
use std::thread::available_parallelism;
use weightproof_check::check::Accepted;
use weightproof_check::run::{Finding, Opened, Problem, claim, sha256};

const USAGE: &str =
    "usage: weightproof-check CERTIFICATE --model network.onnx [--data FILE] [--explain SAMPLE] [--threads N]

Repeats every proof of a certificate in exact integer arithmetic.

  --model FILE       the network; its SHA-256 and every parameter are compared with the certificate
  --data FILE        compare the SHA-256 of the data, too
  --explain SAMPLE   print the proof of one sample in steps
  --threads N        number of threads; all cores by default

exit codes: 0 every record is accepted, 1 something is rejected, 2 a file cannot be read or is not supported";

#[derive(Default)]
struct Arguments {
    certificate: Option<String>,
    model: Option<String>,
    data: Option<String>,
    explain: Option<usize>,
    threads: Option<usize>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word}: expected a value"));
        let number = |text: String| text.parse().map_err(|_| format!("expected a number, found {text}"));
        match word.as_str() {
            "--model" => arguments.model = Some(value()?),
            "--data" => arguments.data = Some(value()?),
            "--explain" => arguments.explain = Some(number(value()?)?),
            "--threads" => arguments.threads = Some(number(value()?)?),
            _ if word.starts_with('-') || arguments.certificate.is_some() => {
                return Err(format!("{word}: not expected"));
            }
            _ => arguments.certificate = Some(word),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let arguments = match arguments() {
        Ok(arguments @ Arguments { certificate: Some(_), model: Some(_), .. }) => arguments,
        Ok(_) => return usage("expected a certificate and --model"),
        Err(error) => return usage(&error),
    };
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem @ Problem::Rejected(_)) => {
            println!("{problem}");
            ExitCode::from(1)
        }
        Err(problem @ Problem::Input(_)) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn usage(error: &str) -> ExitCode {
    eprintln!("error: {error}\n\n{USAGE}");
    ExitCode::from(2)
}

/// Whether every record is accepted.
fn run(arguments: &Arguments) -> Result<bool, Problem> {
    let bytes = |path: &str| read(path).map_err(|error| Problem::Input(format!("{path}: {error}")));
    let path = arguments.certificate.as_deref().unwrap_or_default();
    let file = File::open(path).map_err(|error| Problem::Input(format!("{path}: {error}")))?;
    let model = bytes(arguments.model.as_deref().unwrap_or_default())?;
    let mut opened = Opened::new(BufReader::new(file), &model)?;
    if let Some(data) = &arguments.data {
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
    if let Some(sample) = arguments.explain {
        while let Some(record) = opened.record()? {
            if record.sample == sample {
                let finding = opened.one(&record, &mut print);
                let is_accepted = finding.result.is_ok();
                print(line(&finding));
                return Ok(is_accepted);
            }
        }
        return Err(Problem::Input(format!("there is no sample {sample}")));
    }
    let threads = arguments.threads.or(available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1);
    let mut counts = [0; 4];
    let end = opened.check(threads, |finding| {
        counts[match &finding.result {
            Ok(Accepted::Verified(..)) => 0,
            Ok(Accepted::Falsified(_)) => 1,
            Ok(Accepted::Unknown) => 2,
            Err(_) => 3,
        }] += 1;
        print(line(&finding));
    });
    let [verified, falsified, unknown, rejected] = counts;
    print(format!(
        "{} records: {verified} verified and {falsified} falsified are accepted, {unknown} claim nothing, {rejected} are rejected",
        verified + falsified + unknown + rejected
    ));
    end.map(|()| rejected == 0)
}

fn line(finding: &Finding) -> String {
    let sample = finding.sample;
    match &finding.result {
        Ok(Accepted::Verified(least, 1)) => format!("sample {sample}: accepted: verified, at least {least}"),
        Ok(Accepted::Verified(least, domains)) => {
            format!("sample {sample}: accepted: verified in {domains} domains, at least {least}")
        }
        Ok(Accepted::Falsified(margin)) => {
            format!("sample {sample}: accepted: falsified, {margin} at the witness")
        }
        Ok(Accepted::Unknown) => format!("sample {sample}: claims nothing"),
        Err(why) => format!("sample {sample}: rejected: {why}"),
    }
}
