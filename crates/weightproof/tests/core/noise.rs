//! Certificates against random weights (theory.md §14): never contradicted by drawn devices, and as tight as the theorem says.

use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Gather, Network, NetworkBuilder};
use weightproof::noise::{
    Compensation, DriftModel, LayerNoiseModel, NoiseCertificate, NoiseCertifier, NoiseModel, NoiseOptions,
    NoiseRadius, Tail, clopper_pearson,
};
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{Precision, Samples, Verdict};
use weightproof_testkit::images::{ImageBlueprint, PIECES, Piece};
use weightproof_testkit::networks::{Blueprint, Design, input, rng};
use weightproof_testkit::oracle::margin;
use weightproof_testkit::products::{FORMS, ProductBlueprint};

/// Standard deviations that a count may be above its mean: with all checks of this file together, the chance of a false alarm is below
/// one in 10⁸.
const SIGMAS: f64 = 7.0;

fn unmoved(network: &Network) -> PerturbationSet {
    ThreatModel::new(Kind::Absolute, 0.0).resolve(network).unwrap()
}

fn options(method: &str, failure_probability: f64) -> NoiseOptions {
    NoiseOptions { certify: CertifyOptions::new(method, Property::Prediction), failure_probability }
}

fn certified(network: &Network, noise: &str, x: &[f64], options: NoiseOptions) -> Vec<NoiseCertificate> {
    let noise = noise.parse::<NoiseModel>().unwrap().resolve(network).unwrap();
    let certifier = NoiseCertifier::new(network, unmoved(network), noise, options).unwrap();
    certifier.certify(Samples { first: 0, inputs: x, labels: None })
}

/// Smallest margin of each of some devices.
fn margins(network: &Network, noise: &str, x: &[f64], target: usize, draws: usize) -> Vec<f64> {
    let noise = noise.parse::<NoiseModel>().unwrap().resolve(network).unwrap();
    let mut rng = rng(14);
    (0..draws).map(|_| margin(&noise.draw(network, &mut rng).forward(x), target)).collect()
}

/// Whether a count of `draws` may be that of an event with at most this probability.
fn may_be(count: usize, draws: usize, probability: f64) -> bool {
    let mean = probability * draws as f64;
    // The last term is for rare events, whose counts are those of Poisson.
    (count as f64) <= mean + SIGMAS * mean.sqrt() + SIGMAS * SIGMAS / 3.0
}

const NOISES: [&str; 7] = [
    "gaussian:0.05",
    "gaussian-relative:0.1",
    "gaussian-of-channel:0.05",
    "gaussian-of-max:0.08",
    "uniform:0.1",
    "stochastic:int4",
    "stochastic:fp8e5m2",
];

/// Devices against one network: margins at several probabilities, and the smallest probability.
fn never_contradicted(network: &Network, x: &[f64], noise: &str, draws: usize) -> usize {
    let mut verified = 0;
    for method in ["interval", "linear-interval", "linear", "optimized"] {
        let mut drawn = Vec::new();
        for asked in [0.3, 0.03, 0.003] {
            let found = certified(network, noise, x, options(method, asked))[0];
            let certificate = found.certificate;
            if drawn.is_empty() {
                drawn = margins(network, noise, x, certificate.clean.target, draws);
            }
            let below = drawn.iter().filter(|m| **m < certificate.margin_lower).count();
            assert!(may_be(below, draws, asked), "{method} {noise}: {below} of {draws} below at {asked}");
            let broken = drawn.iter().filter(|m| **m <= 0.0).count();
            let proved = found.failure_probability;
            assert!(
                may_be(broken, draws, proved),
                "{method} {noise}: {broken} of {draws} broken at {proved}"
            );
            let holds = certificate.verdict == Verdict::Verified;
            assert!(!holds || proved <= asked && certificate.margin_lower > 0.0);
            verified += usize::from(holds);
        }
    }
    verified
}

