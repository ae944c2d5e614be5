//! Where bytes come from: a file, plain or gzip, or bytes in memory.

use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::Path;

const BUFFER: usize = 1 << 16;

/// A stream that can skip bytes, by seeking where it can.
pub trait Source: Read {
    /// Skips `bytes`, or fewer where the stream ends before; tells how many.
    ///
    /// # Errors
    /// Those of reading.
    fn skip_bytes(&mut self, bytes: u64) -> io::Result<u64> {
        io::copy(&mut Read::take(self, bytes), &mut io::sink())
    }
}

impl Source for &[u8] {}

impl<T: AsRef<[u8]>> Source for Cursor<T> {}

impl<R: BufRead> Source for MultiGzDecoder<R> {}

impl<S: Source + ?Sized> Source for Box<S> {
    fn skip_bytes(&mut self, bytes: u64) -> io::Result<u64> {
        (**self).skip_bytes(bytes)
    }
}

/// A regular file, of which `left` bytes are still unread.
struct PlainFile {
    file: BufReader<File>,
    left: u64,
}

impl Read for PlainFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

impl Source for PlainFile {
    fn skip_bytes(&mut self, bytes: u64) -> io::Result<u64> {
        let bytes = bytes.min(self.left).min(i64::MAX as u64);
        self.file.seek_relative(bytes as i64)?;
        self.left -= bytes;
        Ok(bytes)
    }
}

/// A stream whose first bytes were read to see what it is, and are given back first.
struct Peeked<S> {
    head: Cursor<Vec<u8>>,
    rest: S,
}

impl<S: Read> Read for Peeked<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.head.read(buffer)? {
            0 => self.rest.read(buffer),
            n => Ok(n),
        }
    }
}

impl<S: Source> Source for Peeked<S> {
    fn skip_bytes(&mut self, bytes: u64) -> io::Result<u64> {
        let from_head = self.head.skip_bytes(bytes)?;
        Ok(from_head + self.rest.skip_bytes(bytes - from_head)?)
    }
}

/// A stream of uncompressed bytes.
pub(crate) struct Opened {
    pub(crate) source: Box<dyn Source + Send>,
    /// Number of bytes in all, where it is known without reading them.
    pub(crate) len: Option<u64>,
    /// The first bytes, at most 8.
    pub(crate) head: Vec<u8>,
}

/// Opens a file; gzip is recognised by its first bytes, not by its name.
pub(crate) fn open_file(path: &Path) -> io::Result<Opened> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    let file = BufReader::with_capacity(BUFFER, file);
    if meta.is_file() {
        from_reader(PlainFile { file, left: meta.len() }, Some(meta.len()))
    } else {
        from_reader(Unsized(file), None)
    }
}

/// A pipe or a device: no length, no seeking.
struct Unsized(BufReader<File>);

impl Read for Unsized {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Source for Unsized {}

/// A stream of bytes that may be compressed, of known length `len`.
pub(crate) fn from_reader(stream: impl Source + Send + 'static, len: Option<u64>) -> io::Result<Opened> {
    let (head, stream) = peek(stream)?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let (head, source) = peek(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, stream)))?;
        return Ok(Opened { source: Box::new(source), len: None, head });
    }
    Ok(Opened { source: Box::new(stream), len, head })
}

fn peek<S: Source>(mut stream: S) -> io::Result<(Vec<u8>, Peeked<S>)> {
    let mut head = vec![0; 8];
    let n = read_full(&mut stream, &mut head)?;
    head.truncate(n);
    Ok((head.clone(), Peeked { head: Cursor::new(head), rest: stream }))
}

/// Fills `buffer`, or as much of it as the stream has; a compressed stream that is cut off just ends.
pub(crate) fn read_full(stream: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => break,
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_members_are_concatenated_and_their_length_is_unknown() {
        let bytes = [gzip(b"hello "), gzip(b"world")].concat();
        let mut opened = from_reader(Cursor::new(bytes), Some(1)).unwrap();
        assert_eq!((opened.len, opened.head.as_slice()), (None, b"hello wo".as_slice()));
        let mut text = String::new();
        opened.source.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world");
    }

    #[test]
    fn skipping_stops_at_the_end() {
        for bytes in [b"0123456789".to_vec(), gzip(b"0123456789")] {
            let mut opened = from_reader(Cursor::new(bytes), None).unwrap();
            assert_eq!(opened.source.skip_bytes(9).unwrap(), 9);
            let mut rest = [0; 4];
            assert_eq!(read_full(&mut opened.source, &mut rest).unwrap(), 1);
            assert_eq!(rest[0], b'9');
            assert_eq!(opened.source.skip_bytes(u64::MAX).unwrap(), 0);
        }
    }

    #[test]
    fn a_cut_gzip_stream_ends() {
        let mut bytes = gzip(&[7; 1000]);
        bytes.truncate(bytes.len() - 9);
        let mut opened = from_reader(Cursor::new(bytes), None).unwrap();
        let mut buffer = vec![0; 2000];
        assert!(read_full(&mut opened.source, &mut buffer).unwrap() <= 1000);
    }
}
