//! What is measured on one trained network.
//!
//! ```text
//! certified (proof)  ≤  attacked, one Ŵ for each sample (estimate)  ≤  attacked, one Ŵ for all samples (estimate)  ≤  clean
//! ```
//! All on the same samples. A sample counts under an attack when the unperturbed network is right about it and no
//! perturbation that was found changes that; under a universal or random attack the perturbation is one for all samples.

use weightproof::attack::{AttackKind, AttackOptions, Attacker};
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::radius::{RadiusOptions, RadiusSearch};
use weightproof::threat::{
    Distribution, Kind, LayerPerturbation, Perturbation, PerturbationSet, ThreatModel,
};
use weightproof::verdict::Samples;
use weightproof_measure::rounding::{above, sum_above};
use weightproof_train::Labelled;
use weightproof_train::data::right;

/// Samples of a mini-batch of the universal attack.
const BATCH: usize = 250;
/// Ratio of the radii between which a search ends, minus one.
const WIDTH: f64 = 0.03;

/// How hard networks are attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Effort {
    /// Passes of the universal attack over the samples.
    pub passes: usize,
    /// Steps of the attack on each sample.
    pub steps: usize,
    /// Draws of random perturbations.
    pub draws: usize,
}

/// A network and the samples it is measured on.
pub struct Bench<'a> {
    /// The network.
    pub network: &'a Network,
    /// The samples.
    pub samples: Samples<'a>,
    /// Seed of the attacks.
    pub seed: u64,
    /// How hard it is attacked.
    pub effort: Effort,
}

impl<'a> Bench<'a> {
    /// `wide` are the inputs of `data` in f64.
    pub fn new(network: &'a Network, data: &'a Labelled, wide: &'a [f64], seed: u64, effort: Effort) -> Self {
        Bench { network, samples: data.samples(wide), seed, effort }
    }

    fn share(&self, count: usize) -> f64 {
        count as f64 / self.samples.count(self.network.input_width()) as f64
    }

    /// All parameters move, absolutely or relatively.
    pub(crate) fn set(&self, kind: Kind, radius: f64) -> PerturbationSet {
        let set = ThreatModel::new(kind, radius).resolve(self.network);
        set.expect("finite radii of all layers fit every network")
    }

    /// Share of the samples that the unperturbed network is right about.
    pub fn clean(&self) -> f64 {
        let width = self.network.input_width();
        let rows = self.samples.inputs.chunks_exact(width).zip(self.samples.labels.unwrap_or_default());
        self.share(rows.filter(|(x, label)| right(&self.network.forward(x), **label as usize)).count())
    }

    /// Share of the samples that are proved by `method`, for each radius.
    pub fn certified(&self, method: &str, kind: Kind, radii: &[f64]) -> Vec<f64> {
        let verified = |found: &[f64]| self.share(found.iter().filter(|&&m| m > 0.0).count());
        self.margins(method, kind, radii).iter().map(|found| verified(found)).collect()
    }

    /// Proved lower bounds of the margins of the samples, for each radius.
    pub fn margins(&self, method: &str, kind: Kind, radii: &[f64]) -> Vec<Vec<f64>> {
        let sets: Vec<_> = radii.iter().map(|&r| self.set(kind, r)).collect();
        let certifier = Certifier::new(self.network, &sets, CertifyOptions::new(method, Property::Label));
        let found = certifier.expect("a method of the table").certify(self.samples);
        found.iter().map(|found| found.iter().map(|c| c.margin_lower).collect()).collect()
    }

