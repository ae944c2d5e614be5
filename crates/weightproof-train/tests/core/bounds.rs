//! Bounds on tapes against the bounds of the core, on the same networks and samples.

use rand::RngExt;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::network::{Activation, Network};
use weightproof::noise::{NoiseCertifier, NoiseOptions};
use weightproof::property::Property;
use weightproof::verdict::{Guarantee, Samples};
use weightproof_testkit::images::{ImageBlueprint, Piece};
use weightproof_testkit::networks::{self, Blueprint, Design};
use weightproof_train::architecture::{LayerConfig, layers};
use weightproof_train::bound::{interval, linear, noise as bound_noise, norm_product};
use weightproof_train::graph::{Graph, Var};
use weightproof_train::objective::Evaluation;
use weightproof_train::parameters::{Initialization, Parameters};
use weightproof_train::threat::{NoiseThreat, RadiusKind, Threat};

/// Rounding of f32 on both sides, as a fraction of the size of the numbers.
const ROUNDING: f64 = 2e-5;
const SAMPLES: usize = 6;

/// A network with f32 parameters, and samples with labels.
struct Problem {
    network: Network,
    inputs: Vec<f64>,
    labels: Vec<u32>,
}

impl Problem {
    fn new(network: Network, pixels: bool, seed: u64) -> Self {
        let network = Parameters::of(&network).install(&network);
        let mut rng = networks::rng(seed);
        let inputs = (0..SAMPLES).flat_map(|_| networks::input(network.input_width(), pixels, &mut rng));
        let inputs = inputs.map(|x| f64::from(x as f32)).collect();
        let classes = network.output_width() as u32;
        let labels = (0..SAMPLES).map(|_| rng.random_range(0..classes)).collect();
        Problem { network, inputs, labels }
    }

    fn core(&self, method: &str, threat: &Threat) -> Vec<f64> {
        let set = threat.set(&self.network).unwrap();
        // The tape charges nothing for rounding.
        let guarantee = Guarantee::RealArithmetic;
        let options = CertifyOptions { guarantee, ..CertifyOptions::new(method, Property::Label) };
        let certifier = Certifier::new(&self.network, &[set], options).unwrap();
        let samples = Samples { first: 0, inputs: &self.inputs, labels: Some(&self.labels) };
        certifier.certify(samples)[0].iter().map(|c| c.margin_lower).collect()
    }

    /// Numbers of an evaluation.
    fn on_tape(&self, threat: &Threat, f: impl for<'t> Fn(&Evaluation<'t>) -> Vec<f64>) -> Vec<f64> {
        let (graph, parameters) = (Graph::new(&self.network), Parameters::of(&self.network));
        let inputs: Vec<f32> = self.inputs.iter().map(|&x| x as f32).collect();
        let tape = graph.tape();
        let (weights, x) = (graph.track(&tape, &parameters), graph.batch(&tape, &inputs));
        f(&Evaluation::new(&graph, &weights, threat, x, &self.labels))
    }

    /// The least margin of each sample over its rivals.
    fn tapes(&self, margins: for<'t> fn(&Evaluation<'t>) -> Var<'t>, threat: &Threat) -> Vec<f64> {
        let (graph, parameters) = (Graph::new(&self.network), Parameters::of(&self.network));
        let inputs: Vec<f32> = self.inputs.iter().map(|&x| x as f32).collect();
        let tape = graph.tape();
        let (weights, x) = (graph.track(&tape, &parameters), graph.batch(&tape, &inputs));
        let margins = margins(&Evaluation::new(&graph, &weights, threat, x, &self.labels)).numbers();
        let rows = margins.chunks_exact(self.network.output_width()).zip(&self.labels);
        let rivals = |row: &[f32], label: usize| {
            assert_eq!(row[label], 0.0, "the label has no margin against itself");
            let rivals = row.iter().enumerate().filter(|(j, _)| *j != label);
            rivals.map(|(_, &m)| f64::from(m)).fold(f64::INFINITY, f64::min)
        };
        rows.map(|(row, &label)| rivals(row, label as usize)).collect()
    }

    fn interval(&self, threat: &Threat) -> Vec<f64> {
        self.tapes(|at| interval::margins(at.graph, at.weights, at.threat, at.ranges(), at.labels), threat)
    }

    fn linear(&self, threat: &Threat) -> Vec<f64> {
        self.tapes(|at| linear::margins(at.graph, at.weights, at.threat, at.ranges(), at.labels), threat)
    }

    fn norm_product(&self, threat: &Threat) -> Vec<f64> {
        self.tapes(
            |at| {
                norm_product::margins(at.graph, at.weights, at.threat, (at.logits(), at.ranges()), at.labels)
            },
            threat,
        )
    }
}