#[test]
fn devices_never_contradict_a_certificate() {
    let mut verified = 0;
    for (seed, activation) in (0..6).zip([Activation::Relu, Activation::Tanh].into_iter().cycle()) {
        let design = Blueprint { decorated: seed > 3, ..Blueprint::new(&[3, 5, 4, 3], activation, seed) };
        let network = design.build();
        let x = input(3, seed % 3 != 0, &mut rng(seed));
        for noise in NOISES {
            verified += never_contradicted(&network, &x, noise, 800);
        }
    }
    assert!(verified > 60, "enough is proved to be contradicted: {verified}");
}

#[test]
fn devices_never_contradict_a_certificate_of_products() {
    let mut verified = 0;
    for (seed, form) in (0..).zip(FORMS) {
        let network = ProductBlueprint { form, seed }.build();
        let x = input(network.input_width(), true, &mut rng(seed));
        for noise in ["gaussian:0.003", "gaussian:0.02", "gaussian-relative:0.02"] {
            verified += never_contradicted(&network, &x, noise, 400);
        }
    }
    assert!(verified > 20, "enough is proved to be contradicted: {verified}");
}

#[test]
fn devices_never_contradict_a_certificate_of_a_convolutional_network() {
    let mut verified = 0;
    for (seed, piece) in (0..).zip(PIECES) {
        let pieces = vec![Piece::Conv, Piece::Activation, piece, Piece::Activation];
        let design =
            ImageBlueprint { input: [2, 4, 4], pieces, classes: 3, global_pool: seed % 2 == 0, seed };
        let network = design.build();
        let x = input(network.input_width(), true, &mut rng(seed));
        for noise in ["gaussian:0.02", "gaussian-relative:0.05", "stochastic:int6"] {
            verified += never_contradicted(&network, &x, noise, 300);
        }
    }
    assert!(verified > 60, "enough is proved to be contradicted: {verified}");
}

/// `f(x) = W x + b` with two outputs: the margin is Gaussian, and the certificate exact.
#[test]
fn one_layer_is_exact() {
    let mut builder = NetworkBuilder::new(vec![2]);
    let weight = Matrix::from_vec(2, 2, vec![2.0, -1.0, 0.5, 0.25]);
    builder.dense("only", 0, weight, vec![0.25, 0.0]).unwrap();
    let network = builder.finish().unwrap();
    let x = [1.0, 0.5];
    // The margin is 1.125; its deviation σ √(2 (1 + 1/4 + 1)).
    for sigma in [0.1, 0.2, 0.3] {
        let quantile: f64 = 1.125 / (sigma * 4.5_f64.sqrt());
        let exact = 0.5 * libm::erfc(quantile / 2.0_f64.sqrt());
        for precision in [Precision::F32, Precision::F64] {
            let mut options = options("linear", 0.4);
            options.certify.precision = precision;
            let found = certified(&network, &format!("gaussian:{sigma}"), &x, options)[0].failure_probability;
            assert!(found >= exact && found < exact * (1.0 + 1e-3), "{sigma} {precision:?}: {found} {exact}");
        }
    }
}

/// The same network: the largest noise at a probability is known.
#[test]
fn the_largest_noise_of_one_layer_is_exact() {
    let mut builder = NetworkBuilder::new(vec![2]);
    let weight = Matrix::from_vec(2, 2, vec![2.0, -1.0, 0.5, 0.25]);
    builder.dense("only", 0, weight, vec![0.25, 0.0]).unwrap();
    let network = builder.finish().unwrap();
    // Two samples: margins 1.125 and 0.625, deviations σ √(2 (|x|² + 1)).
    let x = [1.0, 0.5, 0.5, 0.3];
    let noise = NoiseModel::new("gaussian".parse().unwrap(), Some(1.0)).resolve(&network).unwrap();
    let options = options("linear", 1e-3);
    let certifier = NoiseCertifier::new(&network, unmoved(&network), noise, options).unwrap();
    let search = NoiseRadius::new(certifier, 0.01).unwrap();
    let found = search.search(Samples { first: 5, inputs: &x, labels: None }).unwrap();
    // P[N ≥ 3.0902…] = 1e-3.
    for (found, (margin, squares)) in found.iter().zip([(1.125, 2.25), (0.625, 1.34)]) {
        let exact = margin / (3.090_232_306_167_813 * (2.0_f64 * squares).sqrt());
        assert!(
            found.certified_radius <= exact && found.certified_radius > exact / 1.011,
            "{found:?} {exact}"
        );
    }
    assert_eq!(found[1].clean.index, 6);
}

