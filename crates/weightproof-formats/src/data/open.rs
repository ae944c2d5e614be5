//! Which reader a path asks for: by the first bytes of a file, by its name, by the names in a folder.

use super::array::ArrayReader;
use super::cifar::{CifarKind, CifarReader};
use super::csv::CsvReader;
use super::labels::LabelReader;
use super::npz::{self, Member};
use super::samples::{Chained, SampleReader};
use super::source::{self, Opened};
use super::{DataOptions, DataSet, Origin, Split, idx, npy};
use crate::error::{DataError, FormatError};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Folders below the one that is named in which common downloads put the files.
const SUBFOLDERS: [&str; 5] = ["", "raw", "MNIST/raw", "cifar-10-batches-bin", "cifar-100-binary"];

/// Names of samples and labels in an archive, for each split the preferred ones first.
const TEST_MEMBERS: [(&str, &str); 4] =
    [("x", "y"), ("x_test", "y_test"), ("images", "labels"), ("test_images", "test_labels")];
const TRAIN_MEMBERS: [(&str, &str); 4] =
    [("x", "y"), ("x_train", "y_train"), ("images", "labels"), ("train_images", "train_labels")];

pub(super) fn open(options: &DataOptions) -> Result<DataSet, FormatError> {
    let path = &options.path;
    let labels = options.labels.as_deref().map(LabelReader::open).transpose()?;
    if fs::metadata(path).map_err(FormatError::io(path))?.is_dir() {
        open_folder(path, options.split, labels)
    } else {
        open_file(path, options, labels)
    }
}

/// The last folder and the file of a path.
pub(super) fn description(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts[parts.len().saturating_sub(2)..].join("/").replace("//", "/")
}

fn open_file(
    path: &Path,
    options: &DataOptions,
    labels: Option<LabelReader>,
) -> Result<DataSet, FormatError> {
    let Opened { source, len, head } = source::open_file(path).map_err(FormatError::io(path))?;
    let at = |e: DataError| e.in_file(path);
    let (reader, labels, format): (Box<dyn SampleReader + Send>, _, _) = match format(path, &head) {
        Some(Format::Idx) => {
            let labels = match labels {
                Some(labels) => Some(labels),
                None => labels_beside(path).as_deref().map(LabelReader::open).transpose()?,
            };
            (Box::new(ArrayReader::idx(source, len).map_err(at)?), labels, "idx")
        }
        Some(Format::Cifar) => {
            let kind = cifar_kind(path, len);
            (Box::new(CifarReader::new(source, kind, len).map_err(at)?), labels, kind.name())
        }
        Some(Format::Npy) => (Box::new(ArrayReader::npy(source, len).map_err(at)?), labels, "npy"),
        Some(Format::Npz) => {
            let (samples, beside) = open_npz(path, options.split)?;
            (samples, if labels.is_some() { labels } else { beside }, "npz")
        }
        Some(Format::Csv) => {
            let labelled = options.csv_labels && labels.is_none();
            (Box::new(CsvReader::new(source, labelled, options.csv_header).map_err(at)?), labels, "csv")
        }
        None => {
            let found = head.escape_ascii().to_string();
            return Err(at(DataError::new("first bytes", "those of an IDX, NPY or NPZ file", found)
                .with_hint("text needs the extension .csv, CIFAR records .bin")));
        }
    };
    DataSet::new(reader, labels, format, path.into(), Origin::Files(vec![path.into()]))
}

enum Format {
    Idx,
    Cifar,
    Npy,
    Npz,
    Csv,
}

/// The first bytes decide where a format has its own; names decide about the others.
fn format(path: &Path, head: &[u8]) -> Option<Format> {
    let name = file_name(path).to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "bin" => Some(Format::Cifar),
        "csv" => Some(Format::Csv),
        _ if head.starts_with(npy::MAGIC) => Some(Format::Npy),
        _ if head.starts_with(b"PK") => Some(Format::Npz),
        _ if idx::is_idx(head) => Some(Format::Idx),
        "npy" => Some(Format::Npy),
        "npz" => Some(Format::Npz),
        _ if name.contains("idx") => Some(Format::Idx),
        _ => None,
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// CIFAR-100 where the path or the size of a `train.bin` or `test.bin` says so.
fn cifar_kind(path: &Path, len: Option<u64>) -> CifarKind {
    let text = description(path).to_lowercase();
    let fits = |kind: CifarKind| len.is_none_or(|len| len % kind.record() as u64 == 0);
    let named = text.contains("cifar-100") || text.contains("cifar100");
    let generic = len.is_some() && matches!(file_name(path).as_str(), "train.bin" | "test.bin");
    if (named || generic && !fits(CifarKind::Cifar10)) && fits(CifarKind::Cifar100) {
        CifarKind::Cifar100
    } else {
        CifarKind::Cifar10
    }
}

/// `t10k-labels-idx1-ubyte` for `t10k-images-idx3-ubyte`, with or without `.gz`, if it is there.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = file_name(images);
    let mut labels = name.replace("images", "labels");
    if labels == name {
        return None;
    }
    for rank in '2'..='9' {
        labels = labels.replace(&format!("idx{rank}"), "idx1");
    }
    let other = match labels.strip_suffix(".gz") {
        Some(plain) => plain.to_owned(),
        None => format!("{labels}.gz"),
    };
    [labels, other].map(|name| images.with_file_name(name)).into_iter().find(|path| path.is_file())
}

