//! Parquet: the rows of the CSV form with types, and the blocks above them as metadata.
//!
//! Indices and counts are 64-bit integers, classes 32-bit integers, numbers doubles, words UTF-8. What is missing or not finite is
//! null. The metadata has the header under the key `weightproof`, as JSON.

use crate::field::{Cell, Kind};
use crate::report::{Record, Report, SampleSource};
use ::parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::types::Type;
use std::io::{self, Write};
use std::sync::Arc;

/// Rows that are written at once.
const GROUP: usize = 1 << 17;
/// The key of the header in the metadata.
pub(crate) const HEADER: &str = "weightproof";

/// Writes a report.
pub(crate) fn report<R: Record>(
    report: &Report<R>,
    source: &dyn SampleSource<R>,
    out: &mut impl Write,
) -> io::Result<()> {
    let fields = report.fields();
    let radii = report.results.iter().any(|r| r.radius.is_some());
    let columns: Vec<(String, Kind)> = radii
        .then(|| ("radius".to_owned(), Kind::Number))
        .into_iter()
        .chain(fields.iter().map(|field| (field.name().to_owned(), field.kind())))
        .collect();
    let row = |radius: Option<f64>, sample: &R| -> Vec<Cell> {
        let radius = radii.then(|| Cell::number(radius));
        radius.into_iter().chain(fields.iter().map(|field| field.cell(sample))).collect()
    };
    // Compressed groups in memory, because the writer of the file may stay on its thread only.
    let mut bytes = Vec::new();
    let mut table = Rows::new(columns, report.head().to_string(), &mut bytes).map_err(io::Error::other)?;
    for (k, result) in report.results.iter().enumerate() {
        source.each(k, &mut |sample| table.add(row(result.radius, sample)).map_err(io::Error::other))?;
    }
    table.finish().map_err(io::Error::other)?;
    out.write_all(&bytes)
}

/// A file that rows are added to.
struct Rows<'w> {
    columns: Vec<(String, Kind)>,
    file: SerializedFileWriter<&'w mut Vec<u8>>,
    block: Vec<Vec<Cell>>,
}

impl<'w> Rows<'w> {
    fn new(columns: Vec<(String, Kind)>, header: String, out: &'w mut Vec<u8>) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("weightproof ", env!("CARGO_PKG_VERSION")).into())
            .set_key_value_metadata(Some(vec![KeyValue::new(HEADER.into(), header)]))
            .build();
        let file = SerializedFileWriter::new(out, Arc::new(schema(&columns)?), Arc::new(properties))?;
        Ok(Rows { columns, file, block: Vec::new() })
    }

    fn add(&mut self, row: Vec<Cell>) -> Result<(), ParquetError> {
        self.block.push(row);
        if self.block.len() == GROUP { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for (k, (_, kind)) in self.columns.iter().enumerate() {
            write_column(&mut group, *kind, self.block.iter().map(|row| &row[k]))?;
        }
        group.close()?;
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), ParquetError> {
        if !self.block.is_empty() {
            self.write()?;
        }
        self.file.close().map(drop)
    }
}

fn schema(columns: &[(String, Kind)]) -> Result<Type, ParquetError> {
    let column = |(name, kind): &(String, Kind)| {
        let (physical, logical) = match kind {
            Kind::Integer => (Physical::INT64, None),
            Kind::Class => (Physical::INT32, None),
            Kind::Number => (Physical::DOUBLE, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let field = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        field.with_logical_type(logical).build().map(Arc::new)
    };
    let fields = columns.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("samples").with_fields(fields).build()
}

/// One column of a block: the values that are there, and for every row whether it has one.
fn write_column<'a, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    kind: Kind,
    cells: impl Iterator<Item = &'a Cell> + Clone,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("fewer columns than the schema has".into()));
    };
    let writer = &mut column;
    match kind {
        Kind::Integer => put::<Int64Type>(
            writer,
            cells.map(|c| match c {
                Cell::Integer(n) => n.map(|n| n as i64),
                Cell::Class(_) | Cell::Number(_) | Cell::Text(_) => None,
            }),
        ),
        Kind::Class => put::<Int32Type>(
            writer,
            cells.map(|c| match c {
                Cell::Class(class) => class.and_then(|class| i32::try_from(class).ok()),
                Cell::Integer(_) | Cell::Number(_) | Cell::Text(_) => None,
            }),
        ),
        Kind::Number => put::<DoubleType>(
            writer,
            cells.map(|c| match c {
                Cell::Number(v) => *v,
                Cell::Integer(_) | Cell::Class(_) | Cell::Text(_) => None,
            }),
        ),
        Kind::Text => put::<ByteArrayType>(
            writer,
            cells.map(|c| match c {
                Cell::Text(text) => text.as_deref().map(ByteArray::from),
                Cell::Integer(_) | Cell::Class(_) | Cell::Number(_) => None,
            }),
        ),
    }?;
    column.close()
}

fn put<T: ::parquet::data_type::DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    cells: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        levels.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    writer.typed::<T>().write_batch(&values, Some(&levels), None).map(drop)
}
