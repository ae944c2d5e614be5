//! Which reader a path asks for: by the first bytes of a file, by its name, by the names in a folder.

use super::array::ArrayReader;
use super::cifar::{CifarKind, CifarReader};
use super::csv::{CsvHeader, CsvLabel, CsvOptions, CsvReader};
use super::images::ImageReader;
use super::labels::LabelReader;
use super::npz::{self, Member};
use super::samples::{Chained, SampleReader};
use super::source::{self, Opened};
use super::{DataOptions, DataSet, Origin, Split, idx, npy, pickle};
use crate::error::{DataError, FormatError};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Folders below the one that is named in which common downloads put the files.
const SUBFOLDERS: [&str; 7] = [
    "",
    "raw",
    "MNIST/raw",
    "cifar-10-batches-bin",
    "cifar-100-binary",
    "cifar-10-batches-py",
    "cifar-100-python",
];

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
    let mut classes = Vec::new();
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
        Some(Format::Pickle) => {
            let bytes = read_whole(source).map_err(FormatError::io(path))?;
            let (reader, name) = pickle::cifar(&bytes).map_err(at)?;
            (Box::new(reader), labels, name)
        }
        Some(Format::Csv) => {
            let csv = csv_options(path, options, labels.is_none());
            classes = csv_classes(path, &csv)?;
            (Box::new(CsvReader::with(source, &csv, classes.clone()).map_err(at)?), labels, "csv")
        }
        Some(Format::Parquet) => {
            let (reader, names) = open_parquet(path, options, labels.is_none())?;
            classes = names;
            (reader, labels, "parquet")
        }
        None => {
            let found = head.escape_ascii().to_string();
            return Err(at(DataError::new(
                "first bytes",
                "those of an IDX, NPY, NPZ or Parquet file",
                found,
            )
            .with_hint("text needs the extension .csv, CIFAR records .bin")));
        }
    };
    let data = DataSet::new(reader, labels, format, path.into(), Origin::Files(vec![path.into()]))?;
    Ok(data.with_classes(classes))
}

/// The largest pickle that is read.
const MAX_PICKLE: u64 = 1 << 30;

