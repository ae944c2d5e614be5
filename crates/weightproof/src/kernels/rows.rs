//! Loops over rows.