/// Neurons that stay active make a network linear in the noise of one layer. Where that of the other layers is small, what is proved is
/// little above what is exact for the one, whichever it is.
#[test]
fn the_noise_of_every_layer_counts() {
    let weights = [
        Matrix::from_vec(3, 2, vec![0.5, 0.4, 0.3, 0.6, 0.7, 0.2]),
        Matrix::from_vec(3, 3, vec![0.4, 0.3, 0.2, 0.1, 0.5, 0.3, 0.6, 0.2, 0.1]),
        Matrix::from_vec(2, 3, vec![0.6, 0.5, 0.4, 0.5, 0.45, 0.4]),
    ];
    let build = |shift: f64| {
        let mut builder = NetworkBuilder::new(vec![2]);
        let mut last = 0;
        for (k, weight) in weights.iter().enumerate() {
            let bias = if k == 2 { vec![-shift, 0.0] } else { vec![5.0; 3] };
            last = builder.dense(&format!("dense{k}"), last, weight.clone(), bias).unwrap();
            if k < 2 {
                last = builder.activation(&format!("relu{k}"), last, Activation::Relu).unwrap();
            }
        }
        builder.finish().unwrap()
    };
    let (x, wanted) = ([1.0, 0.8], 0.3);
    let network = build(margin(&build(0.0).forward(&x), 0) - wanted);
    let values = network.forward_all(&x);
    // Coefficients of the margin at the pre-activations of each layer, from the last one.
    let mut coefficients = vec![vec![1.0, -1.0]];
    for weight in weights[1..].iter().rev() {
        let a = coefficients.last().unwrap();
        let column = |j: usize| (0..weight.rows()).map(|i| a[i] * weight[(i, j)]).sum::<f64>();
        coefficients.push((0..weight.cols()).map(column).collect());
    }
    let squares = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>();
    for k in 0..3 {
        let variance = squares(&coefficients[2 - k]) * (squares(&values[2 * k]) + 1.0);
        let sigma = wanted / (4.0 * variance.sqrt());
        let mut noise: NoiseModel = "gaussian:0".parse().unwrap();
        for other in 0..3 {
            let sigma = if other == k { sigma } else { 1e-4 * sigma };
            noise.layer.insert(format!("dense{other}"), LayerNoiseModel { sigma });
        }
        let noise = noise.resolve(&network).unwrap();
        let certifier =
            NoiseCertifier::new(&network, unmoved(&network), noise, options("linear", 0.4)).unwrap();
        let found = certifier.certify(Samples { first: 0, inputs: &x, labels: None })[0].failure_probability;
        let exact = 0.5 * libm::erfc(4.0 / 2.0_f64.sqrt());
        assert!(found > exact && found < 40.0 * exact, "layer {k}: {found} {exact}");
    }
}

