//! Tests of the checker in one program, which compiles the checker's generic code and the writer of certificates once.

// A test reads what it does not expect as one case.
#![allow(clippy::wildcard_enum_match_arm)]

mod accepts;
mod embedded;
mod formats;
mod hits;
mod integers;
mod models;
mod program;
mod rational;
mod tampering;
mod writer;
