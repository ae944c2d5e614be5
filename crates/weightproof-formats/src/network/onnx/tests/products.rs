//! Products, normalizations, softmax and attention, on numbers by hand.

use super::*;

const X: [f64; 6] = [-1.25, 0.5, 2.0, 0.25, -0.75, 1.5];

fn with_float(mut node: NodeProto, name: &str, f: f32) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.into(),
        f,
        kind: attribute_kind::FLOAT,
        ..Default::default()
    });
    node
}

fn scalar(name: &str, number: f32) -> TensorProto {
    floats(name, &[], &[number])
}

/// Compares `y`, computed of X behind a MatMul, with what it should be.
fn check(opset: i64, nodes: Vec<NodeProto>, constants: Vec<TensorProto>, expected: &[f64]) {
    let found = value_of(opset, nodes, constants, &X);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}

fn each(f: impl Fn(f64) -> f64) -> Vec<f64> {
    X.iter().map(|&x| f(x)).collect()
}

/// Each of `count` neighbours less their mean, over the root of the mean of squares.
fn normalized(values: &[f64], count: usize, epsilon: f64, is_centred: bool) -> Vec<f64> {
    let of_group = |group: &[f64]| -> Vec<f64> {
        let n = group.len() as f64;
        let mean = if is_centred { group.iter().sum::<f64>() / n } else { 0.0 };
        let variance = group.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        group.iter().map(|v| (v - mean) / (variance + epsilon).sqrt()).collect()
    };
    values.chunks(count).flat_map(of_group).collect()
}

fn softmax(values: &[f64]) -> Vec<f64> {
    let sum: f64 = values.iter().map(|v| v.exp()).sum();
    values.iter().map(|v| v.exp() / sum).collect()
}

#[test]
fn products_quotients_and_powers_are_layers() {
    let exp = || node("Exp", &["p"], "e");
    check(13, vec![exp(), node("Mul", &["p", "e"], "y")], vec![], &each(|p| p * p.exp()));
    check(13, vec![exp(), node("Div", &["p", "e"], "y")], vec![], &each(|p| p / p.exp()));
    check(
        13,
        vec![exp(), node("Div", &["two", "e"], "y")],
        vec![scalar("two", 2.0)],
        &each(|p| 2.0 / p.exp()),
    );
    check(13, vec![exp(), node("Reciprocal", &["e"], "y")], vec![], &each(|p| (-p).exp()));
    check(13, vec![exp(), node("Sqrt", &["e"], "y")], vec![], &each(|p| (0.5 * p).exp()));
    for exponent in [1.0, 2.0, 3.0, 5.0, -1.0, -2.0] {
        let nodes = vec![node("Pow", &["p", "c"], "y")];
        check(13, nodes, vec![scalar("c", exponent)], &each(|p| p.powf(f64::from(exponent))));
    }
    let nodes = vec![exp(), node("Pow", &["e", "c"], "y")];
    check(13, nodes, vec![scalar("c", -0.75)], &each(|p| (-0.75 * p).exp()));
    // A polynomial that is no GELU.
    let nodes = vec![
        node("Mul", &["p", "p"], "s"),
        node("Mul", &["s", "three"], "t"),
        node("Add", &["t", "p"], "u"),
        node("Add", &["u", "three"], "v"),
        node("Tanh", &["v"], "y"),
    ];
    check(13, nodes, vec![scalar("three", 3.0)], &each(|p| (3.0 * p * p + p + 3.0).tanh()));
    // Factors of their own for each element leave the square a layer.
    let nodes = vec![node("Mul", &["p", "p"], "s"), node("Mul", &["s", "c"], "y")];
    let factors: Vec<f32> = (0..6).map(|k| k as f32).collect();
    let expected: Vec<f64> = X.iter().enumerate().map(|(k, x)| k as f64 * x * x).collect();
    check(13, nodes, vec![floats("c", &[6], &factors)], &expected);
    // Broadcasting: two rows of three times the mean of each.
    let nodes = vec![
        node("Reshape", &["p", "target"], "r"),
        with_ints(node("ReduceMean", &["r"], "m"), "axes", &[-1]),
        node("Mul", &["r", "m"], "y"),
    ];
    let expected: Vec<f64> = X
        .chunks(3)
        .flat_map(|row| row.iter().map(|x| x * row.iter().sum::<f64>() / 3.0).collect::<Vec<f64>>())
        .collect();
    check(13, nodes, vec![ints("target", &[1, 2, 3])], &expected);
}

