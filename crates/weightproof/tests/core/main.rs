//! Tests of the core in one program, which links in the time of one: `cargo test -p weightproof --test core suite::`.

mod attack;
mod differences;
mod divided;
mod exact;
mod exact_milp;
mod exact_steps;
mod faults;
mod milp;
mod noise;
mod quantized;
mod radius;
mod rounding;
mod shared_weights;
mod suite;
mod wide;
mod words;
