//! Runs of `certify`, `attack`, `radius`, `measure`, `inspect` and `train`, as the command line and Python do them.
//!
//! ```text
//! Config → Session (network, feed, property) → Run over batches → records → Report
//! ```
//! A front end turns what its users write into a [`Config`](config::Config) and brings a [`Feed`](feed::Feed) of samples and a
//! [`Watch`](run::Watch) for progress and interrupts; settings, options of the engines, sizes of batches and the blocks of a
//! report are the same for all of them, and so are the results. [`journal`] keeps what is settled, [`witness`]
//! what breaks samples, [`certificate`] what proves or breaks them; [`divide`] searches one hard sample in several processes.

pub mod against;
pub mod attack;
pub mod bench;
pub mod certificate;
pub mod certify;
pub mod config;
pub mod divide;
pub mod entry;
pub mod error;
pub mod exact;
pub mod faithful;
pub mod faults;
pub mod feed;
pub mod file;
pub mod hits;
pub mod inspect;
pub mod journal;
pub mod measure;
pub mod merge;
pub mod noise;
pub mod number;
pub mod oracle;
pub mod pages;
mod pictures;
pub mod radius;
mod remarks;
pub mod run;
pub mod scale;
pub mod session;
pub mod shard;
pub mod source;
pub mod store;
pub mod tensors;
pub mod threat;
pub mod train;
pub mod witness;

pub use error::RunError;
