//! Tests of the command line in one program, which links in the time of one: `cargo test -p weightproof-cli --test cli docs::`.

mod attacks;
mod browser;
mod certificate;
mod command_line;
mod config_file;
mod docs;
mod exact;
mod experiments;
mod faults;
mod input;
mod journal;
mod meaning;
mod measure;
mod memory;
mod merge;
mod noise;
mod oracle;
mod parquet;
mod quantized;
mod real_networks;
mod report;
mod slurm;
mod snapshot;
mod sweep;
mod train;
