//! What this machine does in a second: bounds of a standard set of networks beside the plain products that they are made of.
//!
//! ```text
//! share = multiply-adds of the products and convolutions of a run / seconds / rate of plain products
//! ```
//! in one process on the same threads, so the share says the same on every machine; samples in a second do not. A share above
//! one is possible where what is measured fits a faster cache than the plain products do.

mod networks;

use crate::config::ModelConfig;
use crate::error::RunError;
use crate::run::{environment, peak_memory, pool};
use crate::source::load_model;
use networks::{dense, noise, residual};
use rayon::prelude::*;
use std::time::{Duration, Instant};
use weightproof::bounds::METHODS;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::kernels::{Matrix, Scalar, multiply_adds, product};
use weightproof::model::ForwardPass;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::{Precision, Samples};
use weightproof_report::bench::{BenchReport, BenchRow};

/// Widths of the dense networks with three hidden layers; a quick run takes the first two.
const WIDTHS: [usize; 6] = [128, 256, 512, 1024, 2048, 4096];
/// Widths and numbers of hidden layers of the deep ones.
const DEEP: [(usize, usize); 2] = [(256, 6), (256, 12)];
/// Multiply-adds that the samples of one measurement are worth: seconds of a processor. A quick run takes a hundredth.
const WORK: usize = 40_000_000_000;
/// Most samples of one measurement.
const MOST_SAMPLES: usize = 256;
/// Shape of the plain products: rows that a backward pass multiplies at once, by a square matrix.
const PRODUCT: (usize, usize) = (512, 1024);
/// Methods of the networks that are made.
const BOUNDS: [&str; 2] = ["interval", "linear"];
/// Samples of the residual network.
const RESIDUAL_SAMPLES: usize = 64;
/// Batches of its forward passes.
const BATCHES: [usize; 3] = [1, 16, 64];
/// A measurement shorter than this is repeated, and the least time counts.
const SHORT: Duration = Duration::from_secs(1);
/// At least how often, and for a tenth of that time.
const REPEATS: usize = 3;

/// What is measured.
#[derive(Clone, Debug, Default)]
pub struct BenchSettings {
    /// Networks whose name contains this.
    pub only: Option<String>,
    /// A part of the set, in seconds.
    pub quick: bool,
    /// Number of threads; all processors without.
    pub threads: Option<usize>,
}

/// One network with what is asked of it.
struct Case {
    name: String,
    make: Make,
    threat: ThreatModel,
    samples: usize,
    methods: Vec<&'static str>,
    /// Samples of forward passes.
    forward: Vec<usize>,
}

/// A network that is made when its turn comes, so that the memory of a row is its own.
enum Make {
    Embedded,
    Dense { width: usize, hidden: usize },
    Residual,
}

impl Make {
    fn network(&self) -> Result<Network, RunError> {
        let made = match *self {
            Make::Embedded => return Ok(load_model(&ModelConfig::default())?.0),
            Make::Dense { width, hidden } => dense(width, hidden),
            Make::Residual => residual(),
        };
        made.map_err(|e| RunError::misfit(format!("bench: {e}")))
    }
}

/// Measures the standard set; `done` is told of every row.
///
/// # Errors
/// When no network has the name, or threads cannot be started.
pub fn run(settings: &BenchSettings, mut done: impl FnMut(&BenchRow)) -> Result<BenchReport, RunError> {
    let start = Instant::now();
    let pool = pool(settings.threads)?;
    let cases = cases(settings)?;
    let mut rows = Vec::new();
    let (product_rate, product_rate_f64) =
        pool.install(|| (product_rate::<f32>(settings.quick), product_rate::<f64>(settings.quick)));
    for case in &cases {
        let forward = case.forward.iter().map(|&samples| (FORWARD, samples));
        let bounds = case.methods.iter().map(|&method| (method, case.samples));
        let network = case.make.network()?;
        for (work, samples) in forward.chain(bounds) {
            let row = pool.install(|| case.measured(&network, (work, samples), product_rate))?;
            done(&row);
            rows.push(row);
        }
    }
    let environment = environment(start.elapsed(), pool.current_num_threads(), 0, Precision::F32);
    Ok(BenchReport { rows, product_rate, product_rate_f64, processor: processor(), environment })
}

/// What a row that proves nothing is called.
const FORWARD: &str = "forward";

