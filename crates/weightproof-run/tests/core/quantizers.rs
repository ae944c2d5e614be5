//! The sets `int8`, `int4`, … hold what the quantizers of ONNX Runtime and PyTorch really write: `assets/record_quantizers.py`.

use serde::Deserialize;
use weightproof::kernels::Matrix;
use weightproof::network::{Network, NetworkBuilder};
use weightproof::threat::{Kind, ThreatModel, WeightSet};

#[derive(Deserialize)]
struct Recorded {
    /// Rows and columns.
    shape: [usize; 2],
    weights: Vec<f64>,
    quantizers: Vec<Quantizer>,
}

#[derive(Deserialize)]
struct Quantizer {
    program: String,
    set: Kind,
    /// One, or one for each row.
    steps: Vec<f64>,
    zeros: Vec<i64>,
    integers: Vec<i64>,
}

impl Quantizer {
    /// What it makes of weight `k` of a matrix with so many columns.
    fn written(&self, k: usize, cols: usize) -> f64 {
        let group = if self.steps.len() == 1 { 0 } else { k / cols };
        (self.integers[k] - self.zeros[group]) as f64 * self.steps[group]
    }
}

/// A layer with these weights.
fn layer(weights: Matrix<f64>) -> Network {
    let mut builder = NetworkBuilder::new(vec![weights.cols()]);
    builder.dense("fc", 0, weights, Vec::new()).unwrap();
    builder.finish().unwrap()
}

#[test]
fn sets_hold_what_other_programs_write() {
    let recorded: Recorded = serde_json::from_str(include_str!("../recorded/quantizers.json")).unwrap();
    let [rows, cols] = recorded.shape;
    let weights = Matrix::from_vec(rows, cols, recorded.weights);
    let network = layer(weights.clone());
    let set = |kind: Kind| -> WeightSet {
        ThreatModel::new(kind, None).resolve(&network).unwrap().layers.swap_remove(0).weight
    };
    let programs: Vec<&str> = recorded.quantizers.iter().map(|q| q.program.as_str()).collect();
    assert!(programs.contains(&"ONNX Runtime"), "{programs:?}");
    for quantizer in &recorded.quantizers {
        let outside = |set: &WeightSet| {
            let is_outside = |&k: &usize| {
                let moved = quantizer.written(k, cols) - weights.as_slice()[k];
                !(moved.abs() <= set.at(k / cols, k % cols))
            };
            (0..rows * cols).filter(is_outside).count()
        };
        let Quantizer { program, set: kind, .. } = quantizer;
        assert_eq!(outside(&set(*kind)), 0, "{program} {kind}");
        // With one bit more the step is half as large.
        let Kind::Integer(q) = *kind else { panic!("{kind}") };
        let finer = Kind::Integer(weightproof::threat::Quantizer { bits: (q.bits + 1).min(16), ..q });
        assert!(outside(&set(finer)) > rows * cols / 4 || q.bits == 16, "{program} {kind}");
    }
}
