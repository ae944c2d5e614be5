//! Parquet output, read back: types, missing values, and the same rows as CSV.

use crate::snapshot;
use crate::snapshot::Run;
use parquet::basic::{LogicalType, Type};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use std::fs::File;
use std::path::Path;

fn rows(path: &Path) -> (SerializedFileReader<File>, Vec<Row>) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    (reader, rows)
}

/// A cell as CSV has it.
fn text(field: &Field) -> String {
    if let Field::Int(n) = field {
        n.to_string()
    } else if let Field::Long(n) = field {
        n.to_string()
    } else if let Field::Double(v) = field {
        v.to_string()
    } else if let Field::Str(text) = field {
        text.clone()
    } else {
        assert_eq!(field, &Field::Null);
        String::new()
    }
}

fn same(csv: &str, cell: &str) -> bool {
    csv == cell || csv.parse::<f64>().ok().zip(cell.parse::<f64>().ok()).is_some_and(|(a, b)| a == b)
}

/// The same command with both formats, each row and cell compared; gives the number of missing values.
fn compare(args: &[&str]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| Run::new(args.iter().chain(more).copied()).within(folder.path()).output();
    let csv = run(&["--format", "csv"]).stdout;
    let made = run(&["--format", "parquet", "--output", "samples.parquet"]);
    assert!(made.code.is_some_and(|code| code < 2) && made.stdout.is_empty(), "{made:?}");
    let (reader, rows) = rows(&folder.path().join("samples.parquet"));
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let schema = reader.metadata().file_metadata().schema_descr();
    let names: Vec<&str> = schema.columns().iter().map(|c| c.name()).collect();
    assert_eq!(names, head);
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), rows.len());
    let mut missing = 0;
    for (line, row) in lines.iter().zip(&rows) {
        let cells = row.get_column_iter().map(|(_, field)| text(field));
        for ((cell, csv), name) in cells.zip(line.split(',')).zip(&head) {
            // Times differ between runs.
            assert!(same(csv, &cell) || *name == "seconds", "{args:?}: {name}: {csv} and {cell}");
            missing += usize::from(cell.is_empty());
        }
    }
    let header = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let header = header.iter().find(|kv| kv.key == "weightproof").unwrap().value.clone().unwrap();
    let header: serde_json::Value = serde_json::from_str(&header).unwrap();
    assert_eq!(header["schema"], format!("weightproof/{}/1", args[0]));
    assert_eq!(header["data"]["samples"], 4);
    missing
}

const FEW: [&str; 4] = ["--offset", "36", "--samples", "4"];

#[test]
fn the_rows_are_those_of_csv() {
    let with = |args: &[&'static str]| -> Vec<&'static str> { args.iter().chain(&FEW).copied().collect() };
    let commands: [&[&str]; 5] = [
        &["certify", "--radius", "0.0005,0.001"],
        &["certify", "--radius", "0.001", "--method", "exact"],
        &["attack", "--radius", "0.001", "--steps", "20"],
        &["radius", "--steps", "20", "--restarts", "1", "--width", "0.1", "--by-layer", "--threat", "int8"],
        &["radius", "--no-attack", "--width", "0.1"],
    ];
    let missing: usize = commands.iter().map(|args| compare(&with(args))).sum();
    assert!(missing > 0);
}

#[test]
fn columns_have_types() {
    let folder = tempfile::tempdir().unwrap();
    let run =
        ["certify", "--radius", "1e300", "--samples", "4", "--format", "parquet", "--output", "s.parquet"];
    assert_eq!(Run::new(run).within(folder.path()).output().code, Some(1));
    let (reader, rows) = rows(&folder.path().join("s.parquet"));
    let schema = reader.metadata().file_metadata().schema_descr();
    let of = |name: &str| schema.columns().iter().find(|c| c.name() == name).unwrap().clone();
    assert_eq!(of("index").physical_type(), Type::INT64);
    assert_eq!(of("label").physical_type(), Type::INT32);
    assert_eq!(of("margin_lower").physical_type(), Type::DOUBLE);
    assert_eq!(of("verdict").logical_type_ref(), Some(&LogicalType::String));
    // Overflowed bounds are missing, not −∞.
    let at = schema.columns().iter().position(|c| c.name() == "margin_lower").unwrap();
    assert!(rows.iter().all(|row| row.get_column_iter().nth(at).unwrap().1 == &Field::Null));
}

#[test]
fn parquet_goes_to_files() {
    snapshot::check("parquet-output", &Run::new(["certify", "--radius", "0.001", "--format", "parquet"]));
    snapshot::check("parquet-inspect", &Run::new(["inspect", "--format", "parquet"]));
}
