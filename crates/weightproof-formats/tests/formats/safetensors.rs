//! Networks in safetensors form.

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use weightproof::network::Layer;
use weightproof_formats::FormatError;
use weightproof_formats::network::{
    BatchNorm, ReadOptions, parse_safetensors, parse_safetensors_with, read_network, read_network_with,
    write_safetensors,
};

const ARCHITECTURE: &str = r#"
input = [1, 2, 1]

[[layer]]
type = "scale"
scale = 2
shift = [-1.0]

[[layer]]
type = "flatten"

[[layer]]
type = "dense"
name = "fc1"
weight = "fc1.weight"
bias = "fc1.bias"

[[layer]]
type = "leaky-relu"
slope = 0.5

[[layer]]
type = "dense"
weight = "fc2.weight"
transposed = true
"#;

fn tensors() -> Vec<(String, Vec<usize>, Vec<f64>)> {
    vec![
        ("fc1.weight".into(), vec![3, 2], vec![1.0, -1.0, 0.5, 0.25, -2.0, 1.0]),
        ("fc1.bias".into(), vec![3], vec![0.5, 0.0, -0.25]),
        ("fc2.weight".into(), vec![3, 1], vec![1.0, 2.0, 4.0]),
    ]
}

fn stored() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    write_safetensors(&path, &tensors(), &[("kind".into(), "wit\"ness\n".into())]).unwrap();
    std::fs::read(path).unwrap()
}

/// By hand: 2x - 1 = (1, -3), W₁z + b = (4.5, -0.25, -5.25), leaky ReLU (4.5, -0.125, -2.625).
const OUTPUT: f64 = 4.5 - 2.0 * 0.125 - 4.0 * 2.625;

#[test]
fn a_network_computed_by_hand() {
    let (network, notes) = parse_safetensors(&stored(), ARCHITECTURE).unwrap();
    assert_eq!(network.forward(&[1.0, -1.0]), [OUTPUT]);
    assert!(notes.is_empty(), "{notes:?}");
    let names: Vec<&str> = network.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["input", "scale_1", "flatten_2", "fc1", "leaky-relu_4", "dense_5"]);
}

#[test]
fn the_writer_is_read_back_by_the_library_and_is_deterministic() {
    let bytes = stored();
    assert_eq!(bytes, stored());
    let read = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), 3);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["kind"], "wit\"ness\n");
    for (name, shape, numbers) in tensors() {
        let view = read.tensor(&name).unwrap();
        assert_eq!((view.dtype(), view.shape()), (Dtype::F64, shape.as_slice()));
        let expected: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(view.data(), expected);
    }
}

#[test]
fn the_writer_refuses_contradictions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let tensor = |name: &str, count: usize| (name.to_string(), vec![2], vec![0.0; count]);
    assert!(write_safetensors(&path, &[tensor("a", 3)], &[]).is_err());
    assert!(write_safetensors(&path, &[tensor("a", 2), tensor("a", 2)], &[]).is_err());
    assert!(write_safetensors(&path, &[tensor("__metadata__", 2)], &[]).is_err());
    assert!(!path.exists());
}

#[test]
fn narrow_types_are_read_exactly() {
    let (network, _) = parse_safetensors(&stored(), ARCHITECTURE).unwrap();
    type Encode = fn(f64) -> Vec<u8>;
    let encoders: [(Dtype, Encode); 3] = [
        (Dtype::F32, |v| (v as f32).to_le_bytes().to_vec()),
        (Dtype::F16, |v| f16::from_f64(v).to_le_bytes().to_vec()),
        (Dtype::BF16, |v| bf16::from_f64(v).to_le_bytes().to_vec()),
    ];
    for (dtype, encode) in encoders {
        let encoded: Vec<(String, Vec<usize>, Vec<u8>)> = tensors()
            .into_iter()
            .map(|(name, shape, numbers)| (name, shape, numbers.iter().flat_map(|&v| encode(v)).collect()))
            .collect();
        let views = encoded
            .iter()
            .map(|(name, shape, data)| (name, TensorView::new(dtype, shape.clone(), data).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        assert_eq!(parse_safetensors(&bytes, ARCHITECTURE).unwrap().0, network, "{dtype:?}");
    }
}

#[test]
fn the_architecture_is_found_beside_the_weights_or_given() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, other) = (folder.path().join("net.safetensors"), folder.path().join("other.toml"));
    std::fs::write(&weights, stored()).unwrap();
    std::fs::write(&other, ARCHITECTURE).unwrap();
    let error = read_network(&weights).unwrap_err();
    assert!(error.to_string().contains("net.toml"), "{error}");
    let loaded = read_network_with(
        &weights,
        &ReadOptions { architecture: Some(other.clone()), ..ReadOptions::default() },
    )
    .unwrap();
    assert_eq!((loaded.format, loaded.sha256.len()), ("safetensors", 64));
    std::fs::rename(&other, folder.path().join("net.toml")).unwrap();
    assert_eq!(read_network(&weights).unwrap().network, loaded.network);
    assert!(matches!(read_network(&folder.path().join("net.pt")), Err(FormatError::Extension { .. })));
}

