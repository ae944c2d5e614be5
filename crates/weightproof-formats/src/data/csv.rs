//! CSV: one sample per line, numbers separated by commas, the label first.
//!
//! Whether the first line is a header is said by [`CsvHeader`]. Blank lines are skipped.
//! Lines have a maximal length, unlike the records of general CSV, whose quotes may span lines: memory stays flat.

use super::MAX_SAMPLE_VALUES;
use super::labels::to_label;
use super::samples::{Rows, SampleReader};
use crate::error::DataError;
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

/// A reader of numbers separated by commas.
pub struct CsvReader<R> {
    lines: Lines<R>,
    labelled: bool,
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
        let mut lines = Lines { source: BufReader::with_capacity(1 << 16, source), line: Vec::new(), row: 0 };
        let mut pending = lines.next()?;
        let skipped = match header {
            CsvHeader::Auto | CsvHeader::Words => is_header(&lines.line),
            CsvHeader::Yes => true,
            CsvHeader::No => false,
        };
        if pending && header == CsvHeader::Auto {
            check_clear(&lines)?;
        }
        if pending && skipped {
            pending = lines.next()?;
        }
        if !pending {
            return Err(DataError::new("rows", "at least one row of numbers", "none"));
        }
        let fields = lines.line.split(|&b| b == b',').count();
        let width = fields - usize::from(labelled);
        if !(1..=MAX_SAMPLE_VALUES).contains(&width) {
            return Err(DataError::new(
                format!("row {}", lines.row),
                if labelled {
                    "a label and values, separated by commas"
                } else {
                    "values, separated by commas"
                },
                format!("{fields} fields"),
            ));
        }
        Ok(CsvReader { lines, labelled, fields, shape: vec![width], pending })
    }

    /// Moves to the next sample's line.
    fn advance(&mut self) -> Result<bool, DataError> {
        if std::mem::take(&mut self.pending) { Ok(true) } else { self.lines.next() }
    }

    fn parse_line(&self, values: &mut Vec<f64>, labels: &mut Vec<u32>) -> Result<(), DataError> {
        let found = self.lines.line.split(|&b| b == b',').count();
        if found != self.fields {
            return Err(DataError::new(
                format!("row {}, column {}", self.lines.row, found.min(self.fields) + 1),
                format!("{} fields as in the first row", self.fields),
                format!("{found} fields"),
            ));
        }
        for (column, field) in self.lines.line.split(|&b| b == b',').enumerate() {
            let is_label = self.labelled && column == 0;
            let bad = |expected: &str| {
                let place = format!("row {}, column {}", self.lines.row, column + 1);
                DataError::new(place, expected, excerpt(field))
            };
            let value = number(field).filter(|value| value.is_finite());
            match (is_label, value) {
                (false, Some(value)) => values.push(value),
                (false, None) => return Err(bad("a finite number")),
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
        self.labelled
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
        rows.labels = self.labelled.then_some(labels);
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

fn is_header(line: &[u8]) -> bool {
    line.split(|&b| b == b',').next().is_none_or(|field| number(field).is_none())
}

/// An error when the first line may be a header as well as a sample: its numbers, or those behind its first one, count columns.
fn check_clear<R>(lines: &Lines<R>) -> Result<(), DataError> {
    let numbers: Option<Vec<f64>> = lines.line.split(|&b| b == b',').map(number).collect();
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
