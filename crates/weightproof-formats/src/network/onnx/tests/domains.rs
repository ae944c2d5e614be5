//! Operators of other domains, on numbers by hand.

use super::*;

fn of(domain: &str, node: NodeProto) -> NodeProto {
    NodeProto { domain: domain.into(), ..node }
}

fn scalar(name: &str, number: f32) -> TensorProto {
    floats(name, &[], &[number])
}

fn with_text(mut node: NodeProto, name: &str, text: &str) -> NodeProto {
    let kind = attribute_kind::STRING;
    node.attribute.push(AttributeProto {
        name: name.into(),
        s: text.as_bytes().to_vec(),
        kind,
        ..Default::default()
    });
    node
}

fn outputs(nodes: Vec<NodeProto>, constants: Vec<TensorProto>, x: &[f64]) -> Vec<f64> {
    let width = i64::try_from(x.len()).unwrap();
    let (network, _) = parse_onnx(&model(13, &[1, width], nodes, constants)).unwrap();
    network.forward(x)
}

fn quant(inputs: &[&str], output: &str, signed: i64, narrow: i64) -> NodeProto {
    let quant = of("qonnx.custom_op.general", node("Quant", inputs, output));
    with_int(with_int(quant, "signed", signed), "narrow", narrow)
}

const IDENTITY: [f32; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];

#[test]
fn values_and_weights_are_rounded_where_they_are() {
    let ones = || floats("w", &[3, 3], &IDENTITY);
    let constants = || vec![scalar("s", 0.5), scalar("z", 0.0), scalar("b", 3.0), ones()];
    let product = || node("MatMul", &["q", "w"], "y");
    for (signed, narrow, expected) in
        [(1, 0, [-2.0, 1.0, 1.5]), (1, 1, [-1.5, 1.0, 1.5]), (0, 0, [0.0, 1.0, 3.5]), (0, 1, [0.0, 1.0, 3.0])]
    {
        let nodes = vec![quant(&["x", "s", "z", "b"], "q", signed, narrow), product()];
        assert_eq!(outputs(nodes, constants(), &[-9.0, 1.2, 9.0]), expected);
    }
    // Ties go to the even integer.
    let nodes = vec![quant(&["x", "s", "z", "b"], "q", 1, 0), product()];
    assert_eq!(outputs(nodes, constants(), &[0.25, 0.75, -0.75]), [0.0, 1.0, -1.0]);
    // A step for each row of weights, which stay integers.
    let weights = vec![
        floats("v", &[3, 3], &IDENTITY.map(|w| 1.3 * w)),
        floats("s", &[3, 1], &[1.0, 0.5, 0.25]),
        scalar("z", 0.0),
        scalar("b", 4.0),
    ];
    let nodes = vec![quant(&["v", "s", "z", "b"], "w", 1, 0), node("MatMul", &["x", "w"], "y")];
    let (network, _) = parse_onnx(&model(13, &[1, 3], nodes, weights)).unwrap();
    assert_eq!(network.forward(&[1.0, 1.0, 1.0]), [1.0, 1.5, 1.25]);
    let Layer::Dense(affine) = &network.nodes()[1].layer else { panic!("a dense layer") };
    let stored = affine.stored.as_ref().expect("integers");
    assert_eq!((stored.bits, stored.signed, &stored.steps[..]), (4, true, &[1.0, 0.5, 0.25][..]));
    // A step for each channel of values.
    let steps = vec![floats("s", &[3], &[1.0, 0.5, 0.25]), scalar("z", 0.0), scalar("b", 4.0), ones()];
    let nodes = vec![quant(&["x", "s", "z", "b"], "q", 1, 0), product()];
    assert_eq!(outputs(nodes, steps, &[1.3, 1.3, 1.3]), [1.0, 1.5, 1.25]);
}

#[test]
fn one_bit_tells_whether_a_number_is_at_least_zero() {
    let constants =
        || vec![scalar("s", 0.5), scalar("z", 0.0), scalar("b", 1.0), floats("w", &[3, 3], &IDENTITY)];
    let bipolar = of("onnx.brevitas", node("BipolarQuant", &["x", "s"], "q"));
    for rounds in [bipolar, quant(&["x", "s", "z", "b"], "q", 1, 0)] {
        let nodes = vec![rounds, node("MatMul", &["q", "w"], "y")];
        assert_eq!(outputs(nodes, constants(), &[-1e-20, 0.0, 3.0]), [-0.5, 0.5, 0.5]);
    }
    let weights = of("onnx.brevitas", node("BipolarQuant", &["v", "s"], "w"));
    let constants = vec![floats("v", &[1, 2], &[-0.1, 0.0]), scalar("s", 2.0)];
    assert_eq!(outputs(vec![weights, node("MatMul", &["x", "w"], "y")], constants, &[1.0]), [-2.0, 2.0]);
}