type SamplesAndLabels = (Box<dyn SampleReader + Send>, Option<LabelReader>);

fn open_npz(path: &Path, split: Split) -> Result<SamplesAndLabels, FormatError> {
    let archive = || File::open(path).map(BufReader::new).map_err(FormatError::io(path));
    let members = npz::members(archive()?).map_err(|e| e.in_file(path))?;
    let find = |name: &str| members.iter().find(|member| member.name.eq_ignore_ascii_case(name));
    let names = match split {
        Split::Test => TEST_MEMBERS,
        Split::Train => TRAIN_MEMBERS,
    };
    let Some((samples, labels)) = names.iter().find_map(|(x, y)| find(x).map(|x| (x, find(y)))) else {
        let known: Vec<_> = names.iter().map(|(x, _)| *x).collect();
        let found: Vec<_> = members.iter().take(8).map(|member| member.name.as_str()).collect();
        return Err(DataError::new("arrays", format!("one of {}", known.join(", ")), found.join(", "))
            .with_hint("save the samples and labels by np.savez(file, x=x, y=y)")
            .in_file(path));
    };
    let read = |member: &Member| -> Result<Box<dyn SampleReader + Send>, FormatError> {
        let source = member.open(archive()?).map_err(FormatError::io(path))?;
        let named = |mut e: DataError| {
            e.place = format!("array {:?}, {}", member.name, e.place);
            e.in_file(path)
        };
        Ok(Box::new(ArrayReader::npy(source, Some(member.size)).map_err(named)?))
    };
    let labels = match labels {
        Some(member) => Some(LabelReader::from_samples(read(member)?, path.into())?),
        None => None,
    };
    Ok((read(samples)?, labels))
}

/// An array of an NPZ file.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedArray {
    /// Its name, without `.npy`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, row-major.
    pub values: Vec<f64>,
    /// Whether it holds integers.
    pub whole: bool,
}

impl NamedArray {
    /// Its shape in words, for messages.
    pub fn size(&self) -> String {
        format!("the shape {:?}", self.shape)
    }
}

/// All arrays of the NPZ file `path`.
///
/// # Errors
/// As for data: no archive, arrays of other types or cut off, numbers that are not finite; more than 2³¹ bytes in all.
pub fn read_arrays(path: &Path) -> Result<Vec<NamedArray>, FormatError> {
    let archive = || File::open(path).map(BufReader::new).map_err(FormatError::io(path));
    let members = npz::members(archive()?).map_err(|e| e.in_file(path))?;
    let bytes = members.iter().fold(0_u64, |sum, member| sum.saturating_add(member.size));
    if bytes > MOST_ARRAY_BYTES {
        let found = format!("{bytes} bytes");
        return Err(
            DataError::new("arrays", format!("at most {MOST_ARRAY_BYTES} bytes"), found).in_file(path)
        );
    }
    let read = |member: &Member| -> Result<NamedArray, FormatError> {
        let named = |mut e: DataError| {
            e.place = format!("array {:?}, {}", member.name, e.place);
            e.in_file(path)
        };
        let source = member.open(archive()?).map_err(FormatError::io(path))?;
        let mut reader = ArrayReader::npy(source, Some(member.size)).map_err(named)?;
        let count = reader.count().unwrap_or(0);
        let shape = std::iter::once(count).chain(reader.shape().iter().copied()).collect();
        let mut values = Vec::new();
        while let Some(rows) = reader.read_rows(count.max(1)).map_err(named)? {
            values.extend(rows.values);
        }
        Ok(NamedArray { name: member.name.clone(), shape, values, whole: reader.is_whole() })
    };
    members.iter().map(read).collect()
}

/// The most bytes of all arrays of a file that are read at once.
const MOST_ARRAY_BYTES: u64 = 1 << 31;

fn open_folder(folder: &Path, split: Split, labels: Option<LabelReader>) -> Result<DataSet, FormatError> {
    for sub in SUBFOLDERS {
        let folder = folder.join(sub);
        if !folder.is_dir() {
            continue;
        }
        let files = file_names(&folder)?;
        if let Some(images) = find_images(&files, split).map_err(|e| e.in_file(&folder))? {
            return open_file(&folder.join(images), &DataOptions::new(""), labels);
        }
        match find_cifar(&files, split).as_slice() {
            [] => {}
            [one] => return open_file(&folder.join(one), &DataOptions::new(""), labels),
            several => return open_batches(&folder, several, labels),
        }
    }
    let expected = match split {
        Split::Test => "t10k-images-idx3-ubyte, test_batch.bin or test.bin",
        Split::Train => "train-images-idx3-ubyte, data_batch_1.bin or train.bin",
    };
    Err(DataError::new("folder", format!("a file {expected} (IDX also .gz)"), "none of them")
        .with_hint("name a file instead of the folder")
        .in_file(folder))
}

