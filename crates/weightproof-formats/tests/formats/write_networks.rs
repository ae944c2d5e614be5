//! Networks that are written and read back.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{
    Activation, Affine, AveragePool, Conv, Gather, Layer, Network, NetworkBuilder, Scale,
};
use weightproof_formats::network::{
    BatchNorm, ReadOptions, encode_onnx, encode_safetensors, parse_onnx, parse_safetensors, read_network,
    read_network_with, write_network,
};
use weightproof_testkit::images::arbitrary_images;
use weightproof_testkit::networks::{Design, arbitrary};
use weightproof_testkit::products::{FORMS, ProductBlueprint};

/// Numbers of files in f64 are rounded to f32, relative to the size of the outputs (at least 1).
const ROUNDING: f64 = 1e-6;
/// The order of additions and factors, in f64.
const ORDER: f64 = 1e-12;

fn through_onnx(network: &Network) -> Network {
    let (read, notes) = parse_onnx(&encode_onnx(network).unwrap()).unwrap();
    assert_eq!(notes, [""; 0]);
    read
}

fn through_safetensors(network: &Network) -> Network {
    let (weights, architecture) = encode_safetensors(network).unwrap();
    let (read, notes) = parse_safetensors(&weights, &architecture).unwrap();
    assert_eq!(notes, [""; 0], "{architecture}");
    read
}

/// The network with every parameter as f32 holds it.
fn rounded(network: &Network) -> Network {
    let round = |v: f64| f64::from(v as f32);
    let list = |numbers: &[f64]| numbers.iter().map(|&v| round(v)).collect::<Vec<f64>>();
    let affine = |affine: &Affine| Affine {
        weight: affine.weight.map(round),
        bias: list(&affine.bias),
        has_bias: affine.has_bias,
        stored: None,
    };
    let mut builder = NetworkBuilder::new(network.input_shape().to_vec());
    for node in &network.nodes()[1..] {
        let layer = match &node.layer {
            Layer::Dense(dense) => Layer::Dense(affine(dense)),
            Layer::Conv(conv) => {
                Layer::Conv(Conv { affine: affine(&conv.affine), window: conv.window.clone() })
            }
            Layer::Scale(Scale { divisor: Some(divisor), .. }) => {
                Layer::Scale(Scale::dividing(list(divisor)))
            }
            Layer::Scale(Scale { scale, shift, .. }) => Layer::Scale(Scale::new(list(scale), list(shift))),
            Layer::Activation(Activation::LeakyRelu { slope }) => {
                Layer::Activation(Activation::LeakyRelu { slope: round(*slope) })
            }
            Layer::Activation(Activation::Clip { low, high }) => {
                Layer::Activation(Activation::Clip { low: round(*low), high: round(*high) })
            }
            Layer::Activation(Activation::SoftThreshold { lambda }) => {
                Layer::Activation(Activation::SoftThreshold { lambda: round(*lambda) })
            }
            Layer::Gather(Gather { source, constant }) => {
                Layer::Gather(Gather { source: source.clone(), constant: round(*constant) })
            }
            Layer::Input
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Reshape => node.layer.clone(),
        };
        builder.push(&node.name, layer, node.inputs.clone(), node.shape.clone()).unwrap();
    }
    builder.finish().unwrap()
}

