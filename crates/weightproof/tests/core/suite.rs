//! The suite of theory.md §13 over bound methods × threat models × arbitrary networks.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use weightproof::bounds::METHODS;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Affine, Gather, Network, NetworkBuilder, Window};
use weightproof::property::Property;
use weightproof::threat::{
    Kind, LayerPerturbation, LayerSet, Perturbation, PerturbationSet, ThreatModel, WeightSet,
};
use weightproof::verdict::{Guarantee, Precision, Reason, Samples, Verdict};
use weightproof_testkit::emulation::{contradiction, emulation};
use weightproof_testkit::images::{ImageBlueprint, arbitrary_images};
use weightproof_testkit::networks::{ACTIVATIONS, Blueprint, Design, arbitrary, input, rng};
use weightproof_testkit::oracle::{margin, vertex_minimum};
use weightproof_testkit::products::{FORMS, Form, ProductBlueprint, arbitrary_products};
use weightproof_testkit::reference::{Boxes, Reference};
use weightproof_testkit::suite::{certificates, containment, zero_radius};

/// Rounding of f64 bounds on networks with numbers of size about one.
const ROUNDING: f64 = 1e-10;

fn f64_options(method: &str) -> CertifyOptions {
    CertifyOptions { precision: Precision::F64, ..CertifyOptions::new(method, Property::Label) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, rng_seed: RngSeed::Fixed(2103), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_perturbation_beats_a_bound(blueprint in arbitrary()) {
        prop_assert_eq!(containment(&blueprint, 12), Ok(()));
    }

    #[test]
    fn radius_zero_is_the_forward_pass(blueprint in arbitrary()) {
        prop_assert_eq!(zero_radius(&blueprint), Ok(()));
    }

    #[test]
    fn no_perturbation_beats_a_bound_of_a_convolutional_network(blueprint in arbitrary_images()) {
        prop_assert_eq!(containment(&blueprint, 8), Ok(()));
    }

    #[test]
    fn radius_zero_is_the_forward_pass_of_a_convolutional_network(blueprint in arbitrary_images()) {
        prop_assert_eq!(zero_radius(&blueprint), Ok(()));
    }

    #[test]
    fn no_perturbation_beats_a_bound_of_products(blueprint in arbitrary_products()) {
        prop_assert_eq!(containment(&blueprint, 12), Ok(()));
    }

    #[test]
    fn radius_zero_is_the_forward_pass_of_products(blueprint in arbitrary_products()) {
        prop_assert_eq!(zero_radius(&blueprint), Ok(()));
    }

    #[test]
    fn emulated_inference_never_contradicts_a_format_certificate(blueprint in arbitrary()) {
        prop_assert_eq!(emulation(&blueprint), Ok(()));
    }

    #[test]
    fn emulated_convolutions_never_contradict_a_format_certificate(blueprint in arbitrary_images()) {
        prop_assert_eq!(emulation(&blueprint), Ok(()));
    }

    /// Methods that intersect with another one are never below it; the interval bound of merged output rows is never
    /// below what norm products say about a network they both see... which is no theorem, so it is not tested.
    #[test]
    fn linear_is_never_below_what_it_intersects(blueprint in arbitrary(), radius in 0.0..0.2_f64) {
        let network = blueprint.build();
        let x = input(network.input_width(), true, &mut rng(blueprint.seed));
        let set = ThreatModel::new(Kind::Absolute, radius).resolve(&network).unwrap();
        let lower = |method| certificates(&network, &set, &x, 0, &f64_options(method)).margin_lower;
        prop_assert!(lower("linear-interval") >= lower("interval") - ROUNDING);
        prop_assert!(lower("linear") >= lower("interval") - ROUNDING);
        prop_assert!(lower("optimized") >= lower("linear"));
    }

    /// Bounds fall when the set grows.
    #[test]
    fn certified_margins_fall_with_the_radius(seed in any::<u64>()) {
        let network = Blueprint::new(&[3, 4, 4, 3], Activation::Relu, seed).build();
        let x = input(3, true, &mut rng(seed));
        for method in METHODS.iter().filter(|m| ["norm-product", "interval"].contains(&m.name)) {
            let lower = |radius| {
                let set = ThreatModel::new(Kind::Absolute, radius).resolve(&network).unwrap();
                certificates(&network, &set, &x, 0, &f64_options(method.name)).margin_lower
            };
            prop_assert!(lower(0.02) <= lower(0.01) + ROUNDING, "{}", method.name);
            prop_assert!(lower(0.01) <= lower(0.0) + ROUNDING, "{}", method.name);
        }
    }
}

/// Lemma 1 on tiny networks: for one hidden layer the vertices contain the minimum, so every bound is below the
/// enumeration; and when no neuron is unstable the linear bound *is* the enumeration.
#[test]
fn vertex_enumeration_of_tiny_networks() {
    let mut exact = 0;
    for seed in 0..60 {
        let network = Blueprint::new(&[2, 2, 2], Activation::Relu, seed).build();
        let x = input(2, seed % 2 == 0, &mut rng(seed));
        for (kind, radius) in [(Kind::Absolute, 0.05), (Kind::Relative, 0.1), (Kind::PerChannel, 0.05)] {
            let set = ThreatModel::new(kind, radius).resolve(&network).unwrap();
            let enumerated = vertex_minimum(&network, &set, &x, |f| margin(f, 0));
            for method in METHODS {
                let lower = certificates(&network, &set, &x, 0, &f64_options(method.name)).margin_lower;
                assert!(
                    lower <= enumerated + ROUNDING,
                    "{} seed {seed}: {lower} > {enumerated}",
                    method.name
                );
            }
            let linear = certificates(&network, &set, &x, 0, &f64_options("linear")).margin_lower;
            exact += usize::from((linear - enumerated).abs() < ROUNDING);
        }
    }
    assert!(
        exact > 90,
        "the linear bound is exact where all neurons are stable, found it {exact} times of 180"
    );
}

/// Two hidden layers: what the first one gives is a box whose every point is reached, so only neurons of the second one that are unstable
/// make the linear bound less than the enumeration.
#[test]
fn neurons_of_the_first_layer_cost_a_bound_nothing() {
    let mut exact = 0;
    for seed in 0..60 {
        let network = Blueprint::new(&[2, 2, 2, 2], Activation::Relu, seed).build();
        let x = input(2, seed % 2 == 0, &mut rng(seed));
        let threat = ThreatModel { bias_radius: Some(0.0), ..ThreatModel::new(Kind::Absolute, 0.1) };
        let set = threat.resolve(&network).unwrap();
        let enumerated = vertex_minimum(&network, &set, &x, |f| margin(f, 0));
        let linear = certificates(&network, &set, &x, 0, &f64_options("linear")).margin_lower;
        assert!(linear <= enumerated + ROUNDING, "seed {seed}: {linear} > {enumerated}");
        exact += usize::from((linear - enumerated).abs() < ROUNDING);
    }
    assert!(exact > 1, "exact {exact} times of 60");
}

/// max(p, 0) and p move together: their difference is bounded by the line through both, not by the ends of two boxes.
#[test]
fn what_reads_the_same_neuron_moves_together() {
    let mut builder = NetworkBuilder::new(vec![1]);
    let p = builder.dense("p", 0, Matrix::from_vec(1, 1, vec![0.3]), Vec::new()).unwrap();
    let z = builder.activation("z", p, Activation::Relu).unwrap();
    let both = Gather { source: vec![Some(0), Some(1)], constant: 0.0 };
    builder.gather("both", vec![z, p], both, vec![2]).unwrap();
    let network = builder.finish().unwrap();
    let mut threat = ThreatModel::new(Kind::Absolute, 1.0);
    threat.bias_radius = Some(0.0);
    let set = threat.resolve(&network).unwrap();
    let lower = certificates(&network, &set, &[1.0], 0, &f64_options("linear")).margin_lower;
    assert!((-ROUNDING..=0.0).contains(&lower), "max(p, 0) − p ≥ 0 for p from −0.7 to 1.3, found {lower}");
}

/// The batched engine computes what the definition says, for every structure of radii.
#[test]
fn the_linear_bound_is_its_definition() {
    for seed in 0..30 {
        let network = Blueprint::new(&[3, 6, 5, 6, 3], Activation::Relu, seed).build();
        let x = input(3, seed % 2 == 0, &mut rng(seed));
        for (name, set) in weightproof_testkit::threats::sets(&network) {
            let ball = |l: &LayerSet| l.weight.is_ball();
            let moves = set.input_radius > 0.0 || set.activation_radius > 0.0;
            // Layers that stay let a pass end earlier than the definition does; that is tighter, and tested elsewhere.
            if moves || set.layers.iter().any(|l| ball(l) || l.is_zero()) {
                continue;
            }
            let expected = Reference::<f64>::new(&network, &set, &x, Boxes::Linear).margin_lower(1);
            let found = certificates(&network, &set, &x, 1, &f64_options("linear")).margin_lower;
            let slack = ROUNDING * (1.0 + expected.abs());
            assert!((found - expected).abs() < slack, "{name} seed {seed}: {found} {expected}");
        }
    }
}

/// The same for a hidden layer whose inputs have any sign, through `|x|`.
#[test]
fn a_single_dense_layer_before_an_activation_is_exact_for_every_activation() {
    for activation in ACTIVATIONS.into_iter().filter(|f| f.is_monotone()) {
        for seed in 0..20 {
            let network = Blueprint::new(&[2, 1, 2], activation, seed).build();
            let x = input(2, false, &mut rng(seed));
            let mut threat = ThreatModel::new(Kind::Absolute, 0.2);
            threat.layers = Some(vec!["dense0".into()]);
            let set = threat.resolve(&network).unwrap();
            let enumerated = vertex_minimum(&network, &set, &x, |f| margin(f, 0));
            let lower = certificates(&network, &set, &x, 0, &f64_options("interval")).margin_lower;
            assert!(
                (lower - enumerated).abs() < ROUNDING,
                "{activation:?} seed {seed}: {lower} {enumerated}"
            );
        }
    }
}

/// The parameters of a random layer.
fn layer(rows: usize, cols: usize, seed: u64) -> Affine {
    let network = Blueprint::new(&[cols, rows, 2], Activation::Relu, seed).build();
    network.affine_layers().next().expect("a layer").2.clone()
}

/// A network whose convolutions have so many channels that they fill vectors.
#[derive(Debug)]
struct ManyChannels(u64);

impl Design for ManyChannels {
    fn build(&self) -> Network {
        let wide = Window { padding: [[1, 0], [1, 1]], ..Window::new([2, 3, 2], 18, [3, 3]) };
        let groups = Window { groups: 2, stride: [2, 1], ..Window::new(wide.output(), 12, [2, 1]) };
        let [first, second] = [layer(18, wide.patch(), self.0), layer(12, groups.patch(), self.0 + 100)];
        let head = layer(3, groups.output_width(), self.0 + 200);
        let mut builder = NetworkBuilder::new(wide.input.to_vec());
        let node = builder.conv("wide", 0, first.weight, first.bias, wide).expect("valid");
        let node = builder.activation("relu", node, Activation::Relu).expect("valid");
        let node = builder.conv("groups", node, second.weight, second.bias, groups).expect("valid");
        let node = builder.activation("relu2", node, Activation::Relu).expect("valid");
        builder.dense("head", node, head.weight, head.bias).expect("valid");
        builder.finish().expect("valid")
    }

    fn seed(&self) -> u64 {
        self.0
    }
}

#[test]
fn no_perturbation_beats_a_bound_of_a_network_with_many_channels() {
    for seed in 0..2 {
        assert_eq!(containment(&ManyChannels(seed), 4), Ok(()));
        assert_eq!(zero_radius(&ManyChannels(seed)), Ok(()));
    }
}

/// A convolution is its unrolled matrix: the same bound where every use of a weight moves on its own, and never a worse one
/// where all uses move alike, which the unrolled matrix does not know.
#[test]
fn a_convolution_is_its_unrolled_matrix_or_better() {
    let mut better = 0;
    for seed in 0..40 {
        let window =
            Window { stride: [1, 2], padding: [[1, 0], [0, 1]], ..Window::new([2, 3, 4], 3, [2, 3]) };
        let middle = Window { padding: [[1, 1]; 2], ..Window::new(window.output(), 2, [3, 3]) };
        let kernels = [layer(3, window.patch(), seed), layer(2, middle.patch(), seed + 100)];
        let head = layer(3, middle.output_width(), seed + 200);
        let radius = |conv: &Affine| conv.weight.map(|w| 0.02 * w.abs() + 0.001);
        let unrolled = |matrix: &weightproof::kernels::Matrix<f64>, window: &Window| {
            let mut out = weightproof::kernels::Matrix::zeros(window.output_width(), window.input_width());
            for o in 0..window.output_width() {
                let (row, position) = (o / window.positions(), o % window.positions());
                for (column, &w) in matrix.row(row).iter().enumerate() {
                    if let Some(source) = window.source(position, column % window.taps()) {
                        out[(o, column / window.taps() * window.plane() + source)] = w;
                    }
                }
            }
            out
        };
        let spread = |values: &[f64], n: usize| -> Vec<f64> {
            values.iter().flat_map(|&v| std::iter::repeat_n(v, n)).collect()
        };
        let build = |as_matrix: bool| {
            let mut builder = NetworkBuilder::new(vec![2, 3, 4]);
            let mut last = 0;
            for (k, (kernel, window)) in kernels.iter().zip([&window, &middle]).enumerate() {
                last = if as_matrix {
                    let bias = spread(&kernel.bias, window.positions());
                    builder.dense(&format!("c{k}"), last, unrolled(&kernel.weight, window), bias).unwrap()
                } else {
                    let (weight, bias) = (kernel.weight.clone(), kernel.bias.clone());
                    builder.conv(&format!("c{k}"), last, weight, bias, window.clone()).unwrap()
                };
                last = builder.activation(&format!("r{k}"), last, Activation::Relu).unwrap();
            }
            builder.dense("head", last, head.weight.clone(), head.bias.clone()).unwrap();
            builder.finish().unwrap()
        };
        let set = |as_matrix: bool, per_use: bool| {
            let network = build(as_matrix);
            let mut set = ThreatModel::new(Kind::Absolute, 0.0).resolve(&network).unwrap();
            for (k, (kernel, window)) in kernels.iter().zip([&window, &middle]).enumerate() {
                let e = radius(kernel);
                let layer = &mut set.layers[k];
                layer.weight = WeightSet::entries(if as_matrix { unrolled(&e, window) } else { e });
                layer.bias.fill(0.005);
                layer.per_use = per_use;
            }
            (network, set)
        };
        let x = input(24, true, &mut rng(seed));
        let lower = |as_matrix, per_use, method| {
            let (network, set) = set(as_matrix, per_use);
            certificates(&network, &set, &x, 0, &f64_options(method)).margin_lower
        };
        for method in METHODS {
            let (matrix, alone) = (lower(true, true, method.name), lower(false, true, method.name));
            let slack = ROUNDING * (1.0 + matrix.abs());
            // Norms of whole kernels are not below those of the rows at the border.
            assert!(alone <= matrix + slack, "{} {seed}: {alone} {matrix}", method.name);
            assert!(method.name == "norm-product" || matrix <= alone + slack, "{} {seed}", method.name);
            let shared = lower(false, false, method.name);
            assert!(shared >= alone - ROUNDING, "{} {seed}: {shared} {alone}", method.name);
            better += usize::from(shared > alone + 1e-6);
        }
    }
    assert!(better >= 60, "sharing tightens both linear methods, found it {better} times of 80");
}

#[test]
fn results_do_not_depend_on_threads_or_batches() {
    use weightproof_testkit::images::Piece;
    let images = ImageBlueprint {
        input: [1, 6, 6],
        pieces: vec![Piece::Conv, Piece::Activation, Piece::Residual, Piece::MaxPool],
        classes: 4,
        global_pool: false,
        seed: 6,
    };
    // Wide enough that the rows of one sample are divided among threads.
    let dense = Blueprint::new(&[5, 150, 150, 4], Activation::Relu, 3).build();
    for (network, radius, count) in [(dense, 0.01, 70), (images.build(), 0.02, 20)] {
        let set = ThreatModel::new(Kind::Absolute, radius).resolve(&network).unwrap();
        let width = network.input_width();
        let inputs = input(width * count, true, &mut rng(1));
        let labels: Vec<u32> = (0..count as u32).map(|i| i % 4).collect();
        for method in METHODS {
            let run = |threads: usize, block: usize| {
                let options = CertifyOptions { block, ..CertifyOptions::new(method.name, Property::Label) };
                let certifier = Certifier::new(&network, std::slice::from_ref(&set), options).unwrap();
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let samples = Samples { first: 0, inputs: &inputs, labels: Some(&labels) };
                pool.install(|| certifier.certify(samples))
            };
            let expected = run(1, CertifyOptions::BLOCK);
            for (threads, block) in [(2, 64), (3, 7), (8, 1)] {
                let found = run(threads, block);
                let differs = found[0].iter().zip(&expected[0]).find(|(a, b)| a != b);
                assert_eq!(differs, None, "{}, {threads} threads, blocks of {block}", method.name);
            }
        }
    }
}

#[test]
fn several_radii_in_one_run_equal_single_runs() {
    let network = Blueprint::new(&[5, 8, 8, 4], Activation::Relu, 4).build();
    let unit = ThreatModel::new(Kind::Absolute, 1.0).resolve(&network).unwrap();
    let sets: Vec<_> = [0.001, 0.01, 0.1].iter().map(|t| unit.scaled(*t)).collect();
    let x = input(5, true, &mut rng(2));
    let samples = Samples { first: 7, inputs: &x, labels: None };
    let options = CertifyOptions::new("linear", Property::Prediction);
    let together = Certifier::new(&network, &sets, options.clone()).unwrap().certify(samples);
    for (set, found) in sets.iter().zip(&together) {
        let alone =
            Certifier::new(&network, std::slice::from_ref(set), options.clone()).unwrap().certify(samples);
        assert_eq!(&alone[0], found);
        assert_eq!(found[0].clean.index, 7);
    }
}

/// Permuting classes permutes nothing but names; scaling W¹ by c and W² by 1/c with their radii leaves margins alone.
#[test]
fn symmetries_of_the_network_leave_bounds_unchanged() {
    use weightproof::network::{Affine, Layer};
    let network = Blueprint::new(&[3, 5, 3], Activation::Relu, 9).build();
    let x = input(3, true, &mut rng(9));
    let dense: Vec<(usize, Affine)> = network.affine_layers().map(|(i, _, d)| (i, d.clone())).collect();
    let radii = |factors: [f64; 2]| PerturbationSet {
        layers: dense
            .iter()
            .zip(factors)
            .map(|((node, d), c)| LayerSet {
                node: *node,
                weight: WeightSet::uniform(0.03 * c, d.bias.len()),
                bias: vec![0.02 * if *node == dense[0].0 { c } else { 1.0 }; d.bias.len()],
                bias_scales: true,
                per_use: false,
            })
            .collect(),
        roundings: Vec::new(),
        input_radius: 0.0,
        input_range: None,
        activation_radius: 0.0,
        value_limit: None,
    };
    let c = 4.0;
    let scaled: Vec<_> = dense
        .iter()
        .zip([c, 1.0 / c])
        .map(|((node, d), c)| {
            let bias =
                if *node == dense[0].0 { d.bias.iter().map(|b| b * c).collect() } else { d.bias.clone() };
            LayerPerturbation { node: *node, weight: d.weight.map(|w| w * c), bias }
        })
        .collect();
    let rescaled = network.with_parameters(&scaled);
    assert!(matches!(rescaled.nodes()[1].layer, Layer::Dense(_)));
    for method in METHODS {
        let options = f64_options(method.name);
        let before = certificates(&network, &radii([1.0, 1.0]), &x, 1, &options).margin_lower;
        let after = certificates(&rescaled, &radii([c, 1.0 / c]), &x, 1, &options).margin_lower;
        assert!((before - after).abs() < ROUNDING, "{}: {before} {after}", method.name);
    }
}

/// A radius so large that bounds overflow proves nothing and says so.
#[test]
fn overflow_is_unknown_never_verified() {
    let network = Blueprint::new(&[3, 4, 4, 3], Activation::Relu, 5).build();
    let x = input(3, true, &mut rng(5));
    for radius in [1e12, 1e20, 1e38, 1e200, f64::MAX] {
        for kind in [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Frobenius, Kind::RowBall] {
            let set = ThreatModel::new(kind, radius).resolve(&network).unwrap();
            for method in METHODS {
                for precision in [Precision::F32, Precision::F64] {
                    let options = CertifyOptions {
                        precision,
                        ..CertifyOptions::new(method.name, Property::Prediction)
                    };
                    let found = certificates(&network, &set, &x, 0, &options);
                    assert_eq!(found.verdict, Verdict::Unknown, "{} {kind} {radius}", method.name);
                    assert!(!found.margin_lower.is_nan());
                    if radius > 1e38 {
                        assert_eq!(
                            found.reason,
                            Some(Reason::Overflow),
                            "{} {kind} {radius} {precision:?}",
                            method.name
                        );
                    }
                }
            }
        }
    }
}

/// Bounds that leave the range of f64, in which those that leave that of f32 are computed again, are overflow.
#[test]
fn nearly_infinite_bounds_count_as_overflow() {
    let network = Blueprint::new(&[3, 4, 3], Activation::Relu, 5).build();
    let threat =
        ThreatModel { layers: Some(vec!["dense0".into()]), ..ThreatModel::new(Kind::Absolute, 1e210) };
    let set = threat.resolve(&network).unwrap();
    for method in METHODS {
        let options = CertifyOptions::new(method.name, Property::Prediction);
        let found = certificates(&network, &set, &[0.5; 3], 0, &options);
        assert_eq!(
            (found.verdict, found.reason),
            (Verdict::Unknown, Some(Reason::Overflow)),
            "{}",
            method.name
        );
    }
}

/// One element that is too large for products is enough, also where nothing of it reaches the outputs.
#[test]
fn one_element_that_is_too_large_counts_as_overflow() {
    use weightproof::kernels::Matrix;
    use weightproof::network::NetworkBuilder;
    for (large, expected) in [(1e3, Verdict::Verified), (1e205, Verdict::Unknown)] {
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("large", 0, Matrix::from_vec(2, 1, vec![large, 1.0]), Vec::new()).unwrap();
        builder.activation("relu", p, Activation::Relu).unwrap();
        let out = Matrix::from_vec(2, 2, vec![0.0, 2.0, 0.0, 1.0]);
        builder.dense("out", builder.last(), out, Vec::new()).unwrap();
        let network = builder.finish().unwrap();
        let threat =
            ThreatModel { layers: Some(vec!["large".into()]), ..ThreatModel::new(Kind::Absolute, 1e-3) };
        let set = threat.resolve(&network).unwrap();
        for method in ["interval", "linear-interval", "linear", "optimized"] {
            let options = CertifyOptions {
                precision: Precision::F64,
                // What rounding is charged for such an element is overflow, too.
                guarantee: Guarantee::RealArithmetic,
                ..CertifyOptions::new(method, Property::Prediction)
            };
            let found = certificates(&network, &set, &[0.5], 0, &options);
            assert_eq!(found.verdict, expected, "{method} {large}");
            assert_eq!(found.reason == Some(Reason::Overflow), large > 1e200, "{method} {large}");
        }
    }
}

/// Each rounding of a sum without parameters is charged: networks in which little else is.
#[test]
fn rounded_sums_never_contradict_a_format_certificate() {
    use weightproof::kernels::{Matrix, Window};
    use weightproof::network::{Gather, NetworkBuilder};
    for seed in 0..300 {
        let mut random = rng(seed);
        let x = input(4, true, &mut random);
        for average in [false, true] {
            let mut builder = NetworkBuilder::new(vec![1, 2, 2]);
            let sum = if average {
                builder.average_pool("mean", 0, Window::pooling([1, 2, 2], [2, 2]), false).unwrap()
            } else {
                let element = |k: usize| Gather { source: vec![Some(k)], constant: 0.0 };
                let parts: Vec<usize> = (0..4)
                    .map(|k| builder.gather(&format!("x{k}"), vec![0], element(k), vec![1]).unwrap())
                    .collect();
                builder.add("sum", parts).unwrap()
            };
            let relu = builder.activation("relu", sum, Activation::Relu).unwrap();
            let flat = builder.reshape("flat", relu, vec![1]).unwrap();
            // Weights that every format represents.
            builder.dense("dense", flat, Matrix::from_vec(2, 1, vec![1.0, -1.0]), Vec::new()).unwrap();
            let network = builder.finish().unwrap();
            assert_eq!(contradiction(&network, &x, &mut random), Ok(()), "seed {seed}");
        }
    }
}

/// Values beyond a format's range void its certificate.
#[test]
fn leaving_the_range_of_a_format_is_unknown() {
    let network = Blueprint::new(&[3, 4, 4, 3], Activation::Relu, 5).build();
    let set = ThreatModel::new("format:fp8e4m3".parse().unwrap(), None).resolve(&network).unwrap();
    for method in METHODS {
        let options = CertifyOptions::new(method.name, Property::Prediction);
        let found = certificates(&network, &set, &[500.0, 500.0, 500.0], 0, &options);
        assert_eq!(
            (found.verdict, found.reason),
            (Verdict::Unknown, Some(Reason::FormatRange)),
            "{}",
            method.name
        );
    }
}

/// Bounds have the same bits, whatever the number of threads and of samples in a batch.
#[test]
fn bounds_of_products_do_not_depend_on_threads_and_batches() {
    for form in FORMS {
        let network = ProductBlueprint { form, seed: 6 }.build();
        let set = ThreatModel::new(Kind::Relative, 0.01).resolve(&network).unwrap();
        let mut random = rng(6);
        let inputs: Vec<f64> =
            (0..40).flat_map(|_| input(network.input_width(), true, &mut random)).collect();
        let labels = [0; 40];
        for method in METHODS {
            let options = CertifyOptions::new(method.name, Property::Label);
            let certifier = Certifier::new(&network, std::slice::from_ref(&set), options).unwrap();
            let lower = |first: usize, count: usize| -> Vec<f64> {
                let width = network.input_width();
                let inputs = &inputs[first * width..(first + count) * width];
                let samples = Samples { first, inputs, labels: Some(&labels[..count]) };
                certifier.certify(samples)[0].iter().map(|found| found.margin_lower).collect()
            };
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| lower(0, 40))
            };
            let single: Vec<f64> = (0..40).flat_map(|s| lower(s, 1)).collect();
            assert_eq!(run(1), single, "{form:?} {}", method.name);
            assert_eq!(run(3), single, "{form:?} {}", method.name);
        }
    }
}