/// Sorted names of the files in a folder.
fn file_names(folder: &Path) -> Result<Vec<String>, FormatError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(FormatError::io(folder))? {
        let entry = entry.map_err(FormatError::io(folder))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The IDX file with the images of a split; its usual name, or the only one that has the words.
fn find_images(files: &[String], split: Split) -> Result<Option<&String>, DataError> {
    let words: &[&str] = match split {
        Split::Test => &["t10k", "test"],
        Split::Train => &["train"],
    };
    let is_images = |name: &&String| {
        let name = name.to_lowercase();
        name.contains("images") && name.contains("idx") && words.iter().any(|word| name.contains(word))
    };
    let is_usual = |name: &&&String| words.iter().any(|word| name.starts_with(&format!("{word}-images")));
    let candidates: Vec<&String> = files.iter().filter(is_images).collect();
    // The plain file sorts before the one with `.gz`.
    let first = candidates.iter().find(is_usual).or(candidates.first()).copied();
    let ambiguous = first.filter(|name| !is_usual(&name)).and_then(|first| {
        candidates.iter().find(|other| {
            other.strip_suffix(".gz").unwrap_or(other) != first.strip_suffix(".gz").unwrap_or(first)
        })
    });
    match (first, ambiguous) {
        (Some(first), Some(other)) => {
            Err(DataError::new("folder", "one file of images", format!("{first} and {other}"))
                .with_hint("name one of the files instead of the folder"))
        }
        _ => Ok(first),
    }
}

fn find_cifar(files: &[String], split: Split) -> Vec<String> {
    let is_file = |name: &str| files.iter().any(|file| file == name);
    match split {
        Split::Test => ["test_batch.bin", "test.bin"]
            .iter()
            .find(|name| is_file(name))
            .map(|name| name.to_string())
            .into_iter()
            .collect(),
        Split::Train => {
            let batches: Vec<String> = files
                .iter()
                .filter(|name| name.starts_with("data_batch_") && name.ends_with(".bin"))
                .cloned()
                .collect();
            if batches.is_empty() && is_file("train.bin") { vec!["train.bin".into()] } else { batches }
        }
    }
}

/// Several CIFAR-10 files as one data set.
fn open_batches(
    folder: &Path,
    names: &[String],
    labels: Option<LabelReader>,
) -> Result<DataSet, FormatError> {
    let mut readers: Vec<(String, Box<dyn SampleReader + Send>)> = Vec::new();
    let mut paths = Vec::new();
    for name in names {
        let path = folder.join(name);
        let Opened { source, len, .. } = source::open_file(&path).map_err(FormatError::io(&path))?;
        let reader = CifarReader::new(source, CifarKind::Cifar10, len).map_err(|e| e.in_file(&path))?;
        readers.push((name.clone(), Box::new(reader)));
        paths.push(path);
    }
    let path = folder.join("data_batch_*.bin");
    DataSet::new(
        Box::new(Chained::new(readers)),
        labels,
        CifarKind::Cifar10.name(),
        path,
        Origin::Files(paths),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn images_of_a_split() {
        let files = names(&[
            "t10k-images-idx3-ubyte",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte",
            "train-images.idx3-ubyte",
        ]);
        assert_eq!(find_images(&files, Split::Test).unwrap().unwrap(), "t10k-images-idx3-ubyte");
        assert_eq!(find_images(&files, Split::Train).unwrap().unwrap(), "train-images.idx3-ubyte");
        let files = names(&["a-test-images-idx3-ubyte.gz", "b-test-images-idx3-ubyte.gz"]);
        assert!(find_images(&files, Split::Test).is_err());
        assert_eq!(find_images(&files[..1], Split::Test).unwrap().unwrap(), &files[0]);
        assert_eq!(find_images(&files, Split::Train).unwrap(), None);
    }

    #[test]
    fn sizes_tell_cifar_100() {
        assert_eq!(cifar_kind(Path::new("a/test.bin"), Some(3074)), CifarKind::Cifar100);
        assert_eq!(cifar_kind(Path::new("a/test.bin"), Some(3073)), CifarKind::Cifar10);
        assert_eq!(cifar_kind(Path::new("a/other.bin"), Some(3074)), CifarKind::Cifar10);
        assert_eq!(cifar_kind(Path::new("cifar-100-binary/x.bin"), Some(3074)), CifarKind::Cifar100);
    }

    #[test]
    fn descriptions() {
        assert_eq!(description(Path::new("/data/mnist/t10k.gz")), "mnist/t10k.gz");
        assert_eq!(description(Path::new("t10k.gz")), "t10k.gz");
        assert_eq!(description(Path::new("/t10k.gz")), "/t10k.gz");
    }
}
