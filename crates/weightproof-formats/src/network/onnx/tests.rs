//! Models built here: what the recorded ones do not cover.

use super::proto::*;
use super::*;
use weightproof::network::Layer;

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        op_type: op.into(),
        ..NodeProto::default()
    }
}

fn with_ints(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    let kind = attribute_kind::INTS;
    node.attribute.push(AttributeProto {
        name: name.into(),
        ints: ints.to_vec(),
        kind,
        ..Default::default()
    });
    node
}

fn with_int(mut node: NodeProto, name: &str, i: i64) -> NodeProto {
    let kind = attribute_kind::INT;
    node.attribute.push(AttributeProto { name: name.into(), i, kind, ..Default::default() });
    node
}

fn floats(name: &str, dims: &[i64], float_data: &[f32]) -> TensorProto {
    let (dims, float_data) = (dims.to_vec(), float_data.to_vec());
    TensorProto { name: name.into(), dims, data_type: data_type::FLOAT, float_data, ..Default::default() }
}

fn ints(name: &str, int64_data: &[i64]) -> TensorProto {
    let dims = vec![i64::try_from(int64_data.len()).unwrap()];
    let int64_data = int64_data.to_vec();
    TensorProto { name: name.into(), dims, data_type: data_type::INT64, int64_data, ..Default::default() }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| DimensionProto { dim_value: Some(d), dim_param: None }).collect();
    let shape = (!dims.is_empty()).then_some(TensorShapeProto { dim });
    let tensor_type = Some(TensorTypeProto { elem_type: data_type::FLOAT, shape });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// A model from `x` of shape `dims` to `y`.
fn model(opset: i64, dims: &[i64], node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Vec<u8> {
    let graph =
        GraphProto { node, initializer, input: vec![value("x", dims)], output: vec![value("y", &[])] };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: opset }];
    ModelProto { graph: Some(graph), opset_import }.encode_to_vec()
}

fn kinds(network: &Network) -> Vec<&'static str> {
    network.nodes().iter().map(|n| n.layer.kind()).collect()
}

#[test]
fn a_view_with_a_computed_batch_size_is_a_constant_shape() {
    // x.view(x.size(0), -1) as PyTorch exports it; the result is (1, 4).
    for (opset, slice) in [(9, false), (11, false), (9, true), (11, true)] {
        let size = match (slice, opset) {
            (false, _) => vec![
                node("Gather", &["s", "zero"], "n0"),
                with_ints(node("Unsqueeze", &["n0"], "n"), "axes", &[0]),
            ],
            (true, 9) => vec![with_ints(with_ints(node("Slice", &["s"], "n"), "starts", &[0]), "ends", &[1])],
            (true, _) => vec![node("Slice", &["s", "begin", "end"], "n")],
        };
        let mut nodes = vec![node("Shape", &["x"], "s")];
        nodes.extend(size);
        nodes.push(with_int(node("Concat", &["n", "rest"], "target"), "axis", 0));
        nodes.push(node("Reshape", &["x", "target"], "flat"));
        nodes.push(node("MatMul", &["flat", "w"], "h"));
        nodes.push(node("Relu", &["h"], "y"));
        let scalar = TensorProto { dims: vec![], ..ints("zero", &[0]) };
        let constants = vec![
            scalar,
            ints("begin", &[0]),
            ints("end", &[1]),
            ints("rest", &[-1]),
            floats("w", &[4, 1], &[1.0, 2.0, 3.0, 4.0]),
        ];
        let (network, _) = parse_onnx(&model(opset, &[0, 2, 2], nodes, constants)).unwrap();
        assert_eq!(kinds(&network), ["input", "reshape", "dense", "relu"]);
        assert_eq!(network.forward(&[1.0, 1.0, 1.0, -1.0]), [2.0]);
    }
}

