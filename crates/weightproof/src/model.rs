//! A network and a perturbation set in the precision of the engine, shared by all blocks of samples.

use crate::kernels::{Matrix, Scalar, product_transposed};
use crate::network::{Activation, Layer, Network};
use crate::threat::{PerturbationSet, WeightRadius};

/// A node of a [`Model`]: its layer in the precision of the engine.
#[derive(Clone, Debug)]
pub enum Step<T> {
    /// The input.
    Input,
    /// `W z + b`.
    Dense {
        /// (n_out, n_in).
        weight: Matrix<T>,
        /// n_out.
        bias: Vec<T>,
    },
    /// `scale · z + shift`.
    Scale {
        /// One factor per element.
        scale: Vec<T>,
        /// One summand per element.
        shift: Vec<T>,
    },
    /// An activation.
    Activation(Activation),
    /// The same elements.
    Reshape,
}

/// A network, cast once.
#[derive(Clone, Debug)]
pub struct Model<'n, T> {
    /// The network it comes from.
    pub network: &'n Network,
    /// One step for each node.
    pub steps: Vec<Step<T>>,
}

impl<'n, T: Scalar> Model<'n, T> {
    /// Casts `network`.
    pub fn new(network: &'n Network) -> Self {
        let cast = |v: &[f64]| v.iter().map(|&v| T::from_f64(v)).collect::<Vec<T>>();
        let step = |layer: &Layer| match layer {
            Layer::Input => Step::Input,
            Layer::Dense(d) => Step::Dense { weight: d.weight.cast(), bias: cast(&d.bias) },
            Layer::Scale(s) => Step::Scale { scale: cast(&s.scale), shift: cast(&s.shift) },
            Layer::Activation(f) => Step::Activation(*f),
            Layer::Reshape => Step::Reshape,
        };
        Model { network, steps: network.nodes().iter().map(|n| step(&n.layer)).collect() }
    }

    /// The node that node `index` reads.
    pub fn input_of(&self, index: usize) -> usize {
        self.network.nodes()[index].inputs[0]
    }

    /// Number of elements of node `index`.
    pub fn width(&self, index: usize) -> usize {
        self.network.nodes()[index].width()
    }

    /// Values of every node for a block of samples.
    ///
    /// # Shapes
    /// `x`: (samples, input width); returns one (samples, width) matrix for each node.
    pub fn forward(&self, x: Matrix<T>) -> Vec<Matrix<T>> {
        let mut values: Vec<Matrix<T>> = Vec::with_capacity(self.steps.len());
        let mut x = Some(x);
        for (index, step) in self.steps.iter().enumerate() {
            let value = match step {
                Step::Input => x.take().expect("one input node"),
                Step::Dense { weight, bias } => affine(&values[self.input_of(index)], weight, bias),
                Step::Scale { scale, shift } => scaled(&values[self.input_of(index)], scale, shift),
                Step::Activation(f) => values[self.input_of(index)].map(|p| f.apply_scalar(p)),
                Step::Reshape => values[self.input_of(index)].clone(),
            };
            values.push(value);
        }
        values
    }
}

/// `z Wᵀ + b` for rows `z`.
pub fn affine<T: Scalar>(z: &Matrix<T>, weight: &Matrix<T>, bias: &[T]) -> Matrix<T> {
    let mut out = Matrix::default();
    product_transposed(&mut out, z, weight);
    for s in 0..out.rows() {
        out.row_mut(s).iter_mut().zip(bias).for_each(|(p, &b)| *p += b);
    }
    out
}

/// `scale · z + shift` for rows `z`.
pub fn scaled<T: Scalar>(z: &Matrix<T>, scale: &[T], shift: &[T]) -> Matrix<T> {
    let mut out = z.clone();
    for s in 0..out.rows() {
        let factors = scale.iter().zip(shift);
        out.row_mut(s).iter_mut().zip(factors).for_each(|(z, (&a, &b))| *z = *z * a + b);
    }
    out
}

/// Weight radii of one layer in the precision of the engine.
#[derive(Clone, Debug)]
pub enum Radius<T> {
    /// No weight moves.
    Zero,
    /// `|Δ_ij| ≤ r`.
    Uniform(T),
    /// `|Δ_ij| ≤ r_i`.
    PerRow(Vec<T>),
    /// `|Δ_ij| ≤ E_ij`.
    Dense(Matrix<T>),
    /// `‖Δ‖_F ≤ r`.
    Frobenius(T),
}

/// Radii of one dense layer in the precision of the engine.
#[derive(Clone, Debug)]
pub struct LayerRadii<T> {
    /// Radii of the weights.
    pub weight: Radius<T>,
    /// Radius of each bias, n_out.
    pub bias: Vec<T>,
}

/// A perturbation set, cast once for each radius.
#[derive(Clone, Debug)]
pub struct Radii<T> {
    /// By node index; `None` where the node has no parameters.
    pub layers: Vec<Option<LayerRadii<T>>>,
    /// The set in f64.
    pub set: PerturbationSet,
}

impl<T: Scalar> Radii<T> {
    /// Casts `set` for a network of `nodes` nodes.
    pub fn new(set: &PerturbationSet, nodes: usize) -> Self {
        let mut layers: Vec<Option<LayerRadii<T>>> = (0..nodes).map(|_| None).collect();
        for layer in &set.layers {
            let weight = match &layer.weight {
                radius if radius.is_zero() => Radius::Zero,
                WeightRadius::Zero => Radius::Zero,
                WeightRadius::Uniform(r) => Radius::Uniform(T::from_f64(*r)),
                WeightRadius::PerRow(r) => Radius::PerRow(r.iter().map(|&r| T::from_f64(r)).collect()),
                WeightRadius::Dense { unit, scale } => Radius::Dense(unit.map(|r| T::from_f64(scale * r))),
                WeightRadius::Frobenius(r) => Radius::Frobenius(T::from_f64(*r)),
            };
            let bias = layer.bias.iter().map(|&e| T::from_f64(e)).collect();
            layers[layer.node] = Some(LayerRadii { weight, bias });
        }
        Radii { layers, set: set.clone() }
    }

    /// Radii of the dense node `index`.
    pub fn layer(&self, index: usize) -> &LayerRadii<T> {
        self.layers[index].as_ref().expect("every dense layer has radii")
    }

    /// Radius added after every activation.
    pub fn activation(&self) -> T {
        T::from_f64(self.set.activation_radius)
    }
}
