//! A short fuzz of every parser: damaged bytes give rows or an error, never a panic, and never much memory.

use flate2::{Compression, write::GzEncoder};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::{Cursor, Write};
use weightproof_formats::data::{
    ArrayReader, CifarKind, CifarReader, CsvHeader, CsvReader, DataOptions, DataSet, SampleReader,
    decode_picture, members, read_cifar_pickle,
};
use weightproof_formats::{DataError, FormatError};

const MUTATIONS: usize = 4000;

/// Flips, overwrites, inserts, removes or truncates a few bytes.
fn mutate(rng: &mut impl Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            break;
        }
        // Headers are short: most damage goes there.
        let span = if rng.random_bool(0.7) { bytes.len().min(96) } else { bytes.len() };
        let at = rng.random_range(0..span);
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => {
                bytes[at] =
                    *[0, 1, 0x7f, 0x80, 0xff, b',', b'\n', b'9', b'('].get(rng.random_range(0..9)).unwrap()
            }
            2 => bytes.insert(at, rng.random()),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ => {
                let end = bytes.len().min(at + 8);
                bytes[at..end].fill(0xff);
            }
        }
    }
    bytes
}

/// Reads to the end and checks what the reader promises.
fn drain(mut reader: impl SampleReader, skip: usize) -> Result<(), DataError> {
    let width: usize = reader.shape().iter().product();
    reader.skip(skip)?;
    while let Some(rows) = reader.read_rows(3)? {
        assert!((1..=3).contains(&rows.count));
        assert_eq!(rows.values.len(), rows.count * width);
        assert!(rows.values.iter().all(|v| v.is_finite()));
        assert_eq!(rows.labels.is_some(), reader.labelled());
        assert!(rows.labels.is_none_or(|labels| labels.len() == rows.count));
    }
    Ok(())
}

fn fuzz(name: &str, seed: &[u8], mut parse: impl FnMut(Vec<u8>, usize) -> Result<(), DataError>) {
    parse(seed.to_vec(), 0).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut errors = 0;
    for _ in 0..MUTATIONS {
        let skip = rng.random_range(0..3);
        errors += usize::from(parse(mutate(&mut rng, seed), skip).is_err());
    }
    // Mutations that nothing notices, or that nothing survives, test nothing.
    assert!((MUTATIONS / 20..MUTATIONS).contains(&errors), "{name}: {errors} errors");
}

fn len(bytes: &[u8], i: usize) -> Option<u64> {
    i.is_multiple_of(2).then_some(bytes.len() as u64)
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), data].concat()
}

#[test]
fn idx() {
    let floats = [0.5_f32, 1.5, -2.0, 3.0, 4.0, 5.0].map(f32::to_be_bytes).concat();
    for (code, data) in [(8, vec![7; 6]), (0x0d, floats)] {
        let seed = [&[0, 0, code, 2, 0, 0, 0, 3, 0, 0, 0, 2], data.as_slice()].concat();
        fuzz("idx", &seed, |bytes, i| drain(ArrayReader::idx(bytes.as_slice(), len(&bytes, i))?, i));
    }
}

#[test]
fn npy_arrays() {
    let seed = npy("<f8", "(3, 2)", &[1.0_f64; 6].map(f64::to_le_bytes).concat());
    fuzz("npy", &seed, |bytes, i| drain(ArrayReader::npy(bytes.as_slice(), len(&bytes, i))?, i));
}

#[test]
fn npz_archives() {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, method) in
        [("x.npy", zip::CompressionMethod::Deflated), ("y.npy", zip::CompressionMethod::Stored)]
    {
        writer.start_file(name, zip::write::SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(&npy("<i2", "(3, 1)", &[1, 0, 2, 0, 3, 0])).unwrap();
    }
    let seed = writer.finish().unwrap().into_inner();
    fuzz("npz", &seed, |bytes, i| {
        for member in members(Cursor::new(&bytes))? {
            let source =
                member.open(Cursor::new(&bytes)).map_err(|e| DataError::new("open", "", e.to_string()))?;
            drain(ArrayReader::npy(source, Some(member.size).filter(|_| i != 1))?, i)?;
        }
        Ok(())
    });
}

#[test]
fn cifar() {
    for kind in [CifarKind::Cifar10, CifarKind::Cifar100] {
        let seed = vec![3; 3 * kind.record()];
        fuzz("cifar", &seed, |bytes, i| drain(CifarReader::new(bytes.as_slice(), kind, len(&bytes, i))?, i));
    }
}

#[test]
fn csv() {
    let seed = b"label,a,b\n1,0.5,1e-3\n0,\"2\",-3\n2,4,5\n";
    for labelled in [true, false] {
        fuzz("csv", seed, |bytes, i| drain(CsvReader::new(bytes.as_slice(), labelled, CsvHeader::Auto)?, i));
    }
}

#[test]
fn gzip_streams_and_labels() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let images = gzip(&[0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6]);
    let labels = gzip(&[0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3]);
    let read = |images: Vec<u8>, labels: Vec<u8>| -> Result<(), DataError> {
        let read = || {
            let mut data = DataSet::from_idx_bytes(images, Some(labels.into()), "x")?;
            while data.next_batch(2)?.is_some() {}
            Ok(())
        };
        read().map_err(|e: FormatError| DataError::new("", "", e.to_string()))
    };
    fuzz("images", &images, |bytes, _| read(bytes, labels.clone()));
    fuzz("labels", &labels, |bytes, _| read(images.clone(), bytes));
}

#[test]
fn label_files() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::write(&images, [0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3]).unwrap();
    let labels = folder.path().join("labels");
    let options = DataOptions { labels: Some(labels.clone()), ..DataOptions::new(&images) };
    fuzz("labels", b"1\n2\n3\n", |bytes, _| {
        std::fs::write(&labels, bytes).unwrap();
        let read = || {
            let mut data = DataSet::open(&options)?;
            while data.next_batch(2)?.is_some() {}
            Ok(())
        };
        read().map_err(|e: FormatError| DataError::new("", "", e.to_string()))
    });
}

#[test]
fn pickles() {
    let pixels = [3; 2 * 3072];
    let head = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\0\x85U\x01b\x87R(K\x01K\x02M\0\x0c\x86cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T";
    let length = u32::try_from(pixels.len()).unwrap().to_le_bytes();
    let tail = b"tbU\x06labelsq\x05]q\x06(K\x03K\x07eu.";
    let seed = [&head[..], &length, &pixels, &tail[..]].concat();
    fuzz("pickle", &seed, |bytes, i| drain(read_cifar_pickle(&bytes)?, i));
}

/// A grey JPEG of 8 × 8 pixels.
const JPEG: &[u8] = include_bytes!("grey.jpg");

#[test]
fn pictures() {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 5, 3);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&[7; 45]).unwrap();
    for seed in [&png[..], JPEG] {
        fuzz("picture", seed, |bytes, _| {
            let ([channels, height, width], values) = decode_picture(&bytes)?;
            assert_eq!(values.len(), channels * height * width);
            assert!(values.iter().all(|v| (0.0..=255.0).contains(v)));
            Ok(())
        });
    }
}
