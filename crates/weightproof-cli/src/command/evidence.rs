//! `report --evidence`: a result, its certificate, what the checker says of it and a page that says what was proved, as one archive.

use super::Status;
use super::report::ReportArgs;
use crate::error::Failure;
use crate::output;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use weightproof_formats::archive::archive;
use weightproof_formats::fingerprint::sha256;
use weightproof_page::{Checked, Enclosed, evidence};
use weightproof_report::reading::{Command as Written, Loaded};
use weightproof_run::source::model_bytes;

/// Name of the checker.
const CHECKER: &str = "weightproof-check";

/// Most lines of the checker that the page shows; all are in the archive.
const LINES: usize = 12;

/// Writes the archive, and says whether the checker accepts the certificate, where there is one.
pub fn run(args: &ReportArgs, archive_path: &Path, files: &[Loaded]) -> Result<Status, Failure> {
    let [Loaded::Run(run)] = files else {
        return Err(Failure::new(format!(
            "evidence: expected one result of certify, found {} files",
            files.len()
        )));
    };
    if run.command != Written::Certify || run.results.len() != 1 {
        let found = format!("{} at {} radii", run.command.name(), run.results.len());
        return Err(Failure::new(format!(
            "evidence: expected a result of certify at one radius, found {found}"
        )));
    }
    output::check(Some(archive_path))?;
    let path = run.config["model"]["path"].as_str().map(PathBuf::from);
    let model = model_bytes(path.as_deref())?;
    if sha256(&model) != run.model.sha256 {
        let (expected, found) = (&run.model.sha256, sha256(&model));
        return Err(Failure::new(format!(
            "evidence: SHA-256 of the model: expected {expected}, found {found}"
        ))
        .hint("evidence is about the file that was certified: put it back where it was"));
    }
    let result = read(&args.results[0])?;
    let certificate = args.certificate.as_deref().map(read).transpose()?;
    let checked = match &args.certificate {
        Some(certificate) => Some(check(args, certificate, (path.as_deref(), &model))?),
        None => None,
    };
    let (checked, said) = checked.unzip();
    let mut all: Vec<(&'static str, &'static str, Vec<u8>)> =
        vec![("result.json", "the result, as it was written", result), ("model.onnx", "the network", model)];
    all.extend(certificate.map(|bytes| ("certificate.wpc", "the proofs and witnesses", bytes)));
    all.extend(said.map(|text| ("checker.txt", "what the checker says", text.into_bytes())));
    let enclosed = all
        .iter()
        .map(|(name, what, bytes)| Enclosed { name, what, sha256: sha256(bytes) })
        .collect::<Vec<_>>();
    let page = evidence(run, checked.as_ref(), &enclosed);
    let mut sums: String = enclosed.iter().map(|file| format!("{}  {}\n", file.sha256, file.name)).collect();
    sums += &format!("{}  evidence.html\n", sha256(page.as_bytes()));
    let mut named: Vec<(&str, &[u8])> = vec![("evidence.html", page.as_bytes())];
    named.extend(all.iter().map(|(name, _, bytes)| (*name, bytes.as_slice())));
    named.push(("SHA256SUMS", sums.as_bytes()));
    let bytes =
        archive(&named).map_err(|error| Failure::new(format!("{}: {error}", archive_path.display())))?;
    output::write(Some(archive_path), |out| out.write_all(&bytes))?;
    if !args.quiet {
        eprintln!("evidence: {} files in {}", named.len(), archive_path.display());
    }
    Ok(Status::of(checked.is_none_or(|checked| checked.accepted)))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(Failure::io(path))
}

/// Runs the checker: its verdict, and all that it says.
fn check(
    args: &ReportArgs,
    certificate: &Path,
    (path, model): (Option<&Path>, &[u8]),
) -> Result<(Checked, String), Failure> {
    let temporary = env::temp_dir().join(format!("weightproof-{}.onnx", std::process::id()));
    let file = match path {
        Some(path) => path,
        None => {
            fs::write(&temporary, model).map_err(Failure::io(&temporary))?;
            &temporary
        }
    };
    let program = args.checker.clone().unwrap_or_else(checker);
    let done = Command::new(&program).arg(certificate).arg("--model").arg(file).output();
    if path.is_none() {
        // Nothing is lost when it stays.
        let _ = fs::remove_file(&temporary);
    }
    let done = done.map_err(|error| {
        Failure::new(format!("checker: {}: {error}", program.display())).hint(
            "cargo build --release -p weightproof-check, then --checker target/release/weightproof-check",
        )
    })?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    if !matches!(done.status.code(), Some(0 | 1)) {
        let why = String::from_utf8_lossy(&done.stderr);
        return Err(Failure::new(format!(
            "checker: {}",
            why.lines().next().unwrap_or("ended without a word")
        )));
    }
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    let head = lines.len().min(LINES - 1);
    let shown = lines[..head].iter().chain(lines[head..].last()).cloned().collect();
    let command = format!("{CHECKER} certificate.wpc --model model.onnx");
    Ok((Checked { command, accepted: done.status.success(), lines: shown }, said))
}

/// The checker beside this program, else that of the search path.
fn checker() -> PathBuf {
    let beside = env::current_exe().map(|own| own.with_file_name(CHECKER)).ok();
    beside.filter(|program| program.is_file()).unwrap_or_else(|| CHECKER.into())
}