#[test]
fn normalizations_are_what_their_operators_say() {
    let rows = || node("Reshape", &["p", "target"], "r");
    let (three, two) = ([0.5_f32, -1.0, 2.0], [3.0_f32, -0.5]);
    let target = |dims: &[i64]| ints("target", dims);
    let factor = |k: usize| f64::from(three[k % 3]);
    let plain = normalized(&X, 3, f64::from(1e-2_f32), true);
    let scaled: Vec<f64> = plain.iter().enumerate().map(|(k, v)| factor(k) * v + 0.25 * factor(k)).collect();
    let constants = || {
        let quarter = three.map(|v| 0.25 * v);
        vec![target(&[1, 2, 3]), floats("g", &[3], &three), floats("b", &[3], &quarter)]
    };
    let layer = with_float(node("LayerNormalization", &["r", "g", "b"], "y"), "epsilon", 1e-2);
    check(17, vec![rows(), layer], constants(), &scaled);
    // Written out.
    let written = vec![
        rows(),
        with_ints(node("ReduceMean", &["r"], "m"), "axes", &[-1]),
        node("Sub", &["r", "m"], "d"),
        node("Pow", &["d", "two"], "s"),
        with_ints(node("ReduceMean", &["s"], "v"), "axes", &[-1]),
        node("Add", &["v", "e"], "ve"),
        node("Sqrt", &["ve"], "root"),
        node("Div", &["d", "root"], "n"),
        node("Mul", &["n", "g"], "gn"),
        node("Add", &["gn", "b"], "y"),
    ];
    let more = [scalar("two", 2.0), scalar("e", 1e-2)];
    check(17, written, constants().into_iter().chain(more).collect(), &scaled);
    let plain = normalized(&X, 3, f64::from(1e-5_f32), false);
    let scaled: Vec<f64> = plain.iter().enumerate().map(|(k, v)| factor(k) * v).collect();
    for name in ["SimplifiedLayerNormalization", "RMSNormalization"] {
        check(17, vec![rows(), node(name, &["r", "g"], "y")], constants(), &scaled);
    }
    // Two channels of three elements; groups of one and of two channels.
    let constants = || vec![target(&[1, 2, 3]), floats("g", &[2], &two), floats("b", &[2], &[1.0, 2.0])];
    let of_channels = |values: Vec<f64>| -> Vec<f64> {
        let of = |(k, v): (usize, f64)| f64::from(two[k / 3]) * v + 1.0 + (k / 3) as f64;
        values.into_iter().enumerate().map(of).collect()
    };
    let instance = node("InstanceNormalization", &["r", "g", "b"], "y");
    check(
        17,
        vec![rows(), instance],
        constants(),
        &of_channels(normalized(&X, 3, f64::from(1e-5_f32), true)),
    );
    let group = with_int(node("GroupNormalization", &["r", "g", "b"], "y"), "num_groups", 1);
    check(21, vec![rows(), group], constants(), &of_channels(normalized(&X, 6, f64::from(1e-5_f32), true)));
    // Along the first axis of two rows of three.
    let lengths: Vec<f64> = (0..3).map(|j| X[j].hypot(X[j + 3])).collect();
    let expected: Vec<f64> = X.iter().enumerate().map(|(k, x)| x / lengths[k % 3]).collect();
    let lp = with_int(node("LpNormalization", &["r"], "y"), "axis", 1);
    check(17, vec![rows(), lp.clone()], constants(), &expected);
    let expected: Vec<f64> =
        X.iter().enumerate().map(|(k, x)| x / (X[k % 3].abs() + X[k % 3 + 3].abs())).collect();
    check(17, vec![rows(), with_int(lp, "p", 1)], constants(), &expected);
    // Three channels of two elements; of a size of 2 a channel and the one behind it.
    let lrn = with_int(node("LRN", &["r"], "y"), "size", 2);
    let lrn = with_float(with_float(with_float(lrn, "alpha", 0.5), "beta", 0.75), "bias", 2.0);
    let expected: Vec<f64> = (0..6)
        .map(|k| X[k] / (2.0 + 0.25 * (X[k] * X[k] + X.get(k + 2).map_or(0.0, |x| x * x))).powf(0.75))
        .collect();
    check(17, vec![rows(), lrn], vec![target(&[1, 3, 2])], &expected);
}

