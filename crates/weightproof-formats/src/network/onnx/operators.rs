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
    PRelu,
    Elu,
    Selu,
    Celu,
    HardSigmoid,
    Shrink,
    Sign,
    ThresholdedRelu,
    Swish,
    Gelu,
    Tanh,
    /// An activation of the domain com.microsoft.
    Microsoft(Activation),
    QuickGelu,
    Erf,
    Pow,
    Log,
    Softmax,
    ArgMax,
    TopK,
    Rename(Rename),
    Transpose,
    Identity,
    Dropout,
    Cast,
    Constant,
    ConstantOfShape,
    Shape,
    OnConstants(Function),
    Gather,
    Slice,
    Split,
    Pad,
    Concat,
    Resize,
    DepthToSpace,
    SpaceToDepth,
    Expand,
    Tile,
    Conv,
    ConvTranspose,
    BatchNormalization,
    Normalization(Normalization),
    Pool(Reduction),
    GlobalPool(Reduction),
    Reduce(Reduction),
    Sum,
    Clip,
    Extremum {
        largest: bool,
    },
    QuantizeLinear,
    DequantizeLinear,
    Quantized(Quantized),
    MatMulNBits,
    Attention,
    DynamicQuantizeLinear,
    IntegerProduct(IntegerProduct),
    MatMulIntegerToFloat,
    DynamicQuantizeMatMul,
    Quant,
    BipolarQuant,
    ChannelsLast(ChannelsLast),
    Fused(Fused),
}

/// Products with an activation behind them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fused {
    Conv,
    Gemm,
    MatMul,
}

/// Products of integers that give integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum IntegerProduct {
    Conv,
    MatMul,
}

/// Operators of QONNX on images whose channels are the last axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ChannelsLast {
    Conv,
    BatchNormalization,
    MaxPool,
}

impl ChannelsLast {
    /// The rule of the operator with channels first.
    fn first(self) -> Rule {
        match self {
            ChannelsLast::Conv => Rule::Conv,
            ChannelsLast::BatchNormalization => Rule::BatchNormalization,
            ChannelsLast::MaxPool => Rule::Pool(Reduction::Max),
        }
    }
}

/// Operators that read and write quantized numbers: what they do in between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Quantized {
    Conv,
    MatMul,
    Gemm,
    Add,
    AveragePool,
    GlobalAveragePool,
    Concat,
    LeakyRelu,
    Sigmoid,
}

