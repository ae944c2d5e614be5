//! CSV: one sample per line, numbers separated by commas or another character, the label first or in a column of a name.
//!
//! Labels that are no integers are names of classes: they are numbered in their order.
//! Whether the first line is a header is said by [`CsvHeader`]. Blank lines are skipped.
//! Lines have a maximal length, unlike the records of general CSV, whose quotes may span lines: memory stays flat.

use super::MAX_SAMPLE_VALUES;
use super::labels::to_label;
use super::samples::{Rows, SampleReader};
use crate::error::DataError;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};

/// Longest line in bytes.
const MAX_LINE: u64 = 1 << 26;

/// Whether the first line names the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CsvHeader {
    /// It does when its first field is no number. Numbers that look like those of columns, such as `0,1,2`, are an error, because
    /// they may be either: a header that is read as a sample, or a sample that is lost, is never the right guess.
    #[default]
    Auto,
    /// It does when its first field is no number; numbers are a sample. For files of labels, which mostly start with small numbers.
    Words,
    /// It does.
    Yes,
    /// It is a sample.
    No,
}

/// How CSV is written.
#[derive(Clone, Debug, PartialEq)]
pub struct CsvOptions {
    /// Whether the first line names the columns.
    pub header: CsvHeader,
    /// What separates the fields of a line.
    pub delimiter: u8,
    /// Where labels are.
    pub label: CsvLabel,
}

/// Where the labels of CSV are.
#[derive(Clone, Debug, PartialEq)]
pub enum CsvLabel {
    /// Nowhere.
    None,
    /// In the first column.
    First,
    /// In the column of this name; the first line names the columns.
    Column(String),
}

/// The most names of classes.
const MAX_CLASSES: usize = 1 << 16;

/// A reader of numbers separated by commas or another character.
pub struct CsvReader<R> {
    lines: Lines<R>,
    delimiter: u8,
    /// Which column is the label.
    label: Option<usize>,
    /// Names of the classes, where labels are names.
    classes: Vec<String>,
    fields: usize,
    shape: Vec<usize>,
    /// Whether `lines.line` holds a sample that was not given out yet.
    pending: bool,
}

impl<R: Read> CsvReader<R> {
    /// Reads up to the first sample, which tells the number of fields; `labelled` if the first one is the label.
    ///
    /// # Errors
    /// No samples, or only labels; a first line that may be a header or a sample.
    pub fn new(source: R, labelled: bool, header: CsvHeader) -> Result<Self, DataError> {
        let label = if labelled { CsvLabel::First } else { CsvLabel::None };
        CsvReader::with(source, &CsvOptions { header, delimiter: b',', label }, Vec::new())
    }

    /// As [`CsvReader::new`], for CSV of another kind; labels are the places of their names in `classes`, unless there are none.
    ///
    /// # Errors
    /// As [`CsvReader::new`]; no column of the label's name.
    pub fn with(source: R, options: &CsvOptions, classes: Vec<String>) -> Result<Self, DataError> {
        let mut lines = Lines { source: BufReader::with_capacity(1 << 16, source), line: Vec::new(), row: 0 };
        let (delimiter, header) = (options.delimiter, options.header);
        let mut pending = lines.next()?;
        let named = matches!(options.label, CsvLabel::Column(_));
        let skipped = match header {
            _ if named => true,
            // A class has a name, too: then the values tell.
            CsvHeader::Auto | CsvHeader::Words => is_header(&lines.line, delimiter, !classes.is_empty()),
            CsvHeader::Yes => true,
            CsvHeader::No => false,
        };
        if named && header == CsvHeader::No {
            return Err(DataError::new(
                "header",
                "a first line with the name of the label's column",
                "--header no",
            ));
        }
        let label = match &options.label {
            CsvLabel::None => None,
            CsvLabel::First => Some(0),
            CsvLabel::Column(name) => {
                let place = lines.line.split(|&b| b == delimiter).position(|field| text(field) == *name);
                Some(place.ok_or_else(|| {
                    let first: Vec<String> =
                        lines.line.split(|&b| b == delimiter).take(8).map(text).collect();
                    DataError::new("header", format!("a column {name:?} with the labels"), first.join(", "))
                })?)
            }
        };
        if pending && header == CsvHeader::Auto && !named {
            check_clear(&lines, delimiter, !classes.is_empty())?;
        }
        let labelled = label.is_some();
        if pending && skipped {
            pending = lines.next()?;
        }
        if !pending {
            return Err(DataError::new("rows", "at least one row of numbers", "none"));
        }
        let fields = lines.line.split(|&b| b == delimiter).count();
        let width = fields - usize::from(labelled);
        if !(1..=MAX_SAMPLE_VALUES).contains(&width) {
            return Err(DataError::new(
                format!("row {}", lines.row),
                format!(
                    "{}values, separated by {}",
                    if labelled { "a label and " } else { "" },
                    if delimiter == b',' { "commas".into() } else { format!("{:?}", char::from(delimiter)) }
                ),
                format!("{fields} fields"),
            )
            .with_hint("--delimiter says what separates fields, such as ; or tab"));
        }
        Ok(CsvReader { lines, delimiter, label, classes, fields, shape: vec![width], pending })
    }

