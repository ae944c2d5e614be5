//! Names the build that journals belong to: a hash of the sources that results depend on. Another compiler may give the same
//! sources another name.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Crates beside this one. Published crates lie apart, and their versions are in the name of the version.
const BESIDE: [&str; 6] = [
    "weightproof",
    "weightproof-formats",
    "weightproof-kernels",
    "weightproof-measure",
    "weightproof-report",
    "weightproof-train",
];

fn main() -> io::Result<()> {
    let own = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let beside = |name: &&str| own.with_file_name(name).join("src");
    let mut hasher = DefaultHasher::new();
    for folder in BESIDE.iter().map(beside).chain([own.join("src")]).filter(|folder| folder.is_dir()) {
        println!("cargo::rerun-if-changed={}", folder.display());
        add(&folder, &mut hasher)?;
    }
    println!("cargo::rustc-env=WEIGHTPROOF_BUILD={:016x}", hasher.finish());
    Ok(())
}

/// Adds the names and contents of all files of a folder, in the order of their names.
fn add(folder: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            add(&path, hasher)?;
            continue;
        }
        hasher.write(path.file_name().unwrap_or_default().as_encoded_bytes());
        hasher.write(&fs::read(&path)?);
    }
    Ok(())
}
