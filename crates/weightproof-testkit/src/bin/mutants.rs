//! Breaks the bounds on purpose, one term at a time, and checks that the tests of `weightproof` notice.
//!
//! Every entry of `crates/weightproof/tests/mutants.toml` replaces one piece of source text (which must occur exactly
//! once) in a copy of the workspace; the suite or the unit tests must then fail. Run from the workspace root:
//!
//! ```text
//! cargo run -p weightproof-testkit --bin mutants [-- NAME…]
//! ```

use serde::Deserialize;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

#[derive(Deserialize)]
struct Catalogue {
    mutant: Vec<Mutant>,
}

/// One wrong edit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    file: PathBuf,
    from: String,
    to: String,
    /// Which test must notice; by default [`TESTS`].
    test: Option<String>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let root = env::current_dir()?;
    let text = fs::read_to_string(root.join("crates/weightproof/tests/mutants.toml"))?;
    let mut catalogue: Catalogue = toml::from_str(&text)?;
    let chosen: Vec<String> = env::args().skip(1).collect();
    catalogue.mutant.retain(|m| chosen.is_empty() || chosen.contains(&m.name));
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let copy = target.join("mutants");
    // Cargo names builds by paths inside of a workspace: in a common folder a mutant would pass for the real crate.
    let build = target.join("mutants-build");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    fs::create_dir_all(&copy)?;
    for entry in ["Cargo.toml", "Cargo.lock", "clippy.toml", "crates"] {
        // With new times: what an earlier run built last is a mutant, and older.
        copy_tree(&root.join(entry), &copy.join(entry), false)?;
    }
    let built = target.join("debug");
    if built.exists() && !build.exists() {
        // Dependencies are built already: by whoever runs this. Cargo knows that by their times.
        for folder in ["deps", "build", ".fingerprint"] {
            copy_tree(&built.join(folder), &build.join("debug").join(folder), true)?;
        }
    }
    if !tests_pass(&copy, &build, &TESTS)? {
        return Err("the tests fail without any mutation".into());
    }
    let mut survivors = Vec::new();
    for mutant in &catalogue.mutant {
        let path = copy.join(&mutant.file);
        let source = fs::read_to_string(&path)?;
        let occurrences = source.matches(&mutant.from).count();
        if occurrences != 1 {
            let expected = "expected the text to replace once";
            return Err(format!(
                "{}: {expected} in {}, found it {occurrences} times",
                mutant.name,
                mutant.file.display()
            )
            .into());
        }
        fs::write(&path, source.replace(&mutant.from, &mutant.to))?;
        let survived = match &mutant.test {
            None => tests_pass(&copy, &build, &TESTS)?,
            Some(test) => tests_pass(&copy, &build, &[&["--test", test]])?,
        };
        println!("{} {}", if survived { "SURVIVED" } else { "caught  " }, mutant.name);
        if survived {
            survivors.push(mutant.name.as_str());
        }
        fs::write(&path, source)?;
    }
    println!("{} mutants, {} survived", catalogue.mutant.len(), survivors.len());
    Ok(if survivors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tests of the crate. The suite comes first: it compiles the crate once and catches most mutants, and what it catches
/// needs no unit tests, which compile the crate a second time.
const TESTS: [&[&str]; 2] = [&["--test", "suite"], &["--lib"]];

/// Whether the mutated crate compiles and its tests pass. Code that does not compile is an error, not a catch.
fn tests_pass(copy: &Path, build: &Path, tests: &[&[&str]]) -> Result<bool, Box<dyn Error>> {
    for tests in tests {
        let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["test", "--offline", "--no-run", "-p", "weightproof"])
            .args(*tests)
            .current_dir(copy)
            .env("CARGO_TARGET_DIR", build)
            // A mutant compiles longer than its tests run.
            .envs([("CARGO_PROFILE_DEV_OPT_LEVEL", "1"), ("CARGO_PROFILE_DEV_DEBUG", "false")])
            .output()?;
        let messages = String::from_utf8_lossy(&built.stderr);
        if !built.status.success() {
            return Err(format!("a mutant does not compile:\n{messages}").into());
        }
        // Executable tests/suite.rs (PATH)
        let executable = messages.lines().find_map(|line| line.trim().strip_prefix("Executable "));
        let path = executable.and_then(|line| line.split_once('(')?.1.strip_suffix(')'));
        let path = path.ok_or_else(|| format!("cargo does not name the tests that it built:\n{messages}"))?;
        if !passes(&copy.join(path), &copy.join("crates/weightproof"))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs tests until one fails, which is all that a mutant needs.
fn passes(executable: &Path, folder: &Path) -> Result<bool, Box<dyn Error>> {
    let mut tests = Command::new(executable)
        .current_dir(folder)
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let lines = BufReader::new(tests.stdout.take().expect("it is piped")).lines();
    for line in lines {
        if line?.ends_with("... FAILED") {
            tests.kill()?;
            tests.wait()?;
            return Ok(false);
        }
    }
    Ok(tests.wait()?.success())
}

fn copy_tree(from: &Path, to: &Path, keep_times: bool) -> std::io::Result<()> {
    if from.is_file() {
        fs::copy(from, to)?;
        if keep_times {
            fs::File::options().write(true).open(to)?.set_modified(from.metadata()?.modified()?)?;
        }
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()), keep_times)?;
    }
    Ok(())
}