fn threats(first: &str) -> Vec<Threat> {
    let absolute = Threat { radius: 0.02, ..Threat::default() };
    vec![
        Threat::default(),
        absolute.clone(),
        Threat { bias_radius: Some(0.0), ..absolute.clone() },
        Threat { radius: 0.01, bias_radius: Some(0.1), ..Threat::default() },
        Threat { kind: RadiusKind::Relative, radius: 0.05, ..Threat::default() },
        Threat { layers: Some(vec![first.into()]), ..absolute.clone() },
        Threat { input_radius: 0.03, ..absolute },
    ]
}

fn assert_equal(found: &[f64], core: &[f64], what: &str) {
    for (f, c) in found.iter().zip(core) {
        assert!((f - c).abs() <= ROUNDING * (1.0 + c.abs()), "{what}: {found:?} against the core's {core:?}");
    }
}

fn assert_below(found: &[f64], core: &[f64], what: &str) {
    for (f, c) in found.iter().zip(core) {
        assert!(*f <= c + ROUNDING * (1.0 + c.abs()), "{what}: {found:?} above the core's {core:?}");
    }
}

fn dense(activation: Activation, seed: u64) -> Problem {
    let pixels = !seed.is_multiple_of(3);
    Problem::new(Blueprint::new(&[7, 9, 8, 6, 4], activation, seed).build(), pixels, seed)
}

#[test]
fn interval_margins_are_the_core_s() {
    for activation in [Activation::Relu, Activation::Sigmoid, Activation::Softplus] {
        for seed in 0..6 {
            let problem = dense(activation, seed);
            for threat in threats("dense1") {
                if threat.input_radius > 0.0 && seed.is_multiple_of(3) {
                    continue;
                }
                let what = format!("{activation:?} {seed} {threat:?}");
                assert_equal(&problem.interval(&threat), &problem.core("interval", &threat), &what);
            }
        }
    }
}

#[test]
fn interval_margins_of_mixed_signs_are_sound() {
    for seed in 0..6 {
        let problem = dense(Activation::Tanh, seed);
        for threat in threats("dense0").into_iter().filter(|threat| threat.input_radius == 0.0) {
            let what = format!("{seed} {threat:?}");
            assert_below(&problem.interval(&threat), &problem.core("interval", &threat), &what);
        }
    }
}

#[test]
fn linear_margins_are_the_core_s_before_it_intersects() {
    for seed in 0..12 {
        let problem = dense(Activation::Relu, seed);
        for threat in threats("dense1") {
            if threat.input_radius > 0.0 && seed.is_multiple_of(3) {
                continue;
            }
            let (linear, interval) = (problem.linear(&threat), problem.interval(&threat));
            let better: Vec<f64> = linear.iter().zip(&interval).map(|(l, i)| l.max(*i)).collect();
            let what = format!("{seed} {threat:?}");
            assert_below(&linear, &problem.core("linear-interval", &threat), &what);
            if problem.network.output_width() == 2 {
                assert_equal(&better, &problem.core("linear-interval", &threat), &what);
            }
        }
    }
}

#[test]
fn linear_margins_of_two_classes_are_the_core_s() {
    for seed in 0..12 {
        let network = Blueprint::new(&[5, 8, 7, 2], Activation::Relu, seed).build();
        let problem = Problem::new(network, true, seed);
        for threat in threats("dense1") {
            let (linear, interval) = (problem.linear(&threat), problem.interval(&threat));
            let better: Vec<f64> = linear.iter().zip(&interval).map(|(l, i)| l.max(*i)).collect();
            let what = format!("{seed} {threat:?}");
            assert_equal(&better, &problem.core("linear-interval", &threat), &what);
        }
    }
}

#[test]
fn norm_products_are_below_the_core_s_and_equal_where_one_layer_moves_at_the_end() {
    for activation in [Activation::Relu, Activation::Sigmoid] {
        for seed in 0..6 {
            let problem = dense(activation, seed);
            for threat in threats("dense2") {
                if threat.input_radius > 0.0 && seed.is_multiple_of(3) {
                    continue;
                }
                let what = format!("{activation:?} {seed} {threat:?}");
                assert_below(&problem.norm_product(&threat), &problem.core("norm-product", &threat), &what);
            }
            let last = Threat { radius: 0.05, layers: Some(vec!["dense3".into()]), ..Threat::default() };
            let core = problem.core("norm-product", &last);
            assert_equal(&problem.norm_product(&last), &core, &format!("{activation:?} {seed}"));
        }
    }
}