/// What a random kernel multiplies may move as well: noise counts with the most that it can be.
#[test]
fn a_kernel_meets_the_worst_input_of_its_box() {
    let mut builder = NetworkBuilder::new(vec![1, 2, 2]);
    let window = Window::new([1, 2, 2], 1, [1, 1]);
    let moved =
        builder.conv("moved", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new(), window.clone()).unwrap();
    let random =
        builder.conv("random", moved, Matrix::from_vec(1, 1, vec![0.0]), Vec::new(), window).unwrap();
    let pool = builder.average_pool("mean", random, Window::pooling([1, 2, 2], [2, 2]), false).unwrap();
    let gather = Gather { source: vec![Some(0), None], constant: -1.0 };
    builder.gather("classes", vec![pool], gather, vec![2]).unwrap();
    let network = builder.finish().unwrap();
    let threat = ThreatModel { layers: Some(vec!["moved".into()]), ..ThreatModel::new(Kind::Absolute, 0.6) };
    let mut noise: NoiseModel = "gaussian:0.5".parse().unwrap();
    noise.layers = Some(vec!["random".into()]);
    let (set, noise) = (threat.resolve(&network).unwrap(), noise.resolve(&network).unwrap());
    let certifier = NoiseCertifier::new(&network, set, noise, options("linear", 0.4)).unwrap();
    let found =
        certifier.certify(Samples { first: 0, inputs: &[0.5; 4], labels: None })[0].failure_probability;
    // The margin is 1 + N/2 z with z ≤ 0.5 (1 + 0.6): below zero where N < −2.5. At the middle of the box it would be −4.
    let exact = 0.5 * libm::erfc(2.5 / 2.0_f64.sqrt());
    assert!(found > exact && found < 10.0 * exact, "{found} {exact}");
}

/// A kernel is drawn once, whatever the positions that it is used at: the noise of a sum over 16 of them is not that of 16 draws.
#[test]
fn a_shared_kernel_is_one_draw() {
    let mut builder = NetworkBuilder::new(vec![1, 4, 4]);
    let window = Window::new([1, 4, 4], 1, [1, 1]);
    let conv = builder.conv("conv", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new(), window).unwrap();
    // The mean of all positions, against nothing.
    let pool = builder.average_pool("mean", conv, Window::pooling([1, 4, 4], [4, 4]), false).unwrap();
    let gather = Gather { source: vec![Some(0), None], constant: 0.0 };
    builder.gather("classes", vec![pool], gather, vec![2]).unwrap();
    let network = builder.finish().unwrap();
    let x = [0.5; 16];
    let found = certified(&network, "gaussian:0.5", &x, options("linear", 0.4))[0].failure_probability;
    // f₀ = 0.5 (1 + N/2): below zero where N < −2. Sixteen draws would give N < −8. The boxes of the convolution cost a little.
    let exact = 0.5 * libm::erfc(2.0 / 2.0_f64.sqrt());
    assert!(found >= exact && found < 4.0 * exact, "{found} {exact}");
}

#[test]
fn no_noise_is_the_plain_certificate() {
    for seed in 0..10 {
        let network = Blueprint::new(&[3, 5, 4, 3], Activation::Relu, seed).build();
        let x = input(3, true, &mut rng(seed));
        for radius in [0.0, 0.01] {
            let set = ThreatModel::new(Kind::Absolute, radius).resolve(&network).unwrap();
            for method in ["interval", "linear-interval", "linear"] {
                let samples = Samples { first: 0, inputs: &x, labels: None };
                let options = options(method, 1e-9);
                let plain =
                    Certifier::new(&network, std::slice::from_ref(&set), options.certify.clone()).unwrap();
                let plain = plain.certify(samples)[0][0];
                let noise = "gaussian:0".parse::<NoiseModel>().unwrap().resolve(&network).unwrap();
                let certifier = NoiseCertifier::new(&network, set.clone(), noise, options).unwrap();
                let found = certifier.certify(samples)[0];
                assert_eq!(found.certificate.verdict, plain.verdict, "{method} {seed}");
                let (margin, expected) = (found.certificate.margin_lower, plain.margin_lower);
                assert!((margin - expected).abs() <= 1e-6 * expected.abs(), "{method}: {margin} {expected}");
                let certain = if plain.verdict == Verdict::Verified { 0.0 } else { 1.0 };
                assert_eq!(found.failure_probability, certain);
            }
        }
    }
}

