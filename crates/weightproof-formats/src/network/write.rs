//! Files of networks that appear whole or not at all.

use super::{encode_onnx, encode_safetensors, extension};
use crate::error::FormatError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use weightproof::network::Network;

/// The extensions of files that are written.
const WRITTEN: &str = ".onnx, .safetensors";

/// Writes a network; the extension says how. `NAME.safetensors` comes with its architecture, `NAME.toml`, beside it.
///
/// ONNX rounds to f32, see [`encode_onnx`]; safetensors does not, see [`encode_safetensors`]. Files are written under another name in
/// the same folder and then moved, so what was there before stays as it is when anything fails.
///
/// # Errors
/// [`FormatError`], naming the file, and the node where the format cannot say what it computes.
pub fn write_network(path: &Path, network: &Network) -> Result<(), FormatError> {
    match extension(path).as_str() {
        "onnx" => {
            let bytes =
                encode_onnx(network).map_err(|source| FormatError::Onnx { path: path.into(), source })?;
            Draft::write(path, &bytes)?.keep()
        }
        "safetensors" => {
            let (weights, architecture) = encode_safetensors(network)
                .map_err(|source| FormatError::Safetensors { path: path.into(), source })?;
            // Both are complete before either takes its place.
            let weights = Draft::write(path, &weights)?;
            Draft::write(&path.with_extension("toml"), architecture.as_bytes())?.keep()?;
            weights.keep()
        }
        found => Err(FormatError::Extension { path: path.into(), expected: WRITTEN, found: found.into() }),
    }
}

/// A complete file that waits beside its place; it goes when it is dropped.
pub(super) struct Draft {
    temporary: PathBuf,
    /// Where it goes.
    place: PathBuf,
    /// What the caller calls that.
    path: PathBuf,
}

impl Draft {
    /// Writes `bytes` to the disk, into the folder of `path`.
    fn write(path: &Path, bytes: &[u8]) -> Result<Self, FormatError> {
        Self::fill(path, |file| file.write_all(bytes))
    }

    /// Has `write` fill a file, and sees it to the disk.
    pub(super) fn fill(
        path: &Path,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<Self, FormatError> {
        // Tells the drafts of this process apart.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // Through links, so that a link stays one.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        let mut name = std::ffi::OsString::from(".");
        name.push(place.file_name().unwrap_or_default());
        name.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let temporary = place.with_file_name(name);
        let mut file = File::create_new(&temporary).map_err(FormatError::io(path))?;
        let draft = Draft { temporary, place, path: path.into() };
        write(&mut file).and_then(|()| file.sync_all()).map_err(FormatError::io(path))?;
        Ok(draft)
    }

    /// Moves the file to its place.
    pub(super) fn keep(self) -> Result<(), FormatError> {
        fs::rename(&self.temporary, &self.place).map_err(FormatError::io(&self.path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After it was moved there is nothing left to remove; and when it cannot be removed, there is a first error to report.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_when_writing_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        fs::write(&path, b"before").unwrap();
        let full = |file: &mut File| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let error = Draft::fill(&path, full).map(|_| ()).unwrap_err();
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        drop(Draft::write(&path, b"never kept").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        Draft::write(&path, b"after").unwrap().keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
