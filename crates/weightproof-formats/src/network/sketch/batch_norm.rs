//! Batch normalization as part of the affine layer beside it, or as a layer of its own.
//!
//! ```text
//! y = γ (x − μ) / √(σ² + ε) + β = factor · x + shift          factor = γ / √(σ² + ε),  shift = β − μ · factor
//! after  W x + b:  factor ∘ W,  factor · b + shift            (rows are scaled)
//! before W y + b:  W ∘ factor,  b + W shift                   (columns are scaled; padding must not meet the shift)
//! ```

use super::{Sketch, affine_mut, positions};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Affine, Conv, Layer};

/// What becomes of batch normalization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchNorm {
    /// It is folded into the convolution or dense layer before it, else after it, as deployment does; where neither can
    /// take it, it stays a layer of its own.
    #[default]
    Fold,
    /// It stays a layer of its own, so that its factors and shifts are what is perturbed.
    Separate,
}

/// The parameters of a batch normalization, one number of each kind for a channel.
pub struct Normalization<'a> {
    /// γ.
    pub scale: &'a [f64],
    /// β.
    pub bias: &'a [f64],
    /// μ.
    pub mean: &'a [f64],
    /// σ².
    pub variance: &'a [f64],
    /// ε.
    pub epsilon: f64,
}

impl Normalization<'_> {
    /// The depthwise convolution that does the same to an image `(channels, height, width)`, which must have as many
    /// channels.
    ///
    /// # Errors
    /// `(expected, found)` when σ² + ε is not a positive number, σ² is negative, or a number is not finite.
    fn conv(&self, image: [usize; 3]) -> Result<Conv, (String, String)> {
        if let Some(&bad) = self.variance.iter().find(|&&v| !(v >= 0.0 && v + self.epsilon > 0.0)) {
            return Err(("variances of at least 0, positive with epsilon".into(), bad.to_string()));
        }
        let numbers = [self.scale, self.bias, self.mean].concat();
        if let Some(bad) = numbers.iter().chain([&self.epsilon]).find(|v| !v.is_finite()) {
            return Err(("finite parameters".into(), bad.to_string()));
        }
        let factor = |c: usize| self.scale[c] / (self.variance[c] + self.epsilon).sqrt();
        let weight = Matrix::from_fn(image[0], 1, |c, _| factor(c));
        let bias = (0..image[0]).map(|c| self.bias[c] - self.mean[c] * factor(c)).collect();
        let window = Window { groups: image[0], ..Window::new(image, image[0], [1, 1]) };
        Ok(Conv { affine: Affine { weight, bias, has_bias: true, stored: None }, window })
    }
}

impl Sketch {
    /// Adds a batch normalization over the channels of `image`, which has as many channels as the parameters.
    ///
    /// # Errors
    /// `(expected, found)` for variances that are not positive and numbers that are not finite.
    pub fn batch_norm(
        &mut self,
        name: &str,
        input: usize,
        image: [usize; 3],
        parameters: &Normalization,
    ) -> Result<usize, (String, String)> {
        let conv = parameters.conv(image)?;
        let layer = self.keep_shape(name, input, Layer::Conv(conv));
        self.layers[layer].is_normalization = true;
        Ok(layer)
    }

    /// Folds the batch normalizations that `output` depends on into their neighbours, unless `choice` keeps them, and
    /// notes where they went.
    pub fn place_batch_norms(&mut self, output: usize, choice: BatchNorm) -> Vec<String> {
        let wanted = self.wanted(output);
        let norms: Vec<usize> =
            (0..self.layers.len()).filter(|&at| wanted[at] && self.layers[at].is_normalization).collect();
        let (mut folded, mut kept) = (vec![], vec![]);
        let mut readers = self.readers(output);
        for norm in norms {
            let name = self.layers[norm].name.clone();
            let into = if choice == BatchNorm::Fold { self.fold(norm, &readers) } else { None };
            match into {
                Some(layer) => {
                    folded.push(format!("{name} into {}", self.layers[layer].name));
                    self.layers[norm].dropped = true;
                    let (input, moved) =
                        (self.resolve(self.layers[norm].inputs[0]), std::mem::take(&mut readers[norm]));
                    readers[input].retain(|&reader| reader != norm);
                    readers[input].extend(moved);
                }
                None => kept.push(name),
            }
        }
        let note = |what: &str, names: Vec<String>| {
            (!names.is_empty()).then(|| format!("batch normalization {what}: {}", names.join(", ")))
        };
        [note("folded", folded), note("kept as layers of their own", kept)].into_iter().flatten().collect()
    }