#[test]
fn nodes_may_come_in_any_order() {
    let nodes = vec![node("Relu", &["h"], "y"), node("MatMul", &["x", "w"], "h")];
    let (network, _) = parse_onnx(&model(13, &[1, 1], nodes, vec![floats("w", &[1, 1], &[2.0])])).unwrap();
    assert_eq!(network.forward(&[3.0]), [6.0]);
}

#[test]
fn a_bias_is_taken_only_by_the_only_reader_of_a_product() {
    // h is read twice, so adding b to it must not change the other reader; the rest is a branch, which is refused.
    let nodes = vec![
        node("MatMul", &["x", "w"], "h"),
        node("Add", &["h", "b"], "a"),
        node("Relu", &["h"], "r"),
        node("Shape", &["a"], "s"),
        node("Reshape", &["r", "s"], "y"),
    ];
    let constants = vec![floats("w", &[1, 1], &[2.0]), floats("b", &[1], &[-100.0])];
    let (network, _) = parse_onnx(&model(13, &[1, 1], nodes, constants)).unwrap();
    assert_eq!(network.forward(&[3.0]), [6.0]);
}

/// A product and a sum after it are one layer; what would be rounded stays apart, and the identity is none.
#[test]
fn a_product_and_a_sum_become_one_and_the_identity_none() {
    let nodes = vec![
        node("Mul", &["x", "d"], "a"),
        node("Sub", &["a", "c"], "b"),
        node("Div", &["b", "three"], "e"),
        node("MatMul", &["e", "w"], "h"),
        node("Mul", &["h", "c"], "i"),
        node("Relu", &["i"], "y"),
    ];
    let constants = vec![
        floats("c", &[], &[1.0]),
        floats("three", &[], &[3.0]),
        floats("d", &[1, 2], &[2.0, 4.0]),
        floats("w", &[2, 1], &[1.0, 1.0]),
    ];
    let (network, _) = parse_onnx(&model(13, &[1, 2], nodes, constants)).unwrap();
    assert_eq!(kinds(&network), ["input", "scale", "scale", "dense", "relu"]);
    let Layer::Scale(division) = &network.nodes()[2].layer else { panic!("a division") };
    assert_eq!(division.divisor.as_deref(), Some(&[3.0, 3.0][..]));
    let expected = (2.0 * 2.0 - 1.0 + 4.0 * 1.0 - 1.0) / 3.0;
    assert!((network.forward(&[2.0, 1.0])[0] - expected).abs() < 1e-15);
}

#[test]
fn constants_are_computed_in_their_own_precision() {
    // 1/3 in f32, not in f64.
    let nodes = vec![
        node("Div", &["one", "three"], "w1"),
        node("Reshape", &["w1", "square"], "w"),
        node("MatMul", &["x", "w"], "h"),
        node("Relu", &["h"], "y"),
    ];
    let constants = vec![floats("one", &[1], &[1.0]), floats("three", &[], &[3.0]), ints("square", &[1, 1])];
    let (network, _) = parse_onnx(&model(13, &[1, 1], nodes, constants)).unwrap();
    assert_eq!(network.forward(&[1.0]), [f64::from(1.0_f32 / 3.0)]);
}

#[test]
fn a_product_over_one_of_several_axes_is_refused() {
    let nodes = vec![node("MatMul", &["x", "w"], "h"), node("Relu", &["h"], "y")];
    let constants = vec![floats("w", &[2, 1], &[1.0, 1.0])];
    let message = parse_onnx(&model(13, &[1, 3, 2], nodes, constants)).unwrap_err().to_string();
    assert_eq!(message, "node h: expected a product with one row per sample, found 3 of length 2");
}

#[test]
fn attributes_of_another_operator_set_are_not_ignored() {
    // From operator set 13 on the axes of Squeeze are an operand; without it all dimensions of 1 would go.
    let squeeze = with_ints(node("Squeeze", &["x"], "s"), "axes", &[0]);
    let nodes = || vec![squeeze.clone(), node("MatMul", &["s", "w"], "h"), node("Relu", &["h"], "y")];
    let constants = || vec![floats("w", &[1, 1], &[1.0])];
    assert!(parse_onnx(&model(11, &[1, 1, 1], nodes(), constants())).is_ok());
    let message = parse_onnx(&model(13, &[1, 1, 1], nodes(), constants())).unwrap_err().to_string();
    assert_eq!(message, "node s: expected attributes of Squeeze in operator set 13, found axes");
}

