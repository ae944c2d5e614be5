//! Parquet: one sample per row. Its columns are the label and one number for each feature, or the label and one column with a list of
//! numbers, lists of lists, or a PNG or JPEG file, as data sets of pictures have it (`image.bytes`).
//!
//! Pages that are compressed with another codec than Snappy are errors.

use super::MAX_SAMPLE_VALUES;
use super::images;
use super::labels::to_label;
use super::samples::{Rows, SampleReader};
use crate::error::DataError;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use std::collections::BTreeSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Columns that are taken for the label where none is named, the first one that is there.
const LABELS: [&str; 6] = ["label", "labels", "y", "target", "class", "fine_label"];
/// The most columns.
const MAX_COLUMNS: usize = 1 << 16;
/// The most names of classes.
const MAX_CLASSES: usize = 1 << 16;

/// Where the labels of a table are.
#[derive(Clone, Debug, PartialEq)]
pub enum ParquetLabel {
    /// Nowhere.
    None,
    /// In a column with a usual name, if there is one.
    Usual,
    /// In the column of this name.
    Column(String),
}

/// A reader of the rows of a table.
pub struct ParquetReader {
    rows: RowIter<'static>,
    count: usize,
    /// Which column is the label.
    label: Option<usize>,
    /// Names of the classes, where labels are names.
    classes: Vec<String>,
    shape: Vec<usize>,
    pixels: bool,
    /// The first row, until it is given out.
    first: Option<Row>,
    /// Number of the next row.
    next: usize,
}

impl ParquetReader {
    /// Reads up to the first sample, which tells the shape; labels are the places of their names in `classes`, unless there are none.
    ///
    /// # Errors
    /// No table, no rows, no column of the label's name, a first row that is not made of numbers.
    pub fn new(file: File, label: &ParquetLabel, classes: Vec<String>) -> Result<Self, DataError> {
        let (reader, columns) = open(file)?;
        let label = place(&columns, label)?;
        let count = usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
        let mut rows = RowIter::from_file_into(Box::new(reader));
        let Some(first) = next_row(&mut rows) else {
            return Err(DataError::new("rows", "at least one row", "none"));
        };
        let first = first.map_err(|e| damaged("row 0", &e))?;
        let (mut shape, mut pixels) = (Vec::new(), true);
        let mut table =
            ParquetReader { rows, count, label, classes, shape: vec![], pixels: false, first: None, next: 0 };
        table.sample(&first, &mut Vec::new(), &mut Vec::new(), |sample, bytes| {
            (shape, pixels) = (sample.to_vec(), bytes);
            Ok(())
        })?;
        let width = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if !width.is_some_and(|width| (1..=MAX_SAMPLE_VALUES).contains(&width)) {
            let expected = format!("1 to {MAX_SAMPLE_VALUES} numbers in a row");
            return Err(DataError::new("row 0", expected, format!("the shape {shape:?}")));
        }
        (table.shape, table.pixels, table.first) = (shape, pixels, Some(first));
        Ok(table)
    }

