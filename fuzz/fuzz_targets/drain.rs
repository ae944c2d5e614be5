//! Reads a data set to its end and checks what readers promise.

use weightproof_formats::DataError;
use weightproof_formats::data::SampleReader;

/// Skips one sample, reads the rest in threes.
pub fn drain(reader: Result<impl SampleReader, DataError>) -> Result<(), DataError> {
    let mut reader = reader?;
    let width: usize = reader.shape().iter().product();
    reader.skip(1)?;
    while let Some(rows) = reader.read_rows(3)? {
        assert!((1..=3).contains(&rows.count));
        assert_eq!(rows.values.len(), rows.count * width);
        assert!(rows.values.iter().all(|v| v.is_finite()));
        assert_eq!(rows.labels.is_some(), reader.labelled());
    }
    Ok(())
}
