//! The one table of operators: what the reader dispatches on, what errors list, what the documentation prints.

use weightproof::network::Activation;

/// An ONNX operator that the reader takes.
#[derive(Clone, Copy, Debug)]
pub struct SupportedOperator {
    /// Its name in ONNX.
    pub name: &'static str,
    /// What becomes of it, and under which conditions.
    pub remark: &'static str,
    pub(super) rule: Rule,
}

/// Which part of the reader handles an operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    Gemm,
    MatMul,
    Arithmetic(Arithmetic),
    Neg,
    Activation(Activation),
    LeakyRelu,
    Gelu,
    Erf,
    Softmax,
    Rename(Rename),
    Transpose,
    Identity,
    Dropout,
    Cast,
    Constant,
    ConstantOfShape,
    Shape,
    Gather,
    Slice,
    Concat,
}

impl Rule {
    /// The least and the most operands over all operator sets, optional ones included.
    pub(super) fn operands(self) -> (usize, usize) {
        match self {
            Rule::Constant => (0, 0),
            Rule::Neg
            | Rule::Activation(_)
            | Rule::LeakyRelu
            | Rule::Gelu
            | Rule::Erf
            | Rule::Softmax
            | Rule::Rename(Rename::Flatten)
            | Rule::Transpose
            | Rule::Identity
            | Rule::Cast
            | Rule::ConstantOfShape
            | Rule::Shape => (1, 1),
            Rule::Rename(Rename::Squeeze | Rename::Unsqueeze) => (1, 2),
            Rule::Dropout => (1, 3),
            Rule::Slice => (1, 5),
            Rule::Concat => (1, usize::MAX),
            Rule::MatMul | Rule::Arithmetic(_) | Rule::Rename(Rename::Reshape) | Rule::Gather => (2, 2),
            Rule::Gemm => (2, 3),
        }
    }
}

impl Rule {
    /// The attributes of the operator in operator set `opset`.
    pub(super) fn attributes(self, opset: i64) -> &'static [&'static str] {
        match self {
            Rule::Gemm => &["alpha", "beta", "transA", "transB"],
            Rule::LeakyRelu => &["alpha"],
            Rule::Gelu => &["approximate"],
            Rule::Softmax | Rule::Rename(Rename::Flatten) | Rule::Gather | Rule::Concat => &["axis"],
            Rule::Rename(Rename::Reshape) if opset >= 14 => &["allowzero"],
            Rule::Rename(Rename::Squeeze | Rename::Unsqueeze) if opset < 13 => &["axes"],
            Rule::Transpose => &["perm"],
            Rule::Dropout => &["ratio", "seed"],
            Rule::Cast => &["to", "saturate"],
            Rule::Constant => &["value", "value_float", "value_floats", "value_int", "value_ints"],
            Rule::ConstantOfShape => &["value"],
            Rule::Shape if opset >= 15 => &["start", "end"],
            Rule::Slice if opset < 10 => &["starts", "ends", "axes"],
            Rule::MatMul
            | Rule::Arithmetic(_)
            | Rule::Neg
            | Rule::Activation(_)
            | Rule::Erf
            | Rule::Rename(_)
            | Rule::Identity
            | Rule::Shape
            | Rule::Slice => &[],
        }
    }
}

/// The operators that only give a value another shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rename {
    Flatten,
    Reshape,
    Squeeze,
    Unsqueeze,
}

/// The four binary operations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

const fn operator(name: &'static str, rule: Rule, remark: &'static str) -> SupportedOperator {
    SupportedOperator { name, remark, rule }
}

const BY_CONSTANT: &str =
    "with one constant operand (scalar, per channel or full): a scale layer; constants are folded";
const ON_CONSTANTS: &str = "of constants: folded";

/// Every operator that the reader takes, in alphabetical order.
pub const SUPPORTED_OPERATORS: &[SupportedOperator] = &[
    operator("Add", Rule::Arithmetic(Arithmetic::Add), "the bias of the MatMul before it, else as Mul"),
    operator("Cast", Rule::Cast, "between floating-point types: nothing; constants are rounded"),
    operator("Concat", Rule::Concat, ON_CONSTANTS),
    operator("Constant", Rule::Constant, "a tensor, number or list of numbers"),
    operator("ConstantOfShape", Rule::ConstantOfShape, ON_CONSTANTS),
    operator("Div", Rule::Arithmetic(Arithmetic::Div), "by a constant: a scale layer; constants are folded"),
    operator("Dropout", Rule::Dropout, "nothing (inference)"),
    operator("Erf", Rule::Erf, "as part of x * (1 + erf(x / sqrt 2)) / 2: the exact GELU"),
    operator("Flatten", Rule::Rename(Rename::Flatten), "a reshape"),
    operator("Gather", Rule::Gather, ON_CONSTANTS),
    operator("Gelu", Rule::Gelu, "an activation, exact or with approximate = tanh"),
    operator("Gemm", Rule::Gemm, "a dense layer; one operand constant, any transA, transB, alpha, beta, C"),
    operator("Identity", Rule::Identity, "nothing"),
    operator("LeakyRelu", Rule::LeakyRelu, "an activation"),
    operator(
        "LogSoftmax",
        Rule::Softmax,
        "dropped as the last operator: it does not change the order of the classes",
    ),
    operator("MatMul", Rule::MatMul, "a dense layer; one operand constant, the other one row or column"),
    operator("Mul", Rule::Arithmetic(Arithmetic::Mul), BY_CONSTANT),
    operator("Neg", Rule::Neg, "a scale layer; constants are folded"),
    operator("Relu", Rule::Activation(Activation::Relu), "an activation"),
    operator(
        "Reshape",
        Rule::Rename(Rename::Reshape),
        "a reshape; the target shape must follow from constants and the input shape",
    ),
    operator("Shape", Rule::Shape, "a constant: the batch dimension counts as 1"),
    operator("Sigmoid", Rule::Activation(Activation::Sigmoid), "an activation"),
    operator("Slice", Rule::Slice, ON_CONSTANTS),
    operator(
        "Softmax",
        Rule::Softmax,
        "dropped as the last operator: it does not change the order of the classes",
    ),
    operator("Softplus", Rule::Activation(Activation::Softplus), "an activation"),
    operator("Squeeze", Rule::Rename(Rename::Squeeze), "a reshape"),
    operator(
        "Sub",
        Rule::Arithmetic(Arithmetic::Sub),
        "the bias (negated) of the MatMul before it, else as Mul",
    ),
    operator("Tanh", Rule::Activation(Activation::Tanh), "an activation"),
    operator(
        "Transpose",
        Rule::Transpose,
        "of constants: folded; of computed values when only dimensions of 1 move",
    ),
    operator("Unsqueeze", Rule::Rename(Rename::Unsqueeze), "a reshape"),
];

/// The names of [`SUPPORTED_OPERATORS`], separated by commas.
pub(super) fn supported_names() -> String {
    let names: Vec<&str> = SUPPORTED_OPERATORS.iter().map(|o| o.name).collect();
    names.join(", ")
}

pub(super) fn rule(name: &str) -> Option<Rule> {
    SUPPORTED_OPERATORS.iter().find(|o| o.name == name).map(|o| o.rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_no_duplicates() {
        assert!(SUPPORTED_OPERATORS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
