//! Functions that jump: Sign, ThresholdedRelu, Shrink. Where they jump they are signs of what they read, which are staircases.

use super::OnnxError;
use super::dense::width;
use super::op::Op;
use super::reader::{Computed, Reader, Value, computed};
use weightproof::network::{Activation, Layer, Staircase};

/// Least and largest level of a sign that is kept.
#[derive(Clone, Copy)]
pub enum Side {
    /// −1, 0 or 1.
    Both,
    /// Whether a number is above zero: 0 or 1.
    Above,
    /// Whether a number is below zero: −1 or 0.
    Below,
}

impl Reader<'_> {
    /// Sign.
    pub fn sign(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let layer = self.sketch.activation(&op.name, x.layer, sign_of(Side::Both));
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }

    /// ThresholdedRelu: `x` above `alpha`, else 0.
    ///
    /// ```text
    /// relu(x − α) + α [x − α > 0]
    /// ```
    pub fn thresholded_relu(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let alpha = op.float("alpha", 1.0)?;
        let above = self.affine(op, "above", x.layer, (1.0, -alpha))?;
        let relu = self.sketch.activation(&op.name, above, Activation::Relu);
        let step = self.step(op, "step", above, Side::Above, (alpha, 0.0))?;
        self.added(op, x, vec![relu, step])
    }

    /// Shrink: `x + bias` below `−λ`, `x − bias` above `λ`, and 0 between.
    ///
    /// ```text
    /// S(x) + (λ − bias) ([x − λ > 0] − [x + λ < 0])      S: the soft threshold, which is all where the bias is λ
    /// ```
    pub fn shrink(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let (bias, lambda) = (op.float("bias", 0.0)?, op.float("lambd", 0.5)?);
        if lambda < 0.0 {
            return Err(op.fail("lambd of at least 0", lambda.to_string()));
        }
        let soft = Activation::SoftThreshold { lambda };
        if bias == lambda {
            let layer = self.sketch.activation(&op.name, x.layer, soft);
            return Ok(Value::Computed(Computed { layer, ..x.clone() }));
        }
        let mut parts = vec![self.sketch.activation(&format!("{}.soft", op.name), x.layer, soft)];
        for (part, side, shift) in [("above", Side::Above, -lambda), ("below", Side::Below, lambda)] {
            let argument = self.affine(op, part, x.layer, (1.0, shift))?;
            parts.push(self.step(op, &format!("{part}.step"), argument, side, (lambda - bias, 0.0))?);
        }
        self.added(op, x, parts)
    }

    /// The layer `factor · level + summand` of the levels of a sign.
    pub fn step(
        &mut self,
        op: &Op,
        part: &str,
        layer: usize,
        side: Side,
        line: (f64, f64),
    ) -> Result<usize, OnnxError> {
        let step = self.sketch.activation(&format!("{}.{part}", op.name), layer, sign_of(side));
        self.affine(op, &format!("{part}.size"), step, line)
    }

    /// The layer `factor · z + summand`; the layer itself where that is the same.
    pub fn affine(
        &mut self,
        op: &Op,
        part: &str,
        layer: usize,
        (factor, summand): (f64, f64),
    ) -> Result<usize, OnnxError> {
        if (factor, summand) == (1.0, 0.0) {
            return Ok(layer);
        }
        let count = width(self.sketch.shape(layer));
        self.budget.tensor(&op.label(), &[2, count])?;
        let name = format!("{}.{part}", op.name);
        Ok(self.sketch.scale(&name, layer, vec![factor; count], vec![summand; count]))
    }

    /// The sum of layers that have the shape of `x`.
    fn added(&mut self, op: &Op, x: &Computed, layers: Vec<usize>) -> Result<Value, OnnxError> {
        self.budget.value(&op.label(), &x.dims)?;
        let shape = self.sketch.shape(x.layer).to_vec();
        let layer = self.sketch.push(&format!("{}.sum", op.name), Layer::Add, layers, shape);
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }
}

fn sign_of(side: Side) -> Activation {
    let (low, high) = match side {
        Side::Both => (-1, 1),
        Side::Above => (0, 1),
        Side::Below => (-1, 0),
    };
    Activation::Quantize(Staircase::sign(1.0, low, high))
}
