//! Parts of the samples of a run, for machines of their own: `--shard I/N`.

use crate::RunError;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// One of several parts of the samples of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// Part `number` of `of`, the first has the number 1.
    ///
    /// # Errors
    /// A number that is not from 1 to `of`.
    pub fn new(number: usize, of: usize) -> Result<Self, RunError> {
        if (1..=of).contains(&number) {
            return Ok(Shard { number, of });
        }
        Err(RunError::setting("shard", "I/N with I from 1 to N", format!("{number}/{of}")))
    }

    /// Its number, from 1 on.
    pub fn number(self) -> usize {
        self.number
    }

    /// Number of parts.
    pub fn of(self) -> usize {
        self.of
    }

    /// The places of its samples among `total`. Parts are consecutive, differ by at most one block, and consist of whole blocks of
    /// `block` samples: what is solved together in one run is solved together here, so that nothing is rounded otherwise.
    ///
    /// # Errors
    /// Fewer blocks than parts.
    pub fn part(self, total: usize, block: usize) -> Result<Range<usize>, RunError> {
        let blocks = total.div_ceil(block);
        if blocks < self.of {
            return Err(RunError::Misfit {
                message: format!(
                    "shard: expected at most {blocks} parts, the number of blocks of {block} samples among {total}, found {}",
                    self.of
                ),
                hint: Some("a smaller --batch makes smaller blocks, here and in the other parts"),
            });
        }
        let begin = |k: usize| total.min((k as u128 * blocks as u128 / self.of as u128) as usize * block);
        Ok(begin(self.number - 1)..begin(self.number))
    }
}

impl FromStr for Shard {
    type Err = RunError;

    /// Reads `2/8`.
    fn from_str(text: &str) -> Result<Self, RunError> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        let found: String = text.chars().take(60).collect();
        let wrong = || RunError::setting("shard", "I/N with I from 1 to N, such as 2/8", found);
        numbers.and_then(|(number, of)| Shard::new(number, of).ok()).ok_or_else(wrong)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_all_samples_once_in_whole_blocks() {
        for (total, block, of) in [(1000, 64, 7), (1000, 64, 16), (5, 1, 5), (130, 64, 1), (640, 64, 3)] {
            let mut end = 0;
            for number in 1..=of {
                let part = Shard::new(number, of).unwrap().part(total, block).unwrap();
                assert!(part.start == end && part.end > end && part.start.is_multiple_of(block), "{part:?}");
                end = part.end;
            }
            assert_eq!(end, total);
        }
        let error = Shard::new(1, 17).unwrap().part(1000, 64).unwrap_err().to_string();
        assert!(error.starts_with("shard: expected at most 16 parts"), "{error}");
    }

    #[test]
    fn words_are_read_and_written() {
        let shard: Shard = "2/8".parse().unwrap();
        assert_eq!((shard, shard.to_string()), (Shard { number: 2, of: 8 }, "2/8".into()));
        for wrong in
            ["", "2", "0/8", "9/8", "2/", "/8", "-1/8", "1/0", "a/b", "1/2/3", "99999999999999999999/1"]
        {
            let error = wrong.parse::<Shard>().unwrap_err().to_string();
            assert!(error.starts_with("shard: expected I/N"), "{error}");
        }
    }
}