impl Rule {
    /// The least and the most operands over all operator sets, optional ones included.
    pub(super) fn operands(self) -> (usize, usize) {
        match self {
            Rule::Constant => (0, 0),
            Rule::Neg
            | Rule::DynamicQuantizeLinear
            | Rule::Activation(_)
            | Rule::LeakyRelu
            | Rule::Elu
            | Rule::Selu
            | Rule::Celu
            | Rule::HardSigmoid
            | Rule::Shrink
            | Rule::Sign
            | Rule::ThresholdedRelu
            | Rule::Swish
            | Rule::Gelu
            | Rule::Tanh
            | Rule::Log
            | Rule::QuickGelu
            | Rule::Erf
            | Rule::Softmax
            | Rule::ArgMax
            | Rule::DepthToSpace
            | Rule::SpaceToDepth
            | Rule::Rename(Rename::Flatten)
            | Rule::Transpose
            | Rule::Identity
            | Rule::Cast
            | Rule::ConstantOfShape
            | Rule::Shape
            | Rule::Pool(_)
            | Rule::GlobalPool(_) => (1, 1),
            Rule::Rename(Rename::Squeeze | Rename::Unsqueeze)
            | Rule::Split
            | Rule::Reduce(_)
            | Rule::TopK
            | Rule::Microsoft(_) => (1, 2),
            Rule::Dropout | Rule::Clip => (1, 3),
            Rule::Pad | Rule::Resize => (1, 4),
            Rule::OnConstants(function) => function.operands(),
            Rule::Slice => (1, 5),
            Rule::Concat | Rule::Sum | Rule::Extremum { .. } => (1, usize::MAX),
            Rule::BatchNormalization => (5, 5),
            Rule::Normalization(kind) => kind.operands(),
            Rule::MatMul
            | Rule::Arithmetic(_)
            | Rule::Rename(Rename::Reshape)
            | Rule::Gather
            | Rule::PRelu
            | Rule::Pow
            | Rule::Expand
            | Rule::Tile => (2, 2),
            Rule::Gemm | Rule::Conv | Rule::ConvTranspose | Rule::QuantizeLinear | Rule::DequantizeLinear => {
                (2, 3)
            }
            Rule::Quantized(Quantized::Conv) => (8, 9),
            Rule::Quantized(Quantized::MatMul | Quantized::Add) => (7, 8),
            Rule::Quantized(Quantized::Gemm) => (6, 9),
            Rule::Quantized(Quantized::Concat) => (5, usize::MAX),
            Rule::Quantized(
                Quantized::AveragePool
                | Quantized::GlobalAveragePool
                | Quantized::LeakyRelu
                | Quantized::Sigmoid,
            ) => (4, 5),
            Rule::MatMulNBits => (3, 6),
            Rule::Attention => (2, 7),
            Rule::IntegerProduct(_) => (2, 4),
            Rule::MatMulIntegerToFloat => (4, 7),
            Rule::DynamicQuantizeMatMul => (3, 5),
            Rule::Quant => (4, 4),
            Rule::BipolarQuant => (2, 2),
            Rule::ChannelsLast(kind) => kind.first().operands(),
            Rule::Fused(Fused::Conv) => (2, 4),
            Rule::Fused(Fused::Gemm | Fused::MatMul) => (2, 3),
        }
    }
}

