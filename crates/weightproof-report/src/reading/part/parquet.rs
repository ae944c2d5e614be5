//! Parts in Parquet: rows become the objects that JSON has, the header is in the metadata.

use super::{Blocks, PartError, PartHead};
use crate::parquet::HEADER;
use crate::reading::{ReadError, short};
use crate::report::{LAYER_COLUMN, Record};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Columns of radii with one layer perturbed: before the name of the layer, and the list that JSON has.
const LAYERS: [(&str, &str); 2] =
    [(LAYER_COLUMN, "layer_certified_radius"), ("attacked_radius:", "layer_attacked_radius")];

fn open<E>(path: &Path) -> Result<SerializedFileReader<File>, PartError<E>> {
    let failed = |source| PartError::Io { path: path.display().to_string(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let reader = SerializedFileReader::new(file).map_err(|error| damaged(path, &error))?;
    match lies_within(reader.metadata(), length) {
        true => Ok(reader),
        false => {
            Err(shape(path, "expected columns within the file, found others: it was cut off or damaged"))
        }
    }
}

/// Whether all columns are said to lie within so many bytes, which the library takes for granted.
fn lies_within(metadata: &ParquetMetaData, length: u64) -> bool {
    let lies = |column: &ColumnChunkMetaData| {
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let numbers = [start, column.data_page_offset(), column.num_values(), column.uncompressed_size()];
        let end = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
        let end = end.and_then(|(start, size)| start.checked_add(size));
        numbers.iter().all(|&number| number >= 0) && end.is_some_and(|end| end <= length)
    };
    metadata.row_groups().iter().all(|group| group.num_rows() >= 0 && group.columns().iter().all(lies))
}

/// The next row. Damaged pages make the library panic: they are errors like all others.
fn next_row(rows: &mut RowIter<'_>) -> Option<Result<Row, ParquetError>> {
    let row = catch_unwind(AssertUnwindSafe(|| rows.next()));
    row.unwrap_or_else(|_| Some(Err(ParquetError::General("a damaged page".into()))))
}

fn damaged<E>(path: &Path, error: &ParquetError) -> PartError<E> {
    shape(path, &error.to_string())
}

fn shape<E>(path: &Path, detail: &str) -> PartError<E> {
    ReadError::Shape { file: path.display().to_string(), detail: short(detail) }.into()
}

pub(super) fn head<E>(path: &Path) -> Result<PartHead, PartError<E>> {
    let reader = open(path)?;
    let file = reader.metadata().file_metadata();
    let entries = file.key_value_metadata().into_iter().flatten();
    let header = entries.filter(|entry| entry.key == HEADER).find_map(|entry| entry.value.as_deref());
    let Some(header) = header else {
        return Err(shape(path, "expected a header of weightproof in the metadata, found none"));
    };
    let blocks: Blocks =
        serde_json::from_slice(header.as_bytes()).map_err(|error| shape(path, &error.to_string()))?;
    Ok(blocks.head(&path.display().to_string())?)
}

pub(super) fn each<R: Record + DeserializeOwned, E>(
    path: &Path,
    (k, samples): (usize, usize),
    sample: &mut dyn FnMut(R) -> Result<(), E>,
) -> Result<(), PartError<E>> {
    let reader = open(path)?;
    let mut rows = reader.get_row_iter(None).map_err(|error| damaged(path, &error))?;
    let nested = nested::<R>();
    let rows = std::iter::from_fn(|| next_row(&mut rows));
    for row in rows.skip(k.saturating_mul(samples)).take(samples) {
        let row = row.map_err(|error| damaged(path, &error))?;
        let record = object(&row, &nested)
            .and_then(|object| R::deserialize(object).map_err(|error| error.to_string()));
        sample(record.map_err(|detail| shape(path, &detail))?).map_err(PartError::Told)?;
    }
    Ok(())
}

/// A cell, as JSON has it; `None` of a kind that results do not have.
fn cell(field: &Field) -> Option<Value> {
    if let Field::Int(n) = field {
        Some(json!(n))
    } else if let Field::Long(n) = field {
        Some(json!(n))
    } else if let Field::Double(v) = field {
        Some(json!(v))
    } else if let Field::Str(text) = field {
        Some(json!(text))
    } else {
        (*field == Field::Null).then_some(Value::Null)
    }
}

/// The object that JSON has for a row, given the objects that the record has as parts.
fn object(row: &Row, nested: &[Nested]) -> Result<Value, String> {
    let mut object = Map::new();
    for part in nested {
        object.insert(part.place[0].into(), Value::Null);
    }
    for (name, field) in row.get_column_iter() {
        let value =
            cell(field).ok_or_else(|| format!("{name}: expected a number or words, found {field}"))?;
        if let Some((_, list)) = LAYERS.iter().find(|(prefix, _)| name.starts_with(prefix)) {
            let list = object.entry(*list).or_insert_with(|| json!([]));
            list.as_array_mut().into_iter().for_each(|list| list.push(value.clone()));
        } else if name == "witness" && !value.is_null() {
            return Err(
                "witness: expected samples without witnesses, found one: their SHA-256 is in JSON only"
                    .into(),
            );
        } else if let Some(Nested { place: [part, key], .. }) =
            nested.iter().find(|part| part.column == *name)
        {
            let part = &mut object[*part];
            if part.is_null() && !value.is_null() {
                *part = json!({});
            }
            part.as_object_mut().into_iter().for_each(|part| drop(part.insert((*key).into(), value.clone())));
        } else if name != "radius" {
            object.insert(name.clone(), value);
        }
    }
    Ok(Value::Object(object))
}

/// A column whose value JSON has in an object of its own.
struct Nested {
    column: String,
    /// The object, and the key in it.
    place: [&'static str; 2],
}

fn nested<R: Record>() -> Vec<Nested> {
    let of = |field: &crate::field::Field<R>| {
        Some(Nested { column: field.name().into(), place: field.nested_at()? })
    };
    R::fields(None).iter().filter_map(of).collect()
}
