//! Boxes around the clean values from which bounds start: of nodes that do not move, and of the layers that read them.

use super::step::moving;
use super::{Bounds, Prepared};
use crate::kernels::rows::vectorized;
use crate::kernels::{Matrix, Scalar};

impl<T: Scalar> Prepared<'_, T> {
    /// By node: boxes that contain the values of the unperturbed network in real arithmetic, given what a forward pass in f64
    /// found, and of an input that moves what it may be; `None` for other nodes that move and read what moves. Without charges
    /// for rounding the boxes of what does not move are points.
    ///
    /// # Shapes
    /// `values`: (samples, width) of every node.
    pub fn enclosed(&self, values: &[Matrix<f64>]) -> Vec<Option<Bounds<T>>> {
        let network = self.model.network;
        let moving = moving(self);
        let still = |n: usize| !moving[n];
        let wanted = |n: usize| {
            let node = &network.nodes()[n];
            still(n) || (node.layer.affine().is_some() && still(node.inputs[0]))
        };
        let nodes = 0..network.nodes().len();
        if self.arithmetic.is_exact() {
            let point = |n: usize| {
                let value: Matrix<T> = values[n].cast();
                wanted(n).then(|| Bounds { lower: value.clone(), upper: value })
            };
            let mut points: Vec<Option<Bounds<T>>> = nodes.map(point).collect();
            self.enclose_input(&values[0], &mut points);
            return points;
        }
        let empty = |n: usize| Matrix::zeros(values[n].rows(), values[n].cols());
        let mut boxes: Vec<Option<Bounds<T>>> =
            nodes.map(|n| wanted(n).then(|| Bounds { lower: empty(n), upper: empty(n) })).collect();
        /// What the sum of a value and its error may lose of the error.
        const ENDS: f64 = 1.0 + 4.0 * f64::EPSILON;
        for s in 0..values[0].rows() {
            let of_sample: Vec<&[f64]> = values.iter().map(|m| m.row(s)).collect();
            let errors = self.model.coarse_errors(&of_sample, wanted);
            for (n, bounds) in boxes.iter_mut().enumerate() {
                let (Some(bounds), Some(errors)) = (bounds, &errors[n]) else { continue };
                let ends = bounds.lower.row_mut(s).iter_mut().zip(bounds.upper.row_mut(s));
                let of = ends.zip(of_sample[n].iter().zip(errors));
                vectorized!(|| for ((l, u), (&value, &error)) in of {
                    // For the rounding of the ends; an exact value keeps its place.
                    let error = error * ENDS + value.abs() * if error == 0.0 { 0.0 } else { f64::EPSILON };
                    (*l, *u) = (T::around(value - error).0, T::around(value + error).1);
                });
            }
        }
        self.enclose_input(&values[0], &mut boxes);
        boxes
    }

    /// The box of an input that moves.
    fn enclose_input(&self, x: &Matrix<f64>, boxes: &mut [Option<Bounds<T>>]) {
        let set = &self.radii.set;
        if set.input_radius > 0.0 {
            let ends = |x: f64| {
                if self.arithmetic.is_exact() { set.input_interval(x) } else { set.input_enclosure(x) }
            };
            let lower = Matrix::from_fn(x.rows(), x.cols(), |s, j| T::from_f64_down(ends(x[(s, j)]).0));
            let upper = Matrix::from_fn(x.rows(), x.cols(), |s, j| T::from_f64_up(ends(x[(s, j)]).1));
            boxes[0] = Some(Bounds { lower, upper });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::bounds::Prepared;
    use crate::kernels::Matrix;
    use crate::model::{Model, Radii};
    use crate::network::{Activation, NetworkBuilder};
    use crate::threat::{Kind, ThreatModel};
    use crate::verdict::Guarantee;

    /// `x − r` and `x + r` are inside, although the engine has neither x nor r.
    #[test]
    fn an_input_that_moves_is_inside_of_its_box() {
        let mut builder = NetworkBuilder::new(vec![500]);
        let weight = || Matrix::from_fn(2, 500, |i, j| (i + j) as f64);
        let p = builder.dense("first", 0, weight(), Vec::new()).unwrap();
        builder.activation("relu", p, Activation::Relu).unwrap();
        let network = builder.finish().unwrap();
        let x = Matrix::from_fn(1, 500, |_, j| (j as f64 * 0.739).sin() / 3.0);
        for r in [1e-30, 1e-9, 0.01, 0.1] {
            let threat = ThreatModel { input_radius: r, ..ThreatModel::new(Kind::Absolute, 0.0) };
            let set = threat.resolve(&network).unwrap();
            let (model, radii) = (Model::<f32>::new(&network), Radii::new(&set, network.nodes().len()));
            let prepared = Prepared::new(&model, &radii, Guarantee::Rigorous);
            let enclosed = prepared.enclosed(&model.values_in_f64(x.as_slice()));
            let moved = enclosed[0].as_ref().unwrap();
            for (j, &x) in x.as_slice().iter().enumerate() {
                let (l, u) = (f64::from(moved.lower[(0, j)]), f64::from(moved.upper[(0, j)]));
                assert!(l < x && x < u && l <= x - r && u >= x + r, "{l} {x} {u} {r}");
                assert!(x - l < 2.0 * r + 1e-7 && u - x < 2.0 * r + 1e-7);
            }
        }
    }
}