/// Margins that random weights leave, by boxes of intervals. The core leaves decided elements the wider box of theory.md §14, counts lengths
/// and takes the better of two bounds of a row: at the wider quantile the tape is below it, and at the same one it loses little more.
#[test]
fn noise_margins_are_near_the_core_s() {
    let wide = |quantile: f64| (quantile * quantile + 2.0 * 50.0_f64.ln()).sqrt();
    let mut ratios = Vec::new();
    for seed in 0..12 {
        let network = Blueprint::new(&[5, 8, 7, 3], Activation::Relu, seed).build();
        let problem = Problem::new(network, true, seed);
        for (sigma, quantile) in [(0.0, 3.0), (0.01, 4.0), (0.03, 6.4), (0.2, 2.0)] {
            let threat = |sigma, quantile| {
                let noise = NoiseThreat { sigma, quantile: Some(quantile), ..NoiseThreat::default() };
                Threat { noise: Some(noise), ..Threat::default() }
            };
            let found = |sigma, quantile| -> Vec<f64> {
                let margins = |at: &Evaluation<'_>| margins_of(at).into_iter().map(f64::from).collect();
                problem.on_tape(&threat(sigma, quantile), margins)
            };
            let (clean, same, below) =
                (found(0.0, quantile), found(sigma, quantile), found(sigma, wide(quantile)));
            let certify = CertifyOptions {
                guarantee: Guarantee::RealArithmetic,
                ..CertifyOptions::new("linear-interval", Property::Label)
            };
            let set = Threat::default().set(&problem.network).unwrap();
            let noise =
                threat(sigma, quantile).noise.expect("given").model().resolve(&problem.network).unwrap();
            let options = NoiseOptions { certify, failure_probability: 1e-9 };
            let certifier = NoiseCertifier::new(&problem.network, set, noise, options).unwrap();
            let samples = Samples { first: 0, inputs: &problem.inputs, labels: Some(&problem.labels) };
            let core = certifier.rows_at(samples, quantile);
            for (s, ((core, _), &label)) in core.iter().zip(&problem.labels).enumerate() {
                let rivals = (0..3).filter(|j| *j != label as usize).map(|j| 3 * s + j);
                for (k, core) in rivals.zip(core) {
                    let rounding = ROUNDING * (1.0 + core.abs());
                    assert!(below[k] <= core + rounding, "{seed} {sigma}: {} above {core}", below[k]);
                    if sigma == 0.0 {
                        assert!((same[k] - core).abs() <= rounding, "{seed}: {} and {core}", same[k]);
                    } else {
                        ratios.push((clean[k] - same[k]) / (clean[k] - core));
                    }
                }
                assert_eq!(same[3 * s + label as usize], 0.0);
            }
        }
    }
    ratios.sort_by(f64::total_cmp);
    let [least, middle, most] = [0, ratios.len() / 2, ratios.len() - 1].map(|k| ratios[k]);
    // What noise takes off, as a multiple of what it takes off in the core.
    assert!(least > 0.85 && (0.95..1.1).contains(&middle) && most < 1.3, "{least} {middle} {most}");
}

/// Margins of the objective on a tape.
fn margins_of<'t>(at: &Evaluation<'t>) -> Vec<f32> {
    let noise = at.threat.noise.expect("noise");
    bound_noise::margins(at.graph, at.weights, &noise, at.values(), at.labels).numbers()
}

/// `f(x) = (z, 0)` with `z = relu(2 x + 0.5)`: everything by hand.
#[test]
fn a_norm_product_by_hand() {
    let network = Blueprint::new(&[1, 1, 2], Activation::Relu, 0).build();
    let parameters = Parameters { arrays: vec![vec![2.0], vec![0.5], vec![1.0, 0.0], vec![0.0, 0.0]] };
    let network = parameters.install(&network);
    let problem = Problem { network, inputs: vec![1.0], labels: vec![0] };
    let threat = Threat { radius: 0.1, bias_radius: Some(0.0), ..Threat::default() };
    // z = 2.5, z* = 2.6, δ = 0.1, so 2.5 − 1 · 0.1 − 2 · 0.1 · 2.6.
    assert_equal(&problem.norm_product(&threat), &[2.5 - 0.1 - 0.52], "by hand");
}