/// The largest difference of outputs on some inputs, relative to their size (at least 1).
fn difference(network: &Network, other: &Network) -> f64 {
    assert_eq!(network.input_shape(), other.input_shape());
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut worst: f64 = 0.0;
    for _ in 0..3 {
        let x: Vec<f64> = (0..network.input_width()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let (expected, found) = (network.forward(&x), other.forward(&x));
        assert_eq!(expected.len(), found.len());
        let size = expected.iter().fold(1.0_f64, |size, v| size.max(v.abs()));
        for (a, b) in expected.iter().zip(&found) {
            assert!(a.is_finite() && b.is_finite());
            worst = worst.max((a - b).abs() / size);
        }
    }
    worst
}

/// What threat models perturb, with the names that choose it.
fn perturbed(network: &Network) -> Vec<(&str, &Affine)> {
    network.affine_layers().map(|(_, node, affine)| (node.name.as_str(), affine)).collect()
}

fn is_choice(layer: &Layer) -> bool {
    matches!(layer, Layer::Gather(gather) if gather.source.iter().enumerate().any(|(k, &s)| s != Some(k)))
}

/// Whether a choice of elements reads another one: the reader of ONNX makes one of them.
fn chooses_twice(network: &Network) -> bool {
    let nodes = network.nodes();
    let chosen = |i: usize| matches!(nodes[i].layer, Layer::Gather(_));
    nodes.iter().any(|node| is_choice(&node.layer) && node.inputs.iter().any(|&i| chosen(i)))
}

proptest! {
    #[test]
    fn dense_networks_are_read_back(blueprint in arbitrary()) {
        let network = rounded(&blueprint.build());
        prop_assume!(!network.has_quantizers());
        for read in [through_onnx(&network), through_safetensors(&network)] {
            prop_assert_eq!(perturbed(&network), perturbed(&read));
            prop_assert_eq!(difference(&network, &read), 0.0);
            // A dense layer of a decorated network reads two dimensions: a change of shape is added.
            prop_assert!(blueprint.decorated || network == read);
        }
    }

    #[test]
    fn images_are_read_back(blueprint in arbitrary_images()) {
        let network = rounded(&blueprint.build());
        prop_assume!(!network.has_quantizers());
        let read = through_onnx(&network);
        prop_assert_eq!(perturbed(&network), perturbed(&read));
        prop_assert_eq!(difference(&network, &read), 0.0);
        prop_assert!(chooses_twice(&network) || network == read);
        prop_assert_eq!(encode_onnx(&network).unwrap(), encode_onnx(&network.clone()).unwrap());
    }

    #[test]
    fn images_are_read_back_from_safetensors_without_rounding(blueprint in arbitrary_images()) {
        let network = blueprint.build();
        prop_assume!(!network.has_quantizers());
        match network.nodes().iter().find(|node| is_choice(&node.layer)) {
            None => prop_assert_eq!(&network, &through_safetensors(&network)),
            Some(choice) => {
                let message = encode_safetensors(&network).unwrap_err().to_string();
                let expected = format!("layer {}: expected a concatenation along the first axis", choice.name);
                prop_assert!(message.starts_with(&expected), "{}", message);
            }
        }
    }
}

/// Quantizers have no form in a file that is written: they are refused by name.
/// Products and their functions are read back from ONNX as they are; other formats have no words for them.
#[test]
fn products_are_read_back() {
    for form in FORMS {
        let network = ProductBlueprint { form, seed: 5 }.build();
        let x = vec![0.25, 0.5, -0.75, 1.0];
        let (read, written) = (through_onnx(&network).forward(&x), network.forward(&x));
        for (a, b) in read.iter().zip(&written) {
            assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{form:?}: {a} {b}");
        }
        let message = encode_safetensors(&network).unwrap_err().to_string();
        assert!(message.contains("ONNX holds this one") || message.contains("concatenation"), "{message}");
    }
}

#[test]
fn quantizers_are_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx-quantized/dense-operator.onnx");
    let network = read_network(&path).unwrap().network;
    for message in [
        encode_onnx(&network).unwrap_err().to_string(),
        encode_safetensors(&network).unwrap_err().to_string(),
    ] {
        assert!(
            message.contains("x_QuantizeLinear: expected an activation without steps, found a quantizer"),
            "{message}"
        );
    }
}

/// Every model that the tests of readers read, as far as it is there.
fn models() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders =
        ["tests/onnx", "tests/onnx/later", "tests/exporters", "../../assets", "../../../shared/models"];
    let mut paths = Vec::new();
    for folder in folders {
        match std::fs::read_dir(root.join(folder)) {
            Ok(entries) => paths.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => eprintln!("skipped: no folder {folder}"),
        }
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "onnx"));
    paths.sort();
    paths
}

#[test]
fn models_of_others_compute_the_same_when_written() {
    let (mut onnx, mut safetensors) = (0, 0);
    for path in models() {
        for batch_norm in [BatchNorm::Fold, BatchNorm::Separate] {
            let Ok(loaded) = read_network_with(&path, &ReadOptions { batch_norm, ..ReadOptions::default() })
            else {
                continue;
            };
            let network = loaded.network;
            let names = |network: &Network| -> Vec<String> {
                perturbed(network).iter().map(|(name, _)| name.to_string()).collect()
            };
            let read = through_onnx(&network);
            assert_eq!(names(&network), names(&read), "{}", path.display());
            let worst = difference(&network, &read);
            assert!(worst <= ROUNDING, "{}: {worst:e}", path.display());
            onnx += 1;
            match encode_safetensors(&network) {
                Ok((weights, architecture)) => {
                    let (read, _) = parse_safetensors(&weights, &architecture).unwrap();
                    assert_eq!(perturbed(&network), perturbed(&read), "{}", path.display());
                    let worst = difference(&network, &read);
                    assert!(worst <= ORDER, "{}: {worst:e}", path.display());
                    safetensors += 1;
                }
                Err(error) => {
                    let is_known = ["concatenation", "without steps"]
                        .iter()
                        .any(|part| error.to_string().contains(part));
                    assert!(is_known, "{error}");
                }
            }
        }
    }
    eprintln!("{onnx} networks written as ONNX, {safetensors} of them as safetensors");
    assert!(safetensors > 0);
}