/// A set on top is chosen first: noise and a box together are never better than either.
#[test]
fn a_box_on_top_costs_its_part() {
    let network = Blueprint::new(&[3, 5, 4, 3], Activation::Relu, 5).build();
    let x = input(3, true, &mut rng(5));
    let noise: NoiseModel = "gaussian:0.01".parse().unwrap();
    let lower = |radius: f64, sigma: &str| {
        let set = ThreatModel::new(Kind::Absolute, radius).resolve(&network).unwrap();
        let noise =
            NoiseModel { sigma: Some(sigma.parse().unwrap()), ..noise.clone() }.resolve(&network).unwrap();
        let certifier = NoiseCertifier::new(&network, set, noise, options("linear", 1e-3)).unwrap();
        certifier.certify(Samples { first: 0, inputs: &x, labels: None })[0].certificate.margin_lower
    };
    let (both, only_box, only_noise) = (lower(0.005, "0.01"), lower(0.005, "0"), lower(0.0, "0.01"));
    assert!(both < only_box && both < only_noise, "{both} {only_box} {only_noise}");
    let clean = lower(0.0, "0");
    // Both losses, and no more than a little for the boxes that grow with both.
    assert!(both > clean - 1.5 * ((clean - only_box) + (clean - only_noise)), "{both}");
}

#[test]
fn results_do_not_depend_on_threads_and_blocks() {
    let network = Blueprint::new(&[3, 8, 6, 3], Activation::Relu, 3).build();
    let x: Vec<f64> = (0..150).flat_map(|seed| input(3, true, &mut rng(seed))).collect();
    for method in ["linear", "optimized"] {
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| certified(&network, "gaussian-of-max:0.02", &x, options(method, 1e-6)))
        };
        let one = of(1);
        assert_eq!(one, of(3));
        let probabilities: Vec<f64> = one.iter().map(|c| c.failure_probability).collect();
        assert!(probabilities.iter().any(|p| *p < 1e-6) && probabilities.iter().any(|p| *p > 1e-6));
        let alone = certified(&network, "gaussian-of-max:0.02", &x[30..33], options(method, 1e-6));
        assert_eq!(alone[0].failure_probability, one[10].failure_probability);
    }
}

/// A margin is bounded at every probability, also where boxes have far more ends than the search begins with.
#[test]
fn margins_are_bounded_whatever_the_number_of_ends() {
    let network = Blueprint::new(&[3, 300, 3], Activation::Tanh, 2).build();
    let x = input(3, true, &mut rng(2));
    for sigma in [0.001, 0.1, 1.0] {
        for method in ["interval", "linear", "optimized"] {
            let found = certified(&network, &format!("gaussian:{sigma}"), &x, options(method, 1e-9))[0];
            let margin = found.certificate.margin_lower;
            assert!(margin.is_finite() && (margin > 0.0 || sigma > 0.001), "{method} {sigma}: {margin}");
        }
    }
}

/// What `linear` proves, `optimized` leaves as it is; of the others it proves more of some, and less of none.
#[test]
fn slopes_that_ascend_against_the_noise_gain() {
    let (mut open, mut gained) = (0, 0);
    for seed in 0..12 {
        let network = Blueprint::new(&[4, 10, 8, 3], Activation::Relu, seed).build();
        let x: Vec<f64> = (0..6).flat_map(|k| input(4, true, &mut rng(10 * seed + k))).collect();
        let of = |method| certified(&network, "gaussian-of-max:0.03", &x, options(method, 1e-6));
        for (linear, optimized) in of("linear").into_iter().zip(of("optimized")) {
            assert!(optimized.failure_probability <= linear.failure_probability);
            assert!(optimized.certificate.margin_lower >= linear.certificate.margin_lower);
            if linear.certificate.verdict == Verdict::Verified {
                assert_eq!(linear, optimized);
                continue;
            }
            open += 1;
            gained += usize::from(optimized.failure_probability < 0.99 * linear.failure_probability);
        }
    }
    assert!(open > 10 && gained > 3, "{gained} of {open}");
}

