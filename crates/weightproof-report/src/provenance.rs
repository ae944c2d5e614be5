//! When and by which command a result was made.

use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// When and by which command a result was made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Provenance {
    /// Date and time at the end of the run in UTC, such as `2026-11-29T06:41:07Z`.
    pub date: String,
    /// The words of the command line, that of the program first; `null` in Python.
    pub command: Option<Vec<String>>,
}

static COMMAND: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Says which command line this process runs from now on.
pub fn set_command(words: Vec<String>) {
    *COMMAND.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
}

impl Provenance {
    /// Of a result that is made now.
    pub fn now() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Provenance {
            date: date(seconds),
            command: COMMAND.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The date without seconds, for people.
    pub(crate) fn minute(&self) -> String {
        self.date.get(..16).unwrap_or_default().replace('T', " ") + " UTC"
    }
}

/// Date and time of a number of seconds after the beginning of 1970 in UTC.
///
/// The number of days becomes a date of the Gregorian calendar by eras of 400 years that start with March, so that a leap day is
/// the last day of a year.
fn date(seconds: u64) -> String {
    const DAYS_TO_1970_FROM_MARCH_OF_0: u64 = 719_468;
    let (day, time) = (seconds / 86_400 + DAYS_TO_1970_FROM_MARCH_OF_0, seconds % 86_400);
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on; five of them have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (400 * era + year + month / 10, (month + 2) % 12 + 1);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), expected);
        }
        let provenance = Provenance { date: date(951_782_399), command: None };
        assert_eq!(provenance.minute(), "2000-02-28 23:59 UTC");
    }
}
