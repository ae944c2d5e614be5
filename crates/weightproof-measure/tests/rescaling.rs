//! What rescaling of layers does to every measure: what its source says.
//!
//! In a ReLU network, multiplying a layer and its biases by c and dividing the weights of the next layer by c changes no output.
//! Multiplying the last layer and its biases by c multiplies all outputs, and with them all margins, by c.

use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof::threat::{Kind, LayerPerturbation, PerturbationSet, ThreatModel};
use weightproof::verdict::Samples;
use weightproof_measure::capacity::{Inputs, LayerNorms, complexities};
use weightproof_measure::{Context, MEASURES, take};
use weightproof_testkit::images::{ImageBlueprint, PIECES};
use weightproof_testkit::networks::{Blueprint, Design, input, rng};

/// Rounding of f64, relative.
const ROUNDING: f64 = 1e-9;

/// Three layers without biases (or with), their weights times these factors; biases times the product of the factors so far.
fn network(factors: [f64; 3], biases: bool) -> Network {
    let base = Blueprint::new(&[4, 7, 6, 3], Activation::Relu, 3).build();
    let mut builder = NetworkBuilder::new(vec![4]);
    let (mut last, mut so_far) = (0, 1.0);
    for (k, (_, node, affine)) in base.affine_layers().enumerate() {
        so_far *= factors[k];
        let weight = affine.weight.map(|w| w * factors[k]);
        let bias = if biases { affine.bias.iter().map(|b| b * so_far).collect() } else { Vec::new() };
        last = builder.dense(&node.name, last, weight, bias).unwrap();
        if k < 2 {
            last = builder.activation(&format!("relu{k}"), last, Activation::Relu).unwrap();
        }
    }
    builder.finish().unwrap()
}

fn still(network: &Network) -> PerturbationSet {
    ThreatModel::new(Kind::Absolute, 0.0).resolve(network).unwrap()
}

/// The measure of a network on samples that the base network is mostly right about.
fn measure(name: &str, network: &Network) -> f64 {
    let x = input(200, true, &mut rng(9));
    let base = self::network([1.0; 3], true);
    let label = |x: &[f64]| {
        let f = base.forward(x);
        (0..3).max_by(|&a, &b| f[a].total_cmp(&f[b])).unwrap() as u32
    };
    let labels: Vec<u32> = x.chunks(4).map(label).collect();
    let set = still(network);
    let samples = Samples { first: 0, inputs: &x, labels: Some(&labels) };
    let context = Context::new(network, samples, &set, "linear").unwrap();
    take(MEASURES.iter().find(|m| m.name == name).unwrap(), &context).unwrap()
}

fn assert_near(name: &str, a: f64, b: f64) {
    assert!((a - b).abs() <= ROUNDING * a.abs().max(b.abs()).max(1.0), "{name}: {a} {b}");
}

#[test]
fn functions_that_are_equal_have_equal_measures() {
    let invariant = [
        "parameters",
        "margin-10",
        "margin-50",
        "frobenius-product",
        "spectral-product",
        "path-norm",
        "path-norm-l1",
        "fisher-rao",
        "spectral-complexity",
        "spectral-margin",
        "pac-bayes-magnitude-sharpness",
    ];
    let factors = [5.0, 0.5, 0.4];
    for biases in [false, true] {
        let (even, uneven) = (network([1.0; 3], biases), network(factors, biases));
        for name in invariant {
            assert_near(name, measure(name, &even), measure(name, &uneven));
        }
        // Sums are not: that is what is held against them.
        for name in ["frobenius-sum", "spectral-sum"] {
            assert!((measure(name, &even) / measure(name, &uneven)).ln().abs() > 0.1, "{name}");
        }
    }
}

#[test]
fn outputs_that_are_larger_have_measures_that_are_larger() {
    let c = 3.0_f64;
    let (even, larger) = (network([1.0; 3], true), network([1.0, 1.0, c], true));
    let times = |name: &str, factor: f64| {
        assert_near(name, factor * measure(name, &even), measure(name, &larger));
    };
    ["margin-10", "margin-50", "path-norm", "path-norm-l1"].iter().for_each(|name| times(name, c));
    times("spectral-margin", 1.0);
    let plus = |name: &str, summand: f64| {
        assert_near(name, measure(name, &even) + summand, measure(name, &larger));
    };
    plus("spectral-complexity", c.log10());
    ["frobenius-product", "spectral-product"].iter().for_each(|name| plus(name, 2.0 * c.log10()));
}

/// The complexity of a class without biases depends on the product of the norms alone.
#[test]
fn complexity_is_a_product_of_norms() {
    let of = |network: &Network| {
        let norms = LayerNorms::all(network, &still(network));
        let norms: Vec<(f64, f64)> = norms.iter().map(|n| (n.row_reached, n.bias_reached)).collect();
        complexities(network, &norms, Inputs { samples: 100, root_mean_square: 1.0 })[network.output()]
    };
    let even = of(&network([1.0; 3], false));
    assert_near("complexity", even, of(&network([5.0, 0.5, 0.4], false)));
    assert_near("complexity", 3.0 * even, of(&network([1.0, 3.0, 1.0], false)));
    // Biases are scaled with what comes before them, so this holds with them, too.
    assert_near("complexity", of(&network([1.0; 3], true)), of(&network([5.0, 0.5, 0.4], true)));
}

/// The definition of the complexity on graphs with every kind of node: the supremum over some members of the class, in the mean over
/// all signs of four samples, never exceeds it.
#[test]
fn no_member_of_a_graph_exceeds_the_complexity() {
    use rand::RngExt;
    for seed in 0..25 {
        let design = ImageBlueprint {
            input: [2, 4, 4],
            pieces: PIECES.to_vec(),
            classes: 2,
            global_pool: seed % 2 == 0,
            seed,
        };
        let network = design.build();
        let mut random = rng(seed);
        let x = input(4 * network.input_width(), false, &mut random);
        let mut most = vec![(0.0_f64, 0.0_f64); network.affine_layers().count()];
        let mut outputs = Vec::new();
        for _ in 0..30 {
            let parameters: Vec<_> = network
                .affine_layers()
                .map(|(node, _, a)| {
                    let draw = |_, _| random.random_range(-1.0..1.0);
                    let weight = Matrix::from_fn(a.weight.rows(), a.weight.cols(), draw);
                    LayerPerturbation { node, weight, bias: a.bias.clone() }
                })
                .collect();
            let member = network.with_parameters(&parameters);
            let norms = LayerNorms::all(&member, &still(&member));
            for (most, n) in most.iter_mut().zip(&norms) {
                *most = (most.0.max(n.row), most.1.max(n.bias));
            }
            outputs.push(x.chunks(network.input_width()).map(|x| member.forward(x)).collect::<Vec<_>>());
        }
        let bound = complexities(&network, &most, Inputs::new(&x, network.input_width()))[network.output()];
        let mut sum = 0.0;
        for signs in 0..16_u32 {
            let sign = |i: usize| if signs >> i & 1 == 1 { 1.0 } else { -1.0 };
            let value =
                |o: &Vec<Vec<f64>>, j: usize| (0..4).map(|i| sign(i) * o[i][j]).sum::<f64>().abs() / 4.0;
            sum += outputs.iter().flat_map(|o| [value(o, 0), value(o, 1)]).fold(0.0, f64::max);
        }
        assert!(sum / 16.0 <= bound && sum > 0.0, "{seed}: {} {bound}", sum / 16.0);
    }
}