#[test]
fn small_files_cannot_ask_for_large_memory() {
    let shape = ints("shape", &[1 << 20, 1 << 20]);
    let nodes = vec![node("ConstantOfShape", &["shape"], "w"), node("MatMul", &["x", "w"], "y")];
    assert!(matches!(
        parse_onnx(&model(13, &[1, 1 << 20], nodes, vec![shape])),
        Err(OnnxError::Limit { .. })
    ));

    let names: Vec<String> = (0..5000).map(|k| format!("v{k}")).collect();
    let mut nodes = vec![node("Neg", &["x"], "v0")];
    nodes.extend(names.windows(2).map(|pair| node("Neg", &[&pair[0]], &pair[1])));
    nodes.push(node("Relu", &["v4999"], "y"));
    assert!(matches!(parse_onnx(&model(13, &[1, 4_000_000], nodes, vec![])), Err(OnnxError::Limit { .. })));

    let column = floats("column", &[4000, 1], &[0.0; 4000]);
    let row = floats("row", &[1, 4000], &[0.0; 4000]);
    let nodes = vec![
        node("Add", &["column", "row"], "square"),
        node("Add", &["square", "square"], "again"),
        node("MatMul", &["x", "again"], "y"),
    ];
    assert!(matches!(
        parse_onnx(&model(13, &[1, 4000], nodes, vec![column, row])),
        Err(OnnxError::Limit { .. })
    ));
}

#[test]
fn many_nodes_of_one_name_are_told_apart_quickly() {
    let names: Vec<String> = (0..3000).map(|k| format!("v{k}")).collect();
    let mut nodes = vec![node("MatMul", &["x", "w"], "v0")];
    nodes.extend(names.windows(2).map(|pair| node("Relu", &[&pair[0]], &pair[1])));
    nodes.push(node("Relu", &["v2999"], "y"));
    for node in &mut nodes {
        node.name = "same".into();
    }
    let (network, _) = parse_onnx(&model(13, &[1, 1], nodes, vec![floats("w", &[1, 1], &[1.0])])).unwrap();
    assert_eq!(network.nodes().last().unwrap().name, "same_3001");
}

#[test]
fn every_supported_operator_has_a_rule() {
    for operator in SUPPORTED_OPERATORS {
        let nodes = vec![node(operator.name, &["x", "x"], "y")];
        let error = parse_onnx(&model(20, &[1, 2], nodes, vec![])).unwrap_err();
        assert!(!matches!(error, OnnxError::Operator { .. }), "{error}");
    }
}

#[test]
fn neighbours_are_merged_only_where_nobody_else_reads() {
    // a = 2x is read by b = a + 1 and by the addition; c = 3b and d = c + 1 are one scale.
    let nodes = vec![
        node("Mul", &["x", "two"], "a"),
        node("Add", &["a", "one"], "b"),
        node("Mul", &["b", "three"], "c"),
        node("Add", &["c", "one"], "d"),
        node("Add", &["a", "d"], "sum"),
        node("MatMul", &["sum", "w"], "h"),
        node("Relu", &["h"], "y"),
    ];
    let constants = vec![
        floats("one", &[], &[1.0]),
        floats("two", &[], &[2.0]),
        floats("three", &[], &[3.0]),
        floats("w", &[1, 1], &[1.0]),
    ];
    let (network, _) = parse_onnx(&model(13, &[1, 1], nodes, constants)).unwrap();
    assert_eq!(kinds(&network), ["input", "scale", "scale", "scale", "add", "dense", "relu"]);
    assert_eq!(network.forward(&[1.0]), [2.0 + 3.0 * 3.0 + 1.0]);
}

