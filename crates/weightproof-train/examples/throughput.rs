//! Time of a training step, forward, backward and update, on random data.
//!
//! ```text
//! cargo run --release -p weightproof-train --example throughput -- [SIZES [BATCH [STEPS [OBJECTIVE]]]]
//! ```
//! `SIZES` are those of dense layers, or `conv` for the layers of `assets/mnist-conv-8-16-10.onnx`.
//! `benchsuite/torch_training.py` takes the same steps with PyTorch.

use std::ops::ControlFlow;
use std::time::Instant;
use weightproof_train::architecture::LayerConfig;
use weightproof_train::config::Term;
use weightproof_train::schedule::Ramp;
use weightproof_train::threat::Threat;
use weightproof_train::{EpochRecord, Labelled, Observer, TrainConfig, TrainError, Trainer};

/// Steps before the clock starts.
const WARM_UP: usize = 10;

/// Starts the clock after the warm-up.
struct Clock(Option<Instant>, f64);

impl Observer for Clock {
    fn batch(&mut self, _: &Trainer, done: usize, batches: usize) -> ControlFlow<()> {
        if done == WARM_UP {
            self.0 = Some(Instant::now());
        }
        if done == batches {
            self.1 = self.0.map_or(f64::NAN, |start| start.elapsed().as_secs_f64());
        }
        ControlFlow::Continue(())
    }

    fn epoch(&mut self, _: &Trainer, _: &EpochRecord) -> Result<(), TrainError> {
        Ok(())
    }
}

/// The layers of the embedded convolutional network.
fn convolutional() -> Vec<LayerConfig> {
    let conv = |channels| LayerConfig::Conv { channels, kernel: 4, stride: 2, padding: 1 };
    vec![conv(8), LayerConfig::Relu, conv(16), LayerConfig::Relu, LayerConfig::Dense { outputs: 10 }]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |k: usize, default: &str| arguments.get(k).cloned().unwrap_or(default.into());
    let name = argument(0, "784,256,256,256,10");
    let layers = (name == "conv").then(convolutional);
    let sizes = if layers.is_some() { "784,10" } else { &name };
    let sizes: Vec<usize> = sizes.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let (batch, steps): (usize, usize) = (argument(1, "256").parse()?, argument(2, "100").parse()?);
    let classes = sizes[sizes.len() - 1];
    let count = batch * (steps + WARM_UP);
    let value = |k: usize| (k.wrapping_mul(2_654_435_761) % 1000) as f32 / 1000.0;
    let data = Labelled {
        width: sizes[0],
        inputs: (0..count * sizes[0]).map(value).collect(),
        labels: (0..count).map(|k| (k % classes) as u32).collect(),
    };
    println!("{name}, batch {batch}, {steps} steps of sgd");
    let only = argument(3, "");
    for objective in ["cross-entropy", "interval", "linear"] {
        if !objective.contains(&only) {
            continue;
        }
        let mut config = TrainConfig::plain(&sizes, 1);
        if let Some(layers) = &layers {
            config.network.sizes = None;
            (config.network.input, config.network.layers) = (Some(vec![1, 28, 28]), Some(layers.clone()));
        }
        config.batch = batch;
        config.optimizer =
            weightproof_train::optimizer::Rule::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        config.learning_rate.rate = 1e-3;
        config.threat = Threat { radius: 1e-3, ..Threat::default() };
        config.terms = vec![Term { objective: objective.into(), weight: Ramp::Constant(1.0) }];
        config.validation.samples = 0;
        let mut clock = Clock(None, 0.0);
        Trainer::new(config)?.run(&data, &mut clock)?;
        println!("{objective:16} {:8.3} ms per step", 1e3 * clock.1 / steps as f64);
    }
    Ok(())
}
