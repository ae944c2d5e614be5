//! Models built here: what the recorded ones do not cover.

use super::proto::*;
use super::*;
use weightproof::network::Layer;

mod domains;
mod integer;
mod products;

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
    let graph = GraphProto {
        node,
        initializer,
        input: vec![value("x", dims)],
        output: vec![value("y", &[])],
        ..Default::default()
    };
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
fn a_product_with_several_rows_keeps_its_matrix() {
    let nodes =
        vec![node("MatMul", &["x", "w"], "h"), node("Add", &["h", "b"], "a"), node("Relu", &["a"], "y")];
    let constants = vec![floats("w", &[2, 2], &[1.0, 2.0, 10.0, 20.0]), floats("b", &[2], &[0.5, -1000.0])];
    let (network, _) = parse_onnx(&model(13, &[1, 3, 2], nodes, constants)).unwrap();
    assert_eq!(network.forward(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]), [1.5, 0.0, 10.5, 0.0, 11.5, 0.0]);
    let (_, layer, affine) = network.affine_layers().next().unwrap();
    assert_eq!((layer.name.as_str(), affine.weight.as_slice()), ("h", [1.0, 10.0, 2.0, 20.0].as_slice()));
    assert_eq!(affine.bias, [0.5, -1000.0]);
    // The rows of a Gemm are the same; a bias of its own for each row is none of the layer.
    let gemm = vec![node("Gemm", &["x", "w", "b"], "h"), node("Relu", &["h"], "y")];
    let constants = |dims: &[i64], b: &[f32]| vec![floats("w", &[2, 1], &[1.0, 10.0]), floats("b", dims, b)];
    let flat = |b| [with_ints(node("Squeeze", &["in"], "x"), "axes", &[0])].into_iter().chain(b).collect();
    let read = |nodes: Vec<NodeProto>, constants| {
        let bytes = model(11, &[1, 3, 2], flat(nodes), constants);
        let mut model = ModelProto::decode(bytes.as_slice()).unwrap();
        model.graph.as_mut().unwrap().input[0].name = "in".into();
        parse_onnx(&model.encode_to_vec())
    };
    let (network, _) = read(gemm.clone(), constants(&[1], &[1.0])).unwrap();
    assert_eq!(network.forward(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]), [2.0, 11.0, 12.0]);
    let message = read(gemm, constants(&[3, 1], &[1.0, 2.0, 3.0])).unwrap_err().to_string();
    assert!(message.contains("the same operand C for all rows"), "{message}");
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

    let column = floats("column", &[9000, 1], &[0.0; 9000]);
    let row = floats("row", &[1, 9000], &[0.0; 9000]);
    let nodes = vec![
        node("Add", &["column", "row"], "square"),
        node("Add", &["square", "square"], "again"),
        node("MatMul", &["x", "again"], "y"),
    ];
    assert!(matches!(
        parse_onnx(&model(13, &[1, 9000], nodes, vec![column, row])),
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
        if operator.remark == "of constants: folded" {
            continue;
        }
        let (domain, name) = operator.name.rsplit_once('.').unwrap_or_default();
        let operator = if name.is_empty() { operator.name } else { name };
        let nodes = vec![NodeProto { domain: domain.into(), ..node(operator, &["x", "x"], "y") }];
        let error = parse_onnx(&model(24, &[1, 2], nodes, vec![])).unwrap_err();
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
        ("MeanVarianceNormalization", "LayerNormalization"),
        ("LSTM", "--output-name"),
        ("Attention", "MatMul and Softmax"),
        ("Einsum", "--output-name"),
    ] {
        let (error, hint) = refused(vec![node(op, &["x", "s"], "y")]);
        assert!(error.contains(op) && hint.contains(way), "{error} {hint}");
    }
    let (error, hint) = refused(vec![node("Sin", &["x"], "g"), node("Mul", &["x", "g"], "y")]);
    assert!(error.starts_with("node g: Sin") && hint.contains("not bounded yet"), "{error} {hint}");
    let (_, hint) = refused(vec![node("Tanh", &["x"], "g"), node("Gemm", &["x", "g"], "y")]);
    assert!(hint.contains("Mul, Div and MatMul"), "{hint}");
}

