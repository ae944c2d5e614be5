//! Arbitrary small convolutional and residual networks.

use crate::networks::{ACTIVATIONS, Design, parameters, rng};
use proptest::prelude::*;
use rand::{Rng, RngExt};
use weightproof::kernels::Window;
use weightproof::network::{
    Activation, DynamicQuantizer, Gather, Layer, Network, NetworkBuilder, StepRounding,
};

/// A piece of a network; sizes that do not fit what comes before leave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A convolution with a random kernel, stride, dilation and padding.
    Conv,
    /// A convolution in groups of channels.
    Grouped,
    /// A convolution of each channel on its own, without bias.
    Depthwise,
    /// A batch normalization with parameters of its own: a depthwise convolution with one tap.
    Normalization,
    /// An activation.
    Activation,
    /// Max pooling, windows overlapping or not.
    MaxPool,
    /// Average pooling, padded or not.
    AveragePool,
    /// `relu(conv(z)) + z`, or `relu(conv(z)) + conv(z)`.
    Residual,
    /// `z + z`: two edges to one node.
    Doubled,
    /// Two convolutions side by side.
    Concatenation,
    /// Constant padding and a transposition.
    Rearrangement,
    /// A quantizer whose step follows from the range of all elements.
    DynamicQuantizer(StepRounding),
}

/// The pieces of arbitrary networks: all but dynamic quantizers, which have tests of their own.
pub const PIECES: [Piece; 11] = [
    Piece::Conv,
    Piece::Grouped,
    Piece::Depthwise,
    Piece::Normalization,
    Piece::Activation,
    Piece::MaxPool,
    Piece::AveragePool,
    Piece::Residual,
    Piece::Doubled,
    Piece::Concatenation,
    Piece::Rearrangement,
];

/// How a random convolutional network looks.
#[derive(Clone, Debug)]
pub struct ImageBlueprint {
    /// Channels, height and width of the input.
    pub input: [usize; 3],
    /// Pieces from the input on; a convolution, an activation and a dense layer are added where they are missing.
    pub pieces: Vec<Piece>,
    /// Outputs.
    pub classes: usize,
    /// Whether a global average pool takes the place of the last hidden layer.
    pub global_pool: bool,
    /// Seed of everything else.
    pub seed: u64,
}

impl Design for ImageBlueprint {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn build(&self) -> Network {
        let mut draft = Draft {
            builder: NetworkBuilder::new(self.input.to_vec()),
            random: rng(self.seed),
            last: 0,
            shape: self.input,
        };
        if !self.pieces.contains(&Piece::Conv) {
            draft.add(Piece::Conv);
        }
        self.pieces.iter().for_each(|piece| draft.add(*piece));
        draft.add(Piece::Activation);
        draft.finish(self.classes, self.global_pool)
    }
}

struct Draft<R> {
    builder: NetworkBuilder,
    random: R,
    last: usize,
    shape: [usize; 3],
}

impl<R: Rng> Draft<R> {
    fn add(&mut self, piece: Piece) {
        let name = format!("{piece:?}{}", self.builder.last()).to_lowercase();
        let [channels, height, width] = self.shape;
        let one_tap = Window::new(self.shape, channels, [1, 1]);
        match piece {
            Piece::Conv => {
                let window = self.window(1);
                self.conv(&name, self.last, window, true);
            }
            Piece::Grouped => {
                let groups = if channels % 2 == 0 { 2 } else { 1 };
                let window = self.window(groups);
                self.conv(&name, self.last, window, true);
            }
            Piece::Depthwise => {
                let window =
                    Window { groups: channels, ..Window::new(self.shape, channels, [height.min(2); 2]) };
                let window =
                    Window { padding: [[1, 0], [0, 1]], kernel: [height.min(2), width.min(2)], ..window };
                self.conv(&name, self.last, window, false);
            }
            Piece::Normalization => self.conv(&name, self.last, Window { groups: channels, ..one_tap }, true),
            Piece::Activation => {
                let f = ACTIVATIONS[self.random.random_range(0..ACTIVATIONS.len())];
                // Most networks have ReLU, and most rules are about it.
                let f = if self.random.random() { Activation::Relu } else { f };
                self.last = self.builder.activation(&name, self.last, f).expect("valid");
            }
            Piece::MaxPool | Piece::AveragePool => {
                let kernel = [height.min(2), width.min(self.random.random_range(2..4))];
                let stride = [self.random.random_range(1..3), self.random.random_range(1..3)];
                let padding = [[0, usize::from(kernel[0] > 1)], [usize::from(kernel[1] > 1), 0]];
                let window = Window { stride, padding, ..Window::pooling(self.shape, kernel) };
                self.shape = window.output();
                self.last = if piece == Piece::MaxPool {
                    self.builder.max_pool(&name, self.last, window).expect("valid")
                } else {
                    let count_padding = self.random.random();
                    self.builder.average_pool(&name, self.last, window, count_padding).expect("valid")
                };
            }
            Piece::Residual => {
                let (start, shape) = (self.last, self.shape);
                let same =
                    Window { kernel: [3, 3], padding: [[1, 1]; 2], ..Window::new(shape, channels, [1, 1]) };
                self.conv(&name, start, same, true);
                let branch = self.builder.activation(&format!("{name}/relu"), self.last, Activation::Relu);
                let branch = branch.expect("valid");
                if self.random.random() {
                    self.conv(&format!("{name}/skip"), start, one_tap, true);
                } else {
                    self.last = start;
                }
                let inputs = vec![branch, self.last];
                self.last = self.builder.add(&format!("{name}/add"), inputs).expect("valid");
            }
            Piece::Doubled => {
                self.last = self.builder.add(&name, vec![self.last, self.last]).expect("valid");
            }
            Piece::Concatenation => {
                let (start, shape) = (self.last, self.shape);
                self.conv(&format!("{name}/a"), start, Window::new(shape, 1, [1, 1]), true);
                let first = self.last;
                self.conv(&format!("{name}/b"), start, one_tap, true);
                let source = (0..self.shape.iter().product::<usize>() + height * width).map(Some).collect();
                self.shape[0] += 1;
                let gather = Gather { source, constant: 0.0 };
                let inputs = vec![first, self.last];
                self.last = self.builder.gather(&name, inputs, gather, self.shape.to_vec()).expect("valid");
            }
            Piece::DynamicQuantizer(rounding) => {
                let layer = Layer::DynamicQuantize(DynamicQuantizer { rounding });
                let name = name.replace(['(', ')'], "");
                self.last =
                    self.builder.push(&name, layer, vec![self.last], self.shape.to_vec()).expect("valid");
            }
            Piece::Rearrangement => {
                // One column of constants before the image, whose height and width change places.
                let source = |k: usize| {
                    let (c, y, x) = (k / (height * (width + 1)), k / height % (width + 1), k % height);
                    (y > 0).then(|| (c * height + x) * width + y - 1)
                };
                self.shape = [channels, width + 1, height];
                let source = (0..self.shape.iter().product()).map(source).collect();
                let gather = Gather { source, constant: 0.3 };
                let shape = self.shape.to_vec();
                self.last = self.builder.gather(&name, vec![self.last], gather, shape).expect("valid");
            }
        }
    }