#[test]
fn transpositions_that_cancel_vanish() {
    let perm = |name: &str, from: &str, to: &[i64]| with_ints(node("Transpose", &[from], name), "perm", to);
    let nodes = vec![
        perm("a", "x", &[0, 2, 3, 1]),
        perm("b", "a", &[0, 3, 1, 2]),
        with_int(node("Flatten", &["b"], "f"), "axis", 1),
        node("MatMul", &["f", "w"], "h"),
        node("Relu", &["h"], "y"),
    ];
    let w: Vec<f32> = (0_u8..12).map(f32::from).collect();
    let constants = vec![floats("w", &[12, 1], &w)];
    let (network, _) = parse_onnx(&model(13, &[1, 2, 3, 2], nodes, constants)).unwrap();
    assert_eq!(kinds(&network), ["input", "reshape", "dense", "relu"]);
}

#[test]
fn a_convolution_computed_by_hand() {
    // Rows (1 2 3), kernel (1 10), padding 1 before and 0 after: 10·1, 1 + 20, 2 + 30; plus a bias that an Add brings.
    let conv = with_ints(node("Conv", &["x", "w"], "c"), "pads", &[1, 0]);
    let nodes = vec![conv, node("Add", &["c", "b"], "a"), node("Relu", &["a"], "y")];
    let constants = vec![floats("w", &[1, 1, 2], &[1.0, 10.0]), floats("b", &[1, 1], &[0.5])];
    let (network, _) = parse_onnx(&model(13, &[1, 1, 3], nodes, constants)).unwrap();
    assert_eq!(kinds(&network), ["input", "conv", "relu"]);
    assert_eq!(network.forward(&[1.0, 2.0, 3.0]), [10.5, 21.5, 32.5]);
    assert!(network.affine_layers().next().unwrap().2.has_bias);
}

#[test]
fn the_elements_of_all_values_are_limited() {
    // Every ReLU costs four million numbers in a forward pass.
    let names: Vec<String> = (0..100).map(|k| format!("v{k}")).collect();
    let mut nodes = vec![node("Relu", &["x"], "v0")];
    nodes.extend(names.windows(2).map(|pair| node("Relu", &[&pair[0]], &pair[1])));
    nodes.push(node("Relu", &["v99"], "y"));
    let error = parse_onnx(&model(13, &[1, 4_000_000], nodes, vec![])).unwrap_err().to_string();
    assert!(error.contains("elements of all values up to here"), "{error}");
}

#[test]
fn windows_that_read_too_much_are_refused_quickly() {
    // Two million windows of two million taps over one element.
    let size = 1 << 21;
    let pool = with_ints(node("AveragePool", &["x"], "p"), "kernel_shape", &[size]);
    let pool = with_ints(pool, "pads", &[size - 1, size - 1]);
    let nodes = vec![pool, node("Relu", &["p"], "y")];
    let error = parse_onnx(&model(13, &[1, 1, 1], nodes, vec![])).unwrap_err().to_string();
    assert!(error.contains("numbers that the windows read"), "{error}");
}

#[test]
fn refusals_offer_a_way_on() {
    let refused = |nodes: Vec<NodeProto>| {
        let error = parse_onnx(&model(17, &[1, 2], nodes, vec![floats("s", &[2], &[1.0, 1.0])])).unwrap_err();
        (error.to_string(), error.hint().unwrap())
    };
    for (op, way) in [
        ("LayerNormalization", "BatchNormalization is read"),
        ("GroupNormalization", "BatchNormalization is read"),
        ("PRelu", "LeakyReLU(slope)"),
        ("HardSwish", "ReLU or GELU"),
        ("Einsum", "onnxsim"),
    ] {
        let (error, hint) = refused(vec![node(op, &["x", "s"], "y")]);
        assert!(error.contains(op) && hint.contains(way), "{error} {hint}");
    }
    let (_, hint) = refused(vec![node("Sigmoid", &["x"], "g"), node("Mul", &["x", "g"], "y")]);
    assert!(hint.contains("SiLU"), "{hint}");
}
