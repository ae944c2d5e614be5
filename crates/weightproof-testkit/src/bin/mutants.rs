//! Breaks the bounds, and the checker of certificates, on purpose, one term at a time, and checks that the tests notice.
//!
//! Every entry of `crates/weightproof/tests/mutants.toml` replaces one piece of source text (which must occur exactly
//! once) in a copy of the workspace; the suite or the unit tests must then fail. CI makes every fourth mutant, beginning with
//! another one for each commit. Run from the workspace root:
//!
//! ```text
//! cargo run -p weightproof-testkit --bin mutants -- --all | --quarter N | NAME…
//! ```

use serde::Deserialize;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
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
    /// The module of the crate's tests that must notice, `lib MODULE` among the unit tests; by default [`TESTS`].
    test: Option<String>,
    /// Features that this test needs. All of them need HiGHS.
    features: Option<String>,
}

impl Mutant {
    /// Whether what its test needs is there; says so when it is not.
    fn runs(&self) -> bool {
        let highs =
            || Command::new("pkg-config").args(["--exists", "highs"]).status().is_ok_and(|s| s.success());
        let runs = self.features.is_none() || highs();
        if !runs {
            println!("skipped  {}: pkg-config finds no HiGHS", self.name);
        }
        runs
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let root = env::current_dir()?;
    let text = fs::read_to_string(root.join("crates/weightproof/tests/mutants.toml"))?;
    let mut catalogue: Catalogue = toml::from_str(&text)?;
    catalogue.mutant = chosen(catalogue.mutant, &env::args().skip(1).collect::<Vec<_>>())?;
    catalogue.mutant.retain(Mutant::runs);
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    // Tests of a name take seconds in any build, and the compiler is most of their mutants' time; the suite needs an optimised one.
    let suite = Bench::new(&root, &target, 0, &[])?;
    let named = Bench::new(&root, &target, 1, FAST_TO_BUILD)?;
    // Other tests are those of one module, which whoever asks for them runs before. CI, which asks for a quarter, runs all tests anyway.
    let by_hand = env::args().nth(1).is_some_and(|argument| argument != "--quarter");
    if by_hand && catalogue.mutant.iter().any(|m| m.test.is_none()) && suite.failing(&TESTS)?.is_some() {
        return Err("the tests fail without any mutation".into());
    }
    let (of_name, of_suite): (Vec<_>, Vec<_>) = catalogue.mutant.iter().partition(|m| m.test.is_some());
    let survivors = AtomicUsize::new(0);
    let work = |bench: &Bench, mutants: &[&Mutant]| -> Result<(), String> {
        for mutant in mutants {
            let start = Instant::now();
            let caught = bench.caught(mutant).map_err(|error| format!("{}: {error}", mutant.name))?;
            let seconds = start.elapsed().as_secs();
            if let Some(test) = caught {
                println!("caught   {} by {test} after {seconds} s", mutant.name);
            } else {
                println!("SURVIVED {}", mutant.name);
                survivors.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    // A compiler uses one processor for about half of its time.
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(&named, &of_name));
        work(&suite, &of_suite)?;
        other.join().expect("errors are returned")
    })?;
    let survivors = survivors.into_inner();
    println!("{} mutants, {survivors} survived", catalogue.mutant.len());
    Ok(if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The mutants that the arguments name.
fn chosen(all: Vec<Mutant>, arguments: &[String]) -> Result<Vec<Mutant>, Box<dyn Error>> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--all"] => Ok(all),
        ["--quarter", number] => {
            let first = number.parse::<usize>()? % 4;
            Ok(all.into_iter().skip(first).step_by(4).collect())
        }
        [] => Err("expected --all, --quarter N or names of mutants".into()),
        ref names => {
            if let Some(unknown) = names.iter().find(|name| !all.iter().any(|m| m.name == **name)) {
                return Err(format!("expected the name of a mutant, found {unknown}").into());
            }
            Ok(all.into_iter().filter(|m| names.contains(&m.name.as_str())).collect())
        }
    }
}

/// A copy of the workspace with a build folder of its own, where one mutant at a time is made and tested.
struct Bench {
    copy: PathBuf,
    build: PathBuf,
    /// Of cargo, for every build.
    settings: &'static [&'static str],
}