impl Rule {
    /// The attributes of the operator in operator set `opset`.
    pub(super) fn attributes(self, opset: i64) -> &'static [&'static str] {
        match self {
            Rule::Gemm => &["alpha", "beta", "transA", "transB"],
            Rule::LeakyRelu
            | Rule::Elu
            | Rule::Celu
            | Rule::Swish
            | Rule::QuickGelu
            | Rule::ThresholdedRelu => &["alpha"],
            Rule::Quant => &["narrow", "rounding_mode", "signed"],
            Rule::ChannelsLast(kind) => kind.first().attributes(opset),
            Rule::Fused(Fused::Conv) => &[
                "activation",
                "activation_params",
                "auto_pad",
                "dilations",
                "group",
                "kernel_shape",
                "pads",
                "strides",
            ],
            Rule::Fused(Fused::Gemm) => &[
                "activation",
                "activation_alpha",
                "activation_beta",
                "activation_gamma",
                "alpha",
                "beta",
                "transA",
                "transB",
            ],
            Rule::Fused(Fused::MatMul) => &["alpha", "transA", "transB", "transBatchA", "transBatchB"],
            Rule::Selu => &["alpha", "gamma"],
            Rule::HardSigmoid => &["alpha", "beta"],
            Rule::Shrink => &["bias", "lambd"],
            Rule::ArgMax => &["axis", "keepdims", "select_last_index"],
            Rule::TopK => &["axis", "k", "largest", "sorted"],
            Rule::DepthToSpace => &["blocksize", "mode"],
            Rule::SpaceToDepth => &["blocksize"],
            Rule::Resize if self.is_upsample(opset) => &["mode", "scales"],
            Rule::Resize => &[
                "antialias",
                "axes",
                "coordinate_transformation_mode",
                "cubic_coeff_a",
                "exclude_outside",
                "extrapolation_value",
                "keep_aspect_ratio_policy",
                "mode",
                "nearest_mode",
            ],
            Rule::ConvTranspose => &[
                "auto_pad",
                "dilations",
                "group",
                "kernel_shape",
                "output_padding",
                "output_shape",
                "pads",
                "strides",
            ],
            Rule::Gelu => &["approximate"],
            Rule::Softmax | Rule::Rename(Rename::Flatten) | Rule::Gather | Rule::Concat => &["axis"],
            Rule::Rename(Rename::Reshape) if opset >= 14 => &["allowzero"],
            Rule::Rename(Rename::Squeeze | Rename::Unsqueeze) if opset < 13 => &["axes"],
            Rule::Transpose => &["perm"],
            Rule::Dropout => &["ratio", "seed"],
            Rule::Cast => &["to", "saturate", "round_mode"],
            Rule::Constant => &["value", "value_float", "value_floats", "value_int", "value_ints"],
            Rule::ConstantOfShape => &["value"],
            Rule::Shape if opset >= 15 => &["start", "end"],
            Rule::Slice if opset < 10 => &["starts", "ends", "axes"],
            Rule::Split if opset < 13 => &["axis", "split"],
            Rule::Split if opset < 18 => &["axis"],
            Rule::Split => &["axis", "num_outputs"],
            Rule::Pad if opset < 11 => &["mode", "pads", "value"],
            Rule::Pad => &["mode"],
            Rule::Conv => &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"],
            Rule::Normalization(kind) => kind.attributes(),
            Rule::BatchNormalization if opset < 9 => &["epsilon", "momentum", "spatial"],
            Rule::BatchNormalization if opset < 14 => &["epsilon", "momentum"],
            Rule::BatchNormalization => &["epsilon", "momentum", "training_mode"],
            Rule::Pool(Reduction::Max) if opset < 8 => &["auto_pad", "kernel_shape", "pads", "strides"],
            Rule::Pool(Reduction::Max) if opset < 10 => {
                &["auto_pad", "kernel_shape", "pads", "strides", "storage_order"]
            }
            Rule::Pool(Reduction::Max) => {
                &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"]
            }
            Rule::Pool(_) if opset < 10 => {
                &["auto_pad", "count_include_pad", "kernel_shape", "pads", "strides"]
            }
            Rule::Pool(_) if opset < 19 => {
                &["auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"]
            }
            Rule::Pool(_) => &[
                "auto_pad",
                "ceil_mode",
                "count_include_pad",
                "dilations",
                "kernel_shape",
                "pads",
                "strides",
            ],
            Rule::Reduce(reduction) if opset < reduction.axes_operand_since() => &["axes", "keepdims"],
            Rule::Reduce(_) => &["keepdims", "noop_with_empty_axes"],
            Rule::Clip if opset < 11 => &["max", "min"],
            Rule::QuantizeLinear => &["axis", "saturate", "block_size", "output_dtype", "precision"],
            Rule::DequantizeLinear => &["axis", "block_size", "output_dtype"],
            Rule::Quantized(Quantized::Conv) | Rule::IntegerProduct(IntegerProduct::Conv) => {
                Rule::Conv.attributes(opset)
            }
            Rule::Quantized(Quantized::Gemm) => &["alpha", "transA", "transB"],
            Rule::Quantized(Quantized::AveragePool) => &[
                "auto_pad",
                "ceil_mode",
                "channels_last",
                "count_include_pad",
                "kernel_shape",
                "pads",
                "strides",
            ],
            Rule::Quantized(Quantized::GlobalAveragePool) => &["channels_last"],
            Rule::Quantized(Quantized::Concat) => &["axis"],
            Rule::Quantized(Quantized::LeakyRelu) => &["alpha"],
            Rule::MatMulNBits => &["K", "N", "accuracy_level", "bits", "block_size"],
            Rule::Attention => &["mask_filter_value", "num_heads", "scale", "unidirectional"],
            Rule::MatMul
            | Rule::DynamicQuantizeLinear
            | Rule::IntegerProduct(IntegerProduct::MatMul)
            | Rule::MatMulIntegerToFloat
            | Rule::DynamicQuantizeMatMul
            | Rule::Quantized(Quantized::MatMul | Quantized::Add | Quantized::Sigmoid)
            | Rule::Arithmetic(_)
            | Rule::Neg
            | Rule::Activation(_)
            | Rule::PRelu
            | Rule::Sign
            | Rule::BipolarQuant
            | Rule::Tanh
            | Rule::Log
            | Rule::Microsoft(_)
            | Rule::Erf
            | Rule::Pow
            | Rule::OnConstants(_)
            | Rule::Expand
            | Rule::Tile
            | Rule::Rename(_)
            | Rule::Identity
            | Rule::Shape
            | Rule::Slice
            | Rule::GlobalPool(_)
            | Rule::Sum
            | Rule::Clip
            | Rule::Extremum { .. } => &[],
        }
    }
}