    /// The names of the classes of all samples that are left, in order; none where all labels are integers.
    ///
    /// # Errors
    /// Damaged lines, more than 65,536 names.
    pub fn names(mut self) -> Result<Vec<String>, DataError> {
        let Some(column) = self.label else { return Ok(Vec::new()) };
        let (mut names, mut is_named) = (BTreeSet::new(), false);
        while self.advance()? {
            let field = self.lines.line.split(|&b| b == self.delimiter).nth(column).unwrap_or_default();
            is_named |= number(field).and_then(to_label).is_none();
            names.insert(text(field));
            if is_named && names.len() > MAX_CLASSES {
                let place = format!("row {}", self.lines.row);
                return Err(DataError::new(place, format!("at most {MAX_CLASSES} names of classes"), "more"));
            }
            if names.len() > MAX_CLASSES {
                return Ok(Vec::new());
            }
        }
        Ok(if is_named { names.into_iter().collect() } else { Vec::new() })
    }

    /// Moves to the next sample's line.
    fn advance(&mut self) -> Result<bool, DataError> {
        if std::mem::take(&mut self.pending) { Ok(true) } else { self.lines.next() }
    }

    fn parse_line(&self, values: &mut Vec<f64>, labels: &mut Vec<u32>) -> Result<(), DataError> {
        let found = self.lines.line.split(|&b| b == self.delimiter).count();
        if found != self.fields {
            return Err(DataError::new(
                format!("row {}, column {}", self.lines.row, found.min(self.fields) + 1),
                format!("{} fields as in the first row", self.fields),
                format!("{found} fields"),
            ));
        }
        for (column, field) in self.lines.line.split(|&b| b == self.delimiter).enumerate() {
            let is_label = self.label == Some(column);
            let bad = |expected: &str| {
                let place = format!("row {}, column {}", self.lines.row, column + 1);
                DataError::new(place, expected, excerpt(field))
            };
            let value = number(field).filter(|value| value.is_finite());
            match (is_label, value) {
                (false, Some(value)) => values.push(value),
                (false, None) => return Err(bad("a finite number")),
                (true, _) if !self.classes.is_empty() => {
                    let place = self.classes.binary_search(&text(field)).ok();
                    let place = place.and_then(|place| u32::try_from(place).ok());
                    labels.push(place.ok_or_else(|| bad("a name of a class"))?);
                }
                (true, value) => {
                    let label = value.and_then(to_label);
                    labels.push(label.ok_or_else(|| {
                        bad("a label, an integer ≥ 0").with_hint("is the first column the label?")
                    })?);
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> SampleReader for CsvReader<R> {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn count(&self) -> Option<usize> {
        None
    }

    fn pixels(&self) -> bool {
        false
    }

    fn labelled(&self) -> bool {
        self.label.is_some()
    }

    fn skip(&mut self, samples: usize) -> Result<usize, DataError> {
        for skipped in 0..samples {
            if !self.advance()? {
                return Ok(skipped);
            }
        }
        Ok(samples)
    }

    fn read_rows(&mut self, max: usize) -> Result<Option<Rows>, DataError> {
        let mut rows = Rows::default();
        let mut labels = Vec::new();
        while rows.count < max && self.advance()? {
            self.parse_line(&mut rows.values, &mut labels)?;
            rows.count += 1;
        }
        rows.labels = self.label.is_some().then_some(labels);
        Ok((rows.count > 0).then_some(rows))
    }
}

/// The lines that are not blank.
struct Lines<R> {
    source: BufReader<R>,
    line: Vec<u8>,
    /// Number of the line in the file, from 1.
    row: u64,
}

impl<R: Read> Lines<R> {
    /// Reads the next line, without its end; false at the end of the file.
    fn next(&mut self) -> Result<bool, DataError> {
        loop {
            self.line.clear();
            self.row += 1;
            let mut limited = (&mut self.source).take(MAX_LINE + 1);
            let n = limited
                .read_until(b'\n', &mut self.line)
                .map_err(|e| DataError::new(format!("row {}", self.row), "readable data", e.to_string()))?;
            if n == 0 {
                return Ok(false);
            }
            if n as u64 > MAX_LINE {
                let place = format!("row {}", self.row);
                return Err(DataError::new(place, format!("at most {MAX_LINE} bytes"), "a longer line"));
            }
            if self.row == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                self.line.drain(..3);
            }
            self.line.truncate(self.line.trim_ascii_end().len());
            if !self.line.is_empty() {
                return Ok(true);
            }
        }
    }
}

/// A number, perhaps in quotes.
fn number(field: &[u8]) -> Option<f64> {
    let field = field.trim_ascii();
    let field = field.strip_prefix(b"\"").and_then(|f| f.strip_suffix(b"\"")).unwrap_or(field);
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

/// Whether the first field is no number; behind the name of a class the second.
fn is_header(line: &[u8], delimiter: u8, named: bool) -> bool {
    line.split(|&b| b == delimiter).nth(usize::from(named)).is_none_or(|field| number(field).is_none())
}

/// A field as text, without quotes.
fn text(field: &[u8]) -> String {
    let field = field.trim_ascii();
    let field = field.strip_prefix(b"\"").and_then(|f| f.strip_suffix(b"\"")).unwrap_or(field);
    String::from_utf8_lossy(field).chars().filter(|c| !c.is_control()).take(120).collect()
}

/// An error when the first line may be a header as well as a sample: its numbers, or those behind its first one, count columns.
fn check_clear<R>(lines: &Lines<R>, delimiter: u8, named: bool) -> Result<(), DataError> {
    let fields = lines.line.split(|&b| b == delimiter).skip(usize::from(named));
    let numbers: Option<Vec<f64>> = fields.map(number).collect();
    let Some(numbers) = numbers else { return Ok(()) };
    let behind_a_label = numbers.len() > 3 && counts_columns(&numbers[1..]);
    if !(counts_columns(&numbers) || behind_a_label) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&lines.line[..lines.line.len().min(30)]).into_owned();
    let found = if lines.line.len() > 30 { format!("{text}…") } else { text };
    let expected = "names of columns or a sample, not numbers that may be either";
    Err(DataError::new(format!("row {}", lines.row), expected, found).with_hint(
        "--header yes (in Python header=\"yes\") if it names the columns, as pandas writes them for arrays; --header no if it is a \
         sample",
    ))
}

/// Whether numbers count columns: steps that are all the same and above zero, or ascending integers from 0 on; of one or two numbers
/// only 0 and 0, 1.
fn counts_columns(numbers: &[f64]) -> bool {
    let steps = || numbers.windows(2).map(|pair| pair[1] - pair[0]);
    match numbers {
        [] => false,
        [one] => *one == 0.0,
        [first, second] => (*first, *second) == (0.0, 1.0),
        [first, second, ..] => {
            let step = second - first;
            let even = steps().all(|other| (other - step).abs() <= 1e-6 * step);
            let integers = numbers.iter().all(|v| *v >= 0.0 && v.fract() == 0.0);
            steps().all(|step| step > 0.0) && (even || integers)
        }
    }
}

fn excerpt(field: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(&field[..field.len().min(160)]).chars().take(40).collect();
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, labelled: bool) -> Result<Rows, DataError> {
        CsvReader::new(text.as_bytes(), labelled, CsvHeader::Auto)?.read_rows(100).map(Option::unwrap)
    }

    #[test]
    fn labels_first_header_quotes_and_line_ends() {
        let rows = read("\u{feff}label,a,0\r\n7, 0.5 ,-1e3\n\n 3.0 ,\"2\",.25", true).unwrap();
        assert_eq!(rows, Rows { count: 2, values: vec![0.5, -1000.0, 2.0, 0.25], labels: Some(vec![7, 3]) });
        let rows = read("1,2\n3,4\n", false).unwrap();
        assert_eq!(rows, Rows { count: 2, values: vec![1.0, 2.0, 3.0, 4.0], labels: None });
    }

    #[test]
    fn a_header_of_numbers_is_neither_read_nor_dropped_unasked() {
        let read = |text: &str, labelled, header| {
            CsvReader::new(text.as_bytes(), labelled, header)?.read_rows(9).map(Option::unwrap)
        };
        // As pandas writes arrays, a label before an array, chosen columns, and wavelengths.
        for text in [
            "0,1,2\n3,4,6",
            "0,0,1,2\n3,4,5,7",
            "0,2,7\n1,1,1",
            "400,402,404\n1,2,9",
            "0,1\n2,2",
            "\"0\",\"1\",\"2\"\n3,1,1",
        ] {
            let error = read(text, true, CsvHeader::Auto).unwrap_err().to_string();
            assert!(error.starts_with("row 1: expected names of columns or a sample"), "{text}: {error}");
            assert_eq!(read(text, true, CsvHeader::Yes).unwrap().count, 1, "{text}");
            if !text.starts_with("4") {
                assert_eq!(read(text, true, CsvHeader::No).unwrap().count, 2, "{text}");
            }
        }
        assert!(read("0\n0.5", false, CsvHeader::Auto).is_err());
        for text in ["7,0,0,0\n1,2,3,4", "5,3.1,2.2\n1,2,3", "1,2\n3,4"] {
            assert_eq!(read(text, true, CsvHeader::Auto).unwrap().count, 2, "{text}");
        }
    }

    #[test]
    fn batches_and_skips() {
        let mut reader = CsvReader::new("1,10\n2,20\n3,30\n".as_bytes(), true, CsvHeader::Auto).unwrap();
        assert_eq!(reader.shape(), [1]);
        assert_eq!(reader.skip(1).unwrap(), 1);
        assert_eq!(reader.read_rows(1).unwrap().unwrap().values, [20.0]);
        assert_eq!(reader.skip(5).unwrap(), 1);
        assert_eq!(reader.read_rows(1).unwrap(), None);
    }

    #[test]
    fn errors_name_row_and_column() {
        for (text, message) in [
            ("1,2\n1,2,3", "row 2, column 3: expected 2 fields as in the first row, found 3 fields"),
            ("1,3,2\n1,2", "row 2, column 3: expected 3 fields as in the first row, found 2 fields"),
            ("l,x\n1,2\n1,x", "row 3, column 2: expected a finite number, found \"x\""),
            ("1,nan", "row 1, column 2: expected a finite number, found \"nan\""),
            ("1,1e999", "row 1, column 2: expected a finite number, found \"1e999\""),
            ("1,", "row 1, column 2: expected a finite number, found \"\""),
            ("1.5,2", "row 1, column 1: expected a label, an integer ≥ 0, found \"1.5\""),
            ("-1,2", "row 1, column 1: expected a label, an integer ≥ 0, found \"-1\""),
            ("1", "row 1: expected a label and values, separated by commas, found 1 fields"),
            ("", "rows: expected at least one row of numbers, found none"),
            ("a,b\n\n", "rows: expected at least one row of numbers, found none"),
        ] {
            assert_eq!(read(text, true).unwrap_err().to_string(), message);
        }
        let bytes = b"1,2\n1,\xff\xfe\n".as_slice();
        assert!(CsvReader::new(bytes, true, CsvHeader::No).unwrap().read_rows(9).is_err());
    }

    #[test]
    fn names_of_classes_columns_and_delimiters() {
        let text = "width;kind;height\n1;dog;2\n3;\"cat\";4\n5;dog;6\n";
        let options =
            CsvOptions { header: CsvHeader::Auto, delimiter: b';', label: CsvLabel::Column("kind".into()) };
        let open = |classes| CsvReader::with(text.as_bytes(), &options, classes).unwrap();
        let names = open(Vec::new()).names().unwrap();
        assert_eq!(names, ["cat", "dog"]);
        let rows = open(names.clone()).read_rows(9).unwrap().unwrap();
        assert_eq!((rows.values, rows.labels), (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], Some(vec![1, 0, 1])));
        let other = CsvOptions { label: CsvLabel::Column("sort".into()), ..options.clone() };
        let error = CsvReader::with(text.as_bytes(), &other, Vec::new()).err().unwrap().to_string();
        assert_eq!(error, "header: expected a column \"sort\" with the labels, found width, kind, height");
        // Names in the first column, without a header; integers are no names.
        let first = CsvOptions { header: CsvHeader::Auto, delimiter: b',', label: CsvLabel::First };
        let names = CsvReader::with(
            "no,1\nyes,2\n".as_bytes(),
            &CsvOptions { header: CsvHeader::No, ..first.clone() },
            Vec::new(),
        );
        assert_eq!(names.unwrap().names().unwrap(), ["no", "yes"]);
        let read = CsvReader::with("no,1\nyes,2\n".as_bytes(), &first, vec!["no".into(), "yes".into()]);
        assert_eq!(read.unwrap().read_rows(9).unwrap().unwrap().labels, Some(vec![0, 1]));
        // Behind a name, numbers that count columns may be a header.
        let header =
            CsvReader::with("kind,0,1\ncat,3,4\n".as_bytes(), &first, vec!["cat".into(), "kind".into()]);
        assert!(header.err().unwrap().to_string().contains("names of columns or a sample"));
        let numbers = CsvReader::with("l,x\n3,1\n4,2\n".as_bytes(), &first, Vec::new()).unwrap();
        assert_eq!(numbers.names().unwrap(), [""; 0]);
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let endless = std::io::repeat(b'1');
        assert!(
            CsvReader::new(endless, true, CsvHeader::Auto)
                .err()
                .unwrap()
                .to_string()
                .contains("a longer line")
        );
    }
}