/// The value of `y` for one input, of nodes between one `MatMul` by the identity and the output.
fn value_of(opset: i64, nodes: Vec<NodeProto>, constants: Vec<TensorProto>, x: &[f64]) -> Vec<f64> {
    let n = i64::try_from(x.len()).unwrap();
    let identity: Vec<f32> = (0..n * n).map(|k| if k % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let mut all = vec![node("MatMul", &["x", "eye"], "p")];
    all.extend(nodes);
    let constants = constants.into_iter().chain([floats("eye", &[n, n], &identity)]).collect();
    let (network, _) = parse_onnx(&model(opset, &[1, n], all, constants)).unwrap_or_else(|e| panic!("{e}"));
    network.forward(x)
}

#[test]
fn gates_that_exporters_write_out_are_activations() {
    let x = [-4.0, -2.0, -0.5, 0.0, 0.7, 3.5];
    let check = |nodes: Vec<NodeProto>, constants: Vec<TensorProto>, f: &dyn Fn(f64) -> f64| {
        let found = value_of(17, nodes, constants, &x);
        for (y, x) in found.iter().zip(x) {
            assert!((y - f(x)).abs() < 1e-6, "{y} {}", f(x));
        }
    };
    let sigmoid = |p: f64| 1.0 / (1.0 + (-p).exp());
    check(vec![node("Sigmoid", &["p"], "s"), node("Mul", &["p", "s"], "y")], vec![], &|p| p * sigmoid(p));
    check(
        vec![node("Mul", &["p", "b"], "q"), node("Sigmoid", &["q"], "s"), node("Mul", &["s", "p"], "y")],
        vec![floats("b", &[], &[1.702])],
        &|p| p * sigmoid(f64::from(1.702_f32) * p),
    );
    check(
        vec![node("Softplus", &["p"], "s"), node("Tanh", &["s"], "t"), node("Mul", &["p", "t"], "y")],
        vec![],
        &|p| p * p.exp().ln_1p().tanh(),
    );
    check(
        vec![
            node("Add", &["p", "three"], "a"),
            node("Clip", &["a", "zero", "six"], "c"),
            node("Mul", &["p", "c"], "m"),
            node("Div", &["m", "six"], "y"),
        ],
        vec![floats("zero", &[], &[0.0]), floats("three", &[], &[3.0]), floats("six", &[], &[6.0])],
        &|p| p * (p + 3.0).clamp(0.0, 6.0) / 6.0,
    );
    check(
        vec![node("Abs", &["p"], "a"), node("Add", &["a", "one"], "d"), node("Div", &["p", "d"], "y")],
        vec![floats("one", &[], &[1.0])],
        &|p| p / (1.0 + p.abs()),
    );
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let cube = [
        vec![node("Pow", &["p", "three"], "cube")],
        vec![node("Mul", &["p", "p"], "square"), node("Mul", &["square", "p"], "cube")],
    ];
    for cube in cube {
        let rest = [
            node("Mul", &["cube", "kappa"], "k"),
            node("Add", &["p", "k"], "i"),
            node("Mul", &["i", "root"], "inner"),
            node("Tanh", &["inner"], "t"),
            node("Add", &["t", "one"], "u"),
            node("Mul", &["p", "u"], "v"),
            node("Mul", &["v", "half"], "y"),
        ];
        let constants =
            [("three", 3.0), ("kappa", 0.044_715), ("root", root as f32), ("one", 1.0), ("half", 0.5)];
        check(
            cube.into_iter().chain(rest).collect(),
            constants.iter().map(|(name, v)| floats(name, &[], &[*v])).collect(),
            &|p| 0.5 * p * (1.0 + (root * (p + 0.044_715 * p * p * p)).tanh()),
        );
    }
}

#[test]
fn activations_that_are_several_layers() {
    let slopes = floats("slopes", &[3], &[0.5, -2.0, 0.25]);
    let x = [-2.0, -1.0, 3.0];
    assert_eq!(value_of(17, vec![node("PRelu", &["p", "slopes"], "y")], vec![slopes], &x), [-1.0, 2.0, 3.0]);
    let one = floats("slope", &[1], &[-0.5]);
    assert_eq!(value_of(17, vec![node("PRelu", &["p", "slope"], "y")], vec![one], &x), [1.0, 0.5, 3.0]);
    let c = floats("c", &[3], &[-1.5, 0.0, 5.0]);
    assert_eq!(value_of(17, vec![node("Max", &["p", "c"], "y")], vec![c.clone()], &x), [-1.5, 0.0, 5.0]);
    assert_eq!(value_of(17, vec![node("Min", &["c", "p"], "y")], vec![c], &x), [-2.0, -1.0, 3.0]);
    let two = floats("two", &[], &[2.0]);
    let negated = |op: &str| vec![node("Mul", &["p", "two"], "q"), node(op, &["p", "q"], "y")];
    assert_eq!(value_of(17, negated("Max"), vec![two.clone()], &x), [-2.0, -1.0, 6.0]);
    assert_eq!(value_of(17, negated("Min"), vec![two], &x), [-4.0, -2.0, 3.0]);
    let found = value_of(17, vec![node("HardSigmoid", &["p"], "y")], vec![], &x);
    assert!((found[0] - 0.1).abs() < 1e-7 && (found[2] - 1.0).abs() < 1e-12, "{found:?}");
    let found = value_of(17, vec![node("Selu", &["p"], "y")], vec![], &x);
    assert!((found[0] + 1.520_166_8).abs() < 1e-6 && (found[2] - 3.152_103).abs() < 1e-6, "{found:?}");
    let found = value_of(17, vec![with_ints(node("ReduceMin", &["p"], "y"), "axes", &[1])], vec![], &x);
    assert_eq!(found, [-2.0]);
}

#[test]
fn transposed_convolution_and_resizing_by_hand() {
    // Two elements 2 apart under the kernel (1 10 100), cut by one in front: 10·1, 100·1 + 1·2, 10·2, 100·2.
    let conv =
        with_ints(with_ints(node("ConvTranspose", &["x", "w"], "y"), "strides", &[2]), "pads", &[1, 0]);
    let constants = vec![floats("w", &[1, 1, 3], &[1.0, 10.0, 100.0])];
    let (network, _) = parse_onnx(&model(13, &[1, 1, 2], vec![conv], constants)).unwrap();
    assert_eq!(network.forward(&[1.0, 2.0]), [10.0, 102.0, 20.0, 200.0]);
    assert_eq!(network.affine_layers().next().unwrap().2.weight.as_slice(), [100.0, 10.0, 1.0]);
    let one = || floats("one", &[1, 1, 1], &[1.0]);
    let nodes = vec![node("Conv", &["x", "one"], "c"), node("Resize", &["c", "", "scales"], "y")];
    let constants = vec![one(), floats("scales", &[3], &[1.0, 1.0, 2.0])];
    let (network, _) = parse_onnx(&model(13, &[1, 1, 2], nodes, constants)).unwrap();
    assert_eq!(network.forward(&[1.0, 2.0]), [1.0, 1.0, 2.0, 2.0]);
}

#[test]
fn a_fixed_batch_counts_as_one_sample() {
    let nodes = || {
        vec![
            node("Reshape", &["x", "shape"], "f"),
            node("MatMul", &["f", "w"], "h"),
            node("Relu", &["h"], "y"),
        ]
    };
    let constants = || vec![ints("shape", &[8, -1]), floats("w", &[4, 1], &[1.0, 2.0, 3.0, 4.0])];
    let (network, notes) = parse_onnx(&model(13, &[8, 2, 2], nodes(), constants())).unwrap();
    assert_eq!(network.forward(&[1.0; 4]), [10.0]);
    assert!(notes.iter().any(|n| n.contains("batch at 8")), "{notes:?}");
}

#[test]
fn outputs_inputs_and_dimensions_can_be_chosen() {
    let shape = |name: &str, dims: &[&str]| {
        let dim = dims
            .iter()
            .map(|d| match d.parse() {
                Ok(n) => DimensionProto { dim_value: Some(n), dim_param: None },
                Err(_) => DimensionProto { dim_value: None, dim_param: Some((*d).into()) },
            })
            .collect();
        let tensor_type =
            Some(TensorTypeProto { elem_type: data_type::FLOAT, shape: Some(TensorShapeProto { dim }) });
        ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
    };
    let graph = GraphProto {
        node: vec![
            node("MatMul", &["x", "w"], "h"),
            node("Relu", &["h"], "y"),
            node("Add", &["h", "offset"], "z"),
            node("Identity", &["state"], "next"),
        ],
        initializer: vec![floats("w", &[2, 2], &[1.0, 0.0, 0.0, -1.0])],
        input: vec![shape("x", &["n", "wide"]), shape("state", &["1"]), shape("offset", &["1", "2"])],
        output: vec![shape("next", &["1"]), shape("y", &["n", "wide"]), shape("z", &["n", "wide"])],
        ..GraphProto::default()
    };
    let opset_import = ["", "ai.onnx"].map(|d| OperatorSetIdProto { domain: d.into(), version: 17 }).to_vec();
    let bytes = ModelProto { graph: Some(graph), opset_import }.encode_to_vec();
    let wide = OnnxOptions { dims: vec![("wide".into(), 2)], ..OnnxOptions::default() };
    let outputs = |names: &[&str]| OnnxOptions {
        outputs: names.iter().map(ToString::to_string).collect(),
        ..wide.clone()
    };
    let told = |options: &OnnxOptions| {
        let error = read_onnx_with(&bytes, options).unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default())
    };
    let found = |options: &OnnxOptions| read_onnx_with(&bytes, options).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found(&outputs(&["y"])).network.forward(&[1.0, 2.0]), [1.0, 0.0]);
    assert_eq!(found(&outputs(&["y", "h"])).network.forward(&[1.0, 2.0]), [1.0, 0.0, 1.0, -2.0]);
    let (error, hint) = told(&OnnxOptions { dims: vec![], ..outputs(&["y"]) });
    assert_eq!(error, "graph input x: expected dimension 1 to be a number, found wide");
    assert_eq!(hint, "give it a value: --dim wide=16");
    // Without a value the two are one sample, end to end.
    let both = found(&outputs(&["z"]));
    assert_eq!(both.network.forward(&[1.0, 2.0, 10.0, 20.0]), [11.0, 18.0]);
    assert!(both.notes.iter().any(|n| n.contains("2 inputs are laid end to end")), "{:?}", both.notes);
    let offset = ConstantInput { name: "offset".into(), shape: vec![1, 2], numbers: vec![10.0, 20.0] };
    let given = |inputs| OnnxOptions { inputs, ..outputs(&["z"]) };
    assert_eq!(found(&given(vec![offset.clone()])).network.forward(&[1.0, 2.0]), [11.0, 18.0]);
    let wrong = ConstantInput { shape: vec![3], numbers: vec![0.0; 3], ..offset.clone() };
    assert!(told(&given(vec![wrong])).0.contains("a constant of shape [1, 2], found [3]"));
    let unknown = ConstantInput { name: "other".into(), ..offset };
    assert!(told(&given(vec![unknown])).0.ends_with("found other"));
    assert!(told(&outputs(&["nothing"])).0.ends_with("found nothing"));
    // Without a name the first output with weights is taken, and said.
    let first = found(&wide);
    assert_eq!(first.network.forward(&[1.0, 2.0]), [1.0, 0.0]);
    assert!(first.notes.iter().any(|n| n.contains("the output y of 3")), "{:?}", first.notes);
}

