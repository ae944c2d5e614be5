//! Tables in Parquet as data.

use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use weightproof_formats::data::{Batch, DataOptions, DataSet};

/// A column: numbers, with their definition and repetition levels where they are optional or lists.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    levels: Option<(&[i16], &[i16])>,
) {
    let mut writer = group.next_column().unwrap().expect("a column");
    let (defined, repeated) = (levels.map(|l| l.0), levels.map(|l| l.1).filter(|l| !l.is_empty()));
    writer.typed::<T>().write_batch(values, defined, repeated).unwrap();
    writer.close().unwrap();
}

/// A file with one group of rows for each call of `rows`.
fn table(
    folder: &TempDir,
    schema: &str,
    groups: usize,
    rows: impl Fn(&mut SerializedRowGroupWriter<'_, File>, usize),
) -> PathBuf {
    let path = folder.path().join("table.parquet");
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties).unwrap();
    for k in 0..groups {
        let mut group = writer.next_row_group().unwrap();
        rows(&mut group, k);
        group.close().unwrap();
    }
    writer.close().unwrap();
    path
}

fn all(options: &DataOptions) -> Result<(DataSet, Batch), String> {
    let mut data = DataSet::open(options).map_err(|e| e.to_string())?;
    let mut batch = data.next_batch(2).map_err(|e| e.to_string())?.expect("a batch");
    while let Some(more) = data.next_batch(2).map_err(|e| e.to_string())? {
        batch.count += more.count;
        batch.inputs.extend(more.inputs);
        batch.labels.as_mut().zip(more.labels).into_iter().for_each(|(all, more)| all.extend(more));
    }
    Ok((data, batch))
}

fn text(words: &[&str]) -> Vec<ByteArray> {
    words.iter().map(|word| ByteArray::from(*word)).collect()
}

#[test]
fn a_column_for_each_feature() {
    let folder = tempfile::tempdir().unwrap();
    let path = table(
        &folder,
        "message t { required double a; required int64 y; optional int32 b; }",
        2,
        |group, k| {
            let first = k as f64;
            column::<DoubleType>(group, &[first, 0.5], None);
            column::<Int64Type>(group, &[k as i64, 3], None);
            column::<Int32Type>(group, &[7, -1], Some((&[1, 1], &[])));
        },
    );
    let (data, batch) = all(&DataOptions::new(&path)).unwrap();
    let info = data.info();
    assert_eq!((info.format, info.count, info.pixels), ("parquet", Some(4), false));
    assert_eq!(info.shape, [2]);
    assert_eq!(batch.inputs, [0.0, 7.0, 0.5, -1.0, 1.0, 7.0, 0.5, -1.0]);
    assert_eq!(batch.labels, Some(vec![0, 3, 1, 3]));
    let tail = DataOptions { offset: 3, ..DataOptions::new(&path) };
    assert_eq!(all(&tail).unwrap().1.inputs, [0.5, -1.0]);
    let named = DataOptions { csv_label_column: Some("b".into()), ..DataOptions::new(&path) };
    let error = all(&named).unwrap_err();
    assert!(error.contains("row 1, column b: expected a label"), "{error}");
    let named = DataOptions { csv_label_column: Some("c".into()), ..DataOptions::new(&path) };
    let error = all(&named).unwrap_err();
    assert!(error.contains("expected a column \"c\" with the labels, found a, y, b"), "{error}");
}

#[test]
fn lists_with_names_of_classes() {
    let folder = tempfile::tempdir().unwrap();
    let schema =
        "message t { required binary label (UTF8); required group image (LIST) { repeated group list {
        required group element (LIST) { repeated group list { required int32 element (UINT_8); } } } } }";
    let path = table(&folder, schema, 1, |group, _| {
        column::<ByteArrayType>(group, &text(&["dog", "cat", "dog"]), None);
        let numbers: Vec<i32> = (0..18).map(|k| 15 * k).collect();
        // Two rows of three numbers each.
        let repeated: Vec<i16> = [0, 2, 2, 1, 2, 2].repeat(3);
        column::<Int32Type>(group, &numbers, Some((&[2; 18], &repeated)));
    });
    let (data, batch) = all(&DataOptions::new(&path)).unwrap();
    assert_eq!(data.info().classes, ["cat", "dog"]);
    assert!(data.info().pixels);
    assert_eq!(data.info().shape, [2, 3]);
    assert_eq!(batch.labels, Some(vec![1, 0, 1]));
    assert!((batch.inputs[17] - 1.0).abs() < 1e-12 && batch.inputs.len() == 18, "{:?}", batch.inputs);
}