fn weight(rows: usize, cols: usize) -> Matrix<f64> {
    Matrix::from_fn(rows, cols, |i, j| 0.5 * i as f64 - 0.25 * j as f64 + 0.125)
}

/// A network whose shapes no operator takes as they are, with names that tensors and values might have too.
fn awkward() -> Network {
    let mut builder = NetworkBuilder::new(vec![2, 1, 3]);
    let scale = |count: usize| (0..count).map(|k| 0.5 + 0.25 * k as f64).collect::<Vec<f64>>();
    let shift = Scale::new(vec![1.0; 6], vec![0.5, 0.5, 0.5, -1.0, -1.0, -1.0]);
    let kernel = Window { padding: [[0, 0], [0, 2]], ..Window::new([2, 1, 3], 2, [1, 3]) };
    let one = Window { groups: 6, ..Window::new([6, 1, 1], 6, [1, 1]) };
    // Without bias, so that an addition after it must not become one.
    let conv = builder.conv("output", 0, weight(2, 6), vec![], kernel).unwrap();
    let shifted = builder.scale("output.weight", conv, shift).unwrap();
    let flat = builder.reshape("flat", shifted, vec![6]).unwrap();
    // A batch normalization of its own on flat data.
    let norm = Layer::Conv(Conv {
        affine: Affine { weight: weight(6, 1), bias: scale(6), has_bias: true, stored: None },
        window: one,
    });
    let norm = builder.push("norm", norm, vec![flat], vec![6]).unwrap();
    let add = builder.push("add", Layer::Add, vec![norm, shifted, norm], vec![6]).unwrap();
    let relu =
        builder.push("norm.input", Layer::Activation(Activation::Gelu), vec![add], vec![2, 3]).unwrap();
    let uneven = Window { stride: [1, 2], padding: [[0, 0], [0, 1]], ..Window::pooling([2, 1, 3], [1, 2]) };
    let factor = vec![0.25, 2.0];
    let pool = Layer::AveragePool(AveragePool { window: uneven, factor });
    let pool = builder.push("pool", pool, vec![relu], vec![2, 2]).unwrap();
    let most = builder.max_pool("most", relu, Window::pooling([2, 1, 3], [1, 3])).unwrap();
    let source = vec![Some(5), None, Some(0), Some(2), Some(4), None];
    let gather = Gather { source, constant: 0.75 };
    let chosen = builder.gather("chosen", vec![pool, most], gather, vec![3, 2]).unwrap();
    builder.dense("dense", chosen, weight(2, 6), vec![0.5, -0.5]).unwrap();
    builder.finish().unwrap()
}

#[test]
fn shapes_that_do_not_fit_are_changed_on_the_way() {
    let network = awkward();
    let read = through_onnx(&network);
    assert_eq!(perturbed(&network), perturbed(&read));
    assert!(difference(&network, &read) <= ORDER);
    let message = encode_safetensors(&network).unwrap_err().to_string();
    assert!(message.starts_with("layer chosen: expected a concatenation"), "{message}");
}