#[test]
fn errors_name_the_layer_the_tensor_and_the_line() {
    let cases = [
        ("input = [2]\nwidth = 3\nlayer = []", "unknown field `width`"),
        ("input = [2]\n[[layer]]\ntype = \"relu\"\nslope = 1", "unknown field `slope`"),
        ("input = [2]\n[[layer]]\ntype = \"lstm\"", "unknown variant `lstm`"),
        ("input = [2]\n[[layer]]\ntype = \"dense\"", "missing field `weight`"),
        (
            "input = [2]\n[[layer]]\ntype = \"dense\"\nweight = \"no\"",
            "tensor no: expected a tensor of this name",
        ),
        (
            "input = [4]\n[[layer]]\ntype = \"dense\"\nweight = \"fc1.weight\"",
            "tensor fc1.weight: expected the shape [any, 4]",
        ),
        (
            "input = [1, 2]\n[[layer]]\ntype = \"dense\"\nweight = \"fc1.weight\"",
            "layer dense_1: expected a flat input",
        ),
        (
            "input = [2]\n[[layer]]\ntype = \"scale\"\nscale = [1, 2, 3]",
            "layer scale_1: expected a number, 2 or 2 numbers, found 3",
        ),
        ("input = [0]\nlayer = []", "layer input: expected a shape"),
        ("input = [9999999999]\nlayer = []", "layer input: expected a shape"),
        ("input = [2]\nlayer = []", "no dense layer"),
        ("input = [2]\n[[layer]]\ntype = \"reshape\"\nshape = [3]", "node reshape_1"),
        ("input = [2]\n[[layer]]\ntype = \"scale\"\nscale = nan", "node scale_1: factor [0] is NaN"),
    ];
    for (architecture, expected) in cases {
        let message = parse_safetensors(&stored(), architecture).unwrap_err().to_string();
        assert!(message.contains(expected), "{architecture}\n{message}");
    }
    let message = parse_safetensors(&stored(), "input = [2]\n[[layer]]\ntype = 3").unwrap_err().to_string();
    assert!(message.contains("line "), "{message}");
}