fn read_whole(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_PICKLE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn csv_options(path: &Path, options: &DataOptions, labelled: bool) -> CsvOptions {
    let name = file_name(path).to_lowercase();
    let tabs = name.strip_suffix(".gz").unwrap_or(&name).ends_with(".tsv");
    let label = match &options.csv_label_column {
        Some(column) if labelled => CsvLabel::Column(column.clone()),
        None if labelled && options.csv_labels => CsvLabel::First,
        Some(_) | None => CsvLabel::None,
    };
    let delimiter = options.csv_delimiter.unwrap_or(if tabs { b'\t' } else { b',' });
    CsvOptions { header: options.csv_header, delimiter, label }
}

/// The names of the classes of a file of CSV, which is read once more for them; none where labels are integers.
fn csv_classes(path: &Path, csv: &CsvOptions) -> Result<Vec<String>, FormatError> {
    if csv.label == CsvLabel::None {
        return Ok(Vec::new());
    }
    let open = |csv: &CsvOptions| -> Result<Vec<String>, FormatError> {
        let opened = source::open_file(path).map_err(FormatError::io(path))?;
        let reader = CsvReader::with(opened.source, csv, Vec::new()).map_err(|e| e.in_file(path))?;
        reader.names().map_err(|e| e.in_file(path))
    };
    let names = open(csv)?;
    // A first line that begins with the name of a class looks like a header.
    if names.is_empty() || csv.header != CsvHeader::Auto || csv.label != CsvLabel::First {
        return Ok(names);
    }
    let opened = source::open_file(path).map_err(FormatError::io(path))?;
    let whole = CsvReader::with(opened.source, csv, names.clone()).map_err(|e| e.in_file(path))?;
    whole.names().map_err(|e| e.in_file(path))
}

/// The names of classes follow from the whole file, which is read once more for them.
#[cfg(feature = "parquet")]
fn open_parquet(
    path: &Path,
    options: &DataOptions,
    labelled: bool,
) -> Result<(Box<dyn SampleReader + Send>, Vec<String>), FormatError> {
    use super::parquet::{ParquetLabel, ParquetReader};
    let label = match &options.csv_label_column {
        Some(column) if labelled => ParquetLabel::Column(column.clone()),
        None if labelled && options.csv_labels => ParquetLabel::Usual,
        Some(_) | None => ParquetLabel::None,
    };
    let open = |classes: Vec<String>| {
        let file = File::open(path).map_err(FormatError::io(path))?;
        ParquetReader::new(file, &label, classes).map_err(|e| e.in_file(path))
    };
    let names = ParquetReader::names_of(File::open(path).map_err(FormatError::io(path))?, &label);
    let names = names.map_err(|e| e.in_file(path))?;
    Ok((Box::new(open(names.clone())?), names))
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(
    path: &Path,
    _: &DataOptions,
    _: bool,
) -> Result<(Box<dyn SampleReader + Send>, Vec<String>), FormatError> {
    Err(DataError::new("format", "a build that reads Parquet", "one without the feature parquet")
        .with_hint("build with --features parquet, or write CSV or NPZ")
        .in_file(path))
}

enum Format {
    Parquet,
    Pickle,
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
        "csv" | "tsv" => Some(Format::Csv),
        _ if head.starts_with(b"PAR1") => Some(Format::Parquet),
        _ if pickle::is_pickle(head) => Some(Format::Pickle),
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
        match find_pickles(&files, split).as_slice() {
            [] => {}
            [one] => return open_file(&folder.join(one), &DataOptions::new(""), labels),
            several => return open_pickles(&folder, several, labels),
        }
    }
    let part = match split {
        Split::Test => ["test", "val"],
        Split::Train => ["train", "training"],
    };
    for folder in
        part.iter().map(|name| folder.join(name)).filter(|f| f.is_dir()).chain([folder.to_path_buf()])
    {
        if let Some(reader) = ImageReader::open(&folder)? {
            let (classes, files) = (reader.classes().to_vec(), reader.files());
            let data = DataSet::new(Box::new(reader), labels, "pictures", folder, Origin::Files(files))?;
            return Ok(data.with_classes(classes));
        }
    }
    let expected = match split {
        Split::Test => "t10k-images-idx3-ubyte, test_batch.bin or test.bin",
        Split::Train => "train-images-idx3-ubyte, data_batch_1.bin or train.bin",
    };
    let expected = format!("a file {expected} (IDX also .gz), or a folder of pictures for each class");
    Err(DataError::new("folder", expected, "none of them")
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

/// The files of the Python version of CIFAR.
fn find_pickles(files: &[String], split: Split) -> Vec<String> {
    let is_file = |name: &str| files.iter().any(|file| file == name);
    // The plain names are those of CIFAR-100, which has its list of names beside them.
    let plain =
        |name: &str| (is_file(name) && is_file("meta")).then(|| name.to_owned()).into_iter().collect();
    match split {
        Split::Test if is_file("test_batch") => vec!["test_batch".into()],
        Split::Test => plain("test"),
        Split::Train => {
            let batches: Vec<String> =
                (1..=5).map(|k| format!("data_batch_{k}")).filter(|name| is_file(name)).collect();
            if batches.is_empty() { plain("train") } else { batches }
        }
    }
}

/// Several pickled batches as one data set.
fn open_pickles(
    folder: &Path,
    names: &[String],
    labels: Option<LabelReader>,
) -> Result<DataSet, FormatError> {
    let mut readers: Vec<(String, Box<dyn SampleReader + Send>)> = Vec::new();
    for name in names {
        let path = folder.join(name);
        let Opened { source, .. } = source::open_file(&path).map_err(FormatError::io(&path))?;
        let bytes = read_whole(source).map_err(FormatError::io(&path))?;
        readers.push((name.clone(), Box::new(pickle::cifar(&bytes).map_err(|e| e.in_file(&path))?.0)));
    }
    let paths = names.iter().map(|name| folder.join(name)).collect();
    let reader = Box::new(Chained::new(readers));
    DataSet::new(reader, labels, CifarKind::Cifar10.name(), folder.join("data_batch_*"), Origin::Files(paths))
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