#[test]
fn one_dimension_clips_and_zeros_are_read_back() {
    let mut builder = NetworkBuilder::new(vec![2, 7]);
    let line = |window: Window| Window { stride: [1, 2], dilation: [1, 2], ..window };
    let window = line(Window { padding: [[0, 0], [2, 1]], ..Window::new([2, 1, 7], 4, [1, 3]) });
    let pool = Window { padding: [[0, 0], [1, 0]], ..Window::pooling([4, 1, 3], [1, 2]) };
    let conv = Layer::Conv(Conv {
        affine: Affine { weight: weight(4, 6), bias: vec![0.0; 4], has_bias: false, stored: None },
        window,
    });
    let conv = builder.push("conv", conv, vec![0], vec![4, 3]).unwrap();
    let low = Activation::Clip { low: -0.5, high: f64::INFINITY };
    let high = Activation::Clip { low: f64::NEG_INFINITY, high: 0.75 };
    let low = builder.activation("low", conv, low).unwrap();
    let high = builder.activation("high", low, high).unwrap();
    let most = builder.push("most", Layer::MaxPool(pool.clone()), vec![high], vec![4, 3]).unwrap();
    let dilated = Window { dilation: [1, 2], kernel: [1, 2], padding: [[0, 0]; 2], ..pool };
    let mean = Layer::AveragePool(AveragePool::new(dilated, false));
    let mean = builder.push("mean", mean, vec![most], vec![4, 1]).unwrap();
    let flat = builder.reshape("flat", mean, vec![4]).unwrap();
    // Biases of zero are biases, and so they are perturbed.
    let dense = builder.dense("dense", flat, weight(3, 4), vec![0.0; 3]).unwrap();
    let constant = Scale::new(vec![0.0; 3], vec![0.5, 0.25, -1.0]);
    builder.scale("constant", dense, constant).unwrap();
    let network = builder.finish().unwrap();
    assert_eq!(network, through_onnx(&network));
    assert_eq!(network, through_safetensors(&network));
}

fn small(name: &str, number: f64) -> Network {
    let mut builder = NetworkBuilder::new(vec![1]);
    let dense = builder.dense(name, 0, Matrix::from_vec(1, 1, vec![number]), vec![]).unwrap();
    builder.activation("relu", dense, Activation::Relu).unwrap();
    builder.finish().unwrap()
}

#[test]
fn numbers_are_rounded_to_f32_in_onnx_only() {
    let network = small("dense", 0.1);
    assert_eq!(through_onnx(&network), small("dense", f64::from(0.1_f32)));
    assert_eq!(through_safetensors(&network), network);
    let widths = [0.1, 0.5].map(|number| encode_safetensors(&small("dense", number)).unwrap().0.len());
    assert_eq!(widths[0] - widths[1], 4, "numbers of f32 take four bytes");
    let message = encode_onnx(&small("dense", 1e300)).unwrap_err().to_string();
    assert_eq!(message, "node dense: expected a weight within the range of f32, found 1e300");
}

#[test]
fn names_that_would_change_are_refused() {
    for name in ["", "line\nfeed", &"long".repeat(40)] {
        let message = encode_onnx(&small(name, 0.5)).unwrap_err().to_string();
        assert!(message.contains("expected a name of 1 to 120 characters"), "{message}");
        let message = encode_safetensors(&small(name, 0.5)).unwrap_err().to_string();
        assert!(message.contains("expected a name of 1 to 120 characters"), "{message}");
    }
    let network = small("\"a.b\" = 'ö' # \\", 0.5);
    assert_eq!(through_onnx(&network), network);
    assert_eq!(through_safetensors(&network), network);
}

#[test]
fn files_appear_whole_and_errors_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let (first, second) = (small("first", 0.5), small("second", 0.5));
    for (name, count) in [("net.onnx", 1), ("other.SafeTensors", 3)] {
        let path = folder.path().join(name);
        for network in [&first, &second] {
            write_network(&path, network).unwrap();
            assert_eq!(&read_network(&path).unwrap().network, network);
        }
        assert_eq!(files(), count);
    }
    let cases = [
        (folder.path().join("net.pt"), "expected one of the extensions .onnx, .safetensors, found \"pt\""),
        (folder.path().join("nowhere/net.onnx"), ""),
        (folder.path().join("nowhere/net.safetensors"), ""),
    ];
    for (path, expected) in cases {
        let message = write_network(&path, &first).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: {expected}", path.display())), "{message}");
    }
    let path = folder.path().join("net.onnx");
    let message = write_network(&path, &small("dense", 1e300)).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{}: node dense", path.display())), "{message}");
    assert_eq!(read_network(&path).unwrap().network, second);
    // A folder is in the way of the architecture: the weights stay as they are.
    std::fs::remove_file(folder.path().join("other.toml")).unwrap();
    std::fs::create_dir(folder.path().join("other.toml")).unwrap();
    let weights = std::fs::read(folder.path().join("other.SafeTensors")).unwrap();
    assert!(write_network(&folder.path().join("other.SafeTensors"), &first).is_err());
    assert_eq!(std::fs::read(folder.path().join("other.SafeTensors")).unwrap(), weights);
    assert_eq!(files(), 3);
}
