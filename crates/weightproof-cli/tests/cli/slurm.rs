//! The scripts of `contrib/slurm`, with a stand-in for the scheduler that runs jobs at once, one after the other.
#![cfg(unix)]

use crate::snapshot::Run;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Writes what it was asked into a log; runs the tasks of an array from the last to the first, and other jobs only when the job that
/// they depend on went well. A task whose number is in the file `kill` is killed before it is done, once.
const SBATCH: &str = r#"#!/bin/sh
echo "$@" >> "$BENCH/asked"
array='' after=''
while [ $# -gt 0 ]; do
    case $1 in
        --array=*) array=${1#--array=} ;;
        --dependency=afterok:*) after=${1#--dependency=afterok:} ;;
        --*) ;;
        *) break ;;
    esac
    shift
done
number=$(($(wc -l < "$BENCH/asked")))
if [ -n "$after" ] && ! [ -e "$BENCH/ok-$after" ]; then
    echo "$number"
    exit 0
fi
well=yes
if [ -n "$array" ]; then
    for task in $(echo "$array" | tr ',' '\n' | sort -rn); do
        if [ "$(cat "$BENCH/kill" 2>/dev/null)" = "$task" ]; then
            rm "$BENCH/kill"
            well=no
            continue
        fi
        SLURM_ARRAY_TASK_ID=$task "$@" >&2 || well=no
    done
else
    "$@" >&2 || well=no
fi
[ $well = no ] || touch "$BENCH/ok-$number"
echo "$number"
"#;

struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sbatch = folder.path().join("sbatch");
        fs::write(&sbatch, SBATCH).unwrap();
        fs::set_permissions(&sbatch, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("asked"), "").unwrap();
        Cluster { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn submit(&self, args: &[&str]) -> Output {
        let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../contrib/slurm/submit.sh"));
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(script);
        command.args(args).current_dir(self.path()).env("BENCH", self.path());
        command.env("PATH", format!("{}:{path}", self.path().display()));
        command.env("WEIGHTPROOF", env!("CARGO_BIN_EXE_weightproof")).output().unwrap()
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.path().join("asked")).unwrap()
    }
}

/// The lines of a result but the last block.
fn text(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| !line.starts_with("  \"environment\": ")).map(str::to_owned).collect()
}

const RUN: [&str; 6] = ["certify", "--radius", "0.001", "--samples", "40", "--batch=4"];

#[test]
fn parts_that_fail_are_submitted_again_and_then_merged() {
    let cluster = Cluster::new();
    fs::write(cluster.path().join("kill"), "3").unwrap();
    let args = [&["5", "out"], &RUN[..]].concat();
    let first = cluster.submit(&args);
    assert!(first.status.success(), "{first:?}");
    assert!(cluster.asked().contains("--array=1,2,3,4,5 "), "{}", cluster.asked());
    let whole = cluster.path().join("out/whole.json");
    assert!(!whole.exists(), "the merge waits for all parts");
    // Only the part that is not done.
    let second = cluster.submit(&args);
    assert!(second.status.success(), "{second:?}");
    assert!(cluster.asked().contains("--array=3 "), "{}", cluster.asked());
    let one = Run::new(RUN.iter().chain(&["--json", "--output", "one.json"]).copied());
    one.within(cluster.path()).output();
    assert_eq!(text(&whole), text(&cluster.path().join("one.json")));
}

#[test]
fn faults_have_no_journal_and_errors_end_the_job() {
    let cluster = Cluster::new();
    let faults = ["2", "out", "faults", "--storage", "int4", "--samples", "4", "--batch=2"];
    let done = cluster.submit(&faults);
    assert!(cluster.path().join("out/whole.json").exists(), "{done:?}");
    let wrong = cluster.submit(&["2", "wrong", "certify", "--radius", "-1"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("radius: expected"), "{wrong:?}");
    assert!(!cluster.path().join("wrong/whole.json").exists());
    for args in [&["certify"][..], &["0", "out", "certify"], &["x", "out", "certify"]] {
        assert_eq!(cluster.submit(args).status.code(), Some(2), "{args:?}");
    }
}