impl Rule {
    /// Attributes that operator sets 5 and 6 have besides.
    pub(super) fn old_attributes(self, opset: i64) -> &'static [&'static str] {
        if opset >= 7 {
            &[]
        } else if let Rule::Arithmetic(_) = self {
            &["axis", "broadcast", "consumed_inputs"]
        } else if self == Rule::Gemm {
            &["broadcast"]
        } else if self == Rule::BatchNormalization || self == Rule::Dropout {
            &["consumed_inputs", "is_test"]
        } else {
            &["consumed_inputs"]
        }
    }

    fn is_upsample(self, opset: i64) -> bool {
        self == Rule::Resize && opset < 10
    }
}

/// Functions that are evaluated where all operands are constants; of computed values some are activations, the others errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    Ceil,
    Equal,
    Exp,
    Floor,
    Pow,
    Range,
    Reciprocal,
    Sqrt,
    Where,
}

impl Function {
    fn operands(self) -> (usize, usize) {
        match self {
            Function::Ceil | Function::Exp | Function::Floor | Function::Reciprocal | Function::Sqrt => {
                (1, 1)
            }
            Function::Equal | Function::Pow => (2, 2),
            Function::Range | Function::Where => (3, 3),
        }
    }
}

/// Normalizations by statistics of the sample itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Normalization {
    Layer,
    RootMeanSquare,
    SkipLayer,
    SkipRootMeanSquare,
    Instance,
    Group,
    Lp,
    Channels,
}

impl Normalization {
    fn operands(self) -> (usize, usize) {
        match self {
            Normalization::Layer => (2, 3),
            Normalization::RootMeanSquare => (2, 2),
            Normalization::SkipLayer => (3, 5),
            Normalization::SkipRootMeanSquare => (3, 4),
            Normalization::Instance | Normalization::Group => (3, 3),
            Normalization::Lp | Normalization::Channels => (1, 1),
        }
    }

