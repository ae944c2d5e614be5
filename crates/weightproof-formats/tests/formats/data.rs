//! Data sets in files: what is found, what is read, what is said when it is wrong.

use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use weightproof_formats::FormatError;
use weightproof_formats::data::{Batch, DataOptions, DataSet, Split};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), data].concat()
}

fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (i, (name, bytes)) in members.iter().enumerate() {
        let method = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated][i % 2];
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        writer.start_file(format!("{name}.npy"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(path: impl Into<PathBuf>) -> DataSet {
    DataSet::open(&DataOptions::new(path)).unwrap()
}

/// All batches as one.
fn all(mut data: DataSet, max: usize) -> Result<Batch, FormatError> {
    let mut all = data.next_batch(max)?.expect("a batch");
    while let Some(batch) = data.next_batch(max)? {
        assert!((1..=max).contains(&batch.count));
        assert_eq!(batch.first, all.first + all.count);
        all.count += batch.count;
        all.inputs.extend(batch.inputs);
        if let (Some(labels), Some(more)) = (&mut all.labels, batch.labels) {
            labels.extend(more);
        }
    }
    Ok(all)
}

fn message(options: &DataOptions) -> String {
    let error = match DataSet::open(options).and_then(|data| all(data, 7)) {
        Ok(batch) => panic!("{batch:?}"),
        Err(error) => error,
    };
    let message = format!("{error}\n{}", error.hint().unwrap_or_default());
    assert!(message.contains(&*options.path.file_name().unwrap().to_string_lossy()), "{message}");
    message
}

#[test]
fn a_folder_of_idx_files() {
    let folder = folder();
    let images: Vec<u8> = (0..24).collect();
    write(&folder, "t10k-images-idx3-ubyte.gz", gzip(&idx(&[6, 2, 2], &images)));
    write(&folder, "t10k-labels-idx1-ubyte.gz", gzip(&idx(&[6], &[0, 1, 2, 3, 4, 5])));
    write(&folder, "train-images.idx3-ubyte", idx(&[1, 2, 2], &[255; 4]));
    write(&folder, "train-labels.idx1-ubyte", idx(&[1], &[9]));

    let data = open(folder.path());
    let info = data.info();
    assert!(info.description.ends_with("/t10k-images-idx3-ubyte.gz"), "{}", info.description);
    assert_eq!((info.format, info.shape.as_slice(), info.count), ("idx", [2, 2].as_slice(), Some(6)));
    assert!(info.pixels && info.labelled);
    let batch = all(data, 4).unwrap();
    assert_eq!((batch.first, batch.count, batch.labels), (0, 6, Some(vec![0, 1, 2, 3, 4, 5])));
    assert_eq!(batch.inputs, images.iter().map(|&p| f64::from(p) / 255.0).collect::<Vec<_>>());

    let options = DataOptions { split: Split::Train, ..DataOptions::new(folder.path()) };
    let batch = all(DataSet::open(&options).unwrap(), 4).unwrap();
    assert_eq!((batch.inputs, batch.labels), (vec![1.0; 4], Some(vec![9])));
}

#[test]
fn offset_and_samples() {
    let folder = folder();
    let images = idx(&[6, 1], &[0, 51, 102, 153, 204, 255]);
    let labels = idx(&[6], &[0, 1, 2, 3, 4, 5]);
    write(&folder, "images-idx2", &images);
    write(&folder, "labels-idx1", &labels);
    let gz = write(&folder, "gz/images-idx2.gz", gzip(&images));
    write(&folder, "gz/labels-idx1.gz", gzip(&labels));
    let csv = write(&folder, "a.csv", "0,0\n1,.2\n2,.4\n3,.6\n4,.8\n5,1\n");
    for path in [folder.path().join("images-idx2"), gz, csv] {
        let part = |offset, samples| DataOptions { offset, samples, ..DataOptions::new(&path) };
        for max in [1, 2, 100] {
            let batch = all(DataSet::open(&part(2, Some(3))).unwrap(), max).unwrap();
            assert_eq!((batch.first, batch.labels), (2, Some(vec![2, 3, 4])));
            assert_eq!(batch.inputs, [0.4, 0.6, 0.8]);
            // More than there are is not an error.
            let batch = all(DataSet::open(&part(4, Some(100))).unwrap(), max).unwrap();
            assert_eq!(batch.labels, Some(vec![4, 5]));
        }
        for offset in [6, 7, usize::MAX] {
            assert!(message(&part(offset, None)).contains("less than 6, the number of samples"));
        }
        assert!(message(&part(0, Some(0))).contains("at least 1"));
    }
}

#[test]
fn idx_files_without_labels_or_with_others() {
    let folder = folder();
    let path = write(&folder, "a.idx", idx(&[2, 3], &[0; 6]));
    let data = open(&path);
    assert!(!data.info().labelled);
    assert_eq!(all(data, 9).unwrap().labels, None);

    let labels = |name: &str, bytes: &[u8]| DataOptions {
        labels: Some(write(&folder, name, bytes)),
        ..DataOptions::new(&path)
    };
    for options in [
        labels("l.npy", &npy("<i8", "(2,)", &[3_i64, 4].map(i64::to_le_bytes).concat())),
        labels("l2.npy", &npy("<f4", "(2, 1)", &[3_f32, 4.0].map(f32::to_le_bytes).concat())),
        labels("l.idx.gz", &gzip(&idx(&[2], &[3, 4]))),
        labels("l.txt", b"3\n4\n"),
        labels("l.csv", b"label\n3\n4.0"),
    ] {
        assert_eq!(all(DataSet::open(&options).unwrap(), 1).unwrap().labels, Some(vec![3, 4]));
    }
    for (options, expected) in [
        (labels("m.npy", &npy("|u1", "(3,)", &[0; 3])), "expected 2, one per sample, found 3"),
        (labels("m.txt", b"3\n"), "expected one per sample, found 1, but more samples"),
        (labels("n.txt", b"3\n4\n5\n"), "expected 2, one per sample, found more"),
        (labels("o.txt", b"3\n-4\n"), "sample 1: expected a label, an integer ≥ 0, found -4"),
        (labels("p.npy", &npy("|u1", "(2, 2)", &[0; 4])), "argmax"),
        (labels("q.npy", &npy("<f4", "(2,)", &[f32::NAN; 2].map(f32::to_le_bytes).concat())), "found NaN"),
    ] {
        let error = DataSet::open(&options).and_then(|data| all(data, 9)).unwrap_err();
        let message = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(message.contains(expected), "{message}");
        let file = options.labels.unwrap();
        assert!(message.contains(&*file.to_string_lossy()), "{message}");
    }
}

#[test]
fn damaged_idx_files() {
    let folder = folder();
    let bytes = idx(&[3, 2, 2], &[1; 12]);
    let cut = write(&folder, "cut-idx3", &bytes[..25]);
    assert!(
        message(&DataOptions::new(cut))
            .contains("sample 2: expected 28 bytes in all, found the end after 25")
    );
    let cut = write(&folder, "cut-inside-idx3.gz", gzip(&bytes[..25]));
    assert!(
        message(&DataOptions::new(cut))
            .contains("sample 2: expected 28 bytes in all, found the end after 25")
    );
    let mut broken = gzip(&bytes);
    broken.truncate(broken.len() - 4);
    let cut = write(&folder, "cut-idx3.gz", &broken);
    assert!(message(&DataOptions::new(cut)).contains("end of the data"));
    let long = write(&folder, "long-idx3", [bytes.as_slice(), &[0]].concat());
    assert!(message(&DataOptions::new(long)).contains("expected 28 bytes as the header says, found 29"));
    let empty = write(&folder, "empty-idx3", b"");
    assert!(message(&DataOptions::new(empty)).contains("first bytes"));
    let none = write(&folder, "none-idx3", idx(&[0, 2, 2], &[]));
    assert!(message(&DataOptions::new(none)).contains("number of samples: expected at least 1, found 0"));
}

#[test]
fn a_compressed_bomb_is_read_in_pieces() {
    let folder = folder();
    // A header that claims 4 GiB of samples, and 64 MiB of zeros in a few kilobytes.
    let zeros = vec![0; 64 << 20];
    let path = write(&folder, "bomb-idx3.gz", gzip(&idx(&[1 << 22, 32, 32], &zeros)));
    assert!(fs::metadata(&path).unwrap().len() < 100_000);
    let mut data = open(&path);
    assert_eq!(data.next_batch(10).unwrap().unwrap().inputs.len(), 10 * 1024);
    let options = DataOptions { offset: 1 << 20, ..DataOptions::new(&path) };
    assert!(message(&options).contains("sample 65536: expected 4294967312 bytes in all"));
}

#[test]
fn cifar_files_and_folders() {
    let folder = folder();
    let record = |label: u8, pixel: u8| [vec![label], vec![pixel; 3072]].concat();
    let test = [record(3, 0), record(9, 255)].concat();
    write(&folder, "test_batch.bin", &test);
    write(&folder, "data_batch_1.bin", [record(1, 0), record(2, 0)].concat());
    write(&folder, "data_batch_2.bin", record(3, 51));
    let data = open(folder.path());
    assert_eq!((data.info().format, data.info().shape.as_slice()), ("cifar-10", [3, 32, 32].as_slice()));
    assert!(data.info().pixels && data.info().labelled && data.info().count == Some(2));
    let batch = all(data, 1).unwrap();
    assert_eq!((batch.labels, batch.inputs[3071], batch.inputs[3072]), (Some(vec![3, 9]), 0.0, 1.0));

    for (offset, labels) in [(0, vec![1, 2, 3]), (1, vec![2, 3]), (2, vec![3])] {
        let options = DataOptions { split: Split::Train, offset, ..DataOptions::new(folder.path()) };
        let mut data = DataSet::open(&options).unwrap();
        assert!(data.info().description.ends_with("/data_batch_*.bin") && data.info().count == Some(3));
        assert_eq!(data.sha256().unwrap().len(), 64);
        let batch = data.next_batch(10).unwrap().unwrap();
        assert_eq!((batch.first, batch.labels), (offset, Some(labels)));
        assert_eq!(batch.inputs.last(), Some(&0.2));
    }

    let bad = write(&folder, "a.bin", &test[..6000]);
    assert!(message(&DataOptions::new(bad)).contains("a multiple of 3073 bytes"));
    let bad = write(&folder, "b.bin", [record(3, 0), record(10, 0)].concat());
    assert!(message(&DataOptions::new(bad)).contains("sample 1: expected a label below 10, found 10"));
    let hundred = write(&folder, "cifar-100-binary/test.bin", [&[19, 99][..], &[255; 3072]].concat());
    let data = open(hundred.parent().unwrap());
    assert_eq!(data.info().format, "cifar-100");
    assert_eq!(all(data, 1).unwrap().labels, Some(vec![99]));
}

#[test]
fn npy_and_npz_files() {
    let folder = folder();
    let x = [0.5_f32, 1.5, -2.0, 1e-30].map(f32::to_le_bytes).concat();
    let path = write(&folder, "x.npy", npy("<f4", "(2, 1, 2)", &x));
    let data = open(&path);
    assert_eq!((data.info().format, data.info().shape.as_slice()), ("npy", [1, 2].as_slice()));
    assert!(!data.info().pixels && !data.info().labelled);
    assert_eq!(all(data, 1).unwrap().inputs, [0.5, 1.5, -2.0, f64::from(1e-30_f32)]);

    let y = npy("<i4", "(2,)", &[7_i32, 8].map(i32::to_le_bytes).concat());
    let z = npy("|u1", "(1, 2)", &[0, 255]);
    let members = [("x_test", npy("<f4", "(2, 2)", &x)), ("x_train", z), ("y_test", y.clone())];
    let path = write(&folder, "data.npz", npz(&members));
    for offset in [0, 1] {
        let data = DataSet::open(&DataOptions { offset, ..DataOptions::new(&path) }).unwrap();
        assert_eq!((data.info().format, data.info().count, data.info().labelled), ("npz", Some(2), true));
        let batch = all(data, 3).unwrap();
        assert_eq!(batch.labels.unwrap(), [7, 8][offset..]);
        assert_eq!(batch.inputs.len(), 2 * (2 - offset));
    }
    let data = DataSet::open(&DataOptions { split: Split::Train, ..DataOptions::new(&path) }).unwrap();
    assert!(data.info().pixels && !data.info().labelled);
    assert_eq!(all(data, 3).unwrap().inputs, [0.0, 1.0]);

    let path = write(&folder, "other.npz", npz(&[("a", y.clone()), ("b", y)]));
    let text = message(&DataOptions::new(path));
    assert!(text.contains("expected one of x, x_test, images, test_images, found a, b"), "{text}");
    let nan = [1.0, 2.0, 3.0, f64::INFINITY].map(f64::to_be_bytes).concat();
    let path = write(&folder, "inf.npy", npy(">f8", "(2, 2)", &nan));
    assert!(message(&DataOptions::new(path)).contains("sample 1, position 1: expected a finite number"));
    let path = write(&folder, "zip.npz", b"PK\x03\x04");
    assert!(message(&DataOptions::new(path)).contains("a ZIP archive"));
}

#[test]
fn csv_files() {
    let folder = folder();
    let text = "label,a,b\n1,0.5,255\n0,-1,2\n";
    let plain = write(&folder, "a.csv", text);
    let gz = write(&folder, "b.csv.gz", gzip(text.as_bytes()));
    for path in [plain, gz] {
        let data = open(&path);
        let info = data.info();
        assert_eq!((info.format, info.shape.as_slice(), info.count), ("csv", [2].as_slice(), None));
        assert!(info.labelled && !info.pixels);
        let batch = all(data, 1).unwrap();
        assert_eq!((batch.inputs, batch.labels), (vec![0.5, 255.0, -1.0, 2.0], Some(vec![1, 0])));
        let data = DataSet::open(&DataOptions { csv_labels: false, ..DataOptions::new(&path) }).unwrap();
        assert_eq!((data.info().shape.as_slice(), data.info().labelled), ([3].as_slice(), false));
        // Labels of their own: every column is an input.
        let labels = Some(write(&folder, "labels.txt", "4\n5\n"));
        let data = DataSet::open(&DataOptions { labels, ..DataOptions::new(&path) }).unwrap();
        let batch = all(data, 9).unwrap();
        assert_eq!((batch.inputs.len(), batch.labels), (6, Some(vec![4, 5])));
    }
    let bad = write(&folder, "bad.csv", "1,2\n1,2,3\n");
    assert!(message(&DataOptions::new(bad)).contains("bad.csv: row 2, column 3: expected 2 fields"));
}

#[test]
fn paths_that_are_not_data_sets() {
    let folder = folder();
    message(&DataOptions::new(folder.path().join("absent")));
    assert!(message(&DataOptions::new(folder.path())).contains("t10k-images-idx3-ubyte, test_batch.bin"));
    let other = write(&folder, "model.onnx", "\x08\x07abc");
    assert!(message(&DataOptions::new(other)).contains("found \\x08\\x07abc\ntext needs the extension .csv"));
    let labels = Some(folder.path().join("absent"));
    let path = write(&folder, "a.idx", idx(&[1, 1], &[0]));
    assert!(
        DataSet::open(&DataOptions { labels, ..DataOptions::new(path) })
            .unwrap_err()
            .to_string()
            .contains("absent")
    );
}

#[test]
fn labels_of_more_classes_than_outputs() {
    let batch = Batch { first: 5, count: 2, inputs: vec![], labels: Some(vec![9, 10]) };
    let error = batch.check_labels(10, Path::new("a.csv")).unwrap_err();
    assert_eq!(error.to_string(), "a.csv: sample 6: expected a label from 0 to 9, found 10");
    assert!(error.hint().unwrap().contains("10 outputs"));
    assert!(batch.check_labels(11, Path::new("a.csv")).is_ok());
}

#[test]
fn embedded_bytes() {
    let labels = gzip(&idx(&[2], &[3, 4]));
    let images = gzip(&idx(&[2, 1], &[0, 255]));
    let data = DataSet::from_idx_bytes(images.clone(), Some(labels.clone().into()), "embedded").unwrap();
    assert_eq!(data.info().description, "embedded");
    let folder = folder();
    let file = open(write(&folder, "images-idx2.gz", images));
    assert_eq!(data.sha256().unwrap(), file.sha256().unwrap());
    let batch = all(data.select(1, None).unwrap(), 5).unwrap();
    assert_eq!((batch.first, batch.inputs, batch.labels), (1, vec![1.0], Some(vec![4])));
    assert!(DataSet::from_idx_bytes(&[0_u8; 3], None, "embedded").is_err());
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_embedded_mnist_sample() {
    let data = open(root().join("assets/mnist-test-1000-images.idx3-ubyte.gz"));
    assert_eq!((data.info().count, data.info().labelled), (Some(1000), true));
    let batch = all(data, 128).unwrap();
    assert_eq!(batch.inputs.len(), 1000 * 784);
    assert!(batch.inputs.iter().all(|p| (0.0..=1.0).contains(p)));
    batch.check_labels(10, Path::new("assets")).unwrap();
}

#[test]
fn complete_mnist_and_cifar() {
    let shared = root().join("../shared/data");
    if !shared.is_dir() {
        eprintln!("skipped: {} is not there", shared.display());
        return;
    }
    for (name, split, count, shape, first) in [
        ("mnist", Split::Test, 10_000, vec![28, 28], Some([7, 2, 1])),
        ("mnist", Split::Train, 60_000, vec![28, 28], Some([5, 0, 4])),
        ("cifar10", Split::Test, 10_000, vec![3, 32, 32], None),
    ] {
        let start = std::time::Instant::now();
        let data = DataSet::open(&DataOptions { split, ..DataOptions::new(shared.join(name)) }).unwrap();
        assert_eq!(data.info().shape, shape);
        let batch = all(data, 10_000).unwrap();
        eprintln!("{name} {split:?}: {:?}", start.elapsed());
        assert_eq!(batch.inputs.len(), count * shape.iter().product::<usize>());
        if let Some(first) = first {
            assert_eq!(batch.labels.as_ref().unwrap()[..3], first);
        }
        batch.check_labels(10, &shared).unwrap();
    }
}

/// Samples that were looked at are given out once, in whatever batches they are read, times the scale.
#[test]
fn looking_ahead_takes_nothing_away() {
    let mut bytes = vec![0, 0, 8, 2, 0, 0, 0, 5, 0, 0, 0, 2];
    bytes.extend([0, 1, 1, 0, 7, 2, 9, 9, 4, 3]);
    let open = || DataSet::from_idx_bytes(bytes.clone(), None, "bytes").unwrap();
    let mut read = open();
    let whole = read.next_batch(10).unwrap().unwrap().inputs;
    assert_eq!(whole[..2], [0.0, 1.0 / 255.0]);
    for batch in [1, 2, 4, 10] {
        let mut data = open().select(1, Some(3)).unwrap();
        assert_eq!(data.largest_ahead(1, 1.0).unwrap(), Some(1.0));
        assert_eq!(data.largest_ahead(10, 1.0).unwrap(), Some(9.0));
        data.set_scale("2".parse().unwrap());
        let mut found = Vec::new();
        while let Some(batch) = data.next_batch(batch).unwrap() {
            found.extend(batch.inputs);
        }
        assert_eq!(found, [2.0, 0.0, 14.0, 4.0, 18.0, 18.0], "{batch}");
    }
}
