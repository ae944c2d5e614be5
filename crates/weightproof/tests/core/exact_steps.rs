//! Branch and bound on quantizers against enumeration of all levels (theory.md §16).

use rand::RngExt;
use weightproof::certify::CertifyOptions;
use weightproof::exact::{Budget, ExactCertifier, ExactOptions};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Jumps, Network, NetworkBuilder, Staircase, StepRounding};
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::{Precision, Reason, Samples, Verdict};
use weightproof_testkit::networks::rng;

/// Inputs, hidden neurons of both layers, and outputs.
const WIDTH: usize = 3;
/// Rounding of sums of a few numbers of size about one.
const ROUNDING: f64 = 1e-9;

/// Dense layers, each with a quantizer behind it.
struct Layers {
    parameters: Vec<(Matrix<f64>, Vec<f64>)>,
    quantizers: Vec<Staircase>,
}

fn layers(seed: u64, rounding: StepRounding) -> Layers {
    let mut rng = rng(seed);
    let quantizer = |(step, low): (f64, i32)| {
        let step = f64::from(step as f32);
        Staircase { step, zero: 0, low, high: low + 255, rounding, jumps: Jumps::HalfWay }
    };
    // Behind the first layer as after a ReLU; in the middle values of either sign, whose magnitudes have chords.
    let steps = [(0.17, 0), (0.13, -128), (0.21, -128)];
    let parameters = steps.map(|_| {
        let weight = Matrix::from_fn(WIDTH, WIDTH, |_, _| rng.random_range(-1.0..1.0));
        (weight, (0..WIDTH).map(|_| rng.random_range(-0.2..0.4)).collect())
    });
    Layers { parameters: parameters.to_vec(), quantizers: steps.map(quantizer).to_vec() }
}

impl Layers {
    fn network(&self) -> Network {
        let mut builder = NetworkBuilder::new(vec![WIDTH]);
        let mut last = 0;
        for (k, ((w, b), q)) in self.parameters.iter().zip(&self.quantizers).enumerate() {
            let p = builder.dense(&format!("dense{k}"), last, w.clone(), b.clone()).unwrap();
            last = builder.activation(&format!("quantize{k}"), p, Activation::Quantize(*q)).unwrap();
        }
        builder.finish().unwrap()
    }

    /// By element of layer `k`, between which levels it may come out when it reads `z` and its parameters move by at most `radius`: all of
    /// them are reached, independently, because each element has weights of its own.
    fn levels(&self, k: usize, z: &[f64], radius: f64) -> Vec<(i64, i64)> {
        let ((w, b), q) = (&self.parameters[k], &self.quantizers[k]);
        let reach = radius * (1.0 + z.iter().map(|z| z.abs()).sum::<f64>());
        let of = |i: usize| {
            let p = b[i] + w.row(i).iter().zip(z).map(|(w, z)| w * z).sum::<f64>();
            let (least, most) = q.range(p - reach, p + reach);
            ((least / q.step).round() as i64, (most / q.step).round() as i64)
        };
        (0..WIDTH).map(of).collect()
    }

    /// The least margin of `label`, by every choice of levels of the hidden layers.
    fn least_margin(&self, k: usize, z: &[f64], radius: f64, label: usize) -> f64 {
        let (levels, step) = (self.levels(k, z, radius), self.quantizers[k].step);
        if k + 1 == self.parameters.len() {
            let rivals = (0..WIDTH).filter(|&j| j != label);
            let margins = rivals.map(|j| step * (levels[label].0 - levels[j].1) as f64);
            return margins.fold(f64::INFINITY, f64::min);
        }
        let mut least = f64::INFINITY;
        let mut chosen: Vec<i64> = levels.iter().map(|l| l.0).collect();
        loop {
            let z: Vec<f64> = chosen.iter().map(|&level| step * level as f64).collect();
            least = least.min(self.least_margin(k + 1, &z, radius, label));
            let Some(next) = (0..WIDTH).find(|&i| chosen[i] < levels[i].1) else { return least };
            (0..next).for_each(|i| chosen[i] = levels[i].0);
            chosen[next] += 1;
        }
    }
}

/// Every sample is settled as enumeration settles it, and bounds and witnesses are on their sides of the least margin.
#[test]
fn staircases_are_settled_as_enumeration_settles_them() {
    let (mut settled, mut count) = ([0; 2], 0);
    for seed in 0..36 {
        let any = seed % 6 == 5;
        let layers = layers(seed, if any { StepRounding::Any } else { StepRounding::NearestEven });
        let network = layers.network();
        let mut rng = rng(seed ^ 0x57e9);
        let x: Vec<f64> = (0..WIDTH).map(|_| rng.random_range(0.0..1.5)).collect();
        let clean = network.forward(&x);
        let label = (0..WIDTH).max_by(|&a, &b| clean[a].total_cmp(&clean[b])).expect("outputs");
        for radius in [0.02, 0.06] {
            let least = layers.least_margin(0, &x, radius, label);
            let threat =
                ThreatModel { bias_radius: Some(radius), ..ThreatModel::new(Kind::Absolute, radius) };
            let set = threat.resolve(&network).unwrap();
            let budget = Budget { nodes: Some(400), ..Budget::default() };
            let certify =
                CertifyOptions { precision: Precision::F64, ..CertifyOptions::new("exact", Property::Label) };
            let options = ExactOptions { budget, ..ExactOptions::new(certify) };
            let certifier = ExactCertifier::new(&network, std::slice::from_ref(&set), options);
            let samples = Samples { first: 0, inputs: &x, labels: Some(&[label as u32]) };
            let found = certifier.certify(samples).remove(0).remove(0);
            let (lower, verdict) = (found.certificate.margin_lower, found.certificate.verdict);
            assert!(lower <= least + ROUNDING, "seed {seed}, radius {radius}: {lower} above {least}");
            // Witnesses are those of the operator's text.
            assert!(any || found.worst_margin >= least - ROUNDING, "seed {seed}: {}", found.worst_margin);
            match verdict {
                Verdict::Verified => assert!(least > 0.0, "seed {seed}, radius {radius}: {least}"),
                Verdict::Falsified => assert!(least <= 0.0, "seed {seed}, radius {radius}: {least}"),
                // Where only the place of a jump is left.
                Verdict::Unknown => assert!(any || found.certificate.reason == Some(Reason::Incomplete)),
            }
            count += 1;
            settled[usize::from(verdict == Verdict::Verified)] += usize::from(verdict != Verdict::Unknown);
        }
    }
    assert!(
        settled.iter().all(|of| *of >= 8) && settled.iter().sum::<usize>() + 5 >= count,
        "{settled:?} of {count}"
    );
}
