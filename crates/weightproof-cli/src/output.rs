//! Where results go: standard output, or a file that appears whole or not at all.

use crate::args::OutputArgs;
use crate::error::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use weightproof_report::{Format, features};

/// Checks that Parquet can be written, and goes to a file: it is bytes.
pub fn check_format(args: &OutputArgs) -> Result<(), Failure> {
    if args.format() != Format::Parquet {
        return Ok(());
    }
    features::parquet()?;
    if args.output.is_none() {
        return Err(Failure::new("output: expected a file for the format parquet, found none")
            .hint("--output FILE.parquet"));
    }
    Ok(())
}

/// Checks that `path` can be written, so that a long run does not fail at its end.
pub fn check(path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    match Target::of(path)? {
        Target::InPlace => OpenOptions::new().write(true).open(path).map(drop).map_err(Failure::io(path)),
        Target::Replace { temporary, .. } => {
            create(&temporary, path)?;
            fs::remove_file(&temporary).map_err(Failure::io(&temporary))
        }
    }
}

/// Writes results with `write`. A reader that goes away early (`| head`) is no error.
pub fn write(
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    let Some(path) = path else {
        let mut out = BufWriter::new(io::stdout().lock());
        return match write(&mut out).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(|error| Failure::new(format!("standard output: {error}"))),
        };
    };
    match Target::of(path)? {
        Target::InPlace => {
            let file = OpenOptions::new().write(true).open(path).map_err(Failure::io(path))?;
            fill(file, write).map_err(Failure::io(path))
        }
        Target::Replace { temporary, path } => {
            let file = create(&temporary, &path)?;
            let filled = fill(file, write).and_then(|()| fs::rename(&temporary, &path));
            filled.map_err(|error| {
                // The error that matters is the first one.
                let _ = fs::remove_file(&temporary);
                Failure::io(&path)(error)
            })
        }
    }
}

fn fill(file: File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush()
}

/// How a file is written.
enum Target {
    /// A device or a pipe: written as it is.
    InPlace,
    /// A regular file: written beside it, then moved.
    Replace { temporary: PathBuf, path: PathBuf },
}

impl Target {
    fn of(path: &Path) -> Result<Target, Failure> {
        let path = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                return Err(Failure::new(format!("{}: expected a file, found a folder", path.display())));
            }
            Ok(meta) if !meta.is_file() => return Ok(Target::InPlace),
            // Through links, so that the link stays one.
            Ok(_) => fs::canonicalize(path).map_err(Failure::io(path))?,
            Err(_) => path.to_path_buf(),
        };
        let Some(name) = path.file_name() else {
            return Err(Failure::new(format!("{}: expected the name of a file", path.display())));
        };
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", std::process::id()));
        Ok(Target::Replace { temporary: path.with_file_name(temporary), path })
    }
}

fn create(temporary: &Path, path: &Path) -> Result<File, Failure> {
    let created = OpenOptions::new().write(true).create_new(true).open(temporary);
    created.map_err(|error| {
        Failure::new(format!("{}: {error}", path.display()))
            .hint("is the folder there, and may you write in it?")
    })
}