    /// A random window that fits the image.
    fn window(&mut self, groups: usize) -> Window {
        let channels = groups * self.random.random_range(1..3);
        let mut window = Window { groups, ..Window::new(self.shape, channels, [1, 1]) };
        for axis in 0..2 {
            window.kernel[axis] = self.random.random_range(1..4).min(self.shape[axis + 1]);
            window.stride[axis] = self.random.random_range(1..3);
            window.padding[axis] = [self.random.random_range(0..2), self.random.random_range(0..2)];
            let dilation = self.random.random_range(1..3);
            let padded = self.shape[axis + 1] + window.padding[axis].iter().sum::<usize>();
            if (window.kernel[axis] - 1) * dilation < padded {
                window.dilation[axis] = dilation;
            }
        }
        window
    }

    fn conv(&mut self, name: &str, input: usize, window: Window, has_bias: bool) {
        let (weight, bias) = parameters(window.channels, window.patch(), &mut self.random);
        let bias = if has_bias { bias } else { Vec::new() };
        self.shape = window.output();
        self.last = self.builder.conv(name, input, weight, bias, window).expect("valid");
    }

    fn finish(mut self, classes: usize, global_pool: bool) -> Network {
        if global_pool {
            let window = Window::pooling(self.shape, [self.shape[1], self.shape[2]]);
            self.shape = window.output();
            self.last = self.builder.average_pool("global", self.last, window, false).expect("valid");
        }
        let width = self.shape.iter().product();
        self.last = self.builder.reshape("flatten", self.last, vec![width]).expect("valid");
        let (weight, bias) = parameters(classes, width, &mut self.random);
        self.builder.dense("dense", self.last, weight, bias).expect("valid");
        self.builder.finish().expect("valid")
    }
}

/// Arbitrary convolutional networks of up to five pieces on images of up to 2 × 4 × 4.
pub fn arbitrary_images() -> impl Strategy<Value = ImageBlueprint> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..5);
    let input = (1_usize..3, 1_usize..5, 2_usize..5);
    (input, pieces, 2_usize..4, any::<bool>(), any::<u64>()).prop_map(
        |((c, h, w), pieces, classes, global_pool, seed)| ImageBlueprint {
            input: [c, h, w],
            pieces,
            classes,
            global_pool,
            seed,
        },
    )
}

/// A small convolutional network with quantizers whose steps follow from the data: at the input, between and behind other layers, read twice.
pub fn dynamic_quantizers(rounding: StepRounding, seed: u64) -> ImageBlueprint {
    let quantizer = Piece::DynamicQuantizer(rounding);
    let pieces = match seed % 6 {
        0 => vec![quantizer, Piece::Conv, Piece::Activation, quantizer],
        1 => vec![Piece::Conv, quantizer, Piece::Conv, Piece::Activation],
        2 => vec![Piece::Conv, Piece::Activation, quantizer, Piece::Residual],
        3 => vec![Piece::Conv, quantizer, quantizer, Piece::MaxPool, quantizer],
        4 => vec![Piece::Grouped, quantizer, Piece::Doubled, Piece::AveragePool],
        _ => vec![Piece::Conv, quantizer, Piece::Concatenation, quantizer, Piece::Rearrangement],
    };
    let input = [1 + seed as usize % 2, 3, 3];
    ImageBlueprint { input, pieces, classes: 3, global_pool: seed % 5 == 4, seed }
}