/// Scales of normalizations move with the weights; those that are written out as Mul and Add do not.
#[test]
fn scales_of_normalizations_are_layers() {
    let nodes = vec![node("LayerNormalization", &["x", "g", "b"], "y")];
    let constants = vec![floats("g", &[2], &[1.0, 2.0]), floats("b", &[2], &[0.0, 0.5])];
    let (network, _) = parse_onnx(&model(17, &[1, 2], nodes, constants)).unwrap();
    let layers: Vec<_> =
        network.affine_layers().map(|(_, node, affine)| (node.name.clone(), affine)).collect();
    assert_eq!(layers.len(), 1);
    assert_eq!(
        (layers[0].1.weight.as_slice(), layers[0].1.bias.as_slice()),
        (&[1.0, 2.0][..], &[0.0, 0.5][..])
    );
}

#[test]
fn softmax_may_stand_anywhere() {
    let rows = || node("Reshape", &["p", "target"], "r");
    let target = || vec![ints("target", &[1, 2, 3])];
    let nodes = vec![rows(), node("Softmax", &["r"], "s"), node("Exp", &["s"], "y")];
    let expected: Vec<f64> = X.chunks(3).flat_map(softmax).map(f64::exp).collect();
    check(13, nodes, target(), &expected);
    // Up to operator set 12 all axes from the given one on.
    let nodes = vec![rows(), node("Softmax", &["r"], "s"), node("Exp", &["s"], "y")];
    check(11, nodes, target(), &softmax(&X).into_iter().map(f64::exp).collect::<Vec<f64>>());
    // Along an axis that is not the last, and renamed before it is read.
    let nodes = vec![
        rows(),
        with_int(node("Softmax", &["r"], "s"), "axis", 1),
        node("Flatten", &["s"], "f"),
        node("Exp", &["f"], "y"),
    ];
    let pairs: Vec<Vec<f64>> = (0..3).map(|j| softmax(&[X[j], X[j + 3]])).collect();
    let expected: Vec<f64> = (0..6).map(|k| pairs[k % 3][k / 3].exp()).collect();
    check(13, nodes, target(), &expected);
}

#[test]
fn attention_is_products_and_sums() {
    // Two tokens of three features, which are queries, keys and values.
    let nodes = vec![
        node("Reshape", &["p", "target"], "r"),
        with_ints(node("Transpose", &["r"], "t"), "perm", &[0, 2, 1]),
        node("MatMul", &["r", "t"], "scores"),
        node("Where", &["mask", "scores", "less"], "masked"),
        node("Softmax", &["masked"], "shares"),
        node("MatMul", &["shares", "r"], "y"),
    ];
    let mask = TensorProto { dims: vec![2, 2], ..ints("mask", &[1, 0, 1, 1]) };
    let constants = vec![ints("target", &[1, 2, 3]), mask, scalar("less", -9.0)];
    let dot = |i: usize, j: usize| (0..3).map(|l| X[3 * i + l] * X[3 * j + l]).sum::<f64>();
    let shares = [softmax(&[dot(0, 0), -9.0]), softmax(&[dot(1, 0), dot(1, 1)])];
    let expected: Vec<f64> =
        (0..6).map(|k| shares[k / 3][0] * X[k % 3] + shares[k / 3][1] * X[3 + k % 3]).collect();
    check(13, nodes, constants, &expected);
    // A mask that leaves nothing of an element.
    let nodes = vec![
        node("Reshape", &["p", "target"], "r"),
        node("Add", &["r", "mask"], "masked"),
        node("Softmax", &["masked"], "s"),
        node("Exp", &["s"], "y"),
    ];
    let mask = floats("mask", &[2, 3], &[0.0, -10_000.0, 0.0, -10_000.0, -70.0, 0.0]);
    let first = softmax(&[X[0], X[2]]);
    let expected = [first[0].exp(), 1.0, first[1].exp(), 1.0, 1.0, 1.0_f64.exp()];
    check(13, nodes, vec![ints("target", &[1, 2, 3]), mask], &expected);
    // Stacks broadcast.
    let nodes = vec![
        node("Reshape", &["p", "left"], "a"),
        node("Reshape", &["p", "right"], "b"),
        node("MatMul", &["a", "b"], "y"),
    ];
    let constants = vec![ints("left", &[1, 3, 1, 2]), ints("right", &[1, 1, 2, 3])];
    let expected: Vec<f64> =
        (0..9).map(|k| X[2 * (k / 3)] * X[k % 3] + X[2 * (k / 3) + 1] * X[3 + k % 3]).collect();
    check(13, nodes, constants, &expected);
}

