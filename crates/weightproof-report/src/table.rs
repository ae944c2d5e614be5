//! Tables of text with aligned columns, which fit into the width of a terminal where there is one.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Columns with words get no narrower than this.
const NARROWEST: usize = 16;
/// Blanks between columns.
const GAP: usize = 2;

/// Characters in a line of the terminal that text goes to; 0 where it goes to a file or a pipe, which have lines of any length.
static WIDTH: AtomicUsize = AtomicUsize::new(0);

/// Says how many characters a line of the terminal has that reports in text go to. Words that do not fit are continued on the next
/// line, in their column.
pub fn set_width(characters: usize) {
    WIDTH.store(characters, Ordering::Relaxed);
}

/// Which side of its column a cell is pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under a header; every line of the header has one cell for each column.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(sides: impl Into<Vec<Side>>) -> Self {
        Table { sides: sides.into(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn push<S: Into<String>>(&mut self, row: impl IntoIterator<Item = S>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

impl Table {
    /// Widths of the columns. Where lines are longer than `most`, the widest columns of words are narrower than their cells; numbers
    /// are never cut.
    fn widths(&self, most: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.sides.len()).map(|column| self.width(column)).collect();
        while let Some(most) = most {
            let line = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
            let words = (0..widths.len()).filter(|&k| self.sides[k] == Side::Left && widths[k] > NARROWEST);
            let (Some(widest), true) = (words.max_by_key(|&k| widths[k]), line > most) else { break };
            widths[widest] = widths[widest].saturating_sub(line - most).max(NARROWEST);
        }
        widths
    }

    fn write(&self, f: &mut impl fmt::Write, most: Option<usize>) -> fmt::Result {
        let widths = self.widths(most);
        for row in &self.rows {
            let cells: Vec<Vec<String>> =
                row.iter().zip(&widths).map(|(cell, &width)| wrapped(cell, width)).collect();
            for k in 0..cells.iter().map(Vec::len).max().unwrap_or(1) {
                let mut line = String::new();
                for (column, cell) in cells.iter().enumerate() {
                    let cell = cell.get(k).map_or("", String::as_str);
                    let blank = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                    match self.sides[column] {
                        Side::Left => line.extend([cell, &blank]),
                        Side::Right => line.extend([&blank, cell]),
                    }
                    line.push_str(&" ".repeat(GAP));
                }
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Lines of at most so many characters: broken between words, and in words that are longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    let room = |lines: &[String]| width - lines.last().map_or(0, |line| line.chars().count()).min(width);
    for word in text.split(' ') {
        let length = word.chars().count();
        let is_first = lines.last().is_some_and(String::is_empty);
        if !is_first && room(&lines) > length {
            lines.last_mut().expect("a line").push(' ');
        } else if !is_first {
            lines.push(String::new());
        }
        for character in word.chars() {
            if room(&lines) == 0 {
                lines.push(String::new());
            }
            lines.last_mut().expect("a line").push(character);
        }
    }
    lines
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, Some(WIDTH.load(Ordering::Relaxed)).filter(|width| *width > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new([Side::Left, Side::Right]);
        table.push(["radius", "n"]);
        table.push(["1", "1000"]);
        table.push(["2", ""]);
        assert_eq!(table.to_string(), "radius     n\n1       1000\n2\n");
    }

    #[test]
    fn words_that_do_not_fit_go_on_below_themselves_and_numbers_stay_whole() {
        let mut table = Table::new([Side::Left, Side::Left, Side::Right]);
        table.push(["model", "a name that is long, and one_word_that_is_longer_than_the_column", "1234567"]);
        table.push(["", "short", "2"]);
        let shown = |most| {
            let mut text = String::new();
            table.write(&mut text, Some(most)).unwrap();
            text
        };
        let expected = "model  a name that is long,  1234567\n\
                        \u{20}      and\n\
                        \u{20}      one_word_that_is_lon\n\
                        \u{20}      ger_than_the_column\n\
                        \u{20}      short                       2\n";
        assert_eq!(shown(36), expected);
        for most in [20, 36, 50, 70] {
            let text = shown(most);
            // Nothing is lost.
            let characters = |text: &str| {
                let mut all: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
                all.sort_unstable();
                all
            };
            assert!(
                text.contains("1234567") && characters(&text) == characters(&table.to_string()),
                "{text}"
            );
            // Two columns that cannot be narrower, and their gaps.
            assert!(text.lines().all(|line| line.chars().count() <= most.max(5 + 16 + 7 + 2 * 2)), "{text}");
        }
        assert_eq!(shown(200), table.to_string());
    }
}
