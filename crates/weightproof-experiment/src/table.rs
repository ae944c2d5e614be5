//! Tables of results: every column says what its numbers are worth.

use crate::error::ExperimentError;
use rand::RngExt;
use serde::Serialize;
use std::fmt::Write;
use weightproof::verdict::Worth;
use weightproof_train::random::{Purpose, generator};

/// How numbers are written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Words, or a number as it was set.
    Plain,
    /// A fraction, written in percent.
    Fraction,
    /// A number in the unit of the weights.
    Weight,
    /// A number without a unit.
    Number,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Name in CSV and JSON.
    pub name: String,
    /// Head of the column in Markdown.
    pub head: String,
    /// How numbers are written.
    pub unit: Unit,
    /// What they are worth.
    pub guarantee: Worth,
}

impl Column {
    /// A column; `head` is what people read.
    pub fn new(name: impl Into<String>, head: impl Into<String>, unit: Unit, guarantee: Worth) -> Self {
        Column { name: name.into(), head: head.into(), unit, guarantee }
    }

    /// Words that say which row it is.
    pub fn words(name: &str) -> Self {
        Column::new(name, name, Unit::Plain, Worth::Setting)
    }

    /// A number that was set.
    pub fn setting(name: &str, head: &str) -> Self {
        Column::new(name, head, Unit::Plain, Worth::Setting)
    }

    /// A fraction that was measured.
    pub fn measured(name: impl Into<String>, head: impl Into<String>) -> Self {
        Column::new(name, head, Unit::Fraction, Worth::Measured)
    }

    /// A fraction that a search found.
    pub fn found(name: impl Into<String>, head: impl Into<String>) -> Self {
        Column::new(name, head, Unit::Fraction, Worth::Estimate)
    }

    /// A fraction that was proved.
    pub fn proved(name: impl Into<String>, head: impl Into<String>) -> Self {
        Column::new(name, head, Unit::Fraction, Worth::RIGOROUS)
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number; not finite ones are missing.
    Number(Option<f64>),
    /// A mean, and the smallest and largest value behind it.
    Spread([Option<f64>; 3]),
    /// A mean, and the ends of its interval at a level of 95%, by bootstrap.
    Interval([Option<f64>; 3]),
}

/// What captions say of cells with more than one number.
const SPREAD: &str = "In parentheses: least and largest.";
const INTERVAL: &str = "In brackets: the interval of the mean at 95%, by bootstrap.";
/// Values from which on a cell has an interval.
const ENOUGH: usize = 5;
/// Samples of a bootstrap.
const RESAMPLES: usize = 10_000;
/// What is left out at each end of an interval.
const TAIL: f64 = 0.025;

/// The ends of the percentile interval of the mean (Efron 1979): of means of as many values as there are, drawn with replacement. The random
/// numbers are the same for all cells.
fn bootstrap(values: &[f64]) -> [f64; 2] {
    let mut random = generator(0, Purpose::Data, 0, 0);
    let count = values.len();
    let mut mean = || (0..count).map(|_| values[random.random_range(0..count)]).sum::<f64>() / count as f64;
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| mean()).collect();
    means.sort_by(f64::total_cmp);
    let cut = (TAIL * RESAMPLES as f64) as usize;
    [means[cut], means[RESAMPLES - 1 - cut]]
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.into())
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Cell::Number(Some(number).filter(|n| n.is_finite()))
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        Cell::Number(number.filter(|n| n.is_finite()))
    }
}

impl Cell {
    /// Mean, smallest and largest of some values, or the interval of the mean where they are enough; the number alone when there is one.
    pub fn spread(values: &[f64]) -> Self {
        match values {
            [] => Cell::Number(None),
            [one] => Cell::from(*one),
            _ => {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let finite = |numbers: [f64; 3]| numbers.map(|v| Some(v).filter(|v| v.is_finite()));
                if values.len() >= ENOUGH {
                    let [low, high] = bootstrap(values);
                    return Cell::Interval(finite([mean, low, high]));
                }
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                Cell::Spread(finite([mean, least, most]))
            }
        }
    }

    /// What a caption says of it.
    fn legend(&self) -> Option<&'static str> {
        match self {
            Cell::Text(_) | Cell::Number(_) => None,
            Cell::Spread(_) => Some(SPREAD),
            Cell::Interval(_) => Some(INTERVAL),
        }
    }

    /// The cell for people.
    pub fn text(&self, unit: Unit) -> String {
        match self {
            Cell::Text(text) => text.replace('|', "\\|"),
            Cell::Number(number) => number.map_or_else(|| "–".into(), |n| unit.text(n)),
            Cell::Spread([mean, least, most]) => match (mean, least, most) {
                (Some(mean), Some(least), Some(most)) => {
                    format!("{} ({}–{})", unit.text(*mean), unit.text(*least), unit.text(*most))
                }
                _ => "–".into(),
            },
            Cell::Interval([mean, low, high]) => match (mean, low, high) {
                (Some(mean), Some(low), Some(high)) => {
                    format!("{} [{}, {}]", unit.text(*mean), unit.text(*low), unit.text(*high))
                }
                _ => "–".into(),
            },
        }
    }

    fn csv(&self) -> [String; 3] {
        let exact = |n: &Option<f64>| n.map_or_else(String::new, |n| n.to_string());
        match self {
            Cell::Text(text) => [text.clone(), String::new(), String::new()],
            Cell::Number(number) => [exact(number), exact(number), exact(number)],
            Cell::Spread(numbers) | Cell::Interval(numbers) => numbers.each_ref().map(exact),
        }
    }
}