    fn first(&self, most: usize) -> Samples<'a> {
        let count = most.min(self.samples.count(self.network.input_width()));
        let inputs = &self.samples.inputs[..count * self.network.input_width()];
        Samples { inputs, labels: self.samples.labels.map(|l| &l[..count]), ..self.samples }
    }

    /// Share of the samples that withstand an attack with one perturbation for all of them.
    pub fn universal(&self, radius: f64) -> f64 {
        let batches = self.samples.count(self.network.input_width()).div_ceil(BATCH);
        let options = AttackOptions {
            steps: self.effort.passes * batches,
            batch: BATCH,
            ..self.attack(AttackKind::Universal, 1)
        };
        self.unbroken(Kind::Absolute, radius, options)
    }

    /// Share of the samples that withstand an attack on each.
    pub fn each(&self, radius: f64) -> f64 {
        let options = self.attack(AttackKind::NeuronSpace, 1);
        self.unbroken(Kind::Absolute, radius, options)
    }

    /// Share of the samples that withstand all of some uniform draws of the parameters.
    pub fn random(&self, radius: f64) -> f64 {
        let options = self.attack(AttackKind::Random(Distribution::Uniform), self.effort.draws);
        self.unbroken(Kind::Absolute, radius, options)
    }

    fn attack(&self, kind: AttackKind, restarts: usize) -> AttackOptions {
        AttackOptions {
            steps: self.effort.steps,
            restarts,
            seed: self.seed,
            stop_when_broken: true,
            ..AttackOptions::new(kind, Property::Label)
        }
    }

    fn unbroken(&self, kind: Kind, radius: f64, options: AttackOptions) -> f64 {
        let found = Attacker::new(self.network, &self.set(kind, radius), options).attack(self.samples);
        self.share(found.iter().filter(|a| a.worst_margin > 0.0).count())
    }

    /// The largest radius at which the accuracy under the universal attack was seen at or above `level`, by bisection between
    /// the neighbours of `curve`, points of (radius, accuracy) with rising radii; 0 when it is below from the start.
    pub fn withstood(&self, level: f64, curve: &[(f64, f64)]) -> f64 {
        let Some(first) = curve.iter().position(|&(_, accuracy)| accuracy < level) else {
            return curve.last().map_or(0.0, |&(radius, _)| radius);
        };
        let Some(mut low) = first.checked_sub(1).map(|before| curve[before].0) else { return 0.0 };
        let mut high = curve[first].0;
        if low == 0.0 {
            low = high / 16.0;
            if self.universal(low) < level {
                return 0.0;
            }
        }
        while high > low * (1.0 + WIDTH) {
            let middle = (low * high).sqrt();
            if self.universal(middle) < level { high = middle } else { low = middle }
        }
        low
    }

    /// Median over the first `most` samples of the largest absolute radius that linear bounds prove; samples that the network is
    /// wrong about have radius 0.
    pub fn median_certified_radius(&self, most: usize) -> f64 {
        let options = RadiusOptions::new(CertifyOptions::new("linear", Property::Label), None);
        let options = RadiusOptions { least: 1e-6, most: 1.0, relative_width: WIDTH, ..options };
        let search = RadiusSearch::new(self.network, &self.set(Kind::Absolute, 1.0), options);
        // Without an attack there is nothing that a proof could contradict.
        let found = search.expect("a method of the table").search(self.first(most)).unwrap_or_default();
        let mut radii: Vec<f64> = found.iter().map(|r| r.certified_radius).collect();
        radii.sort_by(f64::total_cmp);
        radii.get(radii.len() / 2).copied().unwrap_or(0.0)
    }
}

/// What captions say of the test images that are measured and of those with a median certified radius.
pub fn images([tested, median]: [usize; 2]) -> String {
    format!("{tested} test images at equal distances, {median} for the median certified radius.")
}

/// How far the outputs of a network move under a set of perturbations: means over the inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// Proved upper bound of the largest change of an output.
    pub proved: f64,
    /// The largest change that the attack on each input found.
    pub found: f64,
}

/// The deviation for `inputs`, (count, width of the input), by linear bounds and by `steps` steps of the attack.
pub fn deviation(
    network: &Network,
    set: &PerturbationSet,
    inputs: &[f64],
    steps: usize,
    seed: u64,
) -> Deviation {
    let samples = Samples { first: 0, inputs, labels: None };
    let count = samples.count(network.input_width()) as f64;
    let options = CertifyOptions::new("linear", Property::Deviation);
    let certifier = Certifier::new(network, std::slice::from_ref(set), options);
    let proved = certifier.expect("a method of the table").certify(samples).swap_remove(0);
    let attack =
        AttackOptions { steps, seed, ..AttackOptions::new(AttackKind::NeuronSpace, Property::Deviation) };
    let found = Attacker::new(network, set, attack).attack(samples);
    Deviation {
        proved: above(
            sum_above(proved.iter().map(|c| c.deviation_upper.unwrap_or(f64::INFINITY))) / count,
            1,
        ),
        found: found.iter().map(|a| a.deviation.unwrap_or(0.0)).sum::<f64>() / count,
    }
}