#[test]
fn what_would_be_rounded_otherwise_is_refused() {
    let constants = |zero, bits| {
        vec![scalar("s", 0.5), scalar("z", zero), scalar("b", bits), floats("w", &[3, 3], &IDENTITY)]
    };
    let plain = || quant(&["x", "s", "z", "b"], "q", 0, 0);
    for (rounds, zero, bits, part) in [
        (plain(), 3.0, 4.0, "even zero point"),
        (plain(), 0.5, 4.0, "one whole number as zero point"),
        (plain(), 0.0, 33.0, "bit width of 1 to 32"),
        (plain(), 0.0, 17.0, "at most 2^16"),
        (with_text(plain(), "rounding_mode", "FLOOR"), 0.0, 4.0, "rounding_mode = ROUND"),
    ] {
        let nodes = vec![rounds, node("MatMul", &["q", "w"], "y")];
        let error = parse_onnx(&model(13, &[1, 3], nodes, constants(zero, bits))).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn channels_may_be_the_last_axis() {
    // An image of two rows, one column and two channels; the kernel takes the first channel twice and the second once.
    let conv = of("qonnx.custom_op.channels_last", node("Conv", &["x", "w"], "y"));
    let w = floats("w", &[1, 1, 1, 2], &[2.0, 1.0]);
    let (network, _) = parse_onnx(&model(13, &[1, 2, 1, 2], vec![conv], vec![w])).unwrap();
    assert_eq!(network.forward(&[1.0, 10.0, 3.0, 30.0]), [12.0, 36.0]);
    let one = floats("w", &[1, 1, 1, 2], &[1.0, -1.0]);
    let conv = of("qonnx.custom_op.channels_last", node("Conv", &["x", "w"], "h"));
    let pool = of("qonnx.custom_op.channels_last", node("MaxPool", &["h"], "y"));
    let nodes = vec![conv, with_ints(pool, "kernel_shape", &[2, 1])];
    let (network, _) = parse_onnx(&model(13, &[1, 2, 1, 2], nodes, vec![one])).unwrap();
    assert_eq!(network.forward(&[1.0, 10.0, 30.0, 3.0]), [27.0]);
}

#[test]
fn fused_products_are_products_and_activations() {
    let w = || floats("w", &[1, 2], &[1.0, -1.0]);
    let gemm = || of("com.microsoft", node("FusedGemm", &["x", "w"], "y"));
    assert_eq!(outputs(vec![with_text(gemm(), "activation", "Relu")], vec![w()], &[2.0]), [2.0, 0.0]);
    let mut leaky = with_text(gemm(), "activation", "LeakyRelu");
    leaky.attribute.push(AttributeProto {
        name: "activation_alpha".into(),
        f: 0.5,
        kind: attribute_kind::FLOAT,
        ..Default::default()
    });
    assert_eq!(outputs(vec![leaky], vec![w()], &[2.0]), [2.0, -1.0]);
    let other = model(13, &[1, 1], vec![with_text(gemm(), "activation", "Affine")], vec![w()]);
    assert!(parse_onnx(&other).unwrap_err().to_string().ends_with("found Affine"));
    let matmul = of("com.microsoft", node("FusedMatMul", &["x", "w"], "y"));
    assert_eq!(outputs(vec![matmul], vec![w()], &[2.0]), [2.0, -2.0]);
}

#[test]
fn numbers_choose_rows_of_a_table() {
    let nodes = vec![
        with_int(node("Cast", &["x"], "i"), "to", i64::from(data_type::INT32)),
        node("Gather", &["table", "i"], "y"),
    ];
    let table = || floats("table", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let read = parse_onnx(&model(13, &[1, 2], nodes, vec![table()])).unwrap();
    assert_eq!(read.0.forward(&[2.9, 0.0]), [5.0, 6.0, 1.0, 2.0]);
    assert_eq!(read.0.forward(&[1.0, 7.0]), [3.0, 4.0, 5.0, 6.0]);
    // The table is what threat models move.
    assert_eq!(read.0.nodes().iter().filter(|n| n.layer.affine().is_some()).count(), 1);
    let nodes = vec![
        with_int(node("Cast", &["x"], "i"), "to", i64::from(data_type::INT32)),
        node("Add", &["i", "i"], "y"),
    ];
    let error = parse_onnx(&model(13, &[1, 2], nodes, vec![])).unwrap_err().to_string();
    assert!(error.contains("indices of a Gather"), "{error}");
}

#[test]
fn sums_repeat_what_broadcasts() {
    // A dueling head: one value and three advantages, less their mean.
    let nodes = vec![
        node("MatMul", &["x", "v"], "value"),
        node("MatMul", &["x", "w"], "advantage"),
        with_ints(with_int(node("ReduceMean", &["advantage"], "mean"), "keepdims", 1), "axes", &[1]),
        node("Sub", &["advantage", "mean"], "centred"),
        node("Add", &["value", "centred"], "y"),
    ];
    let constants =
        vec![floats("v", &[2, 1], &[1.0, 1.0]), floats("w", &[2, 3], &[1.0, 2.0, 3.0, 0.0, 0.0, 3.0])];
    assert_eq!(outputs(nodes, constants, &[1.0, 2.0]), [3.0 + 1.0 - 4.0, 3.0 + 2.0 - 4.0, 3.0 + 9.0 - 4.0]);
}

#[test]
fn inputs_may_be_integers() {
    let mut input = value("x", &[1, 2]);
    let tensor = input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    tensor.elem_type = 2;
    let zero = TensorProto { int32_data: vec![3], dims: vec![], data_type: 2, ..ints("z", &[]) };
    let dequantize = node("DequantizeLinear", &["x", "s", "z"], "h");
    let cast = with_int(node("Cast", &["x"], "h"), "to", i64::from(data_type::FLOAT));
    for (first, expected) in [(dequantize, [2.0, -1.5]), (cast, [7.0, 0.0])] {
        let graph = GraphProto {
            node: vec![first, node("MatMul", &["h", "w"], "y")],
            initializer: vec![floats("w", &[2, 2], &[1.0, 0.0, 0.0, 1.0]), scalar("s", 0.5), zero.clone()],
            input: vec![input.clone()],
            output: vec![value("y", &[])],
            ..Default::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 13 }];
        let bytes = ModelProto { graph: Some(graph), opset_import }.encode_to_vec();
        assert_eq!(parse_onnx(&bytes).unwrap().0.forward(&[7.0, 0.0]), expected);
    }
}