#[test]
fn what_breaks_independence_is_refused() {
    let network = Blueprint::new(&[3, 5, 4, 3], Activation::Relu, 5).build();
    let noise = || "gaussian:0.01".parse::<NoiseModel>().unwrap().resolve(&network).unwrap();
    let told = |set: PerturbationSet, options: NoiseOptions| {
        NoiseCertifier::new(&network, set, noise(), options).err().unwrap().to_string()
    };
    let moved = PerturbationSet { input_radius: 0.1, ..unmoved(&network) };
    assert!(told(moved, options("linear", 1e-3)).contains("input radius of 0.1"));
    assert!(told(unmoved(&network), options("norm-product", 1e-3)).contains("found norm-product"));
    for wrong in [0.0, 1.0, -0.1, f64::NAN] {
        assert!(told(unmoved(&network), options("linear", wrong)).starts_with("failure probability"));
    }
}

/// The class with the largest output.
fn largest(outputs: &[f64]) -> usize {
    (0..outputs.len()).max_by(|&a, &b| outputs[a].total_cmp(&outputs[b])).unwrap()
}

/// A drifting network against drawn devices, at several times: failures are as rare as is proved, and what is proved says something.
#[test]
fn drift_and_devices_are_never_contradicted() {
    const DRAWS: usize = 4000;
    let drift = |compensation| DriftModel {
        mean: 0.05,
        spread: 0.02,
        low: 0.0,
        high: Some(0.1),
        reference_time: 20.0,
        compensation,
    };
    let programmed = || "gaussian-of-max:0.01".parse::<NoiseModel>().unwrap();
    let devices = NoiseModel::new("pcm".parse().unwrap(), None);
    let models = [
        NoiseModel { drift: Some(drift(Compensation::Mean)), ..programmed() },
        NoiseModel { drift: Some(drift(Compensation::None)), ..programmed() },
        NoiseModel { drift: Some(drift(Compensation::None)), biases: false, ..programmed() },
        devices,
    ];
    let (mut proved, mut seen) = (0, 0);
    for (seed, model) in (0..8).flat_map(|seed| models.iter().map(move |model| (seed, model))) {
        let network = Blueprint::new(&[4, 6, 3], Activation::Relu, seed).build();
        let x = input(4, true, &mut rng(seed));
        for seconds in [1.0, 86400.0] {
            let noise = model.resolve_at(&network, Some(seconds)).unwrap();
            let mean = noise.mean_network(&network).into_owned();
            let target = largest(&mean.forward(&x));
            let options = NoiseOptions {
                certify: CertifyOptions::new("linear", Property::Label),
                ..options("linear", 0.4)
            };
            let certifier = NoiseCertifier::new(&mean, unmoved(&mean), noise.clone(), options).unwrap();
            let samples = Samples { first: 0, inputs: &x, labels: Some(&[target as u32]) };
            let found = certifier.certify(samples)[0].failure_probability;
            let mut draws = rng(seed + 100);
            let fails = |_| margin(&noise.draw(&network, &mut draws).forward(&x), target) <= 0.0;
            let failures = (0..DRAWS).map(fails).filter(|failed| *failed).count();
            assert!(
                may_be(failures, DRAWS, found),
                "seed {seed}, {seconds} s: {failures} at {found} by {model:?}"
            );
            proved += usize::from(found < 0.4);
            seen += usize::from(failures > 0);
        }
    }
    assert!(proved > 16 && seen > 3, "{proved} {seen}");
}