#[test]
fn unused_and_shared_tensors_are_noted() {
    let architecture = r#"
        input = [2]
        layer = [
            { type = "dense", weight = "a" },
            { type = "relu" },
            { type = "dense", weight = "a" },
        ]"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let square = |name: &str| (name.to_string(), vec![2, 2], vec![1.0; 4]);
    write_safetensors(&path, &[square("a"), square("b")], &[]).unwrap();
    let (network, notes) = parse_safetensors(&std::fs::read(path).unwrap(), architecture).unwrap();
    assert_eq!(network.nodes().iter().filter(|n| matches!(n.layer, Layer::Dense(_))).count(), 2);
    let expected = [
        "tensor b is not used by any layer",
        "tensor a is shared by the layers dense_1, dense_3: each perturbs a copy of its own",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn damaged_weights_are_refused() {
    for (bytes, architecture) in [(stored(), ARCHITECTURE), (residual(), RESIDUAL)] {
        for length in 0..bytes.len() {
            assert!(parse_safetensors(&bytes[..length], architecture).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let _ = parse_safetensors(&damaged, architecture);
            }
        }
    }
    let mut nan = tensors();
    nan[0].2[3] = f64::NAN;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    write_safetensors(&path, &nan, &[]).unwrap();
    std::fs::write(path.with_extension("toml"), ARCHITECTURE).unwrap();
    let message = read_network(&path).unwrap_err().to_string();
    assert!(
        message.ends_with("w.safetensors: node fc1: weight [1, 1] is NaN, expected a finite number"),
        "{message}"
    );
}

/// Two channels of 2 × 3, a padded convolution, batch normalization, a skip connection and pooling.
const RESIDUAL: &str = r#"
input = [2, 2, 3]

[[layer]]
type = "conv"
name = "conv"
weight = "c"
bias = "cb"
padding = [0, 0, 1, 1]

[[layer]]
type = "batch-norm"
name = "norm"
weight = "g"
bias = "b"
mean = "m"
variance = "v"
epsilon = 0.0

[[layer]]
type = "relu"
name = "z"

[[layer]]
type = "add"
inputs = ["z", "input"]

[[layer]]
type = "clip"
name = "sum"
low = -1.0
high = 50.0

[[layer]]
type = "max-pool"
name = "most"
kernel = [1, 2]
stride = 1
input = "sum"

[[layer]]
type = "average-pool"
name = "mean"
input = "sum"

[[layer]]
type = "flatten"
name = "means"

[[layer]]
type = "flatten"
name = "mosts"
input = "most"

[[layer]]
type = "concat"
inputs = ["means", "mosts"]

[[layer]]
type = "dense"
weight = "d"
"#;

fn residual() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    // Channel 0 adds the elements at (0, 0), (0, 1), (1, 0) and (1, 1); channel 1 takes 2 (1, 1) of the other channel.
    let kernels = vec![1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0];
    let tensors = [
        ("c".to_string(), vec![2, 2, 2, 2], kernels),
        ("cb".into(), vec![2], vec![0.5, 0.0]),
        ("g".into(), vec![2], vec![2.0, 3.0]),
        ("b".into(), vec![2], vec![1.0, -1.0]),
        ("m".into(), vec![2], vec![0.5, 1.0]),
        ("v".into(), vec![2], vec![4.0, 9.0]),
        ("d".into(), vec![1, 10], vec![1.0, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0]),
    ];
    write_safetensors(&path, &tensors, &[]).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn a_residual_network_computed_by_hand() {
    // x₀ = (1 2 3; 4 5 6), x₁ = (1 0 0; 0 1 0).
    // conv₀ + ½ = (12 16 9; 9 11 6) + ½, conv₁ = (2 0 0; 0 0 0)
    // norm₀ = conv₀ + 1 = (13 17 10; 10 12 7), norm₁ = conv₁ − 2 = (0 −2 −2; −2 −2 −2)
    // sum₀ = (14 19 13; 14 17 13), sum₁ = x₁; their means 15 and ⅓; the last of the mosts is max(1, 0) = 1
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let expected = 15.0 + 10.0 / 3.0 + 100.0;
    for (choice, convolutions) in [(BatchNorm::Fold, 1), (BatchNorm::Separate, 2)] {
        let (network, notes) = parse_safetensors_with(&residual(), RESIDUAL, choice).unwrap();
        let found = network.forward(&x)[0];
        assert!((found - expected).abs() < 1e-9, "{choice:?}: {found}");
        let count = network.nodes().iter().filter(|n| matches!(n.layer, Layer::Conv(_))).count();
        assert_eq!(count, convolutions);
        assert!(notes.iter().all(|note| note.starts_with("batch normalization")), "{notes:?}");
    }
}

#[test]
fn images_and_joins_are_checked() {
    let head = "input = [2, 2, 3]\n[[layer]]\n";
    let cases = [
        ("type = \"conv\"\nweight = \"c\"\ngroups = 0", "expected groups that divide 2 channels, found 0"),
        ("type = \"conv\"\nweight = \"c\"\ngroups = 2", "tensor c: expected the shape [any, 1, any, any]"),
        ("type = \"conv\"\nweight = \"d\"", "tensor d: expected the shape [any, 2, any, any]"),
        ("type = \"conv\"\nweight = \"c\"\ndilation = 3", "layer conv_1: expected a kernel that fits into 2"),
        ("type = \"conv\"\nweight = \"c\"\nstride = 0", "expected a stride of one number, or of 2"),
        ("type = \"conv\"\nweight = \"c\"\npadding = [1, 2, 3]", "expected a padding of one number"),
        ("type = \"conv\"\nweight = \"c\"\npadding = 4000000", "numbers that the windows read, found more"),
        (
            "type = \"conv\"\nweight = \"c\"\npadding = 9000000000000000000",
            "expected a padding of one number",
        ),
        ("type = \"max-pool\"\nkernel = [0, 1]", "expected a kernel of one number, or of 2"),
        ("type = \"max-pool\"\nkernel = 2\npadding = 2", "node max-pool_1: expected windows that hold"),
        ("type = \"average-pool\"\nkernel = 3", "layer average-pool_1: expected a kernel that fits into 2"),
        ("type = \"add\"\ninputs = [\"input\"]", "layer add_1: expected at least 2 inputs, found 1"),
        ("type = \"add\"\ninputs = [\"input\", \"z\"]", "expected inputs that are earlier layers, found z"),
        ("type = \"concat\"\ninputs = []", "layer concat_1: expected at least 1 inputs, found 0"),
        ("type = \"relu\"\ninput = \"relu_1\"", "expected inputs that are earlier layers, found relu_1"),
        ("type = \"relu\"\nname = \"input\"", "node input: the name is used twice"),
        ("type = \"clip\"\nlow = 2.0\nhigh = 1.0", "node clip_1: expected a clip"),
        (
            "type = \"batch-norm\"\nweight = \"g\"\nbias = \"b\"\nmean = \"m\"\nvariance = \"v\"\nepsilon = -9.0",
            "layer batch-norm_1: expected variances of at least 0, positive with epsilon, found 4",
        ),
        (
            "type = \"max-pool\"\n[[layer]]\ntype = \"add\"\ninputs = [\"max-pool_1\", \"input\"]",
            "layer add_2: expected inputs of the shape [2, 1, 1], found [2, 2, 3]",
        ),
    ];
    for (layer, expected) in cases {
        let message = parse_safetensors(&residual(), &format!("{head}{layer}")).unwrap_err().to_string();
        assert!(message.contains(expected), "{layer}\n{message}");
    }
}

#[test]
fn layers_that_nobody_reads_are_noted() {
    let architecture = format!("{RESIDUAL}\n[[layer]]\ntype = \"relu\"\ninput = \"z\"\n");
    let error = parse_safetensors(&residual(), &architecture).unwrap();
    assert!(error.1.iter().any(|n| n == "layers that no other layer reads, ignored: 1"), "{:?}", error.1);
}