/// Norm products of a convolution are those of the matrix that it is: without padding every row has the whole kernel, and in a relative
/// threat elements that are zero stay so.
#[test]
fn norm_products_of_a_convolution_are_those_of_its_matrix() {
    let conv = LayerConfig::Conv { channels: 3, kernel: 2, stride: 2, padding: 0 };
    let behind = [LayerConfig::Relu, LayerConfig::Dense { outputs: 5 }, LayerConfig::Relu];
    let last = LayerConfig::Dense { outputs: 3 };
    let network = |first: LayerConfig| {
        layers(vec![2, 4, 6], &[[first].as_slice(), &behind, std::slice::from_ref(&last)].concat()).unwrap()
    };
    for seed in 0..6 {
        let kernels = network(conv.clone());
        let kernels = Parameters::random(&kernels, Initialization::HeNormal, 1.0, seed).install(&kernels);
        let mut parameters = Parameters::of(&kernels);
        // Output (o, y, x) of (3, 2, 3) reads (c, 2 y + i, 2 x + j) of (2, 4, 6).
        let (kernel, bias) = (parameters.arrays[0].clone(), parameters.arrays[1].clone());
        let mut matrix = vec![0.0; 18 * 48];
        for (row, (o, y, x)) in (0..18).map(|row| (row, (row / 6, row / 3 % 2, row % 3))) {
            for (tap, (c, i, j)) in (0..8).map(|tap| (tap, (tap / 4, tap / 2 % 2, tap % 2))) {
                matrix[row * 48 + (c * 4 + 2 * y + i) * 6 + 2 * x + j] = kernel[o * 8 + tap];
            }
        }
        parameters.arrays[0] = matrix;
        parameters.arrays[1] = (0..18).map(|row| bias[row / 6]).collect();
        let matrix = parameters.install(&network(LayerConfig::Dense { outputs: 18 }));
        let [kernels, matrix] = [kernels, matrix].map(|network| Problem::new(network, true, seed));
        let threat = Threat { kind: RadiusKind::Relative, radius: 0.05, ..Threat::default() };
        assert_equal(&kernels.norm_product(&threat), &matrix.norm_product(&threat), &format!("{seed}"));
        for threat in threats("dense_3") {
            let core = kernels.core("norm-product", &threat);
            assert_below(&kernels.norm_product(&threat), &core, &format!("{seed} {threat:?}"));
        }
    }
}

/// Between convolution and dense layer there has to be an activation, also where a change of shape stands between them.
#[test]
fn norm_products_need_activations_between_layers() {
    let conv = LayerConfig::Conv { channels: 3, kernel: 2, stride: 2, padding: 0 };
    let network = layers(vec![2, 4, 6], &[conv, LayerConfig::Dense { outputs: 3 }]).unwrap();
    let defect = norm_product::defect(&Graph::new(&network)).unwrap();
    assert!(defect.contains("expected a chain of dense layers or convolutions"), "{defect}");
}

fn images(pieces: &[Piece], seed: u64) -> Problem {
    let blueprint =
        ImageBlueprint { input: [2, 6, 5], pieces: pieces.to_vec(), classes: 3, global_pool: false, seed };
    Problem::new(blueprint.build(), true, seed)
}

#[test]
fn convolutions_rearrangements_and_pools_are_the_core_s() {
    let all = weightproof_testkit::images::PIECES;
    for seed in 0..24 {
        let pieces = [all[seed % all.len()], Piece::Activation, all[(seed * 7 + 3) % all.len()]];
        let problem = images(&pieces, seed as u64);
        let graph = Graph::new(&problem.network);
        let parameters = Parameters::of(&problem.network);
        let inputs: Vec<f32> = problem.inputs.iter().map(|&x| x as f32).collect();
        let tape = graph.tape();
        let weights = graph.track(&tape, &parameters);
        let found = graph.forward(&weights, graph.batch(&tape, &inputs)).numbers();
        let width = problem.network.input_width();
        let expected: Vec<f64> =
            problem.inputs.chunks_exact(width).flat_map(|x| problem.network.forward(x)).collect();
        let found: Vec<f64> = found.iter().map(|&v| f64::from(v)).collect();
        assert_equal(&found, &expected, &format!("forward of {pieces:?}, seed {seed}"));
        if interval::defect(&graph).is_some() {
            continue;
        }
        for threat in threats("none").into_iter().filter(|threat| threat.layers.is_none()) {
            let what = format!("{pieces:?} {seed} {threat:?}");
            assert_below(&problem.interval(&threat), &problem.core("interval", &threat), &what);
            if linear::defect(&graph).is_none() {
                assert_below(&problem.linear(&threat), &problem.core("linear-interval", &threat), &what);
            }
        }
    }
}