/// A grey PNG of 2 × 1 pixels.
fn picture(grey: [u8; 2]) -> ByteArray {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&grey).unwrap();
    ByteArray::from(bytes)
}

#[test]
fn pictures_in_a_group() {
    let folder = tempfile::tempdir().unwrap();
    let schema = "message t { optional group image { optional binary bytes; optional binary path (UTF8); } required int64 label; }";
    let path = table(&folder, schema, 1, |group, _| {
        column::<ByteArrayType>(group, &[picture([0, 255]), picture([51, 102])], Some((&[2, 2], &[])));
        column::<ByteArrayType>(group, &text(&["a.png", "b.png"]), Some((&[2, 2], &[])));
        column::<Int64Type>(group, &[1, 0], None);
    });
    let (data, batch) = all(&DataOptions::new(&path)).unwrap();
    assert_eq!(data.info().shape, [1, 1, 2]);
    assert_eq!(batch.labels, Some(vec![1, 0]));
    let expected = [0.0, 1.0, 0.2, 0.4];
    assert!(batch.inputs.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{:?}", batch.inputs);
}

#[test]
fn what_is_no_table_of_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let error = |schema: &str, rows: &dyn Fn(&mut SerializedRowGroupWriter<'_, File>)| {
        let path = table(&folder, schema, 1, |group, _| rows(group));
        all(&DataOptions::new(&path)).unwrap_err()
    };
    let found = error("message t { optional double a; required double b; }", &|group| {
        column::<DoubleType>(group, &[1.0], Some((&[1, 0], &[])));
        column::<DoubleType>(group, &[1.0, 2.0], None);
    });
    assert!(found.ends_with("row 1, column a: expected a number, found nothing"), "{found}");
    let found = error("message t { required binary id (UTF8); required double b; }", &|group| {
        column::<ByteArrayType>(group, &text(&["x"]), None);
        column::<DoubleType>(group, &[1.0], None);
    });
    assert!(found.ends_with("row 0, column id: expected a number, found \"x\""), "{found}");
    let found =
        error("message t { required double a; }", &|group| column::<DoubleType>(group, &[f64::NAN], None));
    assert!(found.contains("column a: expected finite numbers"), "{found}");
    let list = "message t { required group x (LIST) { repeated group list { required double element; } } }";
    let found = error(list, &|group| {
        column::<DoubleType>(group, &[1.0, 2.0, 3.0], Some((&[1; 3], &[0, 1, 0])));
    });
    assert!(found.contains("row 1: expected the shape [2] of the first row, found [1]"), "{found}");
    let path = folder.path().join("cut.parquet");
    std::fs::write(&path, b"PAR1 and nothing else").unwrap();
    assert!(all(&DataOptions::new(&path)).unwrap_err().contains("footer: expected a Parquet file"));
}

/// Damaged bytes give rows or an error, never a panic.
#[test]
fn damaged_tables() {
    let folder = tempfile::tempdir().unwrap();
    let schema =
        "message t { required binary label (UTF8); required group image (LIST) { repeated group list {
        required int32 element (UINT_8); } } }";
    let path = table(&folder, schema, 1, |group, _| {
        column::<ByteArrayType>(group, &text(&["dog", "cat"]), None);
        column::<Int32Type>(group, &[1, 2, 3, 4], Some((&[1; 4], &[0, 1, 0, 1])));
    });
    let seed = std::fs::read(&path).unwrap();
    let mut errors = 0;
    for at in 0..seed.len() {
        for change in [0x01, 0xff] {
            let mut damaged = seed.clone();
            damaged[at] ^= change;
            std::fs::write(&path, damaged).unwrap();
            errors += usize::from(all(&DataOptions::new(&path)).is_err());
        }
    }
    for end in (0..seed.len()).step_by(11) {
        std::fs::write(&path, &seed[..end]).unwrap();
        assert!(all(&DataOptions::new(&path)).is_err());
    }
    assert!(errors > seed.len() / 2, "{errors} errors of {}", 2 * seed.len());
}
