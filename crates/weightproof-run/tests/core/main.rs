//! Tests of the crate in one program, which links in the time of one.

mod certificates;
mod faults;
mod parts;
mod quantizers;