impl Unit {
    /// A number for people.
    pub fn text(self, n: f64) -> String {
        match self {
            Unit::Plain => n.to_string(),
            Unit::Fraction => format!("{:.2}%", 100.0 * n),
            Unit::Weight | Unit::Number if n == 0.0 => "0".into(),
            Unit::Weight | Unit::Number if !(1e-4..1e5).contains(&n.abs()) => format!("{n:.2e}"),
            Unit::Weight | Unit::Number => {
                let digits = (2.0 - n.abs().log10().floor()).max(0.0) as usize;
                format!("{n:.digits$}")
            }
        }
    }
}

/// Rows under columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// Name of its CSV file.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// One cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// Whether it is only in CSV and JSON.
    pub data_only: bool,
}

impl Table {
    /// A table without rows.
    pub fn new(name: &str, caption: impl Into<String>, columns: Vec<Column>) -> Self {
        Table { name: name.into(), caption: caption.into(), columns, rows: Vec::new(), data_only: false }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When it has another number of cells than there are columns.
    pub fn push(&mut self, row: Vec<Cell>) {
        assert_eq!(row.len(), self.columns.len(), "cells of table {}", self.name);
        for legend in row.iter().filter_map(Cell::legend) {
            if !self.caption.contains(legend) {
                self.caption = format!("{} {legend}", self.caption);
            }
        }
        self.rows.push(row);
    }

    /// The table in Markdown; under its head a row says what the numbers are worth.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.caption);
        let mut line = |cells: Vec<String>| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        };
        line(self.columns.iter().map(|c| c.head.clone()).collect());
        let side = |c: &Column| if c.guarantee == Worth::Setting { "---" } else { "---:" };
        line(self.columns.iter().map(|c| side(c).into()).collect());
        line(self.columns.iter().map(|c| format!("*{}*", c.guarantee.name())).collect());
        for row in &self.rows {
            line(row.iter().zip(&self.columns).map(|(cell, column)| cell.text(column.unit)).collect());
        }
        text
    }

    /// The table as CSV. A column in which a cell has a spread is three: mean, smallest and largest value, or mean and ends of its interval.
    ///
    /// # Errors
    /// Never for writers that do not fail.
    pub fn csv(&self) -> Result<Vec<u8>, ExperimentError> {
        let any = |c: usize, of: fn(&Cell) -> bool| self.rows.iter().any(|row| of(&row[c]));
        let suffixes = |c: usize| -> &[&str] {
            match (
                any(c, |cell| matches!(cell, Cell::Spread(_))),
                any(c, |cell| matches!(cell, Cell::Interval(_))),
            ) {
                (false, false) => &[""],
                (true, false) => &["", "-min", "-max"],
                (_, true) => &["", "-low", "-high"],
            }
        };
        let mut writer = csv::Writer::from_writer(Vec::new());
        let fail = |detail: String| ExperimentError::Table { name: self.name.clone(), detail };
        let head = self.columns.iter().enumerate().flat_map(|(c, column)| {
            suffixes(c).iter().map(|suffix| format!("{}{suffix}", column.name)).collect::<Vec<_>>()
        });
        writer.write_record(head).map_err(|e| fail(e.to_string()))?;
        for row in &self.rows {
            let cells = row
                .iter()
                .enumerate()
                .flat_map(|(c, cell)| cell.csv().into_iter().take(suffixes(c).len()).collect::<Vec<_>>());
            writer.write_record(cells).map_err(|e| fail(e.to_string()))?;
        }
        writer.into_inner().map_err(|e| fail(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_say_what_they_are_worth() {
        let columns = vec![Column::words("model"), Column::proved("certified", "certified at 0.001")];
        let mut table = Table::new("t", "Caption.", columns);
        table.push(vec!["plain".into(), 0.5.into()]);
        table.push(vec!["b|c".into(), Cell::spread(&[0.25, 0.75])]);
        table.push(vec!["d".into(), f64::NAN.into()]);
        let lines: Vec<String> = table.markdown().lines().map(Into::into).collect();
        assert_eq!(lines[0], "Caption. In parentheses: least and largest.");
        assert_eq!(lines[4], "| *setting* | *rigorous* |");
        assert_eq!(lines[5], "| plain | 50.00% |");
        assert_eq!(lines[6], "| b\\|c | 50.00% (25.00%–75.00%) |");
        assert_eq!(lines[7], "| d | – |");
        let csv = String::from_utf8(table.csv().unwrap()).unwrap();
        let expected =
            "model,certified,certified-min,certified-max\nplain,0.5,0.5,0.5\nb|c,0.5,0.25,0.75\nd,,,\n";
        assert_eq!(csv, expected);
    }

    /// Of 0 and 1 the mean of eight is binomial: 95% of it is between 0.125 and 0.875.
    #[test]
    fn five_values_have_an_interval() {
        let values = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        assert_eq!(Cell::spread(&values), Cell::Interval([Some(0.5), Some(0.125), Some(0.875)]));
        assert_eq!(Cell::spread(&values).text(Unit::Fraction), "50.00% [12.50%, 87.50%]");
        assert!(matches!(Cell::spread(&values[..4]), Cell::Spread(_)));
        assert_eq!(Cell::spread(&[f64::NAN; 5]).text(Unit::Fraction), "–");
        let mut table = Table::new("t", "Caption.", vec![Column::measured("a", "a")]);
        table.push(vec![Cell::spread(&values)]);
        let csv = String::from_utf8(table.csv().unwrap()).unwrap();
        assert_eq!(csv, "a,a-low,a-high\n0.5,0.125,0.875\n");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(Unit::Weight.text(0.004_21), "0.00421");
        assert_eq!(Unit::Weight.text(12.34), "12.3");
        assert_eq!(Unit::Number.text(1.5e-7), "1.50e-7");
        assert_eq!(Unit::Plain.text(0.25), "0.25");
    }
}