impl Bench {
    fn new(
        root: &Path,
        target: &Path,
        number: usize,
        settings: &'static [&'static str],
    ) -> Result<Self, Box<dyn Error>> {
        // Cargo names builds by paths inside of a workspace: in a common folder a mutant would pass for the real crate.
        let bench = Bench {
            copy: target.join(format!("mutants-{number}")),
            build: target.join(format!("mutants-{number}-build")),
            settings,
        };
        if bench.copy.exists() {
            fs::remove_dir_all(&bench.copy)?;
        }
        fs::create_dir_all(&bench.copy)?;
        for entry in ["Cargo.toml", "Cargo.lock", "clippy.toml", "crates", "benches", "fuzz"] {
            // With new times: what an earlier run built last is a mutant, and older.
            copy_tree(&root.join(entry), &bench.copy.join(entry), false)?;
        }
        // Dependencies are built already: by the bench before, or by whoever runs this. Cargo knows that by their times.
        let before = number.checked_sub(1).map(|k| target.join(format!("mutants-{k}-build")));
        let built = before.as_deref().unwrap_or(target).join("debug");
        if built.exists() {
            seed(&built, &bench.build.join("debug"))?;
        }
        Ok(bench)
    }

    /// The test that fails because the source is wrong, if any.
    fn caught(&self, mutant: &Mutant) -> Result<Option<String>, Box<dyn Error>> {
        let path = self.copy.join(&mutant.file);
        let source = fs::read_to_string(&path)?;
        let occurrences = source.matches(&mutant.from).count();
        if occurrences != 1 {
            let expected = "expected the text to replace once";
            return Err(
                format!("{expected} in {}, found it {occurrences} times", mutant.file.display()).into()
            );
        }
        fs::write(&path, source.replace(&mutant.from, &mutant.to))?;
        let caught = match &mutant.test {
            None => self.failing(&TESTS)?,
            Some(module) => {
                let features = mutant.features.as_deref();
                let package = mutant.file.iter().nth(1).and_then(|name| name.to_str()).unwrap_or(ENGINE);
                let (target, module) = match module.strip_prefix("lib ") {
                    Some(unit) => (LIB, unit),
                    None => (CORE, module.as_str()),
                };
                self.failing(&[Tests { package, target, module, features }])?
            }
        };
        fs::write(&path, source)?;
        Ok(caught)
    }

    /// The first test that fails, if any. Code that does not compile is an error, not a catch.
    fn failing(&self, tests: &[Tests<'_>]) -> Result<Option<String>, Box<dyn Error>> {
        for tests in tests {
            let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .args(["test", "--offline", "--no-run", "-p", tests.package])
                // As a library it would be built, too.
                .args(if tests.target == LIB { &[][..] } else { &["-p", ALL_FEATURES] })
                .args(tests.target)
                .args(tests.features.iter().flat_map(|features| ["--features", features]))
                .args(self.settings.iter().flat_map(|setting| ["--config", setting]))
                .current_dir(&self.copy)
                .env("CARGO_TARGET_DIR", &self.build)
                // Nobody looks at where a mutant panics, and a line that moved is not compiled again.
                .env("CARGO_PROFILE_DEV_DEBUG", "false")
                .output()?;
            let messages = String::from_utf8_lossy(&built.stderr);
            if !built.status.success() {
                return Err(format!("a mutant does not compile:\n{messages}").into());
            }
            // Executable tests/core/main.rs (PATH)
            let executable = messages.lines().find_map(|line| line.trim().strip_prefix("Executable "));
            let path = executable.and_then(|line| line.split_once('(')?.1.strip_suffix(')'));
            let path =
                path.ok_or_else(|| format!("cargo does not name the tests that it built:\n{messages}"))?;
            let folder = self.copy.join("crates").join(tests.package);
            let failing = first_failure(&self.copy.join(path), tests.module, &folder)?;
            if failing.is_some() {
                return Ok(failing);
            }
        }
        Ok(None)
    }
}

/// Tests of one program.
#[derive(Clone, Copy)]
struct Tests<'a> {
    /// Their crate.
    package: &'a str,
    /// What cargo calls the program.
    target: &'a [&'a str],
    /// What their names contain.
    module: &'a str,
    /// Features that they need.
    features: Option<&'a str>,
}

/// A crate without tests. With it the features of all packages are those of a build of the workspace, and what that built is taken.
const ALL_FEATURES: &str = "weightproof-py";

/// The crate of the bounds.
const ENGINE: &str = "weightproof";
const CORE: &[&str] = &["--test", "core"];
const LIB: &[&str] = &["--lib"];

/// The tests of the crate. The suite comes first: it compiles the crate once and catches most mutants, and what it catches
/// needs no unit tests, which compile the crate a second time.
const TESTS: [Tests<'static>; 2] = [
    Tests { package: ENGINE, target: CORE, module: "suite::", features: None },
    Tests { package: ENGINE, target: LIB, module: "", features: None },
];

/// Settings of a build that takes a third of the time, and whose tests take three times as long.
const FAST_TO_BUILD: &[&str] = &[
    "profile.dev.package.weightproof.opt-level=0",
    "profile.dev.package.weightproof-check.opt-level=1",
    "profile.dev.package.weightproof-check.codegen-units=16",
    "profile.dev.package.weightproof-train.opt-level=0",
    "profile.dev.package.weightproof-train.codegen-units=16",
];

/// Runs the tests of a module until one fails, which is all that a mutant needs, and names it.
fn first_failure(executable: &Path, module: &str, folder: &Path) -> Result<Option<String>, Box<dyn Error>> {
    let mut tests = Command::new(executable)
        .arg(module)
        .current_dir(folder)
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let lines = BufReader::new(tests.stdout.take().expect("it is piped")).lines();
    for line in lines {
        let line = line?;
        if let Some(test) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
            tests.kill()?;
            tests.wait()?;
            return Ok(Some(test.to_owned()));
        }
    }
    // An end without a failing test: a signal, or a process that exits by itself.
    Ok(if tests.wait()?.success() { None } else { Some("the end of its process".into()) })
}

/// Takes the dependencies that are built in one folder, and not yet in another, into that, but nothing of the workspace, which has another path
/// there. Compilers do not write into files that exist, so libraries are linked.
fn seed(from: &Path, to: &Path) -> std::io::Result<()> {
    for folder in ["deps", "build", ".fingerprint"] {
        fs::create_dir_all(to.join(folder))?;
        for entry in fs::read_dir(from.join(folder))? {
            let (entry, target) =
                entry.map(|entry| (entry.path(), to.join(folder).join(entry.file_name())))?;
            if target.exists() {
                continue;
            }
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ours = name.trim_start_matches("lib").starts_with("weightproof");
            // Tests and examples are files without an extension.
            match (entry.is_file(), ours || !name.contains('.')) {
                (true, false) => fs::hard_link(&entry, &target)?,
                (false, _) if !ours => copy_tree(&entry, &target, true)?,
                (true, true) | (false, _) => {}
            }
        }
    }
    Ok(())
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