/// One layer that drifts, whose margin is a sum of known numbers: what is proved is what the theorem says.
#[test]
fn drift_is_charged_as_the_theorem_says() {
    let mut builder = NetworkBuilder::new(vec![2]);
    builder.dense("only", 0, Matrix::from_vec(2, 2, vec![1.0, 0.5, -1.0, 0.25]), vec![0.25, 0.0]).unwrap();
    let network = builder.finish().unwrap();
    let (x, seconds) = ([0.5, 0.25], 180.0);
    let log = 10.0_f64.ln();
    for (compensation, biases) in [(Compensation::None, true), (Compensation::Mean, false)] {
        // Spread is small, so that the mean factor is that of the mean but for 1e-4.
        let (mean, spread, sigma) = (0.1, 0.02, 0.1);
        let drift = DriftModel { mean, spread, low: 0.0, high: None, reference_time: 20.0, compensation };
        let model = NoiseModel { drift: Some(drift), biases, ..format!("gaussian:{sigma}").parse().unwrap() };
        let noise = model.resolve_at(&network, Some(seconds)).unwrap();
        let mean_network = noise.mean_network(&network).into_owned();
        let options = NoiseOptions {
            certify: CertifyOptions::new("linear", Property::Label),
            ..options("linear", 0.9)
        };
        let certifier = NoiseCertifier::new(&mean_network, unmoved(&network), noise, options).unwrap();
        let samples = Samples { first: 0, inputs: &x, labels: Some(&[0]) };
        let found = certifier.certify(samples)[0].failure_probability;
        let factor = (-log * mean + 0.5 * (log * spread).powi(2)).exp();
        let scale = if compensation == Compensation::Mean { 1.0 / factor } else { 1.0 };
        let square = |w: f64, z: f64| scale * scale * ((w * spread * log).powi(2) + sigma * sigma) * z * z;
        let weights = [(1.0, 0.5), (0.5, 0.25), (-1.0, 0.5), (0.25, 0.25)];
        let mut variance: f64 = weights.iter().map(|&(w, z)| square(w, z)).sum();
        let mut margin = scale * factor * (2.0 * 0.5 + 0.25 * 0.25);
        if biases {
            variance += square(0.25, 1.0) + square(0.0, 1.0);
            margin += scale * factor * 0.25;
        } else {
            margin += 0.25;
        }
        let exact = (-0.5 * margin * margin / variance).exp();
        assert!(
            found >= exact && found < exact * 1.01 || found < 1e-250,
            "{compensation:?}: {found} {exact}"
        );
        assert!(exact > 1e-200, "{exact}");
    }
}

/// What is known of means only, and what is not said, is refused by name.
#[test]
fn drift_is_about_the_network_of_means() {
    let network = Blueprint::new(&[3, 5, 3], Activation::Relu, 1).build();
    let of = |compensation| {
        let drift =
            DriftModel { mean: 0.05, spread: 0.01, low: 0.0, high: None, reference_time: 1.0, compensation };
        NoiseModel { drift: Some(drift), ..NoiseModel::new("gaussian".parse().unwrap(), Some(0.0)) }
    };
    let model = of(Compensation::None);
    assert!(model.resolve(&network).unwrap_err().to_string().contains("expected a time"));
    let plain: NoiseModel = "gaussian:0.1".parse().unwrap();
    assert!(plain.resolve_at(&network, Some(1.0)).unwrap_err().to_string().contains("[drift]"));
    assert!(model.resolve_at(&network, Some(f64::NAN)).unwrap_err().to_string().contains("NaN"));
    let noise = model.resolve_at(&network, Some(3600.0)).unwrap();
    let mean = noise.mean_network(&network).into_owned();
    let label =
        || NoiseOptions { certify: CertifyOptions::new("linear", Property::Label), ..options("linear", 0.1) };
    let told = |network: &Network, set: PerturbationSet, options: NoiseOptions| {
        NoiseCertifier::new(network, set, noise.clone(), options).err().map(|error| error.to_string())
    };
    assert!(told(&network, unmoved(&network), label()).unwrap().contains("means of the random ones"));
    assert!(told(&mean, unmoved(&network), options("linear", 0.1)).unwrap().contains("expected label"));
    let moved = ThreatModel::new(Kind::Absolute, 0.1).resolve(&network).unwrap();
    assert!(told(&mean, moved, label()).unwrap().contains("beside drift"));
    assert_eq!(told(&mean, unmoved(&network), label()), None);
    // Compensated, the means are the weights of the file, and every property is about them.
    let back = of(Compensation::Mean).resolve_at(&network, Some(3600.0)).unwrap();
    assert!(back.is_aged() && !back.moves_means());
    assert!(NoiseCertifier::new(&network, unmoved(&network), back, options("linear", 0.1)).is_ok());
}