/// Where a divisor or the argument of a root may leave the domain nothing is proved, and nothing is claimed.
#[test]
fn nothing_certifies_where_a_domain_is_left() {
    use weightproof::kernels::Matrix;
    use weightproof::network::NetworkBuilder;
    let all = [Activation::Reciprocal, Activation::SQRT, Activation::Power { exponent: -0.5 }];
    for (f, radius, is_proved) in all.iter().flat_map(|f| [(*f, 0.4, true), (*f, 1.5, false)]) {
        let mut builder = NetworkBuilder::new(vec![1]);
        let first = builder.dense("first", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new()).unwrap();
        let value = builder.activation("f", first, f).unwrap();
        builder.dense("last", value, Matrix::from_vec(2, 1, vec![1.0, 0.0]), vec![9.0, 0.0]).unwrap();
        let network = builder.finish().unwrap();
        let threat =
            ThreatModel { layers: Some(vec!["first".into()]), ..ThreatModel::new(Kind::Absolute, radius) };
        let set = threat.resolve(&network).unwrap();
        for method in METHODS {
            let found = certificates(&network, &set, &[1.0], 0, &f64_options(method.name));
            assert_eq!(found.verdict == Verdict::Verified, is_proved, "{f:?} {radius} {}", method.name);
            assert!(is_proved || found.margin_lower == f64::NEG_INFINITY, "{f:?} {}", method.name);
        }
    }
}

