//! Outputs that are no classes as classes, so that every method, attack and search of radii answers questions about them.

use super::{Activation, Gather, Layer, Network, NetworkBuilder, NetworkError, Scale};

impl Network {
    /// The network with two classes for its one output `f`: class 1 where `f > threshold`, else class 0. Its outputs are
    ///
    /// ```text
    /// (0, f − threshold)
    /// ```
    /// A last sigmoid is left out where the threshold is one half, which it passes where its argument passes zero.
    ///
    /// # Errors
    /// When there are several outputs, or the threshold is not finite.
    pub fn with_threshold(&self, threshold: f64) -> Result<Network, NetworkError> {
        let last = &self.nodes()[self.output()];
        if self.output_width() != 1 {
            let (node, expected) = (last.name.clone(), "one output".into());
            return Err(NetworkError::Shape { node, expected, found: self.output_width().to_string() });
        }
        let before = self.output().checked_sub(1);
        let is_probability = last.layer == Layer::Activation(Activation::Sigmoid)
            && threshold == 0.5
            && before == last.inputs.first().copied();
        let (kept, threshold) =
            if is_probability { (self.output(), 0.0) } else { (self.output() + 1, threshold) };
        self.with_classes(kept, &[Class { output: 0, factor: 1.0, shift: -threshold }])
    }

    /// The network whose class 0 has the largest output where every output `f_j` lies between the ends, without reaching them. Its
    /// outputs are, without those of infinite ends,
    ///
    /// ```text
    /// (0, lower − f_1, f_1 − upper, lower − f_2, f_2 − upper, …)
    /// ```
    ///
    /// # Errors
    /// When no end is finite, or one is NaN.
    pub fn with_ends(&self, lower: f64, upper: f64) -> Result<Network, NetworkError> {
        let class = |output: usize, factor: f64, shift: f64| Class { output, factor, shift };
        let rows: Vec<Class> = (0..self.output_width())
            .flat_map(|j| [class(j, -1.0, lower), class(j, 1.0, -upper)])
            .filter(|class| !class.shift.is_infinite())
            .collect();
        if rows.is_empty() {
            let (node, expected) = (self.nodes()[self.output()].name.clone(), "a finite end".into());
            return Err(NetworkError::Shape { node, expected, found: "none".into() });
        }
        self.with_classes(self.output() + 1, &rows)
    }

    /// Whether the last node gives a probability.
    pub fn ends_with_sigmoid(&self) -> bool {
        self.nodes()[self.output()].layer == Layer::Activation(Activation::Sigmoid)
    }

    /// The first `kept` nodes, and a zero and these functions of their outputs as classes.
    fn with_classes(&self, kept: usize, rows: &[Class]) -> Result<Network, NetworkError> {
        let mut builder = NetworkBuilder::new(self.input_shape().to_vec());
        for node in &self.nodes()[1..kept] {
            builder.push(&node.name, node.layer.clone(), node.inputs.clone(), node.shape.clone())?;
        }
        let source = [None].into_iter().chain(rows.iter().map(|class| Some(class.output))).collect();
        let scale = [1.0].into_iter().chain(rows.iter().map(|class| class.factor)).collect();
        let shift = [0.0].into_iter().chain(rows.iter().map(|class| class.shift)).collect();
        let classes = vec![rows.len() + 1];
        let name = |wanted: &str| {
            let taken = |name: &str| self.nodes().iter().any(|node| node.name == name);
            (0..).map(|k| format!("{wanted}{}", "_".repeat(k))).find(|name| !taken(name)).unwrap_or_default()
        };
        let gather = Layer::Gather(Gather { source, constant: 0.0 });
        let chosen = builder.push(&name("classes.outputs"), gather, vec![kept - 1], classes)?;
        builder.scale(&name("classes"), chosen, Scale::new(scale, shift))?;
        Ok(builder.finish()?.with_float64(self.is_float64()))
    }
}

/// A class: `factor · f_j + shift` of output j.
struct Class {
    output: usize,
    factor: f64,
    shift: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Matrix;

    fn network(sigmoid: bool) -> Network {
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("p", 0, Matrix::from_vec(1, 1, vec![2.0]), vec![0.0]).unwrap();
        if sigmoid {
            builder.activation("s", p, Activation::Sigmoid).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn one_output_becomes_two_classes() {
        assert_eq!(network(false).with_threshold(0.5).unwrap().forward(&[1.0]), [0.0, 1.5]);
        // The sigmoid is above a half where its argument is above zero.
        assert_eq!(network(true).with_threshold(0.5).unwrap().forward(&[1.0]), [0.0, 2.0]);
        let margin = network(true).with_threshold(0.25).unwrap().forward(&[0.0])[1];
        assert_eq!(margin, 0.25);
        let two = network(false).with_threshold(0.0).unwrap();
        assert!(two.with_threshold(0.0).is_err() && network(false).with_threshold(f64::NAN).is_err());
    }

    #[test]
    fn ends_become_classes() {
        assert_eq!(network(false).with_ends(-1.0, 3.0).unwrap().forward(&[1.0]), [0.0, -3.0, -1.0]);
        assert_eq!(network(false).with_ends(f64::NEG_INFINITY, 1.0).unwrap().forward(&[1.0]), [0.0, 1.0]);
        assert!(network(false).with_ends(f64::NEG_INFINITY, f64::INFINITY).is_err());
        assert!(network(false).with_ends(f64::NAN, 1.0).is_err());
    }
}