    fn attributes(self) -> &'static [&'static str] {
        match self {
            Normalization::Layer | Normalization::RootMeanSquare => &["axis", "epsilon", "stash_type"],
            Normalization::SkipLayer | Normalization::SkipRootMeanSquare | Normalization::Instance => {
                &["epsilon"]
            }
            Normalization::Group => &["epsilon", "num_groups", "stash_type"],
            Normalization::Lp => &["axis", "p"],
            Normalization::Channels => &["alpha", "beta", "bias", "size"],
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

/// What pooling takes of its elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reduction {
    Max,
    Mean,
    Min,
    Sum,
}

impl Reduction {
    /// The first operator set in which the axes of the reduction are an operand.
    pub(super) fn axes_operand_since(self) -> i64 {
        match self {
            Reduction::Max | Reduction::Mean | Reduction::Min => 18,
            Reduction::Sum => 13,
        }
    }
}

const fn operator(name: &'static str, rule: Rule, remark: &'static str) -> SupportedOperator {
    SupportedOperator { name, remark, rule }
}

const MUL: &str = "with one constant operand (scalar, per channel or full): a scale layer; of two computed values: a product, or an activation where one is \
     the gate of the other; constants are folded";
const FUNCTION: &str = "an activation; constants are folded";
const OF_POSITIVE: &str =
    "an activation of values that stay away from the end of its domain; constants are folded";
const SKIP: &str = "an addition, and as LayerNormalization or RMSNormalization";
const NORMALIZATION: &str =
    "products with a power of the mean of squares, and a convolution of one weight per factor";
const ON_CONSTANTS: &str = "of constants: folded";
const CHOICE_ONLY: &str = "a choice of elements";
const CHOICE: &str = "a choice of elements; constants are folded";
const QUANT: &str = "of constants: weights that know their integers; of a value: a quantizer, between two scales where channels have steps of their own";
const INTEGER_CONV: &str = "with the Cast and the Mul by its steps: a convolution";
const INTEGER_MATMUL: &str = "with the Cast and the Mul by its steps: a dense layer";
const BIPOLAR: &str = "of constants: folded; of a value: whether it is at least 0, which is a staircase";
const CHANNELS_LAST: &str = "as without this domain, between two transpositions";
const PAIR: &str = "dropped as the last operator: it does not change the order of the classes; of two classes anywhere: an activation of their difference";
const ANYWHERE: &str = "dropped as the last operator: it does not change the order of the classes; anywhere else: reciprocals of sums of exponentials of \
     differences";
const ARGMAX: &str = "dropped as the last operator: it does not change the order of the classes; of two classes anywhere: a sign";
const SOFTMAX: &str = "dropped as the last operator: it does not change the order of the classes";

/// Every operator that the reader takes, in alphabetical order.
pub const SUPPORTED_OPERATORS: &[SupportedOperator] = &[
    operator("Abs", Rule::Activation(Activation::ABSOLUTE), "an activation"),
    operator(
        "Add",
        Rule::Arithmetic(Arithmetic::Add),
        "of two computed values: an addition; of a constant: the bias of the MatMul or Conv before it, else as Mul",
    ),
    operator("ArgMax", Rule::ArgMax, ARGMAX),
    operator("Atan", Rule::Activation(Activation::Atan), "an activation"),
    operator(
        "AveragePool",
        Rule::Pool(Reduction::Mean),
        "average pooling over one or two axes; any count_include_pad and ceil_mode",
    ),
    operator(
        "BatchNormalization",
        Rule::BatchNormalization,
        "folded into the affine layer before or after it, else a convolution of one weight per channel; inference only",
    ),
    operator(
        "Cast",
        Rule::Cast,
        "between floating-point types: nothing; to integers: for the Gather of an embedding; constants are rounded",
    ),
    operator("Ceil", Rule::OnConstants(Function::Ceil), ON_CONSTANTS),
    operator("Celu", Rule::Celu, "an activation between two scales"),
    operator("Clip", Rule::Clip, "an activation (ReLU where it is one); constant ends"),
    operator(
        "Concat",
        Rule::Concat,
        "along any axis but the batch: a choice of elements; constants are folded",
    ),
    operator("Constant", Rule::Constant, "a tensor, number or list of numbers"),
    operator("ConstantOfShape", Rule::ConstantOfShape, ON_CONSTANTS),
    operator(
        "Conv",
        Rule::Conv,
        "a convolution over one or two axes; any group, stride, dilation, padding, auto_pad",
    ),
    operator("ConvInteger", Rule::IntegerProduct(IntegerProduct::Conv), INTEGER_CONV),
    operator(
        "ConvTranspose",
        Rule::ConvTranspose,
        "a choice of elements, with zeros between them, and a convolution with the kernel turned round",
    ),
    operator("DepthToSpace", Rule::DepthToSpace, CHOICE_ONLY),
    operator(
        "DequantizeLinear",
        Rule::DequantizeLinear,
        "of constants: weights that know their integers, per tensor, per axis or in blocks; of a value: nothing, with the step \
         and zero point of its QuantizeLinear",
    ),
    operator(
        "Div",
        Rule::Arithmetic(Arithmetic::Div),
        "by a constant: a scale layer; by a computed value: a product with its reciprocal; constants are folded",
    ),
    operator("Dropout", Rule::Dropout, "nothing (inference)"),
    operator(
        "DynamicQuantizeLinear",
        Rule::DynamicQuantizeLinear,
        "a quantizer whose step follows from the range of each sample, before MatMulInteger and ConvInteger",
    ),
    operator("Elu", Rule::Elu, "an activation"),
    operator("Equal", Rule::OnConstants(Function::Equal), ON_CONSTANTS),
    operator("Erf", Rule::Erf, "as part of x * (1 + erf(x / sqrt 2)) / 2: the exact GELU"),
    operator("Exp", Rule::OnConstants(Function::Exp), FUNCTION),
    operator("Expand", Rule::Expand, CHOICE),
    operator("Flatten", Rule::Rename(Rename::Flatten), "a reshape"),
    operator("Floor", Rule::OnConstants(Function::Floor), ON_CONSTANTS),
    operator(
        "Gather",
        Rule::Gather,
        "with constant indices: a choice of elements; of a constant table by computed integers: an embedding, a layer with the table as \
         its weights; constants are folded",
    ),
    operator("Gelu", Rule::Gelu, "an activation, exact or with approximate = tanh"),
    operator("Gemm", Rule::Gemm, "a dense layer; one operand constant, any transA, transB, alpha, beta, C"),
    operator("GlobalAveragePool", Rule::GlobalPool(Reduction::Mean), "average pooling"),
    operator("GlobalMaxPool", Rule::GlobalPool(Reduction::Max), "max pooling"),
    operator("GroupNormalization", Rule::Normalization(Normalization::Group), NORMALIZATION),
    operator("HardSigmoid", Rule::HardSigmoid, "a scale and a clip"),
    operator("HardSwish", Rule::Activation(Activation::HardSwish), "an activation"),
    operator("Hardmax", Rule::Softmax, SOFTMAX),
    operator("Identity", Rule::Identity, "nothing"),
    operator("InstanceNormalization", Rule::Normalization(Normalization::Instance), NORMALIZATION),
    operator(
        "LRN",
        Rule::Normalization(Normalization::Channels),
        "a product with a power of a sum of squares over neighbouring channels",
    ),
    operator("LayerNormalization", Rule::Normalization(Normalization::Layer), NORMALIZATION),
    operator("LeakyRelu", Rule::LeakyRelu, "an activation"),
    operator("Log", Rule::Log, "of a Sigmoid: Softplus, negated before and after"),
    operator("LogSoftmax", Rule::Softmax, PAIR),
    operator(
        "LpNormalization",
        Rule::Normalization(Normalization::Lp),
        "a product with a power of the sum of squares or magnitudes, which must stay away from 0",
    ),
    operator(
        "MatMul",
        Rule::MatMul,
        "a dense layer, of several rows a convolution of one tap, where one operand is constant and two-dimensional; of two computed \
         values: products and sums",
    ),
    operator("MatMulInteger", Rule::IntegerProduct(IntegerProduct::MatMul), INTEGER_MATMUL),
    operator(
        "Max",
        Rule::Extremum { largest: true },
        "with constants: as Clip; of computed values: by ReLU of their difference",
    ),
    operator(
        "MaxPool",
        Rule::Pool(Reduction::Max),
        "max pooling over one or two axes; any ceil_mode; not its indices",
    ),
    operator(
        "Min",
        Rule::Extremum { largest: false },
        "with constants: as Clip; of computed values: by ReLU of their difference",
    ),
    operator("Mish", Rule::Activation(Activation::Mish), "an activation"),
    operator("Mul", Rule::Arithmetic(Arithmetic::Mul), MUL),
    operator("Neg", Rule::Neg, "a scale layer; constants are folded"),
    operator("PRelu", Rule::PRelu, "a leaky ReLU; with several slopes a scale and a scaled ReLU, added"),
    operator(
        "Pad",
        Rule::Pad,
        "a choice of elements in the modes constant, reflect, edge and wrap; not of the batch",
    ),
    operator(
        "Pow",
        Rule::Pow,
        "with one constant exponent: a square, products, or a power of values that are positive; as part of the hyperbolic-tangent form of \
         GELU; constants are folded",
    ),
    operator(
        "QLinearConv",
        Rule::Quantized(Quantized::Conv),
        "a convolution and a quantizer: the sum in integers is that of the numbers they stand for",
    ),
    operator("QLinearMatMul", Rule::Quantized(Quantized::MatMul), "a dense layer and a quantizer"),
    operator(
        "QuantizeLinear",
        Rule::QuantizeLinear,
        "a quantizer: a layer with one step for all elements; constants are folded",
    ),
    operator("RMSNormalization", Rule::Normalization(Normalization::RootMeanSquare), NORMALIZATION),
    operator("Range", Rule::OnConstants(Function::Range), ON_CONSTANTS),
    operator("Reciprocal", Rule::OnConstants(Function::Reciprocal), OF_POSITIVE),
    operator("ReduceMax", Rule::Reduce(Reduction::Max), "over any axes but the batch: max pooling"),
    operator("ReduceMean", Rule::Reduce(Reduction::Mean), "over any axes but the batch: average pooling"),
    operator("ReduceMin", Rule::Reduce(Reduction::Min), "as ReduceMax, negated before and after"),
    operator(
        "ReduceSum",
        Rule::Reduce(Reduction::Sum),
        "over any axes but the batch: average pooling, as a sum",
    ),
    operator("Relu", Rule::Activation(Activation::Relu), "an activation"),
    operator(
        "Reshape",
        Rule::Rename(Rename::Reshape),
        "a reshape; the target shape must follow from constants and the input shape",
    ),
    operator(
        "Resize",
        Rule::Resize,
        "to the nearest element, by constant scales or sizes: a choice of elements",
    ),
    operator("Selu", Rule::Selu, "an activation and a scale"),
    operator("Shape", Rule::Shape, "a constant: the batch dimension counts as 1"),
    operator(
        "Shrink",
        Rule::Shrink,
        "an activation, the soft threshold; with bias other than lambd also two signs, which are staircases",
    ),
    operator("Sigmoid", Rule::Activation(Activation::Sigmoid), "an activation"),
    operator("Sign", Rule::Sign, "an activation: a staircase that jumps at zero"),
    operator(
        "SimplifiedLayerNormalization",
        Rule::Normalization(Normalization::RootMeanSquare),
        NORMALIZATION,
    ),
    operator("Slice", Rule::Slice, "with constant bounds: a choice of elements; constants are folded"),
    operator("Softmax", Rule::Softmax, ANYWHERE),
    operator("Softplus", Rule::Activation(Activation::Softplus), "an activation"),
    operator("Softsign", Rule::Activation(Activation::Softsign), "an activation"),
    operator("SpaceToDepth", Rule::SpaceToDepth, CHOICE_ONLY),
    operator("Split", Rule::Split, CHOICE),
    operator("Sqrt", Rule::OnConstants(Function::Sqrt), OF_POSITIVE),
    operator("Squeeze", Rule::Rename(Rename::Squeeze), "a reshape"),
    operator(
        "Sub",
        Rule::Arithmetic(Arithmetic::Sub),
        "of two computed values: a scale layer and an addition; of a constant: as Add, negated",
    ),
    operator("Sum", Rule::Sum, "as Add"),
    operator("Swish", Rule::Swish, "an activation"),
    operator("Tanh", Rule::Tanh, "an activation"),
    operator("ThresholdedRelu", Rule::ThresholdedRelu, "a ReLU and a sign, added"),
    operator("Tile", Rule::Tile, CHOICE),
    operator("TopK", Rule::TopK, SOFTMAX),
    operator(
        "Transpose",
        Rule::Transpose,
        "a choice of elements, a reshape where none moves; constants are folded",
    ),
    operator("Unsqueeze", Rule::Rename(Rename::Unsqueeze), "a reshape"),
    operator("Upsample", Rule::Resize, "as Resize"),
    operator(
        "Where",
        Rule::OnConstants(Function::Where),
        "with a constant condition: a choice of elements; constants are folded",
    ),
    operator(
        "com.microsoft.Attention",
        Rule::Attention,
        "a convolution of one tap, products, sums and Softmax; constant weights, no mask or past values as operands",
    ),
    operator("com.microsoft.BiasGelu", Rule::Microsoft(Activation::Gelu), "an addition and an activation"),
    operator("com.microsoft.DequantizeLinear", Rule::DequantizeLinear, "as DequantizeLinear"),
    operator(
        "com.microsoft.DynamicQuantizeMatMul",
        Rule::DynamicQuantizeMatMul,
        "a quantizer whose step follows from the range of each sample, and a dense layer",
    ),
    operator(
        "com.microsoft.FastGelu",
        Rule::Microsoft(Activation::GeluTanh),
        "an activation, with or without a bias",
    ),
    operator("com.microsoft.FusedConv", Rule::Fused(Fused::Conv), "as Conv, and an activation"),
    operator("com.microsoft.FusedGemm", Rule::Fused(Fused::Gemm), "as Gemm, and an activation"),
    operator("com.microsoft.FusedMatMul", Rule::Fused(Fused::MatMul), "as Gemm"),
    operator("com.microsoft.Gelu", Rule::Microsoft(Activation::Gelu), "an activation"),
    operator(
        "com.microsoft.MatMulIntegerToFloat",
        Rule::MatMulIntegerToFloat,
        "a dense layer, as MatMulInteger with its steps",
    ),
    operator(
        "com.microsoft.MatMulNBits",
        Rule::MatMulNBits,
        "a dense layer; weights of 4 or 8 bits in blocks",
    ),
    operator(
        "com.microsoft.QGemm",
        Rule::Quantized(Quantized::Gemm),
        "a dense layer, and a quantizer where it has an output step",
    ),
    operator("com.microsoft.QLinearAdd", Rule::Quantized(Quantized::Add), "as Add, and a quantizer"),
    operator(
        "com.microsoft.QLinearAveragePool",
        Rule::Quantized(Quantized::AveragePool),
        "average pooling and a quantizer",
    ),
    operator("com.microsoft.QLinearConcat", Rule::Quantized(Quantized::Concat), "as Concat, and a quantizer"),
    operator(
        "com.microsoft.QLinearGlobalAveragePool",
        Rule::Quantized(Quantized::GlobalAveragePool),
        "average pooling and a quantizer",
    ),
    operator(
        "com.microsoft.QLinearLeakyRelu",
        Rule::Quantized(Quantized::LeakyRelu),
        "an activation and a quantizer",
    ),
    operator(
        "com.microsoft.QLinearSigmoid",
        Rule::Quantized(Quantized::Sigmoid),
        "an activation and a quantizer",
    ),
    operator("com.microsoft.QuantizeLinear", Rule::QuantizeLinear, "as QuantizeLinear"),
    operator("com.microsoft.QuickGelu", Rule::QuickGelu, "an activation"),
    operator(
        "com.microsoft.SimplifiedLayerNormalization",
        Rule::Normalization(Normalization::RootMeanSquare),
        NORMALIZATION,
    ),
    operator("com.microsoft.SkipLayerNormalization", Rule::Normalization(Normalization::SkipLayer), SKIP),
    operator(
        "com.microsoft.SkipSimplifiedLayerNormalization",
        Rule::Normalization(Normalization::SkipRootMeanSquare),
        SKIP,
    ),
    operator("finn.custom_op.general.BipolarQuant", Rule::BipolarQuant, BIPOLAR),
    operator("finn.custom_op.general.Quant", Rule::Quant, QUANT),
    operator("onnx.brevitas.BipolarQuant", Rule::BipolarQuant, BIPOLAR),
    operator("onnx.brevitas.Quant", Rule::Quant, QUANT),
    operator(
        "qonnx.custom_op.channels_last.BatchNormalization",
        Rule::ChannelsLast(ChannelsLast::BatchNormalization),
        CHANNELS_LAST,
    ),
    operator("qonnx.custom_op.channels_last.Conv", Rule::ChannelsLast(ChannelsLast::Conv), CHANNELS_LAST),
    operator(
        "qonnx.custom_op.channels_last.MaxPool",
        Rule::ChannelsLast(ChannelsLast::MaxPool),
        CHANNELS_LAST,
    ),
    operator("qonnx.custom_op.general.BipolarQuant", Rule::BipolarQuant, BIPOLAR),
    operator("qonnx.custom_op.general.IntQuant", Rule::Quant, QUANT),
    operator("qonnx.custom_op.general.Quant", Rule::Quant, QUANT),
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
