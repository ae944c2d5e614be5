//! The book: every command on its pages runs, and prints what the page shows; every page is in the summary. Links are
//! tested by `tests/documents.rs` of `weightproof-testkit`.
//!
//! ```text
//! ```console          one block; all blocks of a page share a folder with model.onnx and mnist/
//! $ weightproof …     exit code 0 or 1; the output until the next command must be the page's, numbers within tolerance
//! …                   an output that ends with this line is the summary of a report, its second paragraph
//! ```
//! `UPDATE_SNAPSHOTS=1` writes the outputs into the pages, below commands that have none, too.
#![cfg(unix)]

use crate::snapshot::{same_text, without_seconds};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ELIDED: &str = "…";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// All pages, relative to the folder.
fn pages() -> Vec<PathBuf> {
    let (mut folders, mut pages) = (vec![docs()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                pages.push(path.strip_prefix(docs()).unwrap().into());
            }
        }
    }
    pages.sort();
    pages
}

/// A folder as the commands expect it: the embedded network and images as files, and the files that the page shows.
fn folder(page: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let assets = docs().join("../assets");
    let copy = |from: &str, to: &str| {
        fs::copy(assets.join(from), folder.path().join(to)).unwrap_or_else(|e| panic!("{from}: {e}"));
    };
    fs::create_dir(folder.path().join("mnist")).unwrap();
    copy("mnist-784-128-64-32-10.onnx", "model.onnx");
    for part in ["t10k", "train"] {
        copy("mnist-test-1000-images.idx3-ubyte.gz", &format!("mnist/{part}-images-idx3-ubyte.gz"));
        copy("mnist-test-1000-labels.idx1-ubyte.gz", &format!("mnist/{part}-labels-idx1-ubyte.gz"));
    }
    for block in page.split("```toml\n# ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        fs::write(folder.path().join(name), rest.split("```").next().unwrap()).unwrap();
    }
    folder
}

/// A program in the folder of the command line.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_weightproof")).with_file_name(name)
}

/// What a command prints, without the line that differs between runs.
fn run(command: &str, folder: &Path) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_weightproof")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env_remove("COLUMNS")
        .output()
        .unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{command}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("time ")).map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// The page with what its commands print in place of what it shows.
fn renewed(page: &str) -> String {
    let folder = folder(page);
    let mut fresh = String::new();
    let mut lines = page.lines().peekable();
    let mut inside = false;
    while let Some(line) = lines.next() {
        writeln!(fresh, "{line}").unwrap();
        inside = if inside { line != "```" } else { line == "```console" };
        let Some(command) = line.strip_prefix("$ ").filter(|_| inside) else { continue };
        let mut shown = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ") && *line != "```") {
            shown.push(line);
        }
        let printed = run(command, folder.path());
        let mut printed: Vec<&str> = printed.lines().collect();
        if shown.last() == Some(&ELIDED) {
            printed = summary(&printed);
            printed.push(ELIDED);
        }
        printed.iter().for_each(|line| writeln!(fresh, "{line}").unwrap());
    }
    fresh
}

/// The second paragraph.
fn summary<'t>(lines: &[&'t str]) -> Vec<&'t str> {
    let rest = lines.iter().skip_while(|line| !line.is_empty()).skip(1);
    rest.take_while(|line| !line.is_empty()).copied().collect()
}

#[test]
fn every_command_prints_what_its_page_shows() {
    for page in pages() {
        let path = docs().join(&page);
        let text = fs::read_to_string(&path).unwrap();
        if !text.contains("```console") {
            continue;
        }
        // `cargo test --workspace` builds it beside this command.
        if text.contains("\n$ weightproof-check") && !beside("weightproof-check").is_file() {
            eprintln!("{} is skipped: cargo build -p weightproof-check", page.display());
            continue;
        }
        let fresh = renewed(&text);
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::write(path, fresh).unwrap();
        } else {
            let timeless = |text: &str| text.lines().map(without_seconds).collect::<Vec<_>>().join("\n");
            assert!(
                same_text(&timeless(&text), &timeless(&fresh)),
                "{}: expected\n{text}\nfound\n{fresh}",
                page.display()
            );
        }
    }
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    for page in pages() {
        let name = page.to_str().unwrap();
        let listed = name == "SUMMARY.md" || summary.contains(&format!("({name})"));
        assert!(listed, "{name} is not in the summary");
    }
}