#[test]
fn fused_attention_is_taken_apart() {
    // Three tokens of two features, two heads of one feature each.
    let weight: Vec<f32> = (0..12).map(|k| ((k * 5 % 7) as f32 - 3.0) / 4.0).collect();
    let bias: Vec<f32> = (0..6).map(|k| k as f32 / 8.0).collect();
    let of = |token: usize, column: usize| {
        let w = |row: usize| f64::from(weight[row * 6 + column]);
        X[2 * token] * w(0) + X[2 * token + 1] * w(1) + f64::from(bias[column])
    };
    for is_causal in [0, 1] {
        let attention =
            NodeProto { domain: "com.microsoft".into(), ..node("Attention", &["r", "w", "b"], "y") };
        let attention = with_int(with_int(attention, "num_heads", 2), "unidirectional", is_causal);
        let nodes = vec![node("Reshape", &["p", "target"], "r"), attention];
        let constants =
            vec![ints("target", &[1, 3, 2]), floats("w", &[2, 6], &weight), floats("b", &[6], &bias)];
        let result = |k: usize| {
            let (i, head) = (k / 2, k % 2);
            let seen = if is_causal == 1 { i + 1 } else { 3 };
            let scores: Vec<f64> = (0..seen).map(|j| of(i, head) * of(j, 2 + head)).collect();
            softmax(&scores).iter().enumerate().map(|(j, share)| share * of(j, 4 + head)).sum::<f64>()
        };
        check(13, nodes, constants, &(0..6).map(result).collect::<Vec<f64>>());
    }
}

#[test]
fn products_that_are_too_large_or_mix_samples_are_refused() {
    let refused = |dims: &[i64], nodes: Vec<NodeProto>| {
        parse_onnx(&model(13, dims, nodes, vec![])).unwrap_err().to_string()
    };
    let nodes = vec![
        with_ints(node("Transpose", &["x"], "t"), "perm", &[0, 2, 1]),
        node("MatMul", &["x", "t"], "m"),
        node("Relu", &["m"], "y"),
    ];
    let error = refused(&[1, 300, 300], nodes);
    assert!(error.contains("node m: expected a product of computed matrices with at most"), "{error}");
    let nodes =
        vec![node("Transpose", &["x"], "t"), node("MatMul", &["t", "x"], "m"), node("Relu", &["m"], "y")];
    let error = refused(&[0, 3], nodes);
    assert!(error.contains("no sum over the batch"), "{error}");
    let error = refused(&[0, 3], vec![with_int(node("LayerNormalization", &["x", "x"], "y"), "axis", 0)]);
    assert!(error.contains("axes without the batch"), "{error}");
}

/// A file that fixes a batch and mixes its samples is one sample.
#[test]
fn a_batch_that_is_mixed_is_one_sample() {
    let nodes = || {
        vec![
            node("MatMul", &["x", "w"], "h"),
            node("Reshape", &["h", "target"], "r"),
            with_ints(node("ReduceSum", &["r"], "y"), "axes", &[1]),
        ]
    };
    let constants = || vec![floats("w", &[2, 2], &[1.0, 0.0, 0.0, 1.0]), ints("target", &[2, 6])];
    let (network, notes) = parse_onnx(&model(12, &[3, 2, 2], nodes(), constants())).unwrap();
    assert_eq!(network.input_shape(), [3, 2, 2]);
    assert!(notes.iter().any(|note| note.contains("mixes the samples")), "{notes:?}");
    let x: Vec<f64> = (0..12).map(f64::from).collect();
    assert_eq!(network.forward(&x), [15.0, 51.0]);
}
