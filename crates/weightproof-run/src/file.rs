//! Files that appear whole or not at all.

use crate::RunError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use weightproof_formats::FormatError;

/// Checks that `path` can be written, so that a long run does not fail at its end.
///
/// # Errors
/// Why it cannot.
pub fn check(path: &Path) -> Result<(), RunError> {
    match Target::of(path)? {
        Target::InPlace => OpenOptions::new().write(true).open(path).map(drop).map_err(failed(path)),
        Target::Replace { temporary, .. } => {
            create(&temporary, path)?;
            fs::remove_file(&temporary).map_err(failed(&temporary))
        }
    }
}

/// Writes a file with `write`; a device or a pipe is written as it is.
///
/// # Errors
/// Those of the system and of `write`, with the name of the file.
pub fn write(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), RunError> {
    match Target::of(path)? {
        Target::InPlace => {
            let file = OpenOptions::new().write(true).open(path).map_err(failed(path))?;
            fill(file, write).map_err(failed(path))
        }
        Target::Replace { temporary, path } => {
            let file = create(&temporary, &path)?;
            let filled = fill(file, write).and_then(|()| fs::rename(&temporary, &path));
            filled.map_err(|error| {
                // The error that matters is the first one.
                let _ = fs::remove_file(&temporary);
                failed(&path)(error)
            })
        }
    }
}

/// The text of a small file, and what `parse` makes of it; its errors get the name of the file.
///
/// # Errors
/// The file cannot be read or has more than `most` bytes; those of `parse`.
pub(crate) fn read_text<T>(
    path: &Path,
    most: u64,
    parse: impl FnOnce(&str) -> Result<T, RunError>,
) -> Result<T, RunError> {
    let place = path.display();
    let bytes = fs::metadata(path).map_err(FormatError::io(path))?.len();
    if bytes > most {
        let message = format!("{place}: expected at most {most} bytes, found {bytes}");
        return Err(RunError::ThreatText { message });
    }
    let text = fs::read_to_string(path).map_err(FormatError::io(path))?;
    parse(&text).map_err(|error| RunError::ThreatText { message: format!("{place}: {error}") })
}

/// For `map_err` after a call of the operating system.
pub fn failed(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.display().to_string();
    move |error| RunError::misfit(format!("{path}: {error}"))
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
    fn of(path: &Path) -> Result<Target, RunError> {
        let path = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                return Err(RunError::misfit(format!("{}: expected a file, found a folder", path.display())));
            }
            Ok(meta) if !meta.is_file() => return Ok(Target::InPlace),
            // Through links, so that the link stays one.
            Ok(_) => fs::canonicalize(path).map_err(failed(path))?,
            Err(_) => path.to_path_buf(),
        };
        let Some(name) = path.file_name() else {
            return Err(RunError::misfit(format!("{}: expected the name of a file", path.display())));
        };
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", std::process::id()));
        Ok(Target::Replace { temporary: path.with_file_name(temporary), path })
    }
}

fn create(temporary: &Path, path: &Path) -> Result<File, RunError> {
    let created = OpenOptions::new().write(true).create_new(true).open(temporary);
    created.map_err(|error| RunError::Misfit {
        message: format!("{}: {error}", path.display()),
        hint: Some("is the folder there, and may you write in it?"),
    })
}
