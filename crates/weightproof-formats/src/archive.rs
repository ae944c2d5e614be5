//! Several files as one ZIP archive, the same bytes for the same files.

use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

/// An archive of files with these names, in this order, without dates.
///
/// # Errors
/// A name twice, or more than a ZIP archive without extensions holds.
pub fn archive(files: &[(&str, &[u8])]) -> Result<Vec<u8>, zip::result::ZipError> {
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default());
    for (name, bytes) in files {
        out.start_file(*name, options)?;
        out.write_all(bytes)?;
    }
    Ok(out.finish()?.into_inner())
}

/// The files of an archive, in their order.
///
/// # Errors
/// Damaged bytes.
pub fn files(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, zip::result::ZipError> {
    let mut archive = ZipArchive::new(Cursor::new(archive))?;
    let count = archive.len();
    let one = |k: usize| {
        let mut file = archive.by_index(k)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((file.name()?.into_owned(), bytes))
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let files: [(&str, &[u8]); 2] = [("a.txt", b"one"), ("b", &[0; 1000])];
        let bytes = archive(&files).unwrap();
        assert!(bytes.len() < 500 && bytes == archive(&files).unwrap());
        let found = super::files(&bytes).unwrap();
        assert!(found.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).eq(files));
        assert!(archive(&[("a", b""), ("a", b"")]).is_err());
    }
}
