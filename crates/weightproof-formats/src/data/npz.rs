//! NPZ: a ZIP archive of NPY files, whose members are streamed, stored or deflated.

use super::source::Source;
use crate::error::DataError;
use flate2::{Crc, bufread::DeflateDecoder};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Take};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

/// One array of an archive: where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of the array, without `.npy`.
    pub name: String,
    /// Bytes after decompression, as the archive says.
    pub size: u64,
    start: u64,
    compressed: u64,
    deflated: bool,
    crc: u32,
}

/// The NPY members of an archive.
///
/// # Errors
/// No ZIP archive, or a member that is encrypted or compressed in another way.
pub fn members(archive: impl Read + Seek) -> Result<Vec<Member>, DataError> {
    let bad = |e: ZipError| DataError::new("archive", "a ZIP archive of NPY files", e.to_string());
    let mut archive = ZipArchive::new(archive).map_err(bad)?;
    let mut members = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(bad)?;
        let name = entry.name().map_err(bad)?.into_owned();
        let Some(array) = name.strip_suffix(".npy") else { continue };
        let method = entry.compression();
        if ![CompressionMethod::Stored, CompressionMethod::Deflated].contains(&method) {
            return Err(DataError::new(
                format!("member {name:?}"),
                "stored or deflated data",
                method.to_string(),
            ));
        }
        if entry.encrypted() {
            return Err(DataError::new(format!("member {name:?}"), "plain data", "an encrypted member"));
        }
        let start = entry.data_start();
        let start =
            start.ok_or_else(|| DataError::new(format!("member {name:?}"), "data", "no position of them"))?;
        members.push(Member {
            name: array.into(),
            size: entry.size(),
            start,
            compressed: entry.compressed_size(),
            deflated: method == CompressionMethod::Deflated,
            crc: entry.crc32(),
        });
    }
    Ok(members)
}

impl Member {
    /// A stream of the member's bytes, whose checksum is checked at its end.
    ///
    /// # Errors
    /// Those of seeking.
    pub fn open<R: Read + Seek>(&self, mut archive: R) -> io::Result<MemberSource<R>> {
        archive.seek(SeekFrom::Start(self.start))?;
        let raw = archive.take(self.compressed);
        let body = if self.deflated {
            Body::Deflated(DeflateDecoder::new(BufReader::with_capacity(1 << 16, raw)))
        } else {
            Body::Stored(raw)
        };
        Ok(MemberSource { body, crc: Some(Crc::new()), expected: self.crc })
    }
}

enum Body<R> {
    Stored(Take<R>),
    Deflated(DeflateDecoder<BufReader<Take<R>>>),
}

/// The bytes of a [`Member`].
pub struct MemberSource<R> {
    body: Body<R>,
    /// `None` once bytes were skipped unread.
    crc: Option<Crc>,
    expected: u32,
}

impl<R: Read> Read for MemberSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.body {
            Body::Stored(raw) => raw.read(buffer)?,
            Body::Deflated(raw) => raw.read(buffer)?,
        };
        if let Some(crc) = &mut self.crc {
            crc.update(&buffer[..n]);
            if n == 0 && !buffer.is_empty() && crc.sum() != self.expected {
                return Err(io::Error::new(ErrorKind::InvalidData, "data that do not match their checksum"));
            }
        }
        Ok(n)
    }
}

impl<R: Read + Seek> Source for MemberSource<R> {
    fn skip_bytes(&mut self, bytes: u64) -> io::Result<u64> {
        match &mut self.body {
            Body::Stored(raw) => {
                let bytes = bytes.min(raw.limit()).min(i64::MAX as u64);
                if bytes > 0 {
                    self.crc = None;
                    raw.get_mut().seek_relative(bytes as i64)?;
                    raw.set_limit(raw.limit() - bytes);
                }
                Ok(bytes)
            }
            Body::Deflated(_) => io::copy(&mut Read::take(self, bytes), &mut io::sink()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ArrayReader, SampleReader};
    use std::io::{Cursor, Write};
    use zip::{ZipWriter, write::SimpleFileOptions};

    fn npy(values: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({},)}}", values.len());
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), values].concat()
    }

    fn archive(method: CompressionMethod) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, values) in [("x.npy", [1, 2, 3]), ("readme.txt", [0; 3]), ("y.npy", [4, 5, 6])] {
            writer.start_file(name, options).unwrap();
            writer.write_all(&npy(&values)).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn stored_and_deflated_members() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let bytes = archive(method);
            let members = members(Cursor::new(&bytes)).unwrap();
            assert_eq!(members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["x", "y"]);
            let source = members[1].open(Cursor::new(&bytes)).unwrap();
            let mut reader = ArrayReader::npy(source, Some(members[1].size)).unwrap();
            assert_eq!(reader.skip(1).unwrap(), 1);
            assert_eq!(reader.read_rows(9).unwrap().unwrap().values, [5.0, 6.0]);
        }
    }

    #[test]
    fn a_wrong_checksum_is_found() {
        let mut bytes = archive(CompressionMethod::Stored);
        let at = bytes.windows(4).position(|w| w == [b'}', 1, 2, 3]).unwrap();
        bytes[at + 2] = 9;
        let member = &members(Cursor::new(&bytes)).unwrap()[0];
        let mut reader =
            ArrayReader::npy(member.open(Cursor::new(&bytes)).unwrap(), Some(member.size)).unwrap();
        assert!(reader.read_rows(3).unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn no_archive() {
        assert!(members(Cursor::new(b"PK\x03\x04 nothing")).is_err());
        assert!(members(Cursor::new(b"")).is_err());
    }
}