    /// Folds `norm` into the layer before or after it; returns that layer.
    fn fold(&mut self, norm: usize, readers: &[Vec<usize>]) -> Option<usize> {
        let Layer::Conv(Conv { affine, window }) = &self.layers[norm].layer else { return None };
        let (affine, plane) = (affine.clone(), window.plane());
        let only_reader = |layer: usize| (readers[layer].len() == 1).then(|| readers[layer][0]);

        let mut before = self.resolve(self.layers[norm].inputs[0]);
        while only_reader(before).is_some() && matches!(self.layers[before].layer, Layer::Reshape) {
            before = self.resolve(self.layers[before].inputs[0]);
        }
        if only_reader(before).is_some() && fold_into_rows(&mut self.layers[before].layer, &affine, plane) {
            return Some(before);
        }
        let mut after = only_reader(norm).filter(|&reader| reader != usize::MAX)?;
        while matches!(self.layers[after].layer, Layer::Reshape) {
            after = only_reader(after).filter(|&reader| reader != usize::MAX)?;
        }
        fold_into_columns(&mut self.layers[after].layer, &affine, plane).then_some(after)
    }
}

/// Scales the rows of `layer`, whose output is normalized by `norm` over channels of `plane` elements; whether it could.
fn fold_into_rows(layer: &mut Layer, norm: &Affine, plane: usize) -> bool {
    let Some(each) = positions(layer).filter(|&each| plane.is_multiple_of(each)) else { return false };
    let Some(affine) = affine_mut(layer) else { return false };
    for row in 0..affine.weight.rows() {
        let channel = row * each / plane;
        let factor = norm.weight[(channel, 0)];
        affine.weight.row_mut(row).iter_mut().for_each(|w| *w *= factor);
        affine.bias[row] = affine.bias[row] * factor + norm.bias[channel];
    }
    affine.has_bias = true;
    affine.stored = None;
    true
}

/// Scales the columns of `layer`, which reads what `norm` normalizes over channels of `plane` elements; whether it could.
fn fold_into_columns(layer: &mut Layer, norm: &Affine, plane: usize) -> bool {
    // The channel of the normalization that column `column` of row `row` reads.
    let window = match layer {
        Layer::Dense(_) => None,
        Layer::Conv(conv) => {
            let padded = conv.window.padding.iter().flatten().any(|&elements| elements > 0);
            let shifted = norm.bias.iter().any(|&shift| shift != 0.0);
            if padded && shifted || !plane.is_multiple_of(conv.window.plane()) {
                return false;
            }
            Some(conv.window.clone())
        }
        Layer::Input
        | Layer::Scale(_)
        | Layer::Activation(_)
        | Layer::DynamicQuantize(_)
        | Layer::MaxPool(_)
        | Layer::AveragePool(_)
        | Layer::Add
        | Layer::Multiply
        | Layer::Gather(_)
        | Layer::Reshape => return false,
    };
    let channel = |row: usize, column: usize| match &window {
        None => column / plane,
        Some(window) => {
            let first = row / window.group_outputs() * window.group_inputs();
            (first + column / window.taps()) * window.plane() / plane
        }
    };
    let Some(affine) = affine_mut(layer) else { return false };
    for row in 0..affine.weight.rows() {
        let mut moved = 0.0;
        for (column, w) in affine.weight.row_mut(row).iter_mut().enumerate() {
            let channel = channel(row, column);
            moved += *w * norm.bias[channel];
            *w *= norm.weight[(channel, 0)];
        }
        affine.bias[row] += moved;
    }
    affine.has_bias = true;
    affine.stored = None;
    true
}