/// The largest deviation of an output among `draws` uniform draws of the parameters, mean over `inputs`.
pub fn drawn_deviation(
    network: &Network,
    set: &PerturbationSet,
    inputs: &[f64],
    draws: usize,
    seed: u64,
) -> f64 {
    let kind = AttackKind::Random(Distribution::Uniform);
    let attack = AttackOptions { restarts: draws, seed, ..AttackOptions::new(kind, Property::Deviation) };
    let samples = Samples { first: 0, inputs, labels: None };
    let found = Attacker::new(network, set, attack).attack(samples);
    found.iter().map(|a| a.deviation.unwrap_or(0.0)).sum::<f64>() / found.len() as f64
}

/// By how much a perturbation moves a weight, a bias or an element of the input `x` at most.
pub(crate) fn largest_change(network: &Network, x: &[f64], perturbation: &Perturbation) -> f64 {
    let far = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let of_layer = |moved: &LayerPerturbation| {
        let layers = network.affine_layers().find(|(node, ..)| *node == moved.node);
        let (_, _, affine) = layers.expect("a layer of the network");
        far(moved.weight.as_slice(), affine.weight.as_slice()).max(far(&moved.bias, &affine.bias))
    };
    let input = perturbation.input.as_ref().map_or(0.0, |moved| far(moved, x));
    perturbation.layers.iter().map(of_layer).fold(input, f64::max)
}

/// Largest magnitude of a weight.
pub fn largest_weight(network: &Network) -> f64 {
    let layers = network.affine_layers();
    let weights = layers.flat_map(|(_, _, affine)| affine.weight.as_slice().iter().map(|w| w.abs()));
    weights.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::network::{Activation, NetworkBuilder};

    const EFFORT: Effort = Effort { passes: 10, steps: 20, draws: 2 };

    /// f(x) = (relu(x), 0): at x = 1 class 0 wins until all weights move by r with (1 − r)² = (1 − r) r.
    fn network() -> Network {
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("a", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new()).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        builder.dense("b", z, Matrix::from_vec(2, 1, vec![1.0, 0.0]), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn the_deviation_of_a_product_of_two_weights() {
        // f = (w x, 0) with x = 1, w and the second weights within 0.1: (1.1)² − 1 at most.
        let network = network();
        let set = ThreatModel::new(Kind::Absolute, 0.1).resolve(&network).unwrap();
        let found = deviation(&network, &set, &[1.0], 20, 0);
        assert!((found.found - 0.21).abs() < 1e-5 && (found.proved - 0.21).abs() < 1e-5, "{found:?}");
        let drawn = drawn_deviation(&network, &set, &[1.0], 200, 0);
        assert!(drawn > 0.1 && drawn < 0.21, "{drawn}");
    }

    #[test]
    fn radii_of_a_network_of_two_weights() {
        let network = network();
        let data = Labelled { width: 1, inputs: vec![1.0, 0.5], labels: vec![0, 0] };
        let wide = data.wide();
        let bench = Bench::new(&network, &data, &wide, 0, EFFORT);
        assert_eq!(bench.clean(), 1.0);
        assert_eq!(bench.certified("linear", Kind::Absolute, &[0.0, 0.4, 0.6]), [1.0, 1.0, 0.0]);
        assert_eq!((bench.universal(0.4), bench.universal(0.6)), (1.0, 0.0));
        assert_eq!((bench.each(0.4), bench.each(0.6)), (1.0, 0.0));
        let curve = [0.1, 0.3, 0.9].map(|r| (r, bench.universal(r)));
        let radius = bench.withstood(0.6, &curve);
        assert!(radius < 0.5 && radius > 0.5 / (1.0 + 2.0 * WIDTH), "{radius}");
        assert!((bench.median_certified_radius(2) - 0.5).abs() < 0.03);
        assert_eq!(largest_weight(&network), 1.0);
        assert!(!right(&[1.0, 1.0], 0) && !right(&[f64::NAN, 0.0], 1) && right(&[0.0, 1.0], 1));
    }
}
