//! CSV: one sample per line, numbers separated by commas, the label first.
//!
//! A first line whose first field is no number, or none of whose fields is one, is a header. Blank lines are skipped.
//! Lines have a maximal length, unlike the records of general CSV, whose quotes may span lines: memory stays flat.

use super::MAX_SAMPLE_VALUES;
use super::labels::to_label;
use super::samples::{Rows, SampleReader};
use crate::error::DataError;
use std::io::{BufRead, BufReader, Read};

/// Longest line in bytes.
const MAX_LINE: u64 = 1 << 26;

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
    /// No samples, or only labels.
    pub fn new(source: R, labelled: bool) -> Result<Self, DataError> {
        let mut lines = Lines { source: BufReader::with_capacity(1 << 16, source), line: Vec::new(), row: 0 };
        let mut pending = lines.next()?;
        if pending && is_header(&lines.line) {
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

fn excerpt(field: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(&field[..field.len().min(160)]).chars().take(40).collect();
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, labelled: bool) -> Result<Rows, DataError> {
        CsvReader::new(text.as_bytes(), labelled)?.read_rows(100).map(Option::unwrap)
    }

    #[test]
    fn labels_first_header_quotes_and_line_ends() {
        let rows = read("\u{feff}label,a,0\r\n7, 0.5 ,-1e3\n\n 3.0 ,\"2\",.25", true).unwrap();
        assert_eq!(rows, Rows { count: 2, values: vec![0.5, -1000.0, 2.0, 0.25], labels: Some(vec![7, 3]) });
        let rows = read("1,2\n3,4\n", false).unwrap();
        assert_eq!(rows, Rows { count: 2, values: vec![1.0, 2.0, 3.0, 4.0], labels: None });
    }

    #[test]
    fn batches_and_skips() {
        let mut reader = CsvReader::new("1,10\n2,20\n3,30\n".as_bytes(), true).unwrap();
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
            ("1,2,3\n1,2", "row 2, column 3: expected 3 fields as in the first row, found 2 fields"),
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
        assert!(CsvReader::new(bytes, true).unwrap().read_rows(9).is_err());
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let endless = std::io::repeat(b'1');
        assert!(CsvReader::new(endless, true).err().unwrap().to_string().contains("a longer line"));
    }
}