/// The planes of a product lose `rx ry`: what moves one factor alone is bounded exactly, what moves both to second order.
#[test]
fn one_moving_factor_is_exact() {
    for seed in 0..5 {
        let network = ProductBlueprint { form: Form::Products, seed }.build();
        let x = input(network.input_width(), true, &mut rng(seed));
        let mut threat = ThreatModel::new(Kind::Absolute, 0.05);
        threat.layers = Some(vec!["b".into()]);
        threat.bias_radius = Some(0.0);
        let set = threat.resolve(&network).unwrap();
        let enumerated = vertex_minimum(&network, &set, &x, |f| margin(f, 0));
        let lower = certificates(&network, &set, &x, 0, &f64_options("linear")).margin_lower;
        assert!((lower - enumerated).abs() < ROUNDING, "seed {seed}: {lower} {enumerated}");
    }
}

/// At small radii linear bounds are the radius times the sum of the derivatives: planes and lines lose to second order only.
#[test]
fn linear_bounds_of_products_are_exact_to_first_order() {
    const RADIUS: f64 = 1e-5;
    const STEP: f64 = 1e-6;
    for form in FORMS {
        let network = ProductBlueprint { form, seed: 3 }.build();
        let x = input(network.input_width(), true, &mut rng(3));
        let outputs = network.forward(&x);
        let rival = if outputs[1] > outputs[2] { 1 } else { 2 };
        let mut point = Perturbation::identity(&network);
        let mut derivatives = 0.0;
        for layer in 0..point.layers.len() {
            for k in 0..point.layers[layer].weight.as_slice().len() + point.layers[layer].bias.len() {
                let mut at = |step: f64| {
                    let LayerPerturbation { weight, bias, .. } = &mut point.layers[layer];
                    let weights = weight.as_slice().len();
                    let entry =
                        if k < weights { &mut weight.as_mut_slice()[k] } else { &mut bias[k - weights] };
                    let old = std::mem::replace(entry, *entry + step);
                    let outputs = network.forward_perturbed(&x, &point);
                    let LayerPerturbation { weight, bias, .. } = &mut point.layers[layer];
                    *(if k < weights { &mut weight.as_mut_slice()[k] } else { &mut bias[k - weights] }) = old;
                    outputs[0] - outputs[rival]
                };
                derivatives += ((at(STEP) - at(-STEP)) / (2.0 * STEP)).abs();
            }
        }
        let set = ThreatModel::new(Kind::Absolute, RADIUS).resolve(&network).unwrap();
        let bound = certificates(&network, &set, &x, 0, &f64_options("linear")).margin_lower;
        let loss = outputs[0] - outputs[rival] - bound;
        let expected = RADIUS * derivatives;
        assert!((loss - expected).abs() < 1e-3 * expected, "{form:?}: {loss} {expected}");
    }
}