#[test]
fn heads_that_choose_classes_are_left_out() {
    for (op, outputs) in [("ArgMax", vec!["y"]), ("TopK", vec!["v", "y"])] {
        let mut head = with_int(node(op, &["h"], "y"), "axis", 1);
        head.output = outputs.iter().map(ToString::to_string).collect();
        if op == "TopK" {
            head.input.push("k".into());
        }
        let nodes = vec![node("MatMul", &["x", "w"], "h"), head];
        let constants = vec![floats("w", &[2, 2], &[1.0, 0.0, 0.0, -1.0]), ints("k", &[1])];
        let read = read_onnx(&model(13, &[1, 2], nodes, constants), BatchNorm::Fold).unwrap();
        assert_eq!(read.network.forward(&[1.0, 2.0]), [1.0, -2.0]);
        assert!(read.dropped_head.unwrap().starts_with(op));
    }
}

#[test]
fn old_operator_sets_broadcast_from_an_axis() {
    let add = with_int(with_int(node("Add", &["p", "c"], "y"), "broadcast", 1), "axis", 1);
    let one = floats("one", &[2, 1, 1, 1], &[1.0, 1.0]);
    let conv = |more: NodeProto| vec![with_int(node("Conv", &["x", "one"], "p"), "group", 2), more];
    let c = floats("c", &[2], &[10.0, 20.0]);
    let (network, _) = parse_onnx(&model(6, &[1, 2, 1, 2], conv(add), vec![one.clone(), c])).unwrap();
    assert_eq!(network.forward(&[1.0, 2.0, 3.0, 4.0]), [11.0, 12.0, 23.0, 24.0]);
    let dropout = parse_onnx(&model(6, &[1, 2, 1, 2], conv(node("Dropout", &["p"], "y")), vec![one]));
    assert!(dropout.unwrap_err().to_string().contains("is_test = 1"));
}
