//! What `bench` says: samples in a second, and how much of the rate of plain products that is.

use crate::header::Environment;
use crate::table::{Side, Table};
use crate::written::Written;
use crate::{csv, json};
use serde::Serialize;
use std::io::{self, Write};
use weightproof_figure::number::{exact, grouped, percent, value};

/// One kind of work on one network; everything is measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchRow {
    /// Its name.
    pub network: String,
    /// `forward`, or a method of `certify`.
    pub work: String,
    /// Samples.
    pub samples: usize,
    /// Least time of the repetitions.
    pub seconds: f64,
    /// Multiply-adds of products and convolutions.
    pub multiply_adds: u64,
    /// Their rate as a part of that of plain products on the same threads.
    pub product_share: f64,
    /// Largest resident memory meanwhile, where the system tells.
    pub peak_memory_bytes: Option<u64>,
}

impl BenchRow {
    /// Samples in a second.
    pub fn samples_per_second(&self) -> f64 {
        self.samples as f64 / self.seconds
    }
}

/// All that `bench` says.
#[derive(Clone, Debug)]
pub struct BenchReport {
    /// Networks in order, with all work of one beside each other.
    pub rows: Vec<BenchRow>,
    /// Multiply-adds of plain products in a second on all threads, f32.
    pub product_rate: f64,
    /// The same in f64.
    pub product_rate_f64: f64,
    /// Name of the processor, where the system tells.
    pub processor: Option<String>,
    /// Time, memory and host.
    pub environment: Environment,
}

impl Written for BenchReport {
    const NO_PARQUET: &str = "speeds have no Parquet form";

    fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let mut fields = json::Fields::open(out, 0)?;
        fields.field("schema", &"weightproof/bench/1")?;
        fields.field("processor", &self.processor)?;
        fields.field("product_rate", &self.product_rate)?;
        fields.field("product_rate_f64", &self.product_rate_f64)?;
        fields.list("rows", &self.rows, json::compact)?;
        fields.field("environment", &self.environment)?;
        fields.close()?;
        writeln!(out)
    }

    fn csv(&self, out: &mut impl Write) -> io::Result<()> {
        let head = ["network", "work", "samples", "seconds", "multiply_adds", "product_share"];
        let rows = self.rows.iter().map(|row| {
            vec![
                row.network.clone(),
                row.work.clone(),
                row.samples.to_string(),
                exact(row.seconds),
                row.multiply_adds.to_string(),
                exact(row.product_share),
                row.peak_memory_bytes.map_or_else(String::new, |bytes| bytes.to_string()),
            ]
        });
        csv::table(out, head.into_iter().chain(["peak_memory_bytes"]), rows)
    }

    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let environment = &self.environment;
        let processor = self.processor.as_deref().unwrap_or(&environment.host);
        let giga = |rate: f64| value(2e-9 * rate);
        writeln!(
            out,
            "{processor}, {} threads, weightproof {}, measured; products: {} GFLOP/s in f32, {} in f64\n",
            environment.threads,
            environment.version,
            giga(self.product_rate),
            giga(self.product_rate_f64)
        )?;
        let mut table = Table::new([&[Side::Left; 2][..], &[Side::Right; 5][..]].concat());
        table.push(["network", "work", "samples", "seconds", "samples/s", "of products", "peak memory"]);
        for row in &self.rows {
            table.push([
                row.network.clone(),
                row.work.clone(),
                grouped(row.samples),
                value(row.seconds),
                value(row.samples_per_second()),
                percent(row.product_share),
                row.peak_memory_bytes.map_or_else(|| "-".into(), |bytes| format!("{} MB", bytes / 1_000_000)),
            ]);
        }
        write!(out, "{table}")
    }
}