/// Probability that one of the counts of [`certificates_hold_as_often_as_they_say`] is that unlikely if all that is proved is true:
/// 72 ends of intervals of Clopper and Pearson.
const FALSE_ALARM: f64 = 1e-9;

/// Many devices of a small network against margins at five probabilities, the smallest failure probability, and single rows at four
/// quantiles: no count is so large that its interval excludes what is proved. `WEIGHTPROOF_DRAWS=10000000` draws as many devices; the test
/// errs with a probability of at most [`FALSE_ALARM`] by itself, whatever their number.
#[test]
fn certificates_hold_as_often_as_they_say() {
    const LEVELS: [f64; 5] = [0.2, 1e-2, 1e-3, 1e-4, 1e-5];
    const QUANTILES: [f64; 4] = [0.5, 1.0, 2.0, 3.0];
    let draws =
        std::env::var("WEIGHTPROOF_DRAWS").map_or(60_000, |text| text.parse().expect("a number of devices"));
    let network = Blueprint::new(&[3, 4, 3, 3], Activation::Relu, 4).build();
    let x = input(3, true, &mut rng(4));
    for (noise, tail) in [("gaussian-of-max:0.08", Tail::Reflected), ("uniform-of-max:0.15", Tail::Chernoff)]
    {
        let noise = noise.parse::<NoiseModel>().unwrap().resolve(&network).unwrap();
        let samples = || Samples { first: 0, inputs: &x, labels: None };
        let certifier = |method, asked| {
            NoiseCertifier::new(&network, unmoved(&network), noise.clone(), options(method, asked)).unwrap()
        };
        // What is drawn, below what, and how often at most.
        let mut claims: Vec<(Option<usize>, f64, f64)> = Vec::new();
        let mut target = 0;
        for method in ["linear", "optimized"] {
            for asked in LEVELS {
                let found = certifier(method, asked).certify(samples())[0];
                target = found.certificate.clean.target;
                claims.push((None, found.certificate.margin_lower, asked));
                claims.push((None, 0.0, found.failure_probability));
            }
            let rivals: Vec<usize> = (0..3).filter(|j| *j != target).collect();
            for q in QUANTILES {
                let (rows, of_boxes) = certifier(method, 0.1).rows_at(samples(), q).remove(0);
                // The row itself, and the boxes that it relies on.
                let most = (tail.at(q) + of_boxes).min(1.0);
                claims.extend(rivals.iter().zip(rows).map(|(&rival, lower)| (Some(rival), lower, most)));
            }
        }
        let mut counts = vec![0; claims.len()];
        let mut rng = rng(2024);
        for _ in 0..draws {
            let outputs = noise.draw(&network, &mut rng).forward(&x);
            for (count, (rival, lower, _)) in counts.iter_mut().zip(&claims) {
                let found = rival.map_or_else(|| margin(&outputs, target), |j| outputs[target] - outputs[j]);
                *count += usize::from(found < *lower);
            }
        }
        let alpha = FALSE_ALARM / (2 * claims.len()) as f64;
        for (&count, (rival, lower, most)) in counts.iter().zip(&claims) {
            let (least, _) = clopper_pearson(count, draws, alpha);
            assert!(least <= *most, "{rival:?} below {lower}: {count} of {draws}, at most {most}");
        }
        // Counts are seen, and what is proved at 0.2 is not far from what happens.
        assert!(counts[0] > 0 && claims[0].1 > claims[8].1, "{counts:?} {claims:?}");
    }
}