    /// The names of the classes of all samples of a file, in order; none where labels are integers.
    ///
    /// # Errors
    /// As [`ParquetReader::new`]; more than 65,536 names.
    pub fn names_of(file: File, label: &ParquetLabel) -> Result<Vec<String>, DataError> {
        let (reader, columns) = open(file)?;
        let Some(column) = place(&columns, label)? else { return Ok(Vec::new()) };
        let schema = reader.metadata().file_metadata().schema_descr().root_schema();
        let only = vec![schema.get_fields()[column].clone()];
        let only = Type::group_type_builder(schema.name()).with_fields(only).build();
        let rows = only.and_then(|only| RowIter::from_file_into(Box::new(reader)).project(Some(only)));
        let mut rows = rows.map_err(|e| damaged("columns", &e))?;
        let mut names = BTreeSet::new();
        for (k, row) in std::iter::from_fn(|| next_row(&mut rows)).enumerate() {
            let row = row.map_err(|e| damaged(&format!("row {k}"), &e))?;
            let Some((_, Field::Str(name))) = row.get_column_iter().next() else { return Ok(Vec::new()) };
            names.insert(name.clone());
            if names.len() > MAX_CLASSES {
                let expected = format!("at most {MAX_CLASSES} names of classes");
                return Err(DataError::new(format!("row {k}"), expected, "more"));
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The next row.
    fn row(&mut self) -> Result<Option<Row>, DataError> {
        let row = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => next_row(&mut self.rows),
        };
        let row = row.transpose().map_err(|e| damaged(&format!("row {}", self.next), &e))?;
        self.next += usize::from(row.is_some());
        Ok(row)
    }

    /// Adds the numbers of a row and its label; `check` sees the shape and whether all numbers are bytes.
    fn sample(
        &self,
        row: &Row,
        values: &mut Vec<f64>,
        labels: &mut Vec<u32>,
        check: impl FnOnce(&[usize], bool) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let (mut shapes, mut bytes) = (Vec::new(), true);
        for (k, (name, field)) in row.get_column_iter().enumerate() {
            let place = || format!("row {}, column {name}", self.next.saturating_sub(1));
            if self.label == Some(k) {
                labels.push(self.label_of(field).ok_or_else(|| {
                    DataError::new(place(), "a label, an integer ≥ 0 or the name of a class", short(field))
                        .with_hint("--label-column says which column is the label")
                })?);
                continue;
            }
            let before = values.len();
            let shape = numbers(field, values, &mut bytes).map_err(|mut e| {
                e.place = place();
                e
            })?;
            if values[before..].iter().any(|v| !v.is_finite()) {
                return Err(DataError::new(place(), "finite numbers", "another one"));
            }
            shapes.push(shape);
        }
        match shapes.as_slice() {
            [one] if !one.is_empty() => check(one, bytes),
            several if several.iter().all(Vec::is_empty) => check(&[several.len()], bytes),
            _ => {
                let found = "several, some of them lists";
                Err(DataError::new("columns", "a number for each feature, or one column of lists", found))
            }
        }
    }

    fn label_of(&self, field: &Field) -> Option<u32> {
        if let Field::Str(name) = field {
            return u32::try_from(self.classes.binary_search(name).ok()?).ok();
        }
        number(field).and_then(|(value, _)| to_label(value))
    }
}

impl SampleReader for ParquetReader {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn count(&self) -> Option<usize> {
        Some(self.count)
    }

    fn pixels(&self) -> bool {
        self.pixels
    }

    fn labelled(&self) -> bool {
        self.label.is_some()
    }

    fn skip(&mut self, samples: usize) -> Result<usize, DataError> {
        for skipped in 0..samples {
            if self.row()?.is_none() {
                return Ok(skipped);
            }
        }
        Ok(samples)
    }

    fn read_rows(&mut self, max: usize) -> Result<Option<Rows>, DataError> {
        let width: usize = self.shape.iter().product();
        let most = max.min(MAX_SAMPLE_VALUES / width + 1);
        let (mut rows, mut labels) = (Rows::default(), Vec::new());
        while rows.count < most {
            let Some(row) = self.row()? else {
                if self.next < self.count {
                    let place = format!("row {}", self.next);
                    return Err(DataError::new(place, format!("{} rows", self.count), "the end"));
                }
                break;
            };
            let at = self.next - 1;
            self.sample(&row, &mut rows.values, &mut labels, |shape, _| {
                if shape == self.shape {
                    return Ok(());
                }
                let expected = format!("the shape {:?} of the first row", self.shape);
                Err(DataError::new(format!("row {at}"), expected, format!("{shape:?}")))
            })?;
            rows.count += 1;
        }
        rows.labels = self.label.is_some().then_some(labels);
        Ok((rows.count > 0).then_some(rows))
    }
}

/// The next row. Pages that ask for a dictionary which is not there make the library panic: they are errors like all others.
fn next_row(rows: &mut RowIter<'static>) -> Option<Result<Row, ParquetError>> {
    let row = catch_unwind(AssertUnwindSafe(|| rows.next()));
    row.unwrap_or_else(|_| Some(Err(ParquetError::General("a damaged page".into()))))
}

/// The file and the names of its columns.
fn open(file: File) -> Result<(SerializedFileReader<File>, Vec<String>), DataError> {
    let length = file.metadata().map_err(|e| DataError::new("file", "its length", e.to_string()))?.len();
    let reader = SerializedFileReader::new(file).map_err(|e| damaged("footer", &e))?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema();
    let columns: Vec<String> = schema.get_fields().iter().map(|f| f.name().to_owned()).collect();
    if columns.len() > MAX_COLUMNS {
        let found = columns.len().to_string();
        return Err(DataError::new("columns", format!("at most {MAX_COLUMNS}"), found));
    }
    check_places(reader.metadata(), length)?;
    Ok((reader, columns))
}

/// Refuses columns that are said to lie outside of the file, which the library takes for granted.
fn check_places(metadata: &ParquetMetaData, length: u64) -> Result<(), DataError> {
    let mut rows = 0_u64;
    for (k, group) in metadata.row_groups().iter().enumerate() {
        let place = || format!("group {k}");
        rows = rows.saturating_add(u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let ends = [start, column.data_page_offset(), column.compressed_size(), column.num_values()];
            if ends.iter().any(|&end| end < 0) || column.uncompressed_size() < 0 {
                return Err(DataError::new(place(), "sizes and places of at least 0", "others"));
            }
            let end = start.unsigned_abs().saturating_add(column.compressed_size().unsigned_abs());
            if end > length {
                return Err(DataError::new(
                    place(),
                    format!("columns within {length} bytes"),
                    end.to_string(),
                ));
            }
        }
    }
    if u64::try_from(metadata.file_metadata().num_rows()) == Ok(rows) {
        return Ok(());
    }
    let found = metadata.file_metadata().num_rows().to_string();
    Err(DataError::new("footer", format!("{rows} rows, as its groups have"), found))
}

/// Which column is the label.
fn place(columns: &[String], label: &ParquetLabel) -> Result<Option<usize>, DataError> {
    let find = |name: &str| columns.iter().position(|column| column == name);
    match label {
        ParquetLabel::None => Ok(None),
        ParquetLabel::Usual => Ok(LABELS.iter().find_map(|name| find(name))),
        ParquetLabel::Column(name) => match find(name) {
            Some(column) => Ok(Some(column)),
            None => {
                let first: Vec<&str> = columns.iter().take(8).map(String::as_str).collect();
                let expected = format!("a column {name:?} with the labels");
                Err(DataError::new("columns", expected, first.join(", ")))
            }
        },
    }
}

/// Adds the numbers of a field and returns their shape, none of a single one; `bytes` stays true while all are bytes.
fn numbers(field: &Field, values: &mut Vec<f64>, bytes: &mut bool) -> Result<Vec<usize>, DataError> {
    if let Some((value, byte)) = number(field) {
        *bytes &= byte;
        values.push(value);
        return Ok(Vec::new());
    }
    if let Field::Bytes(file) = field {
        let (shape, pixels) = images::decode(file.data())?;
        values.extend(pixels);
        return Ok(shape.to_vec());
    }
    if let Field::Group(group) = field {
        let file = group.get_column_iter().find(|(name, _)| *name == "bytes");
        return match file {
            Some((_, file @ Field::Bytes(_))) => numbers(file, values, bytes),
            _ => Err(DataError::new("", "numbers, lists or a picture", short(field))),
        };
    }
    let Field::ListInternal(list) = field else {
        return Err(DataError::new("", "a number", short(field))
            .with_hint("keep the columns of the features and of the label, and drop others"));
    };
    let mut shape: Option<Vec<usize>> = None;
    for element in list.elements() {
        let found = numbers(element, values, bytes)?;
        match &shape {
            Some(first) if *first != found => {
                return Err(DataError::new(
                    "",
                    format!("lists of the shape {first:?}"),
                    format!("{found:?}"),
                ));
            }
            Some(_) => {}
            None => shape = Some(found),
        }
        if values.len() > MAX_SAMPLE_VALUES.saturating_mul(2) {
            return Err(DataError::new("", format!("at most {MAX_SAMPLE_VALUES} numbers"), "more"));
        }
    }
    Ok([vec![list.len()], shape.unwrap_or_default()].concat())
}

/// A number, and whether it is a byte.
fn number(field: &Field) -> Option<(f64, bool)> {
    if let Field::UByte(v) = field {
        return Some((f64::from(*v), true));
    }
    let value = if let Field::Double(v) = field {
        *v
    } else if let Field::Float(v) = field {
        f64::from(*v)
    } else if let Field::Float16(v) = field {
        f64::from(*v)
    } else if let Field::Bool(v) = field {
        f64::from(u8::from(*v))
    } else if let Field::Byte(v) = field {
        f64::from(*v)
    } else if let Field::Short(v) = field {
        f64::from(*v)
    } else if let Field::Int(v) = field {
        f64::from(*v)
    } else if let Field::Long(v) = field {
        *v as f64
    } else if let Field::UShort(v) = field {
        f64::from(*v)
    } else if let Field::UInt(v) = field {
        f64::from(*v)
    } else if let Field::ULong(v) = field {
        *v as f64
    } else {
        return None;
    };
    Some((value, false))
}

/// The beginning of a field as text.
fn short(field: &Field) -> String {
    let what = if *field == Field::Null {
        "nothing".to_owned()
    } else if let Field::Str(text) = field {
        format!("{:?}", text.chars().take(40).collect::<String>())
    } else if let Field::Group(_) | Field::MapInternal(_) = field {
        "a group".to_owned()
    } else if let Field::ListInternal(_) = field {
        "a list".to_owned()
    } else if let Field::Bytes(bytes) = field {
        format!("{} bytes", bytes.len())
    } else {
        field.to_string()
    };
    what.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn damaged(place: &str, error: &ParquetError) -> DataError {
    let text: String = error.to_string().chars().filter(|c| !c.is_control()).take(160).collect();
    let found = DataError::new(place, "a Parquet file", text.clone());
    if text.contains("codec") || text.contains("feature flag") {
        return found.with_hint("write it with the codec SNAPPY, or without compression");
    }
    found
}
