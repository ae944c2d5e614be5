//! Products of integers whose step follows from the data, by hand, and what is refused of them.

use super::*;

/// DynamicQuantizeLinear of `x`: integers `q`, step `s`, zero point `z`.
fn quantizer() -> NodeProto {
    NodeProto {
        output: ["q", "s", "z"].map(Into::into).to_vec(),
        ..node("DynamicQuantizeLinear", &["x"], "q")
    }
}

fn int8(name: &str, dims: &[i64], values: &[i32]) -> TensorProto {
    let (dims, int32_data) = (dims.to_vec(), values.to_vec());
    TensorProto { name: name.into(), dims, data_type: data_type::INT8, int32_data, ..Default::default() }
}

fn cast(input: &str, output: &str) -> NodeProto {
    with_int(node("Cast", &[input], output), "to", i64::from(data_type::FLOAT))
}

fn product(operands: &[&str]) -> NodeProto {
    node("MatMulInteger", operands, "p")
}

/// Integers of 2 × 2 weights, a zero point for each column, steps and a bias.
fn constants() -> Vec<TensorProto> {
    vec![
        int8("w", &[2, 2], &[1, -3, 2, 5]),
        int8("v", &[2], &[0, 1]),
        floats("t", &[2], &[0.5, 0.25]),
        floats("b", &[2], &[1.0, -1.0]),
    ]
}

fn read(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> Result<Network, OnnxError> {
    parse_onnx(&model(13, &[1, 2], nodes, constants)).map(|(network, _)| network)
}

#[test]
fn a_product_with_its_steps_is_a_layer() {
    let rest = || vec![cast("p", "c"), node("Mul", &["c", "f"], "m"), node("Add", &["m", "b"], "y")];
    let steps = node("Mul", &["s", "t"], "f");
    let nodes = [vec![quantizer(), product(&["q", "w", "z", "v"]), steps], rest()].concat();
    let network = read(nodes, constants()).unwrap();
    assert_eq!(kinds(&network), ["input", "dynamic-quantize", "dense"]);
    let (_, _, affine) = network.affine_layers().next().unwrap();
    assert_eq!(affine.weight.as_slice(), [0.5, 1.0, -1.0, 1.0]);
    assert_eq!((affine.bias.as_slice(), affine.has_bias), ([1.0, -1.0].as_slice(), true));
    let stored = affine.stored.as_ref().unwrap();
    assert_eq!((stored.bits, stored.signed, stored.zeros.as_slice()), (8, true, [0, 1].as_slice()));
    // Multiples of 3/510, of which zero is number 85.
    let step = f64::from(1.5_f32 / 255.0);
    let (a, b) = (170.0 * step, -85.0 * step);
    assert_eq!(network.forward(&[1.0, -0.5]), [0.5 * a + b + 1.0, -a + b - 1.0]);
}

#[test]
fn integers_that_are_made_numbers_again_are_those_of_the_quantizer() {
    let nodes =
        vec![quantizer(), node("DequantizeLinear", &["q", "s", "z"], "d"), node("MatMul", &["d", "b"], "y")];
    let network = read(nodes, vec![floats("b", &[2, 1], &[1.0, 2.0])]).unwrap();
    assert_eq!(kinds(&network), ["input", "dynamic-quantize", "dense"]);
}

#[test]
fn what_is_not_a_product_of_integers_with_its_steps_is_refused() {
    let error = |nodes: Vec<NodeProto>| read(nodes, constants()).unwrap_err().to_string();
    let with = |more: Vec<NodeProto>| error([vec![quantizer()], more].concat());
    let found = with(vec![product(&["q", "w", "v", "v"]), cast("p", "y")]);
    assert!(found.contains("expected the zero point of the integers in operand number 1"), "{found}");
    let found = with(vec![product(&["q", "w"]), cast("p", "y")]);
    assert!(found.contains("expected the zero point"), "{found}");
    let found = with(vec![product(&["q", "t", "z"]), cast("p", "y")]);
    assert!(found.contains("expected integers of 8 bits as weights"), "{found}");
    let found = with(vec![product(&["q", "w", "z", "v"]), cast("p", "c"), node("Relu", &["c"], "y")]);
    assert!(found.contains("a Mul by the steps behind MatMulInteger"), "{found}");
    let found = with(vec![product(&["q", "w", "z", "v"]), cast("p", "c"), node("Mul", &["c", "t"], "y")]);
    assert!(found.contains("expected the step of its DynamicQuantizeLinear among the factors"), "{found}");
    let found = with(vec![node("Relu", &["q"], "y")]);
    assert!(found.contains("the outputs of DynamicQuantizeLinear to be read by MatMulInteger"), "{found}");
    let found = with(vec![node("Add", &["s", "b"], "y")]);
    assert!(found.contains("the outputs of DynamicQuantizeLinear"), "{found}");
    // The steps of another quantizer.
    let second = NodeProto {
        output: ["r", "u", "k"].map(Into::into).to_vec(),
        ..node("DynamicQuantizeLinear", &["h"], "r")
    };
    let found = with(vec![
        node("Relu", &["x"], "h"),
        second,
        product(&["q", "w", "z", "v"]),
        cast("p", "c"),
        node("Mul", &["c", "u"], "y"),
    ]);
    assert!(found.contains("the step of the quantizer that it reads"), "{found}");
    // A step for each row, and one that is not above zero.
    for (steps, expected) in [
        (floats("g", &[2, 1], &[0.5, 0.5]), "expected one step, or 2 along the outputs"),
        (floats("g", &[2], &[0.5, -0.5]), "expected steps above zero"),
        (floats("g", &[3], &[0.5; 3]), "expected one step, or 2"),
    ] {
        let nodes = vec![
            quantizer(),
            product(&["q", "w", "z", "v"]),
            cast("p", "c"),
            node("Mul", &["s", "g"], "f"),
            node("Mul", &["c", "f"], "y"),
        ];
        let found = read(nodes, [constants(), vec![steps]].concat()).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
}