fn cases(settings: &BenchSettings) -> Result<Vec<Case>, RunError> {
    let work = if settings.quick { WORK / 100 } else { WORK };
    let threat = |kind, radius| ThreatModel { bias_radius: Some(0.0), ..ThreatModel::new(kind, radius) };
    let mut cases = vec![Case {
        name: "784-128-64-32-10, embedded".into(),
        make: Make::Embedded,
        threat: threat(Kind::Absolute, 0.001),
        samples: if settings.quick { MOST_SAMPLES } else { 10_000 },
        methods: METHODS.iter().map(|method| method.name).collect(),
        forward: vec![if settings.quick { MOST_SAMPLES } else { 10_000 }],
    }];
    let widths = WIDTHS.iter().take(if settings.quick { 2 } else { WIDTHS.len() }).map(|&width| (width, 3));
    for (width, hidden) in widths.chain(DEEP.into_iter().filter(|_| !settings.quick)) {
        // Two rows for every neuron of every layer go through all layers in front of the one that it reads.
        let of_one = width.pow(3) * hidden.saturating_sub(2) * (hidden - 1);
        cases.push(Case {
            name: format!("784-{width}x{hidden}-10"),
            make: Make::Dense { width, hidden },
            threat: threat(Kind::Absolute, 1e-5),
            samples: (work / of_one).clamp(1, MOST_SAMPLES),
            methods: BOUNDS.to_vec(),
            forward: Vec::new(),
        });
    }
    cases.push(Case {
        name: "residual 3x32x32".into(),
        make: Make::Residual,
        threat: threat(Kind::Relative, 0.001),
        samples: if settings.quick { 2 } else { RESIDUAL_SAMPLES },
        methods: BOUNDS.to_vec(),
        forward: if settings.quick { vec![2] } else { BATCHES.to_vec() },
    });
    if let Some(only) = &settings.only {
        let names = cases.iter().map(|case| case.name.clone()).collect::<Vec<_>>().join("; ");
        cases.retain(|case| case.name.contains(only));
        if cases.is_empty() {
            let problem = format!("bench: expected a part of the name of a network, found {only}");
            return Err(RunError::misfit(format!("{problem}\nhint: the networks are {names}")));
        }
    }
    Ok(cases)
}

impl Case {
    /// Time, operations and memory of one kind of work on the threads of this pool.
    fn measured(
        &self,
        network: &Network,
        (work, samples): (&str, usize),
        product_rate: f64,
    ) -> Result<BenchRow, RunError> {
        let width = network.input_width();
        let inputs: Vec<f64> = (0..samples * width).map(|k| noise(k).abs()).collect();
        let set = self.threat.resolve(network).map_err(|e| RunError::misfit(format!("bench: {e}")))?;
        let forward = (work == FORWARD).then(|| {
            let images: Vec<f32> = inputs.iter().map(|&v| v as f32).collect();
            (ForwardPass::<f32>::new(network), images)
        });
        let once = || {
            if let Some((pass, images)) = &forward {
                std::hint::black_box(pass.outputs(images));
                return;
            }
            let options = CertifyOptions::new(work, Property::Prediction);
            let certifier = Certifier::new(network, std::slice::from_ref(&set), options);
            let certifier = certifier.expect("methods of the list");
            std::hint::black_box(certifier.certify(Samples { first: 0, inputs: &inputs, labels: None }));
        };
        let forgets = forget_peak();
        let (mut seconds, mut operations) = (f64::INFINITY, 0);
        let begin = Instant::now();
        for run in 0.. {
            if run >= REPEATS && begin.elapsed() >= SHORT / 10 {
                break;
            }
            let (before, start) = (multiply_adds(), Instant::now());
            once();
            let spent = start.elapsed();
            if spent.as_secs_f64() < seconds {
                (seconds, operations) = (spent.as_secs_f64(), multiply_adds() - before);
            }
            if spent >= SHORT {
                break;
            }
        }
        Ok(BenchRow {
            network: self.name.clone(),
            work: work.to_owned(),
            samples,
            seconds,
            multiply_adds: operations,
            product_share: operations as f64 / seconds / product_rate,
            peak_memory_bytes: peak_memory().filter(|_| forgets),
        })
    }
}

/// Multiply-adds of plain products in a second on all threads of this pool, the best of several rounds.
fn product_rate<T: Scalar>(quick: bool) -> f64 {
    let (rows, width) = PRODUCT;
    let matrix = |rows: usize| Matrix::from_fn(rows, width, |i, j| T::from_f64(noise(i << 20 | j)));
    let (a, b) = (matrix(rows), matrix(width));
    let round = || {
        let (before, start) = (multiply_adds(), Instant::now());
        (0..rayon::current_num_threads()).into_par_iter().for_each(|_| {
            let mut out = Matrix::default();
            (0..if quick { 1 } else { 16 }).for_each(|_| product(&mut out, &a, &b));
        });
        (multiply_adds() - before) as f64 / start.elapsed().as_secs_f64()
    };
    (0..if quick { 1 } else { 5 }).map(|_| round()).fold(0.0, f64::max)
}

/// Lets the system's largest resident memory of this process begin again from what it has now; whether it did.
fn forget_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Name of the processor, where the system tells.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_counted_what_it_multiplies() {
        let settings = BenchSettings { quick: true, threads: Some(1), only: Some("128x3".into()) };
        let mut told = 0;
        let report = run(&settings, |_| told += 1).unwrap();
        assert_eq!((report.rows.len(), told), (2, 2));
        for row in &report.rows {
            // Every sample goes through every weight at least once.
            let weights = (784 * 128 + 2 * 128 * 128 + 128 * 10) as u64;
            assert!(row.multiply_adds >= row.samples as u64 * weights, "{row:?}");
            assert!(row.seconds > 0.0 && row.product_share > 0.0, "{row:?}");
        }
        assert!(report.product_rate > 0.0 && report.product_rate_f64 > 0.0);
    }

    #[test]
    fn names_that_no_network_has_are_errors() {
        let settings = BenchSettings { quick: true, threads: None, only: Some("transformer".into()) };
        let error = run(&settings, |_| ()).unwrap_err().to_string();
        assert!(error.contains("found transformer") && error.contains("784-128x3-10"), "{error}");
    }
}
